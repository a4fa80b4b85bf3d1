//! Webhooks over the whole gateway: where their replies go, what a kill leaves, who may send them (core.md 14, 22;
//! gateway-api.md R6, R50, R74; B19, B31).

use serde_json::{json, Value};

use crate::support::bot_api::BotApi;
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::{merge, Gateway};
use crate::support::raw_http::{ask, Response};

const ANN: i64 = 7;
const FORUM: i64 = -1005;
const PAGE: &str = "agent:main:webchat:default";
const TOKEN: &str = "hook-token-0123456789";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// Two accounts that are in the same forum; each answers who mentions it.
struct House {
    first: BotApi,
    second: BotApi,
    pi: FakePi,
    g: Gateway,
}

impl House {
    fn new(more: Value) -> House {
        let pi = FakePi::new(Flavour::New);
        let first = BotApi::start();
        let second = first.add_bot("222:second-bot-token-aaaaaaaaaaaaaaaaaaaaaaaa", "second_bot");
        let account = |api: &BotApi| json!({"apiRoot": api.root(), "botToken": api.token()});
        let mut config = json!({
            "agent": {"piCliPath": pi.program(), "pool": {"max": 4}},
            "session": {"dmScope": "per-channel-peer"},
            "hooks": {"enabled": true, "token": TOKEN, "secret": "hook-secret-0123456789"},
            "channels": {"telegram": {
                "enabled": true, "pollTimeoutS": 5, "streamMode": "off", "replyToMode": "off",
                "allowFrom": [ANN.to_string()], "groups": {"*": {"requireMention": true}},
                "accounts": {"default": account(&first), "work": account(&second)},
            }},
        });
        merge(&mut config, more);
        let g = Gateway::new(config).start();
        for bot in [&first, &second] {
            bot.wait_polling();
            bot.privacy(false);
            bot.add_private(ANN);
        }
        first.add_forum(FORUM, "Forum", &[(11, "one"), (12, "two")]);
        House { first, second, pi, g }
    }

    fn wake(&self, fields: &str, body: Value) -> Response {
        ask(self.g.addr, "POST", "/hooks/wake", &format!("X-Hook-Token: {TOKEN}\r\n{fields}"), &body.to_string())
    }

    /// Taken, and its id.
    fn woken(&self, fields: &str, body: Value) -> String {
        let r = self.wake(fields, body);
        assert_eq!(r.status, 202, "{}", r.text());
        let v = r.json();
        assert_eq!(v["ok"], true);
        v["id"].as_str().unwrap().to_owned()
    }

    fn settled(&self) {
        self.g.wait_until("everything is sent", |g| {
            let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
            let owed = "SELECT count(*) FROM outbox WHERE state IN ('raw', 'ready', 'sending')";
            db.query_row(owed, [], |r| r.get::<_, i64>(0)).unwrap() == 0
        });
    }
}

fn topic(account: &str, topic: i64) -> String {
    format!("agent:main:telegram:account:{account}:group:{FORUM}:topic:{topic}")
}

/// What the bot said in a chat: topic and text, or the kind of its file.
fn said(api: &BotApi, chat: i64) -> Vec<(Option<i64>, String)> {
    let own = api.messages(chat).into_iter().filter(|m| m.bot == Some(api.bot_id()) && !m.deleted);
    own.map(|m| (m.topic(), m.media().map_or(m.text().to_owned(), str::to_owned))).collect()
}

fn tool(path: &str, body: Value) -> String {
    format!("[[tool:http {}]]", json!({"method": "POST", "path": path, "body": body}))
}

#[test]
fn b19_what_tools_send_and_what_webhooks_are_answered_lands_in_the_account_chat_and_topic_of_its_session() {
    let h = House::new(json!({}));
    let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, PNG).unwrap();
    std::fs::write(h.g.home.path().join("work/dot.png"), png).unwrap();
    let wish = |name: &str| {
        [
            tool("/api/message/send", json!({"text": format!("tool {name}")})),
            tool("/api/media/send", json!({"path": "dot.png"})),
            format!("[[say:end {name}]]"),
        ]
        .join(" ")
    };
    // Both work at the same time.
    h.first.user_says(FORUM, ANN).topic(11).text(&format!("@fake_gateway_bot [[gate:g]] {}", wish("a"))).send();
    h.second.user_says(FORUM, ANN).topic(12).text(&format!("@second_bot [[gate:g]] {}", wish("b"))).send();
    h.second.user_writes(ANN, &wish("c"));
    h.second.wait_text(ANN, "end c");
    h.pi.wait_gate("g");
    h.pi.open("g");
    h.first.wait_text(FORUM, "end a");
    h.second.wait_text(FORUM, "end b");
    let dm = "agent:main:telegram:account:work:dm:7";
    let sessions = h.g.get("/api/sessions").text();
    assert!(sessions.contains(dm), "{sessions}");
    for (session, name) in [(&*topic("default", 11), "a"), (&topic("work", 12), "b"), (dm, "c")] {
        h.woken("", json!({"text": format!("[[say:hook {name}]]"), "sessionKey": session}));
    }
    h.first.wait_text(FORUM, "hook a");
    h.second.wait_text(FORUM, "hook b");
    h.second.wait_text(ANN, "hook c");
    h.settled();
    let all = |at: Option<i64>, name: &str| {
        let texts = [format!("tool {name}"), "photo".into(), format!("end {name}"), format!("hook {name}")];
        texts.map(|text| (at, text)).to_vec()
    };
    assert_eq!(said(&h.first, FORUM), all(Some(11), "a"));
    assert_eq!(said(&h.second, FORUM), all(Some(12), "b"));
    assert_eq!(said(&h.second, ANN), all(None, "c"));
    assert_eq!(said(&h.first, ANN), []);
    h.first.assert_clean();
    h.second.assert_clean();
}

#[test]
fn given_a_kill_after_202_then_there_is_one_answer_in_the_chat_and_the_key_still_means_the_same() {
    let mut h = House::new(json!({}));
    let session = topic("work", 12);
    h.second.user_says(FORUM, ANN).topic(12).text("@second_bot [[say:hello]]").send();
    h.second.wait_text(FORUM, "hello");
    let key = |n: usize| format!("Idempotency-Key: build-{n}\r\n");
    // Killed at once, while the agent works, and when the answer is out.
    let mut ids = Vec::new();
    for n in 0..3 {
        let text = format!("[[gate:g{n}]] [[say:answer {n}]]");
        let body = json!({"text": text, "sessionKey": session});
        let id = h.woken(&key(n), body.clone());
        match n {
            0 => {}
            1 => drop(h.pi.wait_gate("g1")),
            _ => {
                h.pi.open("g2");
                h.second.wait_message(FORUM, |m| m.text().contains("answer 2"));
                h.settled();
            }
        }
        h.g.kill9();
        h.g.restart();
        let r = h.wake(&key(n), body);
        assert_eq!((r.status, r.header("idempotent-replay")), (202, Some("true")), "{}", r.text());
        assert_eq!(r.json()["id"], *id);
        let other = h.wake(&key(n), json!({"text": "something else", "sessionKey": session}));
        assert_eq!(other.refusal(), (409, "idempotency_conflict".to_owned()));
        h.pi.open(&format!("g{n}"));
        h.g.wait_until("one more answer", |_| said(&h.second, FORUM).len() == n + 2);
        h.settled();
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let all = said(&h.second, FORUM);
    // The stand-in repeats what it is asked when its turn was cut.
    let cut = "restarted during turn";
    for (at, words) in [["hello"; 2], ["answer 0", cut], [cut; 2], ["answer 2"; 2]].into_iter().enumerate() {
        assert!(words.iter().any(|word| all[at].1.contains(word)), "{all:?}");
    }
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|(topic, _)| *topic == Some(12)) && said(&h.first, FORUM).is_empty(), "{all:?}");
}

#[test]
fn a_reply_goes_to_the_page_or_nowhere_and_can_be_waited_for() {
    let h = House::new(json!({"hooks": {"allowedSessions": ["agent:main:hook:*"]}}));
    assert_eq!(h.g.chat(PAGE, "[[say:hello]]"), "hello");
    let mut page = h.g.page(PAGE);
    h.woken("", json!({"text": "[[say:to the page]]", "sessionKey": PAGE}));
    assert_eq!(page.event("chat.reply")["payload"]["text"], "to the page");
    // A person in a chat hears nothing of what is not to be delivered.
    h.first.user_writes(ANN, "[[say:hi]]");
    h.first.wait_text(ANN, "hi");
    let dm = "agent:main:telegram:account:default:dm:7";
    let body = |text: &str| json!({"text": text, "sessionKey": dm, "deliver": false, "wait": true});
    let r = h.wake("", body("[[say:silent]]"));
    assert_eq!((r.status, r.json()["reply"].as_str()), (200, Some("silent")), "{}", r.text());
    h.settled();
    assert_eq!(said(&h.first, ANN), [(None, "hi".to_owned())]);
    // Waited for and told.
    let r = h.wake("", json!({"text": "[[say:both]]", "sessionKey": dm, "wait": true}));
    assert_eq!((r.status, r.json()["reply"].as_str()), (200, Some("both")));
    h.first.wait_text(ANN, "both");
    // A webhook does not decide where later replies go, and the person goes on.
    h.first.user_writes(ANN, "[[say:still here]]");
    h.first.wait_text(ANN, "still here");
    // The answer to a key outlives its conversation, which a webhook must not begin anew.
    let gone = |key: &str| h.wake(key, json!({"text": "[[say:once]]", "sessionKey": dm, "deliver": false}));
    let id = gone("Idempotency-Key: once\r\n").json()["id"].clone();
    h.settled();
    let r = h.g.page(PAGE).call("sessions.delete", json!({"sessionKey": dm}));
    assert_eq!(r["ok"], true, "{r}");
    let r = gone("Idempotency-Key: once\r\n");
    assert_eq!((r.status, &r.json()["id"]), (202, &id), "{}", r.text());
    assert_eq!(gone("Idempotency-Key: twice\r\n").refusal(), (404, "not_found".to_owned()));
    for (key, status) in [("agent:main:hook:ci", 200), ("agent:main:other", 404), ("agent:main:webchat:no", 404)] {
        let r = h.wake("", json!({"text": "[[say:new]]", "sessionKey": key, "wait": true}));
        assert_eq!(r.status, status, "{}", r.text());
    }
    h.first.assert_clean();
}

#[test]
fn a_full_queue_is_told_and_nothing_of_the_message_is_kept() {
    let h = House::new(json!({"queue": {"maxPerSession": 1}}));
    h.first.user_writes(ANN, "[[gate:g]] [[say:done]]");
    h.pi.wait_gate("g");
    let dm = "agent:main:telegram:account:default:dm:7";
    h.woken("", json!({"text": "[[say:waited]]", "sessionKey": dm}));
    let r = h.wake("Idempotency-Key: k\r\n", json!({"text": "[[say:late]]", "sessionKey": dm}));
    assert_eq!((r.status, r.json()["error"].as_str()), (429, Some("Queue full")));
    assert_eq!(r.json()["sessionKey"], dm);
    assert!(r.header("retry-after").is_some());
    h.pi.open("g");
    h.first.wait_text(ANN, "waited");
    h.woken("Idempotency-Key: k\r\n", json!({"text": "[[say:late]]", "sessionKey": dm}));
    h.first.wait_text(ANN, "late");
    h.settled();
    let texts: Vec<_> = said(&h.first, ANN).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["done", "waited", "late"]);
}

#[test]
fn b31_token_secret_and_signature_each_open_the_real_gateway_and_a_reload_changes_them() {
    let h = House::new(json!({}));
    let body = json!({"event": "ci.done", "payload": {"ok": true}}).to_string();
    let sign = |key: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
        let tag = ring::hmac::sign(&key, body.as_bytes());
        let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("X-Hub-Signature-256: sha256={hex}\r\n")
    };
    let call = |fields: &str| ask(h.g.addr, "POST", "/hooks/event", fields, &body);
    let mut page = h.g.page(PAGE);
    let gateway = format!("Authorization: Bearer {}\r\n", h.g.token);
    let own = format!("Authorization: Bearer {TOKEN}\r\n");
    for fields in [&*gateway, &own, &format!("X-Hook-Token: {TOKEN}\r\n"), &sign("hook-secret-0123456789")] {
        let r = call(fields);
        assert_eq!((r.status, r.json()), (200, json!({"ok": true, "event": "ci.done"})), "{fields}");
        assert_eq!(page.event("hook:ci.done")["payload"], json!({"ok": true}));
    }
    assert_eq!(call(&sign("another")).status, 401);
    assert_eq!(call("").status, 401);
    assert_eq!(ask(h.g.addr, "GET", "/api/sessions", &own, "").status, 401, "the hook's token opens nothing else");
    h.g.reconfigure(json!({"hooks": {"token": "another-token-0123456789", "path": "/in"}}));
    assert_eq!(h.g.post("/api/gateway/reload", json!({})).status, 200);
    assert_eq!(call(&gateway).status, 404);
    let moved = |fields: &str| ask(h.g.addr, "POST", "/in/event", fields, &body).status;
    assert_eq!((moved(&own), moved("X-Hook-Token: another-token-0123456789\r\n")), (401, 200));
    h.g.reconfigure(json!({"hooks": {"enabled": false}}));
    assert_eq!(h.g.post("/api/gateway/reload", json!({})).status, 200);
    assert_eq!(moved("X-Hook-Token: another-token-0123456789\r\n"), 403);
    assert!(!h.g.log().contains("another-token") && !h.g.log().contains(TOKEN), "{}", h.g.log());
}
