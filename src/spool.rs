//! Messages that `pi-gw send` leaves on the disk for a gateway: one file each, taken in when the gateway hears of it or
//! starts. A file goes when its message is in the store, under the file's name as key: a crash in between repeats
//! nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::files::{create_atomic, create_dir, write_atomic};
use crate::message::{Form, Wall};

/// What was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Unix ms.
    pub at: Wall,
    /// As `pi-gw send --to` has it; `telegram:` with its account.
    pub to: String,
    pub text: String,
    #[serde(default)]
    pub form: Form,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default)]
    pub silent: bool,
    /// A gateway that was given it under this key knows it by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long it is good for, ms; else as `delivery.maxAgeMs` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<i64>,
    /// `at` can be believed: something kept the clock right.
    #[serde(default)]
    pub timed: bool,
    /// Why nobody could send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A note on the disk.
pub struct Left {
    /// Its name, which nothing else has.
    pub id: String,
    path: PathBuf,
    /// What is wrong with it otherwise.
    pub note: Result<Note, String>,
    /// Nobody could send it ([`Left::put_aside`]).
    pub aside: bool,
}

const ENDING: &str = "json";
const ASIDE: &str = "bad";
/// So many may lie here: a gateway that never comes must not fill the disk.
pub const MOST: usize = 1000;

/// Writes a note; it is on the disk when this returns. `unique` is part of its name: notes are taken in by time.
pub fn leave(dir: &Path, note: &Note, unique: &str) -> io::Result<()> {
    create_dir(dir)?;
    if fs::read_dir(dir)?.count() >= MOST {
        return Err(io::Error::other(format!("it is full, with {MOST} messages; pi-gw outbox list shows them")));
    }
    let path = dir.join(format!("{:013}-{unique}.{ENDING}", note.at));
    match create_atomic(&path, &serde_json::to_vec(note)?)? {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", path.display()))),
    }
}

/// All notes that are to be sent, the oldest first.
pub fn left(dir: &Path) -> io::Result<Vec<Left>> {
    let mut all = all(dir)?;
    all.retain(|left| !left.aside);
    Ok(all)
}

/// Those that nobody could send too.
pub fn all(dir: &Path) -> io::Result<Vec<Left>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| {
        path.extension().is_some_and(|e| e == ENDING || e == ASIDE)
            && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| !n.starts_with('.'))
    });
    all.sort();
    let read = |path: PathBuf| {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let note = fs::read(&path).map_err(|e| e.to_string());
        let note = note.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()));
        Left { id, aside: path.extension().is_some_and(|e| e == ASIDE), path, note }
    };
    Ok(all.into_iter().map(read).collect())
}

impl Left {
    /// It is taken in.
    pub fn done(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }

    /// Nobody can send it: kept for the operator, and not looked at again.
    pub fn put_aside(self, why: &str) -> io::Result<PathBuf> {
        if let Ok(note) = self.note {
            write_atomic(&self.path, &serde_json::to_vec(&Note { why: Some(why.to_owned()), ..note })?)?;
        }
        let aside = self.path.with_extension(ASIDE);
        fs::rename(&self.path, &aside).map(|()| aside)
    }

    /// It is to be sent after all, as if it were left now.
    pub fn again(self, now: Wall) -> io::Result<()> {
        let note = self.note.map_err(io::Error::other)?;
        write_atomic(&self.path, &serde_json::to_vec(&Note { at: now, why: None, ..note })?)?;
        fs::rename(&self.path, self.path.with_extension(ENDING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_in_order_and_broken_ones_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        assert!(left(&spool).unwrap().is_empty());
        let note = |at, text: &str| Note {
            at,
            to: "telegram:default:5".into(),
            text: text.into(),
            form: Form::Html,
            reply_to: None,
            silent: true,
            key: None,
            life: Some(5),
            timed: true,
            why: None,
        };
        leave(&spool, &note(20, "second ü"), "a").unwrap();
        leave(&spool, &note(3, "first"), "b").unwrap();
        assert!(leave(&spool, &note(3, "other"), "b").is_err(), "a name is used once");
        fs::write(spool.join("0000000000001-x.json"), "{").unwrap();
        let all = left(&spool).unwrap();
        let texts: Vec<_> = all.iter().map(|l| l.note.as_ref().map(|n| n.text.as_str()).unwrap_or("broken")).collect();
        assert_eq!(texts, ["broken", "first", "second ü"]);
        assert_eq!(all[1].note.as_ref().unwrap(), &note(3, "first"));
        for l in all {
            match &l.note {
                Ok(_) => l.done().unwrap(),
                Err(_) => assert!(l.put_aside("broken").unwrap().exists()),
            }
        }
        assert!(left(&spool).unwrap().is_empty());
    }
}
