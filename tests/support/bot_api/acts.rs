//! What people do beside writing: they press, react, edit, block, move groups. And updates as no service sends them.

use std::time::Instant;

use serde_json::{json, Value};

use super::say::{set_text, Said, Say};
use super::world::{chat_key, now, Chat, Query, World};
use super::{member, BotApi};

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
