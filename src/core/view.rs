//! What people see while a turn runs: its text as it grows, and that somebody is typing (core.md 8.4).
//!
//! Nothing is owed here but the ids of the messages that show the text: the reply takes their place.

use super::lanes::Passing;
use super::reply::reply_to;
use super::session::{Key, Session, Stage};
use super::turn::Turn;
use super::{Due, State, Todo};
use crate::message::*;
use crate::rules::{AccountRules, ReplyTo};
use crate::store::{InboxRow, LiveRow, NewOutbox, NewSegment, Result, DELETE, TEXT};

/// Origin of a paragraph that went out before its reply was complete; the reply's segment has it too.
pub(super) const BLOCK: &str = "block";

/// Who got a message a moment ago needs no sign of typing.
pub(super) const JUST_SENT: u64 = 4_000;
/// After that many signs that were not taken, none for a minute.
const TYPING_FAILURES: u32 = 3;
const TYPING_PAUSE: u64 = 60_000;
/// Nothing is typed on after that long without any event of the turn.
const TYPING_ENDS: u64 = 600_000;
/// Between two changes at most, however often the platform asks for patience.
const SLOWEST: u64 = 10_000;

/// The view of one turn's current segment; before the turn begins only that somebody is typing.
#[derive(Debug)]
pub(super) struct ViewState {
    target: Target,
    turn: Row,
    n: i64,
    run: String,
    reply_to: Option<String>,
    /// Messages that show the text, in order.
    shown: Vec<String>,
    /// The last of them is full.
    full: bool,
    begun: Mono,
    /// Between two changes; grows when the platform asks for patience.
    every: u64,
    next: Mono,
    typing_next: Mono,
    typing_failures: u32,
    /// As of [`View::taken`].
    taken: Option<usize>,
    /// What stands in it has to be seen before anything else goes out.
    first: bool,
    /// Its message shows nothing of the answer itself.
    bare: bool,
}

impl State {
    /// The turn, or its next segment, is on view from now on.
    pub(super) fn begin_view(&mut self, key: &Key, t: &Turn) -> Result<()> {
        let typed = self.views.get(key).map(|v| (v.target.clone(), v.typing_next));
        self.end_view(key);
        let Some(to) = t.addressee() else { return Ok(()) };
        let Some(account) = self.rules.account(&to.source) else { return Ok(()) };
        let target = self.target_of(&to.source);
        let every = view_interval(account, &target.chat);
        let mine = |l: LiveRow| (l.target == target).then_some(l.message);
        let shown: Vec<String> = self.store.live_of(t.row.id, t.n)?.into_iter().map_while(mine).collect();
        let now = self.now.mono;
        let blocks = account.view.as_ref().is_some_and(|v| v.blocks);
        // Begun by an earlier attempt: what is left comes with the reply.
        let every = every.filter(|_| !blocks);
        let fresh = blocks && self.blocks_of(t.row.id)?.is_empty();
        let every = if fresh { view_interval(account, &target.chat) } else { every };
        let view = ViewState {
            turn: t.row.id,
            n: t.n,
            run: self.store.ext('i', to.id),
            reply_to: reply_to(&self.store, account.reply_to, to)?,
            shown,
            full: false,
            begun: now,
            every: every.unwrap_or(0),
            next: every.map_or(Mono::MAX, |ms| now + ms),
            typing_next: match typed {
                _ if account.typing == 0 => Mono::MAX,
                Some((to, next)) if to == target => next.min(now + account.typing), // it is seen already
                _ => now,
            },
            typing_failures: 0,
            taken: blocks.then_some(0),
            first: false,
            bare: false,
            target,
        };
        self.views.insert(key.clone(), view);
        self.tick_view(key);
        Ok(())
    }

    /// Somebody is going to work on that message: its sender sees a sign of it, long before pi is ready.
    pub(super) fn begin_wait(&mut self, key: &Key, to: &Source) {
        let typing = self.rules.account(to).map_or(0, |a| a.typing);
        if typing == 0 || self.views.contains_key(key) {
            return;
        }
        let now = self.now.mono;
        let view = ViewState {
            target: self.target_of(to),
            turn: 0,
            n: 0,
            run: String::new(),
            reply_to: None,
            shown: Vec::new(),
            full: false,
            begun: now,
            every: 0,
            next: Mono::MAX,
            typing_next: now,
            typing_failures: 0,
            taken: None,
            first: false,
            bare: false,
        };
        self.views.insert(key.clone(), view);
        self.tick_view(key);
    }

    pub(super) fn end_view(&mut self, key: &Key) {
        self.views.remove(key);
        self.disarm(&Due::View(key.clone()));
    }

    /// Some time of the view has come.
    pub(super) fn tick_view(&mut self, key: &Key) {
        let now = self.now.mono;
        let Some(v) = self.views.get(key) else { return };
        let target = v.target.clone();
        if v.typing_next <= now {
            self.type_on(key, &target);
        }
        let Some(v) = self.views.get(key) else { return };
        let due = v.next.min(v.typing_next);
        if v.next <= now {
            self.todo.push_back(Todo::Lane(target)); // the lane decides, and sets the next time
        }
        if due < Mono::MAX {
            self.arm(Due::View(key.clone()), due.max(now + 1));
        }
    }

    /// A sign of life, if nothing stands against it: it is dropped, never queued.
    fn type_on(&mut self, key: &Key, target: &Target) {
        let now = self.now.mono;
        let every = self.rules.account_of(target).map_or(0, |a| a.typing);
        let lane = self.lanes.get(target);
        let held = lane.is_some_and(|l| l.held(now) || (l.last_out > 0 && now - l.last_out < JUST_SENT));
        let free = self.lane_free_at(target).is_some_and(|at| at <= now);
        let flying = self.passing.values().any(|(_, p)| matches!(p, Passing::Typing(k) if k == key));
        let Some(v) = self.views.get_mut(key) else { return };
        v.typing_next = if every == 0 || now - v.begun > TYPING_ENDS { Mono::MAX } else { now + every };
        if every > 0 && !held && free && !flying {
            self.call_passing(target, Op::Typing, Passing::Typing(key.clone()));
        }
    }

    /// A question comes: what was said before it is read before it.
    pub(super) fn view_first(&mut self, key: &Key) {
        if let Some(v) = self.views.get_mut(key).filter(|v| v.every > 0 && v.taken.is_none()) {
            v.first = true;
        }
    }

    /// Calls for a view of this lane that comes first; true if a call is on its way.
    pub(super) fn pump_first(&mut self, target: &Target) -> Result<bool> {
        let now = self.now.mono;
        let Some(v) = self.views.values_mut().find(|v| v.first && v.target == *target) else { return Ok(false) };
        v.first = false;
        v.next = v.next.min(now);
        self.pump_view(target)
    }

    /// Calls for a view of this lane that has something to show; true if a call is on its way.
    pub(super) fn pump_view(&mut self, target: &Target) -> Result<bool> {
        let now = self.now.mono;
        let due = self.views.iter().find(|(_, v)| v.target == *target && v.next <= now).map(|(k, _)| k.clone());
        let Some(key) = due else { return Ok(false) };
        let free = self.lane_free_for_views(target);
        let asks = self.asks_in(&key);
        let lost = self.topic_is_lost(target);
        let Some(v) = self.views.get_mut(&key) else { return Ok(false) };
        match free {
            _ if lost => {
                v.next = Mono::MAX; // the reply finds its way
                return Ok(false);
            }
            Some(at) if at <= now => {}
            _ => {
                v.next = free.unwrap_or(now + SLOWEST).max(now + 1);
                self.tick_view(&key);
                return Ok(false);
            }
        }
        v.next = Mono::MAX; // set by the outcome
        let index = if v.full { v.shown.len() } else { v.shown.len().saturating_sub(1) };
        let message = v.shown.get(index).cloned();
        let place = LiveRow {
            turn: v.turn,
            n: v.n,
            index: index as i64,
            target: target.clone(),
            message: message.clone().unwrap_or_default(),
        };
        let all = self.rules.account_of(target).is_some_and(|a| a.reply_to == ReplyTo::All);
        let op = Op::View(View {
            session: key.to_string(),
            run: v.run.clone(),
            message,
            index,
            reply_to: v.reply_to.clone().filter(|_| index == 0 || all),
            waited: if asks { 0 } else { now - v.begun }, // who is asked sees that something goes on
            taken: v.taken,
        });
        self.call_passing(target, op, Passing::View(key, place));
        Ok(true)
    }

    /// What became of a call that no row stands for.
    pub(super) fn on_passing(&mut self, id: u64, outcome: Outcome) -> Result<()> {
        match self.passing.remove(&id) {
            Some((target, Passing::View(key, place))) => self.on_view(&key, &target, place, outcome),
            Some((target, Passing::Typing(key))) => {
                self.on_typing(&key, &target, outcome);
                Ok(())
            }
            Some((target, Passing::Mark(message))) => {
                self.on_mark(target, message, outcome);
                Ok(())
            }
            Some((target, Passing::Press(again))) => {
                self.on_press_answered(&target, again, &outcome);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What of the current segment went out paragraph by paragraph.
    pub(super) fn blocks_of(&self, turn: Row) -> Result<Vec<String>> {
        let all = self.store.segments_of(turn)?;
        let last = all.iter().rposition(|g| g.n.is_some()).map_or(0, |at| at + 1);
        Ok(all.into_iter().skip(last).filter(|g| g.origin == BLOCK).map(|g| g.text).collect())
    }

    /// Finished paragraphs of the running turn go out by themselves.
    fn add_block(&mut self, s: &mut Session, text: &str) -> Result<()> {
        let Stage::Turn(t) = &s.stage else { return Ok(()) };
        let Some(to) = t.addressee().cloned() else { return Ok(()) };
        let (turn, target) = (t.row.id, self.target_of(&to.source));
        let first = self.blocks_of(turn)?.is_empty();
        let mode = self.rules.account(&to.source).map_or(ReplyTo::Off, |a| a.reply_to);
        let reply_to = reply_to(&self.store, mode, &to)?.filter(|_| first || mode == ReplyTo::All);
        let segment = self.store.add_segment(&NewSegment {
            turn: Some(turn),
            session: &s.key,
            n: None,
            origin: BLOCK,
            inbox: Some(to.id),
            text,
            media: None,
            target: &target,
            at: self.now.wall,
        })?;
        self.store.add_outbox(&NewOutbox {
            segment: Some(segment),
            kind: TEXT,
            target: &target,
            content: &Content { text: text.to_owned(), reply_to, ..Content::default() },
            message: None,
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            expires: self.now.wall + self.rules.max_age,
        })?;
        self.todo.push_back(Todo::Lane(target));
        Ok(())
    }

    /// Sessions whose answer grows in that chat.
    pub(super) fn viewed_in(&self, chat: &Target) -> Vec<Key> {
        let here = |v: &ViewState| {
            let thread = chat.thread.is_empty() || chat.thread == v.target.thread;
            thread
                && (&v.target.channel, &v.target.account, &v.target.chat) == (&chat.channel, &chat.account, &chat.chat)
        };
        self.views.iter().filter(|(_, v)| here(v)).map(|(key, _)| key.clone()).collect()
    }

    /// A chat has another id: nothing of the views in it stands there.
    pub(super) fn move_views(&mut self, from: &Target, to: &str) {
        for v in self.views.values_mut() {
            let t = &mut v.target;
            if (&t.channel, &t.account, &t.chat) == (&from.channel, &from.account, &from.chat) {
                t.chat = to.to_owned();
                v.shown.clear();
                (v.full, v.reply_to) = (false, None);
            }
        }
    }

    fn on_view(&mut self, key: &Key, target: &Target, mut place: LiveRow, outcome: Outcome) -> Result<()> {
        let new = place.message.is_empty();
        let now = self.now.mono;
        let (mut id, mut full, mut slower, mut gone, mut bare) = (None, false, false, false, false);
        if !matches!(outcome, Outcome::Grown { .. } | Outcome::Shown { idle: true, .. }) {
            self.spend(target);
        }
        match outcome {
            Outcome::Sent { id: sent } => id = Some(sent),
            Outcome::SentAll { .. } => {} // of no view: a caller's mistake
            Outcome::Shown { id: shown, full: f, bare: b, .. } => (id, full, bare) = (shown, f, b),
            Outcome::Grown { text, taken } => {
                let at = self.views.get_mut(key).filter(|v| (v.turn, v.n) == (place.turn, place.n));
                if let Some(v) = at {
                    v.taken = Some(taken);
                    self.with(key, |core, s| core.add_block(s, &text))?;
                }
            }
            Outcome::RateLimited { account_wide, ms } => {
                self.limited(target, account_wide, ms);
                slower = true;
            }
            Outcome::Gone => gone = true,
            // An unknown create may stand there as an orphan: nobody can find it, and the reply comes anew.
            Outcome::Retry { .. } | Outcome::Ambiguous { .. } | Outcome::Reformat => slower = true,
            Outcome::Moved { to } => drop(self.on_moved(target, &to)?),
            Outcome::Barred { why, ms } => self.bar(target, ms, &why)?,
            Outcome::Unauthorized { .. } | Outcome::Refused { .. } | Outcome::TopicGone { .. } => {
                if let Some(v) = self.views.get_mut(key) {
                    v.every = 0; // the reply will tell
                }
            }
        }
        if gone {
            self.store.forget_live(&place)?;
        }
        if let (Some(id), true) = (&id, new) {
            place.message = id.clone();
            self.store.set_live(&place, self.now.wall)?;
        }
        let usual = self.rules.account_of(target).and_then(|a| view_interval(a, &target.chat)).unwrap_or(SLOWEST);
        let at = self.views.get_mut(key).filter(|v| (v.turn, v.n) == (place.turn, place.n));
        match at {
            Some(v) => {
                if gone {
                    v.shown.truncate(place.index as usize);
                }
                if let (Some(id), true) = (id, new) {
                    v.shown.push(id);
                }
                v.full = full;
                v.bare = bare;
                if slower {
                    v.every = (v.every * 2).min(SLOWEST);
                } else if v.every > usual {
                    v.every = (v.every * 9 / 10).max(usual);
                }
                v.next = match v.every {
                    0 => Mono::MAX,
                    every => now + if full { 1 } else { every },
                };
            }
            None if !place.message.is_empty() => self.settle_live(&place)?,
            None => {}
        }
        self.lane_rests(target);
        self.tick_view(key);
        Ok(())
    }

    /// Edits do not notify: an answer of which nothing was seen for long takes no message over.
    pub(super) fn start_afresh(&mut self, t: &Turn, to: &InboxRow) -> Result<()> {
        let after = self.rules.account(&to.source).map_or(0, |a| a.notify_after);
        let long = after > 0 && self.now.mono.saturating_sub(t.begun) > after;
        let bare = self.views.get(&*t.row.session).is_some_and(|v| (v.turn, v.n) == (t.row.id, t.n) && v.bare);
        match long && bare && to.source.chat_type == ChatType::Dm {
            true => self.remove_lives(t.row.id, t.n, 0),
            false => Ok(()),
        }
    }

    fn on_typing(&mut self, key: &Key, target: &Target, outcome: Outcome) {
        if let Outcome::RateLimited { account_wide, ms } = outcome {
            self.limited(target, account_wide, ms);
        }
        let now = self.now.mono;
        let Some(v) = self.views.get_mut(key) else { return };
        match outcome {
            Outcome::Sent { .. } | Outcome::SentAll { .. } | Outcome::Shown { .. } => v.typing_failures = 0,
            Outcome::Unauthorized { .. }
            | Outcome::Refused { .. }
            | Outcome::Barred { .. }
            | Outcome::Moved { .. }
            | Outcome::TopicGone { .. }
            | Outcome::Gone => v.typing_next = Mono::MAX,
            _ => {
                v.typing_failures += 1;
                if v.typing_failures >= TYPING_FAILURES {
                    v.typing_failures = 0;
                    v.typing_next = now + TYPING_PAUSE;
                }
            }
        }
        self.tick_view(key);
    }

    /// A live message came to be when its turn was over: it is in the reply's place, or it has none.
    fn settle_live(&mut self, place: &LiveRow) -> Result<()> {
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
        self.store.add_outbox(&NewOutbox {
            segment: None,
            kind: DELETE,
            target: &live.target,
            content: &Content::default(),
            message: Some(&live.message),
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            expires: self.now.wall + self.rules.max_age,
        })?;
        self.store.forget_live(live)?;
        self.todo.push_back(Todo::Lane(live.target.clone()));
        Ok(())
    }
}

fn view_interval(account: &AccountRules, chat: &str) -> Option<u64> {
    let view = account.view.as_ref()?;
    view.every.iter().find(|(prefix, _)| chat.starts_with(prefix.as_str())).map(|(_, ms)| *ms)
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
