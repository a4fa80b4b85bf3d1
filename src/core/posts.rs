//! Messages that tools and API clients send to a session's people (core.md 11): recorded beside the turn's reply, and
//! delivered by that where the store is the mailbox.

use super::session::{Session, Stage};
use super::State;
use crate::message::*;
use crate::store::{NewSegment, Result, SentOutbox};

impl State {
    pub(super) fn on_post(&mut self, id: ReqId, req: PostRequest) -> Result<()> {
        if let Some(key) = req.dkey.as_deref() {
            if let Some((segment, hash)) = self.store.sent_by_key(key)? {
                if hash.as_deref().unwrap_or("") != req.body_hash {
                    self.refuse(id, Code::IdempotencyConflict, "This idempotency key was used for another message.");
                    return Ok(());
                }
                let posted = self.store.ext('s', segment);
                self.answer(id, Answer::Posted { id: posted, replayed: true }, true);
                return Ok(());
            }
        }
        if let Some(why) = self.degraded.clone() {
            self.refuse(id, Code::StoreFailing, format!("Nothing can be stored now: {why}."));
            return Ok(());
        }
        let key = match self.load(&req.session, None)? {
            Some(key) if !req.look => key,
            _ => {
                self.refuse(id, Code::NotFound, "Session not found");
                return Ok(());
            }
        };
        self.with(&key, |core, s| core.post(s, id, req))
    }

    fn post(&mut self, s: &mut Session, id: ReqId, req: PostRequest) -> Result<()> {
        let Some(last) = s.row.last.as_ref().filter(|l| self.rules.mailbox(&l.channel)) else {
            self.refuse(id, Code::Unsupported, "The session's channel cannot be sent to");
            return Ok(());
        };
        let target = Target::from(last);
        let turn = match &s.stage {
            Stage::Turn(t) => Some((t.row.id, t.addressee().map(|m| m.id))),
            _ => None,
        };
        // Its place in the history: behind the message that is being answered, or the newest one.
        let inbox = match turn {
            Some((_, Some(row))) => Some(row),
            _ => self.store.newest_inbox(&s.key)?,
        };
        let file = req.post.file.as_ref().and_then(|file| serde_json::to_string(file).ok());
        let segment = self.store.add_segment(&NewSegment {
            turn: turn.map(|t| t.0),
            session: &s.key,
            n: None,
            origin: "tool",
            inbox,
            text: &req.post.text,
            media: file.as_deref(),
            target: &target,
            at: self.now.wall,
        })?;
        self.store.add_sent(&SentOutbox {
            dkey: req.dkey.as_deref(),
            body_hash: &req.body_hash,
            segment,
            target: &target,
            kind: if req.post.file.is_some() { "media" } else { "send" },
            at: self.now.wall,
            clock_ok: self.clock_confirmed,
        })?;
        let posted = self.store.ext('s', segment);
        let run = inbox.map(|row| self.store.ext('i', row)).unwrap_or_default();
        self.frame(Frame::Posted(Box::new(Posted {
            session: s.key.to_string(),
            id: posted.clone(),
            run,
            post: req.post,
            home: self.home(&s.row),
            at: self.now.wall,
        })));
        self.answer(id, Answer::Posted { id: posted, replayed: false }, true);
        Ok(())
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
