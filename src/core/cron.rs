//! Scheduled jobs: which there are, when they are due, and what becomes of due times that passed (core.md 13).
//!
//! A due job is one transaction: the message with the key `cron:<job>:<due>`, the run's record, the next due time. Due
//! times are of the wall clock; it is looked at again whenever it was set.

use std::collections::BTreeMap;

use super::{Due, State, Todo};
use crate::cron::job::{Job, JobInfo, RunInfo, Standing};
use crate::cron::schedule::{Late, Schedule};
use crate::message::*;
use crate::store::{JobRow, Result};

/// A due time that is seen to within that time is in time, ms.
const GRACE: i64 = 60_000;
/// Between two runs that make up for missed ones, ms.
const SPREAD: u64 = 5_000;
/// So long the calendar waits for the clock to be known right, ms.
pub(super) const UNSURE: u64 = 600_000;
/// A clock before that moment (2026) is wrong: this program is younger.
const NOT_BEFORE: Wall = 1_767_225_600_000;
/// The clock was set if it goes wrong by more than that, ms.
const JUMP: i64 = 120_000;
/// Looked at again at the latest, ms.
const LOOK: u64 = 600_000;

/// What is known of scheduled jobs.
#[derive(Default)]
pub(super) struct Cron {
    pub jobs: BTreeMap<String, Live>,
    /// Runs that are not over: their message, job and due time.
    pub open: BTreeMap<Row, (String, Wall)>,
    /// When this life began.
    pub since: Mono,
    /// The wall clock less the other one.
    offset: i64,
    /// The last run that makes up for a missed one begins then.
    spread: Mono,
}

/// A job and how it stands.
pub(super) struct Live {
    pub job: Job,
    pub schedule: Schedule,
    /// Of the configuration file.
    pub config: bool,
    pub row: JobRow,
    /// It makes up for a missed due time, then.
    not_before: Option<Mono>,
    /// Its interval by the clock that is never set, as long as the other one is not to be trusted.
    steady: Option<Mono>,
}

impl Live {
    pub fn info(&self, last: Option<RunInfo>) -> JobInfo {
        JobInfo { job: self.job.clone(), config: self.config, next: self.row.next, last }
    }
}

impl State {
    /// The jobs of the store and of the configuration, after either has changed.
    pub(super) fn load_cron(&mut self) -> Result<()> {
        if self.cron.since == 0 {
            self.cron.since = self.now.mono;
            self.cron.offset = self.offset();
            for (row, job, due) in self.store.open_cron_runs()? {
                self.cron.open.insert(row, (job, due));
            }
        }
        let mut before = std::mem::take(&mut self.cron.jobs);
        if !self.rules.cron.on {
            self.disarm(&Due::Cron);
            return Ok(());
        }
        let mut rows: BTreeMap<String, JobRow> =
            self.store.cron_jobs()?.into_iter().map(|row| (row.id.clone(), row)).collect();
        let rules = self.rules.clone();
        for job in &rules.cron.jobs {
            let row = rows.remove(&job.id);
            if row.as_ref().is_some_and(|row| row.def.is_some()) {
                log::warn!("cron job {} is stored and in the configuration: the configuration's holds", job.id);
            }
            let row = row.unwrap_or_else(|| JobRow { id: job.id.clone(), ..JobRow::default() });
            self.take_up(job.clone(), true, row, before.remove(&job.id))?;
        }
        for (id, row) in rows {
            let Some(def) = row.def.as_deref() else {
                self.store.end_cron_job(&id)?; // it has left the configuration
                continue;
            };
            match Job::from_stored(def) {
                Ok(job) => self.take_up(job, false, row, before.remove(&id))?,
                Err(why) => log::error!("cron job {id} cannot be read and is left out: {why}"),
            }
        }
        self.look_soon();
        Ok(())
    }

    /// At the end of the event at hand, when no session is in anybody's hands.
    pub(super) fn look_soon(&mut self) {
        self.arm(Due::Cron, self.now.mono);
    }

    /// A job as it is defined now, with how it stood.
    pub(super) fn take_up(&mut self, job: Job, config: bool, mut row: JobRow, before: Option<Live>) -> Result<()> {
        let schedule = match Schedule::parse(&job.schedule, &self.zone()) {
            Ok(schedule) => schedule,
            Err(why) => {
                log::error!("cron job {} cannot be scheduled and is left out: {why}", job.id);
                return Ok(());
            }
        };
        let (new, stood) = (row.sched.is_empty(), row.clone());
        let sched = job.schedule.as_text();
        let (mut not_before, mut steady) = before.map_or((None, None), |l| (l.not_before, l.steady));
        if row.sched != sched {
            row = JobRow {
                sched,
                anchor: self.now.wall,
                clock_ok: self.clock_confirmed,
                next: schedule.next(self.now.wall, self.now.wall),
                done: false,
                errors: 0,
                ..row
            };
            (not_before, steady) = (None, None);
            if config && schedule.once() && row.next.is_some_and(|at| at <= self.now.wall) {
                log::warn!("cron job {} is for a time that was over when it was first read", job.id);
                row.done = true;
            }
        }
        let active = job.standing() == Standing::Active && !row.done;
        if !active {
            row.next = None;
        } else if row.next.is_none() {
            row.next = schedule.next(row.anchor, self.now.wall);
        }
        if let (true, false, Some(every)) = (steady.is_none(), self.clock_confirmed, schedule.by_interval()) {
            steady = Some(self.now.mono + every as u64);
        }
        match (new && config, row == stood) {
            (true, _) => self.store.put_cron_job(&row)?,
            (false, false) => self.store.set_cron_job(&row)?,
            (false, true) => {}
        }
        self.cron.jobs.insert(job.id.clone(), Live { job, schedule, config, row, not_before, steady });
        Ok(())
    }

    pub(super) fn zone(&self) -> jiff::tz::TimeZone {
        self.rules.zone.clone().unwrap_or(jiff::tz::TimeZone::UTC)
    }

    fn offset(&self) -> i64 {
        self.now.wall - self.now.mono as i64
    }

    /// Before every event: was the clock set?
    pub(super) fn watch_offset(&mut self) -> Result<()> {
        let jump = self.offset() - self.cron.offset;
        if jump.abs() <= JUMP {
            return Ok(());
        }
        self.cron.offset += jump;
        let now = self.now.wall;
        let mut changed = Vec::new();
        for l in self.cron.jobs.values_mut() {
            let stood = l.row.clone();
            // What was reckoned with a wrong clock moves with it.
            if !l.row.clock_ok && l.schedule.anchored() {
                l.row.anchor += jump;
            }
            if let Some(next) = l.row.next {
                let anew = l.schedule.next(l.row.anchor, now);
                l.row.next = if jump < 0 || !l.row.clock_ok { anew } else { Some(next) };
            }
            if l.row != stood {
                changed.push(l.row.clone());
            }
        }
        for row in changed {
            self.store.set_cron_job(&row)?;
        }
        self.look_cron()
    }

    /// The clock is known to be right.
    pub(super) fn cron_confirmed(&mut self) -> Result<()> {
        let unsure: Vec<String> =
            self.cron.jobs.values().filter(|l| !l.row.clock_ok).map(|l| l.row.id.clone()).collect();
        for id in unsure {
            let Some(l) = self.cron.jobs.get_mut(&id) else { continue };
            l.row.clock_ok = true;
            let row = l.row.clone();
            self.store.set_cron_job(&row)?;
        }
        self.cron.jobs.values_mut().for_each(|l| l.steady = None);
        self.kick_cron(); // what waited to know how old it is
        self.look_cron()
    }

    /// The calendar can be gone by.
    fn calendar(&self) -> bool {
        let waited = self.now.mono >= self.cron.since + UNSURE;
        self.clock_confirmed || (waited && self.now.wall >= NOT_BEFORE)
    }

    /// When a job is to be looked at, by the clock that is never set.
    fn due_of_job(&self, l: &Live) -> Option<Mono> {
        let next = l.row.next?;
        if let Some(steady) = l.steady {
            return Some(steady);
        }
        if !self.calendar() {
            return Some((self.cron.since + UNSURE).max(self.now.mono + 1_000));
        }
        let at = self.now.mono + (next - self.now.wall).max(0) as u64;
        Some(at.max(l.not_before.unwrap_or(0)))
    }

    /// Everything that is due begins.
    pub(super) fn look_cron(&mut self) -> Result<()> {
        if !self.rules.cron.on || self.closed().is_some() {
            return Ok(());
        }
        let now = self.now.mono;
        let mut due: Vec<(Wall, String)> = Vec::new();
        for l in self.cron.jobs.values() {
            if self.due_of_job(l).is_some_and(|at| at <= now) {
                due.push((l.row.next.unwrap_or(0), l.row.id.clone()));
            }
        }
        due.sort();
        for (_, id) in due {
            self.job_due(&id)?;
        }
        let next = self.cron.jobs.values().filter_map(|l| self.due_of_job(l)).min();
        match next {
            Some(at) => self.arm(Due::Cron, at.min(now + LOOK)),
            None => self.disarm(&Due::Cron),
        }
        Ok(())
    }

    fn job_due(&mut self, id: &str) -> Result<()> {
        let (now, sure) = (self.now, self.clock_confirmed);
        let spread = self.cron.spread;
        let Some(l) = self.cron.jobs.get_mut(id) else { return Ok(()) };
        let Some(first) = l.row.next else { return Ok(()) };
        if let (Some(steady), Some(every)) = (l.steady, l.schedule.by_interval()) {
            l.steady = Some(steady.max(now.mono.saturating_sub(every as u64)) + every as u64);
            return self.begin_run(id, first, Some(first + every));
        }
        let (anchor, late) = (l.row.anchor, now.wall - first > GRACE);
        let due = l.schedule.latest(anchor, first, now.wall);
        let next = if l.schedule.once() { None } else { l.schedule.next(anchor, now.wall) };
        if late && sure && l.schedule.late(anchor, due, now.wall) == Late::Missed {
            l.not_before = None;
            return self.miss(id, due, next);
        }
        if late && l.not_before.is_none() {
            let at = if spread == 0 { now.mono } else { now.mono.max(spread + SPREAD) };
            l.not_before = Some(at);
            self.cron.spread = at;
            if at > now.mono {
                return Ok(());
            }
        }
        self.begin_run(id, due, next)
    }

    /// The next due time, together with what became of the one before.
    pub(super) fn advance(&mut self, id: &str, next: Option<Wall>) -> Result<()> {
        let Some(l) = self.cron.jobs.get_mut(id) else { return Ok(()) };
        l.not_before = None;
        l.row.next = next;
        l.row.done = l.schedule.once();
        let row = l.row.clone();
        self.store.set_cron_job(&row)
    }

    /// Sessions with a scheduled message that waits may begin.
    pub(super) fn kick_cron(&mut self) {
        let waits = |s: &&super::Session| s.queue.iter().any(|m| m.kind == super::cron_runs::CRON);
        let keys: Vec<_> = self.sessions.values().filter(waits).map(|s| s.key.clone()).collect();
        self.todo.extend(keys.into_iter().map(Todo::Kick));
    }
}
