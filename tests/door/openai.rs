//! `/v1` as OpenAI's clients see it, over a scripted mind.

use pi_gateway::http::{Auth, Settings, Thinking};
use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;
use crate::{bearer, MAIN};

const PATH: &str = "/v1/chat/completions";

fn body(text: &str, more: Value) -> String {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    merge(&mut body, more);
    body.to_string()
}

fn merge(into: &mut Value, from: Value) {
    for (k, v) in from.as_object().unwrap() {
        into[k] = v.clone();
    }
}

fn post(h: &House, fields: &str, body: &str) -> Response {
    ask(h.addr, "POST", PATH, fields, body)
}

/// The newest message that the mind was given.
fn asked(h: &House) -> ChatRequest {
    let all = h.asked.lock().unwrap();
    let mut chats = all.iter().filter_map(|r| if let Request::Chat(c) = r { Some((**c).clone()) } else { None });
    chats.next_back().unwrap()
}

fn error(r: &Response) -> (u16, Value) {
    let mut v = r.json();
    assert!(v["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{v}");
    v["error"].as_object_mut().unwrap().remove("message");
    (r.status, v)
}

fn refused(kind: &str, code: &str, param: Value) -> Value {
    json!({"error": {"type": kind, "code": code, "param": param}})
}

/// The frames of a stream without their ids; each must have the same.
fn frames(text: &str) -> Vec<Value> {
    let mut ids = std::collections::BTreeSet::new();
    let frames = text.split("\n\n").filter(|f| !f.is_empty()).map(|f| {
        let data = f.strip_prefix("data: ").unwrap_or_else(|| panic!("no frame: {f:?}"));
        let Ok(mut v) = serde_json::from_str::<Value>(data) else { return json!(data) };
        if v.get("error").is_none() {
            ids.insert((v["id"].to_string(), v["created"].to_string()));
            let o = v.as_object_mut().unwrap();
            o.remove("id").unwrap();
            o.remove("created").unwrap();
        }
        v
    });
    let frames = frames.collect();
    assert!(ids.len() <= 1, "{ids:?}");
    frames
}

fn chunk(delta: Value, finish: Value) -> Value {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
    json!({"object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice]})
}

#[test]
fn a_completion_has_exactly_the_documented_members() {
    let h = House::open();
    let r = post(&h, "", &body("hi", json!({"temperature": 0.3, "tools": [], "unheard_of": {}})));
    assert_eq!((r.status, r.header("content-type")), (200, Some("application/json;charset=utf-8")));
    assert_eq!((r.header("x-session-key"), r.header("x-run-id")), (Some(MAIN), Some("run1")));
    let mut v = r.json();
    assert!(v["created"].as_i64().unwrap() > 1_700_000_000, "seconds");
    v["created"] = json!(0);
    assert_eq!(
        v,
        json!({
            "id": "chatcmpl-run1", "object": "chat.completion", "created": 0, "model": "gpt-4o",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "echo: hi", "refusal": null},
                "logprobs": null, "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        })
    );
    let c = asked(&h);
    assert_eq!((c.session.as_str(), c.text.as_str(), c.dkey), (MAIN, "hi", None));
    assert_eq!((c.solo, c.fleeting), (Some(Solo { model: None }), false));
    assert_eq!(post(&h, "", r#"{"messages":[{"role":"user","content":"x"}]}"#).json()["model"], "pi-gateway");
}

#[test]
fn only_the_last_user_message_goes_to_a_conversation() {
    let h = House::open();
    let messages = json!([
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"}, {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]);
    post(&h, "", &json!({"messages": messages}).to_string());
    assert_eq!(asked(&h).text, "two");
    let h = House::set(|s| s.openai.stateless = true);
    let r = post(&h, "", &json!({"messages": messages}).to_string());
    assert_eq!(r.header("x-session-key"), Some("agent:main:api:req:run1"));
    let c = asked(&h);
    assert_eq!((c.session.as_str(), c.fleeting), ("agent:main:api:req:", true));
    assert!(c.text.starts_with("[Instructions]\nbe brief") && c.text.ends_with("[Message to answer]\ntwo"), "{c:?}");
}

#[test]
fn the_session_is_the_header_s_the_user_s_or_the_configured_one() {
    let set = |stateless: bool| {
        House::set(|s| {
            s.openai.stateless = stateless;
            s.openai.agents = vec!["main".into(), "coder".into()];
            s.agents = s.openai.agents.clone();
        })
    };
    let h = set(false);
    let session = |h: &House, fields: &str, more: Value| {
        assert_eq!(post(h, fields, &body("hi", more)).status, 200);
        asked(h).session
    };
    assert_eq!(session(&h, "", json!({})), MAIN);
    assert_eq!(
        session(&h, "X-Session-Key: agent:main:webchat:tab\r\n", json!({"user": "ada"})),
        "agent:main:webchat:tab"
    );
    assert_eq!(session(&h, "", json!({"user": "ada"})), "agent:main:api:user:ada");
    assert_eq!(session(&h, "", json!({"user": "a:b/ü"})), "agent:main:api:user:a%3Ab%2F%C3%BC");
    assert_eq!(session(&h, "", json!({"user": ""})), MAIN);
    assert_eq!(session(&h, "", json!({"model": "agent/coder"})), "agent:coder:main:main");
    assert_eq!(session(&h, "", json!({"model": "agent/coder", "user": "ada"})), "agent:coder:api:user:ada");
    assert_eq!(session(&h, "", json!({"model": "agent/nobody"})), MAIN);
    post(&h, "", &body("/coder hi", json!({})));
    assert_eq!((asked(&h).session.as_str(), asked(&h).text.as_str()), ("agent:coder:main:main", "hi"));
    let h = set(true);
    assert_eq!(session(&h, "", json!({"model": "agent/coder"})), "agent:coder:api:req:");
    assert_eq!(session(&h, "", json!({"user": "ada"})), "agent:main:api:user:ada");
    for key in ["../x", "agent:main:api:req:abc"] {
        let r = post(&h, &format!("X-Session-Key: {key}\r\n"), &body("hi", json!({})));
        assert_eq!(r.status, 400, "{key}");
    }
    let r = post(&h, "X-Session-Key: agent:main:webchat:x\r\n", &body("hi", json!({"model": "agent/coder"})));
    assert_eq!(r.status, 400);
}

#[test]
fn a_model_of_pi_is_for_this_turn_and_an_unknown_name_for_nothing() {
    let list = r#"[{"provider":"fake","id":"one","x":1},{"provider":"or","id":"deep/er"}]"#;
    let mut script = well();
    let s = Settings { auth: Auth::Off, allow_unauthenticated: true, ..settings() };
    let h = House::with(
        s,
        Box::new(move |r| match r {
            Request::Models => Some(Answer::Models(list.into())),
            r => script(r),
        }),
    );
    for (name, model) in [("fake/one", Some("fake/one")), ("or/deep/er", Some("or/deep/er")), ("no/such", None)] {
        let r = post(&h, "", &body("hi", json!({"model": name})));
        assert_eq!(r.json()["model"], name, "echoed");
        assert_eq!(asked(&h).solo.unwrap().model.as_deref(), model);
    }
    let ids = |r: Response| -> Vec<String> {
        r.json()["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(ask(h.addr, "GET", "/v1/models", "", "")), ["pi-gateway", "fake/one", "or/deep/er"]);
    for path in ["or/deep/er", "or%2Fdeep%2Fer", "or/deep%2Fer"] {
        let v = ask(h.addr, "GET", &format!("/v1/models/{path}"), "", "").json();
        assert!(v["created"].as_i64().unwrap() > 1_700_000_000);
        assert_eq!((&v["id"], &v["object"], &v["owned_by"]), (&json!("or/deep/er"), &json!("model"), &json!("or")));
    }
    let r = ask(h.addr, "GET", "/v1/models/or/none", "", "");
    assert_eq!(error(&r), (404, refused("invalid_request_error", "not_found", json!("model"))));
    assert_eq!(ask(h.addr, "GET", "/v1/models/%zz", "", "").status, 400);
    assert_eq!(ask(h.addr, "HEAD", "/v1/models", "", "").status, 200);
}

#[test]
fn without_a_list_of_pi_s_models_ours_are_listed_and_any_name_is_tried() {
    let mut script = well();
    let mut s = Settings { auth: Auth::Off, allow_unauthenticated: true, ..settings() };
    s.openai.agents = vec!["main".into(), "coder".into()];
    let h = House::with(
        s,
        Box::new(move |r| match r {
            Request::Models => Some(Answer::Error { code: Code::NoActiveSession, message: "No active session".into() }),
            r => script(r),
        }),
    );
    let v = ask(h.addr, "GET", "/v1/models", "", "").json();
    assert_eq!(v["object"], "list");
    let ids: Vec<_> = v["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["pi-gateway", "agent/main", "agent/coder"]);
    assert_eq!(ask(h.addr, "GET", "/v1/models/agent/coder", "", "").json()["owned_by"], "pi-gateway");
    post(&h, "", &body("hi", json!({"model": "a/b"})));
    assert_eq!(asked(&h).solo.unwrap().model.as_deref(), Some("a/b"));
}

#[test]
fn bad_requests_are_told_in_openai_s_shape() {
    let h = House::open();
    let bad = |body: &str, param: Value| {
        let r = post(&h, "", body);
        assert_eq!(error(&r), (400, refused("invalid_request_error", "invalid_request", param)), "{body}");
        r.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    assert!(bad("{", Value::Null).starts_with("Invalid JSON body"));
    bad("[]", Value::Null);
    assert_eq!(bad("{}", json!("messages")), "messages is required");
    assert_eq!(bad(r#"{"messages":[]}"#, json!("messages")), "messages is required");
    let no_user = r#"{"messages":[{"role":"system","content":"x"}]}"#;
    assert_eq!(bad(no_user, json!("messages")), "No user message found");
    bad(&body("", json!({})), json!("messages"));
    bad(&body("x", json!({"n": 2})), json!("n"));
    bad(&body("x", json!({"n": "1"})), json!("n"));
    bad(&body("x", json!({"model": 5})), json!("model"));
    bad(&body("x", json!({"stream": "yes"})), json!("stream"));
    bad(&body("x", json!({"stream_options": 1})), json!("stream_options"));
    bad(&body("x", json!({"stream_options": {"include_usage": 1}})), json!("stream_options.include_usage"));
    bad(&body("x", json!({"user": 5})), json!("user"));
    let image = |url: &str| {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        json!({"messages": [{"role": "user", "content": [part]}]}).to_string()
    };
    let told = bad(&image("file:///etc/passwd"), json!("messages[0].content[0].image_url.url"));
    assert!(told.contains("only data:, http: and https: URLs are taken"), "{told}");
    bad(&image("data:image/png;base64,???"), json!("messages[0].content[0].image_url.url"));
    assert_eq!(post(&h, "", &body("x", json!({"n": 1, "stream": null, "stream_options": null}))).status, 200);
    assert_eq!(post(&h, "Accept: application/vnd.pigw.v2+json\r\n", "{}").json()["error"]["param"], "messages");
}

#[test]
fn pictures_as_data_urls_reach_the_mind_as_files() {
    let h = House::open();
    let part =
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgpyZXN0", "detail": "low"}});
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "look"}, part]}]);
    assert_eq!(post(&h, "", &json!({"messages": messages}).to_string()).status, 200);
    let c = asked(&h);
    assert_eq!((c.text.as_str(), c.images.len(), c.images[0].mime.as_str()), ("look", 1, "image/png"));
    assert!(c.images[0].path.exists());
}

#[test]
fn every_refusal_under_v1_has_openai_s_shape() {
    let h = House::new();
    let get = |path: &str, fields: &str| ask(h.addr, "GET", path, fields, "");
    let wrong = get("/v1/models", "Authorization: Bearer nonsense\r\n");
    assert_eq!(error(&wrong), (401, refused("authentication_error", "unauthorized", Value::Null)));
    assert_eq!(error(&get("/v1/models", "")).0, 401);
    assert_eq!(error(&get("/v1/models?token=x", "")).0, 401);
    let r = get("/v1/nothing", &bearer());
    assert_eq!(error(&r), (404, refused("invalid_request_error", "not_found", Value::Null)));
    let r = get(PATH, &bearer());
    assert_eq!(error(&r), (405, refused("invalid_request_error", "method_not_allowed", Value::Null)));
    assert_eq!(r.header("allow"), Some("POST, OPTIONS"));
    let r = ask(h.addr, "POST", PATH, &(bearer() + "Content-Length: 90000000000000\r\n"), "");
    assert_eq!(error(&r), (413, refused("invalid_request_error", "payload_too_large", Value::Null)));
    let r = get("/v1/models", "Host: evil.example\r\n");
    assert_eq!(r.status, 400, "two hosts");
    assert_eq!(get("/v1/models", &bearer()).status, 200);
}

#[test]
fn failures_are_told_with_what_was_said_and_are_not_to_be_repeated() {
    let h = House::open();
    let waiting = |reply: ChatReply| {
        let mut c = Client::new(h.addr);
        c.request("POST", PATH, "", &body("wait", json!({})));
        let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
        h.answers.give(id, Answer::Reply(Box::new(reply)));
        c.response()
    };
    let failed = |text: &str| ChatReply {
        id: "s".into(),
        text: text.into(),
        error: Some((Code::UpstreamFailed, "The model is down.".into())),
        ..ChatReply::default()
    };
    let r = waiting(failed("half\n\nThe model is down."));
    assert_eq!((r.status, r.header("x-should-retry")), (502, Some("false")));
    assert_eq!(
        r.json(),
        json!({"error": {
            "message": "The model is down.", "type": "upstream_error", "code": "upstream_failed", "param": null,
            "partial": "half",
        }})
    );
    let late =
        ChatReply { stop: "too long".into(), text: "half\n\n(stopped after 9 min)".into(), ..ChatReply::default() };
    let r = waiting(late);
    assert_eq!((r.status, r.json()["error"]["partial"].as_str()), (504, Some("half")));
    assert_eq!(r.json()["error"]["type"], "timeout_error");
    let length = ChatReply {
        id: "s".into(),
        text: "cut".into(),
        stop: "length".into(),
        usage: Usage { input: 7, output: 3, cache_read: 20, cache_write: 5, cost: 0.1 },
        ..ChatReply::default()
    };
    let v = waiting(length).json();
    assert_eq!(v["choices"][0]["finish_reason"], "length");
    assert_eq!(
        v["usage"],
        json!({
            "prompt_tokens": 32, "completion_tokens": 3, "total_tokens": 35,
            "prompt_tokens_details": {"cached_tokens": 20},
        })
    );
    let full = post(&h, "", &body("full", json!({})));
    assert_eq!(error(&full), (429, refused("rate_limit_error", "queue_full", Value::Null)));
    assert_eq!((full.header("retry-after"), full.header("x-should-retry")), (Some("5"), None));
}

#[test]
fn a_repeat_by_its_key_is_told_and_a_conflict_is_an_error() {
    let mut script = well();
    let s = Settings { auth: Auth::Off, allow_unauthenticated: true, ..settings() };
    let h = House::with(
        s,
        Box::new(move |r| match r {
            Request::Chat(c) if c.text == "other" => {
                Some(Answer::Error { code: Code::IdempotencyConflict, message: "used".into() })
            }
            Request::Chat(c) => match script(r) {
                Some(Answer::Accepted { row, run, .. }) if c.dkey.is_some() => {
                    Some(Answer::Accepted { row, run, replayed: true })
                }
                other => other,
            },
            r => script(r),
        }),
    );
    let r = post(&h, "Idempotency-Key: k1\r\n", &body("hi", json!({})));
    assert_eq!((r.status, r.header("idempotent-replay")), (200, Some("true")));
    assert_eq!(asked(&h).dkey.as_deref(), Some("http:v1:open:k1"));
    let hash = asked(&h).body_hash;
    post(&h, "", &body("hi", json!({"idempotencyKey": "k2"})));
    assert_eq!((asked(&h).dkey.as_deref(), &asked(&h).body_hash), (Some("http:v1:open:k2"), &hash));
    post(&h, "", &body("hi", json!({"user": "ada"})));
    assert_ne!(asked(&h).body_hash, hash, "another session is another request");
    let r = post(&h, "Idempotency-Key: k1\r\n", &body("other", json!({})));
    assert_eq!(error(&r), (409, refused("invalid_request_error", "idempotency_conflict", Value::Null)));
}

#[test]
fn a_stream_has_exactly_the_documented_chunks() {
    let h = House::open();
    let live = h.board.open(MAIN);
    live.begin("somebody else's");
    live.text("not for you");
    let mut c = Client::new(h.addr);
    c.request("POST", PATH, "", &body("wait", json!({"stream": true, "stream_options": {"include_usage": true}})));
    let head = c.until("\r\n\r\n");
    for field in ["Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-cache", "X-Accel-Buffering: no"]
    {
        assert!(head.contains(&format!("{field}\r\n")), "{head}");
    }
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    live.begin("run1");
    live.thinking("hm");
    live.text("Hel");
    live.tool(pi_gateway::live::Tool { id: "c1".into(), name: "bash".into(), done: true, ..Default::default() });
    live.text("lo");
    let usage = Usage { input: 7, output: 3, ..Usage::default() };
    let reply = ChatReply { run: "run1".into(), id: "s".into(), text: "Hello.".into(), usage, ..ChatReply::default() };
    h.answers.give(id, Answer::Reply(Box::new(reply)));
    let got = frames(&c.response_after_head());
    let joined: String = got.iter().filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(joined, "Hello.");
    assert_eq!(got[0], chunk(json!({"role": "assistant", "content": ""}), Value::Null));
    assert_eq!(got[1], chunk(json!({"reasoning_content": "hm"}), Value::Null));
    assert_eq!(got[2], chunk(json!({"content": "Hel"}), Value::Null));
    let end = &got[got.len() - 3..];
    assert_eq!(end[0], chunk(json!({}), json!("stop")));
    let last = json!({
        "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [],
        "usage": {
            "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    });
    assert_eq!((&end[1], &end[2]), (&last, &json!("[DONE]")));
    // the connection is still good
    assert_eq!(c.request("GET", "/health", "", "").response().status, 200);
}

#[test]
fn thinking_can_be_inline_or_left_out() {
    for (thinking, expected) in [(Thinking::Tags, "\n<think>\nhm\n</think>\nHi"), (Thinking::Off, "Hi")] {
        let h = House::set(|s| s.openai.thinking = thinking);
        let live = h.board.open(MAIN);
        let mut c = Client::new(h.addr);
        c.request("POST", PATH, "", &body("wait", json!({"stream": true})));
        c.until("\r\n\r\n");
        let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
        live.begin("run1");
        live.thinking("hm");
        live.text("Hi");
        let reply = ChatReply { run: "run1".into(), id: "s".into(), text: "Hi".into(), ..ChatReply::default() };
        h.answers.give(id, Answer::Reply(Box::new(reply)));
        let got = frames(&c.response_after_head());
        let joined: String = got.iter().filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(joined, expected);
        assert!(!got.iter().any(|f| f["choices"][0]["delta"].get("reasoning_content").is_some()));
        assert_eq!(got.last(), Some(&json!("[DONE]")), "and no usage, which was not asked for");
        assert_eq!(got[got.len() - 2], chunk(json!({}), json!("stop")));
    }
}

#[test]
fn what_the_model_says_again_after_a_retry_is_streamed_once() {
    let h = House::open();
    let live = h.board.open(MAIN);
    let mut c = Client::new(h.addr);
    c.request("POST", PATH, "", &body("wait", json!({"stream": true})));
    c.until("\r\n\r\n");
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    live.begin("run1");
    live.text("Once upon");
    c.until("Once upon");
    live.discard();
    live.text("Once upon a time");
    let reply =
        ChatReply { run: "run1".into(), id: "s".into(), text: "Once upon a time.".into(), ..ChatReply::default() };
    h.answers.give(id, Answer::Reply(Box::new(reply)));
    let rest = c.until("[DONE]\n\n");
    assert_eq!(rest.matches("Once").count(), 0, "{rest}");
    assert!(rest.contains(" a time") && rest.contains("\"stop\""), "{rest}");
}

#[test]
fn a_failure_in_a_stream_is_a_frame_and_the_end() {
    let h = House::open();
    let r = post(&h, "", &body("fail", json!({"stream": true})));
    assert_eq!(r.status, 200);
    let got = frames(&r.text());
    assert_eq!(got.len(), 3, "{got:?}");
    let error =
        json!({"message": "the model is down", "type": "upstream_error", "code": "upstream_failed", "param": null});
    assert_eq!((&got[1], &got[2]), (&json!({"error": error}), &json!("[DONE]")));
    // what is known before the stream is no stream
    assert_eq!(post(&h, "", &json!({"stream": true}).to_string()).status, 400);
}

#[test]
fn a_client_that_leaves_takes_its_message_back() {
    let h = House::set(|s| s.times.comment = ms(60));
    let gone = |row: Row| {
        eventually("the message is taken back", || {
            h.asked.lock().unwrap().iter().any(|r| matches!(r, Request::Withdraw { row: r } if *r == row))
        });
    };
    let mut c = Client::new(h.addr);
    c.request("POST", PATH, "", &body("wait", json!({"stream": true})));
    c.until(": keep-alive\n\n");
    drop(c);
    gone(1);
    let mut c = Client::new(h.addr);
    c.request("POST", PATH, "", &body("wait", json!({})));
    h.unanswered(|r| matches!(r, Request::Wait { row: 2 }));
    drop(c);
    gone(2);
    h.all_gone();
}

#[test]
fn a_client_that_will_come_back_or_must_not_abort_leaves_its_turn_alone() {
    let h = House::set(|s| s.openai.abort_on_disconnect = false);
    let keyed = House::open();
    for (h, fields) in [(&h, ""), (&keyed, "Idempotency-Key: k\r\n")] {
        let mut c = Client::new(h.addr);
        c.request("POST", PATH, fields, &body("wait", json!({})));
        h.unanswered(|r| matches!(r, Request::Wait { .. }));
        drop(c);
        h.all_gone();
        assert!(!h.asked.lock().unwrap().iter().any(|r| matches!(r, Request::Withdraw { .. })));
    }
}
