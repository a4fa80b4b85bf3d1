//! Files: what came by upload, by address or from a user, and the objects that describe them in messages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};

use super::args::{Arg, Args, Refusal, Upload};
use super::world::World;

/// Kind, prefix of its file ids, folder, extension, MIME type.
const KINDS: [(&str, &str, &str, &str, &str); 8] = [
    ("photo", "AgAC", "photos", "jpg", "image/jpeg"),
    ("document", "BQAC", "documents", "bin", "application/octet-stream"),
    ("audio", "CQAC", "music", "mp3", "audio/mpeg"),
    ("voice", "AwAC", "voice", "oga", "audio/ogg"),
    ("video", "BAAC", "videos", "mp4", "video/mp4"),
    ("animation", "CgAC", "animations", "mp4", "video/mp4"),
    ("sticker", "CAAC", "stickers", "webp", "image/webp"),
    ("video_note", "DQAC", "video_notes", "mp4", "video/mp4"),
];

/// The kind of medium in a message, if it has one.
pub fn kind_in(message: &Value) -> Option<&'static str> {
    KINDS.iter().rev().map(|k| k.0).find(|kind| message[*kind].is_object() || message[*kind].is_array())
}

/// A picture of one pixel, for those who do not care which.
pub const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6,
    0, 0, 0, 0x1F, 0x15, 0xC4, 0x89, 0, 0, 0, 13, b'I', b'D', b'A', b'T', 0x78, 0x9C, 0x63, 0x64, 0xF8, 0xCF, 0x50,
    0x0F, 0, 0x03, 0x86, 0x01, 0x80, 0x5A, 0x34, 0x7D, 0x6B, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xAE, 0x42, 0x60,
    0x82,
];

#[derive(Debug, Clone)]
pub struct StoredFile {
    pub id: String,
    pub unique: String,
    pub kind: &'static str,
    pub data: Arc<Vec<u8>>,
    pub name: Option<String>,
    pub mime: String,
    pub path: String,
    /// Bytes it says it has; a test may let it lie.
    pub size: u64,
    /// Id of the small form of a photo.
    small: Option<String>,
}

impl World {
    pub fn new_file(
        &mut self,
        bot: i64,
        kind: &str,
        data: Arc<Vec<u8>>,
        name: Option<String>,
        mime: Option<String>,
    ) -> StoredFile {
        let (kind, prefix, folder, extension, default_mime) =
            *KINDS.iter().find(|k| k.0 == kind).expect("a kind of the table");
        let n = self.number();
        let extension = name.as_deref().and_then(|name| name.rsplit_once('.')).map_or(extension, |(_, e)| e);
        let file = StoredFile {
            id: format!("{prefix}{bot:x}-{n:08x}_{kind}"),
            unique: format!("AQAD{n:08x}"),
            kind,
            size: data.len() as u64,
            data,
            path: format!("{folder}/file_{n}.{extension}"),
            name,
            mime: mime.unwrap_or_else(|| default_mime.to_owned()),
            small: None,
        };
        self.bot(bot).files.insert(file.id.clone(), file.clone());
        file
    }

    /// The field of a message that shows this file. Durations and sizes are nominal unless `more` has them.
    pub fn media_object(&mut self, bot: i64, file: &StoredFile, more: &Value) -> Value {
        let mut object = json!({"file_id": file.id, "file_unique_id": file.unique, "file_size": file.size});
        let (width, height) = image_size(&file.data).unwrap_or((640, 480));
        let kind = file.kind;
        if kind == "photo" {
            let known = file.small.clone().and_then(|id| self.bot(bot).files.get(&id).cloned());
            let small = known.unwrap_or_else(|| self.new_file(bot, "photo", Arc::new(PIXEL.to_vec()), None, None));
            if let Some(stored) = self.bot(bot).files.get_mut(&file.id) {
                stored.small = Some(small.id.clone());
            }
            object["width"] = json!(width);
            object["height"] = json!(height);
            return json!([{"file_id": small.id, "file_unique_id": small.unique, "file_size": small.size,
                "width": 90, "height": 67}, object]);
        }
        let number = |key: &str, otherwise: i64| {
            let value = &more[key];
            json!(value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(otherwise))
        };
        let one_of = |kinds: &[&str]| kinds.contains(&kind);
        if one_of(&["document", "audio", "video", "animation", "voice"]) {
            object["mime_type"] = json!(file.mime);
        }
        if let Some(name) = file.name.as_ref().filter(|_| one_of(&["document", "audio", "video", "animation"])) {
            object["file_name"] = json!(name);
        }
        if one_of(&["audio", "voice", "video", "animation", "video_note"]) {
            object["duration"] = number("duration", 1);
        }
        if one_of(&["video", "animation"]) {
            object["width"] = number("width", 640);
            object["height"] = number("height", 480);
        }
        if kind == "video_note" {
            object["length"] = number("length", 240);
        }
        if kind == "sticker" {
            let (animated, video) = (file.path.ends_with(".tgs"), file.path.ends_with(".webm"));
            for (key, value) in [
                ("type", json!("regular")),
                ("width", json!(512)),
                ("height", json!(512)),
                ("is_animated", json!(animated)),
                ("is_video", json!(video)),
            ] {
                object[key] = value;
            }
        }
        for key in ["title", "performer", "emoji", "set_name", "thumbnail"] {
            let text = kind == "sticker" && key != "title" || kind == "audio" && key != "thumbnail";
            if (text || key == "thumbnail") && !more[key].is_null() {
                object[key] = more[key].clone();
            }
        }
        object
    }

    /// The file a parameter means: an upload, `attach://` one, an address or a known id.
    pub fn take_file(&mut self, bot: i64, args: &Args, value: Option<&Arg>, kind: &str) -> Result<StoredFile, Refusal> {
        let text = match value {
            Some(Arg::File(upload)) => return self.take_upload(bot, upload, kind),
            Some(Arg::Json(Value::String(text))) | Some(Arg::Text(text)) => text.clone(),
            _ => String::new(),
        };
        if let Some(upload) = text.strip_prefix("attach://").and_then(|part| args.file(part)) {
            return self.take_upload(bot, &upload.clone(), kind);
        }
        if text.is_empty() {
            return Err(Refusal::bad(&format!("There is no {} in the request", kind.replace('_', " "))));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            // Asked under the lock: only a loopback server of the test is ever asked, and it must not call back.
            let data = fetch(&text).ok_or_else(|| Refusal::bad("Failed to get HTTP URL content"))?;
            if kind == "photo" && image_size(&data).is_none() {
                return Err(Refusal::bad("Wrong type of the web page content"));
            }
            let name = text.rsplit('/').next().filter(|n| n.contains('.') && !n.contains(':')).map(str::to_owned);
            return Ok(self.new_file(bot, kind, Arc::new(data), name, None));
        }
        let known = self.bot(bot).files.get(&text).cloned();
        known.ok_or_else(|| Refusal::bad("Wrong file identifier/HTTP URL specified"))
    }

    fn take_upload(&mut self, bot: i64, upload: &Upload, kind: &str) -> Result<StoredFile, Refusal> {
        if upload.data.is_empty() {
            return Err(Refusal::bad("file must be non-empty"));
        }
        if kind == "photo" {
            let (w, h) = image_size(&upload.data).ok_or_else(|| Refusal::bad("IMAGE_PROCESS_FAILED"))?;
            if w + h > 10_000 || w.max(h) > 20 * w.min(h).max(1) {
                return Err(Refusal::bad("PHOTO_INVALID_DIMENSIONS"));
            }
            if upload.data.len() > 10 << 20 {
                return Err(Refusal::bad("file is too big"));
            }
        }
        let mime = upload.mime.clone().filter(|_| kind != "photo" && kind != "sticker");
        Ok(self.new_file(bot, kind, Arc::clone(&upload.data), Some(upload.name.clone()), mime))
    }
}

/// Body of a plain address on loopback; the pixel for the rest of the world, nothing for `*.invalid`.
fn fetch(url: &str) -> Option<Vec<u8>> {
    let rest = url.split_once("://")?.1;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = host.split(':').next()?;
    if name.ends_with(".invalid") {
        return None;
    }
    if name != "127.0.0.1" && name != "localhost" {
        return Some(PIXEL.to_vec());
    }
    let mut socket = TcpStream::connect(host).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let split = memchr::memmem::find(&answer, b"\r\n\r\n")?;
    answer.starts_with(b"HTTP/1.1 200").then(|| answer[split + 4..].to_vec())
}

/// Width and height of a picture; `None`: not a picture.
pub fn image_size(data: &[u8]) -> Option<(u32, u32)> {
    let big = |at: usize| Some(u32::from(*data.get(at)?) << 8 | u32::from(*data.get(at + 1)?));
    let small = |at: usize| Some(u32::from(*data.get(at + 1)?) << 8 | u32::from(*data.get(at)?));
    if data.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((big(16)? << 16 | big(18)?, big(20)? << 16 | big(22)?));
    }
    if data.starts_with(b"GIF8") {
        return Some((small(6)?, small(8)?));
    }
    if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
        return Some((512, 512));
    }
    if !data.starts_with(b"\xff\xd8") {
        return None;
    }
    let mut at = 2;
    while let Some([0xff, marker]) = data.get(at..at + 2) {
        if (0xC0..=0xCF).contains(marker) && ![0xC4, 0xC8, 0xCC].contains(marker) {
            return Some((big(at + 7)?, big(at + 5)?));
        }
        at += 2 + big(at + 2)? as usize;
    }
    Some((800, 600))
}
