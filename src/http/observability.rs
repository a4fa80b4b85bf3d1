//! What happened lately, for operators (gateway-api.md 1.8, R71).

use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::wall;
use super::json::Members;
use super::paging::{number, Page};
use super::port::Port;
use crate::children::checkpoint;
use crate::message::{Area, Level};
use crate::observe::{window, Filter, KEPT};

const LIMIT: u64 = 100;

/// Unset, empty, or one of the words there are.
fn word<T: Copy>(
    name: &str,
    given: Option<&str>,
    all: &[T],
    text: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Fault> {
    let Some(given) = given.filter(|g| !g.is_empty()) else { return Ok(None) };
    let found = all.iter().copied().find(|one| text(*one) == given);
    let words = || all.iter().map(|one| text(*one)).collect::<Vec<_>>().join(", ");
    found.map(Some).ok_or_else(|| Fault::invalid(format!("{name} must be one of {}", words())))
}

fn filter(
    level: Option<&str>,
    category: Option<&str>,
    since: Option<&str>,
    before: Option<String>,
) -> Result<Filter, Fault> {
    Ok(Filter {
        level: word("level", level, &Level::ALL, Level::as_str)?,
        category: word("category", category, &Area::ALL, Area::as_str)?,
        window: since.and_then(window),
        before,
    })
}

fn list(port: &Port, filter: &Filter, limit: Option<u64>) -> Result<Value, Fault> {
    let limit = limit.unwrap_or(LIMIT).clamp(1, KEPT as u64) as usize;
    let (events, more) = port.observer.events(wall(), filter, limit).ok_or_else(Page::foreign)?;
    let next = events.last().filter(|_| more).map(|e| e["id"].clone());
    let mut body = json!({"ok": true, "count": events.len(), "events": events, "windowMs": filter.window});
    if let Some(next) = next {
        body["nextCursor"] = next;
    }
    Ok(body)
}

/// GET `/api/observability/events`
pub fn events(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let head = &ex.call().head;
    let (level, category, since) = (head.param("level"), head.param("category"), head.param("window"));
    let filter = filter(level.as_deref(), category.as_deref(), since.as_deref(), head.param("cursor"))?;
    Ok(Reply::json(&list(port, &filter, number(head, "limit")?)?))
}

/// `observability.events`
pub fn method(port: &Port, m: &Members) -> Result<Value, Fault> {
    let since = match m.get("window") {
        Some(Value::Number(n)) => Some(n.to_string()),
        _ => m.text("window")?.map(str::to_owned),
    };
    let before = m.text("cursor")?.map(str::to_owned);
    let filter = filter(m.text("level")?, m.text("category")?, since.as_deref(), before)?;
    list(port, &filter, m.number("limit")?)
}

/// GET `/api/observability/summary`
pub fn summary(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let since = ex.call().head.param("window");
    let summary = port.observer.summary(wall(), since.as_deref().and_then(window));
    Ok(Reply::json(&json!({"ok": true, "summary": summary})))
}

/// GET `/api/observability/exec`: the programs that the gateway started or refused to start, the newest first.
pub fn exec(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let limit = number(&ex.call().head, "limit")?.unwrap_or(LIMIT).clamp(1, checkpoint::KEPT as u64) as usize;
    let started = port.operator.started(limit);
    Ok(Reply::json(&json!({"ok": true, "count": started.len(), "programs": started})))
}
