//! Tool calls at both doors: what they ask of the mind, what the waiting ones leave to others, whose session they reach.

use std::sync::Arc;

use pi_gateway::http::{Cors, Door, PiTokens, Settings};
use pi_gateway::message::*;
use pi_gateway::tools::Offer;
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

const OTHER: &str = "agent:main:telegram:account:default:dm:9";
const PI: ProcId = ProcId(1);

fn mind() -> Script {
    let mut rest = well();
    Box::new(move |request| match request {
        Request::SessionOf { .. } => Some(Answer::Session(Some(MAIN.into()))),
        Request::Delegate(d) if d.task == "wait" => None,
        Request::Delegate(d) => Some(Answer::Delegated(Box::new(Delegated {
            status: if d.task == "fail" { DelegateStatus::Timeout } else { DelegateStatus::Completed },
            text: format!("{} did: {}", d.to, d.task),
            answer: d.task != "fail",
            session: format!("delegate:{}:{}:1", d.session, d.to),
            took_ms: 5,
            replayed: d.dkey.is_some(),
        }))),
        other => rest(other),
    })
}

struct Doors {
    h: House,
    agent: Door,
    token: String,
}

fn doors() -> Doors {
    let h = House::with(settings(), mind());
    let mut s = Settings { cors: Cors::SameOrigin, ..settings() };
    s.limits.connections = 8;
    let tokens: Arc<PiTokens> = Arc::default();
    let agent = h.door.beside(s, tokens.clone()).unwrap();
    let token = tokens.issue(PI, Offer::default());
    Doors { h, agent, token }
}

impl Doors {
    fn auth(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }
    fn pi(&self, method: &str, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(self.agent.addresses()[0], method, path, &self.auth(), &body)
    }
    fn delegated(&self) -> Vec<DelegateRequest> {
        let of = |r: &Request| match r {
            Request::Delegate(d) => Some((**d).clone()),
            _ => None,
        };
        self.h.asked.lock().unwrap().iter().filter_map(of).collect()
    }
}

fn wish(task: &str) -> Value {
    json!({"toolName": "delegate_to_agent", "params": {"agentId": "coder", "task": task}})
}

#[test]
fn a_call_becomes_a_delegation_of_the_caller_s_session_and_its_end_a_result() {
    let d = doors();
    let told = d.pi("POST", "/api/tools/call", &wish("count"));
    let body = told.json();
    assert_eq!((told.status, &body["ok"], &body["sessionKey"]), (200, &json!(true), &json!(MAIN)));
    assert_eq!(body["result"]["content"], json!([{"type": "text", "text": "coder did: count"}]));
    assert_eq!(body["result"].get("isError"), None);
    let failed = d.pi("POST", "/api/tools/call", &wish("fail"));
    assert_eq!((failed.status, &failed.json()["result"]["isError"]), (200, &json!(true)));
    // `tool` and `args` are words of other clients; a key makes it findable.
    let other = json!({
        "tool": "delegate_to_agent", "args": {"agentId": "coder", "task": "count", "mode": "sync", "timeoutMs": 5000, "stream": true},
        "idempotencyKey": "k1",
    });
    let r = ask(d.h.addr, "POST", "/api/tools/call", &crate::bearer(), &other.to_string());
    assert_eq!((r.status, r.header("idempotent-replay")), (200, Some("true")), "{}", r.text());
    let asked = d.delegated();
    assert_eq!((asked[0].session.as_str(), asked[0].proc, asked[0].begin), (MAIN, Some(PI), false));
    assert_eq!((asked[2].session.as_str(), asked[2].proc, asked[2].begin), (MAIN, None, true));
    assert_eq!(asked[2].timeout, Some(5000));
    assert_eq!(asked[2].dkey.as_deref(), Some(&*format!("http:tools:secret:{MAIN}:k1")));
    for (body, status, why) in [
        (json!({"toolName": "delegate_to_agent"}), 400, "agentId is required"),
        (json!({"toolName": "delegate_to_agent", "params": []}), 400, "params must be an object"),
        (
            json!({"toolName": "delegate_to_agent", "params": {"agentId": "x", "mode": "async"}}),
            400,
            "mode must be sync",
        ),
        (json!({"toolName": "other"}), 500, "Tool not found: other"),
        (json!({"params": {}}), 400, "toolName is required"),
    ] {
        let r = d.pi("POST", "/api/tools/call", &body);
        assert_eq!((r.status, r.json()["error"].as_str().unwrap()), (status, why));
    }
}

#[test]
fn many_that_wait_for_other_agents_leave_room_for_other_tools() {
    let d = doors();
    let mut waiting = Vec::new();
    for n in 1..=4 {
        let mut c = Client::new(d.agent.addresses()[0]);
        c.request("POST", "/api/tools/call", &d.auth(), &wish("wait").to_string());
        waiting.push(c);
        eventually("it waits", || d.delegated().len() == n);
    }
    let fifth = d.pi("POST", "/api/tools/call", &wish("wait"));
    assert_eq!(fifth.refusal(), (503, "busy".into()), "half of the connections");
    assert_eq!(d.pi("GET", "/api/session/status", &Value::Null).status, 200);
    assert_eq!(d.pi("GET", "/api/gateway/config", &Value::Null).status, 200);
}

/// B24: an agent's token reaches its own session and no other one, wherever a session can be named.
#[test]
fn b24_an_agent_s_token_with_another_session_is_refused_on_every_route_of_its_door() {
    let d = doors();
    let body = json!({"sessionKey": OTHER, "text": "x", "task": "x", "path": "x", "action": "pause", "title": "x",
        "toolName": "delegate_to_agent", "params": {"agentId": "coder", "task": "x"}, "options": [{"id": "a", "text": "a"}]});
    for (method, path) in [
        ("POST", "/api/message/send"),
        ("POST", "/api/message/action"),
        ("POST", "/api/media/send"),
        ("POST", "/api/keyboard"),
        ("POST", "/api/tools/call"),
        ("POST", "/api/cron/jobs"),
        ("PATCH", "/api/cron/jobs/j"),
        ("POST", "/api/cron/jobs/j/run"),
        ("POST", "/api/gateway/reload"),
        ("POST", "/api/gateway/restart"),
    ] {
        let r = d.pi(method, path, &body);
        assert_eq!(r.refusal(), (403, "forbidden".into()), "{method} {path}");
    }
    for path in [
        "/api/session/status",
        "/api/gateway/config",
        "/api/tools",
        "/api/agent/setup",
        "/api/cron/jobs",
        "/api/cron/status",
        "/api/cron/jobs/j/runs",
    ] {
        for key in [OTHER.to_owned(), OTHER.replace(':', "%3A"), format!("delegate:{MAIN}:coder:1")] {
            let r = d.pi("GET", &format!("{path}?sessionKey={key}"), &Value::Null);
            assert_eq!(r.refusal(), (403, "forbidden".into()), "{path} {key}");
        }
    }
    for path in ["/api/tools/call", "/api/message/send"] {
        let r = d.pi("POST", &format!("{path}?sessionKey={OTHER}"), &wish("x"));
        assert_eq!(r.refusal(), (403, "forbidden".into()), "{path}");
    }
    assert!(d.delegated().is_empty());
}
