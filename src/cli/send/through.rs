//! Through the gateway that runs on this data directory: it keeps the order, the pace and the message.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::goal::Goal;
use super::{exit, Failure, Order, Sent};
use crate::cli::instance::{self, Instance};
use crate::message::Form;

/// A gateway that does not take the connection by then does not answer.
const CONNECT: Duration = Duration::from_millis(300);

/// `Ok(None)`: none runs, or it does not answer; nothing was sent then.
pub fn send(order: &Order, goal: &Goal, key: &str) -> Result<Option<Sent>, Failure> {
    let Ok(Instance::Running { url, .. }) = instance::find(&order.paths.pid_file()) else { return Ok(None) };
    let Some(at) = instance::reachable(&url) else { return Ok(None) };
    let secret = instance::secret(&order.config, &order.paths, at);
    let form = match order.form {
        Form::Markdown => "Markdown",
        Form::Html => "HTML",
        Form::Plain => "plain",
    };
    let body = json!({
        "to": goal.to_string(), "message": order.text, "parseMode": form, "replyTo": order.reply_to,
        "silent": order.silent, "idempotencyKey": key,
    });
    if std::net::TcpStream::connect_timeout(&at, CONNECT).is_err() {
        return Ok(None);
    }
    let left = order.deadline.saturating_duration_since(Instant::now());
    let secret = secret.as_ref().map(|secret| secret.expose());
    let answer = instance::post(at, "/api/send", secret, &body.to_string(), left);
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(e) => {
            let e = match e.kind() {
                io::ErrorKind::TimedOut => format!("no answer within {} s (--timeout)", order.timeout.as_secs()),
                _ => e.to_string(),
            };
            let why = format!("the gateway at {url}: {e}; it may have taken it all the same");
            return Err(Failure { doubt: true, keyed: true, ..Failure::new(exit::TEMPORARY, why) });
        }
    };
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    if status == 200 && said["queued"] == true {
        return Ok(Some(Sent { left: Some("queued"), ..Sent::default() }));
    }
    if status == 200 {
        let ids = said["messageIds"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let ids: Vec<String> = ids.collect();
        return Ok(Some(Sent { chunks: ids.len(), ids, left: None }));
    }
    let why = said["error"]["message"].as_str().or(said["error"].as_str()).or(said["message"].as_str());
    let code = match status {
        400 => exit::DATA,
        401 | 403 => exit::PERMISSION,
        429 | 503 | 504 => exit::TEMPORARY,
        _ => exit::FAILED,
    };
    let why = match status {
        401 => instance::REFUSED.to_owned(),
        _ => why.map_or_else(|| format!("answer {status}"), str::to_owned),
    };
    Err(Failure::new(code, format!("the gateway at {url}: {why}")))
}
