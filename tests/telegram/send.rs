//! `pi-gw send` from scripts and cron, with a gateway and without one (config.md 10.1).

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::operation::Ran;
use crate::support::bot_api::{BotApi, Rule, Trouble};
use crate::support::gateway::Gateway;

/// A configuration, and no gateway on it.
pub fn alone(api: &BotApi, telegram: Value) -> Gateway {
    let mut all =
        json!({"enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": [ANN.to_string()]});
    for (key, value) in telegram.as_object().unwrap() {
        all[key] = value.clone();
    }
    Gateway::new(json!({"channels": {"telegram": all}}))
}

/// As [`cli`], with words of its own and something on standard input.
pub fn send(g: &Gateway, args: &[&str], input: Option<&[u8]>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pi-gw"));
    command.arg("send").args(args).arg("--config").arg(g.config_file());
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", g.home.path());
    command.current_dir(g.home.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).spawn().unwrap();
    if let Some(bytes) = input {
        let _ = child.stdin.take().unwrap().write_all(bytes); // it may not want all of it
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub fn said(api: &BotApi, chat: i64) -> Vec<String> {
    api.messages(chat).into_iter().filter(|m| m.bot.is_some()).map(|m| m.text().to_owned()).collect()
}

/// Ann has a chat with the bot.
fn met(api: &BotApi) {
    api.user_writes(ANN, "/start");
}

#[test]
fn without_a_gateway_a_text_goes_straight_to_the_platform() {
    let api = BotApi::start();
    met(&api);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    let ran = send(&g, &["--to", &to, "--message", "disk **91 %** full"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let sent = api.wait_text(ANN, "disk 91 % full");
    assert_eq!(sent.parts("bold"), ["91 %"]);
    assert_eq!(ran.out, format!("sent telegram:default:{ANN} message {}\n", sent.id()));

    let ran = send(&g, &["--to", &to, "--silent", "--json"], Some("from a pipe, ü\n".as_bytes()));
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["ok"], &value["chunks"], &value["channel"]), (&json!(true), &json!(1), &json!("telegram")));
    api.wait_text(ANN, "from a pipe, ü");
    let call = api.calls("sendMessage").pop().unwrap();
    assert_eq!(call.params["disable_notification"], true, "{:?}", call.params);

    let long = "word ".repeat(2_000);
    let ran = send(&g, &["--to", &to, "--message", "-", "-q", "--format", "plain"], Some(long.as_bytes()));
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let parts = said(&api, ANN).split_off(2);
    assert_eq!(parts.len(), 3);
    assert_eq!(parts.join(" ").split_whitespace().count(), 2_000);
    assert!(!g.data().join("gateway.db").exists(), "no store was needed");
    api.assert_clean();
}

#[test]
fn files_are_sent_with_a_caption() {
    let api = BotApi::start();
    met(&api);
    let g = alone(&api, json!({}));
    std::fs::write(g.home.path().join("report.txt"), "all is well").unwrap();
    let to = format!("telegram:{ANN}");
    let ran = send(&g, &["--to", &to, "--file", "report.txt", "--caption", "the *nightly* report"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let sent = api.messages(ANN).pop().unwrap();
    assert_eq!((sent.media(), sent.text()), (Some("document"), "the nightly report"));
    assert_eq!(api.file(sent.file_id().unwrap()).unwrap(), b"all is well");
    let ran = send(&g, &["--to", &to, "--file", "nothing.txt"], None);
    assert_eq!(ran.code, 65);
    assert!(ran.err.contains("nothing.txt: No such file"), "{}", ran.err);
}

#[test]
fn b27_every_failure_of_send_has_a_code_that_a_script_can_read() {
    let api = BotApi::start();
    met(&api);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    let code = |args: &[&str]| {
        let ran = send(&g, args, None);
        assert_eq!(ran.out, "", "{args:?}");
        (ran.code, ran.err)
    };
    for (args, wanted, why) in [
        (&["--message", "x"][..], 64, "--to is missing"),
        (&["--to", &to][..], 64, "nothing to send"),
        (&["--to", &to, "--message", "x", "--retries", "many"][..], 64, "--retries must be"),
        (&["--to", "telegram:ann", "--message", "x"][..], 65, "numeric id"),
        (&["--to", "telegram:other:5", "--message", "x"][..], 65, "there are: default"),
        (&["--to", "5", "--message", "x"][..], 65, "channel:chat"),
        (&["--to", "pigeon:5", "--message", "x"][..], 65, "no channel \"pigeon\""),
        (&["--to", "discord:12345678901234567", "--message", "x"][..], 69, "no channel discord"),
        (&["--to", "discord:general", "--message", "x"][..], 65, "17 to 20 digits"),
        (&["--to", "webchat:default", "--message", "x"][..], 69, "no gateway runs"),
        (&["--to", "last", "--message", "x"][..], 1, "no conversations yet"),
        (&["--to", &to, "--message", "x", "--via", "gateway"][..], 69, "no gateway runs"),
        (&["--to", "telegram:4242", "--message", "x"][..], 1, "chat not found"),
    ] {
        let (found, err) = code(args);
        assert_eq!(found, wanted, "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
    let ran = send(&g, &["--to", &to], Some(b"caf\xe9"));
    assert_eq!((ran.code, ran.err.trim()), (65, "standard input is not UTF-8: byte 4 is wrong"));
    let ran = send(&g, &["--to", &to], Some(&vec![b'x'; (1 << 20) + 1]));
    assert_eq!((ran.code, ran.err.trim()), (65, "standard input: more than 1 MiB"));
    let ran = send(&g, &["--to", &to, "--message", "-", "-q"], Some(b"\n"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "a pipe that had nothing to say");
    assert_eq!(said(&api, ANN), [""; 0]);

    api.trouble(Rule::on("sendMessage", Trouble::unauthorized()).times(1));
    let (found, err) = code(&["--to", &to, "--message", "x"]);
    assert_eq!(found, 77, "{err}");
    assert!(!err.contains(&api.token()), "{err}");
    api.trouble(Rule::on("sendMessage", Trouble::Flood(60)).times(1));
    let (found, err) = code(&["--to", &to, "--message", "x", "--timeout", "5"]);
    assert!(found == 75 && err.contains("asks to wait"), "{found} {err}");
    g.replace_config("{ \"channels\": [ }");
    assert_eq!(code(&["--to", &to, "--message", "x"]).0, 78);
}

#[test]
fn what_fails_for_now_is_tried_again_and_what_hangs_is_given_up() {
    let api = BotApi::start();
    met(&api);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    api.trouble(Rule::on("sendMessage", Trouble::Flood(1)).times(1));
    let ran = send(&g, &["--to", &to, "--message", "patient"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(said(&api, ANN), ["patient"]);
    api.trouble(Rule::on("sendMessage", Trouble::Hold).times(1));
    let begun = Instant::now();
    let ran = send(&g, &["--to", &to, "--message", "stuck", "--timeout", "1"], None);
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert!(ran.err.starts_with("perhaps not sent to ") && ran.err.contains("no time is left"), "{}", ran.err);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_key_is_sent_once_a_day_however_often_the_script_runs() {
    let api = BotApi::start();
    met(&api);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    let args = ["--to", &to, "--message", "disk full", "--dedupe-key", "disk"];
    api.trouble(Rule::on("sendMessage", Trouble::bad("chat is on fire")).times(1));
    assert_eq!(send(&g, &args, None).code, 1, "refused: the key stays free");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(send(&g, &args, None).code, 0));
        }
    });
    let ran = send(&g, &args, None);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("duplicate"), "{}", ran.err);
    assert_eq!(said(&api, ANN), ["disk full"]);
}

#[test]
fn given_a_running_gateway_then_it_sends_and_keeps_what_waits() {
    let h = House::new(json!({}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    let to = format!("telegram:{ANN}");
    let ran = send(&h.g, &["--to", &to, "--message", "**one**", "--silent"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let sent = h.api.wait_text(ANN, "one");
    assert_eq!(ran.out, format!("sent telegram:default:{ANN} message {}\n", sent.id()));
    assert_eq!(h.api.calls("sendMessage").pop().unwrap().params["disable_notification"], true);
    h.counts("SELECT count(*) FROM segment WHERE origin = 'tool'", 1);

    let sessions = h.g.get("/api/sessions").json();
    let key = sessions["sessions"][0]["sessionKey"].as_str().unwrap();
    for to in ["last", "last:main", &format!("session:{key}")] {
        let ran = send(&h.g, &["--to", to, "--message", to], None);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{to}");
        h.api.wait_text(ANN, to);
    }
    let ran = send(&h.g, &["--to", "webchat:default", "--message", "to the page"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(h.g.history("agent:main:webchat:default").iter().any(|(_, text)| text == "to the page"));
    h.settled();
    h.api.assert_clean();
}

#[test]
fn what_is_spooled_is_sent_once_by_the_next_gateway_even_if_that_is_killed() {
    let api = BotApi::start();
    met(&api);
    let mut g = alone(&api, json!({"pollTimeoutS": 1}));
    let to = format!("telegram:{ANN}");
    api.trouble(Rule::on("sendMessage", Trouble::Flood(600)).times(1));
    let ran = send(&g, &["--to", &to, "--message", "*later*", "--spool", "--timeout", "5"], None);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(ran.err.contains("spooled"), "{}", ran.err);
    let ran = send(&g, &["--to", "webchat:default", "--message", "for the page", "--spool"], None);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let left = |g: &Gateway| std::fs::read_dir(g.data().join("spool")).unwrap().flatten().collect::<Vec<_>>();
    let mut notes = left(&g);
    notes.sort_by_key(|entry| entry.file_name());
    let (name, note) = (notes[0].file_name(), std::fs::read(notes[0].path()).unwrap());
    api.forgive();
    g.launch();
    g.wait_port();
    api.wait_text(ANN, "later");
    g.wait_until("the spool is empty", |g| left(g).is_empty());
    assert!(g.history("agent:main:webchat:default").iter().any(|(_, text)| text == "for the page"));
    g.kill9();
    // The note comes back: as if the kill had been before it was removed.
    std::fs::write(g.data().join("spool").join(&name), note).unwrap();
    g.restart();
    g.wait_until("the spool is empty", |g| left(g).is_empty());
    assert_eq!(said(&api, ANN).iter().filter(|text| *text == "later").count(), 1);
}

#[test]
fn a_dry_run_prints_what_would_be_sent() {
    let api = BotApi::start();
    let g = alone(&api, json!({}));
    let ran = send(&g, &["--to", "telegram:-1001:topic:7", "--message", "a **b**", "--dry-run"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "to telegram:default:-1001:topic:7: 1 message(s)\n---\na <b>b</b>\n");
    assert!(api.all_calls().is_empty());
}
