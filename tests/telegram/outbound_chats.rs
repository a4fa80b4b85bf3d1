//! Chats that move away, shut us out and react; answers that did not arrive.

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};

const GROUP: i64 = -50;

fn grouped(more: serde_json::Value) -> House {
    let mut config = json!({"streamMode": "off", "groups": {"-50": {"requireMention": false}}, "replyToMode": "off"});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let h = House::new(config);
    h.api.privacy(false);
    h.api.add_group(GROUP, "The group");
    h
}

#[test]
fn a_group_that_becomes_a_supergroup_keeps_its_settings_its_session_and_what_it_is_owed() {
    let h = grouped(json!({}));
    h.api.user_says(GROUP, ANN).text("[[say:one]]").send();
    h.api.wait_text(GROUP, "one");
    h.settled();
    h.api.user_says(GROUP, ANN).text("[[gate:g]] [[say:two]]").send();
    h.pi.wait_gate("g");
    let new = h.api.migrate(GROUP, ANN);
    h.pi.open("g");
    h.api.wait_text(new, "two");
    h.settled();
    h.api.user_says(new, ANN).text("no mention [[say:three]]").send();
    h.api.wait_text(new, "three");
    h.g.wait_log("write the new id into the configuration");
    let key = |chat: i64| format!("agent:main:telegram:account:default:group:{chat}");
    let texts: Vec<String> = h.g.history(&key(new)).into_iter().map(|(_, text)| text).collect();
    assert!(["one", "two", "three"].iter().all(|t| texts.iter().any(|x| x == t)), "{texts:?}");
    assert!(h.g.history(&key(GROUP)).is_empty());
    h.api.assert_clean();
}

#[test]
fn given_that_the_news_was_missed_then_the_failed_send_tells() {
    let mut h = grouped(json!({}));
    h.api.user_says(GROUP, ANN).text("[[gate:g]] [[say:late]]").send();
    h.pi.wait_gate("g");
    h.g.kill9();
    let new = h.api.migrate(GROUP, ANN);
    // The updates of the move are lost.
    h.api.trouble(Rule::on("getUpdates", Trouble::server(502)).always());
    h.g.restart();
    h.api.wait_message(new, |m| m.bot.is_some());
    h.settled();
    assert_eq!(h.said(new).len(), 1, "the answer, once");
    assert!(h.said(GROUP).is_empty());
}

#[test]
fn given_a_block_then_what_is_owed_is_dropped_and_offered_again_when_the_person_is_back() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:the answer]]");
    h.pi.wait_gate("g");
    let update = h.api.bot_becomes(ANN, ANN, "blocked");
    h.api.wait_confirmed(update.unwrap());
    h.pi.open("g");
    h.settled();
    h.g.wait_until("the turn ends", |g| g.history(crate::outbound::ANNS).len() > 1);
    h.settled();
    assert!(h.api.calls("sendMessage").is_empty(), "nothing is tried");
    h.api.bot_becomes(ANN, ANN, "member");
    h.api.user_writes(ANN, "[[say:again]]");
    h.api.wait_text(ANN, "again");
    assert_eq!(h.said(ANN), ["⚠️ Earlier reply could not be delivered:\n\nthe answer", "again"]);
    h.api.assert_clean();
}

#[test]
fn a_refused_answer_is_offered_again_once() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.trouble(Rule::on("sendMessage", Trouble::forbidden("bot was blocked by the user")).times(1));
    h.api.user_writes(ANN, "[[say:lost]]");
    h.api.wait_calls("sendMessage", 1);
    h.settled();
    h.api.user_writes(ANN, "[[say:next]]");
    h.api.wait_text(ANN, "next");
    h.api.user_writes(ANN, "[[say:last]]");
    h.api.wait_text(ANN, "last");
    assert_eq!(h.said(ANN), ["⚠️ Earlier reply could not be delivered:\n\nlost", "next", "last"]);
}

#[test]
fn a_message_bears_a_mark_while_it_is_worked_on() {
    let h = House::new(json!({"streamMode": "off", "ackReaction": "👀"}));
    let said = h.api.user_writes(ANN, "[[gate:g]] [[say:done]]");
    h.pi.wait_gate("g");
    let calls = h.api.wait_calls("setMessageReaction", 1);
    assert!(calls[0].params.to_string().contains("👀"), "{calls:?}");
    h.pi.open("g");
    let calls = h.api.wait_calls("setMessageReaction", 2);
    assert_eq!(calls[1].params["message_id"], said.message_id);
    assert_eq!(calls[1].params["reaction"], json!([]));
    h.api.wait_text(ANN, "done");
    h.api.assert_clean();
}

#[test]
fn reactions_are_told_to_the_agent_when_it_has_time() {
    let h = House::new(json!({"streamMode": "off", "reactionLevel": "minimal", "reactionNotifications": "own"}));
    let asked = h.api.user_writes(ANN, "[[say:hello]]");
    let hello = h.api.wait_text(ANN, "hello");
    h.settled();
    h.api.user_reacts(ANN, ANN, asked.message_id, &["👍"]);
    let last = h.api.user_reacts(ANN, ANN, hello.id(), &["🔥"]);
    h.api.wait_confirmed(last.unwrap());
    h.g.wait_until("the agent hears of it", |_| h.pi.prompts().len() > 1);
    let prompts = h.pi.prompts();
    let told = format!(": 🔥 on message {}: \"hello\"", hello.id());
    assert!(prompts[1].contains("[reaction] ") && prompts[1].contains(&told), "{prompts:?}");
    assert_eq!(prompts.len(), 2, "only of the bot's own message");
    assert!(h.api.allowed_updates().unwrap().contains(&"message_reaction".to_owned()));
    h.api.assert_clean();
}
