//! Chats that got another id, and what was owed to them (telegram.md 7).

use super::rows::{outbox, OUTBOX};
use super::{OutboxRow, Result, Store};
use crate::message::{Row, Target, Wall};

/// A chat that has another id.
#[derive(Clone, Debug, PartialEq)]
pub struct Alias {
    pub channel: String,
    pub account: String,
    pub old: String,
    pub new: String,
}

impl Store {
    pub fn aliases(&self) -> Result<Vec<Alias>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT channel, account, old, new FROM alias INDEXED BY alias_at WHERE at > 0 ORDER BY at LIMIT 1000",
        )?;
        let rows =
            q.query_map([], |r| Ok(Alias { channel: r.get(0)?, account: r.get(1)?, old: r.get(2)?, new: r.get(3)? }))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn set_alias(&self, a: &Alias, at: Wall) -> Result<()> {
        self.db()?
            .prepare_cached("INSERT OR REPLACE INTO alias VALUES(?, ?, ?, ?, ?)")?
            .execute((&a.channel, &a.account, &a.old, &a.new, at))?;
        Ok(())
    }

    /// Open rows of a chat, all its lanes, oldest first.
    pub fn owed_to(&self, channel: &str, account: &str, chat: &str) -> Result<Vec<OutboxRow>> {
        let sql = format!(
            "SELECT {OUTBOX} FROM outbox INDEXED BY outbox_lane
             WHERE channel = ? AND account = ? AND chat = ? AND state IN ('raw', 'ready', 'sending') ORDER BY base, chunk LIMIT 10000"
        );
        let mut q = self.db()?.prepare_cached(&sql)?;
        let rows = q.query_map([channel, account, chat], outbox)?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    /// The row goes to another chat.
    pub fn move_outbox(&self, row: Row, to: &Target) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE outbox SET chat = ?, thread = ? WHERE id = ?")?
            .execute((&to.chat, &to.thread, row))?;
        Ok(())
    }

    /// The conversation of a chat gets another name; false: that name is taken.
    pub fn rename_session(&self, old: &str, new: &str, at: &Target) -> Result<bool> {
        if self.session(new)?.is_some() {
            return Ok(false);
        }
        let db = self.db()?;
        db.prepare_cached("UPDATE session SET key = ?2 WHERE key = ?1")?.execute([old, new])?;
        db.prepare_cached("UPDATE turn SET session = ?2 WHERE id IN (SELECT turn FROM inbox INDEXED BY inbox_session WHERE session = ?1)")?
            .execute([old, new])?;
        db.prepare_cached("UPDATE inbox SET session = ?2 WHERE session = ?1")?.execute([old, new])?;
        db.prepare_cached("UPDATE segment SET session = ?2 WHERE session = ?1")?.execute([old, new])?;
        db.prepare_cached(
            "UPDATE action INDEXED BY action_account SET session = ?4 WHERE channel = ?1 AND account = ?2 AND session = ?3",
        )?
        .execute([&at.channel, &at.account, old, new])?;
        Ok(true)
    }
}
