//! `--dedupe-key`: what has a key is sent once in 24 hours. One small file per key, held locked while its message is on
//! the way and marked when that is sent: two that run at once cannot both have it, and of one that was killed in between
//! the next takes it over.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::files::{create_dir, hand_over};
use crate::store::random_id;

const LIFE: Duration = Duration::from_secs(86_400);
/// What a file begins with: the message is on the way, or was. Of the same length: marking needs no room on the disk.
const OPEN: &str = "open";
const SENT: &str = "sent";
/// So often a file may vanish under our hands.
const TRIES: usize = 10;

/// The right to send it.
pub struct Claim {
    file: File,
    path: PathBuf,
    /// Of this message: the one that takes it over has the same.
    pub nonce: String,
}

/// `Ok(None)`: it was sent before, or is being sent. `place`: the same may go to several. `again`: what may have been
/// sent by one that was killed is sent once more.
pub fn claim(dir: &Path, key: &str, place: &str, again: bool) -> io::Result<Option<Claim>> {
    create_dir(dir)?;
    forget(dir)?;
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{place}\n{key}").as_bytes());
    let name: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let path = dir.join(name);
    for _ in 0..TRIES {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // Whoever had it may have given it back meanwhile.
        if !fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|own| there.ino() == own.ino())) {
            continue;
        }
        let mut text = String::new();
        (&mut file).take(256).read_to_string(&mut text)?;
        return match text.split_once(' ') {
            Some((OPEN, nonce)) if again => Ok(Some(Claim { file, path, nonce: nonce.to_owned() })),
            None if text.is_empty() => {
                hand_over(&file, dir)?;
                let nonce = random_id(22);
                file.write_all_at(format!("{OPEN} {nonce}").as_bytes(), 0)?;
                // On the disk before the message is anywhere.
                file.sync_all().and_then(|()| File::open(dir)?.sync_all())?;
                Ok(Some(Claim { file, path, nonce }))
            }
            _ => Ok(None),
        };
    }
    Err(io::Error::other("others are at it all the time"))
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
    /// It was sent, or somebody will.
    pub fn done(self) -> io::Result<()> {
        self.file.write_all_at(SENT.as_bytes(), 0)?;
        self.file.sync_all()
    }

    /// It was not sent: the key is free again.
    pub fn give_back(self) {
        let _ = fs::remove_file(&self.path); // else the next takes it over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(path: &Path) {
        let old = SystemTime::now() - LIFE - Duration::from_secs(1);
        File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }

    #[test]
    fn a_key_is_good_once_a_day_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("sent");
        let take = |place| claim(&dir, "disk full", place, true).unwrap();
        let first = take("telegram:default:5").unwrap();
        assert!(take("telegram:default:5").is_none(), "it is being sent");
        assert!(take("telegram:default:6").is_some());
        first.give_back();
        let again = take("telegram:default:5").unwrap();
        let path = again.path.clone();
        again.done().unwrap();
        assert!(take("telegram:default:5").is_none(), "it was sent");
        aged(&path);
        assert!(take("telegram:default:5").is_some(), "a day later");
    }

    #[test]
    fn what_a_killed_one_left_is_taken_over_as_the_same_message_unless_repeating_is_not_wished() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("sent");
        let killed = claim(&dir, "k", "p", true).unwrap().unwrap();
        let nonce = killed.nonce.clone();
        drop(killed);
        assert!(claim(&dir, "k", "p", false).unwrap().is_none());
        assert_eq!(claim(&dir, "k", "p", true).unwrap().unwrap().nonce, nonce);
    }
}
