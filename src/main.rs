//! `pi-gw`.

use std::process::ExitCode;

/// See `Cargo.toml`. glibc's is of the same family.
#[cfg(target_env = "musl")]
#[global_allocator]
static MEMORY: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    pi_gateway::cli::main().into()
}
