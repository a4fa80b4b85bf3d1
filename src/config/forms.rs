//! The forms that text values must have: one function per form, each giving the value or what is wrong.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::env::Env;
use super::issue::Severity;
use super::node::{Kind, Node};
use super::reader::Reader;
use super::reload::C;
use super::secret::{is_placeholder, Secret};

type Form<T = String> = Result<T, String>;

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    Value::from(short).to_string()
}

/// Whether every byte is an ASCII letter, a digit or one of `more`.
fn made_of(text: &str, more: &[u8]) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

/// An outgoing proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum ProxySetting {
    /// Connect directly, whatever the environment says.
    None,
    /// `http://`, `socks5://` or `socks5h://`, possibly with credentials.
    Url(Secret),
}

impl ProxySetting {
    /// Reads a proxy URL or `none`.
    pub fn parse(text: &str) -> Form<ProxySetting> {
        if text == "none" {
            return Ok(ProxySetting::None);
        }
        url(text, &["http", "socks5", "socks5h"])
            .map(|url| ProxySetting::Url(Secret::new(url)))
            .map_err(|_| {
                // Without the value: it may hold a password.
                "must be a URL that starts with http://, socks5:// or socks5h://, or \"none\""
                    .into()
            })
    }
}

/// Minutes since midnight, 0..=1440 (24:00 only as an end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(pub u16);

impl TimeOfDay {
    /// Reads `HH:MM`.
    pub fn parse(text: &str) -> Form<TimeOfDay> {
        Self::parse_end(text)
            .ok()
            .filter(|time| time.0 < 1440)
            .ok_or_else(|| format!("must be a time HH:MM, found {}", quoted(text)))
    }

    /// Reads `HH:MM`, `24:00` included.
    pub fn parse_end(text: &str) -> Form<TimeOfDay> {
        let two = |digits: &str| {
            (digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse::<u16>().ok())
        };
        let time = text.split_once(':').and_then(|(hour, minute)| {
            let (hour, minute) = (two(hour)??, two(minute).filter(|_| minute.len() == 2)??);
            (minute < 60 && hour * 60 + minute <= 1440).then_some(TimeOfDay(hour * 60 + minute))
        });
        time.ok_or_else(|| format!("must be a time HH:MM, found {}", quoted(text)))
    }
}

/// `~/...` expanded, everything else unchanged.
pub(crate) fn home(env: &Env, text: &str) -> String {
    match text == "~" || text.starts_with("~/") {
        true => env.resolve(text, &env.cwd).to_string_lossy().into_owned(),
        false => text.to_owned(),
    }
}

pub(crate) fn non_empty(text: &str) -> Form {
    match text.trim() {
        "" => Err("must not be empty".into()),
        text => Ok(text.to_owned()),
    }
}

pub(crate) fn absolute_path(text: &str) -> Form<PathBuf> {
    match text.starts_with('/') {
        true => Ok(PathBuf::from(text)),
        false => Err(format!("must be an absolute path, found {}", quoted(text))),
    }
}

/// A URL of one of the schemes with a host, without a slash at the end.
fn url(text: &str, schemes: &[&str]) -> Form {
    let wrong = || {
        format!(
            "must be a URL that starts with {}://",
            schemes.join(":// or ")
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default()
        .rsplit('@')
        .next()
        .unwrap_or_default();
    let usable = !host.is_empty()
        && !host.starts_with(':')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !usable || !schemes.contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub(crate) fn http_url(text: &str) -> Form {
    url(text, &["http", "https"])
}

pub(crate) fn https_url(text: &str) -> Form {
    url(text, &["https"])
}

pub(crate) fn ws_url(text: &str) -> Form {
    url(text, &["ws", "wss"])
}

/// `https`, or `http` to this machine.
pub(crate) fn https_or_loopback_url(text: &str) -> Form {
    let url = http_url(text)?;
    let host = url
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let name = host
        .strip_prefix('[')
        .and_then(|host| host.split(']').next())
        .unwrap_or(host.split(':').next().unwrap_or_default());
    let loopback = name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    match url.starts_with("https") || loopback {
        true => Ok(url),
        false => Err("plain http is for loopback hosts only".into()),
    }
}

/// Whether an entry of a no-proxy list covers a host (both without port, `host` in lower case).
pub(crate) fn host_matches(entry: &str, host: &str) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let entry = entry.strip_prefix('*').unwrap_or(&entry);
    match entry.strip_prefix('.') {
        Some("") => false,
        Some(apex) => host == apex || host.ends_with(entry),
        // A bare `*` has become empty: everything.
        None => {
            entry.is_empty()
                || host == entry
                || host
                    .strip_suffix(entry)
                    .is_some_and(|sub| sub.ends_with('.'))
        }
    }
}

/// `provider/modelId`.
pub(crate) fn model(text: &str) -> Form {
    match text.split_once('/') {
        Some((provider, id)) if !provider.is_empty() && !id.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("must be provider/modelId, found {}", quoted(text))),
    }
}

pub(crate) fn runner_name(text: &str) -> Form {
    let right = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match right && text != "local" {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be 1-32 characters of a-z 0-9 - and not \"local\", found {}",
            quoted(text)
        )),
    }
}

pub(crate) fn agent_id(text: &str) -> Form {
    match !text.is_empty() && made_of(text, b"_-") {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be made of A-Z a-z 0-9 _ -, found {}",
            quoted(text)
        )),
    }
}

pub(crate) fn job_id(text: &str) -> Form {
    match text.len() <= 64 {
        true => agent_id(text),
        false => Err("must be at most 64 characters".into()),
    }
}

pub(crate) fn job_text(text: &str) -> Form {
    match text.chars().count() {
        1..=2000 => Ok(text.to_owned()),
        n => Err(format!("must be 1-2000 characters, it has {n}")),
    }
}

pub(crate) fn hooks_path(text: &str) -> Form {
    const TAKEN: [&str; 8] = [
        "/api", "/web", "/webhook", "/v1", "/health", "/metrics", "/login", "/logout",
    ];
    let below = |root: &&&str| {
        text == **root
            || text
                .strip_prefix(**root)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if !text.starts_with('/') || text.ends_with('/') {
        Err(format!(
            "must start with \"/\" and not end with it, found {}",
            quoted(text)
        ))
    } else if let Some(root) = TAKEN.iter().find(below) {
        Err(format!(
            "must not be below {root}, which the gateway uses itself"
        ))
    } else if text.contains("//") || text.contains(['?', '#', ' ', '%']) {
        Err(format!("must be a plain path, found {}", quoted(text)))
    } else {
        Ok(text.to_owned())
    }
}

/// The webhook path of an account: what is written, else the default one.
pub(crate) fn webhook_path(r: &Reader<'_>, channel: &str, account: &str, written: &str) -> String {
    let path = match (written, account) {
        ("", super::types::DEFAULT_ACCOUNT) => format!("/webhook/{channel}"),
        ("", account) => format!("/webhook/{channel}/{account}"),
        (path, _) => path.to_owned(),
    };
    if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
        r.report(
            Severity::Error,
            "webhookPath",
            format!(
                "must be a path that starts with \"/\", found {}",
                quoted(&path)
            ),
        );
    }
    r.put("webhookPath", path.clone());
    path
}

/// `enabled` of a channel that is off unless switched on: must be written if anything of the channel is.
pub(crate) fn required_enabled(r: &Reader<'_>) -> bool {
    if r.node.is_some_and(|node| node.get("enabled").is_none()) {
        let text = "\"enabled\" is missing: write \"enabled\": true or false";
        r.pass.report(Severity::Error, &r.path, r.node, text);
    }
    let enabled = r.opt_flag(C, "enabled").unwrap_or(false);
    r.put("enabled", enabled);
    enabled
}

pub(crate) fn menu_command(text: &str) -> Form {
    let right = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match right {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be 1-32 characters of a-z 0-9 _, found {}",
            quoted(text)
        )),
    }
}

pub(crate) fn menu_description(text: &str) -> Form {
    match (1..=256).contains(&text.chars().count()) {
        true => Ok(text.to_owned()),
        false => Err("must be 1-256 characters".into()),
    }
}

/// An id written as a string or a whole number.
pub(crate) fn any_id(node: &Node) -> Form {
    match &node.kind {
        Kind::Text(text) => non_empty(text),
        Kind::Number(number) if number.as_i64().is_some() => Ok(number.to_string()),
        _ => Err("an id is a string or a number".into()),
    }
}

/// A Telegram user id, with or without `telegram:` or `tg:`; or `*`.
pub(crate) fn telegram_id(node: &Node) -> Form {
    let text = any_id(node)?;
    let id = text
        .strip_prefix("telegram:")
        .or_else(|| text.strip_prefix("tg:"))
        .unwrap_or(&text)
        .trim();
    let digits = id.strip_prefix('-').unwrap_or(id);
    match id == "*" || (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())) {
        true => Ok(id.to_owned()),
        false => Err("only numeric ids and \"*\" count, user names can change hands".into()),
    }
}

/// Whether this is a Discord id.
pub(crate) fn is_snowflake(text: &str) -> bool {
    (17..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn snowflake_or_any(node: &Node) -> Form {
    match node.text().map(str::trim) {
        Some(id) if id == "*" || is_snowflake(id) => Ok(id.to_owned()),
        _ => Err("an id is a string of 17-20 digits".into()),
    }
}

pub(crate) fn snowflake_or_role(node: &Node) -> Form {
    match node.text().map(str::trim) {
        Some(id) if id.strip_prefix("role:").is_some_and(is_snowflake) => Ok(id.to_owned()),
        _ => snowflake_or_any(node)
            .map_err(|_| "an id is a string of 17-20 digits, a role is role:<id>".into()),
    }
}

/// `<digits>:<letters>`.
pub(crate) fn telegram_token(text: &str) -> Form<()> {
    let right = text.split_once(':').is_some_and(|(id, rest)| {
        !id.is_empty()
            && id.bytes().all(|b| b.is_ascii_digit())
            && !rest.is_empty()
            && made_of(rest, b"_-")
    });
    match (is_placeholder(text) && !right, right) {
        (true, _) => Err("is still the example's text, not a bot token".into()),
        (_, true) => Ok(()),
        _ => Err("is no bot token (digits, a colon, letters), ask @BotFather for one".into()),
    }
}

/// Three parts with dots between.
pub(crate) fn discord_token(text: &str) -> Form<()> {
    let parts: Vec<&str> = text.split('.').collect();
    match parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && made_of(part, b"_-"))
    {
        true => Ok(()),
        false if is_placeholder(text) => Err("is still the example's text, not a bot token".into()),
        false => Err("is no bot token (three parts with dots between)".into()),
    }
}

/// `<n>(s|m|h|d)`.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number = text[..text.len() - 1].trim_end();
    let number: u64 = number
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| number.parse().ok())??;
    number.checked_mul(seconds).map(Duration::from_secs)
}

pub(crate) fn heartbeat_interval(text: &str) -> Form<Duration> {
    match duration(text) {
        Some(every) if every >= Duration::from_secs(60) => Ok(every),
        Some(_) => Err(format!("must be at least 1m, found {}", quoted(text))),
        None => Err(format!(
            "must be a number with s, m, h or d, such as \"30m\", found {}",
            quoted(text)
        )),
    }
}

/// An IANA time zone name. Without any zone data on the machine every name passes.
pub(crate) fn timezone(text: &str) -> Form {
    let db = jiff::tz::db();
    match db.is_definitively_empty() || db.get(text).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "unknown time zone {} (names look like \"Europe/Berlin\")",
            quoted(text)
        )),
    }
}

/// A target of `pi-gw send`. Only its outer form: the channels know the rest.
pub(crate) fn target(text: &str) -> Form {
    let text = text.trim();
    let right = text == "last"
        || text.split_once(':').is_some_and(|(channel, rest)| {
            !channel.is_empty() && made_of(channel, b"_-") && !rest.trim().is_empty()
        });
    match right {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a target such as telegram:123456 or last, found {}",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        let source = super::super::source::Source::new(
            std::sync::Arc::from(std::path::Path::new("f")),
            format!("{{\"x\": {value}}}"),
        );
        source
            .parse()
            .unwrap()
            .get("x")
            .cloned()
            .unwrap_or_else(Node::empty_object)
    }

    #[test]
    fn times_of_day() {
        for (text, minutes) in [("00:00", 0), ("8:05", 485), ("23:59", 1439)] {
            assert_eq!(TimeOfDay::parse(text), Ok(TimeOfDay(minutes)), "{text}");
        }
        for text in [
            "24:00", "8", "8:5", "08:60", "-1:00", "+8:00", "", "ab:cd", "008:00",
        ] {
            assert!(TimeOfDay::parse(text).is_err(), "{text}");
        }
        assert_eq!(TimeOfDay::parse_end("24:00"), Ok(TimeOfDay(1440)));
        assert!(TimeOfDay::parse_end("24:01").is_err());
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("30m", 1800),
            ("90s", 90),
            ("2h", 7200),
            ("1d", 86400),
            ("5 m", 300),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "m",
            "30",
            "30ms",
            "-5m",
            "+5m",
            "1.5h",
            "99999999999999999999d",
            "1w",
            "5µ",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert!(heartbeat_interval("59s").is_err() && heartbeat_interval("60s").is_ok());
    }

    #[test]
    fn urls_and_proxies() {
        assert_eq!(http_url("http://h:1/x/"), Ok("http://h:1/x".into()));
        for text in [
            "ftp://h",
            "h",
            "http://",
            "http:///x",
            "http://a b",
            "http://:80",
        ] {
            assert!(http_url(text).is_err(), "{text}");
        }
        assert_eq!(ProxySetting::parse("none"), Ok(ProxySetting::None));
        for text in ["http://u:p@h:1", "socks5://h", "socks5h://h:9"] {
            assert!(
                matches!(ProxySetting::parse(text), Ok(ProxySetting::Url(_))),
                "{text}"
            );
        }
        let wrong = ProxySetting::parse("https://user:hush@h").unwrap_err();
        assert!(!wrong.contains("hush"), "{wrong}");
        for (text, right) in [
            ("https://x.cn", true),
            ("http://x.cn", false),
            ("http://127.0.0.1:9/", true),
            ("http://[::1]:9", true),
            ("http://localhost", true),
            ("http://localhost.evil.com", false),
        ] {
            assert_eq!(https_or_loopback_url(text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn no_proxy_entries() {
        for (entry, host, covered) in [
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            ("*", "anything", true),
            (".", "anything", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(host_matches(entry, host), covered, "{entry} {host}");
        }
    }

    #[test]
    fn ids() {
        for (value, want) in [
            (Value::from(42), Some("42")),
            (Value::from("42"), Some("42")),
            (Value::from("tg:42"), Some("42")),
            (Value::from("telegram:42"), Some("42")),
            (Value::from("*"), Some("*")),
            (Value::from("-100"), Some("-100")),
            (Value::from("@name"), None),
            (Value::from(""), None),
            (Value::from(true), None),
            (Value::from(1.5), None),
        ] {
            assert_eq!(
                telegram_id(&node(value.clone())).ok().as_deref(),
                want,
                "{value}"
            );
        }
        for (value, want) in [
            ("12345678901234567", true),
            ("1234", false),
            ("*", true),
            ("role:12345678901234567", false),
        ] {
            assert_eq!(
                snowflake_or_any(&node(value.into())).is_ok(),
                want,
                "{value}"
            );
        }
        assert!(snowflake_or_role(&node("role:12345678901234567".into())).is_ok());
        assert!(snowflake_or_any(&node(Value::from(12345678901234567u64))).is_err());
    }

    #[test]
    fn tokens() {
        for (text, right) in [
            ("123:AA-b_c", true),
            ("123:", false),
            (":x", false),
            ("abc:def", false),
            ("1:a b", false),
            ("1:xxxabc", true),
        ] {
            assert_eq!(telegram_token(text).is_ok(), right, "{text}");
        }
        assert!(telegram_token("YOUR_BOT_TOKEN")
            .unwrap_err()
            .contains("example"));
        assert!(discord_token("a.b-c.d_e").is_ok());
        assert!(discord_token("a.b").is_err() && discord_token("a..b").is_err());
    }

    #[test]
    fn paths_names_and_targets() {
        for (text, right) in [
            ("/hooks", true),
            ("/a/b", true),
            ("hooks", false),
            ("/hooks/", false),
            ("/", false),
            ("/api", false),
            ("/api/x", false),
            ("/apix", true),
            ("/webhook/telegram", false),
        ] {
            assert_eq!(hooks_path(text).is_ok(), right, "{text}");
        }
        for (text, right) in [
            ("telegram:1", true),
            ("last", true),
            ("last:main", true),
            ("x", false),
            (":1", false),
            ("telegram:", false),
        ] {
            assert_eq!(target(text).is_ok(), right, "{text}");
        }
        assert!(
            runner_name("local").is_err()
                && runner_name("A").is_err()
                && runner_name("node-1").is_ok()
        );
        assert!(timezone("Europe/Berlin").is_ok() && timezone("Mars/Base").is_err());
        assert!(model("a/b/c").is_ok() && model("a").is_err() && model("/b").is_err());
        assert!(
            menu_command("a_1").is_ok() && menu_command("A").is_err() && menu_command("").is_err()
        );
    }
}
