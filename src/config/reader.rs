//! The typed view of one object of the file.
//!
//! Each method names a key once, with its reload class, default and range; from that one place come the value,
//! the error with its position, the list of known keys, the effective configuration and the classes of reload.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::issue::Severity;
use super::node::{index, join, Kind, Node};
use super::pass::Pass;
use super::redact::is_secret_key;
use super::reload::Class;
use super::suggest::closest;
use super::words::Word;

/// Declares a struct of settings together with the way each field is read: `field: Type = method(class, "key", ...);`
/// calls that method of [`Reader`].
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty = $method:ident($($argument:tt)*);)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
        impl $name {
            pub(crate) fn read(r: &$crate::config::reader::Reader<'_>) -> Self {
                Self { $($field: r.$method($($argument)*),)* }
            }
        }
    };
}
pub(crate) use section;

/// One object of the file, or the absence of one, whose keys are taken one by one.
pub(crate) struct Reader<'a> {
    pub pass: &'a Pass<'a>,
    pub node: Option<&'a Node>,
    pub path: String,
    /// Whether this object or one around it says `"enabled": false`.
    pub off: bool,
    seen: RefCell<Vec<&'static str>>,
    /// Whether keys that nobody asks for are someone else's.
    pub open: Cell<bool>,
    out: RefCell<Map<String, Value>>,
}

impl<'a> Reader<'a> {
    pub fn new(pass: &'a Pass<'a>, node: Option<&'a Node>, path: String, off: bool) -> Reader<'a> {
        let off = off
            || node.is_some_and(|node| node.is_false("enabled") || says_false(node.get("enabled")));
        Reader {
            pass,
            node,
            path,
            off,
            seen: RefCell::default(),
            open: Cell::new(false),
            out: RefCell::default(),
        }
    }

    /// The effective values of this object; reports the keys that nobody asked for.
    pub fn finish(self) -> Value {
        let seen = self.seen.into_inner();
        let entries = self.node.map(Node::entries).unwrap_or_default();
        for (i, entry) in entries.iter().enumerate() {
            if !seen.contains(&entry.name.as_str()) && !self.open.get() {
                self.pass
                    .unknown(&self.path, &entry.name, entry.key.clone(), &seen);
            } else if entries[..i]
                .iter()
                .any(|earlier| earlier.name == entry.name)
            {
                let text = "this key occurs twice, the last one counts";
                let span = Some(entry.key.clone());
                let key = join(&self.path, &entry.name);
                self.pass
                    .push(self.pass.source.issue(Severity::Warning, &key, text, span));
            }
        }
        Value::Object(self.out.into_inner())
    }

    /// The path of a key of this object.
    pub fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Reports something about a key.
    pub fn report(&self, severity: Severity, name: &str, text: impl Into<String>) {
        self.pass.report(
            severity,
            &self.key(name),
            self.node.and_then(|node| node.get(name)),
            text,
        );
    }

    /// Stores the effective value of a key.
    pub fn put(&self, name: &str, value: impl Into<Value>) {
        self.out.borrow_mut().insert(name.to_owned(), value.into());
    }

    /// Takes a key; `null` counts as absent.
    pub fn take(&self, class: Option<Class>, name: &'static str) -> Option<&'a Node> {
        self.seen.borrow_mut().push(name);
        self.pass.know(&self.path, name, class);
        let node = self.node?.get(name)?;
        remember_origins(self.pass, &self.key(name), node);
        Some(node)
    }

    /// Takes a key and turns its value into something; a problem is an error at the value.
    pub fn leaf<T>(
        &self,
        class: Class,
        name: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(Some(class), name)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(text) => {
                self.pass
                    .report(Severity::Error, &self.key(name), Some(node), text);
                None
            }
        }
    }

    /// A key of the original that has no effect here.
    pub fn ignored(&self, name: &'static str) {
        if let Some(node) = self.take(Some(Class::Hot), name) {
            self.put(name, node.to_json());
            self.pass.report(
                Severity::Warning,
                &self.key(name),
                Some(node),
                "accepted, has no effect",
            );
        }
    }

    /// A key of an unusual type. `shown` is how the default looks in the effective configuration.
    pub fn custom<T>(
        &self,
        class: Class,
        name: &'static str,
        default: (T, Value),
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> T {
        let parsed = self.leaf(class, name, |node| Ok((parse(node)?, node.to_json())));
        let (value, shown) = parsed.unwrap_or(default);
        self.put(name, shown);
        value
    }

    pub fn opt_int<T: TryFrom<i64>>(
        &self,
        class: Class,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let value = self.leaf(class, name, |node| {
            let found = int_of(node).filter(|value| range.contains(value));
            found.ok_or_else(|| {
                format!(
                    "must be {}, found {}",
                    whole_number(&range),
                    show(name, node)
                )
            })
        });
        self.put(name, value);
        value.and_then(|value| T::try_from(value).ok())
    }

    pub fn int<T: TryFrom<i64>>(
        &self,
        class: Class,
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> T {
        match self.opt_int(class, name, range) {
            Some(value) => value,
            None => {
                self.put(name, default);
                T::try_from(default)
                    .unwrap_or_else(|_| unreachable!("the default of {name} fits its type"))
            }
        }
    }

    /// A number of milliseconds.
    pub fn millis(
        &self,
        class: Class,
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Duration {
        Duration::from_millis(self.int(class, name, default, range))
    }

    /// A limit in milliseconds; 0 (`Duration::ZERO`) = none, whatever the range.
    pub fn limit(
        &self,
        class: Class,
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Duration {
        let value = self
            .opt_limit(class, name, range)
            .unwrap_or(Duration::from_millis(default.unsigned_abs()));
        self.put(name, value.as_millis() as u64);
        value
    }

    /// As [`limit`](Self::limit), without a default.
    pub fn opt_limit(
        &self,
        class: Class,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<Duration> {
        let value = self.leaf(class, name, |node| {
            let found = int_of(node).filter(|value| *value == 0 || range.contains(value));
            found.ok_or_else(|| {
                format!(
                    "must be {} or 0 (no limit), found {}",
                    whole_number(&range),
                    show(name, node)
                )
            })
        });
        self.put(name, value);
        value.map(|value| Duration::from_millis(value.unsigned_abs()))
    }

    pub fn opt_millis(
        &self,
        class: Class,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<Duration> {
        self.opt_int(class, name, range).map(Duration::from_millis)
    }

    /// A size in megabytes (fractions allowed), given as bytes. The bounds are tenths of a megabyte.
    pub fn megabytes(
        &self,
        class: Class,
        name: &'static str,
        default: u64,
        tenths: RangeInclusive<u32>,
    ) -> u64 {
        let (low, high) = (
            f64::from(*tenths.start()) / 10.0,
            f64::from(*tenths.end()) / 10.0,
        );
        let value = self.leaf(class, name, |node| {
            let found = number_of(node).filter(|value| (low..=high).contains(value));
            found.ok_or_else(|| {
                format!(
                    "must be a number from {low} to {high}, found {}",
                    show(name, node)
                )
            })
        });
        let megabytes = value.unwrap_or(default as f64);
        self.put(name, megabytes);
        (megabytes * 1_048_576.0) as u64
    }

    pub fn opt_flag(&self, class: Class, name: &'static str) -> Option<bool> {
        let value = self.leaf(class, name, |node| {
            flag_of(node)
                .ok_or_else(|| format!("must be true or false, found {}", show(name, node)))
        });
        self.put(name, value);
        value
    }

    pub fn flag(&self, class: Class, name: &'static str, default: bool) -> bool {
        let value = self.opt_flag(class, name).unwrap_or(default);
        self.put(name, value);
        value
    }

    /// `true`, `false` or `"auto"` (`None`).
    pub fn auto(&self, class: Class, name: &'static str) -> Option<bool> {
        let value = self.leaf(class, name, |node| match (flag_of(node), node.text()) {
            (Some(value), _) => Ok(Some(value)),
            (None, Some("auto")) => Ok(None),
            _ => Err(format!(
                "must be true, false or \"auto\", found {}",
                show(name, node)
            )),
        });
        let value = value.flatten();
        self.put(name, value.map_or(Value::from("auto"), Value::from));
        value
    }

    pub fn opt_word<W: Word>(&self, class: Class, name: &'static str) -> Option<W> {
        let value = self.leaf(class, name, |node| word_of(name, node));
        self.put(name, value.map(W::word));
        value
    }

    pub fn word<W: Word>(&self, class: Class, name: &'static str, default: W) -> W {
        let value = self.opt_word(class, name).unwrap_or(default);
        self.put(name, value.word());
        value
    }

    pub fn opt_text(&self, class: Class, name: &'static str) -> Option<String> {
        let value = self.leaf(class, name, |node| text_of(name, node));
        self.put(name, value.clone());
        value
    }

    pub fn text(&self, class: Class, name: &'static str, default: &str) -> String {
        let value = self
            .opt_text(class, name)
            .unwrap_or_else(|| default.to_owned());
        self.put(name, value.clone());
        value
    }

    /// Text of which only some forms are right; `parse` says what is wrong with the others.
    pub fn opt_parsed<T>(
        &self,
        class: Class,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.leaf(class, name, |node| {
            let text = text_of(name, node)?;
            parse(&text).map(|value| (text, value))
        });
        self.put(name, value.as_ref().map(|(text, _)| text.clone()));
        value.map(|(_, value)| value)
    }

    /// As [`opt_parsed`](Self::opt_parsed), with a default that must parse.
    pub fn parsed<T>(
        &self,
        class: Class,
        name: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.opt_parsed(class, name, &parse).unwrap_or_else(|| {
            self.put(name, default);
            parse(default)
                .unwrap_or_else(|error| unreachable!("the default of {name} is right: {error}"))
        })
    }

    /// Text that must be there.
    pub fn required(
        &self,
        class: Class,
        name: &'static str,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> String {
        if self.node.and_then(|node| node.get(name)).is_none() {
            self.pass.report(
                Severity::Error,
                &self.key(name),
                self.node,
                format!("\"{name}\" is missing"),
            );
        }
        self.opt_parsed(class, name, parse).unwrap_or_default()
    }

    /// A path, with `~` expanded and made absolute.
    pub fn opt_path(&self, class: Class, name: &'static str) -> Option<PathBuf> {
        let value = self.leaf(class, name, |node| match text_of(name, node)?.as_str() {
            "" => Err("must not be empty".into()),
            text => Ok(self.pass.env.resolve(text, &self.pass.base)),
        });
        self.put(
            name,
            value
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
        );
        value
    }

    /// A path with a default (may start with `~`).
    pub fn path(&self, class: Class, name: &'static str, default: &str) -> PathBuf {
        let value = self
            .opt_path(class, name)
            .unwrap_or_else(|| self.pass.env.resolve(default, &self.pass.base));
        self.put(name, value.to_string_lossy().into_owned());
        value
    }

    /// Text that may be the path of a file: if it names an existing one, that file's absolute path.
    pub fn opt_text_or_path(&self, class: Class, name: &'static str) -> Option<String> {
        let text = self.opt_text(class, name)?;
        // A prompt of several lines is no path, and looking it up could only fail.
        let path = (text.len() < 4096 && !text.contains('\n'))
            .then(|| self.pass.env.resolve(&text, &self.pass.base));
        let value = match path.filter(|path| !text.is_empty() && path.is_file()) {
            Some(path) => path.to_string_lossy().into_owned(),
            None => text,
        };
        self.put(name, value.clone());
        Some(value)
    }

    /// A list of which each item is read by `parse`. A problem is an error at the item.
    pub fn opt_list<T>(
        &self,
        class: Class,
        name: &'static str,
        what: &str,
        parse: impl Fn(&Node) -> Result<(T, Value), String>,
    ) -> Option<Vec<T>> {
        let Kind::List(items) = &self.take(Some(class), name)?.kind else {
            self.report(Severity::Error, name, format!("must be a list of {what}"));
            self.put(name, Value::Null);
            return None;
        };
        let (mut values, mut shown) = (Vec::new(), Vec::new());
        for (i, item) in items.iter().enumerate() {
            match parse(item) {
                Ok((value, json)) => {
                    values.push(value);
                    shown.push(json);
                }
                Err(text) => self.pass.report(
                    Severity::Error,
                    &index(&self.key(name), i),
                    Some(item),
                    text,
                ),
            }
        }
        self.put(name, shown);
        Some(values)
    }

    pub fn opt_texts(&self, class: Class, name: &'static str) -> Option<Vec<String>> {
        let value = self.opt_list(class, name, "strings", |item| {
            text_of(name, item).map(|text| (text.clone(), text.into()))
        });
        if value.is_none() {
            self.put(name, Value::Null);
        }
        value
    }

    pub fn texts(&self, class: Class, name: &'static str) -> Vec<String> {
        self.texts_or(class, name, &[])
    }

    pub fn texts_or(&self, class: Class, name: &'static str, default: &[&str]) -> Vec<String> {
        self.opt_texts(class, name).unwrap_or_else(|| {
            self.put(name, default);
            default.iter().map(|text| (*text).to_owned()).collect()
        })
    }

    /// Paths of skills or extensions; sources with a scheme (`npm:`, `git:`, `https:`) stay as they are.
    pub fn sources(&self, class: Class, name: &'static str) -> Vec<String> {
        let parse = |item: &Node| {
            let text = text_of(name, item)?;
            let value = match has_scheme(&text) {
                true => text,
                false if text.is_empty() => return Err("must not be empty".into()),
                false => self
                    .pass
                    .env
                    .resolve(&text, &self.pass.base)
                    .to_string_lossy()
                    .into_owned(),
            };
            Ok((value.clone(), value.into()))
        };
        self.opt_list(class, name, "paths", parse)
            .unwrap_or_else(|| {
                self.put(name, Value::Array(Vec::new()));
                Vec::new()
            })
    }

    pub fn paths(&self, class: Class, name: &'static str) -> Vec<PathBuf> {
        self.sources(class, name)
            .into_iter()
            .map(PathBuf::from)
            .collect()
    }

    /// Ids of people, chats or groups. One that `normal` refuses can never match: a warning, and it is left out.
    pub fn opt_ids(
        &self,
        class: Class,
        name: &'static str,
        normal: impl Fn(&Node) -> Result<String, String>,
    ) -> Option<Vec<String>> {
        let items = self.opt_list(class, name, "ids", |item| Ok((item.clone(), Value::Null)));
        let mut ids = Vec::new();
        for (i, item) in items.iter().flatten().enumerate() {
            match normal(item) {
                Ok(id) => ids.push(id),
                Err(why) => {
                    let text = format!("{} never matches: {why}", show(name, item));
                    self.pass.report(
                        Severity::Warning,
                        &index(&self.key(name), i),
                        Some(item),
                        text,
                    );
                }
            }
        }
        self.put(name, items.is_some().then(|| ids.clone()));
        items.map(|_| ids)
    }

    pub fn ids(
        &self,
        class: Class,
        name: &'static str,
        normal: impl Fn(&Node) -> Result<String, String>,
    ) -> Vec<String> {
        let ids = self.opt_ids(class, name, normal).unwrap_or_default();
        self.put(name, ids.clone());
        ids
    }

    fn child(&self, node: Option<&'a Node>, path: String) -> Reader<'a> {
        Reader::new(self.pass, node, path, self.off)
    }

    /// An object of its own. Its absence gives the defaults.
    pub fn object<T>(&self, name: &'static str, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        let node = self.take(None, name).filter(|node| {
            let right = matches!(node.kind, Kind::Object(_));
            if !right {
                self.report(
                    Severity::Error,
                    name,
                    format!("must be an object, found {}", show(name, node)),
                );
            }
            right
        });
        let child = self.child(node, self.key(name));
        let value = read(&child);
        self.put(name, child.finish());
        value
    }

    /// Looks at an object once more, without reading it again.
    pub fn object_at(&self, name: &'static str, look: impl FnOnce(&Reader<'_>)) {
        look(&self.child(self.node.and_then(|node| node.get(name)), self.key(name)));
    }

    /// An object whose absence means something.
    pub fn opt_object<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Reader<'_>) -> T,
    ) -> Option<T> {
        if self.node.and_then(|node| node.get(name)).is_some() {
            return Some(self.object(name, read));
        }
        self.take(None, name);
        self.put(name, Value::Null);
        None
    }

    /// An object with free names, each holding an object.
    pub fn map<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Reader<'_>) -> T,
    ) -> BTreeMap<String, T> {
        let mut all = BTreeMap::new();
        let mut shown = Map::new();
        for (id, node) in self.free(name) {
            let path = join(&self.key(name), &id);
            if !matches!(node.kind, Kind::Object(_)) {
                let text = format!("must be an object, found {}", show(name, node));
                self.pass.report(Severity::Error, &path, Some(node), text);
                continue;
            }
            let child = self.child(Some(node), path);
            all.insert(id.clone(), read(&child));
            shown.insert(id, child.finish());
        }
        self.put(name, shown);
        all
    }

    /// The entries of an object with free names, without those that are `null`.
    pub fn free(&self, name: &'static str) -> BTreeMap<String, &'a Node> {
        let Some(node) = self.take(None, name) else {
            return BTreeMap::new();
        };
        if !matches!(node.kind, Kind::Object(_)) {
            self.report(
                Severity::Error,
                name,
                format!("must be an object, found {}", show(name, node)),
            );
        }
        let entries = node.entries().iter().filter(|entry| !entry.value.is_null());
        entries
            .map(|entry| (entry.name.clone(), &entry.value))
            .collect()
    }

    /// A list of objects.
    pub fn items<T>(&self, name: &'static str, read: impl Fn(&Reader<'_>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        let mut shown = Vec::new();
        if let Some(node) = self.take(None, name) {
            let Kind::List(items) = &node.kind else {
                self.report(
                    Severity::Error,
                    name,
                    format!("must be a list of objects, found {}", show(name, node)),
                );
                return all;
            };
            for (i, item) in items.iter().enumerate() {
                let path = index(&self.key(name), i);
                if matches!(item.kind, Kind::Object(_)) {
                    let child = self.child(Some(item), path);
                    all.push(read(&child));
                    shown.push(child.finish());
                } else {
                    let text = format!("must be an object, found {}", show(name, item));
                    self.pass.report(Severity::Error, &path, Some(item), text);
                }
            }
        }
        self.put(name, shown);
        all
    }
}

/// Whether a text names where something is to be fetched from, instead of a path.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.len() > 1
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

fn says_false(node: Option<&Node>) -> bool {
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
        _ => from_variable(node)?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite()),
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
    node.text()
        .map(str::to_owned)
        .ok_or_else(|| format!("must be a string, found {}", show(name, node)))
}

pub(crate) fn word_of<W: Word>(name: &str, node: &Node) -> Result<W, String> {
    let text = node.text().unwrap_or_default();
    if let Some((_, value)) = W::ALL.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = W::ALL.iter().map(|(word, _)| *word).collect();
    let meant =
        closest(text, words.iter().copied()).map(|word| format!(" (did you mean \"{word}\"?)"));
    Err(format!(
        "must be one of {}, found {}{}",
        words.join(", "),
        show(name, node),
        meant.unwrap_or_default()
    ))
}

fn whole_number(range: &RangeInclusive<i64>) -> String {
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

fn remember_origins(pass: &Pass<'_>, path: &str, node: &Node) {
    if let Some(origin) = node.origin.as_deref() {
        pass.origins
            .borrow_mut()
            .insert(path.to_owned(), origin.clone());
    }
    if let Kind::List(items) = &node.kind {
        for (i, item) in items.iter().enumerate() {
            remember_origins(pass, &index(path, i), item);
        }
    }
    for entry in node.entries() {
        remember_origins(pass, &join(path, &entry.name), &entry.value);
    }
}
