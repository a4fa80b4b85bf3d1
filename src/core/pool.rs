//! The pool of pi processes: states, profiles, who gets one next (core.md 7). How they end is in [`super::pool_ends`].

use std::path::PathBuf;

use super::heartbeat::background;
use super::session::{Key, Open, Session, Stage, Step, Who, Work};
use super::{Due, State, Todo};
use crate::delegation;
use crate::message::*;
use crate::routing;
use crate::store::Result;

const READY_WAIT: u64 = 60_000;

pub struct Proc {
    pub id: ProcId,
    pub pid: u32,
    pub profile: Profile,
    /// Model and level of its command line: `switch_session` returns to them.
    pub(super) flags: (Option<String>, String),
    pub state: ProcState,
    /// The session it belongs to; `None`: warm.
    pub session: Option<Key>,
    /// The session file it works on; `None` while it switches.
    pub file: Option<PathBuf>,
    pub since: Mono,
    /// Last use.
    pub used: Mono,
    pub asked: CmdId,
    /// It ends because nobody needed it: no turn may be inside.
    pub evicted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProcState {
    /// Spawned; its first `get_state` is not answered yet.
    Starting {
        until: Mono,
    },
    Ready,
    /// SIGTERM was sent; SIGKILL follows at `until`, and again until it is gone.
    Stopping {
        until: Mono,
    },
}

impl Proc {
    pub fn usable(&self) -> bool {
        self.state == ProcState::Ready
    }
    pub fn stopping(&self) -> bool {
        matches!(self.state, ProcState::Stopping { .. })
    }
}

impl State {
    /// What the session's process has to be started with.
    pub(super) fn wanted(&self, s: &Session, turn_model: Option<&str>) -> Profile {
        let role = s.row.role.clone().unwrap_or_else(|| "default".into());
        let primary = self.rules.model_of(&s.row.agent);
        let model = turn_model
            .map(str::to_owned)
            .or_else(|| s.row.model.clone())
            .or_else(|| primary.map(|p| self.health.choose(p, &self.rules.fallbacks, self.now.mono).to_owned()));
        Profile {
            agent: s.row.agent.clone(),
            cwd: self.rules.cwd(&s.row.agent, &role),
            role,
            channel: self.rules.profile_channel(s.row.last.as_ref().map_or("webchat", |l| &l.channel)),
            model: model.filter(|_| !s.plain_model),
            thinking: s.row.thinking.clone().unwrap_or_else(|| self.rules.thinking.clone()),
            generation: self.rules.generation,
            additions: self.additions(&s.key),
            depth: delegation::depth(&s.key),
        }
    }

    /// What the settings of the session's group, or topic, add.
    fn additions(&self, key: &str) -> Additions {
        let of_chat = |place: Source| self.rules.additions(&self.as_configured(&place)).cloned();
        routing::group_of(key).and_then(of_chat).unwrap_or_default()
    }

    pub(super) fn wanted_for(&self, s: &Session, work: &Work) -> Profile {
        let model = match work {
            Work::Resume(t) => t.model.as_deref(),
            Work::Queue => s.next_message().and_then(|m| m.solo.as_ref()?.model.as_deref()),
            _ => None,
        };
        self.wanted(s, model)
    }

    /// Starts to get a process ready for this work.
    pub(super) fn begin(&mut self, s: &mut Session, work: Work) -> Result<()> {
        if matches!(work, Work::Queue) && self.holds_back(s)? {
            self.todo.push_back(Todo::Pool); // a process may have been got ready for it
            return Ok(());
        }
        if let (Work::Queue, Some(first)) = (&work, s.next_message().filter(|m| !background(m))) {
            self.begin_wait(&s.key, &first.source);
        }
        let copy = self.choose_file(s, &work)?;
        let wanted = self.wanted_for(s, &work);
        let bound = s.proc.and_then(|id| self.procs.get(&id));
        let same =
            bound.is_some_and(|p| p.usable() && p.profile.same_hard(&wanted) && p.file.as_ref() == Some(s.file()));
        let open = |step| Open { work, step, since: self.now.mono, told: false, file_len: 0 };
        if same {
            s.stage = Stage::Open(open(Step::Slot));
            return self.apply_model(s);
        }
        let fresh = self.fresh_file(&s.key)?;
        let job = match copy {
            Some(to) => Job::BranchFile { from: s.row.file.clone(), to, cwd: wanted.cwd },
            None => Job::PrepareFile { path: s.file().clone(), cwd: wanted.cwd, fresh },
        };
        s.stage = Stage::Open(open(Step::Slot));
        let id = self.job(&s.key, job, false);
        set_step(s, Step::File(id), self.now.mono);
        Ok(())
    }

    pub(super) fn on_job_done(&mut self, s: &mut Session, id: JobId, done: JobDone) -> Result<()> {
        if self.on_fetched(s, id, &done)? {
            return Ok(());
        }
        match (&mut s.stage, done) {
            (Stage::Open(o), JobDone::FileReady { path, len, notice }) if o.step == Step::File(id) => {
                o.file_len = len;
                if path != *s.file() {
                    self.file_is(s, path)?;
                }
                if let Some(text) = notice {
                    self.frame(Frame::Notice { session: s.key.to_string(), level: "warning".into(), message: text });
                }
                self.acquire(s)
            }
            (Stage::Open(o), JobDone::Failed { why }) if o.step == Step::File(id) => {
                self.start_failed(s, &format!("the session file cannot be used: {why}"))
            }
            (Stage::Recover { step, .. }, done) if *step == super::session::RecoverStep::File(id) => {
                self.on_file_read(s, done)
            }
            (Stage::Verify { job, .. }, done) if *job == id => self.on_verified(s, done),
            (_, done) => self.on_task_done(s, id, done),
        }
    }

    /// The session file is in order: a process for it (core.md 7.3).
    pub(super) fn acquire(&mut self, s: &mut Session) -> Result<()> {
        let Stage::Open(o) = &s.stage else { return Ok(()) };
        let wanted = self.wanted_for(s, &o.work);
        if let Some(id) = s.proc {
            if let Some(p) = self.procs.get_mut(&id) {
                if p.usable() && p.profile.same_hard(&wanted) {
                    // Same process, another file (`/new`).
                    return self.bind(s, id);
                }
                if !p.stopping() {
                    self.stop_proc(id);
                }
                set_step(s, Step::Exit, self.now.mono);
                return Ok(());
            }
            s.proc = None;
        }
        let warm = self
            .procs
            .values()
            .filter(|p| p.session.is_none() && p.usable() && p.profile.same_hard(&wanted))
            .max_by_key(|p| p.profile.same_soft(&wanted))
            .map(|p| p.id);
        if let Some(id) = warm {
            if let Some(p) = self.procs.get_mut(&id) {
                p.session = Some(s.key.clone());
            }
            s.proc = Some(id);
            self.arm(Due::Warm, self.now.mono + 1_000);
            return self.bind(s, id);
        }
        let waits_already = matches!(&s.stage, Stage::Open(o) if o.step == Step::Slot);
        set_step(s, Step::Slot, self.now.mono);
        if self.drained {
            return Ok(()); // the next life goes on with it
        }
        // What nobody waits for leaves the last place to somebody who waits.
        if self.procs.len() < self.rules.pool_max && (!for_nobody(s) || !self.somebody_waits()) {
            return self.spawn_for(s, wanted);
        }
        if !waits_already {
            self.counters.pool_waits += 1;
        }
        self.todo.push_back(Todo::Pool);
        Ok(())
    }

    fn spawn_for(&mut self, s: &mut Session, profile: Profile) -> Result<()> {
        let id = self.spawn(profile, s.file().clone(), Some(s.key.clone()))?;
        s.proc = Some(id);
        set_step(s, Step::Starting, self.now.mono);
        Ok(())
    }

    fn spawn(&mut self, profile: Profile, file: PathBuf, session: Option<Key>) -> Result<ProcId> {
        let id = ProcId(self.store.next_counter()?);
        self.emit(Effect::Spawn { proc: id, profile: Box::new(profile.clone()), session_file: file.clone() });
        let until = self.now.mono + READY_WAIT;
        let p = Proc {
            id,
            pid: 0,
            flags: (profile.model.clone(), profile.thinking.clone()),
            profile,
            state: ProcState::Starting { until },
            session,
            file: Some(file),
            since: self.now.mono,
            used: self.now.mono,
            asked: 0,
            evicted: false,
        };
        self.counters.spawns += 1;
        self.procs.insert(id, p);
        self.arm(Due::Proc(id), until);
        Ok(id)
    }

    /// A process that is ready switches to the session's file.
    fn bind(&mut self, s: &mut Session, id: ProcId) -> Result<()> {
        let cmd = self.switch_file(id, s.file().clone());
        set_step(s, Step::Binding(cmd), self.now.mono);
        Ok(())
    }

    /// pi turns to another file, with the model and the level of its command line.
    pub(super) fn switch_file(&mut self, id: ProcId, path: PathBuf) -> CmdId {
        let cmd = self.write(id, PiCmd::SwitchSession { path });
        if let Some(p) = self.procs.get_mut(&id) {
            p.file = None; // until pi says so
            p.profile.model = p.flags.0.clone();
            p.profile.thinking = p.flags.1.clone();
        }
        cmd
    }

    /// Bound: model and level, then the work itself.
    pub(super) fn apply_model(&mut self, s: &mut Session) -> Result<()> {
        let Stage::Open(o) = &s.stage else { return Ok(()) };
        let wanted = self.wanted_for(s, &o.work);
        let Some(id) = s.proc else { return self.acquire(s) };
        let Some(p) = self.procs.get_mut(&id) else { return self.acquire(s) };
        if p.profile.same_soft(&wanted) {
            return self.ready(s, id);
        }
        let new_model = (p.profile.model != wanted.model).then(|| wanted.model.clone());
        match new_model {
            // Old pi would write the choice into the settings that all processes share: respawn instead.
            // A pattern without `/`, or back to pi's own default, needs flags too.
            _ if !self.new_pi => {}
            Some(None) => {}
            Some(Some(m)) if !m.contains('/') => {}
            model => {
                let level = (p.profile.thinking != wanted.thinking).then(|| wanted.thinking.clone());
                p.profile.model = wanted.model.clone();
                p.profile.thinking = wanted.thinking.clone();
                let mut last = 0;
                if let Some((provider, model)) = model.flatten().as_deref().and_then(|m| m.split_once('/')) {
                    last = self.write(id, PiCmd::SetModel { provider: provider.into(), model: model.into() });
                }
                if let Some(level) = level {
                    last = self.write(id, PiCmd::SetThinking { level });
                }
                set_step(s, Step::Model(last), self.now.mono);
                return Ok(());
            }
        }
        self.stop_proc(id);
        set_step(s, Step::Exit, self.now.mono);
        Ok(())
    }

    pub(super) fn ready(&mut self, s: &mut Session, id: ProcId) -> Result<()> {
        match std::mem::replace(&mut s.stage, Stage::Idle) {
            Stage::Open(o) if self.draining.is_none() => self.prompt_turn(s, o.work, id, o.file_len),
            Stage::Open(o) => self.put_back(s, o.work),
            other => {
                s.stage = other;
                Ok(())
            }
        }
    }

    /// Work that cannot go on now: queued messages are in the queue still, a turn stays open in the store.
    fn put_back(&mut self, s: &mut Session, work: Work) -> Result<()> {
        match work {
            Work::Compact { who, .. } => self.end_compact(s, who, Err("the gateway is stopping".into())),
            Work::Ask { row, .. } => self.tell(s, Who::Row(row), Ok("The gateway is stopping.".into())),
            Work::Queue | Work::Resume(_) => Ok(()),
        }
    }

    /// People wait for a place.
    fn somebody_waits(&self) -> bool {
        let waits = |s: &Session| matches!(&s.stage, Stage::Open(o) if o.step == Step::Slot);
        self.sessions.values().any(|s| waits(s) && !for_nobody(s))
    }

    /// Gives free places to those who wait, or makes room.
    pub(super) fn pump_pool(&mut self) -> Result<()> {
        loop {
            let now = self.now.mono;
            let mut waiting: Vec<((bool, i64), Key)> = Vec::new();
            for s in self.sessions.values() {
                if let Stage::Open(Open { step: Step::Slot, since, .. }) = &s.stage {
                    let people = !for_nobody(s);
                    let prio = s.queue.iter().map(|r| r.prio).max().unwrap_or(self.rules.prio_dm);
                    let age = now.saturating_sub(*since);
                    waiting.push(((people, prio * 30_000 + age as i64), s.key.clone()));
                }
            }
            let Some((_, key)) = waiting.iter().max_by_key(|(p, _)| *p).cloned() else { return Ok(()) };
            if self.procs.len() < self.rules.pool_max {
                self.with(&key, |core, s| core.acquire(s))?;
                continue;
            }
            let stopping = self.procs.values().filter(|p| p.stopping()).count();
            if stopping >= waiting.len() {
                return Ok(());
            }
            let idle = |p: &&Proc| {
                p.usable()
                    && !self.is_asked(p.id)
                    && p.session.as_ref().is_none_or(|k| self.sessions.get(k).is_none_or(|s| !s.running()))
            };
            match self.procs.values().filter(idle).min_by_key(|p| p.used).map(|p| p.id) {
                Some(id) => self.evict(id),
                None => return Ok(()),
            }
        }
    }

    /// Keeps `pool.min` processes alive, so that a first message finds one ready.
    pub(super) fn keep_warm(&mut self) -> Result<()> {
        if self.draining.is_some()
            || self.degraded.is_some()
            || self.procs.len() >= self.rules.pool_min.min(self.rules.pool_max)
        {
            return Ok(());
        }
        let agent = self.rules.routing.default.clone();
        let role = self.rules.role_of(&agent, None).unwrap_or("default").to_owned();
        let profile = Profile {
            cwd: self.rules.cwd(&agent, &role),
            model: self.rules.model_of(&agent).map(str::to_owned),
            agent,
            role,
            channel: self.rules.profile_channel("webchat"),
            thinking: self.rules.thinking.clone(),
            generation: self.rules.generation,
            additions: Additions::default(),
            depth: 0,
        };
        let name = self.store.next_counter()?;
        let file = self.rules.sessions_dir.join("_warm").join(format!("{}.jsonl", self.store.ext('f', name as i64)));
        self.spawn(profile, file, None)?;
        self.arm(Due::Warm, self.now.mono + 1_000);
        Ok(())
    }
}

pub(super) fn set_step(s: &mut Session, step: Step, now: Mono) {
    if let Stage::Open(o) = &mut s.stage {
        if step == Step::Slot && o.step == Step::Slot {
            return; // keeps its age
        }
        o.step = step;
        o.since = now;
    }
}

/// The session opens for a heartbeat or a scheduled job.
fn for_nobody(s: &Session) -> bool {
    match &s.stage {
        Stage::Open(Open { work: Work::Queue, .. }) => s.next_message().is_some_and(background),
        Stage::Open(Open { work: Work::Resume(t), .. }) => t.members.iter().any(background),
        _ => false,
    }
}
