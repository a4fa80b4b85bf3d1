//! The forms that text values must have: one function per form, each giving the value or what is wrong.

mod ids;
mod net;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::env::Env;
use super::issue::Severity;
use super::reader::Reader;
use super::reload::C;

pub(crate) use ids::*;
pub use net::ProxySetting;
pub(crate) use net::*;

type Form<T = String> = Result<T, String>;

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    Value::from(short).to_string()
}

/// Whether every byte is an ASCII letter, a digit or one of `more`.
fn made_of(text: &str, more: &[u8]) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
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
            (digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse::<u16>().ok())
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

/// `provider/modelId`.
pub(crate) fn model(text: &str) -> Form {
    match text.split_once('/') {
        Some((provider, id)) if !provider.is_empty() && !id.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("must be provider/modelId, found {}", quoted(text))),
    }
}

pub(crate) fn runner_name(text: &str) -> Form {
    let right = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match right && text != "local" {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1-32 characters of a-z 0-9 - and not \"local\", found {}", quoted(text))),
    }
}

pub(crate) fn agent_id(text: &str) -> Form {
    match !text.is_empty() && made_of(text, b"_-") {
        true => Ok(text.to_owned()),
        false => Err(format!("must be made of A-Z a-z 0-9 _ -, found {}", quoted(text))),
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
    const TAKEN: [&str; 8] = ["/api", "/web", "/webhook", "/v1", "/health", "/metrics", "/login", "/logout"];
    let below = |root: &&&str| text == **root || text.strip_prefix(**root).is_some_and(|rest| rest.starts_with('/'));
    if !text.starts_with('/') || text.ends_with('/') {
        Err(format!("must start with \"/\" and not end with it, found {}", quoted(text)))
    } else if let Some(root) = TAKEN.iter().find(below) {
        Err(format!("must not be below {root}, which the gateway uses itself"))
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
            format!("must be a path that starts with \"/\", found {}", quoted(&path)),
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
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match right {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1-32 characters of a-z 0-9 _, found {}", quoted(text))),
    }
}

pub(crate) fn menu_description(text: &str) -> Form {
    match (1..=256).contains(&text.chars().count()) {
        true => Ok(text.to_owned()),
        false => Err("must be 1-256 characters".into()),
    }
}

/// Longest duration that is taken, seconds: a hundred years, which fit into every number of milliseconds.
const LONGEST: u64 = 36_500 * 86_400;

/// `<n>(s|m|h|d)`, at most `36500d`.
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
    let number: u64 = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())??;
    number.checked_mul(seconds).filter(|s| *s <= LONGEST).map(Duration::from_secs)
}

pub(crate) fn heartbeat_interval(text: &str) -> Form<Duration> {
    match duration(text) {
        Some(every) if every >= Duration::from_secs(60) => Ok(every),
        Some(_) => Err(format!("must be at least 1m, found {}", quoted(text))),
        None => {
            Err(format!("must be a number with s, m, h or d, such as \"30m\" (at most 36500d), found {}", quoted(text)))
        }
    }
}

/// An IANA time zone name. Without any zone data on the machine every name passes.
pub(crate) fn timezone(text: &str) -> Form {
    let db = jiff::tz::db();
    match db.is_definitively_empty() || db.get(text).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(format!("unknown time zone {} (names look like \"Europe/Berlin\")", quoted(text))),
    }
}

/// A target of `pi-gw send`. Only its outer form: the channels know the rest.
pub(crate) fn target(text: &str) -> Form {
    let text = text.trim();
    let right = text == "last"
        || text
            .split_once(':')
            .is_some_and(|(channel, rest)| !channel.is_empty() && made_of(channel, b"_-") && !rest.trim().is_empty());
    match right {
        true => Ok(text.to_owned()),
        false => Err(format!("must be a target such as telegram:123456 or last, found {}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (text, minutes) in [("00:00", 0), ("8:05", 485), ("23:59", 1439)] {
            assert_eq!(TimeOfDay::parse(text), Ok(TimeOfDay(minutes)), "{text}");
        }
        for text in ["24:00", "8", "8:5", "08:60", "-1:00", "+8:00", "", "ab:cd", "008:00"] {
            assert!(TimeOfDay::parse(text).is_err(), "{text}");
        }
        assert_eq!(TimeOfDay::parse_end("24:00"), Ok(TimeOfDay(1440)));
        assert!(TimeOfDay::parse_end("24:01").is_err());
    }

    #[test]
    fn durations() {
        for (text, seconds) in
            [("30m", 1800), ("90s", 90), ("2h", 7200), ("1d", 86400), ("5 m", 300), ("36500d", LONGEST)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "30", "30ms", "-5m", "+5m", "1.5h", "99999999999999999999d", "36501d", "1w", "5µ"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert!(heartbeat_interval("59s").is_err() && heartbeat_interval("60s").is_ok());
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
        assert!(runner_name("local").is_err() && runner_name("A").is_err() && runner_name("node-1").is_ok());
        assert!(timezone("Europe/Berlin").is_ok() && timezone("Mars/Base").is_err());
        assert!(model("a/b/c").is_ok() && model("a").is_err() && model("/b").is_err());
        assert!(menu_command("a_1").is_ok() && menu_command("A").is_err() && menu_command("").is_err());
    }
}
