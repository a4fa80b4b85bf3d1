//! What stands in pi's session file between a prompt and its answer: thoughts, tool calls, their results
//! (gateway-api.md R17). For readers of a history, beside a pi that may be writing. Whatever the file holds, the bytes
//! read, the memory used and what is given back are bounded; what cannot be read is left out.
//!
//! The gateway never goes back to an earlier entry, so the entries of a turn follow its prompt without a gap.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{json, Value};

use super::decode::{ARGS_BYTES, OUTPUT_BYTES};
use super::front::{floor_char, text_head};
use super::session_file::{bears, beginning, next_line};
use crate::message::{injection, FoundEntry};
use crate::plain_json::clean;

/// What is kept of a line, bytes; of an entry that is longer (a picture, a huge result) nothing is shown.
const LINE: usize = 1 << 20;
/// A thought, bytes.
const THOUGHT: usize = 20_000;
/// Text between tool calls, bytes. The reply as a whole is in the store.
const TEXT: usize = 64 << 10;
/// All parts of a turn, as JSON, bytes; what comes later is left out.
const PARTS: usize = 128 << 10;
/// How far before the recorded length the first attempt of a turn is looked for, bytes.
const BACK: u64 = 4 << 20;

/// Where a turn stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    pub file: &'a Path,
    /// Length of the file when the prompt was written for the last time.
    pub from: u64,
    /// What context lines call the turn.
    pub marker: &'a str,
    /// Its prompt has no context line: the first user entry behind `from` is the one.
    pub plain: bool,
}

/// Parts that follow one user entry, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretch {
    /// Number of the injected message that was answered here; 0: the prompt.
    pub n: i64,
    pub parts: Vec<Value>,
}

/// The parts of a turn, with results of tools if `results`. `left`: bytes of the file that may be read still. A file
/// that is missing, or does not know the turn, gives none.
pub fn read(place: &Place, results: bool, left: &mut u64) -> io::Result<Vec<Stretch>> {
    let (found, resumed) = scan(place, place.from, results, left)?;
    if !resumed {
        return Ok(found);
    }
    // The prompt was a note that the turn was cut off: what it did before stands before.
    let (whole, _) = scan(place, place.from.saturating_sub(BACK), results, left)?;
    Ok(if whole.is_empty() { found } else { whole })
}

/// And whether the first user entry only asks for the rest of the turn.
fn scan(place: &Place, from: u64, results: bool, left: &mut u64) -> io::Result<(Vec<Stretch>, bool)> {
    // A pipe in its place must not hold up the reader.
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(place.file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Ok(Default::default());
    }
    file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
    let mut file = BufReader::new(file).take(*left);
    let mut turn = Collected { results, ..Collected::default() };
    let mut resumed = false;
    let told = (|| -> io::Result<()> {
        if from > 0 {
            next_line(&mut file, 0)?; // what is left of the line that ends there
        }
        while let Some(line) = next_line(&mut file, LINE)? {
            let entry = clean(&line);
            let message = entry.as_deref().and_then(|e| serde_json::from_str::<Entry>(e).ok()?.message);
            let head = match message {
                Some(m) if m.role == "user" => text_head(m.content.map_or("", RawValue::get).as_bytes()),
                Some(m) => {
                    turn.take(m);
                    continue;
                }
                None => match beginning(&line).entry {
                    Some(FoundEntry::User { head }) => head,
                    _ => continue,
                },
            };
            match (turn.stretches.is_empty(), injection(&head, place.marker)) {
                (true, _) if place.plain || bears(&head, place.marker) => {
                    resumed = !place.plain && !head.contains("msgId:");
                    turn.stretches.push(Stretch::default());
                }
                (true, _) => {}
                (false, Some(n)) => turn.injected(n),
                (false, None) => break, // the next turn
            }
        }
        Ok(())
    })();
    *left = file.limit();
    told.map(|()| (turn.stretches, resumed))
}

#[derive(Default)]
struct Collected {
    stretches: Vec<Stretch>,
    results: bool,
    bytes: usize,
    /// The last message failed: where its parts begin. They are void once another comes.
    failed: Option<(usize, usize)>,
}

impl Collected {
    fn injected(&mut self, n: i64) {
        let last = self.stretches.last().map_or(0, |s| s.n);
        if n > last {
            self.stretches.push(Stretch { n, parts: Vec::new() });
        }
    }

    fn take(&mut self, m: Message) {
        let at = self.stretches.len().wrapping_sub(1);
        let Some(stretch) = self.stretches.get(at) else { return };
        match &*m.role {
            "assistant" => {
                if let Some((at, len)) = self.failed.take() {
                    self.stretches[at].parts.truncate(len);
                }
                if m.stop_reason == "error" {
                    self.failed = Some((at, self.stretches[at].parts.len()));
                }
                for part in parts(m.content).iter().filter_map(shown) {
                    self.push(part);
                }
            }
            "toolResult" if self.results && !stretch.parts.is_empty() => {
                let content = parts(m.content);
                let text: String = content.iter().filter(|p| p.kind == "text").map(|p| &*p.text).collect();
                let mut out = vec![cut_front(&text, OUTPUT_BYTES)];
                out.extend(content.iter().filter(|p| p.kind == "image").filter_map(shown));
                self.push(json!({
                    "type": "toolResult", "toolCallId": m.tool_call_id, "toolName": m.tool_name,
                    "isError": m.is_error, "content": out,
                }));
            }
            _ => {}
        }
    }

    fn push(&mut self, part: Value) {
        self.bytes += part.to_string().len();
        if self.bytes <= PARTS {
            if let Some(stretch) = self.stretches.last_mut() {
                stretch.parts.push(part);
            }
        }
    }
}

/// One part as a client gets it; `None`: nothing to show.
fn shown(p: &Part) -> Option<Value> {
    match &*p.kind {
        "text" if !p.text.is_empty() => Some(cut("text", &p.text, TEXT)),
        "thinking" if !p.thinking.is_empty() => Some(cut("thinking", &p.thinking, THOUGHT)),
        "toolCall" => {
            let raw = p.arguments.map_or("{}", RawValue::get);
            // What does not fit comes as the text that it is.
            let arguments = match raw.len() <= ARGS_BYTES {
                true => serde_json::from_str(raw).unwrap_or_default(),
                false => json!(raw[..floor_char(raw, ARGS_BYTES)]),
            };
            Some(json!({"type": "toolCall", "id": p.id, "name": p.name, "arguments": arguments}))
        }
        "image" => Some(json!({"type": "image", "mimeType": p.mime_type})),
        _ => None,
    }
}

fn cut(kind: &str, text: &str, most: usize) -> Value {
    match text.len() <= most {
        true => json!({"type": kind, kind: text}),
        false => json!({"type": kind, kind: text[..floor_char(text, most)], "truncated": true}),
    }
}

/// The end of a tool's output tells most; so it is shown live too.
fn cut_front(text: &str, most: usize) -> Value {
    if text.len() <= most {
        return json!({"type": "text", "text": text});
    }
    let from = text.len() - most;
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    json!({"type": "text", "text": text[from..], "truncated": true})
}

fn parts(content: Option<&RawValue>) -> Vec<Part<'_>> {
    let content = content.map_or("", RawValue::get);
    if let Ok(parts) = serde_json::from_str(content) {
        return parts;
    }
    let text = serde_json::from_str::<String>(content).unwrap_or_default();
    vec![Part { kind: "text".into(), text: text.into(), ..Part::default() }]
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Message<'a> {
    role: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    stop_reason: String,
    tool_call_id: String,
    tool_name: String,
    is_error: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    thinking: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    mime_type: Cow<'a, str>,
}

#[cfg(test)]
#[path = "session_parts_tests.rs"]
mod tests;
