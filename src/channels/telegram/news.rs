//! What an update says about a chat rather than in it (telegram.md 4.4, 7, 9). Pure.

use super::api::{Chat, Update};
use super::parse::Me;
use super::reactions::{self, Told};
use crate::message::{self, Target};

/// News of chats in an update; `None`: it is something else.
pub fn of(u: &Update, me: &Me, account: &str, told: Told) -> Option<message::Update> {
    let target = |chat: &str| Target {
        channel: super::NAME.into(),
        account: account.to_owned(),
        chat: chat.to_owned(),
        thread: String::new(),
    };
    let here = |chat: &Chat| target(&chat.id.to_string());
    if let Some(m) = &u.message {
        if let Some(to) = m.migrate_to_chat_id {
            return Some(message::Update::Moved { from: here(&m.chat), to: to.to_string() });
        }
        if let Some(from) = m.migrate_from_chat_id {
            return Some(message::Update::Moved { from: target(&from.to_string()), to: m.chat.id.to_string() });
        }
    }
    if let Some(change) = &u.my_chat_member {
        let status = change.new_chat_member.status.as_str();
        log::info!("telegram {account}: in chat {} the bot is {status} now", change.chat.id);
        let yes = !matches!(status, "kicked" | "left");
        return Some(message::Update::Reachable { chat: here(&change.chat), yes });
    }
    if let Some(stopped) = &u.stopped_message_generation {
        let thread = stopped.message_thread_id.map_or(String::new(), |t| t.to_string());
        return Some(message::Update::Stopped { chat: Target { thread, ..here(&stopped.chat) } });
    }
    let reaction = u.message_reaction.as_ref()?;
    reactions::told(reaction, u.update_id, me, account, told).map(message::Update::Reacted)
}
