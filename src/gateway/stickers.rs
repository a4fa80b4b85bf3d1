//! Stickers that were fetched before: the same one comes again and again (telegram.md 8.11).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::message::{FileRef, Source, Wall};

/// So many are known; the oldest give way.
const MOST: usize = 1000;

/// `<data>/cache/sticker-cache.json`, read when a sticker comes.
#[derive(Default)]
pub struct Stickers {
    file: PathBuf,
    /// Only what lies there is given out.
    media_dir: PathBuf,
    writing: Mutex<()>,
}

/// As the original has it; its field names.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    file_id: String,
    file_unique_id: String,
    emoji: String,
    set_name: String,
    file_path: PathBuf,
    content_type: String,
    is_thumbnail: bool,
    cached_at: String,
    received_from: String,
}

/// What `pi-gw media sticker-cache stats` tells.
#[derive(Debug, PartialEq)]
pub struct Kept {
    pub stickers: usize,
    pub sets: usize,
    /// Of them, still there.
    pub files: usize,
    pub bytes: u64,
}

impl Stickers {
    pub fn new(file: PathBuf, media_dir: PathBuf) -> Stickers {
        Stickers { file, media_dir, writing: Mutex::default() }
    }

    /// Where it lies, if it was fetched before and is still there.
    pub fn find(&self, file: &FileRef) -> Option<PathBuf> {
        let known = self.read().remove(key(file)?)?;
        let same = self.there(&known).is_some() && known.is_thumbnail == is_thumbnail(file);
        same.then_some(known.file_path)
    }

    /// Remembers where it was put.
    pub fn keep(&self, file: &FileRef, path: &Path, mime: &str, source: &Source, at: Wall) {
        let Some(key) = key(file) else { return };
        let (emoji, set) = file.note.split_once(" from \"").unwrap_or((&file.note, ""));
        let entry = Entry {
            file_id: file.id.clone(),
            file_unique_id: file.unique.clone(),
            emoji: emoji.to_owned(),
            set_name: set.split('"').next().unwrap_or_default().to_owned(),
            file_path: path.to_owned(),
            content_type: mime.to_owned(),
            is_thumbnail: is_thumbnail(file),
            cached_at: jiff::Timestamp::from_millisecond(at).map_or(String::new(), |at| at.to_string()),
            received_from: source.sender.clone(),
        };
        let _one = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let mut all = self.read();
        all.insert(key.to_owned(), entry);
        while all.len() > MOST {
            let oldest = all.iter().min_by_key(|(_, e)| e.cached_at.clone()).map(|(key, _)| key.clone());
            all.remove(&oldest.unwrap_or_default());
        }
        if let Err(e) = self.write(&all) {
            log::warn!("{}: {e}", self.file.display());
        }
    }

    /// How many are known, and how many of their files are there.
    pub fn count(&self) -> Kept {
        let all = self.read();
        let there: Vec<u64> = all.values().filter_map(|e| self.there(e)).collect();
        let sets: BTreeSet<&str> = all.values().map(|e| e.set_name.as_str()).filter(|set| !set.is_empty()).collect();
        Kept { stickers: all.len(), sets: sets.len(), files: there.len(), bytes: there.iter().sum() }
    }

    /// Forgets those whose files are gone, or all. Files stay: a conversation may know them. How many were forgotten.
    pub fn forget(&self, all: bool) -> std::io::Result<usize> {
        let _one = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        if !self.file.exists() {
            return Ok(0);
        }
        let mut known = self.read();
        let before = known.len();
        known.retain(|_, e| !all && self.there(e).is_some());
        // Also what made no sense is made good.
        self.write(&known).map(|()| before - known.len())
    }

    /// Its bytes, if it is a file of ours.
    fn there(&self, entry: &Entry) -> Option<u64> {
        let seen = entry.file_path.symlink_metadata().ok()?;
        (entry.file_path.starts_with(&self.media_dir) && seen.is_file()).then_some(seen.len())
    }

    /// Nothing, if there is no such file or it makes no sense.
    fn read(&self) -> BTreeMap<String, Entry> {
        let text = std::fs::read(&self.file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, all: &BTreeMap<String, Entry>) -> std::io::Result<()> {
        let dir = self.file.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let part = self.file.with_extension("part");
        std::fs::write(&part, serde_json::to_vec(all)?)?;
        std::fs::rename(part, &self.file)
    }
}

/// Only stickers are looked up.
fn key(file: &FileRef) -> Option<&str> {
    (file.kind == "sticker" && !file.unique.is_empty()).then_some(&file.unique)
}

/// Of one that moves there is only a picture.
fn is_thumbnail(file: &FileRef) -> bool {
    file.note.contains("(thumbnail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sticker_is_found_as_long_as_its_file_is_there_and_ours() {
        let dir = tempfile::tempdir().unwrap();
        let media = dir.path().join("media");
        std::fs::create_dir(&media).unwrap();
        let stickers = Stickers::new(dir.path().join("cache/stickers.json"), media.clone());
        let note = "🙂 from \"Cats\"".to_owned();
        let file = FileRef { kind: "sticker".into(), unique: "u".into(), note, ..FileRef::default() };
        assert_eq!(stickers.find(&file), None);
        let path = media.join("a.webp");
        std::fs::write(&path, b"x").unwrap();
        stickers.keep(&file, &path, "image/webp", &Source::default(), 0);
        assert_eq!(stickers.find(&file), Some(path.clone()));
        let kept = &stickers.read()["u"];
        assert_eq!((kept.emoji.as_str(), kept.set_name.as_str(), kept.is_thumbnail), ("🙂", "Cats", false));
        assert_eq!(stickers.find(&FileRef { kind: "photo".into(), ..file.clone() }), None);
        assert_eq!(stickers.count(), Kept { stickers: 1, sets: 1, files: 1, bytes: 1 });
        assert_eq!(stickers.forget(false).unwrap(), 0);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(stickers.find(&file), None);
        assert_eq!(stickers.count(), Kept { stickers: 1, sets: 1, files: 0, bytes: 0 });
        assert_eq!(stickers.forget(false).unwrap(), 1);
        assert_eq!(stickers.count().stickers, 0);
        let elsewhere = dir.path().join("secret");
        std::fs::write(&elsewhere, b"x").unwrap();
        stickers.keep(&file, &elsewhere, "", &Source::default(), 0);
        assert_eq!(stickers.find(&file), None, "not below the media folder");
    }
}
