//! Messages on their way to a session's queue: parts of one message are waited for, files are fetched (core.md 6,
//! 22.2; telegram.md 8). Every part is a row of its own; what waits leaves in the order in which it came, chat by chat.

use super::answers::WORD;
use super::intake::Kind;
use super::session::{Session, Stage};
use super::State;
use crate::message::*;
use crate::rules::Inflow;
use crate::store::{inbox_state as st, InboxRow, Result};

/// Parts of an album, and of a text that a client has split.
const ALBUM_PARTS: usize = 10;
const TEXT_PARTS: usize = 12;
/// Characters of such a text.
const TEXT_MOST: usize = 50_000;
/// Forwarded messages, or texts typed one after the other, that become one.
const BURST: usize = 100;
/// All files of a message, ms. The hands give up by themselves before.
const FETCH: u64 = 300_000;
const FETCH_LOST: u64 = FETCH + 30_000;
/// After so many attempts that did not come back the files are given up.
const FETCHES: i64 = 3;
/// A chat is told that seldom that nothing writes down what is spoken.
const UNHEARD: u64 = 3_600_000;

/// A message, or the parts of one.
pub struct Parcel {
    pub rows: Vec<InboxRow>,
    join: Join,
    /// Of its first part.
    since: Mono,
    step: Step,
}

/// What makes several messages one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join {
    Alone,
    Album,
    /// One text that was too long for one message.
    Text,
    Forwards,
    Typed,
    /// Alone, and maybe the answer to a question.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// More may follow until then.
    Collect(Mono),
    /// Its files are asked for when it is its turn.
    Files,
    Fetching {
        job: JobId,
        until: Mono,
    },
    Ready,
}

/// Where a new message of a session goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Queue,
    New(Join),
    /// Into that parcel.
    With(usize),
    /// It begins a parcel with the newest message of the queue: a comment and what it is about.
    After(Row),
}

impl Join {
    fn name(self, m: &Inbound, row: Row) -> Option<String> {
        match self {
            Join::Alone | Join::Answer => None,
            Join::Album => m.group.as_ref().map(|g| format!("a:{g}")),
            Join::Text => Some(format!("t:{row}")),
            Join::Forwards => Some(format!("f:{row}")),
            Join::Typed => Some(format!("d:{row}")),
        }
    }

    /// What stands between the parts.
    pub(super) fn between(self) -> &'static str {
        if self == Join::Text {
            ""
        } else {
            "\n\n"
        }
    }

    /// What the parts say together.
    pub(super) fn text<'a>(self, texts: impl Iterator<Item = &'a str>) -> String {
        let texts: Vec<&str> = texts.filter(|t| !t.is_empty()).collect();
        match self {
            Join::Album if texts.is_empty() => "(album)".to_owned(),
            _ => texts.join(self.between()),
        }
    }

    pub(super) fn of(name: Option<&str>) -> Join {
        match name.and_then(|n| n.split_once(':')).map_or("", |(kind, _)| kind) {
            "a" => Join::Album,
            "t" => Join::Text,
            "f" => Join::Forwards,
            "d" => Join::Typed,
            _ => Join::Alone,
        }
    }

    /// How long the next part is waited for.
    fn window(self, rules: &Inflow) -> u64 {
        match self {
            Join::Alone => 0,
            Join::Album => rules.album,
            Join::Text => rules.long_wait,
            Join::Forwards => rules.forwards,
            Join::Typed => rules.typing,
            Join::Answer => WORD,
        }
    }
}

impl Parcel {
    fn new(rows: Vec<InboxRow>, join: Join, now: Mono, rules: &Inflow) -> Parcel {
        Parcel { rows, join, since: now, step: Step::Collect(now + join.window(rules)) }
    }

    fn is_from(&self, s: &Source) -> bool {
        self.rows.iter().all(|r| r.source.sender == s.sender && is_there(&r.source, s))
    }

    fn target(&self) -> Target {
        self.rows.first().map(|r| Target::from(&r.source)).unwrap_or_default()
    }

    /// Is that message a part of it? `last`: nothing of its chat came after it.
    fn takes(&self, m: &Inbound, now: Mono, last: bool) -> bool {
        if !matches!(self.step, Step::Collect(due) if due > now) || !self.is_from(&m.source) {
            return false;
        }
        let plain = is_plain(m);
        match self.join {
            Join::Alone | Join::Answer => false,
            Join::Album => {
                let name = self.rows.first().and_then(|r| r.group.as_deref());
                name.is_some() && name == Join::Album.name(m, 0).as_deref() && self.rows.len() < ALBUM_PARTS
            }
            Join::Text => {
                let length: usize = self.rows.iter().map(|r| r.text.chars().count()).sum();
                let before = self.rows.last().and_then(|r| number(&r.source));
                let follows = before.zip(number(&m.source)).is_some_and(|(a, b)| b > a && b - a <= 2);
                let room = self.rows.len() < TEXT_PARTS && length + m.text.chars().count() <= TEXT_MOST;
                plain && follows && room
            }
            Join::Forwards => m.forwarded && m.group.is_none() && last && self.rows.len() < BURST,
            Join::Typed => {
                let typed = plain && !m.text.starts_with('/');
                (typed || (m.forwarded && m.group.is_none())) && last && self.rows.len() < BURST
            }
        }
    }

    /// A part came: until when more are waited for.
    fn add(&mut self, row: InboxRow, now: Mono, rules: &Inflow) {
        let complete = match self.join {
            Join::Text => units(&row.text) < rules.long_text || self.rows.len() + 1 >= TEXT_PARTS,
            Join::Album => self.rows.len() + 1 >= ALBUM_PARTS,
            _ => self.rows.len() + 1 >= BURST,
        };
        self.rows.push(row);
        let most = if self.join == Join::Text { TEXT_PARTS as u64 * rules.long_wait } else { rules.album_most };
        let due = (now + self.join.window(rules)).min((self.since + most).max(now));
        self.step = Step::Collect(if complete { now } else { due });
    }

    /// What must not be, for the simulator.
    pub fn broken(&self) -> Option<&'static str> {
        let early = |r: &InboxRow| matches!(r.state.as_str(), st::ACCEPTED | st::HELD);
        match self.step {
            _ if self.rows.is_empty() => Some("an empty parcel"),
            _ if !self.rows.iter().all(early) => Some("a row on its way that is elsewhere"),
            Step::Files | Step::Fetching { .. } if self.rows.iter().any(|r| r.state == st::HELD) => {
                Some("files of a message that was not let in are fetched")
            }
            _ => None,
        }
    }

    /// What all of it says.
    fn text(&self) -> String {
        self.join.text(self.rows.iter().map(|r| r.text.as_str()))
    }
}

fn is_there(a: &Source, b: &Source) -> bool {
    (&a.channel, &a.account, &a.chat, &a.thread) == (&b.channel, &b.account, &b.chat, &b.thread)
}

/// Words of its sender and nothing else.
fn is_plain(m: &Inbound) -> bool {
    m.files.is_empty() && m.images.is_empty() && m.group.is_none() && !m.forwarded
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Platforms that number the messages of a chat.
pub(super) fn number(s: &Source) -> Option<i64> {
    s.message_id.as_ref()?.parse().ok()
}

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
