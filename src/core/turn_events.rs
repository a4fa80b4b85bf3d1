//! What pi says during a turn (core.md 8.2; pi-rpc.md 7).

use super::prompt;
use super::session::{Session, Stage};
use super::steps::Steps;
use super::turn::{Phase, BARRIER_WAIT, SETTLE_WAIT};
use super::State;
use crate::message::*;
use crate::store::Result;

impl State {
    /// An event of the process that runs this turn.
    pub(super) fn on_turn_event(&mut self, s: &mut Session, ev: PiEvent) -> Result<()> {
        let now = self.now.mono;
        let Some(t) = s.turn() else { return Ok(()) };
        t.last_event = now;
        match ev {
            PiEvent::Response { id, result } => self.on_turn_response(s, id, result),
            PiEvent::AgentStart => {
                t.started = true;
                t.retrying = false;
                t.phase = Phase::Running;
                Ok(())
            }
            PiEvent::UserStart { head } => match prompt::injection(&head, &t.ext) {
                Some(n) if n > 0 && t.injected.iter().any(|i| i.n == n) => self.boundary(s, n),
                _ => Ok(()),
            },
            PiEvent::Assistant(m) => {
                if !m.text.trim().is_empty() && m.stop != "error" {
                    t.said.push(m.text.clone());
                }
                t.tools_open = 0;
                t.steps.add(&m.calls);
                t.spent.add(&m.usage);
                t.last = Some(m);
                Ok(())
            }
            PiEvent::ToolStart { .. } => {
                t.tools_ran = true;
                t.tools_open += 1;
                Ok(())
            }
            PiEvent::ToolEnd { .. } => {
                t.tools_open = t.tools_open.saturating_sub(1);
                Ok(())
            }
            PiEvent::AgentEnd { will_retry } => {
                t.tools_open = 0;
                t.retrying = will_retry; // the wait begins here, `auto_retry_start` comes later
                if !will_retry {
                    self.run_ended(s);
                }
                Ok(())
            }
            PiEvent::RetryStart { attempt, max, .. } => {
                t.retrying = true;
                t.phase = Phase::Running;
                if attempt == 2 && !t.is_beat() {
                    let text = format!("The model provider is overloaded, retrying ({attempt} of {max}).");
                    self.frame(Frame::Notice { session: s.key.to_string(), level: "info".into(), message: text });
                }
                Ok(())
            }
            PiEvent::RetryEnd { success, .. } => {
                t.retrying = false;
                if !success {
                    self.ask_barrier(s);
                }
                Ok(())
            }
            PiEvent::CompactionStart { reason } => {
                t.compacting = Some(reason);
                if matches!(t.phase, Phase::Ended { .. }) {
                    self.ask_barrier(s); // the answer may be complete
                }
                Ok(())
            }
            PiEvent::CompactionEnd { will_retry, .. } => {
                t.compacting = None;
                if !will_retry {
                    self.ask_barrier(s);
                }
                Ok(())
            }
            PiEvent::Queue { waiting } => {
                t.pi_queue = waiting;
                Ok(())
            }
            PiEvent::Settled { .. } => self.turn_idle(s),
            _ => Ok(()),
        }
    }

    /// `agent_end` came, and no retry: is it over?
    fn run_ended(&mut self, s: &mut Session) {
        if !self.new_pi {
            return self.ask_barrier(s);
        }
        let until = self.now.mono + SETTLE_WAIT;
        if let Some(t) = s.turn() {
            t.phase = Phase::Ended { until };
        }
    }

    pub(super) fn ask_barrier(&mut self, s: &mut Session) {
        let until = self.now.mono + BARRIER_WAIT;
        let Some(t) = s.turn() else { return };
        let Some(proc) = t.proc else { return };
        let cmd = self.write(proc, PiCmd::GetState);
        if let Some(t) = s.turn() {
            t.phase = Phase::Barrier { cmd, until };
        }
    }

    pub(super) fn on_turn_response(
        &mut self,
        s: &mut Session,
        id: CmdId,
        result: std::result::Result<PiData, String>,
    ) -> Result<()> {
        let Some(t) = s.turn() else { return Ok(()) };
        if let Some(i) = t.injected.iter_mut().find(|i| i.cmd == Some(id)) {
            i.cmd = None;
            let began = matches!(&result, Ok(PiData::Disposition(d)) if d == "started");
            return match std::mem::take(&mut t.idle_waits) {
                // The run had just ended: this message began one of its own, which we count as part of the turn.
                true if began => {
                    t.phase = Phase::Running;
                    Ok(())
                }
                true => self.turn_idle(s),
                false => Ok(()),
            };
        }
        match (t.phase, result) {
            (Phase::Prompting { cmd, .. }, Ok(data)) if cmd == id => {
                match data {
                    PiData::Disposition(d) if d == "handled" => return self.turn_idle(s),
                    _ if t.started => t.phase = Phase::Running,
                    PiData::Disposition(_) => t.phase = Phase::Running,
                    // An extension may have swallowed it: then no run began.
                    _ => self.ask_barrier(s),
                }
                Ok(())
            }
            (Phase::Prompting { cmd, .. }, Err(why)) if cmd == id => {
                t.refused = Some(why);
                self.turn_idle(s)
            }
            (Phase::Barrier { cmd, .. }, Ok(PiData::State(state))) if cmd == id => self.on_barrier(s, &state),
            (Phase::Barrier { cmd, .. }, Err(why)) if cmd == id => {
                log::warn!("{}: get_state failed: {why}", s.key);
                self.turn_idle(s)
            }
            // The answer to `abort` comes when pi is idle; make sure of it.
            (Phase::Running, Ok(_)) if t.aborting.is_some() => {
                self.ask_barrier(s);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// pi-rpc.md 7: what `get_state` says after `agent_end`.
    pub(super) fn on_barrier(&mut self, s: &mut Session, state: &PiState) -> Result<()> {
        let Some(t) = s.turn() else { return Ok(()) };
        if t.retrying || (t.compacting.is_some() || state.compacting) && !t.answer_complete() {
            t.phase = Phase::Running;
            return Ok(());
        }
        if t.answer_complete() {
            // The text is final; only a trailing compaction goes on.
            let until = self.now.mono + 600_000;
            self.end_turn(s)?;
            if matches!(s.stage, Stage::Idle) {
                s.stage = Stage::Settle { until, barrier: None };
            }
            return Ok(());
        }
        if state.streaming {
            t.phase = Phase::Running; // a new run began, or a new pi is about to say `agent_settled`
            return Ok(());
        }
        self.turn_idle(s)
    }

    /// pi is idle: nothing more will come of this turn.
    pub(super) fn turn_idle(&mut self, s: &mut Session) -> Result<()> {
        let until = self.now.mono + BARRIER_WAIT;
        let Some(t) = s.turn() else { return Ok(()) };
        if t.injected.iter().any(|i| i.cmd.is_some() && !i.seen) {
            t.idle_waits = true; // pi's word on the injected message decides
            t.phase = Phase::Barrier { cmd: 0, until };
            return Ok(());
        }
        self.end_turn(s)
    }

    /// A steer boundary: the text so far is final and has its addressee.
    pub(super) fn boundary(&mut self, s: &mut Session, n: i64) -> Result<()> {
        let key = s.key.clone();
        let Some(t) = s.turn() else { return Ok(()) };
        if let Some(i) = t.injected.iter_mut().find(|i| i.n == n) {
            i.seen = true;
        }
        t.pi_queue = t.pi_queue.saturating_sub(1);
        let text = std::mem::take(&mut t.said).join("\n\n");
        t.last = None; // what was complete was the answer before
        if !text.trim().is_empty() {
            t.sent = true;
        }
        let (at, proc) = (t.addressee().cloned(), t.proc);
        if let Stage::Turn(t) = &s.stage {
            match text.trim().is_empty() {
                true => self.remove_lives(t.row.id, t.n, 0)?,
                false => self.add_reply(t, at.as_ref(), &text, false)?,
            }
        }
        if let Some(t) = s.turn() {
            t.n = n;
            t.steps = Steps::default();
        }
        if let Stage::Turn(t) = &s.stage {
            self.begin_view(&key, t)?;
        }
        let run =
            s.turn().and_then(|t| t.addressee().map(|m| m.id)).map(|id| self.store.ext('i', id)).unwrap_or_default();
        if let Some(proc) = proc {
            let live = LiveRef { session: key.clone(), run: run.clone(), fresh: false };
            self.emit(Effect::Show { proc, live: Some(Box::new(live)) });
        }
        self.frame(Frame::Typing { session: key.to_string(), run, on: true });
        Ok(())
    }
}
