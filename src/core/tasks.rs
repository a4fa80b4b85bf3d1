//! Commands whose work is done by the session's hands: files, programs, the machine (core.md 4, 22.3).

use std::path::PathBuf;

use super::keys::Menu;
use super::session::{Session, Stage, Who};
use super::State;
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

/// Longer than any job's own limit.
const TASK_WAIT: u64 = 60_000;

pub struct Task {
    job: JobId,
    row: Row,
    doing: Doing,
    pub until: Mono,
}

/// What the outcome means.
#[derive(Debug)]
pub enum Doing {
    ListRoles,
    SetRole(String),
    CreateRole(String),
    DeleteRole(String),
    /// Its text is the reply.
    Text,
    /// The history of that session is going to be this one's.
    Attach {
        file: PathBuf,
        from: String,
    },
}

impl State {
    /// Marks the command as executing and gives its work away. Work with effects outside the store begins when
    /// the mark is safe, and is never begun again.
    pub(super) fn task(&mut self, s: &mut Session, row: &InboxRow, job: Job, doing: Doing) -> Result<()> {
        self.store.set_inbox(row.id, st::EXECUTING, None, None, None)?;
        let effects = matches!(
            job,
            Job::Shell { .. } | Job::CreateRole { .. } | Job::DeleteRole { .. } | Job::CopySession { .. }
        );
        let job = self.job(&s.key, job, effects);
        s.tasks.push(Task { job, row: row.id, doing, until: self.now.mono + TASK_WAIT });
        Ok(())
    }

    pub(super) fn on_task_done(&mut self, s: &mut Session, id: JobId, done: JobDone) -> Result<()> {
        let Some(at) = s.tasks.iter().position(|t| t.job == id) else { return Ok(()) };
        let Task { row, doing, .. } = s.tasks.remove(at);
        let who = Who::Row(row);
        let text = match (doing, done) {
            (_, JobDone::Failed { why }) => format!("That failed: {why}."),
            (Doing::Text, JobDone::Text(text)) => text,
            (Doing::ListRoles, JobDone::Roles(dirs)) => {
                let now = s.row.role.as_deref().unwrap_or("default");
                let names = self.role_names(dirs);
                let text = format!("Role: {now}. There are: {}.", names.join(", "));
                let Some(row) = self.store.inbox(row)? else { return Ok(()) };
                return self.offer(s, &row, Menu::Roles(names), text);
            }
            (Doing::SetRole(role), JobDone::Roles(dirs)) => {
                let names = self.role_names(dirs);
                if names.contains(&role) {
                    return self.switch_role(s, &role, who);
                }
                format!("There is no role {role}. There are: {}.", names.join(", "))
            }
            (Doing::CreateRole(role), JobDone::Roles(_)) => {
                self.frame(Frame::RoleCreated { role: role.clone() });
                format!("The role {role} has been made. Take it on with /role set {role}.")
            }
            (Doing::DeleteRole(role), JobDone::Roles(_)) => {
                if s.row.role.as_deref() == Some(&role) {
                    s.row.role = None;
                    s.row.role_manual = false;
                    self.save(s)?;
                    self.retire_proc(s);
                }
                self.role_deleted(&role)?;
                format!("The role {role} is in the trash.")
            }
            (Doing::Attach { file, from }, JobDone::Done) => match s.stage {
                Stage::Idle | Stage::Debounce { .. } => {
                    s.row.file = file;
                    self.save(s)?;
                    format!("This conversation goes on where {from} is now.")
                }
                _ => "Busy; try again when the answer is complete.".to_owned(),
            },
            (doing, done) => {
                log::error!("{}: {doing:?} came back as {done:?}", s.key);
                "That failed.".to_owned()
            }
        };
        self.tell(s, who, Ok(text))
    }

    /// Jobs that did not come back.
    pub(super) fn late_tasks(&mut self, s: &mut Session) -> Result<()> {
        let now = self.now.mono;
        let (late, rest) = std::mem::take(&mut s.tasks).into_iter().partition(|t| t.until <= now);
        s.tasks = rest;
        let late: Vec<Task> = late;
        for t in late {
            self.jobs.remove(&t.job);
            self.tell(s, Who::Row(t.row), Ok("That took too long; nobody waits for it any more.".into()))?;
        }
        Ok(())
    }

    /// The configuration's roles and those that have a directory.
    fn role_names(&self, dirs: Vec<String>) -> Vec<String> {
        let mut all: Vec<String> = self.rules.role_names.iter().cloned().chain(dirs).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The outcome of a command, to whoever gave it.
    pub(super) fn tell(
        &mut self,
        s: &mut Session,
        who: Who,
        result: std::result::Result<String, (Code, String)>,
    ) -> Result<()> {
        match (who, result) {
            (Who::Row(row), Ok(text) | Err((_, text))) => self.notice(s, Some(row), &text, st::COMMAND, None),
            (Who::Req(id), Ok(_)) => {
                self.answer(id, Answer::Ok, true);
                Ok(())
            }
            (Who::Req(id), Err((code, text))) => {
                self.refuse(id, code, text);
                Ok(())
            }
        }
    }
}
