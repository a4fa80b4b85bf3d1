//! The message in which a question stands: its buttons, its last words, what becomes of it when the platform loses it.
//!
//! Nobody is answered here.

use super::dialogs::HELD;
use super::keys;
use super::questions::{kept, Ended, Question};
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{NewOutbox, OutboxRow, Result, TEXT};

/// Characters of an answer that stands below its question.
const SAID: usize = 300;
/// Before the row that a message was sent by, in place of its id.
pub(super) const BY_ROW: &str = "row:";

impl State {
    /// The row of the message that asks.
    pub(super) fn send_question(&mut self, id: &str, q: &Question, reply_to: Option<String>) -> Result<Row> {
        let content = Content {
            text: q.title.clone(),
            buttons: self.buttons(id, q),
            reply_to,
            wants_reply: q.words,
            ..Content::default()
        };
        let expires = self.now.wall + HELD as i64;
        self.owe(&NewOutbox { expires, ..self.outgoing(TEXT, &q.target, &content) })
    }

    pub(super) fn buttons(&self, id: &str, q: &Question) -> Vec<Vec<Button>> {
        if q.words {
            return Vec::new();
        }
        let keys = self.rules.account_of(&q.target).map(|a| a.keys).unwrap_or_default();
        let pages = keys::pages(&q.options, keys);
        let page = q.page.min(pages.len() - 1); // there is always one
        let option = |n: usize| {
            let text = match &q.several {
                Some(chosen) if chosen.contains(&n) => format!("☑ {}", q.options[n]),
                Some(_) => format!("☐ {}", q.options[n]),
                None => q.options[n].clone(),
            };
            keys::button(id, &n.to_string(), &text)
        };
        let shown: Vec<Button> = pages[page].clone().map(option).collect();
        let mut rows: Vec<Vec<Button>> = shown.chunks(q.columns.min(keys.per_row).max(1)).map(<[_]>::to_vec).collect();
        if pages.len() > 1 {
            let to = |n: usize, text: &str| keys::button(id, &format!("p{n}"), text);
            let (before, after) = (page.checked_sub(1).unwrap_or(pages.len() - 1), (page + 1) % pages.len());
            rows.push(vec![to(before, "◀"), to(page, &format!("{}/{}", page + 1, pages.len())), to(after, "▶")]);
        }
        let mut last = Vec::new();
        if q.several.is_some() {
            last.push(keys::button(id, "d", "Done"));
        }
        if q.may_cancel {
            last.push(keys::button(id, "x", "Cancel"));
        }
        rows.extend((!last.is_empty()).then_some(last));
        rows
    }

    pub(super) fn question_message(&self, id: &str) -> Result<Option<String>> {
        match self.questions.get(id) {
            Some(q) if q.message.is_some() => Ok(q.message.clone()),
            Some(q) => self.store.message_of(q.row),
            None => Ok(None),
        }
    }

    /// The message does not ask any more.
    pub(super) fn close_view(&mut self, id: &str, how: &Ended) -> Result<()> {
        let Some(q) = self.questions.remove(id) else { return Ok(()) };
        self.free_replies(&q);
        self.disarm(&Due::Question(id.to_owned()));
        self.store.forget_action(id)?;
        let made = |text: &str| {
            let text: String = text.chars().take(SAID).collect();
            format!("{}\n\n✅ **{}**", q.title, keys::literally(text.trim()))
        };
        let text = match how {
            Ended::Chosen(n) => made(q.options.get(*n).map_or("", String::as_str)),
            Ended::Said(text) => made(text),
            Ended::Written => return Ok(()), // below it stands what was written
            Ended::Cancelled => format!("{}\n*(cancelled)*", q.title),
            Ended::TimedOut => format!("⏰ {}\n*(timed out)*", q.title),
            Ended::Elsewhere => format!("{}\n*(answered elsewhere)*", q.title),
        };
        self.reword(&q.target, q.row, q.message, text)
    }

    /// Another text for the message that a row became, or is about to become.
    pub(super) fn reword(&mut self, target: &Target, row: Row, message: Option<String>, text: String) -> Result<()> {
        if self.store.unsend(row)? {
            self.todo.push_back(Todo::Lane(target.clone()));
            return Ok(());
        }
        let message = message.unwrap_or_else(|| format!("{BY_ROW}{row}"));
        self.edit(target, &message, Content { text, ..Content::default() })
    }

    /// A message that was to be edited is gone: its new text is sent, and stands for it from now on.
    pub(super) fn sent_anew(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        let named = row.message.as_deref().unwrap_or_default();
        let gone = match named.strip_prefix(BY_ROW).and_then(|row| row.parse().ok()) {
            Some(row) => self.store.message_of(row)?,
            None => Some(named.to_owned()),
        };
        self.store.set_outbox_sent_anew(row.id)?;
        let Some(gone) = gone else { return Ok(()) };
        self.store.redirect_edits(target, &gone, row.id)?;
        let mut moved = Vec::new();
        for (id, q) in &mut self.questions {
            let at = if q.message.is_some() { q.message.clone() } else { self.store.message_of(q.row)? };
            if q.target == *target && at.as_ref() == Some(&gone) {
                (q.row, q.message) = (row.id, None);
                moved.push((id.clone(), kept(q)));
            }
        }
        for (id, kept) in moved {
            self.store.set_action(&id, &kept)?;
        }
        Ok(())
    }
}
