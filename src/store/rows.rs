//! Typed rows and core's queries. Every query uses an index and a LIMIT or a key.

use std::path::PathBuf;

use rusqlite::{named_params, OptionalExtension, Row as SqlRow};
use serde::de::DeserializeOwned;
use serde::Serialize;

use super::{Result, Store, Table};
use crate::message::{Image, Row, Solo, Source, Target, Usage, Wall};

/// States of an inbox row (core.md 22.1, 22.3).
pub mod inbox_state {
    pub const QUEUED: &str = "queued";
    pub const IN_TURN: &str = "in_turn";
    pub const EXECUTING: &str = "executing";
    pub const ANSWERED: &str = "answered";
    pub const MERGED: &str = "merged";
    pub const INJECTED: &str = "injected";
    pub const COMMAND: &str = "command";
    pub const SILENT: &str = "silent";
    pub const DROPPED: &str = "dropped";
    pub const FAILED: &str = "failed";
    /// Reason of `dropped`: its session was deleted.
    pub const DELETED: &str = "session deleted";

    /// The row's fate is recorded.
    pub fn terminal(s: &str) -> bool {
        !matches!(s, QUEUED | IN_TURN | EXECUTING)
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

/// A chunk that is owed.
#[derive(Clone, Debug)]
pub struct NewOutbox<'a> {
    pub segment: Row,
    pub chunk: i64,
    pub target: &'a Target,
    pub body: &'a str,
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
    pub body: String,
    pub state: String,
    pub attempts: i64,
    pub expires_at: Wall,
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

fn json<T: Serialize + ?Sized>(v: &T) -> String {
    serde_json::to_string(v).unwrap_or_default() // plain data with string keys: cannot fail
}

fn parse<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default() // a column of ours; damaged = empty
}

/// Files of a stored list of pictures.
pub(super) fn images(column: &str) -> Vec<PathBuf> {
    parse::<Vec<Image>>(column).into_iter().map(|image| image.path).collect()
}

const INBOX: &str =
    "id, session, kind, state, prio, at, source, text, media, turn, inj, attempts, body_hash, reason, solo";

fn inbox(r: &SqlRow) -> rusqlite::Result<InboxRow> {
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
    })
}

const TURN: &str = "id, session, state, attempts, prompt, media, plain, file, file_len, proc, pid, at, at_boot, stop";

fn turn(r: &SqlRow) -> rusqlite::Result<TurnRow> {
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

const OUTBOX: &str = "id, channel, account, chat, thread, body, state, attempts, expires_at";

fn outbox(r: &SqlRow) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        id: r.get(0)?,
        target: Target { channel: r.get(1)?, account: r.get(2)?, chat: r.get(3)?, thread: r.get(4)? },
        body: r.get(5)?,
        state: r.get(6)?,
        attempts: r.get(7)?,
        expires_at: r.get(8)?,
    })
}

const SESSION: &str =
    "key, sid, agent, role, role_manual, file, last, mode, model, thinking, count, last_at, created, reset_at, title";

fn session(r: &SqlRow) -> rusqlite::Result<SessionRow> {
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

impl Store {
    // ---- inbox

    pub fn add_inbox(&self, m: &NewInbox) -> Result<Row> {
        let id = self.ids.next(Table::Inbox);
        self.db()?
            .prepare_cached(
                "INSERT INTO inbox(id, dkey, dkey2, kind, session, agent, state, prio, at, clock_ok, source, text, media, body_hash, solo)
                 VALUES(:id, :dkey, :dkey2, :kind, :session, :agent, :state, :prio, :at, :ok, :source, :text, :media, :hash, :solo)",
            )?
            .execute(named_params! {
                ":id": id, ":dkey": m.dkey, ":dkey2": m.dkey2, ":kind": m.kind, ":session": m.session, ":agent": m.agent,
                ":state": m.state, ":prio": m.prio, ":at": m.at, ":ok": m.clock_ok, ":source": json(m.source),
                ":text": m.text, ":media": json(m.images), ":hash": m.body_hash,
                ":solo": m.solo.map(json),
            })?;
        Ok(id)
    }

    /// The id that the next row of the inbox will get.
    pub fn next_inbox(&self) -> Row {
        self.ids.peek(Table::Inbox)
    }

    /// The row with that unique key, in either key column.
    pub fn inbox_by_key(&self, dkey: &str) -> Result<Option<InboxRow>> {
        let first = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_key WHERE dkey = ?");
        if let Some(row) = self.db()?.prepare_cached(&first)?.query_row([dkey], inbox).optional()? {
            return Ok(Some(row));
        }
        let second = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_key2 WHERE dkey2 = ?");
        Ok(self.db()?.prepare_cached(&second)?.query_row([dkey], inbox).optional()?)
    }

    pub fn inbox(&self, id: Row) -> Result<Option<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox WHERE id = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([id], inbox).optional()?)
    }

    pub fn inbox_of_turn(&self, turn: Row) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox WHERE turn = ? ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([turn], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Waiting messages of a session, oldest first.
    pub fn inbox_waiting(&self, session: &str, state: &str) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_open WHERE session = ? AND state = ? AND state IN ('queued', 'in_turn', 'executing') ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([session, state], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Keys of sessions that have rows in that state.
    pub fn sessions_with(&self, state: &str) -> Result<Vec<String>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT DISTINCT session FROM inbox INDEXED BY inbox_open WHERE state = ? AND state IN ('queued', 'in_turn', 'executing') LIMIT 1000",
        )?;
        let rows = q.query_map([state], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    pub fn set_inbox(
        &self,
        id: Row,
        state: &str,
        turn: Option<Row>,
        inj: Option<i64>,
        reason: Option<&str>,
    ) -> Result<()> {
        let db = self.db()?;
        db.prepare_cached("UPDATE inbox SET state = ?, inj = ?, reason = ? WHERE id = ?")?
            .execute((state, inj, reason, id))?;
        // An index of its own: not written anew for what stays.
        db.prepare_cached("UPDATE inbox SET turn = ?1 WHERE id = ?2 AND turn IS NOT ?1")?.execute((turn, id))?;
        Ok(())
    }

    // ---- turns

    /// `known`: the id of a turn whose row a power cut took away.
    pub fn add_turn(&self, known: Option<Row>, session: &str, at: Wall, at_boot: u64) -> Result<Row> {
        let id = known.unwrap_or_else(|| self.ids.next(Table::Turn));
        self.db()?
            .prepare_cached(
                "INSERT INTO turn(id, session, state, attempts, prompt, media, plain, file, file_len, proc, pid, at, at_boot)
                 VALUES(?, ?, 'prompting', 0, '', '[]', 0, '', 0, 0, 0, ?, ?)",
            )?
            .execute((id, session, at, at_boot as i64))?;
        Ok(id)
    }

    /// One more attempt begins: everything recovery needs.
    pub fn set_turn(&self, t: &TurnRow) -> Result<()> {
        self.db()?
            .prepare_cached(
                "UPDATE turn SET state = ?, attempts = ?, prompt = ?, media = ?, plain = ?, file = ?, file_len = ?,
                 proc = ?, pid = ?, at_boot = ? WHERE id = ?",
            )?
            .execute((
                &t.state,
                t.attempts,
                &t.prompt,
                json(&t.images),
                t.plain,
                t.file.to_string_lossy(),
                t.file_len as i64,
                t.proc as i64,
                t.pid,
                t.at_boot as i64,
                t.id,
            ))?;
        Ok(())
    }

    /// The turn is to end, whatever happens to this process.
    pub fn stop_turn(&self, id: Row, why: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE turn SET stop = ? WHERE id = ?")?.execute((why, id))?;
        Ok(())
    }

    pub fn end_turn(&self, id: Row, state: &str, stop: &str, model: &str, usage: &Usage) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE turn SET state = ?, stop = ?, model = ?, usage = ? WHERE id = ?")?
            .execute((state, stop, model, json(usage), id))?;
        Ok(())
    }

    /// How a turn ended, and what it has used.
    pub fn turn_end(&self, id: Row) -> Result<(String, Usage)> {
        let mut q = self.db()?.prepare_cached("SELECT stop, usage FROM turn WHERE id = ?")?;
        let (stop, usage): (Option<String>, Option<String>) =
            q.query_row([id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?.unwrap_or_default();
        Ok((stop.unwrap_or_default(), usage.map(|text| parse(&text)).unwrap_or_default()))
    }

    pub fn turn(&self, id: Row) -> Result<Option<TurnRow>> {
        let sql = format!("SELECT {TURN} FROM turn WHERE id = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([id], turn).optional()?)
    }

    /// Turns whose end is not recorded, oldest first: a message of each is in it.
    pub fn open_turns(&self) -> Result<Vec<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id IN (SELECT turn FROM inbox INDEXED BY inbox_open WHERE state = 'in_turn' AND state IN ('queued', 'in_turn', 'executing') LIMIT 10000)
             AND state = 'prompting' ORDER BY id LIMIT 1000"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_map([], turn)?.collect::<rusqlite::Result<_>>()?)
    }

    pub fn open_turn_of(&self, session: &str) -> Result<Option<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id IN (SELECT turn FROM inbox INDEXED BY inbox_open WHERE session = ? AND state = 'in_turn' AND state IN ('queued', 'in_turn', 'executing') LIMIT 1000)
             AND state = 'prompting' ORDER BY id DESC LIMIT 1"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_row([session], turn).optional()?)
    }

    /// The newest turn of a session, if it failed. The messages of a session's newest turn are among its newest.
    pub fn last_failed_turn(&self, session: &str) -> Result<Option<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id = (SELECT max(turn) FROM (SELECT turn FROM inbox WHERE session = ? ORDER BY id DESC LIMIT 200))"
        );
        let row = self.db()?.prepare_cached(&sql)?.query_row([session], turn).optional()?;
        Ok(row.filter(|t| t.state == "failed"))
    }

    // ---- segments

    pub fn add_segment(&self, s: &NewSegment) -> Result<Row> {
        let id = self.ids.next(Table::Segment);
        self.db()?
            .prepare_cached(
                "INSERT INTO segment(id, turn, session, n, origin, inbox, text, media, target, at)
                 VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                id,
                s.turn,
                s.session,
                s.n,
                s.origin,
                s.inbox,
                s.text,
                s.media.unwrap_or("[]"),
                json(s.target),
                s.at,
            ))?;
        Ok(id)
    }

    pub fn segments_of(&self, turn: Row) -> Result<Vec<SegmentRow>> {
        let sql = format!("SELECT {SEGMENT} FROM segment WHERE turn = ? ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([turn], segment)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The segment that answers a message: of a turn, or by itself.
    pub fn segment_for(&self, inbox: Row) -> Result<Option<SegmentRow>> {
        let db = self.db()?;
        let of_turn = format!(
            "SELECT {SEGMENT} FROM segment WHERE turn = (SELECT turn FROM inbox WHERE id = ?1) AND inbox = ?1 AND origin <> 'tool' ORDER BY id DESC LIMIT 1"
        );
        let alone = format!(
            "SELECT {SEGMENT} FROM segment INDEXED BY segment_inbox WHERE inbox = ? AND turn IS NULL AND origin <> 'tool' ORDER BY id DESC LIMIT 1"
        );
        let of_turn = db.prepare_cached(&of_turn)?.query_row([inbox], segment).optional()?;
        let alone = db.prepare_cached(&alone)?.query_row([inbox], segment).optional()?;
        Ok([of_turn, alone].into_iter().flatten().max_by_key(|s| s.id))
    }

    /// The newest message of a session; of one whose messages were cleaned away, the newest that was answered.
    pub fn newest_inbox(&self, session: &str) -> Result<Option<Row>> {
        let mut q = self.db()?.prepare_cached("SELECT id FROM inbox WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        if let Some(id) = q.query_row([session], |r| r.get(0)).optional()? {
            return Ok(Some(id));
        }
        let mut q =
            self.db()?.prepare_cached("SELECT inbox FROM segment WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        Ok(q.query_row([session], |r| r.get(0)).optional()?.flatten())
    }

    pub fn newest_segment(&self, session: &str) -> Result<Row> {
        let mut q = self.db()?.prepare_cached("SELECT id FROM segment WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        Ok(q.query_row([session], |r| r.get(0)).optional()?.unwrap_or(0))
    }

    // ---- outbox

    pub fn add_outbox(&self, o: &NewOutbox) -> Result<Row> {
        let id = self.ids.next(Table::Outbox);
        let t = o.target;
        self.db()?
            .prepare_cached(
                "INSERT INTO outbox(id, segment, chunk, channel, account, chat, thread, kind, body, state, expires_at, at, clock_ok)
                 VALUES(?, ?, ?, ?, ?, ?, ?, 'send', ?, 'ready', ?, ?, ?)",
            )?
            .execute((
                id, o.segment, o.chunk, &t.channel, &t.account, &t.chat, &t.thread, o.body, o.expires, o.at, o.clock_ok,
            ))?;
        Ok(id)
    }

    /// The record of what was delivered by being stored.
    pub fn add_sent(&self, o: &SentOutbox) -> Result<Row> {
        let id = self.ids.next(Table::Outbox);
        let t = o.target;
        self.db()?
            .prepare_cached(
                "INSERT INTO outbox(id, dkey, body_hash, segment, chunk, channel, account, chat, thread, kind, body, state, expires_at, at, clock_ok)
                 VALUES(?, ?, ?, ?, 0, ?, ?, ?, ?, ?, '', 'sent', ?, ?, ?)",
            )?
            .execute((
                id, o.dkey, o.body_hash, o.segment, &t.channel, &t.account, &t.chat, &t.thread, o.kind, o.at, o.at,
                o.clock_ok,
            ))?;
        Ok(id)
    }

    /// Segment and body hash of the send with that unique key.
    pub fn sent_by_key(&self, dkey: &str) -> Result<Option<(Row, Option<String>)>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT segment, body_hash FROM outbox INDEXED BY outbox_key WHERE dkey = ? AND segment IS NOT NULL",
        )?;
        Ok(q.query_row([dkey], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    pub fn set_outbox(
        &self,
        id: Row,
        state: &str,
        attempts: i64,
        platform_id: Option<&str>,
        error: Option<&str>,
    ) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE outbox SET state = ?, attempts = ?, platform_id = coalesce(?, platform_id), error = ? WHERE id = ?")?
            .execute((state, attempts, platform_id, error, id))?;
        Ok(())
    }

    /// Rows not yet closed, oldest first, of all lanes behind `after`.
    pub fn outbox_open(&self, state: &str, after: Row, limit: usize) -> Result<Vec<OutboxRow>> {
        let sql = format!("SELECT {OUTBOX} FROM outbox INDEXED BY outbox_open WHERE state = ? AND state IN ('ready', 'sending') AND id > ? ORDER BY id LIMIT ?");
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_map((state, after, limit as i64), outbox)?
            .collect::<rusqlite::Result<_>>()?)
    }

    /// The oldest open row of a lane.
    pub fn outbox_head(&self, t: &Target) -> Result<Option<OutboxRow>> {
        let sql = format!(
            "SELECT {OUTBOX} FROM outbox INDEXED BY outbox_lane
             WHERE channel = ? AND account = ? AND chat = ? AND thread = ? AND state IN ('ready', 'sending') ORDER BY id LIMIT 1"
        );
        Ok(self
            .db()?
            .prepare_cached(&sql)?
            .query_row((&t.channel, &t.account, &t.chat, &t.thread), outbox)
            .optional()?)
    }

    /// `(rows, oldest time)` still owed.
    pub fn outbox_owed(&self) -> Result<(i64, Option<Wall>)> {
        let mut q = self.db()?.prepare_cached(
            "SELECT count(*), min(at) FROM (SELECT at FROM outbox INDEXED BY outbox_open WHERE state IN ('ready', 'sending') LIMIT 10000)",
        )?;
        Ok(q.query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?)
    }

    // ---- sessions

    pub fn session(&self, key: &str) -> Result<Option<SessionRow>> {
        let sql = format!("SELECT {SESSION} FROM session WHERE key = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([key], session).optional()?)
    }

    /// The session that a link's `sk` stands for.
    pub fn session_by_sid(&self, sid: &str) -> Result<Option<SessionRow>> {
        let sql = format!("SELECT {SESSION} FROM session WHERE sid = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([sid], session).optional()?)
    }

    /// All sessions, most recently active first.
    pub fn sessions(&self, limit: usize) -> Result<Vec<SessionRow>> {
        let sql = format!("SELECT {SESSION} FROM session ORDER BY minute DESC, key LIMIT ?");
        let mut q = self.db()?.prepare_cached(&sql)?;
        let mut list: Vec<SessionRow> = q.query_map([limit as i64], session)?.collect::<rusqlite::Result<_>>()?;
        list.sort_by_key(|s| std::cmp::Reverse(s.last_at)); // the index knows minutes
        Ok(list)
    }

    /// Keys of sessions that begin like that.
    pub fn sessions_beginning(&self, prefix: &str) -> Result<Vec<String>> {
        let end = format!("{prefix}\u{7f}"); // behind every character of a key
        let mut q =
            self.db()?.prepare_cached("SELECT key FROM session WHERE key >= ? AND key < ? ORDER BY key LIMIT 1000")?;
        let keys = q.query_map((prefix, end), |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    pub fn count_sessions(&self) -> Result<usize> {
        Ok(self.db()?.prepare_cached("SELECT count(*) FROM session")?.query_row([], |r| r.get::<_, i64>(0))? as usize)
    }

    /// Stores a session. The list's index is touched once a minute at most.
    pub fn put_session(&self, s: &SessionRow) -> Result<()> {
        let minute = s.last_at / 60_000;
        let changed = self
            .db()?
            .prepare_cached(
                "UPDATE session SET agent = ?2, role = ?3, role_manual = ?4, file = ?5, last = ?6, mode = ?7, model = ?8,
                 thinking = ?9, count = ?10, last_at = ?11, reset_at = ?12, title = ?13 WHERE key = ?1",
            )?
            .execute((
                &s.key,
                &s.agent,
                &s.role,
                s.role_manual,
                s.file.to_string_lossy(),
                json(&s.last),
                &s.mode,
                &s.model,
                &s.thinking,
                s.count,
                s.last_at,
                s.reset_at,
                &s.title,
            ))?;
        if changed > 0 {
            self.db()?
                .prepare_cached("UPDATE session SET minute = ?2 WHERE key = ?1 AND minute <> ?2")?
                .execute((&s.key, minute))?;
            return Ok(());
        }
        self.db()?
            .prepare_cached("INSERT INTO session VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute((
                &s.key,
                &s.sid,
                &s.agent,
                &s.role,
                s.role_manual,
                s.file.to_string_lossy(),
                json(&s.last),
                &s.mode,
                &s.model,
                &s.thinking,
                s.count,
                s.last_at,
                s.created,
                s.reset_at,
                &s.title,
                minute,
            ))?;
        Ok(())
    }

    pub fn delete_session(&self, key: &str) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM session WHERE key = ?")?.execute([key])?;
        Ok(())
    }

    // ---- cursors

    pub fn set_cursor(&self, channel: &str, account: &str, value: &str, at: Wall) -> Result<()> {
        self.db()?
            .prepare_cached("INSERT OR REPLACE INTO cursor VALUES(?, ?, ?, ?)")?
            .execute((channel, account, value, at))?;
        Ok(())
    }

    pub fn cursor(&self, channel: &str, account: &str) -> Result<Option<String>> {
        let mut q = self.db()?.prepare_cached("SELECT value FROM cursor WHERE channel = ? AND account = ?")?;
        Ok(q.query_row([channel, account], |r| r.get(0)).optional()?)
    }

    // ---- housekeeping

    /// Rows written before the clock was trusted get this moment as their time.
    pub fn confirm_clock(&self, at: Wall, lifetime: i64) -> Result<()> {
        self.db()?.execute(
            "UPDATE inbox INDEXED BY inbox_open SET at = ?, clock_ok = 1 WHERE state IN ('queued', 'in_turn', 'executing') AND clock_ok = 0",
            [at],
        )?;
        self.db()?.execute(
            "UPDATE outbox INDEXED BY outbox_open SET at = ?1, clock_ok = 1, expires_at = ?1 + ?2 WHERE state IN ('ready', 'sending') AND clock_ok = 0",
            [at, lifetime],
        )?;
        Ok(())
    }

    /// Empties texts of what is over and older than `before`, and removes inbox rows older than `gone`,
    /// at most 200 rows each. Returns whether there may be more.
    pub fn clean(&self, before: Wall, gone: Wall, keep_keys: i64) -> Result<bool> {
        let db = self.db()?;
        let mut more = false;
        for (mark, emptied) in [
            (
                "cleaned_turn",
                "UPDATE turn SET prompt = '', media = '[]' WHERE id > ?1 AND id <= ?2 AND state <> 'prompting'",
            ),
            (
                "cleaned_outbox",
                "UPDATE outbox SET body = '' WHERE id > ?1 AND id <= ?2 AND state NOT IN ('ready', 'sending')",
            ),
        ] {
            // Rows are as old as their ids: up to the first that is too young, 200 at a time.
            let old = match mark {
                "cleaned_turn" => "SELECT max(id), count(*) FROM (SELECT id, at FROM turn WHERE id > ?1 ORDER BY id LIMIT 200) WHERE at < ?2",
                _ => "SELECT max(id), count(*) FROM (SELECT id, at FROM outbox WHERE id > ?1 ORDER BY id LIMIT 200) WHERE at < ?2",
            };
            let from = self.meta_int(mark)?;
            let (to, n): (Option<Row>, i64) =
                db.prepare_cached(old)?.query_row([from, before], |r| Ok((r.get(0)?, r.get(1)?)))?;
            if let Some(to) = to {
                db.prepare_cached(emptied)?.execute([from, to])?;
                self.set_meta_int(mark, to)?;
            }
            more |= n == 200;
        }
        let n = db.execute(
            "DELETE FROM inbox WHERE id IN (SELECT id FROM (SELECT id, state, at FROM inbox
             WHERE id < (SELECT max(id) - ?2 FROM inbox) ORDER BY id LIMIT 400)
             WHERE at < ?1 AND state NOT IN ('queued', 'in_turn', 'executing') LIMIT 200)",
            [gone.min(before), keep_keys],
        )?;
        db.execute_batch("PRAGMA incremental_vacuum(256)")?;
        Ok(more || n >= 200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every statement of this file, with column lists as `*`.
    fn statements() -> Vec<String> {
        let mut found = Vec::new();
        for piece in include_str!("rows.rs").split('"').skip(1).step_by(2) {
            let text = piece.split_whitespace().collect::<Vec<_>>().join(" ");
            if ["SELECT ", "UPDATE ", "DELETE "].iter().any(|w| text.starts_with(w)) && text.len() > 10 {
                let columns = ["{INBOX}", "{TURN}", "{SEGMENT}", "{OUTBOX}", "{SESSION}"];
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
                let scan = step.starts_with("SCAN ") && !step.contains("INDEX") && !step.contains("subquery");
                assert!(!scan, "{sql}\n  {step}");
            }
        }
    }
}
