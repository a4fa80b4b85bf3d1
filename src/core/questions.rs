//! Questions of the agent in the chat where its turn is: dialogs of pi's extensions and `keyboard_select` (core.md 8.5,
//! telegram.md 12).
//!
//! What is open lives here; the store knows only which message asks, so that a later life can close it.
//! How the message looks is in [`super::question_view`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::answers;
use super::dialogs::HELD;
use super::keys::{self, Data};
use super::presses::KEYS_LIFE;
use super::session::{Key, Session, Stage};
use super::{Due, State};
use crate::message::*;
use crate::store::{inbox_state as st, Action, Result, ASK};

/// Questions of tools and clients open at once, all sessions together.
const MOST: usize = 256;
/// Characters of what is asked: with a result behind it one message.
const TITLE: usize = 3_000;

/// Who waits for the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asking {
    /// An extension of pi, by its dialog.
    Dialog(String),
    /// A tool or a client.
    Caller(ReqId),
}

/// How it ended, as the message shows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// That option.
    Chosen(usize),
    /// Words, or several options.
    Said(String),
    /// By the next message, which everybody sees.
    Written,
    Cancelled,
    TimedOut,
    Elsewhere,
}

pub(super) struct Question {
    pub asking: Asking,
    pub session: Key,
    pub sender: String,
    pub target: Target,
    pub dm: bool,
    /// It ends with the turn.
    in_turn: bool,
    /// The outbox row of the message.
    pub row: Row,
    /// The message, as a press named it.
    pub message: Option<String>,
    pub title: String,
    pub options: Vec<String>,
    pub columns: usize,
    /// Several may be chosen: those that are.
    pub several: Option<BTreeSet<usize>>,
    pub may_cancel: bool,
    /// The answer is a text.
    pub words: bool,
    pub page: usize,
    /// Messages that reply to one that nobody knows yet: maybe to this.
    pub replies: Vec<answers::Reply>,
}

/// What the store keeps of it.
pub(super) fn kept(q: &Question) -> String {
    serde_json::to_string(&Kept { row: q.row, title: q.title.clone() }).unwrap_or_default()
    // plain data: never fails
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    row: Row,
    title: String,
}

impl State {
    /// Whom the session's agent talks to: who is being answered, else who wrote last.
    pub(super) fn partner(&self, s: &Session) -> Option<Source> {
        match &s.stage {
            Stage::Turn(t) => t.addressee().map(|m| m.source.clone()).or_else(|| s.row.last.clone()),
            _ => s.row.last.clone(),
        }
    }

    /// Asks a dialog of pi in the chat of the turn, if that has buttons.
    pub(super) fn ask_dialog(&mut self, key: &Key, d: &Dialog) -> Result<()> {
        let partner = self.sessions.get(key).and_then(|s| self.partner(s));
        let Some(to) = partner.filter(|p| self.keys_of(p).is_some()) else { return Ok(()) };
        let words = matches!(d.method.as_str(), "input" | "editor");
        let (title, message) = (prose(&d.title), prose(&d.message));
        let title = match (title.is_empty(), message.is_empty()) {
            (false, false) => format!("{title}\n\n{message}"),
            (false, true) => title,
            (true, _) => message,
        };
        let title = if title.is_empty() { "?".to_owned() } else { title };
        let options = match d.method.as_str() {
            "confirm" => vec!["Yes".to_owned(), "No".to_owned()],
            _ if words => Vec::new(),
            _ => d.options.clone(),
        };
        let short = options.iter().all(|o| o.chars().count() <= 12);
        self.put_question(
            Question {
                asking: Asking::Dialog(d.id.clone()),
                session: key.clone(),
                sender: to.sender.clone(),
                target: self.target_of(&to),
                dm: to.chat_type == ChatType::Dm,
                in_turn: true,
                row: 0,
                message: None,
                title,
                columns: if short && (d.method == "confirm" || options.len() > 6) { 2 } else { 1 },
                options,
                several: (d.method == "multiselect").then(BTreeSet::new),
                may_cancel: d.method != "confirm",
                words,
                page: 0,
                replies: Vec::new(),
            },
            to.message_id,
        )?;
        Ok(())
    }

    /// `keyboard_select`: the caller is answered when somebody chose.
    pub(super) fn on_choose(&mut self, id: ReqId, req: ChoiceRequest) -> Result<()> {
        if let Some((code, why)) = self.closed() {
            self.refuse(id, code, why);
            return Ok(());
        }
        let Some(key) = self.load(&req.session, None)? else {
            self.refuse(id, Code::NotFound, "Session not found");
            return Ok(());
        };
        let (mut partner, mut in_turn) = (None, false);
        self.with(&key, |core, s| {
            (partner, in_turn) = (core.partner(s), matches!(s.stage, Stage::Turn(_)));
            Ok(())
        })?;
        if let Some(p) = partner.as_ref().filter(|p| !self.rules.channels.contains_key(&p.channel)) {
            let channel = p.channel.clone();
            if !self.rules.mailbox(&channel) {
                self.refuse(id, Code::NotFound, format!("Channel not found: {channel}"));
                return Ok(());
            }
        }
        if partner.as_ref().is_some_and(|p| p.channel == "webchat") {
            if !self.choose_on_page(id, &key, req, in_turn) {
                self.refuse(id, Code::Busy, "Too many questions are open");
            }
            return Ok(());
        }
        let Some(to) = partner.filter(|p| self.keys_of(p).is_some()) else {
            self.refuse(id, Code::Unsupported, "no inline keyboards");
            return Ok(());
        };
        if self.questions.len() >= MOST {
            self.refuse(id, Code::Busy, "Too many questions are open");
            return Ok(());
        }
        let question = Question {
            asking: Asking::Caller(id),
            session: key,
            sender: to.sender.clone(),
            target: self.target_of(&to),
            dm: to.chat_type == ChatType::Dm,
            in_turn,
            row: 0,
            message: None,
            title: req.title.chars().take(TITLE).collect(),
            options: req.options,
            columns: req.columns.max(1),
            several: None,
            may_cancel: false,
            words: false,
            page: 0,
            replies: Vec::new(),
        };
        let asked = self.put_question(question, to.message_id)?;
        self.arm(Due::Question(asked), self.now.mono + req.timeout.min(HELD));
        Ok(())
    }

    /// Does the running turn of the session wait for an answer?
    pub(super) fn asks_in(&self, key: &Key) -> bool {
        self.questions.values().any(|q| q.in_turn && q.session == *key)
    }

    fn put_question(&mut self, mut q: Question, reply_to: Option<String>) -> Result<String> {
        if q.in_turn {
            self.view_first(&q.session);
        }
        let id = (self.random)(8);
        // In groups it is plain whom it is for, and whose client opens a reply.
        q.row = self.send_question(&id, &q, reply_to.filter(|_| !q.dm))?;
        self.store.add_action(&Action {
            id: id.clone(),
            kind: ASK.into(),
            channel: q.target.channel.clone(),
            account: q.target.account.clone(),
            chat: q.target.chat.clone(),
            sender: Some(q.sender.clone()),
            session: q.session.to_string(),
            data: kept(&q),
            expires: self.now.wall + KEYS_LIFE,
        })?;
        self.questions.insert(id.clone(), q);
        Ok(id)
    }

    /// A button of a question was pressed by who may.
    pub(super) fn press_question(&mut self, target: &Target, p: &Press, a: &Action, what: Data) -> Result<String> {
        let Some(q) = self.questions.get_mut(&a.id) else {
            // Its turn went with an earlier life; the start closed it, or is about to.
            if let Some(message) = &p.message {
                self.edit(target, message, Content::default())?;
            }
            return Ok("Expired".into());
        };
        q.message = p.message.clone().or(q.message.take());
        enum Do {
            End(UiAnswer, Ended),
            Show,
            Nothing,
        }
        let choice = match (what, &mut q.several) {
            (Data::Cancel { .. }, _) if q.may_cancel => Do::End(UiAnswer::Cancelled, Ended::Cancelled),
            (Data::Page { page, .. }, _) if page != q.page => {
                q.page = page;
                Do::Show
            }
            (Data::Button { n, .. }, Some(chosen)) if n < q.options.len() => {
                if !chosen.remove(&n) {
                    chosen.insert(n);
                }
                Do::Show
            }
            (Data::Done { .. }, Some(chosen)) => {
                let list: Vec<String> = chosen.iter().map(|n| q.options[*n].clone()).collect();
                let said = if list.is_empty() { "(none)".to_owned() } else { list.join(", ") };
                Do::End(UiAnswer::Values(list), Ended::Said(said))
            }
            (Data::Button { n, .. }, None) if n < q.options.len() => {
                let answer = match q.may_cancel || matches!(q.asking, Asking::Caller(_)) {
                    true => UiAnswer::Value(q.options[n].clone()),
                    false => UiAnswer::Confirmed(n == 0),
                };
                Do::End(answer, Ended::Chosen(n))
            }
            _ => Do::Nothing,
        };
        // The mark: a repeat of this press does nothing.
        let marked = self
            .pressed(&a.session, p, "", |core, _, row| core.store.set_inbox(row.id, st::COMMAND, None, None, None))?;
        if marked.is_none() {
            return Ok("Expired".into());
        }
        match choice {
            Do::End(answer, how) => self.end_question(&a.id, answer, how)?,
            Do::Show => {
                let Some(q) = self.questions.get(&a.id) else { return Ok(String::new()) };
                let content = Content { text: q.title.clone(), buttons: self.buttons(&a.id, q), ..Content::default() };
                if let Some(message) = &p.message {
                    self.edit(target, message, content)?;
                }
            }
            Do::Nothing => {}
        }
        Ok(String::new())
    }

    /// Answers whoever asked, and shows in the message how it ended.
    pub(super) fn end_question(&mut self, id: &str, answer: UiAnswer, how: Ended) -> Result<()> {
        match self.questions.get(id).map(|q| q.asking.clone()) {
            Some(Asking::Dialog(dialog)) => {
                self.close_view(id, &how)?;
                self.close_dialog(&dialog, answer, how)
            }
            Some(Asking::Caller(req)) => {
                let message = self.question_message(id)?;
                let choice = match &how {
                    Ended::Chosen(option) => Choice::Made { option: *option, message },
                    Ended::TimedOut => Choice::TimedOut,
                    _ => Choice::Cancelled,
                };
                self.answer(req, Answer::Choice(choice), false);
                self.close_view(id, &how)
            }
            None => Ok(()),
        }
    }

    // ---- how it ends without an answer

    /// The dialog was answered on a page, or is over.
    pub(super) fn dialog_view_ends(&mut self, dialog: &str, how: &Ended) -> Result<()> {
        let mine = |q: &Question| q.asking == Asking::Dialog(dialog.to_owned());
        match self.questions.iter().find(|(_, q)| mine(q)).map(|(id, _)| id.clone()) {
            Some(id) => self.close_view(&id, how),
            None => Ok(()),
        }
    }

    pub(super) fn question_late(&mut self, id: &str) -> Result<()> {
        self.end_question(id, UiAnswer::Cancelled, Ended::TimedOut)
    }

    /// The caller left.
    pub(super) fn chooser_gone(&mut self, req: ReqId) -> Result<()> {
        match self.questions.iter().find(|(_, q)| q.asking == Asking::Caller(req)).map(|(id, _)| id.clone()) {
            Some(id) => self.close_view(&id, &Ended::Cancelled),
            None => Ok(()),
        }
    }

    /// Keyboards of a session are answered with cancelled: all, those of one sender, or those that belong to its
    /// turn; how many there were.
    pub(super) fn cancel_choices(&mut self, session: &str, sender: Option<&str>, of_turn: bool) -> Result<usize> {
        let mine = |q: &Question| {
            matches!(q.asking, Asking::Caller(_))
                && *q.session == *session
                && sender.is_none_or(|s| s == q.sender)
                && (q.in_turn || !of_turn)
        };
        let ids: Vec<String> = self.questions.iter().filter(|(_, q)| mine(q)).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            self.end_question(id, UiAnswer::Cancelled, Ended::Cancelled)?;
        }
        Ok(ids.len())
    }

    /// Who may answer that dialog in its chat; `None`: it is not asked in one.
    pub(super) fn dialog_is_for(&self, dialog: &str) -> Option<&str> {
        let mine = |q: &&Question| q.asking == Asking::Dialog(dialog.to_owned());
        self.questions.values().find(mine).map(|q| q.sender.as_str())
    }

    /// The platform did not take a message: if it asks something, nobody will see it.
    pub(super) fn question_unsent(&mut self, row: Row, why: &str) -> Result<()> {
        let Some((id, asking)) =
            self.questions.iter().find(|(_, q)| q.row == row).map(|(id, q)| (id.clone(), q.asking.clone()))
        else {
            return Ok(());
        };
        if let Some(q) = self.questions.remove(&id) {
            self.free_replies(&q);
        }
        self.disarm(&Due::Question(id.clone()));
        self.store.forget_action(&id)?;
        match asking {
            Asking::Caller(req) => {
                self.refuse(req, Code::UpstreamFailed, format!("The keyboard could not be sent: {why}"));
                Ok(())
            }
            Asking::Dialog(dialog) => self.close_dialog(&dialog, UiAnswer::Cancelled, Ended::Cancelled),
        }
    }

    /// At start: who asked is gone with the earlier life.
    pub(super) fn recover_questions(&mut self) -> Result<()> {
        for a in self.store.open_questions()? {
            self.store.forget_action(&a.id)?;
            let kept: Kept = serde_json::from_str(&a.data).unwrap_or_default(); // a column of ours
            if let Some(target) = self.store.target_of(kept.row)? {
                self.reword(&target, kept.row, None, format!("{}\n*(interrupted)*", kept.title))?;
            }
        }
        Ok(())
    }
}

/// A text of an extension, as it is.
fn prose(text: &str) -> String {
    keys::literally(text.trim().chars().take(TITLE / 2).collect::<String>().as_str())
}
