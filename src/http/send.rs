//! What pi's tools and API clients send to the people of a session: messages, files, actions
//! (gateway-api.md 1.7). WebChat's mailbox is the store; other channels are called, and what they say is waited for.

use std::time::Duration;

use serde_json::{json, Value};

use super::agent;
use super::exchange::{Call, Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::json::{idempotency_key, session_key, Members};
use super::logins::hash;
use super::media::{self, Denied, Spot};
use super::port::Port;
use crate::message::*;
use crate::spool::Note;

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
fn channel<'a>(
    port: &Port,
    place: &'a Place,
    no_channel: &str,
    no_chat: &str,
    no_plugin: &str,
) -> Result<&'a str, Fault> {
    let channel = place.channel.as_deref().ok_or_else(|| Fault::invalid(no_channel))?;
    if place.chat.is_none() {
        return Err(Fault::invalid(no_chat));
    }
    match channel == WEBCHAT || port.settings.get().accounts.iter().any(|(c, _)| c == channel) {
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
pub(super) fn dkey(route: &str, call: &Call, m: &Members, session: &str) -> Result<Option<String>, Fault> {
    let key = match call.head.field("idempotency-key") {
        Some(key) => Some(key),
        None => m.text("idempotencyKey")?,
    };
    let key = key.map(idempotency_key).transpose()?;
    Ok(key.map(|key| format!("http:{route}:{}:{session}:{key}", call.access.class())))
}

/// Longer than the mind waits for a platform.
const CALLED: Duration = Duration::from_secs(25);

/// Sends it: into the mailbox, or on a platform; [`Delivered::ids`] as it or the mailbox has them.
fn record(port: &Port, request: PostRequest) -> Result<Delivered, Fault> {
    deliver(port, Request::Post(Box::new(request)))
}

fn deliver(port: &Port, request: Request) -> Result<Delivered, Fault> {
    match port.mind.ask(request, port.settings.get().times.accept.max(CALLED)) {
        Answer::Posted { id, replayed } => Ok(Delivered { ids: vec![id], replayed, ..Delivered::default() }),
        Answer::Delivered(told) => match told.error {
            Some(why) => Err(Fault::new(502, "upstream_failed", why)),
            None => Ok(*told),
        },
        other => Err(Fault::from_answer(other)),
    }
}

/// The ids, or that it still goes out.
fn sent(mut value: Value, told: &Delivered) -> Value {
    if told.queued {
        value["queued"] = true.into();
    } else if let Some(first) = told.ids.first() {
        value["messageId"] = first.as_str().into();
    }
    if told.ids.len() > 1 {
        value["messageIds"] = told.ids.clone().into();
    }
    value
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
        port,
        &place,
        "Cannot resolve channel from session",
        "Cannot resolve chatId — no messages received in this session yet",
        "Channel plugin not found",
    )?;
    if partial && channel == WEBCHAT {
        let why = format!("Channel \"{channel}\" does not support message editing: send the whole text at once (stream false, no streamMode)");
        return Err(Fault::new(501, "unsupported", why));
    }
    let body_hash = hash(json!([text, reply_to, parse_mode]).to_string().as_bytes());
    let length = text.encode_utf16().count(); // as the original counts
    let post = Post { text, file: None, reply_to: owned(reply_to), parse_mode: owned(parse_mode), ..Post::default() };
    let dkey = dkey("message", call, &m, &place.session)?;
    let told =
        record(port, PostRequest { session: place.session.clone(), post, dkey, body_hash, ..PostRequest::default() })?;
    let value = match channel {
        WEBCHAT => json!({"ok": true, "channel": channel, "textLength": length, "delivered": true}),
        _ => json!({"ok": true, "channel": channel, "textLength": length, "replyTo": reply_to}),
    };
    answered(&sent(value, &told), told.replayed)
}

/// Somebody addresses a place by hand, not the people of their own session.
pub(super) struct Addressed<'a> {
    /// `channel:place`. WebChat's places are the names of its conversations (`webchat:default`), or whole session keys;
    /// Telegram's are `[account:]chatId[:topic:N]`.
    pub to: &'a str,
    pub post: Post,
    /// Of the whole request; a place is part of it.
    pub dkey: Option<String>,
    /// It was written before.
    pub age: Option<Age>,
}

impl Addressed<'_> {
    /// Sends it; true: on a platform that is called.
    pub(super) fn send(self, port: &Port) -> Result<(Delivered, bool), Fault> {
        let Addressed { to, post, dkey, age } = self;
        let target = to.split_once(':').filter(|(channel, target)| !channel.is_empty() && !target.is_empty());
        let (channel, target) = target
            .ok_or_else(|| Fault::invalid("Invalid 'to' format. Use 'channel:target' (e.g. 'telegram:123456')"))?;
        let settings = port.settings.get();
        let accounts: Vec<&str> =
            settings.accounts.iter().filter(|(c, _)| c == channel).map(|(_, id)| id.as_str()).collect();
        let body_hash = match (&post.reply_to, &post.parse_mode, post.silent) {
            (None, None, false) => hash(post.text.as_bytes()),
            asked => hash(json!([post.text, asked]).to_string().as_bytes()),
        };
        let request = PostRequest { post, dkey, body_hash, age, ..PostRequest::default() };
        if !accounts.is_empty() {
            let place = (settings.address.0)(channel, target, &accounts).map_err(Fault::invalid)?;
            return Ok((record(port, PostRequest { target: Some(place), ..request })?, true));
        }
        if channel != WEBCHAT {
            let channel: String = channel.chars().take(64).collect();
            return Err(Fault::new(404, "not_found", format!("Channel not found: {channel}")));
        }
        let home = settings.web_session.clone();
        let session = match home.rsplit_once(':') {
            Some((agent, _)) if !target.starts_with("agent:") => format!("{agent}:{target}"),
            _ => target.to_owned(),
        };
        session_key(&session)?;
        // The main conversation is always there, also before somebody wrote in it.
        let main = session == home;
        if !main && media::place(port, Whose::Key(session.clone()))?.is_none() {
            return Err(Fault::new(404, "not_found", format!("Session not found: {session}")));
        }
        let begin = main.then(|| Source {
            channel: WEBCHAT.into(),
            chat: target.rsplit(':').next().unwrap_or(target).into(),
            sender: "web".into(),
            ..Source::default()
        });
        Ok((record(port, PostRequest { session, begin, ..request })?, false))
    }
}

/// POST `/api/send` `{to: "channel:target", message, parseMode?, replyTo?, silent?}` (1.5).
pub fn send(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let m = Members::body(&call.body, "Invalid JSON body")?;
    let given = |key| m.text(key).map(|text| text.filter(|text| !text.trim().is_empty()));
    let (Some(to), Some(message)) = (given("to")?, given("message")?) else {
        return Err(Fault::invalid("Both 'to' and 'message' are required"));
    };
    let post = Post {
        text: message.to_owned(),
        reply_to: owned(given("replyTo")?),
        parse_mode: owned(one_of(&m, "parseMode", &PARSE_MODES)?),
        silent: m.flag("silent")?,
        file: None,
    };
    let dkey = dkey("send", call, &m, to)?;
    let (told, called) = Addressed { to, post, dkey, age: None }.send(port)?;
    let value = match called {
        false => json!({"ok": true, "messageId": told.ids[0], "messageIds": [&told.ids[0]]}), // a mailbox gives one
        true => {
            let mut value = sent(json!({"ok": true}), &told);
            if !told.queued {
                value["messageIds"] = told.ids.clone().into();
            }
            value
        }
    };
    answered(&value, told.replayed)
}

/// A message that `pi-gw send` left. `Err`: why not, and whether it may be tried again.
pub(super) fn left(port: &Port, id: &str, note: &Note) -> Result<(), (String, bool)> {
    // As it says it to [`send`].
    let parse_mode = match note.form {
        Form::Markdown => "Markdown",
        Form::Html => "HTML",
        Form::Plain => "plain",
    };
    let (text, reply_to, parse_mode) = (note.text.clone(), note.reply_to.clone(), Some(parse_mode.to_owned()));
    let post = Post { text, reply_to, parse_mode, silent: note.silent, file: None };
    let class = port.settings.get().auth.secret().map_or(Access::Open, |_| Access::Bearer).class();
    let dkey = match &note.key {
        Some(key) => format!("http:send:{class}:{}:{key}", note.to),
        None => format!("spool:{id}"),
    };
    let age = Age { since: note.at, life: note.life, sure: note.timed };
    let addressed = Addressed { to: &note.to, post, dkey: Some(dkey), age: Some(age) };
    match addressed.send(port) {
        Ok(_) => Ok(()),
        // It is owed, and the platform said no: as with every reply, the store knows.
        Err(fault) if fault.code == Code::UpstreamFailed.as_str() => Ok(()),
        Err(fault) => {
            let again = !matches!(fault.status, 400 | 404 | 409);
            Err((fault.message, again))
        }
    }
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
        Ok(PostRequest { session: place.session.clone(), post, dkey, body_hash, look, ..PostRequest::default() })
    };
    let spot = Spot::named(path, &place.home.cwd, &s, true).map_err(|_| blocked(path))?;
    let kind = kind.unwrap_or_else(|| guess(&spot.ending()));
    let called = place.channel.as_deref().is_some_and(|c| c != WEBCHAT);
    let sent = |told: Delivered| {
        let mut value = json!({"ok": true, "delivered": !told.queued, "path": path, "type": kind});
        value["channel"] = place.channel.clone().into();
        if !called {
            value["url"] = media::link(&s, &place.home.sid, &spot).into();
        }
        answered(&sent(value, &told), told.replayed)
    };
    let size = there(&spot, &place, &s, called);
    if let Err(fault) = size {
        // Sent before under this key: that holds, whatever became of the file.
        let before = request(Post::default(), true)?;
        return match before.dkey.is_some().then(|| record(port, before)) {
            Some(Ok(told)) => sent(told),
            Some(Err(conflict)) if conflict.code == Code::IdempotencyConflict.as_str() => Err(conflict),
            _ => Err(fault),
        };
    }
    let (no_chat, no_plugin) = ("Cannot resolve chatId from session", "Channel plugin not found");
    channel(port, &place, "Cannot resolve channel from session", no_chat, no_plugin)?;
    let file = PostedFile { path: spot.to_string(), kind: kind.to_owned(), name: spot.name().to_owned() };
    let post = Post { text: caption.to_owned(), file: Some(file), ..Post::default() };
    let told = record(port, PostRequest { size: size.unwrap_or(0), ..request(post, false)? })?;
    sent(told)
}

fn blocked(path: &str) -> Fault {
    let why = match path.starts_with('/') && !path.contains("..") {
        true => "Absolute path not in allowed directories",
        false => "Path blocked by security policy",
    };
    Fault::new(403, "forbidden", why)
}

/// The file can be sent now: its length. Channels that are called have limits of their own.
fn there(spot: &Spot, place: &Place, s: &super::settings::Settings, called: bool) -> Result<u64, Fault> {
    match spot.open(&place.home.cwd, s) {
        Ok((_, data)) if !called && data.len() > s.media_max as u64 => {
            Err(Fault::new(413, "payload_too_large", format!("File too large: at most {} bytes", s.media_max)))
        }
        Ok((_, data)) => Ok(data.len()),
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

/// POST `/api/message/action`: WebChat can do none of them, and no bot of Telegram can read back.
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
    let emoji: Vec<String> = match m.get("emoji") {
        None => Vec::new(),
        Some(Value::String(one)) => Some(one.clone()).filter(|one| !one.is_empty()).into_iter().collect(),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => return Err(Fault::invalid("emoji must be a string or an array of strings")),
    };
    if action == "react" && emoji.is_empty() {
        return Err(Fault::invalid("Missing emoji for react action"));
    }
    if action == "edit" && m.text("text")?.is_none_or(str::is_empty) {
        return Err(Fault::invalid("Missing text for edit action"));
    }
    let place = place(port, call, &m)?;
    let (no_chat, no_plugin) = ("Cannot resolve chatId from session", "Channel plugin not found");
    let channel = channel(port, &place, "Cannot resolve channel from session", no_chat, no_plugin)?;
    if channel == WEBCHAT {
        return Err(Fault::new(501, "unsupported", format!("Channel \"{channel}\" does not support {ability}")));
    }
    if action == "read" {
        return Err(Fault::new(501, "unsupported", "Telegram Bot API does not support reading chat history"));
    }
    let message = m.text("messageId")?.unwrap_or_default().trim().to_owned();
    let text = m.text("text")?.unwrap_or_default().to_owned();
    let (remove, unpin) = (m.flag("remove")?, m.flag("unpin")?);
    let body_hash = hash(json!([action, message, emoji, text, remove, unpin]).to_string().as_bytes());
    let mut value = json!({"ok": true, "action": action, "channel": channel, "messageId": message});
    let act = match action {
        "react" => {
            (value["emoji"], value["remove"]) = (emoji.clone().into(), remove.into());
            Act::React(if remove { Vec::new() } else { emoji })
        }
        "edit" => {
            value["textLength"] = text.encode_utf16().count().into();
            Act::Edit(text)
        }
        "delete" => Act::Delete,
        _ => {
            value["unpin"] = unpin.into();
            Act::Pin(!unpin)
        }
    };
    let dkey = dkey("action", call, &m, &place.session)?;
    let request = ActRequest { session: place.session.clone(), message, act, dkey, body_hash };
    let told = deliver(port, Request::Act(Box::new(request)))?;
    if told.queued {
        value["queued"] = true.into();
    }
    answered(&value, told.replayed)
}
