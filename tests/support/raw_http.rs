//! HTTP and WebSocket by hand: what a well-behaved client library would never send, too.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The end of a wait for one thing out of many that come: others must not keep it going for ever.
pub struct Patience(Instant);

impl Patience {
    pub fn new() -> Patience {
        Patience(Instant::now() + 3 * PATIENCE) // what comes all the time may be an answer that is long
    }
    pub fn check(&self, what: &str, so_far: &dyn std::fmt::Debug) {
        assert!(Instant::now() < self.0, "not in time: {what}; so far: {so_far:?}");
    }
}

pub struct Client {
    pub sock: TcpStream,
    buf: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    /// Status and error code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Client {
    pub fn new(addr: SocketAddr) -> Client {
        let sock = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
        sock.set_read_timeout(Some(PATIENCE)).unwrap();
        sock.set_write_timeout(Some(PATIENCE)).unwrap();
        sock.set_nodelay(true).unwrap();
        Client { sock, buf: Vec::new() }
    }
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.sock.write_all(bytes.as_ref()).unwrap();
        self
    }
    /// Sends what the other side may refuse to take.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.sock.write_all(bytes).is_ok()
    }
    pub fn request(&mut self, method: &str, path: &str, fields: &str, body: &str) -> &mut Client {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n{body}"))
    }
    fn fill(&mut self) -> bool {
        let mut step = [0; 16384];
        match self.sock.read(&mut step) {
            Ok(0) => false,
            Ok(n) => {
                self.buf.extend_from_slice(&step[..n]);
                true
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(e) => panic!("{e}; so far: {:?}", String::from_utf8_lossy(&self.buf)),
        }
    }
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buf.len() < n {
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.buf));
        }
        self.buf.drain(..n).collect()
    }
    pub fn until(&mut self, end: &str) -> String {
        let patience = Patience::new();
        loop {
            patience.check(end, &String::from_utf8_lossy(&self.buf));
            if let Some(at) = self.buf.windows(end.len()).position(|w| w == end.as_bytes()) {
                return String::from_utf8(self.take(at + end.len())).unwrap();
            }
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.buf));
        }
    }
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }
    pub fn response_to(&mut self, method: &str) -> Response {
        let head = self.until("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut r = Response { status, head, body: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return r;
        }
        if r.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                r.body.extend(chunk);
            }
        } else if let Some(n) = r.header("content-length") {
            r.body = self.take(n.parse().unwrap());
        } else {
            while self.fill() {}
            r.body = std::mem::take(&mut self.buf);
        }
        r
    }
    /// One chunk of a chunked answer; `None`: the last.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.until("\r\n").trim(), 16).unwrap();
        let chunk = self.take(size);
        assert_eq!(self.take(2), b"\r\n");
        (size > 0).then_some(chunk)
    }
    /// The rest of a chunked answer.
    pub fn response_after_head(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk() {
            all.extend(chunk);
        }
        String::from_utf8(all).unwrap()
    }
    /// The other side closed, with nothing more to say.
    pub fn closed(&mut self) -> bool {
        !self.fill() && self.buf.is_empty()
    }
    pub fn half_close(&mut self) {
        self.sock.shutdown(Shutdown::Write).unwrap();
    }
}

/// One request on a connection of its own.
pub fn ask(addr: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let mut c = Client::new(addr);
    c.request(method, path, fields, body);
    c.response_to(method)
}

pub struct Ws {
    pub c: Client,
    next: u64,
    /// Events that came while something else was waited for.
    pub passed: Vec<Value>,
}

#[derive(Debug, PartialEq)]
pub enum Got {
    Text(Value),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    Eof,
}

pub const KEY: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Ws {
    pub fn open(addr: SocketAddr, path: &str, fields: &str) -> Result<Ws, Response> {
        let mut c = Client::new(addr);
        c.request("GET", path, &format!("{KEY}{fields}"), "");
        let r = c.response();
        if r.status != 101 {
            return Err(r);
        }
        assert_eq!(r.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Ok(Ws { c, next: 0, passed: Vec::new() })
    }
    pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut f = vec![0x80 | opcode];
        match payload.len() {
            n @ 0..=125 => f.push(0x80 | n as u8),
            n @ 126..=65535 => {
                f.push(0x80 | 126);
                f.extend((n as u16).to_be_bytes());
            }
            n => {
                f.push(0x80 | 127);
                f.extend((n as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        f.extend(mask);
        f.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        f
    }
    pub fn text(&mut self, text: &str) {
        self.c.send(Ws::frame(1, text.as_bytes()));
    }
    pub fn got(&mut self) -> Got {
        while self.c.buf.len() < 2 {
            if !self.c.fill() {
                return Got::Eof;
            }
        }
        let start = self.c.take(2);
        assert_eq!(start[1] & 0x80, 0, "servers do not mask");
        let n = match start[1] {
            126 => u16::from_be_bytes(self.c.take(2).try_into().unwrap()) as usize,
            127 => u64::from_be_bytes(self.c.take(8).try_into().unwrap()) as usize,
            n => n as usize,
        };
        let body = self.c.take(n);
        match start[0] {
            0x81 => Got::Text(serde_json::from_slice(&body).unwrap()),
            0x89 => Got::Ping,
            0x8a => Got::Pong(body),
            0x88 => {
                let code = u16::from_be_bytes(body[..2].try_into().unwrap());
                Got::Close(code, String::from_utf8_lossy(&body[2..]).into_owned())
            }
            other => panic!("frame {other:x}"),
        }
    }
    /// The next JSON frame.
    pub fn json(&mut self) -> Value {
        loop {
            match self.got() {
                Got::Text(v) => return v,
                Got::Ping => {}
                other => panic!("{other:?} instead of a frame; passed: {:?}", self.passed),
            }
        }
    }
    pub fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let frame = serde_json::json!({"type": "req", "id": self.next, "method": method, "params": params});
        self.text(&frame.to_string());
        self.next
    }
    /// The answer to a request; events on the way are kept, and so are answers to others, which may come in any order.
    pub fn res(&mut self, id: u64) -> Value {
        let is_it = |v: &Value| v["type"] == "res" && v["id"] == id;
        if let Some(at) = self.passed.iter().position(is_it) {
            return self.passed.remove(at);
        }
        let patience = Patience::new();
        loop {
            patience.check("an answer", &self.passed);
            let v = self.json();
            if is_it(&v) {
                return v;
            }
            self.passed.push(v);
        }
    }
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.res(id)
    }
    /// The next event of that name; others on the way are kept.
    pub fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.passed.iter().position(|v| v["event"] == name) {
            return self.passed.remove(at);
        }
        let patience = Patience::new();
        loop {
            patience.check(name, &self.passed);
            let v = self.json();
            if v["event"] == name {
                return v;
            }
            self.passed.push(v);
        }
    }
    /// The code it is closed with.
    pub fn close_code(&mut self) -> u16 {
        let patience = Patience::new();
        loop {
            patience.check("a close", &self.passed);
            match self.got() {
                Got::Close(code, _) => return code,
                Got::Eof => return 0,
                Got::Text(v) => self.passed.push(v),
                _ => {}
            }
        }
    }
}
