//! One connection's bytes: a socket and what was read ahead, with deadlines on both directions.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// Read in one call.
const STEP: usize = 4096;

#[derive(Debug)]
pub struct Wire {
    pub sock: Arc<TcpStream>,
    pub buf: Vec<u8>,
}

/// What is left until then; at least a millisecond, because a socket takes zero as "for ever".
pub fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

pub fn timed_out(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Wire {
    pub fn new(sock: Arc<TcpStream>) -> Wire {
        Wire { sock, buf: Vec::new() }
    }

    /// Reads some more; `UnexpectedEof` if the client is done.
    pub fn fill(&mut self, end: Instant) -> io::Result<()> {
        let mut step = [0; STEP];
        loop {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.sock.set_read_timeout(Some(left(end)))?;
            match (&*self.sock).read(&mut step) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.buf.extend_from_slice(&step[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub fn consume(&mut self, n: usize) {
        self.buf.drain(..n);
        if self.buf.is_empty() && self.buf.capacity() > 4 * STEP {
            self.buf = Vec::new();
        }
    }

    /// The client closed or reset the connection. Asks the kernel, not the bytes: what was sent ahead would hide it.
    pub fn gone(&self) -> bool {
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut sock = [PollFd::new(&*self.sock, PollFlags::RDHUP)];
        match poll(&mut sock, Some(&Timespec::default())) {
            Ok(_) => sock[0].revents().intersects(ends),
            Err(e) => e != rustix::io::Errno::INTR,
        }
    }
}

/// Writes all of it: every call must make progress within `stall`, the whole must end within `total`.
///
/// A plain `write_all` is no match for a reader that takes a byte a minute: the socket's timeout is per call.
pub fn put(mut sock: &TcpStream, mut bytes: &[u8], stall: Duration, total: Duration) -> io::Result<()> {
    let end = Instant::now() + total;
    while !bytes.is_empty() {
        sock.set_write_timeout(Some(stall.min(left(end))))?;
        match sock.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if !bytes.is_empty() && Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}
