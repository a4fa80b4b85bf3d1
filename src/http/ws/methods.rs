//! The methods of the WebSocket (1.11, 2.3, 2.7). The reader calls them; they never wait for the mind:
//! what it must answer goes to the connection's desk, and the writer sends the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};

use super::calls::{self, Call, Finish};
use super::cron;
use super::frames;
use super::hello::{session_keys, Hello};
use super::history;
use super::hub::EVENTS;
use super::more;
use super::out::Outbox;
use crate::http::fault::Fault;
use crate::http::guard::{wall, Access};
use crate::http::images::{body_hash, store};
use crate::http::json::{idempotency_key, session_key, Members};
use crate::http::port::Port;
use crate::http::settings::Auth;
use crate::http::status;
use crate::message::{ChatRequest, Request, Source, UiAnswer};

/// Names of all methods, for `features`.
const METHODS: [&str; 25] = [
    "connect",
    "ping",
    "config.get",
    "config.reload",
    "health",
    "status",
    "subscribe",
    "chat.send",
    "chat.abort",
    "chat.history",
    "session.live",
    "sessions.list",
    "sessions.get",
    "sessions.delete",
    "sessions.reset",
    "sessions.rename",
    "sessions.compact",
    "session.resume",
    "session.close",
    "session.think",
    "session.model",
    "models.list",
    "usage.status",
    "commands.list",
    "extension_ui_response",
];
const HISTORY: u64 = 200;
const MOST_HISTORY: u64 = 500;

/// What an authenticated method gives: its payload now, or nothing because the writer answers later.
pub(super) type Given = Result<Option<Value>, Fault>;

/// One connection, as its methods see it.
pub struct Session {
    pub port: Arc<Port>,
    pub out: Arc<Outbox>,
    addr: IpAddr,
}

impl Session {
    pub fn new(port: Arc<Port>, out: Arc<Outbox>, addr: IpAddr) -> Session {
        Session { port, out, addr }
    }

    pub fn authenticated(&self) -> bool {
        self.out.lock().access.is_some()
    }

    pub fn res(&self, id: &Value, result: Option<Result<Value, Fault>>) {
        if let Some(result) = result {
            let objects = self.out.lock().objects;
            self.out.direct(frames::res(id, result, objects));
        }
    }

    /// Serves one request; `None`: the answer comes later, or went out already.
    pub fn call(&self, id: &Value, method: &str, params: Value) -> Option<Result<Value, Fault>> {
        let result = match method {
            "connect" => return self.connect(id, params),
            "ping" => Ok(Some(json!({"ts": wall()}))),
            _ if !self.authenticated() => Err(Fault::unauthorized()),
            _ => Members::params(params).and_then(|m| self.method(id, method, m)),
        };
        self.out.greeted();
        result.transpose()
    }

    // ---------------------------------------------------------------- connect

    fn connect(&self, id: &Value, params: Value) -> Option<Result<Value, Fault>> {
        let hello = match Hello::read(params) {
            Ok(hello) => hello,
            Err(fault) => return Some(Err(fault)), // nothing was tried: the connection stays as it was
        };
        match self.enter(&hello) {
            Err(fault) => {
                let mut s = self.out.lock();
                let frame = frames::res(id, Err(fault), s.objects);
                s.close_after(frame, 4001, "Unauthorized");
                drop(s);
                self.out.ring();
            }
            Ok(()) => {
                let (payload, resync) = self.welcome(hello);
                self.res(id, Some(Ok(payload)));
                if resync {
                    self.port.hub.resync(&self.out);
                }
                self.out.greeted();
            }
        }
        None
    }

    /// Checks the secret, if one is needed or given.
    fn enter(&self, hello: &Hello) -> Result<(), Fault> {
        let s = self.port.settings.get();
        let known = self.authenticated();
        match (&hello.secret, &s.auth) {
            (Some(secret), Auth::Token(_) | Auth::Password(_)) => self.port.guard.check(&s, self.addr, secret)?,
            _ if known => {}
            _ => return Err(Fault::unauthorized()),
        }
        if !known {
            self.out.greet(); // so that what was missed can come first
            self.port.hub.join(&self.out, Access::Bearer);
            self.pending_dialogs(false);
        }
        Ok(())
    }

    /// The payload, and whether the client must be told that events are lost to it.
    fn welcome(&self, hello: Hello) -> (Value, bool) {
        let (port, s) = (&self.port, self.port.settings.get());
        if let Some(sessions) = hello.subscribe {
            self.out.lock().interest.subscribe(sessions);
            self.pending_dialogs(true);
        }
        let mut out = self.out.lock();
        out.objects = hello.objects;
        out.raw = hello.raw;
        drop(out);
        let resume = hello.resume;
        let resumed = resume.as_ref().is_some_and(|(epoch, eid)| port.hub.resume(&self.out, epoch, *eid));
        let last = self.out.lock().joined;
        let mode = match s.auth {
            Auth::Off => "off",
            Auth::Token(_) => "token",
            Auth::Password(_) => "password",
        };
        let payload = json!({
            "protocol": 1, "server": {"name": "pi-gateway", "version": s.version}, "connId": self.out.id,
            "epoch": port.hub.epoch, "lastEid": last, "resumed": resumed,
            "features": {"methods": METHODS.iter().chain(&more::METHODS).chain(&cron::METHODS).collect::<Vec<_>>(), "events": EVENTS},
            "policy": {
                "maxPayload": s.limits.ws_message, "maxBufferedBytes": s.limits.ws_bytes,
                "tickIntervalMs": s.times.ws_tick.as_millis() as u64,
            },
            "auth": {"role": "operator", "mode": mode},
            "demo": s.agent.demo, "agent": {"kind": s.agent.kind, "version": s.agent.version},
        });
        (payload, resume.is_some() && !resumed)
    }

    /// Dialogs that were opened before this client came; `of_others`: those of other channels only, which it may see
    /// since it subscribed to them (R16).
    pub fn pending_dialogs(&self, of_others: bool) {
        calls::pending_dialogs(&self.out, &self.port.mind, of_others, self.port.settings.get().times.ask);
    }

    // ---------------------------------------------------------------- the others

    fn method(&self, id: &Value, method: &str, m: Members) -> Given {
        let ok = || Finish::Ok(json!({"ok": true}));
        match method {
            "health" | "status" => Ok(Some(status::health_body(&self.port, true, true).1)),
            "config.get" => Ok(Some(self.port.operator.config())),
            "config.reload" => {
                let done = self.port.operator.reload();
                done.map(|()| Some(json!({"ok": true}))).map_err(|why| Fault::new(500, "internal", why))
            }
            "subscribe" => self.subscribe(&m),
            "chat.send" => self.send(id, m),
            "chat.abort" => {
                let session = self.web_session(&m)?;
                self.ask(id, Request::Abort { session }, ok(), true)
            }
            "chat.history" => self.history(&m),
            "session.live" => {
                let session = self.web_session(&m)?;
                self.ask(id, Request::Dialogs { session: Some(session.clone()) }, Finish::Live(session), false)
            }
            "extension_ui_response" => {
                let dialog = m.text("id")?.ok_or_else(|| Fault::invalid("id is required"))?.to_owned();
                self.ask(id, Request::Ui { id: dialog, answer: ui_answer(&m)? }, Finish::Flag, true)
            }
            _ => match self.call_more(id, method, &m) {
                Some(given) => given,
                None => self.session_method(id, method, &m),
            },
        }
    }

    pub(super) fn ask(&self, id: &Value, request: Request, finish: Finish, urgent: bool) -> Given {
        let wait = self.port.settings.get().times.ask;
        calls::ask(&self.out, &self.port.mind, Call { id: id.clone(), request, finish, wait, urgent })?;
        Ok(None)
    }

    pub(super) fn web_session(&self, m: &Members) -> Result<String, Fault> {
        let s = self.port.settings.get();
        Ok(session_key(m.text("sessionKey")?.unwrap_or(&s.web_session))?.to_owned())
    }

    fn subscribe(&self, m: &Members) -> Given {
        let keys = session_keys("sessions", m.get("sessions").unwrap_or(&Value::Null))?;
        self.out.lock().interest.subscribe(keys);
        self.pending_dialogs(true);
        Ok(Some(json!({"ok": true})))
    }

    fn send(&self, id: &Value, mut m: Members) -> Given {
        let s = self.port.settings.get();
        if self.port.draining() {
            return Err(Fault::new(503, "shutting_down", "The gateway is stopping; try again in a moment").retry(5));
        }
        let asked = self.web_session(&m)?;
        let (session, text) = s.addressed(&asked, m.text("text")?.unwrap_or_default().to_owned());
        let key = m.text("idempotencyKey")?.map(idempotency_key).transpose()?;
        let dkey = key.map(|key| format!("web:{session}:{key}"));
        let images = store(&s, m.take("images"))?;
        if text.is_empty() && images.images.is_empty() {
            return Err(Fault::invalid("text is required"));
        }
        // All behind the channel, so that `…:webchat:x` and `…:webchat:dm:x` are two chats.
        let tab = session.split_once(":webchat:").map(|(_, tab)| tab).or_else(|| session.rsplit(':').next());
        let tab = tab.unwrap_or("default").to_owned();
        let source = Source { channel: "webchat".into(), chat: tab, sender: "web".into(), ..Source::default() };
        let body_hash = body_hash(&text, &images);
        let pictures = images.images.clone();
        let session_key = session.clone();
        let request = ChatRequest {
            session: session_key,
            source,
            text,
            images: pictures,
            dkey,
            body_hash,
            ..ChatRequest::default()
        };
        {
            let mut s = self.out.lock();
            s.interest.uses(&session);
            s.holds += 1;
        }
        let elsewhere = (session != asked).then_some(session);
        let wait: Duration = s.times.accept;
        let (request, finish) = (Request::Chat(Box::new(request)), Finish::Send { images, elsewhere });
        let asked =
            calls::ask(&self.out, &self.port.mind, Call { id: id.clone(), request, finish, wait, urgent: false });
        if asked.is_err() {
            self.out.release();
        }
        asked.map(|()| None)
    }

    fn history(&self, m: &Members) -> Given {
        let session = self.web_session(m)?;
        let limit = m.number("limit")?.unwrap_or(HISTORY).clamp(1, MOST_HISTORY) as usize;
        self.out.lock().interest.uses(&session);
        let list = self.port.mailbox.history(&session, limit, m.text("before")?).map_err(|why| {
            log::error!("history of {session}: {why}");
            Fault::new(503, "store_failing", "The history could not be read").retry(5)
        })?;
        let asked = list.len();
        let list = history::told(&self.port, list, m.flag("raw")?);
        let more = list.len() < asked || asked >= limit;
        let messages = history::messages(&self.port, &session, list);
        let running = self.port.board.get(&session).is_some_and(|l| l.active());
        Ok(Some(json!({"messages": messages, "running": running, "limit": limit, "more": more})))
    }
}

/// Exactly one of value, confirmed, cancelled (R15).
fn ui_answer(m: &Members) -> Result<UiAnswer, Fault> {
    if m.flag("cancelled")? {
        return Ok(UiAnswer::Cancelled);
    }
    if m.get("confirmed").is_some() {
        return m.flag("confirmed").map(UiAnswer::Confirmed);
    }
    match m.get("value") {
        Some(Value::String(text)) => Ok(UiAnswer::Value(text.clone())),
        Some(Value::Bool(yes)) => Ok(UiAnswer::Confirmed(*yes)),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<_>>();
            texts.map(UiAnswer::Values).ok_or_else(|| Fault::invalid("value must be a string or an array of strings"))
        }
        _ => Err(Fault::invalid("value, confirmed or cancelled is required")),
    }
}
