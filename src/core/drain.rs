//! The end of a life: turns come to their end, then lanes send what is ready (core.md 20, steps 3 and 5).

use super::session::Stage;
use super::{Due, State};
use crate::message::{Effect, Mono};
use crate::store::Result;

/// Lanes send for that long.
const SEND_WAIT: u64 = 10_000;

impl State {
    /// Turns end first, then what they and others left is sent (core.md 20, steps 3 and 5).
    pub(super) fn check_drained(&mut self) -> Result<()> {
        let Some(deadline) = self.draining.filter(|_| !self.drained) else { return Ok(()) };
        let busy = self.sessions.values().any(|s| matches!(s.stage, Stage::Turn(_)));
        if busy && self.now.mono < deadline {
            return Ok(());
        }
        let until = *self.sending_until.get_or_insert(self.now.mono + SEND_WAIT);
        if self.now.mono < until && self.lanes_send(until)? {
            self.arm(Due::Drain, until);
            return Ok(());
        }
        self.drained = true;
        self.emit(Effect::Drained);
        Ok(())
    }

    /// Does a lane have something to send, and may it before that moment? Signs of typing are nothing.
    fn lanes_send(&self, until: Mono) -> Result<bool> {
        if self.degraded.is_some() {
            return Ok(false);
        }
        for (target, lane) in &self.lanes {
            let owes = lane.flying.is_some() || lane.rendering.is_some() || self.store.outbox_head(target)?.is_some();
            if owes && self.lane_free_at(target).is_some_and(|at| at <= until) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
