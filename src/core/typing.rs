//! The sign that somebody is typing: shown while a view has a turn or waits for one (core.md 8.4).
//!
//! It is dropped when anything stands against it, never queued.

use super::lanes::Passing;
use super::session::Key;
use super::view::JUST_SENT;
use super::State;
use crate::message::*;

/// After that many signs that were not taken, none for a minute.
const TYPING_FAILURES: u32 = 3;
const TYPING_PAUSE: u64 = 60_000;
/// Nothing is typed on after that long without any event of the turn.
const TYPING_ENDS: u64 = 600_000;

impl State {
    /// A sign of life, if nothing stands against it: it is dropped, never queued.
    pub(super) fn type_on(&mut self, key: &Key, target: &Target) {
        let now = self.now.mono;
        let every = self.rules.account_of(target).map_or(0, |a| a.typing);
        let lane = self.lanes.get(target);
        let held = lane.is_some_and(|l| l.held(now) || (l.last_out > 0 && now - l.last_out < JUST_SENT));
        let free = self.lane_free_at(target).is_some_and(|at| at <= now);
        let flying = self.passing.values().any(|(_, p)| matches!(p, Passing::Typing(k) if k == key));
        let Some(v) = self.views.get_mut(key) else { return };
        v.typing_next = if every == 0 || now - v.begun > TYPING_ENDS { Mono::MAX } else { now + every };
        if every > 0 && !held && free && !flying {
            self.call_passing(target, Op::Typing, Passing::Typing(key.clone()));
        }
    }

    pub(super) fn on_typing(&mut self, key: &Key, target: &Target, outcome: Outcome) {
        if let Outcome::RateLimited { account_wide, ms } = outcome {
            self.limited(target, account_wide, ms);
        }
        let now = self.now.mono;
        let Some(v) = self.views.get_mut(key) else { return };
        match outcome {
            Outcome::Sent { .. } | Outcome::SentAll { .. } | Outcome::Shown { .. } => v.typing_failures = 0,
            Outcome::Unauthorized { .. }
            | Outcome::Refused { .. }
            | Outcome::Barred { .. }
            | Outcome::Moved { .. }
            | Outcome::TopicGone { .. }
            | Outcome::Gone => v.typing_next = Mono::MAX,
            _ => {
                v.typing_failures += 1;
                if v.typing_failures >= TYPING_FAILURES {
                    v.typing_failures = 0;
                    v.typing_next = now + TYPING_PAUSE;
                }
            }
        }
        self.tick_view(key);
    }
}
