//! `pi-gw`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pi_gateway::cli::main().into()
}
