//! Jobs and runs as the API shows them (gateway-api.md 1.8).

use serde_json::{json, Value};

use super::job::Job;
use crate::message::Wall;

/// One run, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInfo {
    pub job: String,
    pub due: Wall,
    pub started: Wall,
    /// `None`: it is not over.
    pub finished: Option<Wall>,
    /// `running`, `completed`, `timeout`, `error`, `skipped`, `missed`.
    pub status: String,
    pub preview: Option<String>,
    pub error: Option<String>,
    /// `sent`, `none`, `by agent`, `undeliverable`.
    pub delivery: Option<String>,
}

impl RunInfo {
    pub fn to_json(&self) -> Value {
        let mut v = json!({"jobId": self.job, "startedAt": self.started});
        if let Some(finished) = self.finished {
            v["finishedAt"] = json!(finished);
            v["durationMs"] = json!((finished - self.started).max(0));
        }
        v["status"] = json!(self.status);
        for (key, value) in
            [("resultPreview", &self.preview), ("error", &self.error), ("deliveryStatus", &self.delivery)]
        {
            if let Some(value) = value {
                v[key] = json!(value);
            }
        }
        v
    }
}

/// A job with how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JobInfo {
    pub job: Job,
    /// Of the configuration file: read-only.
    pub config: bool,
    pub next: Option<Wall>,
    pub last: Option<RunInfo>,
}

impl JobInfo {
    pub fn to_json(&self) -> Value {
        let mut v = self.job.to_json();
        v["status"] = json!(self.job.standing().as_str());
        v["source"] = json!(if self.config { "config" } else { "store" });
        v["nextRunAt"] = json!(self.next);
        v["lastRun"] = json!(self.last.as_ref().map(RunInfo::to_json));
        v
    }
}
