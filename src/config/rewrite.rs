//! `pi-gw config migrate`: old forms replaced in the text of the file, comments kept.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::issue::Issue;
use super::legacy::{plan, Step};
use super::node::{Entry, Kind, Node};
use super::source::Source;

/// A file's text without old forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Migrated {
    pub text: String,
    /// What was done: key path and description.
    pub notices: Vec<(String, String)>,
}

/// Replaces the old forms of a file's text. `${...}` stays as written.
pub fn migrate(path: &Path, bytes: Vec<u8>) -> Result<Migrated, Box<Issue>> {
    let source = Source::decode(path, bytes)?;
    let migrations = plan(&source.parse()?);
    let notices = migrations.iter().map(|m| (m.key.clone(), m.notice.clone())).collect();
    let path = source.path.clone();
    let mut text = source.text;
    for step in migrations.iter().flat_map(|migration| &migration.steps) {
        // Every step moves what stands behind it, so each starts from a fresh tree.
        text = apply(&path, text, step)?;
    }
    Ok(Migrated { text, notices })
}

fn apply(path: &Arc<Path>, text: String, step: &Step) -> Result<String, Box<Issue>> {
    let parse = |text: String| {
        let source = Source::new(path.clone(), text);
        source.parse().map(|root| (root, source.text))
    };
    let (root, text) = parse(text)?;
    match step {
        Step::Remove { from } => Ok(remove(&root, &text, from)),
        Step::Set { to, value, .. } => Ok(insert(&root, &text, to, &value.to_string(), "")),
        Step::Move { from, to } => {
            let Some(entry) = find(&root, from) else {
                return Ok(text);
            };
            let value = text[entry.value.span.clone()].to_owned();
            let (root, text) = parse(insert(&root, &text, to, &value, ""))?;
            Ok(remove(&root, &text, from))
        }
    }
}

fn find<'a>(root: &'a Node, path: &[String]) -> Option<&'a Entry> {
    let (last, parents) = path.split_last()?;
    let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
    root.at(&parents)?.entry(last)
}

/// Cuts an entry out, with one comma beside it and, if nothing else stands on its line, the line.
pub(super) fn remove(root: &Node, text: &str, path: &[String]) -> String {
    let Some(entry) = find(root, path) else {
        return text.to_owned();
    };
    let mut cut: Range<usize> = entry.key.start..entry.value.span.end;
    if let Some(comma) = next_token(text, cut.end).filter(|at| text[*at..].starts_with(',')) {
        // A comment between value and comma stays; only the comma goes with the entry if they touch.
        match text[cut.end..comma].trim().is_empty() {
            true => cut.end = comma + 1,
            false => {
                let rest = format!("{}{}", &text[..comma], &text[comma + 1..]);
                return remove_range(&rest, cut);
            }
        }
    }
    // The last entry without a trailing comma leaves the comma before it, which may stand there.
    remove_range(text, cut)
}

fn remove_range(text: &str, cut: Range<usize>) -> String {
    let line_start = text[..cut.start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[cut.end..].find('\n').map_or(text.len(), |at| cut.end + at + 1);
    let alone = text[line_start..cut.start].trim().is_empty() && text[cut.end..line_end].trim().is_empty();
    let cut = if alone && line_start > 0 { line_start..line_end } else { cut };
    format!("{}{}", &text[..cut.start], &text[cut.end..])
}

/// Puts a value at a path: as the first entry of the innermost object that exists, or in place of what is there. `why`
/// is the comment above an entry that gets a line of its own; empty: none.
pub(super) fn insert(root: &Node, text: &str, path: &[String], value: &str, why: &str) -> String {
    let mut at = root;
    let mut depth = 0;
    while depth < path.len() {
        match child(at, &path[depth]) {
            Some(node) if matches!(node.kind, Kind::List(_)) && depth + 1 < path.len() => at = node,
            Some(node) if matches!(node.kind, Kind::Object(_)) && depth + 1 < path.len() => at = node,
            Some(node) => return replace(text, node, &path[depth + 1..], value),
            None => break,
        }
        depth += 1;
    }
    let entry = format!("{}: {}", Value::from(path[depth].as_str()), nested(&path[depth + 1..], value));
    let open = at.span.start + 1;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let empty = at.entries().is_empty();
    let inserted = match at.entries().first() {
        // On a line of its own, indented like its neighbour, if that has one.
        Some(first) if text[open..first.key.start].contains('\n') => {
            let line = text[..first.key.start].rfind('\n').map_or(0, |at| at + 1);
            let indent: String = text[line..first.key.start].chars().take_while(|c| *c == ' ' || *c == '\t').collect();
            let why = if why.is_empty() { String::new() } else { format!("{newline}{indent}// {why}") };
            format!("{why}{newline}{indent}{entry},")
        }
        Some(_) => format!("{entry}, "),
        None => entry,
    };
    // `//` right behind the brace must not swallow the new entry.
    let at = match text[open..].trim_start_matches([' ', '\t']).starts_with("//")
        && !empty
        && !inserted.starts_with(newline)
    {
        true => at.entries().first().map_or(open, |first| first.key.start),
        false => open,
    };
    format!("{}{inserted}{}", &text[..at], &text[at..])
}

/// What an object or a list holds under a name or a number.
fn child<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.kind {
        Kind::List(items) => name.parse::<usize>().ok().and_then(|i| items.get(i)),
        _ => node.entry(name).map(|entry| &entry.value),
    }
}

/// A value that is in the way (`null`, or nothing of use) gives way.
fn replace(text: &str, node: &Node, rest: &[String], value: &str) -> String {
    format!("{}{}{}", &text[..node.span.start], nested(rest, value), &text[node.span.end..])
}

fn nested(path: &[String], value: &str) -> String {
    match path.split_first() {
        Some((first, rest)) => format!("{{ {}: {} }}", Value::from(first.as_str()), nested(rest, value)),
        None => value.to_owned(),
    }
}

/// Where the next thing stands that is neither blank nor comment.
fn next_token(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        let rest = &rest[blank..];
        at += blank;
        if rest.starts_with("//") {
            at += rest.find(['\n', '\r'])?;
        } else if rest.starts_with("/*") {
            at += rest.find("*/")? + 2;
        } else {
            return (!rest.is_empty()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::legacy::tests::shapes;
    use super::*;

    fn run(text: &str) -> String {
        let migrated = migrate(Path::new("f"), text.into()).unwrap_or_else(|issue| panic!("{issue}\n{text}"));
        migrated.text
    }

    fn parsed(text: &str) -> Value {
        let source = Source::new(Arc::from(Path::new("f")), text.into());
        source.parse().unwrap_or_else(|issue| panic!("{issue}\n{text}")).to_json()
    }

    #[test]
    fn the_text_comes_to_mean_what_the_load_made_of_it() {
        for (old, new) in shapes() {
            for text in [
                old.to_string(),
                serde_json::to_string_pretty(&old).unwrap(),
                serde_json::to_string_pretty(&old).unwrap().replace('\n', "\r\n"),
            ] {
                let migrated = run(&text);
                assert_eq!(parsed(&migrated), new, "{text}\n->\n{migrated}");
                assert_eq!(run(&migrated), migrated, "a second run changes nothing");
            }
        }
    }

    #[test]
    fn comments_and_variables_stay() {
        let text = "// head\n{\n  // my bot\n  \"telegram\": { // on\n    \"enabled\": true, /* a */\n    \"botToken\": \"${T}\", // secret\n    \"requireMention\": true // last\n  }, // tail\n  \"gateway\": {} // g\n}\n";
        let migrated = run(text);
        for kept in ["// head", "// my bot", "// on", "/* a */", "\"${T}\", // secret", "// last", "// tail", "// g"] {
            assert!(migrated.contains(kept), "{kept}\n{migrated}");
        }
        assert_eq!(
            parsed(&migrated),
            serde_json::json!({"channels": {"telegram": {"enabled": true, "botToken": "${T}", "groups": {"*": {"requireMention": true}}}}, "gateway": {}})
        );
    }

    #[test]
    fn odd_places_of_commas_and_comments() {
        for text in [
            "{\"channels\": {\"telegram\": { // c\n \"requireMention\": true}}}",
            "{\"channels\": {\"telegram\": {/*a*/\"requireMention\"/*b*/:/*c*/true/*d*/,/*e*/}}}",
            "{\"channels\": {\"telegram\": {\"requireMention\": true // x\n , \"role\": \"r\"}}}",
            "{\"channels\": null, \"telegram\": {\"requireMention\": true}}",
            "{\"telegram\": {\"requireMention\": true}, // x\n}",
            "{\"channels\": {}, \"telegram\": {\"requireMention\": true}}",
            "{\"channels\": {\n // only a comment\n}, \"telegram\": {\"requireMention\": true}}",
        ] {
            let migrated = run(text);
            assert_eq!(
                parsed(&migrated)["channels"]["telegram"]["groups"]["*"]["requireMention"],
                true,
                "{text}\n->\n{migrated}"
            );
        }
    }
}
