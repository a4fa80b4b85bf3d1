//! From a line of a history to where pi wrote down how it came about.

use std::path::PathBuf;

use rusqlite::OptionalExtension;

use super::{external_id, Reader, Result};
use crate::message::Row;

/// Where the parts of one stored reply are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub turn: Row,
    /// The turn's external id: what context lines call it.
    pub marker: String,
    /// pi's session file, and its length when the turn was prompted for the last time.
    pub file: PathBuf,
    pub file_len: u64,
    /// Its prompt has no context line.
    pub plain: bool,
    /// Numbers of the injected messages that it answers: those after the first, up to the second. 0: the prompt.
    pub after: Option<i64>,
    pub last: i64,
}

impl Reader {
    /// Of a segment with that external id. `None`: it is no agent's reply, or its turn is forgotten.
    pub fn trace(&self, ext: &str) -> Result<Option<Trace>> {
        let Some(segment) = self.row('s', ext) else { return Ok(None) };
        let db = self.db.lock().unwrap_or_else(|e| e.into_inner());
        let found = db
            .prepare_cached(
                "SELECT t.id, t.file, t.file_len, t.plain, s.n,
                 (SELECT max(n) FROM segment WHERE turn = s.turn AND n < s.n)
                 FROM segment s JOIN turn t ON t.id = s.turn WHERE s.id = ? AND s.origin = 'reply' AND s.n IS NOT NULL",
            )?
            .query_row([segment], |r| {
                let turn = r.get(0)?;
                Ok(Trace {
                    turn,
                    marker: external_id(self.store_id(), 't', turn),
                    file: PathBuf::from(r.get::<_, String>(1)?),
                    file_len: r.get::<_, i64>(2)?.max(0) as u64,
                    plain: r.get(3)?,
                    after: r.get(5)?,
                    last: r.get(4)?,
                })
            })
            .optional()?;
        Ok(found)
    }
}
