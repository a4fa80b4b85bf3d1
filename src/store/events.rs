//! System events that wait, and what a heartbeat keeps: when it last was, and the copies that it works on (core.md 14).
//!
//! An event is a row of the inbox; `prio` above 0: an agent is to be woken for it.

use std::path::PathBuf;

use super::rows::*;
use super::{Result, Store};
use crate::message::{Row, Wall};

impl Store {
    /// Events of a session that wait, oldest first.
    pub fn events(&self, session: &str) -> Result<Vec<InboxRow>> {
        let sql = format!(
            "SELECT {INBOX} FROM inbox INDEXED BY inbox_event WHERE state = 'pending' AND session = ? ORDER BY id LIMIT 100"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_map([session], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Events of whatever session that are older than that.
    pub fn events_before(&self, at: Wall) -> Result<Vec<InboxRow>> {
        let sql = format!(
            "SELECT {INBOX} FROM inbox INDEXED BY inbox_event WHERE state = 'pending' AND at < ? ORDER BY id LIMIT 1000"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_map([at], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// When the oldest event came.
    pub fn oldest_event(&self) -> Result<Option<Wall>> {
        let sql = "SELECT min(at) FROM inbox INDEXED BY inbox_event WHERE state = 'pending'";
        Ok(self.db()?.prepare_cached(sql)?.query_row([], |r| r.get(0))?)
    }

    /// An agent's main conversation is another one now: its events wait there.
    pub fn move_events(&self, agent: &str, session: &str) -> Result<()> {
        let sql = "UPDATE inbox INDEXED BY inbox_event SET session = ?2
             WHERE state = 'pending' AND agent = ?1 AND session <> ?2";
        self.db()?.prepare_cached(sql)?.execute((agent, session))?;
        Ok(())
    }

    /// Agents that are to be woken for an event.
    pub fn agents_to_wake(&self) -> Result<Vec<String>> {
        let sql =
            "SELECT DISTINCT agent FROM inbox INDEXED BY inbox_event WHERE state = 'pending' AND prio > 0 LIMIT 1000";
        let mut q = self.db()?.prepare_cached(sql)?;
        let agents = q.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(agents)
    }

    /// The event waits (again); its session may have changed.
    pub fn put_back_event(&self, id: Row) -> Result<()> {
        self.set_inbox(id, inbox_state::PENDING, None, None, None)
    }

    // ---- heartbeats

    /// When each agent's last one was due, and whether the clock was right then.
    pub fn heartbeats(&self) -> Result<Vec<(String, Wall, bool)>> {
        let mut q = self
            .db()?
            .prepare_cached("SELECT agent, last, clock_ok FROM heartbeat WHERE agent > '' ORDER BY agent LIMIT 1000")?;
        let all = q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
        Ok(all)
    }

    pub fn set_heartbeat(&self, agent: &str, last: Wall, clock_ok: bool) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO heartbeat VALUES(?, ?, ?)";
        self.db()?.prepare_cached(sql)?.execute((agent, last, clock_ok))?;
        Ok(())
    }

    pub fn end_heartbeat(&self, agent: &str) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM heartbeat WHERE agent = ?")?.execute([agent])?;
        Ok(())
    }

    // ---- copies of session files

    /// Files that are to be removed as soon as nothing works on them, with their sessions.
    pub fn scratch_files(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut q =
            self.db()?.prepare_cached("SELECT file, session FROM scratch WHERE file > '' ORDER BY file LIMIT 10000")?;
        let all = q.query_map([], |r| Ok((PathBuf::from(r.get::<_, String>(0)?), r.get(1)?)))?;
        Ok(all.collect::<rusqlite::Result<_>>()?)
    }

    pub fn add_scratch(&self, file: &std::path::Path, session: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO scratch VALUES(?, ?)";
        self.db()?.prepare_cached(sql)?.execute((file.to_string_lossy(), session))?;
        Ok(())
    }

    pub fn end_scratch(&self, file: &std::path::Path) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM scratch WHERE file = ?")?.execute([file.to_string_lossy()])?;
        Ok(())
    }
}
