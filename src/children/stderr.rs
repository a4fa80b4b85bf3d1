//! A child's stderr: its last 8 KiB for error texts, its lines in the log.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is kept.
const KEPT: usize = 8 << 10;
/// The longest line for the log.
const LINE: usize = 1 << 10;
/// Read at one go, so that a child that floods its stderr does not hold the loop.
const GULP: usize = 64 << 10;

pub(super) struct Ring {
    who: String,
    pipe: Option<OwnedFd>,
    kept: VecDeque<u8>,
    line: Vec<u8>,
}

impl Ring {
    pub fn new(who: String, pipe: OwnedFd) -> Ring {
        if let Err(e) = rustix::io::ioctl_fionbio(&pipe, true) {
            log::warn!("{who}: stderr cannot be read: {e}");
            return Ring { who, pipe: None, kept: VecDeque::new(), line: Vec::new() };
        }
        Ring { who, pipe: Some(pipe), kept: VecDeque::new(), line: Vec::new() }
    }

    /// `None`: at its end.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there now.
    pub fn drain(&mut self) {
        let mut block = [0; 4 << 10];
        for _ in 0..GULP / block.len() {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut block) {
                Ok(0) => self.pipe = None,
                Ok(n) => self.take(&block[..n]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(e) => {
                    log::debug!("{}: stderr: {e}", self.who);
                    self.pipe = None;
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let over = (self.kept.len() + bytes.len()).saturating_sub(KEPT);
        self.kept.drain(..over.min(self.kept.len()));
        self.kept.extend(&bytes[bytes.len().saturating_sub(KEPT)..]);
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        for b in bytes {
            if *b == b'\n' || self.line.len() >= LINE {
                log::debug!("{}: {}", self.who, String::from_utf8_lossy(&self.line).trim_end());
                self.line.clear();
            }
            if *b != b'\n' {
                self.line.push(*b);
            }
        }
    }

    /// The last lines, whole ones if there is more than fits.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        match text.split_once('\n') {
            Some((_, whole)) if bytes.len() == KEPT && !whole.is_empty() => whole.trim_end().to_owned(),
            _ => text.trim_end().to_owned(),
        }
    }
}
