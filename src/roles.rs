//! The roles directory, which pi's role extension reads: a directory per role, and `config.json`, which maps
//! working directories to roles (core.md 3.3, config.md 8).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

/// What pi does without any mapping.
pub const DEFAULT: &str = "default";
/// Several sessions may start at once.
static WRITING: Mutex<()> = Mutex::new(());

/// Files of a new role. The extension reads the first four; the memory routes read the others.
const TEMPLATES: [(&str, &str); 7] = [
    ("IDENTITY.md", "# Identity\n\n- **Name**:\n- **Creature**:\n- **Vibe**:\n- **Emoji**:\n"),
    ("SOUL.md", "# Soul\n\nHow you behave, what you care about, what you never do.\n"),
    ("USER.md", "# User\n\nWho you work for, and what is good to know about them.\n"),
    ("MEMORY.md", "# Memory\n"),
    ("core/identity.md", "# Identity\n\n- **Name**:\n- **Creature**:\n- **Vibe**:\n- **Emoji**:\n"),
    ("core/soul.md", "# Soul\n"),
    ("memory/consolidated.md", "# Memory\n"),
];

/// Whether that is a name for a role: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Roles that have a directory, sorted. No directory at all: none.
pub fn list(roles: &Path) -> Vec<String> {
    let entries = fs::read_dir(roles).into_iter().flatten().flatten();
    let names = entries.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok());
    let mut all: Vec<String> = names.filter(|n| is_name(n)).collect();
    all.sort();
    all
}

/// Makes a role's directory with its templates. Errors: a bad name, a role that exists.
pub fn create(roles: &Path, role: &str) -> io::Result<()> {
    if !is_name(role) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "invalid role name"));
    }
    directory(roles)?;
    let dir = roles.join(role);
    fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => io::Error::new(ErrorKind::AlreadyExists, "role already exists"),
        _ => e,
    })?;
    directory(&dir.join("memory/daily"))?;
    for (name, text) in TEMPLATES {
        let path = dir.join(name);
        if let Some(folder) = path.parent() {
            directory(folder)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// Moves a role's directory to `.trash` and forgets its mappings. Errors: the default role, an unknown one.
pub fn delete(roles: &Path, role: &str) -> io::Result<()> {
    if role == DEFAULT {
        return Err(io::Error::new(ErrorKind::InvalidInput, "default role cannot be deleted"));
    }
    if !is_name(role) || !roles.join(role).is_dir() {
        return Err(io::Error::new(ErrorKind::NotFound, "role not found"));
    }
    let trash = roles.join(".trash");
    directory(&trash)?;
    let ms = UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
    fs::rename(roles.join(role), trash.join(format!("{role}-{ms}")))?;
    change(roles, |mappings| {
        let before = mappings.len();
        mappings.retain(|_, r| r.as_str() != Some(role));
        mappings.len() != before
    })
}

/// Records that `cwd` works in that role. Nothing is written if that is known, or if it is pi's default anyway;
/// unknown keys stay. Errors: a file that is not a JSON object (it is left alone), or that cannot be written.
pub fn map(roles: &Path, cwd: &Path, role: &str) -> io::Result<()> {
    if role == DEFAULT && !roles.join("config.json").exists() {
        return Ok(());
    }
    let cwd = cwd.to_string_lossy().into_owned();
    change(roles, |mappings| mappings.insert(cwd, role.into()).as_ref().and_then(Value::as_str) != Some(role))
}

/// Changes the mappings; written whole or not at all, and only if `edit` says that something changed.
fn change(roles: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> bool) -> io::Result<()> {
    let _one = WRITING.lock().unwrap_or_else(|e| e.into_inner());
    let path = roles.join("config.json");
    let mut config: Map<String, Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?,
        Err(e) if e.kind() == ErrorKind::NotFound => Map::new(),
        Err(e) => return Err(e),
    };
    let mappings = config.entry("mappings").or_insert_with(|| Map::new().into());
    let Some(mappings) = mappings.as_object_mut() else {
        return Err(io::Error::new(ErrorKind::InvalidData, "`mappings` is not an object"));
    };
    if !edit(mappings) {
        return Ok(());
    }
    directory(roles)?;
    let part = roles.join("config.json.part");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    serde_json::to_writer_pretty(&mut file, &config)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(part, path)?;
    fs::File::open(roles)?.sync_all()
}

fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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

    #[test]
    fn a_role_is_made_and_put_into_the_trash() {
        let dir = tempfile::tempdir().unwrap();
        let roles = dir.path().join("roles");
        assert!(list(&roles).is_empty());
        create(&roles, "coder").unwrap();
        assert!(roles.join("coder/core/soul.md").exists() && roles.join("coder/memory/daily").is_dir());
        assert_eq!(create(&roles, "coder").unwrap_err().to_string(), "role already exists");
        assert_eq!(create(&roles, "../x").unwrap_err().to_string(), "invalid role name");
        assert_eq!(list(&roles), ["coder"]);
        map(&roles, Path::new("/w"), "coder").unwrap();
        assert_eq!(delete(&roles, "default").unwrap_err().to_string(), "default role cannot be deleted");
        assert_eq!(delete(&roles, "other").unwrap_err().to_string(), "role not found");
        delete(&roles, "coder").unwrap();
        assert!(list(&roles).is_empty(), "the trash is no role");
        assert_eq!(fs::read_dir(roles.join(".trash")).unwrap().count(), 1);
        assert!(!fs::read_to_string(roles.join("config.json")).unwrap().contains("coder"));
    }
}
