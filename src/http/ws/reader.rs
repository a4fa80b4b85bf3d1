//! What comes in on one WebSocket, and what is wrong with a frame (gateway-api.md 1.11, R28, R48).
//!
//! tungstenite decodes; whatever it writes by itself (pongs, close replies) goes into the connection's queue
//! like everything else, so that frames never interleave. Nothing here waits for bytes, but for a moment on a
//! thread that is at hand (`serve`): a frame that is not complete stays with tungstenite, whoever reads next.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, RecvFlags};
use serde_json::Value;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::Message;

use super::bounds::Bounds;
use super::methods::Session;
use super::out::Outbox;
use crate::http::door::Place;
use crate::http::fault::Fault;
use crate::http::json;
use crate::http::port::{Permit, Permits};
use crate::http::wire::{left, timed_out};

/// Read in one go, bytes: a connection keeps that much. Frames of clients are short, but for pictures.
const READ: usize = 1024;
/// Frames before authentication, bytes.
const STRANGER_FRAME: usize = 64 << 10;
/// Bad frames in a row.
const MOST_BAD: u32 = 20;
/// A thread that served a message stays so long for the next one, because pages ask for several things at once.
const LINGER: Duration = Duration::from_millis(100);
/// So many threads may do so. When many clients come at once, most go, and their stacks are not all needed together.
const LINGERERS: usize = 4;

/// The socket as tungstenite sees it: reads what is there, writes into the queue.
struct Half {
    sock: Arc<TcpStream>,
    out: Arc<Outbox>,
    /// Came with the upgrade request.
    ahead: Vec<u8>,
    bounds: Bounds,
    /// So many bytes are read before others have their turn.
    ration: usize,
    /// A stranger must have authenticated by then.
    until: Option<Instant>,
    heard: Instant,
    idle: Duration,
}

impl Read for Half {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.len());
            buf[..n].copy_from_slice(&self.ahead[..n]);
            self.ahead = self.ahead.split_off(n);
            self.bounds.pass(&buf[..n]);
            return Ok(n);
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.ration == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            match recv(&*self.sock, &mut *buf, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {} // a signal: not the client's doing
                Err(Errno::AGAIN) if self.heard.elapsed() >= self.idle => return Err(io::ErrorKind::TimedOut.into()),
                Err(e) => return Err(e.into()),
                Ok((n, _)) => {
                    self.heard = Instant::now();
                    self.ration = self.ration.saturating_sub(n);
                    self.bounds.pass(&buf[..n]);
                    return Ok(n);
                }
            }
        }
    }
}

impl Write for Half {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.out.direct(buf.to_vec()) {
            Ok(buf.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What reading gives.
pub enum Got {
    /// To be taken on a thread that may wait.
    Message(Message),
    /// No more for now.
    Nothing,
    Over(End),
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said all it had to say.
    Said,
    /// It may still be sending.
    Broken,
}

/// A reader that is done with what there was.
pub enum Back {
    Quiet(Box<Reader>),
    Over(End),
}

pub struct Reader {
    ws: WebSocketContext,
    half: Half,
    /// The decoder keeps the room of a long message.
    wide: bool,
    session: Session,
    stranger: Option<Permit>,
    closed: bool,
    bad: u32,
    binary: u32,
    rate: Rate,
    /// The connection counts as open while somebody reads from it.
    _place: Arc<Place>,
}

impl Reader {
    /// `ahead`: bytes that were read already.
    pub fn new(
        sock: Arc<TcpStream>,
        mut ahead: Vec<u8>,
        session: Session,
        stranger: Option<Permit>,
        place: Arc<Place>,
    ) -> Box<Reader> {
        ahead.shrink_to_fit(); // mostly it is empty
        let s = session.port.settings.get();
        let now = Instant::now();
        let until = stranger.is_some().then(|| now + s.times.ws_login);
        let size = if until.is_some() { STRANGER_FRAME } else { s.limits.ws_message };
        let out = session.out.clone();
        let half =
            Half { sock, out, ahead, bounds: Bounds::default(), ration: 0, until, heard: now, idle: s.times.ws_idle };
        let config = WebSocketConfig::default().read_buffer_size(READ).write_buffer_size(0);
        let config = config.max_message_size(Some(size)).max_frame_size(Some(size));
        let ws = WebSocketContext::new(Role::Server, Some(config));
        let rate = Rate::new(s.limits.ws_rate);
        Box::new(Reader {
            ws,
            half,
            wide: false,
            session,
            stranger,
            closed: false,
            bad: 0,
            binary: 0,
            rate,
            _place: place,
        })
    }

    /// When to look at the latest: then the client has kept silent for too long.
    pub fn deadline(&self) -> Instant {
        let half = &self.half;
        let silent = half.heard + half.idle;
        half.until.map_or(silent, |until| until.min(silent))
    }

    /// The next message, if it is there, out of so many bytes. Pings and pongs are served on the way.
    pub fn next(&mut self, ration: usize) -> Got {
        self.half.ration = ration;
        loop {
            match self.ws.read(&mut self.half) {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => return Got::Message(message),
                Ok(Message::Close(_)) => self.closed = true,
                Ok(_) => {}
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Got::Nothing,
                Err(e) => {
                    self.failed(&e);
                    return Got::Over(if self.closed { End::Said } else { End::Broken });
                }
            }
        }
    }

    /// Serves this message and what follows soon. Methods may wait for files: it is for a thread of its own.
    /// `lingerers`: the threads that wait for what follows.
    pub fn serve(mut self: Box<Self>, mut message: Option<Message>, lingerers: &Permits) -> Back {
        let mut end = Instant::now() + LINGER;
        loop {
            if let Some(message) = message {
                self.take(&message);
                end = Instant::now() + LINGER;
            }
            message = match self.next(usize::MAX) {
                Got::Message(next) => Some(next),
                Got::Nothing if self.comes(end, lingerers) => None,
                Got::Nothing => {
                    self.narrow();
                    return Back::Quiet(self);
                }
                Got::Over(end) => return Back::Over(end),
            };
        }
    }

    /// Gives back the room that a long message took.
    fn narrow(&mut self) {
        if self.wide && self.half.bounds.clear() {
            self.ws = WebSocketContext::new(Role::Server, Some(*self.ws.get_config()));
            self.wide = false;
        }
    }

    /// Waits for bytes until then, if not too many do.
    fn comes(&self, end: Instant, lingerers: &Permits) -> bool {
        let Some(_one) = lingerers.take(LINGERERS) else { return false };
        while Instant::now() < end {
            let wait = Timespec::try_from(left(end)).unwrap_or_default();
            match poll(&mut [PollFd::new(&*self.half.sock, PollFlags::IN)], Some(&wait)) {
                Ok(n) => return n > 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn take(&mut self, message: &Message) {
        self.wide |= message.len() > READ;
        match message {
            Message::Text(text) => self.text(text.as_bytes()),
            Message::Binary(bytes) => {
                self.binary += 1;
                if self.binary > MOST_BAD {
                    self.session.out.close(1003, "text frames only");
                } else {
                    self.text(bytes);
                }
            }
            _ => {}
        }
        if self.stranger.is_some() && self.session.authenticated() {
            self.stranger = None;
            self.half.until = None;
            let size = self.session.port.settings.get().limits.ws_message;
            self.ws.set_config(|c| *c = c.max_message_size(Some(size)).max_frame_size(Some(size)));
        }
    }

    fn failed(&self, e: &Error) {
        let out = &self.session.out;
        match e {
            Error::Capacity(_) => out.close(1009, "too large"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {}
            Error::Protocol(_) => out.close(1002, "protocol error"),
            Error::Utf8(_) => out.close(1007, "not UTF-8"),
            Error::Io(e) if timed_out(e) && self.stranger.is_some() => out.close(4401, "authenticate in time"),
            Error::Io(e) if timed_out(e) => {
                self.session.port.meter.dropped("silent");
                out.close(1001, "no sign of life");
            }
            _ => {}
        }
    }

    /// One frame from the client (1.11 says what happens to bad ones).
    fn text(&mut self, text: &[u8]) {
        let unknown = Value::from("?");
        let (id, result) = match json::parse(text) {
            Err(why) => (unknown, Some(Err(Fault::invalid(why)))),
            Ok(Value::Null) => (unknown, Some(Err(Fault::invalid("Not a request: null")))),
            Ok(Value::Object(mut frame)) if frame.get("type").and_then(Value::as_str) == Some("req") => {
                self.bad = 0;
                let id = frame.remove("id").unwrap_or(Value::Null);
                let method = frame.remove("method");
                let method = method.as_ref().and_then(Value::as_str).unwrap_or_default();
                let params = frame.remove("params").unwrap_or(Value::Null);
                let result = if self.rate.take(Instant::now()) {
                    self.session.call(&id, method, params)
                } else {
                    Some(Err(Fault::new(429, "rate_limited", "Too many requests on this connection")))
                };
                return self.session.res(&id, result);
            }
            Ok(_) => (unknown, None),
        };
        self.bad += 1;
        self.session.res(&id, result);
        if self.bad >= MOST_BAD {
            self.session.out.close(1008, "too many bad frames");
        }
    }
}

/// A token bucket: so many a second, twice that at once.
struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Rate {
    fn new(per_second: u32) -> Rate {
        Rate { per_second: per_second.into(), tokens: f64::from(per_second) * 2.0, at: Instant::now() }
    }
    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second * 2.0);
        self.at = now;
        let fine = self.tokens >= 1.0;
        if fine {
            self.tokens -= 1.0;
        }
        fine
    }
}
