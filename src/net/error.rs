//! Why a call failed, and the one thing a caller must know: may the other side have acted on it?

use std::fmt;

/// Why a call failed. The text is for the log: it names hosts, never URLs, tokens or proxy passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Certainly not delivered: no connection, no TLS, a proxy's refusal, or the request did not leave whole.
    NotSent { why: String },
    /// The request may have been acted upon; what became of it is not known.
    Unknown { why: String },
    /// The answer's body is longer than `limit` bytes. The other side has acted.
    TooLarge { limit: u64 },
    /// The agent was shut down; `sent`: the request may have arrived before.
    Stopped { sent: bool },
}

impl Error {
    /// Whether the other side may have acted on the request.
    pub fn may_have_arrived(&self) -> bool {
        !matches!(self, Error::NotSent { .. } | Error::Stopped { sent: false })
    }

    pub(super) fn not_sent(why: impl AsRef<str>) -> Error {
        Error::NotSent { why: redact(why.as_ref()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotSent { why } => write!(f, "not sent: {why}"),
            Error::Unknown { why } => write!(f, "sent, but the outcome is unknown: {why}"),
            Error::TooLarge { limit } => write!(f, "the answer is longer than {limit} bytes"),
            Error::Stopped { .. } => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {}

/// Text without what must not be shown: `/bot<token>/` becomes `/bot***/`, `//user:password@` becomes `//***@`.
pub fn redact(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | ')');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (keep, after) = if let Some(after) = from.strip_prefix("//") {
            let part = &after[..after.find(is_end).unwrap_or(after.len())];
            match part.rfind('@') {
                Some(at) => ("//***", &after[at..]),
                None => ("//", after),
            }
        } else if let Some(after) = from.strip_prefix("/bot") {
            let end = after.find(is_end).unwrap_or(after.len());
            (if end > 0 { "/bot***" } else { "/bot" }, &after[end..])
        } else {
            ("/", &from[1..])
        };
        out.push_str(keep);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_passwords_do_not_survive() {
        for (text, shown) in [
            ("https://api.telegram.org/bot12:ab-C/getMe", "https://api.telegram.org/bot***/getMe"),
            ("https://h/file/bot12%3Aab/photos/1.jpg", "https://h/file/bot***/photos/1.jpg"),
            ("POST /bot12:ab: refused", "POST /bot*** refused"),
            ("at http://u:p@h:1/x and socks5://u:p@@h", "at http://***@h:1/x and socks5://***@h"),
            ("nothing / here // to hide", "nothing / here // to hide"),
            ("ends in /bot", "ends in /bot"),
            ("/bot1:a/bot2:b", "/bot***/bot***"),
            ("//u:p@h/bot1", "//***@h/bot***"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
