//! One gateway per data directory: `flock` on the pid file (`fcntl` locks vanish when any descriptor of the
//! file is closed).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};

/// The lock; it ends with the process.
pub struct PidFile(File);

/// A gateway killed while it started a child leaves the lock to that child until its `exec`, some milliseconds
/// later. So long the lock of a gateway that is gone is waited for.
const INHERITED: Duration = Duration::from_secs(5);

/// Takes the lock, or tells what the running gateway wrote into the file.
pub fn take(path: &Path) -> io::Result<Result<PidFile, String>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let end = Instant::now() + INHERITED;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let mut lock = PidFile(file);
                lock.write("")?;
                return Ok(Ok(lock));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.rewind()?;
                file.read_to_string(&mut text)?;
                if lives(&text) || Instant::now() >= end {
                    return Ok(Err(text));
                }
                std::thread::sleep(Duration::from_millis(5)); // a lock has no event to wait for with a deadline
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Does the process named in the file's first line run? One that was killed and not reaped yet does not.
fn lives(text: &str) -> bool {
    let Some(pid) = text.lines().next().and_then(|l| l.parse::<u32>().ok()) else { return false };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

impl PidFile {
    /// Process number and address, a line each.
    pub fn write(&mut self, url: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        write!(self.0, "{}\n{url}\n", std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c26_a_second_gateway_is_refused_even_after_the_first_opened_and_closed_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pid");
        let mut first = take(&path).unwrap().ok().unwrap();
        first.write("http://127.0.0.1:1").unwrap();
        drop(File::open(&path).unwrap()); // C26
        let second = take(&path).unwrap().err().unwrap();
        assert_eq!(second, format!("{}\nhttp://127.0.0.1:1\n", std::process::id()));
        // Other tests of this process start children, which hold the lock until their exec.
        std::fs::write(&path, "").unwrap();
        drop(first);
        assert!(take(&path).unwrap().is_ok());
    }

    #[test]
    fn given_the_lock_of_a_killed_gateway_in_a_child_not_yet_executed_then_a_start_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pid");
        let first = take(&path).unwrap().ok().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        std::fs::write(&path, format!("{}\nhttp://127.0.0.1:1\n", gone.id())).unwrap();
        let start = std::thread::spawn(move || take(&path).unwrap().is_ok());
        std::thread::sleep(Duration::from_millis(50)); // it may look before or after: both must work
        drop(first);
        assert!(start.join().unwrap());
    }
}
