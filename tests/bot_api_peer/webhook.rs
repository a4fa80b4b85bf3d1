//! Delivery by webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{json, Value};

use super::client::{kinds, Client};
use crate::support::bot_api::{BotApi, Options};

/// Takes one delivery and answers it: its head and update.
fn take(listener: &TcpListener, status: &str) -> (String, Value) {
    let (socket, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(&socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&socket).write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

fn world() -> (BotApi, Client, TcpListener, String) {
    let api = BotApi::with(Options { webhook_backoff: Duration::from_millis(10), ..Options::default() });
    let client = Client::new(&api);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (api, client, listener, url)
}

#[test]
fn updates_go_to_the_webhook_again_until_they_are_taken() {
    let (api, mut client, listener, url) = world();
    api.user_writes(7, "waits already");
    client.ok("setWebhook", json!({"url": url, "secret_token": "s-1", "max_connections": 8}));
    let (head, first) = take(&listener, "503 Service Unavailable");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("X-Telegram-Bot-Api-Secret-Token: s-1\r\n"), "{head}");
    let (_, again) = take(&listener, "200 OK");
    assert_eq!(first, again);
    assert_eq!(again["message"]["text"], "waits already");
    api.wait_confirmed(again["update_id"].as_i64().unwrap());
    let info = client.ok("getWebhookInfo", json!({}));
    assert_eq!(
        (&info["url"], &info["pending_update_count"], &info["max_connections"]),
        (&json!(url), &json!(0), &json!(8))
    );
    assert_eq!(info["last_error_message"], "Wrong response from the webhook: 503 Service Unavailable");
    api.assert_clean();
}

#[test]
fn updates_of_one_chat_come_in_order() {
    let (api, mut client, listener, url) = world();
    for text in ["a", "b", "c"] {
        api.user_writes(7, text);
    }
    client.ok("setWebhook", json!({ "url": url }));
    let statuses = ["500 No", "200 OK", "500 No", "200 OK", "200 OK"];
    let texts: Vec<Value> = statuses.iter().map(|s| take(&listener, s).1["message"]["text"].clone()).collect();
    assert_eq!(texts, ["a", "a", "b", "b", "c"]);
}

#[test]
fn polling_is_refused_while_there_is_a_webhook() {
    let (api, mut client, _listener, url) = world();
    let mut poller = Client::new(&api);
    poller.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_polling();
    client.ok("setWebhook", json!({ "url": url }));
    assert_eq!(poller.answer().unwrap().json()["description"], "Conflict: terminated by setWebhook request");
    api.forget_violations();
    client.ok("deleteWebhook", json!({"drop_pending_updates": false}));
    client.ok("setWebhook", json!({ "url": url }));
    assert_eq!(api.webhook()["url"], url);
    let (status, text) = Client::new(&api).refused("getUpdates", json!({}));
    assert_eq!(
        (status, text.starts_with("Conflict: can't use getUpdates method while webhook is active")),
        (409, true)
    );
    client.ok("deleteWebhook", json!({}));
    client.ok("getUpdates", json!({}));
    assert_eq!(kinds(&api), ["getupdates_with_webhook"]);
}

#[test]
fn addresses_and_secrets_of_webhooks_are_checked() {
    let (_api, mut client, _listener, url) = world();
    let mut refused =
        |url: &str, secret: &str| client.refused("setWebhook", json!({"url": url, "secret_token": secret})).1;
    assert_eq!(
        refused("http://example.org/", ""),
        "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
    );
    assert!(refused("https://example.org:444/", "").ends_with("only on ports 80, 88, 443 or 8443"));
    assert_eq!(refused(&url, "no space"), "Bad Request: secret token contains unallowed characters");
}
