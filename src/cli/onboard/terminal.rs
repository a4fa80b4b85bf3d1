//! The terminal while questions are asked: no echo between two keys, and back to what it was however that ends.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::exit;

/// Holds the terminal of standard input. Dropped, it leaves the terminal as it was.
pub struct Terminal {
    before: Termios,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// From here on signals no longer end the process: files are being written.
    writing: AtomicBool,
    /// Somebody has said that it was cancelled.
    told: AtomicBool,
}

impl Terminal {
    /// Takes the terminal. SIGINT, SIGTERM and SIGHUP then put it back and end the process with 130: only so can they
    /// end a wait for a key, for pi and for a server alike. The gateway's own rule that a subcommand never ends the
    /// process has this one exception.
    pub fn take() -> io::Result<Terminal> {
        let before = tcgetattr(io::stdin())?;
        let state = Arc::new(State::default());
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        let watch = (before.clone(), Arc::clone(&state));
        // Not joined: it waits for signals until the process ends.
        std::thread::Builder::new().name("onboard-signals".into()).spawn(move || wait(read, &watch.0, &watch.1))?;
        let terminal = Terminal { before, state };
        terminal.echo(false)?;
        Ok(terminal)
    }

    /// Whether what is typed is shown by the terminal itself.
    pub fn echo(&self, on: bool) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes.set(LocalModes::ECHO, on && self.before.local_modes.contains(LocalModes::ECHO));
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    /// From now on a signal no longer cancels.
    pub fn writing(&self) {
        self.state.writing.store(true, Ordering::SeqCst);
    }

    /// What to say of a cancel: nothing if a signal said it.
    pub fn cancelled(&self) -> String {
        match self.state.told.swap(true, Ordering::SeqCst) {
            true => String::new(),
            false => CANCELLED.into(),
        }
    }
}

const CANCELLED: &str = "cancelled: nothing was written";

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
        if state.writing.load(Ordering::SeqCst) {
            continue;
        }
        give_back(before);
        if !state.told.swap(true, Ordering::SeqCst) {
            let _ = writeln!(io::stderr(), "\n{CANCELLED}"); // nobody may be there
        }
        std::process::exit(exit::CANCELLED.into());
    }
}
