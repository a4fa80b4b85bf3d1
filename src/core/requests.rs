//! Requests of pages, API and CLI; dialogs of pi's extensions.

use super::asks::{Ask, Asker};
use super::intake::Kind;
use super::session::{Session, Stage, Who};
use super::turn::AbortWhy;
use super::{Due, Ended, KnownModels, State};
use crate::message::*;
use crate::routing::fleeting;
use crate::store::{inbox_state, Result};

/// A list of models is asked for again after this, ms (gateway-api.md R62).
const MODELS_AGE: u64 = 300_000;
/// Sessions in one answer.
const SESSIONS: usize = 1001;

impl State {
    pub(super) fn on_request(&mut self, id: ReqId, req: Request) -> Result<()> {
        match req {
            Request::Chat(chat) => return self.on_chat(id, *chat, Kind::Said),
            Request::Webhook(chat) => return self.on_chat(id, *chat, Kind::Webhook),
            Request::Wait { row } => match self.reply_of(row)? {
                Some(reply) => self.answer(id, Answer::Reply(Box::new(reply)), true),
                None if self.store.inbox(row)?.is_some() => self.waiters.entry(row).or_default().push(id),
                None => self.refuse(id, Code::NotFound, "No such message."),
            },
            Request::Abort { session } => {
                if let Some(key) = self.load(&session, None)? {
                    self.with(&key, |core, s| core.stop(s).map(|_| ()))?;
                }
                self.answer(id, Answer::Ok, false);
            }
            Request::Withdraw { row } => {
                self.withdraw(row)?;
                self.answer(id, Answer::Ok, false);
            }
            Request::Reset { session, all } => match self.load(&session, None)? {
                Some(key) => {
                    self.with(&key, |core, s| core.reset(s, all))?;
                    let events = self.clear_events(&key, inbox_state::BY_COMMAND)?;
                    self.answer(id, Answer::Reset { events }, true);
                }
                None => self.answer(id, Answer::Reset { events: 0 }, false),
            },
            Request::Wake { by, text, now } => return self.on_wake(id, by, &text, now),
            Request::Delete { session } => {
                self.delete(&session)?;
                self.answer(id, Answer::Ok, true);
            }
            Request::SetModel { session, model } => {
                return self.choose(id, &session, |core, s| core.choose_model(s, &model));
            }
            Request::SetThinking { session, level } => {
                return self.choose(id, &session, |core, s| core.choose_level(s, &level));
            }
            Request::Compact { session, instructions } => match self.load(&session, None)? {
                Some(key) => self.with(&key, |core, s| core.compact_now(s, id, instructions))?,
                None => self.refuse(id, Code::NoActiveSession, "No active session"),
            },
            Request::SetRole { session, role } => match self.load(&session, None)? {
                Some(key) => self.with(&key, |core, s| core.switch_role(s, &role, Who::Req(id)))?,
                None => self.refuse(id, Code::NotFound, "Session not found"),
            },
            Request::RoleDeleted { role } => {
                self.role_deleted(&role)?;
                self.answer(id, Answer::Ok, true);
            }
            Request::Rename { session, title } => match self.load(&session, None)? {
                Some(key) => {
                    self.with(&key, |core, s| {
                        s.row.title = (!title.is_empty()).then_some(title);
                        core.save(s)?;
                        core.updated(s);
                        Ok(())
                    })?;
                    self.answer(id, Answer::Ok, true);
                }
                None => self.refuse(id, Code::NotFound, "Session not found"),
            },
            Request::ReloadPi { session } => match self.load(&session, None)? {
                Some(key) => {
                    self.with(&key, |core, s| core.reload_pi(s).map(|_| ()))?;
                    self.answer(id, Answer::Ok, true);
                }
                None => self.refuse(id, Code::NotFound, "Session not found"),
            },
            Request::Renew { session } => match self.load(&session, None)? {
                Some(key) => {
                    self.with(&key, |core, s| {
                        core.retire_proc(s);
                        Ok(())
                    })?;
                    self.answer(id, Answer::Ok, false);
                }
                None => self.refuse(id, Code::NotFound, "Session not found"),
            },
            Request::Stats { session } => {
                let proc = self.load(&session, None)?.and_then(|key| self.live_proc(self.sessions.get(&key)?));
                match proc {
                    Some(proc) => self.ask_pi(proc, Asker::Request(id), Ask::Stats),
                    None => self.refuse(id, Code::NoActiveSession, "No active session"),
                }
            }
            Request::SessionOf { proc } => {
                let session = self.procs.get(&proc).and_then(|p| p.session.as_ref());
                self.answer(id, Answer::Session(session.map(|key| key.to_string())), false);
            }
            Request::Place(whose) => return self.on_place(id, whose),
            Request::Post(post) => return self.on_post(id, *post),
            Request::Act(act) => return self.on_act(id, *act),
            Request::Choose(choice) => return self.on_choose(id, *choice),
            Request::Delegate(req) => return self.on_delegate(id, *req),
            Request::Models => {
                let live = self.procs.values().find(|p| p.usable()).map(|p| p.id);
                let young = |m: &KnownModels| self.now.mono.saturating_sub(m.at) < MODELS_AGE;
                let known = self.pi_models.as_ref().filter(|m| live.is_none() || young(m));
                match (live, known.map(|m| m.raw.clone())) {
                    (_, Some(raw)) => self.answer(id, Answer::Models(raw), false),
                    (Some(proc), None) => self.ask_pi(proc, Asker::Request(id), Ask::Models),
                    (None, None) => self.refuse(id, Code::NoActiveSession, "No active session. Send a message first."),
                }
            }
            Request::Commands => {
                let list = self.command_list();
                self.answer(id, Answer::Commands(list), false);
            }
            Request::Session { key } => {
                let list = self.store.session(&key)?.iter().map(|r| self.info(r)).collect();
                self.answer(id, Answer::Sessions(list), false);
            }
            Request::Sessions { after, limit } => {
                let list = self.store.sessions_behind(after.as_ref(), limit.min(SESSIONS))?;
                let list = list.iter().map(|r| self.info(r)).collect();
                self.answer(id, Answer::Sessions(list), false);
            }
            Request::Snapshot => {
                let snapshot = self.snapshot()?;
                self.answer(id, Answer::Snapshot(Box::new(snapshot)), false);
            }
            Request::Ui { id: dialog, answer } => {
                let first = self.dialogs.contains_key(&dialog);
                self.close_dialog(&dialog, answer, Ended::Elsewhere)?;
                self.answer(id, Answer::Bool(first), false);
            }
            Request::Dialogs { session } => {
                let open = self.dialogs.values().filter(|d| session.as_ref().is_none_or(|s| *s == d.dialog.session));
                let list =
                    open.map(|d| Dialog { ttl: d.until.saturating_sub(self.now.mono), ..d.dialog.clone() }).collect();
                self.answer(id, Answer::Dialogs(list), false);
            }
            Request::Reload(rules) => {
                self.reload(rules);
                self.load_cron()?;
                self.load_heart()?;
                self.answer(id, Answer::Ok, false);
            }
            Request::Cursor { channel, account } => {
                let value = self.store.cursor(&channel, &account)?;
                self.answer(id, Answer::Cursor(value), false);
            }
            Request::Cron(req) => return self.on_cron(id, *req),
            Request::Ping => self.answer(id, Answer::Ok, false),
        }
        Ok(())
    }

    /// Settings of a session: the answer says whether they count from now on, or from the next turn.
    fn choose(
        &mut self,
        id: ReqId,
        session: &str,
        set: impl FnOnce(&mut State, &mut Session) -> Result<std::result::Result<String, String>>,
    ) -> Result<()> {
        let Some(key) = self.load(session, None)? else {
            self.refuse(id, Code::NotFound, "Session not found");
            return Ok(());
        };
        self.with(&key, |core, s| {
            let now = !s.running();
            match set(core, s)? {
                Ok(_) => core.answer(id, Answer::Bool(now), true),
                Err(why) => core.refuse(id, Code::InvalidRequest, why),
            }
            Ok(())
        })
    }

    fn reload(&mut self, rules: std::sync::Arc<crate::rules::Rules>) {
        let recycle = rules.generation != self.rules.generation;
        self.rules = rules;
        if recycle {
            self.new_pi = false; // it may be another one from now on
            self.recycle();
        }
        self.arm(Due::Warm, self.now.mono);
        self.frame(Frame::Reloaded);
    }

    pub(super) fn delete(&mut self, session: &str) -> Result<()> {
        let Some(key) = self.load(session, None)? else { return Ok(()) };
        self.with(&key, |core, s| {
            core.drop_waiting(s, inbox_state::DELETED)?;
            core.clear_events(&s.key, inbox_state::DELETED)?;
            core.reset(s, true)?;
            if matches!(s.stage, Stage::Turn(_)) {
                core.abort_turn(s, AbortWhy::Reset)?;
            }
            core.give_up_proc(s);
            s.deleted = true;
            core.store.delete_session(&s.key)
        })?;
        self.frame(Frame::Deleted { session: session.to_owned() });
        if self.rules.transcripts && !fleeting(&key) {
            let id = self.next_job;
            self.next_job += 1;
            self.emit(Effect::Job { id, session: key, job: Box::new(Job::ForgetTranscript), durable: true });
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let (owed, oldest) = self.store.outbox_owed()?;
        let procs = self.procs.values().map(|p| ProcInfo {
            id: p.id,
            pid: p.pid,
            session: p.session.as_ref().map(|k| k.to_string()),
            state: match p.state {
                super::pool::ProcState::Starting { .. } => "starting",
                super::pool::ProcState::Ready => "ready",
                super::pool::ProcState::Stopping { .. } => "stopping",
            },
            since: p.since,
            used: p.used,
            new_pi: self.new_pi,
        });
        let waits = |s: &&super::Session| matches!(&s.stage, Stage::Open(o) if o.step == super::session::Step::Slot);
        Ok(Snapshot {
            procs: procs.collect(),
            pool_max: self.rules.pool_max,
            pool_min: self.rules.pool_min,
            waiting_for_pool: self.sessions.values().filter(waits).count(),
            queues: self
                .sessions
                .values()
                .filter(|s| s.waiting() > 0 || s.busy())
                .map(|s| (s.key.to_string(), s.waiting(), s.busy()))
                .collect(),
            sessions: self.store.count_sessions()?,
            outbox_ready: owed,
            owed: self.store.outbox_owed_by_account()?,
            outbox_oldest_ms: oldest.map_or(0, |at| (self.now.wall - at).max(0)),
            counters: self.counters.clone(),
            problems: self.degraded.iter().chain(&self.store.salvaged).cloned().collect(),
            clock_confirmed: self.clock_confirmed,
            draining: self.draining.is_some(),
            delegation: self.delegate_figures(),
        })
    }

    /// There is no room: one word to the user, the wait goes on.
    pub(super) fn tell_waiting(&mut self, s: &super::Session) -> Result<()> {
        let ahead = self
            .sessions
            .values()
            .filter(|o| matches!(&o.stage, Stage::Open(o) if o.step == super::session::Step::Slot))
            .count();
        if s.next_message().is_some_and(super::heartbeat::is_beat) {
            return Ok(());
        }
        let message = format!("All agent processes are busy; you are next in line ({}).", ahead + 1);
        self.frame(Frame::Notice { session: s.key.to_string(), level: "info".into(), message: message.clone() });
        let mailbox = s.row.last.as_ref().is_none_or(|l| self.rules.mailbox(&l.channel));
        match s.queue.last() {
            Some(row) if !mailbox && !super::cron_runs::is_cron(row) => self.remark(s, &row.clone(), &message),
            _ => Ok(()),
        }
    }
}
