//! One bot: its own thread, which polls or looks after the webhook, and its caller (telegram.md 3).

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{bounded, Sender};

use super::caller::TelegramCaller;
use super::client::Bot;
use super::fetch::TelegramFetcher;
use super::hook::{Hook, Keeper};
use super::link::{Link, Ready};
use super::media::{Media, Opener};
use super::reader::{patience, Reader};
use crate::ask::Mind;
use crate::channels::audio::Transcriber;
use crate::clock;
use crate::config::types::{SsrfGuard, TelegramAccount};
use crate::live::Board;
use crate::message::Mono;
use crate::net::{Net, Purpose, Route};
use crate::roster::{Inlet, Stage, Standing};

/// Where the Bot API is unless `apiRoot` says otherwise.
pub const PUBLIC: &str = "https://api.telegram.org";
const STACK: usize = 256 << 10;

/// What an account is opened with.
#[derive(Clone)]
pub struct Parts {
    pub net: Net,
    pub mind: Mind,
    pub board: Arc<Board>,
    pub transcriber: Option<Transcriber>,
    /// Thoughts of the agent are part of the live view.
    pub show_thinking: bool,
    /// Files of this machine that may be sent.
    pub files: Opener,
    /// For addresses that are fetched.
    pub guard: SsrfGuard,
    pub standing: Arc<Standing>,
    /// Called with the account's name when the platform knows the bot.
    pub ready: Ready,
}

/// A running account.
pub struct Account {
    id: String,
    config: TelegramAccount,
    route: Route,
    parts: Parts,
    send: Bot,
    hook: Option<Arc<Hook>>,
    own: Own,
}

/// The account's own thread.
struct Own {
    bot: Bot,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Opens the account: its thread begins, and what takes its calls and what fetches its files is returned. `Err`: what is wrong with its settings.
pub fn open(
    id: &str,
    c: &TelegramAccount,
    route: Route,
    parts: Parts,
) -> Result<(Account, TelegramCaller, TelegramFetcher), String> {
    let hook = match &c.webhook_url {
        Some(_) => Some(Arc::new(Hook::new(id, c, parts.mind.clone(), parts.standing.clone())?)),
        None => None,
    };
    let own = begin(id, c, &route, &parts, hook.as_ref())?;
    let files = bot(c, &route, &parts.net, Purpose::Files)?;
    let files = TelegramFetcher::new(files, c.media_max, c.api_root.is_some(), parts.transcriber.clone());
    let send = bot(c, &route, &parts.net, Purpose::Send)?;
    let media = media(c, &route, &parts.net, parts.files.clone(), &parts.guard)?;
    let caller = TelegramCaller::new(send.clone(), c, parts.board.clone(), media, parts.show_thinking);
    Ok((Account { id: id.to_owned(), config: c.clone(), route, parts, send, hook, own }, caller, files))
}

/// What sends messages of that account where no gateway runs: nothing is read, nothing is shown while it grows.
pub fn sender(
    c: &TelegramAccount,
    route: &Route,
    net: &Net,
    files: Opener,
    guard: &SsrfGuard,
) -> Result<TelegramCaller, String> {
    let media = media(c, route, net, files, guard)?;
    Ok(TelegramCaller::new(bot(c, route, net, Purpose::Send)?, c, Arc::default(), media, false))
}

fn media(c: &TelegramAccount, route: &Route, net: &Net, files: Opener, guard: &SsrfGuard) -> Result<Media, String> {
    // Addresses that are fetched by us are somebody else's.
    let foreign = net.agent(Purpose::Files).route(route.clone()).force_ipv4(c.force_ipv4);
    Ok(Media::new(bot(c, route, net, Purpose::Files)?, files, foreign.guarded(guard.clone()).build()))
}

fn bot(c: &TelegramAccount, route: &Route, net: &Net, purpose: Purpose) -> Result<Bot, String> {
    let token = c.bot_token.as_ref().ok_or("it has no token")?.expose();
    let agent = net.agent(purpose).route(route.clone()).force_ipv4(c.force_ipv4).build();
    Ok(Bot::new(c.api_root.as_deref().unwrap_or(PUBLIC), token, agent))
}

fn begin(id: &str, c: &TelegramAccount, route: &Route, parts: &Parts, hook: Option<&Arc<Hook>>) -> Result<Own, String> {
    let bot = bot(c, route, &parts.net, Purpose::Poll)?;
    let (stop, stopped) = bounded(1);
    let (mind, standing, ready) = (parts.mind.clone(), parts.standing.clone(), parts.ready.clone());
    let hears_all = c.hears_all().into_iter().map(str::to_owned).collect();
    let link = |patience| {
        let mut link = Link::new(id, bot.clone(), mind, stopped, standing, ready, patience);
        link.hears_all = hears_all;
        link
    };
    let thread = std::thread::Builder::new().name(format!("tg-{id}")).stack_size(STACK);
    let thread = match (hook, &c.webhook_url) {
        (Some(hook), Some(url)) => {
            let keeper = Keeper::new(link(None), hook.clone(), url);
            thread.spawn(move || keeper.run())
        }
        _ => {
            let reader = Reader::new(link(Some(patience(c))), c);
            thread.spawn(move || reader.run())
        }
    };
    Ok(Own { bot, stop, thread: thread.map_err(|e| format!("no thread for it: {e}"))? })
}

impl Account {
    /// What the port delivers to, in webhook mode.
    pub fn inlet(&self) -> Option<Arc<dyn Inlet>> {
        self.hook.clone().map(|h| h as Arc<dyn Inlet>)
    }

    /// The bot, for what neither the mind nor the reader asks of it.
    pub fn bot(&self) -> Bot {
        self.send.clone()
    }

    /// Its reader gave no sign of life in time.
    pub fn is_stuck(&self, now: Mono) -> bool {
        self.parts.standing.is_overdue(now)
    }

    /// It waits for something that may be over: refused credentials, another program.
    pub fn is_held(&self) -> bool {
        matches!(self.parts.standing.known().stage, Stage::Unauthorized | Stage::Conflict)
    }

    /// A fresh thread with connections of its own takes the old one's place; the old one, whatever it is stuck in, hands
    /// nothing over any more.
    pub fn renew(&mut self) {
        self.end();
        match begin(&self.id, &self.config, &self.route, &self.parts, self.hook.as_ref()) {
            Ok(own) => self.own = own,
            // Tried again when its promise of life has passed once more.
            Err(why) => {
                log::error!("telegram {}: cannot be begun anew: {why}", self.id);
                self.parts.standing.expect(patience(&self.config).as_millis() as u64);
            }
        }
    }

    /// Its thread is to end: what it waits for is cut short.
    pub fn end(&self) {
        let _ = self.own.stop.try_send(()); // it may have ended by itself
        self.own.bot.shutdown();
    }

    /// Nothing more comes in; returns when its thread has ended, which takes as long as the mind's word for a batch.
    pub fn close(self) {
        self.end();
        if self.own.thread.join().is_err() {
            log::error!("telegram {}: its thread panicked", self.id);
        }
        self.parts.standing.stopped();
    }
}

/// Notices that the machine slept: the wall clock has run ahead of the one that stands still meanwhile. Connections
/// that look open are dead then.
#[derive(Debug, Default)]
pub struct Sleep {
    ahead: Option<i64>,
}

/// So much, ms. Less is no sleep but a clock that was set.
const JUMP: i64 = 120_000;

impl Sleep {
    /// `wall`: unix ms; `awake`: ms of a clock that stands still in a sleep.
    pub fn noticed(&mut self, wall: i64, awake: i64) -> bool {
        let ahead = wall - awake;
        self.ahead.replace(ahead).is_some_and(|before| ahead - before > JUMP)
    }

    pub fn noticed_now(&mut self) -> bool {
        self.noticed(clock::now().wall, clock::awake())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_a_wall_clock_that_ran_ahead() {
        let mut sleep = Sleep::default();
        let start = 1_790_000_000_000;
        assert!(!sleep.noticed(start, 5_000), "nothing to compare with");
        assert!(!sleep.noticed(start + 60_000, 65_000));
        assert!(!sleep.noticed(start + 180_000, 65_001), "two minutes are no sleep");
        assert!(sleep.noticed(start + 600_000, 75_000));
        assert!(!sleep.noticed(start + 610_000, 85_000), "it is over");
        assert!(!sleep.noticed(start, 95_000), "a clock that was set back");
    }
}
