//! Shapes of the original's files that have moved.
//!
//! [`plan`] finds them and says what to do as a list of [`Step`]s; [`apply`] carries the steps out on the tree
//! (every load), `rewrite.rs` on the text of the file (`pi-gw config migrate --write`). One plan, so that a
//! migrated file means what the old one meant.

use std::ops::Range;

use serde_json::Value;

use super::node::{join, Kind, Node};

/// One change. Paths are lists of key names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Put the value of `from` at `to` and remove `from`.
    Move { from: Vec<String>, to: Vec<String> },
    /// Put a new value at `to`; `like` is the old key whose place in the file it is blamed on.
    Set { to: Vec<String>, value: Value, like: Vec<String> },
    /// Remove a key.
    Remove { from: Vec<String> },
}

/// A change to announce, and how to make it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Migration {
    /// The old key's path, printed.
    pub key: String,
    /// Where the old key stands.
    pub span: Range<usize>,
    /// What is being done, for the user.
    pub notice: String,
    pub steps: Vec<Step>,
}

/// What has to move in this tree, in the order in which it must be done.
pub(crate) fn plan(root: &Node) -> Vec<Migration> {
    let mut found = Vec::new();
    let mut root = root.clone();
    // Each rule sees what the ones before it have done.
    for rule in [top_level_telegram, require_mention, streaming] {
        let migrations = rule(&root);
        migrations.iter().for_each(|migration| apply(&mut root, migration));
        found.extend(migrations);
    }
    found
}

/// Carries a migration out on the tree.
pub(crate) fn apply(root: &mut Node, migration: &Migration) {
    for step in &migration.steps {
        match step {
            Step::Move { from, to } => {
                if let Some(entry) = root.take(&names(from)) {
                    root.put(&names(to), entry.value, entry.key);
                }
            }
            Step::Set { to, value, like } => {
                let (span, key) = entry_at(root, like).map_or((0..0, 0..0), |e| (e.value.span.clone(), e.key.clone()));
                root.put(&names(to), made(value, &span), key);
            }
            Step::Remove { from } => {
                root.take(&names(from));
            }
        }
    }
}

fn top_level_telegram(root: &Node) -> Vec<Migration> {
    let Some(old) = root.entry("telegram").filter(|entry| matches!(entry.value.kind, Kind::Object(_))) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    match root.at(&["channels", "telegram"]) {
        None => steps.push(Step::Move { from: path(&["telegram"]), to: path(&["channels", "telegram"]) }),
        Some(new) => {
            for entry in old.value.entries() {
                let from = path(&["telegram", &entry.name]);
                if new.get(&entry.name).is_none() {
                    steps.push(Step::Move { from, to: path(&["channels", "telegram", &entry.name]) });
                }
            }
            steps.push(Step::Remove { from: path(&["telegram"]) });
        }
    }
    vec![Migration {
        key: "telegram".into(),
        span: old.key.clone(),
        notice: "moved to \"channels.telegram\"; keys already there win".into(),
        steps,
    }]
}

fn require_mention(root: &Node) -> Vec<Migration> {
    const TELEGRAM: [&str; 2] = ["channels", "telegram"];
    let Some(telegram) = root.at(&TELEGRAM) else {
        return Vec::new();
    };
    let Some(old) = telegram.entry("requireMention").filter(|e| matches!(e.value.kind, Kind::Bool(_))) else {
        return Vec::new();
    };
    let from = path(&["channels", "telegram", "requireMention"]);
    let (notice, step) = match telegram.at(&["groups", "*", "requireMention"]) {
        None => {
            let to = path(&["channels", "telegram", "groups", "*", "requireMention"]);
            ("moved to \"groups[\\\"*\\\"].requireMention\"", Step::Move { from, to })
        }
        Some(_) => ("dropped, \"groups[\\\"*\\\"].requireMention\" is set", Step::Remove { from }),
    };
    vec![Migration {
        key: "channels.telegram.requireMention".into(),
        span: old.key.clone(),
        notice: notice.replace("\\\"", "\""),
        steps: vec![step],
    }]
}

fn streaming(root: &Node) -> Vec<Migration> {
    let mut found = Vec::new();
    let base = path(&["channels", "telegram"]);
    if let Some(telegram) = root.at(&["channels", "telegram"]) {
        found.extend(streaming_of(telegram, &base));
        for account in telegram.get("accounts").map(Node::entries).unwrap_or_default() {
            let mut base = base.clone();
            base.extend(path(&["accounts", &account.name]));
            found.extend(streaming_of(&account.value, &base));
        }
    }
    found
}

fn streaming_of(telegram: &Node, base: &[String]) -> Option<Migration> {
    let old = telegram.entry("streaming").filter(|entry| matches!(entry.value.kind, Kind::Object(_)))?;
    let at = |names: &[&str]| -> Vec<String> { base.iter().cloned().chain(path(names)).collect() };
    let mut steps = Vec::new();
    let number = |name: &str| match old.value.get(name).map(|node| &node.kind) {
        Some(Kind::Number(number)) => number.as_f64(),
        _ => None,
    };
    // The ranges are those of the new keys: what the original accepted must not become an error.
    for (name, to, range) in [
        ("streamStartChars", &["draftChunk", "minChars"][..], (1, i64::MAX)),
        ("editThrottleMs", &["draftChunk", "editThrottleMs"], (250, 10_000)),
        ("debounceMs", &["debounceMs"], (0, 5_000)),
    ] {
        if let (Some(value), None) = (number(name), telegram.at(to)) {
            let value = Value::from((value.floor() as i64).clamp(range.0, range.1));
            steps.push(Step::Set { to: at(to), value, like: at(&["streaming", name]) });
        }
    }
    if old.value.get("placeholder").and_then(Node::text).is_some() && telegram.get("placeholder").is_none() {
        steps.push(Step::Move { from: at(&["streaming", "placeholder"]), to: at(&["placeholder"]) });
    }
    if telegram.get("streamMode").is_none() {
        steps.push(Step::Set { to: at(&["streamMode"]), value: Value::from("partial"), like: at(&["streaming"]) });
    }
    steps.push(Step::Remove { from: at(&["streaming"]) });
    Some(Migration {
        key: at(&["streaming"]).iter().fold(String::new(), |path, name| join(&path, name)),
        span: old.key.clone(),
        notice: "replaced by \"streamMode\", \"draftChunk\", \"debounceMs\" and \"placeholder\"".into(),
        steps,
    })
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn names(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn entry_at<'a>(root: &'a Node, path: &[String]) -> Option<&'a super::node::Entry> {
    let (last, parents) = path.split_last()?;
    root.at(&names(parents))?.entry(last)
}

/// Only what a step sets: a number or a word.
fn made(value: &Value, span: &Range<usize>) -> Node {
    let kind = match value {
        Value::Number(number) => Kind::Number(number.clone()),
        Value::String(text) => Kind::Text(text.clone()),
        _ => Kind::Null,
    };
    Node::made(kind, span.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::source::Source;
    use super::*;
    use serde_json::json;
    use std::path::Path;
    use std::sync::Arc;

    /// Old shapes and what they mean today.
    pub(crate) fn shapes() -> Vec<(Value, Value)> {
        vec![
            (json!({"telegram": {"enabled": true}}), json!({"channels": {"telegram": {"enabled": true}}})),
            (
                json!({"telegram": {"botToken": "old", "role": "r"}, "channels": {"telegram": {"botToken": "new"}}}),
                json!({"channels": {"telegram": {"botToken": "new", "role": "r"}}}),
            ),
            (
                json!({"channels": {"telegram": {"requireMention": false}}}),
                json!({"channels": {"telegram": {"groups": {"*": {"requireMention": false}}}}}),
            ),
            (
                json!({"channels": {"telegram": {"requireMention": false, "groups": {"*": {"requireMention": true}}}}}),
                json!({"channels": {"telegram": {"groups": {"*": {"requireMention": true}}}}}),
            ),
            (
                json!({"telegram": {"requireMention": true, "groups": {"-1": {"role": "x"}}}}),
                json!({"channels": {"telegram": {"groups": {"-1": {"role": "x"}, "*": {"requireMention": true}}}}}),
            ),
            (
                json!({"channels": {"telegram": {"streaming": {
                    "streamStartChars": 0.5, "debounceMs": 40, "editThrottleMs": 100, "placeholder": "wait"}}}}),
                json!({"channels": {"telegram": {"streamMode": "partial", "debounceMs": 40, "placeholder": "wait",
                    "draftChunk": {"minChars": 1, "editThrottleMs": 250}}}}),
            ),
            (
                json!({"channels": {"telegram": {"streamMode": "off", "draftChunk": {"minChars": 9},
                    "streaming": {"streamStartChars": 50.7}}}}),
                json!({"channels": {"telegram": {"streamMode": "off", "draftChunk": {"minChars": 9}}}}),
            ),
            (
                json!({"channels": {"telegram": {"accounts": {"a.b": {"streaming": {"streamStartChars": 20.9}}}}}}),
                json!({"channels": {"telegram": {"accounts": {"a.b": {
                    "streamMode": "partial", "draftChunk": {"minChars": 20}}}}}}),
            ),
            (json!({"gateway": {"bind": "0.0.0.0"}}), json!({"gateway": {"bind": "0.0.0.0"}})),
        ]
    }

    #[test]
    fn old_shapes_become_new_ones() {
        for (old, new) in shapes() {
            let source = Source::new(Arc::from(Path::new("f")), old.to_string());
            let mut root = source.parse().unwrap();
            for migration in plan(&root) {
                assert!(!migration.notice.is_empty() && source.pos(migration.span.start).column > 1);
                apply(&mut root, &migration);
            }
            assert_eq!(root.to_json(), new, "{old}");
            assert!(plan(&root).is_empty(), "a second run finds nothing");
        }
    }
}
