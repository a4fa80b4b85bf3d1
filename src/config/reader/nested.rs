//! Lists, objects in objects, and objects with free names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::values::{has_scheme, show, text_of};
use super::Reader;
use crate::config::issue::Severity;
use crate::config::node::{index, join, Kind, Node};
use crate::config::reload::Class;

impl<'a> Reader<'a> {
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
                Err(text) => self.pass.report(Severity::Error, &index(&self.key(name), i), Some(item), text),
            }
        }
        self.put(name, shown);
        Some(values)
    }

    pub fn opt_texts(&self, class: Class, name: &'static str) -> Option<Vec<String>> {
        let value =
            self.opt_list(class, name, "strings", |item| text_of(name, item).map(|text| (text.clone(), text.into())));
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
                false => self.pass.env.resolve(&text, &self.pass.base).to_string_lossy().into_owned(),
            };
            Ok((value.clone(), value.into()))
        };
        self.opt_list(class, name, "paths", parse).unwrap_or_else(|| {
            self.put(name, Value::Array(Vec::new()));
            Vec::new()
        })
    }

    pub fn paths(&self, class: Class, name: &'static str) -> Vec<PathBuf> {
        self.sources(class, name).into_iter().map(PathBuf::from).collect()
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
                    self.pass.report(Severity::Warning, &index(&self.key(name), i), Some(item), text);
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
                self.report(Severity::Error, name, format!("must be an object, found {}", show(name, node)));
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
    pub fn opt_object<T>(&self, name: &'static str, read: impl FnOnce(&Reader<'_>) -> T) -> Option<T> {
        if self.node.and_then(|node| node.get(name)).is_some() {
            return Some(self.object(name, read));
        }
        self.take(None, name);
        self.put(name, Value::Null);
        None
    }

    /// An object with free names, each holding an object.
    pub fn map<T>(&self, name: &'static str, read: impl Fn(&Reader<'_>) -> T) -> BTreeMap<String, T> {
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
            self.report(Severity::Error, name, format!("must be an object, found {}", show(name, node)));
        }
        let entries = node.entries().iter().filter(|entry| !entry.value.is_null());
        entries.map(|entry| (entry.name.clone(), &entry.value)).collect()
    }

    /// A list of objects.
    pub fn items<T>(&self, name: &'static str, read: impl Fn(&Reader<'_>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        let mut shown = Vec::new();
        if let Some(node) = self.take(None, name) {
            let Kind::List(items) = &node.kind else {
                self.report(Severity::Error, name, format!("must be a list of objects, found {}", show(name, node)));
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
