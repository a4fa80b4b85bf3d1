//! Messages of `chat.history` as clients get them, with links to their files made anew for every reader (1.10, R17).

use serde_json::{json, Value};

use crate::http::media::{self, directive, Spot};
use crate::http::port::{HistoryMessage, Port};
use crate::http::settings::Settings;
use crate::message::{Home, PostedFile, Whose};

/// Most text in one answer, bytes: half of what a connection buffers by default (R43).
const MOST_TEXT: usize = 512 << 10;

/// The newest of these messages that fit into one answer, and whether older ones are left out. Always one at least.
pub fn newest(mut list: Vec<HistoryMessage>) -> (Vec<HistoryMessage>, bool) {
    let mut text = 0;
    let fit = list.iter().rev().take_while(|h| {
        text += h.content.len();
        text <= MOST_TEXT
    });
    let cut = list.len().saturating_sub(fit.count().max(1));
    list.drain(..cut);
    (list, cut > 0)
}

/// Looks at files that the messages name: for connection threads.
pub fn messages(port: &Port, session: &str, list: Vec<HistoryMessage>) -> Vec<Value> {
    let s = port.settings.get();
    let home = match list.iter().any(has_files) {
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

fn message(s: &Settings, home: Option<&Home>, h: HistoryMessage) -> Value {
    let mut o = json!({"id": h.id, "role": h.role, "content": h.content, "runId": h.run_id, "at": h.at});
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
