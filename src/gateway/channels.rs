//! The channels: their configuration as the mind needs it, and which of their accounts run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::access::{Access, DmPolicy, GroupAccess, GroupPolicy, TopicAccess};
use crate::ask::Mind;
use crate::channels::telegram;
use crate::config::types::{self, StreamMode, TelegramAccount, TelegramGroup, TelegramTopic};
use crate::config::Config;
use crate::live::Board;
use crate::message::{Content, Target};
use crate::net::{Net, Route};
use crate::rules::{AccountRules, ChannelRules, Pace, Rate, ReplyTo, ViewRules};

use super::callers::Callers;

/// Chats of groups have ids below zero.
const GROUP: &str = "-";
/// Groups are shown changes this seldom at most, ms.
const GROUP_VIEW: u64 = 3_000;
const TYPING: u64 = 4_500;

/// How the configured channels treat what we send.
pub fn rules(c: &Config) -> BTreeMap<String, ChannelRules> {
    let telegram = ChannelRules { mailbox: false, repeat_safe: false };
    let on = c.channels.telegram.active().next().is_some();
    on.then(|| (telegram::NAME.to_owned(), telegram)).into_iter().collect()
}

/// Their accounts.
pub fn accounts(c: &Config) -> BTreeMap<(String, String), AccountRules> {
    let all = c.channels.telegram.active();
    all.map(|(id, account)| ((telegram::NAME.to_owned(), id.to_owned()), telegram_rules(account))).collect()
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
                (GROUP.to_owned(), vec![Rate { every: 1_000, burst: 3 }, Rate { every: 3_000, burst: 15 }]),
                (String::new(), vec![Rate { every: 1_000, burst: 3 }]),
            ],
            account: vec![Rate { every: 40, burst: 25 }],
        },
        view: (a.stream_mode != StreamMode::Off).then(|| ViewRules {
            every: vec![(GROUP.to_owned(), every.max(GROUP_VIEW)), (String::new(), every)],
            blocks: a.stream_mode == StreamMode::Block,
        }),
        typing: TYPING,
        ack: a.ack_reaction.clone(),
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
        Some(account) => telegram::render(&content, account, find),
        None => vec![content],
    }
}

/// The accounts that run.
pub struct Accounts {
    mind: Mind,
    board: Arc<Board>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    account: telegram::Account,
    config: TelegramAccount,
}

impl Accounts {
    pub fn new(mind: Mind, board: Arc<Board>) -> Accounts {
        Accounts { mind, board, running: Mutex::default() }
    }

    /// Opens, closes and reopens accounts so that they are what the configuration says. One that cannot be opened
    /// stops no other.
    pub fn apply(&self, c: &Config, callers: &Callers) {
        let mut running = self.running.lock().unwrap_or_else(|e| e.into_inner());
        let wanted: BTreeMap<&str, &TelegramAccount> = c.channels.telegram.active().collect();
        let changed: Vec<String> = running
            .iter()
            .filter(|(id, r)| wanted.get(id.as_str()) != Some(&&r.config))
            .map(|(id, _)| id.clone())
            .collect();
        for id in changed {
            if let Some(old) = running.remove(&id) {
                old.account.close();
                callers.remove(telegram::NAME, &id);
            }
        }
        let mut net = None;
        let mut bots: Vec<String> = running.values().filter_map(|r| r.config.bot_id().map(str::to_owned)).collect();
        for (id, account) in wanted {
            if running.contains_key(id) {
                continue;
            }
            let bot = account.bot_id().unwrap_or_default().to_owned();
            if bots.contains(&bot) {
                log::error!("telegram {id}: another account has the same bot; this one is not started");
                continue;
            }
            let opened = net.get_or_insert_with(|| Net::open(&c.network)).clone().and_then(|net| {
                let parts = telegram::Parts {
                    net,
                    mind: self.mind.clone(),
                    board: self.board.clone(),
                    show_thinking: c.agent.show_thinking,
                    files: super::files::opener(c),
                    guard: c.security.ssrf.clone(),
                };
                telegram::open(id, account, Route::new(&c.network, account.proxy.as_ref())?, parts)
            });
            match opened {
                Ok((opened, caller)) => {
                    callers.set(telegram::NAME, id, Arc::new(caller));
                    running.insert(id.to_owned(), Running { account: opened, config: account.clone() });
                    bots.push(bot);
                }
                Err(why) => log::error!("telegram {id} cannot be started: {why}"),
            }
        }
    }

    /// Nothing more comes in (shutdown). What is owed still goes out.
    pub fn close(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(|e| e.into_inner()));
        for (_, r) in running {
            r.account.close();
        }
    }
}
