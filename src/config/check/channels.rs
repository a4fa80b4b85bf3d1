//! Rules of the channels: tokens, policies, ids, webhook paths.

use super::super::forms::is_snowflake;
use super::super::issue::Severity::{Error, Info, Warning};
use super::super::secret::Secret;
use super::super::types::{ConnectionMode, DmPolicy, Feishu, Telegram};
use super::Check;

/// A path on the gateway's port that a platform calls.
struct Webhook<'a> {
    key: Vec<&'a str>,
    path: &'a str,
    secret: Option<&'a Secret>,
}

impl Check<'_> {
    pub(super) fn channels(&self) {
        let channels = &self.config.channels;
        let mut webhooks = Vec::new();
        self.telegram(&channels.telegram, &mut webhooks);
        self.discord();
        self.feishu(&channels.feishu, &mut webhooks);
        self.webhook_paths(&webhooks);
        for (id, channel) in channels.plugins.iter().filter(|(_, channel)| channel.enabled) {
            self.policy(&["channels", id], &["allowFrom"], channel.dm_policy, &channel.allow_from);
        }
        let any = channels.telegram.enabled
            || channels.discord.enabled
            || channels.feishu.enabled
            || channels.webchat.enabled
            || channels.plugins.values().any(|channel| channel.enabled);
        if !any {
            self.say(Warning, &["channels"], "no channel is enabled: nobody can write");
        }
    }

    /// The path of an account's keys: its own object, if it is written.
    fn account<'p>(&self, channel: &'p str, id: &'p str) -> Vec<&'p str> {
        match self.pass.root.at(&["channels", channel, "accounts", id]) {
            Some(_) => vec!["channels", channel, "accounts", id],
            None => vec!["channels", channel],
        }
    }

    fn telegram<'a>(&self, telegram: &'a Telegram, webhooks: &mut Vec<Webhook<'a>>) {
        let mut bots: Vec<(&str, &str)> = Vec::new();
        for (id, account) in telegram.active() {
            let base = self.account("telegram", id);
            let at = |name: &'static str| [base.as_slice(), &[name]].concat();
            match account.bot_id() {
                None => self.say_with_hint(
                    Error,
                    &at("botToken"),
                    "the account has no bot token",
                    "set botToken or tokenFile, or TELEGRAM_BOT_TOKEN for the account \"default\"",
                ),
                Some(bot) => {
                    if let Some((_, other)) = bots.iter().find(|(other, _)| *other == bot) {
                        let text = format!("the accounts \"{other}\" and \"{id}\" have the same bot ({bot})");
                        self.say(Error, &at("botToken"), text);
                    }
                    bots.push((bot, id));
                }
            }
            self.policy(&base, &["allowFrom"], account.dm_policy, &account.allow_from);
            for group in account.groups.keys().filter(|group| *group != "*") {
                let key = [base.as_slice(), &["groups", group]].concat();
                let digits = group.strip_prefix('-').unwrap_or(group);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    self.say(Warning, &key, "never matches: a group's id is a number such as -1001234567890");
                } else if !group.starts_with('-') {
                    self.say(Warning, &key, "never matches: ids of groups start with \"-\"");
                }
            }
            if account.media_max > 20 * 1_048_576 && account.api_root.is_none() {
                self.say(Info, &at("mediaMaxMb"), "the public Bot API serves files up to 20 MB only");
            }
            if account.webhook_url.is_some() {
                if account.webhook_secret.is_none() {
                    self.say(Error, &at("webhookSecret"), "is required with webhookUrl");
                }
                let (path, secret) = (account.webhook_path.as_str(), account.webhook_secret.as_ref());
                webhooks.push(Webhook { key: self.account("telegram", id), path, secret });
            }
        }
    }

    fn discord(&self) {
        let discord = &self.config.channels.discord;
        if !discord.enabled {
            return;
        }
        if discord.token.is_none() {
            let hint = "set token or tokenFile";
            self.say_with_hint(Error, &["channels", "discord", "token"], "the channel has no bot token", hint);
        }
        if discord.dm.enabled {
            self.policy(&["channels", "discord"], &["dm", "allowFrom"], discord.dm_policy, &discord.dm.allow_from);
        }
        let wrong = "never matches: an id is a string of 17-20 digits";
        for (id, guild) in &discord.guilds {
            let key = ["channels", "discord", "guilds", id];
            if !is_snowflake(id) {
                self.say(Warning, &key, wrong);
            }
            for channel in guild.channels.keys().filter(|channel| !is_snowflake(channel)) {
                self.say(Warning, &[&key[..], &["channels", channel]].concat(), wrong);
            }
        }
    }

    fn feishu<'a>(&self, feishu: &'a Feishu, webhooks: &mut Vec<Webhook<'a>>) {
        let mut apps: Vec<(&str, &str)> = Vec::new();
        for (id, account) in feishu.active() {
            let base = self.account("feishu", id);
            let at = |name: &'static str| [base.as_slice(), &[name]].concat();
            match account.app_id.as_deref() {
                None => self.say(Error, &at("appId"), "is required while the channel is enabled"),
                Some(app) => {
                    if let Some((_, other)) = apps.iter().find(|(other, _)| *other == app) {
                        let text = format!("the accounts \"{other}\" and \"{id}\" are the same app");
                        self.say(Error, &at("appId"), text);
                    }
                    apps.push((app, id));
                }
            }
            if account.app_secret.is_none() {
                self.say(Error, &at("appSecret"), "is required while the channel is enabled");
            }
            self.policy(&base, &["allowFrom"], account.dm_policy, &account.allow_from);
            if account.connection_mode == ConnectionMode::Webhook {
                if account.verification_token.is_none() && account.encrypt_key.is_none() {
                    let text = "webhook mode needs verificationToken or encryptKey: without, anyone could send events";
                    self.say(Error, &at("verificationToken"), text);
                }
                let secret = account.encrypt_key.as_ref().or(account.verification_token.as_ref());
                webhooks.push(Webhook { key: self.account("feishu", id), path: &account.webhook_path, secret });
            }
        }
    }

    /// Two platforms' calls on one path can be told apart by their secrets only.
    fn webhook_paths(&self, webhooks: &[Webhook<'_>]) {
        for (i, webhook) in webhooks.iter().enumerate() {
            let clash = webhooks[..i].iter().any(|other| {
                other.path == webhook.path && (other.secret == webhook.secret || other.key[1] != webhook.key[1])
            });
            if clash {
                let key = [webhook.key.as_slice(), &["webhookPath"]].concat();
                self.say(Error, &key, format!("\"{}\" is the path of another account as well", webhook.path));
            }
        }
    }

    fn policy(&self, base: &[&str], list: &[&str], policy: DmPolicy, ids: &[String]) {
        match policy {
            DmPolicy::Open if !ids.iter().any(|id| id == "*") => self.say_with_hint(
                Error,
                &[base, &["dmPolicy"]].concat(),
                format!("\"open\" lets everyone in and needs \"*\" in {} to confirm it", list.join(".")),
                "or use \"pairing\"",
            ),
            DmPolicy::Allowlist if ids.is_empty() => {
                self.say(Warning, &[base, list].concat(), "is empty: nobody can write, except those approved before")
            }
            _ => {}
        }
    }
}
