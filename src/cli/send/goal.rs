//! Where `--to` leads (the grammar of config.md 10.1).

use std::fmt;

use serde_json::{json, Value};

use super::{beside, Failed, Order};
use crate::channels::telegram;
use crate::cli::exit;
use crate::message::{Source, Target};
use crate::store::Beside;

const WEBCHAT: &str = "webchat";

/// Who gets it.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// On a platform that can be called.
    Chat(Target),
    /// A conversation of the page: its name or key.
    Page(String),
}

impl fmt::Display for Goal {
    /// As `--to` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Chat(t) => {
                write!(f, "{}:{}:{}", t.channel, t.account, t.chat)?;
                if t.thread.is_empty() {
                    return Ok(());
                }
                write!(f, ":topic:{}", t.thread)
            }
            Goal::Page(name) => write!(f, "{WEBCHAT}:{name}"),
        }
    }
}

impl Goal {
    pub fn to_json(&self) -> Value {
        match self {
            Goal::Chat(t) => {
                let mut value = json!({"channel": t.channel, "account": t.account, "chat": t.chat});
                if !t.thread.is_empty() {
                    value["topic"] = t.thread.as_str().into();
                }
                value
            }
            Goal::Page(name) => json!({"channel": WEBCHAT, "account": "", "chat": name}),
        }
    }
}

/// Reads a place. `store`: opened for those that only it knows.
pub fn find(to: &str, order: &Order, store: &mut Option<Beside>) -> Result<Goal, Failed> {
    let to = to.trim();
    let bad = |why: String| (exit::DATA, format!("--to {to}: {why}"));
    let (channel, rest) = to.split_once(':').map_or((to, ""), |(channel, rest)| (channel.trim(), rest.trim()));
    match (channel, rest) {
        ("last", agent) => {
            let found = beside(order, store)?.last_place(Some(agent).filter(|a| !a.is_empty()));
            let (key, last) = found
                .map_err(|e| super::super::pairing::failed(&order.paths, &e))?
                .ok_or_else(|| (exit::FAILED, format!("--to {to}: nobody has written yet")))?;
            of_session(&key, &last, order).map_err(bad)
        }
        (_, "") => Err(bad("a place is written channel:chat, such as telegram:123456 or webchat:default".into())),
        ("session", key) => {
            let found =
                beside(order, store)?.place(key).map_err(|e| super::super::pairing::failed(&order.paths, &e))?;
            let none =
                || (exit::FAILED, format!("--to {to}: there is no such conversation, or nobody has written in it"));
            of_session(key, &found.ok_or_else(none)?, order).map_err(bad)
        }
        ("telegram" | "tg", place) => on_telegram(place, order),
        (WEBCHAT, name) => Ok(Goal::Page(name.to_owned())),
        ("discord", place) => discord(place).map_err(bad).and_then(|()| not_there("discord")),
        ("feishu" | "lark", place) => feishu(place).map_err(bad).and_then(|()| not_there("feishu")),
        (other, _) => Err(bad(format!("there is no channel \"{other}\"; there are: telegram, webchat, session, last"))),
    }
}

fn on_telegram(place: &str, order: &Order) -> Result<Goal, Failed> {
    let active: Vec<&str> = order.config.channels.telegram.active().map(|(id, _)| id).collect();
    if active.is_empty() {
        return Err((exit::CONFIG, "Telegram is not set up: channels.telegram.botToken is missing".into()));
    }
    let target =
        telegram::target(place, &active).map_err(|why| (exit::DATA, format!("--to telegram:{place}: {why}")))?;
    if let Some(id) = order.reply_to.as_deref().filter(|id| !id.parse::<i64>().is_ok_and(|id| id > 0)) {
        return Err((exit::DATA, format!("--reply-to {id}: messages of Telegram have numbers")));
    }
    let account = &order.config.channels.telegram.accounts[&target.account];
    match account.bot_token {
        None => Err((exit::CONFIG, format!("the account {} of Telegram has no token", target.account))),
        Some(_) => Ok(Goal::Chat(target)),
    }
}

/// Where the people of a conversation are.
fn of_session(key: &str, last: &Source, order: &Order) -> Result<Goal, String> {
    match last.channel.as_str() {
        telegram::NAME => {
            let account = last.account.as_deref().unwrap_or_default();
            let there = order.config.channels.telegram.active().any(|(id, a)| id == account && a.bot_token.is_some());
            match there {
                true => Ok(Goal::Chat(Target::from(last))),
                false => Err(format!("its chat is on Telegram's account \"{account}\", which is not set up")),
            }
        }
        WEBCHAT | "api" if key.starts_with("agent:") => Ok(Goal::Page(key.to_owned())),
        other => Err(format!("nothing can be sent to its channel \"{other}\"")),
    }
}

fn not_there(channel: &str) -> Result<Goal, Failed> {
    Err((exit::UNAVAILABLE, format!("this version of pi-gw has no channel {channel}")))
}

fn is_snowflake(text: &str) -> bool {
    (17..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[account:]channelId[:thread:threadId]` or `user:userId`
fn discord(place: &str) -> Result<(), String> {
    let (place, thread) = place.split_once(":thread:").map_or((place, None), |(place, thread)| (place, Some(thread)));
    let id = place.rsplit(':').next().unwrap_or_default();
    match is_snowflake(id) && thread.is_none_or(is_snowflake) {
        true => Ok(()),
        false => Err("ids of Discord have 17 to 20 digits".into()),
    }
}

/// `[account:]id`
fn feishu(place: &str) -> Result<(), String> {
    let id = place.rsplit(':').next().unwrap_or_default();
    match ["oc_", "ou_", "on_"].iter().any(|prefix| id.len() > prefix.len() && id.starts_with(prefix)) {
        true => Ok(()),
        false => Err("ids of Feishu begin with oc_ (chat), ou_ (user) or on_ (union id)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_other_channels_are_read_strictly() {
        assert!(discord("12345678901234567").is_ok() && discord("user:12345678901234567").is_ok());
        assert!(discord("work:12345678901234567:thread:12345678901234568").is_ok());
        assert!(discord("general").is_err() && discord("12345678901234567:thread:x").is_err());
        assert!(feishu("oc_1").is_ok() && feishu("work:ou_1").is_ok());
        assert!(feishu("oc_").is_err() && feishu("123").is_err());
    }

    #[test]
    fn a_goal_is_printed_as_it_is_written() {
        let target = |thread: &str| {
            Goal::Chat(Target {
                channel: "telegram".into(),
                account: "work".into(),
                chat: "-1001".into(),
                thread: thread.into(),
            })
        };
        assert_eq!(target("").to_string(), "telegram:work:-1001");
        assert_eq!(target("7").to_string(), "telegram:work:-1001:topic:7");
        assert_eq!(Goal::Page("default".into()).to_string(), "webchat:default");
    }
}
