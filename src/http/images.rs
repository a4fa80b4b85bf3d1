//! Pictures that come in as base64: checked, written to the media folder, and removed if the message is refused.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::Value;

use crate::message::Image;

use super::fault::Fault;
use super::logins::{hash, random};
use super::settings::Settings;

/// Pictures of one message.
pub const MOST: usize = 16;
/// So many first bytes tell the type.
pub const HEAD: usize = 12;
pub const TAKEN: &str = "only PNG, JPEG, GIF and WebP are taken";

/// Files that belong to nobody until the message is accepted; dropped before that, they are removed.
#[derive(Debug, Default)]
pub struct Stored {
    pub images: Vec<Image>,
    /// For the hash of the message.
    pub hashes: Vec<String>,
    kept: bool,
}

impl Stored {
    /// The message with these pictures is recorded.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Those of another one after these.
    pub fn join(&mut self, mut other: Stored) {
        self.images.append(&mut other.images);
        self.hashes.append(&mut other.hashes);
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if !self.kept {
            for image in &self.images {
                if let Err(e) = std::fs::remove_file(&image.path) {
                    log::warn!("a refused picture could not be removed: {}: {e}", image.path.display());
                }
            }
        }
    }
}

/// Type by the first bytes; what the client says about it does not count.
fn kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some(("image/png", "png")),
        [0xff, 0xd8, 0xff, ..] => Some(("image/jpeg", "jpg")),
        [b'G', b'I', b'F', b'8', ..] => Some(("image/gif", "gif")),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(("image/webp", "webp")),
        _ => None,
    }
}

pub fn is_picture(bytes: &[u8]) -> bool {
    kind(bytes).is_some()
}

/// Writes one picture; `at` begins the sentence of a refusal.
pub fn add(s: &Settings, stored: &mut Stored, bytes: &[u8], at: &str) -> Result<(), Fault> {
    let (mime, ext) = kind(bytes).ok_or_else(|| Fault::invalid(format!("{at}{TAKEN}")))?;
    let path = write(&s.media_dir, bytes, ext).map_err(|e| {
        log::error!("a picture could not be stored in {}: {e}", s.media_dir.display());
        Fault::new(503, "store_failing", "The picture could not be stored").retry(5)
    })?;
    stored.hashes.push(hash(bytes));
    stored.images.push(Image { path, mime: mime.into() });
    Ok(())
}

/// Takes `images` of `chat.send` and `/api/chat` (1.5): `{data, mimeType}` or `{source: {data, mediaType}}`.
pub fn store(s: &Settings, list: Option<Value>) -> Result<Stored, Fault> {
    let mut stored = Stored::default();
    let list = match list {
        None => return Ok(stored),
        Some(Value::Array(list)) if list.len() <= MOST => list,
        Some(Value::Array(_)) => return Err(Fault::invalid(format!("images: at most {MOST}"))),
        Some(_) => return Err(Fault::invalid("images must be an array")),
    };
    for (n, item) in list.into_iter().enumerate() {
        let bad = |why: &str| Fault::invalid(format!("images[{n}]: {why}"));
        let data = item.get("data").or_else(|| item.pointer("/source/data")).and_then(Value::as_str);
        let data = data.ok_or_else(|| bad("data is required (base64)"))?;
        // pages like to send data: addresses
        let data = data.strip_prefix("data:").and_then(|d| d.split_once(";base64,")).map_or(data, |(_, d)| d);
        if data.len() / 4 * 3 > s.media_max + 2 {
            let fault = Fault::new(413, "payload_too_large", format!("images[{n}]: at most {} bytes", s.media_max));
            return Err(fault);
        }
        let bytes = STANDARD.decode(data).map_err(|_| bad("data is not base64"))?;
        add(s, &mut stored, &bytes, &format!("images[{n}]: "))?;
    }
    Ok(stored)
}

fn write(dir: &Path, bytes: &[u8], ext: &str) -> std::io::Result<std::path::PathBuf> {
    let day = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let dir = dir.join("webchat").join(day.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(format!("{}.{ext}", random(12)));
    let written = (|| {
        let mut f = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        std::fs::File::open(&dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&path); // half a picture helps nobody; it may not exist at all
    }
    written.map(|()| path)
}

/// Tells a repeated message from another one under the same key.
pub fn body_hash(text: &str, images: &Stored) -> String {
    hash(format!("{text}\n{}", images.hashes.join("\n")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn settings(dir: &tempfile::TempDir) -> Settings {
        Settings { media_dir: dir.path().to_owned(), media_max: 64, ..Settings::default() }
    }

    #[test]
    fn a_picture_is_stored_by_its_own_type_and_goes_away_if_refused() {
        let dir = tempfile::tempdir().unwrap();
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\nrest");
        let stored = store(&settings(&dir), Some(json!([{"data": png, "mimeType": "text/html"}]))).unwrap();
        let path = stored.images[0].path.clone();
        assert_eq!(stored.images[0].mime, "image/png");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(stored);
        assert!(!path.exists());
        let mut kept = store(&settings(&dir), Some(json!([{"data": format!("data:image/png;base64,{png}")}]))).unwrap();
        kept.keep();
        let path = kept.images[0].path.clone();
        drop(kept);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let status = |v: Value| store(&settings(&dir), Some(v)).map(|_| 200).unwrap_or_else(|f| f.status);
        assert_eq!(status(json!([{"data": STANDARD.encode("<svg/>")}])), 400);
        assert_eq!(status(json!([{"data": "???"}])), 400);
        assert_eq!(status(json!([{}])), 400);
        assert_eq!(status(json!({})), 400);
        assert_eq!(status(json!([{"data": STANDARD.encode([0x89; 200])}])), 413);
    }
}
