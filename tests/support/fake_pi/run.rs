//! A run: model turns played from the directives of the last user message, tools, steers, retries, compaction.

#[path = "play.rs"]
mod play;
#[path = "tools.rs"]
mod tools;

use std::sync::MutexGuard;
use std::time::Duration;

use serde_json::Value;

pub use self::tools::{bash_by_hand, tool_result};
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

fn now_ms() -> String {
    jiff::Timestamp::now().as_millisecond().to_string()
}

impl Pi {
    pub fn assistant(&self, content: &[Block], stop: &str, error: Option<&str>, usage: (u64, u64)) -> String {
        let (content, usage, stop, time) = (wire::blocks(content), wire::usage(usage.0, usage.1), s(stop), now_ms());
        let (provider, model, error) = (self.model["provider"].to_string(), self.model["id"].to_string(), error.map(s));
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
            self.event("message_update", &[("usage", &usage), ("assistantMessageEvent", &event)]);
        } else {
            let partial = self.assistant(&self.partial, "stop", None, (0, 0));
            event.push(("partial", &partial));
            let event = object(&event);
            self.event("message_update", &[("assistantMessageEvent", &event), ("message", &partial)]);
        }
    }

    fn message(&mut self, message: &str, role: &str, run: &mut Vec<String>) -> Result<(), String> {
        self.event("message_end", &[("message", message)]);
        run.push(message.to_owned());
        self.session.message(message, role)
    }

    fn user(&mut self, text: &str, run: &mut Vec<String>) -> Result<(), String> {
        let message = object(&[("role", "\"user\""), ("content", &text_content(text)), ("timestamp", &now_ms())]);
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
    let mut run = Run { shared, messages: Vec::new(), user: text, images, turn: 0, last_result: None };
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
            pi.event("agent_end", &[("messages", &messages), ("willRetry", if retry { "true" } else { "false" })]);
        } else {
            pi.event("agent_end", &[("messages", &messages)]);
        }
        let aborted = matches!(end, End::Aborted);
        match end {
            End::Error(error, false) if retry => {
                attempt += 1;
                let delay = RETRY_MS << attempt;
                let (count, most, delay_ms, text) =
                    (attempt.to_string(), RETRIES.to_string(), delay.to_string(), s(&error));
                pi.event(
                    "auto_retry_start",
                    &[("attempt", &count), ("maxAttempts", &most), ("delayMs", &delay_ms), ("errorMessage", &text)],
                );
                pi.waiting_for_retry = true;
                drop(pi);
                shared.wait(Some(Duration::from_millis(delay)), |_| false);
                pi = shared.lock();
                pi.waiting_for_retry = false;
                if pi.aborting {
                    pi.event(
                        "auto_retry_end",
                        &[("success", "false"), ("attempt", &count), ("finalError", "\"Retry cancelled\"")],
                    );
                    let by_abort = if pi.abort_ids.is_empty() { "false" } else { "true" };
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
                    &[("success", "false"), ("attempt", &attempt.to_string()), ("finalError", &s(&error))],
                );
            }
            End::Error(_, true) if !overflowed => {
                overflowed = true;
                drop(pi);
                let done;
                (pi, done) = compact(shared, "overflow", true);
                if done {
                    continue;
                }
            }
            End::Error(_, true) if !new => {
                let text = "\"Context overflow recovery failed after one compact-and-retry attempt. Try reducing context or switching to a larger-context model.\"";
                pi.event(
                    "compaction_end",
                    &[("reason", "\"overflow\""), ("aborted", "false"), ("willRetry", "false"), ("errorMessage", text)],
                );
            }
            _ => {
                let window = pi.model["contextWindow"].as_u64().unwrap_or(128_000);
                if !aborted && pi.context_tokens + 2000 > window {
                    drop(pi);
                    (pi, _) = compact(shared, "threshold", false);
                    let next =
                        pi.replacement.take().or_else(|| pi.steering.pop_front()).or_else(|| pi.follow_up.pop_front());
                    if let Some(text) = next {
                        (run.user, run.turn, run.last_result, first) = (text, 0, None, true);
                        pi.queue_update();
                        continue;
                    }
                }
            }
        }
        if new {
            pi.event("agent_settled", &[("aborted", if aborted { "true" } else { "false" })]);
        }
        break finish(shared, pi);
    }
}

fn finish(shared: &Shared, mut pi: MutexGuard<'_, Pi>) {
    pi.running = false;
    pi.aborting = false;
    pi.partial.clear();
    for id in std::mem::take(&mut pi.abort_ids) {
        pi.respond(&id, "abort", Ok(None));
    }
    shared.notify();
}

fn retryable(error: &str) -> bool {
    ["429", "500", "502", "503", "504", "529", "terminated", "overloaded"].iter().any(|sign| error.contains(sign))
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
                    let system =
                        "{\"role\":\"system\",\"content\":\"\",\"sections\":{\"preamble\":\"You are a stand-in.\"}}";
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
            pi.event("turn_end", &[("message", &message), ("toolResults", &format!("[{}]", results.join(",")))]);
            if pi.aborting {
                pi.event("turn_start", &[]);
                let error = if pi.new { "This operation was aborted" } else { "Request was aborted." };
                let empty = pi.assistant(&[], "aborted", Some(error), (0, 0));
                pi.event("message_start", &[("message", &empty)]);
                let _ = pi.message(&empty, "assistant", &mut self.messages);
                pi.event("turn_end", &[("message", &empty), ("toolResults", "[]")]);
                return End::Aborted;
            }
            let next = pi.steering.pop_front().or_else(|| if stopped { pi.follow_up.pop_front() } else { None });
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

    fn broken(&mut self, mut pi: MutexGuard<'_, Pi>, error: String) -> End {
        let message = pi.assistant(&[], "error", Some(&error), (0, 0));
        pi.event("message_start", &[("message", &message)]);
        pi.event("message_end", &[("message", &message)]);
        End::Broken
    }
}

/// An automatic compaction, `compaction_start` to `compaction_end`. False if it was aborted. The lock is still held:
/// who reads of its end finds what comes after it.
fn compact<'a>(shared: &'a Shared, reason: &'static str, retry: bool) -> (MutexGuard<'a, Pi>, bool) {
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
        pi.event("compaction_end", &[("reason", &reason), ("aborted", "true"), ("willRetry", "false")]);
        return (pi, false);
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
    (pi, true)
}

fn compacted(pi: &mut Pi) -> String {
    let (summary, before) = (s(SUMMARY), pi.context_tokens.to_string());
    pi.context_tokens = 200;
    let kept = s(&timestamp());
    let details = "{\"readFiles\":[],\"modifiedFiles\":[]}";
    let fields =
        [("summary", summary.as_str()), ("firstKeptEntryId", &kept), ("tokensBefore", &before), ("details", details)];
    let _ = pi.session.entry("compaction", &fields);
    object(&fields)
}

/// The `compact` command. `[[gate:…]]` and `[[pause:…]]` in its instructions make it last.
pub fn compact_by_hand(shared: &Shared, id: &Value, instructions: &str) {
    let run = Run { shared, messages: Vec::new(), user: String::new(), images: 0, turn: 0, last_result: None };
    for directive in directives::parse(instructions, &["gate", "pause"]) {
        match directive {
            Directive::Other { name, arg } if name == "gate" => run.gate(&arg),
            Directive::Other { arg, .. } => {
                shared.wait(Some(Duration::from_secs_f64(number(&arg, "").unwrap_or(1.0))), |_| false)
            }
            Directive::Tool { .. } => {}
        }
    }
    let mut pi = shared.lock();
    pi.compacting = None;
    let aborted = pi.aborting;
    let reason = ("reason", "\"manual\"");
    let result = if aborted {
        pi.event("compaction_end", &[reason, ("aborted", "true"), ("willRetry", "false")]);
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
        pi.event("compaction_end", &[reason, ("result", &result), ("aborted", "false"), ("willRetry", "false")]);
        Ok(Some(result))
    };
    pi.respond(id, "compact", result);
    pi.aborting = false;
    for id in std::mem::take(&mut pi.abort_ids) {
        pi.respond(&id, "abort", Ok(None));
    }
}
