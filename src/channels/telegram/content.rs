//! What a message says besides its text: forwards, replies, files, places (telegram.md 8). Pure.

use super::api::{File, Message, Origin};
use super::parse::{for_another_bot, Me};

/// Characters of a message that is replied to.
const QUOTED: usize = 300;

/// The text for the agent; `None`: nothing that is to be answered. What it replies to comes apart.
pub fn of(m: &Message, me: &Me, text: &str, files: bool) -> Option<String> {
    if for_another_bot(m, me) {
        return None;
    }
    let head = m.forward_origin.as_deref().map(forwarded);
    let tail = described(m);
    let text = match text {
        "" if files || !tail.is_empty() => String::new(),
        // Only a mention: what it replied to is what is meant.
        "" if m.text.is_some() || m.caption.is_some() => match &m.reply_to_message {
            Some(to) if !to.words().0.is_empty() => to.words().0.to_owned(),
            _ => "(mention)".to_owned(),
        },
        text => text.to_owned(),
    };
    if text.is_empty() && tail.is_empty() && !files {
        return None; // a service message
    }
    let body = [text, tail].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n\n");
    Some(head.into_iter().chain([body].into_iter().filter(|b| !b.is_empty())).collect::<Vec<_>>().join("\n"))
}

/// `[Forwarded | from: … | date: …]`
fn forwarded(o: &Origin) -> String {
    let chat = |label: &str, c: &super::api::Chat| {
        let name = c.username.as_ref().map_or(String::new(), |u| format!("(@{u})"));
        format!("{label}: {}{name}", c.title.clone().unwrap_or_default())
    };
    let mut parts = vec!["Forwarded".to_owned()];
    match o.r#type.as_str() {
        "user" => parts.extend(o.sender_user.as_ref().map(|u| {
            let last = u.last_name.as_ref().map_or(String::new(), |l| format!(" {l}"));
            let name = u.username.as_ref().map_or(String::new(), |n| format!(" (@{n})"));
            format!("from: {}{last}{name}", u.first_name)
        })),
        "hidden_user" => parts.extend(o.sender_user_name.as_ref().map(|n| format!("from: {n}"))),
        "chat" => parts.extend(o.sender_chat.as_ref().map(|c| chat("from chat", c))),
        _ => {
            parts.extend(o.chat.as_ref().map(|c| chat("from channel", c)));
            let public = o.chat.as_ref().and_then(|c| c.username.as_ref()).zip(o.message_id);
            parts.extend(public.map(|(name, id)| format!("link: https://t.me/{name}/{id}")));
        }
    }
    parts.extend(o.author_signature.as_ref().map(|a| format!("author: {a}")));
    if let Ok(at) = jiff::Timestamp::from_second(o.date) {
        parts.push(format!("date: {at}"));
    }
    format!("[{}]", parts.join(" | "))
}

/// What it replies to, unless that is plain: a message of the bot without a quote.
pub fn reply(m: &Message, me: &Me) -> Option<String> {
    if let Some(external) = &m.external_reply {
        let origin = external.origin.as_deref().map(forwarded).unwrap_or_default();
        let quote = m.quote.as_ref().map_or("", |q| q.text.as_str());
        return Some(format!("[Reply to external message] {} {origin}", head(quote)).trim_end().to_owned());
    }
    let to = m.reply_to_message.as_ref().filter(|t| t.forum_topic_created.is_none())?;
    if of_bot(to, me) && m.quote.is_none() {
        return None;
    }
    Some(quoted(to, m.quote.as_ref().map_or(to.words().0, |q| q.text.as_str())))
}

/// What it replies to, if that is a message of the bot and plain only to a conversation that knows it.
pub fn recalled(m: &Message, me: &Me) -> Option<String> {
    let to = m.reply_to_message.as_ref().filter(|t| t.forum_topic_created.is_none())?;
    (of_bot(to, me) && m.quote.is_none()).then(|| quoted(to, to.words().0))
}

fn of_bot(m: &Message, me: &Me) -> bool {
    m.from.as_ref().is_some_and(|f| f.id == me.id)
}

fn quoted(to: &Message, said: &str) -> String {
    format!("[Reply to] {} {}", head(said), hints(to)).trim_end().to_owned()
}

/// On one line: what comes after it is the sender's.
fn head(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn hints(m: &Message) -> String {
    let named = |kind: &str, f: &File| match &f.file_name {
        Some(name) => format!("[{kind}: {name}]"),
        None => format!("[{kind}]"),
    };
    let found = [
        (!m.photo.is_empty()).then(|| "[photo]".to_owned()),
        m.animation.as_ref().map(|_| "[animation/GIF]".to_owned()),
        m.document.as_ref().filter(|_| m.animation.is_none()).map(|f| named("document", f)),
        m.video.as_ref().map(|f| named("video", f)),
        m.audio.as_ref().map(|f| named("audio", f)),
        m.voice.as_ref().map(|_| "[voice message]".to_owned()),
        m.video_note.as_ref().map(|_| "[video note]".to_owned()),
        m.sticker.as_ref().map(|f| format!("[sticker {}]", f.emoji.as_deref().unwrap_or_default())),
    ];
    found.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What is no text and no file.
fn described(m: &Message) -> String {
    if let Some(v) = &m.venue {
        return format!("[Venue: {}, {} ({}, {})]", v.title, v.address, v.location.latitude, v.location.longitude);
    }
    if let Some(l) = &m.location {
        let live = l.live_period.map_or("", |_| " live");
        let accuracy = l.horizontal_accuracy.map_or(String::new(), |a| format!(", accuracy {a} m"));
        return format!("[Location: {}, {}{live}{accuracy}]", l.latitude, l.longitude);
    }
    if let Some(c) = &m.contact {
        let last = c.last_name.as_ref().map_or(String::new(), |l| format!(" {l}"));
        return format!("[Contact: {}{last}, {}]", c.first_name, c.phone_number);
    }
    if let Some(p) = &m.poll {
        let options: Vec<&str> = p.options.iter().map(|o| o.text.as_str()).collect();
        return format!("[Poll: {} — {}]", p.question, options.join(" / "));
    }
    if let Some(d) = &m.dice {
        return format!("[Dice {}: {}]", d.emoji, d.value);
    }
    let unsupported = [
        ("story", &m.story),
        ("paid_media", &m.paid_media),
        ("checklist", &m.checklist),
        ("invoice", &m.invoice),
        ("game", &m.game),
        ("rich_message", &m.rich_message),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, there)| there.is_some()) {
        return format!("[Unsupported message: {field}]");
    }
    super::files::unseen(m).unwrap_or_default()
}
