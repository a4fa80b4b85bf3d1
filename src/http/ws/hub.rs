//! Events for all WebSockets: encoded once, numbered, kept for those that reconnect (R39, R41, R44).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{json, Value};

use super::out::Outbox;
use crate::http::guard::Access;
use crate::http::logins::random;
use crate::http::media::{self, Spot};
use crate::http::settings::Settings;
use crate::http::shapes;
use crate::message::{Frame, Home, Posted};

const RING_EVENTS: usize = 2048;
const RING_BYTES: usize = 2 << 20;

/// An event frame without its last part (`seq`, `eid`), which differs per connection.
#[derive(Debug)]
pub struct Event {
    pub eid: u64,
    /// With `late`: its payload alone.
    pub text: Box<str>,
    pub session: Option<String>,
    /// The messages it is about.
    pub runs: Vec<String>,
    /// Live text of its session comes before it.
    pub settles: bool,
    pub dialog: bool,
    late: Option<Box<Late>>,
}

/// An event with links to files. They are made by the connection's own thread when the event is written: there
/// files may be looked at, and a client that comes back later gets fresh ones.
#[derive(Debug)]
struct Late {
    name: Cow<'static, str>,
    home: Home,
    /// The one file it is about; else the payload's `text` names files.
    file: Option<Spot>,
}

impl Event {
    /// What is sent, without its last part.
    pub fn text(&self, s: &Settings) -> Cow<'_, str> {
        let Some(late) = &self.late else { return Cow::Borrowed(&self.text) };
        let mut payload: Value = serde_json::from_str(&self.text).expect("it was written from a value");
        match &late.file {
            Some(spot) => payload["url"] = json!(media::link(s, &late.home.sid, spot)),
            None => {
                let shown = media::shown(s, &late.home, payload["text"].as_str().unwrap_or_default());
                payload["text"] = json!(shown.text);
                payload["images"] = json!(shown.images);
            }
        }
        Cow::Owned(event_text(&late.name, &payload))
    }
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
    /// Empty as long as nobody was ever connected: who never was has missed nothing.
    ring: VecDeque<Arc<Event>>,
    met: bool,
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
        let text = text.into();
        let event = Arc::new(Event { eid: self.eid, text, session, runs, settles: false, dialog: false, late: None });
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
    written(name, &payload.to_string())
}

/// The same of a payload that is JSON text.
pub fn written(name: &str, payload: &str) -> String {
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
        inner.met = true;
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
        member.first(Arc::new(Event {
            eid,
            text: text.into(),
            session: None,
            runs: Vec::new(),
            settles: false,
            dialog: false,
            late: None,
        }));
    }

    /// An event of one client only, which is not kept for others.
    pub fn tell(&self, member: &Arc<Outbox>, name: &str, payload: &Value) {
        let text = event_text(name, payload).into();
        let eid = member.lock().joined;
        let session = payload["sessionKey"].as_str().map(str::to_owned);
        let dialog = name == "extension_ui_request";
        member.event(&Arc::new(Event { eid, text, session, runs: Vec::new(), settles: false, dialog, late: None }));
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
        self.send(encode(frame));
    }

    /// A webhook's event; its name was checked.
    pub fn hook(&self, event: &str, payload: &Value) {
        self.send(plain(format!("hook:{event}"), "", payload.clone()));
    }

    pub fn shutdown(&self, reason: &str, back_in: Option<Duration>) {
        let payload = json!({"reason": reason, "restartExpectedMs": back_in.map(|d| d.as_millis() as u64)});
        self.send(plain("shutdown", "", payload));
    }

    fn send(&self, e: Encoded) {
        let Encoded { name, payload, session, runs, settles, dialog, files } = e;
        let text = payload.to_string();
        let text = if files.is_some() { text } else { written(&name, &text) }.into();
        let late = files.map(|(home, file)| Box::new(Late { name, home, file }));
        let mut inner = self.lock();
        inner.eid += 1;
        if !inner.met {
            inner.lost = inner.eid;
            return;
        }
        let event = Arc::new(Event { eid: inner.eid, text, session, runs, settles, dialog, late });
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
    name: Cow<'static, str>,
    payload: Value,
    session: Option<String>,
    runs: Vec<String>,
    settles: bool,
    dialog: bool,
    /// Links have to be made: of that file, or of those that the text names.
    files: Option<(Home, Option<Spot>)>,
}

fn plain(name: impl Into<Cow<'static, str>>, session: &str, payload: Value) -> Encoded {
    let session = Some(session.to_owned()).filter(|s| !s.is_empty());
    Encoded { name: name.into(), payload, session, runs: Vec::new(), settles: false, dialog: false, files: None }
}

/// `message_event`, or `media_event` without its link.
fn posted(p: &Posted) -> Encoded {
    let Posted { session, id, run, post, home, at } = p;
    let mut payload = json!({"sessionKey": session, "id": id, "runId": run, "timestamp": at});
    let Some(file) = &post.file else {
        payload["type"] = json!("text");
        payload["text"] = json!(post.text);
        payload["replyTo"] = json!(post.reply_to);
        payload["parseMode"] = json!(post.parse_mode);
        return plain("message_event", session, payload);
    };
    payload["type"] = json!(file.kind);
    payload["filename"] = json!(file.name);
    if !post.text.is_empty() {
        payload["caption"] = json!(post.text);
    }
    let files = Spot::parse(&file.path).ok().map(|spot| (home.clone(), Some(spot)));
    Encoded { files, ..plain("media_event", session, payload) }
}

/// The core's frames as events (1.11, 2.3, R70).
fn encode(frame: &Frame) -> Encoded {
    let event = plain;
    match frame {
        Frame::Typing { session, run, on } => {
            let payload = json!({"sessionKey": session, "typing": on, "runId": run});
            Encoded { runs: vec![run.clone()], settles: !on, ..event("chat.typing", session, payload) }
        }
        Frame::Reply { session, run, runs, id, text, last, home } => {
            // As `media::shown` does it, which is asked for the links alone.
            let shown = if home.is_some() { text.trim() } else { text };
            let payload = json!({
                "sessionKey": session, "id": id, "runId": run, "runIds": runs, "text": shown, "images": [], "final": last,
            });
            let mut about = runs.clone();
            about.push(run.clone());
            let files = home.clone().filter(|_| media::names_files(text)).map(|home| (home, None));
            Encoded { runs: about, settles: true, files, ..event("chat.reply", session, payload) }
        }
        Frame::Posted(p) => posted(p),
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
        Frame::CronRun(run) => {
            let mut payload = json!({"jobId": run.job, "status": run.status, "startedAt": run.started});
            if let Some(finished) = run.finished {
                payload["finishedAt"] = json!(finished);
            }
            if let Some(error) = &run.error {
                payload["error"] = json!(error);
            }
            event("cron.run", "", payload)
        }
        Frame::CronChanged { job, action } => event("cron.changed", "", json!({"jobId": job, "action": action})),
        Frame::Reloaded => event("config.reloaded", "", json!({})),
        Frame::Channel { channel, account, state, error } => {
            let mut payload = json!({"id": channel, "accountId": account, "state": state});
            if let Some(why) = error {
                payload["error"] = json!(why);
            }
            event("channel.status", "", payload)
        }
    }
}

/// Names of all events, for `features`.
pub const EVENTS: [&str; 25] = [
    "agent",
    "live.reset",
    "chat.typing",
    "chat.reply",
    "chat.error",
    "chat.message",
    "message_event",
    "media_event",
    "session_reset",
    "session.updated",
    "session.deleted",
    "extension_ui_request",
    "extension_ui_dismissed",
    "ui.notice",
    "session.role.changed",
    "role.created",
    "role.deleted",
    "cron.run",
    "cron.changed",
    "config.reloaded",
    "channel.status",
    "presence",
    "resync",
    "shutdown",
    "tick",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_as_long_as_nobody_was_ever_there() {
        let hub = Hub::default();
        let kept = || {
            let inner = hub.lock();
            (inner.ring.len(), inner.eid, inner.lost)
        };
        hub.publish(&Frame::Reloaded);
        assert_eq!(kept(), (0, 1, 1));
        hub.lock().met = true;
        hub.publish(&Frame::Reloaded);
        assert_eq!(kept(), (1, 2, 1));
    }
}
