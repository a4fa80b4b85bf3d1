//! Transcripts over the API (gateway-api.md 1.4, R21, R71).

use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::json::{self, session_key, Members};
use super::paging::{body, number, Page};
use super::port::Port;
use crate::transcripts;

const LAST: u64 = 100;
const MOST_LAST: u64 = 1000;

/// GET `/api/transcripts`: the keys of all sessions that have one, sorted.
pub fn list(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let page = Page::of_query(&ex.call().head)?;
    let mut keys = transcripts::list(&port.settings.get().transcripts_dir);
    if let Some(cursor) = &page.cursor {
        session_key(cursor).map_err(|_| Page::foreign())?;
        keys.retain(|key| key > cursor);
    }
    let (keys, next) = page.cut(keys, String::clone);
    Ok(Reply::json(&body("sessions", keys.into_iter().map(Value::from).collect(), next)))
}

fn entries(port: &Port, session: &str, last: Option<u64>) -> Result<Value, Fault> {
    let last = last.unwrap_or(LAST).clamp(1, MOST_LAST) as usize;
    let lines = transcripts::last_lines(&port.settings.get().transcripts_dir, session, last).map_err(|e| {
        log::error!("the transcript of {session}: {e}");
        Fault::new(500, "internal", "The transcript could not be read; the log says why")
    })?;
    let entries: Vec<Value> = lines.iter().filter_map(|line| json::parse(line.as_bytes()).ok()).collect();
    Ok(json!({"sessionKey": session, "count": entries.len(), "entries": entries}))
}

/// GET `/api/transcript/{SK}?last=100`
pub fn one(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let session = session_key(&call.args[0])?;
    Ok(Reply::json(&entries(port, session, number(&call.head, "last")?)?))
}

/// `transcript.get {sessionKey, last?}`
pub fn method(port: &Port, m: &Members) -> Result<Value, Fault> {
    let key = m.text("sessionKey")?.ok_or_else(|| Fault::invalid("sessionKey is required"))?;
    entries(port, session_key(key)?, m.number("last")?)
}
