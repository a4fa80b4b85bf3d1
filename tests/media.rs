//! Files and messages beside the agent's replies, on the whole gateway: what is recorded, seen and kept.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use serde_json::{json, Value};
use support::fake_pi::{FakePi, Flavour};
use support::gateway::Gateway;
use support::raw_http::{ask, Response};

const MAIN: &str = "agent:main:webchat:default";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest of it";

fn with(pi: &FakePi) -> Gateway {
    Gateway::new(json!({"agent": {"piCliPath": pi.program()}})).start()
}

/// The session's history as pages get it.
fn history(g: &Gateway) -> Vec<Value> {
    let res = g.page(MAIN).call("chat.history", json!({"sessionKey": MAIN}));
    res["payload"]["messages"].as_array().unwrap().clone()
}

fn say(g: &Gateway, params: Value) -> Value {
    let mut ws = g.page(MAIN);
    let res = ws.call("chat.send", params);
    assert_eq!(res["ok"], true, "{res}");
    ws.event("chat.reply")["payload"].take()
}

fn open(g: &Gateway, link: &Value) -> Response {
    ask(g.addr, "GET", link.as_str().unwrap_or_else(|| panic!("no link: {link}")), "", "")
}

#[test]
fn pictures_of_users_and_agents_are_in_the_history_and_links_outlive_a_restart() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with(&pi);
    std::fs::write(g.home.path().join("work/plot.png"), "plot").unwrap();
    let data = base64::engine::general_purpose::STANDARD.encode(PNG);
    let text = "[[say:Here: MEDIA:plot.png and MEDIA:../data/gateway.db]]";
    let reply = say(&g, json!({"sessionKey": MAIN, "text": text, "images": [{"data": data}]}));
    assert_eq!(reply["text"], "Here:  and [blocked: ../data/gateway.db]");
    let live = reply["images"][0].clone();
    assert_eq!(open(&g, &live).text(), "plot");

    let messages = history(&g);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[0]["content"], text, "what a user writes stays as it is");
    let (upload, plot) = (messages[0]["images"][0].clone(), messages[1]["images"][0].clone());
    assert_eq!((messages[0]["imageCount"].as_u64(), &messages[1]["content"]), (Some(1), &reply["text"]));
    let sent = open(&g, &upload);
    assert_eq!((sent.body.as_slice(), sent.header("content-type")), (PNG, Some("image/png")));

    use std::os::unix::fs::PermissionsExt;
    let secret = std::fs::metadata(g.data().join("credentials/media-secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    g.stop();
    g.restart();
    for (link, body) in [(&live, b"plot".as_slice()), (&plot, b"plot"), (&upload, PNG)] {
        assert_eq!(open(&g, link).body, body, "{link}");
    }
}

#[test]
fn what_a_tool_sends_is_seen_at_once_and_is_in_the_history_once_whatever_happens() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let mut g = with(&pi);
        std::fs::write(g.home.path().join("work/r.pdf"), "report").unwrap();
        let mut ws = g.page(MAIN);
        let tool = |path: &str, body: Value| {
            let call = json!({"method": "POST", "path": path, "body": body});
            format!("[[tool:http {call}]]")
        };
        let message = tool("/api/message/send", json!({"text": "half done", "idempotencyKey": "m"}));
        let text = format!(
            "{message} {message} {}",
            tool("/api/media/send", json!({"path": "r.pdf", "caption": "the report"}))
        );
        ws.call("chat.send", json!({"sessionKey": MAIN, "text": format!("{text} [[say: done]]")}));
        let told = ws.event("message_event");
        assert_eq!((&told["payload"]["text"], &told["payload"]["sessionKey"]), (&json!("half done"), &json!(MAIN)));
        let file = ws.event("media_event")["payload"].take();
        assert_eq!(
            (&file["filename"], &file["caption"], &file["type"]),
            (&json!("r.pdf"), &json!("the report"), &json!("document"))
        );
        assert_eq!(open(&g, &file["url"]).text(), "report");
        let reply = ws.event("chat.reply")["payload"].take();
        assert!(reply["text"].as_str().unwrap().contains("done"), "{reply}");
        let seen = |g: &Gateway| {
            let all = history(g);
            let line = |m: &Value| (m["role"].as_str().unwrap().to_owned(), m["id"].as_str().unwrap().to_owned());
            let lines: Vec<(String, String)> = all.iter().map(line).collect();
            (all, lines)
        };
        let (all, before) = seen(&g);
        let roles: Vec<&str> = before.iter().map(|(role, _)| role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "assistant", "assistant"], "{all:?}");
        assert_eq!((&all[1]["content"], &all[1]["id"]), (&json!("half done"), &told["payload"]["id"]));
        assert_eq!((&all[2]["id"], &all[3]["id"]), (&file["id"], &reply["id"]));
        let content = all[2]["content"].as_str().unwrap();
        assert!(content.starts_with("the report\n\n[📎 r.pdf](/api/media/"), "{content}");

        // from outside, after a kill, with the key of before
        let post = |g: &Gateway, text: &str| {
            let body = json!({"text": text, "sessionKey": MAIN, "idempotencyKey": "out"});
            let r = g.post("/api/message/send", body);
            (r.status, r.header("idempotent-replay").is_some())
        };
        assert_eq!(post(&g, "from outside"), (200, false));
        g.kill9();
        g.restart();
        assert_eq!(post(&g, "from outside"), (200, true));
        assert_eq!(post(&g, "something else"), (409, false));
        let (all, after) = seen(&g);
        assert_eq!((&after[..4], after.len()), (&before[..], 5), "{all:?}");
        assert_eq!(all[4]["content"], "from outside");
        assert_eq!(open(&g, &file["url"]).text(), "report");
    }
}

#[test]
fn a_turn_that_sends_and_says_nothing_else_has_no_reply() {
    let pi = FakePi::new(Flavour::New);
    let g = with(&pi);
    let call = json!({"method": "POST", "path": "/api/message/send", "body": {"text": "sent"}});
    assert_eq!(g.chat(MAIN, &format!("[[tool:http {call}]] [[say:[NO_REPLY\\]]]")), "");
    let contents: Vec<Value> = history(&g).iter().skip(1).map(|m| m["content"].clone()).collect();
    assert_eq!(contents, ["sent"]);
}

#[test]
fn a_command_sends_a_file_of_the_workspace() {
    let pi = FakePi::new(Flavour::New);
    let g = with(&pi);
    std::fs::write(g.home.path().join("work/plot.png"), "plot").unwrap();
    let reply = say(&g, json!({"sessionKey": MAIN, "text": "/photo plot.png of last week"}));
    assert_eq!(reply["text"], "of last week");
    assert_eq!(open(&g, &reply["images"][0]).text(), "plot");
    let text = |command: &str| say(&g, json!({"sessionKey": MAIN, "text": command}))["text"].take();
    assert_eq!(text("/media ../data/gateway.db"), "[blocked: ../data/gateway.db]");
    assert_eq!(text("/media"), "Use: /media <path> [caption].");
    assert_eq!(text("/photo http://10.0.0.1/x.png"), "Only files of the workspace can be sent, not addresses.");
}
