//! Where everything is kept.

use std::path::{Path, PathBuf};

use super::env::Env;
use super::types::Config;

/// The directories and files of a gateway. All absolute; nothing is created here.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    data: PathBuf,
    home: PathBuf,
    roles: PathBuf,
}

impl Paths {
    pub fn new(config: &Config, env: &Env) -> Paths {
        let roles = match (env.var("PI_AGENT_ROLES_DIR"), &config.agent.runtime.agent_dir) {
            (Some(dir), _) => env.resolve(dir, &env.cwd),
            (None, Some(agent)) => agent.join("roles"),
            (None, None) => env.home.join(".pi/agent/roles"),
        };
        Paths { data: data_root(&config.session.data_dir), home: env.home.clone(), roles }
    }

    /// `<data>`.
    pub fn data_root(&self) -> &Path {
        &self.data
    }

    /// Secrets of the service, `NAME=value`.
    pub fn env_file(&self) -> PathBuf {
        self.data.join("env")
    }

    /// pi's session files, one directory per conversation.
    pub fn sessions_dir(&self) -> PathBuf {
        self.data.join("sessions")
    }

    /// pi's session files of one conversation.
    pub fn session_dir(&self, key: &str) -> PathBuf {
        self.sessions_dir().join(session_dir_name(key))
    }

    /// Files of pi processes that are not bound to a conversation yet.
    pub fn warm_dir(&self) -> PathBuf {
        self.sessions_dir().join("_warm")
    }

    pub fn transcript(&self, key: &str) -> PathBuf {
        self.sessions_dir().join("transcripts").join(format!("{}.jsonl", session_dir_name(key)))
    }

    pub fn credentials_dir(&self) -> PathBuf {
        self.data.join("credentials")
    }

    /// The generated token of the gateway.
    pub fn gateway_token(&self) -> PathBuf {
        self.credentials_dir().join("gateway-token")
    }

    /// The generated key that signs media links.
    pub fn media_secret(&self) -> PathBuf {
        self.credentials_dir().join("media-secret")
    }

    /// Hashes of page logins.
    pub fn web_logins(&self) -> PathBuf {
        self.credentials_dir().join("web-logins")
    }

    /// The original's file of approved senders (`allowFrom`) or open requests (`pairing`) of an account.
    pub fn original_credentials(&self, channel: &str, account: Option<&str>, what: &str) -> PathBuf {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        };
        let account: String =
            account.map(|account| format!("__{}", account.chars().map(plain).collect::<String>())).unwrap_or_default();
        self.credentials_dir().join(format!("{channel}{account}-{what}.json"))
    }

    /// The pi extension and the plugin host, written at start.
    pub fn runtime_dir(&self) -> PathBuf {
        self.data.join("runtime")
    }

    pub fn sticker_cache(&self) -> PathBuf {
        self.data.join("cache/sticker-cache.json")
    }

    /// The original's jobs and runs.
    pub fn cron_dir(&self) -> PathBuf {
        self.data.join("cron")
    }

    /// Received files.
    pub fn media_dir(&self) -> PathBuf {
        self.data.join("media")
    }

    /// Default working directory of a role.
    pub fn workspace(&self, role: &str) -> PathBuf {
        self.data.join("workspaces").join(session_dir_name(role))
    }

    pub fn logs_dir(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.data.join("gateway.db")
    }

    /// Messages that `pi-gw send` left for the gateway.
    pub fn spool_dir(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Which keys `pi-gw send` has used.
    pub fn send_keys_dir(&self) -> PathBuf {
        self.data.join("run/sent")
    }

    /// 1 MB that is freed when the disk is full.
    pub fn ballast(&self) -> PathBuf {
        self.data.join("ballast")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.data.join("run/gateway.pid")
    }

    /// The local command line's way in.
    pub fn socket(&self) -> PathBuf {
        self.data.join("run/gateway.sock")
    }

    /// Scanned for plugins after `plugins.dirs`.
    pub fn plugins_dir(&self) -> PathBuf {
        self.home.join(".pi/gateway/plugins")
    }

    pub fn roles_dir(&self) -> &Path {
        &self.roles
    }
}

/// `session.dataDir` names the sessions' directory if it ends in `sessions`, else the data root itself.
pub(super) fn data_root(data_dir: &Path) -> PathBuf {
    match (data_dir.file_name(), data_dir.parent()) {
        (Some(name), Some(parent)) if name == "sessions" => parent.to_path_buf(),
        _ => data_dir.to_path_buf(),
    }
}

/// The name of a conversation's directory (and transcript): `:` becomes `__`, every byte outside `[A-Za-z0-9._-]`
/// is percent-encoded. Different keys have different names, no name leaves the directory or is one the
/// gateway uses itself, and none is longer than 200 bytes.
pub fn session_dir_name(key: &str) -> String {
    let bytes = key.as_bytes();
    let at = |i: Option<usize>| i.and_then(|i| bytes.get(i)).copied();
    let mut name = String::with_capacity(bytes.len() + 8);
    for (i, byte) in bytes.iter().enumerate() {
        let beside =
            |wanted: &[u8]| [at(i.checked_sub(1)), at(Some(i + 1))].into_iter().flatten().any(|b| wanted.contains(&b));
        match byte {
            b':' => name.push_str("__"),
            // Next to another one, or to a colon, an underscore could be taken for half a colon.
            b'_' if beside(b"_:") => name.push_str("%5F"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(*byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if matches!(name.as_str(), "" | "." | ".." | "_warm" | "transcripts" | "sessions.json") {
        name = match bytes.first() {
            Some(first) => format!("%{first:02X}{}", &name[1..]),
            None => "%".into(),
        };
    }
    if name.len() > 200 {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let hash: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        name.truncate(160);
        name = format!("{name}%%{hash}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_become_names() {
        for (key, name) in [
            ("agent:main:main:main", "agent__main__main__main"),
            ("agent:main:telegram:account:default:group:-100", "agent__main__telegram__account__default__group__-100"),
            ("a__b", "a%5F%5Fb"),
            ("a_b", "a_b"),
            ("a_:b", "a%5F__b"),
            ("a:_b", "a__%5Fb"),
            ("a/../b", "a%2F..%2Fb"),
            ("..", "%2E."),
            (".", "%2E"),
            ("", "%"),
            ("_warm", "%5Fwarm"),
            ("transcripts", "%74ranscripts"),
            ("ü%\0", "%C3%BC%25%00"),
        ] {
            assert_eq!(session_dir_name(key), name, "{key}");
        }
        let long = "é".repeat(300);
        assert!(session_dir_name(&long).len() <= 200);
        assert_ne!(session_dir_name(&long), session_dir_name(&format!("{long}x")));
    }

    #[test]
    fn different_keys_have_different_names() {
        let letters = ["_", ":", "a", ".", "%", "5F"];
        let mut keys = vec![String::new()];
        for _ in 0..5 {
            let longer = keys.iter().flat_map(|key| letters.iter().map(move |letter| format!("{key}{letter}")));
            let longer: Vec<String> = longer.collect();
            keys.extend(longer);
        }
        let keys: BTreeSet<String> = keys.into_iter().collect();
        let names: BTreeSet<String> = keys.iter().map(|key| session_dir_name(key)).collect();
        assert_eq!(keys.len(), names.len());
        assert!(names.iter().all(|name| !name.contains('/') && name != "." && name != ".."));
    }

    #[test]
    fn the_data_root_follows_the_sessions() {
        assert_eq!(data_root(Path::new("/d/sessions")), Path::new("/d"));
        assert_eq!(data_root(Path::new("/d/sessions/")), Path::new("/d"));
        assert_eq!(data_root(Path::new("/d/other")), Path::new("/d/other"));
    }

    #[test]
    fn roles_directory() {
        let dir = Path::new("/h");
        let mut env = super::super::env::tests::bare(dir);
        let config = |text: &str| super::super::load::tests::load_text(text).config;
        assert_eq!(Paths::new(&config("{}"), &env).roles_dir(), Path::new("/h/.pi/agent/roles"));
        let own = config(r#"{"agent": {"runtime": {"agentDir": "/a"}}}"#);
        assert_eq!(Paths::new(&own, &env).roles_dir(), Path::new("/a/roles"));
        env.vars.insert("PI_AGENT_ROLES_DIR".into(), "~/r".into());
        assert_eq!(Paths::new(&own, &env).roles_dir(), Path::new("/h/r"));
        let paths = Paths::new(&own, &env);
        assert!(paths.original_credentials("telegram", Some("a b"), "pairing").ends_with("telegram__a_b-pairing.json"));
        assert!(paths.original_credentials("telegram", None, "allowFrom").ends_with("telegram-allowFrom.json"));
    }
}
