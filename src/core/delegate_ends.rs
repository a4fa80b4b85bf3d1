//! How delegated tasks end, what is left of them, and what an earlier life left (core.md 15).

use super::delegate::{is_task, said, Delegation, Step, Why};
use super::reply::End;
use super::session::{Key, Session, Stage};
use super::turn::{AbortWhy, Turn};
use super::{Due, State};
use crate::delegation;
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

/// A delegated conversation is forgotten that long after its last word, ms.
const FORGOTTEN: i64 = 86_400_000;
/// Why a task of an earlier life has no answer.
const ORPHANED: &str = "nobody waits for its answer any more";

impl State {
    /// The task's turn is over: in the transaction of its end.
    pub(super) fn task_ended(&mut self, t: &Turn, end: &End) {
        let Some(m) = t.members.iter().find(|m| is_task(m)) else { return };
        let Some(d) = self.delegations.open.get(&m.id) else { return };
        let told = match (d.step, t.aborting, &end.failed) {
            (Step::Ending(why), ..) => d.ended(why, &said(t), &self.rules),
            (_, Some((AbortWhy::Timeout | AbortWhy::TooLong | AbortWhy::Inactive, _)), _) => {
                d.late(&said(t), self.now.mono.saturating_sub(d.begun), self.rules.delegation.partial)
            }
            (_, Some((why, _)), _) => d.failed(&format!("it was stopped ({})", why.as_str())),
            (_, None, Some((_, why))) => d.failed(why),
            (_, None, None) if end.text.trim().is_empty() => {
                d.answered(DelegateStatus::Completed, "(The agent gave no answer.)")
            }
            (_, None, None) => d.answered(DelegateStatus::Completed, &end.text),
        };
        self.tell_caller(m.id, told);
    }

    /// The task's message has its fate: with or without a turn it is over.
    pub(super) fn task_settled(&mut self, row: Row) -> Result<()> {
        let Some(d) = self.delegations.open.get(&row) else { return Ok(()) };
        let told = match d.step {
            Step::Ending(why) => d.ended(why, "", &self.rules),
            _ => {
                let why = self.store.inbox(row)?.and_then(|m| m.reason).unwrap_or_else(|| "it was dropped".to_owned());
                d.failed(&why)
            }
        };
        self.tell_caller(row, told);
        self.delegations.open.remove(&row);
        self.disarm(&Due::Task(row));
        Ok(())
    }

    /// Whoever waited left.
    pub(super) fn delegator_gone(&mut self, id: ReqId) {
        let waits = |d: &Delegation| d.waiting.contains(&id);
        let Some((row, d)) = self.delegations.open.iter_mut().find(|(_, d)| waits(d)) else { return };
        d.waiting.retain(|w| *w != id);
        if d.waiting.is_empty() && !d.keyed {
            let row = *row;
            self.end_delegation(row, Why::Cancelled);
        }
    }

    /// What a session asked of others is of no use any more: it was stopped, or begins anew.
    pub(super) fn cancel_delegations(&mut self, session: &str) {
        self.end_those(|d| &*d.parent == session);
    }

    /// The gateway stops: what has not begun will not.
    pub(super) fn drain_delegations(&mut self) {
        let begun = |s: &Session| matches!(s.stage, Stage::Turn(_) | Stage::Recover { .. } | Stage::Settle { .. });
        let open = self.delegations.open.iter();
        let waits = open.filter(|(_, d)| !self.sessions.get(&d.child).is_some_and(begun));
        let rows: Vec<Row> = waits.map(|(row, _)| *row).collect();
        for row in rows {
            self.end_delegation(row, Why::Cancelled);
        }
    }

    /// The turn that asked is over, or lost its process.
    pub(super) fn end_delegations_of(&mut self, turn: Row) {
        self.end_those(|d| d.turn == Some(turn));
    }

    fn end_those(&mut self, which: impl Fn(&Delegation) -> bool) {
        let rows: Vec<Row> = self.delegations.open.iter().filter(|(_, d)| which(d)).map(|(row, _)| *row).collect();
        for row in rows {
            self.end_delegation(row, Why::Cancelled);
        }
    }

    /// Its conversation has nothing to do: what its process holds is nobody else's business, and it is not asked again.
    pub(super) fn retire_child(&mut self, key: &Key) {
        let proc = self.sessions.get(key).filter(|s| s.quiet()).and_then(|s| s.proc);
        if let Some(proc) = proc {
            self.stop_proc(proc);
        }
    }

    // ---- what an earlier life left

    /// A task that nobody waits for.
    pub(super) fn is_orphan(&self, m: &InboxRow) -> bool {
        is_task(m) && !self.delegations.open.contains_key(&m.id)
    }

    /// Tasks of an earlier life that had not begun.
    pub(super) fn drop_orphans(&mut self, s: &mut Session) -> Result<()> {
        let (orphans, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut s.queue).into_iter().partition(|m| self.is_orphan(m));
        s.queue = rest;
        for m in orphans {
            self.store.set_inbox(m.id, st::DROPPED, None, None, Some(ORPHANED))?;
            self.settled(m.id)?;
        }
        Ok(())
    }

    /// Fate and reason of the members of such a task's turn.
    pub(super) fn orphan_s_fate(&self, t: &Turn) -> Option<(&'static str, &'static str)> {
        t.members.iter().any(|m| self.is_orphan(m)).then_some((st::DROPPED, ORPHANED))
    }

    /// After a panic: who waits for a task that was rolled back is told.
    pub(super) fn heal_delegations(&mut self) -> Result<()> {
        for row in self.delegations.open.keys().copied().collect::<Vec<_>>() {
            let over = self.store.inbox(row)?.is_none_or(|m| st::terminal(&m.state));
            if over {
                self.task_settled(row)?;
            }
        }
        Ok(())
    }

    /// Conversations of tasks that are long over.
    pub(super) fn forget_delegations(&mut self) -> Result<()> {
        for key in self.store.sessions_idle(delegation::prefix(), self.now.wall - FORGOTTEN)? {
            if self.sessions.get(key.as_str()).is_none_or(|s| s.quiet()) {
                self.delete(&key)?;
            }
        }
        Ok(())
    }

    /// For the simulator: everything that waits has a due time, and what is over is forgotten.
    pub(super) fn broken_delegation(&self) -> Option<String> {
        self.delegations.open.iter().find_map(|(row, d)| {
            let due = self.dues.contains_key(&Due::Task(*row));
            let wrong = match (d.told, self.sessions.contains_key(&d.child)) {
                (false, _) if !due => "has no due time",
                (true, _) if !d.waiting.is_empty() => "was told, and somebody waits",
                (_, false) => "has no conversation",
                _ => return None,
            };
            Some(format!("the task {row} of {} {wrong}", d.parent))
        })
    }

    pub(super) fn delegate_figures(&self) -> DelegateFigures {
        let mut took: Vec<u64> = self.delegations.took.iter().copied().collect();
        took.sort_unstable();
        let n = took.len();
        DelegateFigures {
            average_ms: took.iter().sum::<u64>() / n.max(1) as u64,
            p95_ms: took.get((n * 95 / 100).min(n.saturating_sub(1))).copied().unwrap_or(0),
            active: self.delegations.open.len(),
            ..self.delegations.figures
        }
    }
}
