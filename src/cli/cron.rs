//! `pi-gw cron list|add|remove|pause|resume|run|runs|status`: scheduled jobs (core.md 13, config.md 10).
//!
//! Works on the store itself, with or without a gateway; one that runs is poked afterwards and goes by what it finds.
//! Only `run` needs it.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::Timestamp;
use serde_json::{json, Value};

use super::instance::{self, Instance};
use super::pairing::{carried_out, failed, needs, number, place, say, table, Failed, Place};
use super::{exit, Call, Io};
use crate::channels::telegram;
use crate::clock;
use crate::config::{self, Env};
use crate::cron::job::{Job, RunInfo, Standing};
use crate::cron::schedule::{Kind, Schedule};
use crate::gateway::settings;
use crate::message::Wall;
use crate::store::{Beside, Error, JobRow, Store};

/// Of a task in the list.
const SHOWN: usize = 30;
/// One request to the gateway.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(200);

/// A job as it is, with how it stands.
struct Known {
    job: Job,
    config: bool,
    row: Option<JobRow>,
    last: Option<RunInfo>,
}

fn error(place: &Place) -> impl Fn(Error) -> Failed + '_ {
    |e| failed(&place.paths, &e)
}

/// Jobs of the configuration and of the store; the configuration's hold.
fn known(place: &Place) -> Result<Vec<Known>, Failed> {
    let rows = match &place.store {
        Some(store) => store.cron_jobs().map_err(error(place))?,
        None => Vec::new(),
    };
    let last = |id: &str| match &place.store {
        Some(store) => Ok(store.cron_runs(id, 1).map_err(error(place))?.pop()),
        None => Ok::<_, Failed>(None),
    };
    let mut all = Vec::new();
    for job in place.config.cron.jobs.iter().map(Job::from) {
        let row = rows.iter().find(|row| row.id == job.id).cloned();
        all.push(Known { last: last(&job.id)?, job, config: true, row });
    }
    for row in rows {
        let Some(Ok(job)) = row.def.as_deref().map(Job::from_stored) else { continue };
        if !all.iter().any(|known| known.job.id == job.id) {
            all.push(Known { last: last(&job.id)?, job, config: false, row: Some(row) });
        }
    }
    all.sort_by(|a, b| a.job.id.cmp(&b.job.id));
    Ok(all)
}

/// A moment in local time.
pub(super) fn shown_time(at: Wall, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(zone.clone());
    at.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `pi-gw cron list`
pub fn list(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = place(call, env).and_then(|place| {
        let all = known(&place)?;
        off(&place, io);
        let zone = settings::zone(env);
        Ok(print_list(call, io, &all, &zone))
    });
    carried_out(io, done)
}

fn print_list(call: &Call, io: &mut Io<'_>, all: &[Known], zone: &TimeZone) -> io::Result<u8> {
    if call.has("--json") {
        let of = |k: &Known| {
            let mut v = k.job.to_json();
            v["status"] = json!(k.job.standing().as_str());
            v["source"] = json!(if k.config { "config" } else { "store" });
            v["nextRunAt"] = json!(k.row.as_ref().and_then(|row| row.next));
            v["lastRun"] = json!(k.last.as_ref().map(RunInfo::to_json));
            v
        };
        io.say(format_args!("{:#}", Value::from(all.iter().map(of).collect::<Vec<_>>())))?;
        return Ok(exit::OK);
    }
    if all.is_empty() {
        io.say("No scheduled jobs.")?;
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|k| {
            let s = &k.job.schedule;
            let flags = [
                (k.job.standing() != Standing::Active).then(|| k.job.standing().as_str()),
                k.config.then_some("config"),
                k.job.delete_after_run.then_some("once"),
                (k.job.mode.as_str() == "main").then_some("main"),
            ];
            let flags: Vec<&str> = flags.into_iter().flatten().collect();
            vec![
                k.job.id.clone(),
                format!("{}:{}", s.kind.as_str(), s.expr),
                k.row.as_ref().and_then(|row| row.next).map_or("-".into(), |at| shown_time(at, zone)),
                k.last.as_ref().map_or("-".into(), |run| run.status.clone()),
                k.job.delivery.manner.as_str().to_owned(),
                if flags.is_empty() { "-".into() } else { flags.join(",") },
                k.job.task.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect(),
            ]
        })
        .collect();
    table(io, &["id", "schedule", "next run", "last", "delivery", "flags", "task"], &rows)?;
    Ok(exit::OK)
}

/// Jobs that nobody runs are worth a word.
fn off(place: &Place, io: &mut Io<'_>) {
    if !place.config.cron.enabled {
        io.tell("cron.enabled is false in the configuration: no job runs");
    }
}

/// `pi-gw cron status`
pub fn status(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = place(call, env).and_then(|place| {
        let all = known(&place)?;
        off(&place, io);
        let of = |standing| all.iter().filter(|k| k.job.standing() == standing).count();
        let (active, paused, disabled) = (of(Standing::Active), of(Standing::Paused), of(Standing::Disabled));
        let total = all.len();
        let object = json!({"total": total, "active": active, "paused": paused, "disabled": disabled});
        let text = format!("{total} jobs: {active} active, {paused} paused, {disabled} disabled");
        Ok(say(call, io, text, object))
    });
    carried_out(io, done)
}

/// `pi-gw cron runs ID`
pub fn runs(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [id] = &call.arguments[..] else { return needs(call, io) };
    let limit = match number(call, io, "--limit", 20, 1) {
        Ok(n) => n as usize,
        Err(code) => return code,
    };
    let done = place(call, env).and_then(|place| {
        let all = match &place.store {
            Some(store) => store.cron_runs(id, limit).map_err(error(&place))?,
            None => Vec::new(),
        };
        let zone = settings::zone(env);
        Ok(print_runs(call, io, id, &all, &zone))
    });
    carried_out(io, done)
}

fn print_runs(call: &Call, io: &mut Io<'_>, id: &str, all: &[RunInfo], zone: &TimeZone) -> io::Result<u8> {
    if call.has("--json") {
        io.say(format_args!("{:#}", Value::from(all.iter().map(RunInfo::to_json).collect::<Vec<_>>())))?;
        return Ok(exit::OK);
    }
    if all.is_empty() {
        io.say(format_args!("No runs of {id} are known."))?;
        return Ok(exit::OK);
    }
    let line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect::<String>();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|r| {
            let took = r.finished.map_or("-".into(), |end| format!("{:.1} s", (end - r.started).max(0) as f64 / 1e3));
            let text = r.error.as_deref().or(r.preview.as_deref()).unwrap_or_default();
            let delivery = r.delivery.clone().unwrap_or_else(|| "-".into());
            vec![shown_time(r.started, zone), took, r.status.clone(), delivery, line(text)]
        })
        .collect();
    table(io, &["started", "took", "status", "delivery", "result"], &rows)?;
    Ok(exit::OK)
}

/// The job as the options describe it.
fn described(call: &Call, id: &str) -> Result<Job, String> {
    let expr = call.value("--schedule").unwrap_or_default();
    let kind = match call.value("--kind") {
        Some(word) => word.to_owned(),
        None => Kind::guess(expr).as_str().to_owned(),
    };
    let text = match call.value("--text") {
        Some("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|e| format!("standard input: {e}"))?;
            text
        }
        text => text.unwrap_or_default().to_owned(),
    };
    let timeout = match call.value("--timeout").map(str::parse::<u64>) {
        None => Value::Null,
        Some(Ok(ms)) => json!(ms),
        Some(Err(_)) => return Err("--timeout is a number of milliseconds".into()),
    };
    let delivery = json!({
        "mode": call.value("--delivery").unwrap_or("announce"), "channel": call.value("--channel"),
        "to": call.value("--to"),
    });
    Job::from_json(&json!({
        "id": id, "schedule": {"kind": kind, "expr": expr, "timezone": call.value("--tz")}, "task": text,
        "agentId": call.value("--agent"), "sessionKey": call.value("--session"),
        "mode": call.value("--mode").unwrap_or("isolated"), "delivery": delivery, "timeoutMs": timeout,
        "deleteAfterRun": call.has("--once"),
    }))
}

/// `pi-gw cron add ID`
pub fn add(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [id] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        let bad = |why: String| (exit::DATA, why);
        let job = described(call, id).map_err(bad)?;
        let agents = &place.config.agents.list;
        if let Some(agent) = job.agent.as_ref().filter(|a| !agents.is_empty() && !agents.iter().any(|l| l.id == **a)) {
            return Err(bad(format!("agentId: \"{agent}\" not found in agents.list")));
        }
        if let (Some(telegram::NAME), Some(to)) = (job.delivery.channel.as_deref(), &job.delivery.to) {
            let accounts: Vec<&str> = place.config.channels.telegram.accounts.keys().map(String::as_str).collect();
            telegram::target(to, &accounts).map_err(bad)?;
        }
        let (zone, now) = (settings::zone(env), clock::now().wall);
        let schedule = Schedule::parse(&job.schedule, &zone).map_err(bad)?;
        let mut next = Vec::new();
        let mut at = schedule.next(now, now);
        while let Some(due) = at.filter(|_| next.len() < 3) {
            next.push(due);
            at = if schedule.once() { None } else { schedule.next(now, due) };
        }
        if schedule.once() && next.iter().any(|due| *due <= now) {
            return Err(bad("schedule.expr: that time is over".into()));
        }
        if let Some(there) = known(&place)?.into_iter().find(|known| known.job.id == *id) {
            if there.config {
                return Err((exit::FAILED, in_file(id)));
            }
            if !call.has("--replace") {
                return Err((exit::FAILED, format!("job \"{id}\" already exists; --replace takes its place")));
            }
        }
        let row = JobRow::fresh(&job, &zone, now).map_err(bad)?;
        make_store(&mut place)?;
        let Some(store) = &mut place.store else { return Err((exit::FAILED, "there is no store".into())) };
        store.put_cron_job(&row).map_err(|e| failed(&place.paths, &e))?;
        off(&place, io);
        let runs = poke(&place, io);
        let mut object = job.to_json();
        object["next"] = json!(next);
        let shown: Vec<String> = next.iter().map(|at| shown_time(*at, &zone)).collect();
        let when = if runs { "" } else { " (no gateway runs now)" };
        Ok(say(call, io, format!("job {id} is due{when}:\n  {}", shown.join("\n  ")), object))
    });
    carried_out(io, done)
}

fn in_file(id: &str) -> String {
    format!("job \"{id}\" is set in the configuration file: change it there")
}

/// A store for the first job, before the gateway's first start.
fn make_store(place: &mut Place) -> Result<(), Failed> {
    if place.store.is_some() {
        return Ok(());
    }
    let path = place.paths.store();
    let dir = path.parent().unwrap_or(&path);
    config::files::create_dir(dir).map_err(|e| (exit::CANNOT_WRITE, format!("{}: {e}", dir.display())))?;
    Store::open(&path).and_then(Store::close).map_err(error(place))?;
    place.store = Beside::open(&path).map_err(error(place))?;
    Ok(())
}

/// The running gateway looks at the store again; false: none runs.
fn poke(place: &Place, io: &mut Io<'_>) -> bool {
    instance::poke(&place.paths.pid_file()).unwrap_or_else(|(_, why)| {
        io.tell(format_args!("it is stored, but the gateway could not be told: {why}"));
        false
    })
}

/// `pi-gw cron remove ID`
pub fn remove(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    change(call, env, io, "removed", |store, job, _| store.remove_cron_job(&job.id).map(|_| ()))
}

/// `pi-gw cron pause ID`
pub fn pause(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    set_paused(call, env, io, true)
}

/// `pi-gw cron resume ID`
pub fn resume(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    set_paused(call, env, io, false)
}

fn set_paused(call: &Call, env: &Env, io: &mut Io<'_>, paused: bool) -> u8 {
    let word = if paused { "paused" } else { "active" };
    change(call, env, io, word, |store, job, _| {
        let job = Job { paused, ..job.clone() };
        store.define_cron_job(&job.id, &job.to_stored())
    })
}

fn change(
    call: &Call,
    env: &Env,
    io: &mut Io<'_>,
    word: &str,
    make: impl Fn(&mut Beside, &Job, &TimeZone) -> Result<(), Error>,
) -> u8 {
    let [id] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        let there = known(&place)?.into_iter().find(|known| known.job.id == *id);
        let there = there.ok_or_else(|| (exit::FAILED, format!("there is no job \"{id}\"")))?;
        if there.config {
            return Err((exit::FAILED, in_file(id)));
        }
        if let Some(store) = &mut place.store {
            make(store, &there.job, &settings::zone(env)).map_err(|e| failed(&place.paths, &e))?;
        }
        poke(&place, io);
        Ok(say(call, io, format!("job {id}: {word}"), json!({"ok": true, "id": id, "status": word})))
    });
    carried_out(io, done)
}

/// `pi-gw cron run ID`: by the running gateway.
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [id] = &call.arguments[..] else { return needs(call, io) };
    if !crate::cron::job::is_id(id) {
        io.tell(format_args!("there is no job \"{id}\""));
        return exit::FAILED;
    }
    let done = place(call, env).and_then(|place| {
        let before = newest(&place, id)?;
        let path = format!("/api/cron/jobs/{id}/run");
        let (status, body) = request(&place, "POST", &path)?;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        match status {
            200 => {}
            401 => return Err((exit::PERMISSION, format!("the gateway: {}", instance::REFUSED))),
            404 | 409 => return Err((exit::FAILED, body["error"].as_str().unwrap_or("refused").to_owned())),
            _ => return Err((exit::UNAVAILABLE, format!("the gateway answered {status}: {}", body["error"]))),
        }
        if !call.has("--wait") {
            return Ok(say(call, io, format!("job {id} begins"), json!({"ok": true, "id": id})));
        }
        let begun = Instant::now();
        let run = loop {
            match newest(&place, id)?.filter(|run| before.as_ref().map(|b| b.due) != Some(run.due)) {
                Some(run) if run.finished.is_some() => break run,
                _ if begun.elapsed() > Duration::from_secs(86_400) => {
                    return Err((exit::TEMPORARY, "it has not ended within a day".into()));
                }
                _ => std::thread::sleep(LOOK),
            }
        };
        let text = run.preview.clone().unwrap_or_default();
        let said = say(call, io, text, run.to_json());
        match run.status.as_str() {
            "completed" => Ok(said),
            status => Err((exit::FAILED, format!("{status}: {}", run.error.unwrap_or_default()))),
        }
    });
    carried_out(io, done)
}

/// The run that began last.
fn newest(place: &Place, id: &str) -> Result<Option<RunInfo>, Failed> {
    match &place.store {
        Some(store) => Ok(store.cron_runs(id, 100).map_err(error(place))?.into_iter().max_by_key(|r| r.due)),
        None => Ok(None),
    }
}

fn request(place: &Place, method: &str, path: &str) -> Result<(u16, String), Failed> {
    let none = || {
        (exit::UNAVAILABLE, "no gateway is running on this data directory; start one with: pi-gw gateway".to_owned())
    };
    let found = instance::find(&place.paths.pid_file());
    let Ok(Instance::Running { url, .. }) = found else { return Err(none()) };
    let at = instance::reachable(&url).ok_or_else(none)?;
    let secret = instance::secret(&place.config, &place.paths, at);
    instance::ask(at, method, path, secret.as_ref().map(|s| s.expose()), ANSWER)
        .map_err(|e| (exit::UNAVAILABLE, format!("the gateway does not answer at {url}: {e}")))
}
