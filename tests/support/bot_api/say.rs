//! Messages of people: a builder that ends in `send`, which queues the updates the bots would get.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{json, Value};

use super::files::{kind_in, PIXEL};
use super::tidy::find_entities;
use super::world::{chat_key, now, Chat, Message, World};
use super::BotApi;

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

pub fn set_text(api: &mut Value, key: &str, text: &str, mut entities: Vec<Value>) {
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

    pub fn keep(&mut self, bot: i64, chat: i64, api: Value) {
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
    pub fn tell(&mut self, bot: i64, chat: i64, kind: &str, api: &Value) -> Option<i64> {
        let mut id = None;
        let kind = match (self.chat(bot, chat).map(|c| c.kind), kind) {
            (Some("channel"), "message") => "channel_post",
            (Some("channel"), "edited_message") => "edited_channel_post",
            _ => kind,
        };
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
