//! The channels: pages, and the accounts on platforms (gateway-api.md 1.11; telegram.md 3).

use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::json::Members;
use super::lists::short;
use super::port::Port;
use crate::clock;
use crate::roster::Known;

const WEBCHAT: &str = "webchat";

fn label(id: &str) -> &str {
    match id {
        WEBCHAT => "WebChat",
        "telegram" => "Telegram",
        other => other,
    }
}

/// Ids of the channels there are.
pub fn ids(port: &Port) -> Vec<String> {
    let mut ids = port.settings.get().channels.clone();
    ids.extend(port.roster.all().into_iter().map(|((channel, _), _)| channel));
    ids.dedup(); // sorted by channel
    ids
}

/// One line of an account for those with the key.
fn account(id: &str, k: &Known, pending: i64) -> Value {
    let ago = k.heard.map(|at| clock::mono().saturating_sub(at));
    let (at, error) = k.error.as_ref().map(|(at, why)| (*at, why.as_str())).unzip();
    json!({
        "id": id, "state": k.stage.word(), "mode": if k.webhook { "webhook" } else { "polling" }, "bot": k.bot,
        "lastPollAgoMs": ago, "updates": k.updates, "pending": pending, "lastError": error, "lastErrorAt": at,
    })
}

/// `channels.status`, and `/api/channels`.
pub fn of(port: &Port) -> Value {
    let all = port.roster.all();
    let owed = port.snapshot().map(|s| s.owed.clone()).unwrap_or_default();
    let pending = |channel: &str, id: &str| owed.iter().find(|o| o.0 == channel && o.1 == id).map_or(0, |o| o.2);
    let channel = |id: String| {
        let page = id == WEBCHAT;
        let capabilities = json!({"direct": true, "group": !page, "thread": !page, "media": page, "streaming": true});
        let mut channel = json!({"id": id, "label": label(&id), "capabilities": capabilities});
        if !page {
            let mine = all.iter().filter(|((channel, _), _)| *channel == id);
            channel["accounts"] = mine.map(|((channel, a), k)| account(a, k, pending(channel, a))).collect();
        }
        channel
    };
    ids(port).into_iter().map(channel).collect()
}

/// GET `/api/channels`
pub fn list(port: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&json!({"channels": of(port)})))
}

/// What health says of accounts that somebody has to look at.
pub fn problems(port: &Port) -> Vec<String> {
    let bad = port.roster.all().into_iter().filter(|(_, k)| k.stage.is_bad());
    bad.map(|((channel, account), k)| {
        let why = k.error.map_or(String::new(), |(_, why)| format!(": {why}"));
        format!("{channel} ({account}) is {}{why}", k.stage.word())
    })
    .collect()
}

/// For `/metrics`. Names of accounts are the operator's own, plain words.
pub fn metrics(port: &Port, o: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    let all = port.roster.all();
    if all.is_empty() {
        return Ok(());
    }
    let now = clock::mono();
    let plain = |name: &str| name.replace(['"', '\\', '\n'], "_");
    let labels = |(channel, account): &(String, String)| {
        format!("{{channel=\"{}\",account=\"{}\"}}", plain(channel), plain(account))
    };
    writeln!(o, "# TYPE pigw_channel_up gauge")?;
    for (name, k) in &all {
        let up = u8::from(k.stage == crate::roster::Stage::Running);
        writeln!(o, "pigw_channel_up{} {up}", labels(name))?;
    }
    writeln!(o, "# TYPE pigw_channel_last_poll_seconds gauge")?;
    for (name, k) in &all {
        if let Some(at) = k.heard {
            let seconds = now.saturating_sub(at) as f64 / 1000.0;
            writeln!(o, "pigw_channel_last_poll_seconds{} {seconds}", labels(name))?;
        }
    }
    writeln!(o, "# TYPE pigw_channel_updates_total counter")?;
    for (name, k) in &all {
        writeln!(o, "pigw_channel_updates_total{} {}", labels(name), k.updates)?;
    }
    Ok(())
}

/// `channels.restart`
pub fn restart_method(port: &Port, m: &Members) -> Result<Value, Fault> {
    let id = m.text("channel")?.filter(|id| !id.is_empty()).ok_or_else(|| Fault::invalid("channel is required"))?;
    let account = m.text("accountId")?.filter(|a| !a.is_empty());
    if port.operator.restart_channel(id, account) {
        return Ok(json!({"ok": true, "channel": id, "accountId": account}));
    }
    let known = ids(port).iter().any(|known| known == id);
    match account {
        Some(account) if known && id != WEBCHAT => {
            Err(Fault::new(404, "not_found", format!("Account not found: {}", short(account))))
        }
        _ if known => {
            Err(Fault::new(400, "unsupported", format!("Channel {id} has no connection that could be restarted")))
        }
        _ => Err(Fault::new(404, "not_found", format!("Channel not found: {}", short(id)))),
    }
}

/// POST `/api/channels/restart`
pub fn restart(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let m = Members::body(&ex.call().body, "Invalid JSON body")?;
    restart_method(port, &m).map(|done| Reply::json(&done))
}
