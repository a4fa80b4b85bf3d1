//! Heartbeats: when an agent is woken by itself or for an event, and when it is let be (core.md 14).
//!
//! A tick is a row of the inbox like any message, of the least priority and with a turn of its own; `heartbeat_turn`
//! says how that turn differs from others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{prompt, Due, State};
use crate::message::*;
use crate::rules::HeartbeatRules;
use crate::store::{InboxRow, NewInbox, Result};

/// Kind, channel and sender of such a row.
pub(super) const BEAT: &str = "heartbeat";
/// What a restart has delayed comes that long after it, ms.
const SOON: u64 = 60_000;
/// While nothing can begin it is looked at again, ms.
const LATER: u64 = 60_000;
/// Below everybody.
const PRIO: i64 = -1;

pub(super) fn is_beat(m: &InboxRow) -> bool {
    m.kind == BEAT
}

/// Nobody waits for it.
pub(super) fn background(m: &InboxRow) -> bool {
    is_beat(m) || super::cron_runs::is_cron(m)
}

/// What is known of heartbeats.
#[derive(Default)]
pub(super) struct Heart {
    agents: BTreeMap<String, Beat>,
    /// Agents whose `core/heartbeat.md` is being read.
    checks: BTreeMap<JobId, String>,
    /// Copies of session files, and files that a copy has taken the place of.
    pub scratch: BTreeMap<PathBuf, super::heartbeat_turn::Scratch>,
    /// Which of them is being removed.
    pub removing: BTreeMap<JobId, PathBuf>,
}

/// One agent's.
struct Beat {
    /// When the last one was due; the clock was right then.
    last: Wall,
    sure: bool,
    /// How often the run that somebody waits for has found the session busy.
    tries: u32,
    /// It is begun when the session's turn is over.
    owed: bool,
}

impl State {
    /// What is on by the configuration, and how it stands by the store.
    pub(super) fn load_heart(&mut self) -> Result<()> {
        let rules = self.rules.clone();
        let before = std::mem::take(&mut self.heart.agents);
        let mut known: BTreeMap<String, (Wall, bool)> = BTreeMap::new();
        for (agent, last, sure) in self.store.heartbeats()? {
            match rules.heartbeats.contains_key(&agent) {
                true => {
                    known.insert(agent, (last, sure));
                }
                false => self.store.end_heartbeat(&agent)?,
            }
        }
        for agent in before.keys().filter(|agent| !rules.heartbeats.contains_key(*agent)) {
            self.disarm(&Due::Beat(agent.clone()));
            self.disarm(&Due::Wake(agent.clone()));
        }
        for agent in rules.heartbeats.keys() {
            let (last, sure) = match known.get(agent) {
                Some(known) => *known,
                None => {
                    self.store.set_heartbeat(agent, self.now.wall, self.clock_confirmed)?;
                    (self.now.wall, self.clock_confirmed)
                }
            };
            self.heart.agents.insert(agent.clone(), Beat { last, sure, tries: 0, owed: false });
            self.arm_beat(agent);
        }
        self.todo.extend(self.store.agents_to_wake()?.into_iter().map(super::Todo::Wake));
        self.expire_events()
    }

    fn arm_beat(&mut self, agent: &str) {
        let (Some(b), Some(rules)) = (self.heart.agents.get(agent), self.rules.heartbeats.get(agent)) else { return };
        let wait = match b.sure && self.clock_confirmed {
            true => {
                let left = b.last.saturating_add(rules.every as i64) - self.now.wall;
                left.clamp(SOON.min(rules.every) as i64, rules.every as i64) as u64
            }
            false => rules.every,
        };
        self.arm(Due::Beat(agent.to_owned()), self.now.mono + wait);
    }

    /// The clock was set, or is known to be right from now on.
    pub(super) fn heart_confirmed(&mut self) -> Result<()> {
        let agents: Vec<String> = self.heart.agents.keys().cloned().collect();
        for agent in agents {
            let Some(b) = self.heart.agents.get_mut(&agent) else { continue };
            if self.clock_confirmed && !b.sure {
                (b.last, b.sure) = (self.now.wall, true);
                self.store.set_heartbeat(&agent, self.now.wall, true)?;
            }
            self.arm_beat(&agent);
        }
        self.expire_events()
    }

    pub(super) fn in_hours(&self, rules: &HeartbeatRules) -> bool {
        rules.hours.as_ref().is_none_or(|h| {
            let zone = h.zone.as_ref().or(self.rules.zone.as_ref());
            h.hold(prompt::day_minute(self.now.wall, zone))
        })
    }

    /// The interval is over.
    pub(super) fn tick(&mut self, agent: &str) -> Result<()> {
        let Some(rules) = self.rules.heartbeats.get(agent).cloned() else { return Ok(()) };
        if self.closed().is_some() {
            self.arm(Due::Beat(agent.to_owned()), self.now.mono + LATER);
            return Ok(());
        }
        let (now, sure) = (self.now.wall, self.clock_confirmed);
        let Some(b) = self.heart.agents.get_mut(agent) else { return Ok(()) };
        let early = b.sure && sure && (0..rules.every as i64 * 9 / 10).contains(&(now - b.last));
        if early {
            self.arm_beat(agent);
            return Ok(());
        }
        (b.last, b.sure) = (now, sure);
        self.store.set_heartbeat(agent, now, sure)?;
        self.arm_beat(agent);
        if !self.in_hours(&rules) {
            return Ok(());
        }
        let key = self.main_key(agent)?;
        self.store.move_events(agent, &key)?;
        if !self.has_time(&key, rules.skip_when_busy) {
            return Ok(());
        }
        self.expire_events()?;
        if !self.store.events(&key)?.is_empty() {
            return self.begin_beat(agent, &key);
        }
        let role = self.store.session(&key)?.and_then(|row| row.role);
        let role = role.as_deref().or(self.rules.role_of(agent, None)).unwrap_or("default");
        let path = self.rules.cwd(agent, role).join("core/heartbeat.md");
        let id = self.next_job;
        self.next_job += 1;
        self.heart.checks.retain(|_, of| of != agent); // one that was never answered
        self.heart.checks.insert(id, agent.to_owned());
        let job = Box::new(Job::ReadHeartbeat { path });
        self.emit(Effect::Job { id, session: key.as_str().into(), job, durable: false });
        Ok(())
    }

    /// Nothing waits in the session, and, if that matters, nothing runs.
    fn has_time(&self, key: &str, idle: bool) -> bool {
        self.sessions.get(key).is_none_or(|s| s.waiting() == 0 && !(idle && s.busy()))
    }

    /// What stands in the file is known; true: it was asked for by a heartbeat.
    pub(super) fn on_heartbeat_file(&mut self, id: JobId, done: &JobDone) -> Result<bool> {
        let Some(agent) = self.heart.checks.remove(&id) else { return Ok(false) };
        let Some(rules) = self.rules.heartbeats.get(&agent) else { return Ok(true) };
        if *done == JobDone::Asks(false) || self.closed().is_some() {
            return Ok(true);
        }
        let idle = rules.skip_when_busy;
        let key = self.main_key(&agent)?;
        if self.has_time(&key, idle) {
            self.begin_beat(&agent, &key)?;
        }
        Ok(true)
    }

    /// An event came for which the agent is woken at once, or that found its session busy a moment ago.
    pub(super) fn wake(&mut self, agent: &str) -> Result<()> {
        let Some(rules) = self.rules.heartbeats.get(agent).cloned() else { return Ok(()) };
        if self.closed().is_some() {
            self.arm(Due::Wake(agent.to_owned()), self.now.mono + LATER);
            return Ok(());
        }
        self.disarm(&Due::Wake(agent.to_owned()));
        let key = self.main_key(agent)?;
        self.store.move_events(agent, &key)?;
        self.expire_events()?;
        let begun = self.sessions.get(key.as_str()).is_some_and(|s| s.queue.iter().any(is_beat));
        let waits = self.store.events(&key)?.iter().any(|e| e.prio > 0);
        if begun || !waits || !self.in_hours(&rules) {
            return Ok(());
        }
        let free = self.has_time(&key, true);
        let Some(b) = self.heart.agents.get_mut(agent) else { return Ok(()) };
        if free {
            return self.begin_beat(agent, &key);
        }
        b.owed = true;
        if b.tries < rules.retries {
            b.tries += 1;
            self.arm(Due::Wake(agent.to_owned()), self.now.mono + rules.retry_delay);
        } else {
            b.tries = 0; // when the turn that runs is over, or with the next tick
        }
        Ok(())
    }

    /// A turn of a session of this agent is over.
    pub(super) fn wake_owed(&mut self, agent: &str) {
        if self.heart.agents.get(agent).is_some_and(|b| b.owed) {
            self.todo.push_back(super::Todo::Wake(agent.to_owned()));
        }
    }

    fn begin_beat(&mut self, agent: &str, key: &str) -> Result<()> {
        if let Some(b) = self.heart.agents.get_mut(agent) {
            (b.tries, b.owed) = (0, false);
        }
        let source = Source {
            channel: BEAT.into(),
            chat: agent.into(),
            sender: BEAT.into(),
            agent: Some(agent.to_owned()),
            ..Source::default()
        };
        let Some(key) = self.load(key, Some(&source))? else { return Ok(()) };
        let row = self.store.add_inbox(&NewInbox {
            agent,
            prio: PRIO,
            solo: Some(&Solo::default()),
            ..self.incoming(BEAT, &key, &source)
        })?;
        self.with(&key, |core, s| {
            let Some(item) = core.store.inbox(row)? else { return Ok(()) };
            s.queue.push(item);
            core.kick(s)
        })
    }
}
