//! Scheduled jobs and their runs (core.md 13, 22.6).
//!
//! A job of the configuration file has a row without a definition: only how it stands is kept here.

use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension};

use super::{Beside, Result, Store};
use crate::clock;
use crate::cron::job::{Job, RunInfo, Standing};
use crate::cron::schedule::Schedule;
use crate::message::{Row, Wall};

/// Runs that are kept per job.
pub const KEEP_RUNS: i64 = 100;
/// Status of a run that is not over.
pub const RUNNING: &str = "running";

/// How a job stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobRow {
    pub id: String,
    /// As JSON; `None`: it stands in the configuration file.
    pub def: Option<String>,
    /// The schedule that the rest is about.
    pub sched: String,
    /// When it was made: its intervals hang on that.
    pub anchor: Wall,
    /// The clock was right then.
    pub clock_ok: bool,
    /// When it is due; may have passed.
    pub next: Option<Wall>,
    /// Due once, and that is over.
    pub done: bool,
    /// When its last run ended.
    pub last_at: Option<Wall>,
    /// Failures in a row.
    pub errors: i64,
}

impl JobRow {
    /// Of a job that is made now. `Err`: what is wrong with its schedule.
    pub fn fresh(job: &Job, zone: &TimeZone, now: Wall) -> std::result::Result<JobRow, String> {
        let schedule = Schedule::parse(&job.schedule, zone)?;
        let active = job.standing() == Standing::Active;
        Ok(JobRow {
            id: job.id.clone(),
            def: Some(job.to_stored()),
            sched: job.schedule.as_text(),
            anchor: now,
            clock_ok: clock::synchronised(),
            next: schedule.next(now, now).filter(|_| active),
            ..JobRow::default()
        })
    }
}

const JOB: &str = "id, def, sched, anchor, clock_ok, next_at, done, last_at, errors";
const RUN: &str = "job, due, started, finished, status, preview, error, delivery";

fn job(r: &rusqlite::Row<'_>) -> rusqlite::Result<JobRow> {
    Ok(JobRow {
        id: r.get(0)?,
        def: r.get(1)?,
        sched: r.get(2)?,
        anchor: r.get(3)?,
        clock_ok: r.get(4)?,
        next: r.get(5)?,
        done: r.get(6)?,
        last_at: r.get(7)?,
        errors: r.get(8)?,
    })
}

fn run(r: &rusqlite::Row<'_>) -> rusqlite::Result<RunInfo> {
    Ok(RunInfo {
        job: r.get(0)?,
        due: r.get(1)?,
        started: r.get(2)?,
        finished: r.get(3)?,
        status: r.get(4)?,
        preview: r.get(5)?,
        error: r.get(6)?,
        delivery: r.get(7)?,
    })
}

fn jobs(db: &Connection) -> Result<Vec<JobRow>> {
    let mut q = db.prepare_cached(&format!("SELECT {JOB} FROM cron_job WHERE id > '' ORDER BY id LIMIT 2000"))?;
    let all = q.query_map([], job)?.collect::<rusqlite::Result<_>>()?;
    Ok(all)
}

/// The newest runs, oldest first.
fn runs(db: &Connection, job: &str, limit: usize) -> Result<Vec<RunInfo>> {
    let sql = format!("SELECT {RUN} FROM cron_run INDEXED BY cron_run_due WHERE job = ? ORDER BY id DESC LIMIT ?");
    let mut q = db.prepare_cached(&sql)?;
    let mut all: Vec<RunInfo> = q.query_map((job, limit as i64), run)?.collect::<rusqlite::Result<_>>()?;
    all.reverse();
    Ok(all)
}

/// Stores a new definition under a job's name; how it stood begins anew when the mind sees another schedule.
fn define(db: &Connection, id: &str, def: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO cron_job(id, def, sched, anchor, clock_ok, done, errors) VALUES(?1, ?2, '', 0, 0, 0, 0)
         ON CONFLICT(id) DO UPDATE SET def = ?2",
    )?
    .execute((id, def))?;
    Ok(())
}

fn put(db: &Connection, j: &JobRow) -> Result<()> {
    db.prepare_cached(&format!("INSERT OR REPLACE INTO cron_job({JOB}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"))?
        .execute((&j.id, &j.def, &j.sched, j.anchor, j.clock_ok, j.next, j.done, j.last_at, j.errors))?;
    Ok(())
}

fn remove(db: &Connection, id: &str) -> Result<bool> {
    db.prepare_cached("DELETE FROM cron_run WHERE job = ?")?.execute([id])?;
    Ok(db.prepare_cached("DELETE FROM cron_job WHERE id = ?")?.execute([id])? > 0)
}

impl Store {
    pub fn cron_jobs(&self) -> Result<Vec<JobRow>> {
        jobs(self.db()?)
    }

    /// All of it, also the definition.
    pub fn put_cron_job(&self, j: &JobRow) -> Result<()> {
        put(self.db()?, j)
    }

    /// How it stands. The definition may have been changed beside us, or the job removed.
    pub fn set_cron_job(&self, j: &JobRow) -> Result<()> {
        self.db()?
            .prepare_cached(
                "UPDATE cron_job SET sched = ?2, anchor = ?3, clock_ok = ?4, next_at = ?5, done = ?6, last_at = ?7,
                 errors = ?8 WHERE id = ?1",
            )?
            .execute((&j.id, &j.sched, j.anchor, j.clock_ok, j.next, j.done, j.last_at, j.errors))?;
        Ok(())
    }

    pub fn define_cron_job(&self, id: &str, def: &str) -> Result<()> {
        define(self.db()?, id, def)
    }

    pub fn remove_cron_job(&self, id: &str) -> Result<bool> {
        remove(self.db()?, id)
    }

    pub fn cron_runs(&self, job: &str, limit: usize) -> Result<Vec<RunInfo>> {
        runs(self.db()?, job, limit)
    }

    /// Has that due time been seen to?
    pub fn cron_run_known(&self, job: &str, due: Wall) -> Result<bool> {
        let sql = "SELECT 1 FROM cron_run WHERE job = ? AND due = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row((job, due), |_| Ok(())).optional()?.is_some())
    }

    /// Records a run; the oldest ones beyond [`KEEP_RUNS`] go. A due time that is known already stays as it was.
    pub fn add_cron_run(&self, r: &RunInfo, inbox: Option<Row>) -> Result<()> {
        let db = self.db()?;
        db.prepare_cached(&format!("INSERT OR IGNORE INTO cron_run({RUN}, inbox) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"))?
            .execute((&r.job, r.due, r.started, r.finished, &r.status, &r.preview, &r.error, &r.delivery, inbox))?;
        db.prepare_cached(
            "DELETE FROM cron_run WHERE finished IS NOT NULL AND id IN (
                SELECT id FROM cron_run WHERE job = ? ORDER BY id DESC LIMIT 50 OFFSET ?)",
        )?
        .execute((&r.job, KEEP_RUNS))?;
        Ok(())
    }

    /// The same skipped due times as the newest record: one record for all.
    pub fn repeat_cron_run(&self, r: &RunInfo) -> Result<bool> {
        let changed = self
            .db()?
            .prepare_cached(
                "UPDATE cron_run SET due = ?2, finished = ?3 WHERE status = ?4 AND error IS ?5 AND id =
                 (SELECT max(id) FROM cron_run WHERE job = ?1)",
            )?
            .execute((&r.job, r.due, r.finished, &r.status, &r.error))?;
        Ok(changed > 0)
    }

    /// The job goes; what is known of its runs stays a while.
    pub fn end_cron_job(&self, id: &str) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM cron_job WHERE id = ?")?.execute([id])?;
        Ok(())
    }

    /// Forgets runs, ended before that moment, of jobs that are gone.
    pub fn clean_cron_runs(&self, before: Wall) -> Result<()> {
        self.db()?
            .prepare_cached(
                "DELETE FROM cron_run WHERE finished < ? AND NOT EXISTS
                 (SELECT 1 FROM cron_job WHERE cron_job.id = cron_run.job)",
            )?
            .execute([before])?;
        Ok(())
    }

    /// Runs that are not over, with their messages.
    pub fn open_cron_runs(&self) -> Result<Vec<(Row, String, Wall)>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT inbox, job, due FROM cron_run INDEXED BY cron_run_finished WHERE finished IS NULL LIMIT 5000",
        )?;
        let all = q.query_map([], |r| Ok((r.get::<_, Option<Row>>(0)?.unwrap_or(0), r.get(1)?, r.get(2)?)))?;
        Ok(all.collect::<rusqlite::Result<_>>()?)
    }

    /// How a run ended; its beginning is as recorded.
    pub fn end_cron_run(&self, r: &RunInfo) -> Result<()> {
        self.db()?
            .prepare_cached(
                "UPDATE cron_run SET finished = ?3, status = ?4, preview = ?5, error = ?6, delivery = ?7
                 WHERE job = ?1 AND due = ?2",
            )?
            .execute((&r.job, r.due, r.finished, &r.status, &r.preview, &r.error, &r.delivery))?;
        Ok(())
    }

    /// The message's turn begins: that is when the run did.
    pub fn begin_cron_run(&self, job: &str, due: Wall, at: Wall) -> Result<()> {
        let sql = "UPDATE cron_run SET started = ?3 WHERE job = ?1 AND due = ?2";
        self.db()?.prepare_cached(sql)?.execute((job, due, at))?;
        Ok(())
    }
}

/// For the command line; the gateway is poked afterwards.
impl Beside {
    pub fn cron_jobs(&self) -> Result<Vec<JobRow>> {
        jobs(&self.db)
    }
    pub fn cron_runs(&self, job: &str, limit: usize) -> Result<Vec<RunInfo>> {
        runs(&self.db, job, limit)
    }
    pub fn define_cron_job(&self, id: &str, def: &str) -> Result<()> {
        define(&self.db, id, def)
    }
    /// A new job, instead of one that has its name.
    pub fn put_cron_job(&mut self, row: &JobRow) -> Result<()> {
        let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        remove(&tx, &row.id)?;
        put(&tx, row)?;
        tx.commit()?;
        Ok(())
    }
    pub fn remove_cron_job(&mut self, id: &str) -> Result<bool> {
        let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let there = remove(&tx, id)?;
        tx.commit()?;
        Ok(there)
    }
}
