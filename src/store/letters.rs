//! What is owed and what failed, as the operator sees it beside a gateway (config.md 10: `outbox`).

use rusqlite::{OptionalExtension, TransactionBehavior};

use super::{Beside, Result};
use crate::message::{Content, Form, Row, Target, Wall};

/// A row of the outbox that was not delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    pub id: Row,
    pub target: Target,
    /// `raw`, `ready`, `sending`, `failed`, `expired`.
    pub state: String,
    pub kind: String,
    pub attempts: i64,
    pub at: Wall,
    pub expires_at: Wall,
    pub error: Option<String>,
    pub text: String,
}

impl Beside {
    /// What waits, and what failed or expired, the newest `limit`, oldest first.
    pub fn letters(&self, limit: usize) -> Result<Vec<Letter>> {
        let mut q = self.db.prepare(
            "SELECT id, channel, account, chat, thread, state, kind, attempts, at, expires_at, error, body FROM outbox
             WHERE state IN ('raw', 'ready', 'sending', 'failed', 'expired') ORDER BY id DESC LIMIT ?",
        )?;
        let rows = q.query_map([limit as i64], |r| {
            let body: String = r.get(11)?;
            let content: Content = serde_json::from_str(&body).unwrap_or_default();
            Ok(Letter {
                id: r.get(0)?,
                target: Target { channel: r.get(1)?, account: r.get(2)?, chat: r.get(3)?, thread: r.get(4)? },
                state: r.get(5)?,
                kind: r.get(6)?,
                attempts: r.get(7)?,
                at: r.get(8)?,
                expires_at: r.get(9)?,
                error: r.get(10)?,
                text: content.plain.unwrap_or(content.text),
            })
        })?;
        let mut all = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        all.reverse();
        Ok(all)
    }

    /// What failed or expired is owed again until then; the gateway has to hear of it. `None`: there is no such row.
    pub fn retry_letter(&mut self, id: Row, until: Wall) -> Result<Option<&'static str>> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql =
            "SELECT body FROM outbox WHERE id = ? AND state IN ('failed', 'expired') AND kind IN ('send', 'media')";
        let body: Option<String> = tx.query_row(sql, [id], |r| r.get(0)).optional()?;
        let Some(content) = body.map(|body| serde_json::from_str::<Content>(&body).unwrap_or_default()) else {
            return Ok(None);
        };
        // It may have failed before it was brought into the platform's form.
        let raw = content.plain.is_none() && content.form != Form::Plain && !content.text.is_empty();
        let state = if raw { "raw" } else { "ready" };
        let sql = "UPDATE outbox SET state = ?, attempts = 0, error = NULL, how = NULL, expires_at = ? WHERE id = ?";
        tx.execute(sql, (state, until, id))?;
        tx.commit()?;
        Ok(Some(state))
    }

    /// Takes back what is not just being sent. `None`: there is no such row.
    pub fn drop_letter(&mut self, id: Row) -> Result<Option<&'static str>> {
        let sql = "UPDATE outbox SET state = 'skipped', error = 'dropped by the operator'
                   WHERE id = ? AND state IN ('raw', 'ready', 'failed', 'expired') RETURNING id";
        let done: Option<Row> = self.db.query_row(sql, [id], |r| r.get(0)).optional()?;
        Ok(done.map(|_| "skipped"))
    }
}
