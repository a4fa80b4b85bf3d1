//! Callers that leave while they wait, and those that only stay connected.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use pi_gateway::message::*;

use crate::house::*;
use crate::raw_http::*;

const WAIT: &str = r#"{"message":"wait"}"#;

#[test]
fn c38_given_a_waiting_caller_who_left_then_its_permit_is_free() {
    let h = House::set(|s| s.limits.waiting = 1);
    for path in ["/api/chat", "/api/chat/stream"] {
        for more in ["", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", "half a he"] {
            let mut caller = Client::new(h.addr);
            caller.request("POST", path, "", WAIT);
            h.unanswered(|r| matches!(r, Request::Wait { .. }));
            assert_eq!(ask(h.addr, "POST", "/api/chat", "", WAIT).refusal(), (503, "busy".into()));
            // Whatever it sent behind its request must not hide that it left.
            caller.send(more);
            drop(caller);
            eventually("the permit is free", || {
                ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#).status == 200
            });
            h.all_gone();
        }
    }
}

#[test]
fn c38_given_a_waiting_caller_who_asks_ahead_then_it_is_answered_in_order() {
    let h = House::set(|s| s.times.comment = ms(50));
    let mut caller = Client::new(h.addr);
    caller.request("POST", "/api/chat", "", WAIT).request("GET", "/health/live", "", "");
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    // Another one's comments are the clock: several looks after the caller pass.
    let mut clock = Client::new(h.addr);
    clock.request("POST", "/api/chat/stream", "", WAIT);
    let (other, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    for _ in 0..4 {
        clock.until(": waiting\n\n");
    }
    let reply = |text: &str| Answer::Reply(Box::new(ChatReply { text: text.into(), ..ChatReply::default() }));
    h.answers.give(other, reply("tick"));
    clock.until("tick");
    h.answers.give(id, reply("late"));
    assert_eq!(caller.response().json()["reply"], "late");
    assert_eq!(caller.response().json()["status"], "ok");
}

/// Not a test by itself: the child of the next one, whose threads are only this door's.
#[test]
fn child_with_a_quick_look() {
    if std::env::var_os("DOOR_CHILD").is_none() {
        return;
    }
    let h = House::set(|s| {
        s.times.peek = ms(10);
        s.times.comment = ms(10);
    });
    println!("\nADDR {}", h.addr);
    let _ = std::io::stdin().read(&mut [0]);
}

/// How often a thread has gone to sleep.
fn sleeps(pid: u32, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let found = tasks.map(|t| t.path()).find(|t| read(t.join("comm")).trim() == thread).unwrap();
    let status = read(found.join("status"));
    let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn c38_given_an_idle_keep_alive_connection_then_its_thread_sleeps() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "left::child_with_a_quick_look", "--nocapture", "--test-threads=1"])
        .env("DOOR_CHILD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let addr = lines.find_map(|l| l.strip_prefix("ADDR ").map(str::to_owned)).unwrap();
    let addr: SocketAddr = addr.parse().unwrap();
    let mut idle = Client::new(addr);
    assert_eq!(idle.request("GET", "/health", "", "").response().status, 200);
    let mut waiting = Client::new(addr);
    waiting.request("POST", "/api/chat/stream", "", WAIT);
    waiting.until(": waiting\n\n");
    let (before, looked) = (sleeps(child.id(), "http-1"), sleeps(child.id(), "http-2"));
    for _ in 0..20 {
        waiting.until(": waiting\n\n"); // one look after the waiting caller each
    }
    let (after, looks) = (sleeps(child.id(), "http-1") - before, sleeps(child.id(), "http-2") - looked);
    assert!(looks >= 15 && after <= 1, "{looks} looks after the caller, {after} after the idle connection");
    assert_eq!(idle.request("GET", "/health", "", "").response().status, 200);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
