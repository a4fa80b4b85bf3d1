//! Small things that every part of the mind needs.

use std::path::PathBuf;

use super::agenda::{Due, Todo};
use super::session::{Key, Session, Stage};
use super::State;
use crate::config::session_dir_name;
use crate::delegation;
use crate::message::*;
use crate::routing::fleeting;
use crate::store::{inbox_state as st, NewInbox, NewOutbox, NewSegment, Result};

impl State {
    /// Runs `f` on a session that is in memory, then sets its due time.
    pub(super) fn with(&mut self, key: &Key, f: impl FnOnce(&mut State, &mut Session) -> Result<()>) -> Result<()> {
        let Some(mut s) = self.sessions.remove(key) else { return Ok(()) };
        self.current = Some(key.clone());
        let done = f(self, &mut s);
        match self.due_of(&s) {
            Some(at) => self.arm(Due::Session(key.clone()), at),
            None => self.disarm(&Due::Session(key.clone())),
        }
        if matches!(s.stage, Stage::Idle) {
            self.end_view(key); // whatever it was that people saw of it
            if self.has_scratch(key) {
                self.todo.push_back(Todo::Tidy(key.clone()));
            }
        }
        if s.quiet() && fleeting(key) {
            self.todo.push_back(Todo::Fleeting(key.clone()));
        }
        if s.quiet() && s.proc.is_some() && delegation::is_delegated(key) {
            self.todo.push_back(Todo::Retire(key.clone()));
        }
        let keep = !s.quiet() || s.proc.is_some();
        if keep {
            self.sessions.insert(key.clone(), s);
        }
        done
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    pub(super) fn frame(&mut self, frame: Frame) {
        self.out.push(Effect::Frame(Box::new(frame)));
    }

    /// For the operator's list of what happened.
    pub(super) fn observe(
        &mut self,
        level: Level,
        category: Area,
        action: &'static str,
        message: String,
        session: &str,
    ) {
        let seen = Observation::new(level, category, action, message);
        let seen = if session.is_empty() { seen } else { seen.of(session) };
        self.emit(Effect::Observed(Box::new(seen)));
    }

    /// pi did not answer a command in time.
    pub(super) fn rpc_late(&mut self, session: &str) {
        self.counters.rpc_timeouts += 1;
        self.observe(Level::Warn, Area::Rpc, "timeout", "pi did not answer in time".into(), session);
    }

    pub(super) fn answer(&mut self, id: ReqId, answer: Answer, durable: bool) {
        let durable = durable && self.rules.durable;
        self.out.push(Effect::Answer { id, answer: AnswerBox(Box::new(answer)), durable });
    }

    pub(super) fn refuse(&mut self, id: ReqId, code: Code, message: impl Into<String>) {
        self.answer(id, Answer::Error { code, message: message.into() }, false);
    }

    /// Writes a command to pi; its response comes with the returned number.
    pub(super) fn write(&mut self, proc: ProcId, cmd: PiCmd) -> CmdId {
        let id = self.next_cmd;
        self.next_cmd += 1;
        self.out.push(Effect::Write { proc, id, cmd: Box::new(cmd) });
        id
    }

    pub(super) fn job(&mut self, key: &Key, job: Job, durable: bool) -> JobId {
        let id = self.next_job;
        self.next_job += 1;
        self.jobs.insert(id, key.clone());
        self.out.push(Effect::Job { id, session: key.clone(), job: Box::new(job), durable });
        id
    }

    /// A message that comes now and waits in the queue of that session. What else there is to it says the caller.
    pub(super) fn incoming<'a>(&'a self, kind: &'static str, session: &'a str, source: &'a Source) -> NewInbox<'a> {
        NewInbox {
            dkey: None,
            dkey2: None,
            kind,
            session,
            agent: self.rules.routing.agent_of(session),
            state: st::QUEUED,
            prio: 0,
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            source,
            text: "",
            images: &[],
            body_hash: None,
            solo: None,
            files: &[],
            group: None,
        }
    }

    /// A text of a conversation that goes to that place now: of no turn, an answer to nothing.
    pub(super) fn said<'a>(
        &self,
        session: &'a str,
        origin: &'static str,
        target: &'a Target,
        text: &'a str,
    ) -> NewSegment<'a> {
        let at = self.now.wall;
        NewSegment { turn: None, session, n: None, origin, inbox: None, text, media: None, target, at }
    }

    /// What is owed to a chat from now on, as long as answers are: no part of a conversation, about no message.
    pub(super) fn outgoing<'a>(&self, kind: &'static str, target: &'a Target, content: &'a Content) -> NewOutbox<'a> {
        NewOutbox {
            segment: None,
            kind,
            target,
            content,
            message: None,
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            expires: self.now.wall + self.rules.max_age,
        }
    }

    /// Stores it and asks its lane to go on.
    pub(super) fn owe(&mut self, what: &NewOutbox) -> Result<Row> {
        self.todo.push_back(Todo::Lane(what.target.clone()));
        self.store.add_outbox(what)
    }

    /// A new session file's path.
    pub(super) fn fresh_file(&self, key: &str) -> Result<PathBuf> {
        let n = self.store.next_counter()?;
        let name = self.store.ext('f', n as i64);
        Ok(self.rules.sessions_dir.join(session_dir_name(key)).join(format!("{name}.jsonl")))
    }
}
