//! Ids of people and chats, and tokens of bots.

use super::{made_of, non_empty, Form};
use crate::config::node::{Kind, Node};
use crate::config::secret::is_placeholder;

/// An id written as a string or a whole number.
pub(crate) fn any_id(node: &Node) -> Form {
    match &node.kind {
        Kind::Text(text) => non_empty(text),
        Kind::Number(number) if number.as_i64().is_some() => Ok(number.to_string()),
        _ => Err("an id is a string or a number".into()),
    }
}

/// A Telegram user id, with or without `telegram:` or `tg:`; or `*`.
pub(crate) fn telegram_id(node: &Node) -> Form {
    let text = any_id(node)?;
    let id = text.strip_prefix("telegram:").or_else(|| text.strip_prefix("tg:")).unwrap_or(&text).trim();
    let digits = id.strip_prefix('-').unwrap_or(id);
    match id == "*" || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())) {
        true => Ok(id.to_owned()),
        false => Err("only numeric ids and \"*\" count, user names can change hands".into()),
    }
}

/// Whether this is a Discord id.
pub(crate) fn is_snowflake(text: &str) -> bool {
    (17..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn snowflake_or_any(node: &Node) -> Form {
    match node.text().map(str::trim) {
        Some(id) if id == "*" || is_snowflake(id) => Ok(id.to_owned()),
        _ => Err("an id is a string of 17-20 digits".into()),
    }
}

pub(crate) fn snowflake_or_role(node: &Node) -> Form {
    match node.text().map(str::trim) {
        Some(id) if id.strip_prefix("role:").is_some_and(is_snowflake) => Ok(id.to_owned()),
        _ => snowflake_or_any(node).map_err(|_| "an id is a string of 17-20 digits, a role is role:<id>".into()),
    }
}

/// `<digits>:<letters>`.
pub(crate) fn telegram_token(text: &str) -> Form<()> {
    let right = text.split_once(':').is_some_and(|(id, rest)| {
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty() && made_of(rest, b"_-")
    });
    match (is_placeholder(text) && !right, right) {
        (true, _) => Err("is still the example's text, not a bot token".into()),
        (_, true) => Ok(()),
        _ => Err("is no bot token (digits, a colon, letters), ask @BotFather for one".into()),
    }
}

/// Three parts with dots between.
pub(crate) fn discord_token(text: &str) -> Form<()> {
    let parts: Vec<&str> = text.split('.').collect();
    match parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && made_of(part, b"_-")) {
        true => Ok(()),
        false if is_placeholder(text) => Err("is still the example's text, not a bot token".into()),
        false => Err("is no bot token (three parts with dots between)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn node(value: Value) -> Node {
        let source = crate::config::source::Source::new(
            std::sync::Arc::from(std::path::Path::new("f")),
            format!("{{\"x\": {value}}}"),
        );
        source.parse().unwrap().get("x").cloned().unwrap_or_else(Node::empty_object)
    }

    #[test]
    fn ids() {
        for (value, want) in [
            (Value::from(42), Some("42")),
            (Value::from("42"), Some("42")),
            (Value::from("tg:42"), Some("42")),
            (Value::from("telegram:42"), Some("42")),
            (Value::from("*"), Some("*")),
            (Value::from("-100"), Some("-100")),
            (Value::from("@name"), None),
            (Value::from(""), None),
            (Value::from(true), None),
            (Value::from(1.5), None),
        ] {
            assert_eq!(telegram_id(&node(value.clone())).ok().as_deref(), want, "{value}");
        }
        for (value, want) in
            [("12345678901234567", true), ("1234", false), ("*", true), ("role:12345678901234567", false)]
        {
            assert_eq!(snowflake_or_any(&node(value.into())).is_ok(), want, "{value}");
        }
        assert!(snowflake_or_role(&node("role:12345678901234567".into())).is_ok());
        assert!(snowflake_or_any(&node(Value::from(12345678901234567u64))).is_err());
    }

    #[test]
    fn tokens() {
        for (text, right) in [
            ("123:AA-b_c", true),
            ("123:", false),
            (":x", false),
            ("abc:def", false),
            ("1:a b", false),
            ("1:xxxabc", true),
        ] {
            assert_eq!(telegram_token(text).is_ok(), right, "{text}");
        }
        assert!(telegram_token("YOUR_BOT_TOKEN").unwrap_err().contains("example"));
        assert!(discord_token("a.b-c.d_e").is_ok());
        assert!(discord_token("a.b").is_err() && discord_token("a..b").is_err());
    }
}
