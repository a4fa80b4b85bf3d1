//! A stand-in for `pi --mode rpc`: the same protocol, deterministic and instant, scripted by the prompt
//! (`directives.rs` and CONTRIBUTING.md). For gateway tests of odd situations, for load, for benchmarks.
//! The contract test holds it against the real pi.
//!
//! One lock guards everything, stdout included, so lines come out in an order the real, single-threaded pi
//! could have chosen. Commands are served by the main thread, a run plays on a thread of its own.
//! Settings come by environment: `FAKE_PI_FLAVOUR` (old, new), `FAKE_PI_HOME` (gates and diary),
//! `FAKE_PI_EXIT_AT_START`, `FAKE_PI_START_MS`, `FAKE_PI_DEAF` (nothing but SIGKILL ends it).

mod directives;
#[path = "fake_pi/run.rs"]
mod run;
#[path = "fake_pi/session.rs"]
mod session;
#[path = "fake_pi/wire.rs"]
mod wire;

use std::collections::{HashMap, HashSet, VecDeque};
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{json, Value};
use session::Session;
use wire::{object, s, texts, Block};

/// Everything the process knows.
pub struct Pi {
    new: bool,
    session: Session,
    models: Vec<Value>,
    model: Value,
    thinking: String,
    process_cwd: PathBuf,
    /// A run, its retry wait or its compaction is on.
    running: bool,
    waiting_for_retry: bool,
    /// Reason of the compaction that is on.
    compacting: Option<&'static str>,
    steering: VecDeque<String>,
    follow_up: VecDeque<String>,
    /// What old pi runs in place of a retry.
    replacement: Option<String>,
    aborting: bool,
    abort_ids: Vec<Value>,
    bash_aborted: bool,
    /// Process groups of running tools.
    tools: Vec<i32>,
    passed_gates: HashSet<String>,
    dialogs: HashMap<String, Value>,
    failed: HashMap<String, u32>,
    /// The answer being streamed.
    partial: Vec<Block>,
    running_tool: Option<(String, String)>,
    context_tokens: u64,
    next: u64,
    diary: Option<PathBuf>,
}

#[derive(Clone)]
pub struct Shared(Arc<(Mutex<Pi>, Condvar)>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pi> {
        self.0 .0.lock().expect("no panic under the lock")
    }

    fn notify(&self) {
        self.0 .1.notify_all();
    }

    /// Waits for `over` or for `limit`, giving up at once when an abort comes.
    fn wait(&self, limit: Option<Duration>, over: impl Fn(&Pi) -> bool) {
        let guard = self.lock();
        let hold = |pi: &mut Pi| !pi.aborting && !over(pi);
        match limit {
            Some(limit) => drop(self.0 .1.wait_timeout_while(guard, limit, hold)),
            None => drop(self.0 .1.wait_while(guard, hold)),
        }
    }
}

impl Pi {
    fn emit(&mut self, line: &str) {
        let mut out = io::stdout().lock();
        if out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
            eprintln!("Error: write EPIPE");
            process::exit(1);
        }
    }

    fn event(&mut self, kind: &str, fields: &[(&str, &str)]) {
        let kind = s(kind);
        let mut all = vec![("type", kind.as_str())];
        all.extend_from_slice(fields);
        let line = object(&all);
        self.emit(&line);
    }

    fn respond(&mut self, id: &Value, command: &str, result: Result<Option<String>, String>) {
        let (id, command) = (id.to_string(), s(command));
        let mut fields = Vec::new();
        if id != "null" {
            fields.push(("id", id.as_str()));
        }
        fields.extend([("type", "\"response\""), ("command", command.as_str())]);
        let text;
        match result {
            Ok(data) => {
                fields.push(("success", "true"));
                text = data.unwrap_or_default();
                if !text.is_empty() {
                    fields.push(("data", text.as_str()));
                }
            }
            Err(error) => {
                text = s(&error);
                fields.extend([("success", "false"), ("error", text.as_str())]);
            }
        }
        let line = object(&fields);
        self.emit(&line);
    }

    fn note(&self, what: &Value) {
        let Some(diary) = &self.diary else { return };
        let mut line = what.clone();
        line["pid"] = process::id().into();
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(diary) {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn queue_update(&mut self) {
        let (steering, follow_up) = (texts(self.steering.iter()), texts(self.follow_up.iter()));
        self.event("queue_update", &[("steering", &steering), ("followUp", &follow_up)]);
    }

    fn streaming(&self) -> bool {
        self.running && (self.new || (!self.waiting_for_retry && self.compacting.is_none()))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends the process the way this pi does it.
    fn exit(&mut self, code: i32, kill_tools: bool) -> ! {
        if kill_tools {
            self.kill_tools();
        }
        if self.new && self.running && code != 1 {
            if let Some((id, name)) = self.running_tool.take() {
                let text = "Command aborted";
                let message = run::tool_result(&id, &name, text, true);
                let _ = self.session.message(&message, "toolResult");
            }
            let message = self.assistant(&self.partial.clone(), "aborted", Some("Request was aborted"), (0, 0));
            let _ = self.session.message(&message, "assistant");
        }
        process::exit(code)
    }

    fn kill_tools(&mut self) {
        for group in self.tools.drain(..) {
            if let Some(group) = rustix::process::Pid::from_raw(group) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        }
    }
}

fn flag(args: &[String], name: &str) -> Option<String> {
    // The last one counts, as in pi.
    let at = args.iter().rposition(|arg| arg == name)?;
    args.get(at + 1).cloned()
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    process::exit(1)
}

/// The models of pi's own models.json, or one per provider and model asked for if there is none.
fn models(agent_dir: &Path, provider: &str, model: &str) -> Vec<Value> {
    let text = fs::read_to_string(agent_dir.join("models.json")).unwrap_or_default();
    let file: Value = serde_json::from_str(&text).unwrap_or_default();
    let complete = |provider: &str, m: &Value, base: &Value| {
        let or = |key: &str, default: Value| {
            if m[key].is_null() {
                default
            } else {
                m[key].clone()
            }
        };
        json!({"id": m["id"], "name": or("name", m["id"].clone()), "api": "openai-completions", "provider": provider,
            "baseUrl": base, "reasoning": or("reasoning", json!(false)), "input": or("input", json!(["text"])),
            "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
            "contextWindow": or("contextWindow", json!(128_000)), "maxTokens": or("maxTokens", json!(16_384))})
    };
    let Some(providers) = file["providers"].as_object() else {
        return vec![complete(
            provider,
            &json!({"id": model, "reasoning": true, "input": ["text", "image"]}),
            &json!(""),
        )];
    };
    let all = providers.iter().flat_map(|(name, p)| {
        let models = p["models"].as_array().cloned().unwrap_or_default();
        models.into_iter().map(|m| complete(name, &m, &p["baseUrl"])).collect::<Vec<_>>()
    });
    all.collect()
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let setting = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let new = setting("FAKE_PI_FLAVOUR").as_deref() != Some("old");
    if args.iter().any(|arg| arg == "--version") {
        if new {
            println!("1.5.2")
        } else {
            eprintln!("0.73.1")
        }
        return;
    }
    let diary = setting("FAKE_PI_HOME").map(|home| Path::new(&home).join("diary"));
    if let Some(text) = setting("FAKE_PI_EXIT_AT_START") {
        fail(&text);
    }
    if let Some(ms) = setting("FAKE_PI_START_MS").and_then(|ms| ms.parse().ok()) {
        thread::sleep(Duration::from_millis(ms));
    }
    let agent_dir = setting("PI_CODING_AGENT_DIR")
        .map_or_else(|| Path::new(&setting("HOME").unwrap_or_default()).join(".pi/agent"), PathBuf::from);
    let provider = flag(&args, "--provider").unwrap_or_else(|| "fake".into());
    let model = flag(&args, "--model").unwrap_or_else(|| "fake-model".into());
    let models = models(&agent_dir, &provider, &model);
    if !models.iter().any(|m| m["provider"] == provider) {
        fail(&format!("Error: Unknown provider \"{provider}\". Use --list-models to see available providers/models."));
    }
    let found = models.iter().find(|m| m["provider"] == provider && m["id"] == model).cloned();
    let model = found.unwrap_or_else(|| {
        eprintln!("Warning: Model \"{model}\" not found for provider \"{provider}\". Using custom model id.");
        json!({"id": model, "name": model, "api": "openai-completions", "provider": provider, "reasoning": false,
            "input": ["text"], "contextWindow": 128_000, "maxTokens": 16_384})
    });
    let thinking = match flag(&args, "--thinking") {
        Some(level) if model["reasoning"] == true => level,
        _ => "off".into(),
    };
    let cwd = env::current_dir().unwrap_or_default();
    let path = flag(&args, "--session").map_or_else(
        || {
            let folder = flag(&args, "--session-dir").map_or_else(|| agent_dir.join("sessions"), PathBuf::from);
            let _ = fs::create_dir_all(&folder);
            folder.join(format!("{}_{}.jsonl", session::timestamp().replace([':', '.'], "-"), process::id()))
        },
        PathBuf::from,
    );
    let session = Session::open(path, cwd.clone(), new).unwrap_or_else(|error| fail(&format!("Error: {error}")));
    if !session.cwd.is_dir() {
        fail(&format!("Stored session working directory does not exist: {}", session.cwd.display()));
    }
    let pi = Pi {
        new,
        session,
        models,
        model,
        thinking,
        process_cwd: cwd,
        running: false,
        waiting_for_retry: false,
        compacting: None,
        steering: VecDeque::new(),
        follow_up: VecDeque::new(),
        replacement: None,
        aborting: false,
        abort_ids: Vec::new(),
        bash_aborted: false,
        tools: Vec::new(),
        passed_gates: HashSet::new(),
        dialogs: HashMap::new(),
        failed: HashMap::new(),
        partial: Vec::new(),
        running_tool: None,
        context_tokens: 0,
        next: 0,
        diary,
    };
    let vars: HashMap<String, String> = env::vars().filter(|(key, _)| key.starts_with("PI_")).collect();
    pi.note(&json!({"start": {"args": args, "cwd": pi.process_cwd, "env": vars}}));
    let shared = Shared(Arc::new((Mutex::new(pi), Condvar::new())));
    let deaf = setting("FAKE_PI_DEAF").is_some();
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129)] {
        let (mut read, write) = UnixStream::pair().expect("a pair of sockets");
        signal_hook::low_level::pipe::register(signal, write).expect("a signal handler");
        let shared = shared.clone();
        thread::spawn(move || {
            while read.read(&mut [0]).is_ok_and(|n| n > 0) {
                if !deaf {
                    shared.lock().exit(code, true);
                }
            }
        });
    }
    serve(&shared);
    if deaf {
        loop {
            thread::park(); // not even a closed stdin ends it
        }
    }
    let mut pi = shared.lock();
    let kill_tools = pi.new;
    pi.exit(0, kill_tools)
}

fn serve(shared: &Shared) {
    for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        match serde_json::from_str::<Value>(&text) {
            Ok(Value::Null) => {
                eprintln!("TypeError: Cannot read properties of null (reading 'type')");
                process::exit(1);
            }
            Ok(command) => serve_one(shared, &command),
            Err(error) => {
                shared.lock().respond(&Value::Null, "parse", Err(format!("Failed to parse command: {error}")))
            }
        }
    }
}

fn serve_one(shared: &Shared, command: &Value) {
    let mut pi = shared.lock();
    pi.note(&json!({"in": command}));
    let (id, kind) = (&command["id"], command["type"].as_str().unwrap_or("undefined"));
    let text = command["message"].as_str().unwrap_or("").to_owned();
    let done = || Ok(None);
    let queued = |new: bool| Ok(new.then(|| "{\"disposition\":\"queued\"}".to_owned()));
    let result = match kind {
        "prompt" => {
            let behaviour = command["streamingBehavior"].as_str();
            if pi.compacting == Some("manual") {
                // Old pi takes it and loses it.
                if pi.new { Err("Cannot submit a prompt while compaction is in progress. Wait for compaction to finish and retry.".into()) } else { done() }
            } else if pi.running && !pi.streaming() {
                pi.replacement = Some(text);
                shared.notify();
                done()
            } else if pi.streaming() {
                match behaviour {
                    None => Err("Agent is already processing. Specify streamingBehavior ('steer' or 'followUp') to queue the message.".into()),
                    Some(how) => {
                        if how == "followUp" { pi.follow_up.push_back(text) } else { pi.steering.push_back(text) }
                        pi.queue_update();
                        queued(pi.new)
                    }
                }
            } else if text.starts_with("/swallow") {
                Ok(pi.new.then(|| "{\"disposition\":\"handled\"}".to_owned()))
            } else {
                pi.running = true;
                let started = pi.new.then(|| "{\"disposition\":\"started\"}".to_owned());
                pi.respond(id, kind, Ok(started));
                let images = command["images"].as_array().map_or(0, Vec::len);
                let shared = shared.clone();
                thread::spawn(move || run::run(&shared, text, images));
                return;
            }
        }
        "steer" | "follow_up" => {
            if kind == "steer" { pi.steering.push_back(text) } else { pi.follow_up.push_back(text) }
            pi.queue_update();
            queued(pi.new)
        }
        "abort" => {
            let deaf = !pi.new && pi.compacting.is_some();
            if (pi.running || pi.compacting.is_some()) && !deaf {
                pi.abort_ids.push(id.clone());
                pi.aborting = true;
                pi.kill_tools();
                shared.notify();
                return;
            }
            done()
        }
        "abort_retry" => {
            if pi.waiting_for_retry {
                pi.aborting = true;
                shared.notify();
            }
            done()
        }
        "abort_bash" => {
            pi.bash_aborted = true;
            pi.kill_tools();
            done()
        }
        "clear_queue" if pi.new => {
            let (steering, follow_up) = (texts(pi.steering.iter()), texts(pi.follow_up.iter()));
            pi.steering.clear();
            pi.follow_up.clear();
            pi.queue_update();
            Ok(Some(object(&[("steering", &steering), ("followUp", &follow_up)])))
        }
        "new_session" => {
            let folder = pi.session.path.parent().unwrap_or(Path::new("/")).to_owned();
            let path = folder.join(format!("{}_{}.jsonl", session::timestamp().replace([':', '.'], "-"), pi.number()));
            pi.bind(path).map(Some)
        }
        "switch_session" => pi.bind(command["sessionPath"].as_str().unwrap_or("").into()).map(Some),
        "get_state" => Ok(Some(pi.state())),
        "get_session_stats" => Ok(Some(pi.stats())),
        "get_messages" => Ok(Some(format!("{{\"messages\":[{}]}}", pi.session.messages.join(",")))),
        "get_last_assistant_text" => {
            Ok(Some(pi.session.last_assistant_text().map_or("{}".to_owned(), |text| object(&[("text", &s(&text))]))))
        }
        "get_commands" => Ok(Some(json!({"commands": [{"name": "swallow", "description": "Handled without a run",
            "source": "extension", "sourceInfo": {"path": "fake", "source": "cli", "scope": "temporary", "origin": "top-level"}}]}).to_string())),
        "get_available_models" => Ok(Some(json!({"models": pi.models}).to_string())),
        "get_available_thinking_levels" if pi.new => Ok(Some("{\"levels\":[\"off\",\"minimal\",\"low\",\"medium\",\"high\"]}".into())),
        "set_model" => {
            let (provider, name) = (command["provider"].as_str().unwrap_or("undefined"), command["modelId"].as_str().unwrap_or("undefined"));
            let found = pi.models.iter().find(|m| m["provider"] == provider && m["id"] == name).cloned();
            found.map_or_else(|| Err(format!("Model not found: {provider}/{name}")), |model| {
                pi.model = model;
                Ok(Some(pi.model.to_string()))
            })
        }
        "set_thinking_level" => {
            let level = command["level"].as_str().unwrap_or("off");
            let known = ["off", "minimal", "low", "medium", "high", "xhigh"].contains(&level) && pi.model["reasoning"] == true;
            let level = if known { level } else { "off" };
            if pi.thinking != level {
                pi.thinking = level.to_owned();
                pi.event("thinking_level_changed", &[("level", &s(level))]);
            }
            done()
        }
        "set_steering_mode" | "set_follow_up_mode" | "set_auto_compaction" | "set_auto_retry" => done(),
        "set_session_name" => match command["name"].as_str().map(str::trim) {
            Some(name) if !name.is_empty() => {
                pi.session.name = Some(name.to_owned());
                let _ = pi.session.entry("session_info", &[("name", &s(name))]);
                pi.event("session_info_changed", &[("name", &s(name))]);
                done()
            }
            _ => Err("Session name cannot be empty".into()),
        },
        "compact" => {
            let instructions = command["customInstructions"].as_str().unwrap_or("").to_owned();
            let (shared, id) = (shared.clone(), id.clone());
            pi.compacting = Some("manual");
            pi.event("compaction_start", &[("reason", "\"manual\"")]);
            thread::spawn(move || run::compact_by_hand(&shared, &id, &instructions));
            return;
        }
        "bash" => {
            let script = command["command"].as_str().unwrap_or("undefined").to_owned();
            let (shared, id) = (shared.clone(), id.clone());
            pi.bash_aborted = false;
            thread::spawn(move || run::bash_by_hand(&shared, &id, &script));
            return;
        }
        "extension_ui_response" => {
            pi.dialogs.insert(command["id"].as_str().unwrap_or("").to_owned(), command.clone());
            shared.notify();
            return;
        }
        _ => {
            let id = if pi.new { id } else { &Value::Null };
            pi.respond(id, kind, Err(format!("Unknown command: {kind}")));
            return;
        }
    };
    pi.respond(id, kind, result);
}

impl Pi {
    fn bind(&mut self, path: PathBuf) -> Result<String, String> {
        self.session = Session::open(path, self.process_cwd.clone(), self.new)?;
        self.steering.clear();
        self.follow_up.clear();
        self.context_tokens = 0;
        Ok("{\"cancelled\":false}".into())
    }

    fn state(&self) -> String {
        let text = |flag: bool| if flag { "true" } else { "false" };
        let (model, thinking) = (self.model.to_string(), s(&self.thinking));
        let (file, id) = (s(&self.session.path.to_string_lossy()), s(&self.session.id));
        let (count, pending) =
            (self.session.messages.len().to_string(), (self.steering.len() + self.follow_up.len()).to_string());
        let name = self.session.name.as_deref().map(s);
        let mut fields = vec![
            ("model", model.as_str()),
            ("thinkingLevel", &thinking),
            ("isStreaming", text(self.streaming())),
            ("isCompacting", text(self.compacting.is_some())),
            ("steeringMode", "\"one-at-a-time\""),
            ("followUpMode", "\"one-at-a-time\""),
            ("sessionFile", &file),
            ("sessionId", &id),
        ];
        if let Some(name) = &name {
            fields.push(("sessionName", name));
        }
        fields.extend([("autoCompactionEnabled", "true"), ("messageCount", &count), ("pendingMessageCount", &pending)]);
        object(&fields)
    }

    fn stats(&self) -> String {
        let (user, assistant, results) = self.session.counts();
        let window = self.model["contextWindow"].as_u64().unwrap_or(128_000);
        json!({"sessionFile": self.session.path, "sessionId": self.session.id, "userMessages": user,
            "assistantMessages": assistant, "toolCalls": results, "toolResults": results,
            "totalMessages": self.session.messages.len(),
            "tokens": {"input": self.context_tokens, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": self.context_tokens},
            "cost": 0, "contextUsage": {"tokens": self.context_tokens, "contextWindow": window,
            "percent": self.context_tokens as f64 * 100.0 / window as f64}}).to_string()
    }
}
