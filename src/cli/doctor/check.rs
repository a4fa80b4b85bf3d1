//! What a check says.

use crate::config::redact::Redactor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    Warning,
    Error,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// More lines, such as the end of a program's stderr.
    pub details: Vec<String>,
}

impl Check {
    pub fn new(name: &'static str, state: State, text: impl Into<String>) -> Check {
        Check { name, state, text: text.into(), remedy: None, details: Vec::new() }
    }

    pub fn ok(name: &'static str, text: impl Into<String>) -> Check {
        Check::new(name, State::Ok, text)
    }

    pub fn warning(name: &'static str, text: impl Into<String>) -> Check {
        Check::new(name, State::Warning, text)
    }

    pub fn error(name: &'static str, text: impl Into<String>) -> Check {
        Check::new(name, State::Error, text)
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: Some(remedy.into()), ..self }
    }

    pub fn details(self, details: Vec<String>) -> Check {
        Check { details, ..self }
    }

    /// Takes secrets out of everything that is shown.
    pub fn redact(&mut self, redactor: &Redactor) {
        for text in self.details.iter_mut().chain(self.remedy.as_mut()).chain([&mut self.text]) {
            *text = redactor.text(text).into_owned();
        }
    }
}
