//! One call of a bot: which chat it means, what it may do there, and the methods that send nothing.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::args::{Args, Refusal};
use super::world::{Action, Chat, Message, World};

/// A call being carried out, with the world locked.
pub struct Ask<'a> {
    pub world: &'a mut World,
    pub bot: i64,
    pub args: &'a Args,
    pub method: &'static str,
}

/// What a method wants of the chat.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Read,
    Edit,
    Write,
}

const ACTIONS: [&str; 13] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "record_audio",
    "upload_audio",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

const REACTIONS: &str =
    "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 \
    🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";

type Outcome = Result<Value, Refusal>;

impl Ask<'_> {
    /// Everything but `getUpdates`, which waits.
    pub fn run(&mut self) -> Outcome {
        match self.method {
            "getMe" => self.get_me(),
            "setWebhook" => self.set_webhook(),
            "deleteWebhook" => self.delete_webhook(),
            "getWebhookInfo" => self.webhook_info(),
            "sendMessage" => self.send_message(),
            "sendMediaGroup" => self.send_media_group(),
            "sendMessageDraft" => self.send_draft(),
            "editMessageText" => self.edit(Some("text")),
            "editMessageCaption" => self.edit(Some("caption")),
            "editMessageReplyMarkup" => self.edit(None),
            "deleteMessage" => self.delete_message(),
            "deleteMessages" => self.delete_messages(),
            "sendChatAction" => self.chat_action(),
            "setMessageReaction" => self.set_reaction(),
            "pinChatMessage" => self.pin(),
            "unpinChatMessage" => self.unpin(),
            "answerCallbackQuery" => self.answer_query(),
            "getFile" => self.get_file(),
            "setMyCommands" => self.set_commands(),
            "getMyCommands" => self.get_commands(),
            "deleteMyCommands" => self.delete_commands(),
            "getChat" => self.get_chat(),
            "getChatMember" => self.get_member(),
            "createForumTopic" => self.create_topic(),
            method => self.send_media(method),
        }
    }

    pub fn violation(&mut self, kind: &'static str, detail: impl Into<String>) {
        self.world.violation(self.bot, kind, detail);
    }

    /// The chat the call names, if the bot may do there what it wants.
    pub fn chat(&mut self, right: Right) -> Result<i64, Refusal> {
        let given = self.args.text("chat_id");
        if given.is_empty() {
            return Err(Refusal::bad("chat_id is empty"));
        }
        let id = match given.strip_prefix('@') {
            Some(name) => {
                let mut chats = self.world.chats.values();
                chats.find(|c| !c.private() && c.username.as_deref() == Some(name)).map(|c| c.id)
            }
            None => given.trim().parse().ok(),
        };
        let bot = self.bot;
        let not_found = || Refusal::bad("chat not found");
        let chat = id.and_then(|id| self.world.chat(bot, id)).ok_or_else(not_found)?;
        let status = chat.status(bot).to_owned();
        if status.is_empty() {
            return Err(not_found());
        }
        let (write, touch) = (right == Right::Write, right != Right::Read);
        let forbidden = |what: &str| Err(Refusal::new(403, &format!("Forbidden: {what}")));
        match status.as_str() {
            "blocked" if write => return forbidden("bot was blocked by the user"),
            "deactivated" if touch => return forbidden("user is deactivated"),
            _ => {}
        }
        if let Some(to) = chat.migrated_to.filter(|_| write) {
            let mut refusal = Refusal::bad("group chat was upgraded to a supergroup chat");
            refusal.parameters = json!({"migrate_to_chat_id": to});
            return Err(refusal);
        }
        match status.as_str() {
            "kicked" if touch => forbidden(&format!("bot was kicked from the {} chat", chat.kind)),
            "left" if touch => forbidden(&format!("bot is not a member of the {} chat", chat.kind)),
            "restricted" if write => Err(Refusal::bad("not enough rights to send text messages to the chat")),
            _ => Ok(chat.id),
        }
    }

    /// A chat that [`Ask::chat`] gave.
    pub fn place(&mut self, id: i64) -> &mut Chat {
        let bot = self.bot;
        self.world.chat(bot, id).expect("chats are never removed")
    }

    /// The topic a message goes to: 0 none. The id must be known in forums and private chats, is ignored elsewhere.
    pub fn topic(&mut self, chat: i64) -> Result<i64, Refusal> {
        let topic = self.args.int("message_thread_id");
        let bot = self.bot;
        let place = self.place(chat);
        if topic <= 0 || !(place.forum || place.private()) {
            return Ok(0);
        }
        if (topic == 1 && !place.private()) || !place.topics.contains_key(&topic) {
            self.violation("bad_thread_id", format!("{topic} in {chat}"));
            return Err(Refusal::bad("message thread not found"));
        }
        if place.closed_topics.contains(&topic) && place.status(bot) != "administrator" {
            return Err(Refusal::bad("TOPIC_CLOSED"));
        }
        Ok(topic)
    }

    /// The message `message_id` means, or `<what> not found`.
    pub fn message(&mut self, chat: i64, what: &str) -> Result<&mut Message, Refusal> {
        let id = self.args.int("message_id");
        let found = self.place(chat).messages.get_mut(&id).filter(|m| !m.deleted);
        found.ok_or_else(|| Refusal::bad(&format!("{what} not found")))
    }

    fn admin_for(&mut self, chat: i64, what: &str) -> Result<(), Refusal> {
        let bot = self.bot;
        let place = self.place(chat);
        let may = place.private() || place.status(bot) == "administrator";
        may.then_some(()).ok_or_else(|| Refusal::bad(&format!("not enough rights to {what}")))
    }

    fn get_me(&mut self) -> Outcome {
        let bot = self.world.bot(self.bot);
        let mut me = bot.user.clone();
        me["can_read_all_group_messages"] = json!(!bot.privacy);
        me["can_join_groups"] = json!(true);
        for key in ["supports_inline_queries", "can_connect_to_business", "has_main_web_app", "has_topics_enabled"] {
            me[key] = json!(false);
        }
        Ok(me)
    }

    fn delete_message(&mut self) -> Outcome {
        let chat = self.chat(Right::Edit)?;
        let bot = self.bot;
        let own = self.message(chat, "message to delete")?.bot == Some(bot);
        let place = self.place(chat);
        if !own && !place.private() && place.status(bot) != "administrator" {
            return Err(Refusal::bad("message can't be deleted"));
        }
        self.message(chat, "message to delete")?.deleted = true;
        Ok(json!(true))
    }

    fn delete_messages(&mut self) -> Outcome {
        let chat = self.chat(Right::Edit)?;
        let ids = self.args.array("message_ids", "message identifiers")?.unwrap_or_default();
        if ids.is_empty() || ids.len() > 100 {
            let what = if ids.is_empty() {
                "Message identifiers are not specified"
            } else {
                "Too many message identifiers specified"
            };
            return Err(Refusal::bad(what));
        }
        for id in ids.iter().filter_map(Value::as_i64) {
            if let Some(message) = self.place(chat).messages.get_mut(&id) {
                message.deleted = true;
            }
        }
        Ok(json!(true))
    }

    fn chat_action(&mut self) -> Outcome {
        let action = self.args.text("action").to_lowercase();
        if !ACTIONS.contains(&action.as_str()) {
            return Err(Refusal::bad("Wrong parameter action in request"));
        }
        let chat = self.chat(Right::Write)?;
        let thread = Some(self.args.int("message_thread_id")).filter(|t| *t > 0);
        let bot = self.bot;
        self.place(chat).actions.push(Action { bot, action, thread });
        Ok(json!(true))
    }

    fn set_reaction(&mut self) -> Outcome {
        let given = self.args.array("reaction", "ReactionType")?.unwrap_or_default();
        let chat = self.chat(Right::Edit)?;
        let bot = self.bot;
        self.message(chat, "message to react")?;
        for reaction in &given {
            match reaction["type"].as_str() {
                Some("emoji") => {
                    let emoji = reaction["emoji"].as_str().unwrap_or("").replace('\u{fe0f}', "");
                    if !REACTIONS.split_whitespace().any(|known| known == emoji) {
                        self.violation("reaction_invalid", emoji);
                        return Err(Refusal::bad("REACTION_INVALID"));
                    }
                }
                Some("custom_emoji")
                    if reaction["custom_emoji_id"].as_str().is_none_or(|id| id.parse::<u64>().is_err()) =>
                {
                    let text = "Can't parse ReactionType: Field \"custom_emoji_id\" must be a valid Number";
                    return Err(Refusal::bad(text));
                }
                Some("custom_emoji" | "paid") => {}
                _ => return Err(Refusal::bad("Can't parse ReactionType: invalid reaction type specified")),
            }
        }
        if given.len() > 1 {
            self.violation("reaction_invalid", "more than one");
            return Err(Refusal::bad("REACTIONS_TOO_MANY"));
        }
        self.message(chat, "message to react")?.reactions.insert(bot, json!(given));
        Ok(json!(true))
    }

    fn pin(&mut self) -> Outcome {
        let chat = self.chat(Right::Write)?;
        self.message(chat, "message to pin")?;
        self.admin_for(chat, "manage pinned messages in the chat")?;
        let id = self.args.int("message_id");
        let pins = &mut self.place(chat).pins;
        pins.retain(|pin| *pin != id);
        pins.push(id);
        Ok(json!(true))
    }

    fn unpin(&mut self) -> Outcome {
        let chat = self.chat(Right::Write)?;
        self.admin_for(chat, "manage pinned messages in the chat")?;
        let id = self.args.int("message_id");
        let pins = &mut self.place(chat).pins;
        let id = if id == 0 { pins.last().copied().unwrap_or(0) } else { id };
        let at = pins.iter().position(|pin| *pin == id).ok_or_else(|| Refusal::bad("Message to unpin not found"))?;
        pins.remove(at);
        Ok(json!(true))
    }

    fn answer_query(&mut self) -> Outcome {
        let (id, text) = (self.args.text("callback_query_id"), self.args.text("text"));
        let alert = self.args.flag("show_alert");
        if text.chars().count() > 200 {
            self.violation("callback_answer_too_long", text);
            return Err(Refusal::bad("MESSAGE_TOO_LONG"));
        }
        let queries = &mut self.world.bot(self.bot).queries;
        let fresh = |at: Instant| at.elapsed() < Duration::from_secs(900);
        let Some(query) = queries.iter_mut().find(|q| q.id == id && q.answer.is_none() && fresh(q.at)) else {
            self.violation("callback_answered_late_or_twice", id);
            let text = "query is too old and response timeout expired or query ID is invalid";
            return Err(Refusal::bad(text));
        };
        query.answer = Some(text);
        query.alert = alert;
        Ok(json!(true))
    }

    fn get_file(&mut self) -> Outcome {
        let id = self.args.text("file_id");
        if id.is_empty() {
            return Err(Refusal::bad("file_id not specified"));
        }
        let most = self.world.options.max_download;
        let file = self.world.bot(self.bot).files.get(&id).ok_or_else(|| Refusal::bad("invalid file_id"))?;
        if file.size > most {
            return Err(Refusal::bad("file is too big"));
        }
        Ok(json!({"file_id": file.id, "file_unique_id": file.unique, "file_size": file.size, "file_path": file.path}))
    }

    fn get_chat(&mut self) -> Outcome {
        let chat = self.chat(Right::Read)?;
        let place = self.place(chat);
        let mut full = place.api();
        full["accent_color_id"] = json!(1);
        full["max_reaction_count"] = json!(11);
        full["accepted_gift_types"] = json!({"unlimited_gifts": false, "limited_gifts": false, "unique_gifts": false,
            "premium_subscription": false, "gifts_from_channels": false});
        if !place.private() {
            full["permissions"] = json!({"can_send_messages": true});
        }
        if let Some(pinned) = place.pins.last().and_then(|id| place.live(*id)) {
            full["pinned_message"] = pinned.api.clone();
        }
        Ok(full)
    }

    fn get_member(&mut self) -> Outcome {
        let chat = self.chat(Right::Read)?;
        let (bot, user) = (self.bot, self.args.int("user_id"));
        let place = self.place(chat);
        if user == bot {
            let status = place.status(bot).to_owned();
            let me = self.world.bot(bot).user.clone();
            return Ok(super::member(&me, &status));
        }
        let own = (chat == user).then(|| "member".to_owned());
        let Some(status) = place.members.get(&user).cloned().or(own) else {
            let met = self.world.users.contains_key(&user);
            return Err(Refusal::bad(if met { "user not found" } else { "PARTICIPANT_ID_INVALID" }));
        };
        let person = self.world.user(user);
        Ok(super::member(&person, &status))
    }

    fn create_topic(&mut self) -> Outcome {
        let chat = self.chat(Right::Write)?;
        if !self.place(chat).forum {
            return Err(Refusal::bad("the chat is not a forum"));
        }
        self.admin_for(chat, "create a topic")?;
        let name = self.args.text("name");
        match name.chars().count() {
            0 => return Err(Refusal::bad("TOPIC_TITLE_EMPTY")),
            1..=128 => {}
            _ => return Err(Refusal::bad("TOPIC_TITLE_TOO_LONG")),
        }
        let color = 7_322_096;
        let made = json!({"forum_topic_created": {"name": name, "icon_color": color}});
        let message = self.store(chat, 0, made, None, None)?;
        let id = message["message_id"].as_i64().unwrap_or(0);
        let place = self.place(chat);
        place.topics.insert(id, name.clone());
        if let Some(message) = place.messages.get_mut(&id) {
            message.api["message_thread_id"] = json!(id);
            message.api["is_topic_message"] = json!(true);
        }
        Ok(json!({"message_thread_id": id, "name": name, "icon_color": color}))
    }
}
