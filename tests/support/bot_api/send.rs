//! Methods that put something into a chat, and edits.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{json, Value};

use super::args::{Arg, Args, Refusal};
use super::entities::parse_html;
use super::files::kind_in;
use super::methods::{Ask, Right};
use super::world::{now, Draft, Message};

type Outcome = Result<Value, Refusal>;

/// The message replied to, and the quoted part of it.
pub type ReplyTo = (Value, Option<String>);

impl Ask<'_> {
    pub fn send_message(&mut self) -> Outcome {
        let (text, entities) = self.text("Message is too long", false)?;
        let markup = self.markup()?;
        let chat = self.chat(Right::Write)?;
        let topic = self.topic(chat)?;
        let reply = self.reply(chat)?;
        self.spend(chat, 1)?;
        let mut body = json!({"text": text});
        if !entities.is_empty() {
            body["entities"] = json!(entities);
        }
        if let Some(options) = self.args.object("link_preview_options", "link preview options")? {
            body["link_preview_options"] = options;
        }
        self.store(chat, topic, body, markup, reply)
    }

    /// The message to reply to, as `reply_parameters` names it.
    fn reply(&mut self, chat: i64) -> Result<Option<ReplyTo>, Refusal> {
        let mut wanted = self.args.object("reply_parameters", "reply parameters")?.unwrap_or(Value::Null);
        if wanted.is_null() && self.args.int("reply_to_message_id") != 0 {
            wanted = json!({"message_id": self.args.int("reply_to_message_id"),
                "allow_sending_without_reply": self.args.flag("allow_sending_without_reply")});
        }
        let Some(id) = wanted["message_id"].as_i64() else { return Ok(None) };
        let Some(target) = self.place(chat).live(id).map(|m| m.api.clone()) else {
            if wanted["allow_sending_without_reply"] == true {
                return Ok(None);
            }
            self.violation("reply_target_missing", format!("{id} in {chat}"));
            return Err(Refusal::bad("message to be replied not found"));
        };
        let Some(quote) = wanted["quote"].as_str().filter(|q| !q.is_empty()) else { return Ok(Some((target, None))) };
        let html = wanted["quote_parse_mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("html"));
        let quote = if html { parse_html(quote)?.0 } else { quote.to_owned() };
        let text = target["text"].as_str().or_else(|| target["caption"].as_str()).unwrap_or("");
        if !text.contains(&quote) {
            return Err(Refusal::bad("QUOTE_TEXT_INVALID"));
        }
        Ok(Some((target, Some(quote))))
    }

    /// Puts a message of this bot into the chat: the Message.
    pub fn store(
        &mut self,
        chat: i64,
        topic: i64,
        body: Value,
        markup: Option<Value>,
        reply: Option<ReplyTo>,
    ) -> Outcome {
        let bot = self.bot;
        let id = self.world.new_message_id(bot, chat);
        let from = self.world.bot(bot).user.clone();
        let place = self.place(chat);
        let mut api = json!({"message_id": id, "from": from, "chat": place.api(), "date": now()});
        let mut topic = Some(json!(topic)).filter(|t| *t != 0);
        if let Some((mut target, quote)) = reply {
            if target["is_topic_message"] == true && topic.is_none() {
                topic = Some(target["message_thread_id"].clone());
            }
            if let Some(fields) = target.as_object_mut() {
                fields.remove("reply_to_message");
            }
            api["reply_to_message"] = target;
            if let Some(quote) = quote {
                api["quote"] = json!({"text": quote, "position": 0, "is_manual": true});
            }
        }
        if let Some(topic) = topic {
            api["message_thread_id"] = topic;
            api["is_topic_message"] = json!(true);
        }
        for (key, value) in body.as_object().into_iter().flatten() {
            api[key] = value.clone();
        }
        if let Some(markup) = markup {
            api["reply_markup"] = markup;
        }
        let message = Message {
            api: api.clone(),
            bot: Some(bot),
            former: Vec::new(),
            deleted: false,
            reactions: BTreeMap::new(),
            request: self.args.describe(),
            at: Instant::now(),
        };
        let place = self.place(chat);
        place.messages.insert(id, message);
        // A draft vanishes when the bot sends a message.
        place.drafts.clear();
        Ok(api)
    }

    pub fn send_media(&mut self, method: &str) -> Outcome {
        let kind = match method {
            "sendPhoto" => "photo",
            "sendDocument" => "document",
            "sendAudio" => "audio",
            "sendVoice" => "voice",
            "sendVideo" => "video",
            "sendAnimation" => "animation",
            "sendVideoNote" => "video_note",
            "sendSticker" => "sticker",
            other => unreachable!("{other} is in the table of methods, not here"),
        };
        let value = self.args.fields.get(kind).cloned();
        let captioned = kind != "sticker" && kind != "video_note";
        let caption = if captioned { self.caption("Message caption is too long")? } else { Default::default() };
        let markup = self.markup()?;
        let chat = self.chat(Right::Write)?;
        let topic = self.topic(chat)?;
        let reply = self.reply(chat)?;
        let file = self.world.take_file(self.bot, self.args, value.as_ref(), kind)?;
        self.spend(chat, 1)?;
        let object = self.world.media_object(self.bot, &file, &self.args.describe());
        let body = with_caption(json!({ kind: object }), caption);
        self.store(chat, topic, body, markup, reply)
    }

    pub fn send_media_group(&mut self) -> Outcome {
        let media = self.args.array("media", "InputMedia")?;
        let media = media.ok_or_else(|| Refusal::bad("Can't parse media JSON object"))?;
        match media.len() {
            0 => return Err(Refusal::bad("There are no messages to send")),
            1 => self.violation("album_of_one", self.method),
            2..=10 => {}
            _ => return Err(Refusal::bad("Too many messages to send as an album")),
        }
        let kinds: Vec<&str> = media.iter().map(|m| m["type"].as_str().unwrap_or("")).collect();
        let visual = kinds.iter().all(|k| matches!(*k, "photo" | "video"));
        let alike = kinds.iter().all(|k| *k == kinds[0] && matches!(*k, "audio" | "document"));
        if !visual && !alike {
            return Err(Refusal::bad("Can't use the media of the specified type in the album"));
        }
        let chat = self.chat(Right::Write)?;
        let topic = self.topic(chat)?;
        let reply = self.reply(chat)?;
        let mut bodies = Vec::new();
        for (item, kind) in media.iter().zip(&kinds) {
            let value = Arg::Json(item["media"].clone());
            let file = self.world.take_file(self.bot, self.args, Some(&value), kind)?;
            let inner = Args::of_json(item);
            let mut ask = Ask { world: self.world, bot: self.bot, args: &inner, method: self.method };
            let caption = ask.caption("Message caption is too long")?;
            let object = self.world.media_object(self.bot, &file, item);
            bodies.push(with_caption(json!({ *kind: object }), caption));
        }
        self.spend(chat, bodies.len())?;
        let group = json!(self.world.album_id());
        let single = bodies.len() == 1;
        let mut sent = Vec::new();
        for mut body in bodies {
            if !single {
                body["media_group_id"] = group.clone();
            }
            sent.push(self.store(chat, topic, body, None, reply.clone())?);
        }
        Ok(json!(sent))
    }

    pub fn send_draft(&mut self) -> Outcome {
        let (text, entities) = self.text("MESSAGE_TOO_LONG", true)?;
        let chat = self.chat(Right::Write)?;
        if !self.place(chat).private() {
            self.violation("draft_outside_private", chat.to_string());
            return Err(Refusal::bad("TEXTDRAFT_PEER_INVALID"));
        }
        let topic = self.topic(chat)?;
        let id = self.args.int("draft_id");
        if id == 0 {
            return Err(Refusal::bad("RANDOM_ID_INVALID"));
        }
        let can_stop = self.args.flag("can_stop");
        let drafts = &mut self.place(chat).drafts;
        let mut history = drafts.remove(&id).map(|d| d.history).unwrap_or_default();
        history.push(text.clone());
        let thread = Some(topic).filter(|t| *t != 0);
        drafts.insert(id, Draft { text, entities: json!(entities), thread, can_stop, history });
        Ok(json!(true))
    }

    /// Changes the text, the caption or only the keyboard.
    pub fn edit(&mut self, field: Option<&str>) -> Outcome {
        let (text, entities) = match field {
            Some("text") => self.text("MESSAGE_TOO_LONG", false)?,
            Some(_) => self.caption("MEDIA_CAPTION_TOO_LONG")?,
            None => Default::default(),
        };
        let markup = self.markup()?.unwrap_or(Value::Null);
        if self.args.has("inline_message_id") {
            return Err(Refusal::bad("MESSAGE_ID_INVALID"));
        }
        if self.args.int("message_id") == 0 {
            return Err(Refusal::bad("Message identifier is not specified"));
        }
        let chat = self.chat(Right::Edit)?;
        let bot = self.bot;
        let message = self.message(chat, "message to edit")?;
        if message.bot != Some(bot) {
            return Err(Refusal::bad("message can't be edited"));
        }
        let old = &message.api;
        match field {
            Some("text") if !old["text"].is_string() => {
                return Err(Refusal::bad("There is no text in the message to edit"));
            }
            Some("caption") if kind_in(old).is_none() => {
                return Err(Refusal::bad("There is no caption in the message to edit"));
            }
            _ => {}
        }
        let entities_key = if field == Some("caption") { "caption_entities" } else { "entities" };
        let entities = if entities.is_empty() { Value::Null } else { json!(entities) };
        let same = field.is_none_or(|f| old[f].as_str().unwrap_or("") == text && old[entities_key] == entities);
        if same && old["reply_markup"] == markup {
            let id = old["message_id"].to_string();
            self.violation("edit_not_modified", format!("{id} in {chat}"));
            return Err(Refusal::bad(
                "message is not modified: specified new message content and reply markup are exactly the same as a \
                 current content and reply markup of the message",
            ));
        }
        self.spend(chat, 1)?;
        let request = self.args.describe();
        let message = self.message(chat, "message to edit")?;
        message.former.push(message.text().to_owned());
        message.request = request;
        let mut change = |key: &str, value: Value| {
            if let Some(fields) = message.api.as_object_mut() {
                if value.is_null() {
                    fields.remove(key);
                } else {
                    fields.insert(key.to_owned(), value);
                }
            }
        };
        if let Some(field) = field {
            change(field, if text.is_empty() { Value::Null } else { json!(text) });
            change(entities_key, entities);
        }
        change("reply_markup", markup);
        change("edit_date", json!(now()));
        Ok(message.api.clone())
    }
}

fn with_caption(mut body: Value, (caption, entities): (String, Vec<Value>)) -> Value {
    if let Some(animation) = body.get("animation").cloned() {
        body["document"] = animation;
    }
    if !caption.is_empty() {
        body["caption"] = json!(caption);
    }
    if !entities.is_empty() {
        body["caption_entities"] = json!(entities);
    }
    body
}
