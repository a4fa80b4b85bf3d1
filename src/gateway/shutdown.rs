//! Stop: every step has a deadline, and nothing is lost by cutting any of them short (core.md 20).

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::carry::Carrier;
use super::doors::Doors;
use super::logging::Log;
use crate::ask::Mind;
use crate::clock;
use crate::exit;
use crate::message::{Event, Sig};

/// What has to be ended, in this order.
pub struct Shutdown {
    pub carrier: Arc<Carrier>,
    pub doors: Arc<Doors>,
    pub mind: Mind,
    pub drained: Receiver<()>,
    pub core_thread: JoinHandle<()>,
    pub sync_thread: JoinHandle<()>,
    pub log: Log,
}

/// Beyond the drain: lanes send for ten seconds at most (core.md 20, step 5).
const SENDING: Duration = Duration::from_secs(11);
const PI_TERM: Duration = Duration::from_secs(3);
const PI_KILL: Duration = Duration::from_secs(1);
const STORE: Duration = Duration::from_secs(5);

impl Shutdown {
    /// Begins on a thread of its own: main goes on reaping. Ends the process.
    pub fn begin(self) {
        self.carrier.operator.stopping();
        let thread = std::thread::Builder::new().name("shutdown".into()).stack_size(256 << 10);
        if thread.spawn(move || self.run()).is_err() {
            std::process::exit(exit::OK.into()); // as after a second signal: safe
        }
    }

    fn run(self) {
        let drain = self.carrier.config.read().unwrap_or_else(|e| e.into_inner()).gateway.drain;
        log::info!("stopping; running turns get {} s", drain.as_secs());
        self.carrier.accounts.close();
        let again = self.carrier.operator.restarting();
        self.doors.drain(if again { "restarting" } else { "stopping" }, None);
        let deadline = clock::mono() + drain.as_millis() as u64;
        self.mind.tell(Event::Drain { deadline });
        let _ = self.drained.recv_timeout(drain + SENDING); // the rest is left to recovery
        self.stop_pi();
        self.doors.close(again);
        self.mind.tell(Event::End);
        join(self.core_thread, STORE);
        join(self.sync_thread, STORE); // ends when core is gone: last sync, checkpoint
        log::info!("stopped");
        self.log.flush();
        std::process::exit(if again { start_anew() } else { exit::OK }.into());
    }

    fn stop_pi(&self) {
        for (sig, time) in [(Sig::Term, PI_TERM), (Sig::Kill, PI_KILL)] {
            let mut told = BTreeSet::new();
            if wait(time, || self.carrier.signal_all(sig, &mut told)) {
                return;
            }
        }
    }
}

/// Under a service manager its exit code asks for a restart; else the program replaces itself. The code, if that
/// cannot be done.
fn start_anew() -> u8 {
    let managed = ["NOTIFY_SOCKET", "INVOCATION_ID"].iter().any(|name| std::env::var_os(name).is_some());
    if !managed {
        // A new version may stand where the running one was started from.
        let own = std::env::current_exe().unwrap_or_default();
        let own = own.to_string_lossy();
        let program = own.strip_suffix(" (deleted)").unwrap_or(&own);
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_else(|| "pi-gw".into());
        let why = std::process::Command::new(program).arg0(name).args(args).exec();
        eprintln!("pi-gw: cannot start anew: {why}");
    }
    exit::TEMPORARY
}

/// Waits until `done` or the time is over; true if done.
fn wait(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn join(thread: JoinHandle<()>, time: Duration) {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    match wait(time, || thread.is_finished()) {
        true => drop(thread.join()),
        false => log::warn!("thread {name} did not end in time"),
    }
}
