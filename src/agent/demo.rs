//! The built-in demo agent: `pi-gw demo-agent --mode rpc --session FILE`. It speaks pi's protocol on stdin and
//! stdout like a new pi does, writes session files like one, and has no model behind it: the whole gateway can
//! be tried and tested without node, keys or network.
//!
//! `PI_GW_DEMO_DELAY_MS` is the pause between words (default 40; 0 = as fast as it goes, for tests).

mod answer;
mod history;
mod run;
mod wire;

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError};
use serde_json::{json, Value};

use history::History;
use run::Run;
use wire::{object, text_of};

/// Commands read ahead; beyond them pi's stdin fills up.
const COMMANDS: usize = 64;
const MODELS: [(&str, &str); 2] = [("demo", "echo"), ("demo", "lorem")];

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
struct Options {
    session: Option<OsString>,
    provider: Option<String>,
    model: Option<String>,
    thinking: Option<String>,
    version: bool,
}

impl Options {
    /// pi has many flags; those that mean nothing here are skipped with their values.
    fn parse(mut args: impl Iterator<Item = OsString>) -> Options {
        let mut options = Options::default();
        while let Some(arg) = args.next() {
            let mut text = || args.next().map(|v| v.to_string_lossy().into_owned());
            match arg.to_str().unwrap_or_default() {
                "--provider" => options.provider = text(),
                "--model" => options.model = text(),
                "--thinking" => options.thinking = text(),
                "--session" => options.session = args.next(),
                "--version" => options.version = true,
                _ => {}
            }
        }
        options
    }
}

/// Runs until stdin ends; the exit code. `args`: behind `demo-agent`.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let options = Options::parse(args);
    if options.version {
        println!("demo agent of pi-gw {}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    let history = match History::open(options.session.clone().map(Into::into)) {
        Ok(history) => history,
        Err(e) => {
            eprintln!("Error: {e}");
            return 1;
        }
    };
    let (tx, lines) = bounded(COMMANDS);
    let reader = std::thread::Builder::new().name("demo-in".into()).stack_size(256 << 10).spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    if let Err(e) = reader {
        eprintln!("Error: {e}");
        return 1;
    }
    let delay = std::env::var("PI_GW_DEMO_DELAY_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(40);
    let demo = Demo::new(io::stdout().lock(), history, options, Duration::from_millis(delay));
    match demo.serve(&lines) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("Error: {e}");
            1
        }
    }
}

struct Demo<W> {
    out: W,
    history: History,
    model: (String, String),
    thinking: String,
    delay: Duration,
    run: Option<Run>,
    steering: Vec<String>,
    follow_up: Vec<String>,
}

impl<W: Write> Demo<W> {
    fn new(out: W, history: History, options: Options, delay: Duration) -> Demo<W> {
        let model = (options.provider.unwrap_or_else(|| "demo".into()), options.model.unwrap_or_else(|| "echo".into()));
        let thinking = options.thinking.unwrap_or_else(|| "off".into());
        Demo { out, history, model, thinking, delay, run: None, steering: vec![], follow_up: vec![] }
    }

    /// Commands as they come, and between them the run's next word when it is due.
    fn serve(mut self, lines: &Receiver<Vec<u8>>) -> io::Result<()> {
        loop {
            let line = match &self.run {
                None => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(run) => lines.recv_deadline(run.due),
            };
            match line {
                Ok(line) => self.command(&line)?,
                Err(RecvTimeoutError::Timeout) => self.advance()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn event(&mut self, kind: &str, fields: &[(&str, String)]) -> io::Result<()> {
        let mut all = vec![("type", json!(kind).to_string())];
        all.extend_from_slice(fields);
        writeln!(self.out, "{}", object(&all))?;
        self.out.flush()
    }

    fn respond(&mut self, id: &Value, command: &str, result: Result<Value, String>) -> io::Result<()> {
        let mut line = Vec::new();
        if !id.is_null() {
            line.push(("id", id.to_string()));
        }
        line.extend([("type", json!("response").to_string()), ("command", json!(command).to_string())]);
        line.push(("success", result.is_ok().to_string()));
        match result {
            Ok(Value::Null) => {}
            Ok(data) => line.push(("data", data.to_string())),
            Err(error) => line.push(("error", json!(error).to_string())),
        }
        writeln!(self.out, "{}", object(&line))?;
        self.out.flush()
    }

    fn command(&mut self, line: &[u8]) -> io::Result<()> {
        let cmd: Value = match serde_json::from_slice(line) {
            Ok(cmd) => cmd,
            Err(e) => {
                return self.respond(&Value::Null, "parse", Err(format!("Failed to parse command: {e}")));
            }
        };
        let (id, kind) = (cmd["id"].clone(), cmd["type"].as_str().unwrap_or("undefined").to_owned());
        let text = |key: &str| cmd[key].as_str().unwrap_or_default().to_owned();
        let queued = json!({"disposition": "queued"});
        let result = match kind.as_str() {
            "extension_ui_response" => return self.dialog_answered(&cmd),
            "prompt" => match (&self.run, cmd["streamingBehavior"].as_str()) {
                (None, _) => {
                    self.respond(&id, "prompt", Ok(json!({"disposition": "started"})))?;
                    return self.begin(with_pictures(&cmd));
                }
                (Some(_), None) => Err("Agent is already processing. Specify streamingBehavior ('steer' or 'followUp') to queue the message.".into()),
                (Some(_), Some(how)) => {
                    self.queue(how == "followUp", with_pictures(&cmd))?;
                    Ok(queued)
                }
            },
            "steer" | "follow_up" => {
                self.queue(kind == "follow_up", with_pictures(&cmd))?;
                Ok(queued)
            }
            "abort" => self.abort().map(|()| Ok(Value::Null))?,
            "clear_queue" => {
                let (steering, follow_up) = (std::mem::take(&mut self.steering), std::mem::take(&mut self.follow_up));
                self.queue_update()?;
                Ok(json!({"steering": steering, "followUp": follow_up}))
            }
            "new_session" | "switch_session" => {
                let path = cmd["sessionPath"].as_str().map(Into::into);
                let path = path.or_else(|| self.history.sibling());
                self.abort()?;
                self.steering.clear();
                self.follow_up.clear();
                History::open(path).map(|h| self.history = h).map(|()| json!({"cancelled": false})).map_err(|e| e.to_string())
            }
            "get_state" => Ok(self.state()),
            "get_available_models" => Ok(json!({"models": MODELS.map(|(p, m)| model(p, m))})),
            "set_model" => match (text("provider"), text("modelId")) {
                (p, m) if MODELS.contains(&(&p, &m)) => {
                    let answer = model(&p, &m);
                    self.model = (p, m);
                    Ok(answer)
                }
                (p, m) => Err(format!("Model not found: {p}/{m}")),
            },
            "set_thinking_level" => {
                self.thinking = text("level");
                Ok(Value::Null)
            }
            "get_commands" => Ok(json!({"commands": answer::WORDS.map(|(name, description)| {
                json!({"name": name, "description": description, "source": "prompt", "sourceInfo": {}})
            })})),
            "get_session_stats" => Ok(self.stats()),
            "get_last_assistant_text" => Ok(json!({"text": self.history.last_answer})),
            "compact" => return self.compact(&id),
            "abort_retry" | "set_session_name" => Ok(Value::Null),
            other => Err(format!("Unknown command: {other}")),
        };
        self.respond(&id, &kind, result)
    }

    fn queue(&mut self, follow_up: bool, text: String) -> io::Result<()> {
        if follow_up { &mut self.follow_up } else { &mut self.steering }.push(text);
        self.queue_update()
    }

    fn queue_update(&mut self) -> io::Result<()> {
        let (steering, follow_up) = (json!(self.steering).to_string(), json!(self.follow_up).to_string());
        self.event("queue_update", &[("steering", steering), ("followUp", follow_up)])
    }

    fn state(&self) -> Value {
        json!({
            "model": model(&self.model.0, &self.model.1),
            "thinkingLevel": self.thinking,
            "isStreaming": self.run.is_some(),
            "isCompacting": false,
            "steeringMode": "one-at-a-time",
            "followUpMode": "one-at-a-time",
            "sessionFile": self.history.path,
            "sessionId": self.history.id,
            "autoCompactionEnabled": true,
            "messageCount": self.history.messages,
            "pendingMessageCount": self.steering.len() + self.follow_up.len(),
        })
    }

    fn stats(&self) -> Value {
        let h = &self.history;
        json!({
            "sessionFile": h.path, "sessionId": h.id,
            "userMessages": h.said.len(), "assistantMessages": h.messages - h.said.len() - h.tools,
            "toolCalls": h.tools, "toolResults": h.tools, "totalMessages": h.messages,
            "tokens": {"input": h.chars / 4, "output": h.chars / 8, "cacheRead": 0, "cacheWrite": 0, "total": h.chars * 3 / 8},
            "cost": 0,
            "contextUsage": {"tokens": h.chars / 4, "contextWindow": 128_000, "percent": h.chars as f64 / 5120.0},
        })
    }

    fn compact(&mut self, id: &Value) -> io::Result<()> {
        if self.run.is_some() || self.history.messages < 2 {
            let why = "Nothing to compact (session too small)".to_owned();
            return self.respond(id, "compact", Err(why));
        }
        let reason = ("reason", json!("manual").to_string());
        self.event("compaction_start", std::slice::from_ref(&reason))?;
        std::thread::sleep(self.delay * 10); // pi, too, answers nothing else with a result meanwhile
        let result = self.history.compact()?;
        let fields = [("result", result.to_string()), ("aborted", "false".into()), ("willRetry", "false".into())];
        let mut all = vec![reason];
        all.extend(fields);
        self.event("compaction_end", &all)?;
        self.respond(id, "compact", Ok(result))
    }
}

fn model(provider: &str, id: &str) -> Value {
    json!({
        "id": id, "name": format!("Demo {id}"), "api": "demo", "provider": provider, "reasoning": true,
        "input": ["text", "image"], "contextWindow": 128_000, "maxTokens": 16_384,
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
    })
}

fn with_pictures(cmd: &Value) -> String {
    let text = text_of(&cmd["message"]);
    match cmd["images"].as_array().map_or(0, Vec::len) {
        0 => text,
        n => format!("{text}\n[{n} picture(s)]"),
    }
}

#[cfg(test)]
#[path = "demo/tests.rs"]
mod tests;
