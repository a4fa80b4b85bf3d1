//! Messages on their way to a queue: parts of one message, files that are still to be fetched.

use rusqlite::OptionalExtension;

use super::rows::*;
use super::{Result, Store};
use crate::message::{Image, Row};

impl Store {
    /// Of a session, in order of arrival.
    pub fn inbox_early(&self, session: &str) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_early WHERE session = ? AND state IN ('accepted', 'held') ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([session], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Keys of sessions that have such rows.
    pub fn sessions_early(&self) -> Result<Vec<String>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT DISTINCT session FROM inbox INDEXED BY inbox_early WHERE state IN ('accepted', 'held') LIMIT 1000",
        )?;
        let rows = q.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    pub fn set_group(&self, id: Row, state: &str, group: Option<&str>) -> Result<()> {
        self.db()?.prepare_cached("UPDATE inbox SET state = ?, grp = ? WHERE id = ?")?.execute((state, group, id))?;
        Ok(())
    }

    /// Its files are asked for once more.
    pub fn count_fetch(&self, id: Row) -> Result<()> {
        self.db()?.prepare_cached("UPDATE inbox SET fetches = fetches + 1 WHERE id = ?")?.execute([id])?;
        Ok(())
    }

    /// What a message says, after an edit or with what was joined to it.
    pub fn set_text(&self, id: Row, text: &str, hash: Option<&str>) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE inbox SET text = ?, body_hash = ? WHERE id = ?")?
            .execute((text, hash, id))?;
        Ok(())
    }

    pub fn set_hash(&self, id: Row, hash: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE inbox SET body_hash = ? WHERE id = ?")?.execute((hash, id))?;
        Ok(())
    }

    /// Its files are here, or nobody tries any more.
    pub fn set_fetched(&self, id: Row, images: &[Image], tail: &str) -> Result<()> {
        let tail = (!tail.is_empty()).then_some(tail);
        self.db()?.prepare_cached("UPDATE inbox SET files = NULL, media = ?, tail = ? WHERE id = ?")?.execute((
            json(images),
            tail,
            id,
        ))?;
        Ok(())
    }

    /// From now on the fate of `lead` is that of `id`.
    pub fn join(&self, id: Row, lead: Row) -> Result<()> {
        self.db()?.prepare_cached("UPDATE inbox SET state = 'joined', lead = ? WHERE id = ?")?.execute((lead, id))?;
        Ok(())
    }

    /// The message that a part belongs to.
    pub fn lead_of(&self, id: Row) -> Result<Option<Row>> {
        let sql = "SELECT lead FROM inbox WHERE id = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([id], |r| r.get(0)).optional()?.flatten())
    }

    /// The parts of a message that still share its fate, but for the first.
    pub fn joined_to(&self, lead: Row) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_lead WHERE lead = ? AND lead IS NOT NULL AND state = 'joined' ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([lead], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Parts share the fate of their lead.
    pub(super) fn end_parts(&self, lead: Row, state: &str, turn: Option<Row>, reason: Option<&str>) -> Result<()> {
        let state = if state == inbox_state::ANSWERED { inbox_state::MERGED } else { state };
        self.db()?
            .prepare_cached("UPDATE inbox INDEXED BY inbox_lead SET state = ?, turn = ?, reason = ? WHERE lead = ? AND lead IS NOT NULL")?
            .execute((state, turn, reason, lead))?;
        Ok(())
    }
}
