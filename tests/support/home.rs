//! A home directory for pi, thrown away with the value: its agent folder with models that live in a
//! scripted LLM, a working directory, a folder for session files, and the environment that goes with it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};
use tempfile::TempDir;

use super::llm::Llm;

pub struct PiHome {
    dir: TempDir,
}

impl PiHome {
    /// Provider `fake` (fake-model, fake-think, fake-small) and provider `fake2` (backup-model), both at `llm`.
    pub fn new(llm: &Llm) -> PiHome {
        PiHome::with_backup(llm, llm)
    }

    /// As [`PiHome::new`], with `fake2` at a provider of its own.
    pub fn with_backup(llm: &Llm, backup: &Llm) -> PiHome {
        PiHome::at(&llm.base_url(), &backup.base_url())
    }

    pub fn at(url: &str, backup_url: &str) -> PiHome {
        let home = PiHome { dir: tempfile::tempdir().expect("temporary folder") };
        for folder in ["agent", "work", "sessions", "gateway"] {
            fs::create_dir(home.dir.path().join(folder)).expect("folder in the temporary home");
        }
        let model = |id: &str, name: &str, reasoning: bool, window: u64, max: u64| {
            let input = if id == "fake-model" { json!(["text", "image"]) } else { json!(["text"]) };
            json!({"id": id, "name": name, "reasoning": reasoning, "input": input, "contextWindow": window, "maxTokens": max})
        };
        let provider = |url: &str, models: Vec<Value>| {
            // The key must not be the name of an environment variable: 0.73.1 would take that one's value.
            json!({"baseUrl": url, "api": "openai-completions", "apiKey": "not-a-secret",
                   "compat": {"supportsDeveloperRole": false}, "models": models})
        };
        let models = vec![
            model("fake-model", "Fake", false, 128_000, 16_384),
            model("fake-think", "Fake Thinker", true, 128_000, 16_384),
            model("fake-small", "Fake Small", false, 8_192, 2_048),
        ];
        let backup = vec![model("backup-model", "Backup", false, 128_000, 16_384)];
        let providers = json!({"fake": provider(url, models), "fake2": provider(backup_url, backup)});
        home.write("agent/models.json", &json!({"providers": providers}));
        // Retries at once and one request per attempt on both generations; compaction within easy reach.
        home.write(
            "agent/settings.json",
            &json!({
            "retry": {"enabled": true, "maxRetries": 3, "baseDelayMs": 50, "provider": {"maxRetries": 0}},
            "compaction": {"enabled": true, "reserveTokens": 2000, "keepRecentTokens": 200}}),
        );
        home
    }

    fn write(&self, path: &str, value: &Value) {
        let text = serde_json::to_string_pretty(value).expect("JSON");
        fs::write(self.dir.path().join(path), text).expect("file in the temporary home");
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `PI_CODING_AGENT_DIR`.
    pub fn agent(&self) -> PathBuf {
        self.path().join("agent")
    }

    /// Where pi works.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub fn sessions(&self) -> PathBuf {
        self.path().join("sessions")
    }

    /// An empty folder for the gateway's own state.
    pub fn gateway(&self) -> PathBuf {
        self.path().join("gateway")
    }

    /// The whole environment for pi: nothing of the machine's but PATH, no network, no login.
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        vec![
            ("PATH".into(), path),
            ("HOME".into(), self.path().into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("PI_CODING_AGENT_DIR".into(), self.agent().into()),
            ("PI_OFFLINE".into(), "1".into()),
            ("PI_TELEMETRY".into(), "0".into()),
            ("PI_SKIP_VERSION_CHECK".into(), "1".into()),
        ]
    }

    /// `pi --mode rpc` on fake-model, in [`PiHome::work`], with this session file.
    pub fn rpc_command(&self, pi: &Path, session: &Path) -> Command {
        let mut command = Command::new(pi);
        command
            .args(["--mode", "rpc", "--provider", "fake", "--model", "fake-model", "--session"])
            .arg(session)
            .env_clear()
            .envs(self.env())
            .current_dir(self.work());
        command
    }
}

/// The entries of a pi session file; a torn last line is left out.
pub fn session_entries(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// Role and text (or stop reason, if there is no text) of each message of a session file, the system's left out.
pub fn session_messages(file: &Path) -> Vec<(String, String)> {
    let entries = session_entries(file);
    let messages = entries.iter().filter(|e| e["type"] == "message").map(|e| &e["message"]);
    messages
        .filter(|m| m["role"] != "system")
        .map(|m| {
            let parts = m["content"].as_array().cloned().unwrap_or_default();
            let text: String = parts.iter().filter_map(|p| p["text"].as_str()).collect();
            let text = if text.is_empty() { m["stopReason"].as_str().unwrap_or("").to_owned() } else { text };
            (m["role"].as_str().unwrap_or("").to_owned(), text)
        })
        .collect()
}
