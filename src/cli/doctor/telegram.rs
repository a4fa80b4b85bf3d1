//! Telegram: what is set up, how the running gateway's accounts stand, and with `--online` what the Bot API says.
//!
//! Nothing is changed, nothing is confirmed: messages that wait stay where they are.

use std::time::Duration;

use serde_json::{json, Value};

use super::check::{Check, State};
use super::{port, Context};
use crate::channels::telegram::{Bot, Fail, PUBLIC};
use crate::cli::instance::Instance;
use crate::config::key_path;
use crate::config::types::{self, DmPolicy, GroupPolicy, TelegramAccount};
use crate::net::{Net, Purpose, Route};

const NAME: &str = "telegram";
const CALL: Duration = Duration::from_secs(10);
/// Another program that was pushed aside comes back within that time, seconds.
const RIVAL: u64 = 6;
const NETWORK: &str = "look at the settings under network, and at the account's proxy";
/// Waiting updates that are worth a word.
const MANY: i64 = 50;

/// What is configured, and how it stands in the running gateway.
pub fn check(context: &Context) -> Vec<Check> {
    let telegram = &context.loaded.config.channels.telegram;
    let mut checks: Vec<Check> = telegram.active().map(|(id, account)| configured(context, id, account)).collect();
    if let (false, Some(channels)) = (checks.is_empty(), port::ask(context, "/api/channels")) {
        let all = channels["channels"].as_array().into_iter().flatten().find(|c| c["id"] == NAME);
        let accounts = all.and_then(|c| c["accounts"].as_array()).into_iter().flatten();
        checks.extend(accounts.map(standing));
    }
    checks
}

fn configured(context: &Context, id: &str, a: &TelegramAccount) -> Check {
    let mode = if a.webhook_url.is_some() { "webhook" } else { "polling" };
    let words = a.message_mode.unwrap_or(context.loaded.config.agent.message_mode);
    let words = match words {
        types::MessageMode::Steer => "steer",
        types::MessageMode::FollowUp => "follow-up",
        types::MessageMode::Interrupt => "interrupt",
    };
    let dm = match a.dm_policy {
        DmPolicy::Pairing => "pairing",
        DmPolicy::Allowlist => "allowlist",
        DmPolicy::Open => "open",
        DmPolicy::Disabled => "disabled",
    };
    let group = match a.group_policy {
        GroupPolicy::Open => "open",
        GroupPolicy::Allowlist => "allowlist",
        GroupPolicy::Disabled => "disabled",
    };
    let bot = a.bot_id().unwrap_or("without a token");
    let source = source(context, id);
    let text = format!(
        "{id}: bot {bot} (token from {source}), {mode}, message mode {words}, private chats {dm}, groups {group}"
    );
    match (a.dm_policy, &a.bot_token) {
        (_, None) => Check::error(NAME, text).remedy("set botToken or tokenFile: @BotFather gives one to you"),
        (DmPolicy::Open, _) => Check::warning(NAME, format!("{text}: everybody can make the agent work"))
            .remedy("set dmPolicy to \"pairing\", unless the agent has nothing to lose"),
        _ => Check::ok(NAME, text),
    }
}

/// Where an account's token comes from; never the token.
fn source(context: &Context, id: &str) -> String {
    let written = |key: &[&str]| key.iter().fold(context.loaded.revealed(), |at, name| &at[*name]);
    for parent in [&["channels", NAME, "accounts", id][..], &["channels", NAME]] {
        let own = |name| parent.iter().copied().chain([name]).collect::<Vec<&str>>();
        if written(&own("botToken")).is_string() {
            let key = own("botToken").iter().fold(String::new(), |path, name| key_path(&path, name));
            let origin = context.loaded.origins.get(&key);
            return origin.map_or("the configuration".into(), |origin| origin.vars.join(", "));
        }
        if let Some(file) = written(&own("tokenFile")).as_str() {
            return file.to_owned();
        }
    }
    "TELEGRAM_BOT_TOKEN".into()
}

/// An account as the running gateway sees it.
fn standing(a: &Value) -> Check {
    let (id, state) = (a["id"].as_str().unwrap_or("?"), a["state"].as_str().unwrap_or("?"));
    let poll = a["lastPollAgoMs"].as_i64().map_or("nothing yet".to_owned(), |ms| format!("{} s ago", ms / 1000));
    let pending = a["pending"].as_i64().unwrap_or(0);
    let text = format!("{id}: {state} in the running gateway, heard from Telegram {poll}, {pending} to be sent");
    let why = a["lastError"].as_str().map(|why| format!("last error: {why}")).into_iter().collect();
    let check = |state, remedy: &str| Check::new(NAME, state, text.clone()).remedy(remedy).details(why);
    match state {
        "running" => Check::ok(NAME, text),
        "starting" => check(State::Warning, "run pi-gw doctor again in a moment"),
        "unauthorized" => {
            check(State::Error, "botToken is not the bot's any more: get the current one from @BotFather")
        }
        "conflict" => check(State::Error, "another program takes this bot's messages: end it, or give it another bot"),
        "stopped" => check(State::Error, "its log says why"),
        _ => check(State::Warning, "it tries again by itself; look at the network, the proxy and apiRoot"),
    }
}

/// What the Bot API says of every account.
pub fn online(context: &Context) -> Vec<Check> {
    let c = &context.loaded.config;
    let accounts: Vec<_> = c.channels.telegram.active().filter(|(_, a)| a.bot_token.is_some()).collect();
    if accounts.is_empty() {
        return vec![Check::ok("online", "no account has a platform to ask")];
    }
    let net = match Net::open(&c.network) {
        Ok(net) => net,
        Err(why) => return vec![Check::error("online", why).remedy(NETWORK)],
    };
    let own = !matches!(context.instance, Ok(Instance::None));
    std::thread::scope(|scope| {
        let asked: Vec<_> = accounts
            .into_iter()
            .map(|(id, a)| {
                let bot = bot(&net, c, a);
                scope.spawn(move || {
                    bot.map_or_else(|why| vec![Check::error(NAME, why).remedy(NETWORK)], |bot| of_bot(id, a, &bot, own))
                })
            })
            .collect();
        let failed = || vec![Check::error(NAME, "this check failed itself").remedy("please report that")];
        asked.into_iter().flat_map(|a| a.join().unwrap_or_else(|_| failed())).collect()
    })
}

fn bot(net: &Net, c: &crate::config::Config, a: &TelegramAccount) -> Result<Bot, String> {
    let route = Route::new(&c.network, a.proxy.as_ref())?;
    let agent = net.agent(Purpose::Send).route(route).force_ipv4(a.force_ipv4).build();
    let token = a.bot_token.as_ref().ok_or("it has no token")?.expose();
    Ok(Bot::new(root(a), token, agent))
}

fn root(a: &TelegramAccount) -> &str {
    a.api_root.as_deref().unwrap_or(PUBLIC)
}

fn ask(bot: &Bot, method: &str, params: &Value, within: Duration) -> Result<Value, Fail> {
    bot.call::<Value>(method, params, within)
}

/// The name of an account's bot, as the Bot API tells it; else what is wrong, and whether the token is.
pub fn name_of(c: &crate::config::Config, id: &str, a: &TelegramAccount) -> Result<String, (bool, Check)> {
    let fault = |why: String| (false, Check::error(NAME, format!("{id}: {why}")).remedy(NETWORK));
    let net = Net::open(&c.network).map_err(fault)?;
    let bot = bot(&net, c, a).map_err(fault)?;
    match ask(&bot, "getMe", &json!({}), CALL) {
        Ok(me) => Ok(me["username"].as_str().unwrap_or("?").to_owned()),
        Err(fail) => Err((fail.is_unauthorized(), no_answer(id, a, &fail))),
    }
}

fn of_bot(id: &str, a: &TelegramAccount, bot: &Bot, own: bool) -> Vec<Check> {
    let me = match ask(bot, "getMe", &json!({}), CALL) {
        Ok(me) => me,
        Err(fail) => return vec![no_answer(id, a, &fail)],
    };
    let name = me["username"].as_str().unwrap_or("?");
    let mut checks = vec![Check::ok(NAME, format!("{id}: the Bot API knows it as @{name}"))];
    checks.extend(privacy(id, a, &me));
    let info = ask(bot, "getWebhookInfo", &json!({}), CALL);
    checks.push(match &info {
        Ok(info) => webhook(id, a, info),
        Err(fail) => no_answer(id, a, fail),
    });
    let hooked = info.is_ok_and(|info| info["url"].as_str().is_some_and(|url| !url.is_empty()));
    // One poll ends the other: that of our own gateway is left alone. It knows by itself of rivals.
    if !own && !hooked && a.webhook_url.is_none() {
        checks.push(rival(id, bot));
    }
    checks
}

fn no_answer(id: &str, a: &TelegramAccount, fail: &Fail) -> Check {
    let check = Check::error(NAME, format!("{id}: {fail}"));
    if fail.is_unauthorized() {
        return check.remedy("the token is not (or no longer) a bot's: get the current one from @BotFather (/mybots)");
    }
    match fail {
        Fail::NotSent { .. } | Fail::Unknown { .. } => {
            check.remedy(format!("{} is not reached: look at the network, proxy and apiRoot", root(a)))
        }
        Fail::Api { .. } => check.remedy("try again in a moment"),
    }
}

/// A bot in privacy mode does not see what groups say among themselves.
fn privacy(id: &str, a: &TelegramAccount, me: &Value) -> Option<Check> {
    let hears_all = me["can_read_all_group_messages"] == true;
    let groups = a.hears_all();
    if hears_all || groups.is_empty() {
        return None;
    }
    let text = format!("{id}: requireMention is false for {}, but the bot is in privacy mode", groups.join(", "));
    Some(Check::warning(NAME, text).remedy(
        "@BotFather: /setprivacy, Disable; then take the bot out of the group and add it again. Or make it an \
         administrator there",
    ))
}

fn webhook(id: &str, a: &TelegramAccount, info: &Value) -> Check {
    let url = info["url"].as_str().unwrap_or_default();
    let pending = info["pending_update_count"].as_i64().unwrap_or(0);
    let failed = info["last_error_message"].as_str();
    let recent = info["last_error_date"].as_i64().is_some_and(|at| crate::clock::now().wall / 1000 - at < 300);
    match (&a.webhook_url, url) {
        (None, "") => Check::ok(NAME, format!("{id}: no webhook is set, {pending} updates wait")),
        (None, _) => Check::warning(NAME, format!("{id}: a webhook is set, at {}", host(url)))
            .remedy("the gateway removes it when it starts; another program may be setting it"),
        (Some(_), "") => Check::warning(NAME, format!("{id}: the webhook is not registered"))
            .remedy("the gateway registers it when it starts"),
        (Some(own), _) if own != url => Check::warning(NAME, format!("{id}: another webhook is set, at {}", host(url)))
            .remedy("the gateway sets its own when it starts; another program may use this bot"),
        (Some(_), _) => match failed.filter(|_| recent) {
            Some(why) => Check::error(NAME, format!("{id}: Telegram cannot deliver: {why}"))
                .remedy("look at the proxy in front of the gateway, its certificate, and webhookPath"),
            None if pending > MANY => Check::warning(NAME, format!("{id}: {pending} updates wait to be delivered"))
                .remedy("is the gateway running and reachable?"),
            None => Check::ok(NAME, format!("{id}: the webhook is registered, {pending} updates wait")),
        },
    }
}

/// Of a URL only that: paths may be secret.
fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default()
}

/// Does another program poll this bot? A poll without an offset confirms nothing; the rival's own next one ends it.
fn rival(id: &str, bot: &Bot) -> Check {
    let params = json!({"limit": 1, "timeout": RIVAL});
    match ask(bot, "getUpdates", &params, CALL + Duration::from_secs(RIVAL)) {
        Err(Fail::Api { code: 409, .. }) => Check::error(NAME, format!("{id}: another program polls this bot"))
            .remedy("end it, or give one of the two a bot of its own: each takes the other's messages"),
        Err(fail) => Check::warning(NAME, format!("{id}: it could not be found out who else polls: {fail}"))
            .remedy("try again in a moment"),
        Ok(_) => Check::ok(NAME, format!("{id}: nobody else polls it")),
    }
}
