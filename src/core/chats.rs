//! What becomes of chats: they get another id, they shut us out and let us in again (telegram.md 4.4, 7, 19).

use super::question_view::BY_ROW;
use super::session::Key;
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{is_act, Alias, OutboxRow, Result, EDIT, MEDIA, TEXT};

/// A chat whose name changed again and again is followed that far.
const HOPS: usize = 8;
/// An answer that could not be delivered is offered again that long.
const OFFERED: i64 = 86_400_000;

/// Channel, account and chat.
pub(super) type ChatName = (String, String, String);

fn name(target: &Target) -> ChatName {
    (target.channel.clone(), target.account.clone(), target.chat.clone())
}

impl State {
    /// Takes what an update says about a chat; gives a message back.
    pub(super) fn take_news(&mut self, update: Update) -> Result<Option<Update>> {
        match update {
            Update::Moved { from, to } => {
                self.on_moved(&from, &to)?;
                Ok(None)
            }
            Update::Reachable { chat, yes: true } => {
                self.welcome(&chat);
                Ok(None)
            }
            Update::Reachable { chat, yes: false } => {
                self.bar(&chat, None, "the bot was shut out of the chat")?;
                Ok(None)
            }
            Update::Stopped { chat } => {
                for key in self.viewed_in(&chat) {
                    self.with(&key, |core, s| core.stop(s).map(|_| ()))?;
                }
                Ok(None)
            }
            Update::Reacted(reaction) => {
                self.welcome(&Target::from(&reaction.inbound.source));
                self.on_reaction(reaction)?;
                Ok(None)
            }
            update => {
                match &update {
                    Update::Message(m) | Update::Edited(m) => self.welcome(&Target::from(&m.source)),
                    Update::Pressed(p) => self.welcome(&Target::from(&p.source)),
                    _ => {}
                }
                Ok(Some(update))
            }
        }
    }

    // ---- chats that can not be written to

    /// Why nothing can be sent there now.
    pub(super) fn barred(&self, target: &Target) -> Option<&str> {
        let (why, until) = self.barred.get(&name(target))?;
        until.is_none_or(|until| until > self.now.mono).then_some(why)
    }

    /// Nothing can be sent to the chat any more: what was owed to it is given up.
    pub(super) fn bar(&mut self, chat: &Target, ms: Option<u64>, why: &str) -> Result<()> {
        let now = self.now.mono;
        self.barred.retain(|_, (_, until)| until.is_none_or(|until| until > now));
        let until = ms.map(|ms| now + ms);
        if self.barred.insert(name(chat), (why.to_owned(), until)).is_none() {
            log::warn!("{} {}: nothing can be sent to chat {}: {why}", chat.channel, chat.account, chat.chat);
        }
        self.pump_chat(chat)
    }

    /// Something came from the chat: it can be written to again.
    fn welcome(&mut self, chat: &Target) {
        self.lost_topics.remove(chat);
        if self.barred.get(&name(chat)).is_some_and(|(_, until)| until.is_none()) {
            self.barred.remove(&name(chat));
        }
    }

    /// All lanes of a chat have something to do.
    fn pump_chat(&mut self, chat: &Target) -> Result<()> {
        let owed = self.store.owed_to(&chat.channel, &chat.account, &chat.chat)?;
        let lanes = owed.into_iter().map(|row| row.target);
        for target in lanes.collect::<std::collections::BTreeSet<_>>() {
            self.todo.push_back(Todo::Lane(target));
        }
        Ok(())
    }

    /// Gives up what the lane owes.
    pub(super) fn drop_owed(&mut self, target: &Target, why: &str) -> Result<()> {
        for row in self.store.owed_to(&target.channel, &target.account, &target.chat)? {
            if row.target == *target {
                self.store.set_outbox(row.id, "failed", row.attempts, None, Some(why))?;
                self.undelivered(&row, why)?;
                self.question_unsent(row.id, why)?;
            }
        }
        Ok(())
    }

    /// A row was given up for good: the record says so.
    pub(super) fn undelivered(&mut self, row: &OutboxRow, why: &str) -> Result<()> {
        let Some(segment) = row.segment.filter(|_| row.chunk == 0 && says(row)) else { return Ok(()) };
        if let Some((session, text, _)) = self.store.segment_said(segment)? {
            self.transcribe(&Key::from(session), "response", "undelivered", &format!("({why}) {text}"));
        }
        Ok(())
    }

    /// Answers that did not reach the chat are offered again, now that somebody speaks there.
    pub(super) fn offer_again(&mut self, source: &Source) -> Result<()> {
        if self.rules.account(source).is_none() {
            return Ok(());
        }
        let target = self.target_of(source);
        if self.barred(&target).is_some() {
            return Ok(());
        }
        let since = self.now.wall - OFFERED;
        let rows = self.store.undelivered(&target.channel, &target.account, &target.chat, since)?;
        let mut offered = None;
        for (row, segment) in rows {
            self.store.set_outbox(row, "skipped", 0, None, Some("offered again"))?;
            if offered.replace(segment) == Some(segment) {
                continue; // another piece of the same answer
            }
            if self.store.origin_of(segment)?.as_deref() == Some("reply") {
                if let Some((_, text, _)) = self.store.segment_said(segment)? {
                    self.say(&target, &format!("⚠️ Earlier reply could not be delivered:\n\n{text}"), OFFERED)?;
                }
            }
        }
        Ok(())
    }

    /// A file could not be sent: people read which, and why.
    pub(super) fn tell_unsent(&mut self, row: &OutboxRow, why: &str) -> Result<()> {
        for file in row.content.files() {
            let text = format!("⚠️ Could not send {}: {why}", file.name());
            let content = Content { text, form: Form::Plain, ..Content::default() };
            self.store.add_outbox(&self.outgoing(TEXT, &row.target, &content))?;
        }
        Ok(())
    }

    // ---- chats with another id

    /// The id that a chat has now.
    pub(super) fn moved_to(&self, target: &Target) -> Option<String> {
        let mut chat = target.chat.as_str();
        for _ in 0..HOPS {
            let of = |a: &&Alias| a.channel == target.channel && a.account == target.account && a.old == chat;
            match self.aliases.iter().find(of) {
                Some(alias) => chat = &alias.new,
                None => break,
            }
        }
        (chat != target.chat).then(|| chat.to_owned())
    }

    /// The id that the chat of a message had before.
    fn former(&self, s: &Source) -> Option<&str> {
        let account = s.account.as_deref().unwrap_or_default();
        let of = |a: &&Alias| a.channel == s.channel && a.account == account && a.new == s.chat;
        self.aliases.iter().find(of).map(|a| a.old.as_str())
    }

    /// Where an answer to that message goes.
    pub(super) fn target_of(&self, source: &Source) -> Target {
        let target = Target::from(source);
        match self.moved_to(&target) {
            Some(chat) => Target { chat, ..target },
            None => target,
        }
    }

    /// The source as the configuration names it: by the old id, until its operator writes the new one.
    pub(super) fn as_configured(&self, source: &Source) -> Source {
        let mut source = source.clone();
        let known = self.rules.account(&source).is_some_and(|a| a.access.groups.contains_key(&source.chat));
        if let Some(old) = self.former(&source).filter(|_| !known) {
            source.chat = old.to_owned();
        }
        source
    }

    /// The chat has another id from now on; false: that cannot be.
    pub(super) fn on_moved(&mut self, from: &Target, to: &str) -> Result<bool> {
        if self.moved_to(from).as_deref() == Some(to) {
            return Ok(true);
        }
        let there = Target { chat: to.to_owned(), ..from.clone() };
        if to.is_empty() || to == from.chat || self.moved_to(&there).as_deref() == Some(from.chat.as_str()) {
            return Ok(false);
        }
        let (channel, account) = (from.channel.clone(), from.account.clone());
        let alias = Alias { channel, account, old: from.chat.clone(), new: to.to_owned() };
        self.store.set_alias(&alias, self.now.wall)?;
        self.aliases.retain(|a| (&a.channel, &a.account, &a.old) != (&alias.channel, &alias.account, &alias.old));
        self.aliases.push(alias);
        let notice = format!(
            "{} {}: chat {} has the id {to} from now on; its settings apply, write the new id into the configuration",
            from.channel, from.account, from.chat
        );
        self.emit(Effect::Notice(notice.into()));
        self.move_views(from, to);
        self.move_questions(from, to)?;
        self.pump_chat(from)?;
        Ok(true)
    }

    /// What the chat was owed under its old id comes first: true as long as that is not here.
    pub(super) fn waits_for_move(&mut self, target: &Target) -> Result<bool> {
        let of = |a: &&Alias| a.channel == target.channel && a.account == target.account && a.new == target.chat;
        let olds: Vec<String> = self.aliases.iter().filter(of).map(|a| a.old.clone()).collect();
        for chat in olds {
            let old = Target { chat, ..target.clone() };
            if self.store.outbox_head(&old)?.is_some() {
                self.pump_lane(&old)?;
                if self.store.outbox_head(&old)?.is_some() {
                    return Ok(true); // a call is on its way there; its outcome comes back here
                }
            }
        }
        Ok(false)
    }

    /// What the lane of an old id owes goes to the new one. Ids of messages mean others there.
    pub(super) fn move_lane(&mut self, target: &Target, to: String) -> Result<()> {
        let there = Target { chat: to, ..target.clone() };
        for row in self.store.owed_to(&target.channel, &target.account, &target.chat)? {
            if row.target != *target {
                continue;
            }
            let said = row.segment.is_some() && row.kind == EDIT;
            if said {
                self.store.set_outbox_sent_anew(row.id)?; // the pressed message is not there
            } else if is_act(&row.kind) && !self.comes_along(&row)? {
                self.store.set_outbox(row.id, "failed", row.attempts, None, Some("the chat has moved"))?;
                continue;
            }
            if row.content.reply_to.is_some() {
                let content = Content { reply_to: None, ..row.content };
                self.store.set_outbox_body(row.id, &content)?;
            }
            self.store.move_outbox(row.id, &there)?;
        }
        self.lanes.remove(target);
        self.disarm(&Due::Lane(target.clone()));
        self.todo.push_back(Todo::Lane(there));
        Ok(())
    }

    /// It is about a message that is still owed itself, and goes there too.
    fn comes_along(&self, row: &OutboxRow) -> Result<bool> {
        match row.message.as_deref().and_then(|m| m.strip_prefix(BY_ROW)?.parse().ok()) {
            Some(about) => Ok(self.store.outbox_row(about)?.is_some()),
            None => Ok(false),
        }
    }

    /// The session of a message from a chat that has another id now: it takes its name along as soon as nothing
    /// goes on in it.
    pub(super) fn renamed(&mut self, key: String, source: &Source) -> Result<String> {
        let Some(old) = self.former(source).map(str::to_owned) else { return Ok(key) };
        let source = Source { chat: old, ..source.clone() };
        let routing = &self.rules.routing;
        let old = routing.session_key(routing.agent_of(&key), &source);
        if old == key || self.store.session(&old)?.is_none() {
            return Ok(key);
        }
        let old: Key = old.into();
        if self.sessions.get(&old).is_some_and(|s| !s.quiet()) {
            return Ok(old.to_string());
        }
        if self.store.rename_session(&old, &key, &Target::from(&source))? {
            self.sessions.remove(&old);
            self.disarm(&Due::Session(old.clone()));
            let key: Key = key.as_str().into();
            self.rename_open(&old, &key);
            for p in self.procs.values_mut().filter(|p| p.session.as_ref() == Some(&old)) {
                p.session = Some(key.clone());
            }
        }
        Ok(key)
    }
}

/// Files that stay with unknown fate are not sent twice: too much for a guess, bytes.
const LARGE: u64 = 1 << 20;

/// Is it too much to be sent a second time on a guess?
pub(super) fn is_large(row: &OutboxRow) -> bool {
    row.kind == MEDIA && row.content.files().map(|f| f.size).sum::<u64>() > LARGE
}

/// Do people read something that is nowhere else? What a press led to takes the place of another text.
pub(super) fn says(row: &OutboxRow) -> bool {
    !is_act(&row.kind) || (row.kind == EDIT && row.segment.is_some())
}
