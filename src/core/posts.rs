//! Messages that tools and API clients send to a session's people, and what they do to messages that stand there
//! (core.md 11): recorded beside the turn's reply; delivered by that where the store is the mailbox, else by the
//! lane of the chat.

use super::hearers::source_of;
use super::session::{Session, Stage};
use super::{Due, State};
use crate::message::*;
use crate::store::{NewOutbox, NewSegment, Part, Result, SentOutbox, DELETE, EDIT, PIN, REACT, TEXT, UNPIN};

/// Whoever asked waits that long for the platform, ms; then the row goes out by itself.
const WAIT: u64 = 20_000;

/// Somebody waits for rows of the outbox.
#[derive(Debug)]
pub(super) struct Poster {
    req: ReqId,
    row: Row,
    segment: Option<Row>,
    replayed: bool,
}

/// What of a session a post needs.
struct Around {
    key: String,
    /// The running turn, and the message that it answers.
    turn: Option<(Row, Option<Row>)>,
    home: Home,
}

/// How long something is owed.
#[derive(Clone, Copy)]
struct Life {
    begin: Wall,
    end: Wall,
    /// These times are of a clock that was right.
    sure: bool,
}

impl State {
    pub(super) fn on_post(&mut self, id: ReqId, req: PostRequest) -> Result<()> {
        if self.replayed(id, req.dkey.as_deref(), &req.body_hash)? || self.sick(id) {
            return Ok(());
        }
        let mut req = req;
        if let Some(target) = &req.target {
            req.session = self.conversation(target);
        }
        match self.load(&req.session, req.begin.as_ref())? {
            Some(key) if !req.look => self.with(&key, |core, s| {
                if s.row.last.is_none() && req.begin.is_some() {
                    s.row.last.clone_from(&req.begin);
                    core.store.put_session(&s.row)?;
                }
                let target = match &req.target {
                    Some(target) => Some(target.clone()),
                    None => s.row.last.as_ref().map(|last| core.target_of(last)),
                };
                let turn = match &s.stage {
                    Stage::Turn(t) if req.target.is_none() => Some((t.row.id, t.addressee().map(|m| m.id))),
                    _ => None,
                };
                let around = Around { key: s.key.to_string(), turn, home: core.home(&s.row) };
                core.post(around, target, id, req)
            }),
            None if !req.look && req.target.is_some() => {
                // Nobody has written there yet.
                let agent = self.rules.routing.agent_of(&req.session);
                let home = Home { sid: String::new(), cwd: self.rules.cwd(agent, "default") };
                let (key, target) = (req.session.clone(), req.target.clone());
                self.post(Around { key, turn: None, home }, target, id, req)
            }
            _ => {
                self.refuse(id, Code::NotFound, "Session not found");
                Ok(())
            }
        }
    }

    /// The session of those who write in that chat.
    pub(super) fn conversation(&self, target: &Target) -> String {
        let source = Source { sender: target.chat.clone(), ..source_of(target.clone()) };
        let (agent, _) = self.rules.routing.agent(&source, "");
        self.rules.routing.session_key(agent, &source)
    }

    /// Answers a repeat of what was recorded under that key.
    fn replayed(&mut self, id: ReqId, dkey: Option<&str>, hash: &str) -> Result<bool> {
        let Some(known) = dkey.map_or(Ok(None), |key| self.store.post_by_key(key))? else { return Ok(false) };
        if known.body_hash.as_deref().unwrap_or("") != hash {
            self.refuse(id, Code::IdempotencyConflict, "This idempotency key was used for another message.");
            return Ok(true);
        }
        let called = self.store.outbox_channel(known.row)?.is_some_and(|channel| !self.rules.mailbox(&channel));
        match known.segment.filter(|_| !called) {
            Some(segment) => {
                let posted = self.store.ext('s', segment);
                self.answer(id, Answer::Posted { id: posted, replayed: true }, true);
            }
            None => self.follow(id, known.row, known.segment, true)?,
        }
        Ok(true)
    }

    /// Nothing can be stored: the caller is told.
    fn sick(&mut self, id: ReqId) -> bool {
        let Some(why) = &self.degraded else { return false };
        let why = format!("Nothing can be stored now: {why}.");
        self.refuse(id, Code::StoreFailing, why);
        true
    }

    fn post(&mut self, around: Around, target: Option<Target>, id: ReqId, req: PostRequest) -> Result<()> {
        let called = |t: &Target| self.rules.account_of(t).is_some();
        let Some(target) = target.filter(|t| self.rules.mailbox(&t.channel) || called(t)) else {
            self.refuse(id, Code::Unsupported, "The session's channel cannot be sent to");
            return Ok(());
        };
        let life = self.life(req.age);
        if self.rules.mailbox(&target.channel) && self.clock_confirmed && life.end < self.now.wall {
            self.refuse(id, Code::NotFound, "It is too old: nobody is told of it any more");
            return Ok(());
        }
        let Around { key, turn, home } = around;
        // Its place in the history: behind the message that is being answered, or the newest one.
        let inbox = match turn {
            Some((_, Some(row))) => Some(row),
            _ => self.store.newest_inbox(&key)?,
        };
        let file = req.post.file.as_ref().and_then(|file| serde_json::to_string(file).ok());
        let segment = self.store.add_segment(&NewSegment {
            turn: turn.map(|t| t.0),
            inbox,
            media: file.as_deref(),
            ..self.said(&key, "tool", &target, &req.post.text)
        })?;
        let mailbox = self.rules.mailbox(&target.channel);
        if mailbox {
            self.store.add_sent(&SentOutbox {
                dkey: req.dkey.as_deref(),
                body_hash: &req.body_hash,
                segment,
                target: &target,
                kind: if req.post.file.is_some() { "media" } else { "send" },
                at: self.now.wall,
                clock_ok: self.clock_confirmed,
            })?;
        } else {
            let content = content(&req, &home);
            let row = self.owe(&NewOutbox {
                segment: Some(segment),
                at: life.begin,
                clock_ok: life.sure,
                expires: life.end,
                ..self.outgoing(TEXT, &target, &content)
            })?;
            self.store.set_outbox_key(row, req.dkey.as_deref(), &req.body_hash)?;
            self.follow(id, row, Some(segment), false)?;
        }
        let posted = self.store.ext('s', segment);
        let run = inbox.map(|row| self.store.ext('i', row)).unwrap_or_default();
        let at = self.now.wall;
        self.frame(Frame::Posted(Box::new(Posted { session: key, id: posted.clone(), run, post: req.post, home, at })));
        if mailbox {
            self.answer(id, Answer::Posted { id: posted, replayed: false }, true);
        }
        Ok(())
    }

    /// A scheduled job's result, or what came of a heartbeat, in the conversation with those who hear of it.
    pub(super) fn announce(&mut self, key: &str, target: &Target, origin: &'static str, text: &str) -> Result<()> {
        let inbox = self.store.newest_inbox(key)?;
        let segment = self.store.add_segment(&NewSegment { inbox, ..self.said(key, origin, target, text) })?;
        if !self.rules.mailbox(&target.channel) {
            let content = Content { text: text.to_owned(), ..Content::default() };
            self.owe(&NewOutbox { segment: Some(segment), ..self.outgoing(TEXT, target, &content) })?;
        }
        let home = match self.store.session(key)? {
            Some(row) => self.home(&row),
            None => Home { sid: String::new(), cwd: self.rules.cwd(self.rules.routing.agent_of(key), "default") },
        };
        let id = self.store.ext('s', segment);
        let run = inbox.map(|row| self.store.ext('i', row)).unwrap_or_default();
        let post = Post { text: text.to_owned(), ..Post::default() };
        let at = self.now.wall;
        self.frame(Frame::Posted(Box::new(Posted { session: key.to_owned(), id, run, post, home, at })));
        Ok(())
    }

    /// When it was written and how long it is good for. A time that cannot be believed is none.
    fn life(&self, age: Option<Age>) -> Life {
        let since = age.filter(|age| age.sure).map(|age| age.since);
        let begin = match since {
            Some(since) if self.clock_confirmed => since.min(self.now.wall),
            Some(since) => since,
            None => self.now.wall,
        };
        let end = begin.saturating_add(age.and_then(|age| age.life).unwrap_or(self.rules.max_age));
        Life { begin, end, sure: since.is_some() || self.clock_confirmed }
    }

    pub(super) fn on_act(&mut self, id: ReqId, req: ActRequest) -> Result<()> {
        if self.replayed(id, req.dkey.as_deref(), &req.body_hash)? || self.sick(id) {
            return Ok(());
        }
        let Some(key) = self.load(&req.session, None)? else {
            self.refuse(id, Code::NotFound, "Session not found");
            return Ok(());
        };
        self.with(&key, |core, s| core.act_on(s, id, req))
    }

    fn act_on(&mut self, s: &mut Session, id: ReqId, req: ActRequest) -> Result<()> {
        let target = s.row.last.as_ref().map(|last| self.target_of(last));
        let Some(target) = target.filter(|t| self.rules.account_of(t).is_some()) else {
            self.refuse(id, Code::Unsupported, "The session's channel cannot do that");
            return Ok(());
        };
        let (kind, text) = match req.act {
            Act::React(emoji) => (REACT, emoji.join(" ")),
            Act::Edit(text) => (EDIT, text),
            Act::Delete => (DELETE, String::new()),
            Act::Pin(true) => (PIN, String::new()),
            Act::Pin(false) => (UNPIN, String::new()),
        };
        let content = Content { text, ..Content::default() };
        let row = self.owe(&NewOutbox { message: Some(&req.message), ..self.outgoing(kind, &target, &content) })?;
        self.store.set_outbox_key(row, req.dkey.as_deref(), &req.body_hash)?;
        self.follow(id, row, None, false)
    }

    /// The caller hears when the rows were taken, or after [`WAIT`] that they will be.
    fn follow(&mut self, req: ReqId, row: Row, segment: Option<Row>, replayed: bool) -> Result<()> {
        self.posters.push(Poster { req, row, segment, replayed });
        self.arm(Due::Post(req), self.now.mono + WAIT);
        if replayed {
            self.tell_posters()?; // its rows may be long gone
        }
        Ok(())
    }

    /// Tells those whose rows have all been taken, or given up.
    pub(super) fn tell_posters(&mut self) -> Result<()> {
        let mut n = 0;
        while let Some(p) = self.posters.get(n) {
            let parts = self.store.parts_sent(p.row, p.segment)?;
            if parts.iter().any(Part::open) {
                n += 1;
                continue;
            }
            let p = self.posters.remove(n);
            self.disarm(&Due::Post(p.req));
            let error =
                parts.iter().find(|part| part.state != "sent").map(|part| part.error.clone().unwrap_or_default());
            let error = error.or(parts.is_empty().then(|| "nobody knows any more what became of it".to_owned()));
            let ids = parts.into_iter().filter(|part| part.state == "sent").filter_map(|part| part.id).collect();
            let told = Delivered { ids, queued: false, error, replayed: p.replayed };
            self.answer(p.req, Answer::Delivered(Box::new(told)), true);
        }
        Ok(())
    }

    /// The platform takes its time: the caller does not wait for it any longer.
    pub(super) fn poster_late(&mut self, req: ReqId) {
        let Some(n) = self.posters.iter().position(|p| p.req == req) else { return };
        let p = self.posters.remove(n);
        let told = Delivered { queued: true, replayed: p.replayed, ..Delivered::default() };
        self.answer(req, Answer::Delivered(Box::new(told)), true);
    }

    pub(super) fn poster_gone(&mut self, req: ReqId) {
        self.posters.retain(|p| p.req != req);
        self.disarm(&Due::Post(req));
    }

    /// What links to a session's files need.
    pub(super) fn home(&self, row: &crate::store::SessionRow) -> Home {
        let role = row.role.as_deref().unwrap_or("default");
        Home { sid: row.sid.clone(), cwd: self.rules.cwd(&row.agent, role) }
    }

    pub(super) fn on_place(&mut self, id: ReqId, whose: Whose) -> Result<()> {
        let row = match whose {
            Whose::Key(key) => self.store.session(&key)?,
            Whose::Sid(sid) => self.store.session_by_sid(&sid)?,
        };
        let place = row.map(|row| {
            let last = row.last.as_ref();
            // Who asks over HTTP is no place to send to: then the key says whose conversation it is.
            let channel = last.map(|l| l.channel.clone()).filter(|c| !c.is_empty() && c != "api");
            let third = row.key.split(':').nth(2).filter(|c| !c.is_empty()).map(str::to_owned);
            Box::new(Place {
                home: self.home(&row),
                channel: channel.or(third),
                chat: last.map(|l| l.chat.clone()).filter(|c| !c.is_empty()),
                session: row.key,
            })
        });
        self.answer(id, Answer::Place(place), false);
        Ok(())
    }
}

fn content(req: &PostRequest, home: &Home) -> Content {
    let file = req.post.file.as_ref().map(|file| OutFile {
        at: file.path.clone(),
        under: home.cwd.to_string_lossy().into_owned(),
        kind: file.kind.clone(),
        size: req.size,
        text: None,
    });
    let form = match req.post.parse_mode.as_deref() {
        Some("HTML") => Form::Html,
        Some("plain") => Form::Plain,
        _ => Form::Markdown,
    };
    let post = &req.post;
    let (text, reply_to) = (post.text.clone(), post.reply_to.clone());
    Content { text, reply_to, file, form, silent: post.silent, ..Content::default() }
}
