//! Live messages that go: those that no text of the reply takes the place of.
//!
//! Only rows that delete are written here; the lane sends them.

use super::State;
use crate::message::*;
use crate::store::{LiveRow, NewOutbox, Result, DELETE};

impl State {
    /// A live message came to be when its turn was over: it is in the reply's place, or it has none.
    pub(super) fn settle_live(&mut self, place: &LiveRow) -> Result<()> {
        match self.store.segment_at(place.turn, place.n)? {
            // Not rendered yet: then is soon enough.
            Some(segment) => match self.store.parts_of(segment)? {
                Some(parts) if place.index >= parts => self.remove_live(place),
                _ => Ok(()),
            },
            None => self.remove_live(place),
        }
    }

    /// Live messages that the reply has no text for.
    pub(super) fn remove_surplus(&mut self, segment: Row, parts: i64) -> Result<()> {
        let Some((turn, n)) = self.store.place_of(segment)? else { return Ok(()) };
        self.remove_lives(turn, n, parts)
    }

    /// The turn is over: live messages of segments that came to no text go.
    pub(super) fn remove_untold(&mut self, turn: Row) -> Result<()> {
        for live in self.store.lives(turn)? {
            if self.store.segment_at(turn, live.n)?.is_none() {
                self.remove_live(&live)?;
            }
        }
        Ok(())
    }

    /// Live messages of a segment from that index on go.
    pub(super) fn remove_lives(&mut self, turn: Row, n: i64, from: i64) -> Result<()> {
        for live in self.store.live_of(turn, n)?.into_iter().filter(|l| l.index >= from) {
            self.remove_live(&live)?;
        }
        Ok(())
    }

    fn remove_live(&mut self, live: &LiveRow) -> Result<()> {
        self.owe(&NewOutbox {
            message: Some(&live.message),
            ..self.outgoing(DELETE, &live.target, &Content::default())
        })?;
        self.store.forget_live(live)?;
        Ok(())
    }
}
