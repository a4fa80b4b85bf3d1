//! Between the mind and a platform's threads: what a reader brings, what a caller is asked to do, what became of it.

use serde::{Deserialize, Serialize};

use super::*;

// ---------------------------------------------------------------- readers

/// One update of a platform, parsed by its reader.
#[derive(Clone, Debug)]
pub enum Update {
    Message(Inbound),
    /// A message says something else now.
    Edited(Inbound),
    /// A button of ours was pressed.
    Pressed(Press),
    /// The chat has another id from now on.
    Moved {
        from: Target,
        to: String,
    },
    /// The bot was shut out of a chat, or is back.
    Reachable {
        chat: Target,
        yes: bool,
    },
    /// Somebody reacted to a message.
    Reacted(Reaction),
    /// Somebody wants the answer to end that grows there.
    Stopped {
        chat: Target,
    },
    /// What the reader could not read, for the record.
    Broken {
        dkey: String,
        source: Source,
        raw: String,
    },
}

/// A press of a button.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Press {
    /// Unique key of the platform's delivery.
    pub dkey: String,
    /// By which the platform is answered.
    pub query: String,
    pub source: Source,
    /// The message with the button.
    pub message: Option<String>,
    pub data: String,
    pub facts: Facts,
}

/// Somebody set or took back a reaction.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    /// The words for the agent; what is known of the message is added to them.
    pub inbound: Inbound,
    /// The message that was reacted to.
    pub message: String,
    /// Told only if that message is one of ours.
    pub own_only: bool,
}

/// A message of a person.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// Unique key of the platform's delivery (core.md 22.2).
    pub dkey: String,
    pub dkey2: Option<String>,
    pub source: Source,
    pub text: String,
    /// What it replies to, in words for the agent: said with the text, unless that is a command.
    pub replies_to: Option<String>,
    pub images: Vec<Image>,
    /// Files that stay with the platform until the session's hands fetch them.
    pub files: Vec<FileRef>,
    /// Parts of one message come apart: this names it.
    pub group: Option<String>,
    /// Somebody else's words: it may be one of several that mean one thing.
    pub forwarded: bool,
    /// What the message of ours says that it replies to, for a conversation that does not know it.
    pub quote: Option<String>,
    /// Of an edit: the key under which the message first came.
    pub original: Option<String>,
    pub facts: Facts,
}

/// A file that the platform has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileRef {
    /// `photo`, `document`, `video`, `video_note`, `audio`, `animation`, `voice`, `sticker`.
    pub kind: String,
    /// By which the platform gives it out.
    pub id: String,
    /// The same for every copy of the file.
    pub unique: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What else the agent is told: performer and title, emoji and set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl FileRef {
    /// `Video Note`
    pub fn title(&self) -> &'static str {
        match self.kind.as_str() {
            "photo" => "Photo",
            "video" => "Video",
            "video_note" => "Video Note",
            "audio" => "Audio",
            "animation" => "Animation/GIF",
            "voice" => "Voice message",
            "sticker" => "Sticker",
            _ => "Document",
        }
    }

    /// What the agent is told of a file that is not there.
    pub fn missing(&self, why: &str) -> String {
        match &self.name {
            Some(name) => format!("[{}: {name} — {why}]", self.title()),
            None => format!("[{} — {why}]", self.title()),
        }
    }
}

/// Files of one message of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    pub row: Row,
    pub source: Source,
    /// When it came.
    pub at: Wall,
    pub files: Vec<FileRef>,
}

/// What became of the files of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    pub row: Row,
    /// For the model.
    pub images: Vec<Image>,
    /// What the agent is told: where each file is, what it says, or why it is not there.
    pub tail: String,
    /// What their sender should know.
    pub tell: Vec<Trouble>,
}

/// Why a file did not come as its sender meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Megabytes that are taken at most.
    TooLarge { limit: u64 },
    /// A voice message, and nothing that writes it down.
    NoTranscription,
    /// It could not be written down.
    TranscriptionFailed,
}

/// What the access gate needs to know beside the source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// In a group: the bot is spoken to.
    pub mentioned: bool,
    /// Topic by which a group's settings are looked up, where that is not the thread of the conversation.
    pub topic: Option<String>,
    /// The message that this one answers.
    pub replies: Option<String>,
}

/// What a reader hands over in one piece; answered with [`Answer::Ok`] when it is on disk.
#[derive(Clone, Debug)]
pub struct Batch {
    pub channel: String,
    pub account: String,
    pub updates: Vec<Update>,
    /// Stored in the same commit.
    pub cursor: Option<String>,
}

// ---------------------------------------------------------------- outgoing calls

/// Names a call until its outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallId {
    /// The row of the outbox that it delivers.
    Row(Row),
    /// Nothing is owed: typing, a live view. The mind's number.
    Passing(u64),
}

/// One platform call, performed by a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub target: Target,
    pub op: Op,
}

/// What is to be done at a [`Target`]. Issue by issue this enum grows with the channels.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A new message. `nonce`: the row's external id, by which a platform may know a repeat; `again`: nobody knows
    /// whether it stands there already, and this is the last try.
    Send {
        content: Content,
        nonce: String,
        again: bool,
    },
    /// Another text for a message of ours. An empty one: only its buttons change.
    Edit {
        id: String,
        content: Content,
    },
    Delete {
        id: String,
    },
    /// Sets or, with an empty list, removes our reactions.
    React {
        id: String,
        emoji: Vec<String>,
    },
    Pin {
        id: String,
        on: bool,
    },
    /// The platform shows this to who pressed a button. Within seconds, or it is of no use.
    AnswerPress {
        query: String,
        text: String,
        alert: bool,
    },
    /// Shows the running turn's text as far as it has come.
    View(View),
    Typing,
}

/// Where a live view stands (core.md 8.4). The caller reads the text itself: the latest there is when it calls.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub session: String,
    /// The run on view; another one's text is not shown.
    pub run: String,
    /// The message that shows it; `None`: none yet.
    pub message: Option<String>,
    /// Which message of the answer, from 0.
    pub index: usize,
    pub reply_to: Option<String>,
    /// Milliseconds since the turn, or this part of it, began.
    pub waited: u64,
    /// Finished paragraphs are messages of their own: so many bytes of the text have become such. `None`: the text
    /// grows in the message.
    pub taken: Option<usize>,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// In the platform's own form; Markdown until it was rendered.
    pub text: String,
    /// The same without any form, for a platform that refuses the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// Platform's id of the message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Rows of buttons under it; an edit without any removes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Vec<Button>>,
    /// People are shown that a reply to this message is wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wants_reply: bool,
    /// A file on this machine, or the address of one; the text is its caption then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<OutFile>,
    /// Further pictures and videos of the same album.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<OutFile>,
    /// How the text is written as long as it was not rendered.
    #[serde(skip_serializing_if = "Form::is_markdown")]
    pub form: Form,
    /// People's devices make no sound.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

impl Content {
    /// The files it brings.
    pub fn files(&self) -> impl Iterator<Item = &OutFile> {
        self.file.iter().chain(&self.more)
    }
}

/// How a text is written that somebody wants sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    #[default]
    Markdown,
    Html,
    Plain,
}

impl Form {
    pub fn is_markdown(&self) -> bool {
        *self == Form::Markdown
    }
}

/// A button under a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Button {
    pub text: String,
    /// What the press brings back, at most 64 bytes.
    pub data: String,
}

/// A file that is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutFile {
    /// An http(s) address, or a path as links name it (root and path); whoever opens it checks it.
    pub at: String,
    /// The workspace that such a path belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub under: String,
    /// `photo`, `document`, `video`, `audio`, `voice`, `animation`, `sticker`; empty: by its name.
    pub kind: String,
    /// Bytes when it was named; 0: not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// What it holds, if it is no file of this machine; `at` is its name then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl OutFile {
    pub fn is_address(&self) -> bool {
        self.at.starts_with("https://") || self.at.starts_with("http://")
    }

    /// What people call it: the last part of its path or address.
    pub fn name(&self) -> &str {
        let path = self.at.split(['?', '#']).next().filter(|_| self.is_address()).unwrap_or(&self.at);
        path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// The ending of its name in lower case, or nothing.
    pub fn ending(&self) -> String {
        self.name().rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase())
    }
}

/// What became of a [`Call`] (core.md 22.3).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Sent {
        id: String,
    },
    /// The messages of an album.
    SentAll {
        ids: Vec<String>,
    },
    /// Of a view: the message that shows the text now, if there is one; `full`: the text goes on in another message;
    /// `idle`: it stood there already, or there is nothing to show: nobody was called; `bare`: nothing of the answer
    /// itself is seen yet.
    Shown {
        id: Option<String>,
        full: bool,
        idle: bool,
        bare: bool,
    },
    /// Of a view: paragraphs that are finished, and how many bytes of the text are taken with them.
    Grown {
        text: String,
        taken: usize,
    },
    /// The scope (chat or whole account) is frozen for that many milliseconds.
    RateLimited {
        account_wide: bool,
        ms: u64,
    },
    /// Certainly not taken: try again.
    Retry {
        why: String,
    },
    /// The chat has another id: the same to that.
    Moved {
        to: String,
    },
    /// Nobody knows whether it was taken.
    Ambiguous {
        why: String,
    },
    /// The message to be changed is not there any more.
    Gone,
    /// There is no such thread in the chat.
    TopicGone {
        why: String,
    },
    /// The form was refused: the same without it.
    Reformat,
    Unauthorized {
        why: String,
    },
    /// Nothing can be sent to the chat: for that many milliseconds, or (`None`) until something comes from it.
    Barred {
        why: String,
        ms: Option<u64>,
    },
    Refused {
        why: String,
    },
}
