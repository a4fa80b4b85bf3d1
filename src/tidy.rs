//! Received files that nobody needs any more: too old, or too many (`media.retentionDays`, `media.maxTotalMb`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Younger ones may belong to a message that waits.
const YOUNG: Duration = Duration::from_secs(3_600);
/// So many errors are told.
const TOLD: usize = 5;
/// Channel, chat, day: deeper there is nothing of ours.
const DEPTH: usize = 8;

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub age: Duration,
    /// Bytes of all files.
    pub total: u64,
}

/// A file.
struct Found {
    path: PathBuf,
    size: u64,
    at: SystemTime,
}

/// What was done, or would be.
#[derive(Debug, Default, PartialEq)]
pub struct Tidied {
    pub files: usize,
    pub bytes: u64,
    pub dirs: usize,
    /// The first of them.
    pub errors: Vec<String>,
}

impl Tidied {
    fn failed(&mut self, path: &Path, e: &io::Error) {
        if self.errors.len() < TOLD {
            self.errors.push(format!("{}: {e}", path.display()));
        }
    }
}

/// Files and their bytes below a directory; links are not followed.
pub fn count(dir: &Path) -> Tidied {
    let mut seen = Tidied::default();
    let all = gather(dir, DEPTH, &mut seen);
    (seen.files, seen.bytes) = (all.len(), all.iter().map(|f| f.size).sum());
    seen
}

/// Removes what is over the limits, the oldest first, and directories that are empty then. `dry`: only counts.
pub fn tidy(dir: &Path, limits: Limits, now: SystemTime, dry: bool) -> Tidied {
    let mut done = Tidied::default();
    let mut all = gather(dir, DEPTH, &mut done);
    done.dirs = 0;
    all.sort_by_key(|found| found.at);
    let mut left: u64 = all.iter().map(|found| found.size).sum();
    for found in all {
        let age = now.duration_since(found.at).unwrap_or_default();
        if age < YOUNG || (age <= limits.age && left <= limits.total) {
            continue;
        }
        match if dry { Ok(()) } else { fs::remove_file(&found.path) } {
            Ok(()) => {
                left -= found.size;
                (done.files, done.bytes) = (done.files + 1, done.bytes + found.size);
            }
            Err(e) => done.failed(&found.path, &e),
        }
    }
    if !dry {
        sweep(dir, DEPTH, &mut done);
    }
    done
}

fn gather(dir: &Path, depth: usize, seen: &mut Tidied) -> Vec<Found> {
    let mut all = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return all,
        Err(e) => {
            seen.failed(dir, &e);
            return all;
        }
        Ok(entries) => entries,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let data = match entry.metadata() {
            Ok(data) => data, // of a link, not of what it leads to
            Err(e) => {
                seen.failed(&path, &e);
                continue;
            }
        };
        if data.is_dir() && depth > 0 {
            seen.dirs += 1;
            all.extend(gather(&path, depth - 1, seen));
        } else if data.is_file() {
            all.push(Found { path, size: data.len(), at: data.modified().unwrap_or(SystemTime::UNIX_EPOCH) });
        }
    }
    all
}

/// Removes empty directories below that one.
fn sweep(dir: &Path, depth: usize, done: &mut Tidied) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        sweep(&entry.path(), depth - 1, done);
        // Fails where something is left; a file may just come in.
        done.dirs += usize::from(fs::remove_dir(entry.path()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, name: &str, size: usize, hours: u64, now: SystemTime) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![0; size]).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(now - Duration::from_secs(hours * 3_600))
            .unwrap();
    }

    #[test]
    fn old_files_go_then_the_oldest_until_the_rest_fits_and_young_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, now) = (dir.path().join("media"), SystemTime::now());
        assert_eq!(count(&dir), Tidied::default(), "there is nothing");
        put(&dir, "telegram/5/old/a", 10, 1000, now);
        put(&dir, "telegram/5/mid/b", 100, 50, now);
        put(&dir, "telegram/5/mid/c", 100, 40, now);
        put(&dir, "webchat/new/d", 100, 0, now);
        std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
        let seen = count(&dir);
        assert_eq!((seen.files, seen.bytes), (4, 310));
        let limits = Limits { age: Duration::from_secs(720 * 3_600), total: 150 };
        let dry = tidy(&dir, limits, now, true);
        assert_eq!((dry.files, dry.bytes, dry.dirs), (3, 210, 0));
        assert_eq!(count(&dir).files, 4);
        let done = tidy(&dir, limits, now, false);
        assert_eq!((done.files, done.bytes, done.dirs), (3, 210, 4));
        assert!(dir.join("webchat/new/d").exists() && dir.join("link").exists() && !dir.join("telegram").exists());
        let done = tidy(&dir, Limits { total: 0, ..limits }, now, false);
        assert_eq!(done, Tidied::default(), "it may belong to a message that waits");
    }
}
