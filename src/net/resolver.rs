//! Names to addresses, by the system's resolver on threads of its own, kept for a minute.
//!
//! Normally that is one thread, `dns`. The system's lookup cannot be cancelled: while one hangs, others get a further
//! thread (at most [`THREADS`]), so that it stops only those who need that name. They end after a minute without
//! work, or with the resolver; one that hangs then is left to the system.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::progress;

const THREADS: usize = 4;
const STACK: usize = 256 << 10;
/// Names that wait for a thread. More: an error, at once.
const QUEUE: usize = 32;
/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(60);
/// Names remembered; the oldest go first.
const NAMES: usize = 256;
/// What one lookup may take.
const PATIENCE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
/// How often somebody who waits looks whether the agent was shut down.
const LOOK_UP: Duration = Duration::from_millis(200);

/// How a name is looked up: blocks, on a thread of the resolver.
pub type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The resolver of a process.
pub struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    state: Mutex<State>,
    /// Something in `queue`, or the end.
    work: Condvar,
    /// A name was found or not.
    done: Condvar,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Name>,
    queue: VecDeque<String>,
    threads: usize,
    idle: usize,
    over: bool,
}

enum Name {
    Asked,
    Known { at: Instant, addresses: Result<Vec<IpAddr>, String> },
}

impl Resolver {
    pub fn system() -> Resolver {
        Resolver::with(Box::new(|name| Ok((name, 0).to_socket_addrs()?.map(|a| a.ip()).collect())))
    }

    /// A resolver that asks elsewhere.
    pub fn with(lookup: Box<Lookup>) -> Resolver {
        let shared = Shared { lookup, state: Mutex::default(), work: Condvar::new(), done: Condvar::new() };
        Resolver(Arc::new(shared))
    }

    /// The addresses of a name, at least one, in the system's order. Waits at most [`PATIENCE`], not beyond the call's
    /// end, and not when `stop` is set.
    pub(super) fn resolve(&self, name: &str, stop: &AtomicBool) -> Result<Vec<IpAddr>, String> {
        let since = Instant::now();
        let mut state = self.0.lock();
        loop {
            match state.names.get(name) {
                Some(Name::Known { at, addresses: Ok(addresses) }) if at.elapsed() < FRESH => {
                    return Ok(addresses.clone());
                }
                // A failure is not kept: it is an answer only to those who had asked by then.
                Some(Name::Known { at, addresses: Err(why) }) if *at >= since => {
                    return Err(format!("cannot find the address of {name}: {why}"));
                }
                Some(Name::Asked) => {}
                _ => self.ask(&mut state, name)?,
            }
            let left = PATIENCE.saturating_sub(since.elapsed()).min(progress::left().unwrap_or_default());
            if left.is_zero() || stop.load(Ordering::SeqCst) {
                return Err(format!("no answer in time to the question for the address of {name}"));
            }
            let waited = self.0.done.wait_timeout(state, left.min(LOOK_UP));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask(&self, state: &mut State, name: &str) -> Result<(), String> {
        if state.queue.len() >= QUEUE {
            return Err(format!("too many names wait for an address, {name} has no place"));
        }
        if state.queue.len() >= state.idle && state.threads < THREADS {
            let shared = self.0.clone();
            let label = if state.threads == 0 { "dns".into() } else { format!("dns-{}", state.threads + 1) };
            let thread = std::thread::Builder::new().name(label).stack_size(STACK);
            match thread.spawn(move || shared.serve()) {
                Ok(_) => state.threads += 1,
                Err(e) if state.threads == 0 => return Err(format!("cannot start the thread dns: {e}")),
                // The others will do it.
                Err(_) => {}
            }
        }
        if state.names.len() >= NAMES {
            let known = state.names.iter().filter_map(|(name, n)| match n {
                Name::Known { at, .. } => Some((*at, name.clone())),
                Name::Asked => None,
            });
            if let Some((_, oldest)) = known.min() {
                state.names.remove(&oldest);
            }
        }
        state.names.insert(name.to_owned(), Name::Asked);
        state.queue.push_back(name.to_owned());
        self.0.work.notify_one();
        Ok(())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let Some(name) = state.queue.pop_front() else {
                if state.over {
                    break;
                }
                state.idle += 1;
                let (back, timeout) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = back;
                state.idle -= 1;
                if timeout.timed_out() && state.queue.is_empty() {
                    break;
                }
                continue;
            };
            drop(state);
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.lookup)(&name)));
            let addresses = match found {
                Ok(Ok(addresses)) if addresses.is_empty() => Err("it has none".into()),
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("the lookup panicked".into()),
            };
            state = self.lock();
            state.names.insert(name, Name::Known { at: Instant::now(), addresses });
            self.done.notify_all();
        }
        state.threads -= 1;
    }
}
