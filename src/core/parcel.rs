//! A message on its way, or the parts of one: what belongs together, how long it is waited for (telegram.md 8).
//!
//! Pure values: nothing is stored or fetched here.

use super::answers::WORD;
use crate::message::*;
use crate::rules::Inflow;
use crate::store::{inbox_state as st, InboxRow};

/// Parts of an album, and of a text that a client has split.
const ALBUM_PARTS: usize = 10;
const TEXT_PARTS: usize = 12;
/// Characters of such a text.
const TEXT_MOST: usize = 50_000;
/// Forwarded messages, or texts typed one after the other, that become one.
const BURST: usize = 100;

/// A message, or the parts of one.
pub struct Parcel {
    pub rows: Vec<InboxRow>,
    pub join: Join,
    /// Of its first part.
    since: Mono,
    pub step: Step,
}

/// What makes several messages one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join {
    Alone,
    Album,
    /// One text that was too long for one message.
    Text,
    Forwards,
    Typed,
    /// Alone, and maybe the answer to a question.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// More may follow until then.
    Collect(Mono),
    /// Its files are asked for when it is its turn.
    Files,
    Fetching {
        job: JobId,
        until: Mono,
    },
    Ready,
}

/// Where a new message of a session goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Queue,
    New(Join),
    /// Into that parcel.
    With(usize),
    /// It begins a parcel with the newest message of the queue: a comment and what it is about.
    After(Row),
}

impl Join {
    pub(super) fn name(self, m: &Inbound, row: Row) -> Option<String> {
        match self {
            Join::Alone | Join::Answer => None,
            Join::Album => m.group.as_ref().map(|g| format!("a:{g}")),
            Join::Text => Some(format!("t:{row}")),
            Join::Forwards => Some(format!("f:{row}")),
            Join::Typed => Some(format!("d:{row}")),
        }
    }

    /// What stands between the parts.
    pub(super) fn between(self) -> &'static str {
        if self == Join::Text {
            ""
        } else {
            "\n\n"
        }
    }

    /// What the parts say together.
    pub(super) fn text<'a>(self, texts: impl Iterator<Item = &'a str>) -> String {
        let texts: Vec<&str> = texts.filter(|t| !t.is_empty()).collect();
        match self {
            Join::Album if texts.is_empty() => "(album)".to_owned(),
            _ => texts.join(self.between()),
        }
    }

    pub(super) fn of(name: Option<&str>) -> Join {
        match name.and_then(|n| n.split_once(':')).map_or("", |(kind, _)| kind) {
            "a" => Join::Album,
            "t" => Join::Text,
            "f" => Join::Forwards,
            "d" => Join::Typed,
            _ => Join::Alone,
        }
    }

    /// How long the next part is waited for.
    fn window(self, rules: &Inflow) -> u64 {
        match self {
            Join::Alone => 0,
            Join::Album => rules.album,
            Join::Text => rules.long_wait,
            Join::Forwards => rules.forwards,
            Join::Typed => rules.typing,
            Join::Answer => WORD,
        }
    }
}

impl Parcel {
    pub(super) fn new(rows: Vec<InboxRow>, join: Join, now: Mono, rules: &Inflow) -> Parcel {
        Parcel { rows, join, since: now, step: Step::Collect(now + join.window(rules)) }
    }

    fn is_from(&self, s: &Source) -> bool {
        self.rows.iter().all(|r| r.source.sender == s.sender && is_there(&r.source, s))
    }

    pub(super) fn target(&self) -> Target {
        self.rows.first().map(|r| Target::from(&r.source)).unwrap_or_default()
    }

    /// Is that message a part of it? `last`: nothing of its chat came after it.
    pub(super) fn takes(&self, m: &Inbound, now: Mono, last: bool) -> bool {
        if !matches!(self.step, Step::Collect(due) if due > now) || !self.is_from(&m.source) {
            return false;
        }
        let plain = is_plain(m);
        match self.join {
            Join::Alone | Join::Answer => false,
            Join::Album => {
                let name = self.rows.first().and_then(|r| r.group.as_deref());
                name.is_some() && name == Join::Album.name(m, 0).as_deref() && self.rows.len() < ALBUM_PARTS
            }
            Join::Text => {
                let length: usize = self.rows.iter().map(|r| r.text.chars().count()).sum();
                let before = self.rows.last().and_then(|r| number(&r.source));
                let follows = before.zip(number(&m.source)).is_some_and(|(a, b)| b > a && b - a <= 2);
                let room = self.rows.len() < TEXT_PARTS && length + m.text.chars().count() <= TEXT_MOST;
                plain && follows && room
            }
            Join::Forwards => m.forwarded && m.group.is_none() && last && self.rows.len() < BURST,
            Join::Typed => {
                let typed = plain && !m.text.starts_with('/');
                (typed || (m.forwarded && m.group.is_none())) && last && self.rows.len() < BURST
            }
        }
    }

    /// A part came: until when more are waited for.
    pub(super) fn add(&mut self, row: InboxRow, now: Mono, rules: &Inflow) {
        let complete = match self.join {
            Join::Text => units(&row.text) < rules.long_text || self.rows.len() + 1 >= TEXT_PARTS,
            Join::Album => self.rows.len() + 1 >= ALBUM_PARTS,
            _ => self.rows.len() + 1 >= BURST,
        };
        self.rows.push(row);
        let most = if self.join == Join::Text { TEXT_PARTS as u64 * rules.long_wait } else { rules.album_most };
        let due = (now + self.join.window(rules)).min((self.since + most).max(now));
        self.step = Step::Collect(if complete { now } else { due });
    }

    /// What must not be, for the simulator.
    pub fn broken(&self) -> Option<&'static str> {
        let early = |r: &InboxRow| matches!(r.state.as_str(), st::ACCEPTED | st::HELD);
        match self.step {
            _ if self.rows.is_empty() => Some("an empty parcel"),
            _ if !self.rows.iter().all(early) => Some("a row on its way that is elsewhere"),
            Step::Files | Step::Fetching { .. } if self.rows.iter().any(|r| r.state == st::HELD) => {
                Some("files of a message that was not let in are fetched")
            }
            _ => None,
        }
    }

    /// What all of it says.
    pub(super) fn text(&self) -> String {
        self.join.text(self.rows.iter().map(|r| r.text.as_str()))
    }
}

pub(super) fn is_there(a: &Source, b: &Source) -> bool {
    (&a.channel, &a.account, &a.chat, &a.thread) == (&b.channel, &b.account, &b.chat, &b.thread)
}

/// Words of its sender and nothing else.
pub(super) fn is_plain(m: &Inbound) -> bool {
    m.files.is_empty() && m.images.is_empty() && m.group.is_none() && !m.forwarded
}

pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Platforms that number the messages of a chat.
pub(super) fn number(s: &Source) -> Option<i64> {
    s.message_id.as_ref()?.parse().ok()
}
