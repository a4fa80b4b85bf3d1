//! Where messages and turns begin and end, as clients are told, and `raw` (R14, R68).

use std::sync::Arc;

use pi_gateway::live::Live;
use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;

fn whole(text: &str) -> AssistantMessage {
    AssistantMessage { text: text.into(), stop: "stop".into(), model: "m".into(), ..AssistantMessage::default() }
}

/// What `pi-<n>-out` writes of an answer in two pieces.
fn answer(live: &Arc<Live>, joined: bool, pieces: [&str; 2]) {
    live.event(r#"{"type":"turn_start"}"#);
    live.message_start(joined);
    live.thinking("hm");
    if joined {
        live.text("\n\n");
    }
    live.text(pieces[0]);
    live.text(pieces[1]);
    live.message_end(&whole(&pieces.concat()));
    live.turn_end();
}

fn asked(h: &House, connect: Value) -> Ws {
    let mut ws = Ws::open(h.addr, "/ws", "").unwrap();
    let mut params = connect;
    params["token"] = json!(SECRET);
    assert_eq!(ws.call("connect", params)["ok"], true);
    ws
}

#[test]
fn message_end_and_turn_end_hold_the_message_and_come_once() {
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = asked(&h, json!({}));
    live.begin("run1");
    answer(&live, false, ["Hello ", "you"]);
    live.event(r#"{"type":"agent_end"}"#);
    h.door.publish(&reply("run1", "Hello you"));
    let mut seen: Vec<Value> = Vec::new();
    while seen.last().is_none_or(|v| v["event"] != "chat.reply") {
        seen.push(ws.json());
    }
    let kinds: Vec<&str> = seen.iter().filter_map(|v| v["payload"]["type"].as_str()).collect();
    let rest: Vec<&str> = kinds.iter().copied().filter(|k| *k != "message_update").collect();
    assert_eq!(rest, ["turn_start", "message_start", "message_end", "turn_end", "agent_end"]);
    let end = seen.iter().find(|v| v["payload"]["type"] == "message_end").unwrap();
    let mut want = json!({
        "sessionKey": WEB, "runId": "run1", "type": "message_end",
        "message": {
            "role": "assistant", "model": "m", "stopReason": "stop",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello you"}],
            "usage": {
                "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "cost": {"total": 0.0},
            },
        },
    });
    assert_eq!(end["payload"], want);
    want["type"] = json!("turn_end");
    want["toolResults"] = json!([]);
    assert_eq!(seen.iter().find(|v| v["payload"]["type"] == "turn_end").unwrap()["payload"], want);
}

#[test]
fn with_raw_each_update_carries_its_message_so_far_and_without_it_none_does() {
    let h = House::new();
    let live = h.board.open(WEB);
    let (mut raw, mut plain) = (asked(&h, json!({"raw": true})), asked(&h, json!({})));
    live.begin("run1");
    answer(&live, false, ["One", "."]);
    answer(&live, true, ["Two ", "words"]);
    live.event(r#"{"type":"agent_end"}"#);
    let mut text = String::new();
    let mut ends = 0;
    loop {
        let p = raw.event("agent")["payload"].clone();
        let event = &p["assistantMessageEvent"];
        match p["type"].as_str().unwrap() {
            "message_start" => text.clear(),
            "message_update" => {
                assert_eq!(p["message"], event["partial"], "{p}");
                if event["type"] == "text_delta" {
                    text += event["delta"].as_str().unwrap();
                    let said = p["message"]["content"][1]["text"].as_str().unwrap_or_default();
                    assert_eq!(said, text.trim_start(), "{p}");
                } else {
                    assert_eq!(p["message"]["content"][0], json!({"type": "thinking", "thinking": "hm"}));
                }
            }
            "message_end" => {
                ends += 1;
                assert_eq!(p["message"]["content"][1]["text"], text.trim_start());
            }
            "agent_end" => break,
            _ => {}
        }
    }
    assert_eq!((ends, text.trim_start()), (2, "Two words"));
    loop {
        let p = plain.event("agent")["payload"].clone();
        if p["type"] == "agent_end" {
            break;
        }
        assert!(p["type"] != "message_update" || p["message"].is_null(), "{p}");
        assert!(p["assistantMessageEvent"]["partial"].is_null(), "{p}");
    }
}

#[test]
fn a_raw_client_of_a_long_answer_gets_no_more_than_its_message_end() {
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = asked(&h, json!({"raw": true}));
    live.begin("run1");
    live.message_start(false);
    let mut long = String::new();
    let piece = "x".repeat(1000);
    for _ in 0..400 {
        live.text(&piece);
        long += &piece;
    }
    live.message_end(&whole(&long));
    let (mut repeated, mut shown) = (0, 0);
    let end = loop {
        let p = ws.event("agent")["payload"].clone();
        if p["type"] == "message_end" {
            break p;
        }
        shown += p["assistantMessageEvent"]["delta"].as_str().map_or(0, str::len);
        let said = p["message"]["content"][0]["text"].as_str().map_or(0, str::len);
        assert!(said <= 32 << 10, "{said}");
        repeated += said;
    };
    assert!(repeated <= 33 * (32 << 10), "{repeated}");
    assert_eq!(shown, long.len());
    assert!(end["message"]["content"][0]["text"] == long.as_str());
}

#[test]
fn after_session_live_a_raw_client_still_has_the_whole_message() {
    let h = House::open();
    let live = h.board.open(WEB);
    live.begin("run1");
    live.message_start(false);
    live.text("Hel");
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({"raw": true, "subscribe": []}));
    assert_eq!(ws.call("session.live", json!({}))["payload"]["text"], "Hel");
    live.text("lo");
    let p = ws.event("agent")["payload"].clone();
    assert_eq!(p["assistantMessageEvent"]["delta"], "lo");
    assert_eq!(p["message"]["content"], json!([{"type": "text", "text": "Hello"}]));
}
