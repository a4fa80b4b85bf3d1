//! `pi-gw outbox list|retry|drop`: what is owed to people, and what could not be delivered. On the store itself, with or
//! without a gateway; and what `pi-gw send` left for one.

use serde_json::{json, Value};

use super::pairing::{age, carried_out, failed, needs, number, place, say, table, Failed, Place};
use super::{exit, instance, Call, Io};
use crate::clock;
use crate::config::Env;
use crate::spool::{self, Left};
use crate::store::Letter;

const LIMIT: u32 = 100;

/// Where a letter goes, as `pi-gw send --to` has it.
fn whither(l: &Letter) -> String {
    let t = &l.target;
    let topic = if t.thread.is_empty() { String::new() } else { format!(":topic:{}", t.thread) };
    format!("{}:{}:{}{topic}", t.channel, t.account, t.chat)
}

fn line(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// `pi-gw outbox list`
pub fn list(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let limit = match number(call, io, "--limit", LIMIT, 1) {
        Ok(n) => n as usize,
        Err(code) => return code,
    };
    let done = place(call, env).and_then(|place| {
        let all = match &place.store {
            Some(store) => store.letters(limit).map_err(|e| failed(&place.paths, &e))?,
            None => Vec::new(),
        };
        let notes = notes(&place)?;
        let now = clock::now().wall;
        if call.has("--json") {
            let json = |l: &Letter| {
                json!({
                    "id": l.id, "to": whither(l), "state": l.state, "kind": l.kind, "attempts": l.attempts, "at": l.at,
                    "expiresAt": l.expires_at, "error": l.error, "text": l.text,
                })
            };
            let all = Value::from(all.iter().map(json).chain(notes.iter().map(note_json)).collect::<Vec<_>>());
            return Ok(io.say(format_args!("{all:#}")).map(|()| exit::OK));
        }
        if all.is_empty() && notes.is_empty() {
            return Ok(io.say("Nothing is owed, and nothing failed.").map(|()| exit::OK));
        }
        let row = |l: &Letter| {
            let why = l.error.as_deref().map_or_else(|| line(&l.text, 40), |why| line(why, 60));
            vec![l.id.to_string(), l.state.clone(), whither(l), age(now - l.at), l.attempts.to_string(), why]
        };
        let note = |l: &Left| {
            let (to, at, text) = match &l.note {
                Ok(note) => (note.to.clone(), age(now - note.at), line(note.why.as_ref().unwrap_or(&note.text), 60)),
                Err(why) => ("-".into(), "-".into(), line(why, 60)),
            };
            vec![l.id.clone(), state(l).into(), to, at, "0".into(), text]
        };
        let rows: Vec<_> = all.iter().map(row).chain(notes.iter().map(note)).collect();
        Ok(table(io, &["id", "state", "to", "age", "tries", "error or text"], &rows).map(|()| exit::OK))
    });
    carried_out(io, done)
}

/// What was left for a gateway, and not taken in.
fn notes(place: &Place) -> Result<Vec<Left>, Failed> {
    let dir = place.paths.spool_dir();
    spool::all(&dir).map_err(|e| (exit::FAILED, format!("{}: {e}", dir.display())))
}

fn state(l: &Left) -> &'static str {
    if l.aside {
        "put aside"
    } else {
        "spooled"
    }
}

fn note_json(l: &Left) -> Value {
    let note = l.note.as_ref().ok();
    json!({
        "id": l.id, "to": note.map(|n| &n.to), "state": state(l), "kind": "send", "attempts": 0, "at": note.map(|n| n.at),
        "error": l.note.as_ref().map_or_else(Some, |n| n.why.as_ref()), "text": note.map(|n| &n.text),
    })
}

/// One of them. `None`: it is none that this can be done with.
fn change_note(left: Vec<Left>, id: &str, again: bool) -> Option<std::io::Result<&'static str>> {
    let left = left.into_iter().find(|left| left.id == id)?;
    match again {
        true if !left.aside => None, // it is sent anyway
        true => Some(left.again(clock::now().wall).map(|()| "spooled")),
        false => Some(left.done().map(|()| "skipped")),
    }
}

/// `pi-gw outbox retry ID`
pub fn retry(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    change(call, env, io, true)
}

/// `pi-gw outbox drop ID`
pub fn drop(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    change(call, env, io, false)
}

fn change(call: &Call, env: &Env, io: &mut Io<'_>, again: bool) -> u8 {
    let [id] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        let bad = || (exit::DATA, format!("\"{id}\" is no id; pi-gw outbox list shows them"));
        let is_note = id.split_once('-').is_some_and(|(at, _)| at.bytes().all(|b| b.is_ascii_digit()));
        let life = place.config.delivery.max_age.as_millis() as i64;
        let changed = match (id.parse::<i64>(), &mut place.store) {
            (Err(_), _) if is_note => match change_note(notes(&place)?, id, again) {
                Some(done) => Some(done.map_err(|e| (exit::FAILED, format!("{id}: {e}")))?),
                None => None,
            },
            (Err(_), _) => return Err(bad()),
            (Ok(_), None) => None,
            (Ok(row), Some(store)) => match again {
                true => store.retry_letter(row, clock::now().wall + life),
                false => store.drop_letter(row),
            }
            .map_err(|e| failed(&place.paths, &e))?,
        };
        let none = || -> Failed {
            let what = if again { "nothing that failed" } else { "nothing that waits or failed" };
            (exit::FAILED, format!("{what} has the id {id}; pi-gw outbox list shows what there is"))
        };
        let state = changed.ok_or_else(none)?;
        let running = instance::poke(&place.paths.pid_file()).unwrap_or_else(|(_, why)| {
            io.tell(format_args!("the gateway hears of it at its next start: {why}"));
            false
        });
        let known = id.parse::<i64>().map_or_else(|_| Value::from(id.as_str()), Value::from);
        let text = match (again, running) {
            (true, true) => format!("{id} is sent again"),
            (true, false) => format!("{id} is sent when the gateway starts"),
            (false, _) => format!("{id} is dropped"),
        };
        Ok(say(call, io, text, json!({"ok": true, "id": known, "state": state})))
    });
    carried_out(io, done)
}
