//! Tools called over HTTP and WebSocket: POST `/api/tools/call`, `tools.call` (gateway-api.md 1.7). There is one,
//! `delegate_to_agent`; those of plugins are not there yet. Whatever becomes of a delegation is a result, not a fault:
//! the model reads it.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::agent;
use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::json::{idempotency_key, session_key, Members};
use super::lists::short;
use super::logins::hash;
use super::port::{Entry, Permit, Port};
use super::{send, turn};
use crate::message::*;

const DELEGATE: &str = "delegate_to_agent";
/// The mind ends it before; this is for the case that the mind cannot.
pub const HELD: Duration = Duration::from_secs(290);

/// A call that was read.
pub struct Called {
    pub request: DelegateRequest,
    /// Names of the tool and of the session, for the answer.
    pub about: Value,
}

/// Reads a call. `own`: the session of the pi process that calls, and that process.
fn read(port: &Port, m: &Members, own: Option<(String, ProcId)>) -> Result<Called, Fault> {
    let name = match m.text("toolName")? {
        Some(name) => Some(name),
        None => m.text("tool")?,
    };
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| Fault::invalid("toolName is required"))?;
    let named = m.text("sessionKey")?.map(str::trim).filter(|key| !key.is_empty());
    let (session, proc, begin) = match (own, named) {
        (Some((session, proc)), _) => (session, Some(proc), false),
        (None, Some(key)) => (session_key(key)?.to_owned(), None, false),
        (None, None) => (port.settings.get().main_session.clone(), None, true),
    };
    if name != DELEGATE {
        return Err(Fault::new(500, "not_found", format!("Tool not found: {}", short(name))));
    }
    let params = Members::params(m.get("params").or_else(|| m.get("args")).cloned().unwrap_or_default())?;
    let to = params.text("agentId")?.map(str::trim).filter(|to| !to.is_empty());
    let to = to.ok_or_else(|| Fault::invalid("agentId is required"))?.to_owned();
    let task = params.text("task")?.unwrap_or_default().to_owned();
    if params.text("mode")?.is_some_and(|mode| mode != "sync") {
        return Err(Fault::invalid("mode must be sync"));
    }
    let timeout = params.number("timeoutMs")?;
    let body_hash = hash(json!([session, to, task, timeout]).to_string().as_bytes());
    let about = json!({"ok": true, "toolName": name, "sessionKey": session});
    let request = DelegateRequest { session, proc, begin, to, task, timeout, dkey: None, body_hash };
    Ok(Called { request, about })
}

/// What is answered, and whether it was answered before.
pub fn answered(mut about: Value, told: &Delegated) -> Value {
    let mut result = json!({
        "content": [{"type": "text", "text": told.text}],
        "details": {"status": told.status.as_str(), "sessionKey": told.session, "durationMs": told.took_ms},
    });
    if !told.answer {
        result["isError"] = json!(true);
    }
    about["result"] = result;
    about
}

/// `tools.call`
pub fn method(port: &Port, m: &Members) -> Result<Called, Fault> {
    let mut called = read(port, m, None)?;
    if let Some(key) = m.text("idempotencyKey")? {
        let key = idempotency_key(key)?;
        called.request.dkey = Some(format!("ws:tools:{}:{key}", called.request.session));
    }
    Ok(called)
}

/// Many that wait for other agents leave room for the tool calls of everybody else, which those agents need.
fn permit(port: &Port) -> Result<Permit, Fault> {
    match port.entry {
        Entry::Public => turn::permit(port),
        Entry::Agent(_) => {
            let most = (port.settings.get().limits.connections / 2).max(1);
            let permit = port.delegating.take(most);
            permit.ok_or_else(|| Fault::busy("Too many delegations wait for an answer"))
        }
    }
}

/// POST `/api/tools/call`
pub fn call(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = Members::body(&call.body, "Invalid JSON body")?;
    let own = match call.access {
        Access::Pi(proc) => Some((agent::session(port, call)?, proc)),
        _ => None,
    };
    let Called { mut request, about } = read(port, &m, own)?;
    request.dkey = send::dkey("tools", call, &m, &request.session)?;
    let _permit = permit(port)?;
    let pending = port.mind.submit(Request::Delegate(Box::new(request))).map_err(Fault::from_answer)?;
    let (end, peek) = (Instant::now() + HELD, port.settings.get().times.peek);
    loop {
        return match pending.wait(peek) {
            Some(Answer::Delegated(told)) => {
                let reply = Reply::json(&answered(about, &told));
                Ok(if told.replayed { reply.with("Idempotent-Replay", "true") } else { reply })
            }
            Some(other) => Err(Fault::from_answer(other)),
            None if ex.gone() => Err(Fault::new(499, "timeout", "The client left")),
            None if Instant::now() >= end => Err(Fault::new(504, "timeout", "The delegation did not end in time")),
            None => continue,
        };
    }
}
