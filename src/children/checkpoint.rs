//! The checkpoint that every program passes before it is started, and the list of what passed (core.md 18 "Exec
//! guard"). With pi running any command this protects only against a configuration or a plugin that names another
//! program.
//!
//! It holds what was configured at the start of the gateway: a file that changes meanwhile does not loosen it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde_json::{json, Value};

use super::{redacted, ChildId, SpawnSpec};
use crate::clock;
use crate::config::types::ExecGuard;
use crate::message::Wall;

/// The shell of `/bash`: nobody else gets one.
pub const SHELL: &str = "/bin/sh";
/// Starts that are remembered; the oldest leaves for a new one.
pub const KEPT: usize = 1000;
/// What they may take together, bytes; the oldest leave as well when it is used up.
const BYTES: usize = 512 << 10;
/// Programs whose place is known. Only a changed configuration adds one.
const PLACES: usize = 64;

/// See the module. Shared by all who start something.
#[derive(Debug)]
pub struct Checkpoint {
    rules: ExecGuard,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Programs that the configuration names and the rules let be, by their name there, and where they lay first.
    places: Vec<(String, PathBuf)>,
    started: VecDeque<Start>,
    bytes: usize,
}

/// One start, or what would have been one.
#[derive(Debug)]
struct Start {
    at: Wall,
    program: Box<Path>,
    /// Redacted and cut, with NUL between them: one piece of memory for all.
    args: Box<str>,
    cwd: Box<Path>,
    allowed: bool,
    id: ChildId,
}

impl Start {
    fn bytes(&self) -> usize {
        size_of::<Start>() + self.program.as_os_str().len() + self.args.len() + self.cwd.as_os_str().len()
    }

    fn json(&self) -> Value {
        let args: Vec<&str> = self.args.split_terminator('\0').collect();
        json!({
            "ts": self.at, "program": self.program.to_string_lossy(), "args": args, "cwd": self.cwd.to_string_lossy(),
            "allowed": self.allowed, "caller": super::name(self.id),
        })
    }
}

impl Checkpoint {
    pub fn new(rules: ExecGuard) -> Checkpoint {
        Checkpoint { rules, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Where the program of that name is. `found`: where it was found now, by somebody who has asked the rules. The
    /// first place counts from then on, as long as something is there: a file of the same name that appears in front
    /// of it in PATH is not what is started.
    pub fn place(&self, name: &str, found: PathBuf) -> PathBuf {
        let mut state = self.state();
        if let Some((_, place)) = state.places.iter().find(|(n, _)| n == name).filter(|(_, place)| place.exists()) {
            return place.clone();
        }
        state.places.retain(|(n, _)| n != name);
        if state.places.len() >= PLACES {
            state.places.remove(0);
        }
        state.places.push((name.to_owned(), found.clone()));
        found
    }

    /// Lets it pass or not, and notes it.
    pub(super) fn pass(&self, spec: &SpawnSpec) -> Result<(), String> {
        let mut state = self.state();
        let known = match spec.id {
            ChildId::Pi(_) => spec.program.is_absolute() && state.places.iter().any(|(_, p)| *p == spec.program),
            ChildId::Other(_) => spec.program == Path::new(SHELL),
        };
        let allowed = known || !self.rules.enabled || !self.rules.block_unlisted;
        self.note(&mut state, spec.id, &spec.program, &spec.args, &spec.cwd, allowed);
        if allowed {
            return Ok(());
        }
        let program = spec.program.display();
        Err(format!("{program} must not be started: it is not what the configuration names (security.exec)"))
    }

    /// Notes one that was stopped on its way here: the rules do not even let it be looked for.
    pub fn refused(&self, id: ChildId, program: &str, cwd: &Path) {
        self.note(&mut self.state(), id, Path::new(program), &[], cwd, false);
    }

    fn note(&self, state: &mut State, id: ChildId, program: &Path, args: &[OsString], cwd: &Path, allowed: bool) {
        if self.rules.enabled && self.rules.audit_log {
            let (program, cwd, args) = (program.into(), cwd.into(), shown(args));
            state.note(Start { at: clock::now().wall, program, args, cwd, allowed, id });
        }
    }

    /// The newest starts, newest first.
    pub fn started(&self, limit: usize) -> Vec<Value> {
        self.state().started.iter().rev().take(limit).map(Start::json).collect()
    }
}

impl State {
    fn note(&mut self, start: Start) {
        self.bytes += start.bytes();
        self.started.push_back(start);
        while self.started.len() > KEPT || (self.bytes > BYTES && self.started.len() > 1) {
            let left = self.started.pop_front().map_or(0, |oldest| oldest.bytes());
            self.bytes -= left;
        }
    }
}

/// Arguments as the list keeps them.
fn shown(args: &[OsString]) -> Box<str> {
    const TOGETHER: usize = 2 << 10;
    let mut out = String::new();
    for (n, arg) in redacted::arguments(args).enumerate() {
        if out.len() + arg.len() > TOGETHER {
            out.push_str(&format!("… ({} more)\0", args.len() - n));
            break;
        }
        out.push_str(&arg.replace('\0', " "));
        out.push('\0');
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ProcId;

    fn rules() -> ExecGuard {
        ExecGuard { allowed_executables: vec!["pi".into()], enabled: true, audit_log: true, block_unlisted: true }
    }

    fn spec(id: ChildId, program: &str) -> SpawnSpec {
        let args = vec!["--api-key".into(), "hush".into()];
        SpawnSpec { id, program: program.into(), args, env: Vec::new(), cwd: "/w".into(), mark: None }
    }

    const PI: ChildId = ChildId::Pi(ProcId(7));

    #[test]
    fn only_the_place_where_a_configured_program_was_found_first_passes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["first", "second"] {
            std::fs::write(at(name), "").unwrap();
        }
        let door = Checkpoint::new(rules());
        let passes = |door: &Checkpoint, program: &Path| door.pass(&spec(PI, program.to_str().unwrap())).is_ok();
        assert!(!passes(&door, &at("first")));
        assert_eq!(door.place("pi", at("first")), at("first"));
        assert_eq!(door.place("pi", at("second")), at("first"), "a later file does not take its place");
        assert!(passes(&door, &at("first")) && !passes(&door, &at("second")));
        assert!(!passes(&door, Path::new("first")) && !passes(&door, Path::new(SHELL)));
        assert!(door.pass(&spec(ChildId::Other(1), SHELL)).is_ok(), "/bash");
        assert!(door.pass(&spec(ChildId::Other(1), at("first").to_str().unwrap())).is_err());
        std::fs::remove_file(at("first")).unwrap();
        assert_eq!(door.place("pi", at("second")), at("second"), "it was installed elsewhere");
        assert!(passes(&door, &at("second")) && !passes(&door, &at("first")));
        let why = door.pass(&spec(PI, "/opt/evil")).unwrap_err();
        assert_eq!(why, "/opt/evil must not be started: it is not what the configuration names (security.exec)");
        for open in [ExecGuard { enabled: false, ..rules() }, ExecGuard { block_unlisted: false, ..rules() }] {
            assert!(passes(&Checkpoint::new(open), Path::new("/opt/evil")));
        }
    }

    #[test]
    fn what_was_let_pass_and_what_was_not_is_listed_newest_first_without_secrets() {
        let door = Checkpoint::new(rules());
        let nothing = ExecGuard { audit_log: false, ..rules() };
        let silent = Checkpoint::new(nothing);
        let _ = silent.pass(&spec(PI, "/opt/evil"));
        assert!(silent.started(9).is_empty());
        let _ = door.pass(&spec(PI, "/opt/evil"));
        let _ = door.pass(&spec(ChildId::Other(3), SHELL));
        let mut list = door.started(9);
        for entry in &mut list {
            assert!(entry.as_object_mut().unwrap().remove("ts").unwrap().as_i64().unwrap() > 0);
        }
        let args = json!(["--api-key", "***"]);
        assert_eq!(
            list,
            [
                json!({"program": SHELL, "args": args, "cwd": "/w", "allowed": true, "caller": "/bash"}),
                json!({"program": "/opt/evil", "args": args, "cwd": "/w", "allowed": false, "caller": "pi-7"}),
            ]
        );
        assert_eq!(door.started(1).len(), 1);
    }

    #[test]
    fn the_list_has_an_end_in_number_and_in_bytes() {
        let door = Checkpoint::new(rules());
        assert_eq!(door.state().started.capacity(), 0, "nothing was started: no memory");
        for n in 0..KEPT as u64 + 5 {
            let _ = door.pass(&spec(ChildId::Pi(ProcId(n)), "/x"));
        }
        let list = door.started(usize::MAX);
        assert_eq!((list.len(), list[KEPT - 1]["caller"].as_str()), (KEPT, Some("pi-5")));
        let mut long = spec(PI, "/x");
        long.args = (0..100).map(|n| OsString::from(format!("{n}{}", "y".repeat(300)))).collect();
        long.cwd = "/z".repeat(2000).into();
        for _ in 0..KEPT {
            let _ = door.pass(&long);
        }
        let state = door.state();
        assert!(state.bytes <= BYTES && state.started.len() > 50, "{} {}", state.bytes, state.started.len());
        assert_eq!(state.bytes, state.started.iter().map(Start::bytes).sum::<usize>());
        let args = state.started.back().unwrap().json()["args"].clone();
        assert!(args.as_array().unwrap().last().unwrap().as_str().unwrap().ends_with(" more)"), "{args}");
    }
}
