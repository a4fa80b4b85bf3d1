//! What is left of a session that was deleted: nothing (1.11). And what closes a turn (R46).

use serde_json::{json, Value};

use crate::support::gateway::Gateway;
use crate::support::raw_http::{Client, Response, Ws};
use crate::MAIN;

fn say(ws: &mut Ws, text: &str) {
    let res = ws.call("chat.send", json!({"sessionKey": MAIN, "text": text}));
    assert_eq!(res["ok"], true, "{res}");
}

fn users(g: &Gateway) -> Vec<String> {
    g.history(MAIN).into_iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect()
}

/// Names of the events up to the one that is wanted, without those of pi.
fn names_until(ws: &mut Ws, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let e = ws.json();
        let name = e["event"].as_str().unwrap_or_default().to_owned();
        let done = wanted(&e);
        if name.starts_with("chat.") || name.starts_with("session") {
            names.push(name);
        }
        if done {
            return names;
        }
    }
}

#[test]
fn given_a_deleted_session_when_its_key_is_used_again_then_the_old_conversation_does_not_come_back() {
    let g = Gateway::demo(json!({})).start();
    let mut ws = g.page(MAIN);
    say(&mut ws, "old");
    ws.event("chat.reply");
    assert_eq!(ws.call("sessions.delete", json!({"sessionKey": MAIN}))["ok"], true);
    assert!(g.history(MAIN).is_empty(), "{:?}", g.history(MAIN));
    say(&mut ws, "new");
    ws.event("chat.reply");
    assert_eq!(users(&g), ["new"]);
}

#[test]
fn given_a_running_turn_when_its_session_is_deleted_then_no_event_brings_it_back() {
    let g = Gateway::demo(json!({})).env("PI_GW_DEMO_DELAY_MS", "20").start();
    let mut ws = g.page(MAIN);
    assert_eq!(ws.call("chat.send", json!({"sessionKey": MAIN, "text": "long 500"}))["ok"], true);
    ws.event("agent");
    assert_eq!(ws.call("sessions.rename", json!({"sessionKey": MAIN, "title": "Mine"}))["ok"], true);
    ws.ask("sessions.delete", json!({"sessionKey": MAIN}));
    ws.event("session.deleted");
    let names = names_until(&mut ws, |e| e["event"] == "chat.typing" && e["payload"]["typing"] == false);
    assert_eq!(names, ["chat.typing"]);
    // whatever the end of the turn had to say came before this
    assert_eq!(ws.call("ping", json!({}))["ok"], true);
    assert_eq!(ws.call("sessions.get", json!({"sessionKey": MAIN}))["error"], "Session not found");
    say(&mut ws, "hello");
    let names = names_until(&mut ws, |e| e["event"] == "session.updated");
    assert_eq!(names.iter().filter(|n| *n == "session.updated").count(), 1, "{names:?}");
    let session = &ws.call("sessions.get", json!({"sessionKey": MAIN}))["payload"];
    assert_eq!(session["title"], Value::Null, "{session}");
    assert_eq!(users(&g), ["hello"]);
}

/// A chat over HTTP that is still being answered when `end` comes.
fn cut_off(path: &str, end: impl FnOnce(&mut Ws)) -> Response {
    let g = Gateway::demo(json!({})).env("PI_GW_DEMO_DELAY_MS", "20").start();
    let mut ws = g.page(MAIN);
    let mut c = Client::new(g.addr);
    let body = json!({"message": "long 500", "sessionKey": MAIN}).to_string();
    c.request("POST", path, &format!("Authorization: Bearer {}\r\n", g.token), &body);
    ws.event("agent");
    end(&mut ws);
    c.response()
}

#[test]
fn given_a_chat_over_http_when_its_session_is_deleted_or_reset_then_it_is_told() {
    for (method, how) in [("sessions.delete", "deleted"), ("sessions.reset", "reset")] {
        let end = |ws: &mut Ws| assert_eq!(ws.call(method, json!({"sessionKey": MAIN}))["ok"], true);
        let why = format!("The session was {how} before the message was answered.");
        let r = cut_off("/api/chat", end);
        assert_eq!((r.refusal(), r.json()["error"].as_str()), ((409, "conflict".into()), Some(&*why)), "{method}");
        let frames = cut_off("/api/chat/stream", end).text();
        let last = frames.trim_end().rsplit("data: ").next().unwrap().to_owned();
        assert_eq!(last, json!({"type": "error", "error": why, "code": "conflict"}).to_string(), "{frames}");
    }
}

#[test]
fn given_a_turn_then_its_reply_comes_after_the_end_of_typing() {
    let g = Gateway::demo(json!({})).start();
    let mut ws = g.page(MAIN);
    for text in ["hello", "error"] {
        say(&mut ws, text);
        let names = names_until(&mut ws, |e| e["event"] == "session.updated");
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|n| *n != "chat.error").collect();
        assert_eq!(names, ["chat.message", "chat.typing", "chat.typing", "chat.reply", "session.updated"], "{text}");
    }
}
