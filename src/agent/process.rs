//! The two threads of a running pi: one writes its stdin, one reads its stdout. They hold one pipe each and
//! decide nothing. What core needs goes to core, what people look at goes to the live view.
//!
//! Both end when their pipe ends, or when the [`PiProcess`] is dropped: a daemon that inherited the pipe
//! keeps nobody waiting.

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender, TrySendError};
use rustix::event::{poll, PollFd, PollFlags};

use super::head::{Scanner, HEAD_BYTES};
use super::rpc::{self, Line, Phase, ToolLine, WriteError};
use super::shown::Shown;
use crate::ask::Mind;
use crate::live::Live;
use crate::message::{CmdId, Event, PiCmd, PiEvent, ProcId};

/// Commands that may wait for the pipe.
const COMMANDS: usize = 64;
/// A sign of life is told that often.
const ALIVE: Duration = Duration::from_secs(10);
const STACK: usize = 256 << 10;

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// pi does not read, and 64 commands wait already.
    Full,
    /// Its stdin is closed.
    Closed,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::Full => "pi does not read its commands",
            Refused::Closed => "pi's stdin is closed",
        })
    }
}

/// Where the live view of a process goes at the moment.
type Slot = Arc<Mutex<Shown>>;

/// A running pi. Dropping it closes its pipes: only when the process is gone (core.md 7.3).
pub struct PiProcess {
    commands: Sender<(CmdId, PiCmd)>,
    slot: Slot,
    threads: Vec<JoinHandle<()>>,
    /// Its other end becomes readable when this is dropped.
    stop: OwnedFd,
}

impl PiProcess {
    /// Starts the threads. Events go to `mind` as [`Event::Pi`]; the last one is `Eof`.
    pub fn start(id: ProcId, stdin: ChildStdin, stdout: ChildStdout, mind: Mind) -> io::Result<PiProcess> {
        let (commands, queue) = bounded(COMMANDS);
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let slot = Slot::default();
        let stdin = Pipe::new(stdin.into(), stopped.try_clone()?)?;
        let stdout = Pipe::new(stdout.into(), stopped)?;
        let reader = Reader { id, mind: mind.clone(), slot: slot.clone(), told: Instant::now() };
        let thread = |side: &str| std::thread::Builder::new().name(format!("pi-{}-{side}", id.0)).stack_size(STACK);
        let threads = vec![
            thread("in").spawn(move || guard(id, || write_commands(id, stdin, &queue, &mind)))?,
            thread("out").spawn(move || guard(id, || reader.run(stdout)))?,
        ];
        Ok(PiProcess { commands, slot, threads, stop })
    }

    /// Queues a command; never blocks. An image that cannot be read, or a pipe that breaks later, is reported
    /// as the command's failed response.
    pub fn write(&self, id: CmdId, cmd: PiCmd) -> Result<(), Refused> {
        self.commands.try_send((id, cmd)).map_err(|e| match e {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => Refused::Closed,
        })
    }

    /// From now on what pi writes is shown there.
    pub fn show(&self, live: Option<Arc<Live>>) {
        *lock(&self.slot) = Shown::of(live);
    }

    /// Ends both threads and waits for them; call it when the process is gone.
    pub fn join(self) {
        let PiProcess { commands, threads, stop, .. } = self;
        drop((commands, stop));
        for thread in threads {
            let _ = thread.join(); // `guard` has logged a panic
        }
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Shown> {
    slot.lock().unwrap_or_else(|e| e.into_inner()) // plain data: a panic elsewhere leaves it usable
}

fn guard(id: ProcId, work: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
        log::error!("a thread of pi {} panicked", id.0);
    }
}

fn tell(mind: &Mind, id: ProcId, event: PiEvent) -> bool {
    mind.tell(Event::Pi { proc: id, event: Box::new(event) })
}

// ---------------------------------------------------------------- the pipes

/// A pipe whose waits end when the process is given up.
struct Pipe {
    fd: OwnedFd,
    stopped: OwnedFd,
}

impl Pipe {
    fn new(fd: OwnedFd, stopped: OwnedFd) -> io::Result<Pipe> {
        rustix::io::ioctl_fionbio(&fd, true)?; // only our end: the child's is another description
        Ok(Pipe { fd, stopped })
    }

    /// `false`: given up.
    fn wait(&self, flags: PollFlags) -> io::Result<bool> {
        loop {
            let mut fds = [PollFd::new(&self.fd, flags), PollFd::new(&self.stopped, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => return Ok(!fds[0].revents().is_empty() || fds[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// 0: the end, or given up and nothing left.
    fn read(&self, block: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *block) {
                Err(rustix::io::Errno::AGAIN) if self.wait(PollFlags::IN)? => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.fd.as_fd(), bytes) {
                Err(rustix::io::Errno::AGAIN) if self.wait(PollFlags::OUT)? => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::BrokenPipe.into()),
                result => return Ok(result?),
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_commands(id: ProcId, stdin: Pipe, queue: &Receiver<(CmdId, PiCmd)>, mind: &Mind) {
    let mut out = BufWriter::with_capacity(8 << 10, stdin);
    for (number, cmd) in queue {
        let (why, broken) = match rpc::write(&mut out, number, &cmd) {
            Ok(()) => continue,
            Err(WriteError::Image(why)) => (format!("the picture cannot be read: {why}"), false),
            Err(WriteError::Pipe(e)) => (format!("{}: {e}", Refused::Closed), true),
        };
        if !tell(mind, id, PiEvent::Response { id: number, result: Err(why) }) || broken {
            break;
        }
    }
    let _ = out.into_parts(); // what a broken pipe did not take is not tried again
    for (number, _) in queue.try_iter() {
        tell(mind, id, PiEvent::Response { id: number, result: Err(Refused::Closed.to_string()) });
    }
}

// ---------------------------------------------------------------- reading

struct Reader {
    id: ProcId,
    mind: Mind,
    slot: Slot,
    /// When core last heard of this process.
    told: Instant,
}

impl Reader {
    fn run(mut self, stdout: Pipe) {
        let mut scanner = Scanner::default();
        let mut block = vec![0; HEAD_BYTES];
        let mut usable = true;
        loop {
            match stdout.read(&mut block) {
                Ok(0) => break,
                // After `Broken` it is still drained: pi must not hang on a full pipe while it is being stopped.
                Ok(_) if !usable => {}
                Ok(n) => scanner.feed(&block[..n], &mut |line| usable &= self.take(line)),
                Err(e) => {
                    log::warn!("pi {}: stdout: {e}", self.id.0);
                    break;
                }
            }
        }
        lock(&self.slot).leave();
        tell(&self.mind, self.id, PiEvent::Eof);
    }

    /// `false`: nothing more is to be read from this process.
    fn take(&mut self, line: Line) -> bool {
        lock(&self.slot).take(&line);
        let event = match line {
            Line::Event(event) => event,
            Line::Tool(ToolLine { phase: Phase::Start, name, .. }) => PiEvent::ToolStart { name },
            Line::Tool(ToolLine { phase: Phase::End, name, error, .. }) => PiEvent::ToolEnd { name, error },
            Line::Noise(text) => {
                log::debug!("pi {} wrote what is not JSON: {text}", self.id.0);
                return true;
            }
            _ if self.told.elapsed() < ALIVE => return true,
            _ => PiEvent::Alive,
        };
        self.told = Instant::now();
        let broken = matches!(event, PiEvent::Broken { .. });
        tell(&self.mind, self.id, event) && !broken
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
