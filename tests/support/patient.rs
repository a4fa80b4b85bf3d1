//! A client as a platform or a phone would be one: it sends a message again, under the same key, until the
//! gateway has acknowledged it. A gateway that is gone or just starting is no error to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use tungstenite::client::IntoClientRequest;
use tungstenite::Message;

use super::DEADLINE;

/// Between two tries: the port is the only sign that a gateway is back.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub struct Patient {
    pub addr: SocketAddr,
    pub token: String,
}

impl Patient {
    fn connect(&self) -> Option<TcpStream> {
        let sock = TcpStream::connect_timeout(&self.addr, DEADLINE).ok()?;
        sock.set_read_timeout(Some(DEADLINE)).ok()?;
        sock.set_nodelay(true).ok()?;
        Some(sock)
    }

    /// One request on a connection of its own: status and body; `None`: the gateway is not there or went away.
    pub fn try_post(&self, path: &str, key: &str, body: &Value) -> Option<(u16, Value)> {
        let mut sock = self.connect()?;
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {key}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        sock.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        sock.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    }

    /// One `chat.send` on a socket of its own: its answer.
    fn try_ws(&self, session: &str, key: &str, text: &str) -> Option<Value> {
        let mut request = format!("ws://{}/ws", self.addr).into_client_request().ok()?;
        request.headers_mut().insert("Authorization", format!("Bearer {}", self.token).parse().ok()?);
        let (mut ws, _) = tungstenite::client(request, self.connect()?).ok()?;
        let params = json!({"sessionKey": session, "text": text, "idempotencyKey": key});
        let frame = json!({"type": "req", "id": 1, "method": "chat.send", "params": params});
        ws.send(Message::text(frame.to_string())).ok()?;
        loop {
            if let Message::Text(text) = ws.read().ok()? {
                let v: Value = serde_json::from_str(&text).ok()?;
                if v["type"] == "res" && v["id"] == 1 {
                    return Some(v);
                }
            }
        }
    }

    /// Sends until acknowledged: the run's id.
    pub fn send(&self, session: &str, key: &str, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.try_ws(session, key, text) {
                Some(v) if v["ok"] == true => return v["payload"]["runId"].as_str().unwrap_or_default().to_owned(),
                other => assert!(Instant::now() < end, "{key} is not taken: {other:?}"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks until answered: the reply's text and the run's id.
    pub fn ask(&self, session: &str, key: &str, text: &str) -> (String, String) {
        let end = Instant::now() + DEADLINE;
        let body = json!({"message": text, "sessionKey": session});
        loop {
            match self.try_post("/api/chat", key, &body) {
                Some((200, v)) => {
                    let text = |k: &str| v[k].as_str().unwrap_or_default().to_owned();
                    return (text("reply"), text("runId"));
                }
                other => assert!(Instant::now() < end, "{key} is not answered: {other:?}"),
            }
            std::thread::sleep(PAUSE);
        }
    }
}
