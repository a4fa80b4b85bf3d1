//! Messages that come in parts, and change (telegram.md 8.7, 8.9, 8.10).

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble, PIXEL};

const GROUP: i64 = -100;

fn house() -> House {
    House::new(json!({"streamMode": "off"}))
}

fn states(h: &House) -> Vec<String> {
    let db = rusqlite::Connection::open(h.g.data().join("gateway.db")).unwrap();
    let mut q = db.prepare("SELECT state FROM inbox ORDER BY id").unwrap();
    let rows = q.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>();
    rows.unwrap()
}

fn album(h: &House, chat: i64, captions: &[&str]) -> i64 {
    let album = h.api.album();
    let mut last = None;
    for caption in captions {
        let say = h.api.user_says(chat, ANN).photo(PIXEL).in_album(&album);
        last = if caption.is_empty() { say.send() } else { say.text(caption).send() }.update_id;
    }
    last.unwrap()
}

#[test]
fn an_album_is_one_turn_with_all_its_pictures() {
    let h = house();
    album(&h, ANN, &["look [[show:images]]", "", "and here"]);
    h.api.wait_text(ANN, "images: 3");
    assert_eq!(h.pi.prompts().len(), 1);
    let prompt = &h.pi.prompts()[0];
    assert!(
        prompt.contains("[media attached: 3 images]\nlook [[show:images]]\n\nand here\n\n[Photo saved"),
        "{prompt}"
    );
    h.settled();
    assert_eq!(states(&h), ["answered", "merged", "merged"]);
    album(&h, ANN, &["", ""]);
    h.g.wait_until("the second album", |_| h.pi.prompts().len() == 2);
    assert!(h.pi.prompts()[1].contains("[media attached: 2 images]\n(album)\n\n"), "{}", h.pi.prompts()[1]);
    h.api.assert_clean();
}

#[test]
fn in_a_group_one_mention_admits_the_album_and_none_refuses_it_whole() {
    let h = house();
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    album(&h, GROUP, &["nothing for you", ""]);
    h.g.wait_until("it is refused", |_| states(&h) == ["refused", "refused"]);
    assert!(h.api.calls("getFile").is_empty(), "what is not let in is not downloaded");
    album(&h, GROUP, &["", "@fake_gateway_bot see [[show:images]]"]);
    h.api.wait_text(GROUP, "images: 2");
    assert_eq!(h.pi.prompts().len(), 1);
    h.api.assert_clean();
}

#[test]
fn given_a_kill_while_an_album_is_collected_then_it_is_decided_afterwards() {
    let mut h = house();
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    let last = album(&h, GROUP, &["", "@fake_gateway_bot see [[show:images]]"]);
    h.api.wait_confirmed(last);
    h.g.kill9();
    h.g.restart();
    h.api.wait_text(GROUP, "images: 2");
    h.settled();
    assert_eq!((h.pi.prompts().len(), h.said(GROUP).len()), (1, 1));
}

#[test]
fn a_text_that_the_client_has_split_is_one_again() {
    let h = house();
    let long = format!("[[say:whole]] {}", "a".repeat(4_080));
    h.api.user_writes(ANN, &long);
    h.api.user_writes(ANN, &"b".repeat(4_096));
    h.api.user_writes(ANN, "the end");
    h.api.wait_text(ANN, "whole");
    assert_eq!(h.pi.prompts().len(), 1);
    assert!(h.pi.prompts()[0].ends_with("bthe end"), "joined without a gap");
    h.settled();
    assert_eq!(states(&h), ["answered", "merged", "merged"]);
}

#[test]
fn a_long_text_in_a_group_goes_on_without_another_mention() {
    let h = house();
    h.api.privacy(false);
    h.api.add_supergroup(GROUP, "The group");
    h.api.user_says(GROUP, ANN).text(&format!("@fake_gateway_bot [[say:all]] {}", "a".repeat(4_050))).send();
    h.api.user_says(GROUP, ANN).text("the rest").send();
    h.api.wait_text(GROUP, "all");
    assert!(h.pi.prompts()[0].ends_with("athe rest"));
}

#[test]
fn a_burst_of_forwards_and_its_comment_are_one_turn() {
    let mut h = house();
    h.g.kill9(); // so that all of it comes in one batch
    let origin = || json!({"type": "hidden_user", "sender_user_name": "Bo"});
    h.api.user_writes(ANN, "what do you say? [[say:a lot]]");
    h.api.user_says(ANN, ANN).text("one").forwarded(origin()).send();
    h.api.user_says(ANN, ANN).text("two").forwarded(origin()).send();
    h.g.restart();
    h.api.wait_text(ANN, "a lot");
    assert_eq!(h.pi.prompts().len(), 1, "{:?}", h.pi.prompts());
    let prompt = &h.pi.prompts()[0];
    let at = |text: &str| prompt.find(text).unwrap_or_else(|| panic!("no {text} in {prompt}"));
    assert!(at("what do you say?") < at("[Forwarded | from: Bo") && at("one") < at("two"), "{prompt}");
}

#[test]
fn texts_typed_one_after_the_other_are_joined_if_that_is_wanted() {
    let h = House::new(json!({"streamMode": "off", "debounceMs": 2000}));
    h.api.user_writes(ANN, "one");
    h.api.user_writes(ANN, "two [[say:both]]");
    h.api.wait_text(ANN, "both");
    assert_eq!(h.pi.prompts().len(), 1);
    assert!(h.pi.prompts()[0].contains("\none\n\ntwo "), "{}", h.pi.prompts()[0]);
}

#[test]
fn an_edit_counts_while_the_message_waits_and_not_later() {
    let h = house();
    let held = h.api.trouble(Rule::on("file", Trouble::Hold).times(1));
    let waiting = h.api.user_says(ANN, ANN).photo(PIXEL).text("tpyo [[say:second]]").send();
    h.api.wait_confirmed(waiting.update_id.unwrap());
    let edit = h.api.user_edits(ANN, waiting.message_id, "typo [[say:second]]");
    h.api.wait_confirmed(edit.update_id.unwrap());
    h.api.release(held);
    h.api.wait_text(ANN, "second");
    let prompt = h.pi.prompts().pop().unwrap();
    assert!(prompt.contains("typo") && !prompt.contains("tpyo"), "{prompt}");
    h.settled();
    let late = h.api.user_edits(ANN, waiting.message_id, "too late [[say:no]]");
    h.api.wait_confirmed(late.update_id.unwrap());
    h.api.user_writes(ANN, "[[say:third]]");
    h.api.wait_text(ANN, "third");
    assert_eq!(h.said(ANN), ["second", "third"]);
}

#[test]
fn an_answered_message_is_said_again_after_an_edit_only_if_it_says_something_else() {
    let h = House::new(json!({"streamMode": "off", "editedMessages": "resend"}));
    let said = h.api.user_writes(ANN, "[[say:one]]");
    h.api.wait_text(ANN, "one");
    h.settled();
    let same = h.api.user_edits(ANN, said.message_id, "[[say:one]]");
    h.api.wait_confirmed(same.update_id.unwrap());
    h.api.user_edits(ANN, said.message_id, "[[say:another]]");
    h.api.wait_text(ANN, "another");
    assert_eq!(h.said(ANN), ["one", "another"]);
    assert!(h.pi.prompts()[1].contains("\n[Edited message] [[say:another]]"), "{}", h.pi.prompts()[1]);
    assert_eq!(h.pi.prompts().len(), 2);
}
