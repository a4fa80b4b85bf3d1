//! Sessions, readers' cursors and housekeeping: core's queries.

use std::sync::LazyLock;

use rusqlite::OptionalExtension;

use super::rows::*;
use super::{Result, Store};
use crate::message::{Row, SessionPlace, Wall};

/// Stores a session or changes it, but for what it keeps: its key, what was made with it, and its `minute`.
static PUT: LazyLock<String> = LazyLock::new(|| {
    let changes = SESSION.split(", ").filter(|c| !matches!(*c, "key" | "sid" | "created"));
    let changes: Vec<String> = changes.map(|c| format!("{c} = excluded.{c}")).collect();
    let values = "?, ".repeat(SESSION.split(", ").count());
    let changes = changes.join(", ");
    format!("INSERT INTO session({SESSION}, minute) VALUES({values}?) ON CONFLICT(key) DO UPDATE SET {changes}")
});

impl Store {
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

    /// Conversations, most recently active first: all sessions but those of delegated tasks, of which a day may bring
    /// hundreds.
    pub fn conversations(&self, limit: usize) -> Result<Vec<SessionRow>> {
        let sql = format!(
            "SELECT {SESSION} FROM session WHERE +key NOT BETWEEN 'delegate:' AND 'delegate;'
             ORDER BY minute DESC, key LIMIT ?"
        );
        let mut q = self.db()?.prepare_cached(&sql)?;
        let mut list: Vec<SessionRow> = q.query_map([limit as i64], session)?.collect::<rusqlite::Result<_>>()?;
        list.sort_by_key(|s| std::cmp::Reverse(s.last_at)); // the index knows minutes
        Ok(list)
    }

    /// A page of all sessions, behind a place in their order (by minute and key, as the index has it).
    pub fn sessions_behind(&self, place: Option<&SessionPlace>, limit: usize) -> Result<Vec<SessionRow>> {
        let (minute, key) = place.map_or((i64::MAX, ""), |(minute, key)| (*minute, key));
        let sql = format!(
            "SELECT {SESSION} FROM session WHERE minute <= ?1 AND (minute < ?1 OR key > ?2)
             ORDER BY minute DESC, key LIMIT ?3"
        );
        let mut q = self.db()?.prepare_cached(&sql)?;
        let page = q.query_map((minute, key, limit as i64), session)?.collect::<rusqlite::Result<_>>()?;
        Ok(page)
    }

    /// Keys of sessions that begin like that.
    pub fn sessions_beginning(&self, prefix: &str) -> Result<Vec<String>> {
        let end = format!("{prefix}\u{7f}"); // behind every character of a key
        let mut q =
            self.db()?.prepare_cached("SELECT key FROM session WHERE key >= ? AND key < ? ORDER BY key LIMIT 1000")?;
        let keys = q.query_map((prefix, end), |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    /// Keys that begin so and whose last word is older, 200 at most.
    pub fn sessions_idle(&self, prefix: &str, before: Wall) -> Result<Vec<String>> {
        let end = format!("{prefix}\u{10ffff}");
        let sql = "SELECT key FROM session WHERE key >= ?1 AND key < ?2 AND last_at < ?3 ORDER BY key LIMIT 200";
        let mut q = self.db()?.prepare_cached(sql)?;
        let keys = q.query_map((prefix, end, before), |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(keys)
    }

    pub fn count_sessions(&self) -> Result<usize> {
        Ok(self.db()?.prepare_cached("SELECT count(*) FROM session")?.query_row([], |r| r.get::<_, i64>(0))? as usize)
    }

    /// Stores a session. The list's index is touched once a minute at most.
    pub fn put_session(&self, s: &SessionRow) -> Result<()> {
        let db = self.db()?;
        let minute = s.last_at.div_euclid(60_000);
        db.prepare_cached(&PUT)?.execute((
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
        db.prepare_cached("UPDATE session SET minute = ?2 WHERE key = ?1 AND minute <> ?2")?
            .execute((&s.key, minute))?;
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
            "UPDATE inbox INDEXED BY inbox_early SET at = ?, clock_ok = 1 WHERE state IN ('accepted', 'held') AND clock_ok = 0",
            [at],
        )?;
        self.db()?.execute(
            "UPDATE inbox INDEXED BY inbox_event SET at = ?, clock_ok = 1 WHERE state = 'pending' AND clock_ok = 0",
            [at],
        )?;
        self.db()?.execute(
            "UPDATE outbox INDEXED BY outbox_open SET at = ?1, clock_ok = 1, expires_at = ?1 + ?2 WHERE state IN ('raw', 'ready', 'sending') AND clock_ok = 0",
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
                "UPDATE outbox SET body = '' WHERE id > ?1 AND id <= ?2 AND state NOT IN ('raw', 'ready', 'sending')",
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
             WHERE at < ?1 AND state NOT IN ('queued', 'in_turn', 'executing', 'accepted', 'held', 'joined', 'pending') LIMIT 200)",
            [gone.min(before), keep_keys],
        )?;
        db.execute(
            "DELETE FROM live WHERE turn IN (SELECT turn FROM (SELECT turn, at FROM live WHERE turn > 0 ORDER BY turn LIMIT 200) WHERE at < ?)",
            [before],
        )?;
        db.execute_batch("PRAGMA incremental_vacuum(256)")?;
        Ok(more || n >= 200)
    }
}
