//! The WebSocket: upgrade, the reader, and what is wrong with a frame (gateway-api.md 1.11, R28, R48).
//!
//! tungstenite decodes; whatever it writes by itself (pongs, close replies) goes into the connection's queue
//! like everything else, so that frames never interleave and the reader may block.

mod calls;
mod cron;
mod frames;
mod hello;
mod history;
pub(crate) mod hub;
mod methods;
mod more;
mod out;
mod partial;
mod sessions;
mod show;
mod sink;
pub(crate) mod stream;
mod writer;

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::Value;
use tungstenite::error::Error;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::door::WS_STACK;
use super::exchange::Call;
use super::fault::Fault;
use super::guard::Access;
use super::json;
use super::port::{Permit, Port};
use super::wire::{self, timed_out, Wire};
use methods::Session;
use out::Outbox;

/// Read in one go, bytes: a connection keeps that much. Frames of clients are short, but for pictures.
const READ: usize = 1024;
/// Frames before authentication, bytes.
const STRANGER_FRAME: usize = 64 << 10;
/// Bad frames in a row.
const MOST_BAD: u32 = 20;

/// A checked upgrade request.
pub(crate) struct Upgrade {
    accept: String,
    request: String,
    access: Access,
    addr: IpAddr,
    stranger: Option<Permit>,
}

/// Everything that can be refused with an HTTP answer.
pub(crate) fn prepare(port: &Port, call: &Call) -> Result<Upgrade, Fault> {
    let head = &call.head;
    if head.http10 || head.field("sec-websocket-version") != Some("13") {
        return Err(Fault::new(426, "unsupported", "Only WebSocket version 13 over HTTP/1.1 is spoken here"));
    }
    let mut keys = head.all("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|k| k.len() == 16) => key,
        _ => return Err(Fault::invalid("Sec-WebSocket-Key is missing or malformed")),
    };
    let access = call.access;
    let stranger = if access.granted() {
        None
    } else {
        let most = port.settings.get().limits.ws_strangers;
        let permit = port.strangers.take(most);
        Some(permit.ok_or_else(|| Fault::busy("Too many connections that have not authenticated"))?)
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Ok(Upgrade { accept, request: call.id.clone(), access, addr: call.peer.addr, stranger })
}

/// Serves the WebSocket until it ends, on the connection's own thread.
pub(crate) fn serve(port: &Arc<Port>, mut wire: Wire, up: Upgrade) {
    let s = port.settings.get();
    let hello = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nX-Request-Id: {}\r\n\r\n",
        up.accept, up.request
    );
    let (out, bell) = Outbox::new(port.hub.name(), (s.limits.ws_bytes, s.limits.ws_frames));
    let mut member = Member { port: port.clone(), out: out.clone(), writer: None };
    if up.access.granted() {
        // Before the answer: a client may count on every event from the moment it reads it.
        out.greet();
        port.hub.join(&out, up.access);
    }
    if wire::put(&wire.sock, hello.as_bytes(), s.times.stall, s.times.write).is_err() {
        return;
    }
    let thread = std::thread::Builder::new().name(format!("{}-out", out.id)).stack_size(WS_STACK);
    let (to, sock, queue) = (port.clone(), wire.sock.clone(), out.clone());
    let Ok(writer) = thread.spawn(move || writer::Writer::new(&to, sink::Socket { sock }, queue, bell).run()) else {
        log::warn!("{}: no thread for a WebSocket", out.id);
        return;
    };
    member.writer = Some(writer);
    log::debug!("{} opened by {} ({:?})", out.id, up.addr, up.access);
    let read_ahead = std::mem::take(&mut wire.buf);
    let until = up.stranger.is_some().then(|| Instant::now() + s.times.ws_login);
    let half = Half { sock: wire.sock.clone(), out: out.clone(), until, idle: s.times.ws_idle };
    let size = if until.is_some() { STRANGER_FRAME } else { s.limits.ws_message };
    let config = WebSocketConfig::default().read_buffer_size(READ).write_buffer_size(0);
    let config = config.max_message_size(Some(size)).max_frame_size(Some(size));
    let ws = WebSocket::from_partially_read(half, read_ahead, Role::Server, Some(config));
    let session = Session::new(port.clone(), out.clone(), up.addr);
    if up.access.granted() {
        session.pending_dialogs();
    }
    Reader { ws, session, stranger: up.stranger, bad: 0, binary: 0, rate: Rate::new(s.limits.ws_rate) }.run();
    if out.closing() {
        drain(&mut wire);
    }
}

/// The connection as others know it; dropped, it is gone from the hub and its writer has ended.
struct Member {
    port: Arc<Port>,
    out: Arc<Outbox>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.port.hub.leave(&self.out);
        self.out.gone();
        if self.writer.take().is_some_and(|w| w.join().is_err()) {
            log::error!("{}: the writer panicked", self.out.id);
        }
        log::debug!("{} closed", self.out.id);
    }
}

/// The client may still be sending what was refused: it should read why before it sees a reset.
fn drain(wire: &mut Wire) {
    let end = Instant::now() + Duration::from_secs(1);
    let mut seen = 0;
    while seen < 16 << 20 && wire.fill(end).is_ok() {
        seen += wire.buf.len();
        wire.buf.clear();
    }
}

/// Reads the socket, writes into the queue.
struct Half {
    sock: Arc<TcpStream>,
    out: Arc<Outbox>,
    /// A stranger must have authenticated by then.
    until: Option<Instant>,
    idle: Duration,
}

impl Read for Half {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let wait = match self.until {
                Some(until) if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
                Some(until) => self.idle.min(wire::left(until)),
                None => self.idle,
            };
            self.sock.set_read_timeout(Some(wait))?;
            match (&*self.sock).read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {} // a signal: not the client's doing
                read => return read,
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

struct Reader {
    ws: WebSocket<Half>,
    session: Session,
    stranger: Option<Permit>,
    bad: u32,
    binary: u32,
    rate: Rate,
}

impl Reader {
    fn run(mut self) {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => self.text(text.as_bytes()),
                Ok(Message::Binary(bytes)) => {
                    self.binary += 1;
                    if self.binary > MOST_BAD {
                        self.session.out.close(1003, "text frames only");
                    } else {
                        self.text(&bytes);
                    }
                }
                Ok(_) => {}
                Err(e) => return self.failed(&e),
            }
            if self.stranger.is_some() && self.session.authenticated() {
                self.stranger = None;
                self.ws.get_mut().until = None;
                let size = self.session.port.settings.get().limits.ws_message;
                self.ws.set_config(|c| *c = c.max_message_size(Some(size)).max_frame_size(Some(size)));
            }
        }
    }

    fn failed(&self, e: &Error) {
        let out = &self.session.out;
        match e {
            Error::Capacity(_) => out.close(1009, "too large"),
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {}
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
