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

/// A configuration with a free port and these further members.
fn with(home: &Home, gateway: &str, rest: &str) {
    home.configure(&format!("{{\"gateway\": {{\"port\": {}{gateway}}}{rest}}}", free_port()));
}

#[test]
fn every_setting_that_endangers_or_cannot_work_is_found_with_its_remedy() {
    for (gateway, rest, check, text) in [
        (r#", "auth": {"mode": "off", "allowUnauthenticated": true}"#, "", "auth warning", "commands the agent"),
        (r#", "auth": {"localOpen": true}"#, "", "auth warning", "localOpen"),
        (r#", "auth": {"token": "your_token_here"}"#, "", "auth warning", "looks like an example"),
        (r#", "auth": {"token": "abc"}"#, "", "config warning", "gateway.auth.token"),
        (r#", "bind": "192.0.2.1""#, "", "port error", "is no address of this machine"),
        ("", r#", "agent": {"piCliPath": "/nowhere/pi"}"#, "pi error", "was not found"),
        (
            "",
            r#", "channels": {"telegram": {"enabled": true, "botToken": "1:a", "dmPolicy": "open", "allowFrom": ["*"]}}"#,
            "telegram warning",
            "everybody can make the agent work",
        ),
        ("", r#", "channels": {"telegram": {"enabled": true}}"#, "telegram error", "without a token"),
        ("", r#", "nonsense": 1"#, "config warning", "unknown key"),
    ] {
        let home = Home::ready();
        with(&home, gateway, rest);
        let ran = home.run("doctor --json");
        let all = ran.checks();
        assert!(all.iter().any(|c| c.starts_with(check) && c.contains(text)), "{check} {text}: {all:#?}");
        let errors = all.iter().any(|c| c.contains(" error "));
        assert_eq!(ran.code == 0, !errors, "{}", ran.out);
    }
}

#[test]
fn what_lies_wrong_in_the_data_directory_is_found_with_its_remedy() {
    let home = Home::ready();
    for dir in ["credentials", "spool", "run"] {
        fs::create_dir_all(home.data().join(dir)).unwrap();
    }
    fs::write(home.data().join("credentials/gateway-token"), "").unwrap();
    fs::write(home.data().join("credentials/telegram-allowFrom.json.bad"), "{").unwrap();
    fs::write(home.data().join("spool/1-a.bad"), "{").unwrap();
    fs::write(home.data().join("spool/2-b.json"), "{").unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.check("auth error").contains("gateway-token is empty"));
    assert!(ran.check("credentials warning").contains("was damaged"));
    assert!(ran.check("spool warning").contains("1 message of pi-gw send waits for a gateway"));
    assert!(ran.checks().iter().any(|c| c.starts_with("spool warning 1 message of pi-gw send could not be sent")));
    assert!(ran.check("rights warning").contains("can be reached by other users"));
    // No file that could be read.
    fs::create_dir(home.data().join("gateway.db")).unwrap();
    fs::create_dir(home.data().join("run/gateway.pid")).unwrap();
    let ran = home.run("doctor --json");
    ran.check("store error");
}

#[test]
fn a_machine_that_lacks_something_is_told_so_with_its_remedy() {
    let mut home = Home::ready();
    home.vars.push(("TZ", "Mars/Base".into()));
    let bin = env!("CARGO_BIN_EXE_pi-gw");
    home.program("few-files", &format!("#!/bin/sh\nulimit -n 128; exec {bin} \"$@\"\n"));
    let mut command = std::process::Command::new(home.path().join("bin/few-files"));
    let plain = home.command("doctor --json");
    command.args(plain.get_args()).current_dir(home.path()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = crate::Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
    assert_eq!(ran.code, 0, "warnings are no errors: {}", ran.out);
    assert!(ran.check("open files warning").contains("at most 128"));
    assert!(ran.check("time zone warning").contains("times are in UTC"));
}

#[test]
fn a_gateway_that_hangs_is_told_from_one_that_does_not_run() {
    let home = Home::ready();
    let running = Running::start(&home);
    let begun = Instant::now();
    while home.run("status").code != 0 {
        assert!(begun.elapsed() < DEADLINE, "{}", home.run("status").out);
    }
    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let ran = home.run("doctor --json");
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.check("gateway error").contains("but does not answer"), "{}", ran.out);
    let ran = home.run("status");
    assert_eq!((ran.code, ran.err.as_str()), (69, ""), "{}", ran.out);
    assert!(ran.out.contains("does not answer: no answer within 5s"), "{}", ran.out);
    for line in ["pairing list", "session list", "outbox list", "cron list", "media stats"] {
        assert_eq!(home.run(line).code, 0, "a gateway that hangs holds nothing up: {line}");
    }
}

#[test]
fn a_gateway_with_another_secret_is_named_by_all_who_ask_it() {
    let home = Home::ready();
    with(&home, r#", "auth": {"token": "the-right-secret-token"}"#, "");
    let _running = Running::start(&home);
    let text = fs::read_to_string(home.file()).unwrap().replace("the-right", "a-wrong-one");
    fs::write(home.path().join("wrong.jsonc"), text).unwrap();
    let begun = Instant::now();
    while home.run("status").code != 0 {
        assert!(begun.elapsed() < DEADLINE, "{}", home.run("status").out);
    }
    for line in ["status", "channel list", "send --to webchat:default --message x", "cron run x"] {
        let ran = home.run(&format!("{line} --config wrong.jsonc"));
        assert_eq!((ran.code, ran.out.as_str()), (77, ""), "{line}");
        assert!(ran.err.contains("does not accept this secret; look at gateway.auth"), "{line}: {}", ran.err);
    }
    let ran = home.run("doctor --json --config wrong.jsonc");
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.check("auth error").contains("does not accept the secret"), "{}", ran.out);
    assert_eq!(home.run("doctor").code, 0);
}
