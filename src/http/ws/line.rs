//! One WebSocket as its attendant sees it: who reads, what is written, and how it ends.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{recv, RecvFlags};

use super::attendant::{LineBell, Seat};
use super::out::Outbox;
use super::reader::{Back, End, Got, Reader};
use super::sink::Socket;
use super::writer::{Over, Writer};
use crate::http::door::Place;
use crate::http::port::Port;

/// Read from one connection in one turn, bytes: then others have theirs. So little that the answers to as many pings
/// as it holds are no crowd.
const RATION: usize = 2 << 10;
/// Read from a client that was refused, for so long and so much: it should read why before it sees a reset.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 16 << 20;

pub struct Line {
    port: Arc<Port>,
    pub seat: Seat,
    bell: Arc<LineBell>,
    pub sock: Arc<TcpStream>,
    pub out: Arc<Outbox>,
    writer: Writer<Arc<Port>, Socket>,
    reading: Reading,
    /// What the kernel watches the socket for; nothing after it told us.
    armed: EventFlags,
    /// The kernel says that there is something to read.
    ready: bool,
    /// The writer has not finished its work: no more is read, which may give it more.
    busy: bool,
    _place: Arc<Place>,
}

/// Who reads.
enum Reading {
    /// We do, while only pings and pongs come.
    Here(Box<Reader>),
    /// A thread that serves a message.
    Away,
    /// Nobody: what still comes is thrown away.
    Drain {
        until: Instant,
        left: usize,
    },
    Done,
}

impl Line {
    /// Its reader is away; `first` is what the client is sent before anything else.
    pub fn new(
        port: &Arc<Port>,
        seat: Seat,
        sock: Arc<TcpStream>,
        out: &Arc<Outbox>,
        bell: Arc<LineBell>,
        first: Vec<u8>,
        place: Arc<Place>,
    ) -> Line {
        let writer = Writer::new(port.clone(), Socket::new(sock.clone()), out.clone(), first);
        let (port, out, armed) = (port.clone(), out.clone(), EventFlags::empty());
        Line {
            port,
            seat,
            bell,
            sock,
            out,
            writer,
            reading: Reading::Away,
            armed,
            ready: false,
            busy: false,
            _place: place,
        }
    }

    /// The kernel said something about the socket, and says no more until asked.
    pub fn fired(&mut self) {
        self.armed = EventFlags::empty();
        self.ready = true;
    }

    /// Its reader comes back.
    pub fn back(&mut self, back: Back) {
        match back {
            Back::Quiet(reader) => self.reading = Reading::Here(reader),
            Back::Over(end) => drop(self.over(end)), // the turn that follows looks
        }
    }

    /// Reads and writes what can be without waiting. To be called again at that time, and whenever its bell rang or
    /// its socket fired.
    pub fn turn(&mut self) -> Result<Instant, Over> {
        self.bell.heard();
        let reading = if self.busy { None } else { self.read() };
        let writing = self.writer.turn()?;
        self.busy = writing <= Instant::now();
        self.arm()?;
        Ok(reading.map_or(writing, |end| end.min(writing)))
    }

    fn read(&mut self) -> Option<Instant> {
        let (ready, now) = (std::mem::take(&mut self.ready), Instant::now());
        match &mut self.reading {
            Reading::Here(reader) if ready || now >= reader.deadline() => match reader.next(RATION) {
                Got::Nothing => Some(reader.deadline()),
                Got::Over(end) => self.over(end),
                Got::Message(message) => {
                    if let Reading::Here(reader) = std::mem::replace(&mut self.reading, Reading::Away) {
                        if let Err(e) = self.seat.hire(&self.out.id, reader, message) {
                            log::warn!("{}: no thread for a request: {e}", self.out.id);
                            self.out.close(1011, "no thread");
                            return self.over(End::Broken);
                        }
                    }
                    None
                }
            },
            Reading::Here(reader) => Some(reader.deadline()),
            Reading::Drain { until, left } => {
                let until = *until;
                if now >= until || ready && drained(&self.sock, left) {
                    self.gone();
                    return None;
                }
                Some(until)
            }
            Reading::Away | Reading::Done => None,
        }
    }

    /// Nothing more is read; for how long what comes is thrown away.
    fn over(&mut self, end: End) -> Option<Instant> {
        if end == End::Broken && self.out.closing() {
            let until = Instant::now() + DRAIN;
            self.reading = Reading::Drain { until, left: DRAIN_BYTES };
            return Some(until);
        }
        self.gone();
        None
    }

    fn gone(&mut self) {
        self.reading = Reading::Done;
        self.port.hub.leave(&self.out);
        self.out.gone();
    }

    fn arm(&mut self) -> Result<(), Over> {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, matches!(self.reading, Reading::Here(_) | Reading::Drain { .. }));
        wanted.set(EventFlags::OUT, self.writer.owes());
        if wanted.is_empty() || wanted == self.armed {
            return Ok(());
        }
        self.armed = wanted;
        self.seat.arm(&self.sock, wanted).map_err(|e| {
            log::warn!("{}: {e}", self.out.id);
            Over
        })
    }
}

/// Nothing more can come, or too much came.
fn drained(sock: &TcpStream, left: &mut usize) -> bool {
    let mut waste = [0; 4096];
    for _ in 0..16 {
        match recv(sock, &mut waste, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            Ok((n, _)) if n > 0 && n < *left => *left -= n,
            _ => return true,
        }
    }
    false
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bell.off();
        self.seat.forget(&self.sock);
        self.port.hub.leave(&self.out);
        self.out.gone();
        log::debug!("{} closed", self.out.id);
    }
}
