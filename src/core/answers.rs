//! Texts that answer a question of the agent (telegram.md 12).

use super::questions::{Ended, Question};
use super::session::Key;
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, Result};

/// So long a reply waits at most for the platform's word about the question that it may be for, ms.
pub(super) const WORD: u64 = 35_000;

/// A message that replies to one that nobody knows yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    row: Row,
    session: Key,
    /// What it replies to.
    to: String,
}

impl State {
    /// The message is the text that a question of the agent waits for: then it goes no other way.
    pub(super) fn answers_question(&mut self, m: &Inbound) -> Result<bool> {
        let target = self.target_of(&m.source);
        let here = |q: &Question| q.words && q.target == target && q.sender == m.source.sender;
        let mut found: Option<(String, Row, bool)> = None;
        for (id, q) in self.questions.iter().filter(|(_, q)| here(q)) {
            let replied = m.facts.replies.is_some() && self.store.message_of(q.row)? == m.facts.replies;
            let older = found.as_ref().is_none_or(|(_, row, direct)| (replied, -q.row) > (*direct, -*row));
            if (replied || q.dm) && older {
                found = Some((id.clone(), q.row, replied));
            }
        }
        let Some((id, ..)) = found else { return Ok(false) };
        if m.text.trim().is_empty() || super::command_list::parse(&m.text, &self.rules).is_some() {
            return Ok(false);
        }
        let Some(session) = self.questions.get(&id).map(|q| q.session.clone()) else { return Ok(false) };
        let row = self.add_touch(&session, &m.source, &m.text, (&m.dkey, m.dkey2.as_deref()))?;
        self.store.set_inbox(row, st::COMMAND, None, None, None)?;
        self.end_question(&id, UiAnswer::Value(m.text.clone()), Ended::Written)?;
        Ok(true)
    }

    /// It replies to a message that nobody knows, and a question is on its way of which nobody knows yet which message
    /// it is: that one.
    pub(super) fn maybe_asked(&self, m: &Inbound) -> Option<&str> {
        let to = m.facts.replies.as_deref().filter(|_| !m.text.trim().is_empty() && m.files.is_empty())?;
        let target = self.target_of(&m.source);
        let flies = |q: &Question| self.lanes.get(&target).is_some_and(|l| l.flying == Some(CallId::Row(q.row)));
        let fits = |q: &Question| q.words && q.target == target && q.sender == m.source.sender && flies(q);
        let (id, _) = self.questions.iter().find(|(_, q)| fits(q))?;
        let account = m.source.account.as_deref().unwrap_or_default();
        let known = self.store.sent_message(&m.source.channel, account, &target.chat, to);
        matches!(known, Ok(None)).then_some(id) // a store that fails says so at the next statement
    }

    /// The stored message waits until it is known which message the question is.
    pub(super) fn hold_reply(&mut self, row: Row, session: &Key, m: &Inbound) {
        let Some(to) = m.facts.replies.clone() else { return };
        let id = self.maybe_asked(m).map(str::to_owned);
        if let Some(q) = id.and_then(|id| self.questions.get_mut(&id)) {
            q.replies.push(Reply { row, session: session.clone(), to });
        }
    }

    pub(super) fn is_held_reply(&self, row: Row) -> bool {
        self.questions.values().any(|q| q.replies.iter().any(|r| r.row == row))
    }

    /// What waited goes the way of every message.
    pub(super) fn free_replies(&mut self, q: &Question) {
        self.todo.extend(q.replies.iter().map(|r| Todo::Kick(r.session.clone())));
    }

    /// It is known what became of the message that asks; `message`: which one it is.
    pub(super) fn question_known(&mut self, row: Row, message: Option<&str>) -> Result<()> {
        let Some((id, q)) = self.questions.iter_mut().find(|(_, q)| q.row == row && !q.replies.is_empty()) else {
            return Ok(());
        };
        let (id, mut replies) = (id.clone(), std::mem::take(&mut q.replies));
        let answer = replies.iter().position(|r| Some(r.to.as_str()) == message).map(|at| replies.remove(at));
        self.todo.extend(replies.into_iter().map(|r| Todo::Kick(r.session)));
        let Some(answer) = answer else { return Ok(()) };
        let mut text = None;
        self.with(&answer.session, |core, s| {
            let Some(m) = core.take_early(s, answer.row) else { return Ok(()) };
            core.store.set_inbox(m.id, st::COMMAND, None, None, None)?;
            core.settled(m.id)?;
            text = Some(m.text);
            core.pump_early(s)
        })?;
        match text {
            Some(text) => self.end_question(&id, UiAnswer::Value(text), Ended::Written),
            None => Ok(()), // dropped meanwhile
        }
    }
}
