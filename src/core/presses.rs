//! Presses of buttons (telegram.md 11, core.md 22.6): who may press, once each, and always answered at once.
//!
//! What a press does and its mark (a row of the inbox with the platform's key) are one transaction.

use super::command_list::{self, Command};
use super::intake::Manner;
use super::keys::{self, Act, Data};
use super::lanes::Passing;
use super::session::Session;
use super::State;
use crate::access::Verdict;
use crate::message::*;
use crate::store::{inbox_state as st, Action, InboxRow, NewInbox, NewOutbox, Result, ASK, EDIT, USED};

/// The kind of a press's row.
pub(super) const CALLBACK: &str = "callback";
/// A button works that long, ms.
pub(super) const KEYS_LIFE: i64 = 24 * 3_600_000;
/// Characters of what is shown to who pressed.
const TOAST: usize = 180;
const EXPIRED: &str = "Expired";
pub(super) const NOT_YOURS: &str = "Not for you.";
const UNAUTHORIZED: &str = "⛔ Unauthorized.";

impl State {
    pub(super) fn on_press(&mut self, p: Press) -> Result<()> {
        let p = self.press_here(p);
        let target = Target::from(&p.source);
        let text = match self.known(Some(&p.dkey))? {
            Some(_) => {
                self.counters.duplicates += 1;
                String::new()
            }
            None => self.press(&target, &p)?,
        };
        self.answer_press(&target, &p.query, &text);
        Ok(())
    }

    /// Who pressed sees that something came of it.
    pub(super) fn answer_press(&mut self, target: &Target, query: &str, text: &str) {
        let alert = matches!(text, NOT_YOURS | UNAUTHORIZED);
        let op = Op::AnswerPress { query: query.to_owned(), text: super::prompt::head(text, TOAST), alert };
        self.call_passing(target, op.clone(), Passing::Press(Some(op)));
    }

    /// The answer to a press did not get through: once more, it may have been the connection.
    pub(super) fn on_press_answered(&mut self, target: &Target, again: Option<Op>, outcome: &Outcome) {
        if let (Some(op), Outcome::Retry { .. } | Outcome::Ambiguous { .. }) = (again, outcome) {
            self.call_passing(target, op, Passing::Press(None));
        }
    }

    /// What is shown to who pressed.
    fn press(&mut self, target: &Target, p: &Press) -> Result<String> {
        if !self.may_press(p)? {
            return Ok(NOT_YOURS.into());
        }
        let Some(what) = keys::parse(&p.data) else {
            return match keys::literal(&p.data) {
                Some(act) => {
                    let (session, _) = self.route(&p.source, "");
                    let session = self.renamed(session, &p.source)?;
                    self.act(target, p, &session, act)
                }
                None => self.expired(target, p),
            };
        };
        let (Data::Button { id, .. } | Data::Cancel { id } | Data::Done { id } | Data::Page { id, .. }) = what;
        let valid = |a: &Action| a.is_at(target) && (!self.clock_confirmed || a.expires > self.now.wall);
        let Some(a) = self.store.action(id)?.filter(valid) else { return self.expired(target, p) };
        if a.sender.as_ref().is_some_and(|s| *s != p.source.sender) {
            // A question is for whom it was asked; a menu others may use who could have called it.
            let free = a.kind != ASK && (p.source.chat_type == ChatType::Dm || self.authorised(&p.source)?);
            if !free {
                return Ok(NOT_YOURS.into());
            }
        }
        match (a.kind.as_str(), what) {
            (USED, _) => Ok(String::new()), // a second touch of the same finger
            (ASK, what) => self.press_question(target, p, &a, what),
            (_, Data::Button { n, .. }) => {
                let acts: Vec<Act> = serde_json::from_str(&a.data).unwrap_or_default(); // a column of ours
                let Some(act) = acts.into_iter().nth(n) else { return self.expired(target, p) };
                let last = !matches!(act, Act::Page(_));
                let said = self.act(target, p, &a.session, act)?;
                if last && said != UNAUTHORIZED {
                    self.store.use_action(&a.id)?;
                }
                Ok(said)
            }
            _ => self.expired(target, p),
        }
    }

    /// The same gate as for messages; nobody is told a pairing code by it.
    fn may_press(&self, p: &Press) -> Result<bool> {
        let Some(account) = self.rules.account(&p.source) else { return Ok(false) };
        let facts = Facts { mentioned: true, ..p.facts.clone() };
        Ok(match account.access.judge(&self.as_configured(&p.source), &facts) {
            Verdict::Admit => true,
            Verdict::Ignore | Verdict::Overhear => false,
            Verdict::IfApproved { .. } => self.store.is_approved(
                &p.source.channel,
                p.source.account.as_deref().unwrap_or_default(),
                &p.source.sender,
            )?,
        })
    }

    /// The keyboard means nothing any more, and goes.
    fn expired(&mut self, target: &Target, p: &Press) -> Result<String> {
        if let Some(message) = &p.message {
            self.edit(target, message, Content::default())?;
        }
        Ok(EXPIRED.into())
    }

    fn act(&mut self, target: &Target, p: &Press, session: &str, act: Act) -> Result<String> {
        match act {
            Act::Say(text) => {
                let shown = Content { text: format!("▶ `{text}`"), ..Content::default() };
                let inbound = Inbound { dkey: p.dkey.clone(), source: p.source.clone(), text, ..Inbound::default() };
                self.accept(session, inbound, Manner::default())?;
                if let Some(message) = &p.message {
                    self.edit(target, message, shown)?;
                }
                Ok(String::new())
            }
            Act::Run(text) => {
                let Some(command) = command_list::parse(&text, &self.rules) else { return self.expired(target, p) };
                let group = p.source.chat_type != ChatType::Dm;
                if command.needs_the_right(group) && !self.authorised(&p.source)? {
                    return Ok(UNAUTHORIZED.into());
                }
                let model = if let Command::Model(Some(model)) = &command { Some(model.clone()) } else { None };
                let done = self.pressed(session, p, &text, |core, s, row| {
                    core.command(s, row, command)?;
                    let taken = model.filter(|m| s.row.model.as_ref() == Some(m));
                    Ok(taken.map_or(String::new(), |m| format!("Switched to {m}")))
                })?;
                done.map_or_else(|| self.expired(target, p), Ok)
            }
            Act::Page(menu) => {
                let done = self.pressed(session, p, "", |core, s, row| {
                    let content = core.menu(s, &row.source, menu)?;
                    let Some(message) = &row.source.message_id else { return core.notice_with(s, row.id, content) };
                    core.store.set_inbox(row.id, st::COMMAND, None, None, None)?;
                    core.edit(&Target::from(&row.source), message, content)
                })?;
                match done {
                    Some(()) => Ok(String::new()),
                    None => self.expired(target, p),
                }
            }
        }
    }

    /// The mark of a press, or of words that answer like one, by its keys: a repeat does nothing.
    pub(super) fn add_touch(
        &mut self,
        session: &str,
        source: &Source,
        text: &str,
        (dkey, dkey2): (&str, Option<&str>),
    ) -> Result<Row> {
        self.counters.accepted += 1;
        self.store.add_inbox(&NewInbox {
            dkey: (!dkey.is_empty()).then_some(dkey),
            dkey2,
            text,
            ..self.incoming(CALLBACK, session, source)
        })
    }

    /// Records the press and does what it is for; `None`: its session is gone.
    pub(super) fn pressed<T>(
        &mut self,
        session: &str,
        p: &Press,
        text: &str,
        act: impl FnOnce(&mut State, &mut Session, InboxRow) -> Result<T>,
    ) -> Result<Option<T>> {
        let source = Source { message_id: p.message.clone(), ..p.source.clone() };
        let fresh = keys::parse(&p.data).is_none().then_some(&source); // of before us: its session may be new
        let Some(key) = self.load(session, fresh)? else { return Ok(None) };
        let row = self.add_touch(session, &source, text, (&p.dkey, None))?;
        let Some(row) = self.store.inbox(row)? else { return Ok(None) };
        let mut done = None;
        self.with(&key, |core, s| {
            done = Some(act(core, s, row)?);
            Ok(())
        })?;
        Ok(done)
    }

    /// Another text, or other buttons, for a message of ours.
    pub(super) fn edit(&mut self, target: &Target, message: &str, content: Content) -> Result<()> {
        self.owe(&NewOutbox { message: Some(message), ..self.outgoing(EDIT, target, &content) })?;
        Ok(())
    }
}
