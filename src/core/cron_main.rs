//! Scheduled jobs and an agent's main conversation: runs that are events there, and results that it is told of
//! (core.md 13).

use super::cron_runs::PREVIEW;
use super::events::NewEvent;
use super::session::Session;
use super::turn::Turn;
use super::{prompt, State};
use crate::cron::job::{Job, Manner as How, RunInfo};
use crate::message::*;
use crate::store::{InboxRow, Result, RUNNING};

/// Characters of a result that the main conversation is told.
const TOLD: usize = 500;

impl State {
    /// A due time of a job of mode `main`, where the agent has a heartbeat: an event, and the agent is woken for it.
    pub(super) fn run_as_event(&mut self, job: &Job, agent: &str, session: &str, due: Wall) -> Result<()> {
        let dkey = format!("cron:{}:{due}", job.id);
        if self.known(Some(&dkey))?.is_some() {
            return Ok(());
        }
        let run =
            RunInfo { job: job.id.clone(), due, started: self.now.wall, status: RUNNING.into(), ..RunInfo::default() };
        let row = self.add_event(&NewEvent {
            agent,
            session,
            text: &job.prompt(),
            wakes: true,
            dkey: Some(&dkey),
            job: Some(&job.id),
        })?;
        self.cron.open.insert(row, (job.id.clone(), due));
        self.store.add_cron_run(&run, Some(row))?;
        self.frame(Frame::CronRun(Box::new(run)));
        Ok(())
    }

    /// The job that an event is a run of.
    pub(super) fn job_of_event(&self, m: &InboxRow) -> Option<Job> {
        let (id, _) = self.cron.open.get(&m.id)?;
        self.cron.jobs.get(id).map(|l| l.job.clone())
    }

    /// The result of a run that was an event, as its job wants it told. Gives what became of it.
    pub(super) fn tell_of_run(&mut self, job: &Job, agent: &str, at: &Session, text: &str) -> Result<&'static str> {
        if job.delivery.manner == How::Silent {
            return Ok("none");
        }
        match self.who_hears(job, agent)? {
            Some(source) => self.tell_people(&job.id, job.delivery.manner, &source, Some(at), text),
            None => Ok("undeliverable"),
        }
    }

    /// The agent has dealt with an event, which may be a run of a job.
    pub(super) fn cron_event_done(&mut self, m: &InboxRow, t: &Turn, delivery: &'static str) -> Result<()> {
        let Some((job, due)) = self.cron.open.remove(&m.id) else { return Ok(()) };
        let said = t.said.join("\n\n");
        let run = RunInfo {
            job,
            due,
            started: t.row.at.max(m.at),
            finished: Some(self.now.wall),
            status: "completed".into(),
            preview: (!said.trim().is_empty()).then(|| prompt::head(&said, PREVIEW)),
            error: None,
            delivery: Some(delivery.into()),
        };
        self.run_over(run, "")
    }

    /// The main conversation learns of a run that is over: if its job wants that, or if nobody else did.
    pub(super) fn tell_main(&mut self, run: &RunInfo, said: &str) -> Result<()> {
        let Some(job) = self.cron.jobs.get(&run.job).map(|l| l.job.clone()) else { return Ok(()) };
        let agent = self.agent_of_job(&job);
        let lost = run.delivery.as_deref() == Some("undeliverable");
        let wanted = job.notify_main && self.rules.heartbeats.contains_key(&agent);
        let text: String = match (said.trim(), &run.error) {
            ("", Some(why)) => why.chars().take(TOLD).collect(),
            (said, _) => said.chars().take(TOLD).collect(),
        };
        if text.is_empty() || !(lost || wanted) {
            return Ok(());
        }
        let word = match (wanted, run.status.as_str()) {
            (true, "completed") => "CRON_DONE",
            (true, _) => "CRON_FAIL",
            (false, _) => "CRON_UNDELIVERED",
        };
        let text = format!("[{word}:{}] {text}", run.job);
        let session = self.main_key(&agent)?;
        let event = NewEvent { agent: &agent, session: &session, text: &text, wakes: wanted, ..NewEvent::default() };
        self.add_event(&event).map(drop)
    }
}
