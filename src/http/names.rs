//! What people call a conversation of another channel than WebChat: who is in it or what it is, and where. Pure.

use crate::http::head::percent;
use crate::message::{SessionInfo, Source};

/// A channel's name in the configuration, as a name.
fn called(word: &str) -> String {
    if word == "api" {
        return "API".into();
    }
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// `Ada · Telegram (work)`; `None`: its key is not one of an agent in a channel, or the page names it.
pub fn name(s: &SessionInfo) -> Option<String> {
    let mut parts = s.key.split(':');
    let ("agent", agent, channel) = (parts.next()?, parts.next()?, parts.next()?) else { return None };
    let mut rest: Vec<&str> = parts.collect();
    let nowhere = Source::default();
    let last = s.last.as_ref().unwrap_or(&nowhere);
    let channel = match channel {
        "webchat" => return None,
        // These keys name no channel.
        "main" | "dm" => {
            rest.insert(0, channel);
            if last.channel.is_empty() {
                "api"
            } else {
                &last.channel
            }
        }
        other => other,
    };
    let account = match rest.as_slice() {
        ["account", account, ..] => Some(*account).inspect(|_| drop(rest.drain(..2))),
        _ => None,
    };
    let plain = |id: &str| percent(id).unwrap_or_else(|| id.to_owned());
    let who = match rest.as_slice() {
        ["main", ..] if channel == "api" => String::new(),
        ["main", ..] => "Direct messages".into(),
        ["dm", id] => last.sender_name.clone().unwrap_or_else(|| plain(id)),
        ["user", id] => plain(id),
        [kind @ ("group" | "channel"), id, inner @ ..] => {
            let chat = last.chat_name.clone().unwrap_or_else(|| format!("{} {}", called(kind), plain(id)));
            if inner.is_empty() {
                chat
            } else {
                format!("{chat}, {}", plain(&inner.join(" ")))
            }
        }
        other => plain(&other.join(" ")),
    };
    let account = account.filter(|a| *a != "default").map_or(String::new(), |a| format!(" ({})", plain(a)));
    let place = called(channel) + &account;
    let name = if who.trim().is_empty() { place } else { format!("{who} · {place}") };
    Some(if agent == "main" { name } else { format!("{agent}: {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_of_another_channel_is_called_by_who_is_in_it_and_where_it_is() {
        let told = |key: &str, channel: &str, sender: Option<&str>, chat: Option<&str>| {
            let (sender_name, chat_name) = (sender.map(str::to_owned), chat.map(str::to_owned));
            let last = Source { channel: channel.into(), sender_name, chat_name, ..Source::default() };
            let last = (!channel.is_empty()).then_some(last);
            name(&SessionInfo { key: key.into(), last, ..SessionInfo::default() }).unwrap_or_default()
        };
        for (key, channel, sender, chat, expected) in [
            ("agent:main:telegram:account:default:dm:4711", "telegram", Some("Ada"), None, "Ada · Telegram"),
            ("agent:main:telegram:account:default:dm:4711", "", None, None, "4711 · Telegram"),
            ("agent:main:telegram:account:work:dm:4711", "telegram", Some("Ada"), None, "Ada · Telegram (work)"),
            ("agent:main:discord:dm:4711", "discord", Some("Ada"), None, "Ada · Discord"),
            ("agent:coder:dm:4711", "telegram", Some("Ada"), None, "coder: Ada · Telegram"),
            ("agent:main:telegram:account:default:main", "telegram", Some("Ada"), None, "Direct messages · Telegram"),
            ("agent:main:main:main", "telegram", Some("Ada"), None, "Direct messages · Telegram"),
            ("agent:main:main:main", "api", None, None, "API"),
            ("agent:main:main:main", "", None, None, "API"),
            (
                "agent:main:telegram:account:default:group:-1001",
                "telegram",
                Some("Ada"),
                Some("Bees"),
                "Bees · Telegram",
            ),
            ("agent:main:telegram:account:default:group:-1001", "telegram", None, None, "Group -1001 · Telegram"),
            (
                "agent:main:telegram:account:a:group:-1:topic:5",
                "telegram",
                None,
                Some("Bees"),
                "Bees, topic 5 · Telegram (a)",
            ),
            ("agent:main:discord:channel:12:thread:13", "", None, None, "Channel 12, thread 13 · Discord"),
            ("agent:main:api:user:a%20b", "api", None, None, "a b · API"),
            ("agent:main:api:user:%20", "api", None, None, "API"),
            ("agent:main:api:user:%zz", "api", None, None, "%zz · API"),
            ("agent:main:hook:ci", "", None, None, "ci · Hook"),
            ("agent:main:webchat:default", "webchat", None, None, ""),
            ("agent:main", "", None, None, ""),
            ("cron:morning", "", None, None, ""),
        ] {
            assert_eq!(told(key, channel, sender, chat), expected, "{key}");
        }
    }
}
