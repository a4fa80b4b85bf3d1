//! How the port drains and closes.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use pi_gateway::http::{Auth, Settings};
use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::raw_http::*;

#[test]
fn a_draining_door_refuses_new_requests_and_keeps_running_ones() {
    let h = House::open();
    let mut idle = Client::new(h.addr);
    assert_eq!(idle.request("GET", "/health", "", "").response().status, 200);
    let mut waiting = Client::new(h.addr);
    waiting.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({}));
    h.door.drain("restart", Some(Duration::from_secs(3)));
    assert_eq!(ws.event("shutdown")["payload"], json!({"reason": "restart", "restartExpectedMs": 3000}));
    assert!(TcpStream::connect_timeout(&h.addr, ms(500)).is_err());
    let r = idle.request("POST", "/api/chat", "", r#"{"message":"hi"}"#).response();
    assert_eq!((r.refusal(), r.header("connection")), ((503, "shutting_down".into()), Some("close")));
    h.answers.give(id, Answer::Reply(Box::new(ChatReply { text: "late".into(), ..ChatReply::default() })));
    assert_eq!(waiting.response().json()["reply"], "late");
    h.door.close(true);
    assert_eq!(ws.close_code(), 1012);
    assert_eq!(h.door.connections(), 0);
}

#[test]
fn closing_ends_every_kind_of_connection_within_its_time() {
    let h = House::open();
    let _idle = Client::new(h.addr);
    let mut half = Client::new(h.addr);
    half.send("GET / HT");
    let mut waiting = Client::new(h.addr);
    waiting.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("ping", json!({}));
    let begun = Instant::now();
    h.door.close(false);
    assert_eq!(h.door.connections(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(ws.close_code(), 1001);
}

#[test]
fn without_a_secret_the_door_does_not_open_by_accident() {
    let s = Settings { auth: Auth::Off, ..settings() };
    assert!(s.check().unwrap_err().contains("allowUnauthenticated"));
}
