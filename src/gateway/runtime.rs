//! Files that the gateway brings along for the programs it starts: the pi extension (pi-rpc.md 12).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::agent::EXTENSION;
use crate::config::files::write_atomic;

/// Where the extension lies in `runtime`.
pub fn extension(runtime: &Path) -> PathBuf {
    runtime.join("gateway.ts")
}

/// Several pi may start at once.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes the extension, unless it is there as it should be.
pub fn install(runtime: &Path) -> io::Result<()> {
    let path = extension(runtime);
    let _one = WRITING.lock().unwrap_or_else(|e| e.into_inner());
    if std::fs::read(&path).is_ok_and(|found| found == EXTENSION.as_bytes()) {
        return Ok(());
    }
    std::fs::create_dir_all(runtime)?;
    write_atomic(&path, EXTENSION.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_written_once_and_again_if_it_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("runtime");
        install(&runtime).unwrap();
        let path = extension(&runtime);
        let written = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let first = written();
        install(&runtime).unwrap();
        assert_eq!(written(), first);
        std::fs::write(&path, "broken").unwrap();
        install(&runtime).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), EXTENSION);
    }
}
