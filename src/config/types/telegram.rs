//! `channels.telegram` and its accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::forms::{self, ProxySetting};
use crate::config::issue::Severity;
use crate::config::reader::{section, Reader};
use crate::config::reload::{Class, C, H};
use crate::config::secret::Secret;
use crate::config::words::words;

use super::channels::accounts;
use super::{DmPolicy, GroupPolicy, MessageMode, ReactionNotifications, ReplyTo, DEFAULT_ACCOUNT};

/// The Telegram channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Telegram {
    pub enabled: bool,
    /// With everything they inherit; `default` is the only one if none are written.
    pub accounts: BTreeMap<String, TelegramAccount>,
    /// The channel's own transcription, which also serves other channels.
    pub audio: Audio,
}

/// Keys that say which bot an account is.
const IDENTITY: [&str; 2] = ["botToken", "tokenFile"];

impl Telegram {
    pub(crate) fn read(r: &Reader<'_>) -> Telegram {
        let enabled = forms::required_enabled(r);
        let top = TelegramAccount::of(r, DEFAULT_ACCOUNT);
        // A token of the environment alone is no account beside those that are written.
        let own = r.node.is_some_and(|node| IDENTITY.iter().any(|key| node.get(key).is_some()));
        let accounts = accounts(r, &top, own, &IDENTITY, TelegramAccount::of);
        r.put("enabled", enabled);
        Telegram { enabled, audio: top.audio, accounts }
    }

    /// The accounts that shall run.
    pub fn active(&self) -> impl Iterator<Item = (&str, &TelegramAccount)> {
        let accounts = self.accounts.iter().filter(|(_, account)| self.enabled && account.enabled);
        accounts.map(|(id, account)| (id.as_str(), account))
    }
}

section! {
    /// One bot.
    pub struct TelegramAccount {
        pub enabled: bool = flag(C, "enabled", true);
        pub bot_token: Option<Secret> = telegram_token(C);
        pub dm_policy: DmPolicy = word(H, "dmPolicy", DmPolicy::Pairing);
        /// Sender ids, or `*`.
        pub allow_from: Vec<String> = ids(H, "allowFrom", forms::telegram_id);
        pub group_policy: GroupPolicy = word(H, "groupPolicy", GroupPolicy::Open);
        /// Sender ids, or `*`.
        pub group_allow_from: Vec<String> = ids(H, "groupAllowFrom", forms::telegram_id);
        /// By chat id, or `*`; an exact id replaces `*`.
        pub groups: BTreeMap<String, TelegramGroup> = map("groups", TelegramGroup::of);
        /// `None`: `agent.messageMode`.
        pub message_mode: Option<MessageMode> = opt_word(H, "messageMode");
        pub role: Option<String> = opt_text(H, "role");
        /// Bytes of a received file.
        pub media_max: u64 = megabytes(H, "mediaMaxMb", 10, 1..=20_000);
        pub stream_mode: StreamMode = word(H, "streamMode", StreamMode::Partial);
        pub draft_chunk: DraftChunk = object("draftChunk", DraftChunk::read);
        /// First text of a streamed message.
        pub placeholder: String = placeholder(H, "placeholder", "…");
        /// Joins consecutive plain texts of one sender.
        pub debounce: Duration = millis(H, "debounceMs", 0, 0..=5_000);
        /// Private chats, turns over 30 s: the final text is sent fresh.
        pub notify_on_final: bool = flag(H, "notifyOnFinal", true);
        /// Tool lines stay in the final message.
        pub show_tools: bool = flag(H, "showTools", false);
        pub edited_messages: EditedMessages = word(H, "editedMessages", EditedMessages::Ignore);
        /// Topics in private chats are sessions of their own.
        pub dm_topics: bool = flag(H, "dmTopics", false);
        /// Emoji set while a message is being worked on.
        pub ack_reaction: Option<String> = opt_parsed(H, "ackReaction", forms::non_empty);
        pub reply_to_mode: ReplyTo = word(H, "replyToMode", ReplyTo::First);
        /// UTF-16 units of the parsed text.
        pub text_chunk_limit: usize = int(H, "textChunkLimit", 4_000, 200..=4_096);
        pub chunk_mode: ChunkMode = word(H, "chunkMode", ChunkMode::Newline);
        pub link_preview: bool = flag(H, "linkPreview", true);
        /// `None`: `network.proxy`.
        pub proxy: Option<ProxySetting> = opt_parsed(C, "proxy", ProxySetting::parse);
        pub force_ipv4: bool = flag(C, "forceIpv4", false);
        /// Long poll.
        pub poll_timeout_s: u32 = int(C, "pollTimeoutS", 30, 1..=50);
        /// Webhook instead of polling.
        pub webhook_url: Option<String> = opt_parsed(C, "webhookUrl", forms::https_url);
        pub webhook_secret: Option<Secret> = webhook_secret(C);
        /// Path on the gateway's port.
        pub webhook_path: String = text(C, "webhookPath", "");
        pub reaction_level: ReactionLevel = word(H, "reactionLevel", ReactionLevel::Off);
        pub reaction_notifications: ReactionNotifications =
            word(H, "reactionNotifications", ReactionNotifications::All);
        pub commands: TelegramCommands = object("commands", TelegramCommands::read);
        /// Extra entries of the command menu.
        pub custom_commands: Vec<CustomCommand> = items("customCommands", CustomCommand::read);
        pub audio: Audio = object("audio", Audio::read);
        /// Base URL of the Bot API; `None`: the public one.
        pub api_root: Option<String> = opt_parsed(C, "apiRoot", forms::http_url);
    }
}

impl TelegramAccount {
    fn of(r: &Reader<'_>, id: &str) -> TelegramAccount {
        let mut account = TelegramAccount::read(r);
        account.webhook_path = forms::webhook_path(r, "telegram", id, &account.webhook_path);
        if account.bot_token.is_none() && id == DEFAULT_ACCOUNT {
            account.bot_token = r.pass.env.var("TELEGRAM_BOT_TOKEN").map(Secret::new);
            r.pass.secrets.borrow_mut().extend(account.bot_token.clone());
        }
        account
    }

    /// Groups in which the bot is to hear everything, not only what is said to it.
    pub fn hears_all(&self) -> Vec<&str> {
        let wants =
            |g: &TelegramGroup| !g.require_mention || g.topics.values().any(|t| t.require_mention == Some(false));
        self.groups.iter().filter(|(_, g)| wants(g)).map(|(chat, _)| chat.as_str()).collect()
    }

    /// The bot's numeric id, the part of the token before the colon.
    pub fn bot_id(&self) -> Option<&str> {
        self.bot_token.as_ref()?.expose().split_once(':').map(|(id, _)| id)
    }
}

section! {
    /// A group chat.
    pub struct TelegramGroup {
        pub enabled: bool = flag(H, "enabled", true);
        pub require_mention: bool = flag(H, "requireMention", true);
        pub role: Option<String> = opt_text(H, "role");
        pub group_policy: Option<GroupPolicy> = opt_word(H, "groupPolicy");
        pub allow_from: Option<Vec<String>> = opt_ids(H, "allowFrom", forms::telegram_id);
        pub skills: Vec<String> = sources(H, "skills");
        pub system_prompt: Option<String> = opt_text_or_path(H, "systemPrompt");
        /// By topic id; `1` = General.
        pub topics: BTreeMap<String, TelegramTopic> = map("topics", TelegramTopic::read);
        /// Unmentioned texts kept as context for the next mentioned one.
        pub history_limit: usize = int(H, "historyLimit", 0, 0..=100);
    }
}

impl TelegramGroup {
    fn of(r: &Reader<'_>) -> TelegramGroup {
        r.ignored("tools");
        r.ignored("toolsBySender");
        TelegramGroup::read(r)
    }
}

section! {
    /// A topic of a group; what is `None` is the group's.
    pub struct TelegramTopic {
        pub enabled: Option<bool> = opt_flag(H, "enabled");
        pub require_mention: Option<bool> = opt_flag(H, "requireMention");
        pub role: Option<String> = opt_text(H, "role");
        pub group_policy: Option<GroupPolicy> = opt_word(H, "groupPolicy");
        pub allow_from: Option<Vec<String>> = opt_ids(H, "allowFrom", forms::telegram_id);
        pub skills: Vec<String> = sources(H, "skills");
        pub system_prompt: Option<String> = opt_text_or_path(H, "systemPrompt");
    }
}

section! {
    /// The streamed message.
    pub struct DraftChunk {
        pub min_chars: usize = int(H, "minChars", 1, 1..=i64::MAX);
        pub max_chars: usize = int(H, "maxChars", 3_000, 1..=i64::MAX);
        pub break_preference: BreakPreference = word(H, "breakPreference", BreakPreference::Newline);
        /// Between two edits; in groups at least 3 s.
        pub edit_throttle: Duration = millis(H, "editThrottleMs", 1_000, 250..=10_000);
    }
}

section! {
    /// The command menu. `None` = auto.
    pub struct TelegramCommands {
        pub native: Option<bool> = auto(C, "native");
        pub native_skills: Option<bool> = auto(C, "nativeSkills");
    }
}

section! {
    /// An extra entry of the command menu.
    pub struct CustomCommand {
        pub command: String = required(C, "command", forms::menu_command);
        pub description: String = required(C, "description", forms::menu_description);
    }
}

section! {
    /// Voice transcription.
    pub struct Audio {
        pub provider: AudioProvider = word(H, "provider", AudioProvider::Groq);
        /// `None`: see [`Audio::model`].
        pub own_model: Option<String> = opt_parsed(H, "model", forms::non_empty);
        /// `None`: voice messages stay untranscribed.
        pub api_key: Option<Secret> = secret(H, "apiKey", "apiKeyFile");
        pub language: Option<String> = opt_parsed(H, "language", forms::non_empty);
        pub timeout_seconds: u64 = int(H, "timeoutSeconds", 30, 1..=300);
        /// `None`: the provider's.
        pub base_url: Option<String> = opt_parsed(H, "baseUrl", forms::http_url);
    }
}

impl Audio {
    /// The model to ask for.
    pub fn model(&self) -> &str {
        match (&self.own_model, self.provider) {
            (Some(model), _) => model,
            (None, AudioProvider::Groq) => "whisper-large-v3-turbo",
            (None, AudioProvider::Openai) => "whisper-1",
        }
    }
}

words! {
    /// How a reply is shown while it is written.
    pub enum StreamMode { Off = "off", Partial = "partial", Block = "block", Draft = "draft", Auto = "auto" }
}

words! {
    /// Where a streamed message is broken.
    pub enum BreakPreference { Newline = "newline", Sentence = "sentence", Word = "word" }
}

words! {
    /// What the edit of a message does that is running or answered.
    pub enum EditedMessages { Ignore = "ignore", Resend = "resend" }
}

words! {
    /// Where a long reply is cut.
    pub enum ChunkMode { Newline = "newline", Length = "length" }
}

words! {
    /// Whether and how reactions of people become messages.
    pub enum ReactionLevel { Off = "off", Ack = "ack", Minimal = "minimal", Extensive = "extensive" }
}

words! {
    /// Whose transcription is used.
    pub enum AudioProvider { Groq = "groq", Openai = "openai" }
}

impl Reader<'_> {
    fn telegram_token(&self, class: Class) -> Option<Secret> {
        let token = self.secret(class, "botToken", "tokenFile")?;
        match forms::telegram_token(token.expose()) {
            Ok(()) => Some(token),
            // What is switched off needs no token.
            Err(_) if self.off => None,
            Err(why) => {
                let from_file = self.node.is_some_and(|node| node.get("botToken").is_none());
                self.report(Severity::Error, if from_file { "tokenFile" } else { "botToken" }, why);
                None
            }
        }
    }

    fn webhook_secret(&self, class: Class) -> Option<Secret> {
        let secret = self.secret(class, "webhookSecret", "webhookSecretFile")?;
        let value = secret.expose();
        let right = value.len() <= 256 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !right && !self.off {
            self.report(Severity::Error, "webhookSecret", "must be 1-256 characters of A-Z a-z 0-9 _ -");
            return None;
        }
        Some(secret)
    }

    /// Text of which a blank one means the default.
    pub(super) fn placeholder(&self, class: Class, name: &'static str, default: &str) -> String {
        let text = self.opt_text(class, name).filter(|text| !text.trim().is_empty());
        let text = text.unwrap_or_else(|| default.to_owned());
        self.put(name, text.clone());
        text
    }
}
