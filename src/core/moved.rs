//! What people are asked, and what buttons mean, in a chat that has another id (telegram.md 7): the messages stay behind.

use super::questions::kept;
use super::session::Key;
use super::State;
use crate::message::*;
use crate::store::{OutboxRow, Result};

impl State {
    /// Buttons mean the same under the new id; what is asked is asked there once more.
    pub(super) fn move_questions(&mut self, from: &Target, to: &str) -> Result<()> {
        self.store.move_actions(from, to)?;
        let mut asked = Vec::new();
        for (id, q) in &mut self.questions {
            let t = &mut q.target;
            if (&t.channel, &t.account, &t.chat) == (&from.channel, &from.account, &from.chat) {
                t.chat = to.to_owned();
                q.message = None;
                asked.push((id.clone(), q.row));
            }
        }
        for (id, row) in asked {
            // One that is still owed goes there by itself.
            if self.store.outbox_row(row)?.is_none() {
                self.ask_again(&id)?;
            }
        }
        Ok(())
    }

    /// A message was taken: if that was a question, and under an id that the chat had before, it is asked again.
    pub(super) fn question_stayed(&mut self, row: &OutboxRow) -> Result<()> {
        let stayed = self.questions.iter().find(|(_, q)| q.row == row.id && q.target != row.target);
        match stayed.map(|(id, _)| id.clone()) {
            Some(id) => self.ask_again(&id),
            None => Ok(()),
        }
    }

    fn ask_again(&mut self, id: &str) -> Result<()> {
        let Some(mut q) = self.questions.remove(id) else { return Ok(()) };
        q.row = self.send_question(id, &q, None)?;
        self.store.set_action(id, &kept(&q))?;
        self.questions.insert(id.to_owned(), q);
        Ok(())
    }

    /// A press under the id that the chat had before: it counts in the chat, but its message is not there.
    pub(super) fn press_here(&self, mut p: Press) -> Press {
        if let Some(chat) = self.moved_to(&Target::from(&p.source)) {
            (p.message, p.source.message_id) = (None, None);
            p.source.chat = chat;
        }
        p
    }

    /// A conversation has another name: what is open in it bears that too.
    pub(super) fn rename_open(&mut self, old: &Key, new: &Key) {
        for q in self.questions.values_mut().filter(|q| q.session == *old) {
            q.session = new.clone();
        }
        for d in self.dialogs.values_mut().filter(|d| *d.dialog.session == **old) {
            d.dialog.session = new.to_string();
        }
    }
}
