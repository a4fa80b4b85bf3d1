//! News of a live view as pi's own events, the way pages know them (1.11, R14). Pure.

use serde_json::{json, Map, Value};

use crate::live::{Item, News, Tool, View};

use super::hub::{event_text, written};
use super::partial::Partial;

/// Event frames (without their last part) for one piece of news; with `partial`, the message so far goes along
/// with its updates.
pub fn frames(session: &str, news: &News, partial: Option<&mut Partial>, out: &mut Vec<String>) {
    let so_far = partial.and_then(|p| p.take(news));
    let update = |run: &str, kind: &str, delta: &str| update(session, run, kind, delta, so_far.as_ref());
    match news {
        News::Restart { run } => {
            out.push(event_text("live.reset", &json!({"sessionKey": session, "runId": run})));
        }
        News::Text { run, delta } => out.push(update(run, "text_delta", delta)),
        News::Thinking { run, delta, first } => {
            if *first {
                out.push(update(run, "thinking_start", ""));
            }
            out.push(update(run, "thinking_delta", delta));
        }
        News::ThinkingEnd { run } => out.push(update(run, "thinking_end", "")),
        News::ToolStart { run, tool } => {
            let mut start = tool_event("tool_execution_start", tool);
            start.insert("args".into(), args(&tool.args));
            if !tool.label.is_empty() {
                start.insert("label".into(), json!(tool.label));
            }
            out.push(agent(session, run, start));
            if tool.done {
                out.push(tool_end(session, run, tool));
            } else if !tool.output.is_empty() {
                out.push(tool_update(session, run, tool));
            }
        }
        News::ToolChange { run, tool } if tool.done => out.push(tool_end(session, run, tool)),
        News::ToolChange { run, tool } => out.push(tool_update(session, run, tool)),
        // An object's text: it may be long, and is not taken apart for this.
        News::Event { run, json } => match json.strip_prefix('{') {
            Some(rest) => {
                let (session, run) = (json!(session), json!(run));
                out.push(written("agent", &format!("{{\"sessionKey\":{session},\"runId\":{run},{rest}")));
            }
            None => log::debug!("an event of {session} is not an object"),
        },
    }
}

fn agent(session: &str, run: &str, mut event: Map<String, Value>) -> String {
    event.insert("sessionKey".into(), json!(session));
    event.insert("runId".into(), json!(run));
    event_text("agent", &Value::Object(event))
}

fn update(session: &str, run: &str, kind: &str, delta: &str, so_far: Option<&Value>) -> String {
    let mut inner = json!({"type": kind});
    if !delta.is_empty() {
        inner["delta"] = json!(delta);
    }
    if let Some(message) = so_far {
        inner["partial"] = message.clone();
    }
    let mut payload = json!({
        "sessionKey": session, "runId": run, "type": "message_update", "assistantMessageEvent": inner,
    });
    if let Some(message) = so_far {
        payload["message"] = message.clone();
    }
    event_text("agent", &payload)
}

fn tool_event(kind: &str, tool: &Tool) -> Map<String, Value> {
    let mut m = Map::new();
    m.insert("type".into(), json!(kind));
    m.insert("toolCallId".into(), json!(tool.id));
    m.insert("toolName".into(), json!(tool.name));
    m
}

fn content(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn tool_update(session: &str, run: &str, tool: &Tool) -> String {
    let mut m = tool_event("tool_execution_update", tool);
    m.insert("partialResult".into(), content(&tool.output));
    agent(session, run, m)
}

fn tool_end(session: &str, run: &str, tool: &Tool) -> String {
    let mut m = tool_event("tool_execution_end", tool);
    m.insert("result".into(), content(&tool.output));
    m.insert("isError".into(), json!(tool.error));
    agent(session, run, m)
}

/// Arguments may have been cut to 2 KiB: then they are shown as text.
fn args(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        _ if text.is_empty() => json!({}),
        _ => json!(text),
    }
}

/// All that is on view, as `session.live` gives it (R42).
pub fn snapshot(session: &str, view: &View, pending_ui: Vec<Value>, eid: u64) -> Value {
    let (mut text, mut thinking, mut tools) = (String::new(), String::new(), Vec::new());
    for item in &view.items {
        match item {
            Item::Text(t) => text += t,
            Item::Thinking(t) => thinking += t,
            Item::Tool(t) => {
                let state = if t.done { "done" } else { "running" };
                tools.push(json!({
                    "toolCallId": t.id, "toolName": t.name, "label": t.label, "args": t.args, "output": t.output,
                    "state": state, "isError": t.error,
                }));
            }
            _ => {}
        }
    }
    json!({
        "sessionKey": session, "isStreaming": view.active, "runId": view.run, "text": text, "thinking": thinking,
        "tools": tools, "pendingUi": pending_ui, "eid": eid,
    })
}
