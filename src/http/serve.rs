//! One connection: read a head, check it, read the body, dispatch, answer, again.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::agent;
use super::body::{self, Broken};
use super::exchange::{Call, Exchange, Handled, Piece, Reply};
use super::fault::{Fault, Shape};
use super::guard::{self, Access, Peer};
use super::head::{self, Head, Length};
use super::hooks;
use super::inlet;
use super::logins::random;
use super::pi_tokens::PiTokens;
use super::port::{Entry, Port};
use super::routes::{self, Door, Route};
use super::settings::Settings;
use super::wire::{self, timed_out, Wire};
use super::ws;
use crate::message::{Area, Level, Observation};

/// A file is sent in steps of that many bytes.
const FILE_STEP: usize = 64 << 10;

/// What the connection does after a request.
enum Next {
    Again,
    Close,
    /// The rest of an unread body is on its way: let the client read the refusal first.
    Linger,
    Upgrade(Box<ws::Upgrade>),
}

/// Serves requests until the client is done, breaks a rule or asks for a WebSocket, which is left to the caller.
pub(crate) fn connection(port: &Arc<Port>, sock: Arc<TcpStream>, addr: IpAddr) -> Option<(Wire, Box<ws::Upgrade>)> {
    let _ = sock.set_nodelay(true); // only latency is lost
    let mut wire = Wire::new(sock);
    loop {
        let s = port.settings.get();
        let next = match read_head(&mut wire, &s) {
            Ok(Some(head)) => Request::new(port, &mut wire, head, addr, s.clone()).serve(),
            Ok(None) => return None,
            Err(fault) => refuse_unparsed(port, &wire, &fault, &s),
        };
        match next {
            Next::Again => {}
            Next::Close => return None,
            Next::Linger => {
                let _ = body::linger(&mut wire, s.times.linger); // the client may be gone: that was the aim
                return None;
            }
            Next::Upgrade(up) => return Some((wire, up)),
        }
    }
}

/// `None`: the client closed, or kept silent for the idle time.
fn read_head(wire: &mut Wire, s: &Settings) -> Result<Option<Head>, Fault> {
    let mut end = None;
    let mut seen = 0;
    loop {
        if wire.buf.len() > seen {
            // a head that trickles is not parsed again for every byte
            let fresh = &wire.buf[seen.saturating_sub(3)..];
            if seen == 0 || wire.buf.len() > head::MAX_LINE || fresh.contains(&b'\n') {
                if let Some(head) = head::parse(&wire.buf)? {
                    wire.consume(head.size);
                    return Ok(Some(head));
                }
            }
            seen = wire.buf.len();
            end.get_or_insert_with(|| Instant::now() + s.times.head);
        }
        match wire.fill(end.unwrap_or_else(|| Instant::now() + s.times.idle)) {
            Ok(()) => {}
            Err(e) if end.is_some() && timed_out(&e) => {
                return Err(Fault::new(408, "timeout", "The request head took too long"));
            }
            Err(_) => return Ok(None),
        }
    }
}

fn refuse_unparsed(port: &Port, wire: &Wire, fault: &Fault, s: &Settings) -> Next {
    let mut reply = Reply::fault(fault, &random(9), Shape::Plain);
    guard::secure(&mut reply);
    port.meter.request("unparsed", "-", fault.status, 0.0);
    match wire::put(&wire.sock, &reply.print(false, true), s.times.stall, s.times.write) {
        Ok(()) => Next::Linger,
        Err(_) => Next::Close,
    }
}

struct Request<'a> {
    port: &'a Arc<Port>,
    wire: &'a mut Wire,
    s: Arc<Settings>,
    call: Call,
    begun: Instant,
    /// `Transfer-Encoding: chunked` is being written.
    chunked: bool,
    broken: bool,
    sent: usize,
}

impl<'a> Request<'a> {
    fn new(port: &'a Arc<Port>, wire: &'a mut Wire, head: Head, addr: IpAddr, s: Arc<Settings>) -> Request<'a> {
        let good = |id: &&str| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let id = head.field("x-request-id").filter(good).map_or_else(|| random(9), str::to_owned);
        let peer = Peer::of(addr, &head, &s);
        let call = Call { id, head, args: Vec::new(), body: Vec::new(), access: Access::Nobody, peer };
        Request { port, wire, s, call, begun: Instant::now(), chunked: false, broken: false, sent: 0 }
    }

    fn serve(mut self) -> Next {
        let (route, handled) = match self.admit() {
            Ok(Admitted::Upgrade) => {
                return match ws::prepare(self.port, &self.call) {
                    Ok(up) => Next::Upgrade(Box::new(up)),
                    Err(fault) => self.answer("websocket", Err(fault), false),
                };
            }
            Ok(Admitted::Options(reply)) => ("options", Ok(reply)),
            Ok(Admitted::Route(route)) => match self.read_body(route) {
                Ok(()) => {
                    let handled = self.admit_body().and_then(|()| self.dispatch(route));
                    return self.answer(route.pattern, handled, true);
                }
                Err(Broken::Gone) => return Next::Close,
                Err(Broken::Refused(fault)) => {
                    self.call.head.keep = false;
                    (route.pattern, Err(fault))
                }
            },
            Err(fault) => {
                if fault.status == 404 {
                    self.no_such_route();
                }
                ("refused", Err(fault))
            }
        };
        self.answer(route, handled, false)
    }

    /// All checks that need no body.
    fn admit(&mut self) -> Result<Admitted, Fault> {
        let (s, head, peer) = (&self.s, &self.call.head, &self.call.peer);
        if let Some(admitted) = inlet::admit(self.port, head) {
            self.call.head.keep &= !self.port.draining();
            return admitted.map(Admitted::Route);
        }
        guard::host(s, peer, head)?;
        let port = self.port;
        if let Entry::Agent(tokens) = &port.entry {
            return self.admit_pi(tokens);
        }
        let hook = hooks::below(&s.hooks, &head.path);
        let found = routes::find(routes::PUBLIC, &head.method, hook.as_deref().unwrap_or(&head.path));
        if self.port.draining() && !matches!(&found, Ok((r, _)) if r.draining) {
            let fault = Fault::new(503, "shutting_down", "The gateway is stopping; try again in a moment");
            self.call.head.keep = false;
            return Err(fault.retry(5));
        }
        if head.method == "OPTIONS" {
            let allow = match found {
                Err(Fault { allow: Some(allow), .. }) => allow,
                _ => "GET, HEAD, POST, OPTIONS".into(),
            };
            return Ok(Admitted::Options(Reply::new(204).with("Allow", allow)));
        }
        let open = matches!(&found, Ok((r, _)) if r.door == Door::Open);
        let upgrade = head.wants_websocket();
        if hook.is_some() && !upgrade {
            return self.admit_hook(found);
        }
        self.call.access = match self.port.guard.access(s, head, peer) {
            Ok(access) => access,
            // a wrong secret is a wrong secret, except where none is needed
            Err(f) if open && !upgrade && head.path != "/" && f.status == 401 => Access::Nobody,
            Err(f) => return Err(f),
        };
        guard::origin(s, head, peer, self.call.access)?;
        if upgrade {
            return Ok(Admitted::Upgrade);
        }
        let metrics = s.metrics_public && peer.local;
        let public = matches!(&found, Ok((r, _)) if r.door == Door::Open || r.door == Door::Metrics && metrics);
        if !public && !self.call.access.granted() {
            return Err(Fault::unauthorized());
        }
        let (route, args) = found?;
        self.call.args = args;
        Ok(Admitted::Route(route))
    }

    /// A webhook: what it presents may be a signature, which needs the body.
    fn admit_hook(&mut self, found: Result<(&'static Route, Vec<String>), Fault>) -> Result<Admitted, Fault> {
        let (s, head, peer) = (&self.s, &self.call.head, &self.call.peer);
        self.call.access = hooks::access(self.port, s, head, peer)?;
        guard::origin(s, head, peer, self.call.access)?;
        Ok(Admitted::Route(found?.0))
    }

    /// The same at the agent door: a pi token, a route, nothing else. A token may come with the body.
    fn admit_pi(&mut self, tokens: &PiTokens) -> Result<Admitted, Fault> {
        if self.port.draining() {
            self.call.head.keep = false;
            return Err(Fault::new(503, "shutting_down", "The gateway is stopping"));
        }
        let head = &self.call.head;
        let found = routes::find(routes::AGENT, &head.method, &head.path);
        self.call.access = agent::access(self.port, tokens, head, found.is_ok())?;
        if head.wants_websocket() {
            return Err(Fault::new(403, "forbidden", "There is no WebSocket here"));
        }
        let (route, args) = found?;
        self.call.args = args;
        Ok(Admitted::Route(route))
    }

    /// Checks that need the body.
    fn admit_body(&mut self) -> Result<(), Fault> {
        match &self.port.entry {
            Entry::Public => Ok(()),
            Entry::Agent(tokens) => agent::admit(self.port, tokens, &mut self.call),
        }
    }

    fn read_body(&mut self, route: &Route) -> Result<(), Broken> {
        let limit = route.size.limit(&self.s.limits);
        if let Length::Fixed(n) = self.call.head.length {
            if n > limit as u64 {
                return Err(body::too_large(limit).into());
            }
        }
        if self.call.head.expect && self.wire.buf.is_empty() && self.call.head.length != Length::None {
            self.put(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Broken::Gone)?;
        }
        let (length, time) = (self.call.head.length, self.s.times.body);
        self.call.body = body::read(self.wire, length, limit, time, &self.port.big_bodies)?;
        self.call.head.length = Length::None; // nothing of it is left unread
        Ok(())
    }

    fn dispatch(&mut self, route: &'static Route) -> Handled {
        let port = self.port.clone();
        let handled = catch_unwind(AssertUnwindSafe(|| (route.handler)(&port, self)));
        handled.unwrap_or_else(|_| {
            log::error!("request {}: the handler of {} panicked", self.call.id, route.pattern);
            Err(Fault::new(500, "internal", "Internal error"))
        })
    }

    fn answer(&mut self, route: &str, handled: Handled, whole: bool) -> Next {
        let reply = handled.unwrap_or_else(|f| Reply::fault(&f, &self.call.id, self.call.shape()));
        let status = reply.status;
        let unread = !whole && !matches!(self.call.head.length, Length::None | Length::Fixed(0));
        let keep = self.call.head.keep && !unread && !self.port.draining();
        if self.chunked || reply.streamed {
            self.finish_stream();
        } else {
            let head_only = self.call.head.method == "HEAD";
            let file = reply.file.clone().filter(|_| !head_only);
            let bytes = self.dress(reply).print(head_only, !keep);
            self.broken |= self.put(&bytes).is_err();
            if let Some(piece) = file.filter(|_| !self.broken) {
                self.broken = self.put_file(&piece).is_err();
            }
        }
        self.log(route, status);
        match () {
            () if self.broken => Next::Close,
            () if unread => Next::Linger,
            () if keep => Next::Again,
            () => Next::Close,
        }
    }

    /// Headers that every answer gets.
    fn dress(&self, mut reply: Reply) -> Reply {
        reply.headers.push(("X-Request-Id", self.call.id.clone()));
        reply.headers.extend(guard::cors(&self.s, &self.call.head, self.call.access, reply.status));
        guard::secure(&mut reply);
        reply
    }

    fn finish_stream(&mut self) {
        if self.chunked && !self.broken {
            self.broken = self.put(b"0\r\n\r\n").is_err();
        }
        // without chunks the end of the connection is the end of the answer
        self.call.head.keep &= self.chunked;
        self.broken |= !self.chunked;
    }

    fn no_such_route(&self) {
        let head = &self.call.head;
        let message = format!("API endpoint not found: {} {}", head.method, head.path);
        self.port.observer.note(guard::wall(), Observation::new(Level::Warn, Area::Api, "not_found", message));
    }

    /// Sends a file as fast as the client takes it; each step has the time of a frame. A file that became shorter
    /// ends the connection: its length was promised.
    fn put_file(&mut self, piece: &Piece) -> io::Result<()> {
        let mut step = vec![0; FILE_STEP];
        let (mut at, end) = (piece.from, piece.from + piece.len);
        while at < end {
            let most = (end - at).min(FILE_STEP as u64) as usize;
            let n = piece.file.read_at(&mut step[..most], at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.put(&step[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent += bytes.len();
        wire::put(&self.wire.sock, bytes, self.s.times.stall, self.s.times.write)
    }

    fn log(&self, route: &str, status: u16) {
        let (call, took) = (&self.call, self.begun.elapsed());
        self.port.meter.request(route, &call.head.method, status, took.as_secs_f64());
        let level = if status >= 500 || took.as_secs() > 5 { log::Level::Info } else { log::Level::Debug };
        let (addr, method, path, ms) = (call.peer.addr, &call.head.method, &call.head.path, took.as_millis());
        log::log!(level, "http {} {addr} {method} {path} {status} {} B {ms} ms", call.id, self.sent);
    }
}

enum Admitted {
    Route(&'static Route),
    Options(Reply),
    Upgrade,
}

impl Exchange for Request<'_> {
    fn call(&self) -> &Call {
        &self.call
    }
    fn close(&mut self) {
        self.call.head.keep = false;
    }
    fn gone(&mut self) -> bool {
        self.broken |= self.wire.gone();
        self.broken
    }
    fn begin(&mut self, head: Reply) -> io::Result<()> {
        let http10 = self.call.head.http10;
        let bytes = self.dress(head).print_head(http10);
        self.chunked = !http10;
        self.put(&bytes).inspect_err(|_| self.broken = true)
    }
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut out = Vec::with_capacity(bytes.len() + 16);
        if self.chunked {
            out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        }
        out.extend_from_slice(bytes);
        if self.chunked {
            out.extend_from_slice(b"\r\n");
        }
        self.put(&out).inspect_err(|_| self.broken = true)
    }
}
