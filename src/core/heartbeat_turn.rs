//! The turn of a heartbeat: it works on a copy of the conversation's file, nobody watches it, and only what is worth it
//! is told (core.md 14).
//!
//! A copy is written down before it is made and forgotten when it is gone; a kill in between leaves nothing behind. It
//! becomes the session's file in the transaction of the turn's end, or never.

use std::path::PathBuf;

use super::events::{self, is_event};
use super::heartbeat::is_beat;
use super::pool::Proc;
use super::reply::End;
use super::session::{Key, Session, Stage, Work};
use super::turn::{AbortWhy, Turn};
use super::{prompt, State, Todo};
use crate::heartbeat::worth_telling;
use crate::message::*;
use crate::rules::HeartbeatRules;
use crate::store::{inbox_state as st, InboxRow, Result};

/// pi lets go of a file within that time.
const SWITCH: u64 = 30_000;
/// The removal of a file is asked for again after that, ms.
const AGAIN: u64 = 60_000;

/// A file that goes when nothing works on it.
#[derive(Debug)]
pub(super) struct Scratch {
    session: String,
    /// Since then the hands are at it.
    asked: Option<Mono>,
}

impl super::heartbeat::Heart {
    /// Sessions that have such files.
    pub(super) fn scratch_of(&self) -> impl Iterator<Item = &str> {
        self.scratch.values().map(|x| x.session.as_str())
    }
}

impl Turn {
    pub(super) fn is_beat(&self) -> bool {
        self.members.iter().any(is_beat)
    }
}

impl Session {
    /// The file for the work at hand.
    pub(super) fn file(&self) -> &PathBuf {
        self.copy.as_ref().unwrap_or(&self.row.file)
    }
}

impl State {
    pub(super) fn load_scratch(&mut self) -> Result<()> {
        for (file, session) in self.store.scratch_files()? {
            self.todo.push_back(Todo::Tidy(session.as_str().into()));
            self.heart.scratch.insert(file, Scratch { session, asked: None });
        }
        Ok(())
    }

    pub(super) fn heart_rules(&self, agent: &str) -> HeartbeatRules {
        self.rules.heartbeats.get(agent).cloned().unwrap_or_default()
    }

    fn add_scratch(&mut self, file: PathBuf, key: &str) -> Result<()> {
        self.store.add_scratch(&file, key)?;
        self.heart.scratch.insert(file, Scratch { session: key.to_owned(), asked: None });
        Ok(())
    }

    fn end_scratch(&mut self, file: &PathBuf) -> Result<()> {
        self.heart.scratch.remove(file);
        self.store.end_scratch(file)
    }

    /// The session's next turn is for a heartbeat, and runs on a copy.
    pub(super) fn next_is_apart(&self, s: &Session) -> bool {
        s.next_message().is_some_and(|m| is_beat(m) && self.heart_rules(&s.row.agent).isolate)
    }

    /// Settles on which file this work is done. `Some`: a copy that is to be made first.
    pub(super) fn choose_file(&mut self, s: &mut Session, work: &Work) -> Result<Option<PathBuf>> {
        s.copy = None;
        match work {
            Work::Resume(t) if self.heart.scratch.contains_key(&t.row.file) => s.copy = Some(t.row.file.clone()),
            Work::Queue if self.next_is_apart(s) => {
                let to = self.fresh_file(&s.key)?;
                self.add_scratch(to.clone(), &s.key)?;
                s.copy = Some(to.clone());
                return Ok(Some(to));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The file is another one than was asked for: it was damaged, or belonged to another directory.
    pub(super) fn file_is(&mut self, s: &mut Session, path: PathBuf) -> Result<()> {
        if s.copy.is_some() {
            self.add_scratch(path.clone(), &s.key)?;
            s.copy = Some(path);
            return Ok(());
        }
        s.row.file = path;
        self.save(s)
    }

    /// A turn that is found at start works on a copy.
    pub(super) fn copy_of(&self, t: &Turn) -> Option<PathBuf> {
        Some(&t.row.file).filter(|file| self.heart.scratch.contains_key(*file)).cloned()
    }

    /// Without any event of the turn, ms; 0: for ever.
    pub(super) fn patience(&self, t: &Turn) -> u64 {
        match t.members.iter().find(|m| is_beat(m)).and_then(|m| m.source.agent.as_deref()) {
            Some(agent) => self.heart_rules(agent).inactivity,
            None => self.rules.inactivity,
        }
    }

    /// What is said to the agent: what has happened, or what it is asked at every heartbeat.
    pub(super) fn beat_text(&self, agent: &str, events: &[&InboxRow]) -> String {
        if events.is_empty() {
            return self.heart_rules(agent).prompt;
        }
        let list = events::list(events, self.rules.zone.as_ref());
        format!(
            "Heartbeat: this has happened:\n{list}\n\nTasks have fired: process them now and report. If there is nothing \
             to report, answer exactly HEARTBEAT_OK."
        )
    }

    /// What a person's message is told after, where no heartbeat takes events.
    pub(super) fn with_events(&self, events: &[&InboxRow], text: &str) -> String {
        match events.is_empty() {
            true => text.to_owned(),
            false => format!("[System events]\n{}\n\n{text}", events::list(events, self.rules.zone.as_ref())),
        }
    }

    /// A heartbeat that waited for too long is let be: the next one comes.
    pub(super) fn beat_is_stale(&mut self, s: &mut Session, most: i64) -> Result<bool> {
        let Some(first) = s.next_message().filter(|m| is_beat(m)).map(|m| m.id) else { return Ok(false) };
        let old = self.store.inbox(first)?.is_some_and(|m| self.now.wall - m.at > most) && self.clock_confirmed;
        if !old {
            return Ok(false);
        }
        s.queue.retain(|m| m.id != first);
        s.stage = Stage::Idle;
        self.store.set_inbox(first, st::MISSED, None, None, Some("too late"))?;
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(true)
    }

    /// A heartbeat's turn is over, in the transaction of its end. `Some`: it went well, and this became of its answer.
    pub(super) fn beat_ended(&mut self, s: &mut Session, t: &Turn, end: &End) -> Result<Option<&'static str>> {
        let agent = s.row.agent.clone();
        let rules = self.heart_rules(&agent);
        let fine = end.failed.is_none() && t.aborting.is_none();
        let by_agent = !self.store.segments_of(t.row.id)?.is_empty();
        let events: Vec<InboxRow> = t.members.iter().filter(|m| is_event(m)).cloned().collect();
        let text = worth_telling(&t.said.join("\n\n"), rules.ack_max, !events.is_empty());
        let told = match text.filter(|_| fine && !by_agent) {
            Some(text) => self.tell_of_beat(s, &agent, &rules, &events, &text)?,
            None if by_agent => "by agent",
            None => "none",
        };
        if !fine {
            let why = end.failed.as_ref().map(|f| f.1.clone());
            let why = why.or(t.aborting.map(|(why, _)| why.as_str().to_owned())).unwrap_or_default();
            let message = format!("The heartbeat of {agent} did not come to its end: {}", prompt::head(&why, 200));
            self.observe(Level::Warn, Area::Session, "heartbeat", message, &s.key);
        }
        if fine {
            let message = format!("The heartbeat of {agent} is over, told: {told}");
            self.observe(Level::Debug, Area::Session, "heartbeat", message, &s.key);
        }
        let forgotten = s.deleted || matches!(t.aborting, Some((AbortWhy::Reset, _)));
        let kept = (told == "sent" || by_agent) && !forgotten;
        if let Some(copy) = s.copy.clone().filter(|copy| kept && *copy == t.row.file) {
            // From now on this is the conversation; the file before it goes when that is safe.
            let old = std::mem::replace(&mut s.row.file, copy.clone());
            self.end_scratch(&copy)?;
            self.add_scratch(old, &s.key)?;
            s.copy = None;
            self.save(s)?;
        }
        Ok(fine.then_some(told))
    }

    fn tell_of_beat(
        &mut self,
        s: &Session,
        agent: &str,
        rules: &HeartbeatRules,
        events: &[InboxRow],
        text: &str,
    ) -> Result<&'static str> {
        let job = match events {
            [one] => self.job_of_event(one),
            _ => None,
        };
        if let Some(job) = job {
            return self.tell_of_run(&job, agent, s, text); // its own due time, its own place
        }
        if !self.in_hours(rules) {
            let message = format!("Outside its hours the heartbeat of {agent} said: {}", prompt::head(text, 200));
            self.observe(Level::Info, Area::Session, "heartbeat", message, &s.key);
            return Ok("none");
        }
        let Some(source) = self.somebody(agent, None, None)? else {
            let message = format!("What the heartbeat of {agent} said reached nobody: {}", prompt::head(text, 200));
            self.observe(Level::Warn, Area::Session, "undeliverable", message, &s.key);
            return Ok("undeliverable");
        };
        self.tell_at(&source, Some(s), "heartbeat", text)?;
        Ok("sent")
    }

    /// The turn is over and its copy is not kept: pi lets go of it before anything else is asked.
    pub(super) fn leave_copy(&mut self, s: &mut Session, proc: Option<ProcId>) -> Result<()> {
        let Some(copy) = s.copy.clone() else { return Ok(()) };
        let holds = |p: &&super::pool::Proc| p.usable() && p.file.as_ref() == Some(&copy);
        let Some(proc) = proc.filter(|id| self.procs.get(id).as_ref().is_some_and(holds)) else { return Ok(()) };
        // Not to the conversation's file: that is looked at first, when somebody writes.
        let to = self.fresh_file(&s.key)?;
        let cmd = self.switch_file(proc, to.clone());
        s.stage = Stage::Clean { cmd, to: Some(to), until: self.now.mono + SWITCH };
        Ok(())
    }

    /// Removes the files of a session that nothing works on.
    pub(super) fn tidy(&mut self, key: &Key) -> Result<()> {
        let live = self.sessions.get(key);
        let idle = live.is_none_or(|s| matches!(s.stage, Stage::Idle | Stage::Debounce { .. }));
        if !idle {
            return Ok(());
        }
        let own = match live {
            Some(s) => Some(s.row.file.clone()),
            None => self.store.session(key)?.map(|row| row.file),
        };
        let procs = self.procs.values().filter(|p| p.session.as_ref() == Some(key));
        if procs.clone().any(|p| p.file.is_none()) {
            return Ok(()); // it is just changing from one file to another
        }
        // One that was started for a heartbeat which never came to its prompt.
        let copy = |p: &Proc| p.file.as_ref().is_some_and(|file| self.heart.scratch.contains_key(file));
        let on_a_copy = |p: &&Proc| p.usable() && p.file != own && copy(p);
        let stranded: Vec<ProcId> = procs.clone().filter(on_a_copy).map(|p| p.id).collect();
        if !stranded.is_empty() {
            stranded.into_iter().for_each(|id| self.stop_proc(id));
            return Ok(()); // its end brings us back
        }
        let now = self.now.mono;
        let gone: Vec<PathBuf> = self
            .heart
            .scratch
            .iter()
            .filter(|(file, x)| x.session == **key && own.as_ref() != Some(*file))
            .filter(|(file, x)| {
                x.asked.is_none_or(|at| at + AGAIN <= now) && !procs.clone().any(|p| p.file.as_ref() == Some(*file))
            })
            .map(|(file, _)| file.clone())
            .collect();
        for path in gone {
            let id = self.next_job;
            self.next_job += 1;
            self.heart.removing.insert(id, path.clone());
            if let Some(x) = self.heart.scratch.get_mut(&path) {
                x.asked = Some(now);
            }
            // What took its place must last first.
            let job = Box::new(Job::RemoveFile { path });
            self.emit(Effect::Job { id, session: key.clone(), job, durable: true });
        }
        Ok(())
    }

    /// True: it was the removal of such a file.
    pub(super) fn on_removed(&mut self, id: JobId, done: &JobDone) -> Result<bool> {
        let Some(file) = self.heart.removing.remove(&id) else { return Ok(false) };
        if *done == JobDone::Done {
            self.end_scratch(&file)?;
        }
        Ok(true)
    }

    pub(super) fn has_scratch(&self, key: &Key) -> bool {
        self.heart.scratch_of().any(|session| session == &**key)
    }
}
