//! Files that go out to platforms: checked and opened where they are sent (telegram.md 15, R73).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::channels::telegram::Opener;
use crate::config::Config;
use crate::http::{Denied, Media, Settings, Spot};
use crate::message::OutFile;

fn settings(c: &Config) -> Settings {
    Settings { media: Media { workspace_only: c.media.workspace_only, ..Media::default() }, ..Settings::default() }
}

/// Opens what a tool or an answer named, beneath its root, whatever became of the path meanwhile.
pub fn opener(c: &Config) -> Opener {
    let s = settings(c);
    Arc::new(move |file| open(file, &s))
}

fn open(file: &OutFile, s: &Settings) -> Result<(File, u64), String> {
    let spot = Spot::parse(&file.at).map_err(|_| "its path is not allowed".to_owned())?;
    match spot.open(Path::new(&file.under), s) {
        Ok((file, data)) => Ok((file, data.len())),
        Err(Denied::Absent) => Err("there is no such file".into()),
        Err(Denied::Refused) => Err("its path is not allowed".into()),
        Err(Denied::Broken(e)) => Err(format!("it cannot be read: {e}")),
    }
}

/// What a line of an answer names: an address, or a file of the workspace; `None`: that is refused.
pub fn named(c: &Config, at: &str, workspace: &Path) -> Option<OutFile> {
    let file = OutFile { at: at.to_owned(), ..OutFile::default() };
    if file.is_address() {
        return Some(file);
    }
    let s = settings(c);
    let spot = Spot::named(at, workspace, &s, false).ok()?;
    let size = match spot.open(workspace, &s) {
        Ok((_, data)) => data.len(),
        Err(Denied::Absent) => 0, // told when it is sent
        Err(Denied::Refused | Denied::Broken(_)) => return None,
    };
    let under = workspace.to_string_lossy().into_owned();
    Some(OutFile { at: spot.to_string(), under, size, ..OutFile::default() })
}
