//! Scheduled jobs: made, changed and run at random, while the clock is set and the gateway dies.

use std::collections::{BTreeMap, BTreeSet};

use pi_gateway::cron::job::{Job, Mode};
use pi_gateway::message::*;
use pi_gateway::rules::CronRules;
use rusqlite::Connection;
use serde_json::json;

use super::model_pi::{Entry, Files};
use super::world::{Rng, World, PLATFORMS};

const MOST: usize = 6;

#[derive(Debug)]
struct Made {
    id: String,
    once: bool,
    /// The mind said that it is stored.
    acked: bool,
    /// Somebody asked for its removal.
    removed: bool,
    /// Or asked it to rest.
    paused: bool,
}

/// What the world knows of its jobs.
#[derive(Debug, Default)]
pub struct Schedules {
    jobs: Vec<Made>,
    asked: BTreeMap<ReqId, usize>,
    /// Nothing recurs any more: the run comes to rest.
    ended: BTreeSet<usize>,
    late: u32,
}

pub fn rules(rng: &mut Rng) -> CronRules {
    let address =
        Address(|channel, to, _| Ok(Target { channel: channel.into(), chat: to.into(), ..Target::default() }));
    CronRules { on: true, most: 1 + rng.below(2) as usize, timeout: 60_000, address, ..CronRules::default() }
}

impl Schedules {
    pub fn die(&mut self) {
        self.asked.clear();
        self.ended.clear();
    }

    /// Some more time has to pass.
    pub fn once_more(&mut self) -> bool {
        self.late += 1;
        self.late < 60
    }

    pub fn told(&mut self, id: ReqId, answer: &Answer) {
        if let (Some(n), Answer::Cron(_)) = (self.asked.remove(&id), answer) {
            self.jobs[n].acked = true;
        }
    }

    /// What must be so when everything has come to rest.
    pub fn judge(&self, db: &Connection, store: &str, files: &Files, now: Wall, power_cuts: u32) -> Result<(), String> {
        // What several events have led to is told once.
        let together = "SELECT count(*) FROM inbox WHERE kind = 'event'";
        let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).map_err(|e| e.to_string());
        if count("SELECT count(*) FROM cron_run WHERE finished IS NULL")? > 0 {
            return Err("a run of a job has no end".into());
        }
        for job in self.jobs.iter().filter(|j| j.acked && j.once && !j.removed && !j.paused) {
            let runs = count(&format!("SELECT count(*) FROM cron_run WHERE job = '{}'", job.id))?;
            let ahead = count(&format!("SELECT count(*) FROM cron_job WHERE id = '{}' AND next_at > {now}", job.id))?;
            if runs + ahead == 0 {
                return Err(format!("the job {} was never run", job.id));
            }
        }
        let mut q = db.prepare("SELECT id, state, dkey FROM inbox WHERE kind = 'cron'").map_err(|e| e.to_string())?;
        let rows = q.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)));
        for row in rows.map_err(|e| e.to_string())? {
            let (id, state, dkey) = row.map_err(|e| e.to_string())?;
            if ["queued", "in_turn", "accepted"].contains(&state.as_str()) {
                return Err(format!("{dkey} has no fate: {state}"));
            }
            let mark = format!("msgId:{} ", pi_gateway::store::external_id(store, 'i', id));
            let seen = files.values().flatten().filter(|e| matches!(e, Entry::User(t) if t.contains(&mark))).count();
            if seen > 1 && power_cuts == 0 && state != "failed" {
                return Err(format!("the agent saw {dkey} {seen} times"));
            }
            let done = format!("SELECT count(*) FROM cron_run WHERE inbox = {id} AND status = 'completed'");
            if seen == 0 && power_cuts == 0 && count(&done)? > 0 {
                return Err(format!("the agent never saw {dkey}, which is {state}"));
            }
        }
        if power_cuts == 0 && count(together)? == 0 && self.jobs.iter().all(|j| !j.removed) {
            let told = count("SELECT count(*) FROM segment WHERE origin = 'cron'")?;
            let sent = count("SELECT count(*) FROM cron_run WHERE delivery = 'sent'")?;
            let missed = count("SELECT count(*) FROM cron_run WHERE status = 'missed'")?;
            if told < sent || told > sent + missed {
                return Err(format!("{sent} results were sent, {missed} runs missed, and {told} are told"));
            }
        }
        Ok(())
    }
}

impl World {
    /// Something is done to the jobs, or time passes.
    pub fn schedule(&mut self) -> Result<(), String> {
        let Some(known) = &self.cron else { return Ok(()) };
        let n = known.jobs.len();
        let which = self.rng.below(n.max(1) as u64) as usize;
        let id = format!("c{which}");
        let what = self.rng.below(12);
        match what {
            0..=3 if n < MOST => self.make_job(n),
            4 if n > 0 => self.ask_cron(which, CronRequest::Run(id)),
            5 if n > 0 => {
                if let Some(job) = self.cron.as_mut().and_then(|c| c.jobs.get_mut(which)) {
                    job.paused = true;
                }
                self.ask_cron(which, CronRequest::Pause(id))
            }
            6 if n > 0 => self.ask_cron(which, CronRequest::Resume(id)),
            7 if n > 0 && self.rng.one_in(4) => {
                if let Some(job) = self.cron.as_mut().and_then(|c| c.jobs.get_mut(which)) {
                    job.removed = true;
                }
                self.ask_cron(which, CronRequest::Remove(id))
            }
            8 if n > 0 => {
                let value = json!({"action": "update", "task": "another"});
                self.ask_cron(which, CronRequest::Update(id, value))
            }
            _ => {
                let ms = self.rng.below(60_000);
                self.now.mono += ms;
                self.now.wall += ms as i64;
                self.feed(Event::Due)
            }
        }
    }

    fn make_job(&mut self, n: usize) -> Result<(), String> {
        let once = self.rng.one_in(3);
        let (kind, expr) = match self.rng.below(3) {
            _ if once => ("at", ["+10s", "+1m", "+10m"][self.rng.below(3) as usize]),
            0 => ("cron", "*/2 * * * *"),
            _ => ("every", ["10s", "30s", "5m"][self.rng.below(3) as usize]),
        };
        let to = match self.rng.below(3) {
            0 => json!({"mode": "silent"}),
            1 => json!({"mode": "direct", "channel": "webchat", "to": "a"}),
            _ => json!({"channel": PLATFORMS[self.rng.below(2) as usize], "to": "u1"}),
        };
        let timeout = if self.rng.one_in(3) { 1_000 } else { 600_000 };
        let id = format!("c{n}");
        let job = json!({"id": id, "schedule": {"kind": kind, "expr": expr}, "task": "look", "delivery": to,
            "timeoutMs": timeout, "deleteAfterRun": self.rng.one_in(6)});
        let mut job = Box::new(Job::from_json(&job)?);
        if self.hearts.is_some() {
            job.mode = if self.rng.one_in(3) { Mode::Main } else { Mode::Isolated };
            job.notify_main = self.rng.one_in(3);
        }
        let delete = job.delete_after_run;
        if let Some(c) = &mut self.cron {
            c.jobs.push(Made { id, once, acked: false, removed: delete, paused: false });
        }
        self.ask_cron(n, CronRequest::Add { job, by: None, again: false })
    }

    fn ask_cron(&mut self, n: usize, req: CronRequest) -> Result<(), String> {
        let id = ReqId(self.next_req);
        self.next_req += 1;
        if let (Some(c), CronRequest::Add { .. }) = (&mut self.cron, &req) {
            c.asked.insert(id, n);
        }
        self.feed(Event::Request { id, req: Box::new(Request::Cron(Box::new(req))) })
    }

    /// So that the world comes to rest.
    pub fn end_schedules(&mut self) -> Result<(), String> {
        let Some(c) = &self.cron else { return Ok(()) };
        let open = (0..c.jobs.len()).find(|n| !c.jobs[*n].once && !c.ended.contains(n));
        let Some(n) = open else { return Ok(()) };
        if let Some(c) = &mut self.cron {
            c.ended.insert(n);
        }
        self.ask_cron(n, CronRequest::Pause(format!("c{n}")))
    }
}
