//! What tools and API clients sent, found again by its key and followed until it is taken (core.md 11, R50).

use rusqlite::OptionalExtension;

use super::rows::{outbox, OutboxRow, OUTBOX};
use super::{Result, Store};
use crate::message::{Row, Wall};

/// A send that was recorded under a unique key.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub row: Row,
    /// `None`: it is no message, something was done to one.
    pub segment: Option<Row>,
    pub body_hash: Option<String>,
}

/// One message of a send.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub state: String,
    /// The platform's id.
    pub id: Option<String>,
    pub error: Option<String>,
}

impl Part {
    pub fn open(&self) -> bool {
        matches!(self.state.as_str(), "raw" | "ready" | "sending")
    }
}

impl Store {
    /// Somebody asked for that row: its key, and the hash of what it stands for.
    pub fn set_outbox_key(&self, row: Row, dkey: Option<&str>, body_hash: &str) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE outbox SET dkey = ?, body_hash = ? WHERE id = ?")?
            .execute((dkey, body_hash, row))?;
        Ok(())
    }

    /// Did a tool or an API client ask for that row?
    pub fn was_asked_for(&self, row: Row) -> Result<bool> {
        let sql = "SELECT body_hash IS NOT NULL FROM outbox WHERE id = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([row], |r| r.get(0)).optional()?.unwrap_or(false))
    }

    pub fn post_by_key(&self, dkey: &str) -> Result<Option<Known>> {
        let sql = "SELECT id, segment, body_hash FROM outbox INDEXED BY outbox_key WHERE dkey = ?";
        let known = |r: &rusqlite::Row| Ok(Known { row: r.get(0)?, segment: r.get(1)?, body_hash: r.get(2)? });
        Ok(self.db()?.prepare_cached(sql)?.query_row([dkey], known).optional()?)
    }

    /// A row that is still open.
    pub fn outbox_row(&self, row: Row) -> Result<Option<OutboxRow>> {
        let sql = format!("SELECT {OUTBOX} FROM outbox WHERE id = ? AND state IN ('raw', 'ready', 'sending')");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([row], outbox).optional()?)
    }

    /// Channel of a row.
    pub fn outbox_channel(&self, row: Row) -> Result<Option<String>> {
        let sql = "SELECT channel FROM outbox WHERE id = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([row], |r| r.get(0)).optional()?)
    }

    /// The messages of a segment, in order; without one the row alone.
    pub fn parts_sent(&self, row: Row, segment: Option<Row>) -> Result<Vec<Part>> {
        let part = |r: &rusqlite::Row| Ok(Part { state: r.get(0)?, id: r.get(1)?, error: r.get(2)? });
        let Some(segment) = segment else {
            let sql = "SELECT state, platform_id, error FROM outbox WHERE id = ?";
            return Ok(self.db()?.prepare_cached(sql)?.query_row([row], part).optional()?.into_iter().collect());
        };
        let sql = "SELECT state, platform_id, error FROM outbox INDEXED BY outbox_segment WHERE segment = ? ORDER BY chunk LIMIT 1000";
        let mut q = self.db()?.prepare_cached(sql)?;
        let parts = q.query_map([segment], part)?.collect::<rusqlite::Result<_>>()?;
        Ok(parts)
    }

    /// Session and text of a segment, and the message that it answers.
    pub fn segment_said(&self, segment: Row) -> Result<Option<(String, String, Option<Row>)>> {
        let sql = "SELECT session, text, inbox FROM segment WHERE id = ?";
        let said = |r: &rusqlite::Row| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        Ok(self.db()?.prepare_cached(sql)?.query_row([segment], said).optional()?)
    }

    /// Our message with that id in a chat: thread and segment.
    pub fn sent_message(
        &self,
        channel: &str,
        account: &str,
        chat: &str,
        id: &str,
    ) -> Result<Option<(String, Option<Row>)>> {
        let sql = "SELECT thread, segment FROM outbox INDEXED BY outbox_platform WHERE channel = ? AND account = ? AND platform_id = ? AND chat = ? AND platform_id IS NOT NULL AND kind IN ('send', 'media') ORDER BY id DESC LIMIT 1";
        let mut q = self.db()?.prepare_cached(sql)?;
        Ok(q.query_row([channel, account, id, chat], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    /// Answers of a chat that were not delivered since that moment, oldest first: row and segment.
    pub fn undelivered(&self, channel: &str, account: &str, chat: &str, since: Wall) -> Result<Vec<(Row, Row)>> {
        let sql = "SELECT id, segment FROM outbox INDEXED BY outbox_failed WHERE channel = ? AND account = ? AND chat = ? AND state = 'failed' AND kind IN ('send', 'media') AND segment IS NOT NULL AND at > ? ORDER BY id LIMIT 20";
        let mut q = self.db()?.prepare_cached(sql)?;
        let rows = q.query_map((channel, account, chat, since), |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Where a segment comes from: `reply`, `tool`, …
    pub fn origin_of(&self, segment: Row) -> Result<Option<String>> {
        let sql = "SELECT origin FROM segment WHERE id = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([segment], |r| r.get(0)).optional()?)
    }

    /// Platform's ids of the messages that a turn's reply answers: chat and id.
    pub fn heard_in(&self, turn: Row) -> Result<Vec<Row>> {
        let sql =
            "SELECT id FROM inbox INDEXED BY inbox_turn WHERE turn = ? AND turn IS NOT NULL ORDER BY id LIMIT 200";
        let mut q = self.db()?.prepare_cached(sql)?;
        let rows = q.query_map([turn], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
