//! The composition root: which threads run, in which order they start and stop (design.md, "Threads";
//! core.md 20). Nothing is decided here that could be decided by the mind.

mod callers;
mod carry;
mod channels;
mod chores;
mod clock_watch;
mod cron_jobs;
mod doors;
mod files;
mod hands;
mod inbound;
mod janitor;
mod lock;
mod log_file;
mod logging;
mod mailbox;
mod menus;
mod notify;
mod operator;
mod people;
mod picture;
mod programs;
mod reload;
mod routes;
mod runtime;
pub(crate) mod settings;
mod shutdown;
mod spool;
mod start;
mod stickers;
mod watch;

use std::path::PathBuf;

pub use channels::render;
pub use log_file::files as log_files;
pub use start::run;
pub use stickers::Stickers;

/// What the command line asks of `pi-gw gateway`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub config: Option<PathBuf>,
    pub port: Option<u16>,
    pub bind: Option<String>,
    /// Serve no web page.
    pub no_gui: bool,
    pub strict: bool,
    /// Run on defaults if there is no configuration file.
    pub allow_defaults: bool,
    /// Validate and exit.
    pub check: bool,
    pub verbose: bool,
    /// Use the built-in demo agent.
    pub demo: bool,
    /// Use it only if no pi is found.
    pub demo_if_no_pi: bool,
}
