//! The WebSocket: order, numbers, live text, and what a client gets that comes back (R41, R46).

use pi_gateway::live::Tool;
use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;

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

fn dialog(session: &str, id: &str) -> Dialog {
    Dialog {
        id: id.into(),
        session: session.into(),
        method: "input".into(),
        title: "Name?".into(),
        message: String::new(),
        options: Vec::new(),
        placeholder: "you".into(),
        prefill: String::new(),
        ttl: 60_000,
    }
}

#[test]
fn dialogs_that_are_open_reach_a_page_that_subscribes_to_their_session_later() {
    let other = "agent:main:telegram:default:dm:1";
    let open = vec![dialog(other, "t"), dialog(WEB, "w"), Dialog { ttl: 9_000, ..dialog(other, "soon over") }];
    let script = Box::new(move |r: &Request| match r {
        Request::Dialogs { .. } => Some(Answer::Dialogs(open.clone())),
        _ => Some(Answer::Ok),
    });
    let h = House::with(settings(), script);
    let ids = |ws: &mut Ws| {
        h.door.publish(&notice(1));
        let mut seen = Vec::new();
        while seen.last().is_none_or(|id| id != "-") {
            let v = ws.passed.pop().unwrap_or_else(|| ws.json());
            match v["event"].as_str() {
                Some("extension_ui_request") => seen.push(v["payload"]["id"].as_str().unwrap().to_owned()),
                Some("ui.notice") => seen.push("-".into()),
                _ => {}
            }
        }
        seen
    };
    let mut ws = connected(&h);
    ws.call("session.close", json!({"sessionKey": WEB})); // the mind has answered what was asked before
    assert_eq!(ids(&mut ws), ["w", "-"]);
    ws.call("subscribe", json!({"sessions": [other]}));
    ws.call("session.close", json!({"sessionKey": WEB}));
    assert_eq!(ids(&mut ws), ["t", "-"]);
    // let in at the upgrade, it says what it wants to see afterwards
    let mut ws = Ws::open(h.addr, "/", &crate::bearer()).unwrap();
    ws.call("connect", json!({"subscribe": [other]}));
    ws.call("session.close", json!({"sessionKey": WEB}));
    let mut all = ids(&mut ws);
    all.sort();
    assert_eq!(all, ["-", "t", "w"]);
    let pending = ws.call("session.live", json!({"sessionKey": other}))["payload"]["pendingUi"].clone();
    assert_eq!(pending[0]["id"], "t");
}

#[test]
fn dialogs_reach_the_pages_that_should_see_them() {
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

#[test]
fn what_session_live_will_hold_is_not_shown_before() {
    let script = Box::new(|r: &Request| match r {
        Request::Dialogs { session: Some(_) } => None,
        Request::Dialogs { .. } => Some(Answer::Dialogs(Vec::new())),
        _ => Some(Answer::Ok),
    });
    let h = House::with(settings(), script);
    let live = h.board.open(WEB);
    live.begin("run1");
    live.text("Hel");
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({"token": SECRET, "subscribe": []}));
    let asked = ws.ask("session.live", json!({}));
    let (id, _) = h.unanswered(|r| matches!(r, Request::Dialogs { .. }));
    live.text("lo");
    h.door.publish(&notice(1));
    assert_eq!(until(&mut ws, "notice 1"), ["notice 1"]);
    h.answers.give(id, Answer::Dialogs(Vec::new()));
    assert_eq!(ws.res(asked)["payload"]["text"], "Hello");
    live.text("!");
    assert_eq!(until(&mut ws, "text_delta !"), ["text_delta !"]);
}

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
