//! Compaction on request: `/compact` and the API (core.md 4).
//!
//! pi does it; here it is begun and its end told.

use super::session::{Session, Stage, Who, Work};
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

impl State {
    /// `/compact` works outside the store: marked first, never run again after a crash.
    pub(super) fn compact(&mut self, s: &mut Session, row: InboxRow, instructions: Option<String>) -> Result<()> {
        if !matches!(s.stage, Stage::Idle) {
            return self.done(s, &row, "Busy; try /compact again when the answer is complete.");
        }
        self.store.set_inbox(row.id, st::EXECUTING, None, None, None)?;
        self.remark(s, &row, "Compacting...")?;
        self.begin(s, Work::Compact { who: Who::Row(row.id), instructions })
    }

    /// The same by the API.
    pub(super) fn compact_now(&mut self, s: &mut Session, id: ReqId, instructions: Option<String>) -> Result<()> {
        if !matches!(s.stage, Stage::Idle) {
            self.refuse(id, Code::Busy, "The session is busy");
            return Ok(());
        }
        self.begin(s, Work::Compact { who: Who::Req(id), instructions })
    }

    pub(super) fn end_compact(
        &mut self,
        s: &mut Session,
        who: Who,
        result: std::result::Result<(), String>,
    ) -> Result<()> {
        if matches!(s.stage, Stage::Compact { .. }) {
            s.stage = Stage::Idle;
        }
        let failed = |why: String| format!("Compaction failed: {}", super::prompt::head(&why, 200));
        let result = result.map(|()| "Compacted.".to_owned()).map_err(|why| (Code::UpstreamFailed, failed(why)));
        self.tell(s, who, result)?;
        self.todo.push_back(Todo::Kick(s.key.clone()));
        self.todo.push_back(Todo::Pool); // its process may be what somebody waits for
        Ok(())
    }
}
