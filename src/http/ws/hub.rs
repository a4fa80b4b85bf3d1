//! Events for all WebSockets: encoded once, numbered, kept for those that reconnect (R39, R41, R44).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{json, Value};

use super::out::Outbox;
use crate::http::guard::Access;
use crate::http::logins::random;
use crate::http::shapes;
use crate::message::Frame;

const RING_EVENTS: usize = 2048;
const RING_BYTES: usize = 2 << 20;

/// An event frame without its last part (`seq`, `eid`), which differs per connection.
#[derive(Debug)]
pub struct Event {
    pub eid: u64,
    pub text: String,
    pub session: Option<String>,
    /// The messages it is about.
    pub runs: Vec<String>,
    /// Live text of its session comes before it.
    pub settles: bool,
    pub dialog: bool,
}

/// What connections share. The lock is held while an event gets its number and is put into the connections'
/// queues, so that numbers rise on every connection; nothing waits in there.
pub struct Hub {
    /// Random per process.
    pub epoch: String,
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    eid: u64,
    ring: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The newest event that left the ring.
    lost: u64,
    members: Vec<Arc<Outbox>>,
}

impl Inner {
    /// Tells the others how many there are (R70). Not kept: whoever comes later hears the next one.
    fn presence(&self, except: Option<&Arc<Outbox>>) {
        let text = event_text("presence", &json!({"clients": self.members.len()}));
        let (session, runs) = (None, Vec::new());
        let event = Arc::new(Event { eid: self.eid, text, session, runs, settles: false, dialog: false });
        for member in self.members.iter().filter(|m| except.is_none_or(|e| !Arc::ptr_eq(m, e))) {
            member.event(&event); // one that is full is being closed
        }
    }
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { epoch: random(9), next: AtomicU64::new(1), inner: Mutex::default() }
    }
}

pub fn event_text(name: &str, payload: &Value) -> String {
    format!("{{\"type\":\"event\",\"event\":\"{name}\",\"payload\":{payload}")
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// `ws-1`, `ws-2`, …
    pub fn name(&self) -> String {
        format!("ws-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
    pub fn connections(&self) -> usize {
        self.lock().members.len()
    }

    /// From now on this connection gets events.
    pub fn join(&self, member: &Arc<Outbox>, access: Access) {
        let mut inner = self.lock();
        let mut s = member.lock();
        s.access = Some(access);
        s.joined = inner.eid;
        drop(s);
        inner.members.push(member.clone());
        inner.presence(Some(member)); // the newcomer's first words are its own
    }
    pub fn leave(&self, member: &Arc<Outbox>) {
        let mut inner = self.lock();
        let before = inner.members.len();
        inner.members.retain(|m| !Arc::ptr_eq(m, member));
        if inner.members.len() < before {
            inner.presence(None);
        }
    }

    /// Queues what was missed since that event; `false`: not all of it is known any more.
    pub fn resume(&self, member: &Arc<Outbox>, epoch: &str, eid: u64) -> bool {
        let inner = self.lock();
        if epoch != self.epoch || eid < inner.lost || eid > inner.eid {
            return false;
        }
        member.replay(inner.ring.iter().filter(|e| e.eid > eid).cloned().collect())
    }

    /// Tells one client that it must fetch everything anew; before all events that wait for it.
    pub fn resync(&self, member: &Arc<Outbox>) {
        let text = event_text("resync", &json!({"reason": "the missed events are no longer known"}));
        let eid = member.lock().joined;
        member.first(Arc::new(Event { eid, text, session: None, runs: Vec::new(), settles: false, dialog: false }));
    }

    /// An event of one client only, which is not kept for others.
    pub fn tell(&self, member: &Arc<Outbox>, name: &str, payload: &Value) {
        let text = event_text(name, payload);
        let eid = member.lock().joined;
        let session = payload["sessionKey"].as_str().map(str::to_owned);
        let dialog = name == "extension_ui_request";
        member.event(&Arc::new(Event { eid, text, session, runs: Vec::new(), settles: false, dialog }));
    }

    /// A number for live events that are sent now, if no numbered event waits for this connection.
    pub fn live_eid(&self, member: &Outbox) -> Option<u64> {
        let mut inner = self.lock();
        if !member.idle() {
            return None;
        }
        inner.eid += 1;
        Some(inner.eid)
    }

    pub fn publish(&self, frame: &Frame) {
        let e = encode(frame);
        self.send(e.name, &e.payload, e.session, e.runs, e.settles, e.dialog);
    }

    /// A webhook's event; its name was checked.
    pub fn hook(&self, event: &str, payload: &Value) {
        self.send(&format!("hook:{event}"), payload, None, Vec::new(), false, false);
    }

    pub fn shutdown(&self, reason: &str, back_in: Option<Duration>) {
        let payload = json!({"reason": reason, "restartExpectedMs": back_in.map(|d| d.as_millis() as u64)});
        self.send("shutdown", &payload, None, Vec::new(), false, false);
    }

    fn send(
        &self,
        name: &str,
        payload: &Value,
        session: Option<String>,
        runs: Vec<String>,
        settles: bool,
        dialog: bool,
    ) {
        let text = event_text(name, payload);
        let mut inner = self.lock();
        inner.eid += 1;
        let event = Arc::new(Event { eid: inner.eid, text, session, runs, settles, dialog });
        inner.bytes += event.text.len();
        inner.ring.push_back(event.clone());
        while inner.ring.len() > RING_EVENTS || inner.bytes > RING_BYTES {
            let Some(old) = inner.ring.pop_front() else { break };
            inner.bytes -= old.text.len();
            inner.lost = old.eid;
        }
        for member in &inner.members {
            if !member.event(&event) {
                log::info!("{}: closed, slow consumer", member.id);
            }
        }
    }

    /// Sockets that came in by the old secret, or without one, leave (R38).
    pub fn secret_changed(&self) {
        for member in &self.lock().members {
            let local = member.lock().access == Some(Access::Local);
            if !local {
                member.close(4001, "Unauthorized");
            }
        }
    }
    pub fn close_all(&self, code: u16, reason: &str) {
        for member in &self.lock().members {
            member.close(code, reason);
        }
    }
}

struct Encoded {
    name: &'static str,
    payload: Value,
    session: Option<String>,
    runs: Vec<String>,
    settles: bool,
    dialog: bool,
}

/// The core's frames as events (1.11, 2.3, R70).
fn encode(frame: &Frame) -> Encoded {
    let event = |name, session: &str, payload| Encoded {
        name,
        payload,
        session: Some(session.to_owned()).filter(|s| !s.is_empty()),
        runs: Vec::new(),
        settles: false,
        dialog: false,
    };
    match frame {
        Frame::Typing { session, run, on } => {
            let payload = json!({"sessionKey": session, "typing": on, "runId": run});
            Encoded { runs: vec![run.clone()], settles: !on, ..event("chat.typing", session, payload) }
        }
        Frame::Reply { session, run, runs, id, text, last } => {
            let payload = json!({
                "sessionKey": session, "id": id, "runId": run, "runIds": runs, "text": text, "images": [], "final": last,
            });
            let mut about = runs.clone();
            about.push(run.clone());
            Encoded { runs: about, settles: true, ..event("chat.reply", session, payload) }
        }
        Frame::Error { session, run, code, message } => {
            let payload = json!({"sessionKey": session, "runId": run, "code": code.as_str(), "message": message});
            Encoded { runs: vec![run.clone()], settles: true, ..event("chat.error", session, payload) }
        }
        Frame::Message { session, run, text, at } => {
            let payload = json!({"sessionKey": session, "runId": run, "text": text, "at": at});
            event("chat.message", session, payload)
        }
        Frame::Reset { session } => event("session_reset", session, json!({"sessionKey": session})),
        Frame::Deleted { session } => event("session.deleted", session, json!({"sessionKey": session})),
        Frame::Updated(info) => event("session.updated", &info.key, json!({"session": shapes::session(info)})),
        Frame::Notice { session, level, message } => {
            event("ui.notice", session, json!({"sessionKey": session, "level": level, "message": message}))
        }
        Frame::Dialog(d) => Encoded { dialog: true, ..event("extension_ui_request", &d.session, shapes::dialog(d)) },
        Frame::DialogDone { session, id } => {
            let payload = json!({"type": "extension_ui_dismissed", "id": id, "sessionKey": session});
            event("extension_ui_dismissed", session, payload)
        }
        Frame::RoleChanged { session, role } => {
            event("session.role.changed", session, json!({"sessionKey": session, "role": role}))
        }
        Frame::RoleCreated { role } => event("role.created", "", json!({"role": role})),
        Frame::RoleDeleted { role } => event("role.deleted", "", json!({"role": role})),
        Frame::Reloaded => event("config.reloaded", "", json!({})),
    }
}

/// Names of all events, for `features`.
pub const EVENTS: [&str; 20] = [
    "agent",
    "live.reset",
    "chat.typing",
    "chat.reply",
    "chat.error",
    "chat.message",
    "session_reset",
    "session.updated",
    "session.deleted",
    "extension_ui_request",
    "extension_ui_dismissed",
    "ui.notice",
    "session.role.changed",
    "role.created",
    "role.deleted",
    "config.reloaded",
    "presence",
    "resync",
    "shutdown",
    "tick",
];
