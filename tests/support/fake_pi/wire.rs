//! pi's lines as text. The order of the keys is part of what a reader may rely on (the head of a
//! `message_update` tells it what to skip), so objects are written by hand, not from a sorted map.

use serde_json::Value;

/// A JSON string.
pub fn s(text: &str) -> String {
    Value::from(text).to_string()
}

/// An object of values that are JSON already, in this order.
pub fn object(fields: &[(&str, &str)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

pub fn texts<'a>(list: impl Iterator<Item = &'a String>) -> String {
    let list: Vec<_> = list.map(|text| s(text)).collect();
    format!("[{}]", list.join(","))
}

pub fn text_content(text: &str) -> String {
    if text.is_empty() {
        return "[]".to_owned();
    }
    format!("[{{\"type\":\"text\",\"text\":{}}}]", s(text))
}

/// One block of an assistant message.
#[derive(Clone)]
pub enum Block {
    Text(String),
    Thinking(String),
    Tool { id: String, name: String, args: Value },
}

impl Block {
    pub fn json(&self) -> String {
        match self {
            Block::Text(text) => object(&[("type", "\"text\""), ("text", &s(text))]),
            Block::Thinking(text) => object(&[
                ("type", "\"thinking\""),
                ("thinking", &s(text)),
                ("thinkingSignature", "\"reasoning_content\""),
            ]),
            Block::Tool { id, name, args } => object(&[
                ("type", "\"toolCall\""),
                ("id", &s(id)),
                ("name", &s(name)),
                ("arguments", &args.to_string()),
            ]),
        }
    }
}

pub fn blocks(list: &[Block]) -> String {
    let list: Vec<_> = list.iter().map(Block::json).collect();
    format!("[{}]", list.join(","))
}

pub fn usage(input: u64, output: u64) -> String {
    format!(
        "{{\"input\":{input},\"output\":{output},\"cacheRead\":0,\"cacheWrite\":0,\"totalTokens\":{},\"cost\":{{\"input\":0,\"output\":0,\"cacheRead\":0,\"cacheWrite\":0,\"total\":0}}}}",
        input + output
    )
}
