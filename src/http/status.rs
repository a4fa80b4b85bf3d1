//! Health, metrics, the pool and the sessions (gateway-api.md 1.3, 1.4, R59, R60, R77).

use std::fmt::Write;

use serde_json::{json, Value};

use crate::message::{Answer, Request, SessionInfo, Snapshot};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::wall;
use super::json::{session_key, Members};
use super::logins::hash;
use super::meter::{rss_kb, BOUNDS};
use super::paging::{self, Page};
use super::port::Port;
use super::{agent, channels, page, shapes};

/// `/health`: counts for everybody nearby, names only for those with the key (R59).
pub fn health(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let (full, counts) = (call.access.granted(), call.access.granted() || call.peer.local);
    let (status, body) = health_body(port, full, counts);
    Ok(Reply::json(&body).status(status))
}

/// Status and body of the health answer; the WebSocket method uses it too.
pub fn health_body(port: &Port, full: bool, counts: bool) -> (u16, Value) {
    let s = port.settings.get();
    let snapshot = port.snapshot();
    let draining = port.draining() || snapshot.as_ref().is_some_and(|s| s.draining);
    let mut problems = snapshot.as_ref().map(|s| s.problems.clone()).unwrap_or_default();
    problems.extend(channels::problems(port));
    if snapshot.is_none() {
        problems.push("The core does not answer".into());
    }
    let (code, word) = match () {
        () if draining => (503, "draining"),
        () if problems.is_empty() && s.config_error.is_none() => (200, "ok"),
        () => (200, "degraded"),
    };
    let mut body = json!({"status": word, "uptime": port.started.elapsed().as_secs_f64()});
    if counts {
        let none = Snapshot::default();
        let snapshot = snapshot.as_deref().unwrap_or(&none);
        body["pool"] = shapes::pool(snapshot);
        body["queue"] = shapes::queue(snapshot, port.history.rate(), full);
        body["sessions"] = json!(snapshot.sessions);
        body["channels"] = json!(channels::ids(port));
    }
    body["version"] = json!(s.version);
    if full {
        body["problems"] = json!(problems);
        body["configError"] = json!(s.config_error);
        if !s.restart_needed.is_empty() {
            body["restartNeeded"] = json!(s.restart_needed);
        }
    }
    (code, body)
}

pub fn live(_: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&json!({"status": "ok"})))
}

pub fn ready(port: &Port, _: &mut dyn Exchange) -> Handled {
    let (code, word) = match port.snapshot() {
        _ if port.draining() => (503, "draining"),
        Some(s) if s.draining => (503, "draining"),
        Some(_) => (200, "ok"),
        None => (503, "starting"),
    };
    Ok(Reply::json(&json!({"status": word})).status(code))
}

fn snapshot(port: &Port) -> Result<std::sync::Arc<Snapshot>, Fault> {
    port.snapshot().ok_or_else(|| Fault::busy("The core does not answer; try again in a moment"))
}

/// One sample.
fn sample(port: &Port, s: &Snapshot) -> Value {
    let pending: usize = s.queues.iter().map(|q| q.1).sum();
    let mb = (rss_kb(None) as f64 / 1024.0 * 100.0).round() / 100.0;
    json!({
        "timestamp": wall(), "pool": shapes::pool(s),
        "queue": {"sessions": s.queues.len(), "totalPending": pending},
        "sessions": {"activeCount": s.queues.iter().filter(|q| q.2).count()},
        "system": {"gatewayRssMb": mb, "uptimeMs": port.started.elapsed().as_millis() as u64},
    })
}

pub fn metrics(port: &Port, _: &mut dyn Exchange) -> Handled {
    let s = snapshot(port)?;
    let now = sample(port, &s);
    let history = port.history.put(now.clone());
    let (c, d) = (&s.counters, &s.delegation);
    let ([p50, p95, p99], count) = port.meter.figures().percentiles();
    let children = s.procs.iter().map(|p| {
        let mb = (rss_kb(Some(p.pid)) as f64 / 1024.0 * 100.0).round() / 100.0;
        json!({"pid": p.pid, "rssMb": mb, "timestamp": wall()})
    });
    let mut pool = shapes::pool(&s);
    pool["min"] = json!(s.pool_min);
    pool["max"] = json!(s.pool_max);
    let body = json!({
        "timestamp": wall(), "current": now,
        "counters": {
            "processSpawns": c.spawns, "processKills": c.kills, "processCrashes": c.crashes,
            "rpcTimeouts": c.rpc_timeouts, "queueDrops": c.queue_drops, "poolCapacityRejects": c.rejected,
            "messagesProcessed": c.answered, "errorsTotal": c.errors,
        },
        "latency": {"p50": p50, "p95": p95, "p99": p99, "count": count},
        "rpcProcesses": children.collect::<Vec<_>>(),
        "history": history,
        "delegation": {
            "delegationCount": d.count, "success": d.success, "timeout": d.timeout, "error": d.error,
            "rejected": d.rejected, "poolExhausted": d.pool_exhausted, "avgDurationMs": d.average_ms,
            "p95DurationMs": d.p95_ms, "activeDelegations": d.active,
        },
        "pool": pool, "queue": shapes::queue(&s, port.history.rate(), true),
    });
    let text = serde_json::to_vec_pretty(&body).map_err(|e| Fault::new(500, "internal", e.to_string()))?;
    Ok(Reply::new(200).with("Content-Type", "application/json").with("Cache-Control", "no-cache").body(text))
}

pub fn prometheus(port: &Port, _: &mut dyn Exchange) -> Handled {
    let mut out = String::new();
    text(port, &mut out).map_err(|_| Fault::new(500, "internal", "formatting failed"))?;
    Ok(Reply::new(200).with("Content-Type", "text/plain; version=0.0.4; charset=utf-8").body(out.into_bytes()))
}

fn text(port: &Port, o: &mut String) -> std::fmt::Result {
    let gauge = |o: &mut String, name: &str, value: f64| writeln!(o, "# TYPE pigw_{name} gauge\npigw_{name} {value}");
    let counter = |o: &mut String, name: &str| writeln!(o, "# TYPE pigw_{name} counter");
    gauge(o, "uptime_seconds", port.started.elapsed().as_secs_f64())?;
    gauge(o, "rss_bytes", rss_kb(None) as f64 * 1024.0)?;
    gauge(o, "ws_connections", port.hub.connections() as f64)?;
    if let Some(s) = port.snapshot() {
        let idle = s.procs.iter().filter(|p| p.session.is_none()).count();
        writeln!(o, "# TYPE pigw_pool_processes gauge")?;
        writeln!(o, "pigw_pool_processes{{state=\"idle\"}} {idle}")?;
        writeln!(o, "pigw_pool_processes{{state=\"active\"}} {}", s.procs.len() - idle)?;
        gauge(o, "queue_pending", s.queues.iter().map(|q| q.1).sum::<usize>() as f64)?;
        gauge(o, "outbox_oldest_seconds", s.outbox_oldest_ms as f64 / 1000.0)?;
        writeln!(o, "# TYPE pigw_outbox_rows gauge\npigw_outbox_rows{{state=\"ready\"}} {}", s.outbox_ready)?;
        let resident: u64 = s.procs.iter().map(|p| rss_kb(Some(p.pid))).sum();
        gauge(o, "child_rss_bytes", resident as f64 * 1024.0)?;
        let c = &s.counters;
        counter(o, "messages_total")?;
        for (channel, n) in &c.channels {
            writeln!(o, "pigw_messages_total{{channel=\"{channel}\"}} {n}")?;
        }
        counter(o, "message_outcomes_total")?;
        for (outcome, n) in [("answered", c.answered), ("failed", c.failed), ("duplicate", c.duplicates)] {
            writeln!(o, "pigw_message_outcomes_total{{outcome=\"{outcome}\"}} {n}")?;
        }
        counter(o, "errors_total")?;
        let kinds = [("crash", c.crashes), ("rpc_timeout", c.rpc_timeouts), ("queue_drop", c.queue_drops)];
        for (kind, n) in kinds.into_iter().chain([("pool_reject", c.rejected)]) {
            writeln!(o, "pigw_errors_total{{kind=\"{kind}\"}} {n}")?;
        }
        let d = &s.delegation;
        counter(o, "delegations_total")?;
        let ends = [("success", d.success), ("timeout", d.timeout), ("error", d.error), ("rejected", d.rejected)];
        for (outcome, n) in ends {
            writeln!(o, "pigw_delegations_total{{outcome=\"{outcome}\"}} {n}")?;
        }
        gauge(o, "delegations_active", d.active as f64)?;
    }
    for (name, rises, value) in port.mailbox.figures() {
        match rises {
            true => {
                counter(o, name)?;
                writeln!(o, "pigw_{name} {value}")?;
            }
            false => gauge(o, name, value)?,
        }
    }
    channels::metrics(port, o)?;
    let f = port.meter.figures();
    counter(o, "events_total")?;
    writeln!(o, "pigw_events_total {}", f.events)?;
    counter(o, "ws_dropped_total")?;
    for reason in super::meter::REASONS {
        let n = f.dropped.get(reason).copied().unwrap_or(0);
        writeln!(o, "pigw_ws_dropped_total{{reason=\"{reason}\"}} {n}")?;
    }
    counter(o, "http_requests_total")?;
    for ((route, method, code), (n, _)) in &f.requests {
        writeln!(o, "pigw_http_requests_total{{route=\"{route}\",method=\"{method}\",code=\"{code}\"}} {n}")?;
    }
    writeln!(o, "# TYPE pigw_http_request_duration_seconds summary")?;
    for ((route, method, code), (n, seconds)) in &f.requests {
        let labels = format!("{{route=\"{route}\",method=\"{method}\",code=\"{code}\"}}");
        writeln!(o, "pigw_http_request_duration_seconds_sum{labels} {seconds}")?;
        writeln!(o, "pigw_http_request_duration_seconds_count{labels} {n}")?;
    }
    writeln!(o, "# TYPE pigw_message_duration_seconds histogram")?;
    let mut sum = 0;
    for (n, bound) in f.durations.iter().zip(BOUNDS.iter().map(f64::to_string).chain(["+Inf".into()])) {
        sum += n;
        writeln!(o, "pigw_message_duration_seconds_bucket{{le=\"{bound}\"}} {sum}")?;
    }
    writeln!(o, "pigw_message_duration_seconds_sum {}", f.seconds)?;
    writeln!(o, "pigw_message_duration_seconds_count {sum}")
}

pub fn pool(port: &Port, _: &mut dyn Exchange) -> Handled {
    let s = snapshot(port)?;
    let list = s.procs.iter().map(|p| {
        json!({
            "id": format!("rpc-{}", p.id.0), "sessionKey": p.session, "isAlive": true, "isIdle": p.session.is_none(),
            "lastActivity": wall() - crate::clock::mono().saturating_sub(p.used) as i64, "state": p.state, "pid": p.pid,
        })
    });
    Ok(Reply::json(&json!({"stats": shapes::pool(&s), "processes": list.collect::<Vec<_>>()})))
}

/// The session with that key, if there is one.
pub fn fetch(port: &Port, key: String) -> Result<Option<SessionInfo>, Fault> {
    Ok(listed(port, Request::Session { key })?.into_iter().next())
}

fn listed(port: &Port, request: Request) -> Result<Vec<SessionInfo>, Fault> {
    match port.mind.ask(request, port.settings.get().times.ask) {
        Answer::Sessions(list) => Ok(list),
        other => Err(Fault::from_answer(other)),
    }
}

/// A page, or without `limit` and `cursor` all there are, which the mind gives in pages too.
pub fn sessions(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let mut page = Page::of_query(&ex.call().head)?;
    let whole = !page.asked();
    let mut list = Vec::new();
    let next = loop {
        let (part, next) = paging::sessions(listed(port, paging::ask_sessions(&page)?)?, &page);
        list.extend(part);
        match next {
            Some(next) if whole => page.cursor = Some(next),
            next => break next,
        }
    };
    let reply = Reply::json(&paging::body("sessions", list, next));
    let etag = format!("\"{}\"", &hash(&reply.body)[..22]);
    let reply = match page::is_known(&ex.call().head, &etag) {
        true => Reply::new(304),
        false => reply,
    };
    Ok(reply.with("ETag", etag).with("Cache-Control", "private, no-cache"))
}

pub fn session(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let key = session_key(&ex.call().args[0])?.to_owned();
    match fetch(port, key)? {
        Some(s) => Ok(Reply::json(&json!({"session": shapes::session(&s)}))),
        None => Err(Fault::new(404, "not_found", "Session not found")),
    }
}

/// What pi counts of the conversation, also in the middle of a turn (1.4, R26).
pub fn of_session(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let session = agent::session(port, ex.call())?;
    let (stats, state) = match port.mind.ask(Request::Stats { session: session.clone() }, port.settings.get().times.ask)
    {
        Answer::Stats { stats, state } => (stats, state),
        other => return Err(Fault::from_answer(other)),
    };
    let inactive = || Fault::new(404, "no_active_session", "No active session");
    let info = fetch(port, session)?.ok_or_else(inactive)?;
    let stats = shapes::of_pi(&stats)?;
    Ok(Reply::json(&json!({
        "sessionKey": info.key, "stats": agent::shown_stats(&stats), "statsRaw": stats, "state": shapes::of_pi(&state)?,
        "messageCount": info.message_count, "isStreaming": info.streaming, "lastActivity": info.last_activity,
    })))
}

/// Body and session of a route whose `sessionKey` is optional; an empty body is an empty object.
fn members(port: &Port, ex: &mut dyn Exchange) -> Result<(Members, String), Fault> {
    let body = &ex.call().body;
    let m = Members::body(if body.is_empty() { b"{}" } else { body }, "Invalid JSON body")?;
    let key = m.text("sessionKey")?.unwrap_or(&port.settings.get().main_session).to_owned();
    session_key(&key)?;
    Ok((m, key))
}

/// A choice of model or level: does it apply at once, or from the next turn on (R77)?
fn choose(port: &Port, request: Request, mut body: Value) -> Handled {
    match port.mind.ask(request, port.settings.get().times.ask) {
        Answer::Bool(now) => {
            body["applied"] = json!(applied(now));
            Ok(Reply::json(&body))
        }
        other => Err(Fault::from_answer(other)),
    }
}

pub fn applied(now: bool) -> &'static str {
    if now {
        "now"
    } else {
        "next"
    }
}

pub fn reset(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (m, session) = members(port, ex)?;
    let request = Request::Reset { session: session.clone(), all: m.flag("all")? };
    match port.mind.ask(request, port.settings.get().times.ask) {
        Answer::Reset { events } => Ok(Reply::json(&was_reset(&session, events))),
        other => Err(Fault::from_answer(other)),
    }
}

/// What a reset answers, as a route and as a method.
pub fn was_reset(session: &str, events: usize) -> Value {
    json!({
        "ok": true, "sessionKey": session, "rpcReset": true, "stateReset": true, "queueCleared": 0,
        "eventsCleared": events,
    })
}

pub const LEVELS: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];

pub fn think(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (m, session) = members(port, ex)?;
    let level = think_level(&m)?;
    let body = json!({"ok": true, "sessionKey": session, "level": level});
    choose(port, Request::SetThinking { session, level }, body)
}

pub fn think_level(m: &Members) -> Result<String, Fault> {
    let level = m.text("level")?.unwrap_or("medium");
    if LEVELS.contains(&level) {
        return Ok(level.to_owned());
    }
    Err(Fault::invalid(format!("Invalid level. Use: {}", LEVELS.join(", "))))
}

pub fn model(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (m, session) = members(port, ex)?;
    let model = model_name(&m)?;
    let body = model.payload(&session);
    choose(port, Request::SetModel { session, model: model.name() }, body)
}

/// A model as clients choose it.
pub enum Model {
    /// The configured one: what was chosen before is taken back.
    Configured,
    Of {
        provider: String,
        id: String,
    },
}

impl Model {
    /// As [`Request::SetModel`] takes it.
    pub fn name(&self) -> String {
        match self {
            Model::Configured => String::new(),
            Model::Of { provider, id } => format!("{provider}/{id}"),
        }
    }
    pub fn payload(&self, session: &str) -> Value {
        let (provider, id) = match self {
            Model::Configured => (None, None),
            Model::Of { provider, id } => (Some(provider), Some(id)),
        };
        json!({"ok": true, "sessionKey": session, "provider": provider, "modelId": id})
    }
}

/// `model: "provider/id"` or `provider` and `modelId`; `model: "default"` is the configured one.
pub fn model_name(m: &Members) -> Result<Model, Fault> {
    let pair = match m.text("model")? {
        Some("default") => return Ok(Model::Configured),
        Some(model) => model.split_once('/').map(|(p, id)| (p.to_owned(), id.to_owned())),
        None => match (m.text("provider")?, m.text("modelId")?) {
            (Some(p), Some(id)) => Some((p.to_owned(), id.to_owned())),
            _ => None,
        },
    };
    pair.filter(|(p, id)| !p.is_empty() && !id.is_empty())
        .map(|(provider, id)| Model::Of { provider, id })
        .ok_or_else(|| Fault::invalid("Provide 'model' as 'provider/modelId' or separate 'provider' + 'modelId'"))
}
