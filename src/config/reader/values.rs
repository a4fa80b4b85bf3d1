//! What a single value of the file stands for, and how it is quoted in a message.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::config::node::{Kind, Node};
use crate::config::redact::is_secret_key;
use crate::config::suggest::closest;
use crate::config::words::Word;

/// Whether a text names where something is to be fetched from, instead of a path.
pub(crate) fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

pub(crate) fn says_false(node: Option<&Node>) -> bool {
    node.is_some_and(|node| flag_of(node) == Some(false))
}

/// Values that come from a variable are text in the file but may stand for something else.
fn from_variable(node: &Node) -> Option<&str> {
    node.text().filter(|_| node.origin.is_some()).map(str::trim)
}

pub(crate) fn flag_of(node: &Node) -> Option<bool> {
    match node.kind {
        Kind::Bool(value) => Some(value),
        _ => from_variable(node)?.parse().ok(),
    }
}

pub(crate) fn number_of(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Number(number) => number.as_f64(),
        _ => from_variable(node)?.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// A whole number; `5.0` is one.
pub(crate) fn int_of(node: &Node) -> Option<i64> {
    match &node.kind {
        Kind::Number(number) => number.as_i64().or_else(|| {
            let value = number.as_f64()?;
            (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
        }),
        _ => from_variable(node)?.parse().ok(),
    }
}

pub(crate) fn text_of(name: &str, node: &Node) -> Result<String, String> {
    node.text().map(str::to_owned).ok_or_else(|| format!("must be a string, found {}", show(name, node)))
}

pub(crate) fn word_of<W: Word>(name: &str, node: &Node) -> Result<W, String> {
    let text = node.text().unwrap_or_default();
    if let Some((_, value)) = W::ALL.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = W::ALL.iter().map(|(word, _)| *word).collect();
    let meant = closest(text, words.iter().copied()).map(|word| format!(" (did you mean \"{word}\"?)"));
    Err(format!("must be one of {}, found {}{}", words.join(", "), show(name, node), meant.unwrap_or_default()))
}

pub(crate) fn whole_number(range: &RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (low, i64::MAX) => format!("a whole number of at least {low}"),
        (low, high) => format!("a whole number from {low} to {high}"),
    }
}

/// A value as it is quoted in a message: short, and nothing secret.
pub(crate) fn show(name: &str, node: &Node) -> String {
    match &node.kind {
        Kind::Object(_) => "an object".into(),
        Kind::List(_) => "a list".into(),
        Kind::Text(_) if is_secret_key(name) => "a string".into(),
        // What came from the environment may be anything.
        Kind::Text(_) if node.origin.is_some() => "another value".into(),
        Kind::Text(text) => match text.char_indices().nth(40) {
            Some((end, _)) => format!("{}...", Value::from(&text[..end])),
            None => Value::from(text.as_str()).to_string(),
        },
        _ => node.to_json().to_string(),
    }
}
