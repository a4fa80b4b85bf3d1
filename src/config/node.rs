//! The file as a tree in which every value knows where it stands and where it came from.

use std::ops::Range;

use serde_json::{Map, Number, Value};

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub kind: Kind,
    /// Bytes of the value in the file.
    pub span: Range<usize>,
    /// Set if a `${NAME}` in the text was replaced.
    pub origin: Option<Box<Origin>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub name: String,
    /// Bytes of the key in the file, quotes included.
    pub key: Range<usize>,
    pub value: Node,
}

/// A string value as it stands in the file, before its variables were replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The text in the file.
    pub text: String,
    /// The variables it names, in order.
    pub vars: Vec<String>,
    /// Whether the whole text is a single `${NAME}` or `${NAME:-...}`.
    pub whole: bool,
}

impl Node {
    /// A value that stands nowhere in the file but takes the place of something at `span`.
    pub fn made(kind: Kind, span: Range<usize>) -> Node {
        Node { kind, span, origin: None }
    }

    pub fn empty_object() -> Node {
        Node::made(Kind::Object(Vec::new()), 0..0)
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Object(entries) => entries,
            _ => &[],
        }
    }

    /// Whether this is `null` (which means: not set).
    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// The entry of that name. Of duplicates the last counts, as in JavaScript.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().rev().find(|entry| entry.name == name)
    }

    /// The value of that name, `null` counting as absent.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// The value at a path of names, `null` counting as absent.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_false(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Node { kind: Kind::Bool(false), .. }))
    }

    /// The plain value, without positions.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(item.to_json());
                }
                Value::Array(list)
            }
            Kind::Object(entries) => {
                let mut object = Map::new();
                for entry in entries {
                    object.insert(entry.name.clone(), entry.value.to_json());
                }
                Value::Object(object)
            }
        }
    }

    /// Puts a value at a path, making objects on the way. What stands in the way and is no object is replaced.
    pub fn put(&mut self, path: &[&str], value: Node, key: Range<usize>) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self.kind, Kind::Object(_)) {
            self.kind = Kind::Object(Vec::new());
        }
        let Kind::Object(entries) = &mut self.kind else {
            return;
        };
        let place = match entries.iter().rposition(|entry| entry.name == *first) {
            Some(place) => place,
            None => {
                let value = Node::made(Kind::Object(Vec::new()), value.span.clone());
                entries.push(Entry { name: (*first).to_owned(), key: key.clone(), value });
                entries.len() - 1
            }
        };
        entries[place].value.put(rest, value, key);
    }

    /// Takes the entry at a path out of the tree (all duplicates; the last is given back).
    pub fn take(&mut self, path: &[&str]) -> Option<Entry> {
        let (first, rest) = path.split_first()?;
        let Kind::Object(entries) = &mut self.kind else {
            return None;
        };
        if rest.is_empty() {
            let place = entries.iter().rposition(|entry| entry.name == *first)?;
            let taken = entries.remove(place);
            entries.retain(|entry| entry.name != *first);
            return Some(taken);
        }
        entries.iter_mut().rev().find(|entry| entry.name == *first)?.value.take(rest)
    }
}

/// Appends a name to a key path: `a.b`, or `a["x.y"]` if the name is no plain word.
pub fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (plain, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{}]", Value::from(name)),
    }
}

/// Appends a list index to a key path.
pub(crate) fn index(path: &str, i: usize) -> String {
    format!("{path}[{i}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths_quote_odd_names() {
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("a", "b-1"), "a.b-1");
        assert_eq!(join("groups", "*"), "groups[\"*\"]");
        assert_eq!(join("x", "a.b"), "x[\"a.b\"]");
        assert_eq!(index("list", 3), "list[3]");
    }

    #[test]
    fn put_and_take() {
        let mut root = Node::empty_object();
        root.put(&["a", "b"], Node::made(Kind::Bool(true), 0..0), 0..0);
        root.put(&["a", "c"], Node::made(Kind::Null, 0..0), 0..0);
        assert_eq!(root.to_json(), serde_json::json!({"a": {"b": true, "c": null}}));
        assert!(root.at(&["a", "b"]).is_some());
        assert!(root.at(&["a", "c"]).is_none(), "null counts as absent");
        assert!(root.take(&["a", "b"]).is_some());
        assert!(root.take(&["a", "x", "y"]).is_none());
        assert_eq!(root.to_json(), serde_json::json!({"a": {"c": null}}));
    }
}
