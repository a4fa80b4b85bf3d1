//! What belongs to a message that is one of several, and what a message replies to.

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::PIXEL;

fn pictures(h: &House) {
    for name in ["a.png", "b.png"] {
        let path = h.g.data().parent().unwrap().join("work").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, PIXEL).unwrap();
    }
}

/// The agent's pictures of an answer, by their ids.
fn album(h: &House) -> Vec<i64> {
    h.api.user_writes(ANN, "[[say:Look:\\nMEDIA:a.png\\nMEDIA:b.png]]");
    let all = h
        .api
        .wait_messages(ANN, |all| all.iter().filter(|m| m.media() == Some("photo") && m.bot.is_some()).count() == 2);
    h.settled();
    all.iter().filter(|m| m.bot.is_some() && m.media() == Some("photo")).map(|m| m.id()).collect()
}

#[test]
fn a_reaction_to_the_second_picture_of_an_answer_is_one_to_the_bot() {
    let h = House::new(json!({"streamMode": "off", "reactionLevel": "minimal", "reactionNotifications": "own"}));
    pictures(&h);
    let ids = album(&h);
    h.api.user_reacts(ANN, ANN, ids[1], &["🔥"]);
    h.g.wait_until("the agent hears of it", |_| h.pi.prompts().len() > 1);
    let told = format!(": 🔥 on message {}: \"Look:\"", ids[1]);
    assert!(h.pi.prompts()[1].contains(&told), "{:?}", h.pi.prompts());
}

#[test]
fn a_reaction_to_the_second_piece_of_an_answer_is_one_to_the_bot() {
    let h = House::new(json!({
        "streamMode": "off", "textChunkLimit": 300, "reactionLevel": "minimal", "reactionNotifications": "own",
    }));
    let lines: String = (0..60).map(|n| format!("line {n}\\n")).collect();
    h.api.user_writes(ANN, &format!("[[say:{lines}]]"));
    let last = h.api.wait_message(ANN, |m| m.text().ends_with("line 59"));
    h.settled();
    h.api.user_reacts(ANN, ANN, last.id(), &["🔥"]);
    h.g.wait_until("the agent hears of it", |_| h.pi.prompts().len() > 1);
    let told = format!(": 🔥 on message {}: \"line 0\"", last.id());
    assert!(h.pi.prompts()[1].contains(&told), "{:?}", h.pi.prompts());
}

#[test]
fn a_reply_to_the_bot_is_quoted_only_to_a_conversation_that_does_not_know_what_it_said() {
    let h = House::new(json!({"streamMode": "off", "editedMessages": "resend"}));
    pictures(&h);
    let ids = album(&h);
    let nice = h.api.user_says(ANN, ANN).reply_to(ids[1]).text("nice [[say:thanks]]").send();
    let thanks = h.api.wait_text(ANN, "thanks");
    h.settled();
    assert!(!h.pi.prompts()[1].contains("[Reply to]"), "{:?}", h.pi.prompts());
    h.api.user_writes(ANN, "/new");
    let reset = h.api.wait_message(ANN, |m| m.id() > thanks.id() && m.bot.is_some());
    h.settled();
    // An edit that changes nothing is none, also where the quote would be another.
    let same = h.api.user_edits(ANN, nice.message_id, "nice [[say:thanks]]");
    h.api.wait_confirmed(same.update_id.unwrap());
    h.api.user_says(ANN, ANN).reply_to(thanks.id()).text("for what? [[say:hm]]").send();
    h.api.wait_text(ANN, "hm");
    assert!(h.pi.prompts()[2].contains("[Reply to] thanks\nfor what?"), "{:?}", h.pi.prompts());
    // Words of the gateway itself the agent never knows.
    h.api.user_says(ANN, ANN).reply_to(reset.id()).text("why? [[say:so]]").send();
    h.api.wait_text(ANN, "so");
    assert!(h.pi.prompts()[3].contains(&format!("[Reply to] {}\nwhy?", reset.text())), "{:?}", h.pi.prompts());
}

#[test]
fn an_edit_of_the_second_picture_s_caption_finds_its_message() {
    let h = House::new(json!({"streamMode": "off", "editedMessages": "resend"}));
    let group = h.api.album();
    h.api.user_says(ANN, ANN).photo(PIXEL).in_album(&group).text("first").send();
    let second = h.api.user_says(ANN, ANN).photo(PIXEL).in_album(&group).text("second [[say:seen]]").send();
    h.api.wait_text(ANN, "seen");
    h.settled();
    let same = h.api.user_edits(ANN, second.message_id, "second [[say:seen]]");
    h.api.wait_confirmed(same.update_id.unwrap());
    h.api.user_edits(ANN, second.message_id, "now [[say:changed]]");
    h.api.wait_text(ANN, "changed");
    let prompts = h.pi.prompts();
    assert!(prompts.len() == 2 && prompts[1].contains("[Edited message] now"), "{prompts:?}");
}

#[test]
fn a_sticker_that_came_before_is_not_fetched_again() {
    let mut h = House::new(json!({"streamMode": "off"}));
    let said = h.api.user_says(ANN, ANN).sticker("🙂", "Cats", b"RIFF....WEBPVP8 ").send();
    h.api.wait_message(ANN, |m| m.bot.is_some());
    h.settled();
    let sticker = h.api.message(ANN, said.message_id).unwrap().api["sticker"].clone();
    h.g.kill9();
    h.g.restart();
    let before = h.api.all_calls().iter().filter(|c| c.method == "getFile").count();
    assert_eq!(before, 1);
    h.api.user_says(ANN, ANN).field("sticker", sticker.clone()).send();
    h.g.wait_until("it reaches the agent", |_| h.pi.prompts().len() > 1);
    assert_eq!(h.api.calls("getFile").len(), 1);
    let prompts = h.pi.prompts();
    let place = |p: &str| p.split("File saved to: ").nth(1).unwrap().split(']').next().unwrap().to_owned();
    assert_eq!(place(&prompts[0]), place(&prompts[1]));
    // Gone from the disk: once more.
    std::fs::remove_file(place(&prompts[0])).unwrap();
    h.api.user_says(ANN, ANN).field("sticker", sticker).send();
    h.g.wait_until("it reaches the agent", |_| h.pi.prompts().len() > 2);
    assert_eq!(h.api.calls("getFile").len(), 2);
}

#[test]
fn an_edit_of_one_part_changes_the_whole_as_long_as_that_waits() {
    let h = House::new(json!({"streamMode": "off", "groups": {"*": {"requireMention": false}}}));
    h.g.reconfigure(json!({"agent": {"pool": {"max": 1}}}));
    h.g.wait_log("configuration reloaded");
    h.api.privacy(false);
    h.api.add_group(-50, "The group");
    h.api.user_says(-50, ANN).text("[[gate:g]] [[say:busy]]").send(); // nobody else gets an agent
    h.pi.wait_gate("g");
    let group = h.api.album();
    let first = h.api.user_says(ANN, ANN).photo(PIXEL).in_album(&group).text("first").send();
    let second = h.api.user_says(ANN, ANN).photo(PIXEL).in_album(&group).text("secnod").send();
    h.counts("SELECT count(*) FROM inbox WHERE state = 'joined'", 1);
    h.api.user_edits(ANN, second.message_id, "second [[say:seen]]");
    let last = h.api.user_edits(ANN, first.message_id, "the first");
    h.api.wait_confirmed(last.update_id.unwrap());
    h.pi.open("g");
    h.api.wait_text(ANN, "seen");
    let prompts = h.pi.prompts();
    assert_eq!(prompts.len(), 2);
    assert!(prompts[1].contains("the first\n\nsecond [[say:seen]]") && !prompts[1].contains("secnod"), "{prompts:?}");
}
