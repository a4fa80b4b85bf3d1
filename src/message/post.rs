//! Messages that tools and API clients put into a conversation, and what doors must know of a session for files
//! (gateway-api.md 1.7, 1.10).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;

/// What links to a session's files need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Home {
    /// Stands for the session where its key must not be seen (core.md 22.6).
    pub sid: String,
    /// Its working directory: the workspace of its agent and role.
    pub cwd: PathBuf,
}

/// Which session is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Whose {
    Key(String),
    Sid(String),
}

/// A session as the doors need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    pub session: String,
    pub home: Home,
    /// Channel and chat of its newest message.
    pub channel: Option<String>,
    pub chat: Option<String>,
}

/// A message for the people of a session, besides the agent's reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostRequest {
    pub session: String,
    pub post: Post,
    /// Full unique key incl. scope (R50).
    pub dkey: Option<String>,
    /// Hash of what the request asked for, to tell a repeat from a conflict.
    pub body_hash: String,
    /// Only look whether it was recorded.
    pub look: bool,
    /// Whose conversation is begun with it, if there is none yet.
    pub begin: Option<Source>,
    /// Bytes of its file.
    pub size: u64,
    /// Where to, if that is not where the session's people are; `session` is empty then: it is the chat's own.
    pub target: Option<Target>,
    /// It was written before.
    pub age: Option<Age>,
}

/// When something was written that comes only now, and how long it is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Age {
    pub since: Wall,
    /// ms; else as long as any reply.
    pub life: Option<i64>,
    /// `since` is of a clock that can be believed.
    pub sure: bool,
}

/// What is done to a message that stands in a chat.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Nothing: our reaction is removed.
    React(Vec<String>),
    /// Another text, Markdown.
    Edit(String),
    Delete,
    Pin(bool),
}

/// An [`Act`] in a session's last chat.
#[derive(Clone, Debug, PartialEq)]
pub struct ActRequest {
    pub session: String,
    /// The platform's id.
    pub message: String,
    pub act: Act,
    /// As of [`PostRequest`].
    pub dkey: Option<String>,
    pub body_hash: String,
}

/// What became of something that was to be sent or done on a platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// Platform's ids of the messages, in order.
    pub ids: Vec<String>,
    /// It still goes out.
    pub queued: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// It was recorded before under this key.
    pub replayed: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Post {
    /// The text, or the file's caption.
    pub text: String,
    pub file: Option<PostedFile>,
    pub reply_to: Option<String>,
    pub parse_mode: Option<String>,
    /// Without a sound.
    pub silent: bool,
}

/// A file of a [`Post`], stored with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PostedFile {
    /// As links name it (root and path).
    pub path: String,
    /// `photo`, `audio`, `video`, `document`, `sticker`.
    pub kind: String,
    pub name: String,
}

/// A recorded post, for the viewers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Posted {
    pub session: String,
    /// External id of its segment.
    pub id: String,
    /// The message that was being answered; empty if there is none.
    pub run: String,
    pub post: Post,
    pub home: Home,
    pub at: Wall,
}
