//! One gateway per data directory: `flock` on the pid file (`fcntl` locks vanish when any descriptor of the
//! file is closed).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{flock, FlockOperation};

/// The lock; it ends with the process.
pub struct PidFile(File);

/// Takes the lock, or tells what the running gateway wrote into the file.
pub fn take(path: &Path) -> io::Result<Result<PidFile, String>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let mut lock = PidFile(file);
            lock.write("")?;
            Ok(Ok(lock))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Err(text))
        }
        Err(e) => Err(e.into()),
    }
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
    fn a_second_gateway_is_refused_even_after_the_first_opened_and_closed_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pid");
        let mut first = take(&path).unwrap().ok().unwrap();
        first.write("http://127.0.0.1:1").unwrap();
        drop(File::open(&path).unwrap()); // C26
        let second = take(&path).unwrap().err().unwrap();
        assert_eq!(second, format!("{}\nhttp://127.0.0.1:1\n", std::process::id()));
        drop(first);
        assert!(take(&path).unwrap().is_ok());
    }
}
