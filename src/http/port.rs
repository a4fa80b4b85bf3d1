//! What every connection of the port shares.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ask::Mind;
use crate::live::Board;
use crate::message::{Answer, Frame, PostedFile, Request, Snapshot, Wall};
use crate::net;
use crate::observe::{self, Observer};
use crate::roster::Roster;

use super::guard::{wall, Guard};
use super::history::History;
use super::meter::Meter;
use super::pi_tokens::PiTokens;
use super::settings::{Settings, Swap};
use super::ws::hub::Hub;
use super::ws::Attendants;

/// One message of a session's history, as the store has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryMessage {
    /// External id: of the inbox row for `user`, of the segment for `assistant`.
    pub id: String,
    /// `user`, `assistant`, `notice`, `error`.
    pub role: String,
    pub content: String,
    pub run_id: String,
    pub at: Wall,
    /// The client's idempotency key of a user message.
    pub key: Option<String>,
    /// Pictures of a user message, where they are stored.
    pub images: Vec<PathBuf>,
    /// A file that a tool sent with this text.
    pub file: Option<PostedFile>,
    /// The message was not answered: this says why.
    pub failed: bool,
}

/// The store as the page's mailbox. Called on connection threads: short, indexed reads only.
pub trait Mailbox: Send + Sync {
    /// The newest `limit` messages older than the one with id `before`, oldest first.
    fn history(&self, session: &str, limit: usize, before: Option<&str>) -> Result<Vec<HistoryMessage>, String>;

    /// How the agent came to these replies, in the order of the ids: parts of the messages of pi, of which none is
    /// longer than a history may hold. Empty: not known. `results`: with what tools gave.
    fn parts(&self, ids: &[&str], results: bool) -> Vec<Vec<serde_json::Value>> {
        let _ = results;
        vec![Vec::new(); ids.len()]
    }

    /// Figures of the store for `/metrics`: name, whether it only rises, value.
    fn figures(&self) -> Vec<(&'static str, bool, f64)> {
        Vec::new()
    }
}

/// What only the composition root can do.
pub trait Operator: Send + Sync {
    /// The effective configuration without secrets.
    fn config(&self) -> serde_json::Value;
    /// Reads the configuration again. `Err`: what is wrong with it.
    fn reload(&self) -> Result<(), String>;
    /// The programs that were started or refused, the newest first (core.md 18).
    fn started(&self, limit: usize) -> Vec<serde_json::Value> {
        let _ = limit;
        Vec::new()
    }
    /// How the channels' accounts stand, and what platforms deliver to.
    fn roster(&self) -> Arc<Roster> {
        Arc::default()
    }
    /// Begins an account of a channel anew, or all of it; false: there is none.
    fn restart_channel(&self, channel: &str, account: Option<&str>) -> bool {
        let _ = (channel, account);
        false
    }
    /// What fetches from addresses that a client names, guarded against private places. `Err`: why there is none.
    fn fetcher(&self) -> Result<net::Agent, String> {
        Err("this gateway fetches nothing".into())
    }
    /// Begins to stop; the gateway is started anew then.
    fn restart(&self) -> Result<(), NoRestart>;
}

/// Why there is no restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRestart {
    /// `gateway.commands.restart` is off.
    Disabled,
    /// It is stopping already.
    Pending,
}

/// What the composition root gives the port.
#[derive(Clone)]
pub struct Parts {
    pub mind: Mind,
    pub board: Arc<Board>,
    pub mailbox: Arc<dyn Mailbox>,
    pub operator: Arc<dyn Operator>,
}

/// Who is served, and what.
pub(crate) enum Entry {
    Public,
    /// pi processes by their tokens, with the few routes their tools need.
    Agent(Arc<PiTokens>),
}

impl Entry {
    /// What its threads are called by.
    pub fn name(&self) -> &'static str {
        match self {
            Entry::Public => "http",
            Entry::Agent(_) => "agent",
        }
    }
}

pub(crate) struct Port {
    pub entry: Entry,
    pub settings: Swap<Settings>,
    pub mind: Mind,
    pub board: Arc<Board>,
    pub mailbox: Arc<dyn Mailbox>,
    pub operator: Arc<dyn Operator>,
    pub roster: Arc<Roster>,
    pub hub: Hub,
    pub attendants: Attendants,
    pub guard: Guard,
    /// One for both doors.
    pub meter: Arc<Meter>,
    /// What happened; one for both doors.
    pub observer: Arc<Observer>,
    /// Requests that wait for a turn.
    pub waiting: Permits,
    /// Those of pi that wait for another agent.
    pub delegating: Permits,
    pub big_bodies: Permits,
    /// WebSockets that have not authenticated.
    pub strangers: Permits,
    pub draining: AtomicBool,
    pub started: Instant,
    pub history: History,
    /// The same by the wall clock, unix seconds.
    pub born: i64,
    snapshot: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

/// Health asks at most this often.
const SNAPSHOT_AGE: Duration = Duration::from_secs(1);
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);

impl Port {
    pub fn new(settings: Settings, parts: Parts) -> Port {
        Port::made(Entry::Public, settings, parts, Arc::default(), Arc::default())
    }

    /// A port for pi, with the same parts and the same meter, everything else of its own.
    pub fn beside(&self, settings: Settings, tokens: Arc<PiTokens>) -> Port {
        let parts = Parts {
            mind: self.mind.clone(),
            board: self.board.clone(),
            mailbox: self.mailbox.clone(),
            operator: self.operator.clone(),
        };
        Port::made(Entry::Agent(tokens), settings, parts, self.meter.clone(), self.observer.clone())
    }

    fn made(entry: Entry, settings: Settings, parts: Parts, meter: Arc<Meter>, observer: Arc<Observer>) -> Port {
        Port {
            entry,
            guard: Guard::new(&settings),
            settings: Swap::new(settings),
            mind: parts.mind,
            board: parts.board,
            mailbox: parts.mailbox,
            roster: parts.operator.roster(),
            operator: parts.operator,
            hub: Hub::default(),
            attendants: Attendants::default(),
            meter,
            observer,
            waiting: Permits::default(),
            delegating: Permits::default(),
            big_bodies: Permits::default(),
            strangers: Permits::default(),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            history: History::default(),
            born: wall() / 1000,
            snapshot: Mutex::new(None),
        }
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Tells every page.
    pub fn publish(&self, frame: &Frame) {
        self.meter.frame(frame);
        if let Some(seen) = observe::of_frame(frame) {
            self.observer.note(wall(), seen);
        }
        self.hub.publish(frame);
    }

    /// Figures of the mind, at most a second old; `None`: it does not answer.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let fresh = |(at, s): &(Instant, Arc<Snapshot>)| (at.elapsed() < SNAPSHOT_AGE).then(|| s.clone());
        let kept = || self.snapshot.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(s) = kept().as_ref().and_then(fresh) {
            return Some(s);
        }
        match self.mind.ask(Request::Snapshot, SNAPSHOT_WAIT) {
            Answer::Snapshot(s) => {
                let s = Arc::new(*s);
                self.history.accepted(s.counters.accepted);
                *kept() = Some((Instant::now(), s.clone()));
                Some(s)
            }
            _ => None,
        }
    }
}

/// Counts what may happen only so often at once.
#[derive(Clone, Debug, Default)]
pub struct Permits(Arc<AtomicUsize>);

/// Gives itself back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    pub fn take(&self, most: usize) -> Option<Permit> {
        let one_more = |n: usize| (n < most).then_some(n + 1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok().map(|_| Permit(self.0.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
