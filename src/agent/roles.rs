//! The roles directory of pi's role extension: its `config.json` maps working directories to roles
//! (core.md 3.3, config.md 8).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Map, Value};

/// What pi does without any mapping.
const DEFAULT: &str = "default";
/// Several sessions may start at once.
static WRITING: Mutex<()> = Mutex::new(());

/// Records that `cwd` works in that role. Nothing is written if that is known, or if it is pi's default anyway;
/// unknown keys stay. Errors: a file that is not a JSON object (it is left alone), or that cannot be written.
pub fn map(roles: &Path, cwd: &Path, role: &str) -> io::Result<()> {
    let _one = WRITING.lock().unwrap_or_else(|e| e.into_inner());
    let path = roles.join("config.json");
    let mut config: Map<String, Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?,
        Err(e) if e.kind() == ErrorKind::NotFound && role == DEFAULT => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Map::new(),
        Err(e) => return Err(e),
    };
    let mappings = config.entry("mappings").or_insert_with(|| Map::new().into());
    let Some(mappings) = mappings.as_object_mut() else {
        return Err(io::Error::new(ErrorKind::InvalidData, "`mappings` is not an object"));
    };
    let cwd = cwd.to_string_lossy().into_owned();
    if mappings.get(&cwd).and_then(Value::as_str) == Some(role) {
        return Ok(());
    }
    mappings.insert(cwd, role.into());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(roles)?;
    let part = roles.join("config.json.part");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    serde_json::to_writer_pretty(&mut file, &config)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(part, path)?;
    fs::File::open(roles)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mapping_is_added_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let roles = dir.path().join("roles");
        let file = roles.join("config.json");
        let read = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };

        map(&roles, Path::new("/w/a"), "default").unwrap();
        assert!(!file.exists(), "pi's default needs no mapping");
        map(&roles, Path::new("/w/a"), "coder").unwrap();
        assert_eq!(read(), json!({"mappings": {"/w/a": "coder"}}));

        fs::write(&file, r#"{"defaultRole":"x","other":[1],"mappings":{"/w/a":"coder","/w/b":"b"}}"#).unwrap();
        map(&roles, Path::new("/w/a"), "coder").unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with("{\"defaultRole\""), "known: not written again");
        map(&roles, Path::new("/w/a"), "default").unwrap();
        let want = json!({"defaultRole": "x", "other": [1], "mappings": {"/w/a": "default", "/w/b": "b"}});
        assert_eq!(read(), want);
        assert!(!roles.join("config.json.part").exists());
    }

    #[test]
    fn a_damaged_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for text in ["{\"mappings\": {", "[]", "{\"mappings\":3}"] {
            fs::write(&file, text).unwrap();
            assert!(map(dir.path(), Path::new("/w"), "coder").is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
