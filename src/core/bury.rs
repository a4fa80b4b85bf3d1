//! Messages whose handling panicked: put aside as failed, so that they never come again (core.md C7).
//!
//! Nothing is decided here about what they say.

use super::State;
use crate::message::*;
use crate::store::{inbox_state as st, NewInbox, Result};

impl State {
    /// A message whose handling panicked: stored as failed, so that it never comes again (core.md C7).
    pub fn bury(&mut self, event: &Event) -> Result<Vec<Effect>> {
        match event {
            Event::Request { id, req } => {
                if let Some(c) = req.message() {
                    let row =
                        self.store_failed(&c.session, c.dkey.as_deref(), &c.source, &c.text, Some(&c.body_hash))?;
                    let run = self.store.ext('i', row);
                    self.answer(*id, Answer::Accepted { row, run, replayed: false }, true);
                }
            }
            Event::Inbound { id, batch } => {
                for u in &batch.updates {
                    if let Update::Pressed(p) = u {
                        self.answer_press(&Target::from(&p.source), &p.query, "That failed.");
                    }
                    let (Update::Message(u) | Update::Edited(u)) = u else { continue };
                    if self.known(Some(&u.dkey))?.is_none() {
                        let (session, _) = self.route(&u.source, &u.text);
                        self.store_failed(&session, Some(&u.dkey), &u.source, &u.text, None)?;
                    }
                }
                self.answer(*id, Answer::Ok, true);
            }
            _ => {}
        }
        self.emit(Effect::Notice("a message could not be handled (panic, see the log); it was put aside".into()));
        Ok(std::mem::take(&mut self.out))
    }

    pub(super) fn store_failed(
        &mut self,
        session: &str,
        dkey: Option<&str>,
        source: &Source,
        text: &str,
        hash: Option<&str>,
    ) -> Result<Row> {
        let row = self.store.add_inbox(&NewInbox {
            dkey: dkey.filter(|k| !k.is_empty()),
            state: st::FAILED,
            text,
            body_hash: hash,
            ..self.incoming("message", session, source)
        })?;
        self.store.set_inbox(row, st::FAILED, None, None, Some("panic"))?;
        Ok(row)
    }
}
