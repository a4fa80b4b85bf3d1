//! Secrets stay secret in everything that is shown: `config show`, the API, logs, errors, `doctor`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::node::{index, join, Origin};
use super::secret::Secret;

/// What stands in place of a secret.
pub const MASK: &str = "***";

const SECRET_ENDINGS: [&str; 10] = [
    "token",
    "secret",
    "password",
    "apikey",
    "api_key",
    "appsecret",
    "encryptkey",
    "verificationtoken",
    "privatekey",
    "authorization",
];

/// Whether the values of a key of that name are secrets.
pub fn is_secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A copy without secrets.
pub fn value(value: &Value) -> Value {
    with_origins(value, "", &BTreeMap::new())
}

/// A copy without secrets, in which a secret that came from a variable shows its name: `${NAME}`. `path` is the
/// value's own key path.
pub fn with_origins(value: &Value, path: &str, origins: &BTreeMap<String, Origin>) -> Value {
    Redaction { origins }.value(value, path, is_secret_key(last_name(path)))
}

/// The last name of a printed key path.
fn last_name(path: &str) -> &str {
    path.rsplit(['.', '[']).next().unwrap_or(path).trim_end_matches(']').trim_matches('"')
}

struct Redaction<'a> {
    origins: &'a BTreeMap<String, Origin>,
}

impl Redaction<'_> {
    fn value(&self, value: &Value, path: &str, secret: bool) -> Value {
        match value {
            Value::String(text) if secret => match self.origins.get(path) {
                Some(origin) if origin.whole => format!("${{{}}}", origin.vars.join("")).into(),
                _ if text.is_empty() => "".into(),
                _ => MASK.into(),
            },
            // A number under such a name is a secret as well; a bool cannot be one.
            Value::Number(_) if secret => MASK.into(),
            Value::String(text) => self::text(text).into_owned().into(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(i, item)| self.value(item, &index(path, i), secret)).collect()
            }
            Value::Object(entries) => {
                let entry = |(name, value): (&String, &Value)| {
                    let inner = self.value(value, &join(path, name), secret || is_secret_key(name));
                    (name.clone(), inner)
                };
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

/// Calls back with every secret string of a value.
pub(crate) fn each_secret(value: &Value, found: &mut impl FnMut(&str)) {
    fn walk(value: &Value, secret: bool, found: &mut impl FnMut(&str)) {
        match value {
            Value::String(text) if secret && !text.is_empty() => found(text),
            Value::Array(items) => {
                for item in items {
                    walk(item, secret, found);
                }
            }
            Value::Object(entries) => {
                for (name, value) in entries {
                    walk(value, secret || is_secret_key(name), found);
                }
            }
            _ => {}
        }
    }
    walk(value, false, found);
}

/// Text for a log or an error, without what looks like a secret: user info and secret parameters of URLs, bot
/// tokens in paths, bearer tokens.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    if out.contains("://") {
        out = mask_all(out, "://", |rest| {
            let authority = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>`".contains(c)).unwrap_or(rest.len());
            let at = rest[..authority].rfind('@')?;
            Some((0..at, "***:***"))
        });
    }
    for start in ["?", "&"] {
        if out.contains(start) {
            out = mask_all(out, start, |rest| {
                let end = rest.find(|c: char| c.is_whitespace() || "&#\"'<>`)".contains(c)).unwrap_or(rest.len());
                let (name, _) = rest[..end].split_once('=')?;
                is_secret_key(name).then_some((name.len() + 1..end, MASK))
            });
        }
    }
    if out.contains("bot") {
        out = mask_all(out, "bot", |rest| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
            let after = &rest[digits..];
            let colon = [":", "%3A", "%3a"].into_iter().find(|colon| after.starts_with(colon))?;
            let token = &after[colon.len()..];
            let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(token.len());
            let start = digits + colon.len();
            (end >= 8).then_some((start..start + end, MASK))
        });
    }
    for scheme in ["Bearer ", "bearer ", "Bot "] {
        if out.contains(scheme) {
            out = mask_all(out, scheme, |rest| {
                let end = rest.find(|c: char| c.is_whitespace() || "\"',;".contains(c)).unwrap_or(rest.len());
                (end >= 8).then_some((0..end, MASK))
            });
        }
    }
    out
}

/// Replaces, after each occurrence of `start`, the range that `find` gives.
fn mask_all<'a>(
    text: Cow<'a, str>,
    start: &str,
    find: impl Fn(&str) -> Option<(std::ops::Range<usize>, &'static str)>,
) -> Cow<'a, str> {
    let mut out = String::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(start) {
        let rest = from + at + start.len();
        match find(&text[rest..]) {
            Some((range, mask)) => {
                out.push_str(&text[from..rest + range.start]);
                out.push_str(mask);
                from = rest + range.end;
            }
            None => {
                out.push_str(&text[from..rest]);
                from = rest;
            }
        }
    }
    if out.is_empty() {
        return text;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

/// Redacts texts that may also quote the secrets of this configuration.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<String>,
}

impl Redactor {
    /// Secrets shorter than 8 characters are left alone: they would hit ordinary words.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Redactor {
        let mut redactor = Redactor { needles: Vec::new() };
        redactor.learn(secrets);
        redactor
    }

    /// More of them; those it knows stay.
    pub fn learn<'a>(&mut self, secrets: impl IntoIterator<Item = &'a Secret>) {
        let needles = &mut self.needles;
        for secret in secrets {
            let plain = secret.expose();
            if plain.chars().count() >= 8 {
                // As it stands, as in a JSON string, and as in a URL.
                let json = Value::from(plain).to_string();
                needles.extend([plain.to_owned(), json.trim_matches('"').to_owned(), percent_encoded(plain)]);
            }
        }
        // Longest first: one secret may be a part of another.
        needles.sort_by(|a, b| (b.len(), b).cmp(&(a.len(), a)));
        needles.dedup();
    }

    /// The text without secrets; borrowed if there are none.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for needle in &self.needles {
            if out.contains(needle.as_str()) {
                out = Cow::Owned(out.replace(needle.as_str(), MASK));
            }
        }
        match out {
            Cow::Borrowed(text) => self::text(text),
            Cow::Owned(owned) => Cow::Owned(self::text(&owned).into_owned()),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_found_by_their_key() {
        let shown = value(&json!({
            "channels": {
                "telegram": {"botToken": "1:a", "webhookSecret": "s", "tokenFile": "/t", "audio": {"apiKey": "k"}},
                "discord": {"token": "d.d.d"},
                "feishu": {"appSecret": "s", "encryptKey": "k", "verificationToken": "v", "appId": "shown"},
                "webchat": {"mediaSecret": "m"},
            },
            "gateway": {"auth": {"mode": "token", "token": "", "password": "p", "logToken": true}},
            "plugins": {"config": {"x": {"API_KEY": "k", "deep": [{"privateKey": "k"}], "Authorization": ["a", "b"], "pinToken": 1234}}},
        }));
        assert_eq!(
            shown,
            json!({
                "channels": {
                    "telegram": {"botToken": "***", "webhookSecret": "***", "tokenFile": "/t", "audio": {"apiKey": "***"}},
                    "discord": {"token": "***"},
                    "feishu": {"appSecret": "***", "encryptKey": "***", "verificationToken": "***", "appId": "shown"},
                    "webchat": {"mediaSecret": "***"},
                },
                "gateway": {"auth": {"mode": "token", "token": "", "password": "***", "logToken": true}},
                "plugins": {"config": {"x": {"API_KEY": "***", "deep": [{"privateKey": "***"}], "Authorization": ["***", "***"], "pinToken": "***"}}},
            })
        );
    }

    #[test]
    fn a_secret_from_a_variable_shows_its_name() {
        let origin = |text: &str, whole| Origin { text: text.into(), vars: vec!["T".into()], whole };
        let origins = BTreeMap::from([
            ("a.token".to_owned(), origin("${T:-fallback}", true)),
            ("b.token".to_owned(), origin("prefix${T}", false)),
        ]);
        let shown = with_origins(&json!({"a": {"token": "x"}, "b": {"token": "y"}}), "", &origins);
        assert_eq!(shown, json!({"a": {"token": "${T}"}, "b": {"token": "***"}}));
        assert_eq!(with_origins(&json!("x"), "a.token", &origins), json!("${T}"));
        assert_eq!(with_origins(&json!("x"), "x[\"my token\"]", &origins), json!("***"));
    }

    #[test]
    fn urls_lose_their_secrets() {
        for (given, want) in [
            ("http://me:pw@host:1/x", "http://***:***@host:1/x"),
            ("see socks5://token@host.", "see socks5://***:***@host."),
            ("http://host/@name", "http://host/@name"),
            ("https://h/?a=1&access_token=abc&b=2", "https://h/?a=1&access_token=***&b=2"),
            ("wss://h/?token=abc#x", "wss://h/?token=***#x"),
            ("\"https://h?apiKey=a\", \"x\"", "\"https://h?apiKey=***\", \"x\""),
            ("https://api/bot123456:AAbbCCddEE/getMe", "https://api/bot123456:***/getMe"),
            ("https://api/bot123456%3AAAbbCCddEE/getMe", "https://api/bot123456%3A***/getMe"),
            ("https://api/file/bot1:AAbbCCddEE/a.jpg", "https://api/file/bot1:***/a.jpg"),
            ("Authorization: Bearer abcdefgh12", "Authorization: Bearer ***"),
            ("Authorization: Bot abcdefgh.12.x", "Authorization: Bot ***"),
            ("the bot started: ok", "the bot started: ok"),
            ("plain text", "plain text"),
        ] {
            assert_eq!(text(given), want);
        }
        assert!(matches!(text("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn loaded_secrets_are_replaced_wherever_they_occur() {
        let secrets = ["s3cret/value", "s3cret/value-long", "short", "quo\"ted-secret"].map(Secret::new);
        let redactor = Redactor::new(&secrets);
        assert_eq!(redactor.text("a s3cret/value b s3cret/value-long c"), "a *** b *** c");
        assert_eq!(redactor.text("https://h/s3cret%2Fvalue short"), "https://h/*** short");
        assert_eq!(redactor.text("{\"x\":\"quo\\\"ted-secret\"}"), "{\"x\":\"***\"}");
        assert!(matches!(redactor.text("nothing"), Cow::Borrowed(_)));
        let mut redactor = redactor;
        let known = redactor.needles.len();
        redactor.learn(&secrets);
        assert_eq!(redactor.needles.len(), known, "each is known once");
        redactor.learn(&[Secret::new("a-new-one")]);
        assert_eq!(redactor.text("a-new-one s3cret/value"), "*** ***");
    }
}
