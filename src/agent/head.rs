//! The cheap scanner of pi's output.
//!
//! Old versions of pi repeat the whole answer twice in every `message_update` line: 100 kB of text are 514 MB
//! of output (pi-rpc.md 9). So a line is looked at from its front, and what nobody needs is skipped up to the
//! next LF without being kept. The memory used does not depend on what pi writes.

use memchr::memchr;

use super::decode;
use super::front::{unescape, update, user_start, Stop, Update};
use super::rpc::Line;
use crate::message::PiEvent;

/// What is kept of a line of which only the beginning matters.
pub const HEAD_BYTES: usize = 64 << 10;
/// The longest line that is kept whole.
pub const KEPT_BYTES: usize = 8 << 20;
/// The longest line of all; a pi that writes more is unusable.
pub const LINE_BYTES: usize = 64 << 20;
/// A line is sorted by its first bytes.
const PEEK: usize = 64;
/// What is looked at of the end of an `agent_end`.
const TAIL: usize = 32;

/// Cuts a byte stream into lines and tells what they say.
#[derive(Default)]
pub struct Scanner {
    buf: Vec<u8>,
    mode: Mode,
    /// Length of the current line so far.
    seen: usize,
    /// Below this length another look at the line's beginning is useless.
    next_look: usize,
    tail: Vec<u8>,
    /// A surrogate whose other half comes with the next delta: of text, of thinking.
    half: [Option<u16>; 2],
    broken: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mode {
    /// Nothing known yet.
    #[default]
    Start,
    Update,
    User,
    /// Kept to its end, then decoded.
    Whole,
    /// `agent_end`: only its end matters.
    Tail,
    Skip,
}

impl Scanner {
    /// Takes the next bytes; every line that says something is given to `sink` once.
    pub fn feed(&mut self, mut chunk: &[u8], sink: &mut impl FnMut(Line)) {
        while !chunk.is_empty() && !self.broken {
            let (piece, rest, ended) = match memchr(b'\n', chunk) {
                Some(at) => (&chunk[..at], &chunk[at + 1..], true),
                None => (chunk, &[][..], false),
            };
            self.piece(piece, ended, sink);
            chunk = rest;
        }
    }

    /// Bytes held at the moment.
    pub fn held(&self) -> usize {
        self.buf.capacity() + self.tail.capacity()
    }

    fn piece(&mut self, piece: &[u8], ended: bool, sink: &mut impl FnMut(Line)) {
        self.seen += piece.len();
        if self.seen > LINE_BYTES {
            self.broken = true;
            self.buf = Vec::new();
            let why = format!("pi wrote a line of more than {} MiB", LINE_BYTES >> 20);
            return sink(Line::Event(PiEvent::Broken { why }));
        }
        match self.mode {
            Mode::Skip => {}
            Mode::Tail => self.keep_tail(piece),
            _ => {
                // A line that lies in one piece is read where it is; others are put together.
                let mut buf = std::mem::take(&mut self.buf);
                let copied = !buf.is_empty();
                if copied {
                    buf.extend_from_slice(piece);
                }
                let keep = self.look(if copied { &buf } else { piece }, ended, sink);
                if ended || !keep {
                    buf.clear();
                    buf.shrink_to(HEAD_BYTES);
                } else if !copied {
                    buf.extend_from_slice(piece);
                }
                self.buf = buf;
            }
        }
        if ended {
            if self.mode == Mode::Tail {
                let will_retry = self.tail.ends_with(br#""willRetry":true}"#);
                self.tail.clear();
                sink(Line::Event(PiEvent::AgentEnd { will_retry }));
            }
            self.mode = Mode::Start;
            self.seen = 0;
            self.next_look = 0;
        }
    }

    /// Looks at a line so far; `true`: go on keeping it.
    fn look(&mut self, line: &[u8], ended: bool, sink: &mut impl FnMut(Line)) -> bool {
        if self.mode == Mode::Start {
            if line.len() < PEEK && !ended {
                return true;
            }
            match sort(line) {
                Sorted::As(mode) => self.mode = mode,
                Sorted::Done(said) => {
                    self.mode = Mode::Skip;
                    sink(said);
                    return false;
                }
            }
        }
        match self.mode {
            Mode::Tail => {
                self.keep_tail(line);
                return false;
            }
            Mode::Update | Mode::User => {
                if !ended && line.len() < self.next_look {
                    return true;
                }
                let said = match self.mode {
                    Mode::Update => update(line).map(|u| self.delta(u)),
                    _ => user_start(line).map(|head| Line::Event(PiEvent::UserStart { head })),
                };
                match said {
                    Ok(said) => {
                        self.mode = Mode::Skip;
                        sink(said);
                        return false;
                    }
                    Err(Stop::More) if !ended && line.len() < KEPT_BYTES => {
                        self.next_look = HEAD_BYTES.max(line.len() * 4).min(KEPT_BYTES);
                        return true;
                    }
                    Err(_) => self.mode = Mode::Whole, // not as expected: let the full parser judge
                }
            }
            _ => {}
        }
        if ended {
            sink(decode::decode(line));
        } else if line.len() > KEPT_BYTES {
            self.mode = Mode::Skip;
            sink(decode::oversize(line));
            return false;
        }
        true
    }

    fn delta(&mut self, update: Update) -> Line {
        match update {
            Update::Text(raw) => Line::Text(unescape(raw, &mut self.half[0])),
            Update::Thinking(raw) => Line::Thinking(unescape(raw, &mut self.half[1])),
            Update::Other => {
                self.half = [None; 2];
                Line::Other
            }
        }
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }
}

enum Sorted {
    As(Mode),
    Done(Line),
}

/// What kind of line this is, by its first bytes. Key order is stable in all versions (pi-rpc.md 9); a line
/// in another order is parsed whole.
fn sort(line: &[u8]) -> Sorted {
    const START: &[u8] = br#"{"type":"message_start","message":{"role":""#;
    const END: &[u8] = br#"{"type":"message_end","message":{"role":""#;
    if line.starts_with(br#"{"type":"message_update","#) {
        return Sorted::As(Mode::Update);
    }
    if let Some(role) = line.strip_prefix(START) {
        return match role {
            r if r.starts_with(b"user\"") => Sorted::As(Mode::User),
            r if r.starts_with(b"assistant\"") => Sorted::Done(Line::AssistantStart),
            _ => Sorted::Done(Line::Other),
        };
    }
    match line.strip_prefix(END) {
        Some(role) if role.starts_with(b"assistant\"") => return Sorted::As(Mode::Whole),
        Some(_) => return Sorted::Done(Line::Other),
        None => {}
    }
    if line.starts_with(br#"{"type":"agent_end""#) {
        return Sorted::As(Mode::Tail);
    }
    if line.starts_with(br#"{"type":"turn_end""#) {
        return Sorted::Done(Line::TurnEnd);
    }
    for skipped in [&br#"{"type":"turn_start""#[..], br#"{"type":"entry_appended""#] {
        if line.starts_with(skipped) {
            return Sorted::Done(Line::Other);
        }
    }
    match line.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => Sorted::As(Mode::Whole),
        Some(_) => Sorted::Done(decode::noise(line)),
        None => Sorted::Done(Line::Noise(String::new())),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
