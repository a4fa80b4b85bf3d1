//! The channels: their configuration as the mind needs it, and which of their accounts run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{bounded, RecvTimeoutError, Sender};

use crate::access::{Access, DmPolicy, GroupAccess, GroupPolicy, TopicAccess};
use crate::ask::Mind;
use crate::channels::audio::Transcriber;
use crate::channels::telegram;
use crate::clock;
use crate::config::types::{self, EditedMessages, StreamMode, TelegramAccount, TelegramGroup, TelegramTopic};
use crate::config::Config;
use crate::live::Board;
use crate::message::{Additions, Content, Mono, Target};
use crate::net::{Net, Purpose, Route};
use crate::roster::{Roster, Stage};
use crate::rules::{AccountRules, ChannelRules, GroupAdditions, Inflow, Keys, Pace, Rate, ReplyTo, ViewRules};

use super::callers::Callers;
use super::inbound::Files;
use super::menus::Menus;
use super::settings;

/// Chats of groups have ids below zero.
const GROUP: &str = "-";
/// Groups are shown changes this seldom at most, ms.
const GROUP_VIEW: u64 = 3_000;
const TYPING: u64 = 4_500;
/// telegram.md 14.3, ms.
const NOTIFY_AFTER: u64 = 30_000;

/// How the configured channels treat what we send.
pub fn rules(c: &Config) -> BTreeMap<String, ChannelRules> {
    let telegram = ChannelRules { mailbox: false, repeat_safe: false };
    let on = c.channels.telegram.active().next().is_some();
    on.then(|| (telegram::NAME.to_owned(), telegram)).into_iter().collect()
}

/// Their accounts.
pub fn accounts(c: &Config) -> BTreeMap<(String, String), AccountRules> {
    let all = c.channels.telegram.active();
    let concise = settings::concise(c).iter().any(|channel| channel == telegram::NAME);
    let rules = |account| {
        let rules = telegram_rules(account);
        AccountRules { view: rules.view.clone().filter(|_| !concise), ..rules }
    };
    all.map(|(id, account)| ((telegram::NAME.to_owned(), id.to_owned()), rules(account))).collect()
}

fn rate(every: u64, burst: u64, kept: u64) -> Rate {
    Rate { every, burst, kept }
}

/// A place of a channel, as people write it.
pub fn address(channel: &str, to: &str, accounts: &[&str]) -> Result<Target, String> {
    match channel {
        telegram::NAME => telegram::target(to, accounts),
        _ => Err(format!("there is no channel \"{channel}\"")),
    }
}

fn telegram_rules(a: &TelegramAccount) -> AccountRules {
    let every = a.draft_chunk.edit_throttle.as_millis() as u64;
    AccountRules {
        access: Access {
            dm: dm_policy(a.dm_policy),
            allow: a.allow_from.clone(),
            group: group_policy(a.group_policy),
            group_allow: a.group_allow_from.clone(),
            groups: a.groups.iter().map(|(id, g)| (id.clone(), group(g))).collect(),
        },
        reply_to: match a.reply_to_mode {
            types::ReplyTo::Off => ReplyTo::Off,
            types::ReplyTo::First => ReplyTo::First,
            types::ReplyTo::All => ReplyTo::All,
        },
        // telegram.md 18
        pace: Pace {
            chats: vec![
                // 20 in any minute; those that are kept go to answers.
                (GROUP.to_owned(), vec![rate(1_000, 3, 0), rate(4_000, 5, 4)]),
                (String::new(), vec![rate(1_000, 3, 0)]),
            ],
            account: vec![rate(40, 5, 2)], // 30 in any second
        },
        view: (a.stream_mode != StreamMode::Off).then(|| ViewRules {
            every: vec![(GROUP.to_owned(), every.max(GROUP_VIEW)), (String::new(), every)],
            blocks: a.stream_mode == StreamMode::Block,
        }),
        typing: TYPING,
        ack: a.ack_reaction.clone(),
        mode: a.message_mode.map(super::settings::mode),
        keys: Keys { per_row: 8, most: 100 }, // telegram.md 11
        // telegram.md 8.7, 8.9, 8.10
        inflow: Inflow {
            album: 1_000,
            album_most: 5_000,
            long_text: 3_900,
            long_wait: 1_500,
            forwards: 500,
            typing: a.debounce.as_millis() as u64,
            resend_edits: a.edited_messages == EditedMessages::Resend,
        },
        show_tools: a.show_tools,
        notify_after: if a.notify_on_final { NOTIFY_AFTER } else { 0 },
        additions: a.groups.iter().map(|(id, g)| (id.clone(), additions(g))).collect(),
    }
}

/// A topic's own words and skills, each else the group's.
fn additions(g: &TelegramGroup) -> GroupAdditions {
    let of_topic = |t: &TelegramTopic| Additions {
        system_prompt: t.system_prompt.clone().or_else(|| g.system_prompt.clone()),
        skills: if t.skills.is_empty() { g.skills.clone() } else { t.skills.clone() },
    };
    GroupAdditions {
        all: Additions { system_prompt: g.system_prompt.clone(), skills: g.skills.clone() },
        topics: g.topics.iter().map(|(id, t)| (id.clone(), of_topic(t))).collect(),
    }
}

fn dm_policy(p: types::DmPolicy) -> DmPolicy {
    match p {
        types::DmPolicy::Pairing => DmPolicy::Pairing,
        types::DmPolicy::Allowlist => DmPolicy::Allowlist,
        types::DmPolicy::Open => DmPolicy::Open,
        types::DmPolicy::Disabled => DmPolicy::Disabled,
    }
}

fn group_policy(p: types::GroupPolicy) -> GroupPolicy {
    match p {
        types::GroupPolicy::Open => GroupPolicy::Open,
        types::GroupPolicy::Disabled => GroupPolicy::Disabled,
        types::GroupPolicy::Allowlist => GroupPolicy::Allowlist,
    }
}

fn group(g: &TelegramGroup) -> GroupAccess {
    GroupAccess {
        enabled: g.enabled,
        require_mention: g.require_mention,
        policy: g.group_policy.map(group_policy),
        allow: g.allow_from.clone(),
        topics: g.topics.iter().map(|(id, t)| (id.clone(), topic(t))).collect(),
        history: g.history_limit,
    }
}

fn topic(t: &TelegramTopic) -> TopicAccess {
    TopicAccess {
        enabled: t.enabled,
        require_mention: t.require_mention,
        policy: t.group_policy.map(group_policy),
        allow: t.allow_from.clone(),
    }
}

/// A text in the form of that platform, cut into messages; `cwd`: where the files lie that it names.
pub fn render(c: &Config, target: &Target, content: Content, cwd: Option<&Path>) -> Vec<Content> {
    let find = |at: &str| cwd.and_then(|cwd| super::files::named(c, at, cwd));
    match c.channels.telegram.accounts.get(&target.account).filter(|_| target.channel == telegram::NAME) {
        Some(account) => telegram::render(&content, account, c.delivery.max_chunks as usize, find),
        None => vec![content],
    }
}

/// The accounts that run.
pub struct Accounts {
    mind: Mind,
    board: Arc<Board>,
    files: Arc<Files>,
    roster: Arc<Roster>,
    pub menus: Arc<Menus>,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    /// Ends the watch when it goes.
    watch: Mutex<Option<Sender<()>>>,
}

struct Running {
    account: telegram::Account,
    config: TelegramAccount,
    beside: Beside,
}

/// What an account is opened with beside its own settings.
#[derive(Clone, PartialEq)]
struct Beside {
    network: types::Network,
    guard: types::SsrfGuard,
    workspace_only: bool,
    show_thinking: bool,
}

impl Beside {
    fn of(c: &Config) -> Beside {
        Beside {
            network: c.network.clone(),
            guard: c.security.ssrf.clone(),
            workspace_only: c.media.workspace_only,
            show_thinking: c.agent.show_thinking,
        }
    }
}

/// How often the readers are looked at. Together with everything else that is less than 20 wake-ups a minute.
const WATCH: Duration = Duration::from_secs(10);

impl Accounts {
    pub fn new(mind: Mind, board: Arc<Board>, files: Arc<Files>, roster: Arc<Roster>) -> Accounts {
        let menus = Arc::default();
        Accounts { mind, board, files, roster, menus, running: Arc::default(), watch: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Opens, closes and reopens accounts so that they are what the configuration says. One that cannot be opened
    /// stops no other. One that waits for its credentials to be accepted tries them at once.
    pub fn apply(&self, c: &Config, callers: &Callers) {
        self.menus.configure(c);
        let mut running = self.lock();
        let wanted: BTreeMap<&str, &TelegramAccount> = c.channels.telegram.active().collect();
        let beside = Beside::of(c);
        let changed: Vec<String> = running
            .iter()
            .filter(|(id, r)| wanted.get(id.as_str()) != Some(&&r.config) || r.beside != beside)
            .map(|(id, _)| id.clone())
            .collect();
        for id in changed {
            if let Some(old) = running.remove(&id) {
                self.roster.set_inlet(telegram::NAME, &id, None);
                old.account.close();
                callers.remove(telegram::NAME, &id);
                self.files.set(telegram::NAME, &id, None);
                self.menus.remove(&id);
                self.roster.remove(telegram::NAME, &id);
            }
        }
        for (_, held) in running.iter_mut().filter(|(_, r)| r.account.is_held()) {
            held.account.renew();
        }
        let mut net = None;
        let mut bots: Vec<String> = running.values().filter_map(|r| r.config.bot_id().map(str::to_owned)).collect();
        for (id, account) in wanted {
            if running.contains_key(id) {
                continue;
            }
            let standing = self.roster.standing(telegram::NAME, id);
            let bot = account.bot_id().unwrap_or_default().to_owned();
            if bots.contains(&bot) {
                let why = "another account has the same bot; this one is not started";
                standing.failed(Stage::Stopped, why);
                log::error!("telegram {id}: {why}");
                continue;
            }
            let menus = self.menus.clone();
            let opened = net.get_or_insert_with(|| Net::open(&c.network)).clone().and_then(|net| {
                // Not the platform's: the account's own proxy is not for it.
                let agent = net.agent(Purpose::Files).route(Route::new(&c.network, None)?).build();
                let parts = telegram::Parts {
                    net,
                    transcriber: Transcriber::new(&account.audio, agent),
                    mind: self.mind.clone(),
                    board: self.board.clone(),
                    show_thinking: c.agent.show_thinking,
                    files: super::files::opener(c),
                    guard: c.security.ssrf.clone(),
                    standing: standing.clone(),
                    ready: Arc::new(move |id| menus.wanted(id)),
                };
                telegram::open(id, account, Route::new(&c.network, account.proxy.as_ref())?, parts)
            });
            match opened {
                Ok((opened, caller, fetcher)) => {
                    self.files.set(telegram::NAME, id, Some(Arc::new(fetcher)));
                    callers.set(telegram::NAME, id, Arc::new(caller));
                    self.roster.set_inlet(telegram::NAME, id, opened.inlet());
                    self.menus.set(id, account, opened.bot());
                    running.insert(
                        id.to_owned(),
                        Running { account: opened, config: account.clone(), beside: beside.clone() },
                    );
                    bots.push(bot);
                }
                Err(why) => {
                    standing.failed(Stage::Stopped, &why);
                    log::error!("telegram {id} cannot be started: {why}");
                }
            }
        }
        if !running.is_empty() {
            self.watch();
        }
    }

    /// Begins to look after the readers, once.
    fn watch(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(|e| e.into_inner());
        if watch.is_some() {
            return;
        }
        let (stop, stopped) = bounded::<()>(0);
        let running = self.running.clone();
        let run = move || {
            let mut sleep = telegram::Sleep::default();
            while stopped.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
                let slept = sleep.noticed_now();
                look_after(&running, slept, clock::mono());
            }
        };
        match std::thread::Builder::new().name("channels".into()).stack_size(256 << 10).spawn(run) {
            Ok(_) => *watch = Some(stop), // it ends by itself when the sender goes
            Err(e) => log::error!("no thread to look after the channels: {e}"),
        }
    }

    /// Begins an account anew, or all of the channel; false: there is none of that name.
    pub fn restart(&self, channel: &str, account: Option<&str>) -> bool {
        let mut running = self.lock();
        let mut found = false;
        let wanted = |id: &str| channel == telegram::NAME && account.is_none_or(|a| a == id);
        for (_, r) in running.iter_mut().filter(|(id, _)| wanted(id)) {
            r.account.renew();
            found = true;
        }
        found
    }

    /// Nothing more comes in (shutdown). What is owed still goes out.
    pub fn close(&self) {
        self.watch.lock().unwrap_or_else(|e| e.into_inner()).take();
        let running = std::mem::take(&mut *self.lock());
        for (id, r) in &running {
            self.roster.set_inlet(telegram::NAME, id, None);
            r.account.end();
        }
        for (_, r) in running {
            r.account.close();
        }
    }
}

/// Begins anew who gave no sign of life in time, and after a sleep of the machine everybody (telegram.md 4.1).
fn look_after(running: &Mutex<BTreeMap<String, Running>>, slept: bool, now: Mono) {
    for (id, r) in running.lock().unwrap_or_else(|e| e.into_inner()).iter_mut() {
        if slept || r.account.is_stuck(now) {
            let why = if slept { "the machine slept" } else { "its reader gave no sign of life in time" };
            log::warn!("telegram {id} is begun anew: {why}");
            r.account.renew();
        }
    }
}
