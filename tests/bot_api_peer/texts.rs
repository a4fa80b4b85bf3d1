//! HTML, limits and what is refused before it reaches a chat.

use serde_json::{json, Value};

use super::client::{kinds, Client};
use crate::support::bot_api::{BotApi, Options};

fn sent(client: &mut Client, html: &str) -> Value {
    client.ok("sendMessage", json!({"chat_id": 7, "text": html, "parse_mode": "HTML"}))
}

fn world() -> (BotApi, Client) {
    let api = BotApi::start();
    api.add_private(7);
    let client = Client::new(&api);
    (api, client)
}

#[test]
fn html_becomes_plain_text_and_entities_in_utf16_units() {
    let (api, mut client) = world();
    let m =
        sent(&mut client, "😀 <b>fett <i>beide</i></b> &lt;x&gt; &amp; &#x41;&#66; <span class='tg-spoiler'>s</span>");
    assert_eq!(m["text"], "😀 fett beide <x> & AB s");
    assert_eq!(
        m["entities"],
        json!([{"offset": 3, "length": 10, "type": "bold"}, {"offset": 8, "length": 5, "type": "italic"},
            {"offset": 23, "length": 1, "type": "spoiler"}])
    );
    let m = sent(&mut client, "<pre><code class=\"language-rust\">let a;</code></pre>\n<code class=x>c</code>");
    assert_eq!(
        m["entities"],
        json!([{"offset": 0, "length": 6, "type": "pre", "language": "rust"},
            {"offset": 7, "length": 1, "type": "code"}])
    );
    let m = sent(
        &mut client,
        "<a href=\"https://a.b/?x=1&amp;y\">l</a> <a href=\"tg://user?id=9\">u</a> <a href=\"no\">n</a>",
    );
    assert_eq!(m["entities"][0]["url"], "https://a.b/?x=1&y");
    assert_eq!(m["entities"][1]["user"]["id"], 9);
    assert_eq!(m["entities"].as_array().unwrap().len(), 2);
    let m = sent(&mut client, "<blockquote expandable>q</blockquote>  <b></b> \n ");
    assert_eq!((&m["text"], &m["entities"][0]["type"]), (&json!("q"), &json!("expandable_blockquote")));
    let seen = api.messages(7);
    assert_eq!(seen[0].parts("bold"), ["fett beide"]);
    api.assert_clean();
}

#[test]
fn broken_html_is_refused_in_the_servers_words() {
    let (api, mut client) = world();
    let cases = [
        ("é<p>x</p>", "Unsupported start tag \"p\" at byte offset 2"),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<a href=\"x.y\">t</b>", "Unmatched end tag at byte offset 15, expected \"</a>\", found \"</b>\""),
        ("<b>x", "Can't find end tag corresponding to start tag \"b\""),
        ("<a =x>t</a>", "Empty attribute name in the tag \"a\" at byte offset 0"),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<a href=x_y>t</a>", "Unexpected end of name token at byte offset 8"),
        ("<span>x</span>", "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0"),
    ];
    for (html, text) in cases {
        let refusal = client.refused("sendMessage", json!({"chat_id": 7, "text": html, "parse_mode": "HTML"}));
        assert_eq!(refusal, (400, format!("Bad Request: can't parse entities: {text}")), "{html}");
    }
    assert_eq!(kinds(&api), vec!["entity_parse_error"; cases.len()]);
    assert!(api.messages(7).is_empty());
}

#[test]
fn lengths_count_code_points_after_parsing_and_bytes_before() {
    let (api, mut client) = world();
    let all = "😀".repeat(4096);
    let m = sent(&mut client, &format!("<b>{all}</b>  "));
    assert_eq!(m["entities"][0]["length"], 8192);
    let refused = |client: &mut Client, text: &str| {
        client.refused("sendMessage", json!({"chat_id": 7, "text": text, "parse_mode": "HTML"})).1
    };
    assert_eq!(refused(&mut client, &format!("{all}x")), "Bad Request: message is too long");
    assert_eq!(refused(&mut client, &"x".repeat(32_769)), "Bad Request: text is too long");
    assert_eq!(refused(&mut client, ""), "Bad Request: message text is empty");
    assert_eq!(refused(&mut client, "<b> </b>\n"), "Bad Request: text must be non-empty");
    let edit = json!({"chat_id": 7, "message_id": m["message_id"], "text": "x".repeat(4097)});
    assert_eq!(client.refused("editMessageText", edit).1, "Bad Request: MESSAGE_TOO_LONG");
    assert_eq!(kinds(&api), ["text_rejected", "text_over_32k_bytes", "empty_text", "text_rejected", "text_rejected"]);
    let strict = BotApi::with(Options { count_utf16: true, ..Options::default() });
    strict.add_private(7);
    assert_eq!(refused(&mut Client::new(&strict), &"😀".repeat(2049)), "Bad Request: message is too long");
}

#[test]
fn only_a_hundred_entities_are_kept() {
    let (_api, mut client) = world();
    let m = sent(&mut client, &"<b>a</b> ".repeat(120));
    assert_eq!(m["entities"].as_array().unwrap().len(), 100);
}

#[test]
fn keyboards_are_checked() {
    let (api, mut client) = world();
    let mut refused = |keyboard: Value| {
        let markup = json!({"inline_keyboard": keyboard});
        client.refused("sendMessage", json!({"chat_id": 7, "text": "k", "reply_markup": markup})).1
    };
    let button = |data: &str| json!({"text": "b", "callback_data": data});
    assert_eq!(refused(json!([[button(&"é".repeat(33))]])), "Bad Request: BUTTON_DATA_INVALID");
    assert_eq!(refused(json!(vec![vec![button("d"); 8]; 13])), "Bad Request: reply markup is too long");
    assert_eq!(refused(json!([[{"text": ""}]])), "Bad Request: inline keyboard button text must be non-empty");
    assert!(refused(json!([[{"text": "t"}]])).ends_with("Text buttons are unallowed in the inline keyboard"));
    assert!(refused(json!(["x"])).ends_with("must be an Array of Arrays"));
    assert_eq!(kinds(&api), ["callback_data_too_long", "markup_too_long"]);
    let fine = json!({"inline_keyboard": [[button(&"é".repeat(32))]]});
    client.ok("sendMessage", json!({"chat_id": 7, "text": "k", "reply_markup": fine}));
    assert_eq!(api.messages(7)[0].buttons(), [("b".to_owned(), "é".repeat(32))]);
}

#[test]
fn what_no_client_of_ours_does_is_kept_as_a_violation() {
    let (api, mut client) = world();
    let token = api.token();
    assert_eq!(client.get(&format!("/bot{token}/getMe")).status, 200);
    assert_eq!(client.get(&format!("/bot{token}/sendMessage?chat_id=7&text=a+b&x={token}")).status, 200);
    client.ok("sendMessage", json!({"chat_id": "7", "text": "t", "disable_notification": "true", "colour": 1}));
    client.ok("sendMessage", json!({"chat_id": 7, "text": "t", "reply_to_message_id": 1}));
    let path = format!("/bot{token}/sendMessage");
    client.post(&path, "application/x-www-form-urlencoded", b"chat_id=7&text=%C3%A9").unwrap();
    assert_eq!(client.answer().unwrap().json()["result"]["text"], "é");
    client.post(&path, "application/json", b"{\"chat_id\":7").unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    assert_eq!(client.refused("sendNothing", json!({})), (404, "Not Found: method not found".into()));
    let mut seen = kinds(&api);
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            "deprecated_parameter",
            "not_json",
            "token_in_query",
            "unknown_method",
            "unknown_parameter",
            "unknown_parameter",
            "unreadable_body",
            "wrong_type",
            "wrong_type",
            "wrong_verb",
            "wrong_verb",
        ]
    );
}

#[test]
fn commands_follow_the_rules_of_the_menu() {
    let (api, mut client) = world();
    let command = |name: &str, text: &str| json!({"command": name, "description": text});
    let mut refused = |list: Value| client.refused("setMyCommands", json!({ "commands": list })).1;
    assert_eq!(refused(json!(vec![command("a", "b"); 101])), "Bad Request: BOT_COMMANDS_TOO_MUCH");
    assert_eq!(refused(json!([command("Big", "b")])), "Bad Request: BOT_COMMAND_INVALID");
    assert_eq!(refused(json!([command(&"a".repeat(33), "b")])), "Bad Request: command length must not exceed 32");
    assert_eq!(refused(json!([command("a", "")])), "Bad Request: command description must be non-empty");
    client.ok("setMyCommands", json!({"commands": [command("/new", "New")]}));
    let scope = json!({"type": "all_group_chats"});
    client.ok("setMyCommands", json!({"commands": [], "scope": scope}));
    assert_eq!(client.ok("getMyCommands", json!({})), json!([command("new", "New")]));
    assert_eq!(api.commands(&scope, ""), Some(json!([])));
    client.ok("deleteMyCommands", json!({}));
    assert_eq!(client.ok("getMyCommands", json!({})), json!([]));
}
