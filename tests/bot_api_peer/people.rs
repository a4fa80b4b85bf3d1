//! What people do arrives as the service would tell it.

use serde_json::{json, Value};

use super::client::{kinds, Client};
use crate::support::bot_api::BotApi;

/// Payloads of the waiting updates, each under its kind.
fn told(api: &BotApi) -> Vec<Value> {
    api.pending()
        .into_iter()
        .map(|mut update| {
            update.as_object_mut().unwrap().remove("update_id");
            update
        })
        .collect()
}

#[test]
fn messages_have_the_fields_of_their_kind() {
    let api = BotApi::start();
    api.add_user(7, json!({"first_name": "Ann", "username": "ann"}));
    let say = || api.user_says(7, 7);
    say().text("/start@fake_gateway_bot now 😀 @ann #tag a@b.org example.com/x").send();
    say().photo(b"\x89PNG").text("caption with /cmd").send();
    say().document("a.pdf", "application/pdf", b"pdf").claiming(30 << 20).send();
    say().voice(9, b"ogg").send();
    say().animated_sticker("🙂", "Set", b"tgs").send();
    say().location(1.5, 2.5).send();
    say().contact("Bob", "+1").send();
    say().poll("q?", &["a", "b"]).send();
    say().animation("g.mp4", b"gif").send();
    let first = say().forwarded(json!({"type": "hidden_user", "sender_user_name": "H"})).text("fwd").send();
    say().text("re").reply_to(first.message_id).quote("fw").send();
    let m: Vec<Value> = told(&api).iter().map(|u| u["message"].clone()).collect();
    let kinds: Vec<&Value> = m[0]["entities"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["bot_command", "mention", "hashtag", "email", "url"]);
    assert_eq!(m[0]["entities"][1], json!({"offset": 31, "length": 4, "type": "mention"}));
    assert_eq!((&m[0]["chat"]["username"], &m[0]["from"]["first_name"]), (&json!("ann"), &json!("Ann")));
    assert_eq!(m[1]["caption_entities"][0]["type"], "bot_command");
    assert_eq!(m[1]["photo"].as_array().unwrap().len(), 2);
    assert_eq!((&m[3]["voice"]["duration"], &m[3]["voice"]["mime_type"]), (&json!(9), &json!("audio/ogg")));
    assert!(m[4]["sticker"]["thumbnail"]["file_id"].is_string() && m[4]["sticker"]["is_animated"] == true);
    assert_eq!((&m[5]["location"]["latitude"], &m[6]["contact"]["phone_number"]), (&json!(1.5), &json!("+1")));
    assert_eq!(m[7]["poll"]["options"][1]["text"], "b");
    assert_eq!(m[8]["document"], m[8]["animation"]);
    assert_eq!(m[9]["forward_origin"]["sender_user_name"], "H");
    assert_eq!((&m[10]["reply_to_message"]["text"], &m[10]["quote"]["text"]), (&json!("fwd"), &json!("fw")));
    let mut client = Client::new(&api);
    let big = client.refused("getFile", json!({"file_id": m[2]["document"]["file_id"]}));
    assert_eq!(big.1, "Bad Request: file is too big");
    assert_eq!(client.download(m[3]["voice"]["file_id"].as_str().unwrap()), b"ogg");
}

#[test]
fn replies_in_plain_supergroups_have_a_thread_that_is_no_topic() {
    let api = BotApi::start();
    api.add_supergroup(-1006, "Plain");
    api.add_forum(-1005, "Forum", &[]);
    let root = api.user_says(-1006, 7).text("root").send().message_id;
    api.user_says(-1006, 8).text("re").reply_to(root).send();
    let topic = api.user_opens_topic(-1005, 7, "dev");
    api.user_says(-1005, 7).text("in it").topic(topic).send();
    let seen = told(&api);
    let reply = &seen[1]["message"];
    assert_eq!((&reply["message_thread_id"], &reply["is_topic_message"]), (&json!(root), &Value::Null));
    let created = &seen[2]["message"];
    assert_eq!((&created["forum_topic_created"]["name"], &created["message_id"]), (&json!("dev"), &json!(topic)));
    let inside = &seen[3]["message"];
    assert_eq!((&inside["message_thread_id"], &inside["is_topic_message"]), (&json!(topic), &json!(true)));
    assert_eq!(inside["chat"]["is_forum"], true);
}

#[test]
fn a_press_reaches_the_bot_and_wants_one_answer() {
    let api = BotApi::start();
    api.add_private(7);
    let mut client = Client::new(&api);
    let keyboard = json!({"inline_keyboard": [[{"text": "Yes", "callback_data": "y:1"}]]});
    let m = client.ok("sendMessage", json!({"chat_id": 7, "text": "?", "reply_markup": keyboard}));
    let query = api.user_presses(7, 7, m["message_id"].as_i64().unwrap(), "Yes");
    let update = client.ok("getUpdates", json!({}))[0]["callback_query"].clone();
    assert_eq!(
        (&update["id"], &update["data"], &update["message"]["text"]),
        (&json!(query), &json!("y:1"), &json!("?"))
    );
    let answer = json!({"callback_query_id": query, "text": "ok"});
    client.ok("answerCallbackQuery", answer.clone());
    assert_eq!(api.wait_answer(&query).answer.as_deref(), Some("ok"));
    assert!(client.refused("answerCallbackQuery", answer).1.starts_with("Bad Request: query is too old"));
    assert_eq!(kinds(&api), ["callback_answered_late_or_twice"]);
}

#[test]
fn edits_blocks_and_migrations_are_told_and_change_what_is_allowed() {
    let api = BotApi::start();
    let mut client = Client::new(&api);
    let said = api.user_writes(7, "first");
    api.user_edits(7, said.message_id, "second");
    api.bot_becomes(7, 7, "blocked");
    let blocked = client.refused("sendMessage", json!({"chat_id": 7, "text": "x"}));
    assert_eq!(blocked, (403, "Forbidden: bot was blocked by the user".into()));
    api.add_group(-5, "Group");
    let new = api.migrate(-5, 7);
    let answer = client.try_call("sendMessage", &json!({"chat_id": -5, "text": "x"})).unwrap().json();
    assert_eq!(answer["description"], "Bad Request: group chat was upgraded to a supergroup chat");
    assert_eq!(answer["parameters"]["migrate_to_chat_id"], new);
    client.ok("sendMessage", json!({"chat_id": new, "text": "x"}));
    api.bot_becomes(new, 7, "kicked");
    let kicked = client.refused("sendMessage", json!({"chat_id": new, "text": "x"}));
    assert_eq!(kicked, (403, "Forbidden: bot was kicked from the supergroup chat".into()));
    assert_eq!(client.refused("sendMessage", json!({"chat_id": 99, "text": "x"})).1, "Bad Request: chat not found");
    let seen = told(&api);
    let edit = &seen[1]["edited_message"];
    assert_eq!((&edit["text"], edit["edit_date"].is_i64()), (&json!("second"), true));
    assert_eq!(seen[2]["my_chat_member"]["new_chat_member"]["status"], "kicked");
    assert_eq!(seen[3]["message"]["migrate_to_chat_id"], new);
    assert_eq!(seen[4]["message"]["migrate_from_chat_id"], -5);
    let ask = |user: i64| json!({"chat_id": -5, "user_id": user});
    assert_eq!(client.ok("getChatMember", ask(7))["status"], "member");
    assert_eq!(client.refused("getChatMember", ask(123)).1, "Bad Request: PARTICIPANT_ID_INVALID");
}

#[test]
fn privacy_mode_hides_what_is_not_meant_for_the_bot() {
    let api = BotApi::start();
    api.add_group(-5, "Group");
    api.privacy(true);
    assert_eq!(Client::new(&api).ok("getMe", json!({}))["can_read_all_group_messages"], false);
    assert_eq!(api.user_says(-5, 7).text("among us").send().update_id, None);
    assert!(api.user_says(-5, 7).text("hi @Fake_Gateway_Bot").send().update_id.is_some());
    assert!(api.user_says(-5, 7).text("/new").send().update_id.is_some());
    assert_eq!(api.user_says(-5, 7).text("/new@other_bot").send().update_id, None);
    assert_eq!(api.conversation(-5).len(), 4);
}

#[test]
fn mentions_are_found_behind_signs_but_not_inside_words_or_links() {
    let api = BotApi::start();
    let kinds = |text: &str| -> Vec<String> {
        api.user_writes(7, text);
        let list = told(&api).last().unwrap()["message"]["entities"].clone();
        list.as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{} {}", e["type"].as_str().unwrap(), e["offset"]))
            .collect()
    };
    assert_eq!(kinds("😀@fake_gateway_bot"), ["mention 2"]);
    assert_eq!(kinds("(/new@fake_gateway_bot)"), ["bot_command 1"]);
    assert_eq!(kinds("mail@name and a/b and x#y"), [""; 0]);
    assert_eq!(kinds("https://example.org/@name"), ["url 0"]);
}

#[test]
fn what_is_written_in_a_channel_is_a_channel_post() {
    let api = BotApi::start();
    api.add_channel(-1009, "News", "news");
    let post = api.user_says(-1009, 7).text("x").send();
    api.user_edits(-1009, post.message_id, "y");
    let seen = told(&api);
    assert_eq!(seen[0]["channel_post"]["chat"]["username"], "news");
    assert_eq!(seen[1]["edited_channel_post"]["text"], "y");
    let sent = Client::new(&api).ok("sendMessage", json!({"chat_id": "@news", "text": "z"}));
    assert_eq!(sent["chat"]["id"], -1009);
    api.assert_clean();
}

#[test]
fn an_album_is_several_messages_with_one_group_id() {
    let api = BotApi::start();
    let album = api.album();
    api.user_says(7, 7).photo(b"a").text("both").in_album(&album).send();
    api.user_says(7, 7).photo(b"b").in_album(&album).send();
    let seen = told(&api);
    assert_eq!(seen[0]["message"]["media_group_id"], album);
    assert_eq!(seen[0]["message"]["media_group_id"], seen[1]["message"]["media_group_id"]);
}
