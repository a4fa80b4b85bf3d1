//! A session file with the rules of the chosen pi: old writes it with the first complete assistant message,
//! new with the first user message; whole lines are appended, nothing is ever rewritten.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::wire::{object, s};

pub struct Session {
    pub path: PathBuf,
    pub id: String,
    pub cwd: PathBuf,
    pub name: Option<String>,
    /// The messages that count as history, as JSON text.
    pub messages: Vec<String>,
    lines: Vec<String>,
    written: usize,
    last_entry: Option<String>,
    new: bool,
}

fn hex_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{:04x}{:04x}", std::process::id() & 0xffff, NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}

pub fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

impl Session {
    /// The session at `path`: continued if it is there, else begun for the working directory `cwd`.
    pub fn open(path: PathBuf, cwd: PathBuf, new: bool) -> Result<Session, String> {
        let id = format!(
            "01a2{}-0000-7000-8000-{:012x}",
            &hex_id()[4..],
            jiff::Timestamp::now().as_nanosecond() as u64 & 0xffff_ffff_ffff
        );
        let mut session = Session {
            path,
            id,
            cwd,
            name: None,
            messages: Vec::new(),
            lines: Vec::new(),
            written: 0,
            last_entry: None,
            new,
        };
        if let Some(folder) = session.path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let existing = fs::read_to_string(&session.path).ok();
        let values: Vec<Value> =
            existing.iter().flat_map(|t| t.lines()).filter_map(|l| serde_json::from_str(l).ok()).collect();
        match values.first() {
            Some(first) if first["type"] == "session" => session.load(&values),
            _ => {
                if existing.is_some() && new {
                    return Err(format!("Session file is not a valid pi session: {}", session.path.display()));
                }
                session.lines.push(object(&[
                    ("type", "\"session\""),
                    ("version", "3"),
                    ("id", &s(&session.id)),
                    ("timestamp", &s(&timestamp())),
                    ("cwd", &s(&session.cwd.to_string_lossy())),
                ]));
                if existing.is_some() {
                    let _ = fs::write(&session.path, "");
                    let _ = session.flush();
                }
            }
        }
        Ok(session)
    }

    fn load(&mut self, values: &[Value]) {
        self.id = values[0]["id"].as_str().unwrap_or("").to_owned();
        self.cwd = values[0]["cwd"].as_str().unwrap_or("/").into();
        for value in &values[1..] {
            self.last_entry = value["id"].as_str().map(str::to_owned);
            if value["type"] == "message" {
                self.messages.push(value["message"].to_string());
            }
            if value["type"] == "session_info" {
                self.name = value["name"].as_str().map(str::to_owned);
            }
        }
        self.lines = vec![String::new(); values.len()];
        self.written = values.len();
    }

    /// An entry of this type; `fields` come after the common ones.
    pub fn entry(&mut self, kind: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let id = hex_id();
        let parent = self.last_entry.replace(id.clone()).map_or("null".to_owned(), |parent| s(&parent));
        let (kind, quoted, time) = (s(kind), s(&id), s(&timestamp()));
        let mut all = vec![("type", kind.as_str()), ("id", &quoted), ("parentId", &parent), ("timestamp", &time)];
        all.extend_from_slice(fields);
        self.lines.push(object(&all));
        if self.written > 0 {
            self.flush()?;
        }
        Ok(id)
    }

    /// A complete message. `starts_file`: it is the kind of message with which the file appears.
    pub fn message(&mut self, message: &str, role: &str) -> Result<(), String> {
        self.messages.push(message.to_owned());
        self.entry("message", &[("message", message)])?;
        let starts_file = if self.new { role == "user" } else { role == "assistant" };
        if starts_file && self.written == 0 {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let pending = &self.lines[self.written..];
        let text: String = pending.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let result = file.and_then(|mut file| file.write_all(text.as_bytes()));
        match result {
            Ok(()) => self.written = self.lines.len(),
            Err(_) if self.new => {
                return Err(format!("ENOENT: no such file or directory, open '{}'", self.path.display()))
            }
            // Old pi does not notice.
            Err(_) => {}
        }
        Ok(())
    }

    /// (user, assistant, toolResult) messages.
    pub fn counts(&self) -> (usize, usize, usize) {
        let of = |role: &str| {
            self.messages
                .iter()
                .filter(|m| {
                    m.starts_with(&format!("{{\"role\":\"{role}\"")) || m.contains(&format!("\"role\":\"{role}\""))
                })
                .count()
        };
        (of("user"), of("assistant"), of("toolResult"))
    }

    pub fn last_assistant_text(&self) -> Option<String> {
        let values = self.messages.iter().rev().filter_map(|m| serde_json::from_str::<Value>(m).ok());
        let message = values.into_iter().find(|m| m["role"] == "assistant")?;
        let text: String = message["content"].as_array()?.iter().filter_map(|b| b["text"].as_str()).collect();
        (!text.is_empty()).then(|| text.trim().to_owned())
    }
}
