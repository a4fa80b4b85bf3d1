//! The operator beside a running gateway: `pi-gw pairing` (core.md 2.2).

use std::process::{Command, Stdio};

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};
use crate::support::gateway::Gateway;

const STRANGER: i64 = 99;
const TOLD: &str = "You may write to me now.";

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `pi-gw` with the configuration of that gateway.
pub fn cli(g: &Gateway, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pi-gw"));
    command.args(line.split_whitespace()).arg("--config").arg(g.config_file());
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", g.home.path());
    let output = command.current_dir(g.home.path()).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// The code that a stranger was given.
fn code_of(h: &House, who: i64) -> String {
    h.api.user_writes(who, "hello");
    let told = h.api.wait_message(who, |m| m.text().starts_with("Pairing required."));
    told.parts("code")[0].to_string()
}

#[test]
fn given_an_approved_code_then_the_person_is_told_once_and_may_write_at_once() {
    let h = House::new(json!({}));
    let code = code_of(&h, STRANGER);
    let listed = cli(&h.g, "pairing list --json").json();
    assert_eq!(listed[0]["code"], code);
    assert_eq!((&listed[0]["account"], &listed[0]["sender"]), (&json!("default"), &json!("99")));

    let spoken = format!("{}-{}", &code[..4].to_lowercase(), &code[4..].to_lowercase());
    let begun = std::time::Instant::now();
    let ran = cli(&h.g, &format!("pairing approve telegram {spoken}"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("99 (") && ran.out.contains("is told so"), "{}", ran.out);
    h.api.wait_text(STRANGER, TOLD);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    h.api.user_writes(STRANGER, "[[say:welcome]]");
    h.api.wait_text(STRANGER, "welcome");

    let again = cli(&h.g, &format!("pairing approve {code}"));
    assert_eq!(again.code, 1);
    assert!(again.err.contains("no open request has the code"), "{}", again.err);
    assert_eq!(cli(&h.g, "pairing list").out, "No pending pairing requests.\n");
    assert!(cli(&h.g, "pairing list --approved").out.contains("telegram  default  99"));
    h.settled();
    assert_eq!(h.said(STRANGER).iter().filter(|t| *t == TOLD).count(), 1);
    h.api.assert_clean();
}

#[test]
fn given_no_running_gateway_when_a_code_is_approved_then_the_person_is_told_at_the_next_start() {
    let mut h = House::new(json!({}));
    let code = code_of(&h, STRANGER);
    h.settled();
    h.g.stop();
    let ran = cli(&h.g, &format!("pairing approve {code} --json"));
    assert_eq!((ran.code, &ran.json()["told"], &ran.json()["sender"]), (0, &json!(false), &json!("99")));
    assert!(!h.said(STRANGER).contains(&TOLD.to_owned()));
    h.g.restart();
    h.api.wait_text(STRANGER, TOLD);
    h.settled();
    h.g.kill9();
    h.g.restart();
    h.api.user_writes(STRANGER, "[[say:welcome]]");
    h.api.wait_text(STRANGER, "welcome");
    assert_eq!(h.said(STRANGER).iter().filter(|t| *t == TOLD).count(), 1, "once, whatever restarts");
}

#[test]
fn a_revoked_person_is_a_stranger_again_and_an_allowed_one_needs_no_code() {
    let h = House::new(json!({}));
    assert_eq!(cli(&h.g, "pairing allow telegram tg:99").code, 0);
    h.api.user_writes(STRANGER, "[[say:allowed]]");
    h.api.wait_text(STRANGER, "allowed");
    let ran = cli(&h.g, "pairing revoke telegram 99");
    assert_eq!((ran.code, ran.out.as_str()), (0, "99 may not write to telegram (default) any more\n"));
    h.api.user_writes(STRANGER, "[[say:never]]");
    h.api.wait_message(STRANGER, |m| m.text().starts_with("Pairing required."));
    assert_eq!(cli(&h.g, "pairing revoke telegram 99").code, 1);
    let listed = cli(&h.g, &format!("pairing revoke telegram {ANN}"));
    assert_eq!(listed.code, 1, "Ann stands in the configuration, which is not the store's");
    assert!(!h.said(STRANGER).contains(&"never".to_owned()));
}

#[test]
fn given_an_expired_code_then_approval_says_so_and_nobody_is_let_in() {
    let h = House::new(json!({}));
    let code = code_of(&h, STRANGER);
    h.settled();
    let db = rusqlite::Connection::open(h.g.data().join("gateway.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute("UPDATE pairing SET at = at - 3600000", []).unwrap();
    let ran = cli(&h.g, &format!("pairing approve telegram {code}"));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("has expired"), "{}", ran.err);
    assert_eq!(cli(&h.g, "pairing list").out, "No pending pairing requests.\n");
    let approved: i64 = db.query_row("SELECT count(*) FROM approved", [], |r| r.get(0)).unwrap();
    assert_eq!(approved, 0);
}

#[test]
fn b17_the_originals_approved_people_come_along_and_a_damaged_file_is_kept_and_shown() {
    let mut h = House::new(json!({}));
    h.g.stop();
    let dir = h.g.data().join("credentials");
    std::fs::write(dir.join("telegram__default-allowFrom.json"), r#"["99"]"#).unwrap();
    std::fs::write(dir.join("telegram__default-pairing.json"), "[{").unwrap();
    h.g.restart();
    h.api.user_writes(STRANGER, "[[say:known]]");
    h.api.wait_text(STRANGER, "known");
    assert!(h.g.log().contains("telegram__default-pairing.json is damaged"), "{}", h.g.log());
    assert!(dir.join("telegram__default-pairing.json.bad").exists());
    let doctor = cli(&h.g, "doctor --json").json();
    let found = doctor["checks"].as_array().unwrap().iter().find(|c| c["name"] == "credentials").cloned();
    let found = found.unwrap_or_else(|| panic!("{doctor:#}"));
    assert_eq!(found["status"], "warning");
    assert!(found["text"].as_str().unwrap().contains("telegram__default-pairing.json.bad"), "{found}");
}

#[test]
fn given_a_stop_then_what_the_last_turn_says_is_sent_before_the_end() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:the last word]]");
    h.pi.wait_gate("g");
    h.api.trouble(Rule::on("sendMessage", Trouble::Slow(std::time::Duration::from_millis(700))));
    h.g.signal(rustix::process::Signal::TERM);
    h.g.wait_log("stopping");
    h.pi.open("g");
    h.g.wait_exit();
    let db = rusqlite::Connection::open(h.g.data().join("gateway.db")).unwrap();
    let states: Vec<String> = {
        let mut q = db.prepare("SELECT state FROM outbox").unwrap();
        let rows = q.query_map([], |r| r.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(states, ["sent"], "its outcome was waited for");
    assert_eq!(h.said(ANN), ["the last word"]);
}
