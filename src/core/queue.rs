//! A session's queue: what goes into it, what gives way when it is full, what the next turn takes (core.md 6).
//!
//! Nothing is accepted here, and no turn is run.

use super::delegate::is_task;
use super::intake::Kind;
use super::session::{Key, Session, Stage, Work};
use super::turn::AbortWhy;
use super::{prompt, State, Todo};
use crate::message::*;
use crate::rules::{DropPolicy, Mode};
use crate::store::{inbox_state as st, InboxRow, Result};

impl State {
    pub(super) fn priority(&self, source: &Source) -> i64 {
        let base = if source.chat_type == ChatType::Dm { self.rules.prio_dm } else { self.rules.prio_group };
        let listed = self.rules.account(source).is_some_and(|a| a.access.names(&source.sender));
        base + if listed { self.rules.prio_bonus } else { 0 }
    }

    pub(super) fn is_full(&self, key: &Key) -> bool {
        let mine = self.sessions.get(key).map_or(0, crowd);
        let all: usize = self.sessions.values().map(crowd).sum();
        mine >= self.rules.max_per_session || all >= self.rules.max_waiting
    }

    /// Lets something give way if the queue is full; false: nothing can, the new one is refused.
    pub(super) fn make_room(&mut self, key: &Key, prio: i64) -> Result<bool> {
        if !self.is_full(key) {
            return Ok(true);
        }
        if self.rules.drop_policy == DropPolicy::New {
            return Ok(false);
        }
        let mine = self.sessions.get(key).is_some_and(|s| s.queue.iter().any(gives_way));
        // Its own session first; another session's only if that is of lower priority.
        let victim = if mine {
            Some(key.clone())
        } else {
            let of = |s: &Session| s.queue.iter().filter(|m| gives_way(m)).map(|m| m.prio).min();
            let lowest = |s: &Session| of(s).unwrap_or(i64::MAX);
            self.sessions.values().filter(|s| lowest(s) < prio).min_by_key(|s| lowest(s)).map(|s| s.key.clone())
        };
        let Some(victim) = victim else { return Ok(false) };
        self.with(&victim, |core, s| {
            let people = (0..s.queue.len()).filter(|i| gives_way(&s.queue[*i]));
            let Some(at) = people.min_by_key(|i| (s.queue[*i].prio, s.queue[*i].id)) else { return Ok(()) };
            let row = s.queue.remove(at);
            if core.rules.drop_policy == DropPolicy::Summarize {
                s.dropped.push(prompt::head(&row.text, 140));
            }
            core.drop_row(s, &row, "gave way to newer messages")?;
            let told = std::mem::replace(&mut s.told_full, true);
            let text = "Too many messages are waiting; the oldest were dropped.";
            if told {
                core.store.set_inbox(row.id, st::DROPPED, None, None, Some("queue full"))?;
                core.settled(row.id)
            } else {
                core.notice(s, Some(row.id), text, st::DROPPED, Some("queue full"))
            }
        })?;
        Ok(!self.is_full(key))
    }

    pub(super) fn drop_row(&mut self, s: &Session, row: &InboxRow, why: &str) -> Result<()> {
        self.counters.queue_drops += 1;
        log::info!("{}: message {} dropped: {why}", s.key, row.id);
        self.observe(Level::Warn, Area::Session, "queue_drop", format!("A message was dropped: {why}"), &s.key);
        Ok(())
    }

    /// A message of a session: injected, interrupting, or waiting; of a webhook always waiting.
    pub(super) fn enqueue(&mut self, s: &mut Session, item: InboxRow, kind: Kind) -> Result<()> {
        if kind == Kind::Said && matches!(&s.stage, Stage::Turn(t) if t.is_beat()) {
            self.begin_wait(&s.key, &item.source); // nobody sees what it waits for
        }
        if item.solo.is_some() {
            s.queue.push(item);
            return match s.stage {
                Stage::Idle => self.begin(s, Work::Queue),
                _ => Ok(()),
            };
        }
        let mode = self.mode(s);
        let can_inject = matches!(&s.stage, Stage::Turn(t) if t.can_inject());
        match mode {
            _ if kind == Kind::Webhook => s.queue.push(item), // what people are at goes on
            Mode::Steer | Mode::FollowUp if can_inject => {
                let how = if mode == Mode::Steer { Inject::Steer } else { Inject::FollowUp };
                return self.inject(s, item, how);
            }
            Mode::Interrupt if matches!(s.stage, Stage::Turn(_)) => {
                s.queue.push(item);
                return self.abort_turn(s, AbortWhy::Interrupt);
            }
            _ => s.queue.push(item),
        }
        match s.stage {
            Stage::Idle if self.closed().is_some() => {} // kept for the next life, or until the store works
            Stage::Idle if self.rules.collect && self.rules.debounce > 0 => {
                s.stage = Stage::Debounce { due: self.now.mono + self.rules.debounce.min(300) };
            }
            Stage::Idle => self.begin(s, Work::Queue)?,
            _ => {}
        }
        Ok(())
    }

    /// Begins a turn if something waits and nothing is going on.
    pub(super) fn kick(&mut self, s: &mut Session) -> Result<()> {
        self.pump_early(s)?;
        match s.stage {
            Stage::Idle if s.switch.is_some() => self.switch_now(s),
            Stage::Idle if !s.queue.is_empty() && self.draining.is_none() && self.degraded.is_none() => {
                self.begin(s, Work::Queue)
            }
            _ => Ok(()),
        }
    }

    /// Takes the members of the next turn out of the queue: the most urgent message, and in collect mode
    /// all others that go to the same chat.
    pub(super) fn take_members(&mut self, s: &mut Session) -> Vec<InboxRow> {
        let Some(first) = s.next_message() else { return Vec::new() };
        let (id, target) = (first.id, self.target_of(&first.source));
        let alone = |r: &InboxRow| r.text.starts_with('/') || r.solo.is_some();
        let collect = self.rules.collect && !alone(first);
        let joins = |r: &InboxRow| r.id == id || (collect && !alone(r) && self.target_of(&r.source) == target);
        let (members, rest) = std::mem::take(&mut s.queue).into_iter().partition(joins);
        s.queue = rest;
        members
    }

    pub(super) fn requeue(&mut self, s: &mut Session, rows: Vec<InboxRow>) -> Result<()> {
        for r in rows.into_iter().rev() {
            self.store.set_inbox(r.id, st::QUEUED, None, None, None)?;
            s.queue.insert(0, InboxRow { state: st::QUEUED.into(), turn: None, inj: None, ..r });
        }
        s.queue.sort_by_key(|r| r.id);
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(())
    }
}

/// May be dropped if the queue is full. What comes by itself is bounded where it comes from (one per job, agent, task):
/// it neither gives way nor counts.
fn gives_way(m: &InboxRow) -> bool {
    !super::heartbeat::background(m) && !is_task(m)
}

/// How much of what waits counts against the queue's limits.
fn crowd(s: &Session) -> usize {
    s.waiting() - s.queue.iter().filter(|m| !gives_way(m)).count()
}
