//! Chat over HTTP: one answer, or a stream of what the live view shows (gateway-api.md 1.5).

use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};
use serde_json::{json, Value};

use crate::ask::Pending;
use crate::live::News;
use crate::message::{Answer, ChatReply, ChatRequest, Code, Request, Row, Source};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::images::{body_hash, store, Stored};
use super::json::{idempotency_key, session_key, Members};
use super::media::reply_text;
use super::port::{Permit, Port};

/// Live text taken in one look.
const STEP: usize = 16 << 10;

struct Asked {
    request: ChatRequest,
    images: Stored,
    session: String,
    abort_when_gone: bool,
    _permit: Permit,
}

/// Checks everything about the request before anything is asked.
fn prepare(port: &Port, ex: &mut dyn Exchange) -> Result<Asked, Fault> {
    let (s, call) = (port.settings.get(), ex.call());
    let permit = port.waiting.take(s.limits.waiting);
    let permit = permit.ok_or_else(|| Fault::busy("Too many requests wait for an answer"))?;
    let mut m = Members::body(&call.body, "Invalid JSON body")?;
    let text = m.text("message")?.unwrap_or_default().to_owned();
    if text.is_empty() {
        return Err(Fault::invalid("message is required"));
    }
    let session = session_key(m.text("sessionKey")?.unwrap_or(&s.main_session))?;
    let (session, text) = s.addressed(session, text);
    let key = match call.head.field("idempotency-key") {
        Some(key) => Some(key),
        None => m.text("idempotencyKey")?,
    };
    let key = key.map(idempotency_key).transpose()?;
    let dkey = key.map(|key| format!("http:chat:{}:{key}", call.access.class()));
    let abort_when_gone = m.flag("abortOnDisconnect")?;
    let images = store(&s, m.take("images"))?;
    let source = Source { channel: "api".into(), chat: session.clone(), sender: "api".into(), ..Source::default() };
    let request = ChatRequest {
        body_hash: body_hash(&text, &images),
        images: images.images.clone(),
        session: session.clone(),
        source,
        text,
        dkey,
    };
    Ok(Asked { request, images, session, abort_when_gone, _permit: permit })
}

struct Accepted {
    row: Row,
    run: String,
    replayed: bool,
}

impl Asked {
    /// Hands the message over and waits until it is on disk.
    fn accept(&mut self, port: &Port) -> Result<Accepted, Fault> {
        let request = Request::Chat(Box::new(std::mem::take(&mut self.request)));
        match port.mind.ask(request, port.settings.get().times.accept) {
            Answer::Accepted { row, run, replayed } => {
                if !replayed {
                    self.images.keep(); // a repeat has its pictures already
                }
                Ok(Accepted { row, run, replayed })
            }
            other => {
                if matches!(&other, Answer::Error { code: Code::Timeout, .. }) {
                    self.images.keep(); // it may still be accepted
                }
                Err(Fault::from_answer(other))
            }
        }
    }

    fn left(&self, port: &Port) {
        if self.abort_when_gone {
            let _ = port.mind.submit(Request::Abort { session: self.session.clone() });
            // best effort, by its name
        }
    }
}

/// The text a user is shown. A failed turn is still an answer (1.5), a refusal is not.
fn outcome(reply: &ChatReply) -> Result<String, Fault> {
    match &reply.error {
        None => Ok(reply.text.clone()),
        Some((code, message)) => match code {
            Code::QueueFull | Code::PoolExhausted | Code::Busy | Code::ShuttingDown | Code::StoreFailing => {
                Err(Fault::from_code(*code, message.clone()))
            }
            _ if reply.text.is_empty() => Ok(format!("Error: {message}")),
            _ if reply.text.starts_with("Error") => Ok(reply.text.clone()),
            _ => Ok(format!("Error: {}", reply.text)),
        },
    }
}

/// POST `/api/chat`
pub fn whole(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let begun = Instant::now();
    let mut asked = prepare(port, ex)?;
    let accepted = asked.accept(port)?;
    let pending = port.mind.submit(Request::Wait { row: accepted.row }).map_err(Fault::from_answer)?;
    let times = port.settings.get().times.clone();
    let end = begun + times.reply;
    let answer = loop {
        if let Some(answer) = pending.wait(times.peek) {
            break answer;
        }
        if ex.gone() {
            asked.left(port);
            return Err(Fault::new(499, "timeout", "The client left"));
        }
        if Instant::now() >= end {
            return Err(Fault::new(504, "timeout", "No reply in time; ask again with the same Idempotency-Key"));
        }
    };
    let Answer::Reply(reply) = answer else { return Err(Fault::from_answer(answer)) };
    let text = reply_text(port, &asked.session, outcome(&reply)?);
    let out = Reply::json(&json!({
        "ok": true, "reply": text, "sessionKey": asked.session, "duration": begun.elapsed().as_millis() as u64,
        "runId": accepted.run,
    }));
    Ok(if accepted.replayed { out.with("Idempotent-Replay", "true") } else { out })
}

/// POST `/api/chat/stream`
pub fn stream(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let begun = Instant::now();
    let mut asked = prepare(port, ex)?;
    // watch before the message is handed over: the first words may come at once (R20)
    let live = port.board.open(&asked.session);
    let mut at = live.now();
    let (ring, bell) = bounded(1);
    port.board.watch(ring);
    let accepted = asked.accept(port)?;
    let pending = port.mind.submit(Request::Wait { row: accepted.row }).map_err(Fault::from_answer)?;

    let head = Reply::new(200).with("Content-Type", "text/event-stream; charset=utf-8");
    let head = head.with("Cache-Control", "no-cache").with("X-Accel-Buffering", "no");
    let head = if accepted.replayed { head.with("Idempotent-Replay", "true") } else { head };
    if ex.begin(head).is_err() {
        return Ok(Reply::streamed());
    }
    let mut show = Show { run: accepted.run, ..Show::default() };
    let mut pace = Pace::new(port, begun);
    loop {
        let answer = wake(&pending, &bell, pace.peek);
        while show.pass(&live.read(&mut at, STEP)) {
            if !show.out.is_empty() && pace.sent(ex.send(std::mem::take(&mut show.out).as_bytes())).is_err() {
                break;
            }
        }
        if let Some(answer) = answer {
            let answer = match answer {
                Answer::Reply(mut reply) => {
                    reply.text = reply_text(port, &asked.session, std::mem::take(&mut reply.text));
                    Answer::Reply(reply)
                }
                other => other,
            };
            let last = show.last(answer, begun);
            let _ = ex.send(last.as_bytes()); // the stream ends either way
            return Ok(Reply::streamed());
        }
        if pace.due(ex).is_err() {
            asked.left(port);
            return Ok(Reply::streamed());
        }
    }
}

/// Waits for the answer, a change of the view, or the time to look after the connection.
fn wake(pending: &Pending, bell: &Receiver<()>, wait: Duration) -> Option<Answer> {
    crossbeam_channel::select! {
        recv(pending.receiver()) -> answer => {
            let gone = || Answer::Error { code: Code::ShuttingDown, message: "The gateway is stopping.".into() };
            Some(answer.unwrap_or_else(|_| gone()))
        }
        recv(bell) -> _ => None,
        default(wait) => None,
    }
}

/// When to look whether the client left, to send a comment, and to give up.
struct Pace {
    peek: Duration,
    comment: Duration,
    end: Instant,
    /// Sent something; looked after the client.
    last: Instant,
    looked: Instant,
    broken: bool,
}

impl Pace {
    fn new(port: &Port, begun: Instant) -> Pace {
        let t = &port.settings.get().times;
        Pace { peek: t.peek, comment: t.comment, end: begun + t.reply, last: begun, looked: begun, broken: false }
    }
    fn sent(&mut self, result: std::io::Result<()>) -> std::io::Result<()> {
        self.last = Instant::now();
        self.broken |= result.is_err();
        result
    }
    fn due(&mut self, ex: &mut dyn Exchange) -> Result<(), ()> {
        if self.broken {
            return Err(());
        }
        // bells of other sessions must not keep us from it
        if self.looked.elapsed() < self.peek {
            return Ok(());
        }
        self.looked = Instant::now();
        if ex.gone() {
            return Err(());
        }
        if Instant::now() >= self.end {
            let _ = ex.send(frame(&json!({"type": "error", "error": "No reply in time"})).as_bytes());
            return Err(());
        }
        if self.last.elapsed() >= self.comment {
            return self.sent(ex.send(b": waiting\n\n")).map_err(|_| ());
        }
        Ok(())
    }
}

fn frame(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// Turns news of the live view into frames.
#[derive(Default)]
struct Show {
    run: String,
    out: String,
    thinking: bool,
    said: bool,
}

impl Show {
    /// Notes what is news of this run; `false`: nothing more to see now.
    fn pass(&mut self, news: &[News]) -> bool {
        for n in news {
            self.note(n);
        }
        !news.is_empty()
    }

    fn delta(&mut self, text: &str) {
        self.out += &frame(&json!({"type": "delta", "text": text}));
    }

    fn think(&mut self, on: bool) {
        if self.thinking != on {
            self.delta(if on { "\n<think>\n" } else { "\n</think>\n" });
            self.thinking = on;
        }
    }

    fn note(&mut self, news: &News) {
        let (News::Restart { run }
        | News::Text { run, .. }
        | News::Thinking { run, .. }
        | News::ThinkingEnd { run }
        | News::ToolStart { run, .. }
        | News::ToolChange { run, .. }
        | News::Event { run, .. }) = news;
        if *run != self.run {
            return;
        }
        match news {
            News::Text { delta, .. } => {
                self.think(false);
                self.said = true;
                self.delta(delta);
            }
            News::Thinking { delta, .. } => {
                self.think(true);
                self.delta(delta);
            }
            News::ThinkingEnd { .. } => self.think(false),
            News::ToolStart { tool, .. } => {
                self.think(false);
                let label = if tool.label.is_empty() { &tool.name } else { &tool.label };
                self.out += &frame(&json!({"type": "tool", "name": tool.name, "label": label}));
                self.tool_end(tool);
            }
            News::ToolChange { tool, .. } => self.tool_end(tool),
            // what was shown cannot be taken back here: the reply of `done` counts
            News::Restart { .. } | News::Event { .. } => {}
        }
    }

    fn tool_end(&mut self, tool: &crate::live::Tool) {
        if tool.done {
            self.out += &frame(&json!({"type": "tool_end", "name": tool.name, "isError": tool.error}));
        }
    }

    /// The frames that end the stream.
    fn last(&mut self, answer: Answer, begun: Instant) -> String {
        self.think(false);
        let reply = match answer {
            Answer::Reply(reply) => *reply,
            other => {
                let fault = Fault::from_answer(other);
                return std::mem::take(&mut self.out)
                    + &frame(&json!({"type": "error", "error": fault.message, "code": fault.code}));
            }
        };
        if let Some((code, message)) = &reply.error {
            self.out += &frame(&json!({"type": "error", "error": message, "code": code.as_str()}));
            if let Err(fault) = outcome(&reply) {
                log::debug!("stream of {}: {}", self.run, fault.message);
                return std::mem::take(&mut self.out);
            }
        } else if !self.said && !reply.text.is_empty() {
            self.delta(&reply.text); // an earlier reply, or one without a live view
        }
        let took = begun.elapsed().as_millis() as u64;
        self.out += &frame(&json!({"type": "done", "reply": reply.text, "duration": took}));
        std::mem::take(&mut self.out)
    }
}
