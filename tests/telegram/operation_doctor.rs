//! `pi-gw doctor` about Telegram (telegram.md 3, 4; config.md 10).

use serde_json::{json, Value};

use crate::house::House;
use crate::operation::cli;
use crate::support::bot_api::{BotApi, Rule, Trouble};
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;

/// A gateway that is not started.
fn resting(api: &BotApi, more: Value) -> Gateway {
    let mut telegram = json!({"enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": ["7"]});
    for (key, value) in more.as_object().unwrap() {
        telegram[key] = value.clone();
    }
    let pi = FakePi::new(Flavour::New);
    let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": telegram}}));
    std::fs::create_dir_all(g.data()).unwrap();
    g
}

/// `status text -> remedy` of what it says about Telegram.
fn said(g: &Gateway, line: &str) -> Vec<String> {
    let ran = cli(g, line);
    let part = |c: &Value, name: &str| c[name].as_str().unwrap_or_default().to_owned();
    let checks = ran.json()["checks"].as_array().unwrap().clone();
    let of = checks.iter().filter(|c| c["name"] == "telegram");
    of.map(|c| format!("{} {} -> {}", part(c, "status"), part(c, "text"), part(c, "remedy"))).collect()
}

#[track_caller]
fn has(said: &[String], start: &str) {
    assert!(said.iter().any(|s| s.starts_with(start)), "{start:?} in {said:#?}");
}

#[test]
fn a_bot_that_is_well_is_said_to_be_and_nothing_is_taken_from_it() {
    let api = BotApi::start();
    let waiting = api.user_writes(7, "I wait");
    let g = resting(&api, json!({}));
    let said = said(&g, "doctor --online --json");
    has(&said, "ok default: bot 123456 (token from the configuration), polling, message mode steer, private chats pairing, groups open");
    has(&said, "ok default: the Bot API knows it as @fake_gateway_bot");
    has(&said, "ok default: no webhook is set, 1 updates wait");
    has(&said, "ok default: nobody else polls it");
    assert!(waiting.update_id.is_some());
    assert_eq!(api.webhook()["pending_update_count"], 1);
    let text = cli(&g, "doctor --online").out;
    assert!(!text.contains("TEST-token"), "never the token: {text}");
    api.assert_clean();
}

#[test]
fn privacy_mode_a_foreign_webhook_and_an_open_door_are_warned_of() {
    let api = BotApi::start();
    api.privacy(true);
    let g = resting(
        &api,
        json!({
            "dmPolicy": "open", "allowFrom": ["*"], "groups": {"-100": {"requireMention": false}},
            "webhookUrl": "https://127.0.0.1:1/hook", "webhookSecret": "s",
        }),
    );
    let all = said(&g, "doctor --online --json");
    has(&all, "warning default: bot 123456 (token from the configuration), webhook");
    has(
        &all,
        "warning default: requireMention is false for -100, but the bot is in privacy mode -> @BotFather: /setprivacy",
    );
    has(&all, "warning default: the webhook is not registered");
}

#[test]
fn a_refused_token_and_a_dead_network_are_errors_with_remedies() {
    let api = BotApi::start();
    api.trouble(Rule::on("getMe", Trouble::unauthorized()).always());
    let g = resting(&api, json!({}));
    has(
        &said(&g, "doctor --online --json"),
        "error default: 401 Unauthorized -> the token is not (or no longer) a bot's",
    );
    assert_eq!(cli(&g, "doctor --online").code, 1);
    let root = format!("http://127.0.0.1:{}", crate::support::port::free_port());
    g.reconfigure(json!({"channels": {"telegram": {"apiRoot": root}}}));
    let said = said(&g, "doctor --online --json");
    let found = said.iter().find(|s| s.contains("is not reached")).unwrap_or_else(|| panic!("{said:#?}"));
    assert!(found.starts_with("error ") && found.contains(&root), "{found}");
}

#[test]
fn another_program_that_polls_is_found() {
    let api = BotApi::start();
    let rival = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    api.trouble(Rule::on("getUpdates", Trouble::Refuse(409, rival.into(), Value::Null)).always());
    let g = resting(&api, json!({}));
    has(&said(&g, "doctor --online --json"), "error default: another program polls this bot -> end it");
}

#[test]
fn a_running_gateway_is_asked_and_its_poll_is_left_alone() {
    let h = House::new(json!({}));
    let said = said(&h.g, "doctor --online --json");
    has(&said, "ok default: running in the running gateway");
    has(&said, "ok default: the Bot API knows it as @fake_gateway_bot");
    assert!(!said.iter().any(|s| s.contains("polls it")), "{said:#?}");
    let without_offset = h.api.calls("getUpdates").into_iter().filter(|c| c.params["limit"] == 1);
    assert_eq!(without_offset.count(), 0);
    h.api.assert_clean();
}
