//! The shared read-only connection for HTTP and metrics (core.md 22.8), and the CLI's view of the store.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::rows::{images, segment, SEGMENT};
use super::{external_id, row_of, schema, Error, Result, SegmentRow};
use crate::message::{PostedFile, Row, Wall};

/// A line of a session's history, newest store row last.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryLine {
    /// External id: `i` rows are the user's, `s` rows the agent's.
    pub id: String,
    pub user: bool,
    /// What is not the agent's own answer: a command's reply, a notice.
    pub notice: bool,
    pub text: String,
    pub at: Wall,
    /// External id of the message it belongs to.
    pub run: String,
    /// The client's idempotency key, if it gave one.
    pub key: Option<String>,
    /// Pictures of the user.
    pub images: Vec<PathBuf>,
    /// A file that a tool sent.
    pub file: Option<PostedFile>,
    /// Says why the message was not answered.
    pub failed: bool,
}

/// What a gateway still has to do; each at most [`MANY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Messages accepted and not settled.
    pub waiting: i64,
    /// Turns begun and not ended.
    pub turns: i64,
    /// Parts of replies not delivered.
    pub replies: i64,
    /// Parts of replies given up.
    pub failed: i64,
}

/// Counting stops here.
pub const MANY: i64 = 10_000;

/// Reads the store beside its writer. Queries are short and limited; the lock is held for one query.
pub struct Reader {
    pub(super) db: Mutex<Connection>,
    id: String,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Reader> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "cache_size", -128)?;
        db.busy_timeout(Duration::from_millis(250))?;
        let found: usize = db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))?.try_into().unwrap_or(0);
        if found > schema::newest() {
            return Err(Error::Newer(found));
        }
        let id = db
            .query_row("SELECT v FROM meta WHERE k = 'store_id'", [], |r| r.get::<_, String>(0))
            .optional()?
            .ok_or_else(|| Error::Corrupt("no store id".into()))?;
        Ok(Reader { db: Mutex::new(db), id })
    }

    /// Newest `limit` lines of a session since its last reset, in order; `before`: external id of a line; older than one
    /// that is not known there is nothing.
    pub fn history(&self, session: &str, limit: usize, before: Option<&str>) -> Result<Vec<HistoryLine>> {
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        let since: Option<Row> = db
            .prepare_cached("SELECT reset_at FROM session WHERE key = ?")?
            .query_row([session], |r| r.get(0))
            .optional()?;
        let Some(since) = since else { return Ok(Vec::new()) }; // deleted, or never there
        let end = match before {
            Some(before) => self.place(&db, before)?,
            None => Some((Row::MAX, 0)),
        };
        let Some(end) = end else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        let mut q = db.prepare_cached(
            "SELECT id, text, at, dkey, media FROM inbox
             WHERE session = ?1 AND id > ?2 AND (id < ?3 OR id = ?3 AND ?4 > 0) AND kind IN ('message', 'command')
             AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.id = inbox.turn AND stop = 'reset')
             AND reason IS NOT 'session deleted'
             ORDER BY id DESC LIMIT ?5",
        )?;
        // A reset records the newest segment; messages before it have ids below its own inbox row.
        let since_inbox: Row = db
            .prepare_cached("SELECT inbox FROM segment WHERE id = ?")?
            .query_row([since], |r| r.get::<_, Option<Row>>(0))
            .optional()?
            .flatten()
            .unwrap_or(0);
        let users = q.query_map((session, since_inbox, end.0, end.1, limit as i64 * 2), |r| {
            let id: Row = r.get(0)?;
            let dkey: Option<String> = r.get(3)?;
            let media: String = r.get(4)?;
            let run = external_id(&self.id, 'i', id);
            Ok((
                (id, 0),
                HistoryLine {
                    id: run.clone(),
                    user: true,
                    notice: false,
                    text: r.get(1)?,
                    at: r.get(2)?,
                    run,
                    key: dkey.and_then(|k| k.strip_prefix(&format!("web:{session}:")).map(str::to_owned)),
                    images: images(&media),
                    file: None,
                    failed: false,
                },
            ))
        })?;
        for line in users {
            lines.push(line?);
        }
        let sql = format!(
            "SELECT {SEGMENT}, media, (SELECT state = 'failed' FROM inbox WHERE id = segment.inbox) FROM segment
             WHERE session = ?1 AND id > ?2 AND origin <> 'block' AND (ifnull(inbox, 0) < ?3 OR inbox = ?3 AND id < ?4)
             ORDER BY id DESC LIMIT ?5"
        );
        let mut q = db.prepare_cached(&sql)?;
        let with_fate = |r: &rusqlite::Row| {
            let file = serde_json::from_str(&r.get::<_, String>(7)?).ok(); // `[]`: none
            Ok((segment(r)?, file, r.get::<_, Option<bool>>(8)?.unwrap_or(false)))
        };
        for s in q.query_map((session, since, end.0, end.1, limit as i64 * 2), with_fate)? {
            let (s, file, failed): (SegmentRow, Option<PostedFile>, bool) = s?;
            let inbox = s.inbox.unwrap_or(0);
            lines.push((
                (inbox.max(1), s.id),
                HistoryLine {
                    id: external_id(&self.id, 's', s.id),
                    user: false,
                    notice: !matches!(s.origin.as_str(), "reply" | "tool" | "cron" | "heartbeat"),
                    text: s.text,
                    at: s.at,
                    run: external_id(&self.id, 'i', inbox),
                    key: None,
                    images: Vec::new(),
                    file,
                    failed: failed && !matches!(s.origin.as_str(), "tool" | "cron" | "heartbeat"),
                },
            ));
        }
        lines.sort_by_key(|(at, _)| *at);
        let mut lines: Vec<HistoryLine> = lines.into_iter().map(|(_, l)| l).collect();
        let extra = lines.len().saturating_sub(limit);
        lines.drain(..extra);
        Ok(lines)
    }

    /// Where a line stands: message by message, answers after what they answer.
    fn place(&self, db: &Connection, ext: &str) -> Result<Option<(Row, Row)>> {
        if let Some(id) = self.row('i', ext) {
            return Ok(Some((id, 0)));
        }
        let Some(id) = self.row('s', ext) else { return Ok(None) };
        let inbox = db
            .prepare_cached("SELECT inbox FROM segment WHERE id = ?")?
            .query_row([id], |r| r.get::<_, Option<Row>>(0))
            .optional()?;
        Ok(inbox.map(|inbox| (inbox.unwrap_or(0).max(1), id)))
    }

    /// External id to row id of this store.
    pub fn row(&self, table: char, ext: &str) -> Option<Row> {
        row_of(&self.id, table, ext)
    }

    pub fn store_id(&self) -> &str {
        &self.id
    }

    /// `ok`, or what SQLite found wrong (for `doctor`).
    pub fn check(&self) -> Result<String> {
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        Ok(db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?)
    }

    /// What is still to be done (for `doctor`).
    pub fn owed(&self) -> Result<Owed> {
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        let count = |table: &str, states: &str| -> Result<i64> {
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {states} LIMIT {MANY})");
            Ok(db.query_row(&sql, [], |r| r.get(0))?)
        };
        Ok(Owed {
            waiting: count("inbox", "state IN ('queued', 'in_turn', 'executing', 'accepted', 'held')")?,
            turns: count("turn", "state = 'prompting'")?,
            replies: count("outbox", "state IN ('raw', 'ready', 'sending')")?,
            failed: count("outbox", "state IN ('failed', 'expired')")?,
        })
    }

    /// The last gateway closed the store. A running one has not yet.
    pub fn closed(&self) -> Result<bool> {
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        let mark = db.query_row("SELECT v FROM meta WHERE k = 'clean'", [], |r| r.get::<_, String>(0)).optional()?;
        Ok(mark.as_deref() == Some("1"))
    }

    /// What was saved when this store took a damaged one's place, while that still lies beside it.
    pub fn salvaged(&self) -> Result<Option<String>> {
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        let mark = |k: &str| db.query_row("SELECT v FROM meta WHERE k = ?", [k], |r| r.get::<_, String>(0)).optional();
        match mark("salvaged_from")?.is_some_and(|aside| Path::new(&aside).exists()) {
            true => Ok(mark("salvaged")?),
            false => Ok(None),
        }
    }
}
