//! One bot: its reader's thread and its caller (telegram.md 3).

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{bounded, Sender};

use super::caller::TelegramCaller;
use super::client::Bot;
use super::media::{Media, Opener};
use super::reader::Reader;
use crate::ask::Mind;
use crate::config::types::{SsrfGuard, TelegramAccount};
use crate::live::Board;
use crate::net::{Net, Purpose, Route};

const PUBLIC: &str = "https://api.telegram.org";
const STACK: usize = 256 << 10;

/// What an account is opened with.
pub struct Parts {
    pub net: Net,
    pub mind: Mind,
    pub board: Arc<Board>,
    /// Thoughts of the agent are part of the live view.
    pub show_thinking: bool,
    /// Files of this machine that may be sent.
    pub files: Opener,
    /// For addresses that are fetched.
    pub guard: SsrfGuard,
}

/// A running account.
pub struct Account {
    poll: Bot,
    stop: Sender<()>,
    reader: JoinHandle<()>,
}

/// Opens the account: its reader begins, and what takes its calls is returned. `Err`: what is wrong with its settings.
pub fn open(id: &str, c: &TelegramAccount, route: Route, parts: Parts) -> Result<(Account, TelegramCaller), String> {
    let token = c.bot_token.as_ref().ok_or("it has no token")?.expose();
    let root = c.api_root.as_deref().unwrap_or(PUBLIC);
    let agent = |purpose| parts.net.agent(purpose).route(route.clone()).force_ipv4(c.force_ipv4).build();
    let poll = Bot::new(root, token, agent(Purpose::Poll));
    let send = Bot::new(root, token, agent(Purpose::Send));
    let (stop, stopped) = bounded(1);
    let reader = Reader::new(id, poll.clone(), c, parts.mind, stopped);
    let thread = std::thread::Builder::new().name(format!("tg-{id}")).stack_size(STACK);
    let reader = thread.spawn(move || reader.run()).map_err(|e| format!("no thread for it: {e}"))?;
    let files = Bot::new(root, token, agent(Purpose::Files));
    let fetch =
        parts.net.agent(Purpose::Files).route(route.clone()).force_ipv4(c.force_ipv4).guarded(parts.guard).build();
    let media = Media::new(files, parts.files, fetch);
    let caller = TelegramCaller::new(send, c, parts.board, media, parts.show_thinking);
    Ok((Account { poll, stop, reader }, caller))
}

impl Account {
    /// Nothing more comes in; returns when its reader has ended, which takes as long as the mind's word for a batch.
    pub fn close(self) {
        let _ = self.stop.try_send(()); // it may have ended by itself
        self.poll.shutdown();
        if self.reader.join().is_err() {
            log::error!("a reader of Telegram panicked");
        }
    }
}
