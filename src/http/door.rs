//! Listeners, the table of connections, and how the port opens, drains and closes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::message::{Frame, Observation};
use crate::spool::Note;

use super::exchange::Reply;
use super::fault::{Fault, Shape};
use super::pi_tokens::PiTokens;
use super::port::{Entry, Parts, Port};
use super::settings::{Limits, Settings};
use super::{guard, serve, ws};

/// Every thread of the port (footprint.md 2.3).
pub(crate) const STACK: usize = 256 << 10;
/// After a failed `accept` (no descriptors left, mostly).
const BREATH: Duration = Duration::from_millis(50);
/// Connections get this long to end by themselves when the port closes, and again after they were cut.
const FAREWELL: Duration = Duration::from_secs(2);

/// The open port. Its methods may be called from any thread and do not block on a client.
pub struct Door {
    port: Arc<Port>,
    table: Arc<Table>,
    addresses: Vec<SocketAddr>,
    acceptors: Mutex<Vec<JoinHandle<()>>>,
}

impl Door {
    /// The public door: binds all addresses and serves at once.
    pub fn open(settings: Settings, parts: Parts) -> Result<Door, String> {
        settings.check()?;
        Door::bind(&settings.clone(), Port::new(settings, parts))
    }

    /// The agent door of the same gateway: an acceptor, a table of connections and permits of its own, for the
    /// holders of these tokens only. `settings.auth` plays no part there.
    pub fn beside(&self, settings: Settings, tokens: Arc<PiTokens>) -> Result<Door, String> {
        Door::bind(&settings.clone(), self.port.beside(settings, tokens))
    }

    fn bind(settings: &Settings, port: Port) -> Result<Door, String> {
        let mut listeners = Vec::new();
        for addr in &settings.listen {
            let listener = match TcpListener::bind(addr) {
                Ok(listener) => listener,
                // `localhost` in a second form, which not every machine has.
                Err(e) if !listeners.is_empty() && addr.ip() == Ipv6Addr::LOCALHOST => {
                    log::debug!("not listening on {addr}: {e}");
                    continue;
                }
                Err(e) => return Err(format!("cannot listen on {addr}: {e}")),
            };
            listeners.push((listener.local_addr().map_err(|e| format!("listening on {addr}: {e}"))?, listener));
        }
        let table = Arc::new(Table::new(&settings.limits));
        let addresses = listeners.iter().map(|(a, _)| *a).collect();
        let door = Door { port: Arc::new(port), table, addresses, acceptors: Mutex::default() };
        let name = door.port.entry.name();
        for (addr, listener) in listeners {
            let (port, table) = (door.port.clone(), door.table.clone());
            let run = move || accept(&listener, &port, &table);
            let thread = std::thread::Builder::new().name(format!("{name}-accept")).stack_size(STACK).spawn(run);
            let thread = thread.map_err(|e| format!("no thread for {addr}: {e}"))?;
            door.acceptors.lock().unwrap_or_else(|e| e.into_inner()).push(thread);
        }
        Ok(door)
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Tells every page. Encodes once, queues, never waits for a client.
    pub fn publish(&self, frame: &Frame) {
        self.port.publish(frame);
    }

    /// Keeps what happened for whoever asks for `/api/observability/events`.
    pub fn observe(&self, seen: Observation) {
        self.port.observer.note(guard::wall(), seen);
    }

    /// Sends what was left on the disk under that name; it is in the store then. `Err`: why not, and whether it may
    /// be tried again.
    pub fn take_in(&self, id: &str, note: &Note) -> Result<(), (String, bool)> {
        super::send::left(&self.port, id, note)
    }

    /// New settings. Addresses and connection limits stay as they were, but for the agent door's limit, which
    /// follows the number of pi processes; a changed secret closes the WebSockets that the old one opened.
    pub fn apply(&self, settings: Settings) {
        if let Entry::Agent(_) = self.port.entry {
            self.table.most.store(settings.limits.connections, Ordering::Relaxed);
        }
        let auth = settings.auth.clone();
        let old = self.port.settings.set(settings);
        if old.auth != auth {
            self.port.hub.secret_changed();
        }
    }

    /// Stops listening; new requests on open connections get 503, running ones go on, pages are told.
    pub fn drain(&self, reason: &str, back_in: Option<Duration>) {
        if self.port.draining.swap(true, Ordering::SeqCst) {
            return;
        }
        self.port.hub.shutdown(reason, back_in);
        self.stop_accepting();
    }

    /// Closes all connections; WebSockets with 1012 (`restart`) or 1001. Takes at most about four seconds.
    pub fn close(&self, restart: bool) {
        self.port.draining.store(true, Ordering::SeqCst);
        self.stop_accepting();
        let (code, why) = if restart { (1012, "restart") } else { (1001, "going away") };
        self.port.hub.close_all(code, why);
        self.table.cut(|c| !c.websocket);
        if !self.table.wait_empty(FAREWELL) {
            self.table.cut(|_| true);
            if !self.table.wait_empty(FAREWELL) {
                log::warn!("{} connections did not end", self.table.lock().len());
            }
        }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.table.lock().len()
    }

    fn stop_accepting(&self) {
        self.table.closed.store(true, Ordering::SeqCst);
        let threads = std::mem::take(&mut *self.acceptors.lock().unwrap_or_else(|e| e.into_inner()));
        for (thread, addr) in threads.into_iter().zip(&self.addresses) {
            let mut to = *addr;
            match to.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => to.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            let _ = TcpStream::connect_timeout(&to, Duration::from_secs(1)); // only to wake it
            if thread.join().is_err() {
                log::error!("{}-accept panicked", self.port.entry.name());
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close(false);
    }
}

struct Connection {
    sock: Arc<TcpStream>,
    ip: IpAddr,
    websocket: bool,
}

/// Who is connected; the owner of every connection thread.
struct Table {
    open: Mutex<HashMap<u64, Connection>>,
    empty: Condvar,
    next: AtomicU64,
    closed: AtomicBool,
    most: AtomicUsize,
    per_address: usize,
}

impl Table {
    fn new(limits: &Limits) -> Table {
        Table {
            open: Mutex::default(),
            empty: Condvar::new(),
            next: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            most: limits.connections.into(),
            per_address: limits.per_address,
        }
    }
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// A place for a connection; `None`: too many, in all or from there.
    fn enter(self: &Arc<Table>, sock: &Arc<TcpStream>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let mut open = self.lock();
        let here = || open.values().filter(|c| c.ip == ip).count();
        if open.len() >= self.most.load(Ordering::Relaxed) || !ip.is_loopback() && here() >= self.per_address {
            return None;
        }
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(n, Connection { sock: sock.clone(), ip, websocket: false });
        Some(Place { table: self.clone(), n })
    }
    fn cut(&self, which: impl Fn(&Connection) -> bool) {
        for c in self.lock().values().filter(|c| which(c)) {
            let _ = c.sock.shutdown(Shutdown::Both); // it may be closed already
        }
    }
    fn wait_empty(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut open = self.lock();
        while !open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            open = self.empty.wait_timeout(open, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }
}

/// A connection's entry in the table; gone when dropped.
pub(crate) struct Place {
    table: Arc<Table>,
    n: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.table.lock();
        open.remove(&self.n);
        if open.is_empty() {
            self.table.empty.notify_all();
        }
    }
}

fn accept(listener: &TcpListener, port: &Arc<Port>, table: &Arc<Table>) {
    let full = {
        let mut reply = Reply::fault(&Fault::busy("Too many connections"), "-", Shape::Plain);
        guard::secure(&mut reply);
        reply.print(false, true)
    };
    let mut failing = false;
    while !table.closed.load(Ordering::SeqCst) {
        let accepted = listener.accept();
        if let (Err(e), false) = (&accepted, failing) {
            log::warn!("no connection can be accepted now: {e}"); // once, not twenty times a second
        }
        failing = accepted.is_err();
        match accepted {
            Ok(_) if table.closed.load(Ordering::SeqCst) => return,
            Ok((sock, addr)) => {
                let sock = Arc::new(sock);
                match table.enter(&sock, addr.ip()) {
                    Some(place) => spawn(port, sock, addr.ip(), place),
                    None => {
                        // a fresh socket's buffer takes this at once; if not, the client gets nothing
                        let _ = sock.set_nonblocking(true).and_then(|()| std::io::Write::write(&mut &*sock, &full));
                        let _ = sock.shutdown(Shutdown::Write);
                    }
                }
            }
            // out of descriptors, or the client left meanwhile: wait, never give up
            Err(_) => std::thread::sleep(BREATH),
        }
    }
}

/// Serves a connection on a thread of its own; a WebSocket stays longer than the thread.
fn spawn(port: &Arc<Port>, sock: Arc<TcpStream>, ip: IpAddr, place: Place) {
    let name = format!("{}-{}", port.entry.name(), place.n);
    let port = port.clone();
    let run = move |place: Place| {
        let Some((wire, up)) = serve::connection(&port, sock, ip) else { return };
        if let Some(c) = place.table.lock().get_mut(&place.n) {
            c.websocket = true;
        }
        ws::serve(&port, wire, *up, Arc::new(place));
    };
    let label = name.clone();
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| run(place))).is_err() {
            log::error!("connection {label} panicked");
        }
    };
    if let Err(e) = std::thread::Builder::new().name(name).stack_size(STACK).spawn(run) {
        log::warn!("no thread for a connection: {e}");
    }
}
