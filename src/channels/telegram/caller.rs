//! The caller: one operation of the mind, one call of the Bot API (telegram.md 13–19).

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{json, Map, Value};

use super::api::Message;
use super::client::{Bot, Fail};
use super::drafts::{self, Drafts};
use super::media::Media;
use super::{markup, preview, reactions};
use crate::channels::Caller;
use crate::config::types::TelegramAccount;
use crate::live::Board;
use crate::message::*;

const TEXT_CALL: Duration = Duration::from_secs(30);
/// Later an answer to a press is of no use.
const PRESS_CALL: Duration = Duration::from_secs(10);
/// What live messages showed last: so many are remembered.
const REMEMBERED: usize = 500;

pub struct TelegramCaller {
    bot: Bot,
    board: Arc<Board>,
    link_preview: bool,
    style: preview::Style,
    media: Media,
    drafts: Drafts,
    /// By chat and message: what it showed last.
    shown: Mutex<HashMap<(String, String), u64>>,
    /// Chat and message: edited to be without buttons.
    bare: Mutex<HashSet<(String, String)>>,
}

impl TelegramCaller {
    pub fn new(bot: Bot, c: &TelegramAccount, board: Arc<Board>, media: Media, show_thinking: bool) -> TelegramCaller {
        let style = preview::Style {
            placeholder: c.placeholder.clone(),
            show_thinking,
            min_chars: c.draft_chunk.min_chars,
            max_chars: c.draft_chunk.max_chars,
            breaks: c.draft_chunk.break_preference,
        };
        TelegramCaller {
            bot,
            board,
            link_preview: c.link_preview,
            style,
            media,
            drafts: Drafts::new(c.stream_mode),
            shown: Mutex::default(),
            bare: Mutex::default(),
        }
    }

    fn call<T: serde::de::DeserializeOwned>(&self, method: &str, params: Map<String, Value>) -> Result<T, Fail> {
        self.bot.call(method, &Value::Object(params), TEXT_CALL)
    }

    /// The parameters of a text that is sent or changed.
    fn text(&self, target: &Target, content: &Content) -> Map<String, Value> {
        let mut p = at(target);
        p.insert("text".into(), content.text.as_str().into());
        if content.plain.is_some() {
            p.insert("parse_mode".into(), "HTML".into());
        }
        if let Some(markup) = markup::of(content) {
            p.insert("reply_markup".into(), markup);
        }
        if !self.link_preview {
            p.insert("link_preview_options".into(), json!({"is_disabled": true}));
        }
        p
    }

    /// The id of the message, or those of an album.
    fn send(&self, target: &Target, content: &Content) -> Result<Vec<String>, Fail> {
        let mut p = match content.file {
            Some(_) => at(target),
            None => self.text(target, content),
        };
        if let Some(thread) = thread(target) {
            p.insert("message_thread_id".into(), thread.into());
        }
        if let Some(id) = content.reply_to.as_ref().and_then(|id| id.parse::<i64>().ok()) {
            p.insert("reply_parameters".into(), json!({"message_id": id, "allow_sending_without_reply": true}));
        }
        if content.silent {
            p.insert("disable_notification".into(), true.into());
        }
        let send = |p: Map<String, Value>| match content.file {
            Some(_) => self.media.send(target, content, &p),
            None => self.call::<Message>("sendMessage", p).map(|m| vec![m.message_id.to_string()]),
        };
        match send(p.clone()) {
            // Refused for certain: the same without what it was refused for.
            Err(fail) if fail.says("message to be replied not found") => {
                p.remove("reply_parameters");
                send(p)
            }
            sent => sent,
        }
    }

    /// The text that is there to stay; nothing to do if the message has grown to just that.
    fn finish(&self, target: &Target, id: &str, content: &Content) -> Result<(), Fail> {
        let shown = self.lock().remove(&(target.chat.clone(), id.to_owned()));
        if shown == Some(hash(content)) && content.buttons.is_empty() {
            return Ok(());
        }
        self.edit(target, id, content)
    }

    /// `Ok`: it shows that text now.
    fn edit(&self, target: &Target, id: &str, content: &Content) -> Result<(), Fail> {
        let key = (target.chat.clone(), id.to_owned());
        let (method, mut p) = match content.text.is_empty() {
            true if content.buttons.is_empty() && self.bare().contains(&key) => return Ok(()),
            true => ("editMessageReplyMarkup", at(target)),
            false => ("editMessageText", self.text(target, content)),
        };
        p.insert("message_id".into(), number(id));
        let edited = match self.call::<Value>(method, p.clone()) {
            // A file: its caption.
            Err(fail) if fail.says("there is no text in the message to edit") => {
                p.remove("link_preview_options");
                let text = p.remove("text").unwrap_or_default();
                p.insert("caption".into(), text);
                self.call::<Value>("editMessageCaption", p)
            }
            other => other,
        };
        match edited {
            Err(fail) if fail.says("message is not modified") => {}
            other => drop(other?),
        }
        let mut bare = self.bare();
        if !content.buttons.is_empty() {
            bare.remove(&key);
        } else {
            if bare.len() >= REMEMBERED {
                bare.clear(); // worth an edit that changes nothing
            }
            bare.insert(key);
        }
        Ok(())
    }

    fn bare(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        self.bare.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn react(&self, target: &Target, id: &str, emoji: &[String]) -> Result<(), Fail> {
        let mut p = at(target);
        p.insert("message_id".into(), number(id));
        let set: Vec<Value> = emoji.iter().map(|e| json!({"type": "emoji", "emoji": e})).collect();
        p.insert("reaction".into(), set.into());
        self.call::<bool>("setMessageReaction", p).map(|_| ())
    }

    fn pin(&self, target: &Target, id: &str, on: bool) -> Result<(), Fail> {
        let mut p = at(target);
        p.insert("message_id".into(), number(id));
        if on {
            p.insert("disable_notification".into(), true.into());
        }
        self.call::<bool>(if on { "pinChatMessage" } else { "unpinChatMessage" }, p).map(|_| ())
    }

    fn delete(&self, target: &Target, id: &str) -> Result<(), Fail> {
        let mut p = at(target);
        p.insert("message_id".into(), number(id));
        self.call::<bool>("deleteMessage", p).map(|_| ())
    }

    fn answer_press(&self, query: &str, text: &str, alert: bool) -> Result<(), Fail> {
        let mut p = Map::from_iter([("callback_query_id".to_owned(), Value::from(query))]);
        if !text.is_empty() {
            p.insert("text".into(), text.into());
            p.insert("show_alert".into(), alert.into());
        }
        match self.bot.call::<bool>("answerCallbackQuery", &Value::Object(p), PRESS_CALL) {
            Err(fail) if fail.says("query is too old") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn typing(&self, target: &Target) -> Result<(), Fail> {
        let mut p = at(target);
        p.insert("action".into(), "typing".into());
        if let Some(thread) = thread(target) {
            p.insert("message_thread_id".into(), thread.into());
        }
        self.call::<bool>("sendChatAction", p).map(|_| ())
    }

    /// The running turn's latest text, in its message.
    fn view(&self, target: &Target, view: &View) -> Result<Outcome, Fail> {
        let nothing = Outcome::Shown { id: view.message.clone(), full: false, idle: true, bare: false };
        let Some(live) = self.board.get(&view.session) else { return Ok(nothing) };
        let (active, run, items) = live.snapshot();
        if !active || run != view.run {
            return Ok(nothing);
        }
        if let Some(taken) = view.taken {
            let finished = preview::finished(&items, taken, &self.style);
            return Ok(finished.map_or(nothing, |(text, taken)| Outcome::Grown { text, taken }));
        }
        let Some((content, full)) = preview::of(&items, view, &self.style) else { return Ok(nothing) };
        let hash = hash(&content);
        if view.message.is_none() && !full && self.drafts.fit(target) {
            match self.draft(target, Drafts::id(view), &content, hash) {
                Err(fail) if self.drafts.refused(target, &fail) => {} // a message then
                shown => return shown.map(|drawn| Outcome::Shown { id: None, full: false, idle: !drawn, bare: false }),
            }
        }
        let (id, idle) = match &view.message {
            None => {
                let content = Content { reply_to: view.reply_to.clone(), ..content };
                (self.formed(content, |c| self.send(target, c))?.pop().unwrap_or_default(), false)
            }
            Some(id) => {
                let key = (target.chat.clone(), id.clone());
                let idle = self.lock().get(&key) == Some(&hash);
                if !idle {
                    self.formed(content, |c| self.edit(target, id, c))?;
                }
                (id.clone(), idle)
            }
        };
        let mut shown = self.lock();
        if shown.len() >= REMEMBERED {
            shown.clear(); // worth an edit that changes nothing
        }
        shown.insert((target.chat.clone(), id.clone()), hash);
        Ok(Outcome::Shown { id: Some(id), full, idle, bare: !preview::says(&items, &self.style) })
    }

    /// Shows the text as a draft; false: it stands there.
    fn draft(&self, target: &Target, id: i64, content: &Content, hash: u64) -> Result<bool, Fail> {
        if !self.drafts.due(target, id, hash) {
            return Ok(false);
        }
        self.formed(content.clone(), |content| {
            let mut p = self.text(target, content);
            drafts::dress(&mut p, id);
            if let Some(thread) = thread(target) {
                p.insert("message_thread_id".into(), thread.into());
            }
            self.call::<bool>("sendMessageDraft", p)
        })?;
        self.drafts.shown(target, id, hash);
        Ok(true)
    }

    /// Half a text may be refused for its form: then without.
    fn formed<T>(&self, content: Content, call: impl Fn(&Content) -> Result<T, Fail>) -> Result<T, Fail> {
        match call(&content) {
            Err(fail) if fail.says("can't parse entities") => {
                let text = content.plain.clone().unwrap_or(content.text);
                call(&Content { text, plain: None, ..content })
            }
            other => other,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), u64>> {
        self.shown.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Caller for TelegramCaller {
    fn perform(&self, call: &Call) -> Outcome {
        let target = &call.target;
        // The last try is not for an outage: a sign of typing, which does no harm, goes first.
        if let Op::Send { again: true, .. } = &call.op {
            if let Err(fail) = self.typing(target) {
                return match fail.outcome() {
                    Outcome::Ambiguous { why } => Outcome::Retry { why },
                    other => other,
                };
            }
        }
        let done = match &call.op {
            Op::Send { content, .. } => self.send(target, content).map(|mut ids| match ids.len() {
                1 => Outcome::Sent { id: ids.remove(0) },
                _ => Outcome::SentAll { ids },
            }),
            Op::Edit { id, content } => self.finish(target, id, content).map(|()| Outcome::Sent { id: id.clone() }),
            Op::Delete { id } => self.delete(target, id).map(|()| Outcome::Sent { id: id.clone() }),
            Op::View(view) => self.view(target, view),
            Op::React { id, emoji } => match reactions::known(emoji) {
                Ok(emoji) => self.react(target, id, &emoji).map(|()| Outcome::Sent { id: id.clone() }),
                Err(why) => return Outcome::Refused { why },
            },
            Op::Pin { id, on } => self.pin(target, id, *on).map(|()| Outcome::Sent { id: id.clone() }),
            Op::AnswerPress { query, text, alert } => {
                self.answer_press(query, text, *alert).map(|()| Outcome::Sent { id: String::new() })
            }
            Op::Typing => self.typing(target).map(|()| Outcome::Sent { id: String::new() }),
        };
        done.unwrap_or_else(Fail::outcome)
    }
}

fn hash(content: &Content) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.text.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn at(target: &Target) -> Map<String, Value> {
    Map::from_iter([("chat_id".to_owned(), number(&target.chat))])
}

/// A chat's or a message's number; a channel's `@name` stays as it is.
fn number(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| id.into(), Value::from)
}

/// The topic. The number of General is never sent.
pub(super) fn thread(target: &Target) -> Option<i64> {
    target.thread.parse().ok().filter(|t| *t != 1)
}
