//! The mind: all decisions and all durable state.
//!
//! [`State::step`] takes one event and the time and leaves effects; it does no I/O but SQL on the store's own
//! connection, never waits and knows no thread. The loop around it is [`run`]. What lasts is in the store;
//! what is here can be built from it at any moment ([`State::open`]): start and recovery are the same path.

mod agenda;
mod answers;
mod asks;
mod basics;
mod blocks;
mod bury;
mod chats;
pub mod command_list;
mod commands;
mod compact;
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
mod hearers;
mod heartbeat;
mod heartbeat_turn;
mod intake;
mod invariants;
mod keys;
mod lanes;
mod legacy;
mod limits;
mod menus;
mod models;
mod moved;
mod outcomes;
mod pace;
mod parcel;
mod parts;
mod pool;
mod pool_ends;
mod posts;
mod presses;
mod process_events;
pub mod prompt;
mod question_view;
mod questions;
mod queue;
mod quotes;
mod reactions;
mod recover;
mod rendering;
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
mod turn_begin;
mod turn_end;
mod turn_events;
mod typing;
mod unshow;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::message::*;
use crate::store::{random_id, Alias, Result, Store};

use crate::rules::Rules;
use agenda::{Due, Todo};
use asks::PendingAsk;
use failover::Health;
use lanes::{Lane, Passing};
use limits::{Account, Chat};
use pool::Proc;
use questions::{Ended, Question};
use session::{Session, Stage};
use view::ViewState;

pub use legacy::Legacy;
pub use session::Key;

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
}
