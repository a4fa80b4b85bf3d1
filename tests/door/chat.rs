//! Chat over HTTP: one answer, or a stream.

use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

#[test]
fn a_chat_is_answered_with_its_reply() {
    let h = House::open();
    let post = |fields: &str, body: &str| ask(h.addr, "POST", "/api/chat", fields, body);
    let r = post("Idempotency-Key: k1\r\n", r#"{"message":"hi"}"#).json();
    assert_eq!(
        (r["ok"].as_bool(), r["reply"].as_str(), r["sessionKey"].as_str()),
        (Some(true), Some("echo: hi"), Some(MAIN))
    );
    let Request::Chat(c) = h.asked.lock().unwrap()[0].clone() else { panic!() };
    assert_eq!(c.dkey.as_deref(), Some("http:chat:open:k1"));
    assert_eq!((c.source.channel.as_str(), c.body_hash.len()), ("api", 43));
    assert_eq!(post("", "{}").json()["error"], "message is required");
    assert_eq!(post("", "null").json()["error"], "Invalid JSON body");
    assert_eq!(post("", "[1]").status, 400);
    assert_eq!(post("", r#"{"message":5}"#).status, 400);
    assert_eq!(post("", &format!("{}1{}", "[".repeat(70), "]".repeat(70))).status, 400);
    assert_eq!(post("", r#"{"message":"a","sessionKey":"../x"}"#).status, 400);
    assert_eq!(post(&format!("Idempotency-Key: {}\r\n", "k".repeat(129)), r#"{"message":"a"}"#).status, 400);
    let failed = post("", r#"{"message":"fail"}"#);
    assert_eq!((failed.status, failed.json()["reply"].as_str()), (200, Some("Error: The model is down.")));
    let full = post("", r#"{"message":"full"}"#);
    assert_eq!((full.refusal(), full.header("retry-after")), ((429, "queue_full".into()), Some("5")));
}

#[test]
fn an_idempotency_key_is_good_for_one_route() {
    let h = House::open();
    for path in ["/api/chat", "/api/chat/stream"] {
        assert_eq!(ask(h.addr, "POST", path, "Idempotency-Key: k1\r\n", r#"{"message":"hi"}"#).status, 200);
    }
    let asked = h.asked.lock().unwrap().clone();
    let keys = asked.iter().filter_map(|r| if let Request::Chat(c) = r { c.dkey.clone() } else { None });
    assert_eq!(keys.collect::<Vec<_>>(), ["http:chat:open:k1", "http:stream:open:k1"]);
}

#[test]
fn pictures_of_a_chat_reach_the_mind_as_files() {
    let h = House::open();
    let png = "iVBORw0KGgpyZXN0";
    let body = json!({"message": "look", "images": [{"data": png, "mimeType": "image/png"}]}).to_string();
    assert_eq!(ask(h.addr, "POST", "/api/chat", "", &body).status, 200);
    let Request::Chat(c) = h.asked.lock().unwrap()[0].clone() else { panic!() };
    assert_eq!(c.images[0].mime, "image/png");
    assert!(c.images[0].path.starts_with(h.dir.path().join("media/webchat")) && c.images[0].path.exists());
}

#[test]
fn a_stream_has_exactly_the_documented_frames() {
    let h = House::open();
    let live = h.board.open(MAIN);
    let mut c = Client::new(h.addr);
    c.request("POST", "/api/chat/stream", "", r#"{"message":"wait"}"#);
    let head = c.until("\r\n\r\n");
    assert!(head.contains("Content-Type: text/event-stream; charset=utf-8\r\n") && head.contains("no-cache"));
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    let tool = |output: &str, done| pi_gateway::live::Tool {
        id: "c1".into(),
        name: "bash".into(),
        output: output.into(),
        done,
        ..Default::default()
    };
    let mut frame = || String::from_utf8(c.chunk().unwrap()).unwrap();
    live.begin("run1");
    live.event(r#"{"type":"turn_start"}"#);
    live.message_start(false);
    live.thinking("hm");
    let mut seen = String::new();
    let mut until = |end: &str, frame: &mut dyn FnMut() -> String| {
        let patience = Patience::new();
        while !seen.ends_with(end) {
            patience.check(end, &seen); // comments keep coming
            seen += &frame();
        }
        std::mem::take(&mut seen)
    };
    let data = |v: &str| format!("data: {v}\n\n");
    let delta = |t: &str| data(&format!("{{\"type\":\"delta\",\"text\":{t:?}}}"));
    assert_eq!(until("\"hm\"}\n\n", &mut frame), delta("\n<think>\n") + &delta("hm"));
    // R68: no frames but those of old, whatever pi tells.
    live.message_end(&AssistantMessage::default());
    live.tool(tool("", false));
    live.tool(tool("x", true));
    live.turn_end();
    live.text("Hel");
    assert_eq!(
        until("\"Hel\"}\n\n", &mut frame),
        delta("\n</think>\n")
            + &data(r#"{"type":"tool","name":"bash","label":"bash"}"#)
            + &data(r#"{"type":"tool_end","name":"bash","isError":false}"#)
            + &delta("Hel")
    );
    live.text("lo");
    let reply = ChatReply { run: "run1".into(), text: "Hello".into(), ..ChatReply::default() };
    h.answers.give(id, Answer::Reply(Box::new(reply)));
    let r = c.response_after_head();
    assert!(r.starts_with(&delta("lo")), "{r}");
    let done: serde_json::Value = serde_json::from_str(r.trim_end().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!((done["type"].as_str(), done["reply"].as_str()), (Some("done"), Some("Hello")));
    assert!(done["duration"].is_number());
    // the connection is still good
    assert_eq!(c.request("GET", "/health", "", "").response().status, 200);
}

#[test]
fn thinking_comes_in_frames_of_its_own_or_not_at_all_if_the_client_says_so() {
    let h = House::open();
    let live = h.board.open(MAIN);
    for (n, (how, thought)) in
        [("separate", "data: {\"type\":\"thinking\",\"text\":\"hm\"}\n\n"), ("off", "")].into_iter().enumerate()
    {
        let mut c = Client::new(h.addr);
        c.request("POST", "/api/chat/stream", "", &json!({"message": "wait", "thinking": how}).to_string());
        c.until("\r\n\r\n");
        let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { row } if *row == n as Row + 1));
        let run = format!("run{}", n + 1);
        live.begin(&run);
        live.thinking("hm");
        live.text("Hello");
        let reply = ChatReply { run, text: "Hello".into(), ..ChatReply::default() };
        h.answers.give(id, Answer::Reply(Box::new(reply)));
        let all = c.response_after_head();
        let expected = format!("{thought}data: {{\"type\":\"delta\",\"text\":\"Hello\"}}\n\ndata: {{\"type\":\"done\"");
        assert!(all.starts_with(&expected), "{how}: {all}");
    }
    for wrong in [json!("loud"), json!(5), json!(true)] {
        let r = ask(h.addr, "POST", "/api/chat/stream", "", &json!({"message": "x", "thinking": wrong}).to_string());
        assert_eq!(r.status, 400, "{wrong}");
    }
}

#[test]
fn a_stream_without_live_text_still_tells_the_reply() {
    let h = House::open();
    let text = ask(h.addr, "POST", "/api/chat/stream", "", r#"{"message":"hi"}"#).text();
    assert!(
        text.starts_with("data: {\"type\":\"delta\",\"text\":\"echo: hi\"}\n\ndata: {\"type\":\"done\",\"reply\":"),
        "{text}"
    );
    let text = ask(h.addr, "POST", "/api/chat/stream", "", r#"{"message":"fail"}"#).text();
    assert!(text.contains("\"type\":\"error\"") && text.contains("\"type\":\"done\""), "{text}");
    assert_eq!(ask(h.addr, "POST", "/api/chat/stream", "", "x").status, 400);
}

#[test]
fn a_quiet_stream_sends_comments_and_notices_that_its_client_left() {
    let h = House::set(|s| s.times.comment = ms(60));
    let mut c = Client::new(h.addr);
    c.request("POST", "/api/chat/stream", "", r#"{"message":"wait","abortOnDisconnect":true}"#);
    c.until(": waiting\n\n");
    drop(c);
    eventually("the turn is aborted", || {
        h.asked.lock().unwrap().iter().any(|r| matches!(r, Request::Withdraw { row: 1 }))
    });
    h.all_gone();
}

#[test]
fn waiting_requests_are_limited_and_end_with_their_client() {
    let h = House::set(|s| s.limits.waiting = 2);
    let mut held: Vec<Client> = (0..2).map(|_| Client::new(h.addr)).collect();
    for c in &mut held {
        c.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    }
    eventually("two wait", || h.waiting.lock().unwrap().len() == 2);
    let r = ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#);
    assert_eq!((r.refusal(), r.header("retry-after")), ((503, "busy".into()), Some("1")));
    assert_eq!(ask(h.addr, "GET", "/health", "", "").status, 200);
    drop(held);
    h.all_gone();
    assert_eq!(ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#).status, 200);
}
