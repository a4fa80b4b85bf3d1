//! The only place that spawns and reaps processes: the loop of the main thread.
//!
//! It must run on a thread that lives as long as the gateway, because the kernel sends a child its
//! parent-death signal when the *thread* that spawned it ends. It sleeps in `poll` over the signal pipe, a
//! doorbell for requests, all children's stderr and any further descriptors it is given; when nothing happens
//! it does not wake. It owns the pids, the stderr rings and the leftovers being hunted, and decides nothing.

mod before_exec;
pub mod checkpoint;
mod leftovers;
mod redacted;
mod stderr;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process, kill_process_group, waitpid, Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::message::{ExitInfo, Mono, ProcId, Sig};
use checkpoint::Checkpoint;
use leftovers::Hunt;
use stderr::Ring;

/// Requests that may wait; each process has a few outstanding at most.
const REQUESTS: usize = 1024;
/// Name of the variable by which a process and all it starts are recognised.
pub const MARK: &str = "PI_GW_PROC";

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildId {
    Pi(ProcId),
    /// A plugin, a shell command: a number of its owner.
    Other(u64),
}

/// What to start.
#[derive(Debug)]
pub struct SpawnSpec {
    pub id: ChildId,
    /// Absolute path; the checkpoint knows which ones pass.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// Set as `PI_GW_PROC`.
    pub mark: Option<String>,
}

/// A running child. Its pipes belong to whoever asked; dropping them closes them.
#[derive(Debug)]
pub struct Spawned {
    pub pid: u32,
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
}

/// What the loop reports.
#[derive(Debug)]
pub enum MainEvent {
    /// Reaped, and what it left behind was killed.
    Exit { id: ChildId, info: ExitInfo },
    /// A requested sweep is through.
    Swept { id: ProcId },
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: the store was changed beside us.
    Poke,
}

enum Ask {
    Spawn(Box<SpawnSpec>, Sender<Result<Spawned, String>>),
    Signal(ChildId, Sig),
    Sweep { id: ProcId, mark: String, pid: u32, since: Mono },
}

/// Asks the main thread from any other; never blocks. Cheap to clone.
#[derive(Clone)]
pub struct ChildrenHandle {
    asks: Sender<Ask>,
    bell: Arc<OwnedFd>,
    turns: Turns,
    checkpoint: Arc<Checkpoint>,
}

/// Since when a process works on its turn. Looked at when it dies: noting it wakes nobody.
type Turns = Arc<Mutex<HashMap<ChildId, Mono>>>;

impl ChildrenHandle {
    /// What every program has to pass.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
    /// The answer comes over the receiver, or the receiver ends when the gateway stops.
    pub fn spawn(&self, spec: SpawnSpec) -> Receiver<Result<Spawned, String>> {
        let (tx, rx) = bounded(1);
        self.ask(Ask::Spawn(Box::new(spec), tx));
        rx
    }
    /// To the process; `Kill` also to its group. A process that is gone is no error.
    pub fn signal(&self, id: ChildId, sig: Sig) -> bool {
        self.ask(Ask::Signal(id, sig))
    }
    /// If the process dies, what bears its mark and started after that moment dies with it (boot clock, ms).
    pub fn note_turn(&self, id: ChildId, since: Option<Mono>) {
        let mut turns = self.turns.lock().unwrap_or_else(|e| e.into_inner());
        match since {
            Some(since) => turns.insert(id, since),
            None => turns.remove(&id),
        };
    }
    /// Ends what a process of an earlier life left: the process itself if `pid` still bears the mark (SIGTERM,
    /// 3 s, SIGKILL), then everything with the mark that started after `since`. Reported as `Swept`.
    pub fn sweep(&self, id: ProcId, mark: String, pid: u32, since: Mono) -> bool {
        self.ask(Ask::Sweep { id, mark, pid, since })
    }
    /// `false`: 1024 requests wait already, or the loop has ended.
    fn ask(&self, ask: Ask) -> bool {
        if let Err(e) = self.asks.try_send(ask) {
            log::error!("the main thread does not take requests: {e}");
            return false;
        }
        let _ = rustix::io::write(&*self.bell, b"!"); // full: it is awake anyway
        true
    }
}

struct Child {
    id: ChildId,
    pid: Pid,
    mark: Option<String>,
    stderr: Ring,
}

/// What to report when a hunt is over.
enum Then {
    Exit(ChildId, ExitInfo),
    Swept(ProcId),
}

type Call = Box<dyn FnMut(BorrowedFd<'_>) -> bool>;

/// The loop; see the module.
pub struct Children {
    asks: Receiver<Ask>,
    bell: UnixStream,
    /// Our own copy, so that the doorbell never hangs up.
    _ring: Arc<OwnedFd>,
    signals: Signals,
    children: Vec<Child>,
    checkpoint: Arc<Checkpoint>,
    turns: Turns,
    hunts: Vec<(Hunt, Then)>,
    watched: Vec<(OwnedFd, Call)>,
    tick: Option<Tick>,
}

/// Something to be done again and again.
struct Tick {
    period: Mono,
    next: Mono,
    call: Box<dyn FnMut()>,
}

impl Children {
    /// Installs the signal handlers. Must be called on the thread that will call [`Children::run`].
    pub fn new(checkpoint: Arc<Checkpoint>) -> io::Result<(Children, ChildrenHandle)> {
        let (asks_tx, asks) = bounded(REQUESTS);
        let (bell_tx, bell) = UnixStream::pair()?;
        bell_tx.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let ring: Arc<OwnedFd> = Arc::new(bell_tx.into());
        let turns = Turns::default();
        let (turns_too, checkpoint_too) = (turns.clone(), checkpoint.clone());
        let handle = ChildrenHandle { asks: asks_tx, bell: ring.clone(), turns: turns_too, checkpoint: checkpoint_too };
        let signals = Signals::new()?;
        let (children, hunts, watched) = (vec![], vec![], vec![]);
        let me = Children { asks, bell, _ring: ring, signals, children, checkpoint, turns, hunts, watched, tick: None };
        Ok((me, handle))
    }

    /// Calls `call` on this thread whenever `fd` is readable or at its end, until it returns `false`. It must take
    /// what is there, or it is called again at once.
    pub fn watch(&mut self, fd: OwnedFd, call: impl FnMut(BorrowedFd<'_>) -> bool + 'static) {
        self.watched.push((fd, Box::new(call)));
    }

    /// Calls `call` on this thread every `period`; it must not wait.
    pub fn every(&mut self, period: Duration, call: impl FnMut() + 'static) {
        let period = (period.as_millis() as Mono).max(1);
        self.tick = Some(Tick { period, next: now_mono() + period, call: Box::new(call) });
    }

    /// Runs until `on` breaks. Children that live then get their parent-death signal when the process ends.
    pub fn run(mut self, mut on: impl FnMut(MainEvent) -> ControlFlow<()>) -> io::Result<()> {
        loop {
            self.wait()?;
            while let Ok(ask) = self.asks.try_recv() {
                self.answer(ask);
            }
            let mut news = Vec::new();
            if self.signals.take(0) {
                self.reap(&mut news);
            }
            if self.signals.take(1) | self.signals.take(2) {
                news.push(MainEvent::Stop);
            }
            if self.signals.take(3) {
                news.push(MainEvent::Reload);
            }
            if self.signals.take(4) {
                news.push(MainEvent::Poke);
            }
            self.hunt(&mut news);
            if let Some(tick) = self.tick.as_mut().filter(|t| t.next <= now_mono()) {
                tick.next = now_mono() + tick.period;
                (tick.call)();
            }
            for event in news {
                if on(event).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Sleeps until something happens, and empties what is readable.
    fn wait(&mut self) -> io::Result<()> {
        let next = self.hunts.iter().map(|(hunt, _)| hunt.next_look()).chain(self.tick.as_ref().map(|t| t.next)).min();
        let timeout = next.map(|at| {
            let ms = at.saturating_sub(now_mono());
            Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as _ }
        });
        let readable: Vec<bool> = {
            let mut fds = vec![self.bell.as_fd(), self.signals.pipe.as_fd()];
            fds.extend(self.children.iter().filter_map(|c| c.stderr.pipe()));
            fds.extend(self.watched.iter().map(|(fd, _)| fd.as_fd()));
            let mut fds: Vec<_> = fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        let mut readable = readable.into_iter();
        for pipe in [&self.bell, &self.signals.pipe] {
            if readable.next() == Some(true) {
                let mut sink = [0; 64];
                while rustix::io::read(pipe, &mut sink).is_ok_and(|n| n > 0) {}
            }
        }
        for child in self.children.iter_mut().filter(|c| c.stderr.pipe().is_some()) {
            if readable.next() == Some(true) {
                child.stderr.drain();
            }
        }
        self.watched.retain_mut(|(fd, call)| readable.next() != Some(true) || call(fd.as_fd()));
        Ok(())
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Spawn(spec, reply) => {
                // An answer that nobody waits for any more closes the child's pipes, which ends it.
                let _ = reply.try_send(self.spawn(*spec));
            }
            Ask::Signal(id, sig) => {
                if let Some(child) = self.children.iter().find(|c| c.id == id) {
                    let result = match sig {
                        Sig::Term => kill_process(child.pid, Signal::TERM),
                        Sig::Kill => {
                            let _ = kill_process_group(child.pid, Signal::KILL); // it may have left its group
                            kill_process(child.pid, Signal::KILL)
                        }
                    };
                    result.unwrap_or_else(|e| log::warn!("cannot send {sig:?} to process {}: {e}", child.pid));
                }
            }
            Ask::Sweep { id, mark, pid, since } => {
                self.hunts.push((Hunt::new(mark, since, Some(pid)), Then::Swept(id)));
            }
        }
    }

    fn spawn(&mut self, spec: SpawnSpec) -> Result<Spawned, String> {
        let program = spec.program.display();
        self.checkpoint.pass(&spec).inspect_err(|why| log::warn!("{why}"))?;
        if !spec.cwd.is_dir() {
            return Err(format!("cannot start {program}: the working directory {} does not exist", spec.cwd.display()));
        }
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).env_clear().envs(spec.env).current_dir(&spec.cwd);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(mark) = &spec.mark {
            command.env(MARK, mark);
        }
        before_exec::prepare(&mut command);
        let mut child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                format!("cannot start {program}: no such program (or its interpreter is missing)")
            }
            _ => format!("cannot start {program}: {e}"),
        })?;
        let pid = child.id();
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("cannot start {program}: it has no pipes"));
        };
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid_known = known.ok_or_else(|| format!("{program} has no process number"))?;
        let stderr = Ring::new(format!("{} [{pid}]", name(spec.id)), stderr.into());
        self.children.push(Child { id: spec.id, pid: pid_known, mark: spec.mark, stderr });
        Ok(Spawned { pid, stdin, stdout })
    }

    /// Takes the exits of children. Only pids we know: whatever else a library might start keeps its own.
    fn reap(&mut self, news: &mut Vec<MainEvent>) {
        let mut at = 0;
        while let Some(child) = self.children.get(at) {
            let status = match waitpid(Some(child.pid), WaitOptions::NOHANG) {
                Ok(None) | Err(rustix::io::Errno::INTR) => {
                    at += 1;
                    continue;
                }
                Ok(Some((_, status))) => Some(status),
                Err(e) => {
                    log::error!("the exit of process {} was lost: {e}", child.pid);
                    None
                }
            };
            let mut child = self.children.swap_remove(at);
            child.stderr.drain();
            let info = exit_info(status, child.stderr.text());
            let turn = self.turns.lock().unwrap_or_else(|e| e.into_inner()).remove(&child.id);
            match (child.mark, turn) {
                (Some(mark), Some(since)) => {
                    self.hunts.push((Hunt::new(mark, since, None), Then::Exit(child.id, info)));
                }
                _ => news.push(MainEvent::Exit { id: child.id, info }),
            }
        }
    }

    fn hunt(&mut self, news: &mut Vec<MainEvent>) {
        let now = now_mono();
        let due = |(hunt, _): &mut (Hunt, Then)| hunt.next_look() <= now && hunt.round(now);
        for (_, then) in self.hunts.extract_if(.., due) {
            news.push(match then {
                Then::Exit(id, info) => MainEvent::Exit { id, info },
                Then::Swept(id) => MainEvent::Swept { id },
            });
        }
    }
}

fn name(id: ChildId) -> String {
    match id {
        ChildId::Pi(ProcId(n)) => format!("pi-{n}"),
        ChildId::Other(_) => "/bash".into(),
    }
}

fn exit_info(status: Option<WaitStatus>, stderr: String) -> ExitInfo {
    ExitInfo { code: status.and_then(|s| s.exit_status()), signal: status.and_then(|s| s.terminating_signal()), stderr }
}

/// Milliseconds since boot, sleep included: the clock of turn starts and of `/proc/<pid>/stat`.
pub fn now_mono() -> Mono {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// Signals as flags and a byte in a pipe.
struct Signals {
    pipe: UnixStream,
    raised: [Arc<AtomicBool>; 5],
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let raised: [Arc<AtomicBool>; 5] = Default::default();
        for (signal, flag) in [SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1].into_iter().zip(&raised) {
            signal_hook::flag::register(signal, flag.clone())?; // first the flag, then the byte
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Signals { pipe, raised })
    }
    fn take(&self, n: usize) -> bool {
        self.raised[n].swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
#[path = "children/tests.rs"]
mod tests;
