//! A whole line of pi, decoded. Types and fields that are not known are harmless.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Value;

use super::front::{floor_char, text_head};
use super::response;
use super::rpc::{command_number, Line, Phase, ToolLine};
use crate::message::{AssistantMessage, PiDialog, PiEvent, ToolCall, Usage};
use crate::plain_json::{clean, NESTING};

/// Arguments of a tool shown live, bytes.
pub const ARGS_BYTES: usize = 2 << 10;
/// Tool calls told of one message.
const MOST_CALLS: usize = 256;
/// Output of a tool shown live (its end), bytes.
pub const OUTPUT_BYTES: usize = 4 << 10;

/// A line that is not JSON.
pub(super) fn noise(line: &[u8]) -> Line {
    let text = String::from_utf8_lossy(&line[..line.len().min(256)]).trim_end().to_owned();
    Line::Noise(text)
}

/// A line that is too long to be kept; all that is known is its beginning.
pub(super) fn oversize(line: &[u8]) -> Line {
    let head = String::from_utf8_lossy(&line[..line.len().min(256)]).into_owned();
    let field = |name: &str| {
        let (_, rest) = head.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let too_long = || "pi's answer is too long to be read".to_owned();
    if let Some(id) = field("id").filter(|_| head.contains("\"type\":\"response\"")).and_then(|id| command_number(&id))
    {
        return Line::Event(PiEvent::Response { id, result: Err(too_long()) });
    }
    let phase = match field("type").as_deref() {
        Some("tool_execution_start") => Phase::Start,
        Some("tool_execution_update") => Phase::Update,
        Some("tool_execution_end") => Phase::End,
        Some("message_end") => return Line::Event(PiEvent::Broken { why: too_long() }),
        _ => return Line::Other,
    };
    let name = field("toolName").unwrap_or_default();
    Line::Tool(ToolLine {
        phase,
        id: field("toolCallId").unwrap_or_default(),
        label: if phase == Phase::Start { name.clone() } else { String::new() },
        name,
        args: String::new(),
        output: String::new(),
        error: false,
    })
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
}

/// What a whole line says. Unknown types and fields are harmless.
pub(super) fn decode(line: &[u8]) -> Line {
    let Some(text) = clean(line) else {
        return Line::Event(PiEvent::Broken { why: format!("pi wrote JSON nested deeper than {NESTING}") });
    };
    let Ok(Head { kind }) = serde_json::from_str(&text) else { return noise(line) };
    decode_kind(&kind, &text).unwrap_or_else(|e| {
        log::debug!("a line of type {kind} from pi cannot be read: {e}");
        Line::Other
    })
}

fn decode_kind(kind: &str, text: &str) -> serde_json::Result<Line> {
    let read = serde_json::from_str::<Fields>;
    let event = match kind {
        "response" => return response::decode(text),
        "message_end" | "message_start" => {
            let wire: Wrapped = serde_json::from_str(text)?;
            match (kind, &*wire.message.role) {
                ("message_end", "assistant") => PiEvent::Assistant(wire.message.assistant()),
                ("message_start", "assistant") => return Ok(Line::AssistantStart),
                ("message_start", "user") => PiEvent::UserStart { head: wire.message.head() },
                _ => return Ok(Line::Other),
            }
        }
        "message_update" => {
            let Delta { event: DeltaEvent { kind, delta } } = serde_json::from_str(text)?;
            return Ok(match (kind.as_str(), delta) {
                ("text_delta", Some(delta)) => Line::Text(delta),
                ("thinking_delta", Some(delta)) => Line::Thinking(delta),
                _ => Line::Other,
            });
        }
        "tool_execution_start" | "tool_execution_update" | "tool_execution_end" => return tool(kind, text),
        "agent_start" => PiEvent::AgentStart,
        "agent_end" => PiEvent::AgentEnd { will_retry: read(text)?.will_retry },
        "agent_settled" => PiEvent::Settled { aborted: read(text)?.aborted },
        "auto_retry_start" => {
            let f = read(text)?;
            PiEvent::RetryStart {
                attempt: f.attempt,
                max: f.max_attempts,
                delay_ms: f.delay_ms as u64,
                error: f.error_message.unwrap_or_default(),
            }
        }
        "auto_retry_end" => {
            let f = read(text)?;
            PiEvent::RetryEnd { success: f.success, error: f.final_error }
        }
        "compaction_start" | "auto_compaction_start" => PiEvent::CompactionStart { reason: read(text)?.reason() },
        "compaction_end" | "auto_compaction_end" => {
            let f = read(text)?;
            PiEvent::CompactionEnd {
                reason: f.reason(),
                ok: f.result.is_some(),
                aborted: f.aborted,
                will_retry: f.will_retry,
                error: f.error_message,
            }
        }
        "queue_update" => {
            let f = read(text)?;
            PiEvent::Queue { waiting: f.steering.len() + f.follow_up.len() }
        }
        "extension_ui_request" => return dialog(text),
        "extension_error" => {
            let f = read(text)?;
            PiEvent::ExtensionError { message: format!("{}: {}", f.extension_path, f.error) }
        }
        "turn_end" => return Ok(Line::TurnEnd),
        _ => return Ok(Line::Other),
    };
    Ok(Line::Event(event))
}

/// Fields of the small events, all optional.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    will_retry: bool,
    aborted: bool,
    success: bool,
    attempt: u32,
    max_attempts: u32,
    delay_ms: f64,
    error_message: Option<String>,
    final_error: Option<String>,
    reason: Option<String>,
    result: Option<IgnoredAny>,
    steering: Vec<IgnoredAny>,
    follow_up: Vec<IgnoredAny>,
    extension_path: String,
    error: String,
}

impl Fields {
    fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| "threshold".into()) // what the older `auto_` names mean
    }
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "assistantMessageEvent")]
    event: DeltaEvent,
}

#[derive(Deserialize)]
struct DeltaEvent {
    #[serde(rename = "type")]
    kind: String,
    delta: Option<String>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    message: WireMessage<'a>,
}

/// A message as events and session files have it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireMessage<'a> {
    pub role: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    stop_reason: String,
    error_message: Option<String>,
    model: String,
    provider: String,
    usage: WireUsage,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireUsage {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cost: Cost,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cost {
    total: f64,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

impl Part<'_> {
    fn call(&self) -> ToolCall {
        let args = self.arguments.map(RawValue::get).unwrap_or_default();
        let args = args[..floor_char(args, ARGS_BYTES)].to_owned();
        ToolCall { id: self.id.to_string(), name: self.name.to_string(), args }
    }
}

impl WireMessage<'_> {
    pub fn assistant(self) -> AssistantMessage {
        let (text, calls) = self.content.map(|c| said(c.get())).unwrap_or_default();
        AssistantMessage {
            text,
            stop: self.stop_reason,
            error: self.error_message,
            model: self.model,
            provider: self.provider,
            calls,
            usage: Usage {
                input: self.usage.input,
                output: self.usage.output,
                cache_read: self.usage.cache_read,
                cache_write: self.usage.cache_write,
                cost: self.usage.cost.total,
            },
        }
    }

    /// Beginning of a user message.
    pub fn head(&self) -> String {
        self.content.map(|c| text_head(c.get().as_bytes())).unwrap_or_default()
    }
}

/// The text parts of a message's content, joined by nothing.
fn texts(content: &str) -> String {
    said(content).0
}

/// The same, and the tools it calls.
fn said(content: &str) -> (String, Vec<ToolCall>) {
    match serde_json::from_str::<Vec<Part>>(content) {
        Ok(parts) => {
            let of = |kind: &'static str| parts.iter().filter(move |p| p.kind == kind);
            (of("text").map(|p| &*p.text).collect(), of("toolCall").take(MOST_CALLS).map(Part::call).collect())
        }
        Err(_) => (serde_json::from_str(content).unwrap_or_default(), Vec::new()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTool<'a> {
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    tool_name: String,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow, alias = "partialResult")]
    result: Option<WireResult<'a>>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct WireResult<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Label {
    label: Option<String>,
}

fn tool(kind: &str, text: &str) -> serde_json::Result<Line> {
    let wire: WireTool = serde_json::from_str(text)?;
    let phase = match kind {
        "tool_execution_start" => Phase::Start,
        "tool_execution_end" => Phase::End,
        _ => Phase::Update,
    };
    let args = wire.args.map(RawValue::get).unwrap_or_default();
    let label = match phase {
        Phase::Start => {
            let given = serde_json::from_str::<Label>(args).ok().and_then(|l| l.label);
            given.filter(|l| !l.is_empty()).unwrap_or_else(|| wire.tool_name.clone())
        }
        _ => String::new(), // known since the start
    };
    let output = wire.result.and_then(|r| r.content).map(|c| texts(c.get())).unwrap_or_default();
    let mut from = output.len().saturating_sub(OUTPUT_BYTES);
    while !output.is_char_boundary(from) {
        from += 1;
    }
    Ok(Line::Tool(ToolLine {
        phase,
        id: wire.tool_call_id,
        name: wire.tool_name,
        label,
        args: if phase == Phase::Start { args[..floor_char(args, ARGS_BYTES)].to_owned() } else { String::new() },
        output: output[from..].to_owned(),
        error: wire.is_error,
    }))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireDialog {
    id: String,
    method: String,
    title: String,
    message: String,
    notify_type: Option<String>,
    options: Vec<Value>,
    placeholder: Option<String>,
    prefill: Option<String>,
    timeout: Option<f64>,
}

fn dialog(text: &str) -> serde_json::Result<Line> {
    let d: WireDialog = serde_json::from_str(text)?;
    let plain = |v: Value| if let Value::String(s) = v { s } else { v.to_string() };
    Ok(match d.method.as_str() {
        "notify" => {
            let level = d.notify_type.unwrap_or_else(|| "info".into());
            Line::Event(PiEvent::Notice { level, message: d.message })
        }
        "setStatus" | "setWidget" | "setTitle" | "set_editor_text" => Line::Other,
        // A method of the future may wait too: it is told on and gets its `cancelled`.
        _ => Line::Event(PiEvent::Ui(PiDialog {
            id: d.id,
            method: d.method,
            title: d.title,
            message: d.message,
            options: d.options.into_iter().map(plain).collect(),
            placeholder: d.placeholder.unwrap_or_default(),
            prefill: d.prefill.unwrap_or_default(),
            timeout: d.timeout.map(|ms| ms.max(0.0) as u64),
        })),
    })
}
