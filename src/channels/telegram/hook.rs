//! The webhook: Telegram delivers to the gateway's own port (telegram.md 4.3).
//!
//! [`Hook`] takes the deliveries on the port's threads; [`Keeper`] registers the URL and looks after it every five
//! minutes. At the end it stays registered: Telegram keeps what comes meanwhile, for a day.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};

use super::api;
use super::client::{Bot, Fail};
use super::link::{Link, Stopped, CALL};
use super::parse::Me;
use super::reactions::Told;
use super::reader::read;
use super::NAME;
use crate::ask::Mind;
use crate::clock;
use crate::config::types::TelegramAccount;
use crate::config::Secret;
use crate::message::{Answer, Batch};
use crate::roster::{Inlet, Stage, Standing};

const SECRET: &str = "x-telegram-bot-api-secret-token";
/// Deliveries at a time; each waits for a sync.
const CONNECTIONS: u64 = 8;
/// No word of the mind in that time: Telegram shall come again.
const WORD: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(300);
/// So many waiting updates are worth a word.
const MANY: i64 = 50;

/// Takes deliveries.
pub struct Hook {
    account: String,
    path: String,
    secret: Secret,
    reactions: Told,
    /// Of updates that are asked for.
    kinds: &'static [&'static str],
    /// Known when the bot has been introduced.
    me: OnceLock<Me>,
    mind: Mind,
    standing: Arc<Standing>,
}

impl Hook {
    /// `Err`: what is missing in its settings.
    pub fn new(account: &str, c: &TelegramAccount, mind: Mind, standing: Arc<Standing>) -> Result<Hook, String> {
        let secret = c.webhook_secret.clone().ok_or("webhookUrl needs a webhookSecret")?;
        let (account, path) = (account.to_owned(), c.webhook_path.clone());
        let (reactions, kinds) = (Told::from(c), api::kinds(c));
        Ok(Hook { account, path, secret, reactions, kinds, me: OnceLock::new(), mind, standing })
    }
}

impl Inlet for Hook {
    fn path(&self) -> &str {
        &self.path
    }

    fn key(&self) -> (&'static str, &str) {
        (SECRET, self.secret.expose())
    }

    /// Stored and synced first; only then Telegram hears that it was taken (core.md 22.2).
    fn deliver(&self, body: Value) -> bool {
        let Some(me) = self.me.get() else { return false };
        let update = read(&body, me, &self.account, self.reactions, clock::now().wall);
        let updates: Vec<_> = update.into_iter().collect();
        if updates.is_empty() {
            self.standing.heard(1);
            return true;
        }
        let batch = Batch { channel: NAME.into(), account: self.account.clone(), updates, cursor: None };
        let taken = self.mind.deliver_now(batch).is_some_and(|p| matches!(p.wait(WORD), Some(Answer::Ok)));
        if taken {
            self.standing.heard(1);
        }
        taken
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    url: String,
    pending_update_count: i64,
    last_error_date: Option<i64>,
    last_error_message: Option<String>,
}

impl Info {
    /// What the operator should hear; `now`: unix seconds.
    fn trouble(&self, now: i64) -> Option<String> {
        let recent = self.last_error_date.is_some_and(|at| now - at < LOOK.as_secs() as i64);
        match (recent, &self.last_error_message) {
            (true, Some(why)) => Some(format!("Telegram cannot deliver to the webhook: {why}")),
            _ if self.pending_update_count > MANY => {
                Some(format!("{} updates wait to be delivered to the webhook", self.pending_update_count))
            }
            _ => None,
        }
    }
}

/// Registers the webhook and looks after it.
pub struct Keeper {
    link: Link,
    hook: Arc<Hook>,
    url: String,
}

impl Keeper {
    pub fn new(link: Link, hook: Arc<Hook>, url: &str) -> Keeper {
        Keeper { link, hook, url: url.to_owned() }
    }

    /// Until it is stopped.
    pub fn run(mut self) {
        let _ = self.keep(); // it ends by being stopped, and by nothing else
    }

    fn keep(&mut self) -> Result<(), Stopped> {
        let (url, secret, kinds) = (self.url.clone(), self.hook.secret.clone(), self.hook.kinds);
        let me = self.link.introduce(|bot| set(bot, &url, &secret, kinds))?;
        let _ = self.hook.me.set(me); // once, here
        loop {
            self.link.sleep(LOOK)?;
            match self.link.bot.call::<Info>("getWebhookInfo", &json!({}), CALL) {
                Ok(info) if info.url != self.url => {
                    self.link.say(Stage::Degraded, "the webhook was changed by another program; it is set again");
                    match set(&self.link.bot, &url, &secret, kinds) {
                        Ok(()) => self.link.standing.connected(self.link.standing.known().bot),
                        Err(fail) => self.link.wait_after(&fail)?,
                    }
                }
                Ok(info) => match info.trouble(clock::now().wall / 1000) {
                    Some(why) => self.link.say(Stage::Degraded, &why),
                    None => {
                        self.link.well();
                        self.link.standing.heard(0);
                    }
                },
                Err(fail) => self.link.wait_after(&fail)?,
            }
        }
    }
}

fn set(bot: &Bot, url: &str, secret: &Secret, kinds: &[&str]) -> Result<(), Fail> {
    let params = json!({
        "url": url, "secret_token": secret.expose(), "allowed_updates": kinds, "max_connections": CONNECTIONS,
        "drop_pending_updates": false,
    });
    bot.call::<bool>("setWebhook", &params, CALL).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_hears_of_many_waiting_updates_and_of_recent_failures() {
        let now = 1_790_000_000;
        let fine = Info { pending_update_count: 50, ..Info::default() };
        assert_eq!(fine.trouble(now), None);
        let many = Info { pending_update_count: 51, ..Info::default() };
        assert!(many.trouble(now).unwrap().starts_with("51 updates wait"));
        let failed = |at| Info {
            last_error_date: Some(at),
            last_error_message: Some("Connection refused".into()),
            ..Info::default()
        };
        assert!(failed(now - 299).trouble(now).unwrap().contains("Connection refused"));
        assert_eq!(failed(now - 300).trouble(now), None, "it is over");
    }
}
