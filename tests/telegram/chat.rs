use serde_json::json;

use crate::house::{House, ANN};

#[test]
fn a_private_message_is_answered_once_with_markdown_and_no_protocol_violation() {
    let h = House::new(json!({"streamMode": "off"}));
    let said = h.api.user_writes(ANN, "hello [[say:**bold** and `code`]]");
    let answer = h.api.wait_text(ANN, "bold and code");
    assert_eq!(answer.parts("bold"), ["bold"]);
    assert_eq!(answer.parts("code"), ["code"]);
    h.api.wait_confirmed(said.update_id.unwrap());
    assert_eq!(h.said(ANN), ["bold and code"]);
    assert!(h.pi.prompts()[0].starts_with(&format!("[msgId:{}", said.message_id)), "{:?}", h.pi.prompts());
    h.api.assert_clean();
}

#[test]
fn messages_of_one_chat_are_answered_in_order_and_a_command_at_once() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[gate:one]] [[say:first]]");
    h.pi.wait_gate("one");
    let said = h.api.user_writes(ANN, "/whoami");
    let answer = h.api.wait_message(ANN, |m| m.text().starts_with("Sender 7 on telegram"));
    assert_eq!(answer.reply_to(), None, "in private it is plain who is answered");
    h.api.wait_confirmed(said.update_id.unwrap());
    h.pi.open("one");
    h.api.wait_text(ANN, "first");
    h.api.user_writes(ANN, "[[say:second]]");
    h.api.wait_text(ANN, "second");
    let said = h.said(ANN);
    assert_eq!(said[1..], ["first", "second"]);
    h.api.assert_clean();
}

#[test]
fn a_long_answer_comes_in_pieces_that_lose_nothing_and_break_no_code() {
    let h = House::new(json!({"streamMode": "off"}));
    let lines: String = (0..700).map(|n| format!("line {n}\\n")).collect();
    h.api.user_writes(ANN, &format!("[[say:before\\n\\n```rust\\n{lines}```\\n\\nafter]]"));
    let all = h.api.wait_messages(ANN, |all| all.iter().any(|m| m.text().ends_with("after")));
    let pieces: Vec<_> = all.iter().filter(|m| m.bot.is_some()).collect();
    assert!(pieces.len() > 1);
    let code: Vec<String> = pieces.iter().flat_map(|m| m.parts("pre")).collect();
    let whole = code.join("\n");
    assert_eq!(whole.lines().count(), 700, "{}", whole.lines().count());
    h.api.assert_clean();
}

#[test]
fn given_a_kill_and_a_restart_then_what_came_meanwhile_is_answered_once() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[say:one]]");
    h.api.wait_text(ANN, "one");
    h.settled();
    h.g.kill9();
    h.api.user_writes(ANN, "[[say:two]]");
    h.g.restart();
    h.api.wait_text(ANN, "two");
    h.settled();
    h.g.kill9();
    h.g.restart();
    h.api.user_writes(ANN, "[[say:three]]");
    h.api.wait_text(ANN, "three");
    assert_eq!(h.said(ANN), ["one", "two", "three"]);
    h.api.assert_clean();
}

#[test]
fn somebody_is_typing_as_soon_as_a_message_is_accepted_and_not_after_its_answer() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:done]]");
    h.api.wait_calls("sendChatAction", 1);
    h.pi.wait_gate("g");
    h.pi.open("g");
    h.api.wait_text(ANN, "done");
    h.settled();
    let calls = h.api.all_calls();
    let last = calls.iter().rposition(|c| c.method == "sendChatAction").unwrap();
    let answer = calls.iter().position(|c| c.method == "sendMessage").unwrap();
    assert!(last < answer);
    h.api.assert_clean();
}
