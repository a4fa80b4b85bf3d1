//! `channels.feishu` and its accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::forms::{self, ProxySetting};
use crate::config::reader::{section, Reader};
use crate::config::reload::{Class, C, H};
use crate::config::secret::Secret;
use crate::config::words::words;

use super::channels::accounts;
use super::{DmPolicy, GroupPolicy, MessageMode, DEFAULT_ACCOUNT};

/// The Feishu (Lark) channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Feishu {
    pub enabled: bool,
    /// With everything they inherit; `default` is the only one if none are written.
    pub accounts: BTreeMap<String, FeishuAccount>,
}

/// Keys that say which app an account is.
const IDENTITY: [&str; 7] = [
    "appId",
    "appSecret",
    "appSecretFile",
    "verificationToken",
    "verificationTokenFile",
    "encryptKey",
    "encryptKeyFile",
];

impl Feishu {
    pub(crate) fn read(r: &Reader<'_>) -> Feishu {
        let enabled = forms::required_enabled(r);
        let top = FeishuAccount::of(r, DEFAULT_ACCOUNT);
        let accounts = accounts(r, &top, top.app_id.is_some(), &IDENTITY, FeishuAccount::of);
        r.put("enabled", enabled);
        Feishu { enabled, accounts }
    }

    /// The accounts that shall run.
    pub fn active(&self) -> impl Iterator<Item = (&str, &FeishuAccount)> {
        let accounts = self.accounts.iter().filter(|(_, account)| self.enabled && account.enabled);
        accounts.map(|(id, account)| (id.as_str(), account))
    }
}

section! {
    /// One app.
    pub struct FeishuAccount {
        pub enabled: bool = flag(C, "enabled", true);
        pub app_id: Option<String> = app_id(C, "appId");
        pub app_secret: Option<Secret> = secret(C, "appSecret", "appSecretFile");
        pub domain: Domain = parsed(C, "domain", "feishu", Domain::parse);
        pub connection_mode: ConnectionMode = word(C, "connectionMode", ConnectionMode::Websocket);
        pub verification_token: Option<Secret> = secret(C, "verificationToken", "verificationTokenFile");
        pub encrypt_key: Option<Secret> = secret(C, "encryptKey", "encryptKeyFile");
        pub dm_policy: DmPolicy = word(H, "dmPolicy", DmPolicy::Pairing);
        /// open_ids, or `*`.
        pub allow_from: Vec<String> = ids(H, "allowFrom", forms::any_id);
        pub group_policy: GroupPolicy = word(H, "groupPolicy", GroupPolicy::Disabled);
        /// Chat ids here.
        pub group_allow_from: Vec<String> = ids(H, "groupAllowFrom", forms::any_id);
        pub require_mention: bool = flag(H, "requireMention", true);
        /// By chat id, or `*`; an exact id replaces `*`.
        pub groups: BTreeMap<String, FeishuGroup> = map("groups", FeishuGroup::read);
        /// Unicode scalar values.
        pub text_chunk_limit: usize = int(H, "textChunkLimit", 4_000, 200..=20_000);
        pub stream_mode: FeishuStreamMode = feishu_stream_mode(H);
        pub stream_throttle: Duration = millis(H, "streamThrottleMs", 800, 0..=60_000);
        pub stream_start_chars: usize = int(H, "streamStartChars", 50, 0..=i64::MAX);
        pub stream_in_groups: bool = flag(H, "streamInGroups", true);
        pub role: Option<String> = opt_text(H, "role");
        /// `None`: `agent.messageMode`.
        pub message_mode: Option<MessageMode> = opt_word(H, "messageMode");
        pub reply_mode: FeishuReplyMode = word(H, "replyMode", FeishuReplyMode::Auto);
        pub render: FeishuRender = word(H, "render", FeishuRender::Auto);
        /// Further tables become code blocks.
        pub card_table_limit: usize = int(H, "cardTableLimit", 3, 0..=5);
        pub emoji_shortcodes: bool = flag(H, "emojiShortcodes", true);
        /// Reaction while the message is worked on; `None` = off.
        pub typing_reaction: Option<String> = reaction(H, "typingReaction", "Typing");
        /// `None` = off.
        pub ack_reaction: Option<String> = reaction(H, "ackReaction", "off");
        pub reaction_notifications: FeishuReactions = word(H, "reactionNotifications", FeishuReactions::Off);
        pub respond_to_mention_all: bool = flag(H, "respondToMentionAll", false);
        pub thread_follow_up: bool = flag(H, "threadFollowUp", false);
        /// open_ids of bots that are heard.
        pub allow_bots: Vec<String> = ids(H, "allowBots", forms::any_id);
        pub recall: Recall = word(H, "recall", Recall::Finish);
        /// Look up the names of senders.
        pub names: bool = flag(H, "names", true);
        /// Fetch the quoted message.
        pub quote_context: bool = flag(H, "quoteContext", true);
        pub debounce: Duration = millis(H, "debounceMs", 0, 0..=5_000);
        /// Bytes of a received file.
        pub media_max: u64 = megabytes(H, "mediaMaxMb", 10, 1..=1_000);
        /// Reconnect after that long without an event; zero = off.
        pub max_idle_reconnect: Duration = millis(C, "maxIdleReconnectMs", 1_800_000, 0..=86_400_000);
        /// Path on the gateway's port.
        pub webhook_path: String = text(C, "webhookPath", "");
        /// `None`: `network.proxy`.
        pub proxy: Option<ProxySetting> = opt_parsed(C, "proxy", ProxySetting::parse);
    }
}

impl FeishuAccount {
    fn of(r: &Reader<'_>, id: &str) -> FeishuAccount {
        let mut account = FeishuAccount::read(r);
        account.webhook_path = forms::webhook_path(r, "feishu", id, &account.webhook_path);
        account
    }
}

section! {
    /// A group chat.
    pub struct FeishuGroup {
        pub enabled: bool = flag(H, "enabled", true);
        /// `None`: the account's.
        pub require_mention: Option<bool> = opt_flag(H, "requireMention");
        /// Sender ids here; empty = all.
        pub allow_from: Vec<String> = ids(H, "allowFrom", forms::any_id);
        pub role: Option<String> = opt_text(H, "role");
        /// Threads are sessions of their own.
        pub thread_sessions: bool = flag(H, "threadSessions", true);
        /// Unmentioned texts kept as context for the next mentioned one.
        pub history_limit: usize = int(H, "historyLimit", 0, 0..=100);
    }
}

/// Whose servers the app lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    Feishu,
    Lark,
    /// Base URL without a slash at the end.
    Url(String),
}

impl Domain {
    fn parse(text: &str) -> Result<Domain, String> {
        match text {
            "feishu" => Ok(Domain::Feishu),
            "lark" => Ok(Domain::Lark),
            _ => forms::https_or_loopback_url(text)
                .map(Domain::Url)
                .map_err(|why| format!("must be feishu, lark or a URL: {why}")),
        }
    }

    /// The base URL of the API.
    pub fn base_url(&self) -> &str {
        match self {
            Domain::Feishu => "https://open.feishu.cn",
            Domain::Lark => "https://open.larksuite.com",
            Domain::Url(url) => url,
        }
    }
}

words! {
    /// How events arrive.
    pub enum ConnectionMode { Websocket = "websocket", Webhook = "webhook" }
}

words! {
    /// How a reply is shown while it is written.
    pub enum FeishuStreamMode { Cardkit = "cardkit", Patch = "patch", Off = "off" }
}

words! {
    /// Whether replies quote.
    pub enum FeishuReplyMode { Auto = "auto", Reply = "reply", Create = "create" }
}

words! {
    /// The form of a reply.
    pub enum FeishuRender { Auto = "auto", Card = "card", Post = "post", Text = "text" }
}

words! {
    /// Which reactions of people are reported.
    pub enum FeishuReactions { Off = "off", Own = "own" }
}

words! {
    /// What happens when the user recalls a message whose turn runs.
    pub enum Recall { Finish = "finish", Abort = "abort" }
}

impl Reader<'_> {
    /// An app id is no secret but, like one, not needed while switched off.
    fn app_id(&self, class: Class, name: &'static str) -> Option<String> {
        let off = self.off;
        let id = self.opt_parsed(class, name, |text| match text.trim() {
            "" if !off => Err("must not be empty".into()),
            text => Ok(text.to_owned()),
        });
        let id = id.filter(|id| !id.is_empty());
        self.put(name, id.clone());
        id
    }

    /// `streamingEnabled: false` is the original's way to say `off`.
    fn feishu_stream_mode(&self, class: Class) -> FeishuStreamMode {
        let enabled = self.flag(class, "streamingEnabled", true);
        let mode = self.word(class, "streamMode", FeishuStreamMode::Cardkit);
        if enabled {
            return mode;
        }
        self.put("streamMode", "off");
        FeishuStreamMode::Off
    }

    fn reaction(&self, class: Class, name: &'static str, default: &str) -> Option<String> {
        let name = self.parsed(class, name, default, forms::non_empty);
        Some(name).filter(|name| name != "off")
    }
}
