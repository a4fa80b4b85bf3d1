use serde_json::{json, Value};

use super::*;

const NOW: i64 = 1_800_000_000;

fn me() -> Me {
    Me { id: 42, username: "HouseBot".into() }
}

fn read(message: Value) -> Option<Inbound> {
    let mut message = message;
    let base = json!({"message_id": 7, "date": NOW, "chat": {"id": 9, "type": "private"},
        "from": {"id": 9, "first_name": "Ann", "username": "ann"}});
    for (k, v) in base.as_object().unwrap() {
        message.as_object_mut().unwrap().entry(k.clone()).or_insert(v.clone());
    }
    let u: Update = serde_json::from_value(json!({"update_id": 100, "message": message})).unwrap();
    match update(&u, &me(), "default", NOW)? {
        Incoming::Message(m) => Some(m),
        other => panic!("{other:?}"),
    }
}

fn group(message: Value) -> Option<Inbound> {
    let mut message = message;
    message["chat"] = json!({"id": -5, "type": "supergroup", "title": "G"});
    read(message)
}

#[test]
fn a_private_text_has_its_keys_and_its_source() {
    let m = read(json!({"text": " hello "})).unwrap();
    assert_eq!((m.dkey.as_str(), m.dkey2.as_deref()), ("tg:42:100", Some("tg:42:9:7:0")));
    assert_eq!(m.text, "hello");
    assert_eq!((m.source.chat_type, m.source.sender.as_str(), m.source.chat.as_str()), (ChatType::Dm, "9", "9"));
    assert_eq!(m.source.sender_name.as_deref(), Some("ann"));
    assert_eq!(m.source.chat_name, None);
    assert_eq!(group(json!({"text": "a"})).unwrap().source.chat_name.as_deref(), Some("G"));
    assert_eq!(m.source.message_id.as_deref(), Some("7"));
}

#[test]
fn a_mention_is_found_by_its_units_in_any_case_and_taken_out() {
    let m = group(json!({"text": "😀 @housebot  hi", "entities": [{"type": "mention", "offset": 3, "length": 9}]}));
    let m = m.unwrap();
    assert!(m.facts.mentioned);
    assert_eq!(m.text, "😀  hi");
    let m =
        group(json!({"text": "@housebot2 hi", "entities": [{"type": "mention", "offset": 0, "length": 10}]})).unwrap();
    assert!(!m.facts.mentioned);
    let m = group(
        json!({"text": "Bot hi", "entities": [{"type": "text_mention", "offset": 0, "length": 3, "user": {"id": 42}}]}),
    );
    assert!(m.unwrap().facts.mentioned);
    let m = group(json!({"text": "@HouseBot", "entities": [{"type": "mention", "offset": 0, "length": 9}]})).unwrap();
    assert_eq!((m.text.as_str(), m.facts.mentioned), ("(mention)", true));
}

#[test]
fn commands_name_their_bot() {
    let entity = |n: usize| json!([{"type": "bot_command", "offset": 0, "length": n}]);
    let m = group(json!({"text": "/new@housebot all", "entities": entity(13)})).unwrap();
    assert_eq!((m.text.as_str(), m.facts.mentioned), ("/new all", true));
    assert!(group(json!({"text": "/new@other all", "entities": entity(10)})).is_none());
    assert!(!group(json!({"text": "/new", "entities": entity(4)})).unwrap().facts.mentioned);
}

#[test]
fn only_a_topic_message_has_a_topic_and_general_is_number_one() {
    let forum = json!({"id": -5, "type": "supergroup", "is_forum": true});
    let m = read(json!({"text": "a", "chat": forum, "message_thread_id": 3, "is_topic_message": true})).unwrap();
    assert_eq!((m.source.thread.as_deref(), m.facts.topic), (Some("3"), None));
    let m = read(json!({"text": "a", "chat": forum})).unwrap();
    assert_eq!((m.source.thread, m.facts.topic.as_deref()), (None, Some("1")));
    let m = group(json!({"text": "a", "message_thread_id": 3})).unwrap();
    assert_eq!((m.source.thread, m.facts.topic), (None, None), "a chain of replies");
}

#[test]
fn a_reply_to_the_bot_speaks_to_it_but_not_one_to_a_topics_beginning() {
    let m = group(json!({"text": "a", "reply_to_message": {"from": {"id": 42, "is_bot": true}, "text": "x"}})).unwrap();
    assert!(m.facts.mentioned && m.text == "a");
    let m = group(json!({"text": "a", "reply_to_message": {"from": {"id": 42}, "forum_topic_created": {"name": "t"}}}));
    assert!(!m.unwrap().facts.mentioned);
    let m = read(
        json!({"text": "why?", "reply_to_message": {"from": {"id": 9}, "caption": "cat", "photo": [{"file_id": "x"}]}}),
    );
    let m = m.unwrap();
    assert_eq!((m.text.as_str(), m.replies_to.as_deref()), ("why?", Some("[Reply to] cat [photo]")));
}

#[test]
fn anonymous_administrators_are_known_by_their_chat_and_bots_are_not_heard() {
    let anonymous =
        json!({"text": "a", "from": {"id": 1087968824, "is_bot": true}, "sender_chat": {"id": -5, "title": "G"}});
    assert_eq!(group(anonymous).unwrap().source.sender, "-5");
    assert!(group(json!({"text": "a", "from": {"id": 77, "is_bot": true}})).is_none());
    assert!(read(json!({"text": "a", "from": {"id": 42, "is_bot": true}})).is_none());
    assert!(group(json!({"text": "a", "is_automatic_forward": true})).is_none());
}

#[test]
fn forwards_places_and_people_are_told() {
    let origin =
        json!({"type": "user", "date": 0, "sender_user": {"first_name": "Bo", "last_name": "Li", "username": "bo"}});
    let m = read(json!({"text": "x", "forward_origin": origin})).unwrap();
    assert_eq!(m.text, "[Forwarded | from: Bo Li (@bo) | date: 1970-01-01T00:00:00Z]\nx");
    let origin = json!({"type": "channel", "date": 0, "chat": {"title": "News", "username": "n"}, "message_id": 3});
    let m = read(json!({"text": "x", "forward_origin": origin})).unwrap();
    assert!(m.text.contains("from channel: News(@n) | link: https://t.me/n/3"), "{}", m.text);
    let m = read(json!({"location": {"latitude": 1.5, "longitude": -2.0}})).unwrap();
    assert_eq!(m.text, "[Location: 1.5, -2]");
    let m = read(json!({"contact": {"phone_number": "+1", "first_name": "A"}})).unwrap();
    assert_eq!(m.text, "[Contact: A, +1]");
    let m = read(json!({"poll": {"question": "q", "options": [{"text": "a"}, {"text": "b"}]}})).unwrap();
    assert_eq!(m.text, "[Poll: q — a / b]");
}

#[test]
fn an_edit_names_the_message_that_it_replaces() {
    let message = json!({"message_id": 7, "date": NOW, "edit_date": NOW + 5, "chat": {"id": 9, "type": "private"},
        "from": {"id": 9, "first_name": "Ann"}, "text": "new"});
    let u: Update = serde_json::from_value(json!({"update_id": 101, "edited_message": message})).unwrap();
    let Some(Incoming::Edited(m)) = update(&u, &me(), "default", NOW) else { panic!() };
    assert_eq!(m.original.as_deref(), Some("tg:42:9:7:0"));
    assert_eq!(m.dkey2, Some(format!("tg:42:9:7:{}", NOW + 5)));
}

#[test]
fn files_albums_and_what_cannot_be_told_are_messages_too() {
    let m = read(json!({"photo": [{"file_id": "p"}], "media_group_id": "1"})).unwrap();
    assert_eq!((m.text.as_str(), m.files.len(), m.group.as_deref()), ("", 1, Some("1")));
    let m = read(json!({"photo": [{"file_id": "p"}], "caption": "a cat"})).unwrap();
    assert_eq!(m.text, "a cat");
    let m = read(json!({"text": "x", "forward_origin": {"type": "hidden_user", "sender_user_name": "B"}})).unwrap();
    assert!(m.forwarded);
    let m = read(json!({"text": "y", "reply_to_message": {"from": {"id": 9}, "text": "a\nb"}})).unwrap();
    assert_eq!((m.text.as_str(), m.replies_to.as_deref()), ("y", Some("[Reply to] a b")));
    assert_eq!(read(json!({"story": {"id": 1}})).unwrap().text, "[Unsupported message: story]");
}

#[test]
fn links_are_written_out_and_service_and_old_messages_passed_over() {
    let e = json!([{"type": "text_link", "offset": 0, "length": 4, "url": "https://a.b/"}]);
    assert_eq!(read(json!({"text": "here it is", "entities": e})).unwrap().text, "here (https://a.b/) it is");
    assert!(read(json!({"new_chat_title": "x"})).is_none());
    assert!(read(json!({"text": "a", "date": NOW - 90_000})).is_none());
}
