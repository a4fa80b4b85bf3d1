//! Lanes: the ordered sends of one chat; at most one request in flight (core.md 22.3).
//!
//! No mark, no send: a row becomes `sending` immediately before its call, here and nowhere else. Live views come
//! only when no row is ready. What comes of a call is in [`super::outcomes`], how often may be called in [`super::limits`].

use super::chats::is_large;
use super::limits::chat_of;
use super::question_view::BY_ROW;
use super::session::Key;
use super::view::JUST_SENT;
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{LiveRow, OutboxRow, Result, DELETE, EDIT, PIN, REACT, TEXT, UNPIN};

/// How a row is delivered whose first call nobody knows the outcome of.
pub(super) const AGAIN: &str = "again";

#[derive(Debug, Default)]
pub struct Lane {
    /// The call that is on its way.
    pub(super) flying: Option<CallId>,
    /// Not before this moment.
    pub(super) not_before: Mono,
    pub(super) failures: u32,
    /// The head is being rendered; asked again after that moment.
    pub(super) rendering: Option<(JobId, Mono)>,
    /// Something last went out then: who sees it needs no sign of typing.
    pub(super) last_out: Mono,
}

impl Lane {
    /// Its last call was in vain.
    pub(super) fn fails(&self) -> bool {
        self.failures > 0
    }

    /// A call is on its way, or the platform asked for patience.
    pub(super) fn held(&self, now: Mono) -> bool {
        self.flying.is_some() || self.not_before > now
    }
}

/// Calls that no row of the outbox stands for.
#[derive(Clone, Debug)]
pub(super) enum Passing {
    /// Of that session; the message shows, or is going to show, this piece of its answer.
    View(Key, LiveRow),
    Typing(Key),
    /// A reaction of ours to the message with that id.
    Mark(String),
    /// Out of the lane; the same once more if it does not get through.
    Press(Option<Op>),
}

impl State {
    pub(super) fn pump_lane(&mut self, target: &Target) -> Result<()> {
        if self.degraded.is_some() {
            return Ok(());
        }
        if self.lanes.entry(target.clone()).or_default().flying.is_some() {
            return Ok(());
        }
        if self.waits_for_move(target)? || self.pump_first(target)? {
            return Ok(());
        }
        while let Some(row) = self.store.outbox_head(target)? {
            if let Some(to) = self.moved_to(target) {
                return self.move_lane(target, to);
            }
            if let Some(why) = self.barred(target).map(str::to_owned) {
                self.drop_owed(target, &why)?;
                break;
            }
            if row.state == "raw" {
                return self.render(target, &row);
            }
            if self.clock_confirmed && row.expires_at < self.now.wall {
                log::warn!("reply {} to {} is too old and was given up", row.id, target.channel);
                self.store.set_outbox(row.id, "expired", row.attempts, None, Some("too old"))?;
                self.undelivered(&row, "too old")?;
                continue;
            }
            // Marked by an earlier life, and nobody knows what became of it.
            let doubtful = row.state == "sending" && row.how.as_deref() != Some("edit") && row.kind != DELETE;
            // Buttons twice would be two questions.
            let once = is_large(&row) || (!row.content.buttons.is_empty() && !self.repeat_safe(target));
            if doubtful && (once || !self.may_repeat(target)) {
                let why = Some("may have been sent before a crash");
                self.store.set_outbox(row.id, "skipped", row.attempts, None, why)?;
                continue;
            }
            if self.goes_with_topic(target, &row)? {
                continue;
            }
            return match self.lane_free_at(target) {
                Some(at) if at <= self.now.mono => self.deliver(target, &row),
                Some(at) => {
                    self.arm(Due::Lane(target.clone()), at);
                    Ok(())
                }
                None => Ok(()),
            };
        }
        if let Some(chat) = self.moved_to(target) {
            self.todo.push_back(Todo::Lane(Target { chat, ..target.clone() })); // it may have waited
        }
        if self.pump_view(target)? {
            return Ok(());
        }
        let now = self.now.mono;
        let chat = self.chats.get(&chat_of(target)).and_then(|c| c.over(now));
        let Some(lane) = self.lanes.get(target) else { return Ok(()) };
        let seen = if lane.last_out > 0 { lane.last_out + JUST_SENT } else { 0 };
        match chat.into_iter().chain([lane.not_before, seen].into_iter().filter(|at| *at > now)).max() {
            Some(at) => self.arm(Due::Lane(target.clone()), at), // limits outlive what they were met with
            None if lane.flying.is_none() => {
                self.lanes.remove(target);
                self.chats.remove(&chat_of(target));
            }
            None => {}
        }
        Ok(())
    }

    fn may_repeat(&self, target: &Target) -> bool {
        self.rules.resend_ambiguous || self.repeat_safe(target)
    }

    pub(super) fn repeat_safe(&self, target: &Target) -> bool {
        self.rules.channels.get(&target.channel).is_some_and(|c| c.repeat_safe)
    }

    fn set_flying(&mut self, target: &Target, call: CallId) {
        self.lanes.entry(target.clone()).or_default().flying = Some(call);
    }

    /// Marks the row and calls: in the place of the live message that showed it, if there is one.
    fn deliver(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        let edited = match row.message.as_deref().filter(|_| row.kind == EDIT) {
            Some(message) => match message.strip_prefix(BY_ROW).and_then(|row| row.parse().ok()) {
                Some(row) => self.store.message_of(row)?,
                None => Some(message.to_owned()),
            },
            None => None,
        };
        if row.kind == EDIT && edited.is_none() {
            self.store.set_outbox(row.id, "skipped", row.attempts, None, Some("nobody knows the message"))?;
            self.todo.push_back(Todo::Lane(target.clone()));
            return Ok(());
        }
        self.store.set_outbox(row.id, "sending", row.attempts + 1, None, None)?;
        let live = match (row.kind.as_str(), row.segment) {
            (TEXT, Some(segment)) => self.store.live_for(segment, row.chunk, target)?,
            _ => None,
        };
        let (place, content) = self.beside_topic(target, row)?;
        let id = row.message.clone().unwrap_or_default();
        let (op, how) = match (row.kind.as_str(), live) {
            (DELETE, _) => (Op::Delete { id }, "edit"),
            (EDIT, _) => (Op::Edit { id: edited.unwrap_or_default(), content }, "edit"),
            (REACT, _) => {
                let emoji = content.text.split(' ').filter(|e| !e.is_empty()).map(str::to_owned).collect();
                (Op::React { id, emoji }, "edit")
            }
            (PIN | UNPIN, _) => (Op::Pin { id, on: row.kind == PIN }, "edit"),
            (_, Some(live)) => (Op::Edit { id: live.message, content }, "edit"),
            (_, None) => (Op::Send { content, nonce: self.store.ext('o', row.id), again: false }, "send"),
        };
        let again = how == "send" && row.how.as_deref() == Some(AGAIN);
        let op = match op {
            Op::Send { content, nonce, .. } => Op::Send { content, nonce, again },
            op => op,
        };
        if row.how.as_deref() != Some(how) && !again {
            self.store.set_outbox_how(row.id, how)?;
        }
        // The row's own commit may be as young as this one: the first call waits for the sync.
        let durable = row.attempts == 0 && self.rules.durable;
        let call = Call { target: place, op };
        self.emit(Effect::Call { id: CallId::Row(row.id), call: Box::new(call), durable });
        self.set_flying(target, CallId::Row(row.id));
        for _ in 0..row.content.files().count().max(1) {
            self.spend(target);
        }
        Ok(())
    }

    /// The lane has no call under way any more.
    pub(super) fn lane_rests(&mut self, target: &Target) {
        if let Some(lane) = self.lanes.get_mut(target) {
            lane.flying = None;
        }
        self.todo.push_back(Todo::Lane(target.clone()));
    }

    /// A call of the state before this one: its lane waits for it.
    pub(super) fn inherit_call(&mut self, id: u64, target: Target, what: Passing) {
        if matches!(what, Passing::View(..)) {
            self.set_flying(&target, CallId::Passing(id));
        }
        self.passing.insert(id, (target, what));
    }

    /// The call of a row, set going before this state was built: its outcome is still to come, and nothing else goes
    /// that way before.
    pub(super) fn inherit_send(&mut self, call: CallId) -> Result<()> {
        let CallId::Row(row) = call else { return Ok(()) };
        if let Some(target) = self.store.target_of(row)? {
            self.set_flying(&target, call);
        }
        Ok(())
    }

    /// A call that no row stands for.
    pub(super) fn call_passing(&mut self, target: &Target, op: Op, what: Passing) {
        let id = self.next_call;
        self.next_call += 1;
        if matches!(what, Passing::View(..)) {
            self.set_flying(target, CallId::Passing(id)); // paid for when it is known that somebody was called
        }
        self.passing.insert(id, (target.clone(), what));
        let call = Box::new(Call { target: target.clone(), op });
        self.emit(Effect::Call { id: CallId::Passing(id), call, durable: false });
    }
}
