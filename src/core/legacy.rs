//! What one state of the mind hands to the next in the same life, when a batch failed and memory is built anew.
//!
//! Nothing of it is in the store: an end of the process loses it, and may.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::Passing;
use super::{Key, State};
use crate::message::*;

/// What outlives a state that had to be given up in the middle of a life (a batch failed), and is not in the
/// store.
#[derive(Clone, Debug, Default)]
pub struct Legacy {
    /// Why the store cannot be written: no work begins until that is over.
    pub trouble: Option<String>,
    pub clock_confirmed: bool,
    pub draining: Option<Mono>,
    /// Platform calls whose outcome has not come.
    pub calls: BTreeSet<CallId>,
    /// Of those that no row stands for: where, and what for.
    pub(super) passing: BTreeMap<u64, (Target, Passing)>,
    pub(super) next_call: u64,
    /// Jobs are numbered on: those given away before may still come back.
    pub next_job: JobId,
    /// Processes that are being killed: their sessions wait for their end.
    pub procs: Vec<(ProcId, Profile, Option<Key>)>,
}

impl State {
    /// Of the processes that run outside, what the next state has to know.
    pub fn legacy(&self, alive: &BTreeSet<ProcId>, calls: &BTreeSet<CallId>) -> Legacy {
        let procs = self.procs.values().filter(|p| alive.contains(&p.id));
        Legacy {
            trouble: None,
            clock_confirmed: self.clock_confirmed,
            draining: self.draining,
            calls: calls.clone(),
            passing: self
                .passing
                .iter()
                .filter(|(id, _)| calls.contains(&CallId::Passing(**id)))
                .map(|(id, p)| (*id, p.clone()))
                .collect(),
            next_call: self.next_call,
            next_job: self.next_job,
            procs: procs.map(|p| (p.id, p.profile.clone(), p.session.clone())).collect(),
        }
    }
}
