//! `pi-gw send` when something goes wrong half-way: nothing twice, nothing lost (config.md 10.1).

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::operation::cli;
use crate::send::{alone, said, send};
use crate::support::bot_api::{BotApi, Rule, Trouble};
use crate::support::gateway::Gateway;

/// Names of what was left for the gateway.
fn left(g: &Gateway) -> Vec<String> {
    let entries = fs::read_dir(g.data().join("spool")).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// Changes the only note.
fn change(g: &Gateway, change: impl FnOnce(&mut Value)) {
    let path = g.data().join("spool").join(&left(g)[0]);
    let mut note: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut note);
    fs::write(&path, note.to_string()).unwrap();
}

fn days_ago(note: &mut Value, days: i64) {
    note["at"] = (note["at"].as_i64().unwrap() - days * 86_400_000).into();
    note["timed"] = true.into();
}

#[test]
fn given_a_send_with_a_key_that_was_killed_then_the_next_one_sends_it() {
    let api = BotApi::start();
    api.add_private(ANN);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    let args = ["--to", &to, "--message", "disk full", "--dedupe-key", "disk"];
    let held = api.trouble(Rule::on("sendMessage", Trouble::Hold).times(1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pi-gw"));
    command.arg("send").args(args).arg("--config").arg(g.config_file()).env("HOME", g.home.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    api.wait_calls("sendMessage", 1);
    let ran = send(&g, &args, None);
    assert!(ran.code == 0 && ran.err.contains("duplicate"), "it is being sent: {}", ran.err);
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = send(&g, &args, None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("sent "), "{}", ran.out);
    api.release(held);
    assert!(send(&g, &args, None).err.contains("duplicate"));
    assert!(said(&api, ANN).contains(&"disk full".to_owned()));
}

#[test]
fn given_a_connection_that_never_stands_then_it_is_known_that_nothing_left() {
    let api = BotApi::start();
    // It takes the connection and never says a word of TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let g = alone(&api, json!({"apiRoot": format!("https://{}", silent.local_addr().unwrap())}));
    let to = format!("telegram:{ANN}");
    let args = ["--to", &to, "--message", "x", "--timeout", "1", "--dedupe-key", "k"];
    let ran = send(&g, &args, None);
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert!(ran.err.starts_with("not sent to "), "{}", ran.err);
    let ran = send(&g, &[&args[..], &["--spool"]].concat(), None);
    assert!(ran.code == 0 && ran.err.contains("spooled"), "the key is free: {}", ran.err);
    assert_eq!(left(&g).len(), 1);
}

#[test]
fn given_a_gateway_that_hangs_then_what_it_was_given_is_sent_once() {
    let h = House::new(json!({}));
    h.api.add_private(ANN);
    let to = format!("telegram:{ANN}");
    let hung = |text: &str, more: &[&str]| {
        let args = ["--to", &to, "--message", text, "--timeout", "1", "--dedupe-key", text];
        send(&h.g, &[&args[..], more].concat(), None)
    };
    h.g.signal(Signal::STOP);
    let ran = hung("once", &[]);
    assert!(ran.code == 75 && ran.err.contains("no answer within 1 s (--timeout)"), "{} {}", ran.code, ran.err);
    let ran = hung("spooled", &["--spool"]);
    assert!(ran.code == 0 && ran.err.contains("spooled"), "{} {}", ran.code, ran.err);
    h.g.signal(Signal::CONT);
    h.api.wait_text(ANN, "once");
    h.api.wait_text(ANN, "spooled");
    h.g.wait_until("the spool is empty", |g| left(g).is_empty());
    let args = ["--to", &to, "--message", "once", "--dedupe-key", "once"];
    let ran = send(&h.g, &args, None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    h.settled();
    let times = |text: &str| h.said(ANN).iter().filter(|said| *said == text).count();
    assert_eq!((times("once"), times("spooled")), (1, 1));
}

#[test]
fn given_a_gateway_then_a_key_is_free_again_after_a_day_for_other_words_too() {
    let h = House::new(json!({}));
    h.api.add_private(ANN);
    let to = format!("telegram:{ANN}");
    let said = |text: &str| send(&h.g, &["--to", &to, "--message", text, "--dedupe-key", "disk"], None);
    assert_eq!(said("disk 91 % full").code, 0);
    assert!(said("disk 92 % full").err.contains("duplicate"));
    let key = fs::read_dir(h.g.data().join("run/sent")).unwrap().flatten().next().unwrap().path();
    let yesterday = SystemTime::now() - Duration::from_secs(86_401);
    fs::File::options().write(true).open(key).unwrap().set_modified(yesterday).unwrap();
    for text in ["disk 93 % full", "disk 93 % full"] {
        let ran = said(text);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    h.api.wait_text(ANN, "disk 93 % full");
    assert_eq!(h.said(ANN), ["disk 91 % full", "disk 93 % full"]);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    let api = BotApi::start();
    api.add_private(ANN);
    let g = alone(&api, json!({}));
    let to = format!("telegram:{ANN}");
    for (args, code, why) in [
        (&["--message", "x", "--caption", "y"][..], 64, "--caption goes with --file"),
        (&["--message", "x", "--expire", "2h"][..], 64, "--expire goes with --spool"),
        (&["--message", "x", "--spool", "--expire", "soon"][..], 64, "such as 30m"),
        (&["--message", "x", "--reply-to", "abc"][..], 65, "messages of Telegram have numbers"),
    ] {
        let ran = send(&g, &[&["--to", &to][..], args].concat(), None);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(why), "{args:?}: {}", ran.err);
    }
    fs::write(g.home.path().join("empty"), "").unwrap();
    let ran = send(&g, &["--to", &to, "--message", "x", "--file", "empty"], None);
    assert_eq!((ran.code, ran.err.as_str()), (65, "empty: it is empty\n"), "not half of it");
    let ran = send(&g, &["--to", &to], Some(&[0; 1000]));
    assert_eq!((ran.code, ran.out.as_str()), (65, ""), "nothing can be shown of it: {}", ran.err);
    assert!(api.calls("sendMessage").is_empty());
    let ran = send(&g, &["--to", &to, "--message=--dry-run"], None);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(said(&api, ANN), ["--dry-run"]);
}

#[test]
fn a_spooled_message_that_got_too_old_is_not_sent_and_both_log_and_outbox_say_so() {
    let api = BotApi::start();
    api.add_private(ANN);
    let mut g = alone(&api, json!({"pollTimeoutS": 1})).env("PI_GW_CLOCK_OK", "1");
    api.trouble(Rule::on("sendMessage", Trouble::Flood(600)).times(1));
    let to = format!("telegram:{ANN}");
    let ran = send(&g, &["--to", &to, "--message", "old news", "--spool", "--timeout", "5"], None);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let listed = cli(&g, "outbox list --json").json();
    assert_eq!((&listed[0]["state"], &listed[0]["text"]), (&json!("spooled"), &json!("old news")));
    assert!(cli(&g, "status").out.contains("spooled   1 messages wait"));
    change(&g, |note| days_ago(note, 2));
    api.forgive();
    g.launch();
    g.wait_port();
    g.wait_log("is too old and was given up");
    g.wait_until("the spool is empty", |g| left(g).is_empty());
    let listed = cli(&g, "outbox list --json").json();
    let brief = |n: usize| (listed[n]["state"].clone(), listed[n]["error"].clone(), listed[n]["text"].clone());
    assert_eq!(brief(0), (json!("expired"), json!("too old"), json!("old news")), "{listed}");
    assert!(said(&api, ANN).is_empty());
    assert_eq!(cli(&g, &format!("outbox retry {}", listed[0]["id"])).code, 0);
    api.wait_text(ANN, "old news");
}

#[test]
fn how_long_a_spooled_message_is_good_can_be_said() {
    let api = BotApi::start();
    api.add_private(ANN);
    let mut g = alone(&api, json!({"pollTimeoutS": 1})).env("PI_GW_CLOCK_OK", "1");
    let to = format!("telegram:{ANN}");
    let spool = |text: &str, life: &str| {
        api.trouble(Rule::on("sendMessage", Trouble::Flood(600)).times(1));
        let args = ["--to", &to, "--message", text, "--spool", "--timeout", "5", "--expire", life];
        assert_eq!(send(&g, &args, None).code, 0);
        api.forgive();
    };
    spool("good for a week", "7d");
    change(&g, |note| days_ago(note, 3));
    let kept = g.home.path().join("kept");
    fs::rename(g.data().join("spool").join(&left(&g)[0]), &kept).unwrap();
    spool("good for a day and a half", "36h");
    change(&g, |note| days_ago(note, 2));
    fs::rename(&kept, g.data().join("spool/0-week.json")).unwrap();
    g.launch();
    g.wait_port();
    api.wait_text(ANN, "good for a week");
    g.wait_log("is too old and was given up");
    g.wait_until("the spool is empty", |g| left(g).is_empty());
    assert_eq!(said(&api, ANN), ["good for a week"]);
}

#[test]
fn what_the_page_is_told_too_late_is_put_aside_until_the_operator_wants_it() {
    let mut g = Gateway::demo(json!({})).env("PI_GW_CLOCK_OK", "1");
    let ran = send(&g, &["--to", "webchat:default", "--message", "for the page", "--spool"], None);
    assert_eq!(ran.code, 0, "{}", ran.err);
    change(&g, |note| days_ago(note, 2));
    g.launch();
    g.wait_port();
    g.wait_log("nobody can send");
    let listed = cli(&g, "outbox list --json").json();
    assert_eq!(listed[0]["state"], "put aside", "{listed}");
    assert!(listed[0]["error"].as_str().unwrap().contains("too old"), "{listed}");
    assert!(g.history("agent:main:webchat:default").is_empty());
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(cli(&g, &format!("outbox retry {id}")).code, 0);
    g.wait_until("it is there", |g| !g.history("agent:main:webchat:default").is_empty());
    g.wait_until("the spool is empty", |g| left(g).is_empty());
    assert_eq!(cli(&g, &format!("outbox drop {id}")).code, 1);
    assert_eq!(cli(&g, "outbox list").out, "Nothing is owed, and nothing failed.\n");
}

#[test]
fn a_clock_that_nobody_kept_right_makes_nothing_old() {
    let api = BotApi::start();
    api.add_private(ANN);
    let mut g = alone(&api, json!({"pollTimeoutS": 1})).env("PI_GW_CLOCK_OK", "1");
    api.trouble(Rule::on("sendMessage", Trouble::Flood(600)).times(1));
    let to = format!("telegram:{ANN}");
    assert_eq!(send(&g, &["--to", &to, "--message", "from 1970", "--spool", "--timeout", "5"], None).code, 0);
    change(&g, |note| (note["at"], note["timed"]) = (json!(5_000), json!(false)));
    api.forgive();
    g.launch();
    g.wait_port();
    api.wait_text(ANN, "from 1970");
}

#[test]
fn a_spool_that_is_full_says_so() {
    let g = Gateway::new(json!({}));
    fs::create_dir_all(g.data().join("spool")).unwrap();
    for n in 0..1000 {
        fs::write(g.data().join("spool").join(format!("{n}.bad")), "{}").unwrap();
    }
    let ran = send(&g, &["--to", "webchat:default", "--message", "x", "--spool"], None);
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains("cannot be spooled") && ran.err.contains("it is full, with 1000"), "{}", ran.err);
}

/// Linux may end a wait of 12 s on a socket more than a second too late; then nobody knew what became of the call.
#[test]
fn given_a_platform_that_stays_silent_for_long_then_what_became_of_it_is_told_in_time() {
    let api = BotApi::start();
    api.add_private(ANN);
    let g = alone(&api, json!({}));
    api.trouble(Rule::on("sendMessage", Trouble::Hold).times(1));
    let begun = std::time::Instant::now();
    let ran = send(&g, &["--to", &format!("telegram:{ANN}"), "--message", "x", "--timeout", "12"], None);
    assert_eq!(ran.code, 75, "{}", ran.err);
    assert!(ran.err.contains("no time is left (--timeout)"), "{} after {:?}", ran.err, begun.elapsed());
}
