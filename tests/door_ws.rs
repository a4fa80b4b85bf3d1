//! The WebSocket, seen from outside: states, order, numbers, resume, slow and rude clients.

#[path = "support/house.rs"]
mod house;
#[path = "support/raw_http.rs"]
mod raw_http;

use house::*;
use pi_gateway::http::{Auth, Settings};
use pi_gateway::live::Tool;
use pi_gateway::message::*;
use raw_http::*;
use serde_json::{json, Value};

const WEB: &str = "agent:main:webchat:default";

fn reply(run: &str, text: &str) -> Frame {
    Frame::Reply {
        session: WEB.into(),
        run: run.into(),
        runs: vec![run.into()],
        id: format!("seg-{run}"),
        text: text.into(),
        last: true,
    }
}

fn typing(run: &str, on: bool) -> Frame {
    Frame::Typing { session: WEB.into(), run: run.into(), on }
}

fn notice(n: usize) -> Frame {
    Frame::Notice { session: WEB.into(), level: "info".into(), message: format!("{n}") }
}

fn connected(h: &House) -> Ws {
    let mut ws = Ws::open(h.addr, "/ws", "").unwrap();
    let r = ws.call("connect", json!({"token": SECRET}));
    assert_eq!(r["ok"], true, "{r}");
    ws
}

/// `message_update delta` and the like, to compare sequences.
fn brief(v: &Value) -> String {
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

/// Frames until the one that is described so.
fn until(ws: &mut Ws, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|s| s != last) {
        seen.push(brief(&ws.json()));
    }
    seen
}

// ------------------------------------------------------------------ states (R28)

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

// ------------------------------------------------------------------ methods

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
    assert_eq!(ok("session.model", json!({"model": "a/b"}))["modelId"], "b");
    let history = ok("chat.history", json!({"limit": 2, "before": "m4"}));
    assert_eq!(
        history["messages"][1],
        json!({"id": "m3", "role": "user", "content": "text 3", "runId": "r2", "at": 3})
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

// ------------------------------------------------------------------ order and numbers

#[test]
fn the_answer_to_chat_send_comes_before_the_turn_and_the_reply_after_all_of_it() {
    let script = Box::new(|r: &Request| match r {
        Request::Dialogs { .. } => Some(Answer::Dialogs(Vec::new())),
        _ => None,
    });
    let h = House::with(settings(), script);
    let live = h.board.open(WEB);
    let mut ws = connected(&h);
    ws.ask("chat.send", json!({"text": "go"}));
    let (id, _) = h.unanswered(|r| matches!(r, Request::Chat(_)));
    // the turn is quicker than the disk
    h.door.publish(&typing("run1", true));
    live.begin("run1");
    live.event(r#"{"type":"agent_start"}"#);
    live.thinking("hm");
    live.tool(Tool { id: "c1".into(), name: "bash".into(), args: r#"{"command":"ls"}"#.into(), ..Tool::default() });
    live.tool(Tool { id: "c1".into(), output: "a".into(), ..Tool::default() });
    live.tool(Tool { id: "c1".into(), output: "ab".into(), done: true, ..Tool::default() });
    live.text("Hello");
    h.door.publish(&typing("run1", false));
    h.door.publish(&reply("run1", "Hello"));
    h.answers.give(id, Answer::Accepted { row: 1, run: "run1".into(), replayed: false });
    assert_eq!(
        until(&mut ws, "reply Hello"),
        [
            "res",
            "typing true",
            "live.reset",
            "agent_start ",
            "thinking_start ",
            "thinking_delta hm",
            "thinking_end ",
            "tool_execution_start c1",
            "tool_execution_end c1",
            "text_delta Hello",
            "typing false",
            "reply Hello",
        ]
    );
}

#[test]
fn live_events_have_pi_s_shape_and_the_run() {
    let h = House::open();
    let live = h.board.open(WEB);
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({}));
    live.begin("run1");
    live.tool(Tool { id: "c1".into(), name: "bash".into(), args: r#"{"command":"ls"}"#.into(), ..Tool::default() });
    assert_eq!(ws.event("live.reset")["payload"], json!({"sessionKey": WEB, "runId": "run1"}));
    assert_eq!(
        ws.event("agent")["payload"],
        json!({
            "type": "tool_execution_start", "toolCallId": "c1", "toolName": "bash", "args": {"command": "ls"},
            "sessionKey": WEB, "runId": "run1",
        })
    );
    live.tool(Tool { id: "c1".into(), output: "a".into(), ..Tool::default() });
    let v = ws.event("agent");
    assert_eq!(v["payload"]["type"], "tool_execution_update");
    assert_eq!(v["payload"]["partialResult"], json!({"content": [{"type": "text", "text": "a"}]}));
    live.tool(Tool { id: "c1".into(), output: "ab".into(), done: true, error: true, ..Tool::default() });
    let v = ws.event("agent");
    assert_eq!(
        (v["payload"]["type"].as_str(), v["payload"]["isError"].as_bool()),
        (Some("tool_execution_end"), Some(true))
    );
    live.text("x");
    assert_eq!(
        ws.event("agent")["payload"],
        json!({
            "type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": "x"},
            "sessionKey": WEB, "runId": "run1",
        })
    );
}

#[test]
fn seq_has_no_gaps_and_eid_never_falls() {
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = connected(&h);
    live.begin("run1");
    for n in 0..50 {
        h.door.publish(&notice(n));
        live.text("word ");
    }
    h.door.publish(&reply("run1", "done"));
    let (mut seq, mut eid, mut text) = (0, 0, String::new());
    loop {
        let v = ws.json();
        seq += 1;
        assert_eq!(v["seq"], seq);
        assert!(v["eid"].as_u64().unwrap() >= eid);
        eid = v["eid"].as_u64().unwrap();
        text += v["payload"]["assistantMessageEvent"]["delta"].as_str().unwrap_or_default();
        if v["event"] == "chat.reply" {
            break;
        }
    }
    assert_eq!(text, "word ".repeat(50));
}

#[test]
fn a_client_that_uses_sessions_sees_the_live_text_of_those_only() {
    let h = House::new();
    let (mine, other) = (h.board.open(WEB), h.board.open("agent:main:telegram:default:dm:1"));
    let mut ws = connected(&h);
    other.begin("o1");
    other.text("seen");
    assert_eq!(until(&mut ws, "text_delta seen"), ["live.reset", "text_delta seen"]);
    ws.call("chat.history", json!({}));
    other.text("hidden");
    mine.begin("r1");
    mine.text("mine");
    assert_eq!(until(&mut ws, "text_delta mine"), ["live.reset", "text_delta mine"]);
    assert_eq!(ws.call("subscribe", json!({"sessions": ["agent:main:telegram:default:dm:1"]}))["ok"], true);
    assert_eq!(until(&mut ws, "text_delta hidden"), ["text_delta hidden"]);
}

#[test]
fn session_live_holds_what_was_shown_and_what_follows_is_new() {
    let h = House::new();
    let live = h.board.open(WEB);
    live.begin("run1");
    live.thinking("hm");
    live.text("Hel");
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({"token": SECRET, "subscribe": []}));
    let p = ws.call("session.live", json!({}))["payload"].clone();
    assert_eq!(
        (p["text"].as_str(), p["thinking"].as_str(), p["isStreaming"].as_bool()),
        (Some("Hel"), Some("hm"), Some(true))
    );
    assert_eq!((p["tools"].clone(), p["pendingUi"].clone()), (json!([]), json!([])));
    live.text("lo");
    let after = until(&mut ws, "text_delta lo");
    assert_eq!(after, ["text_delta lo"]);
}

#[test]
fn dialogs_reach_the_pages_that_should_see_them() {
    let dialog = |session: &str, id: &str| Dialog {
        id: id.into(),
        session: session.into(),
        method: "input".into(),
        title: "Name?".into(),
        message: String::new(),
        options: Vec::new(),
        placeholder: "you".into(),
        prefill: String::new(),
        ttl: 60_000,
    };
    let open = dialog(WEB, "d0");
    let script = Box::new(move |r: &Request| match r {
        Request::Dialogs { .. } => Some(Answer::Dialogs(vec![open.clone()])),
        _ => Some(Answer::Ok),
    });
    let h = House::with(settings(), script);
    let mut ws = connected(&h);
    let v = ws.event("extension_ui_request")["payload"].clone();
    assert_eq!(
        v,
        json!({
            "type": "extension_ui_request", "id": "d0", "sessionKey": WEB, "method": "text", "title": "Name?",
            "placeholder": "you", "ttlMs": 60000,
        })
    );
    h.door.publish(&Frame::Dialog(dialog("agent:main:telegram:default:dm:1", "d1")));
    h.door.publish(&Frame::Dialog(dialog(WEB, "d2")));
    assert_eq!(ws.event("extension_ui_request")["payload"]["id"], "d2");
    h.door.publish(&Frame::DialogDone { session: WEB.into(), id: "d2".into() });
    assert_eq!(ws.event("extension_ui_dismissed")["payload"]["id"], "d2");
}

// ------------------------------------------------------------------ resume (R41)

#[test]
fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let hello = ws.call("connect", json!({"token": SECRET}))["payload"].clone();
    live.begin("run1");
    live.text("Hel");
    h.door.publish(&notice(1));
    h.door.publish(&notice(2));
    let first = until(&mut ws, "notice 1");
    assert!(first.contains(&"notice 1".to_owned()));
    let eid = hello["lastEid"].as_u64().unwrap();
    let last = {
        let mut again = ws.json();
        while again["event"] != "ui.notice" {
            again = ws.json();
        }
        again["eid"].as_u64().unwrap()
    };
    assert!(last > eid);
    drop(ws);
    h.all_gone();
    live.text("lo");
    h.door.publish(&notice(3));
    h.door.publish(&typing("run1", true));

    // by cookie or header the connection is known at the upgrade: what was missed still comes first
    let mut ws = Ws::open(h.addr, "/", &format!("Authorization: Bearer {SECRET}\r\n")).unwrap();
    h.door.publish(&notice(4));
    let resume = json!({"resume": {"epoch": hello["epoch"], "eid": last}});
    let r = ws.call("connect", resume);
    assert_eq!((r["payload"]["resumed"].as_bool(), ws.passed.len()), (Some(true), 0));
    assert_eq!(
        until(&mut ws, "text_delta Hello"),
        ["notice 3", "typing true", "notice 4", "live.reset", "text_delta Hello"]
    );
}

#[test]
fn what_is_no_longer_known_is_said_so() {
    let h = House::new();
    let epoch = {
        let mut ws = Ws::open(h.addr, "/", "").unwrap();
        ws.call("connect", json!({"token": SECRET}))["payload"]["epoch"].clone()
    };
    for n in 0..3000 {
        h.door.publish(&notice(n));
    }
    for (epoch, eid) in [(&epoch, 5), (&json!("another"), 2999), (&epoch, 999_999)] {
        let mut ws = Ws::open(h.addr, "/", "").unwrap();
        let r = ws.call("connect", json!({"token": SECRET, "resume": {"epoch": epoch, "eid": eid}}));
        assert_eq!(r["payload"]["resumed"], false, "{eid}");
        assert!(ws.json()["payload"]["reason"].is_string());
        h.door.publish(&notice(7));
        assert_eq!(ws.event("ui.notice")["payload"]["message"], "7");
    }
    // 2000 missed events are more than the queue of a slow client may hold, and yet come
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({"token": SECRET, "resume": {"epoch": epoch, "eid": 1000}}));
    let seen = until(&mut ws, "notice 7");
    assert_eq!(seen[0], "notice 1000");
    assert!(seen.len() > 1999);
}

// ------------------------------------------------------------------ slow and rude clients

#[test]
fn a_slow_client_is_closed_with_1013_and_the_other_gets_everything() {
    let h = House::new();
    let mut slow = connected(&h);
    let mut quick = connected(&h);
    let big = |n: usize| Frame::Notice {
        session: WEB.into(),
        level: "info".into(),
        message: format!("{n} {}", "x".repeat(60_000)),
    };
    let mut seen = 0;
    for n in 0..400 {
        h.door.publish(&big(n));
        // the quick one keeps up
        while seen <= n {
            assert!(quick.event("ui.notice")["payload"]["message"].as_str().unwrap().starts_with(&format!("{seen} ")));
            seen += 1;
        }
    }
    assert_eq!(slow.close_code(), 1013);
    assert!(slow.passed.len() < 400);
    quick.call("ping", json!({}));
}

#[test]
fn bad_frames_are_answered_and_twenty_in_a_row_are_too_many() {
    let h = House::open();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let mut answer = |text: &str| {
        ws.text(text);
        let r = ws.json();
        assert_eq!((r["type"].as_str(), r["ok"].as_bool()), (Some("res"), Some(false)));
        r["id"].clone()
    };
    assert_eq!(answer("not json"), "?");
    assert_eq!(answer("null"), "?");
    assert_eq!(answer(&"[".repeat(70)), "?");
    assert_eq!(answer(r#"{"type":"req","id":{"a":1}}"#), json!({"a": 1}));
    for ignored in ["[]", "7", "\"x\"", "{}", r#"{"type":"event"}"#] {
        ws.text(ignored);
    }
    assert_eq!(ws.call("ping", json!({}))["ok"], true);
    for _ in 0..20 {
        ws.text("[]");
    }
    assert_eq!(ws.close_code(), 1008);
}

#[test]
fn binary_frames_are_text_twenty_times() {
    let h = House::open();
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    for n in 0..20 {
        let frame = json!({"type": "req", "id": n, "method": "ping"}).to_string();
        ws.c.send(Ws::frame(2, frame.as_bytes()));
        assert_eq!(ws.json()["id"], n);
    }
    ws.c.send(Ws::frame(2, b"{}"));
    assert_eq!(ws.close_code(), 1003);
}

#[test]
fn oversized_unmasked_and_broken_frames_are_closed_with_their_codes() {
    let h = House::set(|s| s.limits.ws_message = 100_000);
    let open = || Ws::open(h.addr, "/", "").unwrap();
    let mut ws = open();
    ws.c.try_send(&Ws::frame(1, &vec![b' '; 100_001]));
    assert_eq!(ws.close_code(), 1009);
    let mut ws = open();
    let mut header = vec![0x81, 0xff];
    header.extend((1u64 << 62).to_be_bytes());
    header.extend([0; 4]);
    ws.c.send(header);
    assert_eq!(ws.close_code(), 1009);
    let mut ws = open();
    ws.c.send([0x81, 2, b'h', b'i']);
    assert_eq!(ws.close_code(), 1002);
    let mut ws = open();
    ws.c.send(Ws::frame(1, &[0xff, 0xfe]));
    assert_eq!(ws.close_code(), 1007);
    h.all_gone();
}

#[test]
fn the_rate_of_requests_is_limited() {
    let h = House::set(|s| s.limits.ws_rate = 5);
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    let refused = (0..40).map(|_| ws.call("ping", json!({}))).filter(|r| r["code"] == "rate_limited").count();
    assert!((20..=30).contains(&refused), "{refused}");
}

#[test]
fn pings_are_answered_closes_are_returned_and_ticks_come() {
    let h = House::set(|s| s.times.ws_tick = ms(50));
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({}));
    assert!(ws.event("tick")["payload"]["ts"].is_number());
    while ws.got() != Got::Ping {}
    ws.c.send(Ws::frame(9, b"hello"));
    loop {
        match ws.got() {
            Got::Pong(p) => break assert_eq!(p, b"hello"),
            Got::Close(..) | Got::Eof => panic!(),
            _ => {}
        }
    }
    ws.c.send(Ws::frame(8, &1000u16.to_be_bytes()));
    assert_eq!(ws.close_code(), 1000);
    h.all_gone();
}

#[test]
fn a_client_without_a_sign_of_life_is_closed() {
    let h = House::set(|s| s.times.ws_idle = ms(150));
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("ping", json!({}));
    assert_eq!(ws.close_code(), 1001);
    h.all_gone();
}
