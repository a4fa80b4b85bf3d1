//! The agent door's own rules: pi tokens instead of secrets, and the session that a token stands for
//! (gateway-api.md 1.7, 3.3). Besides this the door is the public one's code with another table of routes.

use serde_json::{json, Value};

use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::{bearer, Access};
use super::head::{form, Head};
use super::json::{session_key, Members};
use super::pi_tokens::PiTokens;
use super::port::{Entry, Port};
use crate::message::{Answer, ProcId, Request};
use crate::tools;

/// A hook of a plugin may take that long (plugins.md: `timeoutMs`), ms.
const HOOK_TIMEOUT_MS: u64 = 5_000;

/// Whose token the head presents; without `Authorization` it may be in the body that a known route takes.
pub fn access(port: &Port, tokens: &PiTokens, head: &Head, known: bool) -> Result<Access, Fault> {
    match head.field("authorization") {
        Some(value) => judge(port, tokens, bearer(value)),
        None if known && head.method == "POST" => Ok(Access::Nobody),
        None => judge(port, tokens, ""),
    }
}

fn judge(port: &Port, tokens: &PiTokens, token: &str) -> Result<Access, Fault> {
    match tokens.holder(token) {
        Some(proc) => Ok(Access::Pi(proc)),
        None => {
            std::thread::sleep(port.settings.get().times.wrong); // as for any wrong secret from loopback (R35)
            Err(Fault::unauthorized())
        }
    }
}

/// What needs the body: a token in it, if the head had none, and the sessions that the request names. They must
/// be the caller's own.
pub fn admit(port: &Port, tokens: &PiTokens, call: &mut Call) -> Result<(), Fault> {
    let members = match call.body.is_empty() {
        true => Ok(Members::default()),
        false => Members::body(&call.body, "Invalid JSON"),
    };
    if !call.access.granted() {
        let token = members.as_ref().ok().and_then(|m| m.text("token").ok().flatten());
        call.access = judge(port, tokens, token.unwrap_or_default())?;
    }
    let Access::Pi(proc) = call.access else { return Err(Fault::unauthorized()) };
    let in_body = members?.text("sessionKey")?.map(str::to_owned);
    let named = [form(&call.head.query, "sessionKey"), in_body].into_iter().flatten();
    let named: Vec<String> = named.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
    if named.is_empty() {
        return Ok(());
    }
    let own = session_of(port, proc)?;
    match named.iter().all(|key| own.as_ref() == Some(key)) {
        true => Ok(()),
        false => Err(Fault::new(403, "forbidden", "This token is of another session")),
    }
}

/// The session that the process is bound to now; `None`: it waits for one.
fn session_of(port: &Port, proc: ProcId) -> Result<Option<String>, Fault> {
    match port.mind.ask(Request::SessionOf { proc }, port.settings.get().times.ask) {
        Answer::Session(session) => Ok(session),
        other => Err(Fault::from_answer(other)),
    }
}

/// The session a request is about: of a pi process its own, else the one the query names, or the main one.
pub fn session(port: &Port, call: &Call) -> Result<String, Fault> {
    if let Access::Pi(proc) = call.access {
        let own = session_of(port, proc)?;
        return own.ok_or_else(|| Fault::new(403, "forbidden", "Invalid or inactive session"));
    }
    let named = call.head.param("sessionKey").filter(|key| !key.is_empty());
    let key = named.unwrap_or_else(|| port.settings.get().main_session.clone());
    session_key(&key)?;
    Ok(key)
}

/// What pi's extension registers when pi starts.
pub fn setup(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let Access::Pi(proc) = ex.call().access else { return Err(Fault::not_found()) };
    let session = session_of(port, proc)?;
    let tools = match &port.entry {
        Entry::Agent(tokens) => tools::offered(tokens.offer(proc)),
        Entry::Public => Vec::new(),
    };
    Ok(Reply::json(&json!({"sessionKey": session, "tools": tools, "hooks": [], "hookTimeoutMs": HOOK_TIMEOUT_MS})))
}

/// `get_session_stats` as the original's extension reads it (R26, pi-rpc.md 13): the cost is an object, and the
/// input tokens are what fills the context now, not pi's running total.
pub fn shown_stats(raw: &Value) -> Value {
    let mut stats = raw.clone();
    if let Some(cost) = raw.get("cost").filter(|c| c.is_number()) {
        stats["cost"] = json!({"total": cost});
    }
    let fill = raw.pointer("/contextUsage/tokens").filter(|n| n.is_number());
    if let (Some(fill), Some(input)) = (fill, stats.pointer_mut("/tokens/input")) {
        *input = fill.clone();
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_shown_with_a_cost_object_and_the_context_s_fill() {
        let raw = json!({"tokens": {"input": 9000, "output": 5}, "cost": 0.5, "contextUsage": {"tokens": 300}});
        let shown = shown_stats(&raw);
        assert_eq!(shown["tokens"], json!({"input": 300, "output": 5}));
        assert_eq!(shown["cost"], json!({"total": 0.5}));
        for raw in [json!({}), json!({"tokens": {"input": 1}, "contextUsage": {"tokens": null}}), json!(null)] {
            assert_eq!(shown_stats(&raw), raw);
        }
    }
}
