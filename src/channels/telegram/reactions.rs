//! Reactions: what people set as words for the agent, and what the bot may set (telegram.md 9). Pure.

use super::api::{ReactionChange, ReactionType};
use super::parse::{place, Me};
use crate::config::types::{ReactionLevel, ReactionNotifications, TelegramAccount};
use crate::message::{Inbound, Reaction, Source};

/// What a bot may set, without variation selectors.
const ALLOWED: &str = "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";
/// What is meant by others.
const NEAR: [(&str, &str); 6] = [("✅", "👌"), ("✔", "👌"), ("❌", "👎"), ("⏳", "👀"), ("⌛", "👀"), ("🚀", "🔥")];

/// The reaction as the platform knows it: one, the first. `Err`: there is no such.
pub fn known(emoji: &[String]) -> Result<Vec<String>, String> {
    let Some(first) = emoji.first() else { return Ok(Vec::new()) };
    let plain = first.replace('\u{fe0f}', "");
    let near = NEAR.iter().find(|(from, _)| *from == plain).map(|(_, to)| *to);
    let wanted = near.unwrap_or(&plain);
    match ALLOWED.split(' ').any(|e| e == wanted) {
        true => Ok(vec![wanted.to_owned()]),
        false => Err(format!("{first} is no reaction on Telegram; choose one of: {ALLOWED}")),
    }
}

/// How an account treats the reactions of people.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    level: ReactionLevel,
    notify: ReactionNotifications,
}

impl From<&TelegramAccount> for Told {
    fn from(c: &TelegramAccount) -> Told {
        Told { level: c.reaction_level, notify: c.reaction_notifications }
    }
}

/// What is told of a reaction; `None`: nothing.
pub fn told(r: &ReactionChange, update: i64, me: &Me, account: &str, told: Told) -> Option<Reaction> {
    if told.notify == ReactionNotifications::Off {
        return None;
    }
    let (sender, name) = match (&r.user, &r.actor_chat) {
        (Some(user), _) if user.id != me.id && !user.is_bot => (user.id, user.label()),
        (None, Some(chat)) => (chat.id, chat.title.clone().unwrap_or_default()),
        _ => return None,
    };
    let actor = if name.is_empty() { sender.to_string() } else { name.clone() };
    let (old, new) = (list(&r.old_reaction), list(&r.new_reaction));
    let text = match told.level {
        ReactionLevel::Off => return None,
        ReactionLevel::Ack => format!("[reaction] {actor} updated reaction"),
        ReactionLevel::Minimal => format!("[reaction] {actor}: {new}"),
        ReactionLevel::Extensive => format!("[reaction] {actor} changed reaction from {old} to {new}"),
    };
    let source = Source {
        sender: sender.to_string(),
        sender_name: Some(name).filter(|n| !n.is_empty()),
        ..place(&r.chat, account)
    };
    let dkey = format!("tg:{}:{update}", me.id);
    let inbound = Inbound { dkey, source, text, ..Inbound::default() };
    let own_only = told.notify == ReactionNotifications::Own;
    Some(Reaction { inbound, message: r.message_id.to_string(), own_only })
}

fn list(reactions: &[ReactionType]) -> String {
    let shown: Vec<&str> = reactions
        .iter()
        .map(|r| match r.r#type.as_str() {
            "emoji" => r.emoji.as_str(),
            "custom_emoji" => "(custom emoji)",
            _ => "⭐",
        })
        .collect();
    if shown.is_empty() {
        "none".to_owned()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_one_of_the_list_or_near_one() {
        let known = |e: &str| known(&[e.to_owned()]).map(|l| l.join(""));
        assert_eq!(known("👍"), Ok("👍".into()));
        assert_eq!(known("❤\u{fe0f}"), Ok("❤".into()));
        assert_eq!(known("✅"), Ok("👌".into()));
        assert_eq!(known("🤷‍♀\u{fe0f}"), Ok("🤷‍♀".into()));
        assert!(known("🧀").is_err_and(|why| why.contains("👍")));
        assert_eq!(super::known(&[]), Ok(vec![]));
    }

    #[test]
    fn levels_say_more_or_less() {
        let emoji = |e: &str| ReactionType { r#type: "emoji".into(), emoji: e.into() };
        let change = ReactionChange {
            user: Some(super::super::api::User { id: 7, first_name: "Ann".into(), ..Default::default() }),
            message_id: 5,
            old_reaction: vec![emoji("👍")],
            ..Default::default()
        };
        let say = |level| {
            let how = Told { level, notify: ReactionNotifications::All };
            told(&change, 1, &Me::default(), "default", how).map(|r| r.inbound.text)
        };
        assert_eq!(say(ReactionLevel::Off), None);
        assert_eq!(say(ReactionLevel::Ack).unwrap(), "[reaction] Ann updated reaction");
        assert_eq!(say(ReactionLevel::Minimal).unwrap(), "[reaction] Ann: none");
        assert_eq!(say(ReactionLevel::Extensive).unwrap(), "[reaction] Ann changed reaction from 👍 to none");
    }
}
