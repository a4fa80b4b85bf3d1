//! The store: whether it opens and is whole, what is owed, how the last run ended. Read-only.

use super::check::{Check, State};
use super::{files, Context};
use crate::cli::instance::Instance;
use crate::spool::{self, Left};
use crate::store::{Error, Reader};

pub fn check(context: &Context) -> Vec<Check> {
    let path = context.paths.store();
    let shown = path.display();
    let running = !matches!(context.instance, Ok(Instance::None));
    if !path.exists() {
        let none = Check::ok("store", format!("{shown} does not exist yet"));
        return [none].into_iter().chain(spool(context, running)).collect();
    }
    if files::foreign(&path).is_some() {
        // Opening leaves a file beside it that its owner could not write.
        let text = format!("{shown} belongs to another user: not opened");
        return vec![Check::warning("store", text).remedy("run pi-gw doctor as the gateway's user")];
    }
    let reader = match Reader::open(&path) {
        Ok(reader) => reader,
        Err(error) => return vec![failed(format!("{shown} cannot be opened: {error}"), &error)],
    };
    let mut checks = vec![match reader.check() {
        Ok(text) if text == "ok" => Check::ok("store", format!("{shown} is whole")),
        Ok(text) => Check::error("store", format!("{shown} is damaged: {text}")).remedy(DAMAGED),
        Err(error) => failed(format!("{shown} cannot be checked: {error}"), &error),
    }];
    match reader.salvaged() {
        Ok(Some(said)) => checks.push(
            Check::warning("salvage", said).remedy("look whether something is missing, then delete the damaged file"),
        ),
        Ok(None) => {}
        Err(error) => checks.push(failed(format!("{shown}: {error}"), &error)),
    }
    match reader.owed() {
        Ok(owed) => {
            let text = format!(
                "{} waiting, {} being answered, {} to be delivered",
                count(owed.waiting, "message"),
                count(owed.turns, "turn"),
                count(owed.replies, "reply part")
            );
            let total = owed.waiting + owed.turns + owed.replies;
            let state = if total > 0 && !running { State::Warning } else { State::Ok };
            let mut check = Check::new("owed", state, text);
            if state == State::Warning {
                check.remedy = Some("start the gateway: it goes on with them".into());
            }
            checks.push(check);
            if owed.failed > 0 {
                let text = format!("{} could not be delivered", count(owed.failed, "reply part"));
                let remedy = "pi-gw outbox list says why; pi-gw outbox retry ID sends it again, drop ID forgets it";
                checks.push(Check::warning("undelivered", text).remedy(remedy));
            }
        }
        Err(error) => checks.push(failed(format!("{shown}: {error}"), &error)),
    }
    checks.extend(spool(context, running));
    match reader.closed() {
        // A running one is always open.
        Ok(false) if !running => checks.push(
            Check::warning("last run", "ended without closing the store (killed, crashed or power cut)")
                .remedy("nothing is lost; the log of the time, or journalctl, may say why"),
        ),
        Ok(_) => {}
        Err(error) => checks.push(failed(format!("{shown}: {error}"), &error)),
    }
    checks
}

/// What `pi-gw send` left for the gateway.
fn spool(context: &Context, running: bool) -> Vec<Check> {
    let dir = context.paths.spool_dir();
    let all = match spool::all(&dir) {
        Ok(all) => all,
        Err(e) => {
            let check = Check::error("spool", format!("{}: {e}", dir.display()));
            return vec![check.remedy("change its owner or rights")];
        }
    };
    let (aside, waiting): (Vec<_>, Vec<_>) = all.iter().partition(|left| left.aside);
    let mut checks = Vec::new();
    if !waiting.is_empty() && !running {
        let text =
            format!("{} of pi-gw send {} for a gateway", count(waiting.len() as i64, "message"), waits(&waiting));
        checks.push(Check::warning("spool", text).remedy("start the gateway: it sends what is not too old"));
    }
    if !aside.is_empty() {
        let text = format!("{} of pi-gw send could not be sent", count(aside.len() as i64, "message"));
        let remedy = "pi-gw outbox list says why; pi-gw outbox retry ID sends it all the same, drop ID forgets it";
        checks.push(Check::warning("spool", text).remedy(remedy));
    }
    checks
}

fn waits(all: &[&Left]) -> &'static str {
    if all.len() == 1 {
        "waits"
    } else {
        "wait"
    }
}

const DAMAGED: &str =
    "stop the gateway, make an empty file gateway.db.damaged beside it and start: what can be read is saved";

fn failed(text: String, error: &Error) -> Check {
    let check = Check::error("store", text);
    match error {
        Error::Corrupt(_) => check.remedy(DAMAGED),
        Error::Newer(_) => check.remedy("install the newer version of pi-gw again"),
        Error::Busy => check.remedy("try again in a moment"),
        Error::Full => check.remedy("make room on the disk"),
        Error::ReadOnly(_) | Error::Other(_) => check.remedy("look at the rights of the data directory"),
    }
}

fn count(n: i64, what: &str) -> String {
    format!("{n}{} {what}{}", if n >= crate::store::MANY { " or more" } else { "" }, if n == 1 { "" } else { "s" })
}
