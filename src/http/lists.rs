//! What there is to choose from: models, tools, plugins, channels; usage and reload of a session (gateway-api.md 1.3,
//! 1.4, 1.7, 1.11). The gateway has no plugins yet: their lists are empty, and what is asked of one is not found.

use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::json::{session_key, Members};
use super::port::Port;
use super::{agent, channels, shapes};
use crate::message::{Answer, Request};

/// GET `/api/models`: of any live pi, or the last known list (R77).
pub fn models(port: &Port, ex: &mut dyn Exchange) -> Handled {
    agent::session(port, ex.call())?; // only checked: all sessions have the same models
    match port.mind.ask(Request::Models, port.settings.get().times.ask) {
        Answer::Models(raw) => Ok(Reply::json(&json!({"models": shapes::of_pi(&raw)?}))),
        other => Err(Fault::from_answer(other)),
    }
}

/// GET `/api/session/usage`: pi's figures as they are (R26 changes only `/api/session/status`).
pub fn usage(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let session = agent::session(port, ex.call())?;
    match port.mind.ask(Request::Stats { session: session.clone() }, port.settings.get().times.ask) {
        Answer::Stats { stats, .. } => {
            Ok(Reply::json(&json!({"sessionKey": session, "stats": shapes::of_pi(&stats)?})))
        }
        other => Err(Fault::from_answer(other)),
    }
}

/// What is said of a reload that was begun.
pub fn reloaded() -> Value {
    json!({"success": true, "message": "Reload command sent to agent"})
}

/// POST `/api/reload {sessionKey}` (core.md 17); its errors have `success` beside the usual members.
pub fn reload(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let done = Members::body(&call.body, "Invalid JSON body").and_then(|m| {
        let session = m.text("sessionKey")?.filter(|key| !key.is_empty());
        let session = session_key(session.ok_or_else(|| Fault::invalid("sessionKey required"))?)?.to_owned();
        match port.mind.ask(Request::ReloadPi { session }, port.settings.get().times.ask) {
            Answer::Ok => Ok(()),
            other => Err(Fault::from_answer(other)),
        }
    });
    let Err(fault) = done else { return Ok(Reply::json(&reloaded())) };
    Ok(Reply::fault_with(&fault, call, "success", json!(false)))
}

/// GET `/api/plugins` (R24).
pub fn plugins(port: &Port, _: &mut dyn Exchange) -> Handled {
    let channels = channels::ids(port);
    Ok(Reply::json(&json!({
        "channels": channels, "tools": [], "commands": [], "hooks": [], "hookDetails": [], "services": [],
    })))
}

/// `plugins.list`
pub fn plugins_method(port: &Port) -> Value {
    json!({"channels": channels::ids(port), "tools": [], "commands": [], "cliRegistrars": 0})
}

/// `{tools:[…]}`
pub fn tool_list() -> Value {
    json!({"tools": []})
}

/// GET `/api/tools`
pub fn tools(_: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&tool_list()))
}

/// `plugins.reload`
pub fn plugin_method(m: &Members) -> Result<Value, Fault> {
    let id = m.text("pluginId")?.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Fault::invalid("pluginId is required"))?;
    Err(Fault::new(404, "not_found", format!("Plugin not found: {}", short(id))))
}

/// POST `/api/plugins/reload`
pub fn reload_plugin(_: &Port, ex: &mut dyn Exchange) -> Handled {
    let m = Members::body(&ex.call().body, "Invalid JSON body")?;
    plugin_method(&m).map(|done| Reply::json(&done))
}

/// The beginning of a name that a client made up.
pub fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
