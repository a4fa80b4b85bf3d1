//! An HTTP client for one purpose: its own connections, its own end.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{header, HeaderMap, Method, Response, Uri};
use ureq::{Body as Received, SendBody};

use super::form::Reader;
use super::request::{per_byte, Answer, Body, Request};
use super::target::{self, Target};
use super::wire::{Dialer, NoResolver, Shared};
use super::{guard, progress, Error, Net, Route};
use crate::config::types::SsrfGuard;

/// Idle connections to one host. A further one closes the oldest.
const IDLE: usize = 2;
/// How long an idle connection is used again: servers close theirs after a minute or more.
const IDLE_AGE: Duration = Duration::from_secs(50);
/// Of an answer's head.
const HEAD: usize = 8 << 10;
/// How much of an answer is kept that was to go into a file but is a refusal.
const REFUSAL: u64 = 16 << 10;

/// What an agent is for; sets its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One long poll.
    Poll,
    /// Short calls.
    Send,
    /// Uploads and downloads.
    Files,
}

/// An agent in the making.
pub struct Builder {
    net: Net,
    purpose: Purpose,
    route: Route,
    guard: Option<SsrfGuard>,
    force_ipv4: bool,
}

impl Builder {
    pub(super) fn new(net: Net, purpose: Purpose) -> Builder {
        Builder { net, purpose, route: Route::direct(), guard: None, force_ipv4: false }
    }

    /// Through which proxies, if any; else directly.
    pub fn route(mut self, route: Route) -> Builder {
        self.route = route;
        self
    }

    pub fn force_ipv4(mut self, force: bool) -> Builder {
        self.force_ipv4 = force;
        self
    }

    /// Only to places that the rules allow; [`Agent::fetch`] follows redirects, each checked.
    pub fn guarded(mut self, rules: SsrfGuard) -> Builder {
        self.guard = Some(rules);
        self
    }

    pub fn build(self) -> Agent {
        let buffer = if self.purpose == Purpose::Files { 16 << 10 } else { 8 << 10 };
        let config = Config::builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD)
            .input_buffer_size(buffer)
            .output_buffer_size(buffer)
            .max_idle_connections(2 * IDLE)
            .max_idle_connections_per_host(IDLE)
            .max_idle_age(IDLE_AGE)
            .user_agent(concat!("pi-gateway/", env!("CARGO_PKG_VERSION")))
            .build();
        let shared = Arc::new(Shared {
            net: self.net,
            route: self.route,
            guard: self.guard,
            force_ipv4: self.force_ipv4,
            buffer,
            stopped: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        });
        Agent { http: ureq::Agent::with_parts(config, Dialer(shared.clone()), NoResolver), shared }
    }
}

/// A client. Clones share connections and end together. Calls block the thread that makes them.
#[derive(Clone)]
pub struct Agent {
    http: ureq::Agent,
    shared: Arc<Shared>,
}

impl Agent {
    /// One request, one answer. Never repeated, no redirect followed.
    pub fn call(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let _running = progress::begin(Instant::now() + request.within);
        let (uri, target) = self.read_url(request.url)?;
        let mut response = self.run(request, &uri, &target, true)?;
        let mut body = Vec::new();
        let received = self.read(&mut response, request.limit, &target, |bytes, _| {
            body.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(answer(response, body, received))
    }

    /// Writes the body of a good answer (2xx) into `sink`; of another one the answer holds the first 16 KiB. With a
    /// guard, redirects are followed as far as the rules say, never from https to http.
    pub fn fetch(&self, request: &Request<'_>, sink: &mut dyn Write) -> Result<Answer, Error> {
        let start = Instant::now();
        let _running = progress::begin(start + request.within);
        let (mut uri, mut target) = self.read_url(request.url)?;
        let (mut hops, mut own_headers) = (0, true);
        loop {
            let mut response = self.run(request, &uri, &target, own_headers)?;
            if let Some(location) = self.redirect(request, &response, &uri) {
                hops += 1;
                let rules = self.shared.guard.as_ref();
                if hops > rules.map_or(0, |r| r.max_redirects) {
                    return Err(Error::not_sent(format!("{target}: too many redirects")));
                }
                let (to, next) = self.read_url(&location)?;
                if target.tls && !next.tls {
                    return Err(Error::not_sent(format!("{target}: a redirect from https to http is not followed")));
                }
                own_headers &= next == target;
                progress::begin_hop();
                (uri, target) = (to, next);
                continue;
            }
            let mut body = Vec::new();
            let received = if response.status().is_success() {
                self.read(&mut response, request.limit, &target, |bytes, received| {
                    if request.grows {
                        progress::set_deadline(start + request.within + per_byte(received));
                    }
                    sink.write_all(bytes).map_err(|e| Error::Unknown { why: format!("cannot keep the file: {e}") })
                })?
            } else {
                let reader = response.body_mut().as_reader();
                let read = reader.take(REFUSAL).read_to_end(&mut body);
                read.map_err(|e| self.failed(&target, &e))? as u64
            };
            return Ok(answer(response, body, received));
        }
    }

    /// Ends every call at once and for good, this agent's and its clones'; later ones fail with [`Error::Stopped`].
    pub fn shutdown(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.http.clone().shutdown();
    }

    /// Idle connections are not used again. For after a network error: they may hang as well.
    pub fn drop_idle(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn read_url(&self, url: &str) -> Result<(Uri, Target), Error> {
        let (uri, target) = target::parse(url).map_err(Error::not_sent)?;
        if let Some(rules) = &self.shared.guard {
            // Again for every connection: but one that is open may be used without.
            guard::check_target(&target, rules).map_err(Error::not_sent)?;
        }
        Ok((uri, target))
    }

    fn redirect(&self, request: &Request<'_>, response: &Response<Received>, from: &Uri) -> Option<String> {
        self.shared.guard.as_ref()?;
        if request.method != Method::GET || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        target::join(from, response.headers().get(header::LOCATION)?.to_str().ok()?)
    }

    /// Sends, and reads the head of the answer.
    fn run(&self, ask: &Request<'_>, uri: &Uri, to: &Target, own_headers: bool) -> Result<Response<Received>, Error> {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return Err(Error::Stopped { sent: false });
        }
        let mut head = ureq::http::Request::builder().method(ask.method.clone()).uri(uri.clone());
        for (name, value) in ask.headers.iter().filter(|_| own_headers) {
            head = head.header(*name, value);
        }
        let mut body = match &ask.body {
            // Of these a body is expected, if only an empty one.
            Body::None if matches!(ask.method, Method::POST | Method::PUT | Method::PATCH) => Some(Reader::bytes(b"")),
            Body::None => None,
            Body::Bytes(kind, bytes) => {
                head = head.header(header::CONTENT_TYPE, *kind);
                Some(Reader::bytes(bytes))
            }
            Body::Form(form) => {
                let (kind, reader) = form.open().map_err(Error::not_sent)?;
                head = head.header(header::CONTENT_TYPE, kind);
                Some(reader)
            }
        };
        if let Some(body) = &body {
            head = head.header(header::CONTENT_LENGTH, body.left());
            progress::set_incomplete(body.left() > 0);
        }
        let response = match &mut body {
            Some(body) => head.body(SendBody::from_reader(body)).map(|request| self.http.run(request)),
            None => head.body(()).map(|request| self.http.run(request)),
        };
        response.map_err(|e| Error::not_sent(format!("{to}: {e}")))?.map_err(|e| self.failed(to, &e))
    }

    /// Hands the body to `keep` piece by piece, with the number of bytes so far.
    fn read(
        &self,
        response: &mut Response<Received>,
        limit: u64,
        from: &Target,
        mut keep: impl FnMut(&[u8], u64) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        if content_length(response.headers()).is_some_and(|length| length > limit) {
            return Err(Error::TooLarge { limit });
        }
        let ends_with_connection = !response.headers().contains_key(header::CONTENT_LENGTH)
            && !response.headers().contains_key(header::TRANSFER_ENCODING);
        let mut reader = response.body_mut().as_reader();
        let mut piece = [0; 4 << 10];
        let mut received = 0;
        loop {
            let n = reader.read(&mut piece).map_err(|e| self.failed(from, &e))?;
            if n == 0 {
                break;
            }
            received += n as u64;
            if received > limit {
                return Err(Error::TooLarge { limit });
            }
            keep(&piece[..n], received)?;
        }
        // A shutdown looks like the other side's end.
        if ends_with_connection && self.shared.stopped.load(Ordering::SeqCst) {
            return Err(Error::Stopped { sent: true });
        }
        Ok(received)
    }

    fn failed(&self, to: &Target, e: &dyn std::fmt::Display) -> Error {
        let arrived = progress::may_have_arrived();
        if self.shared.stopped.load(Ordering::SeqCst) {
            return Error::Stopped { sent: arrived };
        }
        // "other: " is how ureq introduces what it has from our connector.
        let e = e.to_string();
        let why = super::redact(&format!("{to}: {}", e.strip_prefix("other: ").unwrap_or(&e)));
        match arrived {
            true => Error::Unknown { why },
            false => Error::NotSent { why },
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn answer(response: Response<Received>, body: Vec<u8>, received: u64) -> Answer {
    let (head, _) = response.into_parts();
    Answer { status: head.status.as_u16(), headers: head.headers, body, received }
}
