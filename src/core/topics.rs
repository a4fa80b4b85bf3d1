//! Topics that are not there any more (telegram.md 7): in private what is owed goes to the chat itself; in a group a reply
//! goes there as a reply to the message that it answers, and what answers none is given up.

use super::blocks::BLOCK;
use super::State;
use crate::message::*;
use crate::store::{is_act, OutboxRow, Result};

/// So long it is believed that a topic is gone, ms.
const GONE: u64 = 600_000;
const WHY: &str = "the topic is gone";

impl State {
    pub(super) fn lose_topic(&mut self, target: &Target) {
        let now = self.now.mono;
        self.lost_topics.retain(|_, until| *until > now);
        if self.lost_topics.insert(target.clone(), now + GONE).is_none() {
            log::warn!(
                "{} {}: topic {} of chat {} is gone",
                target.channel,
                target.account,
                target.thread,
                target.chat
            );
        }
    }

    pub(super) fn topic_is_lost(&self, target: &Target) -> bool {
        self.lost_topics.get(target).is_some_and(|until| *until > self.now.mono)
    }

    /// The row answers nothing, and its topic is gone: it is given up.
    pub(super) fn goes_with_topic(&mut self, target: &Target, row: &OutboxRow) -> Result<bool> {
        if !self.topic_is_lost(target)
            || is_private(target)
            || is_act(&row.kind)
            || self.answered_by(target, row)?.is_some()
        {
            return Ok(false);
        }
        self.store.set_outbox(row.id, "failed", row.attempts, None, Some(WHY))?;
        self.undelivered(row, WHY)?;
        self.question_known(row.id, None)?;
        self.question_unsent(row.id, WHY)?;
        Ok(true)
    }

    /// Where the row goes, and what it says.
    pub(super) fn beside_topic(&self, target: &Target, row: &OutboxRow) -> Result<(Target, Content)> {
        let mut content = row.content.clone();
        if !self.topic_is_lost(target) || is_act(&row.kind) {
            return Ok((target.clone(), content));
        }
        if !is_private(target) {
            content.reply_to = self.answered_by(target, row)?;
        }
        Ok((Target { thread: String::new(), ..target.clone() }, content))
    }

    /// The message that a row replies to, or answers.
    fn answered_by(&self, target: &Target, row: &OutboxRow) -> Result<Option<String>> {
        if row.content.reply_to.is_some() {
            return Ok(row.content.reply_to.clone());
        }
        let Some(segment) = row.segment else { return Ok(None) };
        if !matches!(self.store.origin_of(segment)?.as_deref(), Some("reply" | "command" | "notice" | BLOCK)) {
            return Ok(None);
        }
        let inbox = self.store.segment_said(segment)?.and_then(|(_, _, inbox)| inbox);
        let Some(to) = inbox.map_or(Ok(None), |row| self.store.inbox(row))? else { return Ok(None) };
        Ok(if to.source.chat == target.chat { to.source.message_id } else { None })
    }
}

/// Groups have ids below zero.
fn is_private(target: &Target) -> bool {
    !target.chat.starts_with('-')
}
