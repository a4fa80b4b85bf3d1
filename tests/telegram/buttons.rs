//! Keyboards: what a press does, once, and that it is always answered (telegram.md 11).

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Message, Rule, Trouble};
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;

const BOB: i64 = 8;
const GROUP: i64 = -100;

/// A house whose pi has these models, `fake/fake-model` besides.
pub fn with_models(models: &[(&str, usize)], telegram: Value) -> (House, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut providers = json!({"fake": {"baseUrl": "http://127.0.0.1:9", "models": [{"id": "fake-model"}]}});
    for (name, count) in models {
        let list: Vec<Value> = (0..*count).map(|n| json!({"id": format!("model-{n:02}")})).collect();
        providers[*name] = json!({"baseUrl": "http://127.0.0.1:9", "models": list});
    }
    std::fs::write(home.path().join("models.json"), json!({"providers": providers}).to_string()).unwrap();
    let api = BotApi::start();
    let pi = FakePi::with(Flavour::New, &[("PI_CODING_AGENT_DIR", home.path().to_str().unwrap())]);
    let mut all = json!({
        "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": [ANN.to_string()],
        "pollTimeoutS": 5, "streamMode": "off",
    });
    for (key, value) in telegram.as_object().unwrap() {
        all[key] = value.clone();
    }
    let config = json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": all}});
    let g = Gateway::new(config).start();
    api.wait_polling();
    (House { api, pi, g }, home)
}

pub fn texts(m: &Message) -> Vec<String> {
    m.buttons().into_iter().map(|(text, _)| text).collect()
}

/// The present form of a message, as soon as it is as wanted.
pub fn until(h: &House, chat: i64, id: i64, want: impl Fn(&Message) -> bool) -> Message {
    h.api.wait_message(chat, |m| m.id() == id && want(m))
}

/// Presses and waits for the answer: what the user sees.
pub fn press(h: &House, chat: i64, user: i64, message: i64, button: &str) -> String {
    let query = h.api.user_presses(chat, user, message, button);
    h.api.wait_answer(&query).answer.unwrap()
}

#[test]
fn a_model_is_chosen_by_provider_and_page_and_the_menu_becomes_the_result() {
    let (h, _home) = with_models(&[("acme", 23), ("zeta", 1)], json!({}));
    h.api.user_writes(ANN, "/model");
    let menu = h.api.wait_message(ANN, |m| m.text().contains("Choose a provider"));
    assert_eq!(texts(&menu), ["acme", "fake", "zeta"]);
    assert_eq!(press(&h, ANN, ANN, menu.id(), "acme"), "");
    let page = until(&h, ANN, menu.id(), |m| m.text() == "Models of acme:");
    assert_eq!(texts(&page)[..2], ["model-00", "model-01"]);
    assert_eq!(texts(&page)[10..], ["◀", "1/3", "▶", "Back"]);
    press(&h, ANN, ANN, menu.id(), "▶");
    let page = until(&h, ANN, menu.id(), |m| texts(m).contains(&"2/3".to_owned()));
    assert_eq!(texts(&page)[0], "model-10");
    press(&h, ANN, ANN, menu.id(), "Back");
    until(&h, ANN, menu.id(), |m| m.text().contains("Choose a provider"));
    press(&h, ANN, ANN, menu.id(), "acme");
    until(&h, ANN, menu.id(), |m| texts(m).contains(&"1/3".to_owned()));
    assert_eq!(press(&h, ANN, ANN, menu.id(), "model-03"), "Switched to acme/model-03");
    let done = until(&h, ANN, menu.id(), |m| m.text() == "Model: acme/model-03.");
    assert!(done.buttons().is_empty());
    h.api.user_writes(ANN, "/model");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Model: acme/model-03. Choose"));
    assert_eq!(texts(&menu), ["✓ acme", "fake", "zeta", "The configured model"]);
    press(&h, ANN, ANN, menu.id(), "✓ acme");
    let page = until(&h, ANN, menu.id(), |m| m.text() == "Models of acme:");
    assert_eq!(texts(&page)[3], "✓ model-03");
    assert_eq!(h.said(ANN).len(), 2, "menus are edited, not sent anew");
    h.api.assert_clean();
}

#[test]
fn a_press_works_after_a_kill_and_its_repeat_does_nothing_but_is_answered() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/think");
    let menu = h.api.wait_message(ANN, |m| m.text().contains("Choose a level"));
    h.settled();
    h.g.kill9();
    h.g.restart();
    h.api.wait_polling();
    let query = h.api.user_presses(ANN, ANN, menu.id(), "high");
    assert_eq!(h.api.wait_answer(&query).answer.as_deref(), Some(""));
    until(&h, ANN, menu.id(), |m| m.text() == "Thinking: high.");
    h.settled();
    h.api.user_writes(ANN, "/think low");
    h.api.wait_text(ANN, "Thinking: low.");
    let answers = h.api.calls("answerCallbackQuery").len();
    // A late touch of the same keyboard, and the first press once more.
    h.api.user_presses_data(ANN, ANN, menu.id(), &menu.buttons()[4].1);
    h.api.wait_calls("answerCallbackQuery", answers + 1);
    h.api.raw_update(json!({"callback_query": {"id": query, "from": {"id": ANN, "first_name": "Ann"},
        "message": {"message_id": menu.id(), "date": 1, "chat": {"id": ANN, "type": "private"}},
        "data": menu.buttons()[4].1}}));
    h.api.wait_calls("answerCallbackQuery", answers + 2);
    h.api.user_writes(ANN, "/status");
    let status = h.api.wait_message(ANN, |m| m.text().contains("thinking "));
    assert!(status.text().contains("thinking low"), "{}", status.text());
    h.settled();
    assert_eq!(h.api.message(ANN, menu.id()).unwrap().text(), "Thinking: high.");
}

#[test]
fn a_stale_button_says_so_and_goes_and_a_stranger_gets_nothing() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/help");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Commands:"));
    assert_eq!(texts(&menu)[1].split('/').next(), Some("1"));
    for data in ["k:zzzzzzzz:0", "kb:k1:yes", "no such thing"] {
        let query = h.api.user_presses_data(ANN, ANN, menu.id(), data);
        assert_eq!(h.api.wait_answer(&query).answer.as_deref(), Some("Expired"), "{data}");
    }
    until(&h, ANN, menu.id(), |m| m.buttons().is_empty() && m.text() == menu.text());
    let query = h.api.user_presses_data(ANN, 99, menu.id(), "k:zzzzzzzz:0");
    let answer = h.api.wait_answer(&query);
    assert_eq!((answer.answer.as_deref(), answer.alert), (Some("Not for you."), true));
    assert_eq!(h.said(99).len(), 0);
    h.api.assert_clean();
}

#[test]
fn buttons_of_the_original_still_work() {
    let (h, _home) = with_models(&[("acme", 12)], json!({}));
    h.api.user_writes(ANN, "/model");
    let menu = h.api.wait_message(ANN, |m| m.text().contains("Choose a provider"));
    let old = |data: &str| {
        let query = h.api.user_presses_data(ANN, ANN, menu.id(), data);
        h.api.wait_answer(&query).answer.unwrap()
    };
    assert_eq!(old("mdl_list:acme:1"), "");
    until(&h, ANN, menu.id(), |m| texts(m).contains(&"model-11".to_owned()));
    assert_eq!(old("mdl_prov"), "");
    until(&h, ANN, menu.id(), |m| m.text().contains("Choose a provider"));
    assert_eq!(old("mdl_sel:acme/model%2D07"), "Switched to acme/model-07");
    until(&h, ANN, menu.id(), |m| m.text() == "Model: acme/model-07.");
    h.api.assert_clean();
}

#[test]
fn in_a_group_a_menu_is_for_who_asked_unless_the_other_has_the_right() {
    let h = House::new(json!({"streamMode": "off", "groupPolicy": "open"}));
    h.api.privacy(false);
    h.api.add_forum(GROUP, "Forum", &[(3, "three")]);
    h.api.user_says(GROUP, BOB).topic(3).text("@Fake_Gateway_Bot /think").send();
    let menu = h.api.wait_message(GROUP, |m| m.text().contains("Choose a level"));
    assert_eq!(menu.topic(), Some(3));
    assert_eq!(press(&h, GROUP, 9, menu.id(), "low"), "Not for you.");
    assert_eq!(press(&h, GROUP, ANN, menu.id(), "low"), "", "Ann is listed by her id");
    until(&h, GROUP, menu.id(), |m| m.text() == "Thinking: low.");
    h.api.user_says(GROUP, BOB).topic(3).text("@Fake_Gateway_Bot /role").send();
    let menu = h.api.wait_message(GROUP, |m| m.text().starts_with("Role: default."));
    assert_eq!(press(&h, GROUP, BOB, menu.id(), "✓ default"), "⛔ Unauthorized.");
    h.api.assert_clean();
}

#[test]
fn a_role_is_deleted_only_after_a_second_press() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/role create boss");
    h.api.wait_message(ANN, |m| m.text().starts_with("The role boss has been made"));
    h.api.user_writes(ANN, "/role");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Role: default."));
    assert_eq!(texts(&menu)[..3], ["boss", "🗑", "✓ default"]);
    press(&h, ANN, ANN, menu.id(), "🗑");
    until(&h, ANN, menu.id(), |m| m.text() == "Delete the role boss?");
    press(&h, ANN, ANN, menu.id(), "Keep it");
    until(&h, ANN, menu.id(), |m| m.text().starts_with("Role: default."));
    press(&h, ANN, ANN, menu.id(), "boss");
    until(&h, ANN, menu.id(), |m| m.text() == "Role: boss." && m.buttons().is_empty());
    h.api.user_writes(ANN, "/role");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Role: boss. Choose"));
    press(&h, ANN, ANN, menu.id(), "🗑");
    until(&h, ANN, menu.id(), |m| m.text() == "Delete the role boss?");
    press(&h, ANN, ANN, menu.id(), "🗑 Delete");
    until(&h, ANN, menu.id(), |m| m.text() == "The role boss is in the trash.");
    h.api.assert_clean();
}

#[test]
fn given_a_menu_that_was_deleted_then_its_page_comes_anew() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/help");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Commands:"));
    let next = &menu.buttons()[2].1;
    h.api.user_deletes(ANN, menu.id());
    let query = h.api.user_presses_data(ANN, ANN, menu.id(), next);
    h.api.wait_answer(&query);
    let anew = h.api.wait_message(ANN, |m| m.id() != menu.id() && texts(m).iter().any(|t| t.starts_with("2/")));
    assert!(anew.text().starts_with("Commands:"));
}

#[test]
fn given_a_chat_that_is_frozen_then_presses_are_answered_all_the_same() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "/help");
    let menu = h.api.wait_message(ANN, |m| m.text().starts_with("Commands:"));
    h.settled();
    h.api.trouble(Rule::on("editMessageText", Trouble::Flood(60)));
    press(&h, ANN, ANN, menu.id(), "▶");
    h.api.wait_call(|c| c.method == "editMessageText" && c.status == Some(429));
    let begun = Instant::now();
    press(&h, ANN, ANN, menu.id(), "▶");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
