//! What tools and API clients send, and what they do to messages that stand there.

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{Line, Rule, Trouble};

pub const ANNS: &str = "agent:main:telegram:account:default:dm:7";

/// A session in which Ann has written, and the id of her message.
fn spoken(h: &House) -> i64 {
    let said = h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.settled();
    said.message_id
}

fn post(h: &House, path: &str, mut body: Value) -> Value {
    body["sessionKey"] = ANNS.into();
    let r = h.g.post(path, body);
    assert_eq!(r.status, 200, "{}\n{}", r.text(), h.g.log());
    r.json()
}

#[test]
fn a_message_of_a_tool_is_rendered_cut_and_answered_with_its_id() {
    let h = House::new(json!({"streamMode": "off"}));
    let asked = spoken(&h);
    let sent = post(&h, "/api/message/send", json!({"text": "**bold** a < b", "replyTo": asked.to_string()}));
    let m = h.api.wait_text(ANN, "bold a < b");
    assert_eq!(sent["messageId"], m.id().to_string());
    assert_eq!((sent["channel"].as_str(), sent["textLength"].as_u64()), (Some("telegram"), Some(14)));
    assert_eq!((m.parts("bold"), m.reply_to()), (vec!["bold".to_owned()], Some(asked)));

    let long = "word ".repeat(1500);
    let sent = post(&h, "/api/message/send", json!({"text": long, "parseMode": "plain"}));
    assert_eq!(sent["messageIds"].as_array().unwrap().len(), 2, "{sent}");

    post(&h, "/api/message/send", json!({"text": "*as it is*", "parseMode": "plain"}));
    assert!(h.api.wait_text(ANN, "*as it is*").entities().is_empty());
    post(&h, "/api/message/send", json!({"text": "<i>so</i> & <x>", "parseMode": "HTML"}));
    assert_eq!(h.api.wait_text(ANN, "so & <x>").parts("italic"), ["so"]);
    h.api.assert_clean();
}

#[test]
fn a_tool_sends_before_the_reply_of_its_turn_and_the_same_key_sends_once() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:the reply]]");
    h.pi.wait_gate("g");
    let body = json!({"text": "on my way", "idempotencyKey": "one"});
    let first = post(&h, "/api/message/send", body.clone());
    let again = post(&h, "/api/message/send", body.clone());
    assert_eq!(first["messageId"], again["messageId"]);
    let other = h.g.post("/api/message/send", json!({"text": "else", "idempotencyKey": "one", "sessionKey": ANNS}));
    assert_eq!(other.status, 409, "{}", other.text());
    h.g.kill9();
    h.pi.open("g");
    h.g.restart();
    h.api.wait_messages(ANN, |all| all.iter().filter(|m| m.bot.is_some()).count() > 1);
    assert_eq!(post(&h, "/api/message/send", body)["messageId"], first["messageId"]);
    h.settled();
    assert_eq!(h.said(ANN).iter().filter(|text| *text == "on my way").count(), 1);
    assert!(h.pi.prompts().last().unwrap().contains("on my way"), "the agent is told what it has sent");
    h.api.assert_clean();
}

#[test]
fn what_the_platform_refuses_is_told_to_the_tool() {
    let h = House::new(json!({"streamMode": "off"}));
    spoken(&h);
    h.api.trouble(Rule::on("sendMessage", Trouble::bad("TOPIC_CLOSED")).times(1));
    let r = h.g.post("/api/message/send", json!({"text": "no", "sessionKey": ANNS}));
    assert_eq!(r.status, 502);
    assert!(r.text().contains("TOPIC_CLOSED"), "{}", r.text());
}

#[test]
fn a_message_may_be_addressed_by_account_chat_and_topic() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.add_forum(-100, "Forum", &[(3, "three")]);
    let send = |to: &str| h.g.post("/api/send", json!({"to": to, "message": "for you"}));
    let r = send("telegram:default:-100:topic:3");
    assert_eq!(r.status, 200, "{}", r.text());
    let m = h.api.wait_text(-100, "for you");
    assert_eq!((m.topic(), &r.json()["messageIds"]), (Some(3), &json!([m.id().to_string()])));
    for (to, why) in
        [("telegram:other:5", "no account"), ("telegram:@ann's", "numeric id"), ("telegram:ann", "numeric id")]
    {
        let r = send(to);
        assert_eq!(r.status, 400, "{}", r.text());
        assert!(r.text().contains(why), "{}", r.text());
    }
    let r = send("telegram:4242");
    assert_eq!(r.status, 502, "{}", r.text());
    assert!(r.text().contains("chat not found"), "{}", r.text());
}

#[test]
fn messages_are_edited_marked_pinned_and_deleted() {
    let h = House::new(json!({"streamMode": "off"}));
    let asked = spoken(&h);
    let id = post(&h, "/api/message/send", json!({"text": "first"}))["messageId"].as_str().unwrap().to_owned();
    let act = |body: Value| {
        let mut body = body;
        body["sessionKey"] = ANNS.into();
        h.g.post("/api/message/action", body)
    };
    let r = act(json!({"action": "edit", "messageId": id, "text": "now **this**"}));
    assert_eq!(
        r.json(),
        json!({"ok": true, "action": "edit", "channel": "telegram", "messageId": id, "textLength": 12})
    );
    assert_eq!(h.api.wait_text(ANN, "now this").parts("bold"), ["this"]);

    let r = act(json!({"action": "react", "messageId": asked.to_string(), "emoji": "✅"}));
    assert_eq!(r.status, 200, "{}", r.text());
    let reaction = h.api.wait_calls("setMessageReaction", 1).remove(0);
    assert!(reaction.params.to_string().contains("👌"), "{reaction:?}");
    let r = act(json!({"action": "react", "messageId": asked.to_string(), "emoji": "🧀"}));
    assert!(r.status == 502 && r.text().contains("choose one of"), "{}", r.text());

    assert_eq!(act(json!({"action": "pin", "messageId": id})).status, 200);
    assert_eq!(h.api.pins(ANN), [id.parse::<i64>().unwrap()]);
    assert_eq!(act(json!({"action": "pin", "messageId": id, "unpin": true})).status, 200);
    assert!(h.api.pins(ANN).is_empty());

    assert_eq!(act(json!({"action": "delete", "messageId": id})).status, 200);
    assert_eq!(h.said(ANN), ["hello"]);
    assert_eq!(act(json!({"action": "delete", "messageId": id})).status, 200, "it is gone: that is what was asked");
    let r = act(json!({"action": "edit", "messageId": id, "text": "x"}));
    assert_eq!(r.status, 502, "{}", r.text());
    let r = act(json!({"action": "read"}));
    assert!(r.status == 501 && r.text().contains("does not support reading chat history"), "{}", r.text());
}

#[test]
fn c17_given_a_dead_line_then_a_tool_hears_that_its_message_is_queued_and_it_goes_out_later() {
    let h = House::new(json!({"streamMode": "off"}));
    spoken(&h);
    h.api.line(Line::Refused);
    let sent = post(&h, "/api/message/send", json!({"text": "patience"}));
    assert_eq!((&sent["queued"], &sent["messageId"]), (&json!(true), &Value::Null), "{sent}");
    h.api.line(Line::Up);
    h.api.wait_text(ANN, "patience");
    assert_eq!(h.said(ANN), ["hello", "patience"]);
}
