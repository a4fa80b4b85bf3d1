//! Dialogs: what pi's extensions, or tools on WebChat, ask the people of a session; pages show them, and chats with
//! buttons (`questions.rs`).

use super::{Due, Ended, State};
use crate::message::*;
use crate::store::Result;

/// Longest time a dialog stays open, ms (core.md 8.5).
const DIALOG_MAX: u64 = 300_000;
/// A held answer ends after that long, ms (gateway-api.md 1.7).
pub(super) const HELD: u64 = 290_000;
/// Dialogs open at once, all sessions together.
const DIALOGS: usize = 64;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Pi(ProcId),
    /// A tool or a client (`keyboard_select`); `in_turn`: it ends with the turn.
    Caller {
        req: ReqId,
        in_turn: bool,
    },
}

pub(super) struct OpenDialog {
    pub by: Asker,
    pub dialog: Dialog,
    pub until: Mono,
}

impl State {
    pub(super) fn open_dialog(&mut self, proc: ProcId, d: &PiDialog) -> Result<()> {
        let session = self.procs.get(&proc).and_then(|p| p.session.clone());
        let answerable = session.as_ref().and_then(|k| self.sessions.get(k)).is_some_and(|s| {
            let partner = self.partner(s);
            s.running() && partner.is_some_and(|p| p.channel == "webchat" || self.keys_of(&p).is_some())
        });
        let Some(session) = session.filter(|_| answerable && self.dialogs.len() < DIALOGS) else {
            self.write(proc, PiCmd::UiResponse { id: d.id.clone(), answer: UiAnswer::Cancelled });
            return Ok(());
        };
        let ttl = d.timeout.unwrap_or(DIALOG_MAX).min(DIALOG_MAX);
        let dialog = Dialog {
            id: d.id.clone(),
            session: session.to_string(),
            method: d.method.clone(),
            title: d.title.clone(),
            message: d.message.clone(),
            options: d.options.clone(),
            placeholder: d.placeholder.clone(),
            prefill: d.prefill.clone(),
            ttl,
        };
        self.show_dialog(Asker::Pi(proc), dialog.clone());
        self.ask_dialog(&session, &dialog)
    }

    /// A tool or a client lets the people at the page choose; `false`: too many are open.
    pub(super) fn choose_on_page(&mut self, req: ReqId, session: &str, wish: ChoiceRequest, in_turn: bool) -> bool {
        if self.dialogs.len() >= DIALOGS {
            return false;
        }
        let dialog = Dialog {
            id: (self.random)(12),
            session: session.to_owned(),
            method: "select".into(),
            title: wish.title,
            message: String::new(),
            options: wish.options,
            placeholder: String::new(),
            prefill: String::new(),
            ttl: wish.timeout.min(HELD),
        };
        self.show_dialog(Asker::Caller { req, in_turn }, dialog);
        true
    }

    fn show_dialog(&mut self, by: Asker, dialog: Dialog) {
        let until = self.now.mono + dialog.ttl;
        self.arm(Due::Dialog(dialog.id.clone()), until);
        self.frame(Frame::Dialog(dialog.clone()));
        self.dialogs.insert(dialog.id.clone(), OpenDialog { by, dialog, until });
    }

    /// The caller left: nobody needs to choose any more.
    pub(super) fn page_chooser_gone(&mut self, gone: ReqId) -> Result<()> {
        let mine = |d: &&OpenDialog| matches!(d.by, Asker::Caller { req, .. } if req == gone);
        match self.dialogs.values().find(mine).map(|d| d.dialog.id.clone()) {
            Some(id) => self.close_dialog(&id, UiAnswer::Cancelled, Ended::Cancelled),
            None => Ok(()),
        }
    }

    /// Answers whoever asked; the pages and the chat see how it ended.
    pub(super) fn close_dialog(&mut self, id: &str, answer: UiAnswer, how: Ended) -> Result<()> {
        let Some(d) = self.dialogs.remove(id) else { return Ok(()) };
        self.disarm(&Due::Dialog(id.to_owned()));
        match d.by {
            Asker::Pi(proc) if self.procs.contains_key(&proc) => {
                self.write(proc, PiCmd::UiResponse { id: id.to_owned(), answer: answer.fit(&d.dialog.method) });
            }
            Asker::Pi(_) => {}
            Asker::Caller { req, .. } => {
                let chosen = match answer.fit(&d.dialog.method) {
                    UiAnswer::Value(text) => d.dialog.options.iter().position(|o| *o == text),
                    _ => None,
                };
                let choice = match chosen {
                    Some(option) => Choice::Made { option, message: None },
                    None if how == Ended::TimedOut => Choice::TimedOut,
                    None => Choice::Cancelled,
                };
                self.answer(req, Answer::Choice(choice), false);
            }
        }
        self.frame(Frame::DialogDone { session: d.dialog.session, id: id.to_owned() });
        self.dialog_view_ends(id, &how)
    }

    /// Answers whoever waits for a session's people, or for agents that it asked, with cancelled: R7, before anything
    /// else ends.
    pub(super) fn cancel_held(&mut self, session: &str) -> Result<()> {
        self.cancel_delegations(session);
        self.end_dialogs(session, None, false)?;
        self.cancel_choices(session, None, false).map(|_| ())
    }

    /// The same for those of the turn, which is over.
    pub(super) fn end_turn_dialogs(&mut self, session: &str) -> Result<()> {
        self.end_dialogs(session, None, true)?;
        self.cancel_choices(session, None, true).map(|_| ())
    }

    /// `/cancel`: what its sender may answer; how many there were.
    pub(super) fn cancel_for(&mut self, session: &str, by: &Source) -> Result<usize> {
        let sender = (by.chat_type != ChatType::Dm).then_some(by.sender.as_str());
        Ok(self.end_dialogs(session, sender, false)? + self.cancel_choices(session, sender, false)?)
    }

    fn end_dialogs(&mut self, session: &str, sender: Option<&str>, of_turn: bool) -> Result<usize> {
        let mine = |id: &str| sender.is_none_or(|s| self.dialog_is_for(id).is_none_or(|f| f == s));
        let ends = |by: Asker| !of_turn || !matches!(by, Asker::Caller { in_turn: false, .. });
        let of_it = self.dialogs.values().filter(|d| d.dialog.session == session && ends(d.by) && mine(&d.dialog.id));
        let ids: Vec<String> = of_it.map(|d| d.dialog.id.clone()).collect();
        for id in &ids {
            // An extension keeps its own time, and the turn may end before ours is over.
            let late = self.dialogs.get(id).is_some_and(|d| d.until <= self.now.mono + 500);
            let how = if late { Ended::TimedOut } else { Ended::Cancelled };
            self.close_dialog(id, UiAnswer::Cancelled, how)?;
        }
        Ok(ids.len())
    }

    /// The process that asked is gone.
    pub(super) fn drop_dialogs(&mut self, proc: ProcId) -> Result<()> {
        let ids: Vec<String> =
            self.dialogs.values().filter(|d| d.by == Asker::Pi(proc)).map(|d| d.dialog.id.clone()).collect();
        for id in ids {
            self.close_dialog(&id, UiAnswer::Cancelled, Ended::Cancelled)?;
        }
        Ok(())
    }
}
