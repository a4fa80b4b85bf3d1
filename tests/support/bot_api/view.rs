//! What a test can see and wait for.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::files::kind_in;
use super::world::{Action, Call, Chat, Draft, Message, Query, Violation, World};
use super::{hook, scope_key, BotApi, DEADLINE};

impl Message {
    pub fn id(&self) -> i64 {
        self.api["message_id"].as_i64().unwrap_or(0)
    }

    /// Text or caption as it is read, without markup.
    pub fn text(&self) -> &str {
        self.api["text"].as_str().or_else(|| self.api["caption"].as_str()).unwrap_or("")
    }

    pub fn entities(&self) -> &[Value] {
        let key = if self.api["text"].is_string() { "entities" } else { "caption_entities" };
        self.api[key].as_array().map_or(&[], Vec::as_slice)
    }

    /// The parts of the text under entities of this kind.
    pub fn parts(&self, kind: &str) -> Vec<String> {
        let units: Vec<u16> = self.text().encode_utf16().collect();
        let part = |e: &Value| {
            let (from, length) = (e["offset"].as_u64()? as usize, e["length"].as_u64()? as usize);
            Some(String::from_utf16_lossy(units.get(from..from + length)?))
        };
        self.entities().iter().filter(|e| e["type"] == kind).filter_map(part).collect()
    }

    /// The topic it is in.
    pub fn topic(&self) -> Option<i64> {
        self.api["message_thread_id"].as_i64().filter(|_| self.api["is_topic_message"] == true)
    }

    pub fn reply_to(&self) -> Option<i64> {
        self.api["reply_to_message"]["message_id"].as_i64()
    }

    /// Text and callback data of each inline button.
    pub fn buttons(&self) -> Vec<(String, String)> {
        let rows = self.api["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        rows.filter_map(Value::as_array).flatten().map(|b| (text(&b["text"]), text(&b["callback_data"]))).collect()
    }

    /// `photo`, `document`…
    pub fn media(&self) -> Option<&'static str> {
        kind_in(&self.api)
    }

    /// Id of its file; of a photo the largest.
    pub fn file_id(&self) -> Option<&str> {
        let medium = &self.api[self.media()?];
        medium.as_array().and_then(|sizes| sizes.last()).unwrap_or(medium)["file_id"].as_str()
    }
}

impl BotApi {
    fn look<T>(&self, at: impl FnOnce(&mut World) -> T) -> T {
        at(&mut self.server.shared.lock())
    }

    fn in_chat<T: Default>(&self, chat: i64, at: impl FnOnce(&Chat) -> T) -> T {
        let bot = self.bot;
        self.look(|world| world.chat(bot, chat).map(|chat| at(chat)).unwrap_or_default())
    }

    /// Waits until `find` finds something; fails with what was seen when it never does.
    pub fn wait<T>(&self, what: &str, mut find: impl FnMut(&mut World) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let shared = &self.server.shared;
        let mut world = shared.lock();
        loop {
            if let Some(found) = find(&mut world) {
                return found;
            }
            if Instant::now() >= end {
                let calls: Vec<String> = world.calls.iter().rev().take(30).rev().map(line).collect();
                let violations = world.violations.clone();
                drop(world);
                panic!("the Bot API waited {DEADLINE:?} for {what}; last calls {calls:#?}; violations {violations:#?}");
            }
            world = shared.wait(world, Some(end));
        }
    }

    /// The first message of this bot in the chat, present form, for which `want` holds.
    pub fn wait_message(&self, chat: i64, want: impl Fn(&Message) -> bool) -> Message {
        let bot = self.bot;
        self.wait(&format!("a message in {chat}"), |world| {
            let messages = &world.chat(bot, chat)?.messages;
            messages.values().find(|m| m.bot == Some(bot) && !m.deleted && want(m)).cloned()
        })
    }

    /// The first message of this bot that reads so, all of it.
    pub fn wait_text(&self, chat: i64, text: &str) -> Message {
        self.wait_message(chat, |m| m.text() == text)
    }

    /// Until the chat as a whole is as wanted: the bot's messages that are there.
    pub fn wait_messages(&self, chat: i64, want: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        let bot = self.bot;
        self.wait(&format!("the messages in {chat}"), |world| {
            let seen = world.chat(bot, chat).map(|c| of_bot(c, bot)).unwrap_or_default();
            want(&seen).then_some(seen)
        })
    }

    /// The first call for which `want` holds. It is looked at again when it changes: ask for `done` to see its end.
    pub fn wait_call(&self, want: impl Fn(&Call) -> bool) -> Call {
        self.wait("a call", |world| world.calls.iter().find(|c| want(c)).cloned())
    }

    /// Until `method` was called so often, answered or not: those calls.
    pub fn wait_calls(&self, method: &str, count: usize) -> Vec<Call> {
        let bot = self.bot;
        self.wait(&format!("{count} calls of {method}"), |world| {
            let seen: Vec<Call> = world.calls.iter().filter(|c| of(c, method, bot)).cloned().collect();
            (seen.len() >= count).then_some(seen)
        })
    }

    /// Until a long poll of this bot waits for updates, and none is left to deliver.
    pub fn wait_polling(&self) {
        let bot = self.bot;
        self.wait("a long poll", |world| {
            let bot = world.bot(bot);
            (bot.poll.is_some() && bot.queue.is_empty()).then_some(())
        });
    }

    /// Until so many requests stand before a server that hangs ([`super::Line::Hanging`]).
    pub fn wait_stuck(&self, count: usize) {
        self.wait(&format!("{count} requests that hang"), |world| (world.stuck >= count).then_some(()));
    }

    /// Until this update was confirmed (or delivered to the webhook).
    pub fn wait_confirmed(&self, update: i64) {
        let bot = self.bot;
        self.wait(&format!("update {update} to be confirmed"), |world| {
            (!world.bot(bot).queue.iter().any(|u| u["update_id"] == update)).then_some(())
        });
    }

    /// Until the press is answered: the query.
    pub fn wait_answer(&self, query: &str) -> Query {
        let bot = self.bot;
        self.wait(&format!("an answer to {query}"), |world| {
            world.bot(bot).queries.iter().find(|q| q.id == query && q.answer.is_some()).cloned()
        })
    }

    /// This bot's messages that are there, oldest first, present form.
    pub fn messages(&self, chat: i64) -> Vec<Message> {
        let bot = self.bot;
        self.in_chat(chat, |c| of_bot(c, bot))
    }

    /// Everybody's messages that are there.
    pub fn conversation(&self, chat: i64) -> Vec<Message> {
        self.in_chat(chat, |c| c.messages.values().filter(|m| !m.deleted).cloned().collect())
    }

    /// A message that is there.
    pub fn message(&self, chat: i64, id: i64) -> Option<Message> {
        self.in_chat(chat, |c| c.live(id).cloned())
    }

    /// A message, deleted or not.
    pub fn message_ever(&self, chat: i64, id: i64) -> Option<Message> {
        self.in_chat(chat, |c| c.messages.get(&id).cloned())
    }

    pub fn drafts(&self, chat: i64) -> Vec<(i64, Draft)> {
        self.in_chat(chat, |c| c.drafts.iter().map(|(id, d)| (*id, d.clone())).collect())
    }

    pub fn actions(&self, chat: i64) -> Vec<Action> {
        self.in_chat(chat, |c| c.actions.clone())
    }

    pub fn pins(&self, chat: i64) -> Vec<i64> {
        self.in_chat(chat, |c| c.pins.clone())
    }

    /// Calls of this bot, oldest first; `file` are downloads.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let bot = self.bot;
        self.look(|world| world.calls.iter().filter(|c| of(c, method, bot)).cloned().collect())
    }

    /// Every call, also those of unknown tokens.
    pub fn all_calls(&self) -> Vec<Call> {
        self.look(|world| world.calls.clone())
    }

    /// Messages the bot sent to the chat, deleted ones included.
    pub fn sent_count(&self, chat: i64) -> usize {
        let bot = self.bot;
        self.in_chat(chat, |c| c.messages.values().filter(|m| m.bot == Some(bot)).count())
    }

    /// Edits of the bot's messages that took effect.
    pub fn edit_count(&self, chat: i64) -> usize {
        let bot = self.bot;
        self.in_chat(chat, |c| c.messages.values().filter(|m| m.bot == Some(bot)).map(|m| m.former.len()).sum())
    }

    /// Texts that stand more than once in the same topic of the chat, each as often as it is too much.
    pub fn duplicates(&self, chat: i64) -> Vec<String> {
        let shown = self.messages(chat);
        let twin = |(n, m): &(usize, &Message)| {
            shown[..*n].iter().any(|o| o.text() == m.text() && o.topic() == m.topic() && o.media() == m.media())
        };
        let texts = shown.iter().enumerate().filter(|(_, m)| !m.text().is_empty());
        texts.filter(twin).map(|(_, m)| m.text().to_owned()).collect()
    }

    /// What the client did wrong so far, unanswered presses older than 10 s included.
    pub fn violations(&self) -> Vec<Violation> {
        self.look(|world| {
            let mut found = world.violations.clone();
            let limit = Duration::from_secs(10);
            for bot in &world.bots {
                let late = bot.queries.iter().filter(|q| q.answer.is_none() && q.at.elapsed() > limit);
                let violation = |q: &Query| Violation {
                    kind: "callback_unanswered",
                    bot: Some(bot.id),
                    detail: format!("{}: {}", q.id, q.data),
                };
                found.extend(late.map(violation));
            }
            found
        })
    }

    /// Fails if the client did anything wrong.
    pub fn assert_clean(&self) {
        let found = self.violations();
        assert!(found.is_empty(), "violations of the protocol: {found:#?}");
    }

    /// Forgets violations a test wanted.
    pub fn forget_violations(&self) {
        self.look(|world| world.violations.clear());
    }

    pub fn queries(&self) -> Vec<Query> {
        let bot = self.bot;
        self.look(|world| world.bot(bot).queries.clone())
    }

    /// Updates not confirmed yet.
    pub fn pending(&self) -> Vec<Value> {
        let bot = self.bot;
        self.look(|world| world.bot(bot).queue.iter().cloned().collect())
    }

    /// The last `allowed_updates`; `None`: the default set.
    pub fn allowed_updates(&self) -> Option<Vec<String>> {
        let bot = self.bot;
        self.look(|world| world.bot(bot).allowed.as_ref().map(|kinds| kinds.iter().cloned().collect()))
    }

    /// The menu of a scope (`{"type":"default"}`…) and language: a list of BotCommand.
    pub fn commands(&self, scope: &Value, language: &str) -> Option<Value> {
        let bot = self.bot;
        self.look(|world| world.bot(bot).commands.get(&scope_key(scope, language)).cloned())
    }

    /// WebhookInfo.
    pub fn webhook(&self) -> Value {
        let bot = self.bot;
        self.look(|world| hook::info(world.bot(bot)))
    }

    /// Bytes of a file a bot sent or got.
    pub fn file(&self, file_id: &str) -> Option<Vec<u8>> {
        let bot = self.bot;
        self.look(|world| world.bot(bot).files.get(file_id).map(|f| f.data.to_vec()))
    }
}

fn of(call: &Call, method: &str, bot: i64) -> bool {
    call.method == method && call.bot == Some(bot)
}

fn of_bot(chat: &Chat, bot: i64) -> Vec<Message> {
    chat.messages.values().filter(|m| m.bot == Some(bot) && !m.deleted).cloned().collect()
}

fn line(call: &Call) -> String {
    let params: String = call.params.to_string().chars().take(200).collect();
    format!("#{} {} {params} -> {:?} {:?} done {}", call.n, call.method, call.status, call.error, call.done)
}
