//! An update as a message for the mind (telegram.md 4.4, 5, 6, 8). Pure.

use super::api::{Chat, Entity, Message, Update, User};
use super::content;
use super::files;
use super::utf16;
use crate::message::{ChatType, Facts, Inbound, Source, Update as Incoming};

/// Who this bot is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Me {
    pub id: i64,
    /// Without `@`.
    pub username: String,
}

/// Linked channels and Telegram itself write under this id.
const TELEGRAM: i64 = 777_000;
/// Messages older than that are not answered any more, seconds.
const TOO_OLD: i64 = 24 * 3600;

/// What of an update is for the mind; `None`: nothing.
pub fn update(u: &Update, me: &Me, account: &str, now: i64) -> Option<Incoming> {
    match (&u.message, &u.edited_message) {
        (Some(m), _) => message(u.update_id, m, me, account, now).map(Incoming::Message),
        (None, Some(m)) => message(u.update_id, m, me, account, now).map(Incoming::Edited),
        (None, None) => None,
    }
}

fn message(update: i64, m: &Message, me: &Me, account: &str, now: i64) -> Option<Inbound> {
    let source = source(m, me, account)?;
    if now - m.date > TOO_OLD {
        log::warn!("telegram: message {} in {} is older than a day and was passed over", m.message_id, m.chat.id);
        return None;
    }
    let (text, mentioned) = spoken(m, me);
    let files = files::of(m);
    let content = content::of(m, me, &text, !files.is_empty())?;
    let key = |edit: i64| format!("tg:{}:{}:{}:{edit}", me.id, m.chat.id, m.message_id);
    let topic = (m.chat.is_forum && !m.is_topic_message).then(|| "1".to_owned());
    Some(Inbound {
        dkey: format!("tg:{}:{update}", me.id),
        dkey2: Some(key(m.edit_date.unwrap_or(0))),
        source,
        text: content,
        replies_to: content::reply(m, me),
        files,
        group: m.media_group_id.clone(),
        forwarded: m.forward_origin.is_some(),
        quote: content::recalled(m, me),
        original: m.edit_date.map(|_| key(0)),
        facts: Facts { mentioned, topic, replies: m.reply_to_message.as_ref().map(|to| to.message_id.to_string()) },
        ..Inbound::default()
    })
}

/// Who wrote, and where; `None`: nobody who is to be answered.
fn source(m: &Message, me: &Me, account: &str) -> Option<Source> {
    let from = m.from.clone().unwrap_or_default();
    if from.id == me.id || m.is_automatic_forward {
        return None;
    }
    // Anonymous administrators and linked channels write as a chat.
    let (sender, name) = match &m.sender_chat {
        Some(chat) if from.id == 0 || from.is_bot || from.id == TELEGRAM => (chat.id, chat.title.clone()),
        _ => (from.id, Some(from.label())),
    };
    if sender == 0 || (from.is_bot && m.sender_chat.is_none()) {
        return None;
    }
    Some(Source {
        sender: sender.to_string(),
        sender_name: name.filter(|n| !n.is_empty()),
        message_id: Some(m.message_id.to_string()),
        thread: topic(m).map(|t| t.to_string()),
        ..place(&m.chat, account)
    })
}

/// Somewhere in that chat; who wrote there, and in which topic, says the caller.
pub fn place(chat: &Chat, account: &str) -> Source {
    Source {
        channel: super::NAME.into(),
        account: Some(account.to_owned()),
        chat_type: match chat.r#type.as_str() {
            "private" => ChatType::Dm,
            "channel" => ChatType::Channel,
            _ => ChatType::Group,
        },
        chat: chat.id.to_string(),
        chat_name: chat.title.clone(),
        ..Source::default()
    }
}

/// The topic. In chats without topics `message_thread_id` only names a chain of replies.
pub fn topic(m: &Message) -> Option<i64> {
    m.message_thread_id.filter(|_| m.is_topic_message)
}

/// The text without the bot's own mentions, and whether the bot is spoken to.
fn spoken(m: &Message, me: &Me) -> (String, bool) {
    let (text, entities) = m.words();
    let own = format!("@{}", me.username);
    let is_me = |name: &str| !me.username.is_empty() && name.eq_ignore_ascii_case(&own);
    let mut mentioned = replies_to(m, me);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for e in entities {
        let Some(range) = utf16::range(text, e.offset, e.length).filter(|r| r.start >= at) else { continue };
        let span = &text[range.clone()];
        let mine = match e.r#type.as_str() {
            "mention" => is_me(span),
            "text_mention" => e.user.as_ref().is_some_and(|u| u.id == me.id),
            "bot_command" => {
                // `/name@bot`: the name stays.
                let to_me = span.split_once('@').is_some_and(|(_, bot)| is_me(&format!("@{bot}")));
                if let (true, Some((name, _))) = (to_me, span.split_once('@')) {
                    out.push_str(&text[at..range.start]);
                    out.push_str(name);
                    at = range.end;
                }
                mentioned |= to_me;
                false
            }
            "text_link" => {
                out.push_str(&text[at..range.end]);
                at = range.end;
                if let Some(url) = e.url.as_ref().filter(|url| url.trim_end_matches('/') != span.trim_end_matches('/'))
                {
                    out.push_str(&format!(" ({url})"));
                }
                false
            }
            _ => false,
        };
        if mine {
            mentioned = true;
            out.push_str(text[at..range.start].trim_end_matches(' '));
            at = range.end;
            if out.is_empty() {
                at += text[at..].len() - text[at..].trim_start().len();
            }
        }
    }
    out.push_str(&text[at..]);
    (out.trim().to_owned(), mentioned)
}

/// It answers a message of this bot. (Messages of a topic answer its first, which a bot may have made.)
fn replies_to(m: &Message, me: &Me) -> bool {
    let target = m.reply_to_message.as_ref();
    target.is_some_and(|t| t.from.as_ref().is_some_and(|f| f.id == me.id) && t.forum_topic_created.is_none())
}

/// Where an update came from that cannot be read, as far as it says that.
pub fn origin(raw: &serde_json::Value, account: &str) -> Source {
    let message = ["message", "edited_message"].iter().map(|kind| &raw[kind]).find(|m| !m.is_null());
    let id = |v: &serde_json::Value| v.as_i64().map(|n| n.to_string()).unwrap_or_default();
    let (chat, from) = message.map_or(Default::default(), |m| (id(&m["chat"]["id"]), id(&m["from"]["id"])));
    let private = message.is_none_or(|m| m["chat"]["type"] == "private");
    Source {
        channel: super::NAME.into(),
        account: Some(account.to_owned()),
        chat_type: if private { ChatType::Dm } else { ChatType::Group },
        chat,
        sender: from,
        ..Source::default()
    }
}

/// Is it a command for another bot?
pub fn for_another_bot(m: &Message, me: &Me) -> bool {
    let (text, entities) = m.words();
    let first = |e: &&Entity| e.r#type == "bot_command" && e.offset == 0;
    let command = entities.iter().find(first).and_then(|e| text.get(utf16::range(text, 0, e.length)?));
    let bot = command.and_then(|c| c.split_once('@')).map(|(_, bot)| bot);
    bot.is_some_and(|bot| !bot.eq_ignore_ascii_case(&me.username))
}

impl From<&User> for Me {
    fn from(u: &User) -> Me {
        Me { id: u.id, username: u.username.clone().unwrap_or_default() }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
