//! Voice messages (telegram.md 8.6), against a small server that speaks OpenAI's way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::house::{House, ANN};

/// Answers every request with the next of its answers: status and body.
struct Ears {
    root: String,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Ears {
    fn with(answers: &'static [(u16, &'static str)]) -> Ears {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = format!("http://{}/v1", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let seen = heard.clone();
        std::thread::spawn(move || {
            for (n, socket) in listener.incoming().enumerate() {
                let (status, body) = answers[n.min(answers.len() - 1)];
                serve(&mut socket.unwrap(), status, body, &seen);
            }
        });
        Ears { root, heard }
    }
    fn requests(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(socket: &mut TcpStream, status: u16, body: &str, seen: &Mutex<Vec<Vec<u8>>>) {
    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let n = socket.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..n]);
        let Some(head) = memchr::memmem::find(&got, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&got[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        if n == 0 || got.len() >= head + 4 + length.parse::<usize>().unwrap() {
            break;
        }
    }
    seen.lock().unwrap().push(got);
    write!(socket, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
}

fn house(ears: &Ears) -> House {
    let audio = json!({"provider": "openai", "apiKey": "sk-secret", "baseUrl": ears.root, "language": "de"});
    House::new(json!({"streamMode": "off", "audio": audio}))
}

#[test]
fn a_voice_message_is_written_down() {
    let ears = Ears::with(&[(200, r#"{"text": " guten Tag [[say:hello]] "}"#)]);
    let h = house(&ears);
    h.api.user_says(ANN, ANN).voice(3, b"OggS voice data").send();
    h.api.wait_text(ANN, "hello");
    let prompt = &h.pi.prompts()[0];
    assert!(prompt.contains("[Voice message (saved to: ") && prompt.contains(".ogg)] guten Tag"), "{prompt}");
    let request = String::from_utf8_lossy(&ears.requests()[0]).into_owned();
    assert!(request.starts_with("POST /v1/audio/transcriptions HTTP/1.1\r\n"), "{request}");
    for part in [
        "name=\"file\"; filename=\"audio.ogg\"\r\nContent-Type: audio/ogg\r\n\r\nOggS voice data\r\n",
        "name=\"model\"\r\n\r\nwhisper-1\r\n",
        "name=\"language\"\r\n\r\nde\r\n",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert!(request.to_ascii_lowercase().contains("authorization: bearer sk-secret"));
    assert!(!h.g.log().contains("sk-secret"));
}

#[test]
fn given_trouble_at_the_transcriber_then_it_is_asked_once_more() {
    let ears = Ears::with(&[(503, "busy"), (200, r#"{"text": "[[say:second try]]"}"#)]);
    let h = house(&ears);
    h.api.user_says(ANN, ANN).voice(3, b"OggS").send();
    h.api.wait_text(ANN, "second try");
    assert_eq!(ears.requests().len(), 2);
}

#[test]
fn a_voice_message_that_cannot_be_written_down_is_told_and_kept() {
    let ears = Ears::with(&[(200, r#"{"text": ""}"#)]);
    let h = house(&ears);
    h.api.user_says(ANN, ANN).voice(3, b"OggS").text("[[say:I heard nothing]]").send();
    h.api.wait_text(ANN, "I heard nothing");
    h.api.wait_text(ANN, "Transcription failed, please try again or send text.");
    let prompt = &h.pi.prompts()[0];
    assert!(prompt.contains("[Voice message, 3 s, transcription failed (saved to: "), "{prompt}");
}

#[test]
fn without_a_transcriber_the_agent_gets_the_file_and_the_sender_is_told_once() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_says(ANN, ANN).voice(7, b"OggS").text("[[say:one]]").send();
    h.api.wait_text(ANN, "one");
    h.api.user_says(ANN, ANN).voice(7, b"OggS").text("[[say:two]]").send();
    h.api.wait_text(ANN, "two");
    assert!(h.pi.prompts()[0].contains("[Voice message, 7 s, not transcribed (saved to: "), "{:?}", h.pi.prompts());
    let told = h.said(ANN).into_iter().filter(|t| t == "Voice transcription is not configured.").count();
    assert_eq!(told, 1);
}
