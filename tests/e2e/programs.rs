//! Which programs the gateway starts, and that an operator sees it (core.md 18 "Exec guard").

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{json, Value};

use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;
use crate::MAIN;

fn programs(g: &Gateway) -> Vec<Value> {
    let listed = g.get("/api/observability/exec").json();
    let programs = listed["programs"].as_array().unwrap().clone();
    assert_eq!((&listed["ok"], listed["count"].as_u64()), (&json!(true), Some(programs.len() as u64)));
    programs
}

fn of(programs: &[Value], member: &str) -> Vec<String> {
    programs.iter().map(|p| p[member].as_str().unwrap_or_default().to_owned()).collect()
}

fn reload(g: &Gateway, change: Value) {
    g.reconfigure(change);
    let r = g.post("/api/gateway/reload", json!({}));
    assert_eq!(r.status, 200, "{}", r.text());
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn programs_that_were_started_are_listed_and_a_reload_changes_which_one_is() {
    let (first, second) = (FakePi::new(Flavour::New), FakePi::new(Flavour::New));
    let commands = json!({"commands": {"bash": true}});
    let g = Gateway::new(json!({"agent": {"piCliPath": first.program()}, "gateway": commands})).start();
    assert_eq!(programs(&g).len(), 0, "nothing was started");
    assert_eq!(g.chat(MAIN, "[[say:one]]"), "one");
    assert!(g.chat(MAIN, "/bash echo A_TOKEN=hush").contains("hush"));
    reload(&g, json!({"agent": {"piCliPath": second.program()}}));
    assert_eq!(g.chat(MAIN, "[[say:two]]"), "two");
    assert_eq!((first.prompts().len(), second.prompts().len()), (1, 1));
    let list = programs(&g);
    let (a, b) = (first.program().display().to_string(), second.program().display().to_string());
    assert_eq!(of(&list, "program"), [&*b, "/bin/sh", &*a]);
    assert!(list.iter().all(|p| p["allowed"] == true && p["ts"].as_i64().unwrap() > 0), "{list:?}");
    assert_eq!(list[1]["caller"], "/bash");
    assert!(list[0]["caller"].as_str().unwrap().starts_with("pi-"), "{list:?}");
    assert_eq!(list[0]["cwd"], g.home.path().join("work").display().to_string());
    let args = |n: usize| list[n]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned());
    assert_eq!(args(0).take(2).collect::<Vec<_>>(), ["--mode", "rpc"]);
    assert!(args(1).any(|a| a.contains("A_TOKEN=***")) && !args(1).any(|a| a.contains("hush")), "{list:?}");
    assert_eq!(g.get("/api/observability/exec?limit=1").json()["count"], 1);
}

#[test]
fn given_another_program_of_that_name_appears_in_path_then_the_first_one_is_still_started() {
    let pi = FakePi::new(Flavour::New);
    let early = tempfile::tempdir().unwrap();
    let ran = early.path().join("ran");
    let path = format!("{}:{}:/usr/bin:/bin", early.path().display(), pi.program().parent().unwrap().display());
    let g = Gateway::new(json!({"agent": {"piCliPath": "pi"}})).env("PATH", path).start();
    script(&early.path().join("pi"), &format!("#!/bin/sh\ntouch {}\n", ran.display()));
    assert_eq!(g.chat(MAIN, "[[say:one]]"), "one");
    reload(&g, json!({"agent": {"pool": {"max": 3}}}));
    assert_eq!(g.chat("agent:main:webchat:other", "[[say:two]]"), "two");
    assert!(!ran.exists());
    let own = pi.program().display().to_string();
    assert_eq!(of(&programs(&g), "program"), [&*own, &*own]);
}

#[test]
fn a_changed_file_does_not_loosen_the_guard_of_a_running_gateway() {
    let pi = FakePi::new(Flavour::New);
    let dir = tempfile::tempdir().unwrap();
    let (evil, ran) = (dir.path().join("evil"), dir.path().join("ran"));
    script(&evil, &format!("#!/bin/sh\ntouch {}\n", ran.display()));
    let mut g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}})).start();
    let change = json!({"agent": {"piCliPath": evil}, "security": {"exec": {"allowedExecutables": ["pi", "evil"]}}});
    reload(&g, change);
    assert!(g.log().contains("security.exec.allowedExecutables takes effect after a restart"), "{}", g.log());
    let r = g.post("/api/chat", json!({"message": "hello", "sessionKey": MAIN}));
    let said = r.text();
    assert!(r.status >= 500 || said.contains("evil must not be started"), "{} {said}", r.status);
    assert!(!ran.exists());
    let list = programs(&g);
    assert_eq!((of(&list, "program")[0].as_str(), &list[0]["allowed"]), (&*evil.display().to_string(), &json!(false)));
    g.stop();
    g.restart();
    let mut page = g.page(MAIN);
    page.call("chat.send", json!({"sessionKey": MAIN, "text": "hello", "idempotencyKey": "k"}));
    g.wait_until("after a restart the file counts", |_| ran.exists());
}

#[test]
fn a_whole_path_in_the_list_stands_for_that_program_alone() {
    let pi = FakePi::new(Flavour::New);
    let own = pi.program().display().to_string();
    let exec = |list: Value| json!({"exec": {"allowedExecutables": list}});
    let config = json!({"agent": {"piCliPath": own}, "security": exec(json!([own]))});
    let g = Gateway::new(config.clone()).start();
    assert_eq!(g.chat(MAIN, "[[say:one]]"), "one");
    let mut other = Gateway::new(json!({"agent": {"piCliPath": own}, "security": exec(json!(["/opt/pi"]))}));
    let (code, said) = other.refused();
    assert!(code != 0 && said.contains("\"pi\" is not in security.exec.allowedExecutables"), "{code} {said}");
}
