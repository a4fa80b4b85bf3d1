//! An edit of a message that was put together with others and still waits (telegram.md 8.9, 8.10).

use super::parcel::{number, Join};
use super::State;
use crate::message::Row;
use crate::store::{inbox_state as st, InboxRow, Result};

impl State {
    /// Its words in the whole are replaced; false: it is no part of anything, or that waits no more.
    pub(super) fn replace_part(&mut self, row: &InboxRow, text: &str, hash: &str) -> Result<bool> {
        let lead = match row.state.as_str() {
            st::JOINED => self.store.lead_of(row.id)?,
            _ => Some(row.id),
        };
        let Some(lead) = lead.map_or(Ok(None), |id| self.store.inbox(id))? else { return Ok(false) };
        let mut parts = self.store.joined_to(lead.id)?;
        if lead.state != st::QUEUED || lead.kind != "message" || parts.is_empty() {
            return Ok(false);
        }
        parts.sort_by_key(|r| (number(&r.source), r.id));
        let join = Join::of(lead.group.as_deref());
        let mut texts: Vec<(Row, String)> = parts.into_iter().map(|r| (r.id, r.text)).collect();
        texts.insert(0, (lead.id, own_text(&lead.text, &texts, join)));
        for (_, said) in texts.iter_mut().filter(|(id, _)| *id == row.id) {
            *said = text.to_owned();
        }
        let whole = join.text(texts.iter().map(|(_, text)| text.as_str()));
        let Some(key) = self.load(&lead.session, None)? else { return Ok(false) };
        let Some(s) = self.sessions.get_mut(&key) else { return Ok(false) };
        let Some(waiting) = s.queue.iter_mut().find(|r| r.id == lead.id) else { return Ok(false) };
        waiting.text = whole.clone();
        if row.id == lead.id {
            waiting.body_hash = Some(hash.to_owned());
            self.store.set_text(lead.id, &whole, Some(hash))?;
        } else {
            self.store.set_text(lead.id, &whole, lead.body_hash.as_deref())?;
            self.store.set_text(row.id, text, Some(hash))?;
        }
        Ok(true)
    }
}

/// What the first part said itself.
fn own_text(whole: &str, others: &[(Row, String)], join: Join) -> String {
    let rest = join.text(others.iter().map(|(_, text)| text.as_str()).chain([""]));
    let said = others.iter().any(|(_, text)| !text.is_empty());
    let own = match said {
        true => whole.strip_suffix(&rest).map(|own| own.strip_suffix(join.between()).unwrap_or(own)),
        false if whole == rest => Some(""), // a word of ours for nothing
        false => Some(whole),
    };
    own.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_is_what_the_others_leave() {
        for join in [Join::Album, Join::Text, Join::Typed, Join::Forwards] {
            for texts in [["a", "b", "c"], ["", "b", ""], ["a", "", ""], ["", "", ""], ["a\n\nb", "", "b"]] {
                let whole = join.text(texts.iter().copied());
                let others = [(2, texts[1].to_owned()), (3, texts[2].to_owned())];
                assert_eq!(own_text(&whole, &others, join), texts[0], "{join:?} {texts:?}");
            }
        }
    }
}
