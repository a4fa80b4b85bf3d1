//! The files of a message, as references that can be fetched later (telegram.md 8.2, 8.5). Pure.

use super::api::{File, Message};
use crate::message::FileRef;

/// Longest side of a picture that the model gets, pixels, and its size, bytes.
const SIDE: u64 = 2000;
const PICTURE: u64 = 3_375_000;

/// Its own, else those of the message that it replies to: people ask "what is this?" about a picture.
pub fn of(m: &Message) -> Vec<FileRef> {
    let own = one(m);
    let quoted = || m.reply_to_message.as_deref().and_then(one);
    own.or_else(quoted).into_iter().collect()
}

fn one(m: &Message) -> Option<FileRef> {
    if let Some(photo) = photo(&m.photo) {
        return Some(reference("photo", photo));
    }
    if let Some(sticker) = &m.sticker {
        return self::sticker(sticker);
    }
    let kinds = [
        ("animation", &m.animation), // has a document beside it
        ("document", &m.document),
        ("video", &m.video),
        ("video_note", &m.video_note),
        ("audio", &m.audio),
        ("voice", &m.voice),
    ];
    let (kind, file) = kinds.into_iter().find_map(|(kind, file)| Some((kind, file.as_deref()?)))?;
    let note = [&file.performer, &file.title].into_iter().flatten().cloned().collect::<Vec<_>>().join(" - ");
    Some(FileRef { note, ..reference(kind, file) })
}

/// The largest size that the model can be given, else the largest.
fn photo(sizes: &[File]) -> Option<&File> {
    let fits = |f: &&File| f.width.max(f.height) <= SIDE && f.file_size.unwrap_or(0) <= PICTURE;
    sizes.iter().rfind(fits).or(sizes.last())
}

/// One that moves is shown by its thumbnail; `None`: it has none.
fn sticker(s: &File) -> Option<FileRef> {
    let moves = s.is_animated || s.is_video;
    let file = if moves { s.thumbnail.as_deref()? } else { s };
    let kind = if moves { "(thumbnail — animated/video sticker)" } else { "" };
    let note = format!("{}{kind}", named(s));
    Some(FileRef { note, unique: s.file_unique_id.clone(), mime: None, ..reference("sticker", file) })
}

/// A sticker that cannot be shown.
pub fn unseen(m: &Message) -> Option<String> {
    let s = m.sticker.as_deref().filter(|s| sticker(s).is_none())?;
    Some(format!("[Sticker {} (animated sticker, no preview)]", named(s)))
}

/// `🙂 from "Cats"`
fn named(s: &File) -> String {
    let emoji = s.emoji.as_deref().unwrap_or_default();
    match &s.set_name {
        Some(set) => format!("{emoji} from \"{set}\""),
        None => emoji.to_owned(),
    }
}

fn reference(kind: &str, f: &File) -> FileRef {
    FileRef {
        kind: kind.to_owned(),
        id: f.file_id.clone(),
        unique: f.file_unique_id.clone(),
        name: f.file_name.clone().filter(|n| !n.trim().is_empty()),
        mime: f.mime_type.clone(),
        size: f.file_size,
        seconds: f.duration,
        note: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn read(v: Value) -> Vec<FileRef> {
        of(&serde_json::from_value(v).unwrap())
    }

    #[test]
    fn every_kind_of_file_is_found() {
        for (message, kind, id, note) in [
            (json!({"document": {"file_id": "d", "file_name": "a.pdf"}}), "document", "d", ""),
            (json!({"video": {"file_id": "v"}}), "video", "v", ""),
            (json!({"video_note": {"file_id": "n"}}), "video_note", "n", ""),
            (json!({"audio": {"file_id": "a", "performer": "P", "title": "T"}}), "audio", "a", "P - T"),
            (json!({"voice": {"file_id": "o"}}), "voice", "o", ""),
            (json!({"animation": {"file_id": "g"}, "document": {"file_id": "x"}}), "animation", "g", ""),
            (
                json!({"sticker": {"file_id": "s", "emoji": "🙂", "set_name": "Cats"}}),
                "sticker",
                "s",
                "🙂 from \"Cats\"",
            ),
        ] {
            let got = read(message);
            assert_eq!(
                (got.len(), got[0].kind.as_str(), got[0].id.as_str(), got[0].note.as_str()),
                (1, kind, id, note)
            );
        }
        assert!(read(json!({"text": "x"})).is_empty());
    }

    #[test]
    fn the_largest_photo_that_the_model_takes_is_chosen() {
        let size = |id: &str, w: u64, bytes: u64| json!({"file_id": id, "width": w, "height": 100, "file_size": bytes});
        let chosen = |sizes: Value| read(json!({"photo": sizes}))[0].id.clone();
        assert_eq!(chosen(json!([size("s", 90, 1), size("m", 1280, 200), size("l", 2560, 300)])), "m");
        assert_eq!(chosen(json!([size("s", 90, 1), size("m", 1280, 200)])), "m");
        assert_eq!(chosen(json!([size("a", 3000, 1), size("b", 4000, 2)])), "b");
    }

    #[test]
    fn a_sticker_that_moves_is_shown_by_its_thumbnail_if_it_has_one() {
        let s = json!({"file_id": "s", "file_unique_id": "u", "emoji": "🙂", "is_animated": true, "thumbnail": {"file_id": "t"}});
        let got = read(json!({"sticker": s}));
        assert_eq!((got[0].id.as_str(), got[0].unique.as_str()), ("t", "u"));
        assert!(got[0].note.contains("thumbnail"));
        let m: Message = serde_json::from_value(json!({"sticker": {"emoji": "🙂", "is_video": true}})).unwrap();
        assert!(of(&m).is_empty());
        assert_eq!(unseen(&m).unwrap(), "[Sticker 🙂 (animated sticker, no preview)]");
    }

    #[test]
    fn the_picture_replied_to_comes_along_unless_there_is_an_own() {
        let reply = json!({"photo": [{"file_id": "r"}]});
        assert_eq!(read(json!({"text": "what?", "reply_to_message": reply}))[0].id, "r");
        assert_eq!(read(json!({"voice": {"file_id": "o"}, "reply_to_message": reply}))[0].id, "o");
    }
}
