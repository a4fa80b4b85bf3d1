//! What pi processes report: started, ended, and every event outside a turn (core.md 7.3).

use super::pool::{set_step, ProcState};
use super::session::{RecoverStep, Session, Stage, Step};
use super::{Due, KnownModels, State, Todo};
use crate::message::*;
use crate::routing::fleeting;
use crate::store::Result;

impl State {
    pub(super) fn on_spawned(&mut self, id: ProcId, pid: u32) {
        let Some(p) = self.procs.get_mut(&id) else { return };
        p.pid = pid;
        // Answered in this order: the commands are known before the first prompt is made.
        self.write(id, PiCmd::GetCommands);
        let asked = self.write(id, PiCmd::GetState);
        if let Some(p) = self.procs.get_mut(&id) {
            p.asked = asked;
        }
    }

    pub(super) fn on_spawn_failed(&mut self, id: ProcId, why: String) -> Result<()> {
        let info = ExitInfo { stderr: why, ..ExitInfo::default() };
        self.on_exit(id, info)
    }

    /// The process is gone, reaped, and its leftovers with it.
    pub(super) fn on_exit(&mut self, id: ProcId, info: ExitInfo) -> Result<()> {
        let Some(p) = self.procs.remove(&id) else { return self.on_swept(id) };
        self.disarm(&Due::Proc(id));
        self.drop_dialogs(id)?;
        self.drop_asks(id)?;
        let starting = matches!(p.state, ProcState::Starting { .. });
        // One that ends because the gateway stops has not failed.
        if starting && self.draining.is_none() {
            self.spawn_failures += 1;
            let why = why_ended(&info);
            log::warn!("pi did not start: {why}");
            let session = p.session.as_deref().unwrap_or_default();
            self.observe(Level::Error, Area::Rpc, "start_failed", format!("pi did not start: {why}"), session);
        } else if p.stopping() {
            self.counters.kills += 1;
        }
        let back = 1000u64 << self.spawn_failures.min(8);
        self.arm(Due::Warm, self.now.mono + back.min(300_000));
        self.todo.push_back(Todo::Pool);
        let Some(key) = p.session else { return Ok(()) };
        if self.has_scratch(&key) {
            self.todo.push_back(Todo::Tidy(key.clone()));
        }
        if fleeting(&key) && !self.sessions.contains_key(&key) {
            self.todo.push_back(Todo::Fleeting(key)); // of an earlier state
            return Ok(());
        }
        self.with(&key, |core, s| core.session_lost_proc(s, id, &info, starting))
    }

    pub(super) fn session_lost_proc(
        &mut self,
        s: &mut Session,
        id: ProcId,
        info: &ExitInfo,
        starting: bool,
    ) -> Result<()> {
        if s.proc != Some(id) {
            return Ok(());
        }
        s.proc = None;
        match &s.stage {
            Stage::Idle | Stage::Debounce { .. } => Ok(()),
            Stage::Open(o) => match o.step {
                Step::Exit => self.acquire(s),
                Step::Starting | Step::Binding(_) | Step::Model(_) => {
                    let text = why_ended(info);
                    let unknown = text.contains("Unknown provider") || text.contains("nknown model");
                    let other = unknown && !s.plain_model && self.wanted_for(s, &o.work).model.is_some();
                    if unknown && s.forget_model_of_turn() {
                        return self.acquire(s); // R63: an unknown name keeps the default
                    }
                    if other {
                        s.plain_model = true;
                        let message = format!("pi does not know the configured model and uses its own default: {text}");
                        self.frame(Frame::Notice { session: s.key.to_string(), level: "warning".into(), message });
                        return self.acquire(s);
                    }
                    if !starting && s.start_failures < 2 {
                        s.start_failures += 1;
                        return self.acquire(s);
                    }
                    self.start_failed(s, &text)
                }
                Step::File(_) | Step::Slot => Ok(()),
            },
            Stage::Turn(_) => self.turn_lost_proc(s, info),
            Stage::Recover { step, .. } => match step {
                RecoverStep::Sweep(p) if *p == id => self.read_file(s),
                _ => Ok(()),
            },
            Stage::Settle { .. } | Stage::Clean { .. } | Stage::Verify { .. } => {
                self.settled_down(s);
                Ok(())
            }
            Stage::Compact { who, .. } => {
                let who = *who;
                self.end_compact(s, who, Err("the agent process ended".into()))
            }
        }
    }

    pub(super) fn on_pi(&mut self, id: ProcId, ev: PiEvent) -> Result<()> {
        let Some(p) = self.procs.get_mut(&id) else { return Ok(()) };
        match &ev {
            PiEvent::Settled { .. } => self.new_pi = true,
            PiEvent::Eof | PiEvent::Broken { .. } => {
                if let PiEvent::Broken { why } = &ev {
                    log::error!("pi {}: {why}", p.pid);
                }
                if p.pid != 0 {
                    self.kill_proc(id);
                }
                return Ok(());
            }
            PiEvent::Response { id: cmd, result } => {
                if let ProcState::Starting { .. } = p.state {
                    if *cmd == p.asked {
                        p.state = ProcState::Ready;
                        self.spawn_failures = 0;
                        return self.proc_ready(id);
                    }
                }
                match result {
                    Ok(PiData::Commands(list)) => {
                        if self.pi_commands.as_ref() != Some(list) {
                            self.emit(Effect::Commands(list.as_slice().into()));
                        }
                        self.pi_commands = Some(list.clone());
                    }
                    Ok(PiData::Models(list)) => {
                        let (names, raw, at) = (list.names.clone(), list.raw.as_str().into(), self.now.mono);
                        self.pi_models = Some(KnownModels { names, raw, at });
                    }
                    _ => {}
                }
                if let Some(ask) = self.asks.remove(cmd) {
                    self.disarm(&Due::Ask(*cmd));
                    return self.on_asked(ask, result.clone());
                }
                if matches!(result, Ok(PiData::Commands(_))) {
                    return Ok(());
                }
            }
            PiEvent::Ui(dialog) => return self.open_dialog(id, dialog),
            PiEvent::ExtensionError { message } => log::warn!("pi extension: {message}"),
            _ => {}
        }
        let Some(key) = self.procs.get(&id).and_then(|p| p.session.clone()) else { return Ok(()) };
        self.with(&key, |core, s| core.on_session_pi(s, id, ev))
    }

    pub(super) fn proc_ready(&mut self, id: ProcId) -> Result<()> {
        self.disarm(&Due::Proc(id));
        self.arm_idle(Some(id));
        let Some(p) = self.procs.get(&id) else { return Ok(()) };
        let Some(key) = p.session.clone() else {
            self.todo.push_back(Todo::Pool);
            return Ok(());
        };
        self.with(&key, |core, s| match &s.stage {
            Stage::Open(o) if s.proc == Some(id) && o.step == Step::Starting => core.apply_model(s),
            _ => Ok(()),
        })
    }

    pub(super) fn on_session_pi(&mut self, s: &mut Session, id: ProcId, ev: PiEvent) -> Result<()> {
        if s.proc != Some(id) {
            return Ok(());
        }
        if let PiEvent::Notice { level, message } = ev {
            let to = if s.running() { self.partner(s) } else { None };
            if let Some(to) = to.filter(|to| self.keys_of(to).is_some() && !message.trim().is_empty()) {
                self.say(&self.target_of(&to), &message.chars().take(2_000).collect::<String>(), 600_000)?;
            }
            self.frame(Frame::Notice { session: s.key.to_string(), level, message });
            return Ok(());
        }
        match (&mut s.stage, ev) {
            (Stage::Turn(_), ev) => self.on_turn_event(s, ev),
            (Stage::Open(o), PiEvent::Response { id: cmd, result }) => match (o.step, result) {
                (Step::Binding(c), Ok(_)) if c == cmd => {
                    if let Some(p) = self.procs.get_mut(&id) {
                        p.file = Some(s.file().clone());
                    }
                    self.apply_model(s)
                }
                (Step::Binding(c), Err(why)) if c == cmd => {
                    log::warn!("{}: switch_session failed: {why}", s.key);
                    self.stop_proc(id);
                    set_step(s, Step::Exit, self.now.mono);
                    Ok(())
                }
                (Step::Model(c), result) if c == cmd => {
                    if let Err(why) = result {
                        let message = format!("The model could not be chosen: {why}");
                        self.frame(Frame::Notice { session: s.key.to_string(), level: "warning".into(), message });
                    }
                    self.ready(s, id)
                }
                _ => Ok(()),
            },
            (Stage::Settle { barrier, .. }, PiEvent::Response { id: cmd, result }) if *barrier == Some(cmd) => {
                match result {
                    Ok(PiData::State(st)) if st.streaming || st.compacting => {}
                    _ => self.settled_down(s),
                }
                Ok(())
            }
            (Stage::Settle { .. }, PiEvent::Settled { .. }) => {
                self.settled_down(s);
                Ok(())
            }
            (Stage::Settle { .. }, PiEvent::CompactionEnd { .. } | PiEvent::AgentEnd { .. }) => {
                let cmd = self.write(id, PiCmd::GetState);
                if let Stage::Settle { barrier, .. } = &mut s.stage {
                    *barrier = Some(cmd);
                }
                Ok(())
            }
            (Stage::Clean { cmd, to, .. }, PiEvent::Response { id: got, result }) if *cmd == got => {
                match (to.take(), result) {
                    (Some(_), Err(why)) => {
                        log::warn!("{}: switch_session failed: {why}", s.key);
                        self.stop_proc(id);
                    }
                    (Some(to), Ok(_)) => {
                        if let Some(p) = self.procs.get_mut(&id) {
                            p.file = Some(to);
                        }
                    }
                    (None, _) => {}
                }
                self.settled_down(s);
                Ok(())
            }
            (Stage::Compact { who, cmd, .. }, PiEvent::Response { id: got, result }) if *cmd == got => {
                let who = *who;
                self.end_compact(s, who, result.map(|_| ()))
            }
            // An extension began a run of its own: the next prompt waits for its end.
            (Stage::Idle, PiEvent::AgentStart) => {
                s.stage = Stage::Settle { until: self.now.mono + 600_000, barrier: None };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Why a process ended, for people: its last words, else its code.
pub fn why_ended(info: &ExitInfo) -> String {
    let words: Vec<&str> = info.stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let error = words.iter().rev().find(|l| l.contains("rror")).or(words.last());
    match (error, info.code, info.signal) {
        (Some(line), ..) => super::prompt::head(line, 300),
        (None, Some(code), _) => format!("it ended with exit code {code} and said nothing"),
        (None, None, Some(sig)) => format!("it was ended by signal {sig}"),
        _ => "it ended".into(),
    }
}
