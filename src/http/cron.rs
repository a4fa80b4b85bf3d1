//! Scheduled jobs over the API (gateway-api.md 1.8). What a job may be is said by `cron::job`, what becomes of it by the
//! mind. Errors have `ok: false` beside the usual members.

use serde_json::{json, Value};

use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::json::{idempotency_key, parse};
use super::paging;
use super::port::Port;
use crate::cron::job::{Job, JobInfo, RunInfo, Standing};
use crate::message::{Answer, CronAnswer, CronRequest, Request};

/// Runs that are shown if nobody says how many.
pub const RUNS: usize = 20;
/// The most.
pub const MOST_RUNS: usize = 100;

/// What a request is answered, without `ok`; `done`: if there is nothing else to say.
pub fn shown(answer: CronAnswer, done: &Value) -> Value {
    match answer {
        CronAnswer::Jobs(jobs) => json!({"jobs": jobs.iter().map(JobInfo::to_json).collect::<Vec<_>>()}),
        CronAnswer::Job(job) => json!({"job": job.to_json()}),
        CronAnswer::Runs(runs) => json!({"runs": runs.iter().map(RunInfo::to_json).collect::<Vec<_>>()}),
        CronAnswer::Done => done.clone(),
    }
}

/// How many jobs there are.
pub fn counted(answer: &CronAnswer) -> Value {
    let jobs: &[JobInfo] = match answer {
        CronAnswer::Jobs(jobs) => jobs,
        _ => &[],
    };
    let of = |standing| jobs.iter().filter(|j| j.job.standing() == standing).count();
    json!({
        "total": jobs.len(), "active": of(Standing::Active), "paused": of(Standing::Paused),
        "disabled": of(Standing::Disabled),
    })
}

/// A job of a client, or what is wrong with it.
pub fn job(value: &Value) -> Result<Box<Job>, Fault> {
    Job::from_json(value).map(Box::new).map_err(Fault::invalid)
}

/// Refused as a whole where cron is off: that comes first.
pub fn switched_on(port: &Port) -> Result<(), Fault> {
    match port.settings.get().cron {
        true => Ok(()),
        false => Err(Fault::new(404, "not_found", "Cron not enabled")),
    }
}

fn ask(port: &Port, request: CronRequest) -> Result<CronAnswer, Fault> {
    switched_on(port)?;
    match port.mind.ask(Request::Cron(Box::new(request)), port.settings.get().times.accept) {
        Answer::Cron(answer) => Ok(*answer),
        other => Err(Fault::from_answer(other)),
    }
}

/// `{ok: true, …}`, or the refusal with `ok: false`.
fn answered(call: &Call, value: Result<Value, Fault>) -> Handled {
    match value {
        Ok(value) => {
            let mut body = json!({"ok": true});
            if let (Some(body), Value::Object(value)) = (body.as_object_mut(), value) {
                body.extend(value);
            }
            Ok(Reply::json(&body))
        }
        Err(fault) => Ok(Reply::fault_with(&fault, call, "ok", json!(false))),
    }
}

fn body(call: &Call) -> Result<Value, Fault> {
    parse(&call.body).map_err(|_| Fault::invalid("invalid JSON"))
}

fn simple(port: &Port, ex: &mut dyn Exchange, request: impl Fn(String) -> CronRequest, done: Value) -> Handled {
    let call = ex.call();
    let id = call.args.first().cloned().unwrap_or_default();
    answered(call, ask(port, request(id)).map(|answer| shown(answer, &done)))
}

/// GET `/api/cron/jobs`
pub fn list(port: &Port, ex: &mut dyn Exchange) -> Handled {
    simple(port, ex, |_| CronRequest::List, Value::Null)
}

/// GET `/api/cron/status`
pub fn status(port: &Port, ex: &mut dyn Exchange) -> Handled {
    answered(ex.call(), ask(port, CronRequest::List).map(|answer| counted(&answer)))
}

/// POST `/api/cron/jobs`: 201. With an idempotency key the same job again is none that exists already.
pub fn add(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let by = match call.access {
        Access::Pi(proc) => Some(proc),
        _ => None,
    };
    let done = switched_on(port).and_then(|()| body(call)).and_then(|value| {
        let key = call.head.field("idempotency-key").or_else(|| value.get("idempotencyKey")?.as_str());
        let again = key.map(idempotency_key).transpose()?.is_some();
        ask(port, CronRequest::Add { job: job(&value)?, by, again }).map(|answer| shown(answer, &Value::Null))
    });
    let status = if done.is_ok() { 201 } else { 0 };
    answered(call, done).map(|reply| if status > 0 { reply.status(status) } else { reply })
}

/// DELETE `/api/cron/jobs/{id}`
pub fn remove(port: &Port, ex: &mut dyn Exchange) -> Handled {
    simple(port, ex, CronRequest::Remove, json!({}))
}

/// POST `/api/cron/jobs/{id}/run`: does not wait.
pub fn run(port: &Port, ex: &mut dyn Exchange) -> Handled {
    simple(port, ex, CronRequest::Run, json!({"message": "triggered"}))
}

/// PATCH `/api/cron/jobs/{id}`
pub fn patch(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let id = call.args.first().cloned().unwrap_or_default();
    let done = switched_on(port).and_then(|()| body(call)).and_then(|value| {
        let (request, done) = match value.get("action").and_then(Value::as_str) {
            Some("pause") => (CronRequest::Pause(id), json!({"status": "paused"})),
            Some("resume") => (CronRequest::Resume(id), json!({"status": "active"})),
            Some("update") => (CronRequest::Update(id, value), Value::Null),
            _ => return Err(Fault::invalid("action: must be \"pause\", \"resume\", or \"update\"")),
        };
        ask(port, request).map(|answer| shown(answer, &done))
    });
    answered(call, done)
}

/// GET `/api/cron/jobs/{id}/runs`
pub fn runs(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let id = call.args.first().cloned().unwrap_or_default();
    let done = paging::number(&call.head, "limit").and_then(|limit| {
        let limit = limit.map_or(RUNS, |n| n.clamp(1, MOST_RUNS as u64) as usize);
        ask(port, CronRequest::Runs { id, limit }).map(|answer| shown(answer, &Value::Null))
    });
    answered(call, done)
}
