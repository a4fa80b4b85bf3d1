//! What tools and clients send to a session's people, at both doors (gateway-api.md 1.7).

use std::sync::Arc;

use pi_gateway::http::{Door, PiTokens};
use pi_gateway::message::*;
use pi_gateway::tools::Offer;
use serde_json::{json, Value};

use crate::house::*;
use crate::media;
use crate::pages::*;
use crate::raw_http::*;

const SEND: &str = "/api/message/send";
const FILE: &str = "/api/media/send";

struct Doors {
    h: House,
    agent: Door,
    token: String,
    work: tempfile::TempDir,
}

impl Doors {
    fn of(channel: &str) -> Doors {
        let work = tempfile::tempdir().unwrap();
        std::fs::write(work.path().join("a.png"), "picture").unwrap();
        let mut rest = media::mind(work.path().to_owned(), channel);
        let mut sent: Vec<(Option<String>, String)> = Vec::new();
        let mind = move |request: &Request| match request {
            Request::SessionOf { .. } => Some(Answer::Session(Some(WEB.into()))),
            Request::Choose(c) => {
                let error = |code, why: &str| Answer::Error { code, message: why.into() };
                Some(match c.title.as_str() {
                    "made" => Answer::Choice(Choice::Made { option: 1, message: Some("77".into()) }),
                    "named" => Answer::Choice(Choice::Made { option: 0, message: Some("om_1".into()) }),
                    "late" => Answer::Choice(Choice::TimedOut),
                    "stopped" => Answer::Choice(Choice::Cancelled),
                    "lost" => error(Code::UpstreamFailed, "the chat is gone"),
                    "off" => error(Code::NotFound, "Channel not found: telegram"),
                    _ => error(Code::Unsupported, "no buttons"),
                })
            }
            Request::Post(p) => {
                let known = sent.iter().find(|(key, _)| key.is_some() && *key == p.dkey);
                let id = "seg1".to_owned();
                let error = |code| Answer::Error { code, message: "no".into() };
                Some(match known {
                    Some((_, hash)) if *hash == p.body_hash => Answer::Posted { id, replayed: true },
                    Some(_) => error(Code::IdempotencyConflict),
                    None if p.look => error(Code::NotFound),
                    None => {
                        sent.push((p.dkey.clone(), p.body_hash.clone()));
                        Answer::Posted { id, replayed: false }
                    }
                })
            }
            other => rest(other),
        };
        let h = House::with(settings(), Box::new(mind));
        let tokens: Arc<PiTokens> = Arc::default();
        let token = tokens.issue(ProcId(1), Offer::default());
        let agent = h.door.beside(settings(), tokens).unwrap();
        Doors { h, agent, token, work }
    }
    fn tool(&self, path: &str, body: Value) -> Response {
        let fields = format!("Authorization: Bearer {}\r\n", self.token);
        ask(self.agent.addresses()[0], "POST", path, &fields, &body.to_string())
    }
    fn client(&self, path: &str, body: Value) -> Response {
        ask(self.h.addr, "POST", path, &crate::bearer(), &body.to_string())
    }
    fn posts(&self) -> Vec<PostRequest> {
        let asked = self.h.asked.lock().unwrap();
        asked.iter().filter_map(|r| if let Request::Post(p) = r { Some((**p).clone()) } else { None }).collect()
    }
}

fn refused(r: &Response) -> (u16, String) {
    (r.status, r.json()["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_message_goes_to_the_callers_own_session_or_to_the_one_a_client_names() {
    let d = Doors::of("webchat");
    let expected = json!({"ok": true, "channel": "webchat", "textLength": 5, "delivered": true, "messageId": "seg1"});
    assert_eq!(d.tool(SEND, json!({"text": "ü 😀!", "replyTo": "m1", "parseMode": "HTML"})).json(), expected);
    assert_eq!(d.client(SEND, json!({"text": "hello", "sessionKey": WEB})).json(), expected);
    let posts = d.posts();
    assert_eq!((posts.len(), posts[0].session.as_str()), (2, WEB));
    assert_eq!(posts[0].post.reply_to.as_deref(), Some("m1"));

    let key = "agent:main:webchat:none";
    assert_eq!(refused(&d.client(SEND, json!({"text": "x"}))), (400, "Missing sessionKey or token".into()));
    let inactive = (403, "Invalid or inactive session".to_owned());
    assert_eq!(refused(&d.client(SEND, json!({"text": "x", "sessionKey": key}))), inactive);
    assert_eq!(d.tool(SEND, json!({"text": "x", "sessionKey": key})).status, 403);
    assert_eq!(d.tool(SEND, json!({"text": "x", "sessionKey": WEB})).status, 200);
    assert_eq!(ask(d.h.addr, "POST", SEND, "", r#"{"text":"x"}"#).status, 401);
    let pi = format!("Authorization: Bearer {}\r\n", d.token);
    assert_eq!(ask(d.h.addr, "POST", SEND, &pi, r#"{"text":"x"}"#).status, 401);
    for (body, why) in [
        (json!({}), "Missing text"),
        (json!({"text": " "}), "Missing text"),
        (json!({"text": 7}), "text must be a string"),
        (json!({"text": "x", "parseMode": "BBCode"}), "parseMode must be one of: Markdown, HTML, plain"),
    ] {
        assert_eq!(refused(&d.tool(SEND, body)), (400, why.into()));
    }
    assert!(refused(&d.client(SEND, json!(null))).1.starts_with("Invalid JSON"));
}

#[test]
fn a_beginning_that_could_not_be_completed_later_is_not_sent() {
    let d = Doors::of("webchat");
    let why = r#"Channel "webchat" does not support message editing: send the whole text at once (stream false, no streamMode)"#;
    for body in
        [json!({"text": "The beg…", "stream": true}), json!({"text": "The beg…", "streamMode": "draft", "draftId": 1})]
    {
        assert_eq!(refused(&d.tool(SEND, body)), (501, why.into()));
    }
    assert_eq!(
        refused(&d.tool(SEND, json!({"text": "x", "stream": "yes"}))),
        (400, "stream must be true or false".into())
    );
    assert!(d.posts().is_empty());
    for body in [json!({"text": "whole", "stream": false}), json!({"text": "whole", "streamMode": "partial"})] {
        assert_eq!(d.tool(SEND, body).status, 200);
    }
    assert_eq!(d.posts().len(), 2);
}

#[test]
fn what_is_off_says_so_to_pis_tools() {
    let d = Doors::of("webchat");
    for (method, path, why) in [
        ("GET", "/api/cron/jobs", "Cron not enabled"),
        ("POST", "/api/cron/jobs/a/run", "Cron not enabled"),
        ("PATCH", "/api/cron/jobs/a", "Cron not enabled"),
        ("DELETE", "/api/cron/jobs/a", "Cron not enabled"),
        ("GET", "/api/cron/status", "Cron not enabled"),
        ("POST", "/api/cronjobs", "Not Found"),
    ] {
        let fields = format!("Authorization: Bearer {}\r\n", d.token);
        let r = ask(d.agent.addresses()[0], method, path, &fields, "{}");
        assert_eq!(refused(&r), (404, why.into()), "{method} {path}");
    }
}

#[test]
fn a_channel_that_cannot_be_sent_to_is_named() {
    let d = Doors::of("telegram");
    let no_plugin = (404, "Channel plugin not found: telegram".to_owned());
    assert_eq!(refused(&d.tool(SEND, json!({"text": "x"}))), no_plugin);
    assert_eq!(refused(&d.tool(FILE, json!({"path": "a.png"}))), no_plugin);
    assert_eq!(refused(&d.tool("/api/message/action", json!({"action": "read"}))), no_plugin);
    let keyboard = json!({"title": "off", "options": [{"id": "a", "text": "A"}]});
    assert_eq!(refused(&d.tool("/api/keyboard", keyboard)), (404, "Channel not found: telegram".into()));
    assert!(d.posts().is_empty());
}

#[test]
fn a_file_is_checked_signed_and_recorded() {
    let d = Doors::of("webchat");
    let work = d.work.path();
    let sent = d.tool(FILE, json!({"path": "a.png", "caption": "look"}));
    let o = sent.json();
    let brief = [&o["ok"], &o["delivered"], &o["path"], &o["type"], &o["channel"]].map(Value::to_string).join(" ");
    assert_eq!(brief, r#"true true "a.png" "photo" "webchat""#, "{o}");
    // signed with the settings of the door that made it
    assert!(o["url"].as_str().unwrap().starts_with("/api/media/"), "{o}");
    let absolute = work.join("a.png");
    assert_eq!(
        d.client(FILE, json!({"path": absolute, "type": "document", "sessionKey": WEB})).json()["type"],
        "document"
    );
    let posts = d.posts();
    let file = |kind: &str| PostedFile { path: "a.png".into(), kind: kind.into(), name: "a.png".into() };
    assert_eq!((posts[0].post.text.as_str(), &posts[0].post.file), ("look", &Some(file("photo"))));
    assert_eq!(posts[1].post.file, Some(file("document")));

    std::os::unix::fs::symlink("/etc/passwd", work.join("out.png")).unwrap();
    std::fs::File::create(work.join("big.bin")).unwrap().set_len(11 << 20).unwrap();
    for (path, status, why) in [
        ("", 400, "Missing path"),
        ("none.png", 404, "File not found"),
        ("../x", 403, "Path blocked by security policy"),
        ("a\0b", 403, "Path blocked by security policy"),
        ("~/x", 403, "Path blocked by security policy"),
        ("upload:webchat/x.png", 403, "Path blocked by security policy"),
        ("/etc/passwd", 403, "Absolute path not in allowed directories"),
        ("out.png", 403, "Media path blocked or file not found"),
        ("big.bin", 413, "File too large: at most 10485760 bytes"),
    ] {
        assert_eq!(refused(&d.tool(FILE, json!({"path": path}))), (status, why.into()), "{path:?}");
    }
    assert_eq!(d.tool(FILE, json!({"path": "a.png", "type": "hologram"})).status, 400);
    assert_eq!(d.posts().len(), 2);
}

#[test]
fn a_repeat_with_its_key_is_answered_from_the_record() {
    let d = Doors::of("webchat");
    let send = |path: &str, key: &str, body: Value| {
        let fields = format!("{}Idempotency-Key: {key}\r\n", crate::bearer());
        let r = ask(d.h.addr, "POST", path, &fields, &body.to_string());
        (r.status, r.header("idempotent-replay").is_some())
    };
    let text = |t: &str| json!({"text": t, "sessionKey": WEB});
    assert_eq!(send(SEND, "k", text("a")), (200, false));
    assert_eq!(send(SEND, "k", text("a")), (200, true));
    assert_eq!(send(SEND, "k", text("b")), (409, false));
    let file = |p: &str| json!({"path": p, "sessionKey": WEB});
    assert_eq!(send(FILE, "k", file("a.png")), (200, false));
    std::fs::remove_file(d.work.path().join("a.png")).unwrap();
    assert_eq!(send(FILE, "k", file("a.png")), (200, true));
    assert_eq!(send(FILE, "k", file("b.png")), (409, false));
    assert_eq!(send(FILE, "other", file("a.png")), (404, false));
    assert_eq!(d.tool(SEND, json!({"text": "a", "idempotencyKey": "k"})).header("idempotent-replay"), None);
}

#[test]
fn what_webchat_cannot_do_is_said() {
    let d = Doors::of("webchat");
    let action = |body: Value| refused(&d.tool("/api/message/action", body));
    for (name, more, ability) in [
        ("react", json!({"emoji": ["👍"]}), "reactions"),
        ("edit", json!({"text": "t"}), "message editing"),
        ("delete", json!({}), "message deletion"),
        ("pin", json!({}), "pinning"),
        ("read", json!({}), "read history"),
    ] {
        let mut body = json!({"action": name, "messageId": "m"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(action(body), (501, format!("Channel \"webchat\" does not support {ability}")));
    }
    for (body, why) in [
        (json!({"action": "x"}), "Invalid action: \"x\". Must be one of: react, edit, delete, pin, read"),
        (json!({"action": "pin"}), "Missing messageId"),
        (json!({"action": "react", "messageId": "m", "emoji": []}), "Missing emoji for react action"),
        (json!({"action": "react", "messageId": "m", "emoji": ""}), "Missing emoji for react action"),
        (json!({"action": "edit", "messageId": "m"}), "Missing text for edit action"),
    ] {
        assert_eq!(action(body), (400, why.into()));
    }
    let keyboard = |body: Value| refused(&d.tool("/api/keyboard", body));
    let option = json!({"id": "a", "text": "A"});
    let long = json!([{"id": "x".repeat(51), "text": "A"}]);
    for (body, why) in [
        (json!({"options": [option]}), "Missing title"),
        (json!({"title": "t"}), "Missing options"),
        (json!({"title": "t", "options": []}), "Missing options"),
        (json!({"title": "t", "options": vec![option.clone(); 51]}), "Too many options (max 50)"),
        (json!({"title": "t", "options": [{"id": "a"}]}), "Each option must have id and text"),
        (json!({"title": "t", "options": [option], "timeout": 1}), "timeout must be 5000 to 300000"),
        (json!({"title": "t", "options": [option]}), "Channel webchat does not support inline keyboards"),
    ] {
        assert_eq!(keyboard(body), (400, why.into()));
    }
    assert!(keyboard(json!({"title": "t", "options": long})).1.starts_with("Option id too long (max 50 chars): xxx"));
}

#[test]
fn a_keyboard_is_held_and_answered_as_the_people_chose() {
    let d = Doors::of("telegram");
    let options = json!([{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]);
    let ask = |title: &str| {
        let r = d.tool("/api/keyboard", json!({"title": title, "options": options, "columns": 2, "timeout": 300000}));
        (r.status, r.json())
    };
    let chosen = |id: &str, text: &str, message: Value| {
        (200, json!({"ok": true, "selected": {"id": id, "text": text}, "messageId": message}))
    };
    assert_eq!(ask("made"), chosen("b", "B", json!(77)));
    assert_eq!(ask("named"), chosen("a", "A", json!("om_1")));
    assert_eq!(ask("late"), (200, json!({"ok": false, "error": "timeout"})));
    assert_eq!(ask("stopped"), (200, json!({"ok": false, "error": "cancelled"})));
    assert_eq!(ask("lost").0, 500);
    let asked = d.h.asked.lock().unwrap();
    let choices = asked.iter().filter_map(|r| if let Request::Choose(c) = r { Some((**c).clone()) } else { None });
    for c in choices {
        assert_eq!((c.session.as_str(), c.columns, c.timeout), (WEB, 2, 290_000), "no answer is held longer");
        assert_eq!(c.options, ["A", "B"]);
    }
}

#[test]
fn pages_are_told_of_messages_and_files() {
    let d = Doors::of("webchat");
    let mut ws = connected(&d.h);
    let posted = |post: Post| {
        let home = Home { sid: "abcdefghijkl".into(), cwd: d.work.path().to_owned() };
        let (session, id, run) = (WEB.to_owned(), "s1".to_owned(), "i1".to_owned());
        Frame::Posted(Box::new(Posted { session, id, run, post, home, at: 5 }))
    };
    d.h.door.publish(&posted(Post { text: "hi".into(), reply_to: Some("m".into()), ..Post::default() }));
    let expected = json!({
        "sessionKey": WEB, "id": "s1", "runId": "i1", "timestamp": 5, "type": "text", "text": "hi", "replyTo": "m",
        "parseMode": null,
    });
    assert_eq!(ws.event("message_event")["payload"], expected);
    let file = Some(PostedFile { path: "a.png".into(), kind: "photo".into(), name: "a.png".into() });
    d.h.door.publish(&posted(Post { text: "look".into(), file, ..Post::default() }));
    let mut payload = ws.event("media_event")["payload"].take();
    let url = payload["url"].take();
    assert_eq!(ask(d.h.addr, "GET", url.as_str().unwrap(), "", "").text(), "picture");
    let expected = json!({
        "sessionKey": WEB, "id": "s1", "runId": "i1", "timestamp": 5, "type": "photo", "filename": "a.png",
        "caption": "look", "url": null,
    });
    assert_eq!(payload, expected);
}

#[test]
fn a_line_to_a_channel_and_target_becomes_a_message_of_that_conversation() {
    let d = Doors::of("webchat");
    let r = d.client("/api/send", json!({"to": "webchat:default", "message": "lunch?"}));
    assert_eq!((r.status, r.json()), (200, json!({"ok": true, "messageId": "seg1", "messageIds": ["seg1"]})));
    let r = d.client("/api/send", json!({"to": format!("webchat:{WEB}"), "message": "lunch?"}));
    assert_eq!(r.status, 200);
    let keyed = |message: &str| {
        d.client("/api/send", json!({"to": "webchat:default", "message": message, "idempotencyKey": "k"}))
    };
    assert_eq!(keyed("once").header("idempotent-replay"), None);
    assert_eq!(keyed("once").header("idempotent-replay"), Some("true"));
    assert_eq!(keyed("other").refusal(), (409, "idempotency_conflict".into()));
    for (body, status, error) in [
        (json!({"to": "webchat:default"}), 400, "Both 'to' and 'message' are required"),
        (json!({"message": "x"}), 400, "Both 'to' and 'message' are required"),
        (
            json!({"to": "webchat", "message": "x"}),
            400,
            "Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')",
        ),
        (
            json!({"to": "webchat:", "message": "x"}),
            400,
            "Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')",
        ),
        (json!({"to": "telegram:1", "message": "x"}), 404, "Channel not found: telegram"),
        (json!({"to": "webchat:nobody", "message": "x"}), 404, "Session not found: agent:main:webchat:nobody"),
        (json!({"to": 7, "message": "x"}), 400, "to must be a string"),
    ] {
        let r = d.client("/api/send", body.clone());
        assert_eq!((r.status, r.json()["error"].as_str()), (status, Some(error)), "{body}");
    }
}
