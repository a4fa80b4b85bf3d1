//! A file beside the store that is given up on a full disk, so that the last marks still fit (core.md 22).

use std::fs;
use std::path::{Path, PathBuf};

/// Size of the file that is given up on a full disk, bytes.
const BALLAST: u64 = 1 << 20;
/// Free space at which the ballast comes back, bytes.
pub const ENOUGH_FREE: u64 = 8 << 20;

/// The file beside the store that is given up when the disk is full.
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub fn beside(store: &Path) -> Ballast {
        Ballast { path: store.with_file_name("ballast") }
    }
    /// Makes it if it is missing and there is room for it.
    pub fn restore(&self) -> bool {
        if self.path.metadata().is_ok_and(|m| m.len() >= BALLAST) {
            return true;
        }
        if self.free() < ENOUGH_FREE {
            return false;
        }
        let made = fs::write(&self.path, vec![0x5a; BALLAST as usize]).is_ok();
        if !made {
            let _ = fs::remove_file(&self.path);
        }
        made
    }
    /// Is there room to go on? On a small file system the ballast never comes back, but what it would take and as
    /// much again is enough.
    pub fn room(&self) -> bool {
        self.restore() || self.free() >= 2 * BALLAST
    }
    /// Frees its space; true if there was something to free.
    pub fn drop_it(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
    /// Free bytes on its file system.
    pub fn free(&self) -> u64 {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        rustix::fs::statvfs(dir).map_or(u64::MAX, |s| s.f_bavail * s.f_frsize)
    }
}
