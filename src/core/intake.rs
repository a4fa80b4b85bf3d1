//! What comes in: acceptance, duplicates, the queue and what happens when it is full (core.md 6, 22.2).

use super::cron_runs::CRON;
use super::delegate::is_task;
use super::early::{Join, Place};
use super::edits::said_hash;
use super::session::{Key, Session, Stage, Work};
use super::turn::AbortWhy;
use super::{command_list, prompt, State, Todo};
use crate::message::*;
use crate::routing::fleeting;
use crate::rules::{DropPolicy, Mode};
use crate::store::{inbox_state as st, InboxRow, NewInbox, Result};

/// Most that one message may hold, bytes.
pub const MAX_TEXT: usize = 4 << 20;

/// Who wrote a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Somebody the reply goes to, now and from now on.
    #[default]
    Said,
    /// A program: its message does not decide where the session's replies go.
    Webhook,
    /// A scheduled job.
    Cron,
    /// Another agent, which waits for the answer.
    Delegated,
}

impl State {
    /// `chat.send`, `/api/chat`: stored, then answered after the sync.
    pub(super) fn on_chat(&mut self, id: ReqId, req: ChatRequest, kind: Kind) -> Result<()> {
        if let Some(known) = self.known(req.dkey.as_deref())? {
            self.counters.duplicates += 1;
            if known.body_hash.as_deref().unwrap_or("") != req.body_hash {
                self.refuse(id, Code::IdempotencyConflict, "This idempotency key was used for another message.");
                return Ok(());
            }
            let run = self.store.ext('i', known.id);
            self.answer(id, Answer::Accepted { row: known.id, run, replayed: true }, true);
            return Ok(());
        }
        if let Some((code, why)) = self.closed() {
            self.refuse(id, code, why);
            return Ok(());
        }
        if req.text.trim().is_empty() && req.images.is_empty() {
            self.refuse(id, Code::InvalidRequest, "The message is empty.");
            return Ok(());
        }
        if req.text.len() > MAX_TEXT {
            self.refuse(id, Code::InvalidRequest, format!("The message is longer than {} MiB.", MAX_TEXT >> 20));
            return Ok(());
        }
        if req.known_only && self.store.session(&req.session)?.is_none() {
            let why = "Session not found; a webhook may begin only those of hooks.allowedSessions";
            self.refuse(id, Code::NotFound, why);
            return Ok(());
        }
        let mut source = req.source;
        // The same message sent again keeps its id for the agent, even if a power cut took our row back.
        source.message_id = source.message_id.or_else(|| req.dkey.as_deref().map(short_hash));
        let mut session = req.session;
        if req.fleeting {
            session += &self.store.ext('i', self.store.next_inbox());
        }
        let inbound = Inbound {
            dkey: req.dkey.unwrap_or_default(),
            source,
            text: req.text,
            images: req.images,
            ..Inbound::default()
        };
        let manner = Manner { hash: Some(&req.body_hash), solo: req.solo.as_ref(), kind, refusable: true, held: false };
        match self.accept(&session, inbound, manner)? {
            Some(row) => {
                let run = self.store.ext('i', row);
                self.answer(id, Answer::Accepted { row, run, replayed: false }, true);
            }
            None => {
                self.counters.rejected += 1;
                let message = "A message was refused: the queue is full".to_owned();
                self.observe(Level::Warn, Area::Session, "queue_full", message, &session);
                self.refuse(id, Code::QueueFull, "Too many messages queued. Please wait.");
            }
        }
        Ok(())
    }

    /// A reader's batch: one answer, when all of it is on disk.
    pub(super) fn on_batch(&mut self, id: ReqId, batch: Batch) -> Result<()> {
        if let Some((code, why)) = self.closed() {
            // It comes again; a button must not spin until then.
            for update in &batch.updates {
                let Update::Pressed(p) = update else { continue };
                self.answer_press(&Target::from(&p.source), &p.query, "Not now; please wait.");
            }
            self.refuse(id, code, why);
            return Ok(());
        }
        for update in batch.updates {
            let Some(update) = self.take_news(update)? else { continue };
            match update {
                Update::Message(mut m) => {
                    // Before anything of ours is put to it: an edit that changes nothing is known by that.
                    let hash = said_hash(&m);
                    let Some((session, held)) = self.let_in(&mut m)? else { continue };
                    self.accept(&session, m, Manner { hash: Some(&hash), held, ..Manner::default() })?;
                }
                Update::Edited(m) => self.on_edited(m)?,
                Update::Broken { dkey, source, raw } => self.on_broken(&dkey, &source, &raw)?,
                Update::Pressed(press) => self.on_press(press)?,
                _ => {}
            }
        }
        if let Some(value) = &batch.cursor {
            self.store.set_cursor(&batch.channel, &batch.account, value, self.now.wall)?;
        }
        self.answer(id, Answer::Ok, true);
        Ok(())
    }

    /// Session of a message from a channel, and its text without an agent's name. Commands go to the agent of
    /// the chat, never to one they name.
    pub(super) fn route(&self, source: &Source, text: &str) -> (String, String) {
        let routing = &self.rules.routing;
        let command = command_list::parse(text, &self.rules).is_some();
        let configured = self.as_configured(source);
        let (agent, rest) = routing.agent(&configured, if command { "" } else { text });
        (routing.session_key(agent, source), if command { text } else { rest }.to_owned())
    }

    pub(super) fn known(&self, dkey: Option<&str>) -> Result<Option<InboxRow>> {
        match dkey {
            Some(k) if !k.is_empty() => self.store.inbox_by_key(k),
            _ => Ok(None),
        }
    }

    /// Why nothing is accepted now.
    pub(super) fn closed(&self) -> Option<(Code, String)> {
        if self.draining.is_some() {
            return Some((Code::ShuttingDown, "The gateway is stopping; send it again in a moment.".into()));
        }
        self.degraded.as_ref().map(|why| (Code::StoreFailing, format!("Nothing can be stored now: {why}.")))
    }

    /// Stores one message and decides what becomes of it. `None`: the queue is full and the sender can be
    /// told directly; otherwise a refused message is a row too.
    pub(super) fn accept(&mut self, session: &str, mut m: Inbound, manner: Manner) -> Result<Option<Row>> {
        if let Some(text) = command_list::from_menu(&m.text, self.pi_commands.as_deref().unwrap_or_default()) {
            m.text = text;
        }
        let key: Key = session.into();
        self.current = Some(key.clone());
        let command = command_list::parse(&m.text, &self.rules);
        let command = match command {
            Some(c) if c.needs_the_right_to_be_one() && !self.authorised(&m.source)? => None,
            _ if manner.held => None,
            command => command,
        };
        let prio = match manner.kind {
            Kind::Said => self.priority(&m.source),
            Kind::Webhook => self.rules.prio_webhook,
            Kind::Cron => 0,
            Kind::Delegated => self.rules.prio_dm + self.rules.prio_bonus, // another turn waits for it
        };
        // A session in whose queue something waits is in memory already; a refused message makes no new one. Nothing
        // gives way to a webhook: its caller is told, and can come again.
        let room = match manner.kind {
            _ if command.is_some() => true,
            Kind::Said => self.make_room(&key, prio)?,
            Kind::Webhook => !self.is_full(&key),
            Kind::Cron => true,      // one per job
            Kind::Delegated => true, // counted where it was let in
        };
        if !room && manner.refusable {
            return Ok(None);
        }
        let key = self.load_for(session, &m.source, manner.held)?.unwrap_or(key);
        let waits = command.is_none() && manner.solo.is_none() && manner.kind == Kind::Said;
        let (place, group) = if waits { self.place_of_message(session, &m) } else { (Place::Queue, None) };
        let full = command.is_none() && !matches!(manner.kind, Kind::Cron | Kind::Delegated) && self.is_full(&key);
        let row = self.store.add_inbox(&NewInbox {
            dkey: (!m.dkey.is_empty()).then_some(m.dkey.as_str()),
            dkey2: m.dkey2.as_deref(),
            kind: match manner.kind {
                _ if command.is_some() => "command",
                Kind::Cron => CRON,
                _ => "message",
            },
            session,
            agent: self.rules.routing.agent_of(session),
            state: match place {
                _ if manner.held => st::HELD,
                Place::Queue => st::QUEUED,
                _ => st::ACCEPTED,
            },
            prio,
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            source: &m.source,
            text: &m.text,
            images: &m.images,
            body_hash: manner.hash,
            solo: manner.solo,
            files: &m.files,
            group: group.as_deref(),
        })?;
        crate::fault::trip(&m.text);
        if place == Place::New(Join::Answer) {
            self.hold_reply(row, &key, &m);
        }
        self.with(&key, |core, s| {
            let Some(item) = core.store.inbox(row)? else { return Ok(()) };
            if !manner.held {
                core.arrived(s, &item, manner.kind)?;
            }
            match command {
                Some(c) => core.command(s, item, c),
                None if full && manner.held => core.store.set_inbox(row, st::REFUSED, None, None, Some("queue full")),
                None if full => {
                    core.drop_row(s, &item, "queue full")?;
                    core.notice(s, Some(row), "Too many messages queued. Please wait.", st::DROPPED, Some("queue full"))
                }
                None if place == Place::Queue => core.enqueue(s, item, manner.kind),
                None => core.take_in(s, item, place),
            }
        })?;
        Ok(Some(row))
    }

    /// The session of a message; one that the gate may refuse yet makes no new one.
    fn load_for(&mut self, session: &str, source: &Source, held: bool) -> Result<Option<Key>> {
        if !held {
            return self.load(session, Some(source));
        }
        if let Some((key, _)) = self.sessions.get_key_value(session) {
            return Ok(Some(key.clone()));
        }
        match self.store.session(session)? {
            Some(_) => self.load(session, None),
            None => {
                let row = self.blank_row(session, source)?;
                self.remember(row, true).map(Some)
            }
        }
    }

    /// A message was let in: its session is told, and so are those who look on.
    pub(super) fn arrived(&mut self, s: &mut Session, m: &InboxRow, kind: Kind) -> Result<()> {
        self.offer_again(&m.source)?;
        if m.kind == "message" {
            self.acknowledge(&m.source);
        }
        self.counters.accepted += 1;
        *self.counters.channels.entry(m.source.channel.clone()).or_default() += 1;
        if s.deleted {
            (s.row, s.deleted) = (self.new_row(&s.key, &m.source)?, false);
        }
        let kinds = m.files.iter().map(|f| format!("[{}]", f.title())).collect::<Vec<_>>().join(" ");
        let text = if m.text.is_empty() { kinds } else { m.text.clone() };
        let run = self.store.ext('i', m.id);
        self.frame(Frame::Message { session: s.key.to_string(), run, text: text.clone(), at: self.now.wall });
        self.expire(s)?;
        if kind == Kind::Said || s.row.last.is_none() {
            self.assign_role(s, &m.source);
            s.row.last = Some(m.source.clone());
        }
        if kind == Kind::Cron && s.key.starts_with("cron:") {
            // Its own conversation: what its tools send goes where its result does.
            s.row.last = Some(m.source.clone());
            s.row.agent = m.source.agent.clone().unwrap_or_else(|| s.row.agent.clone());
        }
        s.row.last_at = self.now.wall;
        s.row.count += 1;
        self.save(s)?;
        self.transcribe(&s.key, "prompt", "user_message", &text);
        Ok(())
    }

    /// A role that nobody chose by hand follows the configuration.
    fn assign_role(&mut self, s: &mut Session, source: &Source) {
        if s.row.role_manual || !matches!(s.stage, Stage::Idle) {
            return;
        }
        let source = self.as_configured(source);
        let role = self.rules.role_of(&s.row.agent, Some(&source));
        if s.row.role.as_deref() != role {
            s.row.role = role.map(str::to_owned);
        }
    }

    /// A conversation that is over by the configuration's rules begins anew (config.md 4).
    fn expire(&mut self, s: &mut Session) -> Result<()> {
        let first = self.used.insert(s.key.clone());
        let busy = !matches!(s.stage, Stage::Idle) || s.waiting() > 0;
        if busy || s.row.count == 0 {
            return Ok(());
        }
        let age = self.now.wall - s.row.last_at;
        let idle = self.rules.idle_reset > 0 && age >= self.rules.idle_reset;
        let daily = self.rules.daily_reset.is_some_and(|minute| {
            let today = prompt::day_minute(self.now.wall, self.rules.zone.as_ref());
            let since = (today - minute).rem_euclid(24 * 60) * 60_000;
            age > since
        });
        let expired = self.clock_confirmed && (idle || daily);
        if expired || (first && !self.rules.continue_on_restart) {
            self.reset(s, false)?;
        }
        Ok(())
    }

    /// A line for the session's transcript (gateway-api.md 1.4); written by the hands, never waited for.
    pub(super) fn transcribe(&mut self, key: &Key, cat: &str, kind: &str, text: &str) {
        if !self.rules.transcripts || fleeting(key) {
            return;
        }
        let cut: String = text.chars().take(2000).collect();
        let cut = if cut.len() < text.len() { cut + "...[truncated]" } else { cut };
        let line = serde_json::json!({
            "ts": prompt::utc_time(self.now.wall), "cat": cat, "type": kind, "session": &**key,
            "data": {"text": cut, "textLength": text.chars().count()},
        });
        let id = self.next_job;
        self.next_job += 1;
        let job = Job::Transcript { session: key.to_string(), lines: vec![line.to_string()] };
        self.emit(Effect::Job { id, session: key.clone(), job: Box::new(job), durable: false });
    }

    /// A message whose handling panicked: stored as failed, so that it never comes again (core.md C7).
    pub fn bury(&mut self, event: &Event) -> Result<Vec<Effect>> {
        match event {
            Event::Request { id, req } => {
                if let Some(c) = req.message() {
                    let row =
                        self.store_failed(&c.session, c.dkey.as_deref(), &c.source, &c.text, Some(&c.body_hash))?;
                    let run = self.store.ext('i', row);
                    self.answer(*id, Answer::Accepted { row, run, replayed: false }, true);
                }
            }
            Event::Inbound { id, batch } => {
                for u in &batch.updates {
                    if let Update::Pressed(p) = u {
                        self.answer_press(&Target::from(&p.source), &p.query, "That failed.");
                    }
                    let (Update::Message(u) | Update::Edited(u)) = u else { continue };
                    if self.known(Some(&u.dkey))?.is_none() {
                        let (session, _) = self.route(&u.source, &u.text);
                        self.store_failed(&session, Some(&u.dkey), &u.source, &u.text, None)?;
                    }
                }
                self.answer(*id, Answer::Ok, true);
            }
            _ => {}
        }
        self.emit(Effect::Notice("a message could not be handled (panic, see the log); it was put aside".into()));
        Ok(std::mem::take(&mut self.out))
    }

    pub(super) fn store_failed(
        &mut self,
        session: &str,
        dkey: Option<&str>,
        source: &Source,
        text: &str,
        hash: Option<&str>,
    ) -> Result<Row> {
        let row = self.store.add_inbox(&NewInbox {
            dkey: dkey.filter(|k| !k.is_empty()),
            dkey2: None,
            kind: "message",
            session,
            agent: self.rules.routing.agent_of(session),
            state: st::FAILED,
            prio: 0,
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
            source,
            text,
            images: &[],
            body_hash: hash,
            solo: None,
            files: &[],
            group: None,
        })?;
        self.store.set_inbox(row, st::FAILED, None, None, Some("panic"))?;
        Ok(row)
    }

    pub(super) fn priority(&self, source: &Source) -> i64 {
        let base = if source.chat_type == ChatType::Dm { self.rules.prio_dm } else { self.rules.prio_group };
        let listed = self.rules.account(source).is_some_and(|a| a.access.names(&source.sender));
        base + if listed { self.rules.prio_bonus } else { 0 }
    }

    fn is_full(&self, key: &Key) -> bool {
        let mine = self.sessions.get(key).map_or(0, crowd);
        let all: usize = self.sessions.values().map(crowd).sum();
        mine >= self.rules.max_per_session || all >= self.rules.max_waiting
    }

    /// Lets something give way if the queue is full; false: nothing can, the new one is refused.
    fn make_room(&mut self, key: &Key, prio: i64) -> Result<bool> {
        if !self.is_full(key) {
            return Ok(true);
        }
        if self.rules.drop_policy == DropPolicy::New {
            return Ok(false);
        }
        let mine = self.sessions.get(key).is_some_and(|s| s.queue.iter().any(gives_way));
        // Its own session first; another session's only if that is of lower priority.
        let victim = if mine {
            Some(key.clone())
        } else {
            let of = |s: &Session| s.queue.iter().filter(|m| gives_way(m)).map(|m| m.prio).min();
            let lowest = |s: &Session| of(s).unwrap_or(i64::MAX);
            self.sessions.values().filter(|s| lowest(s) < prio).min_by_key(|s| lowest(s)).map(|s| s.key.clone())
        };
        let Some(victim) = victim else { return Ok(false) };
        self.with(&victim, |core, s| {
            let people = (0..s.queue.len()).filter(|i| gives_way(&s.queue[*i]));
            let Some(at) = people.min_by_key(|i| (s.queue[*i].prio, s.queue[*i].id)) else { return Ok(()) };
            let row = s.queue.remove(at);
            if core.rules.drop_policy == DropPolicy::Summarize {
                s.dropped.push(prompt::head(&row.text, 140));
            }
            core.drop_row(s, &row, "gave way to newer messages")?;
            let told = std::mem::replace(&mut s.told_full, true);
            let text = "Too many messages are waiting; the oldest were dropped.";
            if told {
                core.store.set_inbox(row.id, st::DROPPED, None, None, Some("queue full"))?;
                core.settled(row.id)
            } else {
                core.notice(s, Some(row.id), text, st::DROPPED, Some("queue full"))
            }
        })?;
        Ok(!self.is_full(key))
    }

    fn drop_row(&mut self, s: &Session, row: &InboxRow, why: &str) -> Result<()> {
        self.counters.queue_drops += 1;
        log::info!("{}: message {} dropped: {why}", s.key, row.id);
        self.observe(Level::Warn, Area::Session, "queue_drop", format!("A message was dropped: {why}"), &s.key);
        Ok(())
    }

    /// A message of a session: injected, interrupting, or waiting; of a webhook always waiting.
    pub(super) fn enqueue(&mut self, s: &mut Session, item: InboxRow, kind: Kind) -> Result<()> {
        if kind == Kind::Said && matches!(&s.stage, Stage::Turn(t) if t.is_beat()) {
            self.begin_wait(&s.key, &item.source); // nobody sees what it waits for
        }
        if item.solo.is_some() {
            s.queue.push(item);
            return match s.stage {
                Stage::Idle => self.begin(s, Work::Queue),
                _ => Ok(()),
            };
        }
        let mode = self.mode(s);
        let can_inject = matches!(&s.stage, Stage::Turn(t) if t.can_inject());
        match mode {
            _ if kind == Kind::Webhook => s.queue.push(item), // what people are at goes on
            Mode::Steer | Mode::FollowUp if can_inject => {
                let how = if mode == Mode::Steer { Inject::Steer } else { Inject::FollowUp };
                return self.inject(s, item, how);
            }
            Mode::Interrupt if matches!(s.stage, Stage::Turn(_)) => {
                s.queue.push(item);
                return self.abort_turn(s, AbortWhy::Interrupt);
            }
            _ => s.queue.push(item),
        }
        match s.stage {
            Stage::Idle if self.closed().is_some() => {} // kept for the next life, or until the store works
            Stage::Idle if self.rules.collect && self.rules.debounce > 0 => {
                s.stage = Stage::Debounce { due: self.now.mono + self.rules.debounce.min(300) };
            }
            Stage::Idle => self.begin(s, Work::Queue)?,
            _ => {}
        }
        Ok(())
    }

    /// Begins a turn if something waits and nothing is going on.
    pub(super) fn kick(&mut self, s: &mut Session) -> Result<()> {
        self.pump_early(s)?;
        match s.stage {
            Stage::Idle if s.switch.is_some() => self.switch_now(s),
            Stage::Idle if !s.queue.is_empty() && self.draining.is_none() && self.degraded.is_none() => {
                self.begin(s, Work::Queue)
            }
            _ => Ok(()),
        }
    }

    /// Takes the members of the next turn out of the queue: the most urgent message, and in collect mode
    /// all others that go to the same chat.
    pub(super) fn take_members(&mut self, s: &mut Session) -> Vec<InboxRow> {
        let Some(first) = s.next_message() else { return Vec::new() };
        let (id, target) = (first.id, self.target_of(&first.source));
        let alone = |r: &InboxRow| r.text.starts_with('/') || r.solo.is_some();
        let collect = self.rules.collect && !alone(first);
        let joins = |r: &InboxRow| r.id == id || (collect && !alone(r) && self.target_of(&r.source) == target);
        let (members, rest) = std::mem::take(&mut s.queue).into_iter().partition(joins);
        s.queue = rest;
        members
    }

    pub(super) fn requeue(&mut self, s: &mut Session, rows: Vec<InboxRow>) -> Result<()> {
        for r in rows.into_iter().rev() {
            self.store.set_inbox(r.id, st::QUEUED, None, None, None)?;
            s.queue.insert(0, InboxRow { state: st::QUEUED.into(), turn: None, inj: None, ..r });
        }
        s.queue.sort_by_key(|r| r.id);
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(())
    }
}

/// How a message is taken in.
#[derive(Default)]
pub(super) struct Manner<'a> {
    /// Of the request's body.
    pub hash: Option<&'a str>,
    pub solo: Option<&'a Solo>,
    pub kind: Kind,
    /// Its sender can be told directly that the queue is full, or need not be.
    pub refusable: bool,
    /// Let in only if another part of the same message is.
    pub held: bool,
}

/// May be dropped if the queue is full. What comes by itself is bounded where it comes from (one per job, agent, task):
/// it neither gives way nor counts.
fn gives_way(m: &InboxRow) -> bool {
    !super::heartbeat::background(m) && !is_task(m)
}

/// How much of what waits counts against the queue's limits.
fn crowd(s: &Session) -> usize {
    s.waiting() - s.queue.iter().filter(|m| !gives_way(m)).count()
}

/// 13 characters that stand for a unique key.
pub(super) fn short_hash(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let n = digest.as_ref().iter().take(8).fold(0u64, |n, b| n << 8 | u64::from(*b));
    crate::store::external_id("", 'k', (n >> 1) as i64)
}
