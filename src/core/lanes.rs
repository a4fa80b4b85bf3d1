//! Lanes: the ordered sends of one chat; at most one request in flight (core.md 22.3).
//!
//! No mark, no send: a row becomes `sending` immediately before its call, here and nowhere else. Live views come
//! only when no row is ready.

use super::chats::{is_large, says};
use super::pace::Spent;
use super::questions::BY_ROW;
use super::session::Key;
use super::view::JUST_SENT;
use super::{Due, State, Todo};
use crate::message::*;
use crate::rules::Rate;
use crate::store::{is_act, LiveRow, OutboxRow, Result, DELETE, EDIT, MEDIA, PIN, REACT, TEXT, UNPIN};

const BACKOFF_MAX: u64 = 300_000;
/// How a row is delivered whose first call nobody knows the outcome of.
const AGAIN: &str = "again";
/// Something has to come of the work of rendering in that time.
const RENDER_WAIT: u64 = 30_000;
/// Accounts whose chats are limited one by one are limited themselves: that many chats in that time.
const MANY_CHATS: usize = 3;
const MANY_TIME: u64 = 10_000;

#[derive(Debug, Default)]
pub struct Lane {
    /// The call that is on its way.
    pub(super) flying: Option<CallId>,
    /// Not before this moment.
    not_before: Mono,
    failures: u32,
    /// The head is being rendered; asked again after that moment.
    pub(super) rendering: Option<(JobId, Mono)>,
    /// Something last went out then: who sees it needs no sign of typing.
    pub(super) last_out: Mono,
}

/// What concerns every lane of a chat: its topics share the platform's patience.
#[derive(Debug, Default)]
pub struct Chat {
    frozen_until: Mono,
    spent: Spent,
}

impl Chat {
    /// Until when there is something to remember.
    fn over(&self, now: Mono) -> Option<Mono> {
        self.spent.over(now).into_iter().chain(Some(self.frozen_until).filter(|at| *at > now)).max()
    }
}

/// The chat of a target.
fn chat_of(target: &Target) -> Target {
    Target { thread: String::new(), ..target.clone() }
}

/// What concerns every lane of an account.
#[derive(Debug, Default)]
pub struct Account {
    frozen_until: Mono,
    refused: bool,
    spent: Spent,
    /// Chats that were limited lately.
    limited: Vec<(Mono, String)>,
}

impl Lane {
    /// Its last call was in vain.
    pub(super) fn fails(&self) -> bool {
        self.failures > 0
    }

    /// A call is on its way, or the platform asked for patience.
    pub(super) fn held(&self, now: Mono) -> bool {
        self.flying.is_some() || self.not_before > now
    }
}

/// Calls that no row of the outbox stands for.
#[derive(Clone, Debug)]
pub(super) enum Passing {
    /// Of that session; the message shows, or is going to show, this piece of its answer.
    View(Key, LiveRow),
    Typing(Key),
    /// A reaction of ours to the message with that id.
    Mark(String),
    /// Out of the lane; the same once more if it does not get through.
    Press(Option<Op>),
}

impl State {
    /// Rates of messages to that chat, and of the account.
    fn rates(&self, target: &Target) -> (&[Rate], &[Rate]) {
        let Some(account) = self.rules.account_of(target) else { return (&[], &[]) };
        let of_chat = account.pace.chats.iter().find(|(prefix, _)| target.chat.starts_with(prefix.as_str()));
        (of_chat.map_or(&[][..], |(_, rates)| rates), &account.pace.account)
    }

    /// When the lane may call; `None`: not before its account works again.
    pub(super) fn lane_free_at(&self, target: &Target) -> Option<Mono> {
        self.free_at(target, Spent::next)
    }

    /// When it may for something that is worth less than answers.
    pub(super) fn lane_free_for_views(&self, target: &Target) -> Option<Mono> {
        self.free_at(target, Spent::next_passing)
    }

    fn free_at(&self, target: &Target, next: impl Fn(&Spent, &[Rate]) -> Mono) -> Option<Mono> {
        let account = self.accounts.get(&(target.channel.clone(), target.account.clone()));
        if account.is_some_and(|a| a.refused) || self.barred(target).is_some() {
            return None;
        }
        let (chat, all) = self.rates(target);
        let of_account = account.map_or(0, |a| a.frozen_until.max(next(&a.spent, all)));
        let of_chat = self.chats.get(&chat_of(target)).map_or(0, |c| c.frozen_until.max(next(&c.spent, chat)));
        let of_lane = self.lanes.get(target).map_or(0, |l| l.not_before);
        Some(of_account.max(of_chat).max(of_lane))
    }

    /// The platform asked for patience, or nothing can be sent there.
    pub(super) fn lane_frozen(&self, target: &Target) -> bool {
        let now = self.now.mono;
        let account = self.accounts.get(&(target.channel.clone(), target.account.clone()));
        account.is_some_and(|a| a.refused || a.frozen_until > now)
            || self.barred(target).is_some()
            || self.chats.get(&chat_of(target)).is_some_and(|c| c.frozen_until > now)
            || self.lanes.get(target).is_some_and(|l| l.not_before > now)
    }

    pub(super) fn spend(&mut self, target: &Target) {
        let (chat, all) = self.rates(target);
        let (chat, all) = (chat.to_vec(), all.to_vec());
        let now = self.now.mono;
        self.lanes.entry(target.clone()).or_default().last_out = now;
        self.chats.entry(chat_of(target)).or_default().spent.spend(&chat, now);
        let account = self.accounts.entry((target.channel.clone(), target.account.clone())).or_default();
        account.spent.spend(&all, now);
    }

    pub(super) fn pump_lane(&mut self, target: &Target) -> Result<()> {
        if self.degraded.is_some() {
            return Ok(());
        }
        if self.lanes.entry(target.clone()).or_default().flying.is_some() {
            return Ok(());
        }
        if self.waits_for_move(target)? || self.pump_first(target)? {
            return Ok(());
        }
        while let Some(row) = self.store.outbox_head(target)? {
            if let Some(to) = self.moved_to(target) {
                return self.move_lane(target, to);
            }
            if let Some(why) = self.barred(target).map(str::to_owned) {
                self.drop_owed(target, &why)?;
                break;
            }
            if row.state == "raw" {
                return self.render(target, &row);
            }
            if self.clock_confirmed && row.expires_at < self.now.wall {
                log::warn!("reply {} to {} is too old and was given up", row.id, target.channel);
                self.store.set_outbox(row.id, "expired", row.attempts, None, Some("too old"))?;
                self.undelivered(&row, "too old")?;
                continue;
            }
            // Marked by an earlier life, and nobody knows what became of it.
            let doubtful = row.state == "sending" && row.how.as_deref() != Some("edit") && row.kind != DELETE;
            // Buttons twice would be two questions.
            let once = is_large(&row) || (!row.content.buttons.is_empty() && !self.repeat_safe(target));
            if doubtful && (once || !self.may_repeat(target)) {
                let why = Some("may have been sent before a crash");
                self.store.set_outbox(row.id, "skipped", row.attempts, None, why)?;
                continue;
            }
            if self.goes_with_topic(target, &row)? {
                continue;
            }
            return match self.lane_free_at(target) {
                Some(at) if at <= self.now.mono => self.deliver(target, &row),
                Some(at) => {
                    self.arm(Due::Lane(target.clone()), at);
                    Ok(())
                }
                None => Ok(()),
            };
        }
        if let Some(chat) = self.moved_to(target) {
            self.todo.push_back(Todo::Lane(Target { chat, ..target.clone() })); // it may have waited
        }
        if self.pump_view(target)? {
            return Ok(());
        }
        let now = self.now.mono;
        let chat = self.chats.get(&chat_of(target)).and_then(|c| c.over(now));
        let Some(lane) = self.lanes.get(target) else { return Ok(()) };
        let seen = if lane.last_out > 0 { lane.last_out + JUST_SENT } else { 0 };
        match chat.into_iter().chain([lane.not_before, seen].into_iter().filter(|at| *at > now)).max() {
            Some(at) => self.arm(Due::Lane(target.clone()), at), // limits outlive what they were met with
            None if lane.flying.is_none() => {
                self.lanes.remove(target);
                self.chats.remove(&chat_of(target));
            }
            None => {}
        }
        Ok(())
    }

    /// Has the head's text rendered.
    fn render(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        let now = self.now.mono;
        let lane = self.lanes.entry(target.clone()).or_default();
        if let Some((job, until)) = lane.rendering {
            if now < until {
                self.arm(Due::Lane(target.clone()), until);
                return Ok(());
            }
            self.renders.remove(&job);
        }
        let id = self.next_job;
        self.next_job += 1;
        if let Some(lane) = self.lanes.get_mut(target) {
            lane.rendering = Some((id, now + RENDER_WAIT));
        }
        self.renders.insert(id, (target.clone(), row.id));
        let cwd = self.workspace_of(row)?;
        let job = Job::Render { target: target.clone(), content: Box::new(row.content.clone()), cwd };
        // Its own hands: those of a session may be busy.
        let whose = format!("lane:{}:{}:{}", target.channel, target.account, target.chat);
        self.emit(Effect::Job { id, session: whose.into(), job: Box::new(job), durable: false });
        self.arm(Due::Lane(target.clone()), now + RENDER_WAIT);
        Ok(())
    }

    /// Where files lie that an answer names. Others name none: what tools send is told by itself.
    fn workspace_of(&self, row: &OutboxRow) -> Result<Option<std::path::PathBuf>> {
        let Some(segment) = row.segment.filter(|_| row.kind == TEXT) else { return Ok(None) };
        let Some((key, _, _)) = self.store.segment_said(segment)? else { return Ok(None) };
        if self.store.origin_of(segment)?.as_deref() == Some("tool") {
            return Ok(None);
        }
        Ok(self.store.session(&key)?.map(|s| self.home(&s).cwd))
    }

    /// True if that job was a rendering.
    pub(super) fn on_rendered(&mut self, id: JobId, done: &JobDone) -> Result<bool> {
        let Some((target, row)) = self.renders.remove(&id) else { return Ok(false) };
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.rendering = None;
        }
        let head = self.store.outbox_head(&target)?.filter(|h| h.id == row && h.state == "raw");
        let Some(head) = head else {
            self.todo.push_back(Todo::Lane(target)); // it was taken back; another may wait
            return Ok(true);
        };
        let mut parts = match done {
            JobDone::Rendered(parts) => parts.clone(),
            // Better without form than not at all.
            _ => vec![Content { plain: None, ..head.content.clone() }],
        };
        if head.kind == EDIT && parts.len() != 1 && self.store.was_asked_for(head.id)? {
            let why = Some("the text does not fit into one message");
            self.store.set_outbox(head.id, "failed", head.attempts, None, why)?;
            self.todo.push_back(Todo::Lane(target));
            return Ok(true);
        }
        let reply_to = &head.content.reply_to;
        let all = self.rules.account_of(&target).is_some_and(|a| a.reply_to == crate::rules::ReplyTo::All);
        for part in parts.iter_mut().take(if all { usize::MAX } else { 1 }) {
            part.reply_to = reply_to.clone();
        }
        for part in &mut parts {
            part.silent = head.content.silent;
        }
        if let Some(first) = parts.first_mut() {
            first.buttons = head.content.buttons.clone();
            first.wants_reply = head.content.wants_reply;
        }
        self.store.set_rendered(&head, &parts)?;
        if let Some(segment) = head.segment {
            let texts = parts.iter().take_while(|part| part.file.is_none()).count();
            self.remove_surplus(segment, texts as i64)?;
        }
        self.todo.push_back(Todo::Lane(target));
        Ok(true)
    }

    fn may_repeat(&self, target: &Target) -> bool {
        self.rules.resend_ambiguous || self.repeat_safe(target)
    }

    fn repeat_safe(&self, target: &Target) -> bool {
        self.rules.channels.get(&target.channel).is_some_and(|c| c.repeat_safe)
    }

    fn set_flying(&mut self, target: &Target, call: CallId) {
        self.lanes.entry(target.clone()).or_default().flying = Some(call);
    }

    /// Marks the row and calls: in the place of the live message that showed it, if there is one.
    fn deliver(&mut self, target: &Target, row: &OutboxRow) -> Result<()> {
        let edited = match row.message.as_deref().filter(|_| row.kind == EDIT) {
            Some(message) => match message.strip_prefix(BY_ROW).and_then(|row| row.parse().ok()) {
                Some(row) => self.store.message_of(row)?,
                None => Some(message.to_owned()),
            },
            None => None,
        };
        if row.kind == EDIT && edited.is_none() {
            self.store.set_outbox(row.id, "skipped", row.attempts, None, Some("nobody knows the message"))?;
            self.todo.push_back(Todo::Lane(target.clone()));
            return Ok(());
        }
        self.store.set_outbox(row.id, "sending", row.attempts + 1, None, None)?;
        let live = match (row.kind.as_str(), row.segment) {
            (TEXT, Some(segment)) => self.store.live_for(segment, row.chunk, target)?,
            _ => None,
        };
        let (place, content) = self.beside_topic(target, row)?;
        let id = row.message.clone().unwrap_or_default();
        let (op, how) = match (row.kind.as_str(), live) {
            (DELETE, _) => (Op::Delete { id }, "edit"),
            (EDIT, _) => (Op::Edit { id: edited.unwrap_or_default(), content }, "edit"),
            (REACT, _) => {
                let emoji = content.text.split(' ').filter(|e| !e.is_empty()).map(str::to_owned).collect();
                (Op::React { id, emoji }, "edit")
            }
            (PIN | UNPIN, _) => (Op::Pin { id, on: row.kind == PIN }, "edit"),
            (_, Some(live)) => (Op::Edit { id: live.message, content }, "edit"),
            (_, None) => (Op::Send { content, nonce: self.store.ext('o', row.id), again: false }, "send"),
        };
        let again = how == "send" && row.how.as_deref() == Some(AGAIN);
        let op = match op {
            Op::Send { content, nonce, .. } => Op::Send { content, nonce, again },
            op => op,
        };
        if row.how.as_deref() != Some(how) && !again {
            self.store.set_outbox_how(row.id, how)?;
        }
        // The row's own commit may be as young as this one: the first call waits for the sync.
        let durable = row.attempts == 0 && self.rules.durable;
        let call = Call { target: place, op };
        self.emit(Effect::Call { id: CallId::Row(row.id), call: Box::new(call), durable });
        self.set_flying(target, CallId::Row(row.id));
        for _ in 0..row.content.files().count().max(1) {
            self.spend(target);
        }
        Ok(())
    }

    pub(super) fn on_outcome(&mut self, call: CallId, outcome: Outcome) -> Result<()> {
        if let CallId::Passing(id) = call {
            return self.on_passing(id, outcome);
        }
        let Some(target) = self.lanes.iter().find(|(_, l)| l.flying == Some(call)).map(|(t, _)| t.clone()) else {
            return Ok(()); // a repeat, or of a lane that was rebuilt: the store decides
        };
        // Not always the head: what another id of the chat was owed may have come before it meanwhile.
        let CallId::Row(row) = call else { return Ok(()) };
        let Some(head) = self.store.outbox_row(row)? else {
            self.lane_rests(&target);
            return Ok(());
        };
        let edit = head.how.as_deref() == Some("edit");
        let repeat_safe = edit || self.repeat_safe(&target);
        let mut wait = Wait::None;
        let outcome = match outcome {
            Outcome::Reformat => match head.content.plain.clone() {
                Some(text) => {
                    let content = Content { text, plain: None, ..head.content.clone() };
                    self.store.set_outbox_body(head.id, &content)?;
                    self.store.set_outbox(head.id, "ready", head.attempts, None, Some("formatting refused"))?;
                    self.lane_rests(&target);
                    return Ok(());
                }
                None => Outcome::Refused { why: "refused even without formatting".into() },
            },
            outcome => outcome,
        };
        let (state, id, error) = match outcome {
            Outcome::Sent { id } => ("sent", Some(id), None),
            Outcome::SentAll { ids } => {
                let mut ids = ids.into_iter();
                let first = ids.next();
                self.store.add_sent_along(head.id, ids)?;
                ("sent", first, None)
            }
            Outcome::Shown { id, .. } => ("sent", id, None),
            Outcome::Grown { .. } | Outcome::Reformat => ("ready", None, None), // of no row: a caller's mistake; seen above
            Outcome::RateLimited { account_wide, ms } => {
                self.limited(&target, account_wide, ms);
                ("ready", None, Some("rate limited".to_owned()))
            }
            Outcome::Retry { why } => {
                wait = Wait::Backoff;
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } if repeat_safe => {
                wait = Wait::Backoff;
                ("ready", None, Some(why))
            }
            // Once more; a second time it counts as taken.
            Outcome::Ambiguous { why } if head.how.as_deref() == Some(AGAIN) => ("sent", None, Some(why)),
            Outcome::Ambiguous { why }
                if self.rules.resend_ambiguous && !is_large(&head) && head.content.buttons.is_empty() =>
            {
                self.store.set_outbox_how(head.id, AGAIN)?;
                wait = Wait::Given(3_000);
                ("ready", None, Some(why))
            }
            Outcome::Ambiguous { why } => ("skipped", None, Some(why)),
            Outcome::Moved { to } if self.on_moved(&target, &to)? => ("ready", None, Some("the chat has moved".into())),
            Outcome::Moved { .. } => ("failed", None, Some("the chat has moved to nowhere".into())),
            Outcome::Barred { why, ms } => {
                self.bar(&target, ms, &why)?;
                self.undelivered(&head, &why)?;
                ("failed", None, Some(why))
            }
            Outcome::TopicGone { why } if !target.thread.is_empty() => {
                self.lose_topic(&target);
                ("ready", None, Some(why))
            }
            Outcome::Gone if head.kind == DELETE => ("sent", None, None),
            Outcome::Gone if head.kind == EDIT && head.content.text.is_empty() => ("sent", None, None),
            Outcome::Gone if head.kind == EDIT && !self.store.was_asked_for(head.id)? => {
                self.sent_anew(&target, &head)?;
                ("ready", None, None)
            }
            Outcome::Gone if is_act(&head.kind) => ("failed", None, Some("the message is not there".into())),
            Outcome::Gone if edit => {
                if let Some(live) = head.segment.map_or(Ok(None), |s| self.store.live_for(s, head.chunk, &target))? {
                    self.store.forget_live(&live)?;
                }
                ("ready", None, None) // as a message of its own
            }
            Outcome::Gone => ("failed", None, Some("the chat is gone".into())),
            Outcome::Unauthorized { why } => {
                self.refused(&target.channel, &target.account, &why);
                ("ready", None, Some(why))
            }
            Outcome::Refused { why } | Outcome::TopicGone { why } if !says(&head) => ("failed", None, Some(why)),
            Outcome::Refused { why } | Outcome::TopicGone { why } => {
                if head.kind == MEDIA {
                    self.tell_unsent(&head, &why)?;
                } else {
                    self.undelivered(&head, &why)?;
                }
                self.emit(Effect::Notice(format!("a reply to {} was refused: {why}", target.channel).into()));
                ("failed", None, Some(why))
            }
        };
        self.store.set_outbox(head.id, state, head.attempts, id.as_deref(), error.as_deref())?;
        if state != "ready" {
            self.question_known(head.id, id.as_deref())?;
            self.question_stayed(&head)?;
        }
        match state {
            "sent" => self.delivered(&head)?,
            "failed" => self.question_unsent(head.id, error.as_deref().unwrap_or_default())?,
            _ => {}
        }
        let now = self.now.mono;
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.flying = None;
            match wait {
                Wait::None => lane.failures = 0,
                Wait::Given(ms) => lane.not_before = now + ms,
                Wait::Backoff => {
                    lane.failures += 1;
                    lane.not_before = now + (1000u64 << (lane.failures - 1).min(9)).min(BACKOFF_MAX);
                }
            }
        }
        self.todo.push_back(Todo::Lane(target));
        Ok(())
    }

    /// A chat was limited; several at once mean the account.
    pub(super) fn limited(&mut self, target: &Target, account_wide: bool, ms: u64) {
        let now = self.now.mono;
        let chat = self.chats.entry(chat_of(target)).or_default();
        chat.frozen_until = chat.frozen_until.max(now + ms);
        let a = self.accounts.entry((target.channel.clone(), target.account.clone())).or_default();
        a.limited.retain(|(at, chat)| now.saturating_sub(*at) < MANY_TIME && *chat != target.chat);
        a.limited.push((now, target.chat.clone()));
        if account_wide || a.limited.len() >= MANY_CHATS {
            a.frozen_until = a.frozen_until.max(now + ms);
        }
    }

    fn refused(&mut self, channel: &str, account: &str, why: &str) {
        let a = self.accounts.entry((channel.to_owned(), account.to_owned())).or_default();
        if !std::mem::replace(&mut a.refused, true) {
            self.emit(Effect::Notice(format!("{channel}: the platform refused our credentials: {why}").into()));
        }
    }

    /// An account's reader knows whether the credentials work.
    pub(super) fn on_account(&mut self, channel: &str, account: &str, trouble: Option<&str>) {
        match trouble {
            Some(why) => self.refused(channel, account, why),
            None => {
                if let Some(a) = self.accounts.get_mut(&(channel.to_owned(), account.to_owned())) {
                    a.refused = false;
                }
                let mine = |t: &&Target| t.channel == channel && t.account == account;
                self.todo.extend(self.lanes.keys().filter(mine).cloned().map(Todo::Lane));
            }
        }
    }

    /// The lane has no call under way any more.
    pub(super) fn lane_rests(&mut self, target: &Target) {
        if let Some(lane) = self.lanes.get_mut(target) {
            lane.flying = None;
        }
        self.todo.push_back(Todo::Lane(target.clone()));
    }

    /// A call of the state before this one: its lane waits for it.
    pub(super) fn inherit_call(&mut self, id: u64, target: Target, what: Passing) {
        if matches!(what, Passing::View(..)) {
            self.set_flying(&target, CallId::Passing(id));
        }
        self.passing.insert(id, (target, what));
    }

    /// The call of a row, set going before this state was built: its outcome is still to come, and nothing else goes
    /// that way before.
    pub(super) fn inherit_send(&mut self, call: CallId) -> Result<()> {
        let CallId::Row(row) = call else { return Ok(()) };
        if let Some(target) = self.store.target_of(row)? {
            self.set_flying(&target, call);
        }
        Ok(())
    }

    /// A call that no row stands for.
    pub(super) fn call_passing(&mut self, target: &Target, op: Op, what: Passing) {
        let id = self.next_call;
        self.next_call += 1;
        if matches!(what, Passing::View(..)) {
            self.set_flying(target, CallId::Passing(id)); // paid for when it is known that somebody was called
        }
        self.passing.insert(id, (target.clone(), what));
        let call = Box::new(Call { target: target.clone(), op });
        self.emit(Effect::Call { id: CallId::Passing(id), call, durable: false });
    }
}

enum Wait {
    None,
    Given(u64),
    Backoff,
}
