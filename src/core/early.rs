//! Messages on their way to a session's queue: parts of one message are waited for, files are fetched (core.md 6,
//! 22.2; telegram.md 8). Every part is a row of its own; what waits leaves in the order in which it came, chat by chat.
//! What belongs together is decided in [`super::parcel`].

use super::intake::Kind;
use super::parcel::{is_plain, is_there, number, units, Join, Parcel, Place, Step};
use super::session::{Session, Stage};
use super::State;
use crate::message::*;
use crate::rules::Inflow;
use crate::store::{inbox_state as st, InboxRow, Result};

/// All files of a message, ms. The hands give up by themselves before.
const FETCH: u64 = 300_000;
const FETCH_LOST: u64 = FETCH + 30_000;
/// After so many attempts that did not come back the files are given up.
const FETCHES: i64 = 3;
/// A chat is told that seldom that nothing writes down what is spoken.
const UNHEARD: u64 = 3_600_000;

impl State {
    fn inflow(&self, s: &Source) -> Inflow {
        self.rules.account(s).map(|a| a.inflow.clone()).unwrap_or_default()
    }

    /// Where a message of a person goes that is no command.
    pub(super) fn place(&self, s: &Session, m: &Inbound) -> Place {
        let rules = self.inflow(&m.source);
        if self.maybe_asked(m).is_some() {
            return Place::New(Join::Answer);
        }
        let newest = s.early.iter().rposition(|p| p.rows.iter().any(|r| is_there(&r.source, &m.source)));
        let joins = |(n, p): (usize, &Parcel)| p.takes(m, self.now.mono, newest == Some(n)).then_some(n);
        if let Some(n) = s.early.iter().enumerate().find_map(joins) {
            return Place::With(n);
        }
        let comment = s.queue.last().filter(|r| {
            let young = (0..=rules.forwards as i64).contains(&(self.now.wall - r.at));
            let same = r.source.sender == m.source.sender && is_there(&r.source, &m.source);
            young && same && newest.is_none() && r.solo.is_none() && r.kind == "message" && r.group.is_none()
        });
        match comment {
            _ if m.group.is_some() => Place::New(Join::Album),
            Some(r) if m.forwarded => Place::After(r.id),
            _ if m.forwarded => Place::New(Join::Forwards),
            _ if is_plain(m) && rules.long_text > 0 && units(&m.text) >= rules.long_text => Place::New(Join::Text),
            _ if is_plain(m) && rules.typing > 0 && !m.text.starts_with('/') => Place::New(Join::Typed),
            _ if !m.files.is_empty() || newest.is_some() => Place::New(Join::Alone),
            _ => Place::Queue,
        }
    }

    /// Does it go on with something that was let in?
    pub(super) fn continues(&self, session: &str, m: &Inbound) -> bool {
        let Some(s) = self.sessions.get(session) else { return false };
        match self.place(s, m) {
            // Texts typed one after the other are each for whom they name.
            Place::With(n) => s.early[n].join == Join::Text || m.forwarded,
            Place::After(_) => true,
            Place::New(_) | Place::Queue => false,
        }
    }

    /// What rows of one message have in common; `row`: the one that will be stored.
    pub(super) fn group_at(&self, s: Option<&Session>, m: &Inbound, place: Place, row: Row) -> Option<String> {
        match place {
            Place::Queue => None,
            Place::New(join) => join.name(m, row),
            Place::With(n) => s?.early.get(n)?.rows.first()?.group.clone(),
            Place::After(_) => Join::Forwards.name(m, row),
        }
    }

    /// A stored message that does not go to the queue at once.
    pub(super) fn take_in(&mut self, s: &mut Session, item: InboxRow, place: Place) -> Result<()> {
        let (rules, now) = (self.inflow(&item.source), self.now.mono);
        match place {
            Place::Queue => return self.enqueue(s, item, Kind::Said),
            Place::With(n) => match s.early.get_mut(n) {
                Some(p) => p.add(item, now, &rules),
                None => return self.enqueue(s, item, Kind::Said),
            },
            Place::New(join) => s.early.push(Parcel::new(vec![item], join, now, &rules)),
            Place::After(comment) => {
                let mut rows = Vec::new();
                if let Some(at) = s.queue.iter().position(|r| r.id == comment) {
                    let row = s.queue.remove(at);
                    let group = item.group.clone();
                    self.store.set_group(row.id, st::ACCEPTED, group.as_deref())?;
                    rows.push(InboxRow { state: st::ACCEPTED.into(), group, ..row });
                }
                if s.queue.is_empty() && matches!(s.stage, Stage::Debounce { .. }) {
                    s.stage = Stage::Idle;
                }
                rows.push(item);
                s.early.push(Parcel::new(rows, Join::Forwards, now, &rules));
            }
        }
        self.pump_early(s)
    }

    /// What an earlier life left: windows begin anew, files are fetched again.
    pub(super) fn early_of(&self, key: &str) -> Result<Vec<Parcel>> {
        let mut parcels: Vec<Parcel> = Vec::new();
        for row in self.store.inbox_early(key)? {
            let known = parcels.iter_mut().find(|p| row.group.is_some() && p.rows[0].group == row.group);
            match known {
                Some(p) => p.rows.push(row),
                None => {
                    let (join, rules) = (Join::of(row.group.as_deref()), self.inflow(&row.source));
                    parcels.push(Parcel::new(vec![row], join, self.now.mono, &rules));
                }
            }
        }
        Ok(parcels)
    }

    pub(super) fn early_due(&self, s: &Session) -> Option<Mono> {
        if self.degraded.is_some() {
            return None; // looked at again when the store works
        }
        let dues = s.early.iter().filter_map(|p| match p.step {
            Step::Collect(until) | Step::Fetching { until, .. } => Some(until),
            Step::Files | Step::Ready => None,
        });
        dues.min()
    }

    /// Moves on whatever can move.
    pub(super) fn pump_early(&mut self, s: &mut Session) -> Result<()> {
        if s.early.is_empty() || self.degraded.is_some() {
            return Ok(());
        }
        let now = self.now.mono;
        let due = |core: &State, p: &Parcel| match (p.step, p.join) {
            (Step::Collect(_), Join::Answer) if !p.rows.iter().any(|r| core.is_held_reply(r.id)) => true,
            (Step::Collect(due), _) => due <= now,
            _ => false,
        };
        while let Some(n) = s.early.iter().position(|p| due(self, p)) {
            self.complete(s, n)?;
        }
        for p in &mut s.early {
            if let Step::Fetching { job, until } = p.step {
                if until <= now {
                    self.jobs.remove(&job);
                    p.step = Step::Files;
                }
            }
        }
        // One after the other: the first message's files first.
        while !s.early.iter().any(|p| matches!(p.step, Step::Fetching { .. })) {
            let Some(n) = s.early.iter().position(|p| p.step == Step::Files) else { break };
            self.fetch(s, n)?;
        }
        let free = |s: &Session| {
            let before = |n: usize| s.early[..n].iter().any(|p| p.target() == s.early[n].target());
            (0..s.early.len()).find(|n| s.early[*n].step == Step::Ready && !before(*n))
        };
        while let Some(n) = free(s) {
            let parcel = s.early.remove(n);
            let row = self.joined(parcel)?;
            self.store.set_inbox(row.id, st::QUEUED, None, None, None)?;
            self.enqueue(s, InboxRow { state: st::QUEUED.into(), ..row }, Kind::Said)?;
        }
        Ok(())
    }

    /// Nothing more follows: the gate decides about a whole album at once.
    fn complete(&mut self, s: &mut Session, n: usize) -> Result<()> {
        if s.early[n].rows.iter().all(|r| r.state == st::HELD) {
            for row in s.early.remove(n).rows {
                self.store.set_inbox(row.id, st::REFUSED, None, None, None)?;
                self.settled(row.id)?;
            }
            return Ok(());
        }
        let mut rows = std::mem::take(&mut s.early[n].rows);
        for row in rows.iter_mut().filter(|r| r.state == st::HELD) {
            self.store.set_group(row.id, st::ACCEPTED, row.group.as_deref())?;
            row.state = st::ACCEPTED.into();
            self.arrived(s, row, Kind::Said)?;
        }
        rows.sort_by_key(|r| (number(&r.source), r.id));
        let files = rows.iter().any(|r| !r.files.is_empty());
        s.early[n].rows = rows;
        s.early[n].step = if files { Step::Files } else { Step::Ready };
        Ok(())
    }

    fn fetch(&mut self, s: &mut Session, n: usize) -> Result<()> {
        let p = &mut s.early[n];
        let given_up = p.rows.iter().any(|r| !r.files.is_empty() && r.fetches >= FETCHES);
        if given_up {
            for row in &mut p.rows {
                let lines: Vec<String> = row.files.iter().map(|f| f.missing("download failed")).collect();
                row.tail = lines.join("\n");
                row.files.clear();
                self.store.set_fetched(row.id, &row.images, &row.tail)?;
            }
            p.step = Step::Ready;
            return Ok(());
        }
        let mut parts = Vec::new();
        for row in p.rows.iter_mut().filter(|r| !r.files.is_empty()) {
            row.fetches += 1;
            self.store.count_fetch(row.id)?;
            parts.push(Attached { row: row.id, source: row.source.clone(), at: row.at, files: row.files.clone() });
        }
        let within = std::time::Duration::from_millis(FETCH);
        let job = self.job(&s.key, Job::Fetch { parts, within }, false);
        s.early[n].step = Step::Fetching { job, until: self.now.mono + FETCH_LOST };
        Ok(())
    }

    /// True: it was a job of a message on its way.
    pub(super) fn on_fetched(&mut self, s: &mut Session, id: JobId, done: &JobDone) -> Result<bool> {
        let mine = |p: &Parcel| matches!(p.step, Step::Fetching { job, .. } if job == id);
        let Some(n) = s.early.iter().position(mine) else { return Ok(false) };
        match done {
            JobDone::Fetched(list) => {
                for got in list {
                    let Some(row) = s.early[n].rows.iter_mut().find(|r| r.id == got.row) else { continue };
                    row.images.extend(got.images.iter().cloned());
                    row.tail = got.tail.clone();
                    row.files.clear();
                    self.store.set_fetched(row.id, &row.images, &row.tail)?;
                    let source = row.source.clone();
                    for trouble in &got.tell {
                        self.tell_trouble(&source, *trouble)?;
                    }
                }
                let all = s.early[n].rows.iter().all(|r| r.files.is_empty());
                s.early[n].step = if all { Step::Ready } else { Step::Files };
            }
            other => {
                log::warn!("{}: files of a message did not come: {other:?}", s.key);
                s.early[n].step = Step::Files;
            }
        }
        self.pump_early(s)?;
        Ok(true)
    }

    /// In private only: others have nothing to do with it.
    fn tell_trouble(&mut self, source: &Source, trouble: Trouble) -> Result<()> {
        if source.chat_type != ChatType::Dm {
            return Ok(());
        }
        let target = self.target_of(source);
        let text = match trouble {
            Trouble::TooLarge { limit } => format!("⚠️ File too large (max {limit} MB)."),
            Trouble::TranscriptionFailed => "Transcription failed, please try again or send text.".to_owned(),
            Trouble::NoTranscription => {
                let now = self.now.mono;
                self.unheard.retain(|_, told| now.saturating_sub(*told) < UNHEARD);
                if self.unheard.len() >= 1000 || self.unheard.contains_key(&target) {
                    return Ok(());
                }
                self.unheard.insert(target.clone(), now);
                "Voice transcription is not configured.".to_owned()
            }
        };
        self.say(&target, &text, 3_600_000)
    }

    /// One row that says all of it; the others share its fate.
    fn joined(&mut self, mut p: Parcel) -> Result<InboxRow> {
        if p.rows.len() == 1 {
            let mut row = p.rows.remove(0);
            if row.group.take().is_some() {
                self.store.set_group(row.id, st::QUEUED, None)?;
            }
            return Ok(row);
        }
        let text = p.text();
        let mut lead = p.rows.remove(0); // no parcel is empty
        lead.text = text;
        for row in p.rows {
            lead.images.extend(row.images);
            lead.prio = lead.prio.max(row.prio);
            if !lead.tail.is_empty() && !row.tail.is_empty() {
                lead.tail.push('\n');
            }
            lead.tail.push_str(&row.tail);
            self.store.join(row.id, lead.id)?;
        }
        self.store.set_text(lead.id, &lead.text, lead.body_hash.as_deref())?;
        self.store.set_fetched(lead.id, &lead.images, &lead.tail)?;
        Ok(lead)
    }

    /// Takes out a message that stands alone.
    pub(super) fn take_early(&mut self, s: &mut Session, row: Row) -> Option<InboxRow> {
        let n = s.early.iter().position(|p| p.join == Join::Answer && p.rows.iter().any(|r| r.id == row))?;
        s.early.remove(n).rows.pop()
    }

    /// Takes out what pi already has (a power cut took the mark back).
    pub(super) fn early_known(
        &mut self,
        s: &mut Session,
        known: impl Fn(&State, &InboxRow) -> bool,
    ) -> Result<Vec<InboxRow>> {
        let mut found = Vec::new();
        while let Some(n) = s.early.iter().position(|p| p.rows.iter().any(|r| known(self, r))) {
            let p = s.early.remove(n);
            if let Step::Fetching { job, .. } = p.step {
                self.jobs.remove(&job);
            }
            found.push(self.joined(p)?);
        }
        Ok(found)
    }

    /// Everything that is on its way is dropped.
    pub(super) fn drop_early(&mut self, s: &mut Session, why: &str) -> Result<()> {
        for p in std::mem::take(&mut s.early) {
            if let Step::Fetching { job, .. } = p.step {
                self.jobs.remove(&job);
            }
            for row in p.rows {
                let held = row.state == st::HELD;
                let (state, reason) = if held { (st::REFUSED, None) } else { (st::DROPPED, Some(why)) };
                self.counters.queue_drops += u64::from(!held);
                self.store.set_inbox(row.id, state, None, None, reason)?;
                self.settled(row.id)?;
            }
        }
        Ok(())
    }
}
