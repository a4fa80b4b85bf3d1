//! Messages of `chat.history` as clients get them, with links to their files made anew for every reader (1.10, R17).

use serde_json::{json, Value};

use crate::http::media::{self, directive, Spot};
use crate::http::port::{HistoryMessage, Port};
use crate::http::settings::Settings;
use crate::message::{Home, PostedFile, Whose};

/// Most text in one answer, bytes: half of what a connection buffers by default (R43).
const MOST_TEXT: usize = 512 << 10;
/// Most text in one part, bytes.
const PART: usize = 64 << 10;

/// A message and its parts.
pub type Told = (HistoryMessage, Vec<Value>);

/// The newest of these messages that fit into one answer with their parts, one at least. `raw`: with results of tools.
pub fn told(port: &Port, list: Vec<HistoryMessage>, raw: bool) -> Vec<Told> {
    let list = newest(list, |h| h.content.len());
    let ids: Vec<&str> = list.iter().filter(|h| h.role == "assistant").map(|h| &*h.id).collect();
    let mut found = port.mailbox.parts(&ids, raw).into_iter();
    let with_parts = |h: HistoryMessage| {
        let known = if h.role == "assistant" { found.next() } else { None };
        let parts = known.filter(|parts| !parts.is_empty()).unwrap_or_else(|| plain(&h));
        (h, parts)
    };
    let list: Vec<Told> = list.into_iter().map(with_parts).collect();
    newest(list, |(h, parts)| h.content.len() + parts.iter().map(|p| p.to_string().len()).sum::<usize>())
}

fn newest<T>(mut list: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut text = 0;
    let fit = list.iter().rev().take_while(|h| {
        text += size(h);
        text <= MOST_TEXT
    });
    let cut = list.len().saturating_sub(fit.count().max(1));
    list.drain(..cut);
    list
}

/// What the store knows of a message.
fn plain(h: &HistoryMessage) -> Vec<Value> {
    let text = (!h.content.is_empty()).then(|| text_part(&h.content));
    let images = h.images.iter().map(|_| json!({"type": "image"}));
    text.into_iter().chain(images).collect()
}

/// As much as a part may hold.
fn text_part(text: &str) -> Value {
    if text.len() <= PART {
        return json!({"type": "text", "text": text});
    }
    let end = (0..=PART).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    json!({"type": "text", "text": text[..end], "truncated": true})
}

/// Looks at files that the messages name: for connection threads.
pub fn messages(port: &Port, session: &str, list: Vec<Told>) -> Vec<Value> {
    let s = port.settings.get();
    let home = match list.iter().any(|(h, _)| has_files(h)) {
        true => home(port, session),
        false => None,
    };
    list.into_iter().map(|h| message(&s, home.as_ref(), h)).collect()
}

fn has_files(h: &HistoryMessage) -> bool {
    !h.images.is_empty() || h.file.is_some() || h.role != "user" && directive::any(&h.content)
}

/// `None`: the mind does not know it, or does not say; then the messages come without links.
fn home(port: &Port, session: &str) -> Option<Home> {
    match media::place(port, Whose::Key(session.to_owned())) {
        Ok(place) => place.map(|place| place.home),
        Err(fault) => {
            log::warn!("files of {session}: {}", fault.message);
            None
        }
    }
}

fn message(s: &Settings, home: Option<&Home>, (h, parts): Told) -> Value {
    let mut o =
        json!({"id": h.id, "role": h.role, "content": h.content, "parts": parts, "runId": h.run_id, "at": h.at});
    if let Some(key) = h.key {
        o["key"] = json!(key);
    }
    if !h.images.is_empty() {
        o["imageCount"] = json!(h.images.len());
    }
    if h.failed {
        o["failed"] = json!(true);
    }
    let Some(home) = home else { return o };
    let mut images = media::uploads(s, &home.sid, &h.images);
    if let Some(file) = &h.file {
        with_file(&mut o, &mut images, s, home, file);
    } else if h.role != "user" && directive::any(&h.content) {
        let shown = media::shown(s, home, &h.content);
        o["content"] = json!(shown.text);
        images.extend(shown.images);
    }
    if !images.is_empty() {
        o["images"] = json!(images);
    }
    o
}

/// A file that a tool sent: a picture beside its caption, anything else as a link below it.
fn with_file(o: &mut Value, images: &mut Vec<String>, s: &Settings, home: &Home, file: &PostedFile) {
    let Ok(spot) = Spot::parse(&file.path) else { return };
    let url = media::link(s, &home.sid, &spot);
    o["media"] = json!({"url": url, "type": file.kind, "filename": file.name});
    if media::is_picture(&spot.ending()) {
        images.push(url);
        return;
    }
    let caption = o["content"].as_str().unwrap_or_default();
    let content = format!("{caption}\n\n{}", directive::file_link(&file.name, &url));
    o["content"] = json!(content.trim());
}
