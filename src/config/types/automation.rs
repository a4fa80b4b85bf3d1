//! `cron` and `heartbeat`: what the gateway starts by itself.

use std::time::Duration;

use serde_json::{json, Value};

use crate::config::forms::{self, TimeOfDay};
use crate::config::node::{Kind, Node};
use crate::config::reader::{section, show, word_of, Reader};
use crate::config::reload::{Class, H};
use crate::config::words::words;

section! {
    /// Scheduled jobs.
    pub struct Cron {
        pub enabled: bool = flag(H, "enabled", false);
        /// Jobs running at the same time.
        pub max_concurrent: u32 = int(H, "maxConcurrent", 1, 1..=10);
        pub jobs: Vec<CronJob> = items("jobs", CronJob::read);
    }
}

section! {
    /// A job of the file; read-only for everyone else.
    pub struct CronJob {
        pub id: String = required(H, "id", forms::job_id);
        pub schedule: Schedule = object("schedule", Schedule::read);
        pub payload: CronPayload = object("payload", CronPayload::read);
        pub mode: CronMode = word(H, "mode", CronMode::Isolated);
        pub delivery: CronDelivery = cron_delivery(H, "delivery");
        pub agent_id: Option<String> = opt_text(H, "agentId");
        pub session_key: Option<String> = opt_text(H, "sessionKey");
        /// Default: `delegation.timeoutMs`.
        pub timeout: Option<Duration> = opt_millis(H, "timeoutMs", 1_000..=86_400_000);
        pub delete_after_run: bool = flag(H, "deleteAfterRun", false);
        pub enabled: bool = flag(H, "enabled", true);
        pub paused: bool = flag(H, "paused", false);
        /// Put the result into the agent's main session and wake the heartbeat.
        pub notify_main: bool = flag(H, "notifyMain", false);
    }
}

section! {
    /// When a job runs.
    pub struct Schedule {
        pub kind: ScheduleKind = word(H, "kind", ScheduleKind::Cron);
        pub expr: String = required(H, "expr", forms::non_empty);
        /// IANA name; default: the system's.
        pub timezone: Option<String> = opt_parsed(H, "timezone", forms::timezone);
    }
}

section! {
    /// What a job asks for.
    pub struct CronPayload {
        /// 1-2000 characters.
        pub text: String = required(H, "text", forms::job_text);
    }
}

/// Where a job's result goes.
#[derive(Clone, Debug, PartialEq)]
pub struct CronDelivery {
    pub mode: DeliveryMode,
    /// A channel, or `last`.
    pub channel: Option<String>,
    /// A target within the channel.
    pub to: Option<String>,
}

section! {
    /// Regular wake-ups of an agent.
    pub struct Heartbeat {
        pub enabled: bool = flag(H, "enabled", false);
        pub every: Duration = parsed(H, "every", "30m", forms::heartbeat_interval);
        /// `None` = always.
        pub active_hours: Option<ActiveHours> = opt_object("activeHours", ActiveHours::read);
        /// `None` = the built-in prompt.
        pub prompt: Option<String> = opt_text(H, "prompt");
        /// What is left after removing the token is not delivered up to this many characters.
        pub ack_max_chars: usize = int(H, "ackMaxChars", 300, 0..=1000);
        pub skip_when_busy: bool = flag(H, "skipWhenBusy", true);
        /// Of runs that find the session busy.
        pub max_retries: u32 = int(H, "maxRetries", 3, 0..=10);
        pub retry_delay: Duration = millis(H, "retryDelayMs", 5_000, 100..=60_000);
        /// Inactivity limit of a heartbeat turn.
        pub message_timeout: Duration = millis(H, "messageTimeoutMs", 60_000, 1_000..=600_000);
        /// Run on a copy of the session that is kept only if something was delivered.
        pub isolate: bool = flag(H, "isolate", true);
    }
}

section! {
    /// A daily window; may cross midnight.
    pub struct ActiveHours {
        pub start: TimeOfDay = parsed(H, "start", "00:00", TimeOfDay::parse);
        pub end: TimeOfDay = parsed(H, "end", "24:00", TimeOfDay::parse_end);
        /// IANA name; default: the system's.
        pub timezone: Option<String> = opt_parsed(H, "timezone", forms::timezone);
    }
}

words! {
    /// Kind of a schedule.
    pub enum ScheduleKind { Cron = "cron", At = "at", Every = "every" }
}

words! {
    /// Where a job runs.
    pub enum CronMode { Isolated = "isolated", Main = "main" }
}

words! {
    /// How a job's result is sent.
    pub enum DeliveryMode { Announce = "announce", Direct = "direct", Silent = "silent" }
}

impl Reader<'_> {
    fn cron_delivery(&self, class: Class, name: &'static str) -> CronDelivery {
        let of = |mode| CronDelivery { mode, channel: None, to: None };
        self.pass.know(&self.path, name, Some(class));
        let written = self.node.and_then(|node| node.get(name));
        if let Some(Node { kind: Kind::Object(_), .. }) = written {
            return self.object(name, |r| CronDelivery {
                mode: r.word(class, "mode", DeliveryMode::Announce),
                channel: r.opt_text(class, "channel"),
                to: r.opt_parsed(class, "to", forms::non_empty),
            });
        }
        self.custom(class, name, (of(DeliveryMode::Announce), json!("announce")), |node| match node.text() {
            Some(_) => word_of(name, node).map(of),
            None => Err(format!("must be a word or an object, found {}", show(name, node))),
        })
    }
}

impl CronDelivery {
    /// As in the file.
    pub fn to_json(&self) -> Value {
        json!({"mode": self.mode.as_str(), "channel": self.channel, "to": self.to})
    }
}
