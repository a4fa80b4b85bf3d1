//! Troubles, and a server that goes away and comes back.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::client::{kinds, Client};
use crate::support::bot_api::{BotApi, Line, Options, Rate, Rule, Trouble};

fn world() -> (BotApi, Client) {
    let api = BotApi::start();
    api.add_private(7);
    api.add_private(8);
    let client = Client::new(&api);
    (api, client)
}

fn text(chat: i64) -> Value {
    json!({"chat_id": chat, "text": "t"})
}

#[test]
fn a_rule_strikes_its_calls_only_and_as_often_as_told() {
    let (api, mut client) = world();
    api.trouble(Rule::on("sendMessage", Trouble::server(502)).chat(7).skip(1).times(2));
    let mut send = |chat: i64| client.try_call("sendMessage", &text(chat)).unwrap().status;
    assert_eq!([7, 8, 7, 7, 7].map(&mut send), [200, 200, 502, 502, 200]);
    assert_eq!(api.messages(7).len(), 2);
    let calls = api.calls("sendMessage");
    assert_eq!((calls[2].status, calls[2].applied, calls[2].faulted), (Some(502), false, true));
    assert_eq!(calls[2].connection, calls[0].connection);
    api.trouble(Rule::on("*", Trouble::bad("CHAT_WRITE_FORBIDDEN")));
    assert_eq!(client.refused("sendMessage", text(7)), (400, "Bad Request: CHAT_WRITE_FORBIDDEN".into()));
}

#[test]
fn after_a_429_the_chat_is_shut_until_its_time_is_over() {
    let (api, mut client) = world();
    api.trouble(Rule::on("sendMessage", Trouble::Flood(60)).chat(7));
    let answer = client.try_call("sendMessage", &text(7)).unwrap();
    assert_eq!(answer.json()["description"], "Too Many Requests: retry after 60");
    assert_eq!(answer.json()["parameters"]["retry_after"], 60);
    assert!(answer.head.contains("Retry-After: 60\r\n"), "{}", answer.head);
    api.assert_clean();
    client.ok("sendMessage", text(8));
    assert_eq!(client.refused("sendMessage", text(7)).0, 429);
    assert_eq!(kinds(&api), ["sent_before_retry_after"]);
    api.forgive();
    client.ok("sendMessage", text(7));
}

#[test]
fn flood_limits_shut_a_chat_when_its_bucket_is_empty() {
    let rate = Rate { burst: 2.0, per_second: 0.01, ..Rate::default() };
    let api = BotApi::with(Options { rate: Some(rate), ..Options::default() });
    api.add_private(7);
    api.add_private(8);
    let mut client = Client::new(&api);
    client.ok("sendMessage", text(7));
    client.ok("sendMessage", text(7));
    assert_eq!(client.refused("sendMessage", text(7)).0, 429);
    client.ok("sendMessage", text(8));
    api.assert_clean();
}

#[test]
fn connections_end_before_or_after_the_call_took_effect() {
    let (api, mut client) = world();
    api.trouble(Rule::on("sendMessage", Trouble::DropBefore));
    api.trouble(Rule::on("sendMessage", Trouble::DropAfter));
    api.trouble(Rule::on("sendMessage", Trouble::Truncated));
    assert!(client.try_call("sendMessage", &text(7)).is_err());
    assert!(api.messages(7).is_empty());
    for seen in 1..=2 {
        let error = Client::new(&api).try_call("sendMessage", &text(7)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(api.messages(7).len(), seen);
    }
    let calls = api.calls("sendMessage");
    assert_eq!(calls.iter().map(|c| c.applied).collect::<Vec<_>>(), [false, true, true]);
    let mut client = Client::new(&api);
    api.trouble(Rule::on("getMe", Trouble::Garbage(502, "<html>".into())));
    let answer = client.try_call("getMe", &json!({})).unwrap();
    assert_eq!((answer.status, answer.body), (502, b"<html>".to_vec()));
    api.trouble(Rule::on("getMe", Trouble::Trickle(Duration::from_millis(1))));
    assert_eq!(client.ok("getMe", json!({}))["is_bot"], true);
}

#[test]
fn a_held_call_waits_until_it_is_released() {
    let (api, mut client) = world();
    let before = api.trouble(Rule::on("sendMessage", Trouble::Hold));
    let after = api.trouble(Rule::on("sendMessage", Trouble::HoldAnswer));
    client.begin("sendMessage", &text(7)).unwrap();
    assert!(!api.wait_call(|c| c.method == "sendMessage").applied);
    assert!(api.messages(7).is_empty());
    api.release(before);
    assert_eq!(client.answer().unwrap().status, 200);
    client.begin("sendMessage", &text(7)).unwrap();
    api.wait_call(|c| c.n == 2 && c.applied && !c.done);
    assert_eq!(api.messages(7).len(), 2);
    api.release(after);
    assert_eq!(client.answer().unwrap().status, 200);
    api.trouble(Rule::on("getMe", Trouble::Slow(Duration::from_millis(80))));
    let started = Instant::now();
    client.ok("getMe", json!({}));
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[test]
fn downloads_have_troubles_too() {
    let (api, mut client) = world();
    let file = api.user_says(7, 7).voice(1, b"sound").send();
    let id = api.conversation(7)[0].file_id().unwrap().to_owned();
    assert_eq!(file.message_id, api.conversation(7)[0].id());
    let path = client.ok("getFile", json!({"file_id": id}))["file_path"].as_str().unwrap().to_owned();
    let url = format!("/file/bot{}/{path}", api.token());
    api.trouble(Rule::on("file", Trouble::Refuse(404, "Not Found".into(), Value::Null)));
    assert_eq!(client.get(&url).status, 404);
    assert_eq!(client.get(&url).body, b"sound");
    assert_eq!(client.get(&format!("{url}x")).status, 404);
    assert_eq!(api.calls("file").len(), 3);
}

#[test]
fn a_server_that_is_down_refuses_and_comes_back_on_its_port_with_its_state() {
    let (api, mut client) = world();
    let said = api.user_writes(7, "waits");
    client.begin("getUpdates", &json!({"timeout": 50, "offset": said.update_id.unwrap() + 1})).unwrap();
    api.wait_polling();
    let started = Instant::now();
    api.line(Line::Refused);
    assert!(started.elapsed() < Duration::from_secs(20), "a poll that waits does not keep the server up");
    assert!(client.answer().is_err());
    assert_eq!(Client::try_new(&api).err().unwrap().kind(), ErrorKind::ConnectionRefused);
    let later = api.user_writes(7, "later");
    api.line(Line::Up);
    let updates = Client::new(&api).ok("getUpdates", json!({}));
    assert_eq!(updates[0]["update_id"], later.update_id.unwrap());
}

#[test]
fn a_hanging_server_takes_requests_and_answers_none() {
    let (api, mut old) = world();
    old.ok("getMe", json!({}));
    api.line(Line::Hanging);
    let mut new = Client::new(&api);
    old.begin("sendMessage", &text(7)).unwrap();
    new.begin("sendMessage", &text(7)).unwrap();
    api.wait_stuck(2);
    api.line(Line::Up);
    assert!(old.answer().is_err() && new.answer().is_err());
    assert!(api.messages(7).is_empty());
    Client::new(&api).ok("sendMessage", text(7));
    api.cut_connections();
    assert!(api.messages(7).len() == 1);
}

#[test]
fn a_body_above_the_limit_is_refused_with_413() {
    let api = BotApi::with(Options { max_upload: 1000, ..Options::default() });
    api.add_private(7);
    let mut client = Client::new(&api);
    let data = vec![1; 2000];
    let answer = client.upload("sendDocument", &[("chat_id", "7")], &[("document", "d", "x/y", &data)]);
    assert_eq!((answer.status, &answer.json()["description"]), (413, &json!("Request Entity Too Large")));
    client.ok("sendMessage", text(7));
}
