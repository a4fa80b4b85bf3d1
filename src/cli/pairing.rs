//! `pi-gw pairing list|approve|deny|allow|revoke`: who may write to the bots.
//!
//! Works on the store itself, with or without a gateway; one that runs is poked afterwards so that it tells the
//! person (core.md 2.2).

use std::io;

use serde_json::{json, Value};

use super::instance;
use super::{exit, help, written, Call, Io};
use crate::channels::telegram;
use crate::clock;
use crate::config::types::DEFAULT_ACCOUNT;
use crate::config::{self, Config, Env, Examined, Loaded, Options, Paths};
use crate::store::{Approval, Asked, Beside, Error, Store, Which};

/// Channels whose strangers can ask to be let in.
const CHANNELS: [&str; 1] = [telegram::NAME];

/// Where the command works.
pub(super) struct Place {
    pub config: Config,
    pub paths: Paths,
    pub store: Option<Beside>,
}

pub(super) type Failed = (u8, String);

/// The configuration, as far as it can be read; the defaults without one.
pub(super) fn configured(call: &Call, env: &Env) -> Result<Loaded, Failed> {
    let options = Options { file: call.config(), allow_missing: true, ..Options::default() };
    match config::examine(env, &options) {
        Examined::Read(loaded) => Ok(*loaded),
        Examined::Unreadable(issues) => {
            let lines: Vec<String> = issues.iter().map(ToString::to_string).collect();
            Err((exit::CONFIG, lines.join("\n")))
        }
    }
}

pub(super) fn place(call: &Call, env: &Env) -> Result<Place, Failed> {
    let place = unopened(call, env)?;
    let store = Beside::open(&place.paths.store()).map_err(|e| failed(&place.paths, &e))?;
    Ok(Place { store, ..place })
}

/// For what does without the store: that may be damaged, or another version's.
pub(super) fn unopened(call: &Call, env: &Env) -> Result<Place, Failed> {
    let loaded = configured(call, env)?;
    Ok(Place { paths: loaded.paths(env), config: loaded.config, store: None })
}

pub(super) fn failed(paths: &Paths, e: &Error) -> Failed {
    let code = match e {
        Error::Busy => exit::TEMPORARY,
        Error::Full | Error::ReadOnly(_) => exit::CANNOT_WRITE,
        _ => exit::FAILED,
    };
    let remedy = match e {
        Error::Corrupt(_) => "; pi-gw doctor says what to do",
        Error::Newer(_) => "; use the newer pi-gw",
        _ => "",
    };
    (code, format!("{}: {e}{remedy}", paths.store().display()))
}

/// Letters and digits only, in capitals: codes are read aloud, copied with spaces and dashes.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// `CHANNEL CODE`, or the code alone.
fn channel_and_code(call: &Call) -> Option<(Option<&str>, String)> {
    match &call.arguments[..] {
        [code] => Some((None, plain(code))),
        [channel, code] => Some((Some(channel), plain(code))),
        _ => None,
    }
}

pub(super) fn usage(call: &Call, io: &mut Io<'_>) -> u8 {
    io.tell(help::usage(&call.line, call.command));
    exit::USAGE
}

/// An argument is missing.
pub(super) fn needs(call: &Call, io: &mut Io<'_>) -> u8 {
    io.tell(format_args!("\"{}\" needs {}", call.line, call.command.arguments));
    usage(call, io)
}

/// The whole number that an option gives, at least `least`; `Err`: the exit code, and that is told.
pub(super) fn number(call: &Call, io: &mut Io<'_>, name: &str, otherwise: u32, least: u32) -> Result<u32, u8> {
    let Some(text) = call.value(name) else { return Ok(otherwise) };
    text.parse::<u32>().ok().filter(|n| *n >= least).ok_or_else(|| {
        io.tell(format_args!("{name} must be a whole number, at least {least}, found \"{text}\""));
        usage(call, io)
    })
}

/// Runs a subcommand; says why if it fails.
pub(super) fn carried_out(io: &mut Io<'_>, done: Result<io::Result<u8>, Failed>) -> u8 {
    match done {
        Ok(said) => written(said, io),
        Err((code, why)) => {
            io.tell(why);
            code
        }
    }
}

fn known(channel: &str) -> Result<(), Failed> {
    match CHANNELS.contains(&channel) {
        true => Ok(()),
        false => {
            Err((exit::FAILED, format!("\"{channel}\" is no channel with pairing; there is: {}", CHANNELS.join(", "))))
        }
    }
}

/// `pi-gw pairing list`
pub fn list(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = place(call, env).and_then(|place| {
        let which = Which { channel: call.value("--channel"), account: call.value("--account") };
        let now = clock::now().wall;
        let error = |e: Error| failed(&place.paths, &e);
        let (head, rows, lines) = match (&place.store, call.has("--approved")) {
            (None, _) => (HEAD_ASKED, Vec::new(), Vec::new()),
            (Some(store), false) => {
                let all = store.asked(which, now).map_err(error)?;
                let row = |a: &Asked| {
                    let name = a.name.clone().unwrap_or_else(|| "-".into());
                    vec![a.channel.clone(), a.account.clone(), a.code.clone(), a.sender.clone(), name, age(now - a.at)]
                };
                (HEAD_ASKED, all.iter().map(row).collect(), all.iter().map(asked).collect::<Vec<_>>())
            }
            (Some(store), true) => {
                let all = store.allowed(which).map_err(error)?;
                let rows = all.iter().map(|a| {
                    let name = a.name.clone().unwrap_or_else(|| "-".into());
                    vec![a.channel.clone(), a.account.clone(), a.sender.clone(), name, age(now - a.at)]
                });
                let json = all.iter().map(|a| {
                    json!({"channel": a.channel, "account": a.account, "sender": a.sender, "name": a.name, "at": a.at})
                });
                (HEAD_ALLOWED, rows.collect(), json.collect())
            }
        };
        Ok(print(call, io, head, &rows, lines))
    });
    carried_out(io, done)
}

const HEAD_ASKED: &[&str] = &["channel", "account", "code", "sender", "name", "age"];
const HEAD_ALLOWED: &[&str] = &["channel", "account", "sender", "name", "since"];

fn print(call: &Call, io: &mut Io<'_>, head: &[&str], rows: &[Vec<String>], json: Vec<Value>) -> io::Result<u8> {
    if call.has("--json") {
        io.say(format_args!("{:#}", Value::from(json)))?;
        return Ok(exit::OK);
    }
    if rows.is_empty() {
        let what = if call.has("--approved") { "Nobody is approved." } else { "No pending pairing requests." };
        io.say(what)?;
        return Ok(exit::OK);
    }
    table(io, head, rows)?;
    Ok(exit::OK)
}

/// Rows under their heads, in columns.
pub(super) fn table(io: &mut Io<'_>, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|h| h.to_string()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> =
        (0..head.len()).map(|i| lines().map(|l| l[i].chars().count()).max().unwrap_or(0)).collect();
    for line in lines() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        io.say(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// How long ago, in the largest unit that fits.
pub(super) fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..=59 => format!("{s} s"),
        60..=3_599 => format!("{} min", s / 60),
        3_600..=86_399 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

fn asked(a: &Asked) -> Value {
    json!({
        "channel": a.channel, "account": a.account, "code": a.code, "sender": a.sender, "name": a.name,
        "createdAt": a.at,
    })
}

/// The sender, with the name they gave themselves.
fn person(sender: &str, name: Option<&str>) -> String {
    name.map_or_else(|| sender.to_owned(), |name| format!("{sender} ({name})"))
}

/// `pi-gw pairing approve`
pub fn approve(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let Some((channel, code)) = channel_and_code(call) else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        channel.map_or(Ok(()), known)?;
        let which = Which { channel, account: call.value("--account") };
        let approval = match &mut place.store {
            Some(store) => store.approve(which, &code, clock::now().wall).map_err(|e| failed(&place.paths, &e))?,
            None => Approval::Unknown,
        };
        let a = match approval {
            Approval::Done(a) => a,
            Approval::Unknown => return Err((exit::FAILED, unknown(&code))),
            Approval::Expired(a) => {
                let who = person(&a.sender, a.name.as_deref());
                let text =
                    format!("the code {code} of {who} has expired: let them write to the bot again for a new one");
                return Err((exit::FAILED, text));
            }
        };
        let told = tell(&place.paths, io);
        let who = person(&a.sender, a.name.as_deref());
        let mut object = asked(&a);
        object["ok"] = true.into();
        object["told"] = told.into();
        let text = match told {
            true => format!("{who} may write to {} ({}) now and is told so", a.channel, a.account),
            false => format!("{who} may write to {} ({}); they are told when the gateway starts", a.channel, a.account),
        };
        Ok(say(call, io, text, object))
    });
    carried_out(io, done)
}

fn unknown(code: &str) -> String {
    format!("no open request has the code {code}; pi-gw pairing list shows those there are")
}

/// Pokes the running gateway; false: none runs. One that cannot be poked tells the person at its next start.
fn tell(paths: &Paths, io: &mut Io<'_>) -> bool {
    instance::poke(&paths.pid_file()).unwrap_or_else(|(_, why)| {
        io.tell(format_args!("it holds already, but the person could not be told: {why}"));
        false
    })
}

pub(super) fn say(call: &Call, io: &mut Io<'_>, text: String, object: Value) -> io::Result<u8> {
    match (call.has("--json"), call.has("--quiet")) {
        (true, _) => io.say(format_args!("{object:#}"))?,
        (false, true) => {}
        (false, false) => io.say(text)?,
    }
    Ok(exit::OK)
}

/// `pi-gw pairing deny`
pub fn deny(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let Some((channel, code)) = channel_and_code(call) else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        channel.map_or(Ok(()), known)?;
        let which = Which { channel, account: call.value("--account") };
        let found = match &mut place.store {
            Some(store) => store.deny(which, &code).map_err(|e| failed(&place.paths, &e))?,
            None => None,
        };
        let a = found.ok_or_else(|| (exit::FAILED, unknown(&code)))?;
        let mut object = asked(&a);
        object["ok"] = true.into();
        let text = format!("the request of {} is gone; nobody is told", person(&a.sender, a.name.as_deref()));
        Ok(say(call, io, text, object))
    });
    carried_out(io, done)
}

/// `pi-gw pairing allow`
pub fn allow(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [channel, sender] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        known(channel)?;
        let sender = sender_id(sender)?;
        let account = account(&place.config, call.value("--account"))?;
        let error = |e: Error| failed(&place.paths, &e);
        if place.store.is_none() {
            let path = place.paths.store();
            let dir = path.parent().unwrap_or(&path);
            config::files::create_dir(dir).map_err(|e| (exit::CANNOT_WRITE, format!("{}: {e}", dir.display())))?;
            Store::open(&path).and_then(Store::close).map_err(error)?;
            place.store = Beside::open(&path).map_err(error)?;
        }
        let Some(store) = &mut place.store else { return Err((exit::FAILED, "there is no store".into())) };
        let new = store.allow(channel, &account, sender, clock::now().wall).map_err(error)?;
        let object = json!({"ok": true, "channel": channel, "account": account, "sender": sender, "new": new});
        let text = match new {
            true => format!("{sender} may write to {channel} ({account}) now"),
            false => format!("{sender} may write to {channel} ({account}) already"),
        };
        Ok(say(call, io, text, object))
    });
    carried_out(io, done)
}

/// `pi-gw pairing revoke`
pub fn revoke(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let [channel, sender] = &call.arguments[..] else { return needs(call, io) };
    let done = place(call, env).and_then(|mut place| {
        known(channel)?;
        let sender = sender_id(sender)?;
        let accounts = match &mut place.store {
            Some(store) => {
                store.revoke(channel, call.value("--account"), sender).map_err(|e| failed(&place.paths, &e))?
            }
            None => Vec::new(),
        };
        if accounts.is_empty() {
            let text = format!("{sender} is not approved; pi-gw pairing list --approved shows who is");
            return Err((exit::FAILED, text));
        }
        if listed(&place.config, &accounts, sender) {
            io.tell(format_args!("{sender} stands in allowFrom of the configuration too: take it out there"));
        }
        let object = json!({"ok": true, "channel": channel, "accounts": accounts, "sender": sender});
        Ok(say(call, io, format!("{sender} may not write to {channel} ({}) any more", accounts.join(", ")), object))
    });
    carried_out(io, done)
}

/// Without the prefix that `allowFrom` takes too. Names can change hands: only numbers count.
fn sender_id(sender: &str) -> Result<&str, Failed> {
    let id = sender.strip_prefix("telegram:").or_else(|| sender.strip_prefix("tg:")).unwrap_or(sender);
    let number = id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0') && id.parse::<i64>().is_ok();
    match !number {
        true => Err((exit::DATA, format!("\"{sender}\" is no sender id: it is a number, such as 123456789"))),
        false => Ok(id),
    }
}

/// The account that is named, or the default one.
fn account(c: &Config, named: Option<&str>) -> Result<String, Failed> {
    let all = &c.channels.telegram.accounts;
    let names = || all.keys().cloned().collect::<Vec<_>>().join(", ");
    match named {
        Some(name) if all.contains_key(name) => Ok(name.to_owned()),
        Some(name) => Err((exit::FAILED, format!("there is no account \"{name}\"; there is: {}", names()))),
        None => {
            let default = all.get_key_value(DEFAULT_ACCOUNT).or_else(|| all.iter().next());
            Ok(default.map_or(DEFAULT_ACCOUNT, |(name, _)| name).to_owned())
        }
    }
}

fn listed(c: &Config, accounts: &[String], sender: &str) -> bool {
    let of = |name: &String| c.channels.telegram.accounts.get(name);
    accounts.iter().filter_map(of).any(|a| a.allow_from.iter().any(|id| id == sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_taken_as_people_write_them() {
        assert_eq!(plain(" abcd-2345 "), "ABCD2345");
        assert_eq!(plain("AB CD 23 45"), "ABCD2345");
    }

    #[test]
    fn ids_are_numbers_with_or_without_the_channel() {
        assert_eq!(sender_id("tg:7").unwrap(), "7");
        assert_eq!(sender_id("telegram:7").unwrap(), "7");
        assert_eq!(sender_id("@ann").unwrap_err().0, exit::DATA);
    }
}
