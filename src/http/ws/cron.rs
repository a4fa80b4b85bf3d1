//! Methods about scheduled jobs (gateway-api.md 1.11, R69).

use serde_json::{json, Value};

use super::calls::Finish;
use super::methods::{Given, Session};
use crate::http::cron::{self, MOST_RUNS, RUNS};
use crate::http::fault::Fault;
use crate::http::json::Members;
use crate::message::{CronRequest, Request};

/// Names of these methods, for `features`.
pub const METHODS: [&str; 9] = [
    "cron.list",
    "cron.add",
    "cron.remove",
    "cron.pause",
    "cron.resume",
    "cron.run",
    "cron.update",
    "cron.runs",
    "cron.status",
];

impl Session {
    /// Serves a method of these; `None`: it is none.
    pub(super) fn cron_method(&self, id: &Value, method: &str, m: &Members) -> Option<Given> {
        let job = || {
            let job = m.text("id")?.filter(|id| !id.is_empty()).ok_or_else(|| Fault::invalid("id required"))?;
            Ok::<_, Fault>(job.to_owned())
        };
        let done = |value| Finish::Cron(value);
        let request = match method {
            "cron.list" => Ok((CronRequest::List, done(Value::Null))),
            "cron.status" => Ok((CronRequest::List, Finish::CronStatus)),
            "cron.add" => self.new_job(m).map(|request| (request, done(Value::Null))),
            "cron.remove" => job().map(|id| (CronRequest::Remove(id), done(json!({"ok": true})))),
            "cron.pause" => job().map(|id| (CronRequest::Pause(id), done(json!({"status": "paused"})))),
            "cron.resume" => job().map(|id| (CronRequest::Resume(id), done(json!({"status": "active"})))),
            "cron.run" => job().map(|id| (CronRequest::Run(id), done(json!({"message": "triggered"})))),
            "cron.update" => job().map(|id| (CronRequest::Update(id, m.all()), done(Value::Null))),
            "cron.runs" => job().and_then(|id| {
                let limit = m.number("limit")?.map_or(RUNS, |n| n.clamp(1, MOST_RUNS as u64) as usize);
                Ok((CronRequest::Runs { id, limit }, done(Value::Null)))
            }),
            _ if method.starts_with("cron.") => {
                let name: String = method.chars().take(64).collect();
                Err(Fault::new(404, "not_found", format!("Unknown method: {name}")))
            }
            _ => return None,
        };
        let request = cron::switched_on(&self.port).and(request);
        Some(request.and_then(|(request, finish)| self.ask(id, Request::Cron(Box::new(request)), finish, false)))
    }

    fn new_job(&self, m: &Members) -> Result<CronRequest, Fault> {
        if ["id", "schedule", "task"].iter().any(|key| m.get(key).is_none()) {
            return Err(Fault::invalid("id, schedule, and task required"));
        }
        let again = m.text("idempotencyKey")?.is_some();
        Ok(CronRequest::Add { job: cron::job(&m.all())?, by: None, again })
    }
}
