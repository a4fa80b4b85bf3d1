//! Messages that are one request with one answer (`/v1`): taking them back, and the sessions that live for one of
//! them only (gateway-api.md R19, R64).

use std::collections::BTreeSet;

use super::session::{Key, Session, Stage, Work};
use super::{State, Todo};
use crate::message::*;
use crate::routing::fleeting_prefix;
use crate::store::{inbox_state as st, Result};

impl State {
    /// Nobody waits for this message's answer any more.
    pub(super) fn withdraw(&mut self, row: Row) -> Result<()> {
        let Some(m) = self.store.inbox(row)?.filter(|m| !st::terminal(&m.state)) else { return Ok(()) };
        let Some(key) = self.load(&m.session, None)? else { return Ok(()) };
        self.with(&key, |core, s| {
            if let Some(at) = s.queue.iter().position(|m| m.id == row) {
                s.queue.remove(at);
                core.store.set_inbox(row, st::SILENT, None, None, Some("taken back by its sender"))?;
                core.settled(row)?;
                // A process that was on its way for this one stays for the next message.
                if s.queue.is_empty() && matches!(&s.stage, Stage::Open(o) if matches!(o.work, Work::Queue)) {
                    s.stage = Stage::Idle;
                    core.todo.push_back(Todo::Pool);
                }
                return Ok(());
            }
            match s.works_only_on(row) {
                true => core.stop(s).map(|_| ()),
                false => Ok(()),
            }
        })
    }

    /// Deletes the session of a single request: its row at once, pi's files when its process is gone. Such a process
    /// is never given to another session: what it holds is nobody else's business.
    pub(super) fn end_fleeting(&mut self, key: &Key) -> Result<()> {
        if self.sessions.get(key).is_some_and(|s| !s.quiet()) {
            return Ok(());
        }
        if self.store.session(key)?.is_some() {
            self.store.delete_session(key)?;
            self.frame(Frame::Deleted { session: key.to_string() });
        }
        let proc = self.procs.values().find(|p| p.session.as_ref() == Some(key)).map(|p| p.id);
        if let Some(proc) = proc {
            self.stop_proc(proc); // its exit leads here again
            return Ok(());
        }
        self.used.remove(key);
        self.verified.remove(key);
        let id = self.next_job;
        self.next_job += 1;
        let dir = self.rules.sessions_dir.join(crate::config::session_dir_name(key));
        self.emit(Effect::Job { id, session: key.clone(), job: Box::new(Job::ForgetFiles { dir }), durable: false });
        Ok(())
    }
}

impl State {
    /// At start: sessions of single requests that were over, but not gone yet.
    pub(super) fn recover_fleeting(&mut self) -> Result<()> {
        let agents: BTreeSet<&str> =
            self.rules.agents.keys().map(String::as_str).chain([&*self.rules.routing.default]).collect();
        for agent in agents {
            let keys = self.store.sessions_beginning(&fleeting_prefix(agent))?;
            self.todo.extend(keys.into_iter().map(|key| Todo::Fleeting(key.into())));
        }
        Ok(())
    }
}

impl Session {
    /// What is going on is for this message and for no other.
    fn works_only_on(&self, row: Row) -> bool {
        let turn = match &self.stage {
            Stage::Turn(t) | Stage::Recover { turn: t, .. } => t,
            Stage::Open(o) => match &o.work {
                Work::Resume(t) => t,
                _ => return false,
            },
            _ => return false,
        };
        matches!(&turn.members[..], [one] if one.id == row) && turn.injected.is_empty()
    }
}
