//! Answers to commands, decoded.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Value;

use super::rpc::{command_number, Line};
use crate::message::{PiData, PiEvent, PiModels, PiState, PiStats};

#[derive(Deserialize)]
struct WireResponse<'a> {
    id: Option<Value>,
    #[serde(default)]
    command: String,
    #[serde(default)]
    success: bool,
    error: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) fn decode(text: &str) -> serde_json::Result<Line> {
    let r: WireResponse = serde_json::from_str(text)?;
    let error = || r.error.clone().unwrap_or_else(|| "pi refused without a reason".into());
    let Some(id) = r.id.as_ref().and_then(Value::as_str).and_then(command_number) else {
        return Ok(match r.success {
            true => Line::Other,
            false => Line::Event(PiEvent::Refused { error: error(), command: r.command }),
        });
    };
    let result = match r.success {
        true => data(&r.command, r.data.map(RawValue::get)).map_err(|e| format!("pi's answer cannot be read: {e}")),
        false => Err(error()),
    };
    Ok(Line::Event(PiEvent::Response { id, result }))
}

fn data(command: &str, data: Option<&str>) -> serde_json::Result<PiData> {
    let Some(data) = data.filter(|d| *d != "null") else { return Ok(PiData::None) };
    Ok(match command {
        "get_state" => {
            PiData::State(PiState { raw: data.to_owned(), ..serde_json::from_str::<WireState>(data)?.into() })
        }
        "prompt" | "steer" | "follow_up" => match serde_json::from_str::<WireData>(data)?.disposition {
            Some(how) => PiData::Disposition(how),
            None => PiData::None,
        },
        "switch_session" | "new_session" => PiData::Cancelled(serde_json::from_str::<WireData>(data)?.cancelled),
        "get_commands" => {
            let list = serde_json::from_str::<WireData>(data)?.commands;
            PiData::Commands(list.into_iter().map(|c| (c.name, c.description.unwrap_or_default())).collect())
        }
        "get_available_models" => {
            let list = serde_json::from_str::<WireData>(data)?.models;
            let names = list.into_iter().map(|m| format!("{}/{}", m.provider, m.id)).collect();
            let raw = serde_json::from_str::<WireRawModels>(data)?.models.map_or("[]", RawValue::get).to_owned();
            PiData::Models(Box::new(PiModels { names, raw }))
        }
        "get_session_stats" => {
            let stats: PiStats = serde_json::from_str::<WireStats>(data)?.into();
            PiData::Stats(Box::new(PiStats { raw: data.to_owned(), ..stats }))
        }
        _ => PiData::None,
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireData {
    disposition: Option<String>,
    cancelled: bool,
    commands: Vec<WireCommand>,
    models: Vec<WireModel>,
}

#[derive(Deserialize)]
struct WireRawModels<'a> {
    #[serde(borrow)]
    models: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCommand {
    name: String,
    description: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireModel {
    id: String,
    provider: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireState {
    model: Option<WireModel>,
    thinking_level: String,
    is_streaming: bool,
    is_compacting: bool,
    session_file: Option<String>,
    message_count: usize,
    pending_message_count: usize,
}

impl From<WireState> for PiState {
    fn from(w: WireState) -> PiState {
        let model = w.model.map(|m| format!("{}/{}", m.provider, m.id));
        PiState {
            streaming: w.is_streaming,
            compacting: w.is_compacting,
            pending: w.pending_message_count,
            messages: w.message_count,
            session_file: w.session_file.map(Into::into),
            model: model.filter(|m| m != "unknown/unknown"),
            thinking: w.thinking_level,
            raw: String::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireStats {
    user_messages: u64,
    tool_calls: u64,
    tokens: WireTokens,
    cost: f64,
    context_usage: Option<WireContext>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireTokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireContext {
    tokens: Option<f64>,
    context_window: Option<f64>,
}

impl From<WireStats> for PiStats {
    fn from(w: WireStats) -> PiStats {
        let context = w.context_usage.unwrap_or_default();
        PiStats {
            input: w.tokens.input,
            output: w.tokens.output,
            cache_read: w.tokens.cache_read,
            cache_write: w.tokens.cache_write,
            cost: w.cost,
            context_tokens: context.tokens.map(|n| n as u64),
            context_window: context.context_window.map(|n| n as u64),
            user_messages: w.user_messages,
            tool_calls: w.tool_calls,
            raw: String::new(),
        }
    }
}
