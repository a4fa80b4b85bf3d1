//! Switching a conversation to another role (core.md 3.3).

use super::session::{Session, Stage, Who, Work};
use super::turn::AbortWhy;
use super::{State, Todo};
use crate::message::*;
use crate::store::Result;

/// A turn that does not end in that time keeps the old role.
const SWITCH_WAIT: u64 = 5_000;

/// A role to be taken on as soon as nothing runs.
#[derive(Debug)]
pub struct Switch {
    pub role: String,
    pub who: Who,
    pub until: Mono,
}

impl State {
    pub(super) fn switch_role(&mut self, s: &mut Session, role: &str, who: Who) -> Result<()> {
        if s.switch.is_some() {
            return self.tell(s, who, Err((Code::Busy, "Another role is being taken on.".into())));
        }
        s.switch = Some(Switch { role: role.to_owned(), who, until: self.now.mono + SWITCH_WAIT });
        match &s.stage {
            Stage::Idle | Stage::Debounce { .. } => self.switch_now(s),
            // Not begun yet: it begins in the new role.
            Stage::Open(o) if matches!(o.work, Work::Queue) => {
                s.stage = Stage::Idle;
                self.switch_now(s)
            }
            Stage::Turn(_) => self.abort_turn(s, AbortWhy::User),
            _ => Ok(()), // it ends by itself, or the switch fails
        }
    }

    /// Nothing runs: the session's process ends, the next one works in the new role.
    pub(super) fn switch_now(&mut self, s: &mut Session) -> Result<()> {
        let Some(Switch { role, who, .. }) = s.switch.take() else { return Ok(()) };
        s.row.role = Some(role.clone());
        s.row.role_manual = true;
        self.save(s)?;
        self.give_up_proc(s);
        self.frame(Frame::RoleChanged { session: s.key.to_string(), role: role.clone() });
        self.updated(s);
        self.todo.push_back(Todo::Kick(s.key.clone()));
        self.tell(s, who, Ok(format!("Role: {role}.")))
    }

    pub(super) fn switch_failed(&mut self, s: &mut Session) -> Result<()> {
        let Some(Switch { who, .. }) = s.switch.take() else { return Ok(()) };
        self.tell(s, who, Err((Code::Busy, "The role was not changed: the agent is still busy.".into())))
    }

    /// Sessions of a role that is gone go to the default one.
    pub(super) fn role_deleted(&mut self, role: &str) -> Result<()> {
        let rows = self.store.sessions(1000)?;
        for row in rows.iter().filter(|r| r.role.as_deref() == Some(role)) {
            let Some(key) = self.load(&row.key, None)? else { continue };
            self.with(&key, |core, s| {
                s.row.role = None;
                s.row.role_manual = false;
                core.save(s)?;
                core.retire_proc(s);
                Ok(())
            })?;
        }
        self.frame(Frame::RoleDeleted { role: role.to_owned() });
        Ok(())
    }

    /// The next message of this session gets a fresh process; a running turn ends in the old one.
    pub(super) fn retire_proc(&mut self, s: &mut Session) {
        let Some(id) = s.proc else { return };
        if let Some(p) = self.procs.get_mut(&id) {
            p.profile.generation = u32::MAX; // of no configuration
        }
        if !s.running() {
            self.stop_proc(id);
        }
    }
}
