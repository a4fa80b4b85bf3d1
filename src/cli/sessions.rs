//! `pi-gw session list|show|reset|export`: the conversations. Reading works without a gateway; a reset needs one.

use std::time::Duration;

use serde_json::{json, Value};

use super::cron::shown_time;
use super::pairing::{age, carried_out, failed, needs, number, place, say, table, Failed, Place};
use super::through::ask;
use super::{exit, Call, Io};
use crate::clock;
use crate::config::Env;
use crate::gateway::settings::zone;
use crate::store::{HistoryLine, Reader, SessionRow};

const LIMIT: u32 = 50;
/// Lines of a conversation that `show` prints.
const SHOWN: usize = 20;
/// An export reads so many at a time.
const PAGE: usize = 500;
/// A reset waits for the end of a turn.
const RESET: Duration = Duration::from_secs(15);

fn json_of(s: &SessionRow) -> Value {
    let last = s.last.as_ref();
    json!({
        "sessionKey": s.key, "agent": s.agent, "role": s.role, "messageCount": s.count, "lastActivity": s.last_at,
        "created": s.created, "model": s.model, "thinking": s.thinking, "title": s.title, "file": s.file,
        "channel": last.map(|l| &l.channel), "account": last.and_then(|l| l.account.as_ref()),
        "chat": last.map(|l| &l.chat), "sender": last.and_then(|l| l.sender_name.as_ref()),
    })
}

/// `pi-gw session list`
pub fn list(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let limit = match number(call, io, "--limit", LIMIT, 1) {
        Ok(n) => n as usize,
        Err(code) => return code,
    };
    let done = place(call, env).and_then(|place| {
        let all = match &place.store {
            Some(store) => store.conversations(limit).map_err(|e| failed(&place.paths, &e))?,
            None => Vec::new(),
        };
        if call.has("--json") {
            let all = Value::from(all.iter().map(json_of).collect::<Vec<_>>());
            return Ok(io.say(format_args!("{all:#}")).map(|()| exit::OK));
        }
        if all.is_empty() {
            return Ok(io.say("There are no conversations yet.").map(|()| exit::OK));
        }
        let now = clock::now().wall;
        let row = |s: &SessionRow| {
            let who = s.last.as_ref().and_then(|l| l.chat_name.clone().or(l.sender_name.clone()));
            let name = s.title.clone().or(who).unwrap_or_else(|| "-".into());
            vec![s.key.clone(), s.count.to_string(), age(now - s.last_at), s.role.clone().unwrap_or_default(), name]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        Ok(table(io, &["session", "messages", "last", "role", "name"], &rows).map(|()| exit::OK))
    });
    carried_out(io, done)
}

fn absent(key: &str) -> Failed {
    (exit::FAILED, format!("there is no conversation \"{key}\"; pi-gw session list shows those there are"))
}

fn found(place: &Place, key: &str) -> Result<SessionRow, Failed> {
    let store = place.store.as_ref().ok_or_else(|| absent(key))?;
    store.conversation(key).map_err(|e| failed(&place.paths, &e))?.ok_or_else(|| absent(key))
}

/// All lines or the newest, oldest first.
fn lines(place: &Place, key: &str, most: usize) -> Result<Vec<HistoryLine>, Failed> {
    let error = |e| failed(&place.paths, &e);
    let reader = Reader::open(&place.paths.store()).map_err(error)?;
    let mut all: Vec<HistoryLine> = Vec::new();
    loop {
        let before = all.first().map(|l| l.id.clone());
        let page = reader.history(key, PAGE.min(most - all.len()), before.as_deref()).map_err(error)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.splice(0..0, page);
        if all.len() >= most {
            return Ok(all);
        }
    }
}

fn who(l: &HistoryLine) -> &'static str {
    match (l.user, l.notice) {
        (true, _) => "user",
        (false, true) => "notice",
        (false, false) => "agent",
    }
}

/// `pi-gw session show KEY`
pub fn show(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [key] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|place| {
        let session = found(&place, key)?;
        let (lines, zone) = (lines(&place, key, SHOWN)?, zone(env));
        if call.has("--json") {
            let mut value = json_of(&session);
            value["history"] = lines.iter().map(line_json).collect();
            return Ok(io.say(format_args!("{value:#}")).map(|()| exit::OK));
        }
        let mut said = Ok(());
        if let Value::Object(all) = json_of(&session) {
            for (name, value) in all.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                said = said.and_then(|()| io.say(format_args!("{name:13} {value}")));
            }
        }
        for l in &lines {
            let at = shown_time(l.at, &zone);
            said = said.and_then(|()| io.say(format_args!("\n{} {}\n{}", at, who(l), l.text)));
        }
        Ok(said.map(|()| exit::OK))
    });
    carried_out(io, done)
}

fn line_json(l: &HistoryLine) -> Value {
    json!({"id": l.id, "role": who(l), "text": l.text, "at": l.at, "run": l.run, "failed": l.failed})
}

/// `pi-gw session export KEY`: Markdown, or with `--json` one object per line.
pub fn export(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [key] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|place| {
        let session = found(&place, key)?;
        let (lines, zone) = (lines(&place, key, usize::MAX)?, zone(env));
        let said = match call.has("--json") {
            true => lines.iter().try_for_each(|l| io.say(line_json(l))),
            false => io.say(format_args!("# {}", session.title.as_deref().unwrap_or(key))).and_then(|()| {
                lines.iter().try_for_each(|l| {
                    io.say(format_args!("\n## {}, {}\n\n{}", who(l), shown_time(l.at, &zone), l.text))
                })
            }),
        };
        Ok(said.map(|()| exit::OK))
    });
    carried_out(io, done)
}

/// `pi-gw session reset KEY`
pub fn reset(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [key] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|place| {
        found(&place, key)?;
        let body = json!({"sessionKey": key}).to_string();
        let answer = ask(&place, "POST", "/api/session/reset", Some(&body), RESET)?;
        Ok(say(call, io, format!("{key} begins anew with its next message"), answer))
    });
    carried_out(io, done)
}
