//! Paragraphs of an answer that go out by themselves while the turn runs (core.md 8.4).
//!
//! What is left of the answer is the business of the reply.

use super::reply::reply_to;
use super::session::{Session, Stage};
use super::State;
use crate::message::*;
use crate::rules::ReplyTo;
use crate::store::{NewOutbox, NewSegment, Result, TEXT};

/// Origin of a paragraph that went out before its reply was complete; the reply's segment has it too.
pub(super) const BLOCK: &str = "block";

impl State {
    /// What of the current segment went out paragraph by paragraph.
    pub(super) fn blocks_of(&self, turn: Row) -> Result<Vec<String>> {
        let all = self.store.segments_of(turn)?;
        let last = all.iter().rposition(|g| g.n.is_some()).map_or(0, |at| at + 1);
        Ok(all.into_iter().skip(last).filter(|g| g.origin == BLOCK).map(|g| g.text).collect())
    }

    /// Finished paragraphs of the running turn go out by themselves.
    pub(super) fn add_block(&mut self, s: &mut Session, text: &str) -> Result<()> {
        let Stage::Turn(t) = &s.stage else { return Ok(()) };
        let Some(to) = t.addressee().cloned() else { return Ok(()) };
        let (turn, target) = (t.row.id, self.target_of(&to.source));
        let first = self.blocks_of(turn)?.is_empty();
        let mode = self.rules.account(&to.source).map_or(ReplyTo::Off, |a| a.reply_to);
        let reply_to = reply_to(&self.store, mode, &to)?.filter(|_| first || mode == ReplyTo::All);
        let segment = self.store.add_segment(&NewSegment {
            turn: Some(turn),
            inbox: Some(to.id),
            ..self.said(&s.key, BLOCK, &target, text)
        })?;
        let content = Content { text: text.to_owned(), reply_to, ..Content::default() };
        self.owe(&NewOutbox { segment: Some(segment), ..self.outgoing(TEXT, &target, &content) })?;
        Ok(())
    }
}

/// What of `text` comes behind these paragraphs; spaces do not count. Not theirs: all of it.
pub(super) fn behind<'a>(text: &'a str, blocks: &[String]) -> &'a str {
    let mut rest = text.char_indices().filter(|(_, c)| !c.is_whitespace());
    let mut end = 0;
    for said in blocks.iter().flat_map(|b| b.chars()).filter(|c| !c.is_whitespace()) {
        match rest.next() {
            Some((at, c)) if c == said => end = at + c.len_utf8(),
            _ => return text,
        }
    }
    text[end..].trim_start_matches(['\n', ' '])
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn what_went_out_is_not_said_again_and_what_was_another_text_is_said_in_full() {
        let blocks = |list: &[&str]| list.iter().map(|b| b.to_string()).collect::<Vec<_>>();
        assert_eq!(behind("a b\n\nc\n\n- d", &blocks(&["a b", "c"])), "- d");
        assert_eq!(behind("a b", &blocks(&["a b"])), "");
        assert_eq!(behind("x y", &blocks(&["a b"])), "x y");
        assert_eq!(behind("a", &blocks(&["a b"])), "a");
        assert_eq!(behind("a", &[]), "a");
    }
}
