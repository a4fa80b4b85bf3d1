//! What is wrong with a configuration, said to a person.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How bad an issue is. Only errors stop a start or a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// A place in the file: line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    pub line: u32,
    pub column: u32,
}

/// One finding. Prints as `file:line:col: severity: key: text`, then the hint and the excerpt, if any.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub severity: Severity,
    /// The configuration file; empty if the issue belongs to none.
    pub file: Arc<Path>,
    /// Where in the file; `None` if the key is not written there.
    pub pos: Option<Pos>,
    /// Key path such as `channels.telegram.groups["*"].role`; empty for the whole file.
    pub key: String,
    /// What is wrong, without key and position. Never holds a secret.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The offending line with a caret below (syntax errors).
    pub excerpt: Option<String>,
}

impl Issue {
    /// An issue that belongs to no place in the file.
    pub fn new(severity: Severity, key: impl Into<String>, text: impl Into<String>) -> Issue {
        Issue {
            severity,
            file: Arc::from(PathBuf::new()),
            pos: None,
            key: key.into(),
            text: text.into(),
            hint: None,
            excerpt: None,
        }
    }

    /// The same with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Issue {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}:", self.file.display())?;
            if let Some(pos) = self.pos {
                write!(f, "{}:{}:", pos.line, pos.column)?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity.as_str())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// Whether any of these stops a start.
pub fn has_errors(issues: &[Issue]) -> bool {
    issues.iter().any(|issue| issue.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_prints_place_severity_key_and_text() {
        let mut issue = Issue::new(Severity::Warning, "gateway.port", "odd").hint("use another");
        assert_eq!(issue.to_string(), "warning: gateway.port: odd (use another)");
        issue.file = Arc::from(Path::new("/a.jsonc"));
        assert_eq!(issue.to_string(), "/a.jsonc: warning: gateway.port: odd (use another)");
        issue.pos = Some(Pos { line: 3, column: 7 });
        issue.excerpt = Some("x\n^".into());
        assert_eq!(issue.to_string(), "/a.jsonc:3:7: warning: gateway.port: odd (use another)\nx\n^");
    }
}
