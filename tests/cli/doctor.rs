//! `pi-gw doctor`: what is configured and not there, what waits for a restart, what was given up.

use std::fs;
use std::time::Instant;

use pi_gateway::store::Store;

use crate::support::port::free_port;
use crate::support::DEADLINE;
use crate::{Home, Running};

#[test]
fn channels_and_runners_that_this_version_does_not_have_are_named() {
    let mut home = Home::ready();
    home.vars.push(("MY_BOT", "123456:AAbbCCddEEff-secret".into()));
    fs::write(home.path().join("tok"), "654321:AAbbCCddEEff-secret").unwrap();
    home.configure(&format!(
        r#"{{"gateway": {{"port": {}}},
            "agent": {{"runners": [{{"name": "slow", "command": ["nice"], "max": 1}}]}},
            "security": {{"exec": {{"allowedExecutables": ["pi", "ps", "nice"]}}}},
            "channels": {{
                "telegram": {{"enabled": true, "botToken": "${{MY_BOT}}", "accounts": {{"work": {{"tokenFile": "tok"}}}}}},
                "discord": {{"enabled": true, "token": "a.b.c"}},
                "feishu": {{"enabled": false, "appId": "x", "appSecret": "y"}}
            }}}}"#,
        free_port()
    ));
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 0, "{}", ran.out);
    ran.check("channels ok webchat on, telegram on");
    assert!(ran.check("channels warning").contains("discord is switched on, but this version has no such channel"));
    assert!(!ran.out.contains("feishu is switched on"), "{}", ran.out);
    ran.check("runners warning");
    ran.check("telegram ok default: bot 123456 (token from MY_BOT), polling");
    ran.check(&format!("telegram ok work: bot 654321 (token from {}), polling", home.path().join("tok").display()));
    assert!(!ran.out.contains("ddEEff"), "a token was shown\n{}", ran.out);
    for check in ran.json()["checks"].as_array().unwrap() {
        // The configuration's own issues say it in their text.
        let said = check["status"] == "ok" || check["name"] == "config" || check["remedy"].is_string();
        assert!(said, "without a remedy: {check}");
    }
}

#[test]
fn keys_that_wait_for_a_restart_are_named_until_they_are_as_at_the_start() {
    let home = Home::ready();
    let _running = Running::start(&home);
    let first = fs::read_to_string(home.file()).unwrap();
    home.configure(&first.replace("\"port\"", "\"limits\": {\"maxConnections\": 99}, \"port\""));
    let waits = "restart warning changed, takes effect after a restart: gateway.limits.maxConnections";
    let named = |home: &Home| home.run("doctor --json").checks().iter().any(|check| check == waits);
    let wait_until = |wanted: bool| {
        let begun = Instant::now();
        while named(&home) != wanted {
            assert!(begun.elapsed() < DEADLINE, "{}", home.run("doctor").out);
        }
    };
    wait_until(true);
    let status = home.run("status").out;
    assert!(status.contains("\nrestart   takes effect only after one: gateway.limits.maxConnections\n"), "{status}");
    home.configure(&first);
    wait_until(false);
}

#[test]
fn what_could_not_be_delivered_is_counted() {
    let home = Home::ready();
    fs::create_dir_all(home.data()).unwrap();
    let path = home.data().join("gateway.db");
    Store::open(&path).unwrap().close().unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(GIVEN_UP).unwrap();
    drop(db);
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.check("undelivered warning").contains("1 reply part could not be delivered"));
    assert!(ran.check("owed ok").contains("0 reply parts to be delivered"));
}

/// A row as the outbox has it after its last attempt.
const GIVEN_UP: &str =
    "INSERT INTO outbox(chunk, channel, account, chat, thread, kind, body, state, expires_at, at, clock_ok)
    VALUES(0, 'telegram', 'default', '7', '', 'send', '{}', 'failed', 1, 1, 1)";
