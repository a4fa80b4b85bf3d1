//! The WebSocket: slow, silent and rude clients (R43, R45, R48).

use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;

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

#[test]
fn a_client_that_reads_slowly_gets_fewer_and_larger_pieces_of_the_same_text() {
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = connected(&h);
    live.begin("run1");
    // far more than the socket takes: the writer stands still, the text goes on
    let word = "0123456789".repeat(10);
    for _ in 0..30_000 {
        live.text(&word);
    }
    h.door.publish(&reply("run1", "done"));
    let (mut pieces, mut size) = (0, 0);
    loop {
        let v = ws.json();
        if v["event"] == "chat.reply" {
            break;
        }
        let delta = v["payload"]["assistantMessageEvent"]["delta"].as_str().unwrap_or_default();
        size += delta.len();
        pieces += usize::from(!delta.is_empty());
    }
    assert_eq!(size, 3_000_000);
    assert!(pieces < 15_000, "{pieces}");
}
