//! Files that take another way than the first, and what people see meanwhile.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::outbound_media::{file, house, media, pairs, sent};
use crate::support::bot_api::{Rule, Trouble, PIXEL};

fn spoken() -> House {
    let h = house();
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h
}

fn padded(head: &[u8], size: usize) -> Vec<u8> {
    let mut data = head.to_vec();
    data.resize(size, 0);
    data
}

/// What was shown directly before each call of those methods.
fn shown_before(h: &House, methods: &[&str]) -> Vec<String> {
    let mut action = "nothing".to_owned();
    let mut all = Vec::new();
    for call in h.api.all_calls() {
        match call.method.as_str() {
            "sendChatAction" => action = call.params["action"].as_str().unwrap_or_default().to_owned(),
            method if methods.contains(&method) => all.push(std::mem::replace(&mut action, "nothing".into())),
            _ => action = "nothing".into(),
        }
    }
    all
}

#[test]
fn people_see_that_a_large_file_is_on_its_way() {
    let h = spoken();
    let large = 1_200_000;
    file(&h, "a.png", &padded(PIXEL, large));
    file(&h, "b.pdf", &padded(b"%PDF", large));
    file(&h, "c.mp4", &padded(b"....ftypmp42", large));
    file(&h, "d.ogg", &padded(b"OggS", large));
    file(&h, "small.pdf", b"%PDF");
    for name in ["a.png", "b.pdf", "c.mp4", "d.ogg", "small.pdf"] {
        let r = media(&h, json!({"path": name}));
        assert_eq!(r.status, 200, "{name}: {}", r.text());
    }
    let methods = ["sendPhoto", "sendDocument", "sendVideo", "sendVoice"];
    let wanted = ["upload_photo", "upload_document", "upload_video", "upload_voice", "nothing"];
    assert_eq!(shown_before(&h, &methods), wanted);
    h.api.assert_clean();
}

#[test]
fn a_voice_message_that_somebody_does_not_want_goes_as_music() {
    let h = spoken();
    file(&h, "a.ogg", b"OggS");
    h.api.trouble(Rule::on("sendVoice", Trouble::bad("VOICE_MESSAGES_FORBIDDEN")).times(1));
    let r = media(&h, json!({"path": "a.ogg", "caption": "listen"}));
    assert_eq!(r.status, 200, "{}", r.text());
    assert_eq!(sent(&h)[1..], pairs(&[("audio", "listen")]));
}

/// A web server with one file: how often it was asked.
fn web(data: &'static [u8]) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", data.len());
            let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(data));
        }
    });
    (root, asked)
}

#[test]
fn an_address_that_the_platform_cannot_use_is_fetched_by_us_and_uploaded_once() {
    for refusal in ["Wrong file identifier/HTTP URL specified", "failed to get HTTP URL content"] {
        let h = spoken();
        // It counts at once, also for the accounts that run.
        h.g.reconfigure(json!({"security": {"ssrf": {"allowLocalhost": true}}}));
        h.g.wait_log("configuration reloaded");
        h.api.trouble(Rule::on("sendPhoto", Trouble::bad(refusal)).times(1));
        let (root, asked) = web(PIXEL);
        h.api.user_writes(ANN, &format!("[[say:[photo] {root}/x.png | a pixel\\]]]").replace("\\]]]", "]]"));
        let picture = h.api.wait_message(ANN, |m| m.media() == Some("photo"));
        assert_eq!(picture.text(), "a pixel");
        assert_eq!(h.api.file(picture.file_id().unwrap()).as_deref(), Some(PIXEL));
        let calls = h.api.calls("sendPhoto");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].params["photo"], Value::from(format!("{root}/x.png")));
        assert_ne!(calls[1].params["photo"], calls[0].params["photo"]);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
