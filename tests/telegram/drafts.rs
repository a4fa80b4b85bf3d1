//! Answers that grow as native drafts, or come paragraph by paragraph.

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};

#[test]
fn an_answer_grows_as_a_draft_and_is_sent_once() {
    let h = House::new(json!({"streamMode": "draft", "draftChunk": {"editThrottleMs": 250}}));
    h.api.user_writes(ANN, "[[say:the first **half**]] [[gate:half]] [[say: and the rest]]");
    h.pi.wait_gate("half");
    let call = h.api.wait_call(|c| c.method == "sendMessageDraft" && c.params["text"].to_string().contains("half"));
    assert_eq!(call.params["can_stop"], true);
    assert!(h.said(ANN).is_empty());
    h.pi.open("half");
    h.api.wait_message(ANN, |m| m.text().contains("the rest"));
    h.settled();
    assert_eq!((h.said(ANN).len(), h.api.edit_count(ANN)), (1, 0));
    h.api.assert_clean();
}

#[test]
fn where_drafts_are_refused_a_message_grows_instead() {
    let h = House::new(json!({"streamMode": "auto", "draftChunk": {"editThrottleMs": 250}}));
    h.api.trouble(Rule::on("sendMessageDraft", Trouble::bad("TEXTDRAFT_PEER_INVALID")).always());
    h.api.user_writes(ANN, "[[say:half]] [[gate:half]] [[say: and the rest]]");
    h.pi.wait_gate("half");
    h.api.wait_message(ANN, |m| m.text() == "half ▌");
    h.pi.open("half");
    h.api.wait_message(ANN, |m| m.text().contains("the rest") && !m.text().contains('▌'));
    assert_eq!((h.said(ANN).len(), h.api.calls("sendMessageDraft").len()), (1, 1), "asked once");
}

#[test]
fn the_stop_button_of_a_draft_ends_the_answer() {
    let h = House::new(json!({"streamMode": "draft", "draftChunk": {"editThrottleMs": 250}}));
    h.api.user_writes(ANN, "[[say:half]] [[gate:never]] [[say: more]]");
    let call = h.api.wait_call(|c| c.method == "sendMessageDraft" && c.params["text"].to_string().contains("half"));
    h.api.user_stops(ANN, call.params["draft_id"].as_i64().unwrap());
    h.api.wait_message(ANN, |m| m.text().contains("(stopped)"));
    h.api.assert_clean();
}

#[test]
fn paragraphs_come_one_by_one_and_the_end_brings_only_the_rest() {
    let h = House::new(json!({"streamMode": "block", "draftChunk": {"editThrottleMs": 250}}));
    h.api.user_writes(ANN, "[[say:one **bold**\\n\\ntwo\\n\\nthr]] [[gate:half]] [[say:ee]]");
    h.pi.wait_gate("half");
    h.api.wait_message(ANN, |m| m.text().contains("two"));
    h.settled();
    assert!(h.said(ANN).iter().all(|text| !text.contains("thr")), "what is not finished waits: {:?}", h.said(ANN));
    h.pi.open("half");
    h.api.wait_message(ANN, |m| m.text().contains("thr"));
    h.settled();
    let all = h.said(ANN).join("\n\n");
    assert_eq!((all.matches("one bold").count(), all.matches("two").count()), (1, 1), "{all}");
    assert_eq!(h.api.edit_count(ANN), 0);
    let whole = h.g.history(crate::outbound::ANNS).pop().unwrap().1;
    assert!(whole.starts_with("one **bold**\n\ntwo"), "the history has it in one: {whole}");
    h.api.assert_clean();
}
