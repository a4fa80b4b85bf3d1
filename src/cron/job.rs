//! A job as the API, the command line, the store and the original's file write it (core.md 13, gateway-api.md 1.8).

use serde_json::{json, Map, Value};

use super::schedule::{problem, Kind, Written};
use crate::config::types;
use crate::message::Source;

pub use super::info::{JobInfo, RunInfo};

/// Longest task, characters.
pub const TASK: usize = 2000;
/// Most time that a run may be given, ms.
const LONGEST: u64 = 86_400_000;

/// What is to be done, when, and who hears of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// 1-64 of `A-Z a-z 0-9 - _`.
    pub id: String,
    pub schedule: Written,
    pub task: String,
    pub agent: Option<String>,
    /// The conversation it runs in; `None`: one of its own.
    pub session: Option<String>,
    pub mode: Mode,
    pub delivery: Delivery,
    /// Milliseconds; `None`: `delegation.timeoutMs`.
    pub timeout: Option<u64>,
    pub delete_after_run: bool,
    /// The result is also put into the agent's main session.
    pub notify_main: bool,
    pub enabled: bool,
    pub paused: bool,
    /// Where it was asked for by an agent; for WebChat `chat` is the conversation's key. Only in the store.
    pub origin: Option<Source>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Isolated,
    /// In the agent's main conversation.
    Main,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Isolated => "isolated",
            Mode::Main => "main",
        }
    }
}

/// Where the result goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    pub manner: Manner,
    /// A channel; `None` or `last`: that of the agent's last conversation.
    pub channel: Option<String>,
    /// A place of that channel.
    pub to: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Behind the job's name.
    #[default]
    Announce,
    /// As it is.
    Direct,
    Silent,
}

impl Manner {
    pub fn as_str(self) -> &'static str {
        match self {
            Manner::Announce => "announce",
            Manner::Direct => "direct",
            Manner::Silent => "silent",
        }
    }
    fn parse(word: &str) -> Option<Manner> {
        [Manner::Announce, Manner::Direct, Manner::Silent].into_iter().find(|m| m.as_str() == word)
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Paused,
    Disabled,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Paused => "paused",
            Standing::Disabled => "disabled",
        }
    }
}

pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A conversation's key as people may write it (gateway-api.md R23).
pub fn is_key(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.:@+%-".contains(&b);
    (1..=256).contains(&text.len()) && text.bytes().all(fine) && !text.contains("..")
}

impl Job {
    /// `Err`: the first thing that is wrong, in the words of the API.
    pub fn from_json(value: &Value) -> Result<Job, String> {
        let none = Map::new();
        let m = value.as_object().unwrap_or(&none);
        let id = m.get("id").and_then(Value::as_str).filter(|id| is_id(id));
        let id = id.ok_or("id: alphanumeric/hyphens/underscores, 1-64 chars")?;
        let mut job = Job {
            id: id.to_owned(),
            schedule: schedule(m.get("schedule"))?,
            task: String::new(),
            agent: text(m, "agentId")?,
            session: text(m, "sessionKey")?,
            mode: Mode::default(),
            delivery: Delivery::default(),
            timeout: None,
            delete_after_run: false,
            notify_main: false,
            enabled: flag(m, "enabled")?.unwrap_or(true),
            paused: flag(m, "paused")?.unwrap_or(false),
            origin: None,
        };
        let task = m.get("task").or_else(|| m.get("payload").and_then(|payload| payload.get("text")));
        job.task = self::task(task)?;
        if job.session.as_ref().is_some_and(|key| !is_key(key)) {
            return Err("sessionKey: not a session key (letters, digits and _.:@+%- only; no \"..\")".into());
        }
        job.change(m)?;
        Ok(job)
    }

    /// Takes over what an update names; `false`: it names nothing.
    pub fn update(&mut self, value: &Value) -> Result<bool, String> {
        let none = Map::new();
        let m = value.as_object().unwrap_or(&none);
        let mut new = self.clone();
        let given = |key: &str| m.get(key).filter(|value| !value.is_null());
        if let Some(value) = given("schedule") {
            new.schedule = schedule(Some(value))?;
        }
        if let Some(value) = given("task") {
            new.task = task(Some(value))?;
        }
        new.change(m)?;
        *self = new;
        const FIELDS: [&str; 7] = ["schedule", "task", "mode", "delivery", "deleteAfterRun", "timeoutMs", "notifyMain"];
        Ok(FIELDS.iter().any(|key| given(key).is_some()))
    }

    /// The members that a new job and an update have in common.
    fn change(&mut self, m: &Map<String, Value>) -> Result<(), String> {
        match m.get("mode").filter(|v| !v.is_null()).map(|v| v.as_str().unwrap_or_default()) {
            None => {}
            Some("isolated") => self.mode = Mode::Isolated,
            Some("main") => self.mode = Mode::Main,
            Some(_) => return Err("mode: must be \"isolated\" or \"main\"".into()),
        }
        if let Some(value) = m.get("delivery").filter(|v| !v.is_null()) {
            self.delivery = Delivery::from_json(value)?;
        }
        if let Some(value) = m.get("timeoutMs").filter(|v| !v.is_null()) {
            let ms = value.as_u64().filter(|ms| (1000..=LONGEST).contains(ms));
            self.timeout = Some(ms.ok_or("timeoutMs: must be a whole number, at least 1000 and at most a day")?);
        }
        self.delete_after_run = flag(m, "deleteAfterRun")?.unwrap_or(self.delete_after_run);
        self.notify_main = flag(m, "notifyMain")?.unwrap_or(self.notify_main);
        Ok(())
    }

    /// As it is on the wire, and in the store.
    pub fn to_json(&self) -> Value {
        let mut v = json!({"id": self.id, "schedule": self.schedule, "payload": {"text": self.task}});
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                v[key] = value;
            }
        };
        put("agentId", self.agent.as_ref().map(|a| json!(a)));
        put("sessionKey", self.session.as_ref().map(|s| json!(s)));
        put("mode", Some(json!(self.mode.as_str())));
        put("delivery", Some(self.delivery.to_json()));
        put("deleteAfterRun", self.delete_after_run.then(|| json!(true)));
        put("timeoutMs", self.timeout.map(|t| json!(t)));
        put("notifyMain", self.notify_main.then(|| json!(true)));
        put("enabled", (!self.enabled).then(|| json!(false)));
        put("paused", self.paused.then(|| json!(true)));
        v
    }

    /// As the store keeps it.
    pub fn to_stored(&self) -> String {
        let mut v = self.to_json();
        if let Some(origin) = &self.origin {
            v["origin"] = json!(origin);
        }
        v.to_string()
    }

    pub fn from_stored(text: &str) -> Result<Job, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let origin = value.get("origin").and_then(|origin| serde_json::from_str(&origin.to_string()).ok());
        Ok(Job { origin, ..Job::from_json(&value)? })
    }

    pub fn standing(&self) -> Standing {
        match (self.enabled, self.paused) {
            (false, _) => Standing::Disabled,
            (true, true) => Standing::Paused,
            (true, false) => Standing::Active,
        }
    }

    /// What the agent is asked.
    pub fn prompt(&self) -> String {
        format!(
            "[CRON:{}] {}\n\n(This is a scheduled task, and its time has come: do it now, do not only describe it. \
             Your answer is its result.)",
            self.id, self.task
        )
    }
}

impl From<&types::CronJob> for Job {
    fn from(j: &types::CronJob) -> Job {
        Job {
            id: j.id.clone(),
            schedule: (&j.schedule).into(),
            task: j.payload.text.clone(),
            agent: j.agent_id.clone(),
            session: j.session_key.clone(),
            mode: match j.mode {
                types::CronMode::Isolated => Mode::Isolated,
                types::CronMode::Main => Mode::Main,
            },
            delivery: Delivery {
                manner: match j.delivery.mode {
                    types::DeliveryMode::Announce => Manner::Announce,
                    types::DeliveryMode::Direct => Manner::Direct,
                    types::DeliveryMode::Silent => Manner::Silent,
                },
                channel: j.delivery.channel.clone(),
                to: j.delivery.to.clone(),
            },
            timeout: j.timeout.map(|t| t.as_millis() as u64),
            delete_after_run: j.delete_after_run,
            notify_main: j.notify_main,
            enabled: j.enabled,
            paused: j.paused,
            origin: None,
        }
    }
}

impl Delivery {
    fn from_json(value: &Value) -> Result<Delivery, String> {
        const WRONG: &str =
            "delivery: must be \"announce\", \"direct\" or \"silent\", or an object with mode, channel and to";
        let of = |word: Option<&str>| word.and_then(Manner::parse).ok_or(WRONG);
        let Some(m) = value.as_object() else {
            return Ok(Delivery { manner: of(value.as_str())?, ..Delivery::default() });
        };
        let manner = m.get("mode").map_or(Ok(Manner::default()), |mode| of(mode.as_str()))?;
        let text = |key| match m.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.trim().to_owned()).filter(|s| !s.is_empty())),
            Some(Value::Number(n)) => Ok(Some(n.to_string())),
            Some(_) => Err(WRONG),
        };
        let of = Delivery { manner, channel: text("channel")?, to: text("to")? };
        match (of.channel.as_deref(), &of.to) {
            (Some("webchat"), Some(to)) if !is_key(to) => Err("delivery.to: not a conversation of WebChat".into()),
            _ => Ok(of),
        }
    }

    pub fn to_json(&self) -> Value {
        let mode = self.manner.as_str();
        match (&self.channel, &self.to) {
            (None, None) => json!(mode),
            (channel, to) => json!({"mode": mode, "channel": channel, "to": to}),
        }
    }
}

fn schedule(value: Option<&Value>) -> Result<Written, String> {
    let m = value.and_then(Value::as_object).ok_or("schedule: required object with kind + expr")?;
    let kind = m.get("kind").and_then(Value::as_str).and_then(Kind::parse);
    let kind = kind.ok_or("schedule.kind: must be \"cron\", \"every\", or \"at\"")?;
    let expr = m.get("expr").and_then(Value::as_str).map(str::trim).filter(|expr| !expr.is_empty());
    let expr = expr.ok_or("schedule.expr: required string")?.to_owned();
    let timezone = match m.get("timezone") {
        None | Some(Value::Null) => None,
        Some(Value::String(zone)) => Some(zone.clone()).filter(|zone| !zone.is_empty()),
        Some(_) => return Err("schedule.timezone: must be a string".into()),
    };
    let written = Written { kind, expr, timezone };
    match problem(&written) {
        None => Ok(written),
        Some(why) if why.contains("time zone") => Err(format!("schedule.timezone: {why}")),
        Some(why) => Err(format!("schedule.expr: {why}")),
    }
}

fn task(value: Option<&Value>) -> Result<String, String> {
    let text = value.and_then(Value::as_str).map(str::trim);
    let text = text.filter(|text| !text.is_empty() && text.chars().count() <= TASK);
    Ok(text.ok_or("task: non-empty string, max 2000 chars")?.to_owned())
}

fn text(m: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match m.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone()).filter(|s| !s.is_empty())),
        Some(_) => Err(format!("{key} must be a string")),
    }
}

fn flag(m: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match m.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(_) => Err(format!("{key} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_wrong_is_said_in_the_words_of_the_api() {
        let every = json!({"kind": "every", "expr": "1h"});
        for (body, why) in [
            (json!([]), "id: alphanumeric/hyphens/underscores, 1-64 chars"),
            (json!({"id": "a b"}), "id: alphanumeric/hyphens/underscores, 1-64 chars"),
            (json!({"id": "x".repeat(65)}), "id: alphanumeric/hyphens/underscores, 1-64 chars"),
            (json!({"id": "a"}), "schedule: required object with kind + expr"),
            (json!({"id": "a", "schedule": "1h"}), "schedule: required object with kind + expr"),
            (json!({"id": "a", "schedule": {"kind": "x"}}), "schedule.kind: must be \"cron\", \"every\", or \"at\""),
            (json!({"id": "a", "schedule": {"kind": "at", "expr": " "}}), "schedule.expr: required string"),
            (json!({"id": "a", "schedule": {"kind": "every", "expr": "5s"}}), "schedule.expr: must be at least 10s"),
            (json!({"id": "a", "schedule": every}), "task: non-empty string, max 2000 chars"),
            (json!({"id": "a", "schedule": every, "task": "x".repeat(2001)}), "task: non-empty string, max 2000 chars"),
            (json!({"id": "a", "schedule": every, "task": "t", "mode": "x"}), "mode: must be \"isolated\" or \"main\""),
            (
                json!({"id": "a", "schedule": every, "task": "t", "timeoutMs": 5}),
                "timeoutMs: must be a whole number, at least 1000 and at most a day",
            ),
            (
                // A moment that long from now is none that a number holds.
                json!({"id": "a", "schedule": every, "task": "t", "timeoutMs": u64::MAX}),
                "timeoutMs: must be a whole number, at least 1000 and at most a day",
            ),
            (
                json!({"id": "a", "schedule": every, "task": "t", "delivery": {"channel": "webchat", "to": "a/b"}}),
                "delivery.to: not a conversation of WebChat",
            ),
            (
                json!({"id": "a", "schedule": every, "task": "t", "sessionKey": "a..b"}),
                "sessionKey: not a session key (letters, digits and _.:@+%- only; no \"..\")",
            ),
        ] {
            assert_eq!(Job::from_json(&body).unwrap_err(), why, "{body}");
        }
    }

    #[test]
    fn a_job_comes_back_as_it_was_written() {
        let body = json!({"id": "a-1", "schedule": {"kind": "cron", "expr": "0 9 * * *", "timezone": "Europe/Berlin"},
            "task": "look", "agentId": "coder", "mode": "main", "delivery": {"mode": "direct", "channel": "telegram", "to": -5},
            "deleteAfterRun": true, "timeoutMs": 5000, "notifyMain": true});
        let job = Job::from_json(&body).unwrap();
        assert_eq!(job.delivery.to.as_deref(), Some("-5"));
        assert_eq!(Job::from_json(&job.to_json()).unwrap(), job);
        let asked = Job { origin: Some(Source { channel: "telegram".into(), ..Source::default() }), ..job.clone() };
        assert_eq!(Job::from_stored(&asked.to_stored()).unwrap(), asked);
        assert_eq!(
            Job::from_json(&serde_json::from_str(&asked.to_stored()).unwrap()).unwrap(),
            job,
            "not from outside"
        );
        let mut changed = job.clone();
        assert_eq!(changed.update(&json!({"action": "update"})), Ok(false));
        assert_eq!(changed, job);
        assert_eq!(changed.update(&json!({"task": "see", "delivery": "silent", "mode": "isolated"})), Ok(true));
        assert_eq!(
            (changed.task.as_str(), changed.delivery.manner, changed.mode),
            ("see", Manner::Silent, Mode::Isolated)
        );
        assert!(changed.update(&json!({"task": "now", "schedule": {"kind": "every", "expr": "1s"}})).is_err());
        assert_eq!(changed.task, "see", "all of it or nothing");
    }
}
