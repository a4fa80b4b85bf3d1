//! The pi stand-in seen from a test: builds it when needed, gives it a launcher of its own (so that it needs
//! nothing from the environment, which the gateway cleans), holds and opens its gates, reads its diary.
//!
//! The stand-in itself is `fake_pi_main.rs`; what it can be told is listed in CONTRIBUTING.md.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::DEADLINE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Behaves like 0.73.1.
    Old,
    /// Behaves like 1.5.2.
    New,
}

pub struct FakePi {
    dir: TempDir,
    gates: Arc<Gates>,
    accept: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Gates {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: HashSet<String>,
    arrived: Vec<(String, u32)>,
    waiting: Vec<(String, UnixStream)>,
    stopped: bool,
}

impl FakePi {
    pub fn new(flavour: Flavour) -> FakePi {
        FakePi::with(flavour, &[])
    }

    /// With more settings for the stand-in, as environment of its launcher: `FAKE_PI_EXIT_AT_START` (text for
    /// stderr; it then exits 1), `FAKE_PI_START_MS` (delay before it reads), `FAKE_PI_WINDOW` and so on.
    pub fn with(flavour: Flavour, settings: &[(&str, &str)]) -> FakePi {
        let dir = tempfile::tempdir().expect("temporary folder");
        let socket = dir.path().join("gates");
        let listener = UnixListener::bind(&socket).expect("socket in the temporary folder");
        let mut script = String::from("#!/bin/sh\n");
        let flavour = if flavour == Flavour::New { "new" } else { "old" };
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        for (key, value) in
            [("FAKE_PI_FLAVOUR", flavour), ("FAKE_PI_HOME", &dir.path().to_string_lossy())].iter().chain(settings)
        {
            script += &format!("export {key}={}\n", quoted(value));
        }
        script += &format!("exec {} \"$@\"\n", quoted(&executable().to_string_lossy()));
        let program = dir.path().join("pi");
        fs::write(&program, script).expect("launcher");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("launcher can be run");
        let gates: Arc<Gates> = Arc::default();
        let for_thread = Arc::clone(&gates);
        let accept = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = stream.set_read_timeout(Some(DEADLINE));
                let _ = BufReader::new(&stream).read_line(&mut line);
                let mut state = for_thread.state.lock().expect("no panic under the lock");
                if state.stopped {
                    break;
                }
                let Some((pid, gate)) = line.trim_end().split_once(' ') else {
                    continue;
                };
                state.arrived.push((gate.to_owned(), pid.parse().unwrap_or(0)));
                // An open gate lets through at once: the stream is dropped.
                if !state.open.contains(gate) {
                    state.waiting.push((gate.to_owned(), stream));
                }
                for_thread.changed.notify_all();
            }
        });
        FakePi { dir, gates, accept: Some(accept) }
    }

    /// What to give the gateway as pi.
    pub fn program(&self) -> PathBuf {
        self.dir.path().join("pi")
    }

    /// Opens a gate, for whoever stands there and all who come later.
    pub fn open(&self, gate: &str) {
        let mut state = self.gates.state.lock().expect("no panic under the lock");
        state.open.insert(gate.to_owned());
        state.waiting.retain(|(name, _)| name != gate);
    }

    /// The pid of the first stand-in that reached the gate, as soon as one did.
    pub fn wait_gate(&self, gate: &str) -> u32 {
        let end = Instant::now() + DEADLINE;
        let mut state = self.gates.state.lock().expect("no panic under the lock");
        loop {
            if let Some((_, pid)) = state.arrived.iter().find(|(name, _)| name == gate) {
                return *pid;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let arrived = state.arrived.clone();
                drop(state);
                panic!("no stand-in came to gate {gate:?}; arrivals: {arrived:?}; diary: {:#?}", self.diary());
            }
            state = self.gates.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    /// Has a stand-in reached the gate?
    pub fn came_to(&self, gate: &str) -> bool {
        let state = self.gates.state.lock().expect("no panic under the lock");
        state.arrived.iter().any(|(name, _)| name == gate)
    }

    /// What the stand-ins of this launcher did: `{"pid","start":{"args","cwd","env"}}`, `{"pid","in":command}`.
    pub fn diary(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("diary")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The arguments of each start so far.
    pub fn starts(&self) -> Vec<Vec<String>> {
        let args = |v: &Value| serde_json::from_value(v["start"]["args"].clone()).ok();
        self.diary().iter().filter_map(args).collect()
    }

    /// The prompts (and steers and follow-ups) received so far.
    pub fn prompts(&self) -> Vec<String> {
        let commands = self.diary().into_iter().map(|mut v| v["in"].take());
        let prompts = commands.filter(|c| ["prompt", "steer", "follow_up"].iter().any(|kind| c["type"] == *kind));
        prompts.filter_map(|c| c["message"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for FakePi {
    fn drop(&mut self) {
        let mut state = self.gates.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.stopped = true;
        state.waiting.clear();
        drop(state);
        if let Ok(mut stream) = UnixStream::connect(self.dir.path().join("gates")) {
            let _ = stream.write_all(b"\n");
        }
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

/// The stand-in, as an example built beside the running test. A whole `cargo test` builds it first; for a
/// single test (or a bench) it is built here, if it is missing or older than its source.
pub fn executable() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("path of the running test");
        let deps = test.parent().expect("a test lies in a folder");
        let path = deps.with_file_name("examples").join("fake-pi");
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
        let sources = [
            "directives.rs",
            "fake_pi_main.rs",
            "fake_pi/play.rs",
            "fake_pi/run.rs",
            "fake_pi/tools.rs",
            "fake_pi/session.rs",
            "fake_pi/wire.rs",
        ];
        if sources.iter().any(|source| changed(&support.join(source)) > changed(&path)) {
            let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
            build.args(["build", "--quiet", "--example", "fake-pi"]).current_dir(env!("CARGO_MANIFEST_DIR"));
            if deps.parent().is_some_and(|profile| profile.ends_with("release")) {
                build.arg("--release");
            }
            let status = build.status().expect("cargo can be run");
            assert!(status.success(), "the pi stand-in does not build");
        }
        path
    })
}
