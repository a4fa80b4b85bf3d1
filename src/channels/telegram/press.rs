//! A press of a button as an event for the mind (telegram.md 11). Pure.

use super::api::{Message, Update};
use super::parse::{place, topic, Me};
use crate::message::{ChatType, Facts, Press, Source};

/// The press in an update, if there is one.
pub fn of(u: &Update, me: &Me, account: &str) -> Option<Press> {
    let query = u.callback_query.as_ref()?;
    // Very old messages come without their content, but with chat and number; inline ones come without.
    let nowhere = Message::default();
    let m = query.message.as_deref().unwrap_or(&nowhere);
    let chat_type = match m.chat.r#type.as_str() {
        "group" | "supergroup" => ChatType::Group,
        "channel" => ChatType::Channel,
        _ => ChatType::Dm,
    };
    let source = Source {
        chat_type,
        sender: query.from.id.to_string(),
        sender_name: Some(query.from.label()).filter(|n| !n.is_empty()),
        message_id: (m.message_id != 0).then(|| m.message_id.to_string()),
        thread: topic(m).map(|t| t.to_string()),
        ..place(&m.chat, account)
    };
    let general = (m.chat.is_forum && !m.is_topic_message).then(|| "1".to_owned());
    Some(Press {
        dkey: format!("tg:{}:q:{}", me.id, query.id),
        query: query.id.clone(),
        message: source.message_id.clone(),
        source,
        data: query.data.clone().unwrap_or_default(),
        facts: Facts { mentioned: true, topic: general, replies: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn press(query: serde_json::Value) -> Option<Press> {
        let update = serde_json::from_value(json!({"update_id": 5, "callback_query": query})).unwrap();
        of(&update, &Me { id: 1, username: "bot".into() }, "default")
    }

    #[test]
    fn a_press_names_its_message_and_who_pressed() {
        let from = json!({"id": 7, "first_name": "Ann"});
        let chat = json!({"id": -100, "type": "supergroup", "is_forum": true});
        let message =
            json!({"message_id": 9, "date": 1, "chat": chat, "message_thread_id": 3, "is_topic_message": true});
        let p = press(json!({"id": "q1", "from": from, "message": message, "data": "k:abcdefgh:0"})).unwrap();
        assert_eq!((p.dkey.as_str(), p.query.as_str(), p.data.as_str()), ("tg:1:q:q1", "q1", "k:abcdefgh:0"));
        assert_eq!((p.source.chat.as_str(), p.source.thread.as_deref()), ("-100", Some("3")));
        assert_eq!((p.source.sender.as_str(), p.message.as_deref()), ("7", Some("9")));
        assert_eq!((p.source.chat_type, p.facts.topic), (ChatType::Group, None));
    }

    #[test]
    fn a_press_under_a_message_that_telegram_does_not_show_any_more_is_one() {
        let from = json!({"id": 7, "first_name": "Ann"});
        let gone = json!({"message_id": 9, "date": 0, "chat": {"id": 7, "type": "private"}});
        let p = press(json!({"id": "q2", "from": from, "message": gone})).unwrap();
        assert_eq!((p.message.as_deref(), p.data.as_str(), p.source.chat.as_str()), (Some("9"), "", "7"));
        let inline = press(json!({"id": "q3", "from": from, "inline_message_id": "x", "data": "y"})).unwrap();
        assert_eq!(inline.message, None);
    }
}
