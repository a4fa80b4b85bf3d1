//! Configuration files that are wrong, missing, or change under a running gateway.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::gateway::Gateway;
use super::support::port::free_port;
use super::MAIN;

#[test]
fn b18_given_broken_json_when_started_then_78_with_place_and_caret() {
    let mut g = Gateway::demo(json!({}));
    g.replace_config("{\n  // a comment\n  \"gateway\": {\"port\": 1 \"bind\": \"loopback\"}\n}\n");
    let (code, said) = g.refused();
    assert_eq!(code, 78, "{said}");
    let place = format!("{}:3:", g.config_file().display());
    assert!(said.contains(&place), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let caret = lines
        .iter()
        .position(|l| l.trim_start().trim_start_matches('|').trim() == "^")
        .unwrap_or_else(|| panic!("no caret: {said}"));
    assert!(lines[caret - 1].contains("\"bind\""), "{said}");
}

#[test]
fn b18_given_wrong_types_when_started_then_78_and_all_of_them_named() {
    let mut g = Gateway::demo(json!({}));
    g.replace_config("{\n  \"gateway\": {\"port\": \"many\", \"drainMs\": -1},\n  \"agent\": {\"pool\": []}\n}\n");
    let (code, said) = g.refused();
    assert_eq!(code, 78, "{said}");
    for part in [".jsonc:2:", "gateway.port", "gateway.drainMs", ".jsonc:3:", "agent.pool"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

#[test]
fn b18_given_no_configuration_when_started_then_78_unless_defaults_are_allowed() {
    let mut g = Gateway::demo(json!({}));
    std::fs::remove_file(g.config_file()).unwrap();
    let (code, said) = g.refused();
    assert_eq!(code, 78, "{said}");
    let without = |args: &[&str]| {
        let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_pi-gw"));
        c.arg("gateway").args(args).env_clear().env("HOME", g.home.path()).current_dir(g.home.path());
        c.env("PATH", std::env::var("PATH").unwrap());
        c
    };
    let out = without(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("pi-gateway.jsonc (`{}` will do), or give --allow-defaults"), "{said}");
    // With the flag it runs.
    let port = free_port().to_string();
    let mut child = without(&["--allow-defaults", "--demo", "--port", &port]).spawn().unwrap();
    let end = Instant::now() + super::support::DEADLINE;
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "it does not run on defaults");
        std::thread::sleep(Duration::from_millis(5)); // the port is the only sign
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The word of that round stops like `/stop`: the gateway answers it at once, the agent does not see it.
fn heeds(g: &Gateway, word: &str) -> bool {
    !g.chat(MAIN, word).contains(word)
}

#[test]
fn c34_given_the_file_replaced_by_rename_twenty_times_then_each_is_seen_within_a_second() {
    let g = Gateway::demo(json!({})).start();
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let word = format!("enough{n}");
        g.reconfigure(json!({"gateway": {"commands": {"abortWords": [word]}}}));
        let begun = Instant::now();
        g.wait_until("the new word", |g| {
            // Every ask is a turn for the agent until the word is known.
            g.log().matches("configuration reloaded").count() > n
        });
        worst = worst.max(begun.elapsed());
        assert!(heeds(&g, &word), "round {n}: the word is not known:\n{}", g.log());
    }
    println!("20 changes, the slowest was seen after {} ms", worst.as_millis());
    assert!(worst < Duration::from_millis(1000 + 500), "a change was seen only after {worst:?}");
    // half a second for a busy machine
}

#[test]
fn given_sighup_then_files_that_the_configuration_names_are_read_again() {
    let mut g = Gateway::demo(json!({}));
    let file = g.home.path().join("token");
    let write = |token: &str| std::fs::write(&file, format!("{token}\n")).unwrap();
    write(&g.token);
    g.reconfigure(json!({"gateway": {"auth": {"token": null, "tokenFile": file}}}));
    g.restart();
    assert_eq!(g.get("/api/pool").status, 200);
    write("another-token-0123456789"); // in place: only the signal tells
    g.signal(Signal::HUP);
    g.wait_until("the old token to be refused", |g| g.get("/api/pool").status == 401);
    g.token = "another-token-0123456789".into();
    assert_eq!(g.get("/api/pool").status, 200);
    g.signal(Signal::HUP);
    g.wait_until("word that it was read", |g| g.log().contains("read again, nothing has changed"));
}

#[test]
fn b18_given_a_broken_file_on_reload_then_the_old_one_stays_and_health_says_so() {
    let g = Gateway::demo(json!({"gateway": {"commands": {"abortWords": ["halt"]}}})).start();
    let good = super::support::gateway::read(&g.config_file());
    g.replace_config("{\"gateway\": {\"port\": }}");
    g.wait_until("the error in health", |g| g.get("/health").json()["configError"].is_string());
    let health = g.get("/health").json();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health["configError"].as_str().unwrap().contains("pi-gateway.jsonc:1:"), "{health}");
    assert!(heeds(&g, "halt"), "the old configuration is gone");
    g.replace_config(&good);
    g.wait_until("health again", |g| g.get("/health").json()["status"] == "ok");
}
