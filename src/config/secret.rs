//! Secret values: a type that does not print itself, and how a secret gets out of the file or a file of its own.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::issue::Severity;
use super::node::Kind;
use super::reader::Reader;
use super::reload::Class;

/// A token, password or key. `Debug` shows `***`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself. Take care where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Whether a value looks like an example that nobody has replaced.
pub fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["${", "your_", "your-", "placeholder", "xxx", "..."].iter().any(|part| lower.contains(part))
}

impl Reader<'_> {
    /// A secret written under `name`, or held by the file named under `file_name`; the first wins.
    pub fn secret(&self, class: Class, name: &'static str, file_name: &'static str) -> Option<Secret> {
        let literal = self.literal_secret(class, name);
        let path = self.opt_path(class, file_name);
        let value = match (literal, path) {
            (Some(value), path) => {
                if path.is_some() {
                    let text = format!("not used, because \"{name}\" is set as well");
                    self.report(Severity::Warning, file_name, text);
                }
                Some(value)
            }
            // Both present but the value is wrong: that error is enough.
            (None, Some(path)) if self.node.and_then(|node| node.get(name)).is_none() => {
                self.secret_file(file_name, &path)
            }
            _ => None,
        };
        if let Some(value) = &value {
            self.pass.secrets.borrow_mut().push(value.clone());
        }
        value
    }

    /// A secret without a file of its own.
    pub fn bare_secret(&self, class: Class, name: &'static str) -> Option<Secret> {
        let value = self.literal_secret(class, name)?;
        self.pass.secrets.borrow_mut().push(value.clone());
        Some(value)
    }

    fn literal_secret(&self, class: Class, name: &'static str) -> Option<Secret> {
        let off = self.off;
        let value = self.leaf(class, name, |node| match &node.kind {
            Kind::Text(text) if !text.trim().is_empty() => {
                self.pass.literal_secret.set(self.pass.literal_secret.get() || node.origin.is_none());
                Ok(Some(text.trim().to_owned()))
            }
            // What is switched off needs no secrets.
            Kind::Text(_) if off => Ok(None),
            Kind::Text(_) => Err("must not be empty".into()),
            _ => Err("must be a string".into()),
        });
        let value = value.flatten();
        self.put(name, value.clone());
        value.map(Secret)
    }

    fn secret_file(&self, name: &'static str, path: &Path) -> Option<Secret> {
        let severity = if self.off { Severity::Warning } else { Severity::Error };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.report(severity, name, format!("cannot read {}: {error}", path.display()));
                return None;
            }
        };
        if text.trim().is_empty() {
            self.report(severity, name, format!("{} is empty", path.display()));
            return None;
        }
        if readable_by_others(path) {
            let text = format!("{} can be read by other users; run: chmod 600 {0}", path.display());
            self.report(Severity::Warning, name, text);
        }
        Some(Secret(text.trim().to_owned()))
    }
}

/// Whether group or others may read a file.
pub(crate) fn readable_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o044 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Some(Secret::new("hush"))), "Some(Secret(***))");
    }

    #[test]
    fn placeholders() {
        for text in ["${TOKEN}", "YOUR_BOT_TOKEN", "a placeholder", "xxx", "123..."] {
            assert!(is_placeholder(text), "{text}");
        }
        assert!(!is_placeholder("123456:AAbbCC"));
    }
}
