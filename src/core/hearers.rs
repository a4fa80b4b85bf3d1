//! Who hears of what nobody asked for just now: results of jobs, of heartbeats, of tasks (core.md 13).
//!
//! What there is to say is decided elsewhere.

use super::session::Session;
use super::State;
use crate::cron::job::{Job, Manner as How};
use crate::message::*;
use crate::store::{Result, SessionRow};

/// Sessions that are looked through for somebody's last conversation.
const LOOK_BACK: usize = 200;
const WEBCHAT: &str = "webchat";

/// Who writes from there, for all that is known.
pub(super) fn source_of(target: Target) -> Source {
    Source {
        // Groups and channels have ids below zero.
        chat_type: if target.chat.starts_with('-') { ChatType::Group } else { ChatType::Dm },
        channel: target.channel,
        account: Some(target.account),
        thread: Some(target.thread).filter(|t| !t.is_empty()),
        chat: target.chat,
        ..Source::default()
    }
}

impl State {
    /// The conversation that is an agent's main one: the latest with a person (core.md 3.1).
    pub(super) fn main_key(&self, agent: &str) -> Result<String> {
        let with_a_person = |s: &Source| s.chat_type == ChatType::Dm && self.reaches(s);
        let mut all = self.conversations_of(agent)?.into_iter();
        let found = all.find(|s| self.place_of(s).is_some_and(|place| with_a_person(&place)));
        Ok(found.map_or_else(|| format!("agent:{agent}:main:main"), |s| s.key))
    }

    /// Where a result goes: the place that is named, where the job was asked for, the chat the agent is bound to, or its
    /// last conversation. For WebChat `chat` is the conversation's key.
    pub(super) fn who_hears(&self, job: &Job, agent: &str) -> Result<Option<Source>> {
        let channel = job.delivery.channel.as_deref().filter(|c| *c != "last");
        let named = match (channel, job.delivery.to.as_deref()) {
            (Some(WEBCHAT), to) => {
                let to = to.unwrap_or("default");
                let key = if to.contains(':') { to.to_owned() } else { format!("agent:{agent}:webchat:{to}") };
                return Ok(Some(Source { channel: WEBCHAT.into(), chat: key, ..Source::default() }));
            }
            (Some(channel), Some(to)) => Some((channel, to)),
            (None, Some(to)) => to.split_once(':'),
            (_, None) => None,
        };
        if let Some((channel, to)) = named {
            return Ok(match self.rules.address(channel, to) {
                Ok(target) => Some(source_of(target)),
                Err(why) => {
                    log::warn!("cron job {}: nobody hears of it: {why}", job.id);
                    None
                }
            });
        }
        self.somebody(agent, job.origin.clone(), channel)
    }

    /// Where somebody hears of what an agent has to say: where it was asked for, the chat the agent is bound to, or its
    /// last conversation.
    pub(super) fn somebody(&self, agent: &str, asked: Option<Source>, channel: Option<&str>) -> Result<Option<Source>> {
        let fits = |s: &Source| channel.is_none_or(|c| s.channel == c) && self.reaches(s);
        let asked = asked.filter(|s| fits(s));
        if asked.is_some() {
            return Ok(asked);
        }
        let bound = self.rules.routing.peer_of(agent).map(source_of).filter(|s| fits(s));
        if bound.is_some() {
            return Ok(bound);
        }
        Ok(self.conversations_of(agent)?.iter().filter_map(|s| self.place_of(s)).find(|s| fits(s)))
    }

    /// An agent's conversations, the latest first; not those of jobs.
    fn conversations_of(&self, agent: &str) -> Result<Vec<SessionRow>> {
        let mut all = self.store.conversations(LOOK_BACK)?;
        all.retain(|s| s.agent == agent && !s.key.starts_with("cron:"));
        Ok(all)
    }

    /// Where the people of a session are; of WebChat the session itself.
    pub(super) fn place_of(&self, row: &SessionRow) -> Option<Source> {
        let last = row.last.clone()?;
        // Who writes to a page's conversation over the API is no place; the page is.
        let page = last.channel == WEBCHAT || (last.channel == "api" && row.key.contains(":webchat:"));
        Some(if page { Source { channel: WEBCHAT.into(), chat: row.key.clone(), ..last } } else { last })
    }

    fn reaches(&self, s: &Source) -> bool {
        s.channel == WEBCHAT || self.rules.account_of(&Target::from(s)).is_some()
    }

    /// Sends a result. Gives what became of it.
    pub(super) fn tell_people(
        &mut self,
        id: &str,
        manner: How,
        source: &Source,
        at: Option<&Session>,
        text: &str,
    ) -> Result<&'static str> {
        if manner == How::Silent {
            return Ok("none");
        }
        if !self.reaches(source) {
            let message = format!("The result of the job {id} reached nobody: it has no place to go");
            self.observe(Level::Warn, Area::Cron, "undeliverable", message, "");
            return Ok("undeliverable");
        }
        let text = match manner {
            How::Announce => format!("[CRON:{id}] {text}"),
            _ => text.to_owned(),
        };
        self.tell_at(source, at, "cron", &text)?;
        Ok("sent")
    }

    /// Puts a text into the conversation of those who write from there, and owes it to them.
    pub(super) fn tell_at(
        &mut self,
        source: &Source,
        at: Option<&Session>,
        origin: &'static str,
        text: &str,
    ) -> Result<()> {
        let mailbox = self.rules.mailbox(&source.channel);
        let target = self.target_of(source);
        let key = if mailbox { source.chat.clone() } else { self.conversation(&target) };
        if mailbox && at.is_none_or(|s| *s.key != key) && self.store.session(&key)?.is_none() {
            let source = Source { agent: None, sender: "web".into(), sender_name: None, ..source.clone() };
            self.new_row(&key, &source)?; // nobody has written there yet
        }
        self.announce(&key, &target, origin, text)
    }
}
