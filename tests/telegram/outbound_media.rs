//! Files that go out.

use std::path::PathBuf;

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::outbound::ANNS;
use crate::support::bot_api::{Rule, Trouble, PIXEL};

pub fn house() -> House {
    House::new(json!({"streamMode": "off"}))
}

/// A file of the workspace.
pub fn file(h: &House, name: &str, data: &[u8]) -> PathBuf {
    let path = h.g.data().parent().unwrap().join("work").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, data).unwrap();
    path
}

pub fn media(h: &House, body: Value) -> crate::support::raw_http::Response {
    let mut body = body;
    body["sessionKey"] = ANNS.into();
    h.g.post("/api/media/send", body)
}

/// What the bot sent: kind of file (or `text`), and text or caption.
pub fn sent(h: &House) -> Vec<(String, String)> {
    let all = h.api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted);
    all.map(|m| (m.media().unwrap_or("text").to_owned(), m.text().to_owned())).collect()
}

pub fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn files_that_an_answer_names_follow_its_text() {
    let h = house();
    for (name, data) in [("a.png", PIXEL), ("b.png", PIXEL), ("c.pdf", b"%PDF"), ("d.mp3", b"ID3")] {
        file(&h, name, data);
    }
    let lines = "MEDIA:a.png\\n[photo] b.png\\n[document] c.pdf | **the** paper\\nMEDIA:d.mp3\\nMEDIA:/etc/passwd";
    h.api.user_writes(ANN, &format!("[[say:Look:\\n{lines}]]"));
    h.api.wait_message(ANN, |m| m.media() == Some("audio"));
    h.settled();
    let text = "Look:\nMEDIA:/etc/passwd";
    assert_eq!(
        sent(&h),
        pairs(&[("text", text), ("photo", ""), ("photo", ""), ("document", "the paper"), ("audio", "")])
    );
    assert_eq!(h.api.calls("sendMediaGroup").len(), 1, "two pictures are an album");
    h.api.assert_clean();
}

#[test]
fn a_file_that_is_not_there_is_told_and_the_rest_arrives() {
    let h = house();
    file(&h, "a.png", PIXEL);
    h.api.user_writes(ANN, "[[say:two:\\nMEDIA:none.png\\nMEDIA:a.png]]");
    h.api.wait_message(ANN, |m| m.text().starts_with("⚠️ Could not send none.png: "));
    h.settled();
    let kinds: Vec<String> = sent(&h).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["text", "photo", "text"]);
}

#[test]
fn a_tool_sends_a_file_and_hears_its_id_and_the_same_bytes_go_up_once() {
    let h = house();
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    file(&h, "a.png", PIXEL);
    file(&h, "again.png", PIXEL);
    let r = media(&h, json!({"path": "a.png", "caption": "my *cat*"}));
    assert_eq!(r.status, 200, "{}", r.text());
    let m = h.api.wait_message(ANN, |m| m.media() == Some("photo"));
    assert_eq!((&r.json()["messageId"], &r.json()["delivered"]), (&json!(m.id().to_string()), &json!(true)));
    assert_eq!((m.text(), m.parts("italic")), ("my cat", vec!["cat".to_owned()]));
    assert_eq!(h.api.file(m.file_id().unwrap()).as_deref(), Some(PIXEL));
    assert_eq!(media(&h, json!({"path": "again.png"})).status, 200);
    let calls = h.api.calls("sendPhoto");
    assert_eq!(calls.len(), 2);
    assert!(!format!("{:?}", calls[1]).contains("again.png"), "known by its bytes: {:?}", calls[1]);
    for (path, status) in [("none.png", 404), ("../x", 403), ("/etc/passwd", 403)] {
        assert_eq!(media(&h, json!({"path": path})).status, status, "{path}");
    }
    h.api.assert_clean();
}

#[test]
fn a_caption_that_is_too_long_follows_and_what_is_too_large_is_refused_before() {
    let h = house();
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    file(&h, "a.png", PIXEL);
    let long = "x".repeat(1100);
    let r = media(&h, json!({"path": "a.png", "caption": long}));
    assert_eq!(r.json()["messageIds"].as_array().map(Vec::len), Some(2), "{}", r.text());
    assert_eq!(sent(&h)[1..], pairs(&[("photo", ""), ("text", &long)]));
    let huge = std::fs::File::create(file(&h, "huge.bin", b"")).unwrap();
    huge.set_len(62 << 20).unwrap();
    let r = media(&h, json!({"path": "huge.bin"}));
    assert_eq!(r.status, 502);
    assert!(r.text().contains("File too large for Telegram (62 MB > 50 MB)"), "{}", r.text());
    assert!(h.api.calls("sendDocument").is_empty());
    h.api.assert_clean();
}

#[test]
fn a_picture_that_is_refused_goes_as_a_document() {
    let h = house();
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    file(&h, "a.png", PIXEL);
    h.api.trouble(Rule::on("sendPhoto", Trouble::bad("PHOTO_INVALID_DIMENSIONS")).times(1));
    assert_eq!(media(&h, json!({"path": "a.png", "caption": "c"})).status, 200);
    assert_eq!(sent(&h)[1..], pairs(&[("document", "c")]));
}

#[test]
fn c32_uploads_that_hang_hold_up_nobody_else_s_text() {
    let h = House::new(json!({"streamMode": "off", "groups": {"*": {"requireMention": false}}}));
    h.api.privacy(false);
    file(&h, "a.png", PIXEL);
    let held = h.api.trouble(Rule::on("sendPhoto", Trouble::Hold).always());
    for group in -25..-20 {
        h.api.add_group(group, "A group");
        h.api.user_says(group, ANN).text("[[say:MEDIA:a.png]]").send();
    }
    h.api.wait_calls("sendPhoto", 3);
    h.api.user_writes(ANN, "[[say:quick]]");
    h.api.wait_text(ANN, "quick");
    assert!((-25..-20).all(|group| h.said(group).is_empty()), "no picture had arrived");
    h.api.release(held);
    for group in -25..-20 {
        h.api.wait_message(group, |m| m.media() == Some("photo"));
    }
}

#[test]
fn an_address_is_the_platform_s_to_fetch_and_ours_only_where_the_guard_allows() {
    let h = house();
    h.api.trouble(Rule::on("sendPhoto", Trouble::bad("failed to get HTTP URL content")).times(1));
    h.api.user_writes(ANN, "[[say:MEDIA:http://127.0.0.1:9/x.png]]");
    let told = h.api.wait_message(ANN, |m| m.text().starts_with("⚠️ Could not send x.png: "));
    assert!(!told.text().contains("127.0.0.1:9/"), "{}", told.text());
    assert_eq!(h.api.calls("sendPhoto").len(), 1, "nothing was fetched from this machine");
}

#[test]
fn a_person_s_command_sends_a_file_of_the_workspace() {
    let h = house();
    file(&h, "a.png", PIXEL);
    h.api.user_writes(ANN, "/photo a.png my cat");
    h.api.wait_message(ANN, |m| m.media() == Some("photo"));
    assert_eq!(sent(&h), pairs(&[("text", "my cat"), ("photo", "")]));
    h.api.user_writes(ANN, "/media https://example.org/x.pdf");
    h.api.wait_call(|c| c.method == "sendDocument" && c.params["document"] == "https://example.org/x.pdf");
}
