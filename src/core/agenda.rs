//! What is to be done at which time, and what follows from an event elsewhere.

use std::collections::BTreeSet;

use super::questions::Ended;
use super::session::Key;
use super::State;
use crate::message::*;
use crate::store::Result;

/// What a due time belongs to; each has at most one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Session(Key),
    Proc(ProcId),
    Lane(Target),
    View(Key),
    Dialog(String),
    Question(String),
    Ask(CmdId),
    Warm,
    Clean,
    Drain,
    /// Who waits for a platform is told.
    Post(ReqId),
    /// Scheduled jobs are looked at.
    Cron,
    /// A task for another agent: by its message.
    Task(Row),
    /// That agent's heartbeat.
    Beat(String),
    /// An agent's session may have time for an event.
    Wake(String),
    /// The oldest event is over.
    Events,
}

/// Work that follows from an event and touches something else than the event did.
#[derive(Debug)]
pub(super) enum Todo {
    /// The pool may have room for somebody who waits.
    Pool,
    /// The session may begin a turn.
    Kick(Key),
    Lane(Target),
    /// The session of a single request may be over.
    Fleeting(Key),
    /// Somebody runs a job by hand; its key is that moment.
    Run(String, Wall),
    /// A task for another agent is to end.
    EndTask(Row),
    /// A delegated conversation may have come to its end.
    Retire(Key),
    /// An agent is woken for an event.
    Wake(String),
    /// Copies of the session's file may go.
    Tidy(Key),
}

impl State {
    pub(super) fn arm(&mut self, due: Due, at: Mono) {
        if let Some(old) = self.dues.insert(due.clone(), at) {
            self.timers.remove(&(old, due.clone()));
        }
        self.timers.insert((at, due));
    }

    pub(super) fn disarm(&mut self, due: &Due) {
        if let Some(old) = self.dues.remove(due) {
            self.timers.remove(&(old, due.clone()));
        }
    }

    pub(super) fn on_due(&mut self) -> Result<()> {
        while let Some((at, due)) = self.timers.first().cloned() {
            if at > self.now.mono {
                break;
            }
            self.disarm(&due);
            match due {
                Due::Session(key) => self.with(&key, |core, s| core.on_session_due(s))?,
                Due::Proc(id) => self.on_proc_due(id)?,
                Due::Lane(target) => self.todo.push_back(Todo::Lane(target)),
                Due::View(key) => self.tick_view(&key),
                Due::Dialog(id) => self.close_dialog(&id, UiAnswer::Cancelled, Ended::TimedOut)?,
                Due::Question(id) => self.question_late(&id)?,
                Due::Ask(cmd) => self.ask_late(cmd)?,
                Due::Warm => self.keep_warm()?,
                Due::Clean => self.clean()?,
                Due::Drain => {}
                Due::Post(req) => self.poster_late(req),
                Due::Cron => self.look_cron()?,
                Due::Task(row) => self.task_due(row),
                Due::Beat(agent) => self.tick(&agent)?,
                Due::Wake(agent) => self.wake(&agent)?,
                Due::Events => self.expire_events()?,
            }
        }
        Ok(())
    }

    pub(super) fn work(&mut self) -> Result<()> {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Pool => self.pump_pool()?,
                Todo::Kick(key) => self.with(&key, |core, s| core.kick(s))?,
                Todo::Lane(target) => {
                    self.pump_lane(&target)?;
                    self.tell_posters()?;
                }
                Todo::Fleeting(key) => self.end_fleeting(&key)?,
                Todo::Run(job, at) => self.run_job(&job, at)?,
                Todo::EndTask(row) => self.end_task(row)?,
                Todo::Retire(key) => self.retire_child(&key),
                Todo::Wake(agent) => self.wake(&agent)?,
                Todo::Tidy(key) => self.tidy(&key)?,
            }
        }
        Ok(())
    }

    pub(super) fn clean(&mut self) -> Result<()> {
        let mut again = 3_600_000;
        if self.clock_confirmed {
            let day = 86_400_000;
            let before = self.now.wall - self.rules.keep_days * day;
            self.store.clean_actions(self.now.wall)?;
            self.store.clean_cron_runs(before)?;
            self.forget_delegations()?;
            if self.store.clean(before, self.now.wall - 2 * day, self.rules.keep_keys)? {
                again = 1_000;
            }
        }
        let left: BTreeSet<Key> = self.heart.scratch_of().map(Key::from).collect();
        self.todo.extend(left.into_iter().map(Todo::Tidy)); // what could not be removed
        self.arm(Due::Clean, self.now.mono + again);
        Ok(())
    }
}
