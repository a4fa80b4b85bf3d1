//! The reader: long polls, parses, hands over, and only then confirms (telegram.md 3, 4.1; core.md 22.2).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use super::api::{Update, User, ALLOWED};
use super::client::{Bot, Fail};
use super::news;
use super::parse::{self, Me};
use super::reactions::Told;
use super::NAME;
use crate::ask::Mind;
use crate::clock;
use crate::config::types::{StreamMode, TelegramAccount};
use crate::message::{Answer, Batch, Event, Request};
use crate::net::Backoff;

/// Beyond the long poll itself.
const SLACK: Duration = Duration::from_secs(15);
const CALL: Duration = Duration::from_secs(30);
/// Refused credentials are tried again after these, minutes.
const UNAUTHORIZED: [u64; 3] = [1, 2, 5];
/// How long the mind may take for a batch before it is asked again.
const MIND: Duration = Duration::from_secs(60);
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

pub struct Reader {
    account: String,
    bot: Bot,
    mind: Mind,
    stop: Receiver<()>,
    reactions: Told,
    /// Of updates that are asked for.
    kinds: &'static [&'static str],
    poll: Duration,
    pause: Backoff,
    conflict: Backoff,
    offset: Option<i64>,
    /// The last trouble was told: not every try is.
    told: Option<String>,
}

/// The reader is asked to end.
struct Stopped;

impl Reader {
    pub fn new(account: &str, bot: Bot, c: &TelegramAccount, mind: Mind, stop: Receiver<()>) -> Reader {
        let seed = clock::mono() ^ account.bytes().fold(7, |n: u64, b| n.wrapping_mul(31) + u64::from(b));
        let second = Duration::from_secs(1);
        Reader {
            account: account.to_owned(),
            bot,
            mind,
            stop,
            reactions: Told::from(c),
            // The last one comes of drafts alone.
            kinds: match c.stream_mode {
                StreamMode::Draft | StreamMode::Auto => &ALLOWED,
                _ => &ALLOWED[..ALLOWED.len() - 1],
            },
            poll: Duration::from_secs(u64::from(c.poll_timeout_s)),
            pause: Backoff::new(second, 1.8, 30 * second, 0.2, seed),
            conflict: Backoff::new(5 * second, 1.8, 60 * second, 0.2, seed ^ 1),
            offset: None,
            told: None,
        }
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
        let mut refusals = 0;
        loop {
            let me = self.bot.call::<User>("getMe", &json!({}), CALL);
            let me = me.and_then(|me| {
                // A webhook left behind makes every poll a conflict.
                self.bot.call::<bool>("deleteWebhook", &json!({"drop_pending_updates": false}), CALL).map(|_| me)
            });
            match me {
                Ok(me) => {
                    self.pause.reset();
                    self.trouble(None);
                    log::info!("telegram {}: @{} is connected", self.account, me.username.as_deref().unwrap_or("?"));
                    let me = Me::from(&me);
                    self.offset = self.stored(&me)?;
                    return Ok(me);
                }
                Err(fail) => self.wait_after(&fail, &mut refusals)?,
            }
        }
    }

    /// The offset to go on with; `None`: from the oldest that Telegram has.
    fn stored(&self, me: &Me) -> Result<Option<i64>, Stopped> {
        let request = || Request::Cursor { channel: NAME.into(), account: self.account.clone() };
        let value = loop {
            match self.mind.ask(request(), MIND) {
                Answer::Cursor(value) => break value,
                _ => self.sleep(Duration::from_secs(1))?,
            }
        };
        let cursor = value.and_then(|v| serde_json::from_str::<Cursor>(&v).ok());
        let young = |c: &Cursor| c.at == 0 || clock::now().wall - c.at < OLD_CURSOR;
        Ok(cursor.filter(|c| c.bot_id == me.id && young(c)).map(|c| c.update_id + 1))
    }

    /// Polls until it is stopped (`Err`) or the bot has to introduce itself anew.
    fn receive(&mut self, me: &Me) -> Result<(), Stopped> {
        let mut refusals = 0;
        loop {
            let mut params = json!({"limit": 100, "timeout": self.poll.as_secs(), "allowed_updates": self.kinds});
            if let Some(offset) = self.offset {
                params["offset"] = offset.into();
            }
            match self.bot.call::<Vec<Value>>("getUpdates", &params, self.poll + SLACK) {
                Ok(updates) => {
                    refusals = 0;
                    self.pause.reset();
                    self.conflict.reset();
                    self.trouble(None);
                    if !updates.is_empty() {
                        self.hand_over(me, &updates)?;
                    }
                }
                Err(Fail::Api { code: 409, description, .. }) => {
                    if description.to_ascii_lowercase().contains("webhook") {
                        self.say("a webhook is set; it is removed");
                        self.sleep(Duration::from_secs(1))?;
                        return Ok(());
                    }
                    self.say("another program polls this bot: end it, or this one gets nothing");
                    let pause = self.conflict.next_pause();
                    self.sleep(pause)?;
                }
                Err(fail) => self.wait_after(&fail, &mut refusals)?,
            }
        }
    }

    /// One batch: stored and synced, then its offset counts.
    fn hand_over(&mut self, me: &Me, raw: &[Value]) -> Result<(), Stopped> {
        let now = clock::now().wall;
        let mut last = None;
        let mut updates = Vec::new();
        for value in raw {
            let id = value.get("update_id").and_then(Value::as_i64);
            last = last.max(id);
            let read = || -> Result<_, String> {
                let update: Update = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
                if let Some(news) = news::of(&update, me, &self.account, self.reactions) {
                    return Ok(Some(news));
                }
                Ok(parse::update(&update, me, &self.account, now / 1000).map(crate::message::Update::Message))
            };
            match catch_unwind(AssertUnwindSafe(read)) {
                Ok(Ok(message)) => updates.extend(message),
                Ok(Err(why)) => log::error!("telegram {}: update {id:?} cannot be read: {why}", self.account),
                Err(_) => log::error!("telegram {}: update {id:?} made the parser panic", self.account),
            }
        }
        let Some(last) = last else { return Ok(()) };
        let cursor = Cursor { bot_id: me.id, update_id: last, at: now };
        let cursor = serde_json::to_string(&cursor).ok(); // plain data: never fails
        loop {
            let batch = Batch {
                channel: NAME.into(),
                account: self.account.clone(),
                updates: updates.clone(),
                cursor: cursor.clone(),
            };
            let Some(pending) = self.mind.deliver(batch) else { return Err(Stopped) };
            match pending.wait(MIND) {
                Some(Answer::Ok) => break,
                // Not on disk: the offset stays, and so do the updates.
                _ => self.sleep(Duration::from_secs(1))?,
            }
        }
        self.offset = Some(last + 1);
        Ok(())
    }

    fn wait_after(&mut self, fail: &Fail, refusals: &mut usize) -> Result<(), Stopped> {
        self.stopped()?;
        if fail.is_unauthorized() {
            let minutes = UNAUTHORIZED[(*refusals).min(UNAUTHORIZED.len() - 1)];
            *refusals += 1;
            self.trouble(Some(&format!("{fail}; is botToken right?")));
            return self.sleep(Duration::from_secs(60 * minutes));
        }
        self.say(&fail.to_string());
        let pause = match (fail.limited(), fail) {
            (Some(ms), _) => Duration::from_millis(ms),
            (None, Fail::Api { code: 400..=499, .. }) => Duration::from_secs(30),
            (None, _) => self.pause.next_pause(),
        };
        self.sleep(pause)
    }

    /// The account's calls are held as long as its credentials are refused.
    fn trouble(&mut self, why: Option<&str>) {
        if self.told.as_deref() == why {
            return;
        }
        self.told = why.map(str::to_owned);
        let (channel, account) = (NAME.into(), self.account.as_str().into());
        self.mind.tell(Event::Account { channel, account, trouble: why.map(Into::into) });
    }

    /// Once per trouble, not once per try.
    fn say(&mut self, why: &str) {
        if self.told.as_deref() != Some(why) {
            log::warn!("telegram {}: {why}", self.account);
            self.told = Some(why.to_owned());
        }
    }

    fn stopped(&self) -> Result<(), Stopped> {
        match self.stop.try_recv() {
            Err(crossbeam_channel::TryRecvError::Empty) => Ok(()),
            _ => Err(Stopped),
        }
    }

    fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        match self.stop.recv_timeout(time) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }
}
