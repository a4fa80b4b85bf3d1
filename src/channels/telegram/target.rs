//! `[account:]chatId[:topic:N]`: where a message goes that somebody addresses by hand (telegram.md 13.7). Pure.

use crate::message::Target;

/// `accounts`: those that there are. `Err`: what is wrong, for whoever wrote it.
pub fn parse(text: &str, accounts: &[&str]) -> Result<Target, String> {
    let text = text.trim();
    let text = ["telegram:", "tg:"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let (place, topic) = match text.split_once(":topic:") {
        Some((place, topic)) => match topic.parse::<i64>() {
            Ok(topic) if topic > 0 => (place, Some(topic)),
            _ => return Err(format!("{topic} is no topic: topics are numbers")),
        },
        None => (text, None),
    };
    let (account, chat) = match place.rsplit_once(':') {
        Some((account, _)) if !accounts.contains(&account) => {
            let known = accounts.join(", ");
            return Err(format!("Telegram has no account \"{account}\"; there are: {known}"));
        }
        Some((account, chat)) => (account, chat),
        None => {
            let account = accounts.iter().find(|a| **a == "default").or(accounts.first());
            (*account.ok_or("Telegram has no account")?, place)
        }
    };
    let number = chat.parse::<i64>().is_ok_and(|n| n != 0);
    let channel = chat
        .strip_prefix('@')
        .is_some_and(|name| name.len() >= 4 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if !number && !channel {
        return Err(format!(
            "\"{chat}\" is no chat: write its numeric id, or a channel's @name (a person's @name does not work)"
        ));
    }
    Ok(Target {
        channel: super::NAME.into(),
        account: account.to_owned(),
        chat: chat.to_owned(),
        // The number of General is never sent.
        thread: topic.filter(|t| *t != 1).map_or(String::new(), |t| t.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_strictly() {
        let of = |text: &str| {
            let t = parse(text, &["work", "default"])?;
            Ok::<_, String>(format!("{} {} {}", t.account, t.chat, t.thread))
        };
        assert_eq!(of("123"), Ok("default 123 ".into()));
        assert_eq!(of("tg:work:-1001:topic:7"), Ok("work -1001 7".into()));
        assert_eq!(of("-1001:topic:1"), Ok("default -1001 ".into()));
        assert_eq!(of("@news_channel"), Ok("default @news_channel ".into()));
        assert!(of("other:123").is_err_and(|why| why.contains("work, default")));
        for bad in ["ann", "@a b", "", "0", "123:topic:x", "123:topic:", "1:2:3"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("5", &["work"]).map(|t| t.account), Ok("work".into()));
    }
}
