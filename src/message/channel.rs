//! Between the mind and a platform's threads: what a reader brings, what a caller is asked to do, what became of it.

use serde::{Deserialize, Serialize};

use super::*;

// ---------------------------------------------------------------- readers

/// One update of a platform, parsed by its reader.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// Unique key of the platform's delivery (core.md 22.2).
    pub dkey: String,
    pub dkey2: Option<String>,
    pub source: Source,
    pub text: String,
    pub images: Vec<Image>,
    pub facts: Facts,
}

/// What the access gate needs to know beside the source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// In a group: the bot is spoken to.
    pub mentioned: bool,
    /// Topic by which a group's settings are looked up, where that is not the thread of the conversation.
    pub topic: Option<String>,
}

/// What a reader hands over in one piece; answered with [`Answer::Ok`] when it is on disk.
#[derive(Clone, Debug)]
pub struct Batch {
    pub channel: String,
    pub account: String,
    pub updates: Vec<Inbound>,
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
    /// A new message. `nonce`: the row's external id, by which a platform may know a repeat.
    Send { content: Content, nonce: String },
    /// Another text for a message of ours.
    Edit { id: String, content: Content },
    Delete { id: String },
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
}

/// What became of a [`Call`] (core.md 22.3).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Sent {
        id: String,
    },
    /// Of a view: the message that shows the text now, if there is one; `full`: the text goes on in another message.
    Shown {
        id: Option<String>,
        full: bool,
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
    /// Nobody knows whether it was taken.
    Ambiguous {
        why: String,
    },
    /// The message to be changed is not there any more.
    Gone,
    /// The form was refused: the same without it.
    Reformat,
    Unauthorized {
        why: String,
    },
    Refused {
        why: String,
    },
}
