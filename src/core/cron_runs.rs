//! Runs of scheduled jobs: how they begin, wait and end (core.md 13).
//!
//! When they are due is decided in [`super::cron`], who hears of them in [`super::hearers`].

use super::heartbeat::background;
use super::intake::{Kind, Manner};
use super::prompt;
use super::reply::End;
use super::session::{Session, Stage, Work};
use super::turn::{AbortWhy, Turn};
use super::State;
use crate::cron::job::{Job, Manner as How, Mode, RunInfo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result, RUNNING};

/// Kind of a scheduled job's message; also the channel of one that nobody hears of.
pub(super) const CRON: &str = "cron";
/// A message that is older when it could begin is not run any more, ms.
const STALE: i64 = 3_600_000;
/// After so many failures in a row no due time counts for that long, ms.
const PAUSES: [i64; 5] = [30_000, 60_000, 300_000, 900_000, 3_600_000];
pub(super) const PREVIEW: usize = 200;

/// A message of a scheduled job.
pub(super) fn is_cron(m: &InboxRow) -> bool {
    m.kind == CRON
}

impl State {
    /// A due time: the message, the run's record and the next due time in one transaction.
    pub(super) fn begin_run(&mut self, id: &str, due: Wall, next: Option<Wall>) -> Result<()> {
        if self.store.cron_run_known(id, due)? {
            return self.advance(id, next); // the clock was set back: that one was seen to
        }
        let Some(l) = self.cron.jobs.get(id) else { return Ok(()) };
        let pause = match l.row.errors {
            0 => 0,
            n => PAUSES[(n as usize - 1).min(PAUSES.len() - 1)],
        };
        let failed = l.row.last_at.filter(|_| pause > 0);
        let skipped = if self.cron.open.values().any(|(job, _)| job == id) {
            Some("the run before was not over".to_owned())
        } else if failed.is_some_and(|at| (0..pause).contains(&(self.now.wall - at))) && !l.schedule.once() {
            Some(format!("paused for {} s after {} failures in a row", pause / 1000, l.row.errors))
        } else {
            None
        };
        match skipped {
            Some(why) => self.skip(id, due, why)?,
            None => self.run_job(id, due)?,
        }
        self.advance(id, next)
    }

    /// Stores the message; a turn of its session follows.
    pub(super) fn run_job(&mut self, id: &str, due: Wall) -> Result<()> {
        let Some(job) = self.cron.jobs.get(id).map(|l| l.job.clone()) else { return Ok(()) };
        let agent = self.agent_of_job(&job);
        let session = match (&job.session, job.mode) {
            (Some(key), _) => key.clone(),
            (None, Mode::Main) => self.main_key(&agent)?,
            (None, Mode::Isolated) => format!("cron:{id}"),
        };
        if job.mode == Mode::Main && job.session.is_none() {
            // Outside the heartbeat's hours it has its own time.
            if self.rules.heartbeats.get(&agent).is_some_and(|rules| self.in_hours(rules)) {
                return self.run_as_event(&job, &agent, &session, due);
            }
        }
        let heard = self.who_hears(&job, &agent)?;
        let nobody = || Source { channel: CRON.into(), chat: id.into(), ..Source::default() };
        let source = Source {
            sender: CRON.into(),
            sender_name: Some(id.to_owned()),
            message_id: None,
            agent: Some(agent),
            ..heard.unwrap_or_else(nobody)
        };
        let inbound = Inbound { dkey: format!("cron:{id}:{due}"), source, text: job.prompt(), ..Inbound::default() };
        let manner = Manner { solo: Some(&Solo::default()), kind: Kind::Cron, ..Manner::default() };
        // What is known already (its record was lost, its key was not) stays as it is.
        if self.known(Some(&inbound.dkey))?.is_some() {
            return Ok(());
        }
        self.cron.open.insert(self.store.next_inbox(), (id.to_owned(), due));
        let run = RunInfo { job: id.into(), due, started: self.now.wall, status: RUNNING.into(), ..RunInfo::default() };
        self.store.add_cron_run(&run, Some(self.store.next_inbox()))?;
        self.frame(Frame::CronRun(Box::new(run)));
        self.accept(&session, inbound, manner)?;
        Ok(())
    }

    /// A due time that is let go by; many in a row are one record.
    fn skip(&mut self, id: &str, due: Wall, why: String) -> Result<()> {
        let now = Some(self.now.wall);
        let started = self.now.wall;
        let run = RunInfo {
            job: id.into(),
            due,
            started,
            finished: now,
            status: "skipped".into(),
            error: Some(why),
            ..RunInfo::default()
        };
        if !self.store.repeat_cron_run(&run)? {
            self.store.add_cron_run(&run, None)?;
        }
        self.frame(Frame::CronRun(Box::new(run)));
        Ok(())
    }

    /// A due time that nobody saw to.
    pub(super) fn miss(&mut self, id: &str, due: Wall, next: Option<Wall>) -> Result<()> {
        let why = "the gateway did not run at that time";
        self.missed(id, due, why.to_owned(), true)?;
        self.advance(id, next)?;
        self.told_missed(id, due, why, None)?;
        self.switch_off(id)
    }

    /// Somebody counts on a job for one time, and it will not come again.
    fn told_missed(&mut self, id: &str, due: Wall, why: &str, at: Option<&Session>) -> Result<()> {
        let Some(l) = self.cron.jobs.get(id).filter(|l| l.row.done) else { return Ok(()) };
        let job = l.job.clone();
        let agent = self.agent_of_job(&job);
        let time = prompt::local_time(due, self.rules.zone.as_ref());
        let text = format!("The task for {} was missed: {why}. It was: {}", &time[..16], job.task);
        if let Some(source) = self.who_hears(&job, &agent)? {
            self.tell_people(&job.id, job.delivery.manner, &source, at, &text)?;
        }
        Ok(())
    }

    fn missed(&mut self, id: &str, due: Wall, why: String, new: bool) -> Result<()> {
        let now = self.now.wall;
        let run = RunInfo {
            job: id.into(),
            due,
            started: now,
            finished: Some(now),
            status: st::MISSED.into(),
            error: Some(why),
            ..RunInfo::default()
        };
        self.observe(Level::Warn, Area::Cron, "missed", format!("A run of the job {id} was missed"), "");
        match new {
            true => self.store.add_cron_run(&run, None)?,
            false => self.store.end_cron_run(&run)?,
        }
        self.frame(Frame::CronRun(Box::new(run)));
        Ok(())
    }

    /// A job whose one time is over, and that failed or was missed, stays, switched off.
    fn switch_off(&mut self, id: &str) -> Result<()> {
        let Some(l) = self.cron.jobs.get_mut(id).filter(|l| !l.config && l.row.done) else { return Ok(()) };
        l.job.enabled = false;
        let def = l.job.to_stored();
        self.store.define_cron_job(id, &def)
    }

    pub(super) fn agent_of_job(&self, job: &Job) -> String {
        let routing = &self.rules.routing;
        let known = |a: &&String| routing.agents.is_empty() || routing.agents.contains(*a);
        job.agent.as_ref().filter(known).unwrap_or(&routing.default).clone()
    }

    // ---- while it runs

    /// The session's next message is a scheduled one that does not begin now: too many run, or it is too old.
    pub(super) fn holds_back(&mut self, s: &mut Session) -> Result<bool> {
        if self.beat_is_stale(s, STALE)? {
            return Ok(true);
        }
        let Some(first) = s.next_message().filter(|m| is_cron(m)).map(|m| m.id) else { return Ok(false) };
        let Some(row) = self.store.inbox(first)? else { return Ok(false) };
        let old = self.now.wall - row.at > STALE;
        if old && self.clock_confirmed {
            s.queue.retain(|m| m.id != first);
            s.stage = Stage::Idle;
            self.store.set_inbox(first, st::MISSED, None, None, Some("too late"))?;
            if let Some((job, due)) = self.cron.open.remove(&first) {
                let why = "it could not begin within an hour";
                self.missed(&job, due, why.into(), false)?;
                self.told_missed(&job, due, why, Some(s))?;
                self.switch_off(&job)?;
            }
            self.settled(first)?;
            self.todo.push_back(super::Todo::Kick(s.key.clone()));
            return Ok(true);
        }
        // How old it is can be told when the clock is known to be right.
        let unsure = old && !self.clock_confirmed && self.now.mono < self.cron.since + super::cron::UNSURE;
        let held = unsure || self.sessions.values().filter(|s| runs_cron(s)).count() >= self.rules.cron.most;
        if held {
            s.stage = Stage::Idle;
        }
        Ok(held)
    }

    /// A run that was cut off and is too old to go on.
    pub(super) fn too_late(&self, t: &Turn) -> bool {
        let old = |m: &InboxRow| background(m) && self.now.wall - m.at > STALE;
        self.clock_confirmed && t.members.iter().any(old)
    }

    /// How long a scheduled turn may take.
    pub(super) fn cron_limit(&self, t: &Turn) -> Option<u64> {
        let m = t.members.iter().find(|m| is_cron(m))?;
        let own = self.cron.open.get(&m.id).and_then(|(job, _)| self.cron.jobs.get(job)?.job.timeout);
        Some(own.unwrap_or(self.rules.cron.timeout))
    }

    /// The agent gets the task: the run begins here.
    pub(super) fn cron_prompted(&mut self, t: &Turn) -> Result<()> {
        let first = t.members.iter().find(|m| is_cron(m)).filter(|_| t.row.attempts == 1);
        match first.and_then(|m| self.cron.open.get(&m.id)) {
            Some((job, due)) => self.store.begin_cron_run(job, *due, self.now.wall),
            None => Ok(()),
        }
    }

    // ---- how it ends

    /// A scheduled turn is over: in the transaction of its end.
    pub(super) fn cron_ended(&mut self, s: &Session, t: &Turn, end: &End, m: &InboxRow, late: bool) -> Result<()> {
        let known = self.cron.open.remove(&m.id);
        let id = known.as_ref().map(|k| k.0.clone()).or_else(|| m.source.sender_name.clone()).unwrap_or_default();
        let job = self.cron.jobs.get(&id).map(|l| l.job.clone());
        let said = t.said.join("\n\n").replace("[NO_REPLY]", "").trim().to_owned();
        let (status, error) = match (t.aborting, &end.failed) {
            (Some((why @ (AbortWhy::Timeout | AbortWhy::TooLong | AbortWhy::Inactive), _)), _) => {
                ("timeout", Some(format!("it was stopped: {}", why.as_str())))
            }
            (Some((why, _)), _) => ("error", Some(format!("it was stopped: {}", why.as_str()))),
            (None, Some((_, why))) if late => (st::MISSED, Some(why.clone())),
            (None, Some((_, why))) => ("error", Some(why.clone())),
            (None, None) => ("completed", None),
        };
        let empty = matches!(said.as_str(), "" | "HEARTBEAT_OK" | "NO_REPLY");
        let once = self.cron.jobs.get(&id).is_some_and(|l| l.schedule.once());
        let text = match (status, empty) {
            ("completed", false) => said.clone(),
            ("timeout", false) => format!("{said}\n\n(stopped: it took too long)"),
            ("error", false) if !end.silent => format!("{said}\n\n({})", error.as_deref().unwrap_or_default()),
            // Somebody counts on it, and it will not be tried again.
            ("timeout" | "error" | st::MISSED, true) if once && !end.silent => {
                let task = prompt::head(job.as_ref().map_or("", |j| &j.task), 200);
                format!("The task failed ({}). It was: {task}", error.as_deref().unwrap_or_default())
            }
            _ => String::new(),
        };
        let manner = job.as_ref().map_or(How::Announce, |j| j.delivery.manner);
        let by_agent = !self.store.segments_of(t.row.id)?.is_empty();
        let delivery = match () {
            () if text.is_empty() || manner == How::Silent => "none",
            () if by_agent && status == "completed" => "by agent",
            () => self.tell_people(&id, manner, &m.source, Some(s), &text)?,
        };
        self.transcribe(&s.key, "response", "assistant_reply", &end.text);
        if let Some((_, due)) = known {
            let run = RunInfo {
                job: id.clone(),
                due,
                started: t.row.at.max(m.at),
                finished: Some(self.now.wall),
                status: status.into(),
                preview: (!said.is_empty()).then(|| prompt::head(&said, PREVIEW)),
                error,
                delivery: Some(delivery.into()),
            };
            self.run_over(run, &said)?;
        }
        self.kick_cron();
        Ok(())
    }

    /// A message of a job that ended without a turn: dropped, or its session was deleted.
    pub(super) fn cron_dropped(&mut self, row: Row) -> Result<()> {
        if !self.cron.open.contains_key(&row) {
            return Ok(());
        }
        let Some(m) = self.store.inbox(row)?.filter(|m| st::terminal(&m.state)) else { return Ok(()) };
        let Some((job, due)) = self.cron.open.remove(&row) else { return Ok(()) };
        if m.state == st::MISSED {
            let why = m.reason.unwrap_or_default();
            self.missed(&job, due, why.clone(), false)?;
            self.told_missed(&job, due, &why, None)?;
            return self.switch_off(&job);
        }
        let run = RunInfo {
            job,
            due,
            started: m.at,
            finished: Some(self.now.wall),
            status: "error".into(),
            error: Some(m.reason.unwrap_or(m.state)),
            ..RunInfo::default()
        };
        self.run_over(run, "")?;
        self.kick_cron();
        Ok(())
    }

    /// Records a run's end, and what it means for its job.
    pub(super) fn run_over(&mut self, run: RunInfo, said: &str) -> Result<()> {
        self.store.end_cron_run(&run)?;
        self.tell_main(&run, said)?;
        let fine = run.status == "completed";
        let level = if fine { Level::Info } else { Level::Warn };
        let how = run.error.as_deref().map_or(String::new(), |why| format!(": {why}"));
        let message = format!("The job {} ended as {}{how}", run.job, run.status);
        self.observe(level, Area::Cron, "run", message.clone(), "");
        let id = run.job.clone();
        self.frame(Frame::CronRun(Box::new(run)));
        let Some(l) = self.cron.jobs.get_mut(&id) else { return Ok(()) };
        l.row.last_at = Some(self.now.wall);
        l.row.errors = if fine { 0 } else { l.row.errors + 1 };
        let (row, job) = (l.row.clone(), l.job.clone());
        // By hand it may run before its time.
        let over = l.schedule.once() && l.row.done;
        self.store.set_cron_job(&row)?;
        if row.errors == PAUSES.len() as i64 {
            let text = format!("the job {id} failed {} times in a row; the last time: {message}", row.errors);
            self.emit(Effect::Notice(text.into()));
        }
        match (fine, over || (fine && job.delete_after_run)) {
            (true, true) if !self.cron.jobs.get(&id).is_some_and(|l| l.config) => {
                self.cron.jobs.remove(&id);
                self.store.end_cron_job(&id)?;
                self.frame(Frame::CronChanged { job: id, action: "remove" });
                Ok(())
            }
            (false, true) => self.switch_off(&id),
            _ => Ok(()),
        }
    }
}

/// A scheduled turn is under way, or is just getting its process.
fn runs_cron(s: &Session) -> bool {
    match &s.stage {
        Stage::Turn(t) | Stage::Recover { turn: t, .. } => t.members.iter().any(is_cron),
        Stage::Open(o) => match &o.work {
            Work::Resume(t) => t.members.iter().any(is_cron),
            Work::Queue => s.next_message().is_some_and(is_cron),
            _ => false,
        },
        _ => false,
    }
}
