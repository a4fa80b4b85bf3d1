//! The menu of commands at Telegram (telegram.md 10).

use serde::Deserialize;
use serde_json::{json, Value};

use super::client::{Bot, Fail};
use super::link::CALL;

/// Telegram takes no more.
pub const MOST: usize = 100;

/// A line of the menu: command without `/`, and what it does.
#[derive(Clone, Debug, Deserialize, Hash, PartialEq, Eq)]
pub struct Entry {
    pub command: String,
    pub description: String,
}

/// Makes the menu of private chats, and that of groups, what they should be. Nothing is sent that Telegram has already.
/// `more`: the end of such entries, by how they begin, is not known yet: what is there of them stays.
pub fn publish(bot: &Bot, all: &[Entry], groups: &[Entry], more: Option<&str>) -> Result<(), Fail> {
    one(bot, all, more, json!({"type": "default"}))?;
    one(bot, groups, more, json!({"type": "all_group_chats"}))
}

/// The next length to try.
fn fewer(n: usize) -> usize {
    n * 4 / 5
}

fn one(bot: &Bot, wanted: &[Entry], more: Option<&str>, scope: Value) -> Result<(), Fail> {
    let wanted = &wanted[..wanted.len().min(MOST)];
    let there = bot.call::<Vec<Entry>>("getMyCommands", &json!({"scope": scope}), CALL)?;
    if is_there(&there, wanted) || more.is_some_and(|start| begins(&there, wanted, start)) {
        return Ok(());
    }
    let mut n = wanted.len();
    loop {
        let list: Vec<Value> =
            wanted[..n].iter().map(|e| json!({"command": e.command, "description": e.description})).collect();
        match bot.call::<bool>("setMyCommands", &json!({"commands": list, "scope": scope}), CALL) {
            // Long descriptions count too, by no known rule.
            Err(fail) if fail.says("bot_commands_too_much") && n > 1 => n = fewer(n),
            Err(fail) => return Err(fail),
            Ok(_) if n < wanted.len() => {
                log::warn!("telegram: the menu has room for {n} of {} commands", wanted.len());
                return Ok(());
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// Is it what was set, with entries behind it that begin so?
fn begins(there: &[Entry], wanted: &[Entry], start: &str) -> bool {
    there.strip_prefix(wanted).is_some_and(|rest| rest.iter().all(|e| e.command.starts_with(start)))
}

/// Is it what was set, or as much of it as there was room for?
fn is_there(there: &[Entry], wanted: &[Entry]) -> bool {
    let lengths = std::iter::successors(Some(wanted.len()), |n| Some(fewer(*n)).filter(|n| *n > 0));
    wanted.starts_with(there) && lengths.into_iter().any(|n| n == there.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_that_was_cut_for_want_of_room_is_not_sent_again() {
        let entry = |n: usize| Entry { command: format!("c{n}"), description: "d".into() };
        let wanted: Vec<Entry> = (0..100).map(entry).collect();
        assert!(is_there(&wanted, &wanted));
        assert!(is_there(&wanted[..80], &wanted) && is_there(&wanted[..64], &wanted));
        assert!(!is_there(&wanted[..99], &wanted), "one was added");
        assert!(!is_there(&wanted[20..], &wanted) && !is_there(&[], &wanted));
        assert!(is_there(&[], &[]));
    }

    #[test]
    fn commands_of_pi_stay_while_nobody_knows_them() {
        let entry = |name: &str| Entry { command: name.into(), description: "d".into() };
        let (own, pi) = ([entry("help"), entry("new")], entry("pi_x"));
        let with = |more: &[Entry]| [&own[..], more].concat();
        assert!(begins(&with(std::slice::from_ref(&pi)), &own, "pi_") && begins(&own, &own, "pi_"));
        assert!(!begins(&with(&[pi.clone(), entry("old")]), &own, "pi_") && !begins(&[pi], &own, "pi_"));
    }
}
