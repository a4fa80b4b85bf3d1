//! The typed view of one object of the file.
//!
//! Each method names a key once, with its reload class, default and range; from that one place come the value,
//! the error with its position, the list of known keys, the effective configuration and the classes of reload.

mod nested;
mod values;

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::issue::Severity;
use super::node::{index, join, Kind, Node};
use super::pass::Pass;
use super::reload::Class;
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
pub(crate) use values::{flag_of, int_of, show, text_of, word_of};
use values::{number_of, says_false, whole_number};

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
        let off = off || node.is_some_and(|node| node.is_false("enabled") || says_false(node.get("enabled")));
        Reader { pass, node, path, off, seen: RefCell::default(), open: Cell::new(false), out: RefCell::default() }
    }

    /// The effective values of this object; reports the keys that nobody asked for.
    pub fn finish(self) -> Value {
        let seen = self.seen.into_inner();
        let entries = self.node.map(Node::entries).unwrap_or_default();
        for entry in entries.iter().filter(|_| !self.open.get()) {
            if !seen.contains(&entry.name.as_str()) {
                self.pass.unknown(&self.path, &entry.name, entry.key.clone(), &seen);
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
        self.pass.report(severity, &self.key(name), self.node.and_then(|node| node.get(name)), text);
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
                self.pass.report(Severity::Error, &self.key(name), Some(node), text);
                None
            }
        }
    }

    /// A key of the original that has no effect here.
    pub fn ignored(&self, name: &'static str) {
        if let Some(node) = self.take(Some(Class::Hot), name) {
            self.put(name, node.to_json());
            self.pass.report(Severity::Warning, &self.key(name), Some(node), "accepted, has no effect");
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

    pub fn opt_int<T: TryFrom<i64>>(&self, class: Class, name: &'static str, range: RangeInclusive<i64>) -> Option<T> {
        let value = self.leaf(class, name, |node| {
            let found = int_of(node).filter(|value| range.contains(value));
            found.ok_or_else(|| format!("must be {}, found {}", whole_number(&range), show(name, node)))
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
                T::try_from(default).unwrap_or_else(|_| unreachable!("the default of {name} fits its type"))
            }
        }
    }

    /// A number of milliseconds.
    pub fn millis(&self, class: Class, name: &'static str, default: i64, range: RangeInclusive<i64>) -> Duration {
        Duration::from_millis(self.int(class, name, default, range))
    }

    /// A limit in milliseconds; 0 (`Duration::ZERO`) = none, whatever the range.
    pub fn limit(&self, class: Class, name: &'static str, default: i64, range: RangeInclusive<i64>) -> Duration {
        let value = self.opt_limit(class, name, range).unwrap_or(Duration::from_millis(default.unsigned_abs()));
        self.put(name, value.as_millis() as u64);
        value
    }

    /// As [`limit`](Self::limit), without a default.
    pub fn opt_limit(&self, class: Class, name: &'static str, range: RangeInclusive<i64>) -> Option<Duration> {
        let value = self.leaf(class, name, |node| {
            let found = int_of(node).filter(|value| *value == 0 || range.contains(value));
            found.ok_or_else(|| format!("must be {} or 0 (no limit), found {}", whole_number(&range), show(name, node)))
        });
        self.put(name, value);
        value.map(|value| Duration::from_millis(value.unsigned_abs()))
    }

    pub fn opt_millis(&self, class: Class, name: &'static str, range: RangeInclusive<i64>) -> Option<Duration> {
        self.opt_int(class, name, range).map(Duration::from_millis)
    }

    /// A size in megabytes (fractions allowed), given as bytes. The bounds are tenths of a megabyte.
    pub fn megabytes(&self, class: Class, name: &'static str, default: u64, tenths: RangeInclusive<u32>) -> u64 {
        let (low, high) = (f64::from(*tenths.start()) / 10.0, f64::from(*tenths.end()) / 10.0);
        let value = self.leaf(class, name, |node| {
            let found = number_of(node).filter(|value| (low..=high).contains(value));
            found.ok_or_else(|| format!("must be a number from {low} to {high}, found {}", show(name, node)))
        });
        let megabytes = value.unwrap_or(default as f64);
        self.put(name, megabytes);
        (megabytes * 1_048_576.0) as u64
    }

    pub fn opt_flag(&self, class: Class, name: &'static str) -> Option<bool> {
        let value = self.leaf(class, name, |node| {
            flag_of(node).ok_or_else(|| format!("must be true or false, found {}", show(name, node)))
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
            _ => Err(format!("must be true, false or \"auto\", found {}", show(name, node))),
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
        let value = self.opt_text(class, name).unwrap_or_else(|| default.to_owned());
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
            parse(default).unwrap_or_else(|error| unreachable!("the default of {name} is right: {error}"))
        })
    }

    /// Text that must be there.
    pub fn required(&self, class: Class, name: &'static str, parse: impl Fn(&str) -> Result<String, String>) -> String {
        if self.node.and_then(|node| node.get(name)).is_none() {
            self.pass.report(Severity::Error, &self.key(name), self.node, format!("\"{name}\" is missing"));
        }
        self.opt_parsed(class, name, parse).unwrap_or_default()
    }

    /// A path, with `~` expanded and made absolute.
    pub fn opt_path(&self, class: Class, name: &'static str) -> Option<PathBuf> {
        let value = self.leaf(class, name, |node| match text_of(name, node)?.as_str() {
            "" => Err("must not be empty".into()),
            text => Ok(self.pass.env.resolve(text, &self.pass.base)),
        });
        self.put(name, value.as_ref().map(|path| path.to_string_lossy().into_owned()));
        value
    }

    /// A path with a default (may start with `~`).
    pub fn path(&self, class: Class, name: &'static str, default: &str) -> PathBuf {
        let value = self.opt_path(class, name).unwrap_or_else(|| self.pass.env.resolve(default, &self.pass.base));
        self.put(name, value.to_string_lossy().into_owned());
        value
    }

    /// Text that may be the path of a file: if it names an existing one, that file's absolute path.
    pub fn opt_text_or_path(&self, class: Class, name: &'static str) -> Option<String> {
        let text = self.opt_text(class, name)?;
        // A prompt of several lines is no path, and looking it up could only fail.
        let path = (text.len() < 4096 && !text.contains('\n')).then(|| self.pass.env.resolve(&text, &self.pass.base));
        let value = match path.filter(|path| !text.is_empty() && path.is_file()) {
            Some(path) => path.to_string_lossy().into_owned(),
            None => text,
        };
        self.put(name, value.clone());
        Some(value)
    }
}

fn remember_origins(pass: &Pass<'_>, path: &str, node: &Node) {
    if let Some(origin) = node.origin.as_deref() {
        pass.origins.borrow_mut().insert(path.to_owned(), origin.clone());
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
