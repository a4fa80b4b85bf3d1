//! What must hold between two events, for the simulator (core.md 23). Reads, never changes.

use std::collections::BTreeMap;

use super::session::{Key, Stage};
use super::{Due, State};
use crate::cron::job::Standing;
use crate::message::ProcId;

impl State {
    /// Every job that is to run has a due time, and that is looked at.
    fn broken_schedule(&self) -> Option<String> {
        for l in self.cron.jobs.values() {
            let active = l.job.standing() == Standing::Active && !l.row.done;
            if active != l.row.next.is_some() {
                return Some(format!("the job {} has the due time {:?}, active: {active}", l.row.id, l.row.next));
            }
        }
        let waits = self.cron.jobs.values().any(|l| l.row.next.is_some());
        let looked_at = self.dues.contains_key(&Due::Cron) || self.closed().is_some();
        (waits && !looked_at).then(|| "nobody looks at the jobs' due times".to_owned())
    }

    /// One session per process, and nobody takes a process from a turn: the first rule that is broken.
    pub fn broken_rule(&self) -> Option<String> {
        let mut holders: BTreeMap<ProcId, &Key> = BTreeMap::new();
        for s in self.sessions.values() {
            if let Some(why) = s.early.iter().find_map(|p| p.broken()) {
                return Some(format!("{}: {why}", s.key));
            }
            let Some(id) = s.proc else { continue };
            if let Some(other) = holders.insert(id, &s.key) {
                return Some(format!("{other} and {} share process {}", s.key, id.0));
            }
            let Some(p) = self.procs.get(&id) else { continue };
            if p.session.as_ref() != Some(&s.key) {
                return Some(format!("process {} of {} thinks it belongs to {:?}", id.0, s.key, p.session));
            }
            let Stage::Turn(t) = &s.stage else { continue };
            if t.proc != Some(id) || p.file.as_ref() != Some(&t.row.file) {
                return Some(format!("the turn of {} runs elsewhere than in process {}", s.key, id.0));
            }
            if t.solo()
                && (t.members.iter().filter(|m| !super::events::is_event(m)).count() > 1 || !t.injected.is_empty())
            {
                return Some(format!("a message of {} shares the turn that it should have for itself", s.key));
            }
            let named = t.members.iter().find_map(|m| m.solo.as_ref()?.model.as_ref());
            if named
                .is_some_and(|m| t.fallbacks == 0 && t.model.as_ref() == Some(m) && p.profile.model.as_ref() != Some(m))
            {
                return Some(format!("the turn of {} runs with {:?} instead of {named:?}", s.key, p.profile.model));
            }
            if named.is_none()
                && t.model.is_none()
                && p.profile.model.as_deref() == Some("a/b")
                && s.row.model.is_none()
            {
                return Some(format!("the turn of {} runs with another's model", s.key));
            }
            if p.evicted {
                return Some(format!("process {} was taken from the turn of {}", id.0, s.key));
            }
        }
        if let Some(why) = self.broken_schedule().or_else(|| self.broken_delegation()) {
            return Some(why);
        }
        (self.procs.len() > self.rules.pool_max).then(|| format!("{} processes are too many", self.procs.len()))
    }
}
