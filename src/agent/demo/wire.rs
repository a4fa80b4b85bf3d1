//! JSON with its keys in the order in which pi writes them.

use serde_json::{json, Value};

/// An object of ready-made values.
pub(super) fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A message's text, whether it is a string or a list of parts.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

pub(super) fn user(text: &str) -> String {
    let content = json!([{"type": "text", "text": text}]).to_string();
    object(&[("role", "\"user\"".into()), ("content", content), ("timestamp", now_ms().to_string())])
}

/// `content`: the parts as JSON values.
pub(super) fn assistant(model: &(String, String), content: &[Value], stop: &str, error: Option<&str>) -> String {
    let zero = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0});
    let usage = json!({"input": 10, "output": 10, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 20, "cost": zero});
    let mut fields = vec![
        ("role", "\"assistant\"".into()),
        ("content", json!(content).to_string()),
        ("api", "\"demo\"".into()),
        ("provider", json!(model.0).to_string()),
        ("model", json!(model.1).to_string()),
        ("usage", usage.to_string()),
        ("stopReason", json!(stop).to_string()),
        ("timestamp", now_ms().to_string()),
    ];
    fields.extend(error.map(|e| ("errorMessage", json!(e).to_string())));
    object(&fields)
}

pub(super) fn tool_result(id: &str, name: &str, text: &str, error: bool) -> String {
    object(&[
        ("role", "\"toolResult\"".into()),
        ("toolCallId", json!(id).to_string()),
        ("toolName", json!(name).to_string()),
        ("content", content(text)),
        ("isError", error.to_string()),
        ("timestamp", now_ms().to_string()),
    ])
}

pub(super) fn content(text: &str) -> String {
    json!([{"type": "text", "text": text}]).to_string()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
