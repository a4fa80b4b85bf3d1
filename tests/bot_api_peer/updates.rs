//! Polling.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::client::{kinds, Client};
use crate::support::bot_api::{BotApi, Options};

fn ids(updates: &Value) -> Vec<i64> {
    updates.as_array().unwrap().iter().map(|u| u["update_id"].as_i64().unwrap()).collect()
}

#[test]
fn an_offset_confirms_everything_below_it() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    let said: Vec<i64> = (0..3).map(|n| api.user_writes(7, &n.to_string()).update_id.unwrap()).collect();
    assert_eq!(ids(&client.ok("getUpdates", json!({"limit": 2}))), said[..2]);
    assert_eq!(ids(&client.ok("getUpdates", json!({"offset": said[1]}))), said[1..]);
    assert!(client.ok("getUpdates", json!({"offset": said[2] + 1})).as_array().unwrap().is_empty());
    assert!(api.pending().is_empty());
    api.wait_confirmed(said[2]);
    api.assert_clean();
}

#[test]
fn a_long_poll_ends_when_an_update_comes_and_not_before() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    client.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_polling();
    let said = api.user_writes(7, "hello");
    assert_eq!(ids(&client.answer().unwrap().json()["result"]), [said.update_id.unwrap()]);
    let started = Instant::now();
    assert_eq!(client.ok("getUpdates", json!({"offset": said.update_id.unwrap() + 1, "timeout": 1})), json!([]));
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn asking_again_with_the_same_offset_is_held_or_gets_one_update() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    let started = Instant::now();
    client.ok("getUpdates", json!({"offset": 1}));
    client.begin("getUpdates", &json!({"offset": 1})).unwrap();
    api.wait_polling();
    api.user_writes(7, "a");
    api.user_writes(7, "b");
    let updates = client.answer().unwrap().json()["result"].as_array().unwrap().len();
    // Half a second is the server's habit; a machine that was slower proves nothing.
    assert!(updates == 1 || started.elapsed() >= Duration::from_millis(500), "{updates}");
}

#[test]
fn the_older_of_two_polls_ends_with_409_and_repeated_ones_are_late() {
    let delay = Duration::from_millis(300);
    let api = BotApi::with(Options { conflict_delay: delay, ..Options::default() });
    let (mut one, mut two) = (Client::new(&api), Client::new(&api));
    one.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_polling();
    two.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    let first = one.answer().unwrap();
    assert_eq!(first.status, 409);
    assert!(first.json()["description"].as_str().unwrap().starts_with("Conflict: terminated by other getUpdates"));
    api.wait_polling();
    let again = Instant::now();
    one.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    assert_eq!(two.answer().unwrap().status, 409);
    assert!(again.elapsed() >= delay);
    assert_eq!(kinds(&api), ["two_pollers", "two_pollers"]);
    // A call that finds updates at once disturbs nobody.
    api.wait_polling();
    let last = api.user_writes(7, "x");
    assert_eq!(ids(&one.answer().unwrap().json()["result"]), [last.update_id.unwrap()]);
    assert_eq!(kinds(&api).len(), 2);
}

#[test]
fn a_client_that_hung_up_is_no_second_poller() {
    let api = BotApi::start();
    let mut one = Client::new(&api);
    one.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_polling();
    drop(one);
    let mut two = Client::new(&api);
    two.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_calls("getUpdates", 2);
    api.wait_call(|c| c.n == 1 && c.done);
    api.user_writes(7, "x");
    assert_eq!(two.answer().unwrap().json()["result"].as_array().unwrap().len(), 1);
    api.assert_clean();
}

#[test]
fn kinds_not_asked_for_do_not_come_and_the_list_is_remembered() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    let said = api.user_writes(7, "x");
    assert_eq!(api.user_reacts(7, 7, said.message_id, &["👍"]), None);
    client.ok("getUpdates", json!({"allowed_updates": ["message_reaction"]}));
    assert_eq!(api.user_writes(7, "y").update_id, None);
    let reaction = api.user_reacts(7, 7, said.message_id, &[]);
    let last = client.ok("getUpdates", json!({"offset": reaction.unwrap()}))[0]["message_reaction"].clone();
    assert_eq!((&last["old_reaction"][0]["emoji"], &last["new_reaction"]), (&json!("👍"), &json!([])));
    assert_eq!(api.allowed_updates(), Some(vec!["message_reaction".to_owned()]));
}

#[test]
fn updates_come_twice_out_of_order_and_unreadable_if_the_test_says_so() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    let a = api.user_says(7, 7).text("a").twice().send().update_id.unwrap();
    let strange = api.raw_update(json!({"message": "not an object"}));
    api.reverse_updates();
    let seen = client.ok("getUpdates", json!({}));
    assert_eq!(ids(&seen), [strange, a, a]);
    assert_eq!(seen[0]["message"], "not an object");
    api.next_update_id(5);
    assert_eq!(api.user_writes(7, "b").update_id, Some(5));
    api.repeat_last_update();
    assert_eq!(ids(&json!(api.pending())), [strange, a, a, 5, 5]);
}

#[test]
fn bots_have_their_own_queues_chats_and_tokens() {
    let api = BotApi::start();
    let other = api.add_bot("99:other", "other_bot");
    api.add_group(-5, "Group");
    api.user_writes(7, "to the first");
    other.user_writes(7, "to the second");
    api.user_says(-5, 7).text("to both").send();
    let texts = |api: &BotApi| -> Vec<Value> { api.pending().iter().map(|u| u["message"]["text"].clone()).collect() };
    assert_eq!(texts(&api), ["to the first", "to both"]);
    assert_eq!(texts(&other), ["to the second", "to both"]);
    Client::new(&other).ok("sendMessage", json!({"chat_id": 7, "text": "second"}));
    assert!(api.messages(7).is_empty());
    assert_eq!(other.messages(7).len(), 1);
    let mut old = Client::new(&other);
    other.change_token("99:new");
    assert_eq!(old.refused("getMe", json!({})), (401, "Unauthorized".into()));
    assert_eq!(Client::new(&other).ok("getMe", json!({}))["username"], "other_bot");
    other.logged_out(true);
    assert_eq!(Client::new(&other).refused("getMe", json!({})), (400, "Logged out".into()));
}

#[test]
fn dropping_the_server_ends_everything_that_waits() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    client.begin("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_polling();
    let reader = thread::spawn(move || client.answer().is_err());
    drop(api);
    assert!(reader.join().unwrap());
}
