//! What is collected while a file's tree is read: issues, effective values' classes and origins, unknown keys.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::env::Env;
use super::issue::{Issue, Severity};
use super::node::{join, Node, Origin};
use super::reload::Class;
use super::secret::Secret;
use super::source::Source;
use super::suggest::closest;

/// One reading of one file. Shared by all [`Reader`](super::reader::Reader)s of it.
pub(crate) struct Pass<'a> {
    pub source: &'a Source,
    pub env: &'a Env,
    /// The file's top-level object, migrated, for sections that inherit from another one.
    pub root: &'a Node,
    /// The directory that relative paths belong to.
    pub base: PathBuf,
    pub issues: RefCell<Vec<Issue>>,
    pub classes: RefCell<BTreeMap<String, Class>>,
    pub origins: RefCell<BTreeMap<String, Origin>>,
    /// Every secret value read, for redaction.
    pub secrets: RefCell<Vec<Secret>>,
    /// Whether the file itself holds a secret.
    pub literal_secret: Cell<bool>,
    unknown: RefCell<Vec<Unknown>>,
    /// Every key name of the table, with the object that it belongs to.
    names: RefCell<BTreeMap<String, String>>,
}

struct Unknown {
    parent: String,
    name: String,
    span: Range<usize>,
    siblings: Vec<&'static str>,
}

impl<'a> Pass<'a> {
    pub fn new(source: &'a Source, env: &'a Env, root: &'a Node, base: PathBuf) -> Pass<'a> {
        Pass {
            source,
            env,
            root,
            base,
            issues: RefCell::default(),
            classes: RefCell::default(),
            origins: RefCell::default(),
            secrets: RefCell::default(),
            literal_secret: Cell::new(false),
            unknown: RefCell::default(),
            names: RefCell::default(),
        }
    }

    /// Reports something about a value; names the variables that the value came from.
    pub fn report(&self, severity: Severity, key: &str, node: Option<&Node>, text: impl Into<String>) {
        let mut issue = self.source.issue(severity, key, text, node.map(|node| node.span.clone()));
        if let Some(origin) = node.and_then(|node| node.origin.as_deref()) {
            issue.hint = Some(format!("the value comes from the environment: {}", origin.vars.join(", ")));
        }
        self.push(issue);
    }

    pub fn push(&self, issue: Issue) {
        let mut issues = self.issues.borrow_mut();
        // A value that several accounts inherit is wrong once.
        if issue.pos.is_none() || !issues.iter().any(|old| old.pos == issue.pos && old.text == issue.text) {
            issues.push(issue);
        }
    }

    pub fn know(&self, parent: &str, name: &str, class: Option<Class>) {
        if let Some(class) = class {
            self.classes.borrow_mut().insert(join(parent, name), class);
        }
        self.names.borrow_mut().entry(name.to_owned()).or_insert_with(|| parent.to_owned());
    }

    pub fn unknown(&self, parent: &str, name: &str, span: Range<usize>, siblings: &[&'static str]) {
        let mut unknown = self.unknown.borrow_mut();
        if !unknown.iter().any(|old| old.span == span) {
            unknown.push(Unknown { parent: parent.into(), name: name.into(), span, siblings: siblings.to_vec() });
        }
    }

    /// Reports the unknown keys; called at the end, when every known name has been seen.
    pub fn report_unknown(&self) {
        let names = self.names.borrow();
        for unknown in self.unknown.borrow().iter() {
            let path = join(&unknown.parent, &unknown.name);
            let mut hints = Vec::new();
            if let Some(sibling) = closest(&unknown.name, unknown.siblings.iter().copied()) {
                hints.push(format!("did you mean \"{sibling}\"?"));
            }
            if let Some(parent) = names.get(&unknown.name).filter(|parent| !parent.is_empty()) {
                hints.push(format!("\"{}\" is a key of \"{parent}\"", unknown.name));
            }
            let mut text = format!("unknown key \"{path}\"");
            if !hints.is_empty() {
                text += &format!(" ({})", hints.join(" "));
            }
            self.push(self.source.issue(Severity::Warning, &path, text, Some(unknown.span.clone())));
        }
    }
}
