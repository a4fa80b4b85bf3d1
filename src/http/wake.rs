//! POST `/api/wake`: something an agent is to learn of, though nobody wrote (gateway-api.md 1.8, R79; core.md 14).

use serde_json::json;

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::json::Members;
use super::port::Port;
use crate::message::{Answer, Request};

/// `{text, mode}`; any mode but `now` waits for the next heartbeat.
pub fn wake(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = Members::body(&call.body, "Invalid request body")?;
    let text = m.text("text")?.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Fault::invalid("text is required"))?.to_owned();
    let now = m.get("mode").and_then(|mode| mode.as_str()) == Some("now");
    let by = match call.access {
        Access::Pi(proc) => Some(proc),
        _ => None,
    };
    match port.mind.ask(Request::Wake { by, text, now }, port.settings.get().times.accept) {
        Answer::Session(Some(session)) => {
            let mode = if now { "now" } else { "next-heartbeat" };
            Ok(Reply::json(&json!({"ok": true, "mode": mode, "sessionKey": session})))
        }
        other => Err(Fault::from_answer(other)),
    }
}
