//! The composition root: which threads run, in which order they start and stop.

use std::path::PathBuf;

use crate::config::Env;

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

/// Runs the gateway in the foreground until it is told to stop; the exit code (config.md 10).
pub fn run(_options: Options, _env: &Env) -> u8 {
    70
}
