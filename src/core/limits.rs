//! What a platform allows: rates of chats and accounts, and the patience it asked for (core.md 22.3).
//!
//! State and its questions only: nothing is called or marked here.

use super::pace::Spent;
use super::{State, Todo};
use crate::message::*;
use crate::rules::Rate;

/// Accounts whose chats are limited one by one are limited themselves: that many chats in that time.
const MANY_CHATS: usize = 3;
const MANY_TIME: u64 = 10_000;

/// What concerns every lane of a chat: its topics share the platform's patience.
#[derive(Debug, Default)]
pub struct Chat {
    frozen_until: Mono,
    spent: Spent,
}

impl Chat {
    /// Until when there is something to remember.
    pub(super) fn over(&self, now: Mono) -> Option<Mono> {
        self.spent.over(now).into_iter().chain(Some(self.frozen_until).filter(|at| *at > now)).max()
    }
}

/// The chat of a target.
pub(super) fn chat_of(target: &Target) -> Target {
    Target { thread: String::new(), ..target.clone() }
}

/// What concerns every lane of an account.
#[derive(Debug, Default)]
pub struct Account {
    frozen_until: Mono,
    refused: bool,
    spent: Spent,
    /// Chats that were limited lately.
    limited: Vec<(Mono, String)>,
}

impl State {
    /// Rates of messages to that chat, and of the account.
    fn rates(&self, target: &Target) -> (&[Rate], &[Rate]) {
        let Some(account) = self.rules.account_of(target) else { return (&[], &[]) };
        let of_chat = account.pace.chats.iter().find(|(prefix, _)| target.chat.starts_with(prefix.as_str()));
        (of_chat.map_or(&[][..], |(_, rates)| rates), &account.pace.account)
    }

    /// When the lane may call; `None`: not before its account works again.
    pub(super) fn lane_free_at(&self, target: &Target) -> Option<Mono> {
        self.free_at(target, Spent::next)
    }

    /// When it may for something that is worth less than answers.
    pub(super) fn lane_free_for_views(&self, target: &Target) -> Option<Mono> {
        self.free_at(target, Spent::next_passing)
    }

    fn free_at(&self, target: &Target, next: impl Fn(&Spent, &[Rate]) -> Mono) -> Option<Mono> {
        let account = self.accounts.get(&(target.channel.clone(), target.account.clone()));
        if account.is_some_and(|a| a.refused) || self.barred(target).is_some() {
            return None;
        }
        let (chat, all) = self.rates(target);
        let of_account = account.map_or(0, |a| a.frozen_until.max(next(&a.spent, all)));
        let of_chat = self.chats.get(&chat_of(target)).map_or(0, |c| c.frozen_until.max(next(&c.spent, chat)));
        let of_lane = self.lanes.get(target).map_or(0, |l| l.not_before);
        Some(of_account.max(of_chat).max(of_lane))
    }

    /// The platform asked for patience, or nothing can be sent there.
    pub(super) fn lane_frozen(&self, target: &Target) -> bool {
        let now = self.now.mono;
        let account = self.accounts.get(&(target.channel.clone(), target.account.clone()));
        account.is_some_and(|a| a.refused || a.frozen_until > now)
            || self.barred(target).is_some()
            || self.chats.get(&chat_of(target)).is_some_and(|c| c.frozen_until > now)
            || self.lanes.get(target).is_some_and(|l| l.not_before > now)
    }

    pub(super) fn spend(&mut self, target: &Target) {
        let (chat, all) = self.rates(target);
        let (chat, all) = (chat.to_vec(), all.to_vec());
        let now = self.now.mono;
        self.lanes.entry(target.clone()).or_default().last_out = now;
        self.chats.entry(chat_of(target)).or_default().spent.spend(&chat, now);
        let account = self.accounts.entry((target.channel.clone(), target.account.clone())).or_default();
        account.spent.spend(&all, now);
    }

    /// A chat was limited; several at once mean the account.
    pub(super) fn limited(&mut self, target: &Target, account_wide: bool, ms: u64) {
        let now = self.now.mono;
        let chat = self.chats.entry(chat_of(target)).or_default();
        chat.frozen_until = chat.frozen_until.max(now + ms);
        let a = self.accounts.entry((target.channel.clone(), target.account.clone())).or_default();
        a.limited.retain(|(at, chat)| now.saturating_sub(*at) < MANY_TIME && *chat != target.chat);
        a.limited.push((now, target.chat.clone()));
        if account_wide || a.limited.len() >= MANY_CHATS {
            a.frozen_until = a.frozen_until.max(now + ms);
        }
    }

    pub(super) fn refused(&mut self, channel: &str, account: &str, why: &str) {
        let a = self.accounts.entry((channel.to_owned(), account.to_owned())).or_default();
        if !std::mem::replace(&mut a.refused, true) {
            self.emit(Effect::Notice(format!("{channel}: the platform refused our credentials: {why}").into()));
        }
    }

    /// An account's reader knows whether the credentials work.
    pub(super) fn on_account(&mut self, channel: &str, account: &str, trouble: Option<&str>) {
        match trouble {
            Some(why) => self.refused(channel, account, why),
            None => {
                if let Some(a) = self.accounts.get_mut(&(channel.to_owned(), account.to_owned())) {
                    a.refused = false;
                }
                let mine = |t: &&Target| t.channel == channel && t.account == account;
                self.todo.extend(self.lanes.keys().filter(mine).cloned().map(Todo::Lane));
            }
        }
    }
}
