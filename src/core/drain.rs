//! The end of a life: turns come to their end, then lanes send what is ready (core.md 20, steps 3 and 5).

use super::session::Stage;
use super::{Due, State};
use crate::message::{Effect, Mono};
use crate::store::{Result, MEDIA};

/// Lanes send for that long.
const SEND_WAIT: u64 = 10_000;
/// A call that is under way is waited for that long, but for files: a platform that takes longer does not answer.
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
        let calls_until = until - SEND_WAIT + CALL_WAIT;
        if self.now.mono < until && self.lanes_send(until, self.now.mono < calls_until)? {
            self.arm(Due::Drain, if self.now.mono < calls_until { calls_until } else { until });
            return Ok(());
        }
        self.drained = true;
        self.emit(Effect::Drained);
        Ok(())
    }

    /// Does a lane have something to send, and may it before that moment? Signs of typing are nothing, nor is a view of
    /// which nothing is left to say. `calls`: calls under way are waited for.
    fn lanes_send(&self, until: Mono, calls: bool) -> Result<bool> {
        if self.degraded.is_some() {
            return Ok(false);
        }
        for (target, lane) in &self.lanes {
            let head = self.store.outbox_head(target)?;
            let owes = lane.rendering.is_some() || head.is_some();
            let file = head.is_some_and(|row| row.kind == MEDIA);
            if owes
                && (lane.flying.is_none() || calls || file)
                && self.lane_free_at(target).is_some_and(|at| at <= until)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
