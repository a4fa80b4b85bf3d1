//! What goes out to one WebSocket: a queue bounded by bytes and frames, filled by anybody, emptied by the
//! connection's writer. Nothing here touches a socket.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::calls::Desk;
use super::hub::Event;
use crate::bell::Bell;
use crate::http::guard::Access;

/// A connection that was authenticated at the upgrade gets its first events after its first request, or after
/// this time: `connect` may ask for what was missed, and that comes first.
pub const GREETING: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

/// Which sessions' live events a connection gets (R13).
#[derive(Debug, Default)]
pub struct Interest {
    pub subscribed: Option<HashSet<Arc<str>>>,
    pub used: HashSet<Arc<str>>,
    /// Numbered events of other sessions than the subscribed ones are not sent either (R49).
    pub strict: bool,
}

/// Not of another channel.
pub fn of_the_page(session: &str) -> bool {
    session.split(':').nth(2) == Some("webchat")
}

/// Room for so many frames is kept while none waits.
const FEW: usize = 8;
/// Sessions remembered per connection.
const MOST_SESSIONS: usize = 256;

impl Interest {
    pub fn subscribe(&mut self, sessions: impl IntoIterator<Item = String>) {
        self.subscribed = Some(sessions.into_iter().take(MOST_SESSIONS).map(Into::into).collect());
    }
    pub fn uses(&mut self, session: &str) {
        let chosen = self.subscribed.as_mut().unwrap_or(&mut self.used);
        if chosen.len() < MOST_SESSIONS {
            chosen.insert(session.into());
        }
    }
    /// `None`: all sessions.
    pub fn only(&self) -> Option<&HashSet<Arc<str>>> {
        self.subscribed.as_ref().or(Some(&self.used).filter(|u| !u.is_empty()))
    }
}

#[derive(Debug)]
pub struct State {
    /// Answers, pongs: before any event.
    direct: VecDeque<Vec<u8>>,
    events: VecDeque<Arc<Event>>,
    /// Bytes of both queues, without the replayed events at the front of `events`.
    bytes: usize,
    replayed: usize,
    close: Option<Close>,
    reader_gone: bool,
    /// `None`: not authenticated, gets no events.
    pub access: Option<Access>,
    pub interest: Interest,
    /// Events and live text wait: requests are under way whose answer must come first.
    pub holds: usize,
    greeting: Option<Instant>,
    /// Last event before this connection joined.
    pub joined: u64,
    /// Errors as objects (R52).
    pub objects: bool,
    /// The message so far with each of its updates (R14).
    pub raw: bool,
    pub desk: Desk,
    pub limits: (usize, usize),
}

pub struct Outbox {
    pub id: String,
    state: Mutex<State>,
    bell: Bell,
}

/// What the writer does next.
#[derive(Debug)]
pub enum Next {
    Write(Vec<u8>),
    Event(Arc<Event>),
    /// No event waits: show what is live.
    Live,
    /// Events wait for an answer that comes first; until then at the latest, if there is a time.
    Held(Option<Instant>),
    Close(Close),
    Gone,
}

impl Outbox {
    /// `bell` wakes the writer.
    pub fn new(id: String, limits: (usize, usize), bell: Bell) -> Arc<Outbox> {
        let state = State {
            direct: VecDeque::new(),
            events: VecDeque::new(),
            bytes: 0,
            replayed: 0,
            close: None,
            reader_gone: false,
            access: None,
            interest: Interest::default(),
            holds: 0,
            greeting: None,
            joined: 0,
            objects: false,
            raw: false,
            desk: Desk::default(),
            limits,
        };
        Arc::new(Outbox { id, state: Mutex::new(state), bell })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Queues a frame's bytes before all events. `false`: the connection is closing.
    pub fn direct(&self, frame: Vec<u8>) -> bool {
        let taken = self.lock().push(frame.len(), |s| s.direct.push_back(frame));
        self.ring();
        taken
    }
    /// Queues an event; a connection that cannot take it is closed. `false`: it was closed by this.
    pub fn event(&self, event: &Arc<Event>) -> bool {
        let mut s = self.lock();
        if s.close.is_some() || !s.wants(event) {
            return true;
        }
        let taken = s.push(event.text.len(), |s| s.events.push_back(event.clone()));
        drop(s);
        self.ring();
        taken
    }
    /// Events this client missed, in order, instead of what waits. They do not count against the limits.
    /// `false`: too late, events were sent already.
    pub fn replay(&self, missed: Vec<Arc<Event>>) -> bool {
        let mut s = self.lock();
        if s.greeting.is_none() {
            return false;
        }
        let waiting: usize = s.events.iter().skip(s.replayed).map(|e| s.weight(e.text.len())).sum();
        s.bytes -= waiting;
        s.events = missed.into_iter().filter(|event| s.wants(event)).collect();
        s.replayed = s.events.len();
        true
    }
    /// An event of this connection only, before all that wait.
    pub fn first(&self, event: Arc<Event>) {
        let mut s = self.lock();
        if s.close.is_none() {
            s.events.push_front(event);
            s.replayed += 1;
        }
        drop(s);
        self.ring();
    }
    /// Ends the connection; what waits is dropped, the first reason counts.
    pub fn close(&self, code: u16, reason: &str) {
        self.lock().shut(code, reason);
        self.ring();
    }
    pub fn closing(&self) -> bool {
        self.lock().close.is_some()
    }
    /// The reader is done: nothing can come any more.
    pub fn gone(&self) {
        self.lock().reader_gone = true;
        self.ring();
    }
    pub fn is_gone(&self) -> bool {
        self.lock().reader_gone
    }

    /// Holds events back until the client said something (see [`GREETING`]).
    pub fn greet(&self) {
        self.lock().greeting = Some(Instant::now() + GREETING);
    }
    pub fn greeted(&self) {
        self.lock().greeting = None;
        self.ring();
    }
    pub fn release(&self) {
        let mut s = self.lock();
        s.holds = s.holds.saturating_sub(1);
        drop(s);
        self.ring();
    }

    pub fn next(&self) -> Next {
        let mut s = self.lock();
        if let Some(close) = s.close.clone() {
            return Next::Close(close);
        }
        if let Some(frame) = s.direct.pop_front() {
            s.bytes -= s.weight(frame.len()); // the reply to the client's close is among these
            return Next::Write(frame);
        }
        if s.reader_gone {
            return Next::Gone;
        }
        if s.greeting.is_some_and(|until| Instant::now() >= until) {
            s.greeting = None;
        }
        if s.access.is_none() || s.holds > 0 || s.greeting.is_some() {
            return Next::Held(s.greeting);
        }
        match s.events.pop_front() {
            None => {
                s.shrink();
                Next::Live
            }
            Some(event) => {
                match s.replayed.checked_sub(1) {
                    Some(left) => s.replayed = left,
                    None => s.bytes -= s.weight(event.text.len()),
                }
                Next::Event(event)
            }
        }
    }
    /// More than half full: ticks can wait.
    pub fn crowded(&self) -> bool {
        let s = self.lock();
        s.bytes > s.limits.0 / 2 || s.frames() > s.limits.1 / 2
    }
    pub fn idle(&self) -> bool {
        let s = self.lock();
        s.events.is_empty()
    }
}

impl State {
    /// Nothing waits: what a crowd needed is given back.
    fn shrink(&mut self) {
        if self.events.capacity() > FEW {
            self.events = VecDeque::new();
        }
        if self.direct.capacity() > FEW {
            self.direct = VecDeque::new();
        }
    }
    fn frames(&self) -> usize {
        self.direct.len() + self.events.len() - self.replayed
    }
    /// What a frame counts: a single one is never too much, a few large ones are. Else one long message, or a
    /// long history, would close the connections of readers that are not slow at all.
    fn weight(&self, bytes: usize) -> usize {
        bytes.min(self.limits.0 / 4)
    }
    fn push(&mut self, bytes: usize, put: impl FnOnce(&mut State)) -> bool {
        if self.close.is_some() {
            return false;
        }
        let bytes = self.weight(bytes);
        if self.bytes + bytes > self.limits.0 || self.frames() >= self.limits.1 {
            self.shut(1013, "slow consumer");
            return false;
        }
        self.bytes += bytes;
        put(self);
        true
    }
    fn shut(&mut self, code: u16, reason: &str) {
        if self.close.is_none() {
            self.close = Some(Close { code, reason: reason.into() });
            self.direct.clear();
            self.events.clear();
            (self.bytes, self.replayed) = (0, 0);
        }
    }
    fn wants(&self, event: &Event) -> bool {
        let chosen = self.interest.subscribed.as_ref().filter(|_| self.interest.strict);
        let other = |session: &String| chosen.is_some_and(|only| !only.contains(&**session));
        !event.session.as_ref().is_some_and(other) && (!event.dialog || self.wants_dialog(event))
    }
    /// R16: dialogs of other channels' sessions only for those who watch them.
    fn wants_dialog(&self, event: &Event) -> bool {
        let Some(session) = &event.session else { return true };
        of_the_page(session) || self.interest.subscribed.as_ref().is_some_and(|s| s.contains(&**session))
    }
    /// Answers given before the connection closes are still sent.
    pub fn take_direct(&mut self) -> Vec<Vec<u8>> {
        self.direct.drain(..).collect()
    }
    /// Puts an answer before the close that follows it.
    pub fn close_after(&mut self, frame: Vec<u8>, code: u16, reason: &str) {
        self.shut(code, reason);
        self.direct.push_back(frame);
    }
}
