//! Telegram delivers to the gateway's own port (telegram.md 4.3).

use std::time::Duration;

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Options};
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;
use crate::support::raw_http::{ask, Response};

const SECRET: &str = "s3cret-of-the-hook";
const FIELD: &str = "X-Telegram-Bot-Api-Secret-Token";

fn quick() -> BotApi {
    BotApi::with(Options { webhook_backoff: Duration::from_millis(20), ..Options::default() })
}

/// A gateway whose bot has a webhook at its port; more keys of `channels.telegram` on top.
fn house(api: BotApi, more: Value) -> House {
    let pi = FakePi::new(Flavour::New);
    let mut telegram = json!({
        "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": [ANN.to_string()],
        "webhookSecret": SECRET, "streamMode": "off",
    });
    for (key, value) in more.as_object().unwrap() {
        telegram[key] = value.clone();
    }
    let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": telegram}}));
    let url = format!("https://{}/webhook/telegram", g.addr);
    g.reconfigure(json!({"channels": {"telegram": {"webhookUrl": url}}}));
    let g = g.start();
    api.wait_calls("setWebhook", 1);
    House { api, pi, g }
}

fn deliver(h: &House, secret: Option<&str>, body: &str) -> Response {
    let field = secret.map_or(String::new(), |s| format!("{FIELD}: {s}\r\n"));
    ask(h.g.addr, "POST", "/webhook/telegram", &field, body)
}

/// The bot has been introduced: before, the gateway asks for every delivery again.
fn ready(h: &House) {
    h.g.wait_until("it is ready", |_| deliver(h, Some(SECRET), r#"{"update_id": 1}"#).status == 200);
}

#[test]
fn what_is_delivered_is_answered_and_the_webhook_stays_when_the_gateway_stops() {
    let mut h = house(quick(), json!({}));
    let set = &h.api.calls("setWebhook")[0];
    let body = &set.params;
    assert_eq!((&body["secret_token"], &body["max_connections"]), (&json!(SECRET), &json!(8)));
    assert_eq!(body["drop_pending_updates"], false);
    h.api.user_writes(ANN, "[[say:by hook]]");
    h.api.wait_text(ANN, "by hook");
    assert!(h.api.calls("getUpdates").is_empty(), "nobody polls");

    h.settled();
    h.g.stop();
    assert_ne!(h.api.webhook()["url"], "", "it stays registered");
    let missed = h.api.user_writes(ANN, "[[say:while it was away]]");
    h.g.restart();
    h.api.wait_text(ANN, "while it was away");
    h.api.wait_confirmed(missed.update_id.unwrap());
    h.settled();
    assert_eq!(h.said(ANN), ["by hook", "while it was away"]);
    h.api.assert_clean();
}

#[test]
fn only_the_platform_gets_in() {
    let h = house(quick(), json!({}));
    ready(&h);
    let update = json!({"update_id": 5, "message": {"message_id": 1, "date": 1, "chat": {"id": 7, "type": "private"}}});
    for secret in [None, Some(""), Some("s3cret-of-the-hooK"), Some("s3cret-of-the-hook-and-more")] {
        let r = deliver(&h, secret, &update.to_string());
        assert_eq!(r.status, 401, "{secret:?} {}", r.text());
    }
    let field = format!("{FIELD}: {SECRET}\r\n");
    let r = ask(h.g.addr, "GET", "/webhook/telegram", &field, "");
    assert_eq!((r.status, r.header("allow")), (405, Some("POST")));
    for body in ["", "{", "[]", "7", r#"{"update_id""#] {
        assert_eq!(deliver(&h, Some(SECRET), body).status, 400, "{body}");
    }
    let large = format!("{{\"update_id\": 6, \"x\": \"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(deliver(&h, Some(SECRET), &large).status, 413);
    let odd = deliver(&h, Some(SECRET), r#"{"update_id": "seven", "message": []}"#);
    assert_eq!(odd.status, 200, "what cannot be read is passed over, or it came for a day");
    let fine = deliver(&h, Some(SECRET), r#"{"update_id": 8, "poll_answer": {}}"#);
    assert_eq!((fine.status, fine.text().as_str()), (200, ""));
    h.api.user_writes(ANN, "[[say:still well]]");
    h.api.wait_text(ANN, "still well");
}

#[test]
fn an_update_that_is_delivered_twice_is_answered_once() {
    let h = house(quick(), json!({}));
    ready(&h);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let update = |text: &str, id: i64| {
        json!({"update_id": id, "message": {
            "message_id": id, "date": now, "text": text, "chat": {"id": ANN, "type": "private"},
            "from": {"id": ANN, "is_bot": false, "first_name": "Ann"},
        }})
        .to_string()
    };
    h.api.user_writes(ANN, "[[say:hello]]"); // the server knows the chat
    h.api.wait_text(ANN, "hello");
    for _ in 0..3 {
        assert_eq!(deliver(&h, Some(SECRET), &update("[[say:once]]", 9_000)).status, 200);
    }
    assert_eq!(deliver(&h, Some(SECRET), &update("[[say:last]]", 9_001)).status, 200);
    h.api.wait_text(ANN, "last");
    assert_eq!(h.said(ANN), ["hello", "once", "last"]);
}

#[test]
fn two_accounts_share_a_path_by_their_secrets() {
    let api = quick();
    let second = api.add_bot("222222:TEST-token_of_the_second", "second_bot");
    let pi = FakePi::new(Flavour::New);
    let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}}));
    let url = format!("https://{}/hook", g.addr);
    let account = |token: String, secret: &str| json!({"botToken": token, "webhookSecret": secret, "webhookUrl": url, "webhookPath": "/hook"});
    g.reconfigure(json!({"channels": {"telegram": {
        "enabled": true, "apiRoot": api.root(), "allowFrom": [ANN.to_string()], "streamMode": "off",
        "accounts": {"one": account(api.token(), "secret-one"), "two": account(second.token(), "secret-two")},
    }}}));
    let h = House { api, pi, g: g.start() };
    second.user_writes(ANN, "[[say:for the second]]");
    second.wait_text(ANN, "for the second");
    h.api.user_writes(ANN, "[[say:for the first]]");
    h.api.wait_text(ANN, "for the first");
    h.api.assert_clean();
}
