//! The mind: all decisions and all durable state.
//!
//! [`State::step`] takes one event and the time and leaves effects; it does no I/O but SQL on the store's own
//! connection, never waits and knows no thread. The loop around it is [`run`]. What lasts is in the store;
//! what is here can be built from it at any moment ([`State::open`]): start and recovery are the same path.

mod answers;
mod asks;
mod chats;
pub mod command_list;
mod commands;
mod concise;
mod cron;
mod cron_asks;
mod cron_main;
mod cron_runs;
mod delegate;
mod delegate_ends;
mod dialogs;
mod drain;
mod early;
mod edits;
mod events;
pub mod failover;
mod gate;
mod heartbeat;
mod heartbeat_turn;
mod intake;
mod invariants;
mod keys;
mod lanes;
mod menus;
mod moved;
mod pace;
mod parts;
mod pool;
mod posts;
mod presses;
mod process_events;
pub mod prompt;
mod questions;
mod quotes;
mod reactions;
mod recover;
mod renew;
mod reply;
mod requests;
mod roles;

pub mod run;
mod session;
mod solo;
mod steps;
mod tasks;
mod topics;
mod turn;
mod turn_end;
mod turn_events;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::session_dir_name;
use crate::delegation;
use crate::message::*;
use crate::store::{random_id, Alias, Result, Store};

use crate::routing::fleeting;
use crate::rules::Rules;
use asks::PendingAsk;
use failover::Health;
use lanes::{Account, Chat, Lane, Passing};
use pool::Proc;
use questions::{Ended, Question};
use session::{Session, Stage};
use view::ViewState;

pub use session::Key;

/// What a due time belongs to; each has at most one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(Key),
    Proc(ProcId),
    Lane(Target),
    View(Key),
    Dialog(String),
    Question(String),
    Ask(CmdId),
    Warm,
    Clean,
    Drain,
    /// Who waits for a platform is told.
    Post(ReqId),
    /// Scheduled jobs are looked at.
    Cron,
    /// A task for another agent: by its message.
    Task(Row),
    /// That agent's heartbeat.
    Beat(String),
    /// An agent's session may have time for an event.
    Wake(String),
    /// The oldest event is over.
    Events,
}

/// Work that follows from an event and touches something else than the event did.
#[derive(Debug)]
enum Todo {
    /// The pool may have room for somebody who waits.
    Pool,
    /// The session may begin a turn.
    Kick(Key),
    Lane(Target),
    /// The session of a single request may be over.
    Fleeting(Key),
    /// Somebody runs a job by hand; its key is that moment.
    Run(String, Wall),
    /// A task for another agent is to end.
    EndTask(Row),
    /// A delegated conversation may have come to its end.
    Retire(Key),
    /// An agent is woken for an event.
    Wake(String),
    /// Copies of the session's file may go.
    Tidy(Key),
}

/// The mind's state.
pub struct State {
    store: Store,
    rules: Arc<Rules>,
    now: Now,
    sessions: BTreeMap<Key, Session>,
    procs: BTreeMap<ProcId, Proc>,
    lanes: BTreeMap<Target, Lane>,
    accounts: BTreeMap<(String, String), Account>,
    /// What was sent to a chat lately; its targets have no thread.
    chats: BTreeMap<Target, Chat>,
    /// Turns that people watch.
    views: BTreeMap<Key, ViewState>,
    /// Calls under way that no row of the outbox stands for.
    passing: BTreeMap<u64, (Target, Passing)>,
    next_call: u64,
    /// Texts that are being rendered: lane and row.
    renders: BTreeMap<JobId, (Target, Row)>,
    /// Who was told lately that too many ask to be let in.
    strangers: BTreeMap<(Target, &'static str), Mono>,
    /// Scheduled jobs.
    cron: cron::Cron,
    /// Tasks of agents for other agents.
    delegations: delegate::Delegations,
    heart: heartbeat::Heart,
    /// Who waits for what was sent to be taken.
    posters: Vec<posts::Poster>,
    /// Reactions to be removed as soon as they are set.
    unmarks: BTreeSet<(Target, String)>,
    /// Chats that have another id.
    aliases: Vec<Alias>,
    /// Chats that nothing can be sent to: why, and until when (`None`: until something comes from there).
    barred: BTreeMap<chats::ChatName, (String, Option<Mono>)>,
    /// Topics that are not there: until when that is believed.
    lost_topics: BTreeMap<Target, Mono>,
    /// What was said in groups since the bot was last spoken to.
    overheard: BTreeMap<Target, Vec<String>>,
    /// Who was told lately that nothing writes down what they say.
    unheard: BTreeMap<Target, Mono>,
    /// Who waits for the fate of which message.
    waiters: BTreeMap<Row, Vec<ReqId>>,
    jobs: BTreeMap<JobId, Key>,
    dialogs: BTreeMap<String, dialogs::OpenDialog>,
    /// What the agent asks people in their chats.
    questions: BTreeMap<String, Question>,
    /// Questions to pi that are no part of a turn.
    asks: BTreeMap<CmdId, PendingAsk>,
    timers: BTreeSet<(Mono, Due)>,
    dues: BTreeMap<Due, Mono>,
    todo: VecDeque<Todo>,
    out: Vec<Effect>,
    next_cmd: CmdId,
    next_job: JobId,
    health: Health,
    /// `agent_settled` was seen from the configured executable.
    new_pi: bool,
    /// Slash commands that pi knows: the last known list.
    pi_commands: Option<Vec<(String, String)>>,
    pi_models: Option<KnownModels>,
    counters: Counters,
    clock_confirmed: bool,
    draining: Option<Mono>,
    /// The turns are over: so long the lanes still send.
    sending_until: Option<Mono>,
    drained: bool,
    /// The store cannot be written, or the disk is sick: why.
    degraded: Option<String>,
    spawn_failures: u32,
    /// Sessions that had a message in this life.
    used: BTreeSet<Key>,
    /// Sessions whose pi file was asked about forgotten messages (after an unclean end).
    verified: BTreeSet<Key>,
    /// Session the event at hand belongs to (for healing after a panic).
    current: Option<Key>,
    random: Box<dyn FnMut(usize) -> String + Send>,
}

/// What outlives a state that had to be given up in the middle of a life (a batch failed), and is not in the
/// store.
#[derive(Clone, Debug, Default)]
pub struct Legacy {
    /// Why the store cannot be written: no work begins until that is over.
    pub trouble: Option<String>,
    pub clock_confirmed: bool,
    pub draining: Option<Mono>,
    /// Platform calls whose outcome has not come.
    pub calls: BTreeSet<CallId>,
    /// Of those that no row stands for: where, and what for.
    passing: BTreeMap<u64, (Target, Passing)>,
    next_call: u64,
    /// Jobs are numbered on: those given away before may still come back.
    pub next_job: JobId,
    /// Processes that are being killed: their sessions wait for their end.
    pub procs: Vec<(ProcId, Profile, Option<Key>)>,
}

/// The models that pi had when it was last asked.
struct KnownModels {
    /// `provider/id` of each.
    names: Vec<String>,
    /// pi's own JSON.
    raw: Arc<str>,
    at: Mono,
}

impl State {
    /// Builds the state from the store. The effects finish what an earlier life left undone.
    pub fn open(store: Store, rules: Arc<Rules>, now: Now, legacy: Legacy) -> Result<(State, Vec<Effect>)> {
        let mut state = State {
            store,
            rules,
            now,
            sessions: BTreeMap::new(),
            procs: BTreeMap::new(),
            lanes: BTreeMap::new(),
            accounts: BTreeMap::new(),
            chats: BTreeMap::new(),
            views: BTreeMap::new(),
            next_call: legacy.next_call.max(1),
            passing: BTreeMap::new(),
            renders: BTreeMap::new(),
            strangers: BTreeMap::new(),
            cron: cron::Cron::default(),
            delegations: delegate::Delegations::default(),
            heart: heartbeat::Heart::default(),
            posters: Vec::new(),
            unmarks: BTreeSet::new(),
            aliases: Vec::new(),
            barred: BTreeMap::new(),
            lost_topics: BTreeMap::new(),
            overheard: BTreeMap::new(),
            unheard: BTreeMap::new(),
            waiters: BTreeMap::new(),
            jobs: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            questions: BTreeMap::new(),
            asks: BTreeMap::new(),
            timers: BTreeSet::new(),
            dues: BTreeMap::new(),
            todo: VecDeque::new(),
            out: Vec::new(),
            next_cmd: 1,
            next_job: legacy.next_job.max(1),
            health: Health::default(),
            new_pi: false,
            pi_commands: None,
            pi_models: None,
            counters: Counters::default(),
            clock_confirmed: legacy.clock_confirmed,
            draining: legacy.draining,
            sending_until: None,
            drained: false,
            degraded: legacy.trouble,
            spawn_failures: 0,
            used: BTreeSet::new(),
            verified: BTreeSet::new(),
            current: None,
            random: Box::new(random_id),
        };
        for (id, profile, session) in legacy.procs {
            state.inherit(id, profile, session);
        }
        for (id, (target, what)) in legacy.passing {
            state.inherit_call(id, target, what);
        }
        state.store.begin()?;
        for call in legacy.calls {
            state.inherit_send(call)?;
        }
        state.aliases = state.store.aliases()?;
        state.load_cron()?;
        state.load_scratch()?;
        state.load_heart()?;
        state.recover_all()?;
        state.work()?;
        state.store.commit()?;
        if let Some(deadline) = legacy.draining {
            state.arm(Due::Drain, deadline);
        }
        state.arm(Due::Clean, now.mono + 60_000);
        state.arm(Due::Warm, now.mono);
        let effects = std::mem::take(&mut state.out);
        Ok((state, effects))
    }

    /// One event. The caller has opened a transaction; an error means: give the whole batch up.
    pub fn step(&mut self, event: Event, now: Now) -> Result<Vec<Effect>> {
        self.now = now;
        self.current = None;
        self.watch_offset()?;
        match event {
            Event::Request { id, req } => self.on_request(id, *req)?,
            Event::Gone { id } => {
                self.waiters.retain(|_, ids| {
                    ids.retain(|i| *i != id);
                    !ids.is_empty()
                });
                self.poster_gone(id);
                self.chooser_gone(id)?;
                self.page_chooser_gone(id)?;
                self.delegator_gone(id);
            }
            Event::Inbound { id, batch } => self.on_batch(id, *batch)?,
            Event::Outcome { call, outcome } => self.on_outcome(call, *outcome)?,
            Event::Account { channel, account, trouble } => self.on_account(&channel, &account, trouble.as_deref()),
            Event::Poke => self.on_poke()?,
            Event::Job { id, done } => self.on_job(id, *done)?,
            Event::Spawned { proc, pid } => self.on_spawned(proc, pid),
            Event::SpawnFailed { proc, why } => self.on_spawn_failed(proc, why.into())?,
            Event::Pi { proc, event } => self.on_pi(proc, *event)?,
            Event::Exit { proc, info } => self.on_exit(proc, *info)?,
            Event::Swept { proc } => self.on_swept(proc)?,
            Event::Clock { confirmed } => self.on_clock(confirmed)?,
            Event::Trouble { what } => self.on_trouble(what.map(Into::into))?,
            Event::Drain { deadline } => {
                self.draining = Some(deadline);
                self.arm(Due::Drain, deadline);
                self.drain_delegations();
            }
            Event::Due | Event::End => {}
        }
        self.on_due()?;
        self.work()?;
        self.check_drained()?;
        Ok(std::mem::take(&mut self.out))
    }

    /// When `step` wants to be called with [`Event::Due`] at the latest.
    pub fn next_due(&self) -> Option<Mono> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Another source of random characters (the simulator's).
    pub fn random_from(&mut self, source: impl FnMut(usize) -> String + Send + 'static) {
        self.random = Box::new(source);
    }

    /// The store, for the loop's transactions.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Of the processes that run outside, what the next state has to know.
    pub fn legacy(&self, alive: &BTreeSet<ProcId>, calls: &BTreeSet<CallId>) -> Legacy {
        let procs = self.procs.values().filter(|p| alive.contains(&p.id));
        Legacy {
            trouble: None,
            clock_confirmed: self.clock_confirmed,
            draining: self.draining,
            calls: calls.clone(),
            passing: self
                .passing
                .iter()
                .filter(|(id, _)| calls.contains(&CallId::Passing(**id)))
                .map(|(id, p)| (*id, p.clone()))
                .collect(),
            next_call: self.next_call,
            next_job: self.next_job,
            procs: procs.map(|p| (p.id, p.profile.clone(), p.session.clone())).collect(),
        }
    }

    /// Gives the store back (shutdown).
    pub fn into_store(self) -> Store {
        self.store
    }

    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// After a panic in `step` (its savepoint is rolled back): the session's memory is thrown away and
    /// built anew from the store. Returns the effects of that.
    pub fn heal(&mut self, now: Now) -> Result<Vec<Effect>> {
        self.now = now;
        self.out.clear();
        self.todo.clear();
        self.counters.errors += 1;
        self.cron = cron::Cron::default();
        self.load_cron()?;
        self.heal_delegations()?;
        self.heart = heartbeat::Heart::default();
        self.load_scratch()?;
        self.load_heart()?;
        if let Some(key) = self.current.take() {
            log::error!("rebuilding session {key} from the store after a panic");
            self.forget(&key);
            self.recover_session(&key)?;
        }
        self.work()?;
        Ok(std::mem::take(&mut self.out))
    }

    // ---- timers

    fn arm(&mut self, due: Due, at: Mono) {
        if let Some(old) = self.dues.insert(due.clone(), at) {
            self.timers.remove(&(old, due.clone()));
        }
        self.timers.insert((at, due));
    }

    fn disarm(&mut self, due: &Due) {
        if let Some(old) = self.dues.remove(due) {
            self.timers.remove(&(old, due.clone()));
        }
    }

    fn on_due(&mut self) -> Result<()> {
        while let Some((at, due)) = self.timers.first().cloned() {
            if at > self.now.mono {
                break;
            }
            self.disarm(&due);
            match due {
                Due::Session(key) => self.with(&key, |core, s| core.on_session_due(s))?,
                Due::Proc(id) => self.on_proc_due(id)?,
                Due::Lane(target) => self.todo.push_back(Todo::Lane(target)),
                Due::View(key) => self.tick_view(&key),
                Due::Dialog(id) => self.close_dialog(&id, UiAnswer::Cancelled, Ended::TimedOut)?,
                Due::Question(id) => self.question_late(&id)?,
                Due::Ask(cmd) => self.ask_late(cmd)?,
                Due::Warm => self.keep_warm()?,
                Due::Clean => self.clean()?,
                Due::Drain => {}
                Due::Post(req) => self.poster_late(req),
                Due::Cron => self.look_cron()?,
                Due::Task(row) => self.task_due(row),
                Due::Beat(agent) => self.tick(&agent)?,
                Due::Wake(agent) => self.wake(&agent)?,
                Due::Events => self.expire_events()?,
            }
        }
        Ok(())
    }

    fn work(&mut self) -> Result<()> {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Pool => self.pump_pool()?,
                Todo::Kick(key) => self.with(&key, |core, s| core.kick(s))?,
                Todo::Lane(target) => {
                    self.pump_lane(&target)?;
                    self.tell_posters()?;
                }
                Todo::Fleeting(key) => self.end_fleeting(&key)?,
                Todo::Run(job, at) => self.run_job(&job, at)?,
                Todo::EndTask(row) => self.end_task(row)?,
                Todo::Retire(key) => self.retire_child(&key),
                Todo::Wake(agent) => self.wake(&agent)?,
                Todo::Tidy(key) => self.tidy(&key)?,
            }
        }
        Ok(())
    }

    // ---- small things everybody needs

    /// Runs `f` on a session that is in memory, then sets its due time.
    fn with(&mut self, key: &Key, f: impl FnOnce(&mut State, &mut Session) -> Result<()>) -> Result<()> {
        let Some(mut s) = self.sessions.remove(key) else { return Ok(()) };
        self.current = Some(key.clone());
        let done = f(self, &mut s);
        match self.due_of(&s) {
            Some(at) => self.arm(Due::Session(key.clone()), at),
            None => self.disarm(&Due::Session(key.clone())),
        }
        if matches!(s.stage, Stage::Idle) {
            self.end_view(key); // whatever it was that people saw of it
            if self.has_scratch(key) {
                self.todo.push_back(Todo::Tidy(key.clone()));
            }
        }
        if s.quiet() && fleeting(key) {
            self.todo.push_back(Todo::Fleeting(key.clone()));
        }
        if s.quiet() && s.proc.is_some() && delegation::is_delegated(key) {
            self.todo.push_back(Todo::Retire(key.clone()));
        }
        let keep = !s.quiet() || s.proc.is_some();
        if keep {
            self.sessions.insert(key.clone(), s);
        }
        done
    }

    fn emit(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    fn frame(&mut self, frame: Frame) {
        self.out.push(Effect::Frame(Box::new(frame)));
    }

    /// For the operator's list of what happened.
    fn observe(&mut self, level: Level, category: Area, action: &'static str, message: String, session: &str) {
        let seen = Observation::new(level, category, action, message);
        let seen = if session.is_empty() { seen } else { seen.of(session) };
        self.emit(Effect::Observed(Box::new(seen)));
    }

    /// pi did not answer a command in time.
    fn rpc_late(&mut self, session: &str) {
        self.counters.rpc_timeouts += 1;
        self.observe(Level::Warn, Area::Rpc, "timeout", "pi did not answer in time".into(), session);
    }

    fn answer(&mut self, id: ReqId, answer: Answer, durable: bool) {
        let durable = durable && self.rules.durable;
        self.out.push(Effect::Answer { id, answer: AnswerBox(Box::new(answer)), durable });
    }

    fn refuse(&mut self, id: ReqId, code: Code, message: impl Into<String>) {
        self.answer(id, Answer::Error { code, message: message.into() }, false);
    }

    /// Writes a command to pi; its response comes with the returned number.
    fn write(&mut self, proc: ProcId, cmd: PiCmd) -> CmdId {
        let id = self.next_cmd;
        self.next_cmd += 1;
        self.out.push(Effect::Write { proc, id, cmd: Box::new(cmd) });
        id
    }

    fn job(&mut self, key: &Key, job: Job, durable: bool) -> JobId {
        let id = self.next_job;
        self.next_job += 1;
        self.jobs.insert(id, key.clone());
        self.out.push(Effect::Job { id, session: key.clone(), job: Box::new(job), durable });
        id
    }

    /// A new session file's path.
    fn fresh_file(&self, key: &str) -> Result<PathBuf> {
        let n = self.store.next_counter()?;
        let name = self.store.ext('f', n as i64);
        Ok(self.rules.sessions_dir.join(session_dir_name(key)).join(format!("{name}.jsonl")))
    }

    fn on_job(&mut self, id: JobId, done: JobDone) -> Result<()> {
        if self.on_rendered(id, &done)? || self.on_heartbeat_file(id, &done)? || self.on_removed(id, &done)? {
            return Ok(());
        }
        match self.jobs.remove(&id) {
            Some(key) => self.with(&key, |core, s| core.on_job_done(s, id, done)),
            None => Ok(()), // of a session that was reset meanwhile, or a repeat
        }
    }

    fn on_clock(&mut self, confirmed: bool) -> Result<()> {
        if confirmed && !self.clock_confirmed {
            self.store.confirm_clock(self.now.wall, self.rules.max_age)?;
            self.clock_confirmed = true;
            self.heart_confirmed()?;
            return self.cron_confirmed();
        }
        self.heart_confirmed()?;
        self.look_cron() // it was set
    }

    fn on_trouble(&mut self, what: Option<String>) -> Result<()> {
        if self.degraded != what {
            match &what {
                Some(why) => self.emit(Effect::Notice(format!("degraded: {why}").into())),
                None => self.emit(Effect::Notice("the disk works again".into())),
            }
        }
        self.degraded = what;
        if self.degraded.is_none() {
            let keys: Vec<Key> = self.sessions.keys().cloned().collect();
            for key in &keys {
                self.with(key, |core, s| core.recover_again(s))?; // what waited for this moment
            }
            self.todo.extend(keys.into_iter().map(Todo::Kick));
            self.todo.extend(self.lanes.keys().cloned().map(Todo::Lane));
            self.todo.push_back(Todo::Pool);
            self.arm(Due::Warm, self.now.mono + 1_000);
            self.look_cron()?;
        }
        Ok(())
    }

    fn clean(&mut self) -> Result<()> {
        let mut again = 3_600_000;
        if self.clock_confirmed {
            let day = 86_400_000;
            let before = self.now.wall - self.rules.keep_days * day;
            self.store.clean_actions(self.now.wall)?;
            self.store.clean_cron_runs(before)?;
            self.forget_delegations()?;
            if self.store.clean(before, self.now.wall - 2 * day, self.rules.keep_keys)? {
                again = 1_000;
            }
        }
        let left: BTreeSet<Key> = self.heart.scratch_of().map(Key::from).collect();
        self.todo.extend(left.into_iter().map(Todo::Tidy)); // what could not be removed
        self.arm(Due::Clean, self.now.mono + again);
        Ok(())
    }
}
