//! What the agent asks people: dialogs of pi's extensions, keyboards of its tools (telegram.md 12).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::buttons::{press, texts, until};
use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};

const GROUP: i64 = -100;
const BOB: i64 = 8;
/// Ann's conversation.
const SESSION: &str = "agent:main:telegram:account:default:dm:7";

fn house() -> House {
    House::new(json!({"streamMode": "off"}))
}

fn keyboard(title: &str, timeout: u64) -> String {
    let options = json!([{"id": "y", "text": "Yes *now*"}, {"id": "n", "text": "No"}]);
    let body = json!({"title": title, "options": options, "columns": 2, "timeout": timeout});
    format!("[[tool:http {}]]", json!({"method": "POST", "path": "/api/keyboard", "body": body}))
}

#[test]
fn a_choice_is_a_button_per_option_and_the_first_press_counts() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:select Pick a *colour*|red|blue]]");
    let asked = h.api.wait_text(ANN, "Pick a *colour*");
    assert_eq!(texts(&asked), ["red", "blue", "Cancel"]);
    let (red, blue) = (asked.buttons()[0].1.clone(), asked.buttons()[1].1.clone());
    let first = h.api.user_presses_data(ANN, ANN, asked.id(), &blue);
    let second = h.api.user_presses_data(ANN, ANN, asked.id(), &red);
    assert_eq!(h.api.wait_answer(&first).answer.as_deref(), Some(""));
    assert_eq!(h.api.wait_answer(&second).answer.as_deref(), Some("Expired"));
    h.api.wait_text(ANN, "ui: blue");
    let done = until(&h, ANN, asked.id(), |m| m.text() == "Pick a *colour*\n\n✅ blue" && m.buttons().is_empty());
    assert_eq!(done.parts("bold"), ["blue"]);
    h.api.assert_clean();
}

#[test]
fn a_question_of_yes_and_no_is_answered_by_a_button_and_cancelled_by_a_command() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:confirm Sure?|Really?]]");
    let asked = h.api.wait_text(ANN, "Sure?\n\nReally?");
    assert_eq!(texts(&asked), ["Yes", "No"]);
    press(&h, ANN, ANN, asked.id(), "Yes");
    h.api.wait_text(ANN, "ui: true");
    h.api.user_writes(ANN, "[[ui:confirm Again?|x]]");
    let asked = h.api.wait_text(ANN, "Again?\n\nx");
    h.api.user_writes(ANN, "/cancel");
    h.api.wait_text(ANN, "Cancelled.");
    h.api.wait_text(ANN, "ui: cancelled");
    until(&h, ANN, asked.id(), |m| m.text() == "Again?\n\nx\n(cancelled)" && m.buttons().is_empty());
    h.api.assert_clean();
}

#[test]
fn a_text_is_asked_for_with_a_reply_and_the_next_text_is_it() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:input Your name?]]");
    let asked = h.api.wait_text(ANN, "Your name?");
    let call = h.api.wait_call(|c| c.method == "sendMessage" && c.params["text"] == "Your name?");
    assert!(call.params["reply_markup"].to_string().contains("force_reply"), "{}", call.params);
    h.api.user_writes(ANN, "Ann *the* first");
    h.api.wait_text(ANN, "ui: Ann the first");
    assert_eq!(h.pi.prompts().len(), 1, "the answer is no message for the agent");
    assert_eq!(h.api.message(ANN, asked.id()).unwrap().text(), "Your name?");
    h.api.user_writes(ANN, "[[say:next]]");
    h.api.wait_text(ANN, "next");
    h.api.assert_clean();
}

#[test]
fn in_a_group_only_who_is_answered_may_answer_and_a_text_only_as_a_reply() {
    let h = House::new(json!({"streamMode": "off", "groupPolicy": "open", "groups": {"*": {"requireMention": false}}}));
    h.api.privacy(false);
    h.api.add_forum(GROUP, "Forum", &[(3, "three")]);
    let said = h.api.user_says(GROUP, BOB).topic(3).text("[[ui:select Which?|a|b]] [[ui:input Why?]]").send();
    let asked = h.api.wait_text(GROUP, "Which?");
    assert_eq!((asked.topic(), asked.reply_to()), (Some(3), Some(said.message_id)));
    assert_eq!(press(&h, GROUP, ANN, asked.id(), "a"), "Not for you.");
    assert_eq!(press(&h, GROUP, BOB, asked.id(), "b"), "");
    let asked = h.api.wait_text(GROUP, "Why?");
    h.settled(); // its id is known
    h.api.user_says(GROUP, ANN).topic(3).reply_to(asked.id()).text("because of Ann").send();
    h.api.user_says(GROUP, BOB).topic(3).reply_to(asked.id()).text("because of Bob").send();
    h.api.wait_message(GROUP, |m| m.text().contains("because of Bob"));
    h.api.assert_clean();
}

/// A forum in which everybody may write.
fn forum() -> House {
    let h = House::new(json!({"streamMode": "off", "groupPolicy": "open", "groups": {"*": {"requireMention": false}}}));
    h.api.privacy(false);
    h.api.add_forum(GROUP, "Forum", &[(3, "three")]);
    h
}

#[test]
fn given_a_reply_to_a_question_before_it_is_known_which_message_that_is_then_it_is_the_answer() {
    let h = forum();
    let rule = h.api.trouble(Rule::on("sendMessage", Trouble::HoldAnswer).chat(GROUP));
    let said = h.api.user_says(GROUP, BOB).topic(3).text("[[ui:input Why?]]").send();
    let asked = h.api.wait_text(GROUP, "Why?");
    h.api.user_says(GROUP, BOB).topic(3).reply_to(said.message_id).text("something else").send();
    let answer = h.api.user_says(GROUP, BOB).topic(3).reply_to(asked.id()).text("because").send();
    h.api.wait_confirmed(answer.update_id.unwrap());
    h.api.release(rule);
    h.api.wait_message(GROUP, |m| m.text().contains("ui: because"));
    h.settled();
    let prompts = h.pi.prompts();
    assert!(prompts.len() == 2 && prompts[1].contains("something else"), "{prompts:?}");
    h.api.assert_clean();
}

#[test]
fn given_a_reply_to_another_message_while_a_question_is_sent_then_it_is_a_message() {
    let h = forum();
    let other = h.api.user_says(GROUP, ANN).topic(3).text("[[say:hello]]").send();
    h.api.wait_text(GROUP, "hello");
    let rule = h.api.trouble(Rule::on("sendMessage", Trouble::HoldAnswer).chat(GROUP));
    h.api.user_says(GROUP, BOB).topic(3).text("[[ui:input Why?]]").send();
    let asked = h.api.wait_text(GROUP, "Why?");
    let said = h.api.user_says(GROUP, BOB).topic(3).reply_to(other.message_id).text("not meant for you").send();
    h.api.wait_confirmed(said.update_id.unwrap());
    h.api.release(rule);
    h.g.wait_until("the agent hears of it", |_| h.pi.prompts().iter().any(|p| p.contains("not meant for you")));
    h.api.user_says(GROUP, BOB).topic(3).reply_to(asked.id()).text("because").send();
    h.api.wait_message(GROUP, |m| m.text().contains("ui: because"));
    h.api.assert_clean();
}

#[test]
fn an_answer_on_the_page_closes_the_question_in_the_chat() {
    let h = house();
    let mut page = h.g.page(SESSION);
    h.api.user_writes(ANN, "[[ui:select Which?|a|b]]");
    let asked = h.api.wait_text(ANN, "Which?");
    let dialog = page.event("extension_ui_request")["payload"].clone();
    page.call("extension_ui_response", json!({"id": dialog["id"], "value": "a"}));
    h.api.wait_text(ANN, "ui: a");
    until(&h, ANN, asked.id(), |m| m.text() == "Which?\n(answered elsewhere)" && m.buttons().is_empty());
    h.api.assert_clean();
}

#[test]
fn a_page_that_is_opened_after_the_question_gets_it_too() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:select Which?|a|b]]");
    h.api.wait_text(ANN, "Which?");
    let mut page = h.g.page(SESSION);
    let dialog = page.event("extension_ui_request")["payload"].clone();
    assert_eq!((dialog["sessionKey"].as_str(), dialog["title"].as_str()), (Some(SESSION), Some("Which?")));
    page.call("extension_ui_response", json!({"id": dialog["id"], "value": "b"}));
    h.api.wait_text(ANN, "ui: b");
    h.api.assert_clean();
}

#[test]
fn a_question_that_nobody_answers_is_cancelled_in_time_and_says_so() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:select timeout=2000 Which?|a|b]]");
    let asked = h.api.wait_text(ANN, "Which?");
    h.api.wait_text(ANN, "ui: cancelled");
    until(&h, ANN, asked.id(), |m| m.text() == "⏰ Which?\n(timed out)" && m.buttons().is_empty());
    h.api.assert_clean();
}

#[test]
fn given_more_options_than_a_message_can_have_buttons_then_they_are_on_pages() {
    let h = house();
    let options: Vec<String> = (0..150).map(|n| format!("option {n}")).collect();
    h.api.user_writes(ANN, &format!("[[ui:select Which?|{}]]", options.join("|")));
    let asked = h.api.wait_text(ANN, "Which?");
    press(&h, ANN, ANN, asked.id(), "▶");
    until(&h, ANN, asked.id(), |m| texts(m).contains(&"option 149".to_owned()));
    press(&h, ANN, ANN, asked.id(), "option 149");
    h.api.wait_text(ANN, "ui: option 149");
    h.api.assert_clean();
}

#[test]
fn what_an_extension_notifies_of_is_a_plain_message() {
    let h = house();
    h.api.user_writes(ANN, "[[ui:notify the build is green]] [[say:done]]");
    h.api.wait_text(ANN, "done");
    assert_eq!(h.said(ANN), ["the build is green", "done"]);
    h.api.assert_clean();
}

#[test]
fn a_tool_s_keyboard_is_answered_with_the_button_that_was_pressed() {
    let h = house();
    h.api.user_writes(ANN, &keyboard("**Go on?** a < b", 60_000));
    let asked = h.api.wait_text(ANN, "Go on? a < b");
    assert_eq!(asked.parts("bold"), ["Go on?"]);
    press(&h, ANN, ANN, asked.id(), "Yes *now*");
    let told = h.api.wait_message(ANN, |m| m.text().contains("selected"));
    assert!(
        told.text().contains(r#""id":"y""#) && told.text().contains(&format!(r#""messageId":{}"#, asked.id())),
        "{}",
        told.text()
    );
    until(&h, ANN, asked.id(), |m| m.text() == "Go on? a < b\n\n✅ Yes *now*" && m.buttons().is_empty());
    h.api.assert_clean();
}

#[test]
fn a_keyboard_that_nobody_presses_times_out() {
    let h = house();
    h.api.user_writes(ANN, &keyboard("Go on?", 5_000));
    let asked = h.api.wait_text(ANN, "Go on?");
    h.api.wait_message(ANN, |m| m.text().contains(r#""error":"timeout""#));
    until(&h, ANN, asked.id(), |m| m.text() == "⏰ Go on?\n(timed out)" && m.buttons().is_empty());
    h.api.assert_clean();
}

#[test]
fn c37_given_an_open_keyboard_or_dialog_then_stop_ends_the_turn_at_once_and_shows_it() {
    let h = house();
    for ask in [keyboard("Go on?", 60_000), "[[ui:select Go on?|a]]".to_owned()] {
        h.api.user_writes(ANN, &ask);
        let asked = h.api.wait_text(ANN, "Go on?");
        let begun = Instant::now();
        h.api.user_writes(ANN, "/stop");
        until(&h, ANN, asked.id(), |m| m.text() == "Go on?\n(cancelled)" && m.buttons().is_empty());
        h.api.wait_message(ANN, |m| m.id() > asked.id() && m.text() == "Stopped.");
        h.settled();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        h.api.user_deletes(ANN, asked.id());
    }
    h.api.user_writes(ANN, "[[say:next]]");
    h.api.wait_text(ANN, "next");
    h.api.assert_clean();
}

#[test]
fn given_a_kill_while_the_agent_asks_then_the_message_says_that_it_was_interrupted() {
    let mut h = house();
    h.api.user_writes(ANN, "[[ui:select Which?|a]]");
    let asked = h.api.wait_text(ANN, "Which?");
    h.settled();
    h.g.kill9();
    h.g.restart();
    until(&h, ANN, asked.id(), |m| m.text() == "Which?\n(interrupted)" && m.buttons().is_empty());
    let query = h.api.user_presses_data(ANN, ANN, asked.id(), &asked.buttons()[0].1);
    assert_eq!(h.api.wait_answer(&query).answer.as_deref(), Some("Expired"));
}
