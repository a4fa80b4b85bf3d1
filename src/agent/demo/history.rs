//! The demo agent's session file, in pi's format: one entry a line, each naming its parent.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::wire::{object, text_of};
use crate::agent::session_file::new_id;

pub(super) struct History {
    /// `None`: nothing is written.
    pub path: Option<PathBuf>,
    pub id: String,
    /// What the user said, without the gateway's context lines.
    pub said: Vec<String>,
    pub last_answer: String,
    pub messages: usize,
    pub tools: usize,
    pub chars: usize,
    last_id: Option<String>,
    file: Option<File>,
}

impl History {
    /// Goes on with the session at `path`, or begins one there with the first message.
    pub fn open(path: Option<PathBuf>) -> io::Result<History> {
        let mut history = History {
            path: path.clone(),
            id: new_id()?,
            said: vec![],
            last_answer: String::new(),
            messages: 0,
            tools: 0,
            chars: 0,
            last_id: None,
            file: None,
        };
        let Some(path) = path else { return Ok(history) };
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(history),
            other => other?,
        };
        for (n, line) in BufReader::new(file).split(b'\n').enumerate() {
            let entry: Value = serde_json::from_slice(&line?).unwrap_or_default();
            match (n, entry["type"].as_str()) {
                (0, Some("session")) => history.id = entry["id"].as_str().unwrap_or_default().to_owned(),
                (0, _) => {
                    let why = format!("Session file is not a valid pi session: {}", path.display());
                    return Err(io::Error::other(why));
                }
                (_, None) => continue,
                (_, Some("message")) => history.count(&entry["message"]),
                _ => {}
            }
            history.last_id = entry["id"].as_str().filter(|_| n > 0).map(Into::into).or(history.last_id);
        }
        history.file = Some(OpenOptions::new().append(true).open(&path)?);
        Ok(history)
    }

    /// A path for a new session beside this one.
    pub fn sibling(&self) -> Option<PathBuf> {
        let folder = self.path.as_deref().and_then(Path::parent)?;
        Some(folder.join(format!("{}.jsonl", new_id().ok()?)))
    }

    fn count(&mut self, message: &Value) {
        let text = text_of(&message["content"]);
        self.messages += 1;
        self.chars += text.len();
        match message["role"].as_str() {
            Some("user") => self.said.push(super::answer::plain(&text).to_owned()),
            Some("assistant") => self.last_answer = text,
            Some("toolResult") => self.tools += 1,
            _ => {}
        }
    }

    /// Appends a message, given as JSON.
    pub fn push(&mut self, message: &str) -> io::Result<()> {
        self.count(&serde_json::from_str(message).unwrap_or_default());
        self.append("message", &[("message", message.to_owned())])
    }

    pub fn compact(&mut self) -> io::Result<Value> {
        let summary = format!("## Demo summary\n{} messages, nothing worth keeping.", self.messages);
        let tokens = self.chars / 4;
        let kept = self.last_id.clone();
        let fields = [
            ("summary", json!(summary).to_string()),
            ("firstKeptEntryId", json!(kept).to_string()),
            ("tokensBefore", tokens.to_string()),
        ];
        self.append("compaction", &fields)?;
        self.chars = summary.len();
        Ok(json!({"summary": summary, "firstKeptEntryId": kept, "tokensBefore": tokens}))
    }

    fn append(&mut self, kind: &str, fields: &[(&str, String)]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.file.is_none() {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            let session = object(&[
                ("type", "\"session\"".into()),
                ("version", "3".into()),
                ("id", json!(self.id).to_string()),
                ("timestamp", json!(now()).to_string()),
                ("cwd", json!(std::env::current_dir()?).to_string()),
            ]);
            writeln!(file, "{session}")?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let id = new_id()?[..8].to_owned();
        let mut entry = vec![
            ("type", json!(kind).to_string()),
            ("id", json!(id).to_string()),
            ("parentId", json!(self.last_id).to_string()),
            ("timestamp", json!(now()).to_string()),
        ];
        entry.extend_from_slice(fields);
        file.write_all(format!("{}\n", object(&entry)).as_bytes())?; // one write: a line is never torn
        self.last_id = Some(id);
        Ok(())
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
