//! What a provider's error text means, and which model to try next (core.md 9). Pure.

use std::collections::BTreeMap;

use crate::message::Mono;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    RateLimit,
    Auth,
    Billing,
    Timeout,
    Overloaded,
    Connection,
    Context,
    Unknown,
}

const HOUR: u64 = 3_600_000;

impl Category {
    pub fn as_str(self) -> &'static str {
        match self {
            Category::RateLimit => "rate limit",
            Category::Auth => "not authorised",
            Category::Billing => "billing",
            Category::Timeout => "timeout",
            Category::Overloaded => "overloaded",
            Category::Connection => "connection",
            Category::Context => "context too long",
            Category::Unknown => "error",
        }
    }
    /// How long the model is left alone, ms; `None`: it is not the model's fault.
    pub fn cooldown(self, transient: u64) -> Option<u64> {
        match self {
            Category::RateLimit | Category::Timeout | Category::Overloaded | Category::Connection => Some(transient),
            Category::Auth | Category::Billing => Some(HOUR),
            Category::Context | Category::Unknown => None,
        }
    }
}

/// First match of the table in core.md 9. Numbers count only as whole words.
pub fn classify(error: &str) -> Category {
    let text = error.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let code = |codes: &[&str]| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '$' && c != ',')
            .any(|w| codes.contains(&w.trim_end_matches(['.', ','])))
    };
    let auth_words = ["unauthorized", "forbidden", "invalid api key", "no api key", "incorrect api key"];
    match () {
        _ if code(&["429"]) || has(&["rate limit", "rate_limit", "quota", "too many requests", "retry-after"]) => {
            Category::RateLimit
        }
        _ if code(&["401", "403"]) || has(&auth_words) => Category::Auth,
        _ if code(&["402"]) || has(&["payment", "billing", "insufficient funds"]) => Category::Billing,
        _ if has(&["timeout", "timed out", "etimedout"]) => Category::Timeout,
        _ if code(&["500", "502", "503", "504", "529"]) || has(&["overloaded", "capacity", "unavailable"]) => {
            Category::Overloaded
        }
        _ if has(&[
            "connection error",
            "econnrefused",
            "econnreset",
            "enotfound",
            "ehostunreach",
            "socket hang up",
            "network error",
            "fetch failed",
            "terminated",
        ]) =>
        {
            Category::Connection
        }
        _ if has(&["context length", "context_length", "too many tokens", "context overflow"]) => Category::Context,
        _ => Category::Unknown,
    }
}

/// Health of the configured models.
#[derive(Clone, Debug, Default)]
pub struct Health {
    cooling: BTreeMap<String, Mono>,
}

impl Health {
    pub fn failed(&mut self, model: &str, category: Category, transient: u64, now: Mono) {
        if let Some(ms) = category.cooldown(transient) {
            self.cooling.insert(model.to_owned(), now + ms);
        }
    }
    pub fn succeeded(&mut self, model: &str) {
        self.cooling.remove(model);
    }
    /// First of primary and fallbacks that is not cooling; all cooling: the one whose time ends first.
    pub fn choose<'a>(&self, primary: &'a str, fallbacks: &'a [String], now: Mono) -> &'a str {
        let until = |m: &str| self.cooling.get(m).copied().filter(|t| *t > now);
        let mut best = primary;
        for m in std::iter::once(primary).chain(fallbacks.iter().map(String::as_str)) {
            match (until(m), until(best)) {
                (None, _) => return m,
                (Some(a), Some(b)) if a < b => best = m,
                _ => {}
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_fall_into_their_category() {
        for (text, want) in [
            ("429 fake failure 429", Category::RateLimit),
            ("429: {\"message\":\"x\"}", Category::RateLimit),
            ("error in line 4290 of file", Category::Unknown),
            ("costs $429", Category::Unknown),
            ("401 fake failure 401", Category::Auth),
            ("402 Payment Required", Category::Billing),
            ("Request timed out.", Category::Timeout),
            ("529 overloaded", Category::Overloaded),
            ("500 fake failure", Category::Overloaded),
            ("Connection error.", Category::Connection),
            ("terminated", Category::Connection),
            ("400 context_length_exceeded", Category::Context),
            ("", Category::Unknown),
        ] {
            assert_eq!(classify(text), want, "{text}");
        }
    }

    #[test]
    fn a_cooling_model_is_passed_over_until_its_time_is_up() {
        let mut h = Health::default();
        let fallbacks = vec!["b/2".to_owned()];
        h.failed("a/1", Category::RateLimit, 60_000, 1000);
        assert_eq!(h.choose("a/1", &fallbacks, 2000), "b/2");
        h.failed("b/2", Category::Auth, 60_000, 2000);
        assert_eq!(h.choose("a/1", &fallbacks, 3000), "a/1");
        h.succeeded("b/2");
        assert_eq!(h.choose("a/1", &fallbacks, 3000), "b/2");
        assert_eq!(h.choose("a/1", &fallbacks, 61_001), "a/1");
    }
}
