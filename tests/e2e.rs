//! The whole gateway with the built-in demo agent and the pi stand-in.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "e2e/api.rs"]
mod api;
#[path = "e2e/deleted.rs"]
mod deleted;
#[path = "e2e/large.rs"]
mod large;
#[path = "e2e/odd.rs"]
mod odd;
#[path = "e2e/programs.rs"]
mod programs;

use serde_json::json;
use support::gateway::Gateway;

const MAIN: &str = "agent:main:webchat:default";

#[test]
fn given_a_fresh_gateway_when_somebody_writes_then_they_get_an_answer_and_it_is_in_the_history() {
    let g = Gateway::demo(json!({})).start();
    let mut ws = g.page(MAIN);
    let res = ws.call("chat.send", json!({"sessionKey": MAIN, "text": "hello", "idempotencyKey": "k1"}));
    assert_eq!(res["ok"], true, "{res}");
    let run = res["payload"]["runId"].as_str().unwrap().to_owned();
    let reply = ws.event("chat.reply");
    assert_eq!(reply["payload"]["runId"], run.as_str());
    assert!(reply["payload"]["text"].as_str().unwrap().contains("demo"), "{reply}");
    let roles: Vec<_> = g.history(MAIN).into_iter().map(|(r, _)| r).collect();
    assert_eq!(roles, ["user", "assistant"]);
}

#[test]
fn c21_given_a_kill_between_answer_and_repeat_then_the_same_key_gets_the_same_answer() {
    let mut g = Gateway::demo(json!({})).start();
    let body = json!({"message": "hello", "sessionKey": MAIN});
    let keyed = |g: &Gateway, body: &serde_json::Value| {
        let fields = format!("Authorization: Bearer {}\r\nIdempotency-Key: once\r\n", g.token);
        support::raw_http::ask(g.addr, "POST", "/api/chat", &fields, &body.to_string())
    };
    let first = keyed(&g, &body).json();
    g.kill9();
    g.restart();
    let again = keyed(&g, &body);
    assert_eq!(again.json()["reply"], first["reply"]);
    assert_eq!(g.history(MAIN).iter().filter(|(role, _)| role == "assistant").count(), 1);
    let other = keyed(&g, &json!({"message": "something else", "sessionKey": MAIN}));
    assert_eq!(other.refusal(), (409, "idempotency_conflict".to_owned()));
}

#[test]
fn given_a_kill_in_mid_answer_when_started_again_then_the_answer_arrives_once() {
    let mut g = Gateway::new(json!({})).arg("--demo").env("PI_GW_DEMO_DELAY_MS", "5").start();
    let mut ws = g.page(MAIN);
    ws.call("chat.send", json!({"sessionKey": MAIN, "text": "long 400", "idempotencyKey": "k1"}));
    let delta = loop {
        let e = ws.event("agent");
        if e["payload"]["type"] == "message_update" {
            break e;
        }
    };
    assert_eq!(delta["payload"]["sessionKey"], MAIN);
    g.kill9();
    g.set_env("PI_GW_DEMO_DELAY_MS", Some("0"));
    g.restart();
    g.wait_until("the owed answer", |g| g.history(MAIN).len() >= 2);
    let roles: Vec<_> = g.history(MAIN).into_iter().map(|(r, _)| r).collect();
    assert_eq!(roles, ["user", "assistant"]);
}
