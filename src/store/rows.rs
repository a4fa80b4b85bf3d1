//! Typed rows, and how a row of SQLite becomes one.

use std::path::PathBuf;

use rusqlite::Row as SqlRow;
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::message::{Content, FileRef, Image, Row, Solo, Source, Target, Wall};

/// States of an inbox row (core.md 22.1, 22.3).
pub mod inbox_state {
    /// Its files are still to be fetched, or it waits for parts of the same message.
    pub const ACCEPTED: &str = "accepted";
    /// As `ACCEPTED`, and the gate has not let it in: another part may name the bot.
    pub const HELD: &str = "held";
    /// Said with another row, whose fate becomes its own.
    pub const JOINED: &str = "joined";
    pub const QUEUED: &str = "queued";
    /// A system event that no turn has taken up yet.
    pub const PENDING: &str = "pending";
    pub const IN_TURN: &str = "in_turn";
    pub const EXECUTING: &str = "executing";
    pub const ANSWERED: &str = "answered";
    pub const MERGED: &str = "merged";
    pub const INJECTED: &str = "injected";
    pub const COMMAND: &str = "command";
    pub const SILENT: &str = "silent";
    pub const DROPPED: &str = "dropped";
    pub const FAILED: &str = "failed";
    /// Of a scheduled job: it came too late to be run.
    pub const MISSED: &str = "missed";
    /// A held row that the gate did not let in. Nobody is told.
    pub const REFUSED: &str = "refused";
    /// Reason of `dropped`: `/stop all`, `/new all`.
    pub const BY_COMMAND: &str = "dropped by command";
    /// Reason of `dropped` and `silent`: its session was deleted.
    pub const DELETED: &str = "session deleted";

    /// The row's fate is recorded.
    pub fn terminal(s: &str) -> bool {
        !matches!(s, ACCEPTED | HELD | JOINED | QUEUED | PENDING | IN_TURN | EXECUTING)
    }
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewInbox<'a> {
    pub dkey: Option<&'a str>,
    pub dkey2: Option<&'a str>,
    pub kind: &'static str,
    pub session: &'a str,
    pub agent: &'a str,
    pub state: &'static str,
    pub prio: i64,
    pub at: Wall,
    pub clock_ok: bool,
    pub source: &'a Source,
    pub text: &'a str,
    pub images: &'a [Image],
    pub body_hash: Option<&'a str>,
    pub solo: Option<&'a Solo>,
    /// Still with the platform.
    pub files: &'a [FileRef],
    /// Rows of one message have it in common.
    pub group: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InboxRow {
    pub id: Row,
    pub session: String,
    pub kind: String,
    pub state: String,
    pub prio: i64,
    pub at: Wall,
    pub source: Source,
    pub text: String,
    pub images: Vec<Image>,
    pub turn: Option<Row>,
    pub inj: Option<i64>,
    pub attempts: i64,
    pub body_hash: Option<String>,
    pub reason: Option<String>,
    pub solo: Option<Solo>,
    /// Still with the platform.
    pub files: Vec<FileRef>,
    /// Rows of one message have it in common.
    pub group: Option<String>,
    /// What the agent is told of the files that came with it.
    pub tail: String,
    /// How often its files were asked for.
    pub fetches: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TurnRow {
    pub id: Row,
    pub session: String,
    pub state: String,
    pub attempts: i64,
    pub prompt: String,
    pub images: Vec<Image>,
    /// The prompt has no context line (a command for pi): found by position.
    pub plain: bool,
    pub file: PathBuf,
    pub file_len: u64,
    pub proc: u64,
    pub pid: u32,
    pub at: Wall,
    pub at_boot: u64,
    /// Somebody wanted it to end (`user`, `interrupt`, `reset`), or how it ended.
    pub stop: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SegmentRow {
    pub id: Row,
    pub turn: Option<Row>,
    pub n: Option<i64>,
    pub origin: String,
    pub inbox: Option<Row>,
    pub text: String,
    pub at: Wall,
}

#[derive(Clone, Debug)]
pub struct NewSegment<'a> {
    pub turn: Option<Row>,
    pub session: &'a str,
    pub n: Option<i64>,
    pub origin: &'static str,
    pub inbox: Option<Row>,
    pub text: &'a str,
    /// A file, as JSON.
    pub media: Option<&'a str>,
    pub target: &'a Target,
    pub at: Wall,
}

/// Kinds of an outbox row: a text or a file, and what is done to a message that stands there: it is removed, gets
/// another text (or, with an empty one, other buttons), a reaction, a pin.
pub const TEXT: &str = "send";
pub const MEDIA: &str = "media";
pub const DELETE: &str = "delete";
pub const EDIT: &str = "edit";
pub const REACT: &str = "react";
pub const PIN: &str = "pin";
pub const UNPIN: &str = "unpin";

/// Is something done to a message by it?
pub fn is_act(kind: &str) -> bool {
    !matches!(kind, TEXT | MEDIA)
}

/// Something that is owed.
#[derive(Clone, Debug)]
pub struct NewOutbox<'a> {
    /// `None`: no part of a conversation's history.
    pub segment: Option<Row>,
    pub kind: &'static str,
    pub target: &'a Target,
    /// Markdown; it is rendered and cut later.
    pub content: &'a Content,
    /// The platform's message it is about.
    pub message: Option<&'a str>,
    pub at: Wall,
    pub clock_ok: bool,
    pub expires: Wall,
}

/// A message that needs no call: stored is delivered.
#[derive(Clone, Debug)]
pub struct SentOutbox<'a> {
    pub dkey: Option<&'a str>,
    pub body_hash: &'a str,
    pub segment: Row,
    pub target: &'a Target,
    pub kind: &'static str,
    pub at: Wall,
    pub clock_ok: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    pub id: Row,
    pub target: Target,
    pub content: Content,
    pub state: String,
    pub attempts: i64,
    pub expires_at: Wall,
    pub kind: String,
    pub segment: Option<Row>,
    pub chunk: i64,
    /// `edit` if the last call was one.
    pub how: Option<String>,
    pub message: Option<String>,
    pub at: Wall,
}

/// A message that shows, or showed, chunk `index` of a turn's segment `n` while it grew.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRow {
    pub turn: Row,
    pub n: i64,
    pub index: i64,
    pub target: Target,
    /// The platform's id.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    pub key: String,
    pub sid: String,
    pub agent: String,
    pub role: Option<String>,
    pub role_manual: bool,
    pub file: PathBuf,
    pub last: Option<Source>,
    pub mode: Option<String>,
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub count: i64,
    pub last_at: Wall,
    pub created: Wall,
    /// Newest segment row before the last reset: history begins behind it.
    pub reset_at: Row,
    /// Given by its user.
    pub title: Option<String>,
}

pub(super) fn json<T: Serialize + ?Sized>(v: &T) -> String {
    serde_json::to_string(v).unwrap_or_default() // plain data with string keys: cannot fail
}

pub(super) fn parse<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default() // a column of ours; damaged = empty
}

/// Files of a stored list of pictures.
pub(super) fn images(column: &str) -> Vec<PathBuf> {
    parse::<Vec<Image>>(column).into_iter().map(|image| image.path).collect()
}

pub(super) const INBOX: &str =
    "id, session, kind, state, prio, at, source, text, media, turn, inj, attempts, body_hash, reason, solo, files, grp, tail, fetches";

pub(super) fn inbox(r: &SqlRow) -> rusqlite::Result<InboxRow> {
    Ok(InboxRow {
        id: r.get(0)?,
        session: r.get(1)?,
        kind: r.get(2)?,
        state: r.get(3)?,
        prio: r.get(4)?,
        at: r.get(5)?,
        source: parse(&r.get::<_, String>(6)?),
        text: r.get(7)?,
        images: parse(&r.get::<_, String>(8)?),
        turn: r.get(9)?,
        inj: r.get(10)?,
        attempts: r.get(11)?,
        body_hash: r.get(12)?,
        reason: r.get(13)?,
        solo: r.get::<_, Option<String>>(14)?.map(|text| parse(&text)),
        files: r.get::<_, Option<String>>(15)?.map(|text| parse(&text)).unwrap_or_default(),
        group: r.get(16)?,
        tail: r.get::<_, Option<String>>(17)?.unwrap_or_default(),
        fetches: r.get(18)?,
    })
}

pub(super) const TURN: &str =
    "id, session, state, attempts, prompt, media, plain, file, file_len, proc, pid, at, at_boot, stop";

pub(super) fn turn(r: &SqlRow) -> rusqlite::Result<TurnRow> {
    Ok(TurnRow {
        id: r.get(0)?,
        session: r.get(1)?,
        state: r.get(2)?,
        attempts: r.get(3)?,
        prompt: r.get(4)?,
        images: parse(&r.get::<_, String>(5)?),
        plain: r.get(6)?,
        file: PathBuf::from(r.get::<_, String>(7)?),
        file_len: r.get::<_, i64>(8)? as u64,
        proc: r.get::<_, i64>(9)? as u64,
        pid: r.get(10)?,
        at: r.get(11)?,
        at_boot: r.get::<_, i64>(12)? as u64,
        stop: r.get(13)?,
    })
}

pub(super) const SEGMENT: &str = "id, turn, n, origin, inbox, text, at";

pub(super) fn segment(r: &SqlRow) -> rusqlite::Result<SegmentRow> {
    Ok(SegmentRow {
        id: r.get(0)?,
        turn: r.get(1)?,
        n: r.get(2)?,
        origin: r.get(3)?,
        inbox: r.get(4)?,
        text: r.get(5)?,
        at: r.get(6)?,
    })
}

pub(super) const OUTBOX: &str =
    "id, channel, account, chat, thread, body, state, attempts, expires_at, kind, segment, chunk, how, platform_id, at";

pub(super) fn outbox(r: &SqlRow) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        id: r.get(0)?,
        target: Target { channel: r.get(1)?, account: r.get(2)?, chat: r.get(3)?, thread: r.get(4)? },
        content: parse(&r.get::<_, String>(5)?),
        state: r.get(6)?,
        attempts: r.get(7)?,
        expires_at: r.get(8)?,
        kind: r.get(9)?,
        segment: r.get(10)?,
        chunk: r.get(11)?,
        how: r.get(12)?,
        message: r.get(13)?,
        at: r.get(14)?,
    })
}

pub(super) const SESSION: &str =
    "key, sid, agent, role, role_manual, file, last, mode, model, thinking, count, last_at, created, reset_at, title";

pub(super) fn session(r: &SqlRow) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        key: r.get(0)?,
        sid: r.get(1)?,
        agent: r.get(2)?,
        role: r.get(3)?,
        role_manual: r.get(4)?,
        file: PathBuf::from(r.get::<_, String>(5)?),
        last: parse(&r.get::<_, String>(6)?),
        mode: r.get(7)?,
        model: r.get(8)?,
        thinking: r.get(9)?,
        count: r.get(10)?,
        last_at: r.get(11)?,
        created: r.get(12)?,
        reset_at: r.get(13)?,
        title: r.get(14)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    /// Every statement of core's queries, with column lists as `*`.
    fn statements() -> Vec<String> {
        let mut found = Vec::new();
        let files = [
            include_str!("actions.rs"),
            include_str!("early.rs"),
            include_str!("events.rs"),
            include_str!("messages.rs"),
            include_str!("outgoing.rs"),
            include_str!("people.rs"),
            include_str!("posts.rs"),
            include_str!("chats.rs"),
            include_str!("cron.rs"),
            include_str!("sessions.rs"),
        ];
        for piece in files.iter().flat_map(|f| f.split('"').skip(1).step_by(2)) {
            let text = piece.split_whitespace().collect::<Vec<_>>().join(" ");
            if ["SELECT ", "UPDATE ", "DELETE "].iter().any(|w| text.starts_with(w)) && text.len() > 10 {
                let columns =
                    ["{INBOX}", "{TURN}", "{SEGMENT}", "{OUTBOX}", "{SESSION}", "{COLUMNS}", "{JOB}", "{RUN}"];
                found.push(columns.iter().fold(text, |t, c| t.replace(c, "*")));
            }
        }
        found
    }

    #[test]
    fn no_statement_of_the_mind_scans_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let all = statements();
        assert!(all.len() > 25, "only {} statements found", all.len());
        for sql in all {
            let mut q = store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|e| panic!("{sql}: {e}"));
            let holes = q.parameter_count();
            for n in 1..=holes {
                q.raw_bind_parameter(n, 1).unwrap();
            }
            let mut rows = q.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let scan = step.starts_with("SCAN ")
                    && !["INDEX", "subquery", "CONSTANT ROW"].iter().any(|w| step.contains(w));
                assert!(!scan, "{sql}\n  {step}");
            }
        }
    }
}
