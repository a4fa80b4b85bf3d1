//! Request bodies: read whole before a handler sees the request, with a limit and a deadline.

use std::io;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::head::Length;
use super::port::{Permit, Permits};
use super::wire::{timed_out, Wire};

/// Bodies above this need one of few permits.
const BIG: usize = 1 << 20;
const MAX_BIG: usize = 4;
/// What a client is still sending when it is refused is thrown away up to here: most look for the answer only
/// when they have sent everything.
const LINGER: usize = 32 << 20;
/// One line of the chunked coding, and all trailers.
const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 4096;

/// How a body failed: an answer to give, or a connection that is gone.
#[derive(Debug)]
pub enum Broken {
    Refused(Fault),
    Gone,
}

impl From<Fault> for Broken {
    fn from(f: Fault) -> Broken {
        Broken::Refused(f)
    }
}

pub fn too_large(limit: usize) -> Fault {
    Fault::new(413, "payload_too_large", format!("The body may have {limit} bytes"))
}

struct Reader<'a> {
    wire: &'a mut Wire,
    start: Instant,
    base: Duration,
    limit: usize,
    big: &'a Permits,
    permit: Option<Permit>,
    out: Vec<u8>,
}

/// Reads the body that follows the head (already consumed) and leaves what comes after it in the wire.
pub fn read(wire: &mut Wire, length: Length, limit: usize, base: Duration, big: &Permits) -> Result<Vec<u8>, Broken> {
    let mut r = Reader { wire, start: Instant::now(), base, limit, big, permit: None, out: Vec::new() };
    match length {
        Length::None => {}
        Length::Fixed(n) => {
            let n = usize::try_from(n).ok().filter(|n| *n <= limit).ok_or_else(|| too_large(limit))?;
            r.grow(n)?;
            r.take(n)?;
        }
        Length::Chunked => r.chunks()?,
    }
    Ok(r.out)
}

impl Reader<'_> {
    /// Before the body grows to `n` bytes.
    fn grow(&mut self, n: usize) -> Result<(), Broken> {
        if n > self.limit {
            return Err(too_large(self.limit).into());
        }
        if n > BIG && self.permit.is_none() {
            let permit = self.big.take(MAX_BIG);
            self.permit = Some(permit.ok_or_else(|| Fault::busy("Too many large requests at once"))?);
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), Broken> {
        // A deadline that moves with what arrived: 64 KiB per second is enough, standing still is not.
        let end = self.start + self.base + Duration::from_secs((self.out.len() / (64 << 10)) as u64);
        self.wire.fill(end).map_err(|e| match e {
            e if timed_out(&e) => Fault::new(408, "timeout", "The request body took too long").into(),
            _ => Broken::Gone,
        })
    }

    fn take(&mut self, mut n: usize) -> Result<(), Broken> {
        while n > 0 {
            if self.wire.buf.is_empty() {
                self.fill()?;
            }
            let k = n.min(self.wire.buf.len());
            self.out.extend_from_slice(&self.wire.buf[..k]);
            self.wire.consume(k);
            n -= k;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = self.wire.buf.windows(2).position(|w| w == b"\r\n") {
                if at > MAX_CHUNK_LINE {
                    return Err(Fault::invalid("Chunked coding: line too long").into());
                }
                let line = String::from_utf8_lossy(&self.wire.buf[..at]).into_owned();
                self.wire.consume(at + 2);
                return Ok(line);
            }
            if self.wire.buf.len() > MAX_CHUNK_LINE {
                return Err(Fault::invalid("Chunked coding: line too long").into());
            }
            self.fill()?;
        }
    }

    fn chunks(&mut self) -> Result<(), Broken> {
        let bad = || Broken::from(Fault::invalid("Chunked coding: not a chunk"));
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim_end();
            if size.is_empty() || size.len() > 8 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            let size = usize::from_str_radix(size, 16).map_err(|_| bad())?;
            if size == 0 {
                return self.trailers();
            }
            self.grow(self.out.len().saturating_add(size))?;
            self.take(size)?;
            if !self.line()?.is_empty() {
                return Err(bad());
            }
        }
    }

    fn trailers(&mut self) -> Result<(), Broken> {
        let mut seen = 0;
        loop {
            let line = self.line()?;
            seen += line.len() + 2;
            if line.is_empty() {
                return Ok(());
            }
            if seen > MAX_TRAILERS {
                return Err(Fault::new(431, "invalid_request", "Trailers too large").into());
            }
        }
    }
}

/// After a refusal: reads on for a moment, so that the client sees the answer instead of a reset.
pub fn linger(wire: &mut Wire, time: Duration) -> io::Result<()> {
    wire.sock.shutdown(std::net::Shutdown::Write)?;
    let end = Instant::now() + time;
    let mut seen = 0;
    while seen <= LINGER {
        wire.fill(end)?;
        seen += wire.buf.len();
        wire.buf.clear();
    }
    Ok(())
}
