//! The API over the real mind: roles, transcripts, what happened, reload, webhooks.

use std::time::Instant;

use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};

use crate::support::gateway::Gateway;
use crate::support::raw_http::{ask, Ws};
use crate::support::DEADLINE;
use crate::MAIN;

const PATH: &str = "agent%3Amain%3Awebchat%3Adefault";

fn children(g: &Gateway) -> Vec<i32> {
    let pid = g.pid();
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|p| p.parse().unwrap()).collect()
}

fn ok(ws: &mut Ws, method: &str, params: Value) -> Value {
    let r = ws.call(method, params);
    assert_eq!(r["ok"], true, "{r}");
    r["payload"].clone()
}

#[test]
fn a_role_made_over_the_api_is_taken_on_and_given_up_when_it_is_deleted() {
    let g = Gateway::demo(json!({"roles": {"workspaceDirs": {"boss": "/tmp"}}})).start();
    let mut ws = g.page(MAIN);
    g.chat(MAIN, "hello");
    assert_eq!(ok(&mut ws, "roles.list", json!({})), json!({"roles": ["boss", "default", "main"]}));
    ok(&mut ws, "roles.create", json!({"role": "coder"}));
    let set = json!({"sessionKey": MAIN, "role": "coder"});
    assert_eq!(ok(&mut ws, "roles.set", set.clone()), json!({"ok": true, "sessionKey": MAIN, "role": "coder"}));
    assert_eq!(ws.event("session.role.changed")["payload"], json!({"sessionKey": MAIN, "role": "coder"}));
    assert_eq!(ok(&mut ws, "sessions.get", json!({"sessionKey": MAIN}))["role"], "coder");
    ok(&mut ws, "roles.delete", json!({"role": "coder"}));
    assert_eq!(ws.event("role.deleted")["payload"], json!({"role": "coder"}));
    assert_eq!(ok(&mut ws, "sessions.get", json!({"sessionKey": MAIN}))["role"], Value::Null);
    assert_eq!(ws.call("roles.set", set)["error"], "failed to set role");
    let roles = g.get("/api/memory/roles").json();
    assert_eq!(roles, json!({"roles": []}));
}

#[test]
fn what_was_said_is_in_the_transcript() {
    let g = Gateway::demo(json!({})).start();
    g.chat(MAIN, "hello");
    let path = format!("/api/transcript/{PATH}?last=2");
    g.wait_until("the transcript", |g| g.get(&path).json()["count"] == 2);
    let entries = g.get(&path).json()["entries"].clone();
    assert_eq!((&entries[0]["type"], &entries[0]["data"]["text"]), (&json!("user_message"), &json!("hello")));
    assert_eq!((&entries[1]["type"], &entries[1]["session"]), (&json!("assistant_reply"), &json!(MAIN)));
    assert_eq!(g.get("/api/transcripts").json(), json!({"sessions": [MAIN]}));
    ok(&mut g.page(MAIN), "sessions.delete", json!({"sessionKey": MAIN}));
    g.wait_until("the transcript to go", |g| g.get("/api/transcripts").json() == json!({"sessions": []}));
    assert_eq!(g.get(&path).json()["count"], 0);
}

#[test]
fn a_pi_that_is_killed_a_reload_and_a_refused_restart_are_in_the_list_of_what_happened() {
    let g = Gateway::new(json!({})).arg("--demo").env("PI_GW_DEMO_DELAY_MS", "5").start();
    let mut ws = g.page(MAIN);
    ok(&mut ws, "chat.send", json!({"sessionKey": MAIN, "text": "long 400"}));
    let end = Instant::now() + DEADLINE;
    while ws.event("agent")["payload"]["type"] != "message_update" {
        assert!(Instant::now() < end);
    }
    let pids = children(&g);
    kill_process(Pid::from_raw(pids[0]).unwrap(), Signal::KILL).unwrap();
    ws.event("chat.reply");
    assert_eq!(g.post("/api/gateway/reload", json!({})).status, 200);
    assert_eq!(g.post("/api/gateway/restart", json!({})).status, 403);
    std::fs::write(g.config_file(), "{ nonsense").unwrap();
    assert_eq!(g.post("/api/gateway/reload", json!({})).status, 500);
    let events = g.get("/api/observability/events?window=1h").json()["events"].clone();
    let said: Vec<(&str, &str)> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["action"].as_str().unwrap(), e["level"].as_str().unwrap()))
        .collect();
    for expected in [("crash", "error"), ("reload", "info"), ("restart", "warn"), ("reload", "error")] {
        assert!(said.contains(&expected), "{expected:?} is not in {events}");
    }
    let crash = events.as_array().unwrap().iter().find(|e| e["action"] == "crash").unwrap();
    assert_eq!((&crash["category"], &crash["meta"]["sessionKey"]), (&json!("rpc"), &json!(MAIN)));
}

#[test]
fn after_a_reload_the_session_s_next_message_has_a_fresh_process() {
    let g = Gateway::demo(json!({})).start();
    g.chat(MAIN, "hello");
    let before = children(&g);
    assert_eq!(before.len(), 1);
    let usage = g.get(&format!("/api/session/usage?sessionKey={PATH}"));
    assert_eq!((usage.status, usage.json()["sessionKey"].as_str()), (200, Some(MAIN)));
    assert!(g.get("/api/models").json()["models"].is_array());
    let r = g.post("/api/reload", json!({"sessionKey": MAIN}));
    assert_eq!(r.json(), json!({"success": true, "message": "Reload command sent to agent"}));
    g.chat(MAIN, "again");
    let after = children(&g);
    assert!(!after.contains(&before[0]), "{before:?} {after:?}");
    assert_eq!(g.post("/api/reload", json!({"sessionKey": "agent:main:webchat:none"})).status, 404);
}

#[test]
fn a_webhook_that_is_repeated_after_a_kill_gets_the_same_answer_and_is_answered_once() {
    let hooks = json!({"hooks": {"enabled": true, "token": "hook-token-0123456789", "path": "/in"}});
    let mut g = Gateway::demo(hooks).start();
    g.chat(MAIN, "hello");
    let body = json!({"text": "the build broke", "sessionKey": MAIN, "wait": true}).to_string();
    let post = |g: &Gateway| {
        let fields = "X-Hook-Token: hook-token-0123456789\r\nIdempotency-Key: build-7\r\n";
        ask(g.addr, "POST", "/in/wake", fields, &body)
    };
    let first = post(&g);
    assert_eq!(first.status, 200, "{}", first.text());
    g.kill9();
    g.restart();
    let again = post(&g);
    assert_eq!((again.header("idempotent-replay"), again.json()), (Some("true"), first.json()));
    let said = g.history(MAIN);
    assert_eq!(said.iter().filter(|(_, text)| text == "[WEBHOOK] the build broke").count(), 1, "{said:?}");
    let mut ws = g.page(MAIN);
    let event = json!({"event": "ci", "payload": {"n": 1}}).to_string();
    assert_eq!(ask(g.addr, "POST", "/in/event", "X-Hook-Token: hook-token-0123456789\r\n", &event).status, 200);
    assert_eq!(ws.event("hook:ci")["payload"], json!({"n": 1}));
}

#[test]
fn every_documented_metric_is_there_from_the_start() {
    let g = Gateway::demo(json!({})).start();
    g.chat(MAIN, "hello");
    g.wait_until("the mind's figures, a second old at most", |g| {
        g.get("/metrics").text().contains("messages_total{channel=")
    });
    let text = g.get("/metrics").text();
    for name in [
        "uptime_seconds",
        "rss_bytes",
        "pool_processes{state=",
        "queue_pending",
        "messages_total{channel=",
        "message_duration_seconds_bucket{le=",
        "http_requests_total{route=",
        "http_request_duration_seconds_sum{",
        "ws_connections",
        "ws_dropped_total{reason=\"slow\"} 0",
        "events_total",
        "child_rss_bytes",
        "errors_total{kind=",
        "outbox_rows{state=",
        "outbox_oldest_seconds",
        "sync_duration_seconds_sum",
        "sync_duration_seconds_count",
        "wal_bytes",
        "core_step_seconds_max",
        "log_dropped_total 0",
    ] {
        assert!(text.lines().any(|l| l.starts_with(&format!("pigw_{name}"))), "{name} is missing:\n{text}");
    }
}
