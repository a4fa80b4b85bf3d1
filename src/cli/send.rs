//! `pi-gw send`: a message from a script or from cron (config.md 10.1).
//!
//! Through the running gateway where there is one, so that it keeps its order and its pace; else this process calls the
//! platform itself. No question is ever asked, nothing is waited for beyond `--timeout`, and the exit code tells "try
//! again" from "broken".

mod direct;
mod goal;
mod keys;
mod order;
mod through;

use std::io;

use serde_json::{json, Value};

use super::pairing::{usage, Failed};
use super::{exit, instance, written, Call, Io};
use crate::config::types::OnAmbiguous;
use crate::config::Env;
use crate::message::{Content, Target};
use crate::spool::{self, Note};
use crate::store::{random_id, Beside};
use crate::{clock, gateway};

use goal::Goal;
use order::{Order, Via};

/// How far it came.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    ids: Vec<String>,
    /// Messages that a long text became.
    chunks: usize,
    /// It was not sent by us, but will be: by whom.
    left: Option<&'static str>,
}

/// It did not come through.
#[derive(Debug, PartialEq)]
struct Failure {
    code: u8,
    why: String,
    /// Messages that are there, of how many.
    sent: usize,
    of: usize,
    /// It may be there all the same.
    doubt: bool,
    /// In doubt, because the gateway was given it under our key: given to it once more it is the same message.
    keyed: bool,
}

impl Failure {
    fn new(code: u8, why: impl Into<String>) -> Failure {
        Failure { code, why: why.into(), sent: 0, of: 0, doubt: false, keyed: false }
    }
}

/// `pi-gw send`
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let places = call.all("--to");
    if places.is_empty() {
        io.tell("--to is missing: where to?");
        return usage(call, io);
    }
    let order = match order::read(call, env) {
        Ok(Some(order)) => order,
        // A pipe that had nothing to say, as in a crontab.
        Ok(None) if call.value("--message") == Some("-") => {
            if !call.has("--quiet") {
                io.tell("standard input is empty: nothing is sent");
            }
            return exit::OK;
        }
        Ok(None) => {
            io.tell("there is nothing to send: give --message, --file, or the text on standard input");
            return usage(call, io);
        }
        Err((exit::USAGE, why)) => {
            io.tell(why);
            return usage(call, io);
        }
        Err((code, why)) => {
            io.tell(why);
            return code;
        }
    };
    // Every place is looked at before anything is sent.
    let mut store = None;
    let goals: Result<Vec<Goal>, Failed> = places.iter().map(|to| goal::find(to, &order, &mut store)).collect();
    let goals = match goals {
        Ok(goals) => goals,
        Err((code, why)) => {
            io.tell(why);
            return code;
        }
    };
    let mut worst = exit::OK;
    for goal in &goals {
        let code = match order.dry {
            true => written(dry(call, io, &order, goal), io),
            false => {
                let done = deliver(&order, goal);
                let code = done.as_ref().map_or_else(|failure| failure.code, |_| exit::OK);
                match (written(report(call, io, goal, &done), io), code) {
                    (exit::OK, code) => code,
                    (broken, exit::OK) => broken,
                    (_, code) => code,
                }
            }
        };
        worst = worse(worst, code);
    }
    worst
}

/// What cannot be mended by trying again counts more.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code| match code {
        exit::OK => 0,
        exit::TEMPORARY => 1,
        _ => 2,
    };
    if rank(b) > rank(a) {
        b
    } else {
        a
    }
}

/// The messages that go to a platform, in order.
fn parts(order: &Order, target: &Target) -> Vec<Content> {
    let mut all = Vec::new();
    if !order.text.trim().is_empty() {
        let content = Content { text: order.text.clone(), form: order.form, ..Content::default() };
        all.extend(gateway::render(&order.config, target, content, None));
    }
    for (n, file) in order.files.iter().enumerate() {
        let text = if n == 0 { order.caption.clone() } else { String::new() };
        let content = Content { text, form: order.form, file: Some(file.clone()), ..Content::default() };
        all.extend(gateway::render(&order.config, target, content, None));
    }
    for part in &mut all {
        part.silent = order.silent;
    }
    if let Some(first) = all.first_mut() {
        first.reply_to.clone_from(&order.reply_to);
    }
    all
}

/// What may have arrived is sent once more.
fn again(order: &Order) -> bool {
    order.config.delivery.on_ambiguous == OnAmbiguous::Resend
}

fn deliver(order: &Order, goal: &Goal) -> Result<Sent, Failure> {
    let claim = match &order.key {
        None => None,
        Some(key) => match keys::claim(&order.paths.send_keys_dir(), key, &goal.to_string(), again(order)) {
            Ok(Some(claim)) => Some(claim),
            Ok(None) => return Ok(Sent { left: Some("duplicate"), ..Sent::default() }),
            Err(e) => {
                let dir = order.paths.send_keys_dir();
                return Err(Failure::new(
                    exit::CANNOT_WRITE,
                    format!("the key cannot be kept in {}: {e}", dir.display()),
                ));
            }
        },
    };
    let key = claim.as_ref().map_or_else(|| random_id(22), |claim| claim.nonce.clone());
    let done = by_the_way(order, goal, &key).or_else(|failure| spooled(order, goal, &key, failure));
    match (claim, &done) {
        (None, _) => {}
        // The next one says to the gateway that it is the same.
        (Some(_), Err(Failure { keyed: true, .. })) => {}
        (Some(claim), Err(Failure { sent: 0, doubt, .. })) if !doubt || again(order) => claim.give_back(),
        (Some(claim), _) => drop(claim.done()), // unmarked, the next one sends it again: better than never
    }
    done
}

fn by_the_way(order: &Order, goal: &Goal, key: &str) -> Result<Sent, Failure> {
    let Goal::Chat(target) = goal else {
        return match (order.via, order.files.is_empty()) {
            (Via::Direct, _) => Err(Failure::new(exit::DATA, format!("{goal} is reached through a gateway only"))),
            (_, false) => Err(Failure::new(exit::DATA, format!("files cannot be sent to {goal}"))),
            _ => through::send(order, goal, key)?.ok_or_else(|| no_gateway(order)),
        };
    };
    // A gateway may not read what the caller may.
    let through = order.via == Via::Gateway || (order.via == Via::Auto && order.files.is_empty());
    if through {
        if !order.files.is_empty() {
            return Err(Failure::new(exit::DATA, "files are sent with --via direct"));
        }
        if let Some(sent) = through::send(order, goal, key)? {
            return Ok(sent);
        }
        if order.via == Via::Gateway {
            return Err(no_gateway(order));
        }
    }
    match parts(order, target) {
        parts if parts.is_empty() => Err(Failure::new(exit::DATA, "there is nothing in it that can be shown")),
        parts => direct::send(order, target, parts),
    }
}

fn no_gateway(order: &Order) -> Failure {
    let why = format!("no gateway runs on {}; start one with: pi-gw gateway", order.paths.data_root().display());
    Failure::new(exit::UNAVAILABLE, why)
}

/// What failed for now is left for the gateway, if that is wished.
fn spooled(order: &Order, goal: &Goal, key: &str, failure: Failure) -> Result<Sent, Failure> {
    let for_now = matches!(failure.code, exit::TEMPORARY | exit::UNAVAILABLE);
    let doubtful = failure.doubt && !failure.keyed && !again(order);
    if !order.spool || !for_now || failure.sent > 0 || doubtful {
        return Err(failure);
    }
    let note = Note {
        at: clock::now().wall,
        to: goal.to_string(),
        text: order.text.clone(),
        form: order.form,
        reply_to: order.reply_to.clone(),
        silent: order.silent,
        key: Some(key.to_owned()),
        life: order.life,
        timed: order.timed,
        why: None,
    };
    let dir = order.paths.spool_dir();
    if let Err(e) = spool::leave(&dir, &note, &random_id(12)) {
        let why = format!("{}; and it cannot be spooled: {}: {e}", failure.why, dir.display());
        return Err(Failure { why, ..failure });
    }
    let _ = instance::poke(&order.paths.pid_file()); // one that cannot be told finds it at its next start
    Ok(Sent { left: Some("spooled"), ..Sent::default() })
}

fn report(call: &Call, io: &mut Io<'_>, goal: &Goal, done: &Result<Sent, Failure>) -> io::Result<u8> {
    let (json, quiet) = (call.has("--json"), call.has("--quiet"));
    match done {
        Ok(sent) => {
            if json {
                let mut value = goal.to_json();
                (value["ok"], value["messageIds"], value["chunks"]) =
                    (true.into(), json!(sent.ids), json!(sent.chunks));
                if let Some(left) = sent.left {
                    value[left] = true.into();
                }
                io.say(value)?;
            }
            match sent.left {
                Some(left) if !quiet && !json => io.tell(format_args!("{goal}: {left}")),
                None if !quiet && !json => {
                    let ids = sent.ids.join(", ");
                    io.say(format_args!("sent {goal} message {ids}"))?;
                }
                _ => {}
            }
        }
        Err(failure) => {
            if json {
                let mut value = goal.to_json();
                (value["ok"], value["error"], value["code"]) = (false.into(), json!(failure.why), json!(failure.code));
                (value["chunks"], value["chunksSent"]) = (json!(failure.of), json!(failure.sent));
                io.say(value)?;
            }
            let partly = match failure.sent {
                0 => String::new(),
                n => format!(" ({n} of {} messages were sent)", failure.of),
            };
            // Said once, and here.
            let known = ["not sent: ", "sent, but the outcome is unknown: "];
            let why = known.iter().find_map(|known| failure.why.strip_prefix(known)).unwrap_or(&failure.why);
            let perhaps = if failure.doubt { "perhaps " } else { "" };
            io.tell(format_args!("{perhaps}not sent to {goal}: {why}{partly}"));
        }
    }
    Ok(exit::OK)
}

fn dry(call: &Call, io: &mut Io<'_>, order: &Order, goal: &Goal) -> io::Result<u8> {
    let texts: Vec<Value> = match goal {
        Goal::Chat(target) => parts(order, target).iter().map(shown).collect(),
        Goal::Page(_) => vec![order.text.clone().into()],
    };
    if call.has("--json") {
        let mut value = goal.to_json();
        value["chunks"] = texts.into();
        io.say(value)?;
        return Ok(exit::OK);
    }
    io.say(format_args!("to {goal}: {} message(s)", texts.len()))?;
    for text in texts {
        io.say(format_args!("---\n{}", text.as_str().unwrap_or_default()))?;
    }
    Ok(exit::OK)
}

fn shown(part: &Content) -> Value {
    match &part.file {
        Some(file) => format!("[{}] {}", file.name(), part.text).trim_end().into(),
        None => part.text.clone().into(),
    }
}

/// The store, opened when it is first needed: it may be missing or damaged where nobody asks for it.
fn beside<'a>(order: &Order, store: &'a mut Option<Beside>) -> Result<&'a Beside, Failed> {
    if store.is_none() {
        *store = Beside::open(&order.paths.store()).map_err(|e| super::pairing::failed(&order.paths, &e))?;
    }
    let none = || (exit::FAILED, "there are no conversations yet".to_owned());
    store.as_ref().ok_or_else(none)
}
