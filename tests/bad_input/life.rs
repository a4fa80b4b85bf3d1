//! Starts that must be refused, ends in the middle of work, and a log that nobody reads.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::gateway::Gateway;
use super::support::patient::Patient;
use super::support::process::ProcessWatch;
use super::support::raw_http::Client;
use super::support::store_view::{check_once, messages};
use super::{with_pi, MAIN};

#[test]
fn given_a_port_in_use_then_69_and_a_free_port_is_named() {
    let mut g = Gateway::demo(json!({}));
    let _other = TcpListener::bind(g.addr).unwrap();
    let (code, said) = g.refused();
    assert_eq!(code, 69, "{said}");
    let free: u16 = said
        .split("port ")
        .filter_map(|s| s.split(' ').next()?.parse().ok())
        .last()
        .unwrap_or_else(|| panic!("{said}"));
    assert!(free > g.addr.port() && said.contains("--port"), "{said}");
}

#[test]
fn b23_given_a_gateway_on_the_data_directory_then_a_second_one_is_refused_with_69() {
    let first = Gateway::demo(json!({})).start();
    let mut second = Gateway::demo(json!({"session": {"dataDir": first.data().join("sessions")}}));
    let (code, said) = second.refused();
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&first.pid().to_string()) && said.contains("already"), "{said}");
    assert!(!first.chat(MAIN, "hello").is_empty());
}

#[test]
fn c28_given_a_stderr_that_nobody_reads_then_messages_are_still_answered() {
    let mut g = Gateway::demo(json!({})).arg("--verbose");
    let (read, write) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
    g.launch_with(|c| {
        c.stderr(Stdio::from(write));
    });
    g.wait_port();
    let begun = Instant::now();
    for n in 0..60 {
        assert!(!g.chat(MAIN, &format!("message {n}")).is_empty());
    }
    println!("60 messages in {:?} beside a full log pipe", begun.elapsed());
    let status = g.stop();
    assert_eq!(status.code(), Some(0), "{status}");
    drop(read);
}

#[test]
fn given_a_closed_stdout_and_a_full_stderr_then_it_runs_and_a_broken_config_still_gives_78() {
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut g = Gateway::demo(json!({"no": {"such": "key"}}));
    g.launch_with(|c| {
        c.stdout(full()).stderr(full());
    });
    g.wait_port();
    assert!(!g.chat(MAIN, "hello").is_empty());
    assert_eq!(g.stop().code(), Some(0));
    g.replace_config("{");
    g.launch_with(|c| {
        c.stdout(full()).stderr(full());
    });
    assert_eq!(g.wait_exit().code(), Some(78));
}

#[test]
fn c27_given_sigterm_in_mid_turn_then_the_turn_is_finished_within_the_drain() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 20000}})).start();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[say:half]] [[gate:mid]] [[say:whole]]");
    pi.wait_gate("mid");
    let mut ws = g.page(MAIN);
    let mut open = Client::new(g.addr);
    open.request("GET", "/health", "", "");
    assert_eq!(open.response().status, 200);
    g.signal(Signal::TERM);
    ws.event("shutdown");
    let fields = format!("Authorization: Bearer {}\r\n", g.token);
    open.request("POST", "/api/chat", &fields, &json!({"message": "too late", "sessionKey": MAIN}).to_string());
    assert_eq!(open.response().refusal(), (503, "shutting_down".to_owned()));
    pi.open("mid");
    assert_eq!(g.wait_exit().code(), Some(0), "{}", g.log());
    let all = messages(&g).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].replies, ["halfwhole"]);
    check_once(&g, &["tok-a".into()], "drained");
}

#[test]
fn c27_given_a_turn_longer_than_the_drain_then_it_is_aborted_and_answered_after_the_next_start() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 300}})).start();
        let client = Patient { addr: g.addr, token: g.token.clone() };
        client.send(MAIN, "k1", "tok-a [[say:half]] [[gate:mid]] [[say:whole]]");
        let watch = ProcessWatch::new(pi.wait_gate("mid") as i32);
        assert_eq!(g.stop().code(), Some(0), "{}", g.log());
        assert!(watch.is_gone(), "pi outlives its gateway");
        assert_eq!(messages(&g).unwrap()[0].state, "in_turn");
        pi.open("mid");
        g.restart();
        g.wait_until("the owed answer", |g| messages(g).is_some_and(|l| l[0].settled()));
        check_once(&g, &["tok-a".into()], "aborted by the drain");
    }
}

#[test]
fn c27_given_a_second_sigterm_then_it_is_gone_at_once_and_nothing_is_lost() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 60000}})).start();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[gate:mid]] [[say:whole]]");
    pi.wait_gate("mid");
    let mut ws = g.page(MAIN);
    g.signal(Signal::TERM);
    ws.event("shutdown");
    let begun = Instant::now();
    g.signal(Signal::TERM);
    let status = g.wait_exit();
    assert!(status.code() == Some(0) && status.signal().is_none(), "{status}");
    assert!(begun.elapsed() < Duration::from_millis(500), "it took {:?}", begun.elapsed());
    pi.open("mid");
    g.restart();
    g.wait_until("the owed answer", |g| messages(g).is_some_and(|l| l[0].settled()));
    check_once(&g, &["tok-a".into()], "second signal");
}

#[test]
fn c7_given_a_message_that_makes_the_mind_panic_then_it_is_put_aside_and_the_session_still_works() {
    let mut g = Gateway::demo(json!({})).env("PI_GW_PANIC", "poison").start();
    assert!(!g.chat(MAIN, "hello").is_empty());
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "poison"); // until it is acknowledged
    client.send(MAIN, "k1", "poison"); // the platform sends it again: known by its key
    assert!(!g.chat(MAIN, "hello again").is_empty(), "the session still works");
    assert_eq!(g.log().matches("a message could not be handled").count(), 1, "{}", g.log());
    let put_aside = |g: &Gateway| {
        let all = messages(g).unwrap();
        assert_eq!(all.iter().map(|m| m.state.as_str()).collect::<Vec<_>>(), ["answered", "failed", "answered"]);
        assert!(all[1].reason.as_ref().is_some_and(|r| r.contains("panic")), "{all:?}");
    };
    put_aside(&g);
    g.kill9();
    g.restart();
    assert!(!g.history(MAIN).is_empty());
    put_aside(&g);
}

#[test]
fn b26_given_a_service_manager_then_a_restart_ends_with_a_code_that_brings_the_service_back() {
    let config = json!({"gateway": {"commands": {"restart": true}}});
    let mut g = Gateway::demo(config).env("INVOCATION_ID", "x").start();
    let mut ws = g.page(MAIN);
    ws.call("chat.send", json!({"sessionKey": MAIN, "text": "/restart", "idempotencyKey": "k1"}));
    assert_eq!(g.wait_exit().code(), Some(75), "not 0: Restart=on-failure would leave it down");
    g.restart(); // as the service manager does
    let res = g.page(MAIN).call("chat.send", json!({"sessionKey": MAIN, "text": "/restart", "idempotencyKey": "k1"}));
    assert_eq!(res["ok"], true, "{res}");
    assert!(!g.chat(MAIN, "hello").is_empty(), "a repeat of the command does not restart it again");
    assert_eq!(g.stop().code(), Some(0));
}

/// How often its threads have gone to sleep, all together.
fn sleeps(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |status: String| {
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    tasks.filter_map(|t| of(std::fs::read_to_string(t.path().join("status")).ok()?)).sum()
}

#[test]
fn c33_given_an_idle_gateway_then_it_sleeps() {
    let g = Gateway::demo(json!({})).start();
    assert!(!g.chat(MAIN, "hello").is_empty());
    let mut idle = Client::new(g.addr);
    idle.request("GET", "/health/live", "", "");
    assert_eq!(idle.response().status, 200);
    // Less than 20 times a minute: at most once in three seconds. What follows the chat may take a while to end.
    let end = Instant::now() + super::support::DEADLINE;
    loop {
        let before = sleeps(g.pid());
        std::thread::sleep(Duration::from_secs(3)); // measures; nothing is waited for
        let woken = sleeps(g.pid()).checked_sub(before); // less than before: a thread ended, so it was not idle
        if woken.is_some_and(|n| n <= 1) {
            return;
        }
        assert!(Instant::now() < end, "it woke {woken:?} times in three seconds");
    }
}

/// Pages of files that the process has in memory, kB.
fn file_pages(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssFile:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn given_an_idle_gateway_then_it_keeps_little_of_its_own_code_and_works_on() {
    let g = Gateway::demo(json!({})).start();
    for text in ["hello", "hello again"] {
        assert!(!g.chat(MAIN, text).is_empty());
        let busy = file_pages(g.pid());
        g.wait_until("the code is given back", |g| file_pages(g.pid()) < busy * 2 / 3);
    }
}
