//! Concise mode (core.md 17): what the agent has sent with its tools is its answer; the closing words are left out.

use super::reply::End;
use super::turn::Turn;
use super::State;
use crate::store::Result;

impl State {
    /// The end as people get it.
    pub(super) fn concise(&self, t: &Turn, end: End) -> Result<End> {
        let Some(to) = t.addressee().filter(|m| self.rules.concise.contains(&m.source.channel)) else { return Ok(end) };
        if end.failed.is_some() || end.silent || t.aborting.is_some() {
            return Ok(end);
        }
        // Sent in answer to the same message: who wrote in between gets an answer of their own.
        match self.store.segments_of(t.row.id)?.last() {
            Some(last) if last.origin == "tool" && last.inbox == Some(to.id) && !self.store.not_taken(last.id)? => {
                Ok(End { text: String::new(), failed: None, silent: true })
            }
            _ => Ok(end),
        }
    }
}
