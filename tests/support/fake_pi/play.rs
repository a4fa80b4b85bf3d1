//! One answer of the model: the directives of a turn, played as the events a provider's stream becomes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::directives::{self, number, Directive};
use super::wire::{self, s, Block};
use super::{retryable, End, Pi, Run};

fn names() -> Vec<&'static str> {
    let own = ["crash", "garbage", "hugeline", "ui", "freeze", "stderr", "unsettled", "deep", "fatend"];
    directives::COMMON.iter().copied().chain(own).collect()
}

impl Run<'_> {
    /// One answer of the model, up to its `message_end` (and `turn_end`, if it did not end well).
    pub(super) fn model_turn(&mut self) -> End {
        let all = directives::parse(&self.user, &names());
        let plan = directives::split_turns(&all).into_iter().nth(self.turn).unwrap_or_default();
        let mut usage = None;
        for directive in &plan {
            let Directive::Other { name, arg } = directive else {
                continue;
            };
            match name.as_str() {
                "hang" => self.shared.wait(Some(Duration::from_secs_f64(number(arg, "").unwrap_or(1.0))), |_| false),
                "status" if self.should_fail(name, arg) => {
                    let code = number(arg, "").unwrap_or(500.0) as u16;
                    let new = self.shared.lock().new;
                    let text = match arg.split_once("msg=\"").and_then(|(_, m)| m.split_once('"')) {
                        Some((text, _)) => text.to_owned(),
                        None => format!("fake failure {code}"),
                    };
                    let text =
                        if new { format!("{code}: {{\"message\":{}}}", s(&text)) } else { format!("{code} {text}") };
                    return self.failed(&text, false);
                }
                "overflow" if self.should_fail(name, arg) => {
                    let text = "400 This model's maximum context length is 8192 tokens. However, your messages resulted in 8193 tokens.";
                    return self.failed(text, true);
                }
                "usage" => {
                    usage = Some((number(arg, "").unwrap_or(0.0) as u64, number(arg, ",").unwrap_or(1.0) as u64))
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
                "pause" => self.shared.wait(Some(Duration::from_secs_f64(number(arg, "").unwrap_or(1.0))), |_| false),
                "length" => stop = "length",
                "filter" => return self.close("error", Some("Provider finish_reason: content_filter"), (0, 0)),
                "drop" => return self.close("error", Some("terminated"), (0, 0)),
                "garbage" => self.shared.lock().emit("this line is {not json"),
                "hugeline" => {
                    let filler = "x".repeat(number(arg, "").unwrap_or(1e6) as usize);
                    self.shared.lock().event("huge", &[("filler", &s(&filler))]);
                }
                "deep" => {
                    let n = number(arg, "").unwrap_or(1e5) as usize;
                    let line = format!("{{\"type\":\"message_end\",\"message\":{}{}}}", "[".repeat(n), "]".repeat(n));
                    self.shared.lock().emit(&line);
                }
                // The run goes on: only the line's size counts.
                "fatend" => {
                    let filler = "x".repeat(number(arg, "").unwrap_or(1e6) as usize);
                    let line = format!("{{\"type\":\"agent_end\",\"messages\":[{}],\"willRetry\":true}}", s(&filler));
                    self.shared.lock().emit(&line);
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
                Some(result) => format!("tool said: {}", result.chars().take(200).collect::<String>().trim()),
                None if all.is_empty() => self.user.clone(),
                None => "ok".to_owned(),
            };
            self.say(&text);
        }
        self.end_text();
        let chars: usize = self.shared.lock().session.messages.iter().map(String::len).sum();
        let usage = usage.unwrap_or((chars as u64 / 4 + 10, 1));
        if aborted {
            let error = if self.shared.lock().new { "Request was aborted" } else { "Request was aborted." };
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
        let model = arg.split_whitespace().find_map(|word| word.strip_prefix("model="));
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
        if pi.message(&message, "assistant", &mut self.messages).is_err() {
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
        let last = pi.session.messages.last().and_then(|m| serde_json::from_str::<Value>(m).ok());
        last.is_some_and(|m| m["stopReason"] == "error" && retryable(m["errorMessage"].as_str().unwrap_or("")))
    }

    fn say(&self, text: &str) {
        self.speak(directives::words(text).into_iter().map(|word| (word, 0)).collect());
    }

    fn speak(&self, pieces: Vec<(String, u64)>) {
        for (piece, gap) in pieces {
            if gap > 0 {
                self.shared.wait(Some(Duration::from_millis(gap)), |_| false);
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
            pi.partial.push(if thinking { Block::Thinking(piece.clone()) } else { Block::Text(piece.clone()) });
            let at = pi.partial.len() - 1;
            pi.update(if thinking { "thinking_start" } else { "text_start" }, at, &[]);
        }
        let at = pi.partial.len() - 1;
        pi.update(if thinking { "thinking_delta" } else { "text_delta" }, at, &[("delta", &s(&piece))]);
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
        pi.partial.push(Block::Tool { id: id.clone(), name: name.to_owned(), args: args.clone() });
        let (at, call) = (pi.partial.len() - 1, pi.partial.last().map(Block::json).unwrap_or_default());
        pi.update("toolcall_start", at, &[("id", &s(&id)), ("toolName", &s(name))]);
        for piece in directives::pieces(&args.to_string(), 24) {
            pi.update("toolcall_delta", at, &[("delta", &s(&piece))]);
        }
        pi.update("toolcall_end", at, &[("toolCall", &call)]);
        (id, name.to_owned(), args)
    }

    fn show(&self, what: &str) -> String {
        let pi = self.shared.lock();
        let messages: Vec<Value> = pi.session.messages.iter().filter_map(|m| serde_json::from_str(m).ok()).collect();
        match what {
            "images" => format!("images: {}", self.images),
            "model" => format!("model: {} effort: {}", pi.model["id"].as_str().unwrap_or(""), pi.thinking),
            "roles" => {
                let roles: Vec<_> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
                format!("roles: {}", roles.join(","))
            }
            "users" => {
                let text =
                    |m: &Value| m["content"][0]["text"].as_str().unwrap_or("").chars().take(80).collect::<String>();
                messages.iter().filter(|m| m["role"] == "user").map(text).collect::<Vec<_>>().join(" | ")
            }
            _ => format!("unknown show {what}"),
        }
    }

    pub(super) fn gate(&self, name: &str) {
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
        let timeout = rest.strip_prefix("timeout=").and_then(|r| r.split_once(' '));
        let (limit, rest) = timeout.map_or((None, rest), |(ms, rest)| (ms.parse::<u64>().ok(), rest));
        let mut parts = rest.split('|').map(str::to_owned);
        let title = parts.next().unwrap_or_default();
        let more: Vec<String> = parts.collect();
        let second = more.first().cloned().unwrap_or_default();
        let mut pi = self.shared.lock();
        let id = format!("ui-{}-{}", process::id(), pi.number());
        let (quoted_id, title_json, second_json) = (s(&id), s(&title), s(&second));
        let (options, wire_method) =
            (wire::texts(more.iter()), s(if method == "status" { "setStatus" } else { method }));
        let mut fields = vec![("id", quoted_id.as_str()), ("method", &wire_method)];
        match method {
            "select" => fields.extend([("title", title_json.as_str()), ("options", &options)]),
            "confirm" => fields.extend([("title", title_json.as_str()), ("message", &second_json)]),
            "notify" => fields.extend([("message", title_json.as_str()), ("notifyType", "\"info\"")]),
            "status" => fields.extend([("statusKey", title_json.as_str()), ("statusText", &second_json)]),
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
                changed.wait_timeout_while(pi, Duration::from_millis(ms), waiting).expect("no panic under the lock").0
            }
            None => changed.wait_while(pi, waiting).expect("no panic under the lock"),
        };
        let answer = pi.dialogs.remove(&id).unwrap_or_default();
        Some(match (method, answer["value"].as_str(), answer["confirmed"].as_bool()) {
            (_, _, _) if answer["cancelled"] == true || answer.is_null() => "ui: cancelled".to_owned(),
            ("confirm", _, confirmed) => format!("ui: {}", confirmed.unwrap_or(false)),
            (_, Some(value), _) => format!("ui: {value}"),
            _ => "ui: nothing".to_owned(),
        })
    }
}
