//! Replies to messages of ours that the conversation at hand does not know (telegram.md 8.8).

use super::blocks::BLOCK;
use super::State;
use crate::message::*;
use crate::store::Result;

impl State {
    /// The agent is told what a message replies to, unless it said that itself in this conversation.
    pub(super) fn with_quote(&self, session: &str, m: &mut Inbound) -> Result<()> {
        let Some(line) = m.quote.take() else { return Ok(()) };
        if !m.text.starts_with('/') && !self.said_here(session, m)? {
            m.text = format!("{line}\n{}", m.text);
        }
        Ok(())
    }

    /// Is the message that it replies to one of the conversation, as pi knows it?
    fn said_here(&self, session: &str, m: &Inbound) -> Result<bool> {
        let s = &m.source;
        let Some(id) = &m.facts.replies else { return Ok(true) };
        let account = s.account.as_deref().unwrap_or_default();
        let sent = self.store.sent_message(&s.channel, account, &s.chat, id)?;
        let Some(segment) = sent.and_then(|(_, segment)| segment) else { return Ok(false) };
        let said = self.store.segment_said(segment)?.is_some_and(|(key, _, _)| key == session);
        let begun = self.sessions.get(session).map(|s| s.row.reset_at);
        let begun = match begun {
            Some(row) => row,
            None => self.store.session(session)?.map_or(0, |row| row.reset_at),
        };
        let origin = self.store.origin_of(segment)?;
        Ok(said && segment > begun && matches!(origin.as_deref(), Some("reply" | "tool" | BLOCK)))
    }
}
