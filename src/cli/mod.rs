//! The command line, one file per subcommand.
//!
//! A subcommand takes its call, the environment and where to write as values, and gives an exit code: it never
//! ends the process itself. Data goes to standard output, everything else to standard error. Nothing here reaches
//! into a gateway: a running one is spoken to from outside, as by any other process.

pub mod config;
mod cron;
mod doctor;
mod gateway;
mod help;
mod install;
mod instance;
mod logs;
mod man;
mod media;
mod onboard;
mod outbox;
mod pairing;
mod parse;
mod send;
mod sessions;
mod shells;
mod status;
mod table;
mod through;
mod version;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::agent::demo;
use crate::config::Env;

pub use crate::exit;
pub use parse::Call;

/// Where a command writes.
pub struct Io<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub terminal: bool,
    /// Whether `out` may be coloured.
    pub colour: bool,
}

impl Io<'_> {
    /// Prints a line of data. An error that is a closed pipe is none ([`written`]).
    pub fn say(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Tells the user something. A closed standard error leaves nobody to tell.
    pub fn tell(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
    }

    /// The text as a heading.
    fn bold(&self, text: &str) -> String {
        self.painted("1", text)
    }

    /// The text in a colour of the terminal (an SGR code).
    fn painted(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The exit code of output that could not be written: none of our business if the reader has gone.
pub(crate) fn written(result: io::Result<u8>, io: &mut Io<'_>) -> u8 {
    match result {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            io.tell(format_args!("cannot write: {error}"));
            exit::CANNOT_WRITE
        }
    }
}

/// What this process was called with, carried out. Gives the exit code.
pub fn main() -> u8 {
    crate::store::share_memory();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env = Env::from_process();
    // Not locked: a gateway's threads write too.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let terminal = out.is_terminal();
    let colour = terminal && env.var("NO_COLOR").is_none() && env.var("TERM") != Some("dumb");
    let mut io = Io { out: &mut out, err: &mut err, terminal, colour };
    // The panic itself has been printed by then.
    catch_unwind(AssertUnwindSafe(|| run(args, &env, &mut io))).unwrap_or(exit::INTERNAL)
}

/// Carries out a command line, the program's name left out. Gives the exit code.
pub fn run(args: Vec<OsString>, env: &Env, io: &mut Io<'_>) -> u8 {
    // Its arguments are pi's, not ours.
    if args.first().is_some_and(|name| name == "demo-agent") {
        return demo::main(args.into_iter().skip(1)).try_into().unwrap_or(exit::FAILED);
    }
    match parse::parse(args) {
        Ok(call) if call.has("--help") && call.line != "help" => help::of(&call.line, call.command, io),
        Ok(call) => (call.command.run)(&call, env, io),
        Err(wrong) => {
            io.tell(wrong.text);
            if wrong.later {
                return exit::FAILED;
            }
            io.tell(wrong.usage);
            exit::USAGE
        }
    }
}
