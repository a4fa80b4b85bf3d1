//! Requests that are odd but that the original understood.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::raw_http::ask;
use crate::MAIN;

fn fields(g: &Gateway) -> String {
    format!("Authorization: Bearer {}\r\n", g.token)
}

#[test]
fn half_of_a_surrogate_pair_is_taken_and_becomes_the_replacement_character() {
    let g = Gateway::demo(json!({})).start();
    let body = r#"{"message":"cut \ud83d and whole \ud83d\ude00","sessionKey":"agent:main:api:odd"}"#;
    let r = ask(g.addr, "POST", "/api/chat", &fields(&g), body);
    assert_eq!(r.status, 200, "{}", r.text());
    assert!(r.json()["reply"].as_str().unwrap().contains("cut \u{fffd} and whole \u{1f600}"), "{}", r.text());
    for broken in [r#"{"message":"\ud83d"#, r#"{"message":"\u12","sessionKey":"a"}"#, r#"{"message":"\ud83d" "x"}"#] {
        let r = ask(g.addr, "POST", "/api/chat", &fields(&g), broken);
        assert_eq!((r.status, r.json()["code"].as_str()), (400, Some("invalid_request")), "{broken}");
    }
    let mut ws = g.page(MAIN);
    ws.text(r#"{"type":"req","id":"odd","method":"chat.send","params":{"text":"half \udc00"}}"#);
    assert!(ws.event("chat.message")["payload"]["text"].as_str().unwrap().contains("half \u{fffd}"));
}

#[test]
fn a_percent_sign_that_begins_no_escape_stands_for_itself_in_a_query() {
    let g = Gateway::demo(json!({})).start();
    for (query, asked) in [("q=50%", "50%"), ("q=%zz+a", "%zz a"), ("q=%C3%A4%2", "ä%2"), ("q=%ff", "\u{fffd}")] {
        let r = g.get(&format!("/api/memory/search?{query}"));
        assert_eq!((r.status, r.json()["query"].as_str()), (200, Some(asked)), "{query}");
    }
    // another session than the one that is meant by default
    assert_eq!(g.get("/api/session/usage?sessionKey=%zz").status, 404);
    assert_eq!(g.get("/api/sessions?limit=%zz").status, 400);
    assert_eq!(g.get("/api/sessions/%zz").status, 400);
}

#[test]
fn methods_answer_as_their_routes_do_and_refuse_wrong_types() {
    let g = Gateway::demo(json!({})).start();
    let mut ws = g.page(MAIN);
    let by_route = g.post("/api/session/reset", json!({"sessionKey": MAIN})).json();
    assert_eq!(ws.call("sessions.reset", json!({"sessionKey": MAIN}))["payload"], by_route);
    assert_eq!(ws.call("models.list", json!({}))["error"], "No active session");
    for sessions in [json!([5]), json!([MAIN, null]), json!("x"), json!({})] {
        let r = ws.call("subscribe", json!({"sessions": sessions}));
        assert_eq!(r["code"], "invalid_request", "{sessions} {r}");
    }
    assert_eq!(ws.call("subscribe", json!({"sessions": [MAIN]}))["ok"], true);
}

#[test]
fn a_message_can_be_sent_to_a_chat_named_by_channel_and_target() {
    let g = Gateway::demo(json!({})).start();
    let unknown = g.post("/api/send", json!({"to": "webchat:nobody", "message": "early"}));
    assert_eq!(
        (unknown.status, &unknown.json()["error"]),
        (404, &json!("Session not found: agent:main:webchat:nobody"))
    );
    // As the README does it, before anybody opened the page.
    let early = g.post("/api/send", json!({"to": "webchat:default", "message": "early"}));
    assert_eq!((early.status, &early.json()["ok"]), (200, &json!(true)), "{}", early.text());
    let list = g.get("/api/sessions").json();
    assert_eq!(
        (&list["sessions"][0]["sessionKey"], &list["sessions"][0]["lastChannel"]),
        (&json!(MAIN), &json!("webchat"))
    );
    assert_eq!(g.history(MAIN), [("assistant".to_owned(), "early".to_owned())]);
    g.chat(MAIN, "hello");
    let mut ws = g.page(MAIN);
    let keyed = |body: &str| ask(g.addr, "POST", "/api/send", &format!("{}Idempotency-Key: k\r\n", fields(&g)), body);
    let sent = keyed(r#"{"to":"webchat:default","message":"the build is done"}"#);
    assert_eq!((sent.status, &sent.json()["ok"]), (200, &json!(true)), "{}", sent.text());
    let event = ws.event("message_event");
    assert_eq!(event["payload"]["text"], "the build is done");
    assert_eq!(json!([event["payload"]["id"]]), sent.json()["messageIds"]);
    let again = keyed(r#"{"to":"webchat:default","message":"the build is done"}"#);
    assert_eq!((again.header("Idempotent-Replay"), again.json()), (Some("true"), sent.json()));
    assert_eq!(keyed(r#"{"to":"webchat:default","message":"other"}"#).status, 409);
    let format = "Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')";
    for (body, status, error) in [
        (json!({"to": "webchat:default"}), 400, "Both 'to' and 'message' are required"),
        (json!({"message": "x"}), 400, "Both 'to' and 'message' are required"),
        (json!({"to": "webchat", "message": "x"}), 400, format),
        (json!({"to": "webchat:", "message": "x"}), 400, format),
        (json!({"to": "nope:1:2", "message": "x"}), 404, "Channel not found: nope"),
        (json!({"to": 5, "message": "x"}), 400, "to must be a string"),
    ] {
        let r = g.post("/api/send", body.clone());
        assert_eq!((r.status, r.json()["error"].as_str()), (status, Some(error)), "{body}");
    }
    assert_eq!(g.post("/api/send", json!({"to": "webchat:../x", "message": "x"})).status, 400);
}
