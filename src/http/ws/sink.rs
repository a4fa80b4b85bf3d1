//! Where a writer's bytes go: a WebSocket, or an event stream (`stream`).

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{send, SendFlags};

use super::frames;
use super::out::Close;
use crate::http::port::Port;
use crate::http::settings::Times;

/// A close frame was sent: the client gets this long to answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where the bytes go, and what they look like there.
pub trait Sink {
    /// An event: the part all connections share, and the part of this one.
    fn event(&mut self, shared: &str, seq: u64, eid: u64) -> Vec<u8>;
    /// Keeps the connection alive; with it comes a `tick`, if the client is used to them.
    fn beat(&self) -> (Vec<u8>, bool);
    /// When the next one is due.
    fn next_beat(&self, port: &Port) -> Instant;
    /// The client is known to have left.
    fn gone(&mut self) -> bool;
    /// Within the limits for slow readers (R43). It may keep what the client does not take at once.
    fn send(&mut self, bytes: &[u8], times: &Times) -> io::Result<()>;
    /// Bytes are kept that the client did not take yet.
    fn owes(&self) -> bool {
        false
    }
    /// Goes on with them. `Some`: there are still some, and the client has to take more of them until then.
    fn more(&mut self) -> io::Result<Option<Instant>> {
        Ok(None)
    }
    /// The last bytes of a connection that we end.
    fn close(&self, close: &Close) -> Vec<u8>;
    /// They are sent: how long the client has to answer.
    fn part(&mut self) -> Duration;
}

/// A WebSocket's side that is written to, without ever waiting for the client.
pub struct Socket {
    sock: Arc<TcpStream>,
    /// Not taken by the client yet, from `sent` on.
    left: Vec<u8>,
    sent: usize,
    stall: Duration,
    /// The client has to take some of it, and all of it.
    some_by: Instant,
    all_by: Instant,
}

impl Socket {
    pub fn new(sock: Arc<TcpStream>) -> Socket {
        let now = Instant::now();
        Socket { sock, left: Vec::new(), sent: 0, stall: Duration::ZERO, some_by: now, all_by: now }
    }

    /// How much the client takes now.
    fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut n = 0;
        while n < bytes.len() {
            match send(&*self.sock, &bytes[n..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(some) => n += some,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(n)
    }
}

impl Drop for Socket {
    /// Wakes the reader, also after a panic.
    fn drop(&mut self) {
        let _ = self.sock.shutdown(Shutdown::Both); // it may be closed already
    }
}

impl Sink for Socket {
    fn event(&mut self, shared: &str, seq: u64, eid: u64) -> Vec<u8> {
        frames::event(shared, seq, eid)
    }
    fn beat(&self) -> (Vec<u8>, bool) {
        (frames::ping(), true)
    }
    /// All connections tick at the same moments, so that an idle process wakes seldom.
    fn next_beat(&self, port: &Port) -> Instant {
        let period = port.settings.get().times.ws_tick.max(Duration::from_millis(1));
        let passed = port.started.elapsed().as_millis() / period.as_millis();
        port.started + period * (passed as u32 + 1)
    }
    fn gone(&mut self) -> bool {
        false // its reader says so
    }
    fn send(&mut self, bytes: &[u8], times: &Times) -> io::Result<()> {
        let n = if self.owes() { 0 } else { self.put(bytes)? };
        if n < bytes.len() && !self.owes() {
            let now = Instant::now();
            self.stall = times.stall;
            (self.some_by, self.all_by) = (now + times.stall, now + times.write);
        }
        self.left.extend_from_slice(&bytes[n..]);
        Ok(())
    }
    fn owes(&self) -> bool {
        !self.left.is_empty()
    }
    fn more(&mut self) -> io::Result<Option<Instant>> {
        if !self.owes() {
            return Ok(None);
        }
        let n = self.put(&self.left[self.sent..])?;
        self.sent += n;
        if self.sent == self.left.len() {
            (self.left, self.sent) = (Vec::new(), 0); // an idle connection keeps no buffer
            return Ok(None);
        }
        let now = Instant::now();
        if n > 0 {
            self.some_by = now + self.stall;
        }
        let end = self.some_by.min(self.all_by);
        if now >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(end))
    }
    fn close(&self, close: &Close) -> Vec<u8> {
        frames::close(close.code, &close.reason)
    }
    /// A moment for the client to answer the close frame.
    fn part(&mut self) -> Duration {
        let _ = self.sock.shutdown(Shutdown::Write); // the client may be gone
        FAREWELL
    }
}
