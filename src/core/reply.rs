//! The end of a turn: reply, fates and what is owed, in one commit (core.md 22.3).

use super::blocks::behind;
use super::cron_runs::is_cron;
use super::events::is_event;
use super::presses::CALLBACK;
use super::session::{Session, Verify};
use super::turn::{AbortWhy, Turn};
use super::{State, Todo};
use crate::message::*;
use crate::rules::ReplyTo;
use crate::store::{inbox_state as st, InboxRow, NewOutbox, NewSegment, Result, Store, EDIT, TEXT};

/// How a turn ended.
#[derive(Debug)]
pub struct End {
    /// Text of the last segment, or empty.
    pub text: String,
    pub failed: Option<(Code, String)>,
    pub silent: bool,
}

/// What is told of a message that was ended before anything was said to it.
fn unheard(reason: Option<&str>, stop: &str) -> String {
    let how = match (reason, AbortWhy::parse(stop)) {
        (Some(st::DELETED), _) => "The session was deleted",
        (_, Some(AbortWhy::Reset)) => "The session was reset",
        (Some(st::BY_COMMAND), _) => "The message was dropped by a command",
        _ => "The request was stopped",
    };
    format!("{how} before the message was answered.")
}

/// What a segment is a piece of.
struct Piece {
    turn: Option<Row>,
    /// Number in the turn's reply.
    n: Option<i64>,
    origin: &'static str,
    /// Nothing of this reply follows.
    last: bool,
    /// Runs that it answers, besides its addressee's.
    runs: Vec<String>,
    buttons: Vec<Vec<Button>>,
    /// What ran for it.
    steps: String,
}

impl Piece {
    /// A text of the gateway.
    fn alone(origin: &'static str, last: bool) -> Piece {
        Piece { turn: None, n: None, origin, last, runs: Vec::new(), buttons: Vec::new(), steps: String::new() }
    }
}

impl State {
    /// Records the turn's end: last segment, outbox rows, the fate of every member.
    pub(super) fn finish(&mut self, s: &mut Session, t: Turn, end: End) -> Result<()> {
        self.finish_as(s, t, end, false)
    }

    /// `late`: a scheduled turn that is not gone on with.
    pub(super) fn finish_as(&mut self, s: &mut Session, t: Turn, end: End, late: bool) -> Result<()> {
        let scheduled = t.members.iter().find(|m| is_cron(m)).cloned();
        // Of a scheduled turn what was sent is looked at where its result is told.
        let beat = t.is_beat();
        let end = if scheduled.is_some() || beat { end } else { self.concise(&t, end)? };
        let heard = if beat { self.beat_ended(s, &t, &end)? } else { None };
        let at = t.addressee().cloned();
        let code = end.failed.as_ref().map(|f| f.0);
        let orphan = self.orphan_s_fate(&t);
        let failed = end.failed.as_ref().map(|f| f.1.as_str());
        let reason = orphan.map(|o| o.1).or(failed).or(s.deleted.then_some(st::DELETED));
        let fate = match (&code, end.silent) {
            _ if orphan.is_some() => st::DROPPED,
            (Some(_), _) if late => st::MISSED,
            (Some(_), _) => st::FAILED,
            _ if beat && heard != Some("sent") => st::SILENT,
            (None, true) => st::SILENT,
            (None, false) => st::ANSWERED,
        };
        // Before the reply: a turn that never ran gets its members only here.
        let last = t.members.last().map(|m| m.id);
        for m in t.members.iter().filter(|m| !is_event(m)) {
            let state = if Some(m.id) == last || code.is_some() { fate } else { st::MERGED };
            self.store.set_inbox(m.id, state, Some(t.row.id), None, reason)?;
        }
        let run = at.as_ref().map(|m| self.store.ext('i', m.id)).unwrap_or_default();
        // The reply is last (R46): what the view holds back until its run is over comes before it.
        if let Some(proc) = t.proc {
            self.emit(Effect::Show { proc, live: None });
        }
        if !beat {
            self.frame(Frame::Typing { session: s.key.to_string(), run: run.clone(), on: false });
        }
        if let Some(m) = &scheduled {
            self.cron_ended(s, &t, &end, m, late)?;
        } else if beat {
        } else if !end.text.trim().is_empty() {
            if let (Some((code, why)), Some(_)) = (&end.failed, &at) {
                self.frame(Frame::Error { session: s.key.to_string(), run, code: *code, message: why.clone() });
            }
            self.add_reply(&t, at.as_ref(), &end.text, true)?;
        }
        self.task_ended(&t, &end);
        let fine = if beat { heard.is_some() } else { code.is_none() };
        self.end_events(s, &t, fine, heard.unwrap_or("sent"))?;
        self.remove_untold(t.row.id)?;
        self.end_view(&s.key);
        let mut back = Vec::new();
        for i in t.injected {
            if i.seen {
                let state = if fate == st::FAILED { st::FAILED } else { st::INJECTED };
                self.store.set_inbox(i.row.id, state, Some(t.row.id), Some(i.n), reason)?;
                self.settled(i.row.id)?;
            } else {
                back.push(i.row);
            }
        }
        let stop = t.last.as_ref().map_or("", |m| m.stop.as_str());
        let stop = t.aborting.map_or(stop, |(why, _)| why.as_str());
        let model = t.last.as_ref().map_or(String::new(), |m| format!("{}/{}", m.provider, m.model));
        let state = if fine { "finished" } else { "failed" };
        self.store.end_turn(t.row.id, state, stop, &model, &t.spent)?;
        match (beat, code.is_some()) {
            (true, _) => {} // nobody asked
            (false, true) => self.counters.failed += 1,
            (false, false) => self.counters.answered += 1,
        }
        for m in t.members.iter().filter(|m| !is_event(m)) {
            self.settled(m.id)?;
        }
        if let Some(p) = t.proc.and_then(|proc| self.procs.get_mut(&proc)) {
            p.used = self.now.mono;
        }
        self.end_turn_dialogs(&s.key)?;
        self.end_delegations_of(t.row.id);
        s.verify = match s.verify {
            Verify::Clear if code.is_none() && !beat => {
                self.verified.insert(s.key.clone());
                Verify::Off
            }
            Verify::Clear => Verify::Look,
            v => v,
        };
        s.stage = super::Stage::Idle;
        self.take_back(s, back, t.proc)?;
        if beat {
            self.leave_copy(s, t.proc)?;
        }
        if !beat || heard.is_some() {
            self.wake_owed(&s.row.agent);
        }
        if s.deleted {
            self.drop_waiting(s, st::DELETED)?;
        }
        if !beat || heard == Some("sent") {
            self.updated(s);
        }
        self.todo.push_back(Todo::Kick(s.key.clone()));
        self.todo.push_back(Todo::Pool);
        self.arm_idle(t.proc);
        Ok(())
    }

    /// Stores the current segment of a turn's reply, addressed to the message it answers.
    pub(super) fn add_reply(&mut self, t: &Turn, to: Option<&InboxRow>, text: &str, last: bool) -> Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let Some(to) = to else { return Ok(()) };
        let runs = self.covered(t)?;
        let piece = Piece {
            turn: Some(t.row.id),
            n: Some(t.n),
            origin: "reply",
            last,
            runs,
            buttons: Vec::new(),
            steps: t.steps.text(),
        };
        self.start_afresh(t, to)?;
        self.add_segment(&t.row.session, piece, to, text)
    }

    /// Runs of the messages that the current segment answers: its own, and those before it that pi has answered
    /// together with it (a message handed in before the first word leaves nothing to say for the one before).
    fn covered(&self, t: &Turn) -> Result<Vec<String>> {
        let stored = if t.n == 0 { Vec::new() } else { self.store.segments_of(t.row.id)? };
        let before = stored.iter().filter_map(|g| g.n).filter(|n| *n < t.n).max();
        let first = t.members.iter().filter(|m| before.is_none() && !is_event(m));
        let later = t.injected.iter().filter(|i| i.seen && i.n <= t.n && before.is_none_or(|b| i.n > b));
        Ok(first.chain(later.map(|i| &i.row)).map(|m| self.store.ext('i', m.id)).collect())
    }

    fn add_segment(&mut self, key: &str, piece: Piece, to: &InboxRow, text: &str) -> Result<()> {
        let Piece { turn, n, origin, last, mut runs, buttons, steps } = piece;
        let target = self.target_of(&to.source);
        let blocks = turn.filter(|_| n.is_some()).map_or(Ok(Vec::new()), |turn| self.blocks_of(turn))?;
        let segment = self.store.add_segment(&NewSegment {
            turn,
            n,
            inbox: Some(to.id),
            ..self.said(key, origin, &target, text)
        })?;
        self.transcribe(&key.into(), "response", "assistant_reply", text);
        let run = self.store.ext('i', to.id);
        if !runs.contains(&run) {
            runs.push(run.clone());
        }
        let id = self.store.ext('s', segment);
        let home = match text.contains("MEDIA:") {
            true => self.store.session(key)?.map(|row| self.home(&row)),
            false => None,
        };
        self.frame(Frame::Reply { session: key.to_owned(), run, runs, id, text: text.to_owned(), last, home });
        if !self.rules.mailbox(&target.channel) {
            let mode = self.rules.account(&to.source).map_or(ReplyTo::Off, |a| a.reply_to);
            // What a press led to takes the place of the message that was pressed.
            let pressed = to.source.message_id.as_deref().filter(|_| to.kind == CALLBACK);
            let pressed = pressed.filter(|_| target == Target::from(&to.source)); // its id means another one elsewhere
            let reply_to = if pressed.is_some() { None } else { reply_to(&self.store, mode, to)? };
            let owed = behind(text, &blocks);
            if owed.is_empty() {
                return self.all_delivered(segment);
            }
            let reply_to = reply_to.filter(|_| blocks.is_empty() || owed == text || mode == ReplyTo::All);
            let shown = self.rules.account(&to.source).is_some_and(|a| a.show_tools) && !steps.is_empty();
            let owed = if shown { format!("{steps}\n\n{owed}") } else { owed.to_owned() };
            let kind = if pressed.is_some() { EDIT } else { TEXT };
            let content = Content { text: owed, reply_to, buttons, ..Content::default() };
            self.owe(&NewOutbox {
                segment: Some(segment),
                message: pressed,
                ..self.outgoing(kind, &target, &content)
            })?;
        }
        Ok(())
    }

    /// A text of the gateway itself, which also decides the fate of the message it answers.
    pub(super) fn notice(
        &mut self,
        s: &Session,
        to: Option<Row>,
        text: &str,
        fate: &str,
        reason: Option<&str>,
    ) -> Result<()> {
        let Some(row) = to else { return Ok(()) };
        let Some(to) = self.store.inbox(row)? else { return Ok(()) };
        let origin = if fate == st::COMMAND { "command" } else { "notice" };
        self.add_segment(&s.key, Piece::alone(origin, true), &to, text)?;
        self.store.set_inbox(row, fate, to.turn, to.inj, reason)?;
        self.settled(row)
    }

    /// A text of the gateway that changes nobody's fate.
    pub(super) fn remark(&mut self, s: &Session, to: &InboxRow, text: &str) -> Result<()> {
        self.add_segment(&s.key, Piece::alone("notice", false), to, text)
    }

    /// The reply of a command, with buttons.
    pub(super) fn notice_with(&mut self, s: &Session, row: Row, content: Content) -> Result<()> {
        let Some(to) = self.store.inbox(row)? else { return Ok(()) };
        let piece = Piece { buttons: content.buttons, ..Piece::alone("command", true) };
        self.add_segment(&s.key, piece, &to, &content.text)?;
        self.store.set_inbox(row, st::COMMAND, to.turn, to.inj, None)?;
        self.settled(row)
    }

    /// Tells everybody who waits for this message's fate.
    pub(super) fn settled(&mut self, row: Row) -> Result<()> {
        if let Some(m) = self.unanswered(row)? {
            self.unacknowledge(&m);
        }
        self.cron_dropped(row)?;
        self.task_settled(row)?;
        let Some(ids) = self.waiters.remove(&row) else { return Ok(()) };
        let reply = self.reply_of(row)?;
        for id in ids {
            let answer = match &reply {
                Some(r) => Answer::Reply(Box::new(r.clone())),
                None => Answer::Error { code: Code::NotFound, message: "No such message.".into() },
            };
            self.answer(id, answer, true);
        }
        Ok(())
    }

    /// The recorded fate of a message; `None`: unknown row, or not decided yet.
    pub(super) fn reply_of(&self, row: Row) -> Result<Option<ChatReply>> {
        let Some(m) = self.store.inbox(row)? else { return Ok(None) };
        if !st::terminal(&m.state) {
            return Ok(None);
        }
        let segment = match (self.store.segment_for(row)?, m.turn) {
            (Some(s), _) => Some(s),
            // Answered together with others: by the first that was said after it.
            (None, Some(turn)) => self.store.segments_of(turn)?.into_iter().find(|s| s.n >= Some(m.inj.unwrap_or(0))),
            _ => None,
        };
        let (stop, usage) = m.turn.map_or(Ok(Default::default()), |turn| self.store.turn_end(turn))?;
        let error = match (m.state.as_str(), m.reason.as_deref()) {
            (st::FAILED, why) => Some((Code::UpstreamFailed, why.unwrap_or_default().to_owned())),
            (st::DROPPED, why @ Some(st::DELETED | st::BY_COMMAND)) => Some((Code::Conflict, unheard(why, &stop))),
            (st::DROPPED, why) => Some((Code::QueueFull, why.unwrap_or_default().to_owned())),
            // Ended by somebody else before the agent's first word; an agent that chose to say nothing has ended
            // with a word of pi's.
            (_, why) if segment.is_none() && (stop.is_empty() || AbortWhy::parse(&stop).is_some()) => {
                Some((Code::Conflict, unheard(why, &stop)))
            }
            _ => None,
        };
        Ok(Some(ChatReply {
            stop,
            usage,
            session: m.session,
            run: self.store.ext('i', row),
            id: segment.as_ref().map(|s| self.store.ext('s', s.id)).unwrap_or_default(),
            took_ms: segment.as_ref().map_or(0, |s| (s.at - m.at).max(0) as u64),
            text: segment.map(|s| s.text).unwrap_or_default(),
            error,
        }))
    }
}

/// The message that an answer is shown to be a reply to. In private, where it is plain who is answered, only if
/// others came after it.
pub(super) fn reply_to(store: &Store, mode: ReplyTo, to: &InboxRow) -> Result<Option<String>> {
    let Some(id) = to.source.message_id.clone().filter(|_| mode != ReplyTo::Off) else { return Ok(None) };
    let clear = mode == ReplyTo::First && to.source.chat_type == ChatType::Dm;
    Ok((!clear || store.newest_inbox(&to.session)? != Some(to.id)).then_some(id))
}
