//! The end of a life: turns come to their end, then lanes send what is ready (core.md 20, steps 3 and 5).

use super::session::Stage;
use super::{Due, State};
use crate::message::{Effect, Mono};
use crate::store::{Result, MEDIA};

/// Lanes send for that long.
const SEND_WAIT: u64 = 10_000;
/// A call that is under way is waited for that long, but for files, and so is a lane whose calls fail: a platform that
/// takes longer is not there.
const CALL_WAIT: u64 = 3_000;

impl State {
    /// Turns end first, then what they and others left is sent (core.md 20, steps 3 and 5).
    pub(super) fn check_drained(&mut self) -> Result<()> {
        let Some(deadline) = self.draining.filter(|_| !self.drained) else { return Ok(()) };
        let busy = self.sessions.values().any(|s| matches!(s.stage, Stage::Turn(_)));
        if busy && self.now.mono < deadline {
            return Ok(());
        }
        let until = *self.sending_until.get_or_insert(self.now.mono + SEND_WAIT);
        let patience = until - SEND_WAIT + CALL_WAIT;
        if self.now.mono < until && self.lanes_send(until, patience)? {
            self.arm(Due::Drain, if self.now.mono < patience { patience } else { until });
            return Ok(());
        }
        self.drained = true;
        self.emit(Effect::Drained);
        Ok(())
    }

    /// Does a lane have something to send, and may it before `until`? Signs of typing are nothing, nor is a view of which
    /// nothing is left to say. Calls that are not answered and lanes that fail have until `patience`; files longer.
    fn lanes_send(&self, until: Mono, patience: Mono) -> Result<bool> {
        if self.degraded.is_some() {
            return Ok(false);
        }
        for (target, lane) in &self.lanes {
            let head = self.store.outbox_head(target)?;
            let owes = lane.rendering.is_some() || head.is_some();
            let slow = match lane.flying {
                Some(_) => head.is_none_or(|row| row.kind != MEDIA),
                None => lane.fails(),
            };
            let until = if slow { patience } else { until };
            if owes && self.now.mono < until && self.lane_free_at(target).is_some_and(|at| at <= until) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
