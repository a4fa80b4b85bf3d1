//! The loop around the mind: batch, commit, release (design.md, "The mind"; core.md 22.8).
//!
//! drain inbox -> BEGIN -> per event SAVEPOINT + step -> COMMIT -> release effects; durable ones go through the
//! sync thread. A batch that cannot be committed is as if it had never been: the state is built anew from the
//! store, which is what would happen after a kill at that moment.

use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Legacy, State};
use crate::message::*;
use crate::rules::Rules;
use crate::store::sync::Covered;
use crate::store::{Ballast, Error, Store};
use crate::{clock, fault};

/// Events of one batch at most.
const BATCH: usize = 256;
/// What is committed is synced that much later at the latest.
const LAZY_SYNC: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(10);

/// Where effects go. Called by the core thread, and by the sync thread for durable ones: must not block.
pub type Carry = Arc<dyn Fn(Effect) + Send + Sync>;

/// Figures of the loop for metrics.
#[derive(Debug, Default)]
pub struct LoopStats {
    pub batches: AtomicU64,
    pub events: AtomicU64,
    /// Longest single event, µs.
    pub longest_step_us: AtomicU64,
}

pub struct Core {
    pub path: PathBuf,
    pub rules: Arc<Rules>,
    pub inbox: Receiver<Event>,
    pub sync: Sender<Covered<Effect>>,
    pub carry: Carry,
    pub stats: Arc<LoopStats>,
}

impl Core {
    /// Runs until the inbox is closed; then the store is marked clean and closed.
    pub fn run(self, store: Store) {
        let ballast = Ballast::beside(&self.path);
        ballast.restore();
        let mut lost: Vec<ReqId> = Vec::new();
        let mut store = Some(store);
        let mut rules = self.rules.clone();
        let mut legacy = Legacy::default();
        let mut trouble: Option<String> = None;
        let mut panics: Vec<Instant> = Vec::new();
        loop {
            legacy.trouble = trouble.clone();
            let opened = store.take().map_or_else(|| Store::open(&self.path), Ok);
            let opened = opened.and_then(|s| State::open(s, rules.clone(), clock::now(), legacy.clone()));
            for id in lost.drain(..) {
                self.tell_failing(id, trouble.as_deref());
            }
            let why = match opened {
                Ok((mut state, effects)) => {
                    let mut outside = Outside::from(&legacy);
                    outside.note(&effects);
                    self.release(effects);
                    match self.serve(&mut state, &ballast, &mut trouble, &mut lost, &mut panics, &mut outside) {
                        None => return self.close(state),
                        Some(why) => {
                            rules = state.rules().clone();
                            legacy = state.legacy(&outside.procs, &outside.calls);
                            why
                        }
                    }
                }
                Err(e) => {
                    if !self.wait_out(Duration::from_secs(1), &e, &mut legacy) {
                        return;
                    }
                    e
                }
            };
            if let Error::Corrupt(what) = &why {
                log::error!("the store is damaged: {what}; ending so that the next start puts it aside");
                crate::store::suspect(&self.path);
                std::thread::sleep(Duration::from_millis(100)); // the log is written by another thread
                std::process::exit(70);
            }
            log::error!("{why}; state is built anew from the store");
            if matches!(why, Error::Full) {
                ballast.drop_it();
            }
            trouble = Some(why.to_string());
        }
    }

    /// Serves events until the inbox closes (`None`) or a batch fails.
    fn serve(
        &self,
        state: &mut State,
        ballast: &Ballast,
        trouble: &mut Option<String>,
        lost: &mut Vec<ReqId>,
        panics: &mut Vec<Instant>,
        outside: &mut Outside,
    ) -> Option<Error> {
        let mut unsynced: Option<Instant> = None;
        let mut again = Instant::now() + RETRY;
        let mut end = false;
        loop {
            let first = match self.next(state, unsynced, trouble.as_ref().map(|_| again)) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    if unsynced.is_some_and(|t| t.elapsed() >= LAZY_SYNC) {
                        let _ = self.sync.send(Covered { effects: Vec::new() });
                        unsynced = None;
                    }
                    // What the sync thread reports, it takes back itself.
                    if trouble.is_some() && Instant::now() >= again {
                        again = Instant::now() + RETRY;
                        if ballast.room() {
                            *trouble = None;
                        }
                        if trouble.is_none() {
                            Event::Trouble { what: None }
                        } else {
                            Event::Due
                        }
                    } else {
                        Event::Due
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if matches!(first, Event::End) {
                return None;
            }
            let before = state.store().changes();
            match self.batch(state, first, lost, panics, &mut end, outside) {
                Ok(effects) => {
                    fault::point("committed");
                    lost.clear();
                    outside.note(&effects);
                    if self.release(effects) {
                        unsynced = None;
                    } else if state.store().changes() > before {
                        unsynced.get_or_insert_with(Instant::now);
                    }
                    if std::mem::take(&mut end) {
                        return None;
                    }
                }
                Err(e) => {
                    state.store().rollback();
                    for id in &outside.procs {
                        (self.carry)(Effect::Signal { proc: *id, sig: Sig::Kill });
                    }
                    return Some(e);
                }
            }
        }
    }

    fn close(&self, state: State) {
        if let Err(e) = state.into_store().close() {
            log::error!("closing the store: {e}");
        }
    }

    fn next(
        &self,
        state: &State,
        unsynced: Option<Instant>,
        retry: Option<Instant>,
    ) -> Result<Event, RecvTimeoutError> {
        let due = state.next_due().map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(clock::mono())));
        let lazy = unsynced.map(|t| t + LAZY_SYNC);
        match [due, lazy, retry].into_iter().flatten().min() {
            Some(at) => self.inbox.recv_deadline(at),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// All waiting events in one transaction.
    fn batch(
        &self,
        state: &mut State,
        first: Event,
        lost: &mut Vec<ReqId>,
        panics: &mut Vec<Instant>,
        end: &mut bool,
        outside: &mut Outside,
    ) -> Result<Vec<Effect>, Error> {
        state.store().begin()?; // the first statement takes the lock
        let mut effects = Vec::new();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next.take().or_else(|| self.inbox.try_recv().ok()) else { break };
            outside.hear(&event);
            match &event {
                Event::Request { id, .. } | Event::Inbound { id, .. } => lost.push(*id),
                Event::End => {
                    *end = true;
                    break;
                }
                _ => {}
            }
            // What must not come again if it makes the mind panic.
            let grave = match &event {
                Event::Inbound { .. } => Some(event.clone()),
                Event::Request { req, .. } if req.message().is_some() => Some(event.clone()),
                _ => None,
            };
            let begun = Instant::now();
            state.store().savepoint()?;
            match catch_unwind(AssertUnwindSafe(|| state.step(event, clock::now()))) {
                Ok(Ok(fx)) => {
                    state.store().release()?;
                    effects.extend(fx);
                }
                Ok(Err(e)) => return Err(e),
                Err(_) => {
                    state.store().rollback_event()?;
                    effects.extend(state.heal(clock::now())?);
                    match (grave, lost.last()) {
                        (Some(event), _) => effects.extend(state.bury(&event)?),
                        (None, Some(id)) => effects.push(failed(*id)),
                        (None, None) => {}
                    }
                    panics.retain(|t| t.elapsed() < Duration::from_secs(60));
                    panics.push(Instant::now());
                    if panics.len() >= 3 {
                        log::error!("three panics within a minute; ending so that the service starts afresh");
                        std::process::exit(70);
                    }
                }
            }
            self.stats.events.fetch_add(1, Relaxed);
            self.stats.longest_step_us.fetch_max(begun.elapsed().as_micros() as u64, Relaxed);
        }
        fault::point("before commit");
        state.store().commit()?;
        self.stats.batches.fetch_add(1, Relaxed);
        Ok(effects)
    }

    /// Effects leave in order; durable ones by the sync thread. True if a sync is on its way.
    fn release(&self, effects: Vec<Effect>) -> bool {
        let (durable, now): (Vec<_>, Vec<_>) = effects.into_iter().partition(Effect::durable);
        for effect in now {
            fault::point("effect");
            (self.carry)(effect);
        }
        let sync = !durable.is_empty();
        if sync {
            let _ = self.sync.send(Covered { effects: durable }); // ends only after us
        }
        sync
    }

    /// The store cannot even be opened: callers are told, everything else is in the store or will come again.
    fn wait_out(&self, time: Duration, why: &Error, legacy: &mut Legacy) -> bool {
        let end = Instant::now() + time;
        loop {
            match self.inbox.recv_deadline(end) {
                Ok(Event::Request { id, .. } | Event::Inbound { id, .. }) => {
                    self.tell_failing(id, Some(&why.to_string()))
                }
                Ok(Event::Exit { proc, .. } | Event::SpawnFailed { proc, .. }) => legacy.procs.retain(|p| p.0 != proc),
                Ok(Event::Outcome { call, .. }) => {
                    legacy.calls.remove(&call);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn tell_failing(&self, id: ReqId, why: Option<&str>) {
        let message = format!("Nothing can be stored now: {}.", why.unwrap_or("the store does not work"));
        let answer = AnswerBox(Box::new(Answer::Error { code: Code::StoreFailing, message }));
        (self.carry)(Effect::Answer { id, answer, durable: false });
    }
}

/// What was set going and has not ended: it goes on even if the state is built anew.
#[derive(Default)]
struct Outside {
    procs: BTreeSet<ProcId>,
    calls: BTreeSet<CallId>,
}

impl Outside {
    fn from(legacy: &Legacy) -> Outside {
        Outside { procs: legacy.procs.iter().map(|p| p.0).collect(), calls: legacy.calls.clone() }
    }
    fn note(&mut self, effects: &[Effect]) {
        for e in effects {
            match e {
                Effect::Spawn { proc, .. } => self.procs.insert(*proc),
                Effect::Call { id, .. } => self.calls.insert(*id),
                _ => false,
            };
        }
    }
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Exit { proc, .. } | Event::SpawnFailed { proc, .. } => self.procs.remove(proc),
            Event::Outcome { call, .. } => self.calls.remove(call),
            _ => false,
        };
    }
}

fn failed(id: ReqId) -> Effect {
    let message = "The gateway stumbled over this request; it is in the log.".to_owned();
    let answer = AnswerBox(Box::new(Answer::Error { code: Code::Internal, message }));
    Effect::Answer { id, answer, durable: false }
}
