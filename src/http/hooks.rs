//! Webhooks: programs that wake a session or tell the pages something (gateway-api.md 1.9, R6, R50, R74; core.md 14).

use ring::hmac;
use serde_json::{json, Value};

use super::chat::outcome;
use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::{bearer, same, Access, Peer};
use super::head::Head;
use super::json::{idempotency_key, session_key, Members};
use super::logins::hash;
use super::port::Port;
use super::settings::{Hooks, Settings};
use super::status::fetch;
use super::turn;
use crate::message::{Answer, ChatRequest, Code, Request, Source};

const SIGNATURE: &str = "x-hub-signature-256";
/// Longest name of an event.
const NAME: usize = 64;

/// The route's pattern for a path below `hooks.path`.
pub fn below(hooks: &Hooks, path: &str) -> Option<String> {
    let rest = path.strip_prefix(&hooks.path)?;
    rest.starts_with('/').then(|| format!("{{hooks}}{rest}"))
}

/// How a webhook is let in by its head: its own token, the gateway's secret, or, if it brings a signature, not yet.
/// Where it has no key of its own, whatever lets others in lets it in.
pub fn access(port: &Port, s: &Settings, head: &Head, peer: &Peer) -> Result<Access, Fault> {
    if !s.hooks.enabled {
        return Err(Fault::new(403, "forbidden", "Webhooks disabled"));
    }
    let own = head.field("x-hook-token").or_else(|| head.field("authorization").map(bearer));
    if let (Some(expected), Some(own)) = (&s.hooks.token, own) {
        port.guard.patient(peer.addr)?;
        if same(own, expected) {
            return Ok(Access::Hook);
        }
    }
    if s.hooks.secret.is_some() && head.field(SIGNATURE).is_some() {
        port.guard.patient(peer.addr)?;
        let presented = s.auth.secret().zip(head.field("authorization"));
        let secret = presented.is_some_and(|(expected, value)| same(bearer(value), expected));
        return Ok(if secret { Access::Bearer } else { Access::Nobody });
    }
    let keyless = s.hooks.token.is_none() && s.hooks.secret.is_none();
    match port.guard.access(s, head, peer)? {
        Access::Nobody => Err(port.guard.wrong(s, peer.addr)),
        Access::Open | Access::Local if !keyless => Err(port.guard.wrong(s, peer.addr)),
        access => Ok(access),
    }
}

/// The access by what the body adds to the head.
fn admitted(port: &Port, call: &Call) -> Result<Access, Fault> {
    if call.access.granted() {
        return Ok(call.access);
    }
    let s = port.settings.get();
    port.guard.patient(call.peer.addr)?;
    let signature = call.head.field(SIGNATURE).and_then(|value| {
        let (algorithm, hex) = value.trim().split_once('=')?;
        unhex(hex).filter(|_| algorithm.eq_ignore_ascii_case("sha256"))
    });
    let right = s.hooks.secret.as_ref().zip(signature).is_some_and(|(secret, signature)| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, &call.body, &signature).is_ok()
    });
    match right {
        true => Ok(Access::Hook),
        false => Err(port.guard.wrong(&s, call.peer.addr)),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [a, b] => u8::try_from(digit(*a)? * 16 + digit(*b)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

fn body(call: &Call) -> Result<Members, Fault> {
    Members::body(&call.body, "").map_err(|_| Fault::invalid("Invalid request body"))
}

/// POST `<hooks.path>/event {event, payload?}`: to all pages, as `hook:EVENT`.
pub fn event(port: &Port, ex: &mut dyn Exchange) -> Handled {
    admitted(port, ex.call())?;
    let mut m = body(ex.call())?;
    let event = m.text("event")?.unwrap_or_default().to_owned();
    if event.is_empty() {
        return Err(Fault::invalid("event is required"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if event.len() > NAME || !event.bytes().all(plain) {
        return Err(Fault::invalid("event: 1 to 64 letters, digits and ._:-"));
    }
    port.hub.hook(&event, &m.take("payload").unwrap_or_else(|| json!({})));
    Ok(Reply::json(&json!({"ok": true, "event": event})))
}

/// May a webhook begin this session?
fn may_begin(s: &Settings, key: &str) -> bool {
    let listed = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => pattern == key,
    };
    key == s.main_session || s.hooks.sessions.iter().any(listed)
}

/// POST `<hooks.path>/wake {text, sessionKey?, deliver?, wait?}`: a message `[WEBHOOK] text` of low priority. Its
/// reply goes to the session's last chat, unless `deliver` is false. The answer comes when the message is stored
/// (202), or with `wait` when it is answered (200).
pub fn wake(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let access = admitted(port, ex.call())?;
    let s = port.settings.get();
    let call = ex.call();
    let m = body(call)?;
    let text = m.text("text")?.unwrap_or_default();
    if text.trim().is_empty() {
        return Err(Fault::invalid("text is required"));
    }
    let session = session_key(m.text("sessionKey")?.unwrap_or(&s.main_session))?.to_owned();
    let (wait, deliver) = (m.flag("wait")?, m.get("deliver").is_none() || m.flag("deliver")?);
    let key = match call.head.field("idempotency-key") {
        Some(key) => Some(key),
        None => m.text("idempotencyKey")?,
    };
    let dkey = key.map(idempotency_key).transpose()?.map(|key| format!("http:hook:{}:{key}", access.class()));
    let there = fetch(port, session.clone())?;
    let nowhere = || Source { channel: "api".into(), chat: session.clone(), ..Source::default() };
    let source = there.and_then(|info| info.last).filter(|_| deliver).unwrap_or_else(nowhere);
    let request = ChatRequest {
        body_hash: hash(format!("{session}\n{deliver}\n{text}").as_bytes()),
        source: Source { sender: "webhook".into(), sender_name: None, message_id: None, ..source },
        text: format!("[WEBHOOK] {text}"),
        session: session.clone(),
        dkey,
        known_only: !may_begin(&s, &session),
        ..ChatRequest::default()
    };
    let permit = match wait {
        false => None,
        true => Some(turn::permit(port)?),
    };
    let (row, run, replayed) = match port.mind.ask(Request::Webhook(Box::new(request)), s.times.accept) {
        Answer::Accepted { row, run, replayed } => (row, run, replayed),
        Answer::Error { code: Code::QueueFull, .. } => {
            let fault = Fault::from_code(Code::QueueFull, "Queue full");
            return Ok(Reply::fault_with(&fault, ex.call(), "sessionKey", json!(session)));
        }
        other => return Err(Fault::from_answer(other)),
    };
    let mut body = json!({"ok": true, "sessionKey": session, "id": run});
    let status = match permit {
        None => 202,
        Some(_held) => {
            let reply = turn::reply(port, ex, row, || ())?;
            body["reply"] = Value::from(outcome(&reply)?);
            200
        }
    };
    let reply = Reply::json(&body).status(status);
    Ok(if replayed { reply.with("Idempotent-Replay", "true") } else { reply })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_prefix_become_patterns() {
        let hooks = Hooks { path: "/in".into(), ..Hooks::default() };
        assert_eq!(below(&hooks, "/in/wake").as_deref(), Some("{hooks}/wake"));
        assert_eq!(
            (below(&hooks, "/in"), below(&hooks, "/inner/wake"), below(&hooks, "/hooks/wake")),
            (None, None, None)
        );
    }

    #[test]
    fn signatures_are_hex_in_either_case() {
        assert_eq!(unhex("00fFa1"), Some(vec![0, 255, 161]));
        assert_eq!((unhex("0"), unhex("+f"), unhex("")), (None, None, Some(Vec::new())));
    }
}
