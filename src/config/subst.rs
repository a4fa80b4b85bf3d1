//! `${NAME}` in string values: replaced after parsing, so a value can never break the file.

use std::collections::BTreeSet;

use super::env::Env;
use super::issue::{Issue, Severity};
use super::node::{index, join, Kind, Node, Origin};
use super::source::Source;

/// What the substitution found besides the values it replaced.
#[derive(Default)]
pub(crate) struct Substituted {
    pub issues: Vec<Issue>,
    /// Variables used outside `agent`: pi must not inherit the secrets among them.
    pub vars_outside_agent: BTreeSet<String>,
}

/// Replaces the variables in every string value of the tree. Values with an error become `null`.
pub(crate) fn substitute(root: &mut Node, source: &Source, env: &Env) -> Substituted {
    let mut walk = Walk { source, env, found: Substituted::default() };
    walk.node(root, "", false, false);
    walk.found
}

/// One text, if all its variables are set.
pub(crate) fn plain(text: &str, env: &Env) -> Option<String> {
    let expanded = expand(text, |name| env.vars.get(name).map(String::as_str));
    expanded.problems.is_empty().then_some(expanded.text)
}

struct Walk<'a> {
    source: &'a Source,
    env: &'a Env,
    found: Substituted,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node, path: &str, disabled: bool, in_agent: bool) {
        match &mut node.kind {
            Kind::Text(text) if text.contains("${") => {
                let expanded = expand(text, |name| self.env.vars.get(name).map(String::as_str));
                if !in_agent {
                    self.found.vars_outside_agent.extend(expanded.vars.iter().cloned());
                }
                // What is switched off needs no secrets.
                let severity = if disabled { Severity::Warning } else { Severity::Error };
                for problem in &expanded.problems {
                    let issue = self.source.issue(severity, path, problem.to_string(), Some(node.span.clone()));
                    self.found.issues.push(issue.hint("write \"$${...}\" for a literal"));
                }
                if !expanded.problems.is_empty() {
                    node.kind = Kind::Null;
                    return;
                }
                if !expanded.vars.is_empty() {
                    let origin = Origin { whole: expanded.whole, vars: expanded.vars, text: std::mem::take(text) };
                    node.origin = Some(Box::new(origin));
                }
                node.kind = Kind::Text(expanded.text);
            }
            Kind::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.node(item, &index(path, i), disabled, in_agent);
                }
            }
            Kind::Object(entries) => {
                let mut off = disabled;
                for entry in entries.iter_mut().filter(|entry| entry.name == "enabled") {
                    self.node(&mut entry.value, &join(path, "enabled"), disabled, in_agent);
                    off |= match &entry.value.kind {
                        Kind::Bool(on) => !on,
                        Kind::Text(text) => entry.value.origin.is_some() && text == "false",
                        _ => false,
                    };
                }
                for entry in entries.iter_mut().filter(|entry| entry.name != "enabled") {
                    let in_agent = in_agent || (path.is_empty() && entry.name == "agent");
                    self.node(&mut entry.value, &join(path, &entry.name), off, in_agent);
                }
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Expanded {
    text: String,
    vars: Vec<String>,
    whole: bool,
    problems: Vec<String>,
}

fn expand<'e>(text: &str, lookup: impl Fn(&str) -> Option<&'e str>) -> Expanded {
    let mut out = Expanded::default();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            out.text.push_str(&rest[..at - 1]);
            out.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.text.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}').map(|end| at + end) else {
            out.problems.push(format!("\"{}\" has no closing brace", clip(&rest[at..])));
            return out;
        };
        let inside = &rest[at + 2..end];
        let (name, fallback) = match inside.split_once(":-") {
            Some((name, fallback)) => (name, Some(fallback)),
            None => (inside, None),
        };
        if is_name(name) {
            out.vars.push(name.to_owned());
            out.whole |= at == 0 && end + 1 == text.len() && rest.len() == text.len();
            match (lookup(name), fallback) {
                (Some(value), None) => out.text.push_str(value),
                (Some(value), Some(_)) if !value.is_empty() => out.text.push_str(value),
                (_, Some(fallback)) => out.text.push_str(fallback),
                (None, None) => out.problems.push(format!("environment variable {name} is not set")),
            }
        } else {
            out.problems.push(format!("\"${{{}}}\" does not name a variable", clip(inside)));
        }
        rest = &rest[end + 1..];
    }
    out.text.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// The start of a text that is quoted in a message.
fn clip(text: &str) -> &str {
    text.char_indices().nth(24).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    fn vars(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("one"),
            "_B2" => Some("two"),
            "EMPTY" => Some(""),
            "NEST" => Some("${A}"),
            _ => None,
        }
    }

    #[test]
    fn values_are_replaced() {
        for (text, want) in [
            ("${A}", "one"),
            ("x${A}-${_B2}y", "xone-twoy"),
            ("${NEST}", "${A}"),
            ("${NOPE:-else}", "else"),
            ("${NOPE:-}", ""),
            ("${EMPTY:-else}", "else"),
            ("${EMPTY}", ""),
            ("${A:-else}", "one"),
            ("${NOPE:-a:-b}", "a:-b"),
            ("$${A}", "${A}"),
            ("$${", "${"),
            ("$$${A}", "$${A}"),
            ("a $ b $A $5", "a $ b $A $5"),
            ("é${A}é", "éoneé"),
        ] {
            let got = expand(text, vars);
            assert_eq!((got.text.as_str(), got.problems.len()), (want, 0), "{text}");
        }
        assert!(expand("${A}", vars).whole && expand("${NOPE:-x}", vars).whole);
        assert!(!expand("${A}${A}", vars).whole && !expand("$${${A}", vars).whole);
    }

    #[test]
    fn malformed_and_unset_are_problems() {
        for (text, want) in [
            ("${", "\"${\" has no closing brace"),
            ("x ${A", "\"${A\" has no closing brace"),
            ("${}", "\"${}\" does not name a variable"),
            ("${1A}", "\"${1A}\" does not name a variable"),
            ("${A-x}", "\"${A-x}\" does not name a variable"),
            ("${NOPE}", "environment variable NOPE is not set"),
        ] {
            assert_eq!(expand(text, vars).problems, [want], "{text}");
        }
        assert_eq!(expand("${X} ${Y} ${1}", vars).problems.len(), 3);
    }

    fn run(text: &str) -> (Node, Vec<String>, Vec<String>) {
        let source = Source::new(Arc::from(Path::new("f")), text.into());
        let mut root = source.parse().unwrap();
        let mut env = super::super::env::tests::bare(Path::new("/"));
        env.vars.insert("A".into(), "one".into());
        let found = substitute(&mut root, &source, &env);
        let issues = found.issues.iter().map(Issue::to_string).collect();
        (root, issues, found.vars_outside_agent.into_iter().collect())
    }

    #[test]
    fn all_errors_are_reported_together_with_positions_and_key_paths() {
        let (_, issues, _) = run("{\"a\": \"${X}\",\n \"b\": [{\"c.d\": \"${Y}\"}], \"${A}\": 1}");
        assert_eq!(
            issues,
            [
                "f:1:7: error: a: environment variable X is not set (write \"$${...}\" for a literal)",
                "f:2:16: error: b[0][\"c.d\"]: environment variable Y is not set (write \"$${...}\" for a literal)",
            ]
        );
    }

    #[test]
    fn below_enabled_false_errors_are_warnings() {
        for text in [
            "{\"c\": {\"t\": \"${X}\", \"enabled\": false}}",
            "{\"c\": {\"enabled\": false, \"accounts\": {\"a\": {\"enabled\": true, \"t\": \"${X}\"}}}}",
            "{\"c\": {\"enabled\": \"${ON:-false}\", \"t\": \"${X}\"}}",
        ] {
            let (_, issues, _) = run(text);
            assert!(issues.len() == 1 && issues[0].contains("warning"), "{issues:?}");
        }
        let (_, issues, _) = run("{\"c\": {\"enabled\": true, \"t\": \"${X}\"}}");
        assert!(issues[0].contains("error"));
    }

    #[test]
    fn origins_and_names_are_remembered() {
        let (root, _, outside) = run("{\"agent\": {\"x\": \"${IN:-}\"}, \"b\": \"${A}\", \"c\": \"p${A}\"}");
        let origin = root.get("b").unwrap().origin.as_deref().unwrap();
        assert_eq!((origin.text.as_str(), origin.whole), ("${A}", true));
        assert!(!root.get("c").unwrap().origin.as_deref().unwrap().whole);
        assert_eq!(outside, ["A"]);
    }
}
