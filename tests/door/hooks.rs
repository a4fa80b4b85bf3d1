//! Webhooks: who may call them, what becomes of their messages and events.

use pi_gateway::http::{Auth, Hooks, Settings};
use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;
use crate::{bearer, MAIN};

const TOKEN: &str = "X-Hook-Token: hook-token\r\n";

fn hooks() -> Hooks {
    Hooks { enabled: true, token: Some("hook-token".into()), ..Hooks::default() }
}

/// A mind in which only the main session exists; `full` is refused, `wait` gets no reply.
fn house(hooks: Hooks) -> House {
    let mut rest = well();
    House::with(
        Settings { hooks, ..settings() },
        Box::new(move |request| match request {
            Request::Webhook(c) if c.text.contains("full") => {
                Some(Answer::Error { code: Code::QueueFull, message: "Too many messages queued.".into() })
            }
            Request::Webhook(c) if c.dkey.as_deref() == Some("http:hook:hook:again") => {
                Some(Answer::Accepted { row: 1, run: "run1".into(), replayed: true })
            }
            Request::Webhook(c) if c.known_only && c.session != MAIN => {
                Some(Answer::Error { code: Code::NotFound, message: "Session not found".into() })
            }
            Request::Webhook(c) => rest(&Request::Chat(c.clone())),
            other => rest(other),
        }),
    )
}

fn wake(h: &House, fields: &str, body: Value) -> Response {
    ask(h.addr, "POST", "/hooks/wake", fields, &body.to_string())
}

fn last_message(h: &House) -> ChatRequest {
    let asked = h.asked.lock().unwrap();
    let message = asked.iter().rev().find_map(|r| if let Request::Webhook(c) = r { Some(c) } else { None });
    *message.unwrap().clone()
}

#[test]
fn webhooks_that_are_off_are_refused_with_and_without_a_secret() {
    let h = House::new();
    for fields in [String::new(), bearer(), TOKEN.to_owned()] {
        let r = wake(&h, &fields, json!({"text": "x"}));
        assert_eq!((r.status, r.json()["error"].as_str()), (403, Some("Webhooks disabled")));
    }
}

#[test]
fn b31_the_hook_s_token_or_the_gateway_s_secret_opens_and_nothing_else() {
    let h = house(hooks());
    let as_bearer = "Authorization: Bearer hook-token\r\n";
    for fields in [TOKEN, as_bearer, &*bearer()] {
        assert_eq!(wake(&h, fields, json!({"text": "x"})).status, 202, "{fields}");
    }
    for fields in ["", "X-Hook-Token: wrong\r\n", "Authorization: Bearer wrong\r\n"] {
        let r = wake(&h, fields, json!({"text": "x"}));
        assert_eq!((r.status, r.json()["error"].as_str()), (401, Some("Unauthorized")), "{fields}");
    }
    assert_eq!(ask(h.addr, "GET", "/api/sessions", as_bearer, "").status, 401, "it opens webhooks only");
    let open =
        House::with(Settings { auth: Auth::Off, allow_unauthenticated: true, hooks: hooks(), ..settings() }, well());
    assert_eq!(wake(&open, "", json!({"text": "x"})).status, 401, "a token that is set is needed in mode off, too");
    let keyless = house(Hooks { token: None, ..hooks() });
    assert_eq!(wake(&keyless, "", json!({"text": "x"})).status, 401);
    assert_eq!(wake(&keyless, &bearer(), json!({"text": "x"})).status, 202);
}

#[test]
fn a_signed_call_is_as_good_as_a_token() {
    let h = house(Hooks { secret: Some("key".into()), ..hooks() });
    let body = json!({"text": "signed"}).to_string();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"key");
    let hex: String = ring::hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let call = |hex: &str| {
        let fields = format!("X-Hub-Signature-256: sha256={hex}\r\n");
        ask(h.addr, "POST", "/hooks/wake", &fields, &body).status
    };
    assert_eq!(call(&hex), 202);
    assert_eq!(call(&hex.to_uppercase()), 202);
    assert_eq!((call(&hex[2..]), call(""), call("zz"), call("00")), (401, 401, 401, 401));
    let with = |fields: String| ask(h.addr, "POST", "/hooks/wake", &fields, &body).status;
    assert_eq!(with(format!("x-hub-signature-256: SHA256={hex}\r\n")), 202);
    for value in [format!("sha1={hex}"), hex.clone(), format!("sha256={hex}{hex}"), format!("sha256={hex}0")] {
        assert_eq!(with(format!("X-Hub-Signature-256: {value}\r\n")), 401, "{value}");
    }
    // One right key is enough, whatever else is wrong.
    let wrong = "X-Hub-Signature-256: sha256=00\r\n";
    assert_eq!(with(format!("{wrong}{}", bearer())), 202, "the gateway's secret");
    assert_eq!(with(format!("{wrong}{TOKEN}")), 202, "the hook's token");
    assert_eq!(with(format!("X-Hook-Token: wrong\r\nX-Hub-Signature-256: sha256={hex}\r\n")), 202, "the signature");
    let other = ask(h.addr, "POST", "/hooks/wake", &format!("X-Hub-Signature-256: sha256={hex}\r\n"), "{}");
    assert_eq!(other.status, 401, "of another body");
}

#[test]
fn a_wake_is_a_message_of_the_session_and_its_reply_goes_to_the_last_chat() {
    let h = house(hooks());
    let r = wake(&h, TOKEN, json!({"text": "the build broke"}));
    assert_eq!((r.status, r.json()), (202, json!({"ok": true, "sessionKey": MAIN, "id": "run1"})));
    let m = last_message(&h);
    assert_eq!((m.session.as_str(), m.text.as_str()), (MAIN, "[WEBHOOK] the build broke"));
    assert_eq!((m.source.channel.as_str(), m.source.sender.as_str()), ("webchat", "webhook"));
    assert_eq!(wake(&h, TOKEN, json!({"text": "x", "deliver": false})).status, 202);
    assert_eq!(last_message(&h).source.channel, "api", "nowhere");
    let r = wake(&h, TOKEN, json!({"text": "now", "wait": true}));
    assert_eq!((r.status, r.json()["reply"].as_str()), (200, Some("echo: [WEBHOOK] now")));
    let fields = format!("{TOKEN}Idempotency-Key: again\r\n");
    let r = wake(&h, &fields, json!({"text": "x"}));
    assert_eq!((r.status, r.header("idempotent-replay")), (202, Some("true")));
}

#[test]
fn what_is_wrong_with_a_wake_is_said() {
    let h = house(Hooks { sessions: vec!["cron:*".into()], ..hooks() });
    for (body, status, error) in [
        (json!({}), 400, "text is required"),
        (json!({"text": " "}), 400, "text is required"),
        (json!([]), 400, "Invalid request body"),
        (json!({"text": 7}), 400, "text must be a string"),
        (json!({"text": "full"}), 429, "Queue full"),
    ] {
        let r = wake(&h, TOKEN, body);
        assert_eq!((r.status, r.json()["error"].as_str()), (status, Some(error)));
    }
    assert_eq!(wake(&h, TOKEN, json!({"text": "full"})).json()["sessionKey"], MAIN);
    assert_eq!(ask(h.addr, "POST", "/hooks/wake", TOKEN, "{").json()["error"], "Invalid request body");
    assert_eq!(wake(&h, TOKEN, json!({"text": "x", "sessionKey": "agent:new"})).status, 404);
    assert_eq!(wake(&h, TOKEN, json!({"text": "x", "sessionKey": "cron:new"})).status, 202);
    assert_eq!(wake(&h, TOKEN, json!({"text": "x", "sessionKey": "a/b"})).status, 400);
    assert_eq!(wake(&h, TOKEN, json!({"text": "x".repeat(257 << 10)})).status, 413);
    assert_eq!(ask(h.addr, "POST", "/hooks/other", TOKEN, "{}").status, 404);
    assert_eq!(ask(h.addr, "GET", "/hooks/wake", TOKEN, "").status, 405);
}

#[test]
fn an_event_reaches_every_page_under_its_own_name() {
    let h = house(Hooks { path: "/in/come".into(), ..hooks() });
    let mut ws = Ws::open(h.addr, "/", &bearer()).unwrap_or_else(|r| panic!("{}", r.text()));
    ws.call("ping", json!({}));
    let post = |body: Value| ask(h.addr, "POST", "/in/come/event", TOKEN, &body.to_string());
    let r = post(json!({"event": "ci.done", "payload": {"ok": true}}));
    assert_eq!((r.status, r.json()), (200, json!({"ok": true, "event": "ci.done"})));
    assert_eq!(ws.event("hook:ci.done")["payload"], json!({"ok": true}));
    post(json!({"event": "bare"}));
    assert_eq!(ws.event("hook:bare")["payload"], json!({}));
    assert_eq!(post(json!({})).json()["error"], "event is required");
    for name in ["a b", "\"", &"x".repeat(65), "é"] {
        assert_eq!(post(json!({"event": name})).status, 400, "{name}");
    }
}
