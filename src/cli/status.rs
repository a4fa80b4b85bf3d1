//! `pi-gw status`, `pi-gw channel list|restart`: what is connected, queued and owed.

use std::io;
use std::time::Duration;

use serde_json::{json, Value};

use super::pairing::{age, carried_out, failed, needs, say, table, unopened, Failed, Place};
use super::through::ask;
use super::{exit, Call, Io};
use crate::config::Env;
use crate::spool;
use crate::store::Reader;

const WAIT: Duration = Duration::from_secs(5);

/// `pi-gw status`: exit code 0 if a gateway runs well, 1 if it has troubles, 69 if none answers.
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = unopened(call, env).and_then(|place| {
        let owed = owed(&place).unwrap_or_else(|(_, why)| json!({"error": why}));
        let health = match ask(&place, "GET", "/health", None, WAIT) {
            Ok(health) => health,
            Err((code, why)) => {
                let value = json!({"running": false, "why": why, "owed": owed});
                let said = match call.has("--json") {
                    true => io.say(format_args!("{value:#}")),
                    false => io.say(format_args!("gateway   {why}")).and_then(|()| tell_owed(io, &owed)),
                };
                return Ok(said.map(|()| code));
            }
        };
        let channels = ask(&place, "GET", "/api/channels", None, WAIT)?;
        let problems =
            health["problems"].as_array().map_or(0, Vec::len) + usize::from(health["configError"].is_string());
        let code = if problems == 0 && owed["error"].is_null() { exit::OK } else { exit::FAILED };
        if call.has("--json") {
            let value = json!({"running": true, "health": health, "channels": channels["channels"], "owed": owed});
            return Ok(io.say(format_args!("{value:#}")).map(|()| code));
        }
        Ok(print(io, &health, &channels, &owed).map(|()| code))
    });
    carried_out(io, done)
}

/// What the store says is still to be done.
fn owed(place: &Place) -> Result<Value, Failed> {
    let spooled = spool::left(&place.paths.spool_dir()).map_or(0, |all| all.len());
    let path = place.paths.store();
    if !path.exists() {
        return Ok(json!({"waiting": 0, "turns": 0, "replies": 0, "spooled": spooled}));
    }
    let owed = Reader::open(&path).and_then(|reader| reader.owed());
    let owed = owed.map_err(|e| failed(&place.paths, &e))?;
    Ok(json!({"waiting": owed.waiting, "turns": owed.turns, "replies": owed.replies, "spooled": spooled}))
}

fn tell_owed(io: &mut Io<'_>, owed: &Value) -> io::Result<()> {
    if let Some(why) = owed["error"].as_str() {
        return io.say(format_args!("problem   what is owed cannot be read: {why}"));
    }
    io.say(format_args!("messages  {} wait, {} turns run", owed["waiting"], owed["turns"]))?;
    io.say(format_args!("owed      {} messages to be sent", owed["replies"]))?;
    match owed["spooled"].as_u64() {
        None | Some(0) => Ok(()),
        Some(n) => io.say(format_args!("spooled   {n} messages wait for a gateway (pi-gw outbox list)")),
    }
}

fn print(io: &mut Io<'_>, health: &Value, channels: &Value, owed: &Value) -> io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let up = health["uptime"].as_f64().unwrap_or(0.0) as i64 * 1000;
    let (version, status) = (text(&health["version"]), text(&health["status"]));
    io.say(format_args!("gateway   {status}, version {version}, up {}", age(up)))?;
    let pool = &health["pool"];
    io.say(format_args!("pi        {} of {} processes", pool["total"], pool["maxCapacity"]))?;
    tell_owed(io, owed)?;
    for channel in channels["channels"].as_array().into_iter().flatten() {
        let accounts: Vec<String> = channel["accounts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| format!("{} {} (@{})", text(&a["id"]), text(&a["state"]), text(&a["bot"])))
            .collect();
        let accounts = if accounts.is_empty() { "on".to_owned() } else { accounts.join(", ") };
        io.say(format_args!("{:9} {accounts}", text(&channel["id"])))?;
    }
    for problem in health["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        io.say(format_args!("problem   {problem}"))?;
    }
    let waiting: Vec<&str> =
        health["restartNeeded"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        io.say(format_args!("restart   takes effect only after one: {}", waiting.join(", ")))?;
    }
    match health["configError"].as_str() {
        Some(why) => io.say(format_args!("problem   the configuration was not reloaded: {why}")),
        None => Ok(()),
    }
}

/// `pi-gw channel list`
pub fn channels(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = unopened(call, env).and_then(|place| {
        let answer = ask(&place, "GET", "/api/channels", None, WAIT)?;
        if call.has("--json") {
            return Ok(io.say(format_args!("{:#}", answer["channels"])).map(|()| exit::OK));
        }
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let mut rows = Vec::new();
        for channel in answer["channels"].as_array().into_iter().flatten() {
            let id = text(&channel["id"]);
            match channel["accounts"].as_array() {
                None => rows.push(vec![id, "-".into(), "on".into(), "-".into(), "-".into(), "-".into()]),
                Some(accounts) => rows.extend(accounts.iter().map(|a| {
                    let heard = a["lastPollAgoMs"].as_i64().map_or("-".into(), age);
                    let owed = a["pending"].to_string();
                    vec![id.clone(), text(&a["id"]), text(&a["state"]), heard, owed, text(&a["lastError"])]
                })),
            }
        }
        Ok(table(io, &["channel", "account", "state", "heard", "owed", "last error"], &rows).map(|()| exit::OK))
    });
    carried_out(io, done)
}

/// `pi-gw channel restart CHANNEL[:ACCOUNT]`
pub fn restart(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [name] = &call.arguments[..] else { return needs(call, io) };
    let (channel, account) = name.split_once(':').map_or((name.as_str(), None), |(c, a)| (c, Some(a)));
    let done = unopened(call, env).and_then(|place| {
        let body = json!({"channel": channel, "accountId": account}).to_string();
        let answer = ask(&place, "POST", "/api/channels/restart", Some(&body), WAIT)?;
        Ok(say(call, io, format!("{name} is begun anew"), answer))
    });
    carried_out(io, done)
}
