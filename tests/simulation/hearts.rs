//! Heartbeats and system events at random, while people write, things are killed and the clock is set (core.md 14).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pi_gateway::message::*;
use pi_gateway::rules::{HeartbeatRules, Rules};
use rusqlite::Connection;

use super::model_pi::{Entry, Files};
use super::world::{Rng, World};

const MOST: usize = 12;
const LIFE: i64 = 3_600_000;

/// What the world knows of its events and of the files that come and go.
#[derive(Debug, Default)]
pub struct Hearts {
    /// When each was given to the mind; whether that said that it is stored.
    events: Vec<(Wall, bool)>,
    asked: BTreeMap<ReqId, usize>,
    removed: BTreeSet<PathBuf>,
    /// The latest that the wall clock has ever shown.
    latest: Wall,
    off: bool,
}

pub fn rules(rng: &mut Rng) -> HeartbeatRules {
    HeartbeatRules {
        every: [60_000, 300_000][rng.below(2) as usize],
        skip_when_busy: rng.one_in(2),
        retries: rng.below(3) as u32,
        retry_delay: 100 + rng.below(3_000),
        inactivity: 30_000,
        isolate: !rng.one_in(4),
        ..HeartbeatRules::default()
    }
}

fn token(n: usize) -> String {
    format!("{{e{n};")
}

fn is_beat(e: &Entry) -> bool {
    matches!(e, Entry::User(t) if t.contains("\nHeartbeat:"))
}

impl Hearts {
    pub fn die(&mut self) {
        self.asked.clear();
    }

    pub fn told(&mut self, id: ReqId, answer: &Answer) {
        if let (Some(n), Answer::Session(Some(_))) = (self.asked.remove(&id), answer) {
            self.events[n].1 = true;
        }
    }

    pub fn saw(&mut self, now: Wall) {
        self.latest = self.latest.max(now);
    }

    /// What must be so when everything has come to rest.
    pub fn judge(&self, db: &Connection, files: &Files, power_cuts: u32) -> Result<(), String> {
        let count = |sql: String| db.query_row(&sql, [], |r| r.get::<_, i64>(0)).map_err(|e| e.to_string());
        let others = count("SELECT count(*) FROM inbox WHERE kind = 'event' AND text NOT LIKE '%{e%'".into())?;
        for (n, (at, acked)) in self.events.iter().enumerate() {
            let sql = format!(
                "SELECT state, ifnull(reason, '') FROM inbox WHERE kind = 'event' AND text LIKE '%{}%'",
                token(n)
            );
            let found = db.query_row(&sql, [], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)));
            let Ok((state, reason)) = found else {
                match acked {
                    true => return Err(format!("the event e{n} is lost")),
                    false => continue,
                }
            };
            let turns =
                count(format!("SELECT count(*) FROM turn WHERE state = 'finished' AND prompt LIKE '%{}%'", token(n)))?;
            match state.as_str() {
                "merged" if power_cuts == 0 && turns != 1 => {
                    return Err(format!("the event e{n} was dealt with in {turns} turns"))
                }
                "pending" | "missed" if power_cuts == 0 && turns > 0 => {
                    return Err(format!("the event e{n} was dealt with, and is {state}"))
                }
                "missed" if self.latest - at <= LIFE => return Err(format!("the event e{n} is over before its time")),
                "dropped" if reason == "too many events" && others < 8 => {
                    return Err(format!("the event e{n} gave way"))
                }
                "merged" | "pending" | "missed" | "dropped" => {}
                other => return Err(format!("the event e{n} is {other}")),
            }
        }
        if power_cuts == 0 {
            let twice = "SELECT count(*) FROM (SELECT 1 FROM segment WHERE origin = 'heartbeat' GROUP BY text HAVING count(*) > 1)";
            if count(twice.into())? > 0 {
                return Err("what a heartbeat said was told twice".into());
            }
            let mut q = db.prepare("SELECT text FROM segment WHERE origin = 'heartbeat'").map_err(|e| e.to_string())?;
            let told = q.query_map([], |r| r.get::<_, String>(0)).map_err(|e| e.to_string())?;
            for text in told.flatten() {
                let known =
                    |e: &Entry| matches!(e, Entry::Assistant(m) if text.contains(&m.text) && !m.text.is_empty());
                if !files.values().flatten().any(known) {
                    return Err(format!("{text:?} was told, and no conversation knows of it"));
                }
            }
        }
        let open = "SELECT count(*) FROM inbox WHERE kind = 'heartbeat' AND state IN ('queued', 'in_turn')";
        if count(open.into())? > 0 {
            return Err("a heartbeat has no end".into());
        }
        Ok(())
    }
}

impl World {
    /// Something happens, or time passes.
    pub fn heart(&mut self) -> Result<(), String> {
        let Some(h) = &self.hearts else { return Ok(()) };
        let n = h.events.len();
        if n < MOST && self.rng.one_in(2) {
            let id = ReqId(self.next_req);
            self.next_req += 1;
            let now = self.rng.one_in(2);
            let at = self.now.wall;
            if let Some(h) = &mut self.hearts {
                h.events.push((at, false));
                h.asked.insert(id, n);
            }
            let req = Request::Wake { by: None, text: token(n), now };
            return self.feed(Event::Request { id, req: Box::new(req) });
        }
        let ms = self.rng.below(60_000);
        self.now.mono += ms;
        self.now.wall += ms as i64;
        self.feed(Event::Due)
    }

    /// So that the world comes to rest: from now on nobody is woken.
    pub fn end_hearts(&mut self) -> Result<(), String> {
        let Some(h) = self.hearts.as_mut().filter(|h| !h.off) else { return Ok(()) };
        h.off = true;
        let rules = Rules { heartbeats: BTreeMap::new(), ..(*self.rules).clone() };
        self.rules = Arc::new(rules);
        let id = ReqId(self.next_req);
        self.next_req += 1;
        self.waits.insert(id);
        self.feed(Event::Request { id, req: Box::new(Request::Reload(self.rules.clone())) })
    }

    /// A copy is on its way to be removed, or a job's run is an event that nobody will take up.
    pub fn something_left(&self) -> bool {
        let Some(store) = self.hearts.as_ref().and(self.state.as_ref()).map(|s| s.store()) else { return false };
        if self.trace {
            println!("          left: {:?} {:?}", store.scratch_files(), store.open_cron_runs());
        }
        store.scratch_files().is_ok_and(|f| !f.is_empty()) || store.open_cron_runs().is_ok_and(|r| !r.is_empty())
    }

    /// The hands of a session work in order: a copy is made before it is removed.
    pub fn before_removal(&self, at: usize) -> usize {
        let Some((_, Job::RemoveFile { path })) = self.jobs.get(at) else { return at };
        let makes = |(_, job): &(JobId, Job)| matches!(job, Job::BranchFile { to, .. } if to == path);
        self.jobs.iter().position(makes).unwrap_or(at)
    }

    pub fn branch(&mut self, from: &Path, to: PathBuf) -> JobDone {
        if let Some(entries) = self.files.get(from).cloned() {
            self.files.insert(to.clone(), entries);
        }
        let len = self.files.get(&to).map_or(0, |f| f.len() as u64 * 100);
        JobDone::FileReady { path: to, len, notice: None }
    }

    /// Nobody works on the file, it is no session's, and nothing of a conversation goes with it.
    pub fn remove(&mut self, path: PathBuf) -> Result<JobDone, String> {
        if let Some((id, _)) = self.procs.iter().find(|(_, p)| p.file == path && !p.dying) {
            return Err(format!("{path:?} is removed while process {} works on it", id.0));
        }
        let Some(state) = &self.state else { return Ok(JobDone::Done) };
        let sessions = state.store().sessions(1000).map_err(|e| e.to_string())?;
        if let Some(s) = sessions.iter().find(|s| s.file == path) {
            return Err(format!("{path:?}, the file of {}, is removed", s.key));
        }
        let owner = sessions.iter().find(|s| s.file.parent() == path.parent());
        let anew = owner.is_some_and(|s| self.was_reset(&s.key));
        if let Some(s) = owner.filter(|_| self.power_cuts == 0 && !anew) {
            let kept = self.files.get(&s.file).cloned().unwrap_or_default();
            let lost = |files: &Files| {
                let gone = files.get(&path).into_iter().flatten();
                gone.filter(|e| matches!(e, Entry::User(_)) && !is_beat(e)).find(|e| !kept.contains(e)).cloned()
            };
            if let Some(e) = lost(&self.files) {
                return Err(format!("with {path:?} the conversation {} loses {e:?}", s.key));
            }
        }
        self.files.remove(&path);
        if let Some(h) = &mut self.hearts {
            h.removed.insert(path);
        }
        Ok(JobDone::Done)
    }

    /// A prompt is written into a file that is not there any more.
    pub fn is_removed(&self, file: &Path) -> bool {
        self.hearts.as_ref().is_some_and(|h| h.removed.contains(file))
    }
}
