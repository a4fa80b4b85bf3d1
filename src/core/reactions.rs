//! Reactions: those of people, told to the agent, and ours that show that a message is being worked on (telegram.md 9).

use super::blocks::BLOCK;
use super::intake::{Kind, Manner};
use super::lanes::Passing;
use super::{prompt, State};
use crate::message::*;
use crate::store::{inbox_state, InboxRow, OutboxRow, Result, TEXT};

/// Characters of the message that are repeated.
const QUOTED: usize = 80;

impl State {
    /// Somebody reacted: the session hears of it when it has time.
    pub(super) fn on_reaction(&mut self, reaction: Reaction) -> Result<()> {
        let Reaction { mut inbound, message, own_only } = reaction;
        if self.known(Some(&inbound.dkey))?.is_some() {
            self.counters.duplicates += 1;
            return Ok(());
        }
        let facts = Facts { mentioned: true, ..inbound.facts.clone() };
        if !self.admits(&inbound.source, &facts)? {
            return Ok(());
        }
        let s = &inbound.source;
        let account = s.account.clone().unwrap_or_default();
        let ours = self.store.sent_message(&s.channel, &account, &s.chat, &message)?;
        if own_only && ours.is_none() {
            return Ok(());
        }
        let mut session = None;
        if let Some((thread, segment)) = ours {
            // Reactions do not say in which topic.
            inbound.source.thread = (!thread.is_empty()).then_some(thread);
            if let Some((key, text, _)) = segment.map_or(Ok(None), |row| self.store.segment_said(row))? {
                let text = prompt::head(text.lines().next().unwrap_or_default(), QUOTED);
                inbound.text += &format!(" on message {message}: \"{text}\"");
                session = Some(key);
            }
        }
        let (routed, _) = self.route(&inbound.source, &inbound.text);
        let session = match session {
            Some(session) => session,
            None => self.renamed(routed, &inbound.source.clone())?,
        };
        let manner = Manner { kind: Kind::Webhook, refusable: true, ..Manner::default() };
        self.accept(&session, inbound, manner)?;
        Ok(())
    }

    /// Shows that a message was taken in.
    pub(super) fn acknowledge(&mut self, source: &Source) {
        let emoji = self.rules.account(source).and_then(|a| a.ack.clone());
        if let Some(emoji) = emoji {
            self.react(source, vec![emoji]);
        }
    }

    /// The message was answered, or nothing is going to be said to it.
    pub(super) fn unacknowledge(&mut self, m: &InboxRow) {
        if m.kind == "message" && self.rules.account(&m.source).is_some_and(|a| a.ack.is_some()) {
            self.react(&m.source, Vec::new());
        }
    }

    /// The message, if its fate is recorded and nothing is said to it.
    pub(super) fn unanswered(&self, row: Row) -> Result<Option<InboxRow>> {
        if !self.rules.accounts.values().any(|a| a.ack.is_some()) {
            return Ok(None);
        }
        let Some(m) = self.store.inbox(row)?.filter(|m| inbox_state::terminal(&m.state)) else { return Ok(None) };
        let said = match m.turn {
            Some(turn) => self.store.segments_of(turn)?.iter().any(|g| g.origin != "tool"),
            None => self.store.segment_for(row)?.is_some(),
        };
        Ok((!said).then_some(m))
    }

    /// A row was taken: if that was the last of an answer, its messages bear no mark any more.
    pub(super) fn delivered(&mut self, row: &OutboxRow) -> Result<()> {
        let acks = self.rules.account_of(&row.target).is_some_and(|a| a.ack.is_some());
        let Some(segment) = row.segment.filter(|_| acks && row.kind == TEXT) else { return Ok(()) };
        if matches!(self.store.origin_of(segment)?.as_deref(), Some("tool" | BLOCK)) {
            return Ok(());
        }
        if self.store.parts_sent(row.id, Some(segment))?.iter().any(|p| p.open()) {
            return Ok(());
        }
        self.all_delivered(segment)
    }

    /// Nothing of that answer is owed any more.
    pub(super) fn all_delivered(&mut self, segment: Row) -> Result<()> {
        let heard = match self.store.place_of(segment)? {
            Some((turn, _)) => self.store.heard_in(turn)?,
            None => self.store.segment_said(segment)?.and_then(|(_, _, inbox)| inbox).into_iter().collect(),
        };
        for id in heard {
            if let Some(m) = self.store.inbox(id)? {
                self.unacknowledge(&m);
            }
        }
        Ok(())
    }

    fn react(&mut self, source: &Source, emoji: Vec<String>) {
        let Some(id) = source.message_id.clone().filter(|_| !self.lane_frozen(&self.target_of(source))) else { return };
        // The id belongs to the chat as it was then.
        let target = Target::from(source);
        let setting = |(t, p): &(Target, Passing)| *t == target && matches!(p, Passing::Mark(m) if *m == id);
        if self.passing.values().any(setting) {
            self.unmarks.insert((target, id)); // one after the other, or it would stay for ever
            return;
        }
        self.call_passing(&target, Op::React { id: id.clone(), emoji }, Passing::Mark(id));
    }

    /// What became of a reaction is nobody's concern, but that it is over.
    pub(super) fn on_mark(&mut self, target: Target, id: String, outcome: Outcome) {
        if let Outcome::RateLimited { account_wide, ms } = outcome {
            self.limited(&target, account_wide, ms);
        }
        let place = (target, id);
        if self.unmarks.remove(&place) && !self.lane_frozen(&place.0) {
            let (target, id) = place;
            self.call_passing(&target, Op::React { id: id.clone(), emoji: Vec::new() }, Passing::Mark(id));
        }
    }
}
