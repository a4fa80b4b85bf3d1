//! A server of raw sockets whose every connection follows a script, and agents for its tests.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pi_gateway::config::types::{EnvProxy, Network, SsrfGuard};
use pi_gateway::net::{Agent, Answer, Error, Net, Purpose, Request, Resolver};

pub const PATIENCE: Duration = Duration::from_secs(20);
/// The deadline of calls that are bound to run into it.
pub const SHORT: Duration = Duration::from_millis(400);
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One connection, from the server's side.
pub struct Peer {
    pub sock: TcpStream,
    buf: Vec<u8>,
}

impl Peer {
    pub fn new(sock: TcpStream) -> Peer {
        sock.set_read_timeout(Some(PATIENCE)).unwrap();
        sock.set_write_timeout(Some(PATIENCE)).unwrap();
        sock.set_nodelay(true).unwrap();
        Peer { sock, buf: Vec::new() }
    }
    fn fill(&mut self) -> bool {
        let mut step = [0; 16384];
        let n = self.sock.read(&mut step).unwrap_or_default();
        self.buf.extend_from_slice(&step[..n]);
        n > 0
    }
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buf.len() < n {
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.buf));
        }
        self.buf.drain(..n).collect()
    }
    pub fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                return String::from_utf8(self.take(at + 4)).unwrap();
            }
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.buf));
        }
    }
    /// A whole request: its head and its body.
    pub fn request(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        let body = self.take(length(&head));
        (head, body)
    }
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Peer {
        self.sock.write_all(bytes.as_ref()).unwrap();
        self
    }
    /// Waits until the other side has closed.
    pub fn await_end(mut self) {
        while self.fill() {}
    }
    pub fn half_close(&mut self) -> &mut Peer {
        self.sock.shutdown(Shutdown::Write).unwrap();
        self
    }
    /// Ends the connection with a reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.sock, Some(Duration::ZERO)).unwrap();
    }
    /// Sends bytes one after the other until the other side has had enough.
    pub fn trickle(mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            if self.sock.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5)); // the pace is what is tested
        }
    }
}

/// Copies both ways until both have ended.
pub fn carry(a: TcpStream, b: TcpStream) {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    std::thread::scope(|s| {
        s.spawn(|| copy(&a, &b));
        copy(&b, &a);
    });
}

pub fn length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|l| l.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.map_or(0, |(_, n)| n.trim().parse().unwrap())
}

/// Ends with its value, and fails the test if a script panicked.
pub struct Server {
    pub addr: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Every connection gets its number, from 0, and a thread for `script`.
pub fn serve(script: impl Fn(usize, Peer) + Send + Sync + 'static) -> Server {
    serve_at("127.0.0.1:0".parse().unwrap(), script)
}

pub fn serve_at(addr: SocketAddr, script: impl Fn(usize, Peer) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind(addr).unwrap();
    let addr = listener.local_addr().unwrap();
    let (connections, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, end) = (connections.clone(), over.clone());
    let script = Arc::new(script);
    let thread = std::thread::spawn(move || {
        let mut running = Vec::new();
        for sock in listener.incoming() {
            if end.load(Ordering::SeqCst) {
                break;
            }
            let (n, script) = (count.fetch_add(1, Ordering::SeqCst), script.clone());
            running.push(std::thread::spawn(move || script(n, Peer::new(sock.unwrap()))));
        }
        drop(listener);
        for thread in running {
            thread.join().expect("a script of the server panicked");
        }
    });
    Server { addr, connections, over, thread: Some(thread) }
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
    /// Of a script that ends by itself.
    pub fn join(mut self) {
        self.finish().expect("a script of the server panicked");
    }
    fn finish(&mut self) -> std::thread::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        thread.join()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let end = self.finish();
        if !std::thread::panicking() {
            end.expect("a script of the server panicked");
        }
    }
}

/// A place that never answers a connection: a listener whose queue is full.
pub struct BlackHole {
    pub addr: SocketAddr,
    _held: (TcpListener, Vec<TcpStream>),
}

pub fn black_hole(addr: SocketAddr) -> BlackHole {
    let listener = TcpListener::bind(addr).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(sock) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        held.push(sock);
        assert!(held.len() < 10, "this system takes every connection");
    }
    BlackHole { addr, _held: (listener, held) }
}

pub fn network() -> Network {
    Network { ca_file: None, proxy: None, no_proxy: Vec::new(), env_proxy: EnvProxy::default() }
}

/// A network that trusts the tests' authority.
pub fn trusting() -> Network {
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/ca.pem");
    Network { ca_file: Some(ca.into()), ..network() }
}

pub type Asked = Arc<Mutex<Vec<String>>>;

/// A resolver that knows these names, and what it was asked.
pub fn names(known: &[(&str, &[&str])]) -> (Arc<Resolver>, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let known: HashMap<String, Vec<IpAddr>> = known
        .iter()
        .map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
        .collect();
    let lookup = move |name: &str| {
        log.lock().unwrap().push(name.to_owned());
        known.get(name).cloned().ok_or_else(|| io::Error::other("no such name"))
    };
    (Arc::new(Resolver::with(Box::new(lookup))), asked)
}

pub fn net(known: &[(&str, &[&str])]) -> Net {
    Net::with(&trusting(), names(known).0).unwrap()
}

pub fn agent() -> Agent {
    net(&[]).agent(Purpose::Send).build()
}

pub fn post(agent: &Agent, url: &str) -> Result<Answer, Error> {
    agent.call(&Request::post_json(url, b"{\"text\":\"hello\"}").within(PATIENCE))
}

pub fn post_within(agent: &Agent, url: &str, time: Duration) -> Result<Answer, Error> {
    agent.call(&Request::post_json(url, b"{\"text\":\"hello\"}").within(time))
}

#[track_caller]
pub fn not_sent(result: Result<Answer, Error>) -> String {
    match result {
        Err(Error::NotSent { why }) => why,
        other => panic!("expected NotSent, got {other:?}"),
    }
}

#[track_caller]
pub fn unknown(result: Result<Answer, Error>) -> String {
    match result {
        Err(Error::Unknown { why }) => why,
        other => panic!("expected Unknown, got {other:?}"),
    }
}

pub fn rules() -> SsrfGuard {
    SsrfGuard {
        allow_private: false,
        allow_localhost: false,
        allowed_hosts: Vec::new(),
        blocked_hosts: Vec::new(),
        max_redirects: 3,
    }
}
