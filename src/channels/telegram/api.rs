//! The Bot API's objects, as far as they are read (telegram.md 20). Everything unknown is ignored.

use serde::Deserialize;

use crate::config::types::{StreamMode, TelegramAccount};

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct User {
    pub id: i64,
    pub is_bot: bool,
    pub first_name: String,
    pub last_name: Option<String>,
    pub username: Option<String>,
    pub can_read_all_group_messages: bool,
    pub has_topics_enabled: bool,
}

impl User {
    /// What people call them: the user name, else the first name.
    pub fn label(&self) -> String {
        self.username.clone().unwrap_or_else(|| self.first_name.clone())
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Chat {
    pub id: i64,
    /// `private`, `group`, `supergroup` or `channel`.
    pub r#type: String,
    pub title: Option<String>,
    pub username: Option<String>,
    pub is_forum: bool,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Entity {
    pub r#type: String,
    /// UTF-16 code units.
    pub offset: usize,
    pub length: usize,
    pub url: Option<String>,
    pub user: Option<User>,
}

/// Any of the kinds of files.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct File {
    pub file_id: String,
    pub file_unique_id: String,
    pub file_name: Option<String>,
    pub mime_type: Option<String>,
    pub file_size: Option<u64>,
    /// Pixels.
    pub width: u64,
    pub height: u64,
    pub duration: Option<u64>,
    pub title: Option<String>,
    pub performer: Option<String>,
    pub emoji: Option<String>,
    pub set_name: Option<String>,
    pub is_animated: bool,
    pub is_video: bool,
    pub thumbnail: Option<Box<File>>,
    /// Of `getFile`.
    pub file_path: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Origin {
    pub r#type: String,
    pub date: i64,
    pub sender_user: Option<User>,
    pub sender_user_name: Option<String>,
    pub sender_chat: Option<Chat>,
    pub chat: Option<Chat>,
    pub message_id: Option<i64>,
    pub author_signature: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Quote {
    pub text: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Location {
    pub latitude: f64,
    pub longitude: f64,
    pub horizontal_accuracy: Option<f64>,
    pub live_period: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Venue {
    pub location: Location,
    pub title: String,
    pub address: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Contact {
    pub phone_number: String,
    pub first_name: String,
    pub last_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PollOption {
    pub text: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Poll {
    pub question: String,
    pub options: Vec<PollOption>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Dice {
    pub emoji: String,
    pub value: i64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ExternalReply {
    pub origin: Option<Box<Origin>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Message {
    pub message_id: i64,
    pub message_thread_id: Option<i64>,
    pub is_topic_message: bool,
    pub from: Option<User>,
    pub sender_chat: Option<Chat>,
    pub chat: Chat,
    pub date: i64,
    pub edit_date: Option<i64>,
    pub is_automatic_forward: bool,
    pub text: Option<String>,
    pub entities: Vec<Entity>,
    pub caption: Option<String>,
    pub caption_entities: Vec<Entity>,
    pub media_group_id: Option<String>,
    pub reply_to_message: Option<Box<Message>>,
    pub external_reply: Option<Box<ExternalReply>>,
    pub quote: Option<Quote>,
    pub forward_origin: Option<Box<Origin>>,
    /// Ascending sizes of one picture.
    pub photo: Vec<File>,
    pub document: Option<Box<File>>,
    pub video: Option<Box<File>>,
    pub video_note: Option<Box<File>>,
    pub audio: Option<Box<File>>,
    pub voice: Option<Box<File>>,
    pub animation: Option<Box<File>>,
    pub sticker: Option<Box<File>>,
    pub location: Option<Location>,
    pub venue: Option<Venue>,
    pub contact: Option<Contact>,
    pub poll: Option<Poll>,
    pub dice: Option<Dice>,
    /// Things that cannot be told.
    pub story: Option<serde::de::IgnoredAny>,
    pub paid_media: Option<serde::de::IgnoredAny>,
    pub checklist: Option<serde::de::IgnoredAny>,
    pub invoice: Option<serde::de::IgnoredAny>,
    pub game: Option<serde::de::IgnoredAny>,
    pub rich_message: Option<serde::de::IgnoredAny>,
    pub migrate_to_chat_id: Option<i64>,
    pub migrate_from_chat_id: Option<i64>,
    pub forum_topic_created: Option<serde_json::Value>,
}

impl Message {
    /// Text or caption, with its entities.
    pub fn words(&self) -> (&str, &[Entity]) {
        match (&self.text, &self.caption) {
            (Some(text), _) => (text, &self.entities),
            (None, Some(caption)) => (caption, &self.caption_entities),
            (None, None) => ("", &[]),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CallbackQuery {
    pub id: String,
    pub from: User,
    pub message: Option<Box<Message>>,
    pub data: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Member {
    pub status: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct MemberChange {
    pub chat: Chat,
    pub new_chat_member: Member,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ReactionType {
    pub r#type: String,
    pub emoji: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ReactionChange {
    pub chat: Chat,
    pub message_id: i64,
    pub user: Option<User>,
    /// An anonymous administrator, a channel.
    pub actor_chat: Option<Chat>,
    pub old_reaction: Vec<ReactionType>,
    pub new_reaction: Vec<ReactionType>,
}

/// Somebody pressed the Stop button of a draft.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Stopped {
    pub chat: Chat,
    pub message_thread_id: Option<i64>,
}

/// One update; the kinds that are asked for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Update {
    pub update_id: i64,
    pub message: Option<Box<Message>>,
    pub edited_message: Option<Box<Message>>,
    pub callback_query: Option<CallbackQuery>,
    pub my_chat_member: Option<MemberChange>,
    pub message_reaction: Option<ReactionChange>,
    pub stopped_message_generation: Option<Stopped>,
}

/// The kinds of updates that are asked for; without naming them they do not come (telegram.md 4.1).
const ALLOWED: [&str; 6] =
    ["message", "edited_message", "callback_query", "my_chat_member", "message_reaction", "stopped_message_generation"];

/// Those that an account asks for.
pub fn kinds(c: &TelegramAccount) -> &'static [&'static str] {
    match c.stream_mode {
        StreamMode::Draft | StreamMode::Auto => &ALLOWED,
        _ => &ALLOWED[..ALLOWED.len() - 1], // the last one comes of drafts alone
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Parameters {
    pub retry_after: Option<u64>,
    pub migrate_to_chat_id: Option<i64>,
}
