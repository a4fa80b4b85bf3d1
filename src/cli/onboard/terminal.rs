//! The terminal while questions are asked: no echo between two keys, and back to what it was however that ends.
//!
//! Two threads may change its modes: the one that asks, and the one that ends the process when a signal comes. Only who
//! holds [`State`] does. While a question waits for keys the terminal makes no signals: Ctrl-C is a key like others,
//! which the prompt library turns into SIGINT. While a check runs, Ctrl-C is a signal.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::exit;

pub const CANCELLED: &str = "cancelled: nothing was written";

/// Nobody changes the modes now.
const FREE: u8 = 0;
/// The questions do.
const HELD: u8 = 1;
/// A signal came: the process ends.
const ENDING: u8 = 2;
/// Signals are no longer listened to: the end is decided, or files are being written.
const SETTLED: u8 = 3;

type State = AtomicU8;

/// How the terminal treats what is typed.
#[derive(Clone, Copy)]
pub enum Mode {
    /// Between two keys of a question: everything is kept as it is typed, nothing is shown. The prompt library sets its
    /// own mode for each key; if the terminal made lines meanwhile, a backspace that comes then would be lost.
    Keys,
    /// Nobody asks.
    Busy,
    /// The terminal itself makes lines.
    Line { shown: bool },
}

/// Holds the terminal of standard input. Dropped, it leaves the terminal as it was.
pub struct Terminal {
    before: Termios,
    state: Arc<State>,
}

impl Terminal {
    /// Takes the terminal. SIGINT, SIGTERM and SIGHUP then put it back and end the process with 130: only so can they
    /// end a wait for a key, for pi and for a server alike. The rule that a subcommand never ends the process has this
    /// one exception.
    pub fn take() -> io::Result<Terminal> {
        let before = tcgetattr(io::stdin())?;
        let state = Arc::new(State::new(HELD));
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        let watch = (before.clone(), Arc::clone(&state));
        // Not joined: it waits for signals until the process ends.
        std::thread::Builder::new().name("onboard-signals".into()).spawn(move || wait(read, &watch.0, &watch.1))?;
        let terminal = Terminal { before, state };
        terminal.set(Mode::Keys)?;
        Ok(terminal)
    }

    fn set(&self, mode: Mode) -> io::Result<()> {
        let mut modes = self.before.clone();
        let (echo, lines, signals) = match mode {
            Mode::Keys => (false, false, false),
            Mode::Busy => (false, false, true),
            Mode::Line { shown } => (shown, true, true),
        };
        let had = |mode| self.before.local_modes.contains(mode);
        for (mode, on) in [(LocalModes::ECHO, echo), (LocalModes::ICANON, lines), (LocalModes::ISIG, signals)] {
            modes.local_modes.set(mode, on && had(mode));
        }
        if !lines {
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        }
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    /// Does something that takes its time and leaves the terminal alone; a signal may end the process meanwhile.
    pub fn away<T>(&self, mode: Mode, job: impl FnOnce() -> T) -> io::Result<T> {
        self.set(mode)?;
        self.state.store(FREE, Ordering::SeqCst);
        let done = job();
        self.take_from(FREE, HELD);
        self.set(Mode::Keys)?;
        Ok(done)
    }

    /// From now on a signal no longer cancels.
    pub fn settle(&self) {
        self.take_from(HELD, SETTLED);
    }

    fn take_from(&self, from: u8, to: u8) {
        if self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst) == Err(ENDING) {
            wait_for_the_end();
        }
    }

    /// Ctrl-C was read as a key, and its signal is under way: that says so and ends the process.
    pub fn leave(&self) {
        if self.state.compare_exchange(HELD, FREE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            wait_for_the_end();
        }
    }
}

/// The other thread is about to end the process.
fn wait_for_the_end() {
    std::thread::sleep(Duration::from_secs(5));
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back(&self.before);
    }
}

/// The modes, and the cursor, which menus hide.
fn give_back(before: &Termios) {
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, before); // it may be gone
    if std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        let _ = write!(io::stderr(), "\x1b[?25h"); // likewise
    }
}

fn wait(read: OwnedFd, before: &Termios, state: &State) {
    let mut pipe = std::fs::File::from(read);
    let mut byte = [0];
    while pipe.read_exact(&mut byte).is_ok() {
        // The questions let go within a moment; in a wait for keys that does not end they change nothing.
        let free = |_: &u32| {
            let seen = state.compare_exchange(FREE, ENDING, Ordering::SeqCst, Ordering::SeqCst);
            let held = seen == Err(HELD);
            if held {
                std::thread::sleep(Duration::from_millis(10));
            }
            !held
        };
        (0..50).find(free);
        if state.load(Ordering::SeqCst) == SETTLED {
            continue;
        }
        state.store(ENDING, Ordering::SeqCst);
        give_back(before);
        let _ = writeln!(io::stderr(), "\n{CANCELLED}"); // nobody may be there
        std::process::exit(exit::CANCELLED.into());
    }
}
