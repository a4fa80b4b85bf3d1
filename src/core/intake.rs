//! What comes in: duplicates, acceptance, whose it is (core.md 6, 22.2).
//!
//! What is accepted is handed on: to the queue ([`super::queue`]), the parcels ([`super::early`]) or the commands.

use super::cron_runs::CRON;
use super::edits::said_hash;
use super::parcel::{Join, Place};
use super::session::{Key, Session, Stage};
use super::{command_list, prompt, State};
use crate::message::*;
use crate::routing::fleeting;
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
        let kind = match manner.kind {
            _ if command.is_some() => "command",
            Kind::Cron => CRON,
            _ => "message",
        };
        let row = self.store.add_inbox(&NewInbox {
            dkey: (!m.dkey.is_empty()).then_some(m.dkey.as_str()),
            dkey2: m.dkey2.as_deref(),
            state: match place {
                _ if manner.held => st::HELD,
                Place::Queue => st::QUEUED,
                _ => st::ACCEPTED,
            },
            prio,
            text: &m.text,
            images: &m.images,
            body_hash: manner.hash,
            solo: manner.solo,
            files: &m.files,
            group: group.as_deref(),
            ..self.incoming(kind, session, &m.source)
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

/// 13 characters that stand for a unique key.
pub(super) fn short_hash(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let n = digest.as_ref().iter().take(8).fold(0u64, |n, b| n << 8 | u64::from(*b));
    crate::store::external_id("", 'k', (n >> 1) as i64)
}
