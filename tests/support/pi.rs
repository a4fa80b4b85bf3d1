//! Where the real pi is. The tests do not skip what they cannot run: no pi, no pass.

use std::path::PathBuf;

/// 0.73.1: no `agent_settled`, quadratic `message_update`, first answer decides when the file appears.
pub fn old() -> PathBuf {
    installed("old")
}

/// 1.5.2: `agent_settled`, deltas only, a file from the first user message on.
pub fn new() -> PathBuf {
    installed("new")
}

fn installed(generation: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("build/pi").join(generation);
    // The installer writes its stamp last.
    assert!(folder.join(".stamp").exists(), "{} is not installed: run make test-deps", folder.display());
    folder.join("pi")
}
