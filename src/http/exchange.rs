//! One request and its answer, as handlers see them: without a socket, so that tests can drive them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor};
use std::sync::Arc;

use serde_json::Value;

use super::fault::{Fault, Shape};
use super::guard::{Access, Peer};
use super::head::Head;

/// A complete request.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub head: Head,
    /// The `{}` parts of the route's pattern, decoded.
    pub args: Vec<String>,
    pub body: Vec<u8>,
    pub access: Access,
    pub peer: Peer,
}

impl Call {
    /// How this client is told of errors (R52).
    pub fn shape(&self) -> Shape {
        match self.head.field("accept") {
            _ if self.head.path.starts_with("/v1/") => Shape::OpenAi,
            Some(a) if a.contains("application/vnd.pigw.v2+json") => Shape::Object,
            _ => Shape::Plain,
        }
    }
}

/// What a handler may do while it works.
pub trait Exchange {
    fn call(&self) -> &Call;
    /// The client left. Asked about once a second by handlers that wait.
    fn gone(&mut self) -> bool;
    /// Begins an answer of unknown length; the handler then returns [`Reply::streamed`].
    fn begin(&mut self, head: Reply) -> io::Result<()>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// No further request is served on this connection.
    fn close(&mut self);
}

pub type Handled = Result<Reply, Fault>;

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Cow<'static, [u8]>,
    /// The answer went out by [`Exchange::begin`] already.
    pub streamed: bool,
    /// Sent instead of `body`.
    pub file: Option<Piece>,
}

/// A part of an open file: it is read while it is sent, so that its size costs no memory.
#[derive(Clone, Debug)]
pub struct Piece {
    pub file: Arc<File>,
    pub from: u64,
    pub len: u64,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Cow::Borrowed(b""), streamed: false, file: None }
    }
    pub fn json(value: &Value) -> Reply {
        Reply::new(200).with("Content-Type", "application/json;charset=utf-8").body(value.to_string().into_bytes())
    }
    pub fn streamed() -> Reply {
        Reply { streamed: true, ..Reply::new(200) }
    }
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
    pub fn body(mut self, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        self.body = body.into();
        self
    }
    pub fn file(mut self, piece: Piece) -> Reply {
        self.file = Some(piece);
        self
    }
    pub fn status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }
    pub fn fault(fault: &Fault, request: &str, shape: Shape) -> Reply {
        let mut reply = Reply::json(&fault.json(request, shape)).status(fault.status);
        if let Some(s) = fault.retry {
            reply = reply.with("Retry-After", s.to_string());
        }
        if let Some(allow) = &fault.allow {
            reply = reply.with("Allow", allow.clone());
        }
        if shape == Shape::OpenAi && matches!(fault.status, 409 | 502 | 504) {
            // OpenAI's clients would ask again by themselves, and the agent would do its work twice.
            reply = reply.with("X-Should-Retry", "false");
        }
        if fault.status == 401 {
            reply = reply.with("WWW-Authenticate", "Bearer realm=\"pi-gw\"");
        }
        reply
    }
    /// A refusal whose body has one more member.
    pub fn fault_with(fault: &Fault, call: &Call, name: &str, value: Value) -> Reply {
        let mut body = fault.json(&call.id, call.shape());
        body[name] = value;
        Reply::fault(fault, &call.id, call.shape()).body(body.to_string().into_bytes())
    }
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// The bytes of the whole answer; of one with a file only the head.
    pub fn print(self, head_only: bool, close: bool) -> Vec<u8> {
        let head_only = head_only || self.file.is_some();
        let headers = self.headers.iter().map(|(n, v)| (*n, v.as_str())).chain([("Server", "pi-gw")]);
        let headers = headers.filter_map(|(n, v)| tiny_http::Header::from_bytes(n, v).ok()).collect();
        let length = self.file.map_or(self.body.len(), |piece| piece.len as usize);
        let body = Cursor::new(self.body);
        let response = tiny_http::Response::new(self.status.into(), headers, body, Some(length), None);
        let mut out = Vec::with_capacity(512 + if head_only { 0 } else { length });
        response
            .with_chunked_threshold(usize::MAX)
            .raw_print(&mut out, tiny_http::HTTPVersion(1, 1), &[], head_only, None)
            .expect("writing into memory cannot fail");
        if close {
            // tiny_http drops a Connection header it is given
            insert(&mut out, b"Connection: close\r\n");
        }
        out
    }

    /// The head of a stream: chunked, or until the end of the connection for HTTP/1.0.
    pub fn print_head(self, http10: bool) -> Vec<u8> {
        let mut out = self.print(true, http10);
        let length = b"Content-Length: 0\r\n";
        if let Some(at) = out.windows(length.len()).position(|w| w == length) {
            out.drain(at..at + length.len());
        }
        if !http10 {
            insert(&mut out, b"Transfer-Encoding: chunked\r\n");
        }
        out
    }
}

/// Puts a header line behind the status line.
fn insert(out: &mut Vec<u8>, line: &[u8]) {
    let at = out.windows(2).position(|w| w == b"\r\n").map_or(0, |at| at + 2);
    out.splice(at..at, line.iter().copied());
}
