//! An account's own thread: what it waits for, what it says, and the signs of life it gives (telegram.md 3, 4.1).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::json;

use super::api::User;
use super::client::{Bot, Fail};
use super::parse::Me;
use super::NAME;
use crate::ask::Mind;
use crate::clock;
use crate::message::Event;
use crate::net::Backoff;
use crate::roster::{Stage, Standing};

pub const CALL: Duration = Duration::from_secs(30);
/// Refused credentials are tried again after these, minutes.
const UNAUTHORIZED: [u64; 3] = [1, 2, 5];

/// Told when the platform knows the bot.
pub type Ready = Arc<dyn Fn(&str) + Send + Sync>;

/// What such a thread has.
pub struct Link {
    pub account: String,
    pub bot: Bot,
    pub mind: Mind,
    pub stop: Receiver<()>,
    pub standing: Arc<Standing>,
    pub ready: Ready,
    /// How long it may be silent; `None`: nobody waits for it.
    pub patience: Option<Duration>,
    pub pause: Backoff,
    /// Groups in which it is to hear everything.
    pub hears_all: Vec<String>,
    /// The last trouble was told: not every try is.
    told: Option<String>,
    refusals: usize,
}

/// The thread is asked to end.
pub struct Stopped;

impl Link {
    pub fn new(
        account: &str,
        bot: Bot,
        mind: Mind,
        stop: Receiver<()>,
        standing: Arc<Standing>,
        ready: Ready,
        patience: Option<Duration>,
    ) -> Link {
        let second = Duration::from_secs(1);
        let link = Link {
            account: account.to_owned(),
            bot,
            mind,
            stop,
            standing,
            ready,
            patience,
            pause: Backoff::new(second, 1.8, 30 * second, 0.2, seed(account)),
            hears_all: Vec::new(),
            // A life before this one may have said that the credentials are refused.
            told: Some(String::new()),
            refusals: 0,
        };
        link.standing.open(patience.is_none());
        link.alive(Duration::ZERO);
        link
    }

    /// A sign of life; the next one comes after that pause. Only round trips of the call that brings messages, and
    /// pauses, are signs: that other calls work says nothing about it.
    pub fn alive(&self, pause: Duration) {
        if let Some(patience) = self.patience {
            self.standing.expect((patience + pause).as_millis() as u64);
        }
    }

    /// Who is this bot? Until it is known, and `then` succeeds, the thread goes no further.
    pub fn introduce(&mut self, then: impl Fn(&Bot) -> Result<(), Fail>) -> Result<Me, Stopped> {
        loop {
            match self.bot.call::<User>("getMe", &json!({}), CALL).and_then(|me| then(&self.bot).map(|()| me)) {
                Ok(me) => {
                    self.well();
                    self.standing.connected(me.username.clone());
                    log::info!("telegram {}: @{} is connected", self.account, me.username.as_deref().unwrap_or("?"));
                    if !me.can_read_all_group_messages && !self.hears_all.is_empty() {
                        let groups = self.hears_all.join(", ");
                        log::warn!(
                            "telegram {}: requireMention is false for {groups}, but the bot is in privacy mode and does not \
                             hear what is not said to it: @BotFather, /setprivacy, Disable, then add it to the group again",
                            self.account
                        );
                    }
                    (self.ready)(&self.account);
                    return Ok(Me::from(&me));
                }
                Err(fail) => self.wait_after(&fail)?,
            }
        }
    }

    /// A call that matters worked.
    pub fn well(&mut self) {
        self.refusals = 0;
        self.pause.reset();
        self.trouble(None);
    }

    pub fn wait_after(&mut self, fail: &Fail) -> Result<(), Stopped> {
        self.stopped()?;
        if fail.is_unauthorized() {
            let minutes = UNAUTHORIZED[self.refusals.min(UNAUTHORIZED.len() - 1)];
            self.refusals += 1;
            let why = format!("{fail}; is botToken right?");
            self.standing.failed(Stage::Unauthorized, &why);
            self.trouble(Some(&why));
            return self.sleep(Duration::from_secs(60 * minutes));
        }
        self.say(Stage::Degraded, &fail.to_string());
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
    pub fn say(&mut self, stage: Stage, why: &str) {
        self.standing.failed(stage, why);
        if self.told.as_deref() != Some(why) {
            log::warn!("telegram {}: {why}", self.account);
            self.told = Some(why.to_owned());
        }
    }

    pub fn stopped(&self) -> Result<(), Stopped> {
        match self.stop.try_recv() {
            Err(crossbeam_channel::TryRecvError::Empty) => Ok(()),
            _ => Err(Stopped),
        }
    }

    pub fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        self.alive(time);
        match self.stop.recv_timeout(time) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }
}

/// Differs between accounts and lives, so that they do not try in step.
pub fn seed(account: &str) -> u64 {
    clock::mono() ^ account.bytes().fold(7, |n: u64, b| n.wrapping_mul(31) + u64::from(b))
}
