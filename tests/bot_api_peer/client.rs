//! A Bot API client of a few lines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{json, Value};

use crate::support::bot_api::BotApi;
use crate::support::DEADLINE;

pub struct Client {
    reader: BufReader<TcpStream>,
    token: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub fn new(api: &BotApi) -> Client {
        Client::try_new(api).unwrap()
    }

    pub fn try_new(api: &BotApi) -> io::Result<Client> {
        let socket = TcpStream::connect(api.address())?;
        socket.set_read_timeout(Some(DEADLINE))?;
        Ok(Client { reader: BufReader::new(socket), token: api.token() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub fn post(&mut self, path: &str, kind: &str, body: &[u8]) -> io::Result<()> {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        self.send(&[head.as_bytes(), body].concat())
    }

    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body })
    }

    /// Sends a call and does not wait for its answer.
    pub fn begin(&mut self, method: &str, params: &Value) -> io::Result<()> {
        let path = format!("/bot{}/{method}", self.token);
        self.post(&path, "application/json", params.to_string().as_bytes())
    }

    pub fn try_call(&mut self, method: &str, params: &Value) -> io::Result<Answer> {
        self.begin(method, params)?;
        self.answer()
    }

    /// `result` of a call that succeeds.
    pub fn ok(&mut self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, &params).unwrap();
        assert_eq!(answer.status, 200, "{method} {params}: {}", answer.json());
        answer.json()["result"].clone()
    }

    /// Status and description of a call that is refused.
    pub fn refused(&mut self, method: &str, params: Value) -> (u16, String) {
        let answer = self.try_call(method, &params).unwrap();
        let body = answer.json();
        assert_eq!((body["ok"].clone(), body["error_code"].clone()), (json!(false), json!(answer.status)), "{method}");
        (answer.status, body["description"].as_str().unwrap().to_owned())
    }

    /// A multipart call: text parts, and files as (part, file name, MIME type, bytes).
    pub fn upload(&mut self, method: &str, texts: &[(&str, &str)], files: &[(&str, &str, &str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (name, value) in texts {
            let part = format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        for (name, file, mime, data) in files {
            let head = format!(
                "--b0\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: {mime}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b0--\r\n");
        let path = format!("/bot{}/{method}", self.token);
        self.post(&path, "multipart/form-data; boundary=b0", &body).unwrap();
        self.answer().unwrap()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        self.answer().unwrap()
    }

    /// The bytes behind a file id.
    pub fn download(&mut self, file_id: &str) -> Vec<u8> {
        let file = self.ok("getFile", json!({"file_id": file_id}));
        let path = format!("/file/bot{}/{}", self.token, file["file_path"].as_str().unwrap());
        let answer = self.get(&path);
        assert_eq!(answer.status, 200);
        answer.body
    }
}

/// Kinds of the violations so far.
pub fn kinds(api: &BotApi) -> Vec<&'static str> {
    api.violations().iter().map(|v| v.kind).collect()
}
