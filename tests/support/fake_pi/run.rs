//! A run: model turns played from the directives of the last user message, tools, steers, retries, compaction.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::directives::{self, number, Directive};
use super::session::timestamp;
use super::wire::{self, object, s, text_content, Block};
use super::{Pi, Shared};

const RETRIES: u32 = 3;
const RETRY_MS: u64 = 20;
const SUMMARY: &str = "## Goal\nfake summary of the conversation\n## Next Steps\n1. go on";

/// How a model turn ended.
enum End {
    Stop,
    Calls(Vec<(String, String, Value)>),
    /// (error text, whether the context was too long)
    Error(String, bool),
    Aborted,
    /// The session file could not be written.
    Broken,
}

fn names() -> Vec<&'static str> {
    let own = [
        "crash",
        "garbage",
        "hugeline",
        "ui",
        "freeze",
        "stderr",
        "unsettled",
    ];
    directives::COMMON.iter().copied().chain(own).collect()
}

fn now_ms() -> String {
    jiff::Timestamp::now().as_millisecond().to_string()
}

pub fn tool_result(id: &str, name: &str, text: &str, error: bool) -> String {
    let error = if error { "true" } else { "false" };
    object(&[
        ("role", "\"toolResult\""),
        ("toolCallId", &s(id)),
        ("toolName", &s(name)),
        ("content", &text_content(text)),
        ("isError", error),
        ("timestamp", &now_ms()),
    ])
}

impl Pi {
    pub fn assistant(
        &self,
        content: &[Block],
        stop: &str,
        error: Option<&str>,
        usage: (u64, u64),
    ) -> String {
        let (content, usage, stop, time) = (
            wire::blocks(content),
            wire::usage(usage.0, usage.1),
            s(stop),
            now_ms(),
        );
        let (provider, model, error) = (
            self.model["provider"].to_string(),
            self.model["id"].to_string(),
            error.map(s),
        );
        let mut fields = vec![
            ("role", "\"assistant\""),
            ("content", content.as_str()),
            ("api", "\"openai-completions\""),
            ("provider", &provider),
            ("model", &model),
            ("usage", &usage),
            ("stopReason", &stop),
            ("timestamp", &time),
        ];
        if let Some(error) = &error {
            fields.push(("errorMessage", error));
        }
        object(&fields)
    }

    /// One `message_update`. Old pi repeats the whole answer so far, twice.
    fn update(&mut self, kind: &str, index: usize, fields: &[(&str, &str)]) {
        let (kind, index) = (s(kind), index.to_string());
        let mut event = vec![("type", kind.as_str()), ("contentIndex", &index)];
        event.extend_from_slice(fields);
        if self.new {
            let (usage, event) = (wire::usage(0, 0), object(&event));
            self.event(
                "message_update",
                &[("usage", &usage), ("assistantMessageEvent", &event)],
            );
        } else {
            let partial = self.assistant(&self.partial, "stop", None, (0, 0));
            event.push(("partial", &partial));
            let event = object(&event);
            self.event(
                "message_update",
                &[("assistantMessageEvent", &event), ("message", &partial)],
            );
        }
    }

    fn message(&mut self, message: &str, role: &str, run: &mut Vec<String>) -> Result<(), String> {
        self.event("message_end", &[("message", message)]);
        run.push(message.to_owned());
        self.session.message(message, role)
    }

    fn user(&mut self, text: &str, run: &mut Vec<String>) -> Result<(), String> {
        let message = object(&[
            ("role", "\"user\""),
            ("content", &text_content(text)),
            ("timestamp", &now_ms()),
        ]);
        self.event("message_start", &[("message", &message)]);
        self.message(&message, "user", run)
    }
}

/// What is left of the work when a run was started by `text`.
struct Run<'a> {
    shared: &'a Shared,
    /// Messages since the last `agent_start`.
    messages: Vec<String>,
    /// Text that decides what the model does, images with it, and model turns since.
    user: String,
    images: usize,
    turn: usize,
    last_result: Option<String>,
}

pub fn run(shared: &Shared, text: String, images: usize) {
    let mut run = Run {
        shared,
        messages: Vec::new(),
        user: text,
        images,
        turn: 0,
        last_result: None,
    };
    let (mut attempt, mut overflowed, mut first) = (0, false, true);
    loop {
        let end = run.agent(first);
        first = false;
        let mut pi = shared.lock();
        let new = pi.new;
        let retry = match &end {
            End::Error(error, false) => retryable(error) && attempt < RETRIES,
            _ => false,
        };
        if matches!(end, End::Broken) {
            pi.event("agent_settled", &[("aborted", "false")]);
            break finish(shared, pi);
        }
        if matches!(end, End::Stop) && attempt > 0 {
            attempt = 0;
        }
        let messages = format!("[{}]", std::mem::take(&mut run.messages).join(","));
        if new {
            pi.event(
                "agent_end",
                &[
                    ("messages", &messages),
                    ("willRetry", if retry { "true" } else { "false" }),
                ],
            );
        } else {
            pi.event("agent_end", &[("messages", &messages)]);
        }
        let aborted = matches!(end, End::Aborted);
        match end {
            End::Error(error, false) if retry => {
                attempt += 1;
                let delay = RETRY_MS << attempt;
                let (count, most, delay_ms, text) = (
                    attempt.to_string(),
                    RETRIES.to_string(),
                    delay.to_string(),
                    s(&error),
                );
                pi.event(
                    "auto_retry_start",
                    &[
                        ("attempt", &count),
                        ("maxAttempts", &most),
                        ("delayMs", &delay_ms),
                        ("errorMessage", &text),
                    ],
                );
                pi.waiting_for_retry = true;
                drop(pi);
                shared.wait(Some(Duration::from_millis(delay)), |_| false);
                pi = shared.lock();
                pi.waiting_for_retry = false;
                if pi.aborting {
                    pi.event(
                        "auto_retry_end",
                        &[
                            ("success", "false"),
                            ("attempt", &count),
                            ("finalError", "\"Retry cancelled\""),
                        ],
                    );
                    let by_abort = if pi.abort_ids.is_empty() {
                        "false"
                    } else {
                        "true"
                    };
                    if new {
                        pi.event("agent_settled", &[("aborted", by_abort)]);
                    }
                    break finish(shared, pi);
                }
                if let Some(text) = pi.replacement.take() {
                    (run.user, run.turn, run.last_result, first) = (text, 0, None, true);
                }
                continue;
            }
            End::Error(error, false) if attempt > 0 => {
                pi.event(
                    "auto_retry_end",
                    &[
                        ("success", "false"),
                        ("attempt", &attempt.to_string()),
                        ("finalError", &s(&error)),
                    ],
                );
            }
            End::Error(_, true) if !overflowed => {
                overflowed = true;
                drop(pi);
                if compact(shared, "overflow", true) {
                    continue;
                }
                pi = shared.lock();
            }
            End::Error(_, true) if !new => {
                let text = "\"Context overflow recovery failed after one compact-and-retry attempt. Try reducing context or switching to a larger-context model.\"";
                pi.event(
                    "compaction_end",
                    &[
                        ("reason", "\"overflow\""),
                        ("aborted", "false"),
                        ("willRetry", "false"),
                        ("errorMessage", text),
                    ],
                );
            }
            _ => {
                let window = pi.model["contextWindow"].as_u64().unwrap_or(128_000);
                if !aborted && pi.context_tokens + 2000 > window {
                    drop(pi);
                    compact(shared, "threshold", false);
                    pi = shared.lock();
                    let next = pi
                        .replacement
                        .take()
                        .or_else(|| pi.steering.pop_front())
                        .or_else(|| pi.follow_up.pop_front());
                    if let Some(text) = next {
                        (run.user, run.turn, run.last_result, first) = (text, 0, None, true);
                        pi.queue_update();
                        continue;
                    }
                }
            }
        }
        if new {
            pi.event(
                "agent_settled",
                &[("aborted", if aborted { "true" } else { "false" })],
            );
        }
        break finish(shared, pi);
    }
}

fn finish(shared: &Shared, mut pi: std::sync::MutexGuard<'_, Pi>) {
    pi.running = false;
    pi.aborting = false;
    pi.partial.clear();
    for id in std::mem::take(&mut pi.abort_ids) {
        pi.respond(&id, "abort", Ok(None));
    }
    shared.notify();
}

fn retryable(error: &str) -> bool {
    [
        "429",
        "500",
        "502",
        "503",
        "504",
        "529",
        "terminated",
        "overloaded",
    ]
    .iter()
    .any(|sign| error.contains(sign))
}

impl Run<'_> {
    /// From `agent_start` to what comes right before `agent_end`.
    fn agent(&mut self, with_prompt: bool) -> End {
        {
            let mut pi = self.shared.lock();
            pi.event("agent_start", &[]);
            pi.event("turn_start", &[]);
            if with_prompt {
                if pi.new && pi.session.messages.is_empty() {
                    let system = "{\"role\":\"system\",\"content\":\"\",\"sections\":{\"preamble\":\"You are a stand-in.\"}}";
                    pi.event("message_start", &[("message", system)]);
                    pi.event("message_end", &[("message", system)]);
                    self.messages.push(system.to_owned());
                    let _ = pi.session.entry("message", &[("message", system)]);
                }
                if let Err(error) = pi.user(&self.user.clone(), &mut self.messages) {
                    return self.broken(pi, error);
                }
            }
            // What was queued before joins the first answer.
            if let Some(text) = pi.steering.pop_front() {
                pi.queue_update();
                let _ = pi.user(&text, &mut self.messages);
                (self.user, self.turn, self.last_result) = (text, 0, None);
            }
        }
        loop {
            let end = self.model_turn();
            let calls = match end {
                End::Stop => Vec::new(),
                End::Calls(calls) => calls,
                other => return other,
            };
            let stopped = calls.is_empty();
            let results = self.tools(calls);
            let mut pi = self.shared.lock();
            let message = self
                .messages
                .iter()
                .rev()
                .find(|m| m.starts_with("{\"role\":\"assistant\""))
                .cloned()
                .unwrap_or_default();
            pi.event(
                "turn_end",
                &[
                    ("message", &message),
                    ("toolResults", &format!("[{}]", results.join(","))),
                ],
            );
            if pi.aborting {
                pi.event("turn_start", &[]);
                let error = if pi.new {
                    "This operation was aborted"
                } else {
                    "Request was aborted."
                };
                let empty = pi.assistant(&[], "aborted", Some(error), (0, 0));
                pi.event("message_start", &[("message", &empty)]);
                let _ = pi.message(&empty, "assistant", &mut self.messages);
                pi.event("turn_end", &[("message", &empty), ("toolResults", "[]")]);
                return End::Aborted;
            }
            let next = pi.steering.pop_front().or_else(|| {
                if stopped {
                    pi.follow_up.pop_front()
                } else {
                    None
                }
            });
            if next.is_none() && stopped {
                return End::Stop;
            }
            pi.event("turn_start", &[]);
            match next {
                None => self.turn += 1,
                Some(text) => {
                    pi.queue_update();
                    let _ = pi.user(&text, &mut self.messages);
                    (self.user, self.images, self.turn, self.last_result) = (text, 0, 0, None);
                }
            }
        }
    }

    fn broken(&mut self, mut pi: std::sync::MutexGuard<'_, Pi>, error: String) -> End {
        let message = pi.assistant(&[], "error", Some(&error), (0, 0));
        pi.event("message_start", &[("message", &message)]);
        pi.event("message_end", &[("message", &message)]);
        End::Broken
    }

    /// One answer of the model, up to its `message_end` (and `turn_end`, if it did not end well).
    fn model_turn(&mut self) -> End {
        let all = directives::parse(&self.user, &names());
        let plan = directives::split_turns(&all)
            .into_iter()
            .nth(self.turn)
            .unwrap_or_default();
        let mut usage = None;
        for directive in &plan {
            let Directive::Other { name, arg } = directive else {
                continue;
            };
            match name.as_str() {
                "hang" => self.shared.wait(
                    Some(Duration::from_secs_f64(number(arg, "").unwrap_or(1.0))),
                    |_| false,
                ),
                "status" if self.should_fail(name, arg) => {
                    let code = number(arg, "").unwrap_or(500.0) as u16;
                    let new = self.shared.lock().new;
                    let text = match arg
                        .split_once("msg=\"")
                        .and_then(|(_, m)| m.split_once('"'))
                    {
                        Some((text, _)) => text.to_owned(),
                        None => format!("fake failure {code}"),
                    };
                    let text = if new {
                        format!("{code}: {{\"message\":{}}}", s(&text))
                    } else {
                        format!("{code} {text}")
                    };
                    return self.failed(&text, false);
                }
                "overflow" if self.should_fail(name, arg) => {
                    let text = "400 This model's maximum context length is 8192 tokens. However, your messages resulted in 8193 tokens.";
                    return self.failed(text, true);
                }
                "usage" => {
                    usage = Some((
                        number(arg, "").unwrap_or(0.0) as u64,
                        number(arg, ",").unwrap_or(1.0) as u64,
                    ))
                }
                _ => {}
            }
        }
        if self.shared.lock().aborting {
            return self.close("aborted", Some("Request was aborted."), (0, 0));
        }
        {
            let mut pi = self.shared.lock();
            pi.partial.clear();
            let start = pi.assistant(&[], if pi.new { "pending" } else { "stop" }, None, (0, 0));
            pi.event("message_start", &[("message", &start)]);
        }
        let (mut said, mut stop, mut calls) = (false, "stop", Vec::new());
        for directive in &plan {
            if self.shared.lock().aborting {
                break;
            }
            let (name, arg) = match directive {
                Directive::Tool { name, args } => {
                    calls.push(self.call(name, args.clone().unwrap_or_default()));
                    said = true;
                    continue;
                }
                Directive::Other { name, arg } => (name.as_str(), arg.as_str()),
            };
            if let Some(pieces) = directives::spoken(name, arg, &self.user) {
                self.speak(pieces);
                said = true;
                continue;
            }
            match name {
                "think" => self.think(&directives::unescape(arg)),
                "show" => {
                    let text = self.show(arg);
                    self.say(&text);
                    said = true;
                }
                "gate" => self.gate(arg),
                "pause" => self.shared.wait(
                    Some(Duration::from_secs_f64(number(arg, "").unwrap_or(1.0))),
                    |_| false,
                ),
                "length" => stop = "length",
                "filter" => {
                    return self.close(
                        "error",
                        Some("Provider finish_reason: content_filter"),
                        (0, 0),
                    )
                }
                "drop" => return self.close("error", Some("terminated"), (0, 0)),
                "garbage" => self.shared.lock().emit("this line is {not json"),
                "hugeline" => {
                    let filler = "x".repeat(number(arg, "").unwrap_or(1e6) as usize);
                    self.shared.lock().event("huge", &[("filler", &s(&filler))]);
                }
                "stderr" => eprintln!("{}", directives::unescape(arg)),
                "ui" => {
                    let answer = self.dialog(arg);
                    if let Some(answer) = answer {
                        self.say(&answer);
                        said = true;
                    }
                }
                "crash" => {
                    let mut pi = self.shared.lock();
                    pi.emit("{\"type\":\"message_upd");
                    eprintln!("FATAL ERROR: the stand-in was told to crash");
                    process::exit(number(arg, "").unwrap_or(1.0) as i32);
                }
                // Hung for good: the lock is never given back, no command is answered any more.
                "freeze" => {
                    let _hung = self.shared.lock();
                    loop {
                        thread::park();
                    }
                }
                _ => {}
            }
        }
        let aborted = self.shared.lock().aborting;
        if !said && !aborted {
            let text = match &self.last_result {
                Some(result) => format!(
                    "tool said: {}",
                    result.chars().take(200).collect::<String>().trim()
                ),
                None if all.is_empty() => self.user.clone(),
                None => "ok".to_owned(),
            };
            self.say(&text);
        }
        self.end_text();
        let chars: usize = self
            .shared
            .lock()
            .session
            .messages
            .iter()
            .map(String::len)
            .sum();
        let usage = usage.unwrap_or((chars as u64 / 4 + 10, 1));
        if aborted {
            let error = if self.shared.lock().new {
                "Request was aborted"
            } else {
                "Request was aborted."
            };
            return self.close("aborted", Some(error), (0, 0));
        }
        let end = self.close(if calls.is_empty() { stop } else { "toolUse" }, None, usage);
        if calls.is_empty() || !matches!(end, End::Stop) {
            end
        } else {
            End::Calls(calls)
        }
    }

    fn should_fail(&self, name: &str, arg: &str) -> bool {
        let mut pi = self.shared.lock();
        let model = arg
            .split_whitespace()
            .find_map(|word| word.strip_prefix("model="));
        if model.is_some_and(|model| pi.model["id"] != model) {
            return false;
        }
        let Some(k) = directives::times(arg) else {
            return true;
        };
        let key = format!("{name}|{}|{}", self.turn, self.user);
        let done = pi.failed.entry(key.clone()).or_default();
        if *done < k {
            *done += 1;
            return true;
        }
        pi.failed.remove(&key);
        false
    }

    fn failed(&mut self, error: &str, overflow: bool) -> End {
        {
            let mut pi = self.shared.lock();
            pi.partial.clear();
            let start = pi.assistant(&[], "error", Some(error), (0, 0));
            pi.event("message_start", &[("message", &start)]);
        }
        match self.close("error", Some(error), (0, 0)) {
            End::Error(error, _) => End::Error(error, overflow),
            other => other,
        }
    }

    /// `message_end`, the file, and `turn_end` unless tools or a queue may follow.
    fn close(&mut self, stop: &str, error: Option<&str>, usage: (u64, u64)) -> End {
        if error.is_some() {
            self.end_text();
        }
        let mut pi = self.shared.lock();
        let content = std::mem::take(&mut pi.partial);
        let message = pi.assistant(&content, stop, error, usage);
        if stop != "error" && stop != "aborted" {
            pi.context_tokens = usage.0 + usage.1;
        }
        let retried = stop == "stop" && self.shared_attempts(&mut pi);
        if pi
            .message(&message, "assistant", &mut self.messages)
            .is_err()
        {
            return End::Broken;
        }
        if retried {
            pi.event("auto_retry_end", &[("success", "true"), ("attempt", "1")]);
        }
        match stop {
            "error" | "aborted" => {
                pi.event("turn_end", &[("message", &message), ("toolResults", "[]")]);
                if stop == "error" {
                    End::Error(error.unwrap_or("").to_owned(), false)
                } else {
                    End::Aborted
                }
            }
            _ => End::Stop,
        }
    }

    /// Whether this good answer ends a chain of failed ones: the last message before it was an error.
    fn shared_attempts(&self, pi: &mut Pi) -> bool {
        let last = pi
            .session
            .messages
            .last()
            .and_then(|m| serde_json::from_str::<Value>(m).ok());
        last.is_some_and(|m| {
            m["stopReason"] == "error" && retryable(m["errorMessage"].as_str().unwrap_or(""))
        })
    }

    fn say(&self, text: &str) {
        self.speak(
            directives::words(text)
                .into_iter()
                .map(|word| (word, 0))
                .collect(),
        );
    }

    fn speak(&self, pieces: Vec<(String, u64)>) {
        for (piece, gap) in pieces {
            if gap > 0 {
                self.shared
                    .wait(Some(Duration::from_millis(gap)), |_| false);
            }
            let mut pi = self.shared.lock();
            if pi.aborting {
                return;
            }
            self.append(&mut pi, piece, false);
        }
    }

    fn think(&self, text: &str) {
        for word in directives::words(text) {
            let mut pi = self.shared.lock();
            self.append(&mut pi, word, true);
        }
    }

    fn append(&self, pi: &mut Pi, piece: String, thinking: bool) {
        let fits = match pi.partial.last_mut() {
            Some(Block::Text(text)) if !thinking => {
                text.push_str(&piece);
                true
            }
            Some(Block::Thinking(text)) if thinking => {
                text.push_str(&piece);
                true
            }
            _ => false,
        };
        if !fits {
            self.end_block(pi);
            pi.partial.push(if thinking {
                Block::Thinking(piece.clone())
            } else {
                Block::Text(piece.clone())
            });
            let at = pi.partial.len() - 1;
            pi.update(
                if thinking {
                    "thinking_start"
                } else {
                    "text_start"
                },
                at,
                &[],
            );
        }
        let at = pi.partial.len() - 1;
        pi.update(
            if thinking {
                "thinking_delta"
            } else {
                "text_delta"
            },
            at,
            &[("delta", &s(&piece))],
        );
    }

    fn end_text(&self) {
        self.end_block(&mut self.shared.lock());
    }

    fn end_block(&self, pi: &mut Pi) {
        let Some(at) = pi.partial.len().checked_sub(1) else {
            return;
        };
        match pi.partial[at].clone() {
            Block::Text(text) => pi.update("text_end", at, &[("content", &s(&text))]),
            Block::Thinking(text) => pi.update("thinking_end", at, &[("content", &s(&text))]),
            Block::Tool { .. } => {}
        }
    }

    fn call(&self, name: &str, args: Value) -> (String, String, Value) {
        let mut pi = self.shared.lock();
        self.end_block(&mut pi);
        let id = format!("call_{}_{}", process::id(), pi.number());
        pi.partial.push(Block::Tool {
            id: id.clone(),
            name: name.to_owned(),
            args: args.clone(),
        });
        let (at, call) = (
            pi.partial.len() - 1,
            pi.partial.last().map(Block::json).unwrap_or_default(),
        );
        pi.update(
            "toolcall_start",
            at,
            &[("id", &s(&id)), ("toolName", &s(name))],
        );
        for piece in directives::pieces(&args.to_string(), 24) {
            pi.update("toolcall_delta", at, &[("delta", &s(&piece))]);
        }
        pi.update("toolcall_end", at, &[("toolCall", &call)]);
        (id, name.to_owned(), args)
    }

    fn show(&self, what: &str) -> String {
        let pi = self.shared.lock();
        let messages: Vec<Value> = pi
            .session
            .messages
            .iter()
            .filter_map(|m| serde_json::from_str(m).ok())
            .collect();
        match what {
            "images" => format!("images: {}", self.images),
            "model" => format!(
                "model: {} effort: {}",
                pi.model["id"].as_str().unwrap_or(""),
                pi.thinking
            ),
            "roles" => {
                let roles: Vec<_> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
                format!("roles: {}", roles.join(","))
            }
            "users" => {
                let text = |m: &Value| {
                    m["content"][0]["text"]
                        .as_str()
                        .unwrap_or("")
                        .chars()
                        .take(80)
                        .collect::<String>()
                };
                messages
                    .iter()
                    .filter(|m| m["role"] == "user")
                    .map(text)
                    .collect::<Vec<_>>()
                    .join(" | ")
            }
            _ => format!("unknown show {what}"),
        }
    }

    fn gate(&self, name: &str) {
        let (shared, gate) = (self.shared.clone(), name.to_owned());
        thread::spawn(move || {
            if gate.starts_with('/') {
                // A gate without a test behind it (benchmarks): the appearance of a file.
                while !Path::new(&gate).exists() {
                    thread::sleep(Duration::from_millis(2));
                }
            } else {
                let home = std::env::var("FAKE_PI_HOME").unwrap_or_default();
                if let Ok(mut stream) = UnixStream::connect(Path::new(&home).join("gates")) {
                    let _ = stream.write_all(format!("{} {gate}\n", process::id()).as_bytes());
                    let _ = stream.read(&mut [0]);
                }
            }
            shared.lock().passed_gates.insert(gate);
            shared.notify();
        });
        self.shared.wait(None, |pi| pi.passed_gates.contains(name));
        // The next visit asks again.
        self.shared.lock().passed_gates.remove(name);
    }

    /// `select TITLE|a|b`, `confirm TITLE|text`, `input TITLE`, `editor TITLE`, `notify TEXT`, `status KEY|TEXT`;
    /// a first word `timeout=MS` before the title. Gives what the extension would make of the answer.
    fn dialog(&self, arg: &str) -> Option<String> {
        let (method, rest) = arg.split_once(' ').unwrap_or((arg, ""));
        let timeout = rest
            .strip_prefix("timeout=")
            .and_then(|r| r.split_once(' '));
        let (limit, rest) =
            timeout.map_or((None, rest), |(ms, rest)| (ms.parse::<u64>().ok(), rest));
        let mut parts = rest.split('|').map(str::to_owned);
        let title = parts.next().unwrap_or_default();
        let more: Vec<String> = parts.collect();
        let second = more.first().cloned().unwrap_or_default();
        let mut pi = self.shared.lock();
        let id = format!("ui-{}-{}", process::id(), pi.number());
        let (quoted_id, title_json, second_json) = (s(&id), s(&title), s(&second));
        let (options, wire_method) = (
            wire::texts(more.iter()),
            s(if method == "status" {
                "setStatus"
            } else {
                method
            }),
        );
        let mut fields = vec![("id", quoted_id.as_str()), ("method", &wire_method)];
        match method {
            "select" => fields.extend([("title", title_json.as_str()), ("options", &options)]),
            "confirm" => fields.extend([("title", title_json.as_str()), ("message", &second_json)]),
            "notify" => {
                fields.extend([("message", title_json.as_str()), ("notifyType", "\"info\"")])
            }
            "status" => fields.extend([
                ("statusKey", title_json.as_str()),
                ("statusText", &second_json),
            ]),
            _ => fields.push(("title", &title_json)),
        }
        let limit_json = limit.map(|ms| ms.to_string()).unwrap_or_default();
        if limit.is_some() {
            fields.push(("timeout", &limit_json));
        }
        pi.event("extension_ui_request", &fields);
        if method == "notify" || method == "status" {
            return None;
        }
        // Like an extension that did not pass its signal: an abort does not end the dialog.
        let waiting = |pi: &mut Pi| !pi.dialogs.contains_key(&id);
        let changed = &self.shared.0 .1;
        let mut pi = match limit {
            Some(ms) => {
                changed
                    .wait_timeout_while(pi, Duration::from_millis(ms), waiting)
                    .expect("no panic under the lock")
                    .0
            }
            None => changed
                .wait_while(pi, waiting)
                .expect("no panic under the lock"),
        };
        let answer = pi.dialogs.remove(&id).unwrap_or_default();
        Some(
            match (
                method,
                answer["value"].as_str(),
                answer["confirmed"].as_bool(),
            ) {
                (_, _, _) if answer["cancelled"] == true || answer.is_null() => {
                    "ui: cancelled".to_owned()
                }
                ("confirm", _, confirmed) => format!("ui: {}", confirmed.unwrap_or(false)),
                (_, Some(value), _) => format!("ui: {value}"),
                _ => "ui: nothing".to_owned(),
            },
        )
    }

    /// Runs the calls one after the other; gives the results, which are also in the file then.
    fn tools(&mut self, calls: Vec<(String, String, Value)>) -> Vec<String> {
        let mut ended = Vec::new();
        for (id, name, args) in &calls {
            let fields = [
                ("toolCallId", s(id)),
                ("toolName", s(name)),
                ("args", args.to_string()),
            ];
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect();
            {
                let mut pi = self.shared.lock();
                pi.event("tool_execution_start", &fields);
                pi.running_tool = Some((id.clone(), name.clone()));
            }
            let (text, error) = match name.as_str() {
                "bash" => {
                    let report = |pi: &mut Pi, output: &str| {
                        let partial = object(&[("content", &text_content(output))]);
                        let mut fields = fields.clone();
                        fields.push(("partialResult", &partial));
                        pi.event("tool_execution_update", &fields);
                    };
                    report(&mut self.shared.lock(), "");
                    let (output, code) =
                        bash(self.shared, args["command"].as_str().unwrap_or(""), report);
                    match code {
                        _ if self.shared.lock().aborting => {
                            (format!("{output}\n\nCommand aborted"), true)
                        }
                        Some(0) if output.is_empty() => ("(no output)".to_owned(), false),
                        Some(0) => (output, false),
                        code => (
                            format!(
                                "{output}\n\nCommand exited with code {}",
                                code.unwrap_or(-1)
                            ),
                            true,
                        ),
                    }
                }
                "http" => http(args),
                "write" => {
                    let path = self
                        .shared
                        .lock()
                        .session
                        .cwd
                        .join(args["path"].as_str().unwrap_or(""));
                    match std::fs::write(&path, args["content"].as_str().unwrap_or("")) {
                        Ok(()) => (format!("Successfully wrote to {}", path.display()), false),
                        Err(error) => (error.to_string(), true),
                    }
                }
                "read" => {
                    let path = self
                        .shared
                        .lock()
                        .session
                        .cwd
                        .join(args["path"].as_str().unwrap_or(""));
                    std::fs::read_to_string(&path)
                        .map_or_else(|error| (error.to_string(), true), |text| (text, false))
                }
                _ => (format!("Tool {name} not found"), true),
            };
            let mut pi = self.shared.lock();
            pi.running_tool = None;
            let result = object(&[("content", &text_content(&text))]);
            let (id_json, name_json) = (s(id), s(name));
            let is_error = if error { "true" } else { "false" };
            let mut fields = vec![
                ("toolCallId", id_json.as_str()),
                ("toolName", &name_json),
                ("result", &result),
                ("isError", is_error),
            ];
            if pi.new {
                fields.push(("durationMs", "1"));
            }
            pi.event("tool_execution_end", &fields);
            self.last_result = Some(text.clone());
            ended.push(tool_result(id, name, &text, error));
        }
        let mut pi = self.shared.lock();
        for message in &ended {
            pi.event("message_start", &[("message", message)]);
            let _ = pi.message(message, "toolResult", &mut self.messages);
        }
        ended
    }
}

/// Runs a script in a process group of its own; gives its output and exit code.
fn bash(shared: &Shared, script: &str, report: impl Fn(&mut Pi, &str)) -> (String, Option<i32>) {
    let cwd = shared.lock().session.cwd.clone();
    let Ok((mut read, write)) = std::io::pipe() else {
        return ("no pipe".into(), None);
    };
    let Ok(second) = write.try_clone() else {
        return ("no pipe".into(), None);
    };
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", script])
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(second)
        .process_group(0);
    let mut child = {
        let mut pi = shared.lock();
        match command.spawn() {
            Ok(child) => {
                pi.tools.push(child.id() as i32);
                child
            }
            Err(error) => return (error.to_string(), None),
        }
    };
    drop(command);
    let (mut output, mut buffer) = (Vec::new(), [0; 8192]);
    while let Ok(n @ 1..) = read.read(&mut buffer) {
        output.extend_from_slice(&buffer[..n]);
        report(&mut shared.lock(), &String::from_utf8_lossy(&output));
    }
    let code = child.wait().ok().and_then(|status| status.code());
    shared
        .lock()
        .tools
        .retain(|group| *group != child.id() as i32);
    (String::from_utf8_lossy(&output).into_owned(), code)
}

/// `[[tool:http {"method","path","body"}]]`: the gateway's door, as pi's extension would use it.
fn http(args: &Value) -> (String, bool) {
    let ask = || -> std::io::Result<(String, bool)> {
        let base = std::env::var("PI_GATEWAY_URL").map_err(std::io::Error::other)?;
        let token = std::env::var("PI_GATEWAY_INTERNAL_TOKEN").unwrap_or_default();
        let host = base.trim_start_matches("http://").trim_end_matches('/');
        let body = if args["body"].is_null() {
            String::new()
        } else {
            args["body"].to_string()
        };
        let (method, path) = (
            args["method"].as_str().unwrap_or("POST"),
            args["path"].as_str().unwrap_or("/"),
        );
        let mut stream = std::net::TcpStream::connect(host)?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).unwrap_or("0").to_owned();
        Ok((format!("{status} {body}"), !status.starts_with('2')))
    };
    ask().unwrap_or_else(|error| (error.to_string(), true))
}

pub fn bash_by_hand(shared: &Shared, id: &Value, script: &str) {
    let (output, code) = bash(shared, script, |_, _| {});
    let mut pi = shared.lock();
    let cancelled = pi.bash_aborted;
    let (output, code) = (s(&output), code.map(|code| code.to_string()));
    let mut fields = vec![("output", output.as_str())];
    if let (Some(code), false) = (&code, cancelled) {
        fields.push(("exitCode", code));
    }
    fields.extend([
        ("cancelled", if cancelled { "true" } else { "false" }),
        ("truncated", "false"),
    ]);
    let data = object(&fields);
    pi.respond(id, "bash", Ok(Some(data)));
}

/// An automatic compaction, `compaction_start` to `compaction_end`. False if it was aborted.
fn compact(shared: &Shared, reason: &'static str, retry: bool) -> bool {
    {
        let mut pi = shared.lock();
        pi.compacting = Some(reason);
        pi.event("compaction_start", &[("reason", &s(reason))]);
    }
    shared.wait(Some(Duration::from_millis(5)), |_| false);
    let mut pi = shared.lock();
    pi.compacting = None;
    let reason = s(reason);
    if pi.aborting && pi.new {
        pi.event(
            "compaction_end",
            &[
                ("reason", &reason),
                ("aborted", "true"),
                ("willRetry", "false"),
            ],
        );
        return false;
    }
    let result = compacted(&mut pi);
    pi.event(
        "compaction_end",
        &[
            ("reason", &reason),
            ("result", &result),
            ("aborted", "false"),
            ("willRetry", if retry { "true" } else { "false" }),
        ],
    );
    true
}

fn compacted(pi: &mut Pi) -> String {
    let (summary, before) = (s(SUMMARY), pi.context_tokens.to_string());
    pi.context_tokens = 200;
    let kept = s(&timestamp());
    let details = "{\"readFiles\":[],\"modifiedFiles\":[]}";
    let fields = [
        ("summary", summary.as_str()),
        ("firstKeptEntryId", &kept),
        ("tokensBefore", &before),
        ("details", details),
    ];
    let _ = pi.session.entry("compaction", &fields);
    object(&fields)
}

/// The `compact` command. `[[gate:…]]` and `[[pause:…]]` in its instructions make it last.
pub fn compact_by_hand(shared: &Shared, id: &Value, instructions: &str) {
    let run = Run {
        shared,
        messages: Vec::new(),
        user: String::new(),
        images: 0,
        turn: 0,
        last_result: None,
    };
    for directive in directives::parse(instructions, &["gate", "pause"]) {
        match directive {
            Directive::Other { name, arg } if name == "gate" => run.gate(&arg),
            Directive::Other { arg, .. } => shared.wait(
                Some(Duration::from_secs_f64(number(&arg, "").unwrap_or(1.0))),
                |_| false,
            ),
            Directive::Tool { .. } => {}
        }
    }
    let mut pi = shared.lock();
    pi.compacting = None;
    let aborted = pi.aborting;
    let reason = ("reason", "\"manual\"");
    let result = if aborted {
        pi.event(
            "compaction_end",
            &[reason, ("aborted", "true"), ("willRetry", "false")],
        );
        Err("Compaction cancelled".to_owned())
    } else if pi.new && pi.session.messages.len() < 3 {
        let error = "Nothing to compact (session too small)";
        pi.event(
            "compaction_end",
            &[
                reason,
                ("aborted", "false"),
                ("willRetry", "false"),
                ("errorMessage", &s(&format!("Compaction failed: {error}"))),
            ],
        );
        Err(error.to_owned())
    } else {
        let result = compacted(&mut pi);
        pi.event(
            "compaction_end",
            &[
                reason,
                ("result", &result),
                ("aborted", "false"),
                ("willRetry", "false"),
            ],
        );
        Ok(Some(result))
    };
    pi.respond(id, "compact", result);
    pi.aborting = false;
    for id in std::mem::take(&mut pi.abort_ids) {
        pi.respond(&id, "abort", Ok(None));
    }
}
