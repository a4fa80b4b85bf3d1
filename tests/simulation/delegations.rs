//! Agents that hand work to one another: tools that wait, callers that leave, a gateway that dies in between.

use std::collections::{BTreeMap, BTreeSet};

use pi_gateway::delegation::{is_delegated, Delegation, Limits};
use pi_gateway::message::*;
use pi_gateway::rules::{AgentRules, Rules};
use rusqlite::Connection;

use super::model_pi::{tokens, Entry, Files};
use super::world::{Rng, World};

const AGENTS: [&str; 3] = ["main", "coder", "writer"];
/// Tokens of tasks have numbers from here on: they are nobody's message.
const FIRST: usize = 1000;
/// Those with a key are asked again and again, also in other lives.
const KEYED: usize = 9000;
const MOST: usize = 10;

/// What the world knows of tasks.
#[derive(Debug, Default)]
pub struct Delegations {
    tasks: usize,
    /// Who waits: the pi whose tool it is; `None`: somebody at the public door.
    waiting: BTreeMap<ReqId, Option<ProcId>>,
    /// Connections that ended; the mind is told of it soon.
    gone: Vec<ReqId>,
    /// And those that it may still answer: it was not told in time.
    late: BTreeSet<ReqId>,
    /// Tasks with a number below were of an earlier life.
    life: usize,
}

pub fn rules(rng: &mut Rng, rules: &mut Rules) {
    rules.pool_max += 1 + rng.below(3) as usize; // some have room for those who are asked
    for agent in AGENTS {
        let workspace = Some(format!("/w/{agent}").into());
        rules.agents.insert(agent.into(), AgentRules { workspace, ..AgentRules::default() });
    }
    let limits =
        |rng: &mut Rng| Limits { allow: None, most: 1 + rng.below(2) as usize, depth: 1 + rng.below(2) as usize };
    rules.delegation = Delegation {
        timeout: [5_000, 20_000, 60_000][rng.below(3) as usize],
        partial: rng.one_in(2),
        usual: limits(rng),
        own: [("coder".to_owned(), limits(rng))].into(),
        agents: AGENTS.map(|agent| (agent.to_owned(), None)).into(),
        ..Delegation::default()
    };
}

impl Delegations {
    /// The mind was built anew: nobody will answer, but what was answered may still be on its way.
    pub fn rebuilt(&mut self) {
        let all: Vec<ReqId> = self.waiting.keys().copied().collect();
        self.late.extend(all);
        self.waiting.clear();
        self.gone.clear();
        self.life = self.tasks;
    }

    /// The gateway died: all connections are cut.
    pub fn die(&mut self) {
        self.waiting.clear();
        self.gone.clear();
        self.late.clear();
        self.life = self.tasks;
    }

    /// An answer of the mind; gives the pi whose tool has it now.
    pub fn told(&mut self, id: ReqId, answer: &Answer) -> Result<Option<ProcId>, String> {
        if self.late.remove(&id) {
            return Ok(None);
        }
        if !matches!(answer, Answer::Delegated(_)) {
            return Ok(self.waiting.remove(&id).flatten());
        }
        match self.waiting.remove(&id) {
            Some(proc) => Ok(proc),
            None => Err(format!("a delegation is answered twice: {id:?}")),
        }
    }

    /// The connections of a pi end with it, or with its tool.
    pub fn proc_left(&mut self, proc: ProcId) {
        let mine: Vec<ReqId> = self.waiting.iter().filter(|(_, p)| **p == Some(proc)).map(|(id, _)| *id).collect();
        for id in mine {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: ReqId) {
        self.waiting.remove(&id);
        self.late.insert(id);
        self.gone.push(id);
    }

    /// A prompt with a task of an earlier life: its answer would go nowhere.
    pub fn prompted(&self, message: &str) -> Result<(), String> {
        let old = |token: &String| token[1..].parse().is_ok_and(|n: usize| n >= FIRST && n < FIRST + self.life);
        match tokens(message).into_iter().find(old) {
            Some(token) => Err(format!("the task {token} of an earlier life is begun")),
            None => Ok(()),
        }
    }

    pub fn waits(&self) -> bool {
        !self.waiting.is_empty() || !self.gone.is_empty()
    }

    /// What must be so when everything has come to rest.
    pub fn judge(&self, db: &Connection, texts: &[String], files: &Files, power_cuts: u32) -> Result<(), String> {
        let of_task =
            |word: &str| word.strip_prefix('m').and_then(|n| n.parse().ok()).is_some_and(|n: usize| n >= FIRST);
        if let Some(text) = texts.iter().find(|t| t.split([' ', '<', '>', '{', ';']).any(of_task)) {
            return Err(format!("a platform heard of a task: {text}"));
        }
        let mut q = db
            .prepare("SELECT text, state, session FROM inbox WHERE session LIKE 'delegate:%'")
            .map_err(|e| e.to_string())?;
        let rows = q.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)));
        for row in rows.map_err(|e| e.to_string())? {
            let (text, state, session) = row.map_err(|e| e.to_string())?;
            if ["queued", "in_turn", "accepted"].contains(&state.as_str()) {
                return Err(format!("the task of {session} has no fate: {state}"));
            }
            let token = tokens(&text).pop().unwrap_or_default();
            let seen = |e: &&Entry| matches!(e, Entry::User(t) if tokens(t).contains(&token));
            let seen = files.values().flatten().filter(seen).count();
            let said = "SELECT count(*) FROM segment WHERE session = ? AND text LIKE '%<answer %'";
            let said = db.query_row(said, [&session], |r| r.get::<_, i64>(0)).map_err(|e| e.to_string())? > 0;
            if said && state == "dropped" {
                return Err(format!("the task {token} was dropped, and something was said to it"));
            }
            if seen > 1 && power_cuts == 0 && state != "failed" {
                return Err(format!("the agent saw the task {token} {seen} times"));
            }
            if seen == 0 && said && power_cuts == 0 {
                return Err(format!("the task {token} is answered, and no agent has seen it"));
            }
        }
        let outbox = "SELECT count(*) FROM outbox WHERE channel = 'delegate'";
        match db.query_row(outbox, [], |r| r.get::<_, i64>(0)).map_err(|e| e.to_string())? {
            0 => Ok(()),
            n => Err(format!("{n} messages are owed to nobody")),
        }
    }
}

impl World {
    /// A tool that runs asks another agent, a client does, or somebody leaves.
    pub fn delegate(&mut self) -> Result<(), String> {
        match self.rng.below(16) {
            0..=3 => self.tool_delegates(),
            4 => self.client_delegates(),
            5 => self.tell_gone(),
            // What was begun goes on for a while.
            6..=14 => {
                for _ in 0..5 {
                    self.child_news()?;
                    self.finish_job()?;
                    self.pi_moves()?;
                }
                Ok(())
            }
            _ => {
                let Some(d) = &mut self.delegations else { return Ok(()) };
                let clients: Vec<ReqId> = d.waiting.iter().filter(|(_, p)| p.is_none()).map(|(id, _)| *id).collect();
                if let Some(id) = clients.get(self.rng.below(clients.len() as u64) as usize) {
                    d.leave(*id);
                }
                Ok(())
            }
        }
    }

    fn tool_delegates(&mut self) -> Result<(), String> {
        let Some(state) = &self.state else { return Ok(()) };
        let running = self.procs.iter().filter(|(_, p)| p.in_tool() && !p.held && !p.dying && !p.hung);
        let running: Vec<_> = running.map(|(id, p)| (*id, p.file.clone())).collect();
        let Some((proc, file)) = running.get(self.rng.below(running.len() as u64) as usize).cloned() else {
            return Ok(());
        };
        let sessions = state.store().sessions(1000).map_err(|e| e.to_string())?;
        let Some(session) = sessions.iter().find(|s| s.file == file).map(|s| s.key.clone()) else { return Ok(()) };
        if self.ask_agent(session, Some(proc), None)? {
            if let Some(p) = self.procs.get_mut(&proc) {
                p.held = self.delegations.as_ref().is_some_and(|d| d.waiting.values().any(|w| *w == Some(proc)));
            }
        }
        Ok(())
    }

    fn client_delegates(&mut self) -> Result<(), String> {
        let tab = ["a", "b", "c"][self.rng.below(3) as usize];
        let key = self.rng.one_in(3).then(|| self.rng.below(3) as usize);
        self.ask_agent(format!("agent:main:webchat:{tab}"), None, key).map(|_| ())
    }

    fn ask_agent(&mut self, session: String, proc: Option<ProcId>, key: Option<usize>) -> Result<bool, String> {
        let Some(d) = &mut self.delegations else { return Ok(false) };
        if d.tasks >= MOST || !self.faults {
            return Ok(false);
        }
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let task = format!("{{m{};", key.map_or(FIRST + d.tasks, |key| KEYED + key));
        d.tasks += 1;
        d.waiting.insert(id, proc);
        let req = DelegateRequest {
            session,
            proc,
            begin: proc.is_none() && self.rng.one_in(2),
            to: AGENTS[if self.rng.one_in(12) { 0 } else { 1 + self.rng.below(2) as usize }].into(),
            task,
            timeout: self.rng.one_in(5).then_some(2_000),
            body_hash: String::new(),
            dkey: key.map(|key| format!("http:tools:{key}")),
        };
        self.feed(Event::Request { id, req: Box::new(Request::Delegate(Box::new(req))) })?;
        Ok(true)
    }

    /// The door tells of a connection that ended.
    pub fn tell_gone(&mut self) -> Result<(), String> {
        let Some(id) = self.delegations.as_mut().and_then(|d| d.gone.pop()) else { return Ok(()) };
        self.feed(Event::Gone { id })
    }

    /// No process stays with a task that is over.
    pub fn no_leak(&self, s: &Snapshot) -> Result<(), String> {
        let Some(d) = &self.delegations else { return Ok(()) };
        // One that is being stopped has a due time for that.
        let stays = |p: &&ProcInfo| p.state != "stopping" && p.session.as_deref().is_some_and(is_delegated);
        let leak = s.procs.iter().find(stays);
        match leak {
            Some(p) => Err(format!("process {} stays with {:?}", p.id.0, p.session)),
            None if s.delegation.active > 0 => Err(format!("{} tasks are open at rest", s.delegation.active)),
            None if !d.waiting.is_empty() => Err(format!("nobody answers {:?}", d.waiting)),
            None => Ok(()),
        }
    }
}
