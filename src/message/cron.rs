//! Scheduled jobs: what is asked of the mind about them, and what it says.

use super::ProcId;
use crate::cron::job::{Job, JobInfo, RunInfo};

/// Answer: [`CronAnswer`], or `Error`: `not_found` if there is no such job, or no cron at all.
#[derive(Clone, Debug, PartialEq)]
pub enum CronRequest {
    /// `Jobs`.
    List,
    /// `Job`, or `Error(conflict)`.
    Add {
        job: Box<Job>,
        /// The agent that asked for it: its conversation hears of the result.
        by: Option<ProcId>,
        /// The request names a key: the same job again is no conflict.
        again: bool,
    },
    /// `Done`.
    Remove(String),
    /// `Done`.
    Pause(String),
    /// `Done`.
    Resume(String),
    /// The request's JSON. `Job`.
    Update(String, serde_json::Value),
    /// It begins at once, whatever its schedule says. `Done`.
    Run(String),
    /// The newest, oldest first. `Runs`.
    Runs { id: String, limit: usize },
}

#[derive(Clone, Debug, PartialEq)]
pub enum CronAnswer {
    Jobs(Vec<JobInfo>),
    Job(Box<JobInfo>),
    Done,
    Runs(Vec<RunInfo>),
}
