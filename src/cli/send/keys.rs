//! `--dedupe-key`: what has a key is sent once in 24 hours. One empty file per key, made before anything is sent: two that
//! run at once cannot both make it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::files::create_dir;

const LIFE: Duration = Duration::from_secs(86_400);

/// The right to send it.
pub struct Claim(PathBuf);

/// `Ok(None)`: it was sent before. `place`: the same may go to several.
pub fn claim(dir: &Path, key: &str, place: &str) -> io::Result<Option<Claim>> {
    create_dir(dir)?;
    forget(dir)?;
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{place}\n{key}").as_bytes());
    let name: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let path = dir.join(name);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        // On the disk before the message is anywhere.
        Ok(file) => file.sync_all().and_then(|()| fs::File::open(dir)?.sync_all()).map(|()| Some(Claim(path))),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(e),
    }
}

/// Old keys go.
fn forget(dir: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in fs::read_dir(dir)?.flatten() {
        let age =
            entry.metadata().and_then(|data| data.modified()).map(|at| now.duration_since(at).unwrap_or_default());
        if age.is_ok_and(|age| age > LIFE) {
            let _ = fs::remove_file(entry.path()); // another may be at it
        }
    }
    Ok(())
}

impl Claim {
    /// Its name, the same for the same key and place.
    pub fn name(&self) -> String {
        self.0.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// It was certainly not sent: the key is free again.
    pub fn give_back(self) {
        let _ = fs::remove_file(self.0); // else it is free tomorrow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_once_a_day_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("sent");
        let first = claim(&dir, "disk full", "telegram:default:5").unwrap().unwrap();
        assert!(claim(&dir, "disk full", "telegram:default:5").unwrap().is_none());
        assert!(claim(&dir, "disk full", "telegram:default:6").unwrap().is_some());
        first.give_back();
        let again = claim(&dir, "disk full", "telegram:default:5").unwrap().unwrap();
        let old = SystemTime::now() - LIFE - Duration::from_secs(1);
        fs::File::options().write(true).open(&again.0).unwrap().set_modified(old).unwrap();
        assert!(claim(&dir, "disk full", "telegram:default:5").unwrap().is_some(), "a day later");
    }
}
