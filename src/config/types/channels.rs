//! `channels`: what they share, WebChat, and the channels of plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::config::forms;
use crate::config::issue::Severity;
use crate::config::node::{join, Kind, Node};
use crate::config::reader::{section, Reader};
use crate::config::reload::{C, H, R};
use crate::config::secret::Secret;
use crate::config::suggest::closest;
use crate::config::words::words;

use super::{Audio, Discord, Feishu, MessageMode, Telegram};

/// The channels that are built in.
pub const BUILT_IN_CHANNELS: [&str; 4] = ["telegram", "discord", "feishu", "webchat"];

/// Account id of a channel that has one account only.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The ways people reach the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    pub telegram: Telegram,
    pub discord: Discord,
    pub feishu: Feishu,
    pub webchat: Webchat,
    /// Channels of plugins, by id.
    pub plugins: BTreeMap<String, PluginChannel>,
}

impl Channels {
    pub(crate) fn read(r: &Reader<'_>) -> Channels {
        r.open.set(true);
        let channels = Channels {
            telegram: r.object("telegram", Telegram::read),
            discord: r.object("discord", Discord::read),
            feishu: r.object("feishu", Feishu::read),
            webchat: r.object("webchat", Webchat::read),
            plugins: BTreeMap::new(),
        };
        let entries = r.node.map(Node::entries).unwrap_or_default();
        let others = entries.iter().filter(|entry| !BUILT_IN_CHANNELS.contains(&entry.name.as_str()));
        let plugins = others.filter(|entry| !entry.value.is_null()).filter_map(|entry| {
            let path = r.key(&entry.name);
            r.pass.know(&r.path, &entry.name, Some(C));
            if !matches!(entry.value.kind, Kind::Object(_)) {
                r.pass.report(Severity::Error, &path, Some(&entry.value), "must be an object");
                return None;
            }
            let reader = Reader::new(r.pass, Some(&entry.value), path, false);
            let channel = PluginChannel::of(&reader, entry.value.to_json());
            r.put(&entry.name, entry.value.to_json());
            Some((entry.name.clone(), channel))
        });
        Channels { plugins: plugins.collect(), ..channels }
    }

    /// Voice transcription, for every channel that has none of its own.
    pub fn audio(&self) -> &Audio {
        &self.telegram.audio
    }

    /// Warns about channels that neither this program nor a plugin knows.
    pub(crate) fn check_names(&self, r: &Reader<'_>, known: &[String]) {
        for entry in r.node.map(Node::entries).unwrap_or_default() {
            if self.plugins.contains_key(&entry.name) && !known.contains(&entry.name) {
                let meant = closest(&entry.name, BUILT_IN_CHANNELS);
                let meant = meant.map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default();
                let text = format!("no channel has this name, unless a plugin provides it{meant}");
                let span = Some(entry.key.clone());
                r.pass.push(r.pass.source.issue(Severity::Warning, &join(&r.path, &entry.name), text, span));
            }
        }
    }
}

section! {
    /// The page's chat.
    pub struct Webchat {
        pub enabled: bool = flag(R, "enabled", true);
        /// Signs media links; `None` = the stored, generated one.
        pub media_secret: Option<Secret> = bare_secret(H, "mediaSecret");
        pub media_token_ttl: Duration = millis(H, "mediaTokenTtlMs", 3_600_000, 60_000..=86_400_000);
        /// Bytes.
        pub media_max: u64 = megabytes(H, "mediaMaxMb", 10, 1..=1000);
    }
}

/// A plugin's channel: what the gateway itself needs to know, and everything for the plugin.
#[derive(Clone, PartialEq)]
pub struct PluginChannel {
    pub enabled: bool,
    pub role: Option<String>,
    pub message_mode: Option<MessageMode>,
    pub dm_policy: DmPolicy,
    pub allow_from: Vec<String>,
    pub group_policy: GroupPolicy,
    pub group_allow_from: Vec<String>,
    pub require_mention: bool,
    /// The whole object as written. May hold secrets.
    pub settings: Value,
}

impl std::fmt::Debug for PluginChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PluginChannel({})", crate::config::redact::value(&self.settings))
    }
}

impl PluginChannel {
    fn of(r: &Reader<'_>, settings: Value) -> PluginChannel {
        crate::config::redact::each_secret(&settings, &mut |value| {
            r.pass.secrets.borrow_mut().push(Secret::new(value));
        });
        PluginChannel {
            enabled: r.flag(C, "enabled", false),
            role: r.opt_text(C, "role"),
            message_mode: r.opt_word(C, "messageMode"),
            dm_policy: r.word(C, "dmPolicy", DmPolicy::Pairing),
            allow_from: r.ids(C, "allowFrom", forms::any_id),
            group_policy: r.word(C, "groupPolicy", GroupPolicy::Disabled),
            group_allow_from: r.ids(C, "groupAllowFrom", forms::any_id),
            require_mention: r.flag(C, "requireMention", true),
            settings,
        }
    }
}

words! {
    /// Who may write in private.
    pub enum DmPolicy { Pairing = "pairing", Allowlist = "allowlist", Open = "open", Disabled = "disabled" }
}

words! {
    /// Who may write in groups.
    pub enum GroupPolicy { Open = "open", Disabled = "disabled", Allowlist = "allowlist" }
}

words! {
    /// Which chunks of a reply quote the message.
    pub enum ReplyTo { Off = "off", First = "first", All = "all" }
}

words! {
    /// Which reactions of people are reported.
    pub enum ReactionNotifications { Off = "off", Own = "own", All = "all" }
}

/// `base` with the keys of `own` in place of its own ones; `drop` is not inherited. An explicit `null` in `own`
/// switches an inherited value off.
pub(crate) fn overlay(base: &Node, own: &Node, drop: &[&str]) -> Node {
    let inherited = base.entries().iter().filter(|entry| !drop.contains(&entry.name.as_str()));
    let mut entries: Vec<_> = inherited.filter(|entry| own.entry(&entry.name).is_none()).cloned().collect();
    entries.extend(own.entries().iter().cloned());
    Node::made(Kind::Object(entries), own.span.clone())
}

/// Reads the accounts of a channel: each inherits the channel's keys but `not_inherited` ones. Without any, or if
/// `own_account`, the channel's own values are the account `default`.
pub(crate) fn accounts<T: Clone>(
    r: &Reader<'_>,
    top: &T,
    own_account: bool,
    identity: &[&str],
    read: impl Fn(&Reader<'_>, &str) -> T,
) -> BTreeMap<String, T> {
    let nothing = Node::empty_object();
    let base = r.node.unwrap_or(&nothing);
    let mut all = BTreeMap::new();
    let mut shown = serde_json::Map::new();
    for (id, own) in r.free("accounts") {
        let path = join(&r.key("accounts"), &id);
        if !matches!(own.kind, Kind::Object(_)) {
            r.pass.report(Severity::Error, &path, Some(own), "must be an object");
            continue;
        }
        // An identity belongs to one account: inherited, two accounts would be one bot. Only `default` is the
        // channel's own account, and there an own token file beats the channel's token.
        let mut drop = vec!["accounts", "enabled"];
        if id != DEFAULT_ACCOUNT || identity.iter().any(|key| own.get(key).is_some()) {
            drop.extend(identity);
        }
        let merged = overlay(base, own, &drop);
        let reader = Reader::new(r.pass, Some(&merged), path, r.off);
        all.insert(id.clone(), read(&reader, &id));
        shown.insert(id, reader.finish());
    }
    r.put("accounts", shown);
    if all.is_empty() || (own_account && !all.contains_key(DEFAULT_ACCOUNT)) {
        all.insert(DEFAULT_ACCOUNT.to_owned(), top.clone());
    }
    all
}
