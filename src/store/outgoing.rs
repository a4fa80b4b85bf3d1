//! The outbox: what is owed to platforms, and what was handed over (core.md 22.2). Core's queries.

use rusqlite::OptionalExtension;

use super::rows::*;
use super::{Result, Store, Table};
use crate::message::{Row, Target, Wall};

impl Store {
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
}
