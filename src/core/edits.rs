//! Messages that say something else now, and updates that nobody could read (telegram.md 8.10, core.md C7).

use super::intake::Manner;
use super::parcel::Place;
use super::State;
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

/// Of an update that could not be read, bytes.
const RAW: usize = 64 << 10;

/// By which a message that says the same again is known.
pub fn said_hash(m: &Inbound) -> String {
    let files: Vec<&str> = m.files.iter().map(|f| f.unique.as_str()).collect();
    super::intake::short_hash(&format!("{}\n{}", m.text, files.join(" ")))
}

impl State {
    /// One that still waits is replaced; another one is left alone, or said anew if its account wants that.
    pub(super) fn on_edited(&mut self, mut m: Inbound) -> Result<()> {
        let hash = said_hash(&m);
        let Some((session, held)) = self.let_in(&mut m)? else { return Ok(()) };
        if held {
            return Ok(()); // alone it would not come in either
        }
        let original = m.original.take();
        let row = match &original {
            Some(key) => self.store.inbox_by_key(key)?,
            None => None,
        };
        if let Some(row) = row {
            if row.body_hash.as_deref() == Some(&hash) {
                return Ok(()); // a preview appeared, a reaction was counted
            }
            if self.replace(&row, &m.text, &hash)? || self.replace_part(&row, &m.text, &hash)? {
                return Ok(());
            }
            // What it says now is known from here on.
            self.store.set_hash(row.id, &hash)?;
        }
        if !self.rules.account(&m.source).is_some_and(|a| a.inflow.resend_edits) {
            return Ok(());
        }
        m.text = format!("[Edited message] {}", m.text);
        m.files.clear();
        m.group = None;
        self.accept(&session, m, Manner { hash: Some(&hash), ..Manner::default() })?;
        Ok(())
    }

    /// False: it waits no more, or is part of something that was put together already.
    fn replace(&mut self, row: &InboxRow, text: &str, hash: &str) -> Result<bool> {
        let queued = row.state == st::QUEUED && row.group.is_none();
        if row.kind != "message" || !(queued || matches!(row.state.as_str(), st::ACCEPTED | st::HELD)) {
            return Ok(false);
        }
        let Some(key) = self.load(&row.session, None)? else { return Ok(false) };
        let Some(s) = self.sessions.get_mut(&key) else { return Ok(false) };
        let waiting = s.queue.iter_mut().chain(s.early.iter_mut().flat_map(|p| &mut p.rows));
        let Some(mine) = waiting.into_iter().find(|r| r.id == row.id) else { return Ok(false) };
        mine.text = text.to_owned();
        mine.body_hash = Some(hash.to_owned());
        self.store.set_text(row.id, text, Some(hash))?;
        Ok(true)
    }

    /// Kept for the record, under the key by which it would come again.
    pub(super) fn on_broken(&mut self, dkey: &str, source: &Source, raw: &str) -> Result<()> {
        if self.known(Some(dkey))?.is_some() {
            return Ok(());
        }
        let mut cut = raw.len().min(RAW);
        while !raw.is_char_boundary(cut) {
            cut -= 1;
        }
        let (session, _) = self.route(source, "");
        let row = self.store_failed(&session, Some(dkey), source, &raw[..cut], None)?;
        self.store.set_inbox(row, st::FAILED, None, None, Some("parse"))?;
        let text = format!("{}: an update could not be read; it is kept as message {row} of the store", source.channel);
        self.emit(Effect::Notice(text.into()));
        Ok(())
    }

    /// Session of a message that may come in, its text without an agent's name; true: only if another part of the
    /// same message speaks to the bot. `None`: known already, or not let in.
    pub(super) fn let_in(&mut self, m: &mut Inbound) -> Result<Option<(String, bool)>> {
        if self.known(Some(&m.dkey))?.is_some() || self.known(m.dkey2.as_deref())?.is_some() {
            self.counters.duplicates += 1;
            return Ok(None);
        }
        let (session, text) = self.route(&m.source, &m.text);
        let session = self.renamed(session, &m.source)?;
        self.is_meant(m);
        m.facts.mentioned |= self.continues(&session, m);
        let mut held = false;
        if self.is_named(m)? {
            return Ok(None);
        }
        if !self.admits(&m.source, &m.facts)? {
            let spoken = Facts { mentioned: true, ..m.facts.clone() };
            let part = m.group.is_some() && m.source.chat_type != ChatType::Dm && !m.facts.mentioned;
            held = part && self.admits(&m.source, &spoken)?;
            if !held {
                self.overhear(m);
                return Ok(None); // refused senders are not stored
            }
        }
        if !held && self.answers_question(m)? {
            return Ok(None);
        }
        m.text = text;
        if self.maybe_asked(m).is_some() {
            return Ok(Some((session, held))); // an answer is those words and nothing else
        }
        self.with_quote(&session, m)?;
        self.with_reply(m);
        if !held {
            self.with_context(m);
        }
        Ok(Some((session, held)))
    }

    /// Where it goes, and what it has in common with other rows.
    pub(super) fn place_of_message(&self, session: &str, m: &Inbound) -> (Place, Option<String>) {
        let s = self.sessions.get(session);
        let place = s.map_or(Place::Queue, |s| self.place(s, m));
        (place, self.group_at(s, m, place, self.store.next_inbox()))
    }
}
