//! A turn: one run of pi for one or more merged messages (core.md 5, 8, 9).

use super::asks::Asker;
use super::cron_runs::is_cron;
use super::events::is_event;
use super::prompt::{self, Item};
use super::session::{Session, Stage, Verify, Work};
use super::steps::Steps;
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result, TurnRow};

/// A prompt may compact first.
const PROMPT_WAIT: u64 = 120_000;
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

    fn reset_run(&mut self, now: Mono) {
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
}

impl State {
    /// The process is ready and bound: the turn begins, or goes on.
    pub(super) fn prompt_turn(&mut self, s: &mut Session, work: Work, proc: ProcId, len: u64) -> Result<()> {
        if self.procs.get(&proc).is_none_or(|p| p.file.as_ref() != Some(s.file())) {
            return self.begin(s, work); // `/new` came in between
        }
        let mut t = match work {
            Work::Resume(t) => t,
            Work::Queue if s.verify == Verify::Look => return self.verify(s, proc, len),
            // A message with another model came first, or the one with that model was taken back.
            Work::Queue if !self.suits(s, proc) => return self.begin(s, Work::Queue),
            Work::Queue => {
                let members = self.take_members(s);
                if members.is_empty() {
                    s.stage = Stage::Idle;
                    self.todo.push_back(Todo::Pool); // the process may be what somebody waits for
                    return Ok(());
                }
                let mut all = self.events_for(s, &members)?;
                all.extend(members);
                Box::new(self.new_turn(s, all, None)?)
            }
            Work::Compact { who, instructions } => {
                let cmd = self.write(proc, PiCmd::Compact { instructions });
                s.stage = Stage::Compact { who, cmd, until: self.now.mono + 600_000 };
                return Ok(());
            }
            Work::Ask { row, ask } => {
                s.stage = Stage::Idle;
                self.todo.push_back(Todo::Kick(s.key.clone()));
                self.ask_pi(proc, Asker::Command(s.key.clone(), row), ask);
                return Ok(());
            }
        };
        t.reset_run(self.now.mono);
        t.proc = Some(proc);
        t.row.attempts += 1;
        t.row.file = s.file().clone();
        t.row.file_len = len;
        t.row.proc = proc.0;
        t.row.pid = self.procs.get(&proc).map_or(0, |p| p.pid);
        t.row.at_boot = self.now.mono;
        self.store.set_turn(&t.row)?;
        for m in &t.members {
            self.store.set_inbox(m.id, st::IN_TURN, Some(t.row.id), None, None)?;
        }
        let first = t.note.is_empty();
        let message = if first { t.row.prompt.clone() } else { t.note.clone() };
        let images = if first { t.row.images.clone() } else { Vec::new() };
        let run = t.addressee().map(|m| self.store.ext('i', m.id)).unwrap_or_default();
        let live = LiveRef { session: s.key.clone(), run: run.clone(), fresh: true };
        let beat = t.is_beat();
        self.emit(Effect::Show { proc, live: (!beat).then(|| Box::new(live)) });
        // Viewers know of the run before pi can say anything.
        if !beat {
            self.frame(Frame::Typing { session: s.key.to_string(), run, on: true });
        }
        let cmd = self.write(proc, PiCmd::Prompt { message, images, inject: None });
        t.phase = Phase::Prompting { cmd, until: self.now.mono + PROMPT_WAIT };
        if let Some(p) = self.procs.get_mut(&proc) {
            p.used = self.now.mono;
        }
        s.start_failures = 0;
        s.told_full = false;
        match t.members.iter().any(is_cron) {
            true => self.cron_prompted(&t)?,
            false if beat => {}
            false => self.begin_view(&s.key, &t)?,
        }
        s.stage = Stage::Turn(t);
        Ok(())
    }

    /// The process has the model and the level that the next turn is for.
    fn suits(&self, s: &Session, proc: ProcId) -> bool {
        let wanted = self.wanted_for(s, &Work::Queue);
        let on_its_file = self.next_is_apart(s) == s.copy.is_some();
        s.queue.is_empty() || on_its_file && self.procs.get(&proc).is_some_and(|p| p.profile.same_soft(&wanted))
    }

    /// Makes the turn's row and its prompt. `id`: of a turn that the store forgot.
    pub(super) fn new_turn(&mut self, s: &mut Session, members: Vec<InboxRow>, id: Option<Row>) -> Result<Turn> {
        let id = self.store.add_turn(id, &s.key, self.now.wall, self.now.mono)?;
        let ext = self.store.ext('t', id);
        let dropped = std::mem::take(&mut s.dropped);
        let plain = match &members[..] {
            [one] => dropped.is_empty() && self.is_pi_command(&one.text),
            _ => false,
        };
        let (events, said): (Vec<&InboxRow>, Vec<&InboxRow>) = members.iter().partition(|m| is_event(m));
        let ids: Vec<String> =
            said.iter().map(|m| m.source.message_id.clone().unwrap_or_else(|| self.store.ext('i', m.id))).collect();
        let mut texts: Vec<_> = said.iter().map(|m| prompt::body(&m.text, &m.tail, m.images.len())).collect();
        if let ([one], [text]) = (&said[..], &mut texts[..]) {
            if super::heartbeat::is_beat(one) {
                *text = self.beat_text(&s.row.agent, &events).into();
            }
        }
        if let Some(text) = texts.first_mut().filter(|_| !said.iter().any(|m| super::heartbeat::is_beat(m))) {
            *text = self.with_events(&events, text).into();
        }
        let items: Vec<Item> = said
            .iter()
            .zip(ids.iter().zip(&texts))
            .map(|(m, (id, text))| Item { source: &m.source, msg_id: id, at: m.at, text, images: m.images.len() })
            .collect();
        let text = match (plain, &members[..]) {
            (true, [one]) => one.text.trim().to_owned(),
            _ => prompt::prompt(&items, &dropped, &ext, self.now.wall, self.rules.zone.as_ref()),
        };
        let row = TurnRow {
            id,
            session: s.key.to_string(),
            state: "prompting".into(),
            attempts: 0,
            prompt: text,
            images: members.iter().flat_map(|m| m.images.clone()).collect(),
            plain,
            file: s.file().clone(),
            file_len: 0,
            proc: 0,
            pid: 0,
            at: self.now.wall,
            at_boot: self.now.mono,
            stop: None,
        };
        Ok(Turn::new(row, ext, members, self.now.mono))
    }

    /// The id by which the agent knows a message: the platform's, else our own.
    pub(super) fn msg_id(&self, m: &InboxRow) -> String {
        m.source.message_id.clone().unwrap_or_else(|| self.store.ext('i', m.id))
    }

    pub(super) fn is_pi_command(&self, text: &str) -> bool {
        let Some(rest) = text.trim_start().strip_prefix('/') else { return false };
        let name = rest.split_whitespace().next().unwrap_or("");
        self.pi_commands.as_ref().is_some_and(|list| list.iter().any(|(n, _)| n == name))
    }

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
}

impl Turn {
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

fn t_touch(s: &mut Session, now: Mono) {
    if let Some(t) = s.turn() {
        t.phase = Phase::Running;
        t.last_event = now;
    }
}

impl State {
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
