//! Clients that send what no client should.

use serde_json::json;

use super::support::gateway::Gateway;
use super::support::raw_http::{ask, Client, Ws};
use super::MAIN;

#[test]
fn given_bytes_that_are_no_utf8_then_400_and_close_1007_and_the_gateway_goes_on() {
    let g = Gateway::demo(json!({})).start();
    let mut c = Client::new(g.addr);
    let body = b"{\"message\":\"caf\xff\"}";
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        g.token,
        body.len()
    );
    c.send(head).send(body);
    let r = c.response();
    assert_eq!(r.status, 400, "{}", r.text());
    let mut ws = g.page(MAIN);
    ws.c.send(Ws::frame(1, b"{\"type\":\"req\",\"id\":\"\xff\"}"));
    assert_eq!(ws.close_code(), 1007);
    assert!(!g.chat(MAIN, "hello").is_empty());
}

#[test]
fn c30_given_json_nested_100000_deep_over_http_and_ws_then_it_is_refused() {
    let g = Gateway::demo(json!({})).start();
    let deep = format!("{{\"message\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let auth = format!("Authorization: Bearer {}\r\n", g.token);
    assert_eq!(ask(g.addr, "POST", "/api/chat", &auth, &deep).status, 400);
    let mut ws = g.page(MAIN);
    ws.text(&deep);
    // Refused or closed; what counts is that the next one works.
    drop(ws);
    assert!(!g.chat(MAIN, "hello").is_empty());
}

#[test]
fn given_messages_and_pictures_that_are_too_big_or_of_the_wrong_type_then_413_and_400_and_nothing_is_kept() {
    let g =
        Gateway::demo(json!({"gateway": {"limits": {"chatBodyMb": 8}}, "channels": {"webchat": {"mediaMaxMb": 1}}}))
            .start();
    let r = g.post("/api/chat", json!({"message": "x".repeat(9 << 20), "sessionKey": MAIN}));
    assert_eq!(r.refusal(), (413, "payload_too_large".to_owned()));
    let picture = |data: &str| {
        g.post(
            "/api/chat",
            json!({"message": "see", "sessionKey": MAIN, "images": [{"data": data, "mimeType": "image/png"}]}),
        )
    };
    let big = format!("iVBORw0KGgo{}", "A".repeat(2 << 20));
    assert_eq!(picture(&big).refusal(), (413, "payload_too_large".to_owned()));
    for bad in ["aGVsbG8gd29ybGQ=", "not base64!", ""] {
        let r = picture(bad);
        assert_eq!(r.refusal(), (400, "invalid_request".to_owned()), "{bad}: {}", r.text());
    }
    let stored = g.history(MAIN);
    assert!(stored.is_empty(), "{stored:?}");
    assert!(!g.chat(MAIN, "hello").is_empty());
}
