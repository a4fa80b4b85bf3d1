//! The one thread that attends to all WebSockets. It writes for them, reads while only pings and pongs come, and
//! keeps their time; it never waits for a client, a file or the mind. A message gets a thread of its own, which gives
//! the reader back when nothing follows. So an idle connection is a few kilobytes, and no thread.
//!
//! It begins with the first connection and ends with the last.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{eventfd, EventfdFlags, Timespec};
use tungstenite::Message;

use super::line::Line;
use super::reader::{Back, End, Reader};
use super::threads::Threads;
use crate::bell::Ring;
use crate::footprint;
use crate::http::door::STACK;
use crate::http::port::Permits;

/// The attendant's own bell among the sockets.
const BELL: u64 = 0;
/// Sockets told of at once.
const EVENTS: usize = 64;
/// After that long without events, the code that they needed is given back.
const CALM: Duration = Duration::from_secs(2);
/// Nothing is due for so long.
const QUIET: Duration = Duration::from_secs(3600);

/// The attendant at work, if there is one.
#[derive(Default)]
pub(crate) struct Attendants(Mutex<Option<Arc<Attendant>>>);

struct Attendant {
    epoll: OwnedFd,
    bell: OwnedFd,
    news: Mutex<News>,
    threads: Threads,
    lingerers: Permits,
}

/// What it has not seen yet.
#[derive(Default)]
struct News {
    /// Connections it has, or will get.
    seats: usize,
    /// It has ended.
    over: bool,
    last: u64,
    lines: Vec<Line>,
    rung: Vec<u64>,
    back: Vec<(u64, Back)>,
}

/// A connection's place with its attendant, which works for as long as somebody has one.
pub struct Seat {
    attendant: Arc<Attendant>,
    id: u64,
}

/// Calls the attendant to one connection. Bells may hang about for longer than there is somebody to call.
pub struct LineBell {
    attendant: Weak<Attendant>,
    id: u64,
    rung: AtomicBool,
    off: AtomicBool,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner()) // plain data: a panic elsewhere leaves it usable
}

impl Attendants {
    /// A place with the attendant; it begins to work if there was none.
    pub fn seat(&self) -> io::Result<Seat> {
        let mut current = lock(&self.0);
        if let Some(seat) = current.as_ref().and_then(Attendant::seat) {
            return Ok(seat);
        }
        let attendant = Arc::new(Attendant::new()?);
        let seat = Attendant::seat(&attendant);
        let (name, worker) = (Builder::new().name("http-ws".into()).stack_size(STACK), attendant.clone());
        name.spawn(move || worker.run())?;
        *current = Some(attendant);
        seat.ok_or_else(|| io::ErrorKind::Other.into()) // it cannot have ended: we have a place
    }
}

impl Attendant {
    fn new() -> io::Result<Attendant> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // told once for every time it is rung: nobody has to read it
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        let news = Mutex::new(News { last: BELL, ..News::default() });
        Ok(Attendant { epoll, bell, news, threads: Threads::default(), lingerers: Permits::default() })
    }

    fn seat(self: &Arc<Attendant>) -> Option<Seat> {
        let mut news = lock(&self.news);
        if news.over {
            return None;
        }
        news.seats += 1;
        news.last += 1;
        Some(Seat { attendant: self.clone(), id: news.last })
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes()); // full: it is awake anyway
    }

    fn back(&self, id: u64, back: Back) {
        lock(&self.news).back.push((id, back));
        self.wake();
    }

    fn run(&self) {
        let _ended = Ended(self);
        let mut lines: HashMap<u64, Box<Line>> = HashMap::new();
        let mut events = Vec::with_capacity(EVENTS);
        // Lines to go to, and when to go to all of them.
        let mut due: Vec<u64> = Vec::new();
        let mut next = Instant::now();
        // When what was needed for the last events is given back.
        let mut calm: Option<Instant> = None;
        loop {
            let until = calm.map_or(next, |at| at.min(next));
            let wait = if due.is_empty() { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            self.wait(&mut events, wait);
            let now = Instant::now();
            if !events.is_empty() || now >= next {
                calm = Some(now + CALM);
            } else if calm.is_some_and(|at| now >= at) {
                calm = None;
                footprint::release_code();
            }
            for event in &events {
                if let Some(line) = lines.get_mut(&event.data.u64()) {
                    line.fired();
                    due.push(event.data.u64());
                }
            }
            self.take(&mut lines, &mut due);
            if Instant::now() >= next {
                next = Instant::now() + QUIET;
                due.clear();
                due.extend(lines.keys());
            }
            due.sort_unstable();
            due.dedup();
            for id in std::mem::take(&mut due) {
                let Some(line) = lines.get_mut(&id) else { continue };
                match catch_unwind(AssertUnwindSafe(|| line.turn())) {
                    Ok(Ok(until)) if until <= Instant::now() => due.push(id),
                    Ok(Ok(until)) => next = next.min(until),
                    Ok(Err(_)) => drop(lines.remove(&id)),
                    Err(_) => {
                        log::error!("{}: its attendant panicked", line.out.id);
                        lines.remove(&id);
                    }
                }
            }
            if lines.is_empty() && self.ends() {
                return;
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, time: Duration) {
        events.clear();
        // a millisecond more: the kernel counts in whole ones
        let time = if time.is_zero() { time } else { time + Duration::from_millis(1) };
        let time = Timespec::try_from(time).unwrap_or_default();
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => log::error!("waiting for WebSockets: {e}"),
        }
    }

    fn take(&self, lines: &mut HashMap<u64, Box<Line>>, due: &mut Vec<u64>) {
        let mut news = lock(&self.news);
        due.append(&mut news.rung);
        let (new, back) = (std::mem::take(&mut news.lines), std::mem::take(&mut news.back));
        drop(news);
        for line in new {
            due.push(line.seat.id);
            lines.insert(line.seat.id, Box::new(line));
        }
        for (id, back) in back {
            if let Some(line) = lines.get_mut(&id) {
                line.back(back);
                due.push(id);
            }
        }
    }

    fn ends(&self) -> bool {
        let mut news = lock(&self.news);
        news.over = news.seats == 0;
        news.over
    }
}

/// However it ended: the next connection gets another attendant.
struct Ended<'a>(&'a Attendant);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.0.news).over = true;
        self.0.threads.close();
    }
}

impl Seat {
    /// The connection's bell: there is one.
    pub fn bell(&self) -> Arc<LineBell> {
        let (attendant, id) = (Arc::downgrade(&self.attendant), self.id);
        Arc::new(LineBell { attendant, id, rung: AtomicBool::new(false), off: AtomicBool::new(false) })
    }

    /// From now on it is attended to.
    pub fn occupy(line: Line) -> io::Result<()> {
        let attendant = line.seat.attendant.clone();
        epoll::add(&attendant.epoll, &line.sock, EventData::new_u64(line.seat.id), EventFlags::ONESHOT)?;
        lock(&attendant.news).lines.push(line);
        attendant.wake();
        Ok(())
    }

    /// Tells the line once when its socket is ready for that.
    pub fn arm(&self, sock: &TcpStream, what: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(self.id);
        Ok(epoll::modify(&self.attendant.epoll, sock, data, what | EventFlags::ONESHOT)?)
    }

    /// The line leaves; its reader may still hold the socket.
    pub fn forget(&self, sock: &TcpStream) {
        let _ = epoll::delete(&self.attendant.epoll, sock); // it may never have been there
    }

    /// A thread for this message and those that follow soon.
    pub fn hire(&self, name: &str, reader: Box<Reader>, message: Message) -> io::Result<()> {
        let serving = self.serving(name);
        self.attendant.threads.give(Box::new(move || serving(reader, Some(message))))
    }

    /// What a thread does that serves messages: in the end the line gets its reader back.
    pub fn serving(&self, name: &str) -> impl FnOnce(Box<Reader>, Option<Message>) + Send + 'static {
        let (attendant, id, name) = (self.attendant.clone(), self.id, name.to_owned());
        move |reader, message| {
            let back = catch_unwind(AssertUnwindSafe(|| reader.serve(message, &attendant.lingerers)));
            let back = back.unwrap_or_else(|_| {
                log::error!("{name}: a request panicked");
                Back::Over(End::Broken)
            });
            attendant.back(id, back);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut news = lock(&self.attendant.news);
        news.seats -= 1;
        if news.seats == 0 {
            drop(news);
            self.attendant.wake();
        }
    }
}

impl LineBell {
    /// The attendant comes.
    pub fn heard(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }
    /// It does not come any more.
    pub fn off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }
}

impl Ring for LineBell {
    fn ring(&self) -> bool {
        if !self.rung.swap(true, Ordering::SeqCst) {
            let Some(attendant) = self.attendant.upgrade() else { return false };
            let mut news = lock(&attendant.news);
            news.rung.push(self.id);
            let first = news.rung.len() == 1;
            drop(news);
            if first {
                attendant.wake();
            }
        }
        !self.off.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for LineBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineBell({})", self.id)
    }
}
