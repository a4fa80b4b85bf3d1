use serde_json::json;

use crate::house::{House, ANN};

#[test]
fn an_answer_grows_in_one_message_and_ends_as_the_reply() {
    let h = House::new(json!({"draftChunk": {"editThrottleMs": 250}}));
    h.api.user_writes(ANN, "[[say:the first **half**]] [[gate:half]] [[say: and the rest]]");
    h.pi.wait_gate("half");
    let growing = h.api.wait_message(ANN, |m| m.text() == "the first half ▌");
    h.pi.open("half");
    let end = h.api.wait_message(ANN, |m| m.text().contains("the rest") && !m.text().contains('▌'));
    assert_eq!(growing.id(), end.id(), "the same message");
    assert_eq!(h.said(ANN).len(), 1);
    assert!(!h.api.actions(ANN).is_empty(), "somebody was typing");
    h.api.assert_clean();
}

#[test]
fn a_short_answer_needs_no_edit() {
    let h = House::new(json!({"draftChunk": {"editThrottleMs": 5000}}));
    h.api.user_writes(ANN, "[[say:quick]]");
    h.api.wait_text(ANN, "quick");
    assert_eq!((h.api.sent_count(ANN), h.api.edit_count(ANN)), (1, 0));
    h.api.assert_clean();
}

#[test]
fn c12_given_a_kill_while_it_grows_then_the_same_message_is_finished() {
    let mut h = House::new(json!({"draftChunk": {"editThrottleMs": 250}}));
    h.api.user_writes(ANN, "[[say:half an answer]] [[gate:half]] [[say: the rest]]");
    h.pi.wait_gate("half");
    let growing = h.api.wait_message(ANN, |m| m.text().starts_with("half an answer"));
    h.counts("SELECT count(*) FROM live", 1); // before that nobody could find the message again
    h.g.kill9();
    h.g.restart();
    // The stand-in echoes what it is prompted with to go on.
    let end = h.api.wait_message(ANN, |m| m.text().contains("still needs its answer") && !m.text().contains('▌'));
    assert_eq!(growing.id(), end.id());
    assert_eq!(h.said(ANN).len(), 1);
    h.api.assert_clean();
}
