//! Keys set in a configuration file: one that exists keeps its comments and everything else it has, a new one gets
//! comments of its own.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::issue::Issue;
use super::node::{Kind, Node};
use super::rewrite::{insert, remove};
use super::source::Source;

/// One key that is to become something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Names from the top; a number is an index of a list that exists.
    pub path: Vec<String>,
    /// `None`: the key goes.
    pub to: Option<Value>,
    /// The comment above a key that is new; empty: none.
    pub why: String,
}

impl Change {
    pub fn set(path: &[&str], to: impl Into<Value>, why: impl Into<String>) -> Change {
        Change { path: owned(path), to: Some(to.into()), why: why.into() }
    }

    pub fn remove(path: &[&str]) -> Change {
        Change { path: owned(path), to: None, why: String::new() }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|name| (*name).to_owned()).collect()
}

/// The text of a file with these changes. `${...}` stays as written.
pub fn edit(path: &Path, bytes: Vec<u8>, changes: &[Change]) -> Result<String, Box<Issue>> {
    let source = Source::decode(path, bytes)?;
    let mut text = source.text;
    for change in changes {
        // Every change moves what stands behind it, so each starts from a fresh tree.
        let source = Source::new(Arc::from(path), text);
        let root = source.parse()?;
        text = match &change.to {
            Some(value) => insert(&root, &source.text, &change.path, &spaced(value), &change.why),
            None => remove(&root, &source.text, &change.path),
        };
    }
    Ok(text)
}

/// What a file says, without comments; old forms as they are.
pub fn plain(path: &Path, bytes: Vec<u8>) -> Result<Value, Box<Issue>> {
    Source::decode(path, bytes)?.parse().map(|root| root.to_json())
}

/// The text of a new file: `head` (whole lines of comment), then every key that is set with its comment.
pub fn fresh(head: &str, changes: &[Change]) -> String {
    let mut root = Node::empty_object();
    for change in changes {
        let path: Vec<&str> = change.path.iter().map(String::as_str).collect();
        if change.to.is_some() {
            // Only the shape counts here; values and comments are looked up when they are written.
            root.put(&path, Node::made(Kind::Null, 0..0), 0..0);
        }
    }
    let mut text = format!("{head}{{\n");
    write_entries(&root, changes, &mut Vec::new(), &mut text);
    text.push_str("}\n");
    text
}

fn write_entries(node: &Node, changes: &[Change], path: &mut Vec<String>, text: &mut String) {
    for entry in node.entries() {
        path.push(entry.name.clone());
        let indent = "  ".repeat(path.len());
        let name = Value::from(entry.name.as_str());
        // Of two changes of one key the later counts.
        match changes.iter().rev().find(|change| change.path == *path) {
            Some(Change { to: Some(value), why, .. }) => {
                if !why.is_empty() {
                    text.push_str(&format!("{indent}// {why}\n"));
                }
                text.push_str(&format!("{indent}{name}: {},\n", spaced(value)));
            }
            _ => {
                text.push_str(&format!("{indent}{name}: {{\n"));
                write_entries(&entry.value, changes, path, text);
                text.push_str(&format!("{indent}}},\n"));
            }
        }
        path.pop();
    }
}

/// On one line, as a person would write it.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(object) if !object.is_empty() => {
            let entry = |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), spaced(value));
            format!("{{ {} }}", object.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(text: &str, changes: &[Change]) -> String {
        edit(Path::new("f"), text.into(), changes).unwrap_or_else(|issue| panic!("{issue}\n{text}"))
    }

    fn parsed(text: &str) -> Value {
        plain(Path::new("f"), text.into()).unwrap_or_else(|issue| panic!("{issue}\n{text}"))
    }

    #[test]
    fn given_a_file_with_comments_when_keys_are_set_then_all_else_stays() {
        let old = "// mine\n{\n  \"gateway\": {\n    // door\n    \"port\": 1, // old\n    \"odd\": [1,],\n  },\n  \"agents\": {\"list\": [{\"id\": \"a\"}, {\"id\": \"b\"}]}\n}\n";
        let new = run(
            old,
            &[
                Change::set(&["gateway", "port"], 2, "not used: the key is there"),
                Change::set(&["gateway", "bind"], "lan", "who reaches it"),
                Change::set(&["agents", "list", "1", "workspace"], "/w", ""),
                Change::set(&["channels", "telegram", "botToken"], "${T}", "the bot"),
                Change::remove(&["gateway", "none"]),
            ],
        );
        for kept in ["// mine\n", "    // door\n    \"port\": 2, // old\n", "\"odd\": [1,]"] {
            assert!(new.contains(kept), "{kept}\n{new}");
        }
        assert!(new.contains("\n    // who reaches it\n    \"bind\": \"lan\",\n"), "{new}");
        assert!(new.contains("\n  // the bot\n  \"channels\": "), "{new}");
        assert!(!new.contains("not used"), "{new}");
        assert_eq!(
            parsed(&new),
            json!({"channels": {"telegram": {"botToken": "${T}"}}, "gateway": {"bind": "lan", "port": 2, "odd": [1]},
                   "agents": {"list": [{"id": "a"}, {"workspace": "/w", "id": "b"}]}})
        );
    }

    #[test]
    fn a_new_file_has_its_comments_and_groups_what_belongs_together() {
        let text = fresh(
            "// head\n",
            &[
                Change::set(&["gateway", "port"], 2, "the port"),
                Change::set(&["agents", "list"], json!([{"id": "main"}]), "who"),
                Change::set(&["gateway", "bind"], "lan", ""),
                Change::remove(&["agent", "model"]),
            ],
        );
        assert_eq!(
            text,
            "// head\n{\n  \"gateway\": {\n    // the port\n    \"port\": 2,\n    \"bind\": \"lan\",\n  },\n  \"agents\": {\n    // who\n    \"list\": [{ \"id\": \"main\" }],\n  },\n}\n"
        );
        assert_eq!(parsed(&text), json!({"gateway": {"port": 2, "bind": "lan"}, "agents": {"list": [{"id": "main"}]}}));
        assert_eq!(parsed(&fresh("", &[])), json!({}));
    }
}
