//! The configuration as its users meet it: what a file may say, and what it is told when it is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pi_gateway::config::types::*;
use pi_gateway::config::{self, Env, Issue, Loaded, Options, ProxySetting, Secret, Severity};
use serde_json::Value;

/// A home directory and the environment of a process in it.
struct Home {
    dir: tempfile::TempDir,
    env: Env,
    options: Options,
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let env = Env {
            vars: BTreeMap::new(),
            home: dir.path().to_path_buf(),
            cwd: dir.path().to_path_buf(),
            mem_total: Some(8 << 30),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
        };
        Home { dir, env, options: Options::default() }
    }

    fn var(mut self, name: &str, value: &str) -> Home {
        self.env.vars.insert(name.into(), value.into());
        self
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("f.jsonc")
    }

    fn load(&self, text: &str) -> Result<Loaded, Vec<Issue>> {
        config::load_bytes(text.into(), &self.file(), &self.env, &self.options)
    }

    #[track_caller]
    fn config(&self, text: &str) -> Config {
        self.load(text).unwrap_or_else(|issues| panic!("{}", lines(&issues).join("\n"))).config
    }

    /// Everything said about a file, as `line:col: severity: key: text`.
    fn said(&self, text: &str) -> Vec<String> {
        let issues = self.load(text).map_or_else(|issues| issues, |loaded| loaded.issues);
        let file = format!("{}:", self.file().display());
        lines(&issues).iter().map(|line| line.replace(&file, "").trim().to_owned()).collect()
    }
}

fn lines(issues: &[Issue]) -> Vec<String> {
    issues.iter().map(Issue::to_string).collect()
}

/// Whether one of the lines holds the text.
#[track_caller]
fn assert_said(home: &Home, text: &str, want: &str) {
    let said = home.said(text);
    assert!(said.iter().any(|line| line.contains(want)), "given {text}\nwanted {want}\nsaid {said:#?}");
}

#[track_caller]
fn assert_not_said(home: &Home, text: &str, unwanted: &str) {
    let said = home.said(text);
    assert!(!said.iter().any(|line| line.contains(unwanted)), "given {text}\nsaid {said:#?}");
}

const EXAMPLE: &str = include_str!("../pi-gateway.jsonc.example");

#[test]
fn the_example_loads_without_a_word() {
    let home = Home::new();
    let loaded = home.load(EXAMPLE).unwrap_or_else(|issues| panic!("{}", lines(&issues).join("\n")));
    let bad: Vec<_> = loaded.issues.iter().filter(|issue| issue.severity != Severity::Info).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let defaults = Home::new();
    let default = config::defaults(&Env { home: home.env.home.clone(), ..defaults.env.clone() });
    let (mut given, mut wanted) = (loaded.redacted(), default.redacted());
    // The only difference: the plugin section is written out.
    for value in [&mut given, &mut wanted] {
        value["plugins"]["config"] = Value::Null;
    }
    assert_eq!(given, wanted, "the example's values are the defaults");
}

#[test]
fn the_example_names_every_key() {
    fn names(value: &Value, found: &mut BTreeSet<String>) {
        if let Value::Object(entries) = value {
            found.extend(entries.keys().cloned());
            entries.values().for_each(|value| names(value, found));
        }
    }
    let mut all = BTreeSet::new();
    names(&config::defaults(&Home::new().env).redacted(), &mut all);
    let missing: Vec<_> = all.iter().filter(|name| !EXAMPLE.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(all.len() > 200, "{}", all.len());
}

#[test]
fn the_examples_commented_lines_are_right_too() {
    let mut home = Home::new();
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let bare = line.trim_start();
        match bare.strip_prefix("// ").filter(|rest| rest.starts_with(['"', '{']) && rest.contains("\": ")) {
            Some(rest) => text += rest,
            None => text += line,
        }
        text.push('\n');
    }
    for name in [
        "PI_GATEWAY_PASSWORD",
        "HOOKS_TOKEN",
        "HOOKS_SECRET",
        "TELEGRAM_WEBHOOK_SECRET",
        "GROQ_API_KEY",
        "PI_GATEWAY_AUTH_TOKEN",
        "FEISHU_VERIFICATION_TOKEN",
        "FEISHU_ENCRYPT_KEY",
        "MEDIA_SECRET",
    ] {
        home.env.vars.insert(name.into(), "0123456789abcdef".into());
    }
    home.env.vars.insert("WORK_BOT_TOKEN".into(), "2:bbbb".into());
    home.env.vars.insert("SECOND_APP_SECRET".into(), "0123456789abcdef".into());
    for line in home.said(&text) {
        // What is not there on this machine is none of the example's faults; both X and XFile are shown.
        let expected =
            ["does not exist", "cannot read", "not used, because", "has no effect", "allowedExecutables", "dmScope"];
        assert!(expected.iter().any(|part| line.contains(part)) || line.contains("info:"), "{line}");
    }
}

#[test]
fn given_an_empty_file_the_defaults_are_pi_gws() {
    let mut home = Home::new();
    let config = home.config("{}");
    assert_eq!(
        (config.gateway.port, config.gateway.bind, config.gateway.auth.log_token),
        (52134, Bind::Loopback, false)
    );
    assert_eq!((config.agent.timeout, config.agent.pool.min, config.agent.pool.max), (Duration::from_secs(300), 1, 4));
    assert!(config.media.workspace_only && !config.heartbeat.enabled && config.channels.webchat.enabled);
    assert_eq!(config.channels.discord.streaming.edit_throttle, Duration::from_millis(1200));
    assert_eq!(config.session.data_dir, home.dir.path().join(".pi/gateway/sessions"));
    home.env.mem_total = Some(500_000_000);
    let pool = home.config("{}").agent.pool;
    assert_eq!((pool.min, pool.max), (0, 1), "a small machine");
    // Null means not set, everywhere.
    let nulls = r#"{"gateway": null, "agent": {"pool": {"max": null}}, "channels": {"telegram": null}, "queue": {"mode": null}}"#;
    assert_eq!(home.config(nulls), home.config("{}"));
}

#[test]
fn the_file_is_found_in_order() {
    let mut home = Home::new();
    let at = |path: &str| home.dir.path().join(path);
    let (nominal, fallback) = (at(".pi/gateway/pi-gateway.jsonc"), at(".pi/gateway/pi-gateway.json"));
    let here = [at("pi-gateway.jsonc"), at("pi-gateway.json")];
    let found = |home: &Home| config::find(&home.env, None).path;
    assert_eq!(found(&home), nominal);
    fs::create_dir_all(nominal.parent().unwrap()).unwrap();
    for path in [&fallback, &nominal, &here[1], &here[0]] {
        fs::write(path, "{}").unwrap();
        assert_eq!(&found(&home), path);
    }
    home.env.vars.insert("PI_GATEWAY_CONFIG".into(), "~/x.json".into());
    assert_eq!(found(&home), home.dir.path().join("x.json"));
    assert!(
        config::load(&home.env, &Options { allow_missing: true, ..Options::default() }).is_err(),
        "a named file must exist"
    );
    let named = config::find(&home.env, Some(Path::new("y.json")));
    assert_eq!((named.path, named.named), (home.dir.path().join("y.json"), true));
}

#[test]
fn types_and_ranges_are_errors_with_a_position() {
    let home = Home::new();
    for (text, want) in [
        (r#"{"gateway": {"port": 0}}"#, "1:22: error: gateway.port: must be a whole number from 1 to 65535, found 0"),
        (
            r#"{"gateway": {"port": "80"}}"#,
            "1:22: error: gateway.port: must be a whole number from 1 to 65535, found \"80\"",
        ),
        (r#"{"gateway": {"port": 1.5}}"#, "error: gateway.port"),
        (r#"{"gateway": {"bind": "eth0"}}"#, "must be loopback, lan, auto or an IP address, found \"eth0\""),
        (r#"{"gateway": []}"#, "1:13: error: gateway: must be an object, found a list"),
        (
            r#"{"gateway": {"metrics": {"public": "yes"}}}"#,
            "error: gateway.metrics.public: must be true or false, found \"yes\"",
        ),
        (r#"{"gateway": {"operator": "nobody"}}"#, "must be a target"),
        (
            r#"{"gateway": {"trustedProxies": ["10.0.0.0/40"]}}"#,
            "error: gateway.trustedProxies[0]: must be an IP address or range",
        ),
        (r#"{"agent": {"thinkingLevel": "hihg"}}"#, "(did you mean \"high\"?)"),
        (r#"{"agent": {"timeoutMs": 999}}"#, "from 1000 to 86400000 or 0 (no limit)"),
        (r#"{"agent": {"piCliPath": 1}}"#, "must be a program or a list"),
        (
            r#"{"agent": {"modelFailover": {"fallbacks": ["x"]}}}"#,
            "error: agent.modelFailover.fallbacks[0]: must be provider/modelId",
        ),
        (r#"{"agent": {"runners": [{"command": ["ps"]}]}}"#, "error: agent.runners[0].name: \"name\" is missing"),
        (r#"{"agent": {"runners": [{"name": "local", "command": ["ps"]}]}}"#, "not \"local\""),
        (r#"{"agent": {"gatewayPrompts": {"cron": "on"}}}"#, "must be true, false or \"auto\""),
        (r#"{"session": {"dailyResetAt": "25:00"}}"#, "must be a time HH:MM"),
        (r#"{"network": {"proxy": "ftp://x"}}"#, "error: network.proxy"),
        (r#"{"agents": {"list": [{"id": "a b"}]}}"#, "must be made of"),
        (r#"{"agents": {"list": [1]}}"#, "error: agents.list[0]: must be an object, found 1"),
        (r#"{"roles": {"workspaceDirs": {"x": 1}}}"#, "error: roles.workspaceDirs.x: must be a path"),
        (r#"{"hooks": {"path": "/api/hooks"}}"#, "must not be below /api"),
        (r#"{"heartbeat": {"every": "30s"}}"#, "must be at least 1m"),
        (r#"{"heartbeat": {"activeHours": {"timezone": "Mars"}}}"#, "unknown time zone"),
        (r#"{"cron": {"jobs": [{"id": "a"}]}}"#, "error: cron.jobs[0].schedule.expr: \"expr\" is missing"),
        (r#"{"cron": {"jobs": [{"id": "a", "delivery": "loud"}]}}"#, "must be one of announce, direct, silent"),
        (r#"{"channels": {"telegram": {}}}"#, "\"enabled\" is missing"),
        (r#"{"channels": {"telegram": {"enabled": false, "mediaMaxMb": 0.05}}}"#, "must be a number from 0.1 to 2000"),
        (r#"{"channels": {"telegram": {"enabled": false, "webhookUrl": "http://x"}}}"#, "starts with https://"),
        (
            r#"{"channels": {"telegram": {"enabled": false, "customCommands": [{"command": "A", "description": "d"}]}}}"#,
            "must be 1-32 characters",
        ),
        (
            r#"{"channels": {"discord": {"enabled": false, "threadArchiveMinutes": 61}}}"#,
            "must be 60, 1440, 4320 or 10080",
        ),
        (
            r#"{"channels": {"feishu": {"enabled": false, "domain": "http://x.cn"}}}"#,
            "plain http is for loopback hosts only",
        ),
        (r#"{"channels": {"feishu": {"enabled": false, "recall": "x"}}}"#, "must be one of finish, abort"),
        (r#"{"channels": {"webchat": {"mediaTokenTtlMs": 1}}}"#, "error: channels.webchat.mediaTokenTtlMs"),
    ] {
        assert_said(&home, text, want);
        assert!(home.load(text).is_err(), "{text}");
    }
    let all = home.said("{\"gateway\": {\"port\": 0, \"bind\": \"x\"},\n \"queue\": 1}");
    assert_eq!(all.iter().filter(|line| line.contains("error:")).count(), 3, "all at once: {all:#?}");
}

#[test]
fn columns_count_characters_and_lines_any_ending() {
    let home = Home::new();
    assert_said(&home, "{\"ü😀\": \"é\", \"gateway\": {\"port\": 0}}", "1:33: error: gateway.port");
    assert_said(&home, "{\r\n  \"gateway\": {\r\n    \"port\": 0}}\r\n", "3:13: error: gateway.port");
    assert_said(&home, "\u{feff}{\"gateway\": {\"port\": 0}}", "1:22: error: gateway.port");
    assert_said(&home, "{\"gateway\": {\"port\": 0, // c\n\"port\": 70000}}", "2:9: error: gateway.port");
}

#[test]
fn unknown_keys_are_warnings_with_a_suggestion() {
    let home = Home::new();
    for (text, want) in [
        (r#"{"agent": {"pool": {"maxx": 1}}}"#, "1:21: warning: agent.pool.maxx: unknown key \"agent.pool.maxx\" (did you mean \"max\"?)"),
        (r#"{"agent": {"port": 1}}"#, "unknown key \"agent.port\" (did you mean \"pool\"? \"port\" is a key of \"gateway\")"),
        (r#"{"queue": {"showThinking": 1}}"#, "(\"showThinking\" is a key of \"agent\")"),
        (r#"{"gatway": {}}"#, "unknown key \"gatway\" (did you mean \"gateway\"?)"),
        (r#"{"zzzzzzzz": 1}"#, "unknown key \"zzzzzzzz\""),
        (r#"{"channels": {"telgram": {"enabled": true}}}"#, "warning: channels.telgram: no channel has this name, unless a plugin provides it (did you mean \"telegram\"?)"),
        (r#"{"agents": {"list": [{"id": "main", "workspce": "/"}]}}"#, "(did you mean \"workspace\"?)"),
        (
            r#"{"channels": {"telegram": {"enabled": false, "accounts": {"a": {}, "a": {}}}}}"#,
            "1:68: warning: channels.telegram.accounts.a: this key occurs twice",
        ),
        (r#"{"gateway": {"port": 1, "port": 2}}"#, "1:25: warning: gateway.port: this key occurs twice, the last one counts"),
        (r#"{"queue": {"dedup": {"ttlMs": 5000}}}"#, "accepted, has no effect"),
        (r#"{"queue": {"dedup": {"enabled": false}}}"#, "accepted, has no effect"),
        (r#"{"channels": {"telegram": {"enabled": false, "groups": {"-1": {"tools": {}, "toolsBySender": {}}}}}}"#, "warning: channels.telegram.groups.-1.tools: accepted, has no effect"),
    ] {
        assert_said(&home, text, want);
        assert!(home.load(text).is_ok(), "never fatal: {text}");
        let strict = Home { options: Options { strict: true, ..Options::default() }, ..Home::new() };
        assert!(strict.load(text).is_err(), "but for --strict: {text}");
    }
    for text in [
        r#"{"plugins": {"config": {"anything": {"goes": [1, {"here": null}]}}}}"#,
        r#"{"channels": {"telegram": {"enabled": false, "groups": {"*": {}, "-1": {"topics": {"77": {}}}}, "accounts": {"x": {}}}}}"#,
        r#"{"channels": {"discord": {"enabled": false, "guilds": {"123456789012345678": {"channels": {"123456789012345678": {}}}}}}}"#,
        r#"{"roles": {"workspaceDirs": {"r": "/"}, "capabilities": {"r": {}}}, "agent": {"tools": {"byChannel": {"x": {}}}}}"#,
        r#"{"$schema": "x"}"#,
    ] {
        assert_not_said(&home, text, "unknown key");
    }
    let known = Home { options: Options { plugin_channels: vec!["irc".into()], ..Options::default() }, ..Home::new() };
    let text =
        r#"{"channels": {"irc": {"enabled": true, "server": "x", "dmPolicy": "allowlist", "allowFrom": ["me"]}}}"#;
    assert_not_said(&known, text, "irc");
    let channel = &known.config(text).channels.plugins["irc"];
    assert_eq!((channel.dm_policy, channel.settings["server"].as_str()), (DmPolicy::Allowlist, Some("x")));
}

#[test]
fn a_delegation_that_cannot_be_is_told() {
    let home = Home::new();
    let agents = r#""agents": {"list": [{"id": "main"}, {"id": "coder", "delegation": {"allowAgents": ["mian"]}}]}"#;
    let text = format!(
        r#"{{{agents}, "delegation": {{"allowAgents": ["coder", "x"]}}, "agent": {{"pool": {{"min": 0, "max": 1}}}}}}"#
    );
    assert_said(&home, &text, "warning: agents.list[1].delegation.allowAgents: there is no agent \"mian\"");
    assert_said(&home, &text, "warning: delegation.allowAgents: there is no agent \"x\"");
    assert_not_said(&home, &text, "there is no agent \"coder\"");
    assert_said(&home, &text, "info: agent.pool.max: with one pi process no agent can delegate");
}

#[test]
fn a_wrong_inherited_value_is_reported_once() {
    let home = Home::new();
    let text = r#"{"channels": {"telegram": {"enabled": false, "dmPolcy": 1, "streamMode": "x", "accounts": {"a": {}, "b": {}}}}}"#;
    for part in ["dmPolcy", "streamMode"] {
        assert_eq!(home.said(text).iter().filter(|line| line.contains(part)).count(), 1, "{:#?}", home.said(text));
    }
}

#[test]
fn variables_become_values() {
    let home = Home::new().var("PORT", "8080").var("ON", "true").var("EMPTY", "").var("BAD", "hush-hush");
    let config = home.config(r#"{"gateway": {"port": "${PORT}", "metrics": {"public": "${ON}"}, "allowedHosts": ["${NO:-a.b}"]}, "agent": {"model": "$${x}"}}"#);
    assert_eq!((config.gateway.port, config.gateway.metrics.public), (8080, true));
    assert_eq!((config.gateway.allowed_hosts, config.agent.model.as_deref()), (vec!["a.b".to_owned()], Some("${x}")));
    let text = r#"{"channels": {"telegram": {"enabled": true, "botToken": "${EMPTY}"}}}"#;
    assert_said(
        &home,
        text,
        "error: channels.telegram.botToken: must not be empty (the value comes from the environment: EMPTY)",
    );
    let text = r#"{"gateway": {"cors": "${BAD}"}}"#;
    assert_said(&home, text, "the value comes from the environment: BAD");
    assert_not_said(&home, text, "hush");
    // Not one per run, and nothing about what follows from it.
    let said = home.said(r#"{"gateway": {"auth": {"mode": "password", "password": "${A}", "token": "${B}"}}}"#);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with("1:55: error: gateway.auth.password: environment variable A is not set"), "{said:#?}");
}

#[test]
fn a_disabled_channel_needs_no_secrets() {
    let home = Home::new();
    for text in [
        r#"{"channels": {"telegram": {"enabled": false, "botToken": "${NOPE}", "tokenFile": "/nope"}}}"#,
        r#"{"channels": {"telegram": {"enabled": false, "botToken": "YOUR_BOT_TOKEN"}}}"#,
        r#"{"channels": {"telegram": {"enabled": false, "botToken": ""}, "discord": {"enabled": false, "token": ""}, "feishu": {"enabled": false, "appId": "", "appSecret": ""}}}"#,
        r#"{"channels": {"telegram": {"enabled": true, "botToken": "1:a", "accounts": {"x": {"enabled": false, "botToken": "${NOPE}"}}}}}"#,
        r#"{"hooks": {"enabled": false, "token": "${NOPE}"}}"#,
    ] {
        assert!(home.load(text).is_ok(), "{text} {:#?}", home.said(text));
    }
}

#[test]
fn secrets_may_stand_in_files() {
    let home = Home::new();
    let path = home.dir.path().join("t");
    fs::write(&path, " 1:abc\n").unwrap();
    let text = r#"{"channels": {"telegram": {"enabled": true, "tokenFile": "t"}}}"#;
    assert_said(&home, text, "can be read by other users");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_not_said(&home, text, "can be read");
    let config = home.config(text);
    assert_eq!(config.channels.telegram.accounts["default"].bot_token, Some(Secret::new("1:abc")));
    let both = r#"{"channels": {"telegram": {"enabled": true, "botToken": "2:b", "tokenFile": "t"}}}"#;
    assert_said(&home, both, "warning: channels.telegram.tokenFile: not used, because \"botToken\" is set");
    assert_eq!(home.config(both).channels.telegram.accounts["default"].bot_id(), Some("2"));
    fs::write(&path, "\n").unwrap();
    assert_said(&home, text, "t is empty");
    assert_said(
        &home,
        r#"{"gateway": {"auth": {"tokenFile": "~/nope"}}}"#,
        "error: gateway.auth.tokenFile: cannot read",
    );
}

#[test]
fn telegram_accounts_inherit() {
    let home = Home::new().var("TELEGRAM_BOT_TOKEN", "9:env");
    let telegram = |text: &str| {
        home.config(&format!(r#"{{"channels": {{"telegram": {{"enabled": true, {text}}}}}}}"#)).channels.telegram
    };
    let one = telegram(r#""role": "r""#);
    assert_eq!(one.accounts.keys().collect::<Vec<_>>(), ["default"]);
    assert_eq!(one.accounts["default"].bot_id(), Some("9"), "the environment's token is the default account's");
    assert_eq!(one.accounts["default"].webhook_path, "/webhook/telegram");
    let two = telegram(
        r#""botToken": "1:a", "role": "r", "groups": {"-1": {}}, "audio": {"model": "m"}, "accounts": {"work": {"botToken": "2:b", "role": "w", "groups": {"-2": {}}}}"#,
    );
    assert_eq!(
        two.accounts.keys().collect::<Vec<_>>(),
        ["default", "work"],
        "a token at the top is an account of its own"
    );
    let work = &two.accounts["work"];
    assert_eq!((work.role.as_deref(), work.bot_id(), work.audio.model()), (Some("w"), Some("2"), "m"));
    assert_eq!(work.groups.keys().collect::<Vec<_>>(), ["-2"], "objects are replaced, not merged");
    assert_eq!(work.webhook_path, "/webhook/telegram/work");
    let own = telegram(r#""accounts": {"work": {"botToken": "2:b"}}"#);
    assert_eq!(own.accounts.keys().collect::<Vec<_>>(), ["work"]);
    let null = telegram(
        r#""botToken": "1:a", "proxy": "http://p:1", "accounts": {"work": {"botToken": "2:b", "proxy": null}}"#,
    );
    assert_eq!(null.accounts["work"].proxy, None, "null unsets what would be inherited");
    assert!(null.accounts["default"].proxy.is_some());
    let text = r#"{"channels": {"telegram": {"enabled": true, "botToken": "1:a", "accounts": {"work": {}}}}}"#;
    assert_said(&home, text, "error: channels.telegram.accounts.work.botToken: the account has no bot token");
}

#[test]
fn whole_configurations_are_checked() {
    let mut home = Home::new();
    fs::create_dir(home.dir.path().join("work")).unwrap();
    let tg =
        |inner: &str| format!(r#"{{"channels": {{"telegram": {{"enabled": true, "botToken": "1:a", {inner}}}}}}}"#);
    let dc = |inner: &str| format!(r#"{{"channels": {{"discord": {{"enabled": true, "token": "a.b.c", {inner}}}}}}}"#);
    let fs_ = |inner: &str| {
        format!(r#"{{"channels": {{"feishu": {{"enabled": true, "appId": "a", "appSecret": "s", {inner}}}}}}}"#)
    };
    let cron = |inner: &str| {
        format!(r#"{{"cron": {{"jobs": [{{"id": "j", "payload": {{"text": "t"}}, "schedule": {{{inner}}}}}]}}}}"#)
    };
    for (text, want) in [
        (r#"{"agent": {"pool": {"min": 5, "max": 2}}}"#.to_owned(), "error: agent.pool.min: 5 is more than agent.pool.max (2)"),
        (r#"{"agent": {"pool": {"max": 11}}}"#.into(), "info: agent.pool.max"),
        (r#"{"agent": {"pool": {"idleTimeoutMs": 1000}}}"#.into(), "info: agent.pool.idleTimeoutMs"),
        (r#"{"agent": {"sandbox": {"mode": "all"}}}"#.into(), "error: agent.sandbox.mode: not supported"),
        (r#"{"agent": {"piCliPath": "/opt/evil"}}"#.into(), "error: agent.piCliPath: \"evil\" is not in security.exec.allowedExecutables"),
        (r#"{"agent": {"runners": [{"name": "a", "command": []}]}}"#.into(), "must name a program"),
        (r#"{"agent": {"runners": [{"name": "a", "command": ["ps"]}, {"name": "a", "command": ["ps"]}]}}"#.into(), "error: agent.runners[1].name: \"a\" is used twice"),
        (r#"{"gateway": {"auth": {"mode": "off"}}}"#.into(), "error: gateway.auth.mode: without authentication"),
        (r#"{"gateway": {"auth": {"mode": "off", "allowUnauthenticated": true}}}"#.into(), "warning: gateway.auth.mode: authentication is off"),
        (r#"{"gateway": {"bind": "lan", "auth": {"mode": "off", "allowUnauthenticated": true}}}"#.into(), "error: gateway.auth.mode: no authentication on an address"),
        (r#"{"gateway": {"bind": "0.0.0.0", "auth": {"mode": "off", "allowUnauthenticated": "lan"}}}"#.into(), "warning: gateway.auth.mode: authentication is off"),
        (r#"{"gateway": {"auth": {"mode": "password"}}}"#.into(), "error: gateway.auth.password: is required"),
        (r#"{"gateway": {"auth": {"token": "short"}}}"#.into(), "warning: gateway.auth.token: is shorter than 16"),
        (r#"{"gateway": {"auth": {"token": "your_token_goes_here"}}}"#.into(), "warning: gateway.auth.token: looks like an example"),
        (r#"{"gateway": {"auth": {"token": ""}}}"#.into(), "error: gateway.auth.token: must not be empty"),
        ("{}".into(), "info: gateway.auth.token: not set: a generated one"),
        ("{}".into(), "info: session.dataDir"),
        (r#"{"gateway": {"port": 5, "agentPort": 5}}"#.into(), "error: gateway.agentPort"),
        (r#"{"session": {"dataDir": "/dev/null/x"}}"#.into(), "error: session.dataDir: cannot write to /dev/null"),
        (r#"{"network": {"caFile": "nope.pem"}}"#.into(), "error: network.caFile: cannot read"),
        (r#"{"plugins": {"dirs": ["nope"]}}"#.into(), "warning: plugins.dirs[0]"),
        (r#"{"roles": {"workspaceDirs": {"r": "nope"}}}"#.into(), "info: roles.workspaceDirs.r"),
        (r#"{"agents": {"list": [{"id": "a"}], "default": "b"}}"#.into(), "error: agents.default: there is no agent \"b\"; the agents are: a"),
        (r#"{"agents": {"list": [{"id": "main"}, {"id": "main"}]}}"#.into(), "error: agents.list[1].id: \"main\" is used twice"),
        (r#"{"agents": {"list": [{"id": "main"}]}}"#.into(), "warning: agents.list[0].workspace: is missing"),
        (r#"{"agents": {"list": [{"id": "main", "workspace": "nope"}]}}"#.into(), "warning: agents.list[0].workspace"),
        (r#"{"agents": {"list": [{"id": "main"}, {"id": "stop"}]}}"#.into(), "warning: agents.list[1].id: /stop is a command"),
        (r#"{"agents": {"list": [{"id": "main", "delegation": {"maxDepth": 4}}]}}"#.into(), "info: agents.list[0].delegation.maxDepth"),
        (r#"{"agents": {"bindings": [{"agentId": "x", "match": {}}]}}"#.into(), "warning: agents.bindings[0].agentId: there is no agent \"x\""),
        (r#"{"agents": {"bindings": [{"agentId": "main", "match": {}}]}}"#.into(), "warning: agents.bindings[0].match: matches everything"),
        (cron(r#""expr": "x""#), "error: cron.jobs[0].schedule.expr"),
        (cron(r#""expr": "0 0 * * *", "timezone": "x""#), "unknown time zone"),
        (r#"{"cron": {"jobs": [{"id": "j", "agentId": "x", "payload": {"text": "t"}, "schedule": {"expr": "@daily"}}]}}"#.into(), "warning: cron.jobs[0].agentId"),
        (r#"{"channels": {"webchat": {"enabled": false}}}"#.into(), "warning: channels: no channel is enabled"),
        (r#"{"channels": {"telegram": {"enabled": true}}}"#.into(), "error: channels.telegram.botToken: the account has no bot token"),
        (r#"{"channels": {"telegram": {"enabled": true, "botToken": "nonsense"}}}"#.into(), "is no bot token"),
        (tg(r#""accounts": {"x": {"botToken": "1:b"}}"#), "the accounts \"default\" and \"x\" have the same bot (1)"),
        (tg(r#""dmPolicy": "open""#), "error: channels.telegram.dmPolicy: \"open\" lets everyone in"),
        (tg(r#""dmPolicy": "open", "allowFrom": ["*"]"#), "warning: session.dmScope"),
        (tg(r#""allowFrom": [1, 2]"#), "warning: session.dmScope"),
        (tg(r#""dmPolicy": "allowlist""#), "warning: channels.telegram.allowFrom: is empty: nobody can write"),
        (tg(r#""allowFrom": ["@me"]"#), "warning: channels.telegram.allowFrom[0]: \"@me\" never matches"),
        (tg(r#""groups": {"100": {}}"#), "warning: channels.telegram.groups.100: never matches: ids of groups start with"),
        (tg(r#""groups": {"mygroup": {}}"#), "never matches: a group's id is a number"),
        (tg(r#""mediaMaxMb": 256"#), "info: channels.telegram.mediaMaxMb"),
        (tg(r#""webhookUrl": "https://x""#), "error: channels.telegram.webhookSecret: is required"),
        (tg(r#""webhookUrl": "https://x", "webhookSecret": "a b""#), "must be 1-256 characters"),
        (tg(r#""webhookUrl": "https://x", "webhookSecret": "s", "webhookPath": "/w", "accounts": {"x": {"botToken": "2:b"}}"#), "is the path of another account"),
        (r#"{"channels": {"discord": {"enabled": true}}}"#.into(), "error: channels.discord.token: the channel has no bot token"),
        (r#"{"channels": {"discord": {"enabled": true, "token": "x"}}}"#.into(), "is no bot token (three parts"),
        (r#"{"channels": {"discord": {"enabled": true, "token": "Bot a.b.c"}}}"#.into(), "the leading \"Bot \" does not belong"),
        (dc(r#""dmPolicy": "open""#), "error: channels.discord.dmPolicy"),
        (dc(r#""guilds": {"1": {}}"#), "warning: channels.discord.guilds.1: never matches"),
        (dc(r#""dm": {"allowFrom": [12345678901234567]}"#), "warning: channels.discord.dm.allowFrom[0]"),
        (r#"{"channels": {"feishu": {"enabled": true}}}"#.into(), "error: channels.feishu.appId: is required"),
        (r#"{"channels": {"feishu": {"enabled": true, "appId": "a"}}}"#.into(), "error: channels.feishu.appSecret: is required"),
        (fs_(r#""connectionMode": "webhook""#), "webhook mode needs"),
        (fs_(r#""accounts": {"x": {"appId": "a", "appSecret": "t"}}"#), "are the same app"),
    ] {
        assert_said(&home, &text, want);
    }
    home.env.now = SystemTime::UNIX_EPOCH;
    assert_said(&home, "{}", "warning: the clock is not set");
    let fine = tg(
        r#""webhookUrl": "https://x", "webhookSecret": "s", "webhookPath": "/w", "accounts": {"x": {"botToken": "2:b", "webhookSecret": "t"}}"#,
    );
    assert!(home.load(&fine).is_ok(), "one path, two secrets");
}

#[test]
fn old_files_load_with_a_notice() {
    let home = Home::new();
    let text = r#"{
  "gateway": {"bind": "0.0.0.0", "logLevel": "debug", "auth": {"token": "a-long-enough-token"}},
  "agent": {"timeoutMs": 900000, "skills": ["./skills"]},
  "telegram": {"enabled": true, "botToken": "1:a", "requireMention": false, "mediaMaxMb": 256,
    "streaming": {"streamStartChars": 20.5, "debounceMs": 30, "editThrottleMs": 500, "placeholder": "wait"}},
  "plugins": {"config": {"pinganGateway": {"x": 1}}}
}"#;
    let config = home.config(text);
    let account = &config.channels.telegram.accounts["default"];
    assert!(!account.groups["*"].require_mention);
    assert_eq!((account.draft_chunk.min_chars, account.draft_chunk.edit_throttle), (20, Duration::from_millis(500)));
    assert_eq!((account.debounce, account.placeholder.as_str()), (Duration::from_millis(30), "wait"));
    assert_eq!((config.gateway.bind, config.logging.level), (Bind::All, LogLevel::Debug));
    assert_eq!(config.agent.inactivity_limit(), Some(Duration::from_secs(900)));
    assert_eq!(config.agent.skills, [home.dir.path().join("skills").to_string_lossy()]);
    let said = home.said(text);
    for want in [
        "4:3: info: telegram: old form, moved to \"channels.telegram\"",
        "info: channels.telegram.requireMention: old form",
        "info: channels.telegram.streaming: old form",
    ] {
        assert!(said.iter().any(|line| line.contains(want)), "{want}\n{said:#?}");
    }
}

#[test]
fn the_environment_overrides() {
    let home = Home::new().var("PI_GATEWAY_PORT", "7000").var("PI_GATEWAY_AUTH_TOKEN", "environment-token-1");
    let config = home.config(r#"{"gateway": {"port": 6000}}"#);
    assert_eq!((config.gateway.port, config.gateway.auth.token), (7000, Some(Secret::new("environment-token-1"))));
    let own = home.config(r#"{"gateway": {"auth": {"token": "a-token-of-the-file"}}}"#);
    assert_eq!(own.gateway.auth.token, Some(Secret::new("a-token-of-the-file")));
    let cli = Home { options: Options { port: Some(8000), bind: Some("lan".into()), ..Options::default() }, ..home };
    assert_eq!((cli.config("{}").gateway.port, cli.config("{}").gateway.bind), (8000, Bind::All));
    for wrong in ["x", "0", "70000", "-1"] {
        let home = Home::new().var("PI_GATEWAY_PORT", wrong);
        assert_said(&home, "{}", "warning: gateway.port: PI_GATEWAY_PORT is not a whole number");
        assert_eq!(home.config("{}").gateway.port, 52134);
    }
    let proxies =
        Home::new().var("https_proxy", "http://p:1").var("ALL_PROXY", "socks5h://a:2").var("NO_PROXY", "x.com, .y.com");
    let network = proxies.config("{}").network;
    assert_eq!(network.proxy_for("wss", None).as_deref(), Some("http://p:1"));
    assert_eq!(network.proxy_for("http", None).as_deref(), Some("socks5h://a:2"));
    assert_eq!(network.proxy_for("https", Some(&ProxySetting::None)), None);
    for (host, direct) in
        [("127.0.0.1", true), ("localhost", true), ("x.com", true), ("a.y.com", true), ("z.com", false)]
    {
        assert_eq!(network.is_direct(host), direct, "{host}");
    }
    let set = proxies.config(r#"{"network": {"proxy": "none", "noProxy": []}}"#).network;
    assert_eq!(set.proxy_for("https", None), None, "none ignores the environment");
}

#[test]
fn secrets_are_known_and_never_printed() {
    let home = Home::new().var("A_TOKEN", "from-the-environment").var("IN_AGENT_TOKEN", "x").var("PLAIN", "y");
    let text = r#"{"gateway": {"auth": {"token": "${A_TOKEN}"}, "allowedHosts": ["${PLAIN}"]}, "agent": {"model": "${IN_AGENT_TOKEN}",
            "runners": [{"name": "r", "command": ["ps"], "env": {"API_TOKEN": "runner-secret", "OTHER": "quiet-value"}}]},
        "plugins": {"config": {"x": {"apiKey": "plugin-secret-1"}}},
        "channels": {"telegram": {"enabled": true, "botToken": "1:telegram-secret", "proxy": "http://u:proxy-pass@h:1"},
                     "other": {"enabled": true, "password": "channel-secret"}}}"#;
    let loaded = home.load(text).unwrap();
    let secrets: Vec<&str> = loaded.config.secrets().iter().map(Secret::expose).collect();
    for secret in ["from-the-environment", "plugin-secret-1", "1:telegram-secret", "channel-secret", "runner-secret"] {
        assert!(secrets.contains(&secret), "{secret}");
    }
    for shown in [format!("{loaded:?}"), loaded.redacted().to_string()] {
        for secret in secrets.iter().copied().chain(["proxy-pass"]) {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    let hidden = loaded.config.vars_to_hide_from_pi();
    assert_eq!(hidden, BTreeSet::from(["A_TOKEN", "TELEGRAM_BOT_TOKEN", "PI_GATEWAY_AUTH_TOKEN"]));
    assert_eq!(loaded.redacted()["gateway"]["auth"]["token"], "${A_TOKEN}");
}

#[test]
fn a_file_with_secrets_is_for_its_owner() {
    let home = Home::new();
    for (text, mode, warned) in [
        (r#"{"gateway": {"auth": {"token": "a-long-enough-token"}}}"#, 0o644, true),
        (r#"{"gateway": {"auth": {"token": "a-long-enough-token"}}}"#, 0o600, false),
        (r#"{"gateway": {"auth": {"token": "${T}"}}}"#, 0o644, false),
        (r#"{"plugins": {"config": {"x": {"apiKey": "k"}}}}"#, 0o644, true),
        ("{}", 0o644, false),
    ] {
        let home = Home { dir: tempfile::tempdir().unwrap(), env: home.env.clone(), options: Options::default() }
            .var("T", "0123456789abcdefg");
        fs::write(home.file(), text).unwrap();
        fs::set_permissions(home.file(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            home.said(text).iter().any(|line| line.contains("warning: config.permissions")),
            warned,
            "{text} {mode:o}"
        );
    }
}

#[test]
fn agents_inherit_heartbeat_and_delegation() {
    let config = Home::new().config(
        r#"{"heartbeat": {"enabled": true, "every": "2h"}, "delegation": {"maxDepth": 2, "allowAgents": ["b"]},
            "agents": {"default": "a", "list": [{"id": "a", "heartbeat": {"every": "1h"}, "delegation": {"maxDepth": 0}}, {"id": "b"}]}}"#,
    );
    let (a, b) = (config.heartbeat_of("a"), config.heartbeat_of("b"));
    assert_eq!((a.enabled, a.every, b.every), (true, Duration::from_secs(3600), Duration::from_secs(7200)));
    let own = config.delegation_of("a");
    assert_eq!((own.max_depth, own.max_concurrent, own.allow_agents), (Some(0), Some(2), Some(vec!["b".into()])));
    assert_eq!(config.delegation_of("b").max_depth, Some(2));
}

#[test]
fn deep_nesting_is_refused_on_a_small_stack() {
    let text = format!("{{\"plugins\": {{\"config\": {{\"x\": {}{}}}}}}}", "[".repeat(60), "]".repeat(60));
    let run = move || {
        (Home::new().load(&text).is_ok(), Home::new().load(&format!("{{\"a\": {}", "[".repeat(100_000))).is_err())
    };
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), (true, true));
}
