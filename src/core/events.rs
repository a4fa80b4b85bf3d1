//! System events: what an agent is to learn of without anybody having written (core.md 14). They wait as rows of the
//! inbox, start no turn themselves, and end with the turn that takes them.

use super::session::Session;
use super::turn::{AbortWhy, Turn};
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, NewInbox, Result};

pub(super) const EVENT: &str = "event";
/// Per session; the oldest gives way.
const MOST: usize = 20;
/// An event that no turn has taken is over after that, ms.
const LIFE: i64 = 3_600_000;
/// After a heartbeat that failed its events are tried again, ms.
const AGAIN: u64 = 300_000;
/// Characters of a text from outside.
const TEXT: usize = 4_000;

pub(super) fn is_event(m: &InboxRow) -> bool {
    m.kind == EVENT
}

/// An event to be stored.
#[derive(Default)]
pub(super) struct NewEvent<'a> {
    pub agent: &'a str,
    pub session: &'a str,
    pub text: &'a str,
    /// The agent is woken for it.
    pub wakes: bool,
    /// The same once more is no other one.
    pub dkey: Option<&'a str>,
    /// The scheduled job that it is a run of.
    pub job: Option<&'a str>,
}

impl State {
    /// Stores it; who is to be woken is woken at the end of the event at hand.
    pub(super) fn add_event(&mut self, e: &NewEvent) -> Result<Row> {
        self.expire_events()?;
        let waiting = self.store.events(e.session)?;
        for old in waiting.iter().take((waiting.len() + 1).saturating_sub(MOST)) {
            self.drop_event(old.id, st::DROPPED, "too many events")?;
        }
        let source = Source {
            channel: EVENT.into(),
            chat: e.session.into(),
            sender: EVENT.into(),
            sender_name: e.job.map(str::to_owned),
            agent: Some(e.agent.to_owned()),
            ..Source::default()
        };
        let row = self.store.add_inbox(&NewInbox {
            dkey: e.dkey,
            agent: e.agent,
            state: st::PENDING,
            prio: e.wakes.into(),
            text: e.text,
            ..self.incoming(EVENT, e.session, &source)
        })?;
        if !self.dues.contains_key(&Due::Events) {
            self.arm(Due::Events, self.now.mono + LIFE as u64 + 1);
        }
        if e.wakes {
            self.todo.push_back(Todo::Wake(e.agent.to_owned()));
        }
        Ok(row)
    }

    /// `POST /api/wake`: an event for the caller's agent, or the default one.
    pub(super) fn on_wake(&mut self, id: ReqId, by: Option<ProcId>, text: &str, now: bool) -> Result<()> {
        if let Some((code, why)) = self.closed() {
            self.refuse(id, code, why);
            return Ok(());
        }
        let of_proc = by.and_then(|proc| self.procs.get(&proc)).map(|p| p.profile.agent.clone());
        let agent = of_proc.unwrap_or_else(|| self.rules.routing.default.clone());
        let session = self.main_key(&agent)?;
        let text: String = text.trim().chars().take(TEXT).collect();
        let text = format!("[WAKE] {text}");
        self.add_event(&NewEvent { agent: &agent, session: &session, text: &text, wakes: now, ..NewEvent::default() })?;
        self.observe(Level::Info, Area::Session, "wake", "A system event was taken in".into(), &session);
        self.answer(id, Answer::Session(Some(session)), true);
        Ok(())
    }

    fn drop_event(&mut self, id: Row, state: &str, why: &str) -> Result<()> {
        self.store.set_inbox(id, state, None, None, Some(why))?;
        self.settled(id)
    }

    /// Events that nobody took in time are over.
    pub(super) fn expire_events(&mut self) -> Result<()> {
        if self.clock_confirmed {
            for old in self.store.events_before(self.now.wall - LIFE)? {
                self.drop_event(old.id, st::MISSED, "nobody took it up within an hour")?;
            }
        }
        match self.store.oldest_event()? {
            // How old they are can be told when the clock is known to be right.
            Some(_) if !self.clock_confirmed => self.arm(Due::Events, self.now.mono + LIFE as u64),
            Some(at) => {
                let left = (at + LIFE + 1 - self.now.wall).clamp(1, LIFE + 1) as u64;
                self.arm(Due::Events, self.now.mono + left);
            }
            None => self.disarm(&Due::Events),
        }
        Ok(())
    }

    /// The conversation begins anew: what waited for it is over. Gives how many those were.
    pub(super) fn clear_events(&mut self, session: &str, why: &str) -> Result<usize> {
        let waiting = self.store.events(session)?;
        for e in &waiting {
            self.drop_event(e.id, st::DROPPED, why)?;
        }
        Ok(waiting.len())
    }

    /// What the next turn of the session takes along, before its own messages. People's turns do where no heartbeat will.
    pub(super) fn events_for(&mut self, s: &Session, members: &[InboxRow]) -> Result<Vec<InboxRow>> {
        let beat = members.iter().any(super::heartbeat::is_beat);
        let said = |m: &InboxRow| m.kind == "message" || m.kind == super::presses::CALLBACK;
        let alone = |m: &InboxRow| m.solo.is_some() || !said(m) || self.is_pi_command(&m.text);
        if !beat && (self.rules.heartbeats.contains_key(&s.row.agent) || members.iter().any(alone)) {
            return Ok(Vec::new());
        }
        self.expire_events()?;
        self.store.events(&s.key)
    }

    /// The fate of the events of a turn that is over. `fine`: the agent has dealt with them.
    pub(super) fn end_events(&mut self, s: &Session, t: &Turn, fine: bool, delivery: &'static str) -> Result<()> {
        let forgotten = s.deleted || matches!(t.aborting, Some((AbortWhy::Reset, _)));
        for m in t.members.iter().filter(|m| is_event(m)) {
            match (fine, forgotten) {
                (_, true) => self.drop_event(m.id, st::DROPPED, st::BY_COMMAND)?,
                (true, false) => {
                    self.store.set_inbox(m.id, st::MERGED, Some(t.row.id), None, None)?;
                    self.cron_event_done(m, t, delivery)?;
                }
                (false, false) => self.store.put_back_event(m.id)?,
            }
        }
        if !fine {
            self.expire_events()?; // those that came back go on ageing
        }
        // Who was woken for them and failed is woken again: the next heartbeat may be later than their end.
        let woken = t.members.iter().find(|m| is_event(m) && m.prio > 0).and_then(|m| m.source.agent.clone());
        let by_people = matches!(t.aborting, Some((AbortWhy::User | AbortWhy::Interrupt, _)));
        if let Some(agent) = woken.filter(|_| !fine && !forgotten && !by_people) {
            self.arm(Due::Wake(agent), self.now.mono + AGAIN);
        }
        Ok(())
    }
}

/// A list of events, with their times.
pub(super) fn list(events: &[&InboxRow], zone: Option<&jiff::tz::TimeZone>) -> String {
    let line = |m: &&InboxRow| {
        let time = super::prompt::local_time(m.at, zone);
        format!("- {} {}", &time[11..16], m.text.trim().replace('\n', "\n  "))
    };
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}
