//! What pi's tools and API clients send to the people of a session: messages, files, actions
//! (gateway-api.md 1.7). Which channels can be sent to is decided here as long as WebChat is the only one.

use serde_json::{json, Value};

use super::agent;
use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::json::{idempotency_key, session_key, Members};
use super::logins::hash;
use super::media::{self, Denied, Spot};
use super::port::Port;
use crate::message::{Answer, Code, Place, Post, PostRequest, PostedFile, Request, Whose};

/// The channel whose mailbox is the store.
const WEBCHAT: &str = "webchat";
const KINDS: [&str; 5] = ["photo", "audio", "video", "document", "sticker"];
const PARSE_MODES: [&str; 3] = ["Markdown", "HTML", "plain"];

pub(super) fn body(call: &Call) -> Result<Members, Fault> {
    Members::body(&call.body, "Invalid JSON")
}

/// The session that the caller may send to: a pi process its own, others the one they name.
pub(super) fn place(port: &Port, call: &Call, m: &Members) -> Result<Place, Fault> {
    let inactive = || Fault::new(403, "forbidden", "Invalid or inactive session");
    let key = match call.access {
        Access::Pi(_) => agent::session(port, call)?,
        _ => {
            let key = m.text("sessionKey")?.map(str::trim).filter(|key| !key.is_empty());
            session_key(key.ok_or_else(|| Fault::invalid("Missing sessionKey or token"))?)?.to_owned()
        }
    };
    media::place(port, Whose::Key(key))?.ok_or_else(inactive)
}

/// The channel and whether it has a chat to send to, in the order of 1.7's checks.
fn channel<'a>(place: &'a Place, no_channel: &str, no_chat: &str, no_plugin: &str) -> Result<&'a str, Fault> {
    let channel = place.channel.as_deref().ok_or_else(|| Fault::invalid(no_channel))?;
    if place.chat.is_none() {
        return Err(Fault::invalid(no_chat));
    }
    match channel == WEBCHAT {
        true => Ok(channel),
        false => Err(Fault::new(404, "not_found", format!("{no_plugin}: {channel}"))),
    }
}

fn one_of<'a>(m: &'a Members, key: &str, words: &[&str]) -> Result<Option<&'a str>, Fault> {
    match m.text(key)? {
        Some(word) if !words.contains(&word) => {
            Err(Fault::invalid(format!("{key} must be one of: {}", words.join(", "))))
        }
        word => Ok(word),
    }
}

/// The key under which the send is found again (R50): route, credential and session are its scope.
fn dkey(route: &str, call: &Call, m: &Members, session: &str) -> Result<Option<String>, Fault> {
    let key = match call.head.field("idempotency-key") {
        Some(key) => Some(key),
        None => m.text("idempotencyKey")?,
    };
    let key = key.map(idempotency_key).transpose()?;
    Ok(key.map(|key| format!("http:{route}:{}:{session}:{key}", call.access.class())))
}

/// Records it; the external id, and whether it was recorded before.
fn record(port: &Port, request: PostRequest) -> Result<(String, bool), Fault> {
    match port.mind.ask(Request::Post(Box::new(request)), port.settings.get().times.accept) {
        Answer::Posted { id, replayed } => Ok((id, replayed)),
        other => Err(Fault::from_answer(other)),
    }
}

fn answered(value: &Value, replayed: bool) -> Handled {
    let reply = Reply::json(value);
    Ok(if replayed { reply.with("Idempotent-Replay", "true") } else { reply })
}

/// POST `/api/message/send`. A caller that means to send a beginning now and to edit the rest into it (`stream`, or
/// `streamMode: "draft"`, as the original's tool does beyond 200 characters) is refused where nothing can be edited:
/// people would see the first words only, and the tool would call that sent.
pub fn message(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = body(call)?;
    let text = m.text("text")?.filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| Fault::invalid("Missing text"))?.to_owned();
    let (reply_to, parse_mode) = (m.text("replyTo")?, one_of(&m, "parseMode", &PARSE_MODES)?);
    let partial = m.flag("stream")? || m.text("streamMode")? == Some("draft");
    let place = place(port, call, &m)?;
    let channel = channel(
        &place,
        "Cannot resolve channel from session",
        "Cannot resolve chatId — no messages received in this session yet",
        "Channel plugin not found",
    )?;
    if partial {
        let why = format!("Channel \"{channel}\" does not support message editing: send the whole text at once (stream false, no streamMode)");
        return Err(Fault::new(501, "unsupported", why));
    }
    let body_hash = hash(json!([text, reply_to, parse_mode]).to_string().as_bytes());
    let length = text.encode_utf16().count(); // as the original counts
    let post = Post { text, file: None, reply_to: owned(reply_to), parse_mode: owned(parse_mode) };
    let dkey = dkey("message", call, &m, &place.session)?;
    let (id, replayed) =
        record(port, PostRequest { session: place.session.clone(), post, dkey, body_hash, look: false })?;
    let sent = json!({"ok": true, "channel": channel, "textLength": length, "delivered": true, "messageId": id});
    answered(&sent, replayed)
}

/// POST `/api/send` `{to: "channel:target", message}` (1.5). WebChat's targets are the names of its conversations
/// (`webchat:default`), or whole session keys.
pub fn send(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = Members::body(&call.body, "Invalid JSON body")?;
    let given = |key| m.text(key).map(|text| text.filter(|text| !text.trim().is_empty()));
    let (Some(to), Some(message)) = (given("to")?, given("message")?) else {
        return Err(Fault::invalid("Both 'to' and 'message' are required"));
    };
    let target = to.split_once(':').filter(|(channel, target)| !channel.is_empty() && !target.is_empty());
    let (channel, target) =
        target.ok_or_else(|| Fault::invalid("Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')"))?;
    if channel != WEBCHAT {
        let channel: String = channel.chars().take(64).collect();
        return Err(Fault::new(404, "not_found", format!("Channel not found: {channel}")));
    }
    let home = port.settings.get().web_session.clone();
    let session = match home.rsplit_once(':') {
        Some((agent, _)) if !target.starts_with("agent:") => format!("{agent}:{target}"),
        _ => target.to_owned(),
    };
    session_key(&session)?;
    if media::place(port, Whose::Key(session.clone()))?.is_none() {
        return Err(Fault::new(404, "not_found", format!("Session not found: {session}")));
    }
    let post = Post { text: message.to_owned(), ..Post::default() };
    let dkey = dkey("send", call, &m, &session)?;
    let body_hash = hash(message.as_bytes());
    let (id, replayed) = record(port, PostRequest { session, post, dkey, body_hash, look: false })?;
    answered(&json!({"ok": true, "messageId": id, "messageIds": [id]}), replayed)
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// POST `/api/media/send`
pub fn media(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (s, call) = (port.settings.get(), ex.call());
    let m = body(call)?;
    let path = m.text("path")?.filter(|path| !path.trim().is_empty());
    let path = path.ok_or_else(|| Fault::invalid("Missing path"))?;
    let (caption, kind) = (m.text("caption")?.unwrap_or_default(), one_of(&m, "type", &KINDS)?);
    let place = place(port, call, &m)?;
    let request = |post, look| -> Result<PostRequest, Fault> {
        let body_hash = hash(json!([path, caption, kind]).to_string().as_bytes());
        let dkey = dkey("media", call, &m, &place.session)?;
        Ok(PostRequest { session: place.session.clone(), post, dkey, body_hash, look })
    };
    let spot = Spot::named(path, &place.home.cwd, &s, true).map_err(|_| blocked(path))?;
    let kind = kind.unwrap_or_else(|| guess(&spot.ending()));
    let sent = |id: String, replayed| {
        let url = media::link(&s, &place.home.sid, &spot);
        let sent = json!({
            "ok": true, "delivered": true, "url": url, "path": path, "type": kind, "channel": WEBCHAT, "messageId": id,
        });
        answered(&sent, replayed)
    };
    if let Err(fault) = there(&spot, &place, &s) {
        // Sent before under this key: that holds, whatever became of the file.
        let before = request(Post::default(), true)?;
        return match before.dkey.is_some().then(|| record(port, before)) {
            Some(Ok((id, replayed))) => sent(id, replayed),
            Some(Err(conflict)) if conflict.code == Code::IdempotencyConflict.as_str() => Err(conflict),
            _ => Err(fault),
        };
    }
    let (no_chat, no_plugin) = ("Cannot resolve chatId from session", "Channel plugin not found");
    channel(&place, "Cannot resolve channel from session", no_chat, no_plugin)?;
    let file = PostedFile { path: spot.to_string(), kind: kind.to_owned(), name: spot.name().to_owned() };
    let post = Post { text: caption.to_owned(), file: Some(file), ..Post::default() };
    let (id, replayed) = record(port, request(post, false)?)?;
    sent(id, replayed)
}

fn blocked(path: &str) -> Fault {
    let why = match path.starts_with('/') && !path.contains("..") {
        true => "Absolute path not in allowed directories",
        false => "Path blocked by security policy",
    };
    Fault::new(403, "forbidden", why)
}

/// The file can be sent now.
fn there(spot: &Spot, place: &Place, s: &super::settings::Settings) -> Result<(), Fault> {
    match spot.open(&place.home.cwd, s) {
        Ok((_, data)) if data.len() > s.media_max as u64 => {
            Err(Fault::new(413, "payload_too_large", format!("File too large: at most {} bytes", s.media_max)))
        }
        Ok(_) => Ok(()),
        Err(Denied::Absent) => Err(Fault::new(404, "not_found", "File not found")),
        Err(Denied::Refused) => Err(Fault::new(403, "forbidden", "Media path blocked or file not found")),
        Err(Denied::Broken(e)) => Err(Fault::new(500, "internal", format!("The file cannot be read: {e}"))),
    }
}

/// What a file is sent as, by its ending (1.7).
fn guess(ending: &str) -> &'static str {
    match ending {
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "bmp" => "photo",
        "mp3" | "ogg" | "wav" | "m4a" | "flac" | "aiff" | "aac" | "opus" | "wma" => "audio",
        "mp4" | "webm" | "mov" | "avi" => "video",
        _ => "document",
    }
}

/// POST `/api/message/action`: WebChat can do none of them.
pub fn action(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = body(call)?;
    let action = m.text("action")?.unwrap_or_default();
    let ability = match action {
        "react" => "reactions",
        "edit" => "message editing",
        "delete" => "message deletion",
        "pin" => "pinning",
        "read" => "read history",
        _ => {
            let action: String = action.chars().take(64).collect();
            let why = format!("Invalid action: \"{action}\". Must be one of: react, edit, delete, pin, read");
            return Err(Fault::invalid(why));
        }
    };
    if action != "read" && m.text("messageId")?.is_none_or(|id| id.trim().is_empty()) {
        return Err(Fault::invalid("Missing messageId"));
    }
    let no_emoji = match m.get("emoji") {
        None => true,
        Some(Value::String(one)) => one.is_empty(),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => list.is_empty(),
        Some(_) => return Err(Fault::invalid("emoji must be a string or an array of strings")),
    };
    if action == "react" && no_emoji {
        return Err(Fault::invalid("Missing emoji for react action"));
    }
    if action == "edit" && m.text("text")?.is_none_or(str::is_empty) {
        return Err(Fault::invalid("Missing text for edit action"));
    }
    let place = place(port, call, &m)?;
    let (no_chat, no_plugin) = ("Cannot resolve chatId from session", "Channel plugin not found");
    let channel = channel(&place, "Cannot resolve channel from session", no_chat, no_plugin)?;
    Err(Fault::new(501, "unsupported", format!("Channel \"{channel}\" does not support {ability}")))
}
