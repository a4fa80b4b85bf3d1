//! The sockets below ureq: names, guard, proxy, TCP and TLS in one connector, and a transport that knows its call.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::ClientConnection;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use super::proxy::{Kind, Proxy, Route};
use super::target::{self, Host, Target};
use super::{dial, guard, progress, Net};
use crate::config::types::SsrfGuard;

/// To the first connected socket.
const CONNECT: Duration = Duration::from_secs(10);
/// From there to the first byte of a request: proxy and TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What an agent and its connections share.
pub(super) struct Shared {
    pub net: Net,
    pub route: Route,
    pub guard: Option<SsrfGuard>,
    pub force_ipv4: bool,
    pub buffer: usize,
    pub stopped: AtomicBool,
    /// Idle connections of an older generation are not used again.
    pub generation: AtomicU64,
}

/// Opens the agent's connections.
pub(super) struct Dialer(pub Arc<Shared>);

impl Connector for Dialer {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, ureq::Error> {
        let target = target::of(details.uri).map_err(failed)?;
        let shared = &self.0;
        let proxy = shared.route.proxy(&target);
        // The addresses before the proxy is spoken to: the guard must have seen them.
        let addresses = self.addresses(&target, proxy).map_err(failed)?;
        let tcp = progress::within(CONNECT, || match proxy {
            None => self.dial(&target.host, target.port, addresses.as_deref()),
            Some(proxy) => self
                .look_up(&proxy.host)
                .and_then(|found| self.dial(&proxy.host, proxy.port, Some(&found)))
                .map_err(|why| format!("{proxy}: {why}")),
        });
        let tcp = Arc::new(tcp.map_err(failed)?);
        // From here on a shutdown ends every wait on the socket.
        let handle: Weak<dyn ShutdownHandle> = Arc::downgrade(&(tcp.clone() as Arc<dyn ShutdownHandle>));
        (details.register_shutdown)(handle)?;
        let generation = shared.generation.load(Ordering::SeqCst);
        let mut sock = Sock { tcp, written: 0 };
        let tls = progress::within(HANDSHAKE, || {
            if let Some(proxy) = proxy {
                let address = addresses.as_deref().and_then(|a| a.first().copied());
                proxy.open(&mut sock, &target, address).map_err(|e| format!("{proxy}: {e}"))?;
            }
            match target.tls {
                true => self.handshake(&mut sock, &target).map(Some),
                false => Ok(None),
            }
        });
        let tls = tls.map_err(failed)?;
        let buffers = LazyBuffers::new(shared.buffer, shared.buffer);
        Ok(Some(Wire { sock, tls, buffers, shared: shared.clone(), generation }))
    }
}

impl Dialer {
    /// Where the target is, if that has to be known here, checked.
    fn addresses(&self, target: &Target, proxy: Option<&Proxy>) -> Result<Option<Vec<IpAddr>>, String> {
        let remote = proxy.is_some_and(|p| p.kind != Kind::Socks5);
        let guard = self.0.guard.as_ref();
        if let Some(rules) = guard {
            guard::check_target(target, rules)?;
        }
        if remote && guard.is_none() {
            return Ok(None);
        }
        let found = self.look_up(&target.host)?;
        if let Some(rules) = guard {
            found.iter().try_for_each(|ip| guard::check_address(*ip, rules))?;
        }
        Ok(Some(found))
    }

    fn look_up(&self, host: &Host) -> Result<Vec<IpAddr>, String> {
        let mut found = match host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => self.0.net.resolver.resolve(name, &self.0.stopped)?,
        };
        if self.0.force_ipv4 {
            found.retain(IpAddr::is_ipv4);
        }
        match found.is_empty() {
            true => Err(format!("{host} has no IPv4 address (forceIpv4)")),
            false => Ok(found),
        }
    }

    fn dial(&self, host: &Host, port: u16, addresses: Option<&[IpAddr]>) -> Result<TcpStream, String> {
        let addresses: Vec<_> = addresses.unwrap_or_default().iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        dial::dial(&addresses, &self.0.stopped).map_err(|why| format!("cannot connect to {host}: {why}"))
    }

    fn handshake(&self, sock: &mut Sock, target: &Target) -> Result<Box<ClientConnection>, String> {
        let name = match &target.host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|e| e.to_string())?,
            Host::Ip(ip) => ServerName::from(*ip),
        };
        let why = |e: &dyn fmt::Display| format!("no TLS with {}: {e}", target.host);
        let mut tls = ClientConnection::new(self.0.net.tls.clone(), name).map_err(|e| why(&e))?;
        while tls.is_handshaking() {
            tls.complete_io(sock).map_err(|e| why(&e))?;
        }
        Ok(Box::new(tls))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

/// Names are looked up by the connector, which knows about proxies and the guard; ureq wants an address before.
#[derive(Debug)]
pub(super) struct NoResolver;

impl UreqResolver for NoResolver {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut none = self.empty();
        none.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(none)
    }
}

fn failed(why: String) -> ureq::Error {
    ureq::Error::Other(why.into())
}

/// A socket whose every wait ends with the call.
struct Sock {
    tcp: Arc<TcpStream>,
    /// Bytes the system took.
    written: u64,
}

fn time_is_over() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "time is over")
}

/// So short a time the system keeps well enough.
const BRIEF: Duration = Duration::from_millis(100);

/// Runs a step of a blocking socket until it is more than an interruption. Each time with what is left of the call, or a
/// little less: Linux ends a socket's wait up to an eighth of its time too late.
fn patiently(
    set: impl Fn(Duration) -> io::Result<()>,
    mut step: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        let left = progress::left().ok_or_else(time_is_over)?;
        set(if left > BRIEF { left / 8 * 7 } else { left })?;
        match step() {
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            other => return other,
        }
    }
}

impl Read for Sock {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        patiently(|t| self.tcp.set_read_timeout(Some(t)), || (&*self.tcp).read(buf))
    }
}

impl Write for Sock {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = patiently(|t| self.tcp.set_write_timeout(Some(t)), || (&*self.tcp).write(buf))?;
        self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection of an agent.
pub(super) struct Wire {
    sock: Sock,
    tls: Option<Box<ClientConnection>>,
    buffers: LazyBuffers,
    shared: Arc<Shared>,
    generation: u64,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let before = self.sock.written;
        let output = &self.buffers.output()[..amount];
        let done = match &mut self.tls {
            None => self.sock.write_all(output),
            Some(tls) => encrypt(tls, &mut self.sock, output),
        };
        if self.sock.written > before {
            progress::mark_sent();
        }
        done.map_err(|e| failed(format!("cannot write: {e}")))
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let room = self.buffers.input_append_buf();
        let got = match &mut self.tls {
            None => self.sock.read(room),
            Some(tls) => decrypt(tls, &mut self.sock, room),
        };
        // Not as an io error: ureq takes a reset for the end of a body without a length.
        let got = got.map_err(|e| failed(format!("cannot read: {e}")))?;
        self.buffers.input_appended(got);
        Ok(got > 0)
    }

    /// Before it is used again. Anything to read is a reason against: it would answer what was not asked.
    fn is_open(&mut self) -> bool {
        if self.generation != self.shared.generation.load(Ordering::SeqCst) {
            return false;
        }
        let tcp = &*self.sock.tcp;
        if tcp.set_nonblocking(true).is_err() {
            return false;
        }
        let silent = match &mut self.tls {
            None => is_silent(tcp.peek(&mut [0])),
            Some(tls) => is_tls_silent(tls, tcp),
        };
        tcp.set_nonblocking(false).is_ok() && silent
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

fn is_silent(read: io::Result<usize>) -> bool {
    read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

/// Session tickets and key updates may wait there: they are taken. An end or data may not.
fn is_tls_silent(tls: &mut ClientConnection, mut tcp: &TcpStream) -> bool {
    loop {
        match tls.read_tls(&mut tcp) {
            Ok(n) if n > 0 => match tls.process_new_packets() {
                Ok(state) if !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {}
                _ => return false,
            },
            end => return is_silent(end),
        }
    }
}

fn encrypt(tls: &mut ClientConnection, sock: &mut Sock, output: &[u8]) -> io::Result<()> {
    tls.writer().write_all(output)?;
    while tls.wants_write() {
        tls.write_tls(sock)?;
    }
    Ok(())
}

fn decrypt(tls: &mut ClientConnection, sock: &mut Sock, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(room) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // An end without the peer's goodbye is an error here.
            other => return other,
        }
        while tls.wants_write() {
            tls.write_tls(sock)?;
        }
        tls.read_tls(sock)?;
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}
