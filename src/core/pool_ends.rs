//! How processes end: idle, evicted, hung, of older settings (core.md 7).
//!
//! None is started here.

use super::pool::{Proc, ProcState};
use super::session::{Key, Session};
use super::{Due, State};
use crate::message::*;
use crate::store::Result;

const STOP_WAIT: u64 = 3_000;

impl State {
    /// A process of the state before this one, which is being killed.
    pub(super) fn inherit(&mut self, id: ProcId, profile: Profile, session: Option<Key>) {
        let until = self.now.mono + STOP_WAIT;
        let p = Proc {
            id,
            pid: 0,
            flags: (None, String::new()),
            profile,
            state: ProcState::Stopping { until },
            session,
            file: None,
            since: self.now.mono,
            used: self.now.mono,
            asked: 0,
            evicted: false,
        };
        self.procs.insert(id, p);
        self.arm(Due::Proc(id), until);
    }

    /// SIGTERM, 3 s, SIGKILL. The session keeps the process until it is gone.
    pub(super) fn stop_proc(&mut self, id: ProcId) {
        let until = self.now.mono + STOP_WAIT;
        let Some(p) = self.procs.get_mut(&id) else { return };
        if p.stopping() {
            return;
        }
        p.state = ProcState::Stopping { until };
        self.emit(Effect::Signal { proc: id, sig: Sig::Term });
        self.arm(Due::Proc(id), until);
    }

    /// Its place or its age is the reason.
    pub(super) fn evict(&mut self, id: ProcId) {
        if let Some(p) = self.procs.get_mut(&id) {
            p.evicted = true;
        }
        self.stop_proc(id);
    }

    pub(super) fn kill_proc(&mut self, id: ProcId) {
        let until = self.now.mono + STOP_WAIT;
        let Some(p) = self.procs.get_mut(&id) else { return };
        if !matches!(p.state, ProcState::Starting { .. }) {
            p.state = ProcState::Stopping { until };
        }
        self.emit(Effect::Signal { proc: id, sig: Sig::Kill });
        self.arm(Due::Proc(id), until);
    }

    /// The session's process does not answer any more.
    pub(super) fn give_up_proc(&mut self, s: &mut Session) {
        if let Some(id) = s.proc {
            self.stop_proc(id);
        }
    }

    pub(super) fn on_proc_due(&mut self, id: ProcId) -> Result<()> {
        let Some(p) = self.procs.get(&id) else { return Ok(()) };
        match p.state {
            ProcState::Starting { .. } | ProcState::Stopping { .. } => self.kill_proc(id),
            ProcState::Ready => {
                let idle = p.session.as_ref().is_none_or(|k| self.sessions.get(k).is_none_or(|s| !s.running()));
                let over = self.now.mono.saturating_sub(p.used) >= self.rules.pool_idle;
                let above_min = self.procs.values().filter(|p| !p.stopping()).count() > self.rules.pool_min;
                let stale = p.profile.generation != self.rules.generation;
                if idle && (over && above_min || stale) {
                    self.evict(id);
                } else {
                    self.arm(Due::Proc(id), self.now.mono + self.rules.pool_idle.max(1000));
                }
            }
        }
        Ok(())
    }

    pub(super) fn arm_idle(&mut self, id: Option<ProcId>) {
        let Some(p) = id.and_then(|id| self.procs.get(&id)) else { return };
        if p.usable() {
            let stale = p.profile.generation != self.rules.generation;
            let at = if stale { self.now.mono } else { self.now.mono + self.rules.pool_idle };
            self.arm(Due::Proc(p.id), at);
        }
    }

    /// New settings for processes: idle ones are recycled at once, busy ones when their turn ends.
    pub(super) fn recycle(&mut self) {
        let ids: Vec<ProcId> = self.procs.keys().copied().collect();
        for id in ids {
            self.arm_idle(Some(id));
        }
        self.arm(Due::Warm, self.now.mono + 1_000);
    }
}
