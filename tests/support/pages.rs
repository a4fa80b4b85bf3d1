//! What WebSocket tests say again and again.
#![allow(clippy::unwrap_used)]

use pi_gateway::message::Frame;
use serde_json::{json, Value};

use crate::house::{House, SECRET};
use crate::raw_http::Ws;

pub const WEB: &str = "agent:main:webchat:default";

pub fn reply(run: &str, text: &str) -> Frame {
    Frame::Reply {
        session: WEB.into(),
        run: run.into(),
        runs: vec![run.into()],
        id: format!("seg-{run}"),
        text: text.into(),
        last: true,
        home: None,
    }
}

pub fn typing(run: &str, on: bool) -> Frame {
    Frame::Typing { session: WEB.into(), run: run.into(), on }
}

pub fn notice(n: usize) -> Frame {
    Frame::Notice { session: WEB.into(), level: "info".into(), message: format!("{n}") }
}

pub fn connected(h: &House) -> Ws {
    let mut ws = Ws::open(h.addr, "/ws", "").unwrap();
    let r = ws.call("connect", json!({"token": SECRET}));
    assert_eq!(r["ok"], true, "{r}");
    ws
}

/// `message_update delta` and the like, to compare sequences.
pub fn brief(v: &Value) -> String {
    let p = &v["payload"];
    match v["event"].as_str() {
        Some("agent") => {
            let m = &p["assistantMessageEvent"];
            let kind = m["type"].as_str().or(p["type"].as_str()).unwrap_or_default();
            format!("{kind} {}", m["delta"].as_str().or(p["toolCallId"].as_str()).unwrap_or_default())
        }
        Some("chat.typing") => format!("typing {}", p["typing"]),
        Some("chat.reply") => format!("reply {}", p["text"].as_str().unwrap()),
        Some("ui.notice") => format!("notice {}", p["message"].as_str().unwrap()),
        Some(name) => name.to_owned(),
        None => "res".into(),
    }
}

/// Frames until the one that is described so. It may have come while an answer was waited for.
pub fn until(ws: &mut Ws, last: &str) -> Vec<String> {
    if let Some(at) = ws.passed.iter().position(|v| brief(v) == last) {
        return ws.passed.drain(..=at).map(|v| brief(&v)).collect();
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|s| s != last) {
        seen.push(brief(&ws.json()));
    }
    seen
}
