//! Roles' memory over the API (gateway-api.md 1.8): the same three questions as routes and as methods.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::json::Members;
use super::paging::number;
use super::port::Port;
use crate::memory::{self, Described};
use crate::roles;

const RESULTS: u64 = 20;
const MOST_RESULTS: u64 = 200;
/// Longest query, bytes.
const QUERY: usize = 1000;

/// A role's name (R23): it becomes part of a path.
fn role(name: Option<String>) -> Result<String, Fault> {
    let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| roles::DEFAULT.to_owned());
    match roles::is_name(&name) {
        true => Ok(name),
        false => Err(Fault::invalid("invalid role name")),
    }
}

fn find(port: &Port, role: &str, query: &str, max: Option<u64>) -> Result<Value, Fault> {
    if query.len() > QUERY {
        return Err(Fault::invalid(format!("The query is longer than {QUERY} bytes")));
    }
    let max = max.unwrap_or(RESULTS).clamp(1, MOST_RESULTS) as usize;
    // Days of UTC, and the next one, which has begun east of it.
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let today = today.checked_add(1.day()).unwrap_or(today);
    let found = memory::search(&port.settings.get().roles_dir, role, query, max, today);
    let results = found.into_iter().map(|f| match f.date {
        Some(date) => json!({"kind": "daily", "text": f.text, "score": f.score, "date": date}),
        None => json!({"kind": "learning", "text": f.text, "score": f.score}),
    });
    Ok(results.collect())
}

fn counts(port: &Port, role: &str) -> Result<Value, Fault> {
    let stats = memory::stats(&port.settings.get().roles_dir, role);
    let s = stats.ok_or_else(|| Fault::new(404, "not_found", "Role not found"))?;
    Ok(json!({
        "role": role, "learningsCount": s.learnings, "preferencesCount": s.preferences, "eventsCount": s.events,
        "dailyFilesCount": s.daily_files, "memoryFileSize": s.size, "categories": s.categories,
    }))
}

/// `{roles:[…]}`
pub fn all(port: &Port) -> Value {
    let shown = |d: Described| {
        json!({
            "role": d.role, "identity": d.identity, "soulPreview": d.soul, "hasMemory": d.memory,
            "hasDailyMemory": d.daily,
        })
    };
    let list: Vec<Value> = memory::described(&port.settings.get().roles_dir).into_iter().map(shown).collect();
    json!({"roles": list})
}

/// GET `/api/memory/search`
pub fn search(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let head = &ex.call().head;
    let query = head.param("q").filter(|q| !q.trim().is_empty());
    let query = query.ok_or_else(|| Fault::invalid("q parameter required"))?;
    let (role, max) = (role(head.param("role"))?, number(head, "max")?);
    let results = find(port, &role, &query, max)?;
    Ok(Reply::json(&json!({"role": role, "query": query, "results": results})))
}

/// `memory.search`
pub fn search_method(port: &Port, m: &Members) -> Result<Value, Fault> {
    let query = m.text("query")?.filter(|q| !q.trim().is_empty());
    let query = query.ok_or_else(|| Fault::invalid("query is required"))?;
    let role = role(m.text("role")?.map(str::to_owned))?;
    let results = find(port, &role, query, m.number("maxResults")?)?;
    Ok(json!({"role": role, "results": results}))
}

/// GET `/api/memory/stats`
pub fn stats(port: &Port, ex: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&counts(port, &role(ex.call().head.param("role"))?)?))
}

/// `memory.stats`
pub fn stats_method(port: &Port, m: &Members) -> Result<Value, Fault> {
    counts(port, &role(m.text("role")?.map(str::to_owned))?)
}

/// GET `/api/memory/roles`
pub fn roles(port: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&all(port)))
}
