//! GET `/api/events`: the WebSocket's events as a stream (R49). The same queue, numbers, resume and limits; the
//! connection's own thread writes, and nothing comes in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::calls;
use super::out::{Close, Outbox};
use super::sink::Sink;
use super::writer::Writer;
use crate::http::exchange::{Exchange, Handled, Reply};
use crate::http::head::percent;
use crate::http::json::session_key;
use crate::http::port::Port;
use crate::http::settings::Times;

/// Clients come back after that long, ms.
const RETRY: u32 = 3000;

/// Leaves the hub, however the stream ends.
struct Member<'a> {
    port: &'a Port,
    out: Arc<Outbox>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.port.hub.leave(&self.out);
        log::debug!("{} closed", self.out.id);
    }
}

pub fn events(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (s, call) = (port.settings.get(), ex.call());
    let named = call.head.query.split('&').filter_map(|pair| pair.strip_prefix("session="));
    let sessions: Option<Vec<String>> = named.map(|key| percent(&key.replace('+', " "))).collect();
    let sessions = sessions.unwrap_or_else(|| vec![String::new()]); // what cannot be decoded is no session key
    for key in &sessions {
        session_key(key)?;
    }
    let last = call.head.field("last-event-id").map(str::to_owned);
    let (access, head_only) = (call.access, call.head.method == "HEAD");
    let head = Reply::new(200).with("Content-Type", "text/event-stream; charset=utf-8");
    let head = head.with("Cache-Control", "no-cache").with("X-Accel-Buffering", "no");
    if head_only {
        return Ok(head);
    }
    if ex.begin(head).is_err() {
        return Ok(Reply::streamed());
    }
    let (ring, bell) = bounded(1);
    let out = Outbox::new(port.hub.name(), (s.limits.ws_bytes, s.limits.ws_frames), Arc::new(ring));
    if !sessions.is_empty() {
        let mut state = out.lock();
        state.interest.subscribe(sessions);
        state.interest.strict = true;
    }
    out.greet(); // what was missed comes first
    port.hub.join(&out, access);
    let _member = Member { port, out: out.clone() };
    log::debug!("{} opened by {} ({access:?}) as a stream", out.id, ex.call().peer.addr);
    calls::pending_dialogs(&out, &port.mind, false, s.times.ask);
    let resumed = last.as_deref().map(|id| {
        let place = id.rsplit_once('-').and_then(|(epoch, eid)| Some((epoch, eid.parse().ok()?)));
        place.is_some_and(|(epoch, eid)| port.hub.resume(&out, epoch, eid))
    });
    let place = match (resumed, last) {
        (Some(true), Some(last)) => last,
        (Some(false), _) => {
            port.hub.resync(&out);
            id(&port.hub.epoch, out.lock().joined)
        }
        _ => id(&port.hub.epoch, out.lock().joined),
    };
    out.greeted();
    // The place is known even to a client that leaves before its first event.
    if ex.send(format!("retry: {RETRY}\nid: {place}\n\n").as_bytes()).is_ok() {
        let stream = Stream { ex, epoch: &port.hub.epoch, beat: s.times.comment };
        let mut writer = Writer::new(port, stream, out, Vec::new());
        while let Ok(until) = writer.turn() {
            let _ = bell.recv_deadline(until); // whatever it was, the next turn looks
        }
    }
    ex.close(); // ended by us, or broken: the client begins anew
    Ok(Reply::streamed())
}

fn id(epoch: &str, eid: u64) -> String {
    format!("{epoch}-{eid}")
}

struct Stream<'a> {
    ex: &'a mut dyn Exchange,
    epoch: &'a str,
    beat: Duration,
}

impl Sink for Stream<'_> {
    fn event(&mut self, shared: &str, seq: u64, eid: u64) -> Vec<u8> {
        format!("id: {}\ndata: {shared},\"seq\":{seq},\"eid\":{eid}}}\n\n", id(self.epoch, eid)).into_bytes()
    }
    fn beat(&self) -> (Vec<u8>, bool) {
        (b": alive\n\n".to_vec(), false)
    }
    fn next_beat(&self, _: &Port) -> Instant {
        Instant::now() + self.beat
    }
    fn gone(&mut self) -> bool {
        self.ex.gone()
    }
    fn send(&mut self, bytes: &[u8], _: &Times) -> io::Result<()> {
        self.ex.send(bytes)
    }
    /// The end of the stream says it: clients come back by themselves.
    fn close(&self, _: &Close) -> Vec<u8> {
        Vec::new()
    }
    fn part(&mut self) -> Duration {
        Duration::ZERO
    }
}
