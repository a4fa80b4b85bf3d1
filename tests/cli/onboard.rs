//! `pi-gw onboard` without a terminal: the options say everything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::support::bot_api::BotApi;
use crate::support::port::free_port;
use crate::support::raw_http::Client;
use crate::support::DEADLINE;
use crate::{Home, Ran};

/// A pi whose model answers: the demo agent in its place.
pub fn with_pi() -> Home {
    let home = Home::new();
    let script =
        format!("#!/bin/sh\nexport PI_GW_DEMO_DELAY_MS=0\nexec '{}' demo-agent \"$@\"\n", env!("CARGO_BIN_EXE_pi-gw"));
    home.program("pi", &script);
    home
}

fn onboard(home: &Home, line: &str) -> Ran {
    home.run(&format!("onboard --non-interactive --accept-risk {line}"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn nominal(home: &Home) -> std::path::PathBuf {
    home.data().join("pi-gateway.jsonc")
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gateway of that home answers a chat on that port with that token.
fn answers(home: &Home, port: u16, token: &str) {
    let log = fs::File::create(home.path().join("gateway.log")).unwrap();
    let mut command = home.command("gateway");
    let child = command.env("PI_GW_DEMO_DELAY_MS", "0").stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut child = Killed(child);
    let begun = Instant::now();
    while home.run("status").code != 0 {
        let ended = child.0.try_wait().unwrap();
        let log = || fs::read_to_string(home.path().join("gateway.log")).unwrap();
        assert!(ended.is_none() && begun.elapsed() < DEADLINE, "{ended:?}\n{}", log());
    }
    let mut client = Client::new(([127, 0, 0, 1], port).into());
    let fields = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let said = client.request("POST", "/api/chat", &fields, r#"{"message": "hello there"}"#).response();
    assert!(said.status == 200 && said.text().contains("hello there"), "{said:?}");
}

#[test]
fn given_nothing_when_a_new_user_onboards_then_the_written_file_starts_a_gateway() {
    let home = with_pi();
    let port = free_port();
    let ran = onboard(&home, &format!("--port {port}"));
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    for part in ["ok: pi:", "ok: model:", "wrote ", "pi-gw gateway\n", "pi-gw doctor --online\n"] {
        assert!(ran.err.contains(part), "{part}\n{}", ran.err);
    }
    let file = nominal(&home);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!((mode(&file), mode(&home.data())), (0o600, 0o700));
    assert!(text.starts_with("// Configuration of pi-gateway") && text.contains("    // where the page"), "{text}");
    for default in ["bind", "token", "telegram", "pool", "model"] {
        assert!(!text.contains(&format!("\"{default}\"")), "{default} is at its default\n{text}");
    }
    assert!(home.data().join("workspace").is_dir());
    let check = home.run("gateway --check --strict");
    assert_eq!(check.code, 0, "{}{}", check.out, check.err);
    let token = fs::read_to_string(home.data().join("credentials/gateway-token")).unwrap();
    assert_eq!(token.trim().len(), 32);
    answers(&home, port, token.trim());

    let again = onboard(&home, &format!("--port {port}"));
    assert!(again.code == 0 && again.err.contains("stays as it is"), "{}", again.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!home.data().join("pi-gateway.jsonc.bak").exists());
}

#[test]
fn without_consent_or_a_terminal_nothing_is_written_and_the_options_are_named() {
    let home = with_pi();
    let ran = home.run("onboard --non-interactive");
    assert!(ran.code == 64 && ran.err.contains("runs commands") && ran.err.contains("--accept-risk"), "{}", ran.err);
    let ran = home.run("onboard");
    assert!(ran.code == 64 && ran.err.contains("--non-interactive --accept-risk"), "{}", ran.err);
    for (line, why) in [
        ("--port 0", "--port must be a whole number from 1 to 65535"),
        ("--bind nowhere", "--bind"),
        ("--auth open", "--auth must be token, password or off"),
        ("--auth password", "--auth password needs --password"),
        ("--password short", "8 characters or more"),
        ("--token a --password longenough", "exclude each other"),
        ("--auth off --token abc", "--token goes with --auth token"),
        ("--feishu-app-id a", "go together"),
        ("--pool-min 3 --pool-max 2", "--pool-min is more than --pool-max"),
        ("--flow fast", "--flow must be quickstart or advanced"),
        ("--secrets none", "--secrets must be config or env"),
    ] {
        let ran = onboard(&home, line);
        assert!(ran.code == 64 && ran.err.contains(why) && ran.err.contains("usage: "), "{line}: {}", ran.err);
    }
    assert!(!home.data().exists());
}

#[test]
fn given_an_invalid_file_then_its_errors_end_it_and_reset_begins_anew() {
    let home = with_pi();
    home.configure("{\n \"gateway\": {\"port\": \"x\"}}");
    let ran = onboard(&home, "");
    assert_eq!(ran.code, 78);
    assert!(
        ran.err.contains("pi-gateway.jsonc:2:22: error: gateway.port") && ran.err.contains("--reset"),
        "{}",
        ran.err
    );
    home.configure("{\"gateway\" 1}");
    assert_eq!(onboard(&home, "").code, 78);
    assert_eq!(fs::read_to_string(home.file()).unwrap(), "{\"gateway\" 1}");
    let ran = onboard(&home, &format!("--reset --port {}", free_port()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read_to_string(home.path().join("pi-gateway.jsonc.bak")).unwrap(), "{\"gateway\" 1}");
    assert_eq!(home.run("config check --strict").code, 0);
}

#[test]
fn given_a_file_of_its_own_making_when_options_change_it_then_comments_and_unknown_keys_stay() {
    let home = with_pi();
    let port = free_port();
    let old = format!(
        "// my gateway\n{{\n  \"gateway\": {{\n    \"port\": {port}, // mine\n    \"auth\": {{ \"tokenFile\": \"tok\" }},\n  }},\n  \
         \"myKey\": [1], /* kept */\n  \"agents\": {{ \"list\": [\n    {{ \"id\": \"main\", \"workspace\": \"~/w\" }}, // the one\n  ] }},\n}}\n"
    );
    fs::write(home.path().join("tok"), "a-token-of-some-length").unwrap();
    fs::set_permissions(home.path().join("tok"), fs::Permissions::from_mode(0o600)).unwrap();
    home.configure(&old);
    let ran = onboard(
        &home,
        "--model acme/big --pool-max 2 --pool-min 0 --workspace sub/dir --token another-token-of-length --offline",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let new = fs::read_to_string(home.file()).unwrap();
    for part in ["// my gateway\n", &format!("\"port\": {port}, // mine"), "\"myKey\": [1], /* kept */", "// the one"] {
        assert!(new.contains(part), "{part}\n{new}");
    }
    let value = |path: &str| home.run(&format!("config show --path {path}")).out.trim().to_owned();
    assert_eq!(value("agent.model"), "acme/big");
    assert_eq!((value("agent.pool.min").as_str(), value("agent.pool.max").as_str()), ("0", "2"));
    assert_eq!(value("agents.list[0].workspace"), home.path().join("sub/dir").display().to_string());
    assert!(new.contains("another-token-of-length") && !new.contains("tokenFile"), "{new}");
    assert!(home.path().join("sub/dir").is_dir());
    assert_eq!(fs::read_to_string(home.path().join("pi-gateway.jsonc.bak")).unwrap(), old);
    assert_eq!((mode(&home.file()), mode(&home.path().join("pi-gateway.jsonc.bak"))), (0o600, 0o600));
}

#[test]
fn given_a_port_that_is_taken_then_the_next_free_one_is_announced_and_written() {
    let home = with_pi();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ran = onboard(&home, &format!("--json --port {port}"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let free = ran.json()["port"].as_u64().unwrap();
    assert!(free > port.into() && free <= u64::from(port) + 100);
    assert!(ran.err.contains(&format!("port {port} is taken: {free} is free")), "{}", ran.err);
    assert_eq!(home.run("config show --path gateway.port").out, format!("{free}\n"));
}

/// A file whose bot is asked at our Bot API.
pub fn with_bot_api(home: &Home, api: &BotApi) {
    let text = format!(
        "{{\n  \"gateway\": {{ \"port\": {} }},\n  \"channels\": {{ \"telegram\": {{ \"enabled\": false, \"apiRoot\": \"{}\" }} }}\n}}\n",
        free_port(),
        api.root()
    );
    home.configure(&text);
}

#[test]
fn a_bots_token_is_tried_and_the_bots_name_is_shown() {
    let (home, api) = (with_pi(), BotApi::start());
    with_bot_api(&home, &api);
    let before = fs::read_to_string(home.file()).unwrap();
    let ran = onboard(&home, "--telegram-token nonsense");
    assert_eq!(ran.code, 78, "{}", ran.err);
    let ran = onboard(&home, "--telegram-token 123456:AAthisIsNoTokenOfAnyBotAtAll");
    assert!(ran.code == 77 && ran.err.contains("@BotFather") && ran.err.contains("nothing was written"), "{}", ran.err);
    assert!(!ran.err.contains("AAthisIsNoToken"), "{}", ran.err);
    assert_eq!(fs::read_to_string(home.file()).unwrap(), before);

    let ran = onboard(&home, &format!("--telegram-token {}", api.token()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the bot is @") && ran.err.contains("pi-gw pairing approve CODE"), "{}", ran.err);
    assert_eq!(home.run("config show --path channels.telegram.enabled").out, "true\n");
    let online = home.run("doctor --online --json");
    online.check("telegram ok default: the Bot API knows it as @");

    home.configure(&before.replace(&api.root(), &format!("http://127.0.0.1:{}", free_port())));
    let line = format!("--telegram-token {}", api.token());
    let ran = onboard(&home, &line);
    assert!(ran.code == 69 && ran.err.contains("is not reached"), "{} {}", ran.code, ran.err);
    assert_eq!(onboard(&home, &format!("{line} --force")).code, 0);
    assert!(fs::read_to_string(home.file()).unwrap().contains(&api.token()));
}

#[test]
fn given_a_file_that_exists_then_only_what_is_new_must_work() {
    let home = Home::new(); // without pi
    let text = format!(
        r#"{{"gateway": {{"port": {}}}, "channels": {{"telegram": {{"enabled": true, "apiRoot": "http://127.0.0.1:{}",
            "accounts": {{"default": {{"enabled": false, "tokenFile": "gone"}}, "work": {{"botToken": "1:AAwork"}}}}}}}}}}"#,
        free_port(),
        free_port()
    );
    home.configure(&text);
    let ran = onboard(&home, "--pool-max 3");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("error: telegram: work:") && ran.err.contains("error: pi:"), "{}", ran.err);
    assert_eq!(onboard(&home, "--model acme/big").code, 69);
    assert_eq!(onboard(&home, "--telegram-token 7:AAnew").code, 69);
    assert_eq!(onboard(&home, "--telegram-token 7:AAnew --force").code, 0);
    let value = |path: &str| home.run(&format!("config show --path channels.telegram.accounts.default.{path}")).out;
    assert_eq!(
        (value("enabled").as_str(), value("botToken").as_str(), value("tokenFile").as_str()),
        ("true\n", "***\n", "\n")
    );
}

#[test]
fn given_no_pi_or_a_model_that_fails_then_it_ends_with_69_unless_forced() {
    let home = Home::new();
    let port = format!("--port {}", free_port());
    let ran = onboard(&home, &port);
    assert!(ran.code == 69 && ran.err.contains("npm install -g") && ran.err.contains("--force"), "{}", ran.err);
    assert!(!home.data().exists(), "nothing was written");
    home.program(
        "pi",
        r#"#!/bin/sh
case "$*" in *--version*) echo 1.2.3; exit;; esac
while read -r line; do case "$line" in
*get_state*) echo '{"type":"response","id":"doctor","success":true,"data":{"model":{"provider":"acme","id":"big"}}}';;
*) echo '{"type":"response","id":"doctor","success":true}'
   echo '{"type":"message_end","message":{"role":"assistant","content":[],"stopReason":"error","errorMessage":"401 no such key"}}'
   echo '{"type":"agent_end","messages":[],"willRetry":false}';;
esac; done
"#,
    );
    let ran = onboard(&home, &port);
    assert!(ran.code == 69 && ran.err.contains("error: model: no answer: 401 no such key"), "{}", ran.err);
    assert!(!home.data().exists());
    assert_eq!(onboard(&home, &format!("{port} --offline --dry-run")).code, 0);
    assert!(!home.data().exists());
    assert_eq!(onboard(&home, &format!("{port} --force")).code, 0);
    assert_eq!(home.run("gateway --check").code, 0);
}

#[test]
fn secrets_may_go_to_the_services_environment() {
    let (mut home, api) = (with_pi(), BotApi::start());
    with_bot_api(&home, &api);
    let ran = onboard(&home, &format!("--secrets env --telegram-token {} --password a$b`c\"d'é", api.token()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = fs::read_to_string(home.file()).unwrap();
    assert!(text.contains("\"${TELEGRAM_BOT_TOKEN}\"") && text.contains("\"${PI_GATEWAY_PASSWORD}\""), "{text}");
    assert!(!text.contains(&api.token()));
    let file = home.data().join("env");
    assert_eq!(mode(&file), 0o600);
    // A terminal and a crontab know nothing of that environment; every command finds it.
    let ran = home.run("config check");
    assert!(ran.code == 0 && !ran.err.contains("chmod"), "{}{}", ran.out, ran.err);
    assert_eq!(home.run("gateway --check").code, 0);
    home.vars.push(("TELEGRAM_BOT_TOKEN", "what is set counts more".into()));
    assert_eq!(home.run("config check").code, 78);
    home.vars.pop();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = home.run("config check");
    assert!(format!("{}{}", ran.out, ran.err).contains(&format!("chmod 600 {}", file.display())), "{}", ran.err);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let sourced = std::process::Command::new("/bin/sh")
        .args(["-c", "set -a; . \"$1\"; exec \"$2\" gateway --check", "sh"])
        .args([&file, Path::new(env!("CARGO_BIN_EXE_pi-gw"))])
        .current_dir(home.path())
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(sourced.status.success(), "{}", String::from_utf8_lossy(&sourced.stderr));

    // The next run finds them there, though this shell does not have them.
    let ran = onboard(&home, "--model acme/big --offline");
    assert_eq!(ran.code, 0, "{}", ran.err);
    home.vars.push(("MY_TOKEN", api.token()));
    let ran = onboard(&home, "--telegram-token ${MY_TOKEN}");
    assert!(ran.code == 0 && ran.err.contains("the bot is @"), "{}", ran.err);
    assert!(fs::read_to_string(home.file()).unwrap().contains("\"${MY_TOKEN}\""));
    assert!(!fs::read_to_string(&file).unwrap().contains("MY_TOKEN"));
}

#[test]
fn given_a_bot_whose_token_is_only_in_the_environment_then_the_file_is_no_error() {
    let (mut home, api) = (with_pi(), BotApi::start());
    home.configure(&format!(
        "{{\"gateway\": {{\"port\": {}}}, \"channels\": {{\"telegram\": {{\"enabled\": true, \"apiRoot\": \"{}\"}}}}}}",
        free_port(),
        api.root()
    ));
    assert_eq!(onboard(&home, "").code, 78, "no token at all");
    home.vars.push(("TELEGRAM_BOT_TOKEN", api.token()));
    home.vars.push(("PI_GATEWAY_PORT", free_port().to_string()));
    let ran = onboard(&home, "--model demo/echo");
    assert!(ran.code == 0 && ran.err.contains("the bot is @"), "{}", ran.err);
    assert!(!fs::read_to_string(home.file()).unwrap().contains(&api.token()));
}

#[test]
fn a_dry_run_prints_the_file_without_secrets_and_writes_nothing() {
    let home = with_pi();
    let ran = home.run("onboard --non-interactive --dry-run --token hush-hush-hush-hush --bind lan");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("\"bind\": \"lan\",") && ran.out.contains("\"token\": \"***\","), "{}", ran.out);
    assert!(!home.data().exists());
}

#[test]
fn channels_of_later_versions_are_written_down_switched_off_and_that_is_said() {
    let home = with_pi();
    let ran = onboard(
        &home,
        &format!(
            "--offline --port {} --discord-token a.b.c --feishu-app-id cli_x --feishu-app-secret s3cret",
            free_port()
        ),
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("Discord is not in this version yet") && ran.err.contains("Feishu is not in"),
        "{}",
        ran.err
    );
    for channel in ["discord", "feishu"] {
        assert_eq!(home.run(&format!("config show --path channels.{channel}.enabled")).out, "false\n");
    }
    assert_eq!(home.run("gateway --check --strict").code, 0);
}

#[test]
fn auth_off_pi_elsewhere_and_the_service() {
    let home = with_pi();
    let log = home.path().join("asked");
    home.program("systemctl", &format!("#!/bin/sh\necho \"$*\" >> '{}'\n", log.display()));
    fs::rename(home.path().join("bin/pi"), home.path().join("my-agent")).unwrap();
    let ran =
        onboard(&home, &format!("--port {} --auth off --bind lan --pi-cli ./my-agent --install-daemon", free_port()));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let value = |path: &str| home.run(&format!("config show --path {path}")).out.trim().to_owned();
    assert_eq!((value("gateway.auth.mode"), value("gateway.auth.allowUnauthenticated")), ("off".into(), "lan".into()));
    assert_eq!(value("agent.piCliPath"), home.path().join("my-agent").display().to_string());
    assert!(fs::read_to_string(&log).unwrap().contains("enable pi-gateway.service"));
    let unit = fs::read_to_string(home.path().join(".config/systemd/user/pi-gateway.service")).unwrap();
    assert!(unit.contains(&format!("--config \"{}\"", nominal(&home).display())) && !unit.contains("--port"), "{unit}");
    assert!(!home.data().join("credentials").exists(), "no token is needed");
}
