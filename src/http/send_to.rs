//! POST `/api/send`: a message to any chat, named as `channel:target` (gateway-api.md 1.5, 1.7). WebChat is the only
//! channel so far; its target is the last part of a session's key.

use serde_json::json;

use super::exchange::{Exchange, Handled};
use super::fault::Fault;
use super::json::session_key;
use super::logins::hash;
use super::port::Port;
use super::send::{answered, body, dkey, record, WEBCHAT};
use crate::message::{Post, PostRequest};

/// Channel and target; the target may have further colons.
fn address(to: &str) -> Result<(&str, &str), Fault> {
    let parts = to.split_once(':').filter(|(channel, target)| !channel.is_empty() && !target.is_empty());
    parts.ok_or_else(|| Fault::invalid("Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')"))
}

pub fn to(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = body(call)?;
    let filled = |key| m.text(key).map(|text| text.filter(|text| !text.trim().is_empty()));
    let (Some(to), Some(message)) = (filled("to")?, filled("message")?) else {
        return Err(Fault::invalid("Both 'to' and 'message' are required"));
    };
    let (channel, target) = address(to)?;
    if channel != WEBCHAT {
        let channel: String = channel.chars().take(64).collect();
        return Err(Fault::new(404, "not_found", format!("Channel not found: {channel}")));
    }
    let s = port.settings.get();
    let agent = s.web_session.split(':').nth(1).unwrap_or("main");
    let session = format!("agent:{agent}:{WEBCHAT}:{target}");
    session_key(&session)?;
    let request = PostRequest {
        dkey: dkey("send", call, &m, &session)?,
        body_hash: hash(message.as_bytes()),
        post: Post { text: message.to_owned(), ..Post::default() },
        session,
        look: false,
    };
    let (id, replayed) = record(port, request)?;
    answered(&json!({"ok": true, "messageId": id, "messageIds": [id]}), replayed)
}
