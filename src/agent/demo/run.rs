//! A run of the demo agent: from the prompt to `agent_settled`, one small step at a time.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::answer::{answer, deltas, Part};
use super::wire::{assistant, content, object, tool_result, user};
use super::Demo;
use crate::agent::session_file::new_id;

const TOOL: &str = "bash";
const OUTPUT: [&str; 3] = ["step 1: look busy\n", "step 2: look busier\n", "step 3: done\n"];

pub(super) struct Run {
    /// When the next step is due.
    pub due: Instant,
    steps: VecDeque<Step>,
    /// Parts of the assistant message being written.
    content: Vec<Value>,
    open_message: bool,
    /// The tool that runs, and how much it has printed.
    tool: Option<(String, String)>,
    /// A dialog that waits for its answer.
    dialog: Option<String>,
    /// What `agent_end` repeats.
    messages: Vec<String>,
}

enum Step {
    User(String),
    Message,
    Block(&'static str),
    Delta(&'static str, String),
    EndBlock(&'static str),
    End {
        stop: &'static str,
        error: Option<&'static str>,
    },
    ToolStart,
    ToolPrints(usize),
    ToolEnd,
    /// The turn is over: steers, what is left, follow-ups, the end.
    Turn,
    Retry(&'static str),
    Retried,
    Ask,
    Crash,
}

fn steps(parts: Vec<Part>) -> VecDeque<Step> {
    let mut steps = VecDeque::from([Step::Message]);
    for part in parts {
        match part {
            Part::Think(text) => block(&mut steps, "thinking", &text),
            Part::Say(text) => block(&mut steps, "text", &text),
            Part::Tool => {
                steps.extend([Step::End { stop: "toolUse", error: None }, Step::ToolStart]);
                steps.extend((0..OUTPUT.len()).map(Step::ToolPrints));
                steps.extend([Step::ToolEnd, Step::Turn, Step::Message]);
            }
            Part::Fail { error, retry } => {
                steps.push_back(Step::End { stop: "error", error: Some(error) });
                if !retry {
                    steps.push_back(Step::Turn);
                    return steps;
                }
                steps.extend([Step::Retry(error), Step::Retried, Step::Message]);
            }
            Part::Ask => steps.push_back(Step::Ask),
            Part::Crash => steps.push_back(Step::Crash),
        }
    }
    steps.extend([Step::End { stop: "stop", error: None }, Step::Turn]);
    steps
}

fn block(steps: &mut VecDeque<Step>, kind: &'static str, text: &str) {
    steps.push_back(Step::Block(kind));
    steps.extend(deltas(text).map(|d| Step::Delta(kind, d.to_owned())));
    steps.push_back(Step::EndBlock(kind));
}

impl<W: Write> Demo<W> {
    pub(super) fn begin(&mut self, text: String) -> io::Result<()> {
        self.event("agent_start", &[])?;
        self.event("turn_start", &[])?;
        self.run = Some(Run {
            due: Instant::now(),
            steps: VecDeque::from([Step::User(text)]),
            content: vec![],
            open_message: false,
            tool: None,
            dialog: None,
            messages: vec![],
        });
        Ok(())
    }

    /// Does the next step.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let Some(mut run) = self.run.take() else { return Ok(()) };
        let pause = match run.steps.front() {
            Some(Step::Delta(..)) => self.delay,
            Some(Step::ToolPrints(_) | Step::Retry(_)) => self.delay * 10,
            _ => Duration::ZERO,
        };
        let Some(step) = run.steps.pop_front() else { return self.settle(run, false) };
        run.due = Instant::now() + pause;
        match step {
            Step::User(text) => {
                let parts = answer(&text, &self.history.said);
                self.message(&mut run, &user(&text))?;
                run.steps = steps(parts);
            }
            Step::Message => {
                run.open_message = true;
                run.content.clear();
                let empty = assistant(&self.model, &[], "pending", None);
                self.event("message_start", &[("message", empty)])?;
            }
            Step::Block(kind) => {
                let key = if kind == "text" { "text" } else { "thinking" };
                run.content.push(json!({"type": kind, key: ""}));
                self.update(&run, kind, "start", None)?;
            }
            Step::Delta(kind, delta) => {
                if let Some(Value::String(text)) = run.content.last_mut().and_then(|part| part.get_mut(kind)) {
                    text.push_str(&delta);
                }
                self.update(&run, kind, "delta", Some(("delta", &delta)))?;
            }
            Step::EndBlock(kind) => {
                let text = run.content.last().map(|p| p[kind].as_str().unwrap_or_default().to_owned());
                self.update(&run, kind, "end", Some(("content", &text.unwrap_or_default())))?;
            }
            Step::End { stop, error } => {
                if stop == "toolUse" {
                    let id = format!("call_{}", &new_id()?[..8]);
                    run.content.push(json!({"type": "toolCall", "id": id, "name": TOOL, "arguments": arguments()}));
                    run.tool = Some((id, String::new()));
                }
                self.end_message(&mut run, stop, error)?;
            }
            Step::ToolStart => self.tool_event(&run, "start", vec![("args", arguments().to_string())])?,
            Step::ToolPrints(n) => {
                let printed = run.tool.as_mut().map(|(_, output)| {
                    output.push_str(OUTPUT[n]);
                    object(&[("content", content(output)), ("details", "{}".into())])
                });
                let fields = vec![("args", arguments().to_string()), ("partialResult", printed.unwrap_or_default())];
                self.tool_event(&run, "update", fields)?;
            }
            Step::ToolEnd => self.end_tool(&mut run, false)?,
            Step::Turn => {
                self.event("turn_end", &[("message", "{}".into()), ("toolResults", "[]".into())])?;
                let queue = match (self.steering.is_empty(), run.steps.is_empty()) {
                    (false, _) => &mut self.steering,
                    (true, true) => &mut self.follow_up,
                    (true, false) => &mut vec![],
                };
                let next = (!queue.is_empty()).then(|| queue.remove(0));
                if next.is_none() && run.steps.is_empty() {
                    return self.settle(run, false);
                }
                self.event("turn_start", &[])?;
                if let Some(text) = next {
                    self.queue_update()?;
                    run.steps = VecDeque::from([Step::User(text)]);
                }
            }
            Step::Retry(error) => {
                self.event("turn_end", &[("message", "{}".into()), ("toolResults", "[]".into())])?;
                self.event("agent_end", &[("messages", "[]".into()), ("willRetry", "true".into())])?;
                let delay = (self.delay.as_millis() * 10).to_string();
                let error = json!(error).to_string();
                let fields =
                    [("attempt", "1".into()), ("maxAttempts", "3".into()), ("delayMs", delay), ("errorMessage", error)];
                self.event("auto_retry_start", &fields)?;
            }
            Step::Retried => {
                self.event("agent_start", &[])?;
                self.event("turn_start", &[])?;
                self.event("auto_retry_end", &[("success", "true".into()), ("attempt", "1".into())])?;
            }
            Step::Ask => {
                let id = new_id()?;
                let options = json!(["tea", "coffee", "neither"]).to_string();
                let fields = [
                    ("id", json!(id).to_string()),
                    ("method", "\"select\"".into()),
                    ("title", "\"What may I bring you?\"".into()),
                    ("options", options),
                ];
                self.event("extension_ui_request", &fields)?;
                run.dialog = Some(id);
                run.due = Instant::now() + Duration::from_secs(24 * 3600); // an answer or an abort ends it
            }
            Step::Crash => {
                eprintln!("demo agent: crashing as asked");
                std::process::exit(3);
            }
        }
        self.run = Some(run);
        Ok(())
    }

    pub(super) fn dialog_answered(&mut self, cmd: &Value) -> io::Result<()> {
        let Some(run) = self.run.as_mut().filter(|r| r.dialog.is_some() && r.dialog.as_deref() == cmd["id"].as_str())
        else {
            return Ok(());
        };
        let text = match cmd["value"].as_str() {
            Some(choice) => format!("\n\n*(demo)* Your choice: **{choice}**."),
            None => "\n\n*(demo)* No choice was made.".into(),
        };
        let mut said = VecDeque::new();
        block(&mut said, "text", &text);
        said.append(&mut run.steps);
        run.steps = said;
        run.dialog = None;
        run.due = Instant::now();
        Ok(())
    }

    /// Ends the run as pi does; nothing if none is on.
    pub(super) fn abort(&mut self) -> io::Result<()> {
        let Some(mut run) = self.run.take() else { return Ok(()) };
        if run.tool.is_some() {
            self.end_tool(&mut run, true)?;
            run.content.clear();
            self.event("message_start", &[("message", assistant(&self.model, &[], "pending", None))])?;
            run.open_message = true;
        }
        if run.open_message {
            self.end_message(&mut run, "aborted", Some("Request was aborted."))?;
            self.event("turn_end", &[("message", "{}".into()), ("toolResults", "[]".into())])?;
        }
        self.settle(run, true)
    }

    fn settle(&mut self, run: Run, aborted: bool) -> io::Result<()> {
        let messages = format!("[{}]", run.messages.join(","));
        self.event("agent_end", &[("messages", messages), ("willRetry", "false".into())])?;
        self.event("agent_settled", &[("aborted", aborted.to_string())])
    }

    fn message(&mut self, run: &mut Run, message: &str) -> io::Result<()> {
        self.event("message_start", &[("message", message.to_owned())])?;
        self.event("message_end", &[("message", message.to_owned())])?;
        self.store(run, message)
    }

    fn store(&mut self, run: &mut Run, message: &str) -> io::Result<()> {
        run.messages.push(message.to_owned());
        self.history.push(message)
    }

    fn end_message(&mut self, run: &mut Run, stop: &str, error: Option<&str>) -> io::Result<()> {
        run.open_message = false;
        let message = assistant(&self.model, &run.content, stop, error);
        self.event("message_end", &[("message", message.clone())])?;
        self.store(run, &message)
    }

    fn update(&mut self, run: &Run, kind: &str, what: &str, text: Option<(&str, &str)>) -> io::Result<()> {
        let mut event = vec![
            ("type", json!(format!("{kind}_{what}")).to_string()),
            ("contentIndex", run.content.len().saturating_sub(1).to_string()),
        ];
        event.extend(text.map(|(key, text)| (key, json!(text).to_string())));
        let usage = json!({"input": 0, "output": 0}).to_string();
        self.event("message_update", &[("usage", usage), ("assistantMessageEvent", object(&event))])
    }

    fn tool_event(&mut self, run: &Run, what: &str, more: Vec<(&str, String)>) -> io::Result<()> {
        let id = run.tool.as_ref().map(|(id, _)| id.as_str()).unwrap_or_default();
        let mut fields = vec![("toolCallId", json!(id).to_string()), ("toolName", json!(TOOL).to_string())];
        fields.extend(more);
        self.event(&format!("tool_execution_{what}"), &fields)
    }

    fn end_tool(&mut self, run: &mut Run, error: bool) -> io::Result<()> {
        let (id, mut output) = run.tool.clone().unwrap_or_default();
        if error {
            output.push_str("\n\nCommand aborted");
        }
        let result = object(&[("content", content(&output))]);
        self.tool_event(run, "end", vec![("result", result), ("isError", error.to_string())])?;
        run.tool = None;
        self.message(run, &tool_result(&id, TOOL, &output, error))
    }
}

fn arguments() -> Value {
    json!({"command": "for i in 1 2 3; do echo step $i; sleep 0.4; done", "label": "Pretend to work"})
}
