//! What people, programs and agents do to scheduled jobs: the API and `/cron` (core.md 4, 13; gateway-api.md 1.8).

use super::command_list::CronCommand;
use super::prompt;
use super::{State, Todo};
use crate::cron::job::{Job, JobInfo};
use crate::cron::schedule::{Kind, Schedule};
use crate::message::*;
use crate::store::{JobRow, Result, KEEP_RUNS};

/// More jobs than that are a mistake.
const MOST: usize = 500;
/// Of a task in a list.
const SHOWN: usize = 80;

type Refusal = (Code, String);
type Outcome<T> = Result<std::result::Result<T, Refusal>>;

fn none(why: &str) -> Refusal {
    (Code::NotFound, why.to_owned())
}

impl State {
    pub(super) fn on_cron(&mut self, id: ReqId, req: CronRequest) -> Result<()> {
        if !self.rules.cron.on {
            self.refuse(id, Code::NotFound, "Cron not enabled");
            return Ok(());
        }
        let reads = matches!(req, CronRequest::List | CronRequest::Runs { .. });
        if let Some((code, why)) = self.closed().filter(|_| !reads) {
            self.refuse(id, code, why);
            return Ok(());
        }
        match self.cron_request(req)? {
            Ok(answer) => self.answer(id, Answer::Cron(Box::new(answer)), !reads),
            Err((code, why)) => self.refuse(id, code, why),
        }
        Ok(())
    }

    fn cron_request(&mut self, req: CronRequest) -> Outcome<CronAnswer> {
        let done = |done: std::result::Result<(), Refusal>| Ok(done.map(|()| CronAnswer::Done));
        match req {
            CronRequest::List => Ok(Ok(CronAnswer::Jobs(self.job_infos()?))),
            CronRequest::Runs { id, limit } => {
                Ok(Ok(CronAnswer::Runs(self.store.cron_runs(&id, limit.min(KEEP_RUNS as usize))?)))
            }
            CronRequest::Add { job, by, again } => {
                let added = self.add_job(*job, by, again)?;
                self.shown(added)
            }
            CronRequest::Update(id, value) => {
                let updated = self.update_job(&id, &value)?;
                self.shown(updated)
            }
            CronRequest::Remove(id) => done(self.remove_job(&id)?),
            CronRequest::Pause(id) => done(self.pause_job(&id, true)?),
            CronRequest::Resume(id) => done(self.pause_job(&id, false)?),
            CronRequest::Run(id) => done(self.trigger(&id)?),
        }
    }

    fn shown(&self, id: std::result::Result<String, Refusal>) -> Outcome<CronAnswer> {
        let info = match id {
            Err(why) => return Ok(Err(why)),
            Ok(id) => self.job_info(&id)?,
        };
        Ok(info.map(|info| CronAnswer::Job(Box::new(info))).ok_or_else(|| none("not found")))
    }

    fn job_info(&self, id: &str) -> Result<Option<JobInfo>> {
        let Some(l) = self.cron.jobs.get(id) else { return Ok(None) };
        Ok(Some(l.info(self.store.cron_runs(id, 1)?.pop())))
    }

    fn job_infos(&self) -> Result<Vec<JobInfo>> {
        let mut all = Vec::new();
        for l in self.cron.jobs.values() {
            all.push(l.info(self.store.cron_runs(&l.row.id, 1)?.pop()));
        }
        Ok(all)
    }

    /// What only the mind can say of a definition.
    fn checked(&self, job: &Job) -> std::result::Result<Schedule, Refusal> {
        let wrong = |why: String| Err((Code::InvalidRequest, why));
        let schedule = match Schedule::parse(&job.schedule, &self.zone()) {
            Ok(schedule) => schedule,
            Err(why) => return wrong(format!("schedule.expr: {why}")),
        };
        let agents = &self.rules.routing.agents;
        match &job.agent {
            Some(agent) if !agents.is_empty() && !agents.contains(agent) => {
                return wrong(format!("agentId: \"{agent}\" not found in agents.list"));
            }
            _ => {}
        }
        let channel = job.delivery.channel.as_deref().filter(|c| !matches!(*c, "last" | "webchat"));
        match (channel, &job.delivery.to) {
            (Some(channel), Some(to)) => match self.rules.address(channel, to) {
                Ok(_) => Ok(schedule),
                Err(why) => wrong(format!("delivery: {why}")),
            },
            (Some(channel), None) if !self.rules.accounts.keys().any(|(c, _)| c == channel) => {
                wrong(format!("delivery: there is no channel \"{channel}\""))
            }
            _ => Ok(schedule),
        }
    }

    fn is_over(&self, job: &Job, schedule: &Schedule) -> Option<Refusal> {
        let at = schedule.next(self.now.wall, self.now.wall)?;
        let over = job.schedule.kind == Kind::At && at <= self.now.wall;
        over.then(|| (Code::InvalidRequest, "schedule.expr: that time is over".to_owned()))
    }

    /// Only what is stored can be changed.
    fn changeable(&self, id: &str, missing: &str) -> std::result::Result<Job, Refusal> {
        match self.cron.jobs.get(id) {
            None => Err(none(missing)),
            Some(l) if l.config => {
                Err((Code::Conflict, format!("job \"{id}\" is set in the configuration file: change it there")))
            }
            Some(l) => Ok(l.job.clone()),
        }
    }

    fn changed(&mut self, id: &str, action: &'static str) {
        self.observe(Level::Info, Area::Cron, action, format!("The job {id}: {action}"), "");
        self.frame(Frame::CronChanged { job: id.to_owned(), action });
    }

    fn add_job(&mut self, mut job: Job, by: Option<ProcId>, again: bool) -> Outcome<String> {
        if let Some(key) = by.and_then(|proc| self.procs.get(&proc)?.session.clone()) {
            // The people it was asked for by hear of it, and their agent does it.
            let row = match self.sessions.get(&key) {
                Some(s) => Some(s.row.clone()),
                None => self.store.session(&key)?,
            };
            if let Some(row) = row {
                job.origin = self.place_of(&row);
                let others = row.agent != self.rules.routing.default;
                job.agent = job.agent.or(Some(row.agent).filter(|_| others));
            }
        }
        let schedule = match self.checked(&job) {
            Ok(schedule) => schedule,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(l) = self.cron.jobs.get(&job.id) {
            let same = again && Job { paused: l.job.paused, origin: l.job.origin.clone(), ..job.clone() } == l.job;
            let why = format!("job \"{}\" already exists", job.id);
            return Ok(if same { Ok(job.id) } else { Err((Code::Conflict, why)) });
        }
        if let Some(over) = self.is_over(&job, &schedule) {
            return Ok(Err(over));
        }
        if self.cron.jobs.len() >= MOST {
            return Ok(Err((Code::InvalidRequest, format!("there are {MOST} jobs already"))));
        }
        let id = job.id.clone();
        self.store.remove_cron_job(&id)?; // runs of one that had the name
        self.define(job)?;
        self.changed(&id, "add");
        Ok(Ok(id))
    }

    /// Stores a definition and goes by it.
    fn define(&mut self, job: Job) -> Result<()> {
        let before = self.cron.jobs.remove(&job.id);
        let def = Some(job.to_stored());
        let row = match &before {
            Some(l) => JobRow { def, ..l.row.clone() },
            None => JobRow { id: job.id.clone(), def, ..JobRow::default() },
        };
        self.store.put_cron_job(&row)?;
        self.take_up(job, false, row, before)?;
        self.look_soon();
        Ok(())
    }

    fn update_job(&mut self, id: &str, value: &serde_json::Value) -> Outcome<String> {
        let mut job = match self.changeable(id, "not found") {
            Ok(job) => job,
            Err(why) => return Ok(Err(why)),
        };
        let before = job.schedule.clone();
        match job.update(value) {
            Err(why) => return Ok(Err((Code::InvalidRequest, why))),
            Ok(false) => return Ok(Err((Code::InvalidRequest, "No fields to update".into()))),
            Ok(true) => {}
        }
        let schedule = match self.checked(&job) {
            Ok(schedule) => schedule,
            Err(why) => return Ok(Err(why)),
        };
        if job.schedule != before {
            if let Some(over) = self.is_over(&job, &schedule) {
                return Ok(Err(over));
            }
            job.enabled = true; // another time for one that failed
        }
        self.define(job)?;
        self.changed(id, "update");
        Ok(Ok(id.to_owned()))
    }

    /// A run that is under way comes to its end.
    fn remove_job(&mut self, id: &str) -> Outcome<()> {
        if let Err(why) = self.changeable(id, "not found") {
            return Ok(Err(why));
        }
        self.cron.jobs.remove(id);
        self.store.remove_cron_job(id)?;
        self.changed(id, "remove");
        self.look_soon();
        Ok(Ok(()))
    }

    fn pause_job(&mut self, id: &str, pause: bool) -> Outcome<()> {
        let missing = if pause { "not found" } else { "not found or not paused" };
        let job = match self.changeable(id, missing) {
            Ok(job) if !pause && !job.paused => return Ok(Err(none(missing))),
            Ok(job) => Job { paused: pause, ..job },
            Err(why) => return Ok(Err(why)),
        };
        self.define(job)?;
        self.changed(id, if pause { "pause" } else { "resume" });
        Ok(Ok(()))
    }

    /// Runs it now; while a run is under way one more may wait.
    fn trigger(&mut self, id: &str) -> Outcome<()> {
        if !self.cron.jobs.contains_key(id) {
            return Ok(Err(none("not found")));
        }
        if self.cron.open.values().filter(|(job, _)| job == id).count() > 1 {
            return Ok(Err((Code::Conflict, format!("job \"{id}\" runs, and another run waits"))));
        }
        let mut due = self.now.wall;
        while self.store.cron_run_known(id, due)? {
            due += 1;
        }
        self.observe(Level::Info, Area::Cron, "run", format!("The job {id} is run by hand"), "");
        self.todo.push_back(Todo::Run(id.to_owned(), due)); // its session may be the one that is spoken from
        Ok(Ok(()))
    }

    // ---- /cron

    /// What `/cron` answers.
    pub(super) fn cron_command(&mut self, c: CronCommand) -> Result<String> {
        if !self.rules.cron.on {
            return Ok("Cron is off. Set cron.enabled: true in the configuration.".into());
        }
        let (done, id, word) = match c {
            CronCommand::List => return self.cron_list(),
            CronCommand::Unclear => return Ok("Use: /cron list, or /cron pause, resume, remove or run <id>.".into()),
            CronCommand::Pause(id) => (self.pause_job(&id, true)?, id, "paused"),
            CronCommand::Resume(id) => (self.pause_job(&id, false)?, id, "active again"),
            CronCommand::Remove(id) => (self.remove_job(&id)?, id, "removed"),
            CronCommand::Run(id) => (self.trigger(&id)?, id, "started"),
        };
        Ok(match done {
            Ok(()) => format!("Job {id}: {word}."),
            Err((_, why)) => format!("Job {id}: {why}."),
        })
    }

    fn cron_list(&self) -> Result<String> {
        if self.cron.jobs.is_empty() {
            return Ok("There are no scheduled jobs.".into());
        }
        let mut text = String::from("Scheduled jobs:");
        for l in self.cron.jobs.values() {
            let s = &l.job.schedule;
            let next = l.row.next.map_or(String::new(), |at| {
                format!(", next {}", prompt::local_time(at, self.rules.zone.as_ref())[..16].replace('T', " "))
            });
            let runs = if self.cron.open.values().any(|(job, _)| *job == l.job.id) { ", running" } else { "" };
            text += &format!(
                "\n{}: {} ({} {}{next}{runs}) {}",
                l.job.id,
                l.job.standing().as_str(),
                s.kind.as_str(),
                s.expr,
                prompt::head(&l.job.task, SHOWN)
            );
        }
        Ok(text)
    }
}
