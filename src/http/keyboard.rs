//! POST `/api/keyboard` (gateway-api.md 1.7): people of a session choose with buttons; the answer is held until they did.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::json::Members;
use super::port::Port;
use super::{send, turn};
use crate::message::{Answer, Choice, ChoiceRequest, Code, Request};

const MOST_OPTIONS: usize = 50;
const LONGEST_OPTION: usize = 50;
/// Milliseconds.
const TIMEOUT: u64 = 120_000;
const HELD: u64 = 290_000;
/// The mind ends it; this is for the case that the mind cannot.
const SLACK: Duration = Duration::from_secs(3);

/// Id and text of each option.
fn options(m: &Members) -> Result<Vec<(String, String)>, Fault> {
    let list = match m.get("options") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        None | Some(Value::Array(_)) => return Err(Fault::invalid("Missing options")),
        Some(_) => return Err(Fault::invalid("options must be an array")),
    };
    if list.len() > MOST_OPTIONS {
        return Err(Fault::invalid(format!("Too many options (max {MOST_OPTIONS})")));
    }
    let mut options = Vec::with_capacity(list.len());
    for option in list {
        let part = |key| option.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(id), Some(text)) = (part("id"), part("text")) else {
            return Err(Fault::invalid("Each option must have id and text"));
        };
        if id.chars().count() > LONGEST_OPTION {
            let id: String = id.chars().take(64).collect();
            return Err(Fault::invalid(format!("Option id too long (max {LONGEST_OPTION} chars): {id}")));
        }
        options.push((id.to_owned(), text.to_owned()));
    }
    Ok(options)
}

pub fn keyboard(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = send::body(call)?;
    let title = m.text("title")?.filter(|title| !title.trim().is_empty());
    let title = title.ok_or_else(|| Fault::invalid("Missing title"))?.to_owned();
    let options = options(&m)?;
    let within = |key: &str, low: u64, high: u64, usual: u64| match m.number(key)? {
        Some(n) if !(low..=high).contains(&n) => Err(Fault::invalid(format!("{key} must be {low} to {high}"))),
        n => Ok(n.unwrap_or(usual)),
    };
    let columns = within("columns", 1, 8, 1)? as usize;
    let timeout = within("timeout", 5_000, 300_000, TIMEOUT)?.min(HELD);
    let place = send::place(port, call, &m)?;
    let channel = place.channel.as_deref().ok_or_else(|| Fault::invalid("Cannot resolve channel"))?.to_owned();
    if place.chat.is_none() {
        return Err(Fault::invalid("Cannot resolve chatId"));
    }
    let _permit = turn::permit(port)?;
    let texts = options.iter().map(|(_, text)| text.clone()).collect();
    let request = ChoiceRequest { session: place.session, title, options: texts, columns, timeout };
    let pending = port.mind.submit(Request::Choose(Box::new(request))).map_err(Fault::from_answer)?;
    let end = Instant::now() + Duration::from_millis(timeout) + SLACK;
    let peek = port.settings.get().times.peek;
    let unchosen = |error: &str| Ok(Reply::json(&json!({"ok": false, "error": error})));
    loop {
        return match pending.wait(peek) {
            Some(Answer::Choice(Choice::Made { option, message })) => {
                let Some((id, text)) = options.get(option) else { return unchosen("cancelled") };
                let mut chosen = json!({"ok": true, "selected": {"id": id, "text": text}});
                if let Some(message) = message {
                    chosen["messageId"] = message.parse::<i64>().map_or_else(|_| message.into(), Value::from);
                }
                Ok(Reply::json(&chosen))
            }
            Some(Answer::Choice(Choice::TimedOut)) => unchosen("timeout"),
            Some(Answer::Choice(Choice::Cancelled)) => unchosen("cancelled"),
            Some(Answer::Error { code: Code::Unsupported, .. }) => {
                Err(Fault::invalid(format!("Channel {channel} does not support inline keyboards")))
            }
            Some(Answer::Error { code: Code::NotFound, message }) if message.starts_with("Channel ") => {
                Err(Fault::new(404, "not_found", message))
            }
            Some(Answer::Error { code: Code::NotFound, .. }) => {
                Err(Fault::new(403, "forbidden", "Invalid or inactive session"))
            }
            // gateway-api.md 1.7: 500 if sending failed
            Some(Answer::Error { code: Code::UpstreamFailed, message }) => {
                Err(Fault::new(500, "upstream_failed", message))
            }
            Some(other) => Err(Fault::from_answer(other)),
            None if ex.gone() => Err(Fault::new(499, "timeout", "The client left")),
            None if Instant::now() >= end => unchosen("timeout"),
            None => continue,
        };
    }
}
