//! Answers that take more messages than people want to get.

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};

/// Whole lines, so that nothing is lost at the cuts.
fn lines(n: usize) -> String {
    (0..n).map(|n| format!("line {n} of **many**\\n")).collect()
}

fn house(most: u64) -> House {
    let h = House::new(json!({"streamMode": "off", "textChunkLimit": 1000}));
    h.g.reconfigure(json!({"delivery": {"maxChunks": most}}));
    h.g.wait_log("configuration reloaded");
    h
}

/// Kinds of the bot's messages, and the bytes of its file.
fn sent(h: &House) -> (Vec<&'static str>, Option<String>) {
    let all: Vec<_> = h.api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted).collect();
    let file = all.iter().find_map(|m| h.api.file(m.file_id()?));
    let kinds = all.iter().map(|m| m.media().unwrap_or("text")).collect();
    (kinds, file.map(|data| String::from_utf8(data).unwrap()))
}

#[test]
fn an_answer_of_too_many_messages_is_its_first_one_and_a_file_of_all_of_it() {
    let h = house(3);
    h.api.user_writes(ANN, &format!("[[say:{}]]", lines(300)));
    let file = h.api.wait_message(ANN, |m| m.media() == Some("document"));
    h.settled();
    assert_eq!(file.api["document"]["file_name"], Value::from("answer.md"));
    let (kinds, text) = sent(&h);
    assert_eq!(kinds, ["text", "document"]);
    assert_eq!(
        text.unwrap().lines().collect::<Vec<_>>(),
        lines(300).split("\\n").filter(|l| !l.is_empty()).collect::<Vec<_>>()
    );
    h.api.user_deletes(ANN, file.id());
    h.api.user_writes(ANN, &format!("[[say:{}]]", lines(80)));
    h.api.wait_message(ANN, |m| m.text().contains("line 79 of many"));
    h.settled();
    assert!(!sent(&h).0.contains(&"document"), "that many are fine");
    h.api.assert_clean();
}

#[test]
fn given_that_the_answer_grew_in_many_messages_then_those_make_room_for_the_file() {
    let h = House::new(json!({"draftChunk": {"editThrottleMs": 250}}));
    h.g.reconfigure(json!({"delivery": {"maxChunks": 2}}));
    h.g.wait_log("configuration reloaded");
    h.api.user_writes(ANN, &format!("[[say:{}]] [[gate:g]] [[say:end]]", lines(600)));
    h.pi.wait_gate("g");
    h.api.wait_messages(ANN, |all| all.iter().filter(|m| m.bot.is_some()).count() > 2);
    h.pi.open("g");
    h.api.wait_message(ANN, |m| m.media() == Some("document"));
    h.settled();
    let (kinds, text) = sent(&h);
    assert_eq!(kinds, ["text", "document"]);
    assert!(text.unwrap().trim_end().ends_with("end"));
    h.api.assert_clean();
}

#[test]
fn given_a_kill_before_the_file_went_then_it_goes_once() {
    let mut h = house(2);
    let restart = Trouble::Refuse(500, "Internal Server Error: restart".into(), Value::Null);
    h.api.trouble(Rule::on("sendDocument", restart).always());
    h.api.user_writes(ANN, &format!("[[say:{}]]", lines(300)));
    h.api.wait_calls("sendDocument", 1);
    h.g.kill9();
    h.api.clear_troubles();
    h.g.restart();
    h.api.wait_message(ANN, |m| m.media() == Some("document"));
    h.settled();
    let (kinds, text) = sent(&h);
    assert_eq!(kinds, ["text", "document"]);
    assert!(text.unwrap().contains("line 299 of"));
}
