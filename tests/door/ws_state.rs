//! The WebSocket: who it is (R28), and what its methods answer.

use pi_gateway::http::{Auth, Settings};
use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;
use crate::MAIN;

#[test]
fn a_stranger_may_only_connect_and_hears_nothing() {
    let h = House::new();
    let mut ws = Ws::open(h.addr, "/anything", "").unwrap();
    assert!(ws.call("ping", json!({}))["payload"]["ts"].is_number());
    let r = ws.call("sessions.list", json!({}));
    assert_eq!(
        (r["ok"].as_bool(), r["error"].as_str(), r["code"].as_str()),
        (Some(false), Some("Unauthorized"), Some("unauthorized"))
    );
    h.door.publish(&notice(1));
    let r = ws.call("connect", json!({"auth": {"token": SECRET}}))["payload"].clone();
    assert_eq!(r["protocol"], 1);
    assert_eq!(r["server"], json!({"name": "pi-gateway", "version": "1.2.3"}));
    assert_eq!((r["resumed"].as_bool(), r["demo"].as_bool()), (Some(false), Some(false)));
    assert_eq!(r["policy"], json!({"maxPayload": 8 << 20, "maxBufferedBytes": 1 << 20, "tickIntervalMs": 30000}));
    assert!(r["features"]["methods"].as_array().unwrap().contains(&json!("chat.send")));
    assert!(r["connId"].as_str().unwrap().starts_with("ws-"));
    assert!(ws.passed.is_empty());
    h.door.publish(&notice(2));
    assert_eq!(ws.event("ui.notice")["payload"]["message"], "2");
    assert_eq!(ws.call("sessions.list", json!({}))["payload"][0]["messageCount"], 3);
}

#[test]
fn a_wrong_secret_is_told_before_the_close() {
    let h = House::new();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let r = ws.call("connect", json!({"token": "wrong"}));
    assert_eq!((r["ok"].as_bool(), r["code"].as_str()), (Some(false), Some("unauthorized")));
    assert_eq!(ws.close_code(), 4001);
    let r = Ws::open(h.addr, "/", "Authorization: Bearer wrong\r\n").err().unwrap();
    assert_eq!(r.status, 401);
    let mut ws = Ws::open(h.addr, "/", &format!("Authorization: Bearer {SECRET}\r\n")).unwrap();
    assert_eq!(ws.call("sessions.list", json!({}))["ok"], true);
    drop(ws);
    h.all_gone();
}

#[test]
fn a_connect_of_the_wrong_types_is_refused_and_the_connection_stays() {
    let h = House::new();
    let mut ws = connected(&h);
    for (params, why) in [
        (json!({"token": 5}), "token must be a string"),
        (json!({"subscribe": "all"}), "subscribe must be an array of session keys"),
        (json!({"resume": {"epoch": "e", "eid": "7"}}), "eid must be a whole number"),
    ] {
        let r = ws.call("connect", params);
        assert_eq!((r["error"].as_str(), r["code"].as_str()), (Some(why), Some("invalid_request")));
    }
    assert_eq!(ws.call("sessions.list", json!({}))["ok"], true);
    let mut stranger = Ws::open(h.addr, "/", "").unwrap();
    assert_eq!(stranger.call("connect", json!({"token": ["x"]}))["code"], "invalid_request");
    assert_eq!(stranger.call("connect", json!({"token": SECRET}))["ok"], true);
}

#[test]
fn strangers_are_few_slow_ones_are_closed_and_their_frames_are_small() {
    let mut s = settings();
    s.times.ws_login = ms(300);
    s.limits.ws_strangers = 2;
    let h = House::with(s, well());
    let mut a = Ws::open(h.addr, "/", "").unwrap();
    let mut b = Ws::open(h.addr, "/", "").unwrap();
    assert_eq!(Ws::open(h.addr, "/", "").err().unwrap().refusal(), (503, "busy".into()));
    assert_eq!((a.close_code(), b.close_code()), (4401, 4401));
    h.all_gone();
    let mut c = Ws::open(h.addr, "/", "").unwrap();
    c.text(&" ".repeat((64 << 10) + 1));
    assert_eq!(c.close_code(), 1009);
    h.all_gone();
}

#[test]
fn the_key_of_a_new_chat_as_the_originals_page_makes_it_is_a_session_of_its_own() {
    let h = House::new();
    let mut ws = Ws::open(h.addr, "/", &crate::bearer()).unwrap_or_else(|r| panic!("{}", r.text()));
    for (key, chat) in [("agent:main:webchat:dm:mx0a0ey7", "dm:mx0a0ey7"), ("agent:main:webchat:mx0a0ey7", "mx0a0ey7")]
    {
        let r = ws.call("chat.send", json!({"text": "hello", "sessionKey": key}));
        assert_eq!(r["ok"], true, "{r}");
        let Some(Request::Chat(c)) = h.asked.lock().unwrap().last().cloned() else { panic!() };
        assert_eq!((c.session.as_str(), c.source.chat.as_str()), (key, chat));
    }
    let r = ws.call("chat.send", json!({"text": "hello", "sessionKey": "agent:main:webchat:group:1"}));
    assert_eq!((r["ok"].as_bool(), r["code"].as_str()), (Some(false), Some("invalid_request")), "{r}");
}

#[test]
fn when_the_secret_changes_its_sockets_leave() {
    let h = House::new();
    let mut ws = connected(&h);
    h.door.apply(Settings { version: "2".into(), ..h.settings.clone() });
    ws.call("ping", json!({}));
    h.door.apply(Settings { auth: Auth::Token("another".into()), ..h.settings.clone() });
    assert_eq!(ws.close_code(), 4001);
    assert_eq!(ask(h.addr, "GET", "/api/pool", "Authorization: Bearer another\r\n", "").status, 200);
}

#[test]
fn upgrades_that_are_not_websocket_13_are_refused() {
    let h = House::open();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(ask(h.addr, "GET", "/", upgrade, "").status, 426);
    let r = ask(h.addr, "GET", "/", &format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"), "");
    assert_eq!(r.status, 400);
}

#[test]
fn methods_answer_as_documented() {
    let h = House::open();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let mut error = |method: &str, params: Value| ws.call(method, params)["error"].as_str().map(str::to_owned);
    assert_eq!(error("no.such", json!({})).as_deref(), Some("Unknown method: no.such"));
    assert_eq!(error("sessions.get", json!({})).as_deref(), Some("sessionKey is required"));
    assert_eq!(error("sessions.get", json!({"sessionKey": "x"})).as_deref(), Some("Session not found"));
    assert_eq!(error("sessions.delete", json!({})).as_deref(), Some("sessionKey required"));
    assert_eq!(error("chat.send", json!({})).as_deref(), Some("text is required"));
    assert_eq!(error("chat.send", json!([])).as_deref(), Some("params must be an object"));
    assert!(error("chat.send", json!({"text": "a", "sessionKey": "agent:main:webchat:a b"})).is_some());
    assert!(error("chat.send", json!({"text": "a", "idempotencyKey": ""})).is_some());
    assert!(error("chat.history", json!({"sessionKey": "broken"})).is_some());
    assert!(error("extension_ui_response", json!({"id": "d1", "value": ["a", 2]})).is_some());
    let mut ok = |method: &str, params: Value| {
        let r = ws.call(method, params);
        assert_eq!(r["ok"], true, "{r}");
        r["payload"].clone()
    };
    assert_eq!(ok("chat.abort", json!({})), json!({"ok": true}));
    assert_eq!(ok("sessions.get", json!({"sessionKey": "agent:main:main:main"}))["role"], Value::Null);
    assert_eq!(ok("sessions.delete", json!({"sessionKey": "x"})), json!({"ok": true}));
    assert_eq!(ok("health", json!({}))["status"], "ok");
    assert_eq!(ok("extension_ui_response", json!({"id": "d1", "value": true})), true);
    assert_eq!(ok("extension_ui_response", json!({"id": "d2", "cancelled": true})), false);
    assert_eq!(ok("extension_ui_response", json!({"id": "d1", "value": ["a", "b"]})), true);
    assert_eq!(ok("session.model", json!({"model": "a/b"}))["modelId"], "b");
    let history = ok("chat.history", json!({"limit": 2, "before": "m4"}));
    assert_eq!(
        history["messages"][1],
        json!({"id": "m3", "role": "user", "content": "text 3", "parts": [{"type": "text", "text": "text 3"}], "runId": "r2", "at": 3})
    );
    assert_eq!((history["messages"].as_array().unwrap().len(), history["running"].as_bool()), (2, Some(false)));
    assert_eq!(ok("chat.history", json!({}))["messages"][0]["key"], "k1");
    let sent = ok("chat.send", json!({"text": "hi", "idempotencyKey": "k9"}));
    assert_eq!(sent, json!({"ok": true, "runId": "run1"}));
    let asked = h.asked.lock().unwrap();
    let chat = asked.iter().find_map(|r| if let Request::Chat(c) = r { Some(c) } else { None }).unwrap();
    assert_eq!(chat.dkey.as_deref(), Some("web:agent:main:webchat:default:k9"));
    assert_eq!((&*chat.source.channel, &*chat.source.chat, &*chat.source.sender), ("webchat", "default", "web"));
}

#[test]
fn given_a_history_then_answers_have_their_parts_and_results_of_tools_only_come_raw() {
    let h = House::open();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let mut parts = |params: Value| {
        let list = ws.call("chat.history", params)["payload"]["messages"].as_array().unwrap().clone();
        let of =
            |m: &Value| m["parts"].as_array().unwrap().iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect();
        list.iter().map(|m| (m["id"].as_str().unwrap().to_owned(), of(m))).collect::<Vec<(String, Vec<String>)>>()
    };
    let text = || vec!["text".to_owned()];
    let all = parts(json!({}));
    assert_eq!(all.len(), 5);
    assert_eq!(all[0], ("m1".into(), text()));
    assert_eq!(all[1], ("m2".into(), ["thinking", "toolCall", "text"].map(str::to_owned).to_vec()));
    assert_eq!(all[3], ("m4".into(), text()), "what is not known has its text");
    let raw = parts(json!({"raw": true, "limit": 1, "before": "m3"}));
    assert_eq!(raw, [("m2".into(), ["thinking", "toolCall", "toolResult", "text"].map(str::to_owned).to_vec())]);
    assert!(ws.call("chat.history", json!({"raw": "yes"}))["error"].is_string());
}

#[test]
fn errors_can_be_objects() {
    let h = House::open();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({"errors": "object"}));
    let r = ws.call("no.such", json!({}));
    assert_eq!(r["error"], json!({"code": "not_found", "message": "Unknown method: no.such"}));
}

#[test]
fn chat_abort_does_not_wait_behind_eight_others() {
    let script = Box::new(|r: &Request| match r {
        Request::Abort { .. } => Some(Answer::Ok),
        Request::Dialogs { session: None } => Some(Answer::Dialogs(Vec::new())),
        _ => None,
    });
    let h = House::with(settings(), script);
    let mut ws = connected(&h);
    let first: Vec<u64> = (0..10).map(|_| ws.ask("sessions.list", json!({}))).collect();
    assert_eq!(ws.call("chat.abort", json!({}))["ok"], true);
    assert_eq!(h.waiting.lock().unwrap().len(), 8);
    for id in first {
        let (req, _) = h.unanswered(|r| matches!(r, Request::Sessions { .. }));
        h.answers.give(req, Answer::Sessions(Vec::new()));
        assert_eq!(ws.res(id)["payload"], json!([]));
    }
}

#[test]
fn a_refused_picture_leaves_no_file_behind() {
    let refuse = |r: &Request| match r {
        Request::Chat(_) => Some(Answer::Error { code: Code::QueueFull, message: "full".into() }),
        _ => Some(Answer::Ok),
    };
    let h = House::with(settings(), Box::new(refuse));
    let mut ws = connected(&h);
    let r = ws.call("chat.send", json!({"images": [{"data": "iVBORw0KGgpyZXN0"}]}));
    assert_eq!(r["code"], "queue_full");
    let Some(Request::Chat(c)) = h.asked.lock().unwrap().last().cloned() else { panic!() };
    assert!(!c.images[0].path.exists());
}

#[test]
fn sessions_are_renamed_compacted_and_closed_by_their_methods() {
    let h = House::new();
    let mut ws = connected(&h);
    let ok = json!({"ok": true});
    for (method, params, payload) in [
        (
            "sessions.rename",
            json!({"sessionKey": MAIN, "title": " Trip \u{1f30d} "}),
            json!({"ok": true, "sessionKey": MAIN, "title": "Trip \u{1f30d}"}),
        ),
        (
            "sessions.rename",
            json!({"sessionKey": MAIN, "title": ""}),
            json!({"ok": true, "sessionKey": MAIN, "title": ""}),
        ),
        ("sessions.compact", json!({"sessionKey": MAIN, "instructions": "short"}), ok.clone()),
        ("session.close", json!({"sessionKey": MAIN}), ok.clone()),
        (
            "session.model",
            json!({"sessionKey": MAIN, "model": "default"}),
            json!({"ok": true, "sessionKey": MAIN, "provider": null, "modelId": null, "applied": "now"}),
        ),
        ("models.list", json!({}), json!({"models": [{"id": "m1", "provider": "p"}]})),
        ("usage.status", json!({}), json!({"sessionKey": MAIN, "stats": {"cost": 0.5}})),
        (
            "commands.list",
            json!({}),
            json!({"commands": [
                {"name": "new", "args": "[all]", "description": "begin", "source": "gateway"},
                {"name": "skill:x", "args": "", "description": "begin", "source": "pi"},
            ]}),
        ),
    ] {
        let r = ws.call(method, params.clone());
        assert_eq!((&r["ok"], &r["payload"]), (&json!(true), &payload), "{method} {params}: {r}");
    }
    let long = "x".repeat(121);
    for (method, params, error, code) in [
        ("sessions.rename", json!({"title": "t"}), "sessionKey required", "invalid_request"),
        ("sessions.rename", json!({"sessionKey": MAIN}), "title required", "invalid_request"),
        (
            "sessions.rename",
            json!({"sessionKey": MAIN, "title": long}),
            "title: one line of at most 120 characters",
            "invalid_request",
        ),
        (
            "sessions.rename",
            json!({"sessionKey": MAIN, "title": "a\nb"}),
            "title: one line of at most 120 characters",
            "invalid_request",
        ),
        ("sessions.rename", json!({"sessionKey": "agent:main:none", "title": "t"}), "Session not found", "not_found"),
        ("sessions.compact", json!({"sessionKey": "agent:main:busy"}), "The session is busy", "busy"),
        ("session.close", json!({"sessionKey": "agent:main:none"}), "Session not found", "not_found"),
        ("usage.status", json!({"sessionKey": "agent:x:other"}), "No active session", "no_active_session"),
    ] {
        let r = ws.call(method, params.clone());
        assert_eq!((r["error"].as_str(), r["code"].as_str()), (Some(error), Some(code)), "{method} {params}: {r}");
    }
}

#[test]
fn pages_hear_how_many_there_are_when_another_comes_or_goes() {
    let h = House::new();
    let mut first = connected(&h);
    let second = connected(&h);
    assert_eq!(first.event("presence")["payload"], json!({"clients": 2}));
    drop(second);
    assert_eq!(first.event("presence")["payload"], json!({"clients": 1}));
    let stranger = Ws::open(h.addr, "/", "").unwrap();
    drop(stranger);
    let mut third = connected(&h);
    assert_eq!(first.event("presence")["payload"], json!({"clients": 2}), "strangers do not count");
    third.call("ping", json!({}));
    assert!(third.passed.is_empty(), "nothing is said to a newcomer on opening");
}
