//! The reader: long polls, parses, hands over, and only then confirms (telegram.md 3, 4.1; core.md 22.2).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use super::api::{self, Update};
use super::client::Fail;
use super::link::{seed, Link, Stopped, CALL};
use super::news;
use super::parse::{self, Me};
use super::press;
use super::reactions::Told;
use super::NAME;
use crate::clock;
use crate::config::types::TelegramAccount;
use crate::message::{self, Answer, Batch, Request};
use crate::net::Backoff;
use crate::roster::Stage;

/// Beyond the long poll itself.
const SLACK: Duration = Duration::from_secs(15);
/// Beyond the long poll the reader may be silent that long; then it is taken to be stuck (telegram.md 4.1).
const SILENCE: Duration = Duration::from_secs(60);
/// How long the mind may take for a batch before it is asked again.
const MIND: Duration = Duration::from_secs(60);
/// A webhook that comes back is removed once in that time: somebody else sets it.
const UNHOOK: Duration = Duration::from_secs(60);
/// An offset that was stored longer ago than this is not sent: ids may have begun anew, ms.
const OLD_CURSOR: i64 = 7 * 86_400_000;

/// How far the updates of a bot were taken.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cursor {
    bot_id: i64,
    update_id: i64,
    #[serde(default)]
    at: i64,
}

/// Where to go on, as long as that means something: `at` is when the last update came, ms of a clock that only runs on.
#[derive(Clone, Copy, Debug)]
struct Offset {
    next: i64,
    at: u64,
}

impl Offset {
    /// After a week without an update ids begin anew anywhere, perhaps below; what was taken is known by its keys.
    fn sent(self, now: u64) -> Option<i64> {
        (now.saturating_sub(self.at) < OLD_CURSOR as u64).then_some(self.next)
    }
}

pub struct Reader {
    link: Link,
    reactions: Told,
    /// Of updates that are asked for.
    kinds: &'static [&'static str],
    poll: Duration,
    conflict: Backoff,
    offset: Option<Offset>,
    /// A webhook was found set.
    unhooked: bool,
}

/// How long the reader of an account may be silent.
pub fn patience(c: &TelegramAccount) -> Duration {
    poll(c) + SILENCE
}

fn poll(c: &TelegramAccount) -> Duration {
    Duration::from_secs(u64::from(c.poll_timeout_s))
}

impl Reader {
    pub fn new(link: Link, c: &TelegramAccount) -> Reader {
        let second = Duration::from_secs(1);
        let conflict = Backoff::new(5 * second, 1.8, 60 * second, 0.2, seed(&link.account) ^ 1);
        let (reactions, kinds) = (Told::from(c), api::kinds(c));
        Reader { link, reactions, kinds, poll: poll(c), conflict, offset: None, unhooked: false }
    }

    /// Until it is stopped; nothing else ends it.
    pub fn run(mut self) {
        while let Ok(me) = self.introduce() {
            if self.receive(&me).is_err() {
                return;
            }
        }
    }

    /// Who is this bot, and nothing else takes its updates.
    fn introduce(&mut self) -> Result<Me, Stopped> {
        let me = self.link.introduce(|bot| {
            // A webhook left behind makes every poll a conflict.
            bot.call::<bool>("deleteWebhook", &json!({"drop_pending_updates": false}), CALL).map(|_| ())
        })?;
        self.offset = self.stored(&me)?;
        Ok(me)
    }

    /// The offset to go on with; `None`: from the oldest that Telegram has.
    fn stored(&self, me: &Me) -> Result<Option<Offset>, Stopped> {
        let request = || Request::Cursor { channel: NAME.into(), account: self.link.account.clone() };
        let value = loop {
            match self.link.mind.ask(request(), MIND) {
                Answer::Cursor(value) => break value,
                _ => self.link.sleep(Duration::from_secs(1))?,
            }
        };
        let cursor = value.and_then(|v| serde_json::from_str::<Cursor>(&v).ok());
        let now = clock::now();
        let age = |c: &Cursor| if c.at == 0 { 0 } else { now.wall - c.at };
        let cursor = cursor.filter(|c| c.bot_id == me.id && age(c) < OLD_CURSOR);
        let at = |c: &Cursor| now.mono.saturating_sub(age(c).max(0) as u64);
        Ok(cursor.map(|c| Offset { next: c.update_id + 1, at: at(&c) }))
    }

    /// Polls until it is stopped (`Err`) or the bot has to introduce itself anew.
    fn receive(&mut self, me: &Me) -> Result<(), Stopped> {
        loop {
            let mut params = json!({"limit": 100, "timeout": self.poll.as_secs(), "allowed_updates": self.kinds});
            if let Some(offset) = self.offset.and_then(|o| o.sent(clock::mono())) {
                params["offset"] = offset.into();
            }
            let answer = self.link.bot.call::<Vec<Value>>("getUpdates", &params, self.poll + SLACK);
            self.link.stopped()?; // one that was given up must not hand anything over
            self.link.alive(Duration::ZERO);
            match answer {
                Ok(updates) => {
                    self.link.well();
                    self.conflict.reset();
                    self.link.standing.heard(updates.len() as u64);
                    if !updates.is_empty() {
                        self.hand_over(me, &updates)?;
                    }
                }
                Err(Fail::Api { code: 409, description, .. }) => {
                    if description.to_ascii_lowercase().contains("webhook") {
                        let pause = if self.unhooked { UNHOOK } else { Duration::from_secs(1) };
                        self.unhooked = true;
                        self.link.say(Stage::Conflict, "a webhook is set; it is removed");
                        self.link.sleep(pause)?;
                        return Ok(());
                    }
                    let why = "another program polls this bot: end it, or this one gets nothing";
                    self.link.say(Stage::Conflict, why);
                    let pause = self.conflict.next_pause();
                    self.link.sleep(pause)?;
                }
                Err(fail) => self.link.wait_after(&fail)?,
            }
        }
    }

    /// One batch: stored and synced, then its offset counts.
    fn hand_over(&mut self, me: &Me, raw: &[Value]) -> Result<(), Stopped> {
        let now = clock::now().wall;
        let last = raw.iter().filter_map(id_of).max();
        let read = |value| read(value, me, &self.link.account, self.reactions, now);
        let updates: Vec<_> = raw.iter().flat_map(read).collect();
        let Some(last) = last else { return Ok(()) };
        let cursor = Cursor { bot_id: me.id, update_id: last, at: now };
        let cursor = serde_json::to_string(&cursor).ok(); // plain data: never fails
        loop {
            let batch = Batch {
                channel: NAME.into(),
                account: self.link.account.clone(),
                updates: updates.clone(),
                cursor: cursor.clone(),
            };
            self.link.alive(MIND);
            let Some(pending) = self.link.mind.deliver(batch) else { return Err(Stopped) };
            match pending.wait(MIND) {
                Some(Answer::Ok) => break,
                // Not on disk: the offset stays, and so do the updates.
                _ => self.link.sleep(Duration::from_secs(1))?,
            }
        }
        self.offset = Some(Offset { next: last + 1, at: clock::mono() });
        Ok(())
    }
}

fn id_of(update: &Value) -> Option<i64> {
    update.get("update_id").and_then(Value::as_i64)
}

/// What of an update is for the mind. One that cannot be read is kept for the record, whatever is the matter with it.
pub fn read(value: &Value, me: &Me, account: &str, told: Told, now: i64) -> Option<message::Update> {
    let id = id_of(value);
    let read = || -> Result<_, String> {
        // By way of its text, from which answers are read too: code that reads all these types from a `Value` as well
        // would be 0.1 MB of the program.
        let update: Update = serde_json::from_str(&value.to_string()).map_err(|e| e.to_string())?;
        if let Some(news) = news::of(&update, me, account, told) {
            return Ok(Some(news));
        }
        let press = || press::of(&update, me, account).map(message::Update::Pressed);
        Ok(parse::update(&update, me, account, now / 1000).or_else(press))
    };
    let why = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(update)) => return update,
        Ok(Err(why)) => format!("cannot be read: {why}"),
        Err(_) => "made the parser panic".to_owned(),
    };
    log::error!("telegram {account}: update {id:?} {why}");
    let broken = |id| message::Update::Broken {
        dkey: format!("tg:{}:{id}", me.id),
        source: parse::origin(value, account),
        raw: value.to_string(),
    };
    id.map(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_sent_for_a_week_without_updates() {
        let offset = Offset { next: 8, at: 1_000 };
        assert_eq!(offset.sent(1_000 + 604_799_999), Some(8));
        assert_eq!(offset.sent(1_000 + 604_800_000), None);
        assert_eq!(offset.sent(0), Some(8), "a clock that stands still");
    }
}
