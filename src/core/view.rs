//! What people see while a turn runs: its text as it grows, and that somebody is typing (core.md 8.4).
//!
//! Nothing is owed here but the ids of the messages that show the text: the reply takes their place.
//! Messages that lose their place are taken away in [`super::unshow`].

use super::lanes::Passing;
use super::reply::reply_to;
use super::session::Key;
use super::turn::Turn;
use super::{Due, State, Todo};
use crate::message::*;
use crate::rules::{AccountRules, ReplyTo};
use crate::store::{InboxRow, LiveRow, Result};

/// Who got a message a moment ago needs no sign of typing.
pub(super) const JUST_SENT: u64 = 4_000;
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
    pub(super) begun: Mono,
    /// Between two changes; grows when the platform asks for patience.
    every: u64,
    next: Mono,
    pub(super) typing_next: Mono,
    pub(super) typing_failures: u32,
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
}

fn view_interval(account: &AccountRules, chat: &str) -> Option<u64> {
    let view = account.view.as_ref()?;
    view.every.iter().find(|(prefix, _)| chat.starts_with(prefix.as_str())).map(|(_, ms)| *ms)
}
