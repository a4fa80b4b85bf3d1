use serde_json::json;

use crate::house::{House, ANN};

const STRANGER: i64 = 99;
const GROUP: i64 = -100;

#[test]
fn a_stranger_gets_a_pairing_code_once_and_nothing_else() {
    let h = House::new(json!({}));
    for text in ["hello", "/status", "let me in"] {
        h.api.user_writes(STRANGER, text);
    }
    let told = h.api.wait_message(STRANGER, |m| m.text().starts_with("Pairing required."));
    let code = told.parts("code");
    assert!(code[0].len() == 8 && code[0].bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()), "{code:?}");
    let last = h.api.user_writes(ANN, "[[say:for Ann]]");
    h.api.wait_text(ANN, "for Ann");
    h.api.wait_confirmed(last.update_id.unwrap());
    assert_eq!(h.said(STRANGER).len(), 1);
    assert_eq!(h.pi.prompts().len(), 1, "the agent never saw the stranger");
    h.api.assert_clean();
}

#[test]
fn in_a_group_the_bot_answers_who_speaks_to_it_as_a_reply() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    h.api.user_says(GROUP, ANN).text("nobody asked [[say:no]]").send();
    let said = h.api.user_says(GROUP, ANN).text("@Fake_Gateway_Bot [[say:here I am]]").send();
    let answer = h.api.wait_text(GROUP, "here I am");
    assert_eq!(answer.reply_to(), Some(said.message_id));
    assert_eq!(h.said(GROUP), ["here I am"]);
    // Lists call the conversation what people call it.
    let list = h.g.get("/api/sessions").json();
    let group = list["sessions"].as_array().unwrap().iter().find(|s| s["lastChatType"] == "group").cloned();
    let group = group.unwrap_or_else(|| panic!("{list}"));
    assert_eq!((&group["lastChatName"], &group["name"]), (&json!("The group"), &json!("The group · Telegram")));
    assert!(h.pi.prompts()[0].starts_with(&format!("[group:{GROUP} | from:")), "{:?}", h.pi.prompts());
    h.api.assert_clean();
}

#[test]
fn an_answer_stays_in_its_topic_and_general_has_no_number() {
    let h = House::new(json!({"streamMode": "off", "groups": {"*": {"requireMention": false}}}));
    h.api.privacy(false);
    h.api.add_forum(GROUP, "Forum", &[(3, "three")]);
    h.api.user_says(GROUP, ANN).topic(3).text("[[say:in three]]").send();
    h.api.user_says(GROUP, ANN).text("[[say:in general]]").send();
    assert_eq!(h.api.wait_text(GROUP, "in three").topic(), Some(3));
    assert_eq!(h.api.wait_text(GROUP, "in general").topic(), None);
    h.api.assert_clean();
}

#[test]
fn a_plain_command_in_a_group_is_for_the_bot_and_what_was_said_before_is_context_if_wanted() {
    let h = House::new(json!({"streamMode": "off", "groups": {"*": {"historyLimit": 2}}}));
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    h.api.user_says(GROUP, ANN).text("/whoami").send();
    h.api.wait_message(GROUP, |m| m.text().starts_with("Sender 7"));
    for text in ["one", "two", "three"] {
        h.api.user_says(GROUP, ANN).text(text).send();
    }
    h.api.user_says(GROUP, ANN).text("@fake_gateway_bot [[say:done]]").send();
    h.api.wait_text(GROUP, "done");
    let prompt = &h.pi.prompts()[0];
    assert!(
        prompt.contains("not to you]\n") && prompt.contains(": two\n") && prompt.contains(": three\n\n"),
        "{prompt}"
    );
    assert!(!prompt.contains(": one"));
    h.api.assert_clean();
}

#[test]
fn a_stranger_who_asks_is_told_their_number_once() {
    let h = House::new(json!({}));
    for _ in 0..3 {
        h.api.user_writes(STRANGER, "/whoami");
    }
    h.api.wait_text(STRANGER, "Sender 99 on telegram.");
    h.api.user_writes(STRANGER, "hello");
    h.api.wait_message(STRANGER, |m| m.text().starts_with("Pairing required."));
    assert_eq!(h.said(STRANGER).len(), 2);
    let h = House::new(json!({"dmPolicy": "allowlist"}));
    h.api.user_writes(STRANGER, "/whoami");
    h.api.user_writes(ANN, "[[say:for Ann]]");
    h.api.wait_text(ANN, "for Ann");
    assert!(h.said(STRANGER).is_empty(), "nobody is answered there");
}
