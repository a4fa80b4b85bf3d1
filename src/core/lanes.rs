//! Lanes: the ordered sends of one chat; at most one request in flight (core.md 22.3).
//!
//! No mark, no send: a row becomes `sending` immediately before its call, here and nowhere else.

use std::collections::BTreeMap;

use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{OutboxRow, Result};

const BACKOFF_MAX: u64 = 300_000;

#[derive(Debug, Default)]
pub struct Lane {
    /// The row whose call is on its way.
    flying: Option<Row>,
    /// Not before this moment.
    not_before: Mono,
    failures: u32,
}

/// What concerns every lane of an account.
#[derive(Debug, Default)]
pub struct Account {
    frozen_until: Mono,
    refused: bool,
}

fn lane_flies(lanes: &mut BTreeMap<Target, Lane>, target: &Target, row: Row) {
    if let Some(lane) = lanes.get_mut(target) {
        lane.flying = Some(row);
    }
}

impl State {
    pub(super) fn pump_lane(&mut self, target: &Target) -> Result<()> {
        if self.degraded.is_some() {
            return Ok(());
        }
        let account = (target.channel.clone(), target.account.clone());
        let (frozen, refused) = self.accounts.get(&account).map_or((0, false), |a| (a.frozen_until, a.refused));
        let lane = self.lanes.entry(target.clone()).or_default();
        if lane.flying.is_some() || refused {
            return Ok(());
        }
        let wait = lane.not_before.max(frozen);
        if wait > self.now.mono {
            self.arm(Due::Lane(target.clone()), wait);
            return Ok(());
        }
        loop {
            let Some(row) = self.store.outbox_head(target)? else {
                self.lanes.remove(target);
                return Ok(());
            };
            if row.state == "sending" && self.flying.remove(&row.id) {
                lane_flies(&mut self.lanes, target, row.id); // its outcome is still to come
                return Ok(());
            }
            if self.clock_confirmed && row.expires_at < self.now.wall {
                log::warn!("reply {} to {} is too old and was given up", row.id, target.channel);
                self.store.set_outbox(row.id, "expired", row.attempts, None, Some("too old"))?;
                continue;
            }
            // Marked by an earlier life, and nobody knows what became of it.
            if row.state == "sending" && !self.may_repeat(target) {
                self.store.set_outbox(
                    row.id,
                    "skipped",
                    row.attempts,
                    None,
                    Some("may have been sent before a crash"),
                )?;
                continue;
            }
            return self.send(target, &row);
        }
    }

    fn may_repeat(&self, target: &Target) -> bool {
        self.rules.resend_ambiguous || self.rules.channels.get(&target.channel).is_some_and(|c| c.repeat_safe)
    }

    fn send(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        self.store.set_outbox(row.id, "sending", row.attempts + 1, None, None)?;
        let op = Op::Send {
            target: target.clone(),
            text: row.body.clone(),
            reply_to: None,
            nonce: self.store.ext('o', row.id),
        };
        // The row's own commit may be as young as this one: the first call waits for the sync.
        let durable = row.attempts == 0 && self.rules.durable;
        self.emit(Effect::Call { row: row.id, op: Box::new(op), durable });
        lane_flies(&mut self.lanes, target, row.id);
        Ok(())
    }

    pub(super) fn on_outcome(&mut self, row: Row, outcome: Outcome) -> Result<()> {
        let Some(target) = self.lanes.iter().find(|(_, l)| l.flying == Some(row)).map(|(t, _)| t.clone()) else {
            return Ok(()); // a repeat, or of a lane that was rebuilt: the store decides
        };
        let Some(head) = self.store.outbox_head(&target)?.filter(|h| h.id == row) else { return Ok(()) };
        let now = self.now.mono;
        let repeat_safe = self.rules.channels.get(&target.channel).is_some_and(|c| c.repeat_safe);
        let resend = self.may_repeat(&target);
        let mut wait = 0;
        let (state, id, error) = match outcome {
            Outcome::Sent { id } => ("sent", Some(id), None),
            Outcome::RateLimited { account_wide, ms } => {
                if account_wide {
                    let a = self.accounts.entry((target.channel.clone(), target.account.clone())).or_default();
                    a.frozen_until = a.frozen_until.max(now + ms);
                }
                wait = ms;
                ("ready", None, Some("rate limited".to_owned()))
            }
            Outcome::Retry { why } => {
                wait = 1;
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } if repeat_safe || resend => {
                wait = 1;
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } => ("skipped", None, Some(why)),
            Outcome::Reformat => ("ready", None, Some("formatting refused".to_owned())),
            Outcome::Unauthorized { why } => {
                let account = (target.channel.clone(), target.account.clone());
                self.accounts.entry(account).or_default().refused = true;
                self.emit(Effect::Notice(
                    format!("{}: the platform refused our credentials: {why}", target.channel).into(),
                ));
                ("ready", None, Some(why))
            }
            Outcome::Refused { why } => {
                self.emit(Effect::Notice(format!("a reply to {} was refused: {why}", target.channel).into()));
                ("failed", None, Some(why))
            }
        };
        self.store.set_outbox(row, state, head.attempts, id.as_deref(), error.as_deref())?;
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.flying = None;
            if state == "ready" {
                lane.failures += 1;
                let backoff = (1000u64 << (lane.failures - 1).min(9)).min(BACKOFF_MAX);
                lane.not_before = now + if wait > 1 { wait } else { wait * backoff };
            } else {
                lane.failures = 0;
            }
        }
        self.todo.push_back(Todo::Lane(target));
        Ok(())
    }
}
