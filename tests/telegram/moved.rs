//! Questions and buttons in a group that becomes a supergroup.

use serde_json::json;

use crate::buttons::{press, texts, until};
use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};

const GROUP: i64 = -50;

fn house() -> House {
    let h = House::new(json!({
        "streamMode": "off", "groups": {"*": {"requireMention": false}}, "replyToMode": "off",
    }));
    h.api.privacy(false);
    h.api.add_group(GROUP, "The group");
    h
}

#[test]
fn a_question_is_asked_again_where_the_group_is_now_and_answered_there() {
    let h = house();
    h.api.user_says(GROUP, ANN).text("[[ui:select Which?|a|b]] [[ui:input Why?]]").send();
    h.api.wait_text(GROUP, "Which?");
    h.settled();
    let new = h.api.migrate(GROUP, ANN);
    let asked = h.api.wait_text(new, "Which?");
    assert_eq!(texts(&asked), ["a", "b", "Cancel"]);
    assert_eq!(press(&h, new, ANN, asked.id(), "b"), "");
    until(&h, new, asked.id(), |m| m.text() == "Which?\n\n✅ b" && m.buttons().is_empty());
    let asked = h.api.wait_text(new, "Why?");
    h.settled();
    h.api.user_says(new, ANN).reply_to(asked.id()).text("because").send();
    h.api.wait_message(new, |m| m.text().contains("ui: b") && m.text().contains("ui: because"));
    assert_eq!(h.pi.prompts().len(), 1, "the answer is no message for the agent");
    h.api.assert_clean();
}

#[test]
fn given_a_kill_after_the_move_then_the_question_says_there_that_it_was_interrupted() {
    let mut h = house();
    h.api.user_says(GROUP, ANN).text("[[ui:select Which?|a|b]]").send();
    h.api.wait_text(GROUP, "Which?");
    h.settled();
    let new = h.api.migrate(GROUP, ANN);
    let asked = h.api.wait_text(new, "Which?");
    h.settled();
    h.g.kill9();
    h.g.restart();
    until(&h, new, asked.id(), |m| m.text() == "Which?\n(interrupted)" && m.buttons().is_empty());
}

#[test]
fn a_question_whose_sending_was_not_known_yet_is_asked_once_where_the_group_is_now() {
    let h = house();
    let rule = h.api.trouble(Rule::on("sendMessage", Trouble::HoldAnswer).chat(GROUP));
    h.api.user_says(GROUP, ANN).text("[[ui:select Which?|a|b]]").send();
    h.api.wait_text(GROUP, "Which?");
    let new = h.api.migrate(GROUP, ANN);
    h.g.wait_log("write the new id into the configuration");
    h.api.release(rule);
    let asked = h.api.wait_text(new, "Which?");
    press(&h, new, ANN, asked.id(), "a");
    h.api.wait_text(new, "ui: a");
    let asked = h.api.messages(new).into_iter().filter(|m| m.bot.is_some() && m.text().starts_with("Which?"));
    assert_eq!(asked.count(), 1);
}

#[test]
fn a_button_of_before_still_works_and_its_answer_stands_where_the_group_is_now() {
    let h = house();
    h.api.user_says(GROUP, ANN).text("/think").send();
    let menu = h.api.wait_message(GROUP, |m| m.text().starts_with("Thinking: off."));
    h.settled();
    let new = h.api.migrate(GROUP, ANN);
    // The conversation takes the new name.
    h.api.user_says(new, ANN).text("[[say:here]]").send();
    h.api.wait_text(new, "here");
    let data = menu.buttons().into_iter().find(|(text, _)| text == "high").unwrap().1;
    let query = h.api.user_presses_data(GROUP, ANN, menu.id(), &data);
    assert_ne!(h.api.wait_answer(&query).answer.as_deref(), Some("Expired"));
    h.api.wait_message(new, |m| m.text().contains("high"));
    h.api.user_says(new, ANN).text("/think").send();
    h.api.wait_message(new, |m| m.text().starts_with("Thinking: high."));
    h.api.assert_clean();
}

#[test]
fn a_page_of_a_menu_that_stayed_behind_comes_as_a_message_of_its_own() {
    let h = house();
    h.api.user_says(GROUP, ANN).text("/help").send();
    let menu = h.api.wait_message(GROUP, |m| m.text().starts_with("Commands:"));
    h.settled();
    let new = h.api.migrate(GROUP, ANN);
    h.g.wait_log("write the new id into the configuration");
    let data = menu.buttons().into_iter().find(|(text, _)| text == "▶").unwrap().1;
    let query = h.api.user_presses_data(GROUP, ANN, menu.id(), &data);
    assert_eq!(h.api.wait_answer(&query).answer.as_deref(), Some(""));
    let page = h.api.wait_message(new, |m| m.text().starts_with("Commands:"));
    assert!(page.text() != menu.text() && !page.buttons().is_empty());
    h.api.assert_clean();
}
