//! The writer of one WebSocket or event stream: the only one that writes to its socket, at the client's pace.
//! A stream's thread runs it; those of all WebSockets are run by their attendant, and never wait.
//!
//! It sends what is queued, then what is new in the live views; a slow client gets fewer, larger pieces of
//! live text, because the views are read only when there is room (R43, R44).

use std::collections::HashMap;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{json, Value};

use super::calls::{self, Finish, Started};
use super::frames;
use super::hub::{event_text, Event};
use super::out::{of_the_page, Close, Next, Outbox};
use super::partial::Partial;
use super::show;
use super::sink::Sink;
use crate::http::fault::Fault;
use crate::http::guard::wall;
use crate::http::port::Port;
use crate::http::shapes;
use crate::http::wire;
use crate::live::{Cursor, Live};
use crate::message::{Answer, Dialog};

/// Live text of one session taken in one pass, bytes.
const PASS: usize = 16 << 10;
/// Frames are gathered up to this size and written together, bytes.
const GATHER: usize = 8 << 10;
/// Dialogs that end sooner than this are not shown to a client that just came.
const DIALOG_MS: u64 = 10_000;
/// Steps of one turn: then others have theirs.
const STEPS: usize = 64;

/// Where this client is in a session's view.
struct Seen {
    live: Arc<Live>,
    at: Cursor,
    /// Of a client that wants it (`raw`).
    partial: Option<Partial>,
}

pub struct Writer<P, S> {
    port: P,
    sink: S,
    out: Arc<Outbox>,
    calls: Vec<Started>,
    /// `None` until events may flow.
    seen: Option<HashMap<Arc<str>, Seen>>,
    seq: u64,
    eid: u64,
    next_tick: Instant,
    /// Frames not written yet: they leave before this turn ends.
    gathered: Vec<u8>,
    /// An event that waits for the rest of the live text that belongs before it.
    settling: Option<Arc<Event>>,
    end: End,
}

/// How far the end is that we gave the connection.
enum End {
    Open,
    /// The close frame is written.
    Written,
    /// It is sent; the client has until then to answer.
    Parted(Instant),
}

/// The connection is over.
pub struct Over;

/// What a step leaves.
enum Step {
    More,
    /// Nothing to do before that time, unless the bell rings.
    Rest(Instant),
}

impl<P: Deref<Target = Port>, S: Sink> Writer<P, S> {
    /// `first`: bytes that go out before everything else.
    pub fn new(port: P, sink: S, out: Arc<Outbox>, first: Vec<u8>) -> Writer<P, S> {
        Writer {
            next_tick: sink.next_beat(&port),
            port,
            sink,
            out,
            calls: Vec::new(),
            seen: None,
            seq: 0,
            eid: 0,
            gathered: first,
            settling: None,
            end: End::Open,
        }
    }

    /// Does what there is to do, or its share of it. Comes back when the bell rang, when the client takes more
    /// (see `owes`), and at that time at the latest.
    pub fn turn(&mut self) -> Result<Instant, Over> {
        for _ in 0..STEPS {
            match self.sink.more() {
                Ok(None) => {}
                Ok(Some(until)) => return Ok(until),
                Err(e) => return Err(self.failed(&e)),
            }
            if let Step::Rest(until) = self.step()? {
                return Ok(until);
            }
        }
        Ok(Instant::now())
    }

    /// The client did not take all yet.
    pub fn owes(&self) -> bool {
        self.sink.owes()
    }

    fn step(&mut self) -> Result<Step, Over> {
        match self.end {
            End::Open => {}
            End::Written => {
                let end = Instant::now() + self.sink.part();
                self.end = End::Parted(end);
                return Ok(Step::More);
            }
            End::Parted(end) if self.out.is_gone() || Instant::now() >= end => return Err(Over),
            End::Parted(end) => return Ok(Step::Rest(end)),
        }
        self.answer_calls()?;
        if Instant::now() >= self.next_tick {
            self.tick()?;
        }
        if let Some(event) = self.settling.take() {
            if !self.out.closing() {
                return self.tell(event);
            }
        }
        match self.out.next() {
            Next::Write(frame) => self.put(&frame)?,
            Next::Event(event) => {
                self.begin();
                return self.tell(event);
            }
            Next::Live => {
                self.begin();
                if !self.show_live()? {
                    return self.rest(None);
                }
            }
            Next::Held(until) => return self.rest(until),
            Next::Close(close) => self.last(&close)?,
            Next::Gone => {
                self.flush()?; // the answer to the client's close
                if !self.sink.owes() {
                    return Err(Over);
                }
            }
        }
        Ok(Step::More)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.gathered.extend_from_slice(bytes);
        match self.gathered.len() < GATHER {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<(), Over> {
        let bytes = std::mem::take(&mut self.gathered); // an idle connection keeps no buffer
        if bytes.is_empty() {
            return Ok(());
        }
        let settings = self.port.settings.get();
        self.sink.send(&bytes, &settings.times).map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &io::Error) -> Over {
        if wire::timed_out(e) {
            self.port.meter.dropped("stalled");
        }
        Over
    }

    fn event(&mut self, shared: &str, eid: u64) -> Result<(), Over> {
        self.seq += 1;
        let frame = self.sink.event(shared, self.seq, eid);
        self.put(&frame)
    }

    /// Ping and tick together: an idle connection wakes us twice a minute.
    fn tick(&mut self) -> Result<(), Over> {
        if self.sink.gone() {
            return Err(Over);
        }
        self.next_tick = self.sink.next_beat(&self.port);
        if let Some(seen) = &mut self.seen {
            let board = &self.port.board;
            seen.retain(|k, s| board.get(k).is_some_and(|live| Arc::ptr_eq(&live, &s.live)));
        }
        let (beat, tick) = self.sink.beat();
        self.put(&beat)?;
        if tick && self.seen.is_some() && !self.out.crowded() {
            self.event(&event_text("tick", &json!({"ts": wall()})), self.eid)?;
        }
        Ok(())
    }

    /// What is gathered leaves now.
    fn rest(&mut self, until: Option<Instant>) -> Result<Step, Over> {
        self.flush()?;
        if self.sink.owes() {
            return Ok(Step::More);
        }
        let calls = self.calls.iter().map(|c| c.end);
        Ok(Step::Rest(calls.chain(until).fold(self.next_tick, Instant::min)))
    }

    // ---------------------------------------------------------------- answers

    fn answer_calls(&mut self) -> Result<(), Over> {
        calls::collect(&self.out, &mut self.calls);
        let mut at = 0;
        while at < self.calls.len() {
            match self.calls[at].ready() {
                None => at += 1,
                Some(answer) => {
                    let call = self.calls.remove(at);
                    calls::done(&self.out, &self.port.mind, &call);
                    calls::collect(&self.out, &mut self.calls);
                    self.answer(call, answer)?;
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, call: Started, answer: Answer) -> Result<(), Over> {
        match call.finish {
            Finish::Dialogs { of_others } => {
                let open = calls::dialogs(answer);
                let told = |d: &&Dialog| d.ttl > DIALOG_MS && !(of_others && of_the_page(&d.session));
                for d in open.iter().filter(told) {
                    self.port.hub.tell(&self.out, "extension_ui_request", &shapes::dialog(d));
                }
                Ok(())
            }
            Finish::Live(session) => {
                let open: Vec<Value> = calls::dialogs(answer).iter().map(shapes::dialog).collect();
                let payload = self.live(&session, open);
                self.res(&call.id, Ok(payload))
            }
            finish @ Finish::Send { .. } => {
                let result = calls::payload(finish, answer);
                let sent = self.res(&call.id, result);
                self.out.release(); // now the events of this turn may follow
                sent
            }
            finish => self.res(&call.id, calls::payload(finish, answer)),
        }
    }

    fn res(&mut self, id: &Value, result: Result<Value, Fault>) -> Result<(), Over> {
        let objects = self.out.lock().objects;
        self.put(&frames::res(id, result, objects))
    }

    /// `session.live`: all that is on view. Live events after this answer are those that are not in it.
    fn live(&mut self, session: &str, pending_ui: Vec<Value>) -> Value {
        let live = self.port.board.open(session);
        let (at, view) = live.look();
        if let Some(seen) = &mut self.seen {
            let partial = self.out.lock().raw.then(|| Partial::of(&view.items));
            seen.insert(live.session.clone(), Seen { live, at, partial });
        }
        show::snapshot(session, &view, pending_ui, self.eid)
    }

    // ---------------------------------------------------------------- live text

    /// Events may flow from now on. Runs that go on are shown from their beginning, finished ones are history.
    fn begin(&mut self) {
        if self.seen.is_some() {
            return;
        }
        self.eid = self.eid.max(self.out.lock().joined);
        let now = |live: Arc<Live>| {
            let at = if live.active() { Cursor::default() } else { live.now() };
            (live.session.clone(), Seen { live, at, partial: None })
        };
        self.seen = Some(self.port.board.all().into_iter().map(now).collect());
        self.port.board.watch(self.out.bell());
    }

    /// Views this client may see now. Not those that an answer to come will hold.
    fn watched(&self) -> Vec<Arc<Live>> {
        let board = &self.port.board;
        let s = self.out.lock();
        match s.interest.only() {
            Some(sessions) => {
                let held = |k: &str| s.desk.will_hold(k) || self.calls.iter().any(|c| c.finish.holds(k));
                sessions.iter().filter(|k| !held(k)).filter_map(|k| board.get(k)).collect()
            }
            None => {
                drop(s);
                board.all()
            }
        }
    }

    fn place(&self, live: &Arc<Live>) -> Cursor {
        match self.seen.as_ref().and_then(|seen| seen.get(&live.session)) {
            Some(s) if Arc::ptr_eq(&s.live, live) => s.at.clone(),
            _ => Cursor::default(), // a view made after this client came
        }
    }

    /// One pass over the views; `false`: nothing was new.
    fn show_live(&mut self) -> Result<bool, Over> {
        let mut any = false;
        for live in self.watched() {
            any |= self.show_one(&live, true)?;
            if self.sink.owes() {
                break; // more than the client takes
            }
        }
        Ok(any)
    }

    fn show_one(&mut self, live: &Arc<Live>, numbered: bool) -> Result<bool, Over> {
        let mut at = self.place(live);
        let before = at.clone();
        let news = live.read(&mut at, PASS);
        let mut out = Vec::new();
        if at != before || !news.is_empty() {
            let raw = self.out.lock().raw;
            let seen = self.seen.get_or_insert_with(HashMap::new);
            let old = seen.remove(&live.session).filter(|s| Arc::ptr_eq(&s.live, live));
            let mut partial = raw.then(|| old.and_then(|s| s.partial).unwrap_or_default());
            for n in &news {
                show::frames(&live.session, n, partial.as_mut(), &mut out);
            }
            seen.insert(live.session.clone(), Seen { live: live.clone(), at, partial });
        }
        for text in &out {
            // While a numbered event waits in the queue, live text keeps the number before it: a client that
            // comes back with the last number it saw must not have skipped that event.
            let eid = if numbered { self.port.hub.live_eid(&self.out) } else { None };
            self.eid = eid.unwrap_or(self.eid);
            self.event(text, self.eid)?;
        }
        Ok(!news.is_empty())
    }

    /// An event, or first some of the live text that belongs before it.
    fn tell(&mut self, event: Arc<Event>) -> Result<Step, Over> {
        if event.settles && self.settle(&event)? {
            self.settling = Some(event);
            return Ok(Step::More);
        }
        self.eid = self.eid.max(event.eid);
        let text = event.text(&self.port.settings.get());
        self.event(&text, event.eid)?;
        Ok(Step::More)
    }

    /// Before a reply: a pass over the text that belongs to it; `false`: nothing was new.
    fn settle(&mut self, event: &Event) -> Result<bool, Over> {
        let Some(live) = event.session.as_deref().and_then(|s| self.port.board.get(s)) else { return Ok(false) };
        let visible = self.out.lock().interest.only().is_none_or(|only| only.contains(&live.session));
        // the next run may be on view already: that is not part of this reply
        let part_of_it = || live.is_at(&self.place(&live)) || event.runs.contains(&live.run());
        if !visible || !part_of_it() {
            return Ok(false);
        }
        self.show_one(&live, false)
    }

    // ---------------------------------------------------------------- the end

    /// The last answers and the close frame.
    fn last(&mut self, close: &Close) -> Result<(), Over> {
        if close.code == 1013 {
            self.port.meter.dropped("slow");
        }
        let last = self.out.lock().take_direct();
        for frame in last {
            self.put(&frame)?;
        }
        let last = self.sink.close(close);
        self.put(&last)?;
        self.end = End::Written;
        self.flush()
    }
}
