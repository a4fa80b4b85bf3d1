//! The command line, one file per subcommand.
//!
//! A subcommand takes its arguments, the environment and where to write as values, and gives an exit code: it never
//! ends the process itself. Data goes to standard output, everything else to standard error.

pub mod config;
pub mod exit;

use std::io::{self, Write};

/// Where a command writes.
pub struct Io<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub terminal: bool,
}

impl Io<'_> {
    /// Prints a line of data. Gives whether anyone still listens: a closed pipe is no error.
    pub fn say(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Tells the user something. A closed standard error leaves nobody to tell.
    pub fn tell(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
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
