//! Tasks that one agent hands to another (core.md 15). The one who asked waits with a request; the task is a message of
//! a conversation of its own, of which no platform hears. What waits here has a deadline each: for a process, for the
//! answer, for an end that was ordered. Nothing of it outlives the gateway: an answer would reach nobody.

use std::collections::{BTreeMap, VecDeque};

use super::dialogs::HELD;
use super::intake::{Kind, Manner};
use super::prompt;
use super::session::{Key, Stage, Work};
use super::turn::{AbortWhy, Turn};
use super::{Due, State, Todo};
use crate::delegation;
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

/// So long a process is waited for, ms: the one who asks may hold the only one there is.
const SEEK: u64 = 10_000;
/// An end that was ordered is waited for that long, ms; then the caller is told.
const GRACE: u64 = 3_000;
/// No task may take longer, ms: so that its end, and the word of it, come before those who wait give up.
const LONGEST_TASK: u64 = HELD - GRACE - 2_000;
/// Least time that a call may name, ms.
const LEAST: u64 = 1_000;
/// Tasks whose time is remembered for the figures.
const REMEMBERED: usize = 1000;
/// Most characters of an answer: the model that asked has to read them.
const LONGEST: usize = 100_000;

/// Which tasks are under way, and what came of those before.
#[derive(Default)]
pub(super) struct Delegations {
    /// By the task's message; until that has its fate.
    pub open: BTreeMap<Row, Delegation>,
    pub figures: DelegateFigures,
    /// Of the latest ones, ms.
    pub took: VecDeque<u64>,
}

pub(super) struct Delegation {
    pub waiting: Vec<ReqId>,
    /// How it ended was told and counted; what runs of it comes to its end.
    pub told: bool,
    /// It goes on without anybody waiting: a repeat with the same key asks for its answer.
    pub keyed: bool,
    pub parent: Key,
    /// The turn that asked; `None`: somebody at the public door.
    pub turn: Option<Row>,
    from: String,
    to: String,
    pub child: Key,
    pub begun: Mono,
    limit: u64,
    pub step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Waiting for a process.
    Seeking,
    Working,
    Ending(Why),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    Late,
    NoProcess,
    Cancelled,
}

/// A delegated task's message.
pub(super) fn is_task(m: &InboxRow) -> bool {
    m.source.channel == delegation::CHANNEL
}

impl Delegation {
    fn outcome(&self, status: DelegateStatus, text: String) -> Delegated {
        Delegated { status, text, answer: false, session: self.child.to_string(), took_ms: 0, replayed: false }
    }

    pub fn failed(&self, why: &str) -> Delegated {
        self.outcome(DelegateStatus::Error, format!("Agent \"{}\" failed: {}", self.to, prompt::head(why, 500)))
    }

    pub fn answered(&self, status: DelegateStatus, text: &str) -> Delegated {
        Delegated { answer: true, ..self.outcome(status, cut(text)) }
    }

    pub fn late(&self, said: &str, after: u64, partial: bool) -> Delegated {
        let (to, after) = (&self.to, seconds(after));
        match partial && !said.is_empty() {
            true => {
                let text = format!("{said}\n\n(Agent \"{to}\" was stopped after {after}; this is what it had said.)");
                self.answered(DelegateStatus::Timeout, &text)
            }
            false => {
                let text = format!("Agent \"{to}\" did not finish within {after} and was stopped.");
                self.outcome(DelegateStatus::Timeout, text)
            }
        }
    }

    pub fn ended(&self, why: Why, said: &str, rules: &crate::rules::Rules) -> Delegated {
        let to = &self.to;
        match why {
            Why::Late => self.late(said, self.limit, rules.delegation.partial),
            Why::NoProcess => self.outcome(
                DelegateStatus::Error,
                format!(
                    "No agent process was free within {} for agent \"{to}\" (agent.pool.max is {}); it did not begin.",
                    seconds(SEEK.min(self.limit)),
                    rules.pool_max
                ),
            ),
            Why::Cancelled => {
                self.outcome(DelegateStatus::Error, format!("The delegation to agent \"{to}\" was cancelled."))
            }
        }
    }
}

impl State {
    /// A task for another agent.
    pub(super) fn on_delegate(&mut self, id: ReqId, req: DelegateRequest) -> Result<()> {
        if let Some(known) = self.known(req.dkey.as_deref())? {
            return self.task_again(id, &known, &req.body_hash);
        }
        if let Some((code, why)) = self.closed() {
            self.refuse(id, code, why);
            return Ok(());
        }
        let live = self.sessions.get(req.session.as_str()).filter(|s| !s.deleted).map(|s| s.row.agent.clone());
        let from = match live {
            Some(agent) => Some(agent),
            None => self.store.session(&req.session)?.map(|row| row.agent),
        };
        let begun = || req.begin.then(|| self.rules.routing.agent_of(&req.session).to_owned());
        let Some(from) = from.or_else(begun) else {
            self.refuse(id, Code::NotFound, "Session not found");
            return Ok(());
        };
        let mut turn = None;
        if let Some(proc) = req.proc {
            let session = self.procs.get(&proc).and_then(|p| p.session.as_deref());
            if session != Some(req.session.as_str()) {
                self.refuse(id, Code::NotFound, "Session not found");
                return Ok(());
            }
            turn = self.sessions.get(req.session.as_str()).and_then(|s| match &s.stage {
                Stage::Turn(t) => Some((t.row.id, t.aborting.is_some() || t.give_up.is_some())),
                _ => None,
            });
        }
        let refusal = match self.may_delegate(&from, &req) {
            None if turn.is_some_and(|(_, ends)| ends) => Some("the turn that asks is being ended".to_owned()),
            refusal => refusal,
        };
        self.delegations.figures.count += 1;
        if let Some(why) = refusal {
            self.delegations.figures.rejected += 1;
            self.observe(Level::Warn, Area::Session, "delegate", format!("Delegation rejected: {why}"), &req.session);
            let text = format!("The delegation was rejected: {why}.");
            let status = DelegateStatus::Rejected;
            let told = Delegated { status, text, answer: false, session: String::new(), took_ms: 0, replayed: false };
            self.answer(id, Answer::Delegated(Box::new(told)), false);
            return Ok(());
        }
        self.begin_task(id, req, from, turn.map(|t| t.0))
    }

    fn may_delegate(&self, from: &str, req: &DelegateRequest) -> Option<String> {
        let rules = &self.rules.delegation;
        let most = rules.limits(from).most;
        let running = self.delegations.open.values().filter(|d| d.from == from).count();
        if req.task.trim().is_empty() {
            Some("the task is empty".to_owned())
        } else if req.task.len() > super::intake::MAX_TEXT {
            Some("the task is too long".to_owned())
        } else if let Some(why) = rules.refusal(from, &req.to, delegation::depth(&req.session)) {
            Some(why)
        } else {
            let full = format!("agent \"{from}\" waits for {running} other agents already (maxConcurrent {most})");
            (running >= most).then_some(full)
        }
    }

    /// Stores the task as the first message of a new conversation.
    fn begin_task(&mut self, id: ReqId, req: DelegateRequest, from: String, turn: Option<Row>) -> Result<()> {
        let mut at = self.now.wall;
        let mut key = delegation::key(&req.session, &req.to, at);
        while self.sessions.contains_key(key.as_str()) || self.store.session(&key)?.is_some() {
            at += 1;
            key = delegation::key(&req.session, &req.to, at);
        }
        let rules = &self.rules.delegation;
        let wanted = req.timeout.unwrap_or(rules.timeout).max(LEAST);
        let limit = wanted.min(rules.max_timeout).min(LONGEST_TASK);
        let row = self.store.next_inbox();
        let child: Key = key.as_str().into();
        let d = Delegation {
            waiting: vec![id],
            told: false,
            keyed: req.dkey.is_some(),
            parent: req.session.as_str().into(),
            turn,
            from: from.clone(),
            to: req.to.clone(),
            child: child.clone(),
            begun: self.now.mono,
            limit,
            step: Step::Seeking,
        };
        self.delegations.open.insert(row, d);
        self.arm(Due::Task(row), self.now.mono + SEEK.min(limit));
        let source = Source {
            channel: delegation::CHANNEL.into(),
            chat: req.session.clone(),
            sender: from.clone(),
            sender_name: Some(from.clone()),
            agent: Some(req.to.clone()),
            ..Source::default()
        };
        let text = format!(
            "[Delegated task from agent \"{from}\". Respond concisely to the task below.]\n\n{}",
            req.task.trim()
        );
        let inbound = Inbound { dkey: req.dkey.unwrap_or_default(), source, text, ..Inbound::default() };
        let hash = Some(req.body_hash.as_str()).filter(|_| !inbound.dkey.is_empty());
        let manner = Manner { hash, solo: Some(&Solo::default()), kind: Kind::Delegated, ..Manner::default() };
        self.accept(&key, inbound, manner)?;
        self.with(&child, |core, s| {
            s.row.title = Some(format!("Task from {from}: {}", prompt::head(&req.task, 40)));
            core.save(s)
        })
    }

    /// The same call again, under the same key.
    fn task_again(&mut self, id: ReqId, known: &InboxRow, hash: &str) -> Result<()> {
        if known.body_hash.as_deref().unwrap_or("") != hash {
            self.refuse(id, Code::IdempotencyConflict, "This idempotency key was used for another message.");
            return Ok(());
        }
        if let Some(d) = self.delegations.open.get_mut(&known.id).filter(|d| !d.told) {
            d.waiting.push(id);
            return Ok(());
        }
        let Some(reply) = self.reply_of(known.id)? else {
            self.refuse(id, Code::Busy, "The delegation is being ended.");
            return Ok(());
        };
        let (status, text) = match (&reply.error, AbortWhy::parse(&reply.stop)) {
            (None, None) => (DelegateStatus::Completed, cut(&reply.text)),
            (None, Some(_)) => (DelegateStatus::Timeout, "The agent was stopped before it had finished.".to_owned()),
            (Some((_, why)), _) => (DelegateStatus::Error, format!("The agent failed: {why}")),
        };
        let answer = status == DelegateStatus::Completed;
        let session = reply.session.clone();
        let told = Delegated { status, text, answer, session, took_ms: reply.took_ms, replayed: true };
        self.answer(id, Answer::Delegated(Box::new(told)), true);
        Ok(())
    }

    // ---- how it goes on

    /// A delegation's time has come.
    pub(super) fn task_due(&mut self, row: Row) {
        let Some(d) = self.delegations.open.get(&row) else { return };
        let (child, until) = (d.child.clone(), d.begun + d.limit);
        match d.step {
            Step::Seeking if !self.has_process(&child) => self.end_delegation(row, Why::NoProcess),
            Step::Seeking if self.now.mono < until => {
                if let Some(d) = self.delegations.open.get_mut(&row) {
                    d.step = Step::Working;
                }
                self.arm(Due::Task(row), until);
            }
            Step::Seeking | Step::Working => self.end_delegation(row, Why::Late),
            Step::Ending(why) => {
                let said = self.sessions.get(&child).map_or(String::new(), |s| match &s.stage {
                    Stage::Turn(t) => said(t),
                    _ => String::new(),
                });
                let told = self.delegations.open.get(&row).map(|d| d.ended(why, &said, &self.rules));
                if let Some(told) = told {
                    self.tell_caller(row, told);
                }
            }
        }
    }

    fn has_process(&self, child: &Key) -> bool {
        self.sessions.get(child).is_some_and(|s| {
            s.proc.is_some() || matches!(s.stage, Stage::Turn(_) | Stage::Recover { .. } | Stage::Settle { .. })
        })
    }

    /// What runs of it is ended; whoever waits is told at once, or with what was said until then.
    pub(super) fn end_delegation(&mut self, row: Row, why: Why) {
        let Some(d) = self.delegations.open.get_mut(&row) else { return };
        if matches!(d.step, Step::Ending(_)) {
            return;
        }
        d.step = Step::Ending(why);
        self.arm(Due::Task(row), self.now.mono + GRACE);
        self.todo.push_back(Todo::EndTask(row));
        if why != Why::Late {
            let told = self.delegations.open.get(&row).map(|d| d.ended(why, "", &self.rules));
            if let Some(told) = told {
                self.tell_caller(row, told);
            }
        }
    }

    /// Takes the task's message out of the queue, or ends its turn.
    pub(super) fn end_task(&mut self, row: Row) -> Result<()> {
        let Some(d) = self.delegations.open.get(&row) else { return Ok(()) };
        let (child, late) = (d.child.clone(), d.step == Step::Ending(Why::Late));
        let fate = match d.step {
            Step::Ending(Why::Late) => "it took too long",
            Step::Ending(Why::NoProcess) => "no agent process was free",
            _ => "it was cancelled",
        };
        let Some(key) = self.load(&child, None)? else { return self.settled(row) };
        self.with(&key, |core, s| {
            if let Some(at) = s.queue.iter().position(|m| m.id == row) {
                s.queue.remove(at);
                core.store.set_inbox(row, st::DROPPED, None, None, Some(fate))?;
                if s.queue.is_empty() && matches!(&s.stage, Stage::Open(o) if matches!(o.work, Work::Queue)) {
                    s.stage = Stage::Idle;
                    core.todo.push_back(Todo::Pool);
                }
                return core.settled(row);
            }
            match &s.stage {
                Stage::Turn(_) if late => core.abort_turn(s, AbortWhy::Timeout),
                _ => core.stop(s).map(|_| ()),
            }
        })
    }

    /// Answers the callers, once, and counts.
    pub(super) fn tell_caller(&mut self, row: Row, told: Delegated) {
        let Some(d) = self.delegations.open.get_mut(&row).filter(|d| !d.told) else { return };
        d.told = true;
        let took = self.now.mono.saturating_sub(d.begun);
        let no_process = d.step == Step::Ending(Why::NoProcess);
        let (waiting, parent, to) = (std::mem::take(&mut d.waiting), d.parent.clone(), d.to.clone());
        let told = Delegated { took_ms: took, ..told };
        let f = &mut self.delegations.figures;
        match told.status {
            DelegateStatus::Completed => f.success += 1,
            DelegateStatus::Timeout => f.timeout += 1,
            DelegateStatus::Error | DelegateStatus::Rejected => f.error += 1,
        }
        f.pool_exhausted += u64::from(no_process);
        if self.delegations.took.len() >= REMEMBERED {
            self.delegations.took.pop_front();
        }
        self.delegations.took.push_back(took);
        let level = if told.status == DelegateStatus::Completed { Level::Info } else { Level::Warn };
        let message = format!("The delegation to {to} ended as {} after {}", told.status.as_str(), seconds(took));
        self.observe(level, Area::Session, "delegate", message, &parent);
        for id in waiting {
            self.answer(id, Answer::Delegated(Box::new(told.clone())), true);
        }
    }
}

pub(super) fn said(t: &Turn) -> String {
    t.said.join("\n\n").replace("[NO_REPLY]", "").trim().to_owned()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}\n\n(cut here: the answer is longer)", &text[..at]),
        None => text.to_owned(),
    }
}

fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{} s", ms / 1000),
        _ => format!("{:.1} s", ms as f64 / 1000.0),
    }
}
