//! Chat over HTTP: one answer, or a stream of what the live view shows (gateway-api.md 1.5).

use std::time::Instant;

use serde_json::json;

use crate::live::{News, Tool};
use crate::message::{ChatReply, ChatRequest, Code, Source};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::images::{body_hash, store};
use super::json::{idempotency_key, session_key, Members};
use super::media::reply_text;
use super::port::Port;
use super::turn::{self, frame, Asked, Frames, Watch};

/// Checks everything about the request before anything is asked. `route`: an Idempotency-Key is good for it alone
/// (R50).
fn prepare(port: &Port, ex: &mut dyn Exchange, route: &str) -> Result<(Asked, Thoughts), Fault> {
    let (s, call) = (port.settings.get(), ex.call());
    let permit = turn::permit(port)?;
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
    let dkey = key.map(|key| format!("http:{route}:{}:{key}", call.access.class()));
    let abort_when_gone = m.flag("abortOnDisconnect")?;
    let thoughts = match m.text("thinking")? {
        None => Thoughts::Inline,
        Some("separate") => Thoughts::Separate,
        Some("off") => Thoughts::Off,
        Some(_) => return Err(Fault::invalid("thinking must be one of: separate, off")),
    };
    let images = store(&s, m.take("images"))?;
    let source = Source { channel: "api".into(), chat: session.clone(), sender: "api".into(), ..Source::default() };
    let request = ChatRequest {
        body_hash: body_hash(&text, &images),
        images: images.images.clone(),
        session,
        source,
        text,
        dkey,
        ..ChatRequest::default()
    };
    Ok((Asked { request, images, abort_when_gone, _permit: permit }, thoughts))
}

/// The text a user is shown. A failed turn is still an answer (1.5), a refusal is not.
pub fn outcome(reply: &ChatReply) -> Result<String, Fault> {
    match &reply.error {
        None => Ok(reply.text.clone()),
        Some((code, message)) => match code {
            Code::QueueFull
            | Code::PoolExhausted
            | Code::Busy
            | Code::ShuttingDown
            | Code::StoreFailing
            | Code::Conflict => Err(Fault::from_code(*code, message.clone())),
            _ if reply.text.is_empty() => Ok(format!("Error: {message}")),
            _ if reply.text.starts_with("Error") => Ok(reply.text.clone()),
            _ => Ok(format!("Error: {}", reply.text)),
        },
    }
}

/// POST `/api/chat`
pub fn whole(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let begun = Instant::now();
    let (mut asked, _) = prepare(port, ex, "chat")?;
    let accepted = asked.accept(port)?;
    let reply = turn::wait(port, ex, &asked, &accepted)?;
    let text = reply_text(port, &accepted.session, outcome(&reply)?);
    let out = Reply::json(&json!({
        "ok": true, "reply": text, "sessionKey": accepted.session, "duration": begun.elapsed().as_millis() as u64,
        "runId": accepted.run,
    }));
    Ok(turn::named(out, &accepted))
}

/// POST `/api/chat/stream`
pub fn stream(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let begun = Instant::now();
    let (mut asked, thoughts) = prepare(port, ex, "stream")?;
    let watch = Watch::open(port, &asked);
    let accepted = asked.accept(port)?;
    let session = &accepted.session;
    let mut show = Show { port, session, begun, out: String::new(), thoughts, thinking: false, said: false };
    turn::stream(port, ex, &asked, &accepted, watch, &mut show)
}

/// How a stream tells what the model thinks (R68).
#[derive(Clone, Copy, PartialEq)]
enum Thoughts {
    /// As text between `<think>` and `</think>`, as in the original.
    Inline,
    /// In frames of their own.
    Separate,
    Off,
}

/// Turns news of the live view into frames.
struct Show<'a> {
    port: &'a Port,
    session: &'a str,
    begun: Instant,
    out: String,
    thoughts: Thoughts,
    thinking: bool,
    said: bool,
}

impl Show<'_> {
    fn delta(&mut self, text: &str) {
        self.out += &frame(&json!({"type": "delta", "text": text}));
    }

    fn think(&mut self, on: bool) {
        if self.thinking != on {
            self.delta(if on { "\n<think>\n" } else { "\n</think>\n" });
            self.thinking = on;
        }
    }

    fn tool_end(&mut self, tool: &Tool) {
        if tool.done {
            self.out += &frame(&json!({"type": "tool_end", "name": tool.name, "isError": tool.error}));
        }
    }
}

impl Frames for Show<'_> {
    fn note(&mut self, news: &News) {
        match news {
            News::Text { delta, .. } => {
                self.think(false);
                self.said = true;
                self.delta(delta);
            }
            News::Thinking { delta, .. } => match self.thoughts {
                Thoughts::Inline => {
                    self.think(true);
                    self.delta(delta);
                }
                Thoughts::Separate => self.out += &frame(&json!({"type": "thinking", "text": delta})),
                Thoughts::Off => {}
            },
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

    fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn last(&mut self, reply: Result<ChatReply, Fault>) -> String {
        self.think(false);
        let reply = match reply {
            Ok(reply) => ChatReply { text: reply_text(self.port, self.session, reply.text), ..reply },
            Err(fault) => {
                self.out += &frame(&json!({"type": "error", "error": fault.message, "code": fault.code}));
                return self.take();
            }
        };
        if let Some((code, message)) = &reply.error {
            self.out += &frame(&json!({"type": "error", "error": message, "code": code.as_str()}));
            if let Err(fault) = outcome(&reply) {
                log::debug!("stream of {}: {}", reply.run, fault.message);
                return self.take();
            }
        } else if !self.said && !reply.text.is_empty() {
            self.delta(&reply.text); // an earlier reply, or one without a live view
        }
        let took = self.begun.elapsed().as_millis() as u64;
        self.out += &frame(&json!({"type": "done", "reply": reply.text, "duration": took}));
        self.take()
    }

    fn comment(&self) -> &'static str {
        ": waiting\n\n"
    }
}
