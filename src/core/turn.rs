//! A turn: one run of pi for one or more merged messages, and what may be done to it from outside: messages injected, an
//! abort, deadlines (core.md 5, 8, 9). How it begins is in [`super::turn_begin`].

use super::prompt::{self, Item};
use super::session::{Session, Stage};
use super::steps::Steps;
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result, TurnRow};

/// The answer to `get_state`.
pub(super) const BARRIER_WAIT: u64 = 30_000;
/// A new pi says `agent_settled` right behind `agent_end`; after this it is asked.
pub(super) const SETTLE_WAIT: u64 = 2_000;
const ABORT_WAIT: u64 = 10_000;
/// Crashes of one turn before it is given up.
pub const MAX_ATTEMPTS: i64 = 3;
const TOOL_LIMIT: u64 = 30 * 60_000;

pub struct Turn {
    pub row: TurnRow,
    /// The turn's marker in pi's file.
    pub ext: String,
    pub members: Vec<InboxRow>,
    pub injected: Vec<Injected>,
    pub phase: Phase,
    pub proc: Option<ProcId>,
    /// What to write for the next attempt; empty: the prompt itself.
    pub note: String,
    /// Complete assistant texts of the current segment.
    pub said: Vec<String>,
    /// What ran for it.
    pub steps: Steps,
    /// Number of the current segment: the injection that opened it, 0 for the first.
    pub n: i64,
    /// A segment of this turn is stored already.
    pub sent: bool,
    pub tools_ran: bool,
    pub tools_open: usize,
    pub started: bool,
    pub retrying: bool,
    pub compacting: Option<String>,
    pub pi_queue: usize,
    pub aborting: Option<(AbortWhy, Mono)>,
    /// The process is being ended because of this; the turn ends with it.
    pub give_up: Option<String>,
    pub last: Option<AssistantMessage>,
    /// Refused before it ran.
    pub refused: Option<String>,
    /// pi is idle, but has not answered for an injected message yet.
    pub idle_waits: bool,
    /// Model for this turn: its message's choice, or what a failover came to.
    pub model: Option<String>,
    /// All answers of the model so far.
    pub spent: Usage,
    pub fallbacks: usize,
    pub begun: Mono,
    pub last_event: Mono,
}

pub struct Injected {
    pub n: i64,
    pub row: InboxRow,
    /// The model has it.
    pub seen: bool,
    /// pi has not yet said that it took the command.
    pub cmd: Option<CmdId>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Prompting {
        cmd: CmdId,
        until: Mono,
    },
    /// A run is on, or will be in a moment.
    Running,
    /// `agent_end` came from a new pi, which says `agent_settled` by itself; asked if that does not come.
    Ended {
        until: Mono,
    },
    /// `get_state` was asked: is anything still going on?
    Barrier {
        cmd: CmdId,
        until: Mono,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AbortWhy {
    /// `/stop`, the page's button.
    User,
    Interrupt,
    /// `/new`, deletion: nothing is answered.
    Reset,
    Inactive,
    TooLong,
    /// A scheduled job's own limit.
    Timeout,
}

impl AbortWhy {
    pub fn as_str(self) -> &'static str {
        match self {
            AbortWhy::User => "user",
            AbortWhy::Interrupt => "interrupt",
            AbortWhy::Reset => "reset",
            AbortWhy::Inactive => "inactive",
            AbortWhy::TooLong => "too long",
            AbortWhy::Timeout => "timeout",
        }
    }
    /// What the turn's row says of an end that a crash came before.
    pub fn parse(text: &str) -> Option<AbortWhy> {
        use AbortWhy::*;
        [User, Interrupt, Reset, Inactive, TooLong, Timeout].into_iter().find(|w| w.as_str() == text)
    }
}

impl Turn {
    pub fn new(row: TurnRow, ext: String, members: Vec<InboxRow>, now: Mono) -> Turn {
        let chosen = members.iter().find_map(|m| m.solo.as_ref()?.model.clone());
        Turn {
            row,
            ext,
            members,
            injected: Vec::new(),
            phase: Phase::Running,
            proc: None,
            note: String::new(),
            said: Vec::new(),
            n: 0,
            sent: false,
            steps: Steps::default(),
            tools_ran: false,
            tools_open: 0,
            started: false,
            retrying: false,
            compacting: None,
            pi_queue: 0,
            aborting: None,
            give_up: None,
            last: None,
            refused: None,
            idle_waits: false,
            model: chosen,
            spent: Usage::default(),
            fallbacks: 0,
            begun: now,
            last_event: now,
        }
    }

    /// A run is on as the gateway sees it: pi would take a steer now.
    pub fn can_inject(&self) -> bool {
        self.phase == Phase::Running
            && self.started
            && !self.retrying
            && self.compacting.is_none()
            && self.aborting.is_none()
            && self.give_up.is_none()
            && !self.row.plain
            && !self.solo()
    }

    /// It is for one message that shares its turn with no other.
    pub fn solo(&self) -> bool {
        self.members.iter().any(|m| m.solo.is_some())
    }

    /// The message that the current segment answers.
    pub fn addressee(&self) -> Option<&InboxRow> {
        self.injected.iter().find(|i| i.n == self.n && i.n > 0).map(|i| &i.row).or(self.members.last())
    }

    pub(super) fn reset_run(&mut self, now: Mono) {
        self.started = false;
        self.retrying = false;
        self.compacting = None;
        self.pi_queue = 0;
        self.tools_open = 0;
        self.aborting = None;
        self.give_up = None;
        self.last = None;
        self.refused = None;
        self.idle_waits = false;
        self.last_event = now;
    }

    /// Only a trailing compaction is going on and pi holds no message.
    pub(super) fn answer_complete(&self) -> bool {
        self.compacting.as_deref() == Some("threshold")
            && self.pi_queue == 0
            && !self.is_beat() // pi has to be idle before it turns to another file
            && !self.retrying
            && self.aborting.is_none()
            && self.injected.iter().all(|i| i.seen)
            && self.last.as_ref().is_some_and(|m| m.stop != "error" && m.stop != "toolUse")
    }

    /// Why the run failed, if it did.
    pub fn error(&self) -> Option<String> {
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        let last = self.last.as_ref()?;
        (last.stop == "error").then(|| last.error.clone().unwrap_or_else(|| "no reason given".into()))
    }
}

impl State {
    /// Hands a message into the running turn; its row stays in the turn until the finish.
    pub(super) fn inject(&mut self, s: &mut Session, item: InboxRow, how: Inject) -> Result<()> {
        let (now, new_pi) = (self.now, self.new_pi);
        let zone = self.rules.zone.clone();
        let Some(t) = s.turn() else {
            s.queue.push(item);
            return Ok(());
        };
        let (Some(proc), n) = (t.proc, t.injected.iter().map(|i| i.n).max().unwrap_or(0) + 1) else {
            s.queue.push(item);
            return Ok(());
        };
        let marker = format!("{}.{n}", t.ext);
        let msg_id = self.msg_id(&item);
        let text = prompt::body(&item.text, &item.tail, item.images.len());
        let line = Item { source: &item.source, msg_id: &msg_id, at: item.at, text: &text, images: item.images.len() };
        let message = prompt::prompt(&[line], &[], &marker, now.wall, zone.as_ref());
        let images = item.images.clone();
        self.store.set_inbox(item.id, st::IN_TURN, Some(t.row.id), Some(n), None)?;
        t.injected.push(Injected { n, row: item, seen: false, cmd: None });
        t.pi_queue += 1;
        let cmd = match (new_pi, how) {
            (true, how) => PiCmd::Prompt { message, images, inject: Some(how) },
            (false, Inject::Steer) => PiCmd::Steer { message, images },
            (false, Inject::FollowUp) => PiCmd::FollowUp { message, images },
        };
        let cmd = self.write(proc, cmd);
        if let Some(i) = s.turn().and_then(|t| t.injected.last_mut()) {
            i.cmd = Some(cmd);
        }
        Ok(())
    }

    /// Ends the running turn; what it said so far is its reply.
    pub(super) fn abort_turn(&mut self, s: &mut Session, why: AbortWhy) -> Result<()> {
        self.cancel_held(&s.key)?;
        let (new_pi, until) = (self.new_pi, self.now.mono + ABORT_WAIT);
        let Some(t) = s.turn() else { return Ok(()) };
        let id = t.row.id;
        if let Some((old, _)) = &mut t.aborting {
            if why == AbortWhy::Reset {
                *old = why;
                self.store.stop_turn(id, why.as_str())?;
            }
            return Ok(());
        }
        t.aborting = Some((why, until));
        self.store.stop_turn(id, why.as_str())?;
        let waiting = t.injected.iter().any(|i| !i.seen);
        if let Some(proc) = t.proc {
            if new_pi && waiting {
                self.write(proc, PiCmd::ClearQueue);
            }
            self.write(proc, PiCmd::Abort);
        }
        Ok(())
    }

    pub(super) fn turn_due(&self, t: &Turn) -> Mono {
        let mut due = Mono::MAX;
        let patience = self.patience(t);
        let limit = if t.tools_open > 0 { patience.max(TOOL_LIMIT) } else { patience };
        if patience > 0 {
            due = due.min(t.last_event + limit);
        }
        if self.rules.turn_max > 0 {
            due = due.min(t.begun + self.rules.turn_max);
        }
        if let Some(limit) = self.cron_limit(t) {
            due = due.min(t.begun + limit);
        }
        match t.phase {
            Phase::Prompting { until, .. } if !t.row.plain => due = due.min(until),
            Phase::Barrier { until, .. } | Phase::Ended { until } => due = due.min(until),
            _ => {}
        }
        if let Some((_, until)) = t.aborting {
            due = until; // everything else is over then
        }
        if t.give_up.is_some() {
            due = Mono::MAX; // the process is being ended; its exit goes on
        }
        due.max(self.now.mono + 1)
    }

    pub(super) fn on_turn_due(&mut self, s: &mut Session) -> Result<()> {
        let now = self.now.mono;
        let rules = self.rules.clone();
        let Some(t) = s.turn() else { return Ok(()) };
        let timed_out = self.cron_limit(t).is_some_and(|limit| t.begun + limit <= now);
        let patience = self.patience(t);
        if t.aborting.is_some_and(|(_, until)| until <= now) {
            t.give_up = Some(String::new());
            self.give_up_proc(s);
            return Ok(());
        }
        if matches!(t.phase, Phase::Ended { until } if until <= now) {
            self.ask_barrier(s);
            return Ok(());
        }
        let hung = match t.phase {
            Phase::Prompting { until, .. } => !t.row.plain && until <= now,
            Phase::Barrier { until, .. } => until <= now,
            Phase::Running | Phase::Ended { .. } => false,
        };
        if hung {
            // No answer to a command: the process is useless. The turn goes on with another one.
            self.rpc_late(&s.key);
            self.give_up_proc(s);
            t_touch(s, now);
            return Ok(());
        }
        let limit = if t.tools_open > 0 { patience.max(TOOL_LIMIT) } else { patience };
        if timed_out {
            return self.abort_turn(s, AbortWhy::Timeout);
        }
        if rules.turn_max > 0 && t.begun + rules.turn_max <= now {
            return self.abort_turn(s, AbortWhy::TooLong);
        }
        if patience > 0 && t.last_event + limit <= now {
            return self.abort_turn(s, AbortWhy::Inactive);
        }
        Ok(())
    }

    /// Something was injected that the model never saw: it goes back to the queue's head.
    pub(super) fn take_back(&mut self, s: &mut Session, rows: Vec<InboxRow>, proc: Option<ProcId>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.requeue(s, rows)?;
        // pi may still hold it: empty its queue, so that it is not delivered twice.
        let Some(proc) = proc.filter(|p| self.procs.get(p).is_some_and(|p| p.usable())) else { return Ok(()) };
        let cmd = if self.new_pi { PiCmd::ClearQueue } else { PiCmd::SwitchSession { path: s.row.file.clone() } };
        let cmd = self.write(proc, cmd);
        s.stage = Stage::Clean { cmd, to: None, until: self.now.mono + 30_000 };
        Ok(())
    }

    /// pi is idle after a reply that was recorded early.
    pub(super) fn settled_down(&mut self, s: &mut Session) {
        s.stage = Stage::Idle;
        self.todo.push_back(Todo::Kick(s.key.clone()));
        self.todo.push_back(Todo::Pool); // its process may be what somebody waits for
    }
}

fn t_touch(s: &mut Session, now: Mono) {
    if let Some(t) = s.turn() {
        t.phase = Phase::Running;
        t.last_event = now;
    }
}
