//! Where a writer's bytes go: a WebSocket, or an event stream (`stream`).

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::frames;
use super::out::{Close, Outbox};
use crate::http::port::Port;
use crate::http::settings::Times;
use crate::http::wire;

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
    /// Within the limits for slow readers (R43).
    fn send(&mut self, bytes: &[u8], times: &Times) -> io::Result<()>;
    /// The last bytes of a connection that we end.
    fn close(&self, close: &Close) -> Vec<u8>;
    /// They are sent: what the client may still do.
    fn part(&mut self, out: &Outbox, bell: &Receiver<()>);
}

/// A WebSocket's side that is written to.
pub struct Socket {
    pub sock: Arc<TcpStream>,
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
        wire::put(&self.sock, bytes, times.stall, times.write)
    }
    fn close(&self, close: &Close) -> Vec<u8> {
        frames::close(close.code, &close.reason)
    }
    /// A moment for the client to answer the close frame.
    fn part(&mut self, out: &Outbox, bell: &Receiver<()>) {
        let _ = self.sock.shutdown(Shutdown::Write); // the client may be gone
        let end = Instant::now() + FAREWELL;
        while !out.is_gone() && Instant::now() < end {
            let _ = bell.recv_deadline(end); // the state says what happened
        }
    }
}
