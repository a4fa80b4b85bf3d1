//! The access gate: before anything else a stranger could trigger (core.md 2, I7).

use super::{command_list, State, Todo};
use crate::access::Verdict;
use crate::message::*;
use crate::store::{NewOutbox, NewPairing, Pairing, Result, PAIRING_LIFE, TEXT};

/// Open requests of one account.
const MOST_OPEN: usize = 3;
/// From that age on the oldest request gives way to a new one.
const GIVES_WAY: i64 = 15 * 60_000;
/// A stranger is told once in that time.
const TOLD_AGAIN: i64 = 10 * 60_000;
/// Characters of a text that was not for the bot, and chats whose texts are kept.
const OVERHEARD: usize = 500;
const OVERHEARD_CHATS: usize = 200;
const CODE_LEN: usize = 8;
/// No 0, O, 1 and I.
const CODE: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

impl State {
    /// May this message come in? A stranger who may ask to is told how.
    pub(super) fn admits(&mut self, s: &Source, facts: &Facts) -> Result<bool> {
        let Some(account) = self.rules.account(s) else { return Ok(false) };
        match account.access.judge(&self.as_configured(s), facts) {
            Verdict::Admit => Ok(true),
            Verdict::Ignore | Verdict::Overhear => Ok(false),
            Verdict::IfApproved { pair } => {
                let approved = self.approved(s)?;
                if !approved && pair {
                    self.pair(s)?;
                }
                Ok(approved)
            }
        }
    }

    /// A stranger who may ask to be let in asks who they are: the one thing that is answered, once in a while.
    pub(super) fn is_named(&mut self, m: &Inbound) -> Result<bool> {
        let s = &m.source;
        let Some(account) = self.rules.account(s) else { return Ok(false) };
        let stranger = account.access.judge(s, &m.facts) == (Verdict::IfApproved { pair: true });
        let asks = stranger && command_list::parse(&m.text, &self.rules) == Some(command_list::Command::Whoami);
        if !asks || self.approved(s)? {
            return Ok(false);
        }
        let text = format!("Sender {} on {}.", s.sender, s.channel);
        self.tell_stranger(s, "whoami", &text)?;
        Ok(true)
    }

    /// A command of ours, without the bot's name, is for the bot too.
    pub(super) fn is_meant(&self, m: &mut Inbound) {
        m.facts.mentioned |= command_list::parse(&m.text, &self.rules).is_some();
    }

    /// Says what the message replies to, before its text; of a command of pi behind it. One of ours needs none of it.
    pub(super) fn with_reply(&self, m: &mut Inbound) {
        let Some(to) = m.replies_to.take() else { return };
        m.text = match m.text.as_str() {
            text if command_list::parse(text, &self.rules).is_some() => return,
            "" => to,
            text if text.starts_with('/') => format!("{text}\n\n{to}"),
            text => format!("{to}\n{text}"),
        };
    }

    /// Keeps a text that was not for the bot, in memory only.
    pub(super) fn overhear(&mut self, m: &Inbound) {
        let Some(account) = self.rules.account(&m.source) else { return };
        if account.access.judge(&m.source, &m.facts) != Verdict::Overhear || m.text.trim().is_empty() {
            return;
        }
        let most = account.access.history(&m.source.chat);
        let who = m.source.sender_name.as_deref().unwrap_or(&m.source.sender);
        let line = format!("{who}: {}", super::prompt::head(m.text.trim(), OVERHEARD));
        let target = Target::from(&m.source);
        if self.overheard.len() >= OVERHEARD_CHATS && !self.overheard.contains_key(&target) {
            self.overheard.pop_first();
        }
        let lines = self.overheard.entry(target).or_default();
        lines.push(line);
        lines.drain(..lines.len().saturating_sub(most));
    }

    /// Puts what was said meanwhile before a message that is for the bot.
    pub(super) fn with_context(&mut self, m: &mut Inbound) {
        let command = command_list::parse(&m.text, &self.rules).is_some();
        if let Some(lines) = self.overheard.get_mut(&Target::from(&m.source)).filter(|l| !command && !l.is_empty()) {
            let lines = std::mem::take(lines).join("\n");
            m.text = format!("[Said in the group before, not to you]\n{lines}\n\n{}", m.text);
        }
    }

    fn approved(&self, s: &Source) -> Result<bool> {
        self.store.is_approved(&s.channel, s.account.as_deref().unwrap_or_default(), &s.sender)
    }

    /// May this sender use the commands that need a right? Named one by one, or approved.
    pub(super) fn authorised(&self, s: &Source) -> Result<bool> {
        match self.rules.account(s) {
            Some(account) => Ok(account.access.names(&s.sender) || self.approved(s)?),
            None => Ok(self.rules.mailbox(&s.channel)),
        }
    }

    /// A stranger asks to be let in: the same code while it is good, told once in a while.
    fn pair(&mut self, s: &Source) -> Result<()> {
        let account = s.account.clone().unwrap_or_default();
        let now = self.now.wall;
        let mut open = self.store.pairings(&s.channel, &account)?;
        let (kept, over): (Vec<Pairing>, Vec<Pairing>) = open.drain(..).partition(|p| now - p.at < PAIRING_LIFE);
        for p in over {
            self.store.forget_pairing(&s.channel, &account, &p.sender)?;
        }
        let known = kept.iter().find(|p| p.sender == s.sender);
        if known.is_some_and(|p| now - p.told < TOLD_AGAIN) {
            return Ok(());
        }
        let (code, at) = match known {
            Some(p) => (p.code.clone(), p.at),
            None if kept.len() >= MOST_OPEN => match kept.first().filter(|p| now - p.at > GIVES_WAY) {
                Some(oldest) => {
                    self.store.forget_pairing(&s.channel, &account, &oldest.sender)?;
                    (self.code(), now)
                }
                None => {
                    let text = "Too many pending pairing requests. Please try later.";
                    return self.tell_stranger(s, "full", text);
                }
            },
            None => (self.code(), now),
        };
        self.store.set_pairing(&NewPairing {
            channel: &s.channel,
            account: &account,
            sender: &s.sender,
            code: &code,
            name: s.sender_name.as_deref(),
            chat: &s.chat,
            at,
            told: now,
        })?;
        log::info!("{}: {} asks to be let in", s.channel, s.sender);
        self.say(&Target::from(s), &format!("Pairing required. Send this code to the admin:\n\n`{code}`"), TOLD_AGAIN)
    }

    /// Told as seldom as a code is; `what` they are told.
    fn tell_stranger(&mut self, s: &Source, what: &'static str, text: &str) -> Result<()> {
        let target = Target::from(s);
        self.strangers.retain(|_, told| self.now.mono.saturating_sub(*told) < TOLD_AGAIN as u64);
        let name = (target.clone(), what);
        if self.strangers.len() >= 1000 || self.strangers.contains_key(&name) {
            return Ok(());
        }
        self.strangers.insert(name, self.now.mono);
        self.say(&target, text, TOLD_AGAIN)
    }

    fn code(&mut self) -> String {
        // The store's random characters are five bits each, and so are the code's.
        let letters = (self.random)(CODE_LEN);
        let value = |b: u8| if b.is_ascii_digit() { b - b'2' + 26 } else { b.wrapping_sub(b'a') };
        letters.bytes().map(|b| CODE[usize::from(value(b) & 31)] as char).collect()
    }

    /// A text of the gateway that belongs to no conversation.
    pub(super) fn say(&mut self, target: &Target, text: &str, life: i64) -> Result<()> {
        let content = Content { text: text.to_owned(), ..Content::default() };
        self.owe(&NewOutbox { expires: self.now.wall + life, ..self.outgoing(TEXT, target, &content) })?;
        Ok(())
    }

    /// The operator approved somebody beside us: they hear of it once.
    pub(super) fn on_poke(&mut self) -> Result<()> {
        for person in self.store.untold()? {
            self.store.set_told(&person)?;
            if let Some(chat) = person.chat.clone() {
                let target = Target { channel: person.channel, account: person.account, chat, thread: String::new() };
                let day = 86_400_000;
                self.say(&target, "You may write to me now.", day)?;
            }
        }
        // The command line may have made something owed again, or changed jobs.
        for target in self.store.lanes_with_work()? {
            self.todo.push_back(Todo::Lane(target));
        }
        self.load_cron()
    }
}
