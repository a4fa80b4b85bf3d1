//! People in chats: what they write, send, press, change. Each builder ends in `send`, which queues the
//! updates the bots would get.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{json, Value};

use super::files::{kind_in, PIXEL};
use super::tidy::find_entities;
use super::world::{chat_key, now, Chat, Message, Query, World};
use super::{member, BotApi};

/// What came of something a user did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub message_id: i64,
    /// `update_id` of this handle's bot; `None`: it is not told (privacy, `allowed_updates`).
    pub update_id: Option<i64>,
}

struct Attachment {
    kind: &'static str,
    data: Arc<Vec<u8>>,
    name: Option<String>,
    mime: Option<String>,
    claim: Option<u64>,
    more: Value,
}

/// A message of a user, under construction.
pub struct Say<'a> {
    api: &'a BotApi,
    chat: i64,
    user: i64,
    text: Option<String>,
    entities: Vec<Value>,
    attachment: Option<Attachment>,
    fields: Vec<(String, Value)>,
    topic: Option<i64>,
    reply_to: Option<i64>,
    twice: bool,
}

impl<'a> Say<'a> {
    pub fn new(api: &'a BotApi, chat: i64, user: i64) -> Say<'a> {
        Say {
            api,
            chat,
            user,
            text: None,
            entities: Vec::new(),
            attachment: None,
            fields: Vec::new(),
            topic: None,
            reply_to: None,
            twice: false,
        }
    }

    /// The text; with a medium: its caption. Commands, mentions and links become entities.
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// An entity the user made by hand (`bold`, `text_link`…).
    pub fn entity(mut self, entity: Value) -> Self {
        self.entities.push(entity);
        self
    }

    fn attach(mut self, kind: &'static str, data: &[u8], name: Option<&str>, mime: Option<&str>, more: Value) -> Self {
        let (name, mime) = (name.map(str::to_owned), mime.map(str::to_owned));
        self.attachment = Some(Attachment { kind, data: Arc::new(data.to_vec()), name, mime, claim: None, more });
        self
    }

    pub fn photo(self, data: &[u8]) -> Self {
        self.attach("photo", data, None, None, Value::Null)
    }

    pub fn document(self, name: &str, mime: &str, data: &[u8]) -> Self {
        self.attach("document", data, Some(name), Some(mime), Value::Null)
    }

    /// Seconds long.
    pub fn voice(self, seconds: u64, data: &[u8]) -> Self {
        self.attach("voice", data, None, None, json!({"duration": seconds}))
    }

    pub fn audio(self, name: &str, title: &str, performer: &str, data: &[u8]) -> Self {
        self.attach("audio", data, Some(name), None, json!({"title": title, "performer": performer}))
    }

    pub fn video(self, name: &str, data: &[u8]) -> Self {
        self.attach("video", data, Some(name), None, Value::Null)
    }

    pub fn video_note(self, data: &[u8]) -> Self {
        self.attach("video_note", data, None, None, Value::Null)
    }

    pub fn animation(self, name: &str, data: &[u8]) -> Self {
        self.attach("animation", data, Some(name), None, Value::Null)
    }

    pub fn sticker(self, emoji: &str, set: &str, data: &[u8]) -> Self {
        self.attach("sticker", data, None, None, json!({"emoji": emoji, "set_name": set}))
    }

    /// A sticker that moves; it has a still thumbnail.
    pub fn animated_sticker(self, emoji: &str, set: &str, data: &[u8]) -> Self {
        self.attach("sticker", data, Some("s.tgs"), None, json!({"emoji": emoji, "set_name": set, "thumbnail": true}))
    }

    /// The medium says it has so many bytes.
    pub fn claiming(mut self, size: u64) -> Self {
        self.attachment.as_mut().expect("a medium comes first").claim = Some(size);
        self
    }

    pub fn location(self, latitude: f64, longitude: f64) -> Self {
        self.field("location", json!({"latitude": latitude, "longitude": longitude}))
    }

    pub fn venue(self, title: &str, address: &str, latitude: f64, longitude: f64) -> Self {
        let place = json!({"latitude": latitude, "longitude": longitude});
        let venue = json!({"title": title, "address": address, "location": place});
        self.field("location", place).field("venue", venue)
    }

    pub fn contact(self, first_name: &str, phone: &str) -> Self {
        self.field("contact", json!({"first_name": first_name, "phone_number": phone}))
    }

    pub fn poll(self, question: &str, options: &[&str]) -> Self {
        let options: Vec<Value> = options.iter().map(|text| json!({"text": text, "voter_count": 0})).collect();
        let poll = json!({"id": "7000001", "question": question, "options": options, "total_voter_count": 0,
            "is_closed": false, "is_anonymous": true, "type": "regular", "allows_multiple_answers": false});
        self.field("poll", poll)
    }

    pub fn dice(self, emoji: &str, value: i64) -> Self {
        self.field("dice", json!({"emoji": emoji, "value": value}))
    }

    /// A MessageOrigin; its date is made up where it is missing.
    pub fn forwarded(self, origin: Value) -> Self {
        let mut origin = origin;
        if origin["date"].is_null() {
            origin["date"] = json!(now() - 60);
        }
        self.field("forward_origin", origin)
    }

    /// In a topic, as `is_topic_message`.
    pub fn topic(mut self, id: i64) -> Self {
        self.topic = Some(id);
        self
    }

    pub fn reply_to(mut self, message: i64) -> Self {
        self.reply_to = Some(message);
        self
    }

    pub fn quote(self, text: &str) -> Self {
        self.field("quote", json!({"text": text, "position": 0, "is_manual": true}))
    }

    /// One part of an album (see [`BotApi::album`]).
    pub fn in_album(self, album: &str) -> Self {
        self.field("media_group_id", json!(album))
    }

    /// Unix time in seconds.
    pub fn date(self, date: i64) -> Self {
        self.field("date", json!(date))
    }

    /// Any other field of the Message, as it is.
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.push((name.to_owned(), value));
        self
    }

    /// The update is delivered twice, under one id.
    pub fn twice(mut self) -> Self {
        self.twice = true;
        self
    }

    /// Puts the message into the chat and tells the bots.
    pub fn send(self) -> Said {
        let bot = self.api.bot;
        let shared = &self.api.server.shared;
        let mut world = shared.lock();
        world.meet(bot, self.chat);
        let from = world.user(self.user);
        let id = world.new_message_id(bot, self.chat);
        let mut api = json!({"message_id": id, "from": from});
        let chat = world.chat(bot, self.chat).expect("met above");
        if !chat.private() {
            chat.members.entry(self.user).or_insert_with(|| "member".into());
        }
        api["chat"] = chat.api();
        api["date"] = json!(now());
        self.place(chat, &mut api);
        self.content(&mut world, bot, &mut api);
        for (name, value) in &self.fields {
            api[name] = value.clone();
        }
        world.keep(bot, self.chat, api.clone());
        let update_id = world.tell(bot, self.chat, "message", &api);
        if let (true, Some(update)) = (self.twice, world.bot(bot).last_update.clone()) {
            world.bot(bot).push_raw(update);
        }
        drop(world);
        shared.wake();
        Said { message_id: id, update_id }
    }

    /// Topic and reply. A reply in a plain supergroup has a thread id that names no topic.
    fn place(&self, chat: &mut Chat, api: &mut Value) {
        if let Some(topic) = self.topic {
            chat.topics.entry(topic).or_insert_with(|| "topic".into());
            api["message_thread_id"] = json!(topic);
            api["is_topic_message"] = json!(true);
        }
        let Some(target) = self.reply_to.and_then(|id| chat.live(id)) else { return };
        let mut target = target.api.clone();
        if let Some(fields) = target.as_object_mut() {
            fields.remove("reply_to_message");
        }
        if self.topic.is_none() && target["is_topic_message"] == true {
            api["message_thread_id"] = target["message_thread_id"].clone();
            api["is_topic_message"] = json!(true);
        } else if self.topic.is_none() && chat.kind == "supergroup" {
            let root = &target["message_thread_id"];
            api["message_thread_id"] = if root.is_null() { target["message_id"].clone() } else { root.clone() };
        }
        api["reply_to_message"] = target;
    }

    fn content(&self, world: &mut World, bot: i64, api: &mut Value) {
        if let Some(a) = &self.attachment {
            let mut file = world.new_file(bot, a.kind, Arc::clone(&a.data), a.name.clone(), a.mime.clone());
            if let Some(size) = a.claim {
                file.size = size;
                world.bot(bot).files.insert(file.id.clone(), file.clone());
            }
            let mut more = a.more.clone();
            if more["thumbnail"] == true {
                let still = world.new_file(bot, "photo", Arc::new(PIXEL.to_vec()), None, None);
                more["thumbnail"] = json!({"file_id": still.id, "file_unique_id": still.unique,
                    "file_size": still.size, "width": 128, "height": 128});
            }
            api[a.kind] = world.media_object(bot, &file, &more);
            if a.kind == "animation" {
                api["document"] = api["animation"].clone();
            }
        }
        let Some(text) = &self.text else { return };
        let media = self.attachment.is_some();
        set_text(api, if media { "caption" } else { "text" }, text, self.entities.clone());
    }
}

fn set_text(api: &mut Value, key: &str, text: &str, mut entities: Vec<Value>) {
    find_entities(text, &mut entities);
    entities.sort_by_key(|e| e["offset"].as_i64());
    api[key] = json!(text);
    let entities_key = if key == "text" { "entities" } else { "caption_entities" };
    if entities.is_empty() {
        if let Some(fields) = api.as_object_mut() {
            fields.remove(entities_key);
        }
    } else {
        api[entities_key] = json!(entities);
    }
}

impl World {
    /// The chat, made up when new: the person's own, or a group by the form of its id.
    pub fn meet(&mut self, bot: i64, id: i64) {
        if self.chats.contains_key(&chat_key(bot, id)) {
            return;
        }
        let mut chat = if id > 0 {
            Chat::new(id, "private", "", self.user(id))
        } else {
            let kind = if id.to_string().starts_with("-100") { "supergroup" } else { "group" };
            Chat::new(id, kind, "Group", Value::Null)
        };
        let bots = if id > 0 { vec![bot] } else { self.bots.iter().map(|b| b.id).collect() };
        chat.bots = bots.into_iter().map(|bot| (bot, "member".to_owned())).collect();
        self.chats.insert(chat_key(bot, id), chat);
    }

    pub fn album_id(&mut self) -> String {
        (13_900_000_000_000_000 + self.number()).to_string()
    }

    fn keep(&mut self, bot: i64, chat: i64, api: Value) {
        let id = api["message_id"].as_i64().unwrap_or(0);
        let message = Message {
            api,
            bot: None,
            former: Vec::new(),
            deleted: false,
            reactions: BTreeMap::new(),
            request: Value::Null,
            at: Instant::now(),
        };
        self.chat(bot, chat).expect("met").messages.insert(id, message);
    }

    /// Queues the message for every bot that sees it: the id for `bot`.
    fn tell(&mut self, bot: i64, chat: i64, kind: &str, api: &Value) -> Option<i64> {
        let mut id = None;
        let there = |status: &str| matches!(status, "member" | "administrator" | "restricted");
        let place = self.chat(bot, chat).expect("met");
        let statuses: Vec<(i64, String)> = place.bots.clone().into_iter().filter(|(_, s)| there(s)).collect();
        for (each, status) in statuses {
            if self.visible(each, &status, chat > 0, api) {
                let pushed = self.push(each, kind, api.clone());
                id = if each == bot { pushed } else { id };
            }
        }
        id
    }

    fn visible(&mut self, bot: i64, status: &str, private: bool, api: &Value) -> bool {
        let bot = self.bot(bot);
        let text = api["text"].as_str().or_else(|| api["caption"].as_str()).unwrap_or("").to_lowercase();
        let name = format!("@{}", bot.user["username"].as_str().unwrap_or("").to_lowercase());
        let first = text.split_whitespace().next().unwrap_or("");
        let command = first.starts_with('/') && !first.contains('@');
        let service = text.is_empty() && kind_in(api).is_none();
        let reply = api["reply_to_message"]["from"]["id"] == bot.id;
        private || !bot.privacy || status == "administrator" || reply || service || text.contains(&name) || command
    }
}

impl BotApi {
    fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.server.shared.lock());
        self.server.shared.wake();
        result
    }

    /// A message of `user` in `chat`; both are made up where they are new.
    pub fn user_says(&self, chat: i64, user: i64) -> Say<'_> {
        Say::new(self, chat, user)
    }

    /// A private text, sent.
    pub fn user_writes(&self, user: i64, text: &str) -> Said {
        self.user_says(user, user).text(text).send()
    }

    /// A new `media_group_id`.
    pub fn album(&self) -> String {
        self.change(World::album_id)
    }

    /// The user's message now reads so. Entities are found anew.
    pub fn user_edits(&self, chat: i64, message: i64, text: &str) -> Said {
        let bot = self.bot;
        self.change(|world| {
            let place = world.chat(bot, chat).expect("a chat with this message");
            let kept = place.messages.get_mut(&message).expect("a message of the chat");
            kept.former.push(kept.text().to_owned());
            let key = if kept.api["text"].is_string() { "text" } else { "caption" };
            set_text(&mut kept.api, key, text, Vec::new());
            kept.api["edit_date"] = json!(now());
            let api = kept.api.clone();
            Said { message_id: message, update_id: world.tell(bot, chat, "edited_message", &api) }
        })
    }

    /// In groups only administrators are told.
    pub fn user_reacts(&self, chat: i64, user: i64, message: i64, emoji: &[&str]) -> Option<i64> {
        let bot = self.bot;
        let new: Vec<Value> = emoji.iter().map(|e| json!({"type": "emoji", "emoji": e})).collect();
        self.change(|world| {
            let person = world.user(user);
            let place = world.chat(bot, chat).expect("a chat with this message");
            let told = place.private() || place.status(bot) == "administrator";
            let chat = place.api();
            let kept = place.messages.get_mut(&message).expect("a message of the chat");
            let old = kept.reactions.insert(user, json!(new)).unwrap_or_else(|| json!([]));
            let update = json!({"chat": chat, "message_id": message, "user": person, "date": now(),
                "old_reaction": old, "new_reaction": new});
            told.then(|| world.push(bot, "message_reaction", update)).flatten()
        })
    }

    /// Presses the button with this text (or data) under a message of the bot: the query's id.
    pub fn user_presses(&self, chat: i64, user: i64, message: i64, button: &str) -> String {
        let kept = self.message(chat, message).expect("a message that is there");
        let buttons = kept.buttons();
        let found = buttons.iter().find(|(text, data)| text == button || data == button);
        let (_, data) = found.unwrap_or_else(|| panic!("no button {button:?} among {buttons:?}"));
        self.user_presses_data(chat, user, message, data)
    }

    /// A press with any data, as an old client or a forger may send it.
    pub fn user_presses_data(&self, chat: i64, user: i64, message: i64, data: &str) -> String {
        let bot = self.bot;
        self.change(|world| {
            let id = (4_000_000_000_000_000 + world.number()).to_string();
            let person = world.user(user);
            let place = world.chat(bot, chat).expect("a chat with this message");
            let shown = match place.live(message) {
                Some(kept) => kept.api.clone(),
                None => json!({"chat": place.api(), "message_id": message, "date": 0}),
            };
            let query = json!({"id": id, "from": person, "message": shown, "data": data,
                "chat_instance": (-chat * 7).to_string()});
            let entry = Query { id: id.clone(), data: data.to_owned(), at: Instant::now(), answer: None, alert: false };
            world.bot(bot).queries.push(entry);
            world.push(bot, "callback_query", query);
            id
        })
    }

    /// The bot is blocked, kicked, made administrator…: `my_chat_member`.
    pub fn bot_becomes(&self, chat: i64, user: i64, status: &str) -> Option<i64> {
        let bot = self.bot;
        self.change(|world| {
            world.meet(bot, chat);
            let (me, person) = (world.bot(bot).user.clone(), world.user(user));
            let place = world.chat(bot, chat).expect("met");
            let old = place.bots.insert(bot, status.to_owned()).unwrap_or_else(|| "left".into());
            let update = json!({"chat": place.api(), "from": person, "date": now(),
                "old_chat_member": member(&me, &old), "new_chat_member": member(&me, status)});
            world.push(bot, "my_chat_member", update)
        })
    }

    /// The group becomes a supergroup: its new id. Two service messages tell it, one in each chat.
    pub fn migrate(&self, chat: i64, user: i64) -> i64 {
        let bot = self.bot;
        let new: i64 = format!("-100{}", chat.unsigned_abs()).parse().expect("digits");
        self.change(|world| {
            let old = world.chat(bot, chat).expect("a known group");
            let mut next = Chat::new(new, "supergroup", &old.title, Value::Null);
            (next.bots, next.members) = (old.bots.clone(), old.members.clone());
            world.chats.insert(chat_key(bot, new), next);
        });
        self.user_says(chat, user).field("migrate_to_chat_id", json!(new)).send();
        self.user_says(new, user).field("migrate_from_chat_id", json!(chat)).send();
        self.change(|world| world.chat(bot, chat).expect("a known group").migrated_to = Some(new));
        new
    }

    /// A topic opened by a user: its id.
    pub fn user_opens_topic(&self, chat: i64, user: i64, name: &str) -> i64 {
        let bot = self.bot;
        let id = self.change(|world| {
            world.meet(bot, chat);
            let place = world.chat(bot, chat).expect("met");
            place.forum = true;
            place.topics.insert(place.next_id, name.to_owned());
            place.next_id
        });
        let made = json!({"name": name, "icon_color": 7_322_096});
        let said = self.user_says(chat, user).topic(id).field("forum_topic_created", made).send();
        debug_assert_eq!(said.message_id, id);
        id
    }

    /// Closes or deletes a topic, without a service message.
    pub fn close_topic(&self, chat: i64, topic: i64, deleted: bool) {
        let bot = self.bot;
        self.change(|world| {
            let place = world.chat(bot, chat).expect("a known chat");
            if deleted {
                place.topics.remove(&topic);
            } else {
                place.closed_topics.insert(topic);
            }
        });
    }

    /// Somebody removes a message from the chat. Bots are not told.
    pub fn user_deletes(&self, chat: i64, message: i64) {
        let bot = self.bot;
        self.change(|world| {
            let place = world.chat(bot, chat).expect("a known chat");
            place.messages.get_mut(&message).expect("a message of the chat").deleted = true;
        });
    }

    /// The user presses Stop under a draft.
    pub fn user_stops(&self, chat: i64, draft: i64) -> Option<i64> {
        let bot = self.bot;
        self.change(|world| {
            let place = world.chat(bot, chat).expect("a known chat");
            let mut update = json!({"chat": place.api(), "draft_id": draft});
            if let Some(thread) = place.drafts.get(&draft).and_then(|d| d.thread) {
                update["message_thread_id"] = json!(thread);
            }
            world.push(bot, "stopped_message_generation", update)
        })
    }

    /// Queues an update as it is, whatever it wants to be. Without `update_id` it gets the next one.
    pub fn raw_update(&self, update: Value) -> i64 {
        let bot = self.bot;
        self.change(|world| {
            let bot = world.bot(bot);
            let mut update = update;
            if update.is_object() && update["update_id"].is_null() {
                update["update_id"] = json!(bot.next_update);
            }
            bot.push_raw(update.clone());
            update["update_id"].as_i64().unwrap_or(0)
        })
    }

    /// Delivers the newest update once more, confirmed or not.
    pub fn repeat_last_update(&self) {
        let bot = self.bot;
        self.change(|world| {
            let bot = world.bot(bot);
            let update = bot.last_update.clone().expect("an update to repeat");
            bot.push_raw(update);
        });
    }

    /// Later updates count from here.
    pub fn next_update_id(&self, id: i64) {
        let bot = self.bot;
        self.change(|world| world.bot(bot).next_update = id);
    }

    /// Waiting updates change their order.
    pub fn reverse_updates(&self) {
        let bot = self.bot;
        self.change(|world| world.bot(bot).queue.make_contiguous().reverse());
    }
}
