//! Scheduled jobs as values: schedules, definitions, how their runs are told (core.md 13). Nothing here waits,
//! stores or knows what time it is.

pub mod expr;
pub mod info;
pub mod job;
pub mod schedule;
