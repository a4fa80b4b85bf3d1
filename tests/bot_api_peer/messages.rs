//! Sending, editing, deleting, media.

use serde_json::json;

use super::client::{kinds, Client};
use crate::support::bot_api::{BotApi, PIXEL};

fn world() -> (BotApi, Client) {
    let api = BotApi::start();
    api.add_private(7);
    let client = Client::new(&api);
    (api, client)
}

#[test]
fn a_chat_shows_messages_in_their_present_form() {
    let (api, mut client) = world();
    let a = client.ok("sendMessage", json!({"chat_id": 7, "text": "one"}))["message_id"].clone();
    let b = client.ok("sendMessage", json!({"chat_id": 7, "text": "two"}))["message_id"].clone();
    client.ok("sendMessage", json!({"chat_id": 7, "text": "two"}));
    let edited = client.ok(
        "editMessageText",
        json!({"chat_id": 7, "message_id": a, "text": "<b>1</b>", "parse_mode": "HTML",
            "reply_markup": {"inline_keyboard": [[{"text": "B", "callback_data": "d"}]]}}),
    );
    assert_eq!((&edited["text"], edited["edit_date"].is_i64()), (&json!("1"), true));
    assert_eq!(api.duplicates(7), ["two"]);
    client.ok("deleteMessage", json!({"chat_id": 7, "message_id": b}));
    let shown = api.messages(7);
    assert_eq!(shown.iter().map(|m| m.text()).collect::<Vec<_>>(), ["1", "two"]);
    assert_eq!((shown[0].former.clone(), shown[0].buttons().len()), (vec!["one".to_owned()], 1));
    assert_eq!((api.sent_count(7), api.edit_count(7)), (3, 1));
    assert!(api.duplicates(7).is_empty());
    // An edit without a keyboard takes the keyboard away.
    client.ok("editMessageText", json!({"chat_id": 7, "message_id": a, "text": "2"}));
    assert!(api.messages(7)[0].buttons().is_empty());
    assert!(api.message_ever(7, b.as_i64().unwrap()).unwrap().deleted);
    api.assert_clean();
}

#[test]
fn edits_and_deletions_are_refused_as_the_server_does() {
    let (api, mut client) = world();
    let said = api.user_writes(7, "mine");
    let own = client.ok("sendMessage", json!({"chat_id": 7, "text": "x"}))["message_id"].clone();
    let photo = client.ok("sendPhoto", json!({"chat_id": 7, "photo": "https://example.org/a.png"}));
    let mut edit = |id: &serde_json::Value, text: &str| {
        client.refused("editMessageText", json!({"chat_id": 7, "message_id": id, "text": text})).1
    };
    assert!(edit(&own, "x").starts_with("Bad Request: message is not modified: specified new message content"));
    assert_eq!(edit(&json!(999), "y"), "Bad Request: message to edit not found");
    assert_eq!(edit(&json!(said.message_id), "y"), "Bad Request: message can't be edited");
    assert_eq!(edit(&photo["message_id"], "y"), "Bad Request: there is no text in the message to edit");
    client.ok("editMessageCaption", json!({"chat_id": 7, "message_id": photo["message_id"], "caption": "c"}));
    let caption = json!({"chat_id": 7, "message_id": photo["message_id"], "caption": "x".repeat(1025)});
    assert_eq!(client.refused("editMessageCaption", caption).1, "Bad Request: MEDIA_CAPTION_TOO_LONG");
    client.ok("deleteMessages", json!({"chat_id": 7, "message_ids": [own, said.message_id]}));
    let gone = client.refused("deleteMessage", json!({"chat_id": 7, "message_id": own}));
    assert_eq!(gone.1, "Bad Request: message to delete not found");
    assert_eq!(kinds(&api), ["edit_not_modified", "text_rejected"]);
}

#[test]
fn replies_need_their_target_unless_told_otherwise() {
    let (api, mut client) = world();
    let said = api.user_writes(7, "what is this?");
    let with = |reply: serde_json::Value| json!({"chat_id": 7, "text": "r", "reply_parameters": reply});
    let m = client.ok("sendMessage", with(json!({"message_id": said.message_id, "quote": "this"})));
    assert_eq!((&m["quote"]["text"], api.messages(7)[0].reply_to()), (&json!("this"), Some(said.message_id)));
    assert_eq!(
        client.refused("sendMessage", with(json!({"message_id": 99}))).1,
        "Bad Request: message to be replied not found"
    );
    let free = client.ok("sendMessage", with(json!({"message_id": 99, "allow_sending_without_reply": true})));
    assert!(free["reply_to_message"].is_null());
    assert_eq!(kinds(&api), ["reply_target_missing"]);
}

#[test]
fn threads_are_checked_where_there_are_topics_only() {
    let (api, mut client) = world();
    api.add_forum(-1005, "Forum", &[(5, "dev")]);
    api.add_supergroup(-1006, "Plain");
    let to = |chat: i64, thread: i64| json!({"chat_id": chat, "text": "t", "message_thread_id": thread});
    assert_eq!(client.ok("sendMessage", to(-1005, 5))["is_topic_message"], true);
    for (chat, thread) in [(-1005, 1), (-1005, 9), (7, 5)] {
        assert_eq!(client.refused("sendMessage", to(chat, thread)).1, "Bad Request: message thread not found");
    }
    assert!(client.ok("sendMessage", to(-1006, 77))["message_thread_id"].is_null());
    client.ok("sendChatAction", json!({"chat_id": -1005, "action": "typing", "message_thread_id": 1}));
    assert_eq!(api.actions(-1005)[0].thread, Some(1));
    api.close_topic(-1005, 5, false);
    assert_eq!(client.refused("sendMessage", to(-1005, 5)).1, "Bad Request: TOPIC_CLOSED");
    let create = json!({"chat_id": -1005, "name": "New"});
    assert_eq!(
        client.refused("createForumTopic", create.clone()).1,
        "Bad Request: not enough rights to create a topic"
    );
    api.set_bot_status(-1005, "administrator");
    let made = client.ok("createForumTopic", create)["message_thread_id"].as_i64().unwrap();
    client.ok("sendMessage", to(-1005, made));
    assert_eq!(api.messages(-1005).last().unwrap().topic(), Some(made));
    assert_eq!(kinds(&api), ["bad_thread_id"; 3]);
}

#[test]
fn uploads_ids_and_addresses_are_files() {
    let (api, mut client) = world();
    let answer = client.upload(
        "sendPhoto",
        &[("chat_id", "7"), ("caption", "<i>c</i>"), ("parse_mode", "HTML")],
        &[("photo", "p.png", "image/png", PIXEL)],
    );
    let sizes = answer.json()["result"]["photo"].clone();
    let id = sizes[1]["file_id"].as_str().unwrap().to_owned();
    assert_eq!((sizes[1]["width"].as_i64(), client.download(&id)), (Some(1), PIXEL.to_vec()));
    client.ok("sendPhoto", json!({"chat_id": 7, "photo": id}));
    let answer = client.upload(
        "sendDocument",
        &[("chat_id", "7"), ("document", "attach://f0")],
        &[("f0", "a \\\"b\\\".txt", "text/plain", b"--b\r\n--bx")],
    );
    let document = answer.json()["result"]["document"].clone();
    assert_eq!((&document["file_name"], &document["mime_type"]), (&json!("a \"b\".txt"), &json!("text/plain")));
    let shown = api.messages(7);
    assert_eq!((shown[0].media(), shown[0].text()), (Some("photo"), "c"));
    assert_eq!(shown[0].file_id(), shown[1].file_id());
    assert_eq!(api.file(shown[2].file_id().unwrap()).unwrap(), b"--b\r\n--bx");
    let mut refused = |photo: &str| client.refused("sendPhoto", json!({"chat_id": 7, "photo": photo})).1;
    assert_eq!(refused("nonsense"), "Bad Request: wrong file identifier/HTTP URL specified");
    assert_eq!(refused("http://x.invalid/a.png"), "Bad Request: failed to get HTTP URL content");
    assert_eq!(client.refused("getFile", json!({"file_id": "no"})).1, "Bad Request: invalid file_id");
    let big = client.upload("sendPhoto", &[("chat_id", "7")], &[("photo", "p", "image/png", b"no picture")]);
    assert_eq!(big.json()["description"], "Bad Request: IMAGE_PROCESS_FAILED");
    api.assert_clean();
}

#[test]
fn albums_hold_alike_media_under_one_group_id() {
    let (api, mut client) = world();
    let media =
        json!([{"type": "photo", "media": "attach://a", "caption": "first"}, {"type": "video", "media": "attach://b"}]);
    let answer = client.upload(
        "sendMediaGroup",
        &[("chat_id", "7"), ("media", &media.to_string())],
        &[("a", "a.png", "image/png", PIXEL), ("b", "b.mp4", "video/mp4", b"film")],
    );
    let sent = answer.json()["result"].clone();
    assert_eq!(sent[0]["media_group_id"], sent[1]["media_group_id"]);
    assert!(sent[0]["media_group_id"].is_string());
    let url = "https://example.org/x";
    let mixed = json!([{"type": "photo", "media": url}, {"type": "document", "media": url}]);
    let refusal = client.refused("sendMediaGroup", json!({"chat_id": 7, "media": mixed}));
    assert_eq!(refusal.1, "Bad Request: can't use the media of the specified type in the album");
    client.ok("sendMediaGroup", json!({"chat_id": 7, "media": [{"type": "photo", "media": url}]}));
    assert_eq!(kinds(&api), ["album_of_one"]);
    assert_eq!(api.messages(7).len(), 3);
}

#[test]
fn reactions_pins_and_drafts_have_their_rules() {
    let (api, mut client) = world();
    api.add_group(-5, "Group");
    let said = api.user_writes(7, "x").message_id;
    let react = |emoji: &[&str]| {
        let list: Vec<_> = emoji.iter().map(|e| json!({"type": "emoji", "emoji": e})).collect();
        json!({"chat_id": 7, "message_id": said, "reaction": list})
    };
    client.ok("setMessageReaction", react(&["❤\u{fe0f}"]));
    assert_eq!(client.refused("setMessageReaction", react(&["✅"])).1, "Bad Request: REACTION_INVALID");
    assert_eq!(client.refused("setMessageReaction", react(&["👍", "👎"])).1, "Bad Request: REACTIONS_TOO_MANY");
    assert_eq!(api.message(7, said).unwrap().reactions[&api.bot_id()].as_array().unwrap().len(), 1);
    client.ok("pinChatMessage", json!({"chat_id": 7, "message_id": said}));
    assert_eq!(api.pins(7), [said]);
    assert_eq!(client.ok("getChat", json!({"chat_id": 7}))["pinned_message"]["text"], "x");
    client.ok("unpinChatMessage", json!({"chat_id": 7, "message_id": said}));
    let draft = |chat: i64| json!({"chat_id": chat, "draft_id": 3, "text": "thinking", "can_stop": true});
    client.ok("sendMessageDraft", draft(7));
    assert_eq!(client.refused("sendMessageDraft", draft(-5)).1, "Bad Request: TEXTDRAFT_PEER_INVALID");
    assert_eq!(api.drafts(7)[0].1.history, ["thinking"]);
    assert!(api.user_stops(7, 3).is_some());
    client.ok("sendMessage", json!({"chat_id": 7, "text": "done"}));
    assert!(api.drafts(7).is_empty());
    assert_eq!(kinds(&api), ["reaction_invalid", "reaction_invalid", "draft_outside_private"]);
}
