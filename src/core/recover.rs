//! Recovery: at start and after a crash of pi, the same path (core.md 22.4).

use super::asks::Ask;
use super::prompt::{injection, resume_note, Why};
use super::reply::End;
use super::session::{RecoverStep, Session, Stage, Verify, Who, Work};
use super::turn::{AbortWhy, Injected, Turn, MAX_ATTEMPTS};
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, row_of, InboxRow, Result, TurnRow};

const READ_WAIT: u64 = 60_000;

impl State {
    /// At start: every session that has something open is built and goes on.
    pub(super) fn recover_all(&mut self) -> Result<()> {
        for turn in self.store.open_turns()? {
            self.recover_session(&turn.session)?;
        }
        for state in [st::QUEUED, st::EXECUTING] {
            for session in self.store.sessions_with(state)? {
                self.recover_session(&session)?;
            }
        }
        for session in self.store.sessions_early()? {
            self.recover_session(&session)?;
        }
        self.recover_fleeting()?;
        self.recover_questions()?;
        for state in ["sending", "ready", "raw"] {
            let mut after = 0;
            loop {
                let rows = self.store.outbox_open(state, after, 200)?;
                let Some(last) = rows.last() else { break };
                after = last.id;
                for row in rows {
                    self.todo.push_back(Todo::Lane(row.target));
                }
            }
        }
        Ok(())
    }

    /// Builds one session from the store.
    pub(super) fn recover_session(&mut self, session: &str) -> Result<()> {
        let source = Source { channel: "webchat".into(), ..Source::default() };
        if self.sessions.contains_key(session) {
            return Ok(());
        }
        let open = self.store.open_turn_of(session)?;
        // Deleted in the middle of its last turn: that comes to its end, and does not bring the session back. (A
        // session that is gone for another reason was lost, and what waits for it is not.)
        let deleted = self.store.session(session)?.is_none()
            && open.as_ref().is_none_or(|t| t.stop.as_deref() == Some(AbortWhy::Reset.as_str()))
            && self.store.inbox_waiting(session, st::QUEUED)?.is_empty()
            && self.store.inbox_early(session)?.iter().all(|r| r.state == st::HELD);
        let key = match deleted {
            true => {
                let row = self.blank_row(session, &source)?;
                self.remember(row, true)?
            }
            false => match self.load(session, Some(&source))? {
                Some(key) => key,
                None => return Ok(()),
            },
        };
        self.with(&key, |core, s| {
            core.drop_orphans(s)?;
            for row in core.store.inbox_waiting(session, st::EXECUTING)? {
                if deleted {
                    core.store.set_inbox(row.id, st::FAILED, None, None, Some(st::DELETED))?;
                    core.settled(row.id)?;
                    continue;
                }
                let text = "This command was interrupted by a restart of the gateway and was not run again.";
                core.notice(s, Some(row.id), text, st::FAILED, Some("interrupted"))?;
            }
            match open {
                Some(row) => {
                    core.counters.recovered += 1;
                    let mut turn = Box::new(core.turn_of(row)?);
                    if core.orphan_s_fate(&turn).is_some() {
                        turn.aborting = Some((AbortWhy::Reset, 0)); // nobody is told of it
                    }
                    s.copy = core.copy_of(&turn);
                    core.recover_turn(s, turn, true)
                }
                None => {
                    core.todo.push_back(Todo::Kick(s.key.clone()));
                    Ok(())
                }
            }
        })
    }

    fn turn_of(&self, row: TurnRow) -> Result<Turn> {
        let ext = self.store.ext('t', row.id);
        let rows = self.store.inbox_of_turn(row.id)?;
        let (injected, mut members): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.inj.is_some());
        members.sort_by_key(|m| !super::events::is_event(m)); // the answer is for what comes behind them
        let aborting = row.stop.as_deref().and_then(AbortWhy::parse);
        let mut t = Turn::new(row, ext, members, self.now.mono);
        t.aborting = aborting.map(|why| (why, 0));
        t.injected = injected
            .into_iter()
            .map(|row| Injected { n: row.inj.unwrap_or(0), seen: row.state == st::INJECTED, row, cmd: None })
            .collect();
        Ok(t)
    }

    /// The turn's process is gone, or belongs to an earlier life: leftovers first, then pi's file decides.
    pub(super) fn recover_turn(&mut self, s: &mut Session, mut turn: Box<Turn>, after_restart: bool) -> Result<()> {
        turn.proc = None;
        let proc = ProcId(turn.row.proc);
        let (pid, since) = (turn.row.pid, turn.row.at_boot);
        let until = self.now.mono + READ_WAIT;
        s.stage = Stage::Recover { turn, step: RecoverStep::Sweep(proc), until, after_restart };
        if after_restart {
            self.emit(Effect::Sweep { proc, pid, since });
            return Ok(());
        }
        self.read_file(s) // main swept before it reported the exit
    }

    pub(super) fn on_swept(&mut self, proc: ProcId) -> Result<()> {
        let key = self.sessions.values().find_map(|s| match &s.stage {
            Stage::Recover { step: RecoverStep::Sweep(p), .. } if *p == proc => Some(s.key.clone()),
            _ => None,
        });
        match key {
            Some(key) => self.with(&key, |core, s| core.read_file(s)),
            None => Ok(()),
        }
    }

    pub(super) fn read_file(&mut self, s: &mut Session) -> Result<()> {
        let Stage::Recover { turn, .. } = &s.stage else { return Ok(()) };
        let job = Job::ReadFile {
            path: turn.row.file.clone(),
            marker: turn.ext.clone(),
            from: turn.row.file_len,
            position_only: turn.row.plain,
        };
        let id = self.job(&s.key, job, false);
        if let Stage::Recover { step, until, .. } = &mut s.stage {
            *step = RecoverStep::File(id);
            *until = self.now.mono + READ_WAIT;
        }
        Ok(())
    }

    /// The step at hand took too long: again.
    pub(super) fn recover_again(&mut self, s: &mut Session) -> Result<()> {
        let Stage::Recover { turn, step, until, .. } = &mut s.stage else { return Ok(()) };
        *until = self.now.mono + READ_WAIT;
        match *step {
            RecoverStep::Sweep(proc) => {
                let (pid, since) = (turn.row.pid, turn.row.at_boot);
                self.emit(Effect::Sweep { proc, pid, since });
                Ok(())
            }
            RecoverStep::File(job) => {
                self.jobs.remove(&job);
                self.read_file(s)
            }
        }
    }

    /// Decides by what pi's file holds.
    pub(super) fn on_file_read(&mut self, s: &mut Session, done: JobDone) -> Result<()> {
        if self.degraded.is_some() {
            return Ok(()); // nothing could be recorded: again when the disk works, or at the deadline
        }
        let found = match done {
            JobDone::FileRead(found) => found,
            JobDone::Failed { why } => {
                log::warn!("{}: reading pi's session file failed: {why}", s.key);
                return Ok(()); // tried again at the deadline
            }
            _ => return Ok(()),
        };
        let Stage::Recover { turn: mut t, after_restart, .. } = std::mem::replace(&mut s.stage, Stage::Idle) else {
            return Ok(());
        };
        let why = if after_restart { Why::Restart } else { Why::Crash };
        let state = self.replay(s, &mut t, &found)?;
        self.go_on(s, t, state, why, after_restart)
    }

    /// The turn is as far as pi's file says: it ends, or goes on.
    fn go_on(
        &mut self,
        s: &mut Session,
        mut t: Box<Turn>,
        state: Reading,
        why: Why,
        after_restart: bool,
    ) -> Result<()> {
        // What the model never got goes back to the queue.
        let (kept, back): (Vec<_>, Vec<_>) = std::mem::take(&mut t.injected).into_iter().partition(|i| i.seen);
        t.injected = kept;
        let back: Vec<_> = back.into_iter().map(|i| i.row).collect();
        if !back.is_empty() {
            self.requeue(s, back)?;
        }
        if state == Reading::Complete || t.aborting.is_some() || t.give_up.is_some() {
            let end = self.end_of(&t, None);
            return self.finish(s, *t, end);
        }
        if t.row.attempts >= MAX_ATTEMPTS {
            let what = t.members.last().map(|m| super::prompt::head(&m.text, 80)).unwrap_or_default();
            let text = format!("The agent ended {MAX_ATTEMPTS} times while working on this message; it was given up: \"{what}\". Send /retry to try again.");
            let end = End { text: text.clone(), failed: Some((Code::UpstreamFailed, text)), silent: false };
            return self.finish(s, *t, end);
        }
        if self.too_late(&t) {
            let text = "it could not go on within an hour".to_owned();
            let end = End { text: String::new(), failed: Some((Code::Timeout, text)), silent: false };
            return self.finish_as(s, *t, end, true);
        }
        t.note = match state {
            Reading::Nothing => String::new(),
            _ => resume_note(&t.ext, state == Reading::Tools, &self.already_sent(&t)?, why),
        };
        if state == Reading::Nothing {
            t.n = 0;
            t.said.clear();
        }
        let late = self.now.wall - t.row.at > 3_600_000 && self.clock_confirmed && after_restart;
        if late {
            if let Some(m) = t.members.last().filter(|m| !super::heartbeat::background(m)).cloned() {
                let at = super::prompt::local_time(m.at, self.rules.zone.as_ref());
                let text = format!("I was offline; your message of {} was not answered. Answering now.", &at[11..16]);
                self.remark(s, &m, &text)?;
            }
        }
        self.begin(s, Work::Resume(t))
    }

    /// Brings the turn to where pi's file is: texts of segments not yet stored, which injections were seen.
    fn replay(&mut self, s: &mut Session, t: &mut Turn, found: &Found) -> Result<Reading> {
        if !found.user {
            return Ok(Reading::Nothing);
        }
        let stored: Vec<i64> = self.store.segments_of(t.row.id)?.iter().filter_map(|g| g.n).collect();
        let mut n = 0;
        let mut said: Vec<String> = Vec::new();
        let mut state = Reading::Asked;
        t.spent = Usage::default(); // the file knows all of it
                                    // A turn that the store forgot has its own marker in the file.
        let marker = turn_marker(&found.head).unwrap_or(&t.ext).to_owned();
        t.sent = !stored.is_empty();
        for entry in &found.entries {
            match entry {
                // A later turn begins here; the power cut took it from the store.
                FoundEntry::User { head } if turn_marker(head).is_some_and(|m| m != marker && m != t.ext) => break,
                FoundEntry::User { head } => {
                    state = if state == Reading::Tools { Reading::Tools } else { Reading::Asked };
                    let Some(next) = injection(head, &marker).filter(|n| *n > 0) else { continue };
                    self.adopt(s, t, next, head)?;
                    // A boundary that may not have been committed before the crash.
                    t.n = n;
                    let to = t.addressee().cloned();
                    let text = std::mem::take(&mut said).join("\n\n");
                    if !stored.contains(&n) && !text.trim().is_empty() {
                        self.add_reply(t, to.as_ref(), &text, false)?;
                        t.sent = true;
                    }
                    if let Some(i) = t.injected.iter_mut().find(|i| i.n == next) {
                        i.seen = true;
                    }
                    n = next;
                }
                FoundEntry::Assistant(m) => {
                    t.spent.add(&m.usage);
                    match m.stop.as_str() {
                        "stop" | "length" => state = Reading::Complete,
                        "toolUse" => state = Reading::Tools,
                        _ if state == Reading::Complete => state = Reading::Asked,
                        _ => {}
                    }
                    if m.stop != "error" && m.stop != "aborted" && !m.text.trim().is_empty() {
                        said.push(m.text.clone());
                    }
                    t.last = Some(m.clone());
                }
                FoundEntry::ToolResult => {
                    t.tools_ran = true;
                    state = Reading::Tools;
                }
            }
        }
        t.n = n;
        t.said = if stored.contains(&n) { Vec::new() } else { said };
        t.tools_ran |= state == Reading::Tools;
        Ok(state)
    }

    /// A power cut may have taken the mark of an injection back: pi has the message, our queue too.
    fn adopt(&mut self, s: &mut Session, t: &mut Turn, n: i64, head: &str) -> Result<()> {
        if t.injected.iter().any(|i| i.n == n) {
            return Ok(());
        }
        let known = |r: &InboxRow| head.contains(&format!("msgId:{} ", self.msg_id(r)));
        let row = match s.queue.iter().position(known) {
            Some(at) => s.queue.remove(at),
            None => {
                let known = |core: &State, r: &InboxRow| head.contains(&format!("msgId:{} ", core.msg_id(r)));
                let Some(row) = self.early_known(s, known)?.pop() else { return Ok(()) };
                row
            }
        };
        self.store.set_inbox(row.id, st::IN_TURN, Some(t.row.id), Some(n), None)?;
        t.injected.push(Injected { n, row, seen: false, cmd: None });
        Ok(())
    }

    /// Looks whether pi's file knows messages that wait here: their turn was lost with the power.
    pub(super) fn verify(&mut self, s: &mut Session, proc: ProcId, file_len: u64) -> Result<()> {
        let early = s.early.iter().flat_map(|p| &p.rows);
        let ids = s.queue.iter().chain(early).map(|m| self.msg_id(m)).collect();
        let job = self.job(&s.key, Job::FindMessages { path: s.row.file.clone(), ids }, false);
        s.stage = Stage::Verify { job, proc, file_len, until: self.now.mono + READ_WAIT };
        Ok(())
    }

    pub(super) fn on_verified(&mut self, s: &mut Session, done: JobDone) -> Result<()> {
        let JobDone::FileRead(mut found) = done else { return Ok(()) }; // failed: again at the deadline
        let Stage::Verify { proc, file_len, .. } = std::mem::replace(&mut s.stage, Stage::Idle) else { return Ok(()) };
        let (mut members, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut s.queue).into_iter().partition(|m| found.ids.contains(&self.msg_id(m)));
        s.queue = rest;
        members.extend(self.early_known(s, |core, m| found.ids.contains(&core.msg_id(m)))?);
        if members.is_empty() {
            s.verify = Verify::Clear;
            return self.prompt_turn(s, Work::Queue, proc, file_len);
        }
        let id = turn_marker(&found.head).and_then(|m| row_of(&self.store.id, 't', m));
        let known = match id {
            Some(id) => self.store.turn(id)?.is_some(),
            None => false,
        };
        if known {
            // Only the message was forgotten, not its turn: what that said has been delivered.
            for entry in &mut found.entries {
                if let FoundEntry::Assistant(m) = entry {
                    m.text.clear();
                }
            }
        }
        // A forgotten turn gets its number again, so that every later look into the file finds it.
        let mut t = Box::new(self.new_turn(s, members, id.filter(|_| !known))?);
        t.row.file = s.row.file.clone();
        self.store.set_turn(&t.row)?;
        for m in &t.members {
            self.store.set_inbox(m.id, st::IN_TURN, Some(t.row.id), None, None)?;
        }
        let state = self.replay(s, &mut t, &found)?;
        if known && state == Reading::Complete {
            return self.finish(s, *t, End { text: String::new(), failed: None, silent: true });
        }
        self.go_on(s, t, state, Why::Restart, false)
    }

    /// No process could be started for this work: everybody concerned is told.
    pub(super) fn start_failed(&mut self, s: &mut Session, why: &str) -> Result<()> {
        self.counters.errors += 1;
        let text = format!("The agent could not be started: {why}");
        let failed = End { text: text.clone(), failed: Some((Code::UpstreamFailed, text.clone())), silent: false };
        s.start_failures = 0;
        let Stage::Open(o) = std::mem::replace(&mut s.stage, Stage::Idle) else { return Ok(()) };
        match o.work {
            Work::Queue => {
                let members = self.take_members(s);
                if members.is_empty() {
                    return Ok(());
                }
                let t = self.new_turn(s, members, None)?;
                self.finish(s, t, failed)
            }
            Work::Resume(t) => self.finish(s, *t, failed),
            Work::Compact { who, .. } => self.end_compact(s, who, Err(why.to_owned())),
            Work::Ask { row, ask } => {
                self.todo.push_back(Todo::Kick(s.key.clone())); // messages may have come meanwhile
                match ask {
                    Ask::Model(_) => self.model_asked(s, row, ask), // another one may be what helps
                    _ => self.tell(s, Who::Row(row), Ok(text)),
                }
            }
        }
    }
}

/// The id in a context line's `turn:<id>`.
fn turn_marker(head: &str) -> Option<&str> {
    let rest = &head[head.find("turn:")? + 5..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// How far a turn had come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// pi never got the message.
    Nothing,
    /// It has the message; no tool has run since.
    Asked,
    /// Cut off with tools called.
    Tools,
    /// The last answer is complete.
    Complete,
}
