//! Topics that are deleted while the agent works.

use serde_json::{json, Value};

use crate::house::{House, ANN};

const FORUM: i64 = -100;

fn house(more: Value) -> House {
    let mut config = json!({"streamMode": "off", "groups": {"*": {"requireMention": false}}, "replyToMode": "off"});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let h = House::new(config);
    h.api.privacy(false);
    h.api.add_forum(FORUM, "Forum", &[(3, "three")]);
    h
}

/// Refused for its topic so often.
fn refused(h: &House) -> usize {
    h.api.calls("sendMessage").iter().filter(|c| c.params["message_thread_id"] == 3).count()
}

#[test]
fn given_a_deleted_topic_then_the_reply_goes_to_the_forum_and_the_topic_is_left_alone_until_somebody_writes_there() {
    let h = house(json!({}));
    let said = h.api.user_says(FORUM, ANN).topic(3).text("[[gate:g]] [[say:one]]").send();
    h.pi.wait_gate("g");
    h.api.close_topic(FORUM, 3, true);
    h.pi.open("g");
    let answer = h.api.wait_text(FORUM, "one");
    assert_eq!((&answer.request["message_thread_id"], answer.reply_to()), (&Value::Null, Some(said.message_id)));
    // What answers nothing has no place there.
    let session = "agent:main:telegram:account:default:group:-100:topic:3";
    let r = h.g.post("/api/message/send", json!({"sessionKey": session, "text": "news"}));
    assert!(r.status == 502 && r.text().contains("the topic is gone"), "{} {}", r.status, r.text());
    assert_eq!(refused(&h), 1, "it is not tried again at once");
    h.api.user_says(FORUM, ANN).topic(3).text("[[say:two]]").send();
    assert_eq!(h.api.wait_text(FORUM, "two").request["message_thread_id"], 3);
    assert_eq!(h.said(FORUM), ["one", "two"]);
}

#[test]
fn given_a_closed_topic_then_the_reply_is_not_sent_elsewhere_and_offered_when_somebody_writes() {
    let h = house(json!({}));
    h.api.user_says(FORUM, ANN).topic(3).text("[[gate:g]] [[say:one]]").send();
    h.pi.wait_gate("g");
    h.api.close_topic(FORUM, 3, false);
    h.pi.open("g");
    h.api.wait_calls("sendMessage", 1);
    h.settled();
    assert!(h.said(FORUM).is_empty());
    h.api.user_says(FORUM, ANN).text("[[say:two]]").send();
    h.api.wait_text(FORUM, "two");
    assert_eq!(h.said(FORUM), ["⚠️ Earlier reply could not be delivered:\n\none", "two"]);
}

#[test]
fn given_a_deleted_topic_while_the_answer_grows_then_it_arrives_once() {
    let h = house(json!({"streamMode": "partial", "draftChunk": {"editThrottleMs": 250}}));
    h.api.user_says(FORUM, ANN).topic(3).text("[[say:half an answer]] [[gate:g]] [[say: and the rest]]").send();
    h.pi.wait_gate("g");
    let growing = h.api.wait_message(FORUM, |m| m.text().starts_with("half an answer"));
    h.api.close_topic(FORUM, 3, true);
    h.api.user_deletes(FORUM, growing.id());
    h.pi.open("g");
    let answer = h.api.wait_message(FORUM, |m| m.text().contains("and the rest"));
    assert_eq!(answer.request["message_thread_id"], Value::Null);
    h.settled();
    assert_eq!(h.said(FORUM).len(), 1);
}
