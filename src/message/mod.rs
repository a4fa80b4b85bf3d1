//! The vocabulary: what the threads say to one another. Events go up to `core`, effects come down.
//!
//! Nothing here waits or decides. A platform's own words never appear in this file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod channel;
mod cron;
mod delegate;
mod event;
mod observation;
mod pi;
mod post;
mod request;

pub use channel::*;
pub use cron::*;
pub use delegate::*;
pub use event::*;
pub use observation::*;
pub use pi::*;
pub use post::*;
pub use request::*;

/// Wall clock, unix milliseconds.
pub type Wall = i64;
/// Monotonic clock, milliseconds since boot (`CLOCK_BOOTTIME`).
pub type Mono = u64;

/// The time an event happened; `step` knows no other clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub wall: Wall,
    pub mono: Mono,
}

/// Number of somebody who waits for an [`Answer`]; given out by the thread that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// Number of a pi process: the counter of its process mark, never given twice in a store's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcId(pub u64);

/// Number of a command written to a pi process; its response carries it.
pub type CmdId = u64;
/// Number of a job given to a session's hands.
pub type JobId = u64;
/// Row id of the inbox, turn, segment or outbox table.
pub type Row = i64;

// ---------------------------------------------------------------- messages

/// Kind of conversation a message comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatType {
    #[default]
    Dm,
    Group,
    Channel,
    Thread,
}

/// Where a message comes from (core.md 1.1). Ids are the platform's, as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    pub channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub chat_type: ChatType,
    pub chat: String,
    /// What the platform calls a group or channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub sender: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guild: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub member_roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<(String, String)>,
    /// Forced agent (cron, delegation, `agent/<id>` of the API).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Where an outgoing message goes. The lane is one per target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub channel: String,
    pub account: String,
    pub chat: String,
    pub thread: String,
}

impl From<&Source> for Target {
    fn from(s: &Source) -> Target {
        Target {
            channel: s.channel.clone(),
            account: s.account.clone().unwrap_or_default(),
            chat: s.chat.clone(),
            thread: s.thread.clone().unwrap_or_default(),
        }
    }
}

/// Reads a place that somebody wrote by hand: channel, place, and the accounts that there are. What a place looks like
/// is the channel's affair. By default there are no channels.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub fn(&str, &str, &[&str]) -> Result<Target, String>);

impl Default for Address {
    fn default() -> Address {
        Address(|channel, _, _| Err(format!("there is no channel \"{channel}\"")))
    }
}

impl PartialEq for Address {
    fn eq(&self, _: &Address) -> bool {
        true // there is one per program
    }
}

/// A picture on disk; base64 is made while it is written into pi's pipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub path: PathBuf,
    pub mime: String,
}
