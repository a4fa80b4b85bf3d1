//! The accounts' callers: up to four threads each, started on demand, gone after a minute (design.md, "Threads").

use std::collections::{HashMap, VecDeque};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::ask::Mind;
use crate::channels::Caller;
use crate::fault;
use crate::message::*;

/// Threads of one account.
const MOST: usize = 4;
const IDLE: Duration = Duration::from_secs(60);
const STACK: usize = 256 << 10;

/// Channel and account.
type Name = (String, String);

/// All accounts that can be called.
pub struct Callers {
    mind: Mind,
    accounts: Mutex<HashMap<Name, Arc<Desk>>>,
}

/// Where one account's calls wait. The mind has one per chat under way at most.
struct Desk {
    name: Name,
    caller: Arc<dyn Caller>,
    mind: Mind,
    state: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<(CallId, Box<Call>)>,
    threads: usize,
    idle: usize,
    /// Threads that send files now.
    media: usize,
}

impl Callers {
    pub fn new(mind: Mind) -> Callers {
        Callers { mind, accounts: Mutex::default() }
    }

    /// From now on calls of that account go to this caller.
    pub fn set(&self, channel: &str, account: &str, caller: Arc<dyn Caller>) {
        let name = (channel.to_owned(), account.to_owned());
        let desk = Desk::new(name.clone(), caller, self.mind.clone());
        self.lock().insert(name, Arc::new(desk));
    }

    /// Nobody takes calls for that account any more.
    pub fn remove(&self, channel: &str, account: &str) {
        self.lock().remove(&(channel.to_owned(), account.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Arc<Desk>>> {
        self.accounts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Called by core and sync: never blocks.
    pub fn give(&self, id: CallId, call: Box<Call>) {
        let name = (call.target.channel.clone(), call.target.account.clone());
        let mut accounts = self.lock();
        let desk = match accounts.get(&name) {
            Some(desk) => desk.clone(),
            None => {
                let desk = Arc::new(Desk::new(name.clone(), Arc::new(Nobody), self.mind.clone()));
                accounts.insert(name, desk.clone());
                desk
            }
        };
        drop(accounts);
        desk.give(id, call);
    }
}

/// Does it bring files, which take long?
fn is_media(call: &Call) -> bool {
    matches!(&call.op, Op::Send { content, .. } if content.file.is_some())
}

/// Takes the calls of an account that does not run: what is owed stays owed.
struct Nobody;

impl Caller for Nobody {
    fn perform(&self, call: &Call) -> Outcome {
        let why = format!("the account {} of {} does not run", call.target.account, call.target.channel);
        Outcome::Retry { why }
    }
}

impl Desk {
    fn new(name: Name, caller: Arc<dyn Caller>, mind: Mind) -> Desk {
        Desk { name, caller, mind, state: Mutex::default(), bell: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn give(self: &Arc<Self>, id: CallId, call: Box<Call>) {
        let mut s = self.lock();
        // Who pressed a button waits in front of it: before everything else, and if need be by a thread of its own.
        let urgent = matches!(call.op, Op::AnswerPress { .. });
        match urgent {
            true => s.calls.push_front((id, call)),
            false => s.calls.push_back((id, call)),
        }
        if s.idle >= s.calls.len() || s.threads >= MOST + usize::from(urgent) {
            self.bell.notify_one();
            return;
        }
        s.threads += 1;
        let n = s.threads;
        drop(s);
        let desk = self.clone();
        let thread = std::thread::Builder::new().name(format!("call-{}-{n}", self.name.1)).stack_size(STACK);
        if let Err(e) = thread.spawn(move || desk.run()) {
            log::error!("no thread to call {}: {e}", self.name.0);
            let mut s = self.lock();
            s.threads -= 1;
            if s.threads == 0 {
                let why = "no thread to call with";
                for (id, _) in s.calls.drain(..) {
                    let outcome = Box::new(Outcome::Retry { why: why.into() });
                    self.mind.tell_now(Event::Outcome { call: id, outcome });
                }
            }
        }
    }

    fn run(self: Arc<Self>) {
        while let Some((id, call)) = self.next() {
            let media = is_media(&call);
            fault::point("before call");
            let outcome = catch_unwind(AssertUnwindSafe(|| self.caller.perform(&call)));
            let outcome = outcome.unwrap_or_else(|_| Outcome::Ambiguous { why: "the call panicked".into() });
            fault::point("after call");
            if media {
                self.lock().media -= 1;
            }
            if !self.mind.tell(Event::Outcome { call: id, outcome: Box::new(outcome) }) {
                return;
            }
        }
    }

    /// The next call; `None`: none came for a while.
    fn next(&self) -> Option<(CallId, Box<Call>)> {
        let mut s = self.lock();
        loop {
            // One thread is kept for what is short.
            let room = s.media + 1 < MOST;
            let at = s.calls.iter().position(|(_, call)| room || !is_media(call));
            if let Some(next) = at.and_then(|at| s.calls.remove(at)) {
                s.media += usize::from(is_media(&next.1));
                return Some(next);
            }
            s.idle += 1;
            let (again, late) = self.bell.wait_timeout(s, IDLE).unwrap_or_else(|e| e.into_inner());
            s = again;
            s.idle -= 1;
            if late.timed_out() && s.calls.is_empty() {
                s.threads -= 1;
                return None;
            }
        }
    }
}
