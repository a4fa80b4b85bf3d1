//! `channels.discord`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{json, Value};

use crate::config::forms::{self, ProxySetting};
use crate::config::issue::Severity;
use crate::config::node::{Kind, Node};
use crate::config::reader::{int_of, section, show, Reader};
use crate::config::reload::{Class, C, H};
use crate::config::secret::Secret;
use crate::config::words::words;

use super::{DmPolicy, GroupPolicy, MessageMode, ReactionNotifications, ReplyTo};

section! {
    /// The Discord channel.
    pub struct Discord {
        pub enabled: bool = required_enabled();
        /// Without a leading `Bot `.
        pub token: Option<Secret> = discord_token(C);
        pub dm_policy: DmPolicy = word(H, "dmPolicy", DmPolicy::Pairing);
        pub dm: DiscordDm = object("dm", DiscordDm::read);
        pub role: Option<String> = opt_text(H, "role");
        /// `None`: see [`Discord::guild_policy`].
        pub own_guild_policy: Option<GroupPolicy> = opt_word(H, "guildPolicy");
        pub guilds: BTreeMap<String, Guild> = map("guilds", Guild::read);
        pub streaming: DiscordStreaming = object("streaming", DiscordStreaming::read);
        /// `None`: `agent.messageMode`.
        pub message_mode: Option<MessageMode> = opt_word(H, "messageMode");
        /// REST base including `/api/v10`; `None`: the public one.
        pub api_root: Option<String> = opt_parsed(C, "apiRoot", forms::http_url);
        /// Overrides the WebSocket URL that the API names.
        pub gateway_url: Option<String> = opt_parsed(C, "gatewayUrl", forms::ws_url);
        /// `None`: `network.proxy`.
        pub proxy: Option<ProxySetting> = opt_parsed(C, "proxy", ProxySetting::parse);
        pub intents: Intents = object("intents", Intents::read);
        pub shards: Shards = shards(C, "shards");
        /// Shards run here; `None`: all.
        pub shard_ids: Option<Vec<u32>> = shard_ids(C, "shardIds");
        pub presence: Presence = object("presence", Presence::read);
        /// Which chunks quote the user's message.
        pub reply_mode: ReplyTo = word(H, "replyMode", ReplyTo::First);
        /// The quoted user is notified.
        pub reply_ping: bool = flag(H, "replyPing", false);
        pub suppress_embeds: bool = flag(H, "suppressEmbeds", true);
        pub commands: DiscordCommands = object("commands", DiscordCommands::read);
        pub ack_reaction: Option<String> = opt_parsed(H, "ackReaction", forms::non_empty);
        pub reaction_notifications: ReactionNotifications =
            word(H, "reactionNotifications", ReactionNotifications::Off);
        pub allow_bots: AllowBots = custom(H, "allowBots", (AllowBots::No, json!(false)), AllowBots::parse);
        /// Bytes, in and out.
        pub media_max: u64 = megabytes(H, "mediaMaxMb", 10, 1..=5_000);
        pub thread_archive_minutes: u32 = archive_minutes(H, "threadArchiveMinutes");
    }
}

impl Discord {
    /// Which guilds are served.
    pub fn guild_policy(&self) -> GroupPolicy {
        let default = if self.guilds.is_empty() { GroupPolicy::Open } else { GroupPolicy::Allowlist };
        self.own_guild_policy.unwrap_or(default)
    }
}

section! {
    /// Direct messages.
    pub struct DiscordDm {
        /// `false` = policy `disabled`.
        pub enabled: bool = flag(H, "enabled", true);
        /// User ids, or `*`.
        pub allow_from: Vec<String> = ids(H, "allowFrom", forms::snowflake_or_any);
    }
}

section! {
    /// A server.
    pub struct Guild {
        pub enabled: bool = flag(H, "enabled", true);
        pub require_mention: bool = flag(H, "requireMention", true);
        pub role: Option<String> = opt_text(H, "role");
        pub channels: BTreeMap<String, GuildChannel> = map("channels", GuildChannel::read);
        /// User ids or `role:<id>`; empty = all.
        pub allow_from: Vec<String> = ids(H, "allowFrom", forms::snowflake_or_role);
        pub auto_thread: bool = flag(H, "autoThread", false);
        /// `None`: as `require_mention`.
        pub thread_require_mention: Option<bool> = opt_flag(H, "threadRequireMention");
    }
}

section! {
    /// A channel of a server; what is `None` is the server's.
    pub struct GuildChannel {
        pub enabled: Option<bool> = opt_flag(H, "enabled");
        pub require_mention: Option<bool> = opt_flag(H, "requireMention");
        pub role: Option<String> = opt_text(H, "role");
        pub allow_from: Option<Vec<String>> = opt_ids(H, "allowFrom", forms::snowflake_or_role);
        pub auto_thread: Option<bool> = opt_flag(H, "autoThread");
        pub thread_require_mention: Option<bool> = opt_flag(H, "threadRequireMention");
    }
}

section! {
    /// The streamed message.
    pub struct DiscordStreaming {
        pub enabled: bool = flag(H, "enabled", true);
        /// Between two edits.
        pub edit_throttle: Duration = millis(H, "editThrottleMs", 1_200, 500..=60_000);
        /// A message is not edited beyond that many characters.
        pub edit_cutoff_chars: usize = int(H, "editCutoffChars", 1_800, 1..=2_000);
        pub placeholder: String = placeholder(H, "placeholder", "⏳ Processing...");
    }
}

section! {
    /// Privileged intents. `None` = auto.
    pub struct Intents {
        pub message_content: Option<bool> = auto(C, "messageContent");
    }
}

section! {
    /// What the bot shows of itself.
    pub struct Presence {
        pub status: PresenceStatus = word(H, "status", PresenceStatus::Online);
        pub activity: Option<String> = opt_text(H, "activity");
    }
}

section! {
    /// Slash commands.
    pub struct DiscordCommands {
        pub scope: CommandScope = word(C, "scope", CommandScope::Global);
        /// Answers of control commands are seen only by the caller.
        pub ephemeral: bool = flag(H, "ephemeral", true);
    }
}

/// How many connections the bot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    Auto,
    Count(u32),
}

/// Whether other bots are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowBots {
    No,
    /// If they mention this one.
    Mentions,
    Yes,
}

impl AllowBots {
    fn parse(node: &Node) -> Result<AllowBots, String> {
        match (crate::config::reader::flag_of(node), node.text()) {
            (Some(true), _) => Ok(AllowBots::Yes),
            (Some(false), _) => Ok(AllowBots::No),
            (None, Some("mentions")) => Ok(AllowBots::Mentions),
            _ => Err(format!("must be true, false or \"mentions\", found {}", show("", node))),
        }
    }
}

words! {
    /// The dot beside the bot's name.
    pub enum PresenceStatus { Online = "online", Idle = "idle", Dnd = "dnd", Invisible = "invisible" }
}

words! {
    /// Where slash commands are registered.
    pub enum CommandScope { Global = "global", Guild = "guild", Off = "off" }
}

impl Reader<'_> {
    fn required_enabled(&self) -> bool {
        forms::required_enabled(self)
    }

    fn discord_token(&self, class: Class) -> Option<Secret> {
        let written = self.secret(class, "token", "tokenFile")?;
        let from_file = self.node.is_some_and(|node| node.get("token").is_none());
        let name = if from_file { "tokenFile" } else { "token" };
        let bare = match written.expose().strip_prefix("Bot ") {
            Some(bare) => {
                self.report(Severity::Warning, name, "the leading \"Bot \" does not belong to the token: removed");
                bare.trim()
            }
            None => written.expose(),
        };
        match forms::discord_token(bare) {
            Ok(()) => {
                let token = Secret::new(bare);
                self.pass.secrets.borrow_mut().push(token.clone());
                Some(token)
            }
            Err(_) if self.off => None,
            Err(why) => {
                self.report(Severity::Error, name, why);
                None
            }
        }
    }

    fn shards(&self, class: Class, name: &'static str) -> Shards {
        self.custom(class, name, (Shards::Count(1), json!(1)), |node| match (int_of(node), node.text()) {
            (Some(count @ 1..=16_384), _) => Ok(Shards::Count(count as u32)),
            (None, Some("auto")) => Ok(Shards::Auto),
            _ => Err(format!("must be a whole number from 1 or \"auto\", found {}", show(name, node))),
        })
    }

    fn shard_ids(&self, class: Class, name: &'static str) -> Option<Vec<u32>> {
        let ids = self.opt_list(class, name, "shard numbers", |item| match int_of(item) {
            Some(id @ 0..=16_383) => Ok((id as u32, Value::from(id))),
            _ => Err(format!("must be a whole number from 0, found {}", show(name, item))),
        });
        if ids.is_none() {
            self.put(name, Value::Null);
        }
        ids
    }

    fn archive_minutes(&self, class: Class, name: &'static str) -> u32 {
        self.custom(class, name, (1440, json!(1440)), |node| match (&node.kind, int_of(node)) {
            (Kind::Number(_) | Kind::Text(_), Some(minutes @ (60 | 1440 | 4320 | 10080))) => Ok(minutes as u32),
            _ => Err(format!("must be 60, 1440, 4320 or 10080, found {}", show(name, node))),
        })
    }
}
