//! A session: its row, its waiting messages, and the one thing it is doing.

use std::sync::Arc;

use super::asks::Ask;
use super::parcel::Parcel;
use super::roles::Switch;
use super::tasks::Task;
use super::turn::Turn;
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result, SessionRow};

/// A session key, shared.
pub type Key = Arc<str>;

pub struct Session {
    pub key: Key,
    pub row: SessionRow,
    /// The copy of its file that a heartbeat works on, or is about to.
    pub copy: Option<std::path::PathBuf>,
    /// Rows in state `queued`, in order of arrival.
    pub queue: Vec<InboxRow>,
    /// Messages that are not complete yet, in order of arrival.
    pub early: Vec<Parcel>,
    /// First characters of messages that gave way, for the next prompt.
    pub dropped: Vec<String>,
    /// The user was told that messages are being dropped (once per burst).
    pub told_full: bool,
    pub stage: Stage,
    /// The process bound to this session; also one that is just stopping.
    pub proc: Option<ProcId>,
    /// Starts that failed in a row.
    pub start_failures: u32,
    /// After an unclean end, until the first finished turn: pi may have messages of turns that the store forgot.
    pub verify: Verify,
    /// Start without `--model` once (pi said it does not know it).
    pub plain_model: bool,
    /// Commands whose work the hands do.
    pub tasks: Vec<Task>,
    /// Another role, as soon as nothing runs.
    pub switch: Option<Switch>,
    /// Its row is gone; what runs of it comes to its end. The next message begins it anew.
    pub deleted: bool,
}

/// Whom the outcome of a command is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    /// The sender of that message.
    Row(Row),
    Req(ReqId),
}

/// Must pi's file be asked about messages before they are prompted?
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verify {
    Off,
    Look,
    /// The file does not know the messages of the turn at hand.
    Clear,
}

/// What a session is doing.
pub enum Stage {
    Idle,
    /// More messages may follow at once.
    Debounce {
        due: Mono,
    },
    /// Getting a process ready for some work.
    Open(Open),
    Turn(Box<Turn>),
    /// A turn lost its process: leftovers are killed, pi's file is read.
    Recover {
        turn: Box<Turn>,
        step: RecoverStep,
        until: Mono,
        after_restart: bool,
    },
    /// Does pi's file know what waits? (after an unclean end)
    Verify {
        job: JobId,
        proc: ProcId,
        file_len: u64,
        until: Mono,
    },
    /// The reply is recorded, pi is not idle yet.
    Settle {
        until: Mono,
        barrier: Option<CmdId>,
    },
    /// pi's queue holds messages that went back to ours: it is being emptied. Or pi turns from a file to another one.
    Clean {
        cmd: CmdId,
        to: Option<std::path::PathBuf>,
        until: Mono,
    },
    Compact {
        who: Who,
        cmd: CmdId,
        until: Mono,
    },
}

pub struct Open {
    pub work: Work,
    pub step: Step,
    /// When this step began.
    pub since: Mono,
    /// The user knows that there is no room.
    pub told: bool,
    /// Length of the session file when it was checked.
    pub file_len: u64,
}

pub enum Work {
    /// A turn for what waits.
    Queue,
    /// Another attempt of an unfinished turn.
    Resume(Box<Turn>),
    Compact {
        who: Who,
        instructions: Option<String>,
    },
    /// A command that only asks pi something.
    Ask {
        row: Row,
        ask: Ask,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The hands check the session file.
    File(JobId),
    /// Waiting for a place in the pool.
    Slot,
    /// Waiting for the old process to be gone.
    Exit,
    /// A process starts with our file.
    Starting,
    /// A warm process switches to our file.
    Binding(CmdId),
    /// Model and level are being set; the last command's number.
    Model(CmdId),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RecoverStep {
    /// The store or the disk is sick, or the process is not gone yet.
    Sweep(ProcId),
    File(JobId),
}

impl Session {
    /// Nothing is going on and nothing waits: the store knows everything.
    pub fn quiet(&self) -> bool {
        matches!(self.stage, Stage::Idle)
            && self.queue.is_empty()
            && self.early.is_empty()
            && self.dropped.is_empty()
            && self.tasks.is_empty()
            && self.switch.is_none()
    }
    pub fn running(&self) -> bool {
        !matches!(self.stage, Stage::Idle | Stage::Debounce { .. })
    }
    /// Messages that wait for a turn.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.early.iter().map(|p| p.rows.len()).sum::<usize>()
    }
    /// A turn or a command is under way.
    pub fn busy(&self) -> bool {
        self.running() || !self.tasks.is_empty() || self.switch.is_some()
    }
    /// The message that the next turn is for: the most urgent, then the oldest.
    pub fn next_message(&self) -> Option<&InboxRow> {
        self.queue.iter().min_by_key(|r| (-r.prio, r.id))
    }
    /// The message at hand gets the session's model instead of the one that it names; false: it names none.
    pub fn forget_model_of_turn(&mut self) -> bool {
        let chosen = match &mut self.stage {
            Stage::Open(Open { work: Work::Resume(t), .. }) if t.fallbacks == 0 => &mut t.model,
            Stage::Open(Open { work: Work::Queue, .. }) => {
                let first = self.next_message().map(|m| m.id);
                let first = self.queue.iter_mut().find(|m| Some(m.id) == first);
                match first.and_then(|m| m.solo.as_mut()) {
                    Some(solo) => &mut solo.model,
                    None => return false,
                }
            }
            _ => return false,
        };
        chosen.take().is_some()
    }
    pub fn turn(&mut self) -> Option<&mut Turn> {
        match &mut self.stage {
            Stage::Turn(t) => Some(t),
            _ => None,
        }
    }
}

impl State {
    /// Makes sure the session is in memory; creates it if `source` says who writes.
    pub(super) fn load(&mut self, key: &str, source: Option<&Source>) -> Result<Option<Key>> {
        if let Some((k, s)) = self.sessions.get_key_value(key) {
            let (key, deleted) = (k.clone(), s.deleted);
            return match (deleted, source) {
                (false, _) => Ok(Some(key)),
                (true, None) => Ok(None),
                (true, Some(source)) => {
                    let row = self.new_row(&key, source)?;
                    if let Some(s) = self.sessions.get_mut(&key) {
                        (s.row, s.deleted) = (row, false);
                    }
                    Ok(Some(key))
                }
            };
        }
        let row = match (self.store.session(key)?, source) {
            (Some(row), _) => row,
            (None, None) => return Ok(None),
            (None, Some(source)) => self.new_row(key, source)?,
        };
        self.remember(row, false).map(Some)
    }

    /// Puts a session into memory that is only in the store; `deleted`: not even there.
    pub(super) fn remember(&mut self, row: SessionRow, deleted: bool) -> Result<Key> {
        let key = row.key.as_str();
        let queue = self.store.inbox_waiting(key, st::QUEUED)?;
        let early = self.early_of(key)?;
        let key: Key = key.into();
        let proc = self.procs.values().find(|p| p.session.as_ref() == Some(&key)).map(|p| p.id);
        let s = Session {
            key: key.clone(),
            row,
            copy: None,
            queue,
            early,
            dropped: Vec::new(),
            told_full: false,
            stage: Stage::Idle,
            proc,
            start_failures: 0,
            verify: if self.store.unclean && !self.verified.contains(&key) { Verify::Look } else { Verify::Off },
            plain_model: false,
            tasks: Vec::new(),
            switch: None,
            deleted,
        };
        self.sessions.insert(key.clone(), s);
        Ok(key)
    }

    /// Stores a new session. One that had the key before it is over: nothing of it is history.
    pub(super) fn new_row(&mut self, key: &str, source: &Source) -> Result<SessionRow> {
        let row = self.blank_row(key, source)?;
        self.store.put_session(&row)?;
        Ok(row)
    }

    pub(super) fn blank_row(&mut self, key: &str, source: &Source) -> Result<SessionRow> {
        let agent = source.agent.as_deref().unwrap_or_else(|| self.rules.routing.agent_of(key)).to_owned();
        Ok(SessionRow {
            key: key.to_owned(),
            sid: (self.random)(12),
            role: self.rules.role_of(&agent, Some(source)).map(str::to_owned),
            agent,
            role_manual: false,
            file: self.fresh_file(key)?,
            last: None,
            mode: None,
            model: None,
            thinking: None,
            count: 0,
            last_at: self.now.wall,
            created: self.now.wall,
            reset_at: self.store.newest_segment(key)?,
            title: None,
        })
    }

    /// Drops a session's memory; its process is killed.
    pub(super) fn forget(&mut self, key: &Key) {
        self.sessions.remove(key);
        self.disarm(&Due::Session(key.clone()));
        self.jobs.retain(|_, k| k != key);
        let bound: Vec<ProcId> =
            self.procs.values().filter(|p| p.session.as_ref() == Some(key)).map(|p| p.id).collect();
        for id in bound {
            if let Some(p) = self.procs.get_mut(&id) {
                p.session = None;
            }
            self.kill_proc(id);
        }
    }

    pub(super) fn save(&mut self, s: &Session) -> Result<()> {
        if s.deleted {
            return Ok(());
        }
        self.store.put_session(&s.row)
    }

    /// Tells the pages what became of a session.
    pub(super) fn updated(&mut self, s: &Session) {
        if !s.deleted {
            self.frame(Frame::Updated(Box::new(self.info(&s.row))));
        }
    }

    /// The session's next due time.
    pub(super) fn due_of(&self, s: &Session) -> Option<Mono> {
        let tasks = s.tasks.iter().map(|t| t.until);
        let early = self.early_due(s);
        tasks.chain(s.switch.as_ref().map(|w| w.until)).chain(early).chain(self.stage_due(s)).min()
    }

    fn stage_due(&self, s: &Session) -> Option<Mono> {
        match &s.stage {
            Stage::Idle => None,
            Stage::Debounce { due } => Some(*due),
            Stage::Open(o) => match o.step {
                Step::File(_) | Step::Starting => Some(o.since + 60_000),
                Step::Binding(_) | Step::Model(_) => Some(o.since + 30_000),
                Step::Exit => Some(o.since + 30_000),
                Step::Slot => (!o.told).then_some(o.since + self.rules.pool_wait),
            },
            Stage::Turn(t) => Some(self.turn_due(t)),
            Stage::Recover { until, .. }
            | Stage::Verify { until, .. }
            | Stage::Settle { until, .. }
            | Stage::Clean { until, .. }
            | Stage::Compact { until, .. } => Some(*until),
        }
    }

    pub(super) fn on_session_due(&mut self, s: &mut Session) -> Result<()> {
        self.late_tasks(s)?;
        self.pump_early(s)?;
        if s.switch.as_ref().is_some_and(|w| w.until <= self.now.mono) {
            self.switch_failed(s)?;
        }
        match self.stage_due(s) {
            _ if matches!(s.stage, Stage::Turn(_)) => self.on_turn_due(s), // knows its many limits itself
            Some(due) if due <= self.now.mono => self.on_stage_due(s),
            _ => Ok(()),
        }
    }

    fn on_stage_due(&mut self, s: &mut Session) -> Result<()> {
        match &mut s.stage {
            Stage::Idle => {}
            Stage::Debounce { .. } => {
                s.stage = Stage::Idle;
                self.begin(s, Work::Queue)?;
            }
            Stage::Open(o) => match o.step {
                Step::Slot => {
                    o.told = true;
                    self.tell_waiting(s)?;
                }
                Step::Exit => {
                    o.since = self.now.mono;
                    if let Some(id) = s.proc {
                        self.kill_proc(id);
                    }
                }
                Step::File(job) => {
                    self.jobs.remove(&job);
                    self.start_failed(s, "the session file could not be checked in time")?;
                }
                Step::Starting | Step::Binding(_) | Step::Model(_) => {
                    self.rpc_late(&s.key);
                    self.give_up_proc(s);
                    self.start_failed(s, "the agent did not answer in time")?;
                }
            },
            Stage::Turn(_) => {}
            Stage::Recover { .. } => self.recover_again(s)?,
            Stage::Verify { job, proc, file_len, .. } => {
                let (job, proc, len) = (*job, *proc, *file_len);
                self.jobs.remove(&job);
                self.verify(s, proc, len)?;
            }
            Stage::Settle { .. } | Stage::Clean { .. } => {
                self.rpc_late(&s.key);
                self.give_up_proc(s);
                s.stage = Stage::Idle;
                self.todo.push_back(Todo::Kick(s.key.clone()));
            }
            Stage::Compact { who, .. } => {
                let who = *who;
                self.rpc_late(&s.key);
                self.give_up_proc(s);
                self.end_compact(s, who, Err("pi did not answer within 10 minutes".into()))?;
            }
        }
        Ok(())
    }

    /// The state of a session as lists show it.
    pub(super) fn info(&self, row: &SessionRow) -> SessionInfo {
        let live = self.sessions.get(row.key.as_str());
        SessionInfo {
            key: row.key.clone(),
            agent: row.agent.clone(),
            role: row.role.clone(),
            streaming: live.is_some_and(|s| matches!(s.stage, Stage::Turn(_) | Stage::Recover { .. })),
            last_activity: row.last_at,
            message_count: row.count,
            proc: live.and_then(|s| s.proc),
            last: row.last.clone(),
            model: row.model.clone(),
            thinking: row.thinking.clone(),
            waiting: live.map_or(0, Session::waiting),
            title: row.title.clone(),
            compacting: live.is_some_and(|s| matches!(s.stage, Stage::Compact { .. })),
        }
    }
}
