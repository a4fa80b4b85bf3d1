//! What the service manager hears.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::gateway::Gateway;
use super::support::patient::Patient;
use super::support::DEADLINE;
use super::{with_pi, MAIN};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

/// The gateway has to say that it lives that often.
const LIMIT: Duration = Duration::from_millis(300);

impl Manager {
    fn new() -> Manager {
        let dir = tempfile::tempdir().unwrap();
        Manager { socket: UnixDatagram::bind(dir.path().join("notify")).unwrap(), dir }
    }
    fn watch(&self, g: Gateway) -> Gateway {
        g.env("NOTIFY_SOCKET", self.dir.path().join("notify").to_string_lossy())
            .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
            .env("PI_GW_HOLD", self.dir.path().join("hold").to_string_lossy())
    }
    fn word(&self, wait: Duration) -> Option<String> {
        let mut buf = [0; 64];
        self.socket.set_read_timeout(Some(wait)).unwrap();
        self.socket.recv(&mut buf).ok().map(|n| String::from_utf8_lossy(&buf[..n]).into_owned())
    }
    fn expect(&self, word: &str) {
        assert_eq!(self.word(DEADLINE).as_deref(), Some(word));
    }
}

#[test]
fn c29_given_a_long_turn_then_the_service_manager_still_hears_that_we_live() {
    let (pi, manager) = (FakePi::new(Flavour::New), Manager::new());
    let mut g = manager.watch(with_pi(&pi, json!({}))).start();
    manager.expect("READY=1");
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[say:half]] [[gate:mid]] [[say:whole]]");
    pi.wait_gate("mid");
    for _ in 0..10 {
        manager.expect("WATCHDOG=1");
    }
    pi.open("mid");
    assert_eq!(g.stop().code(), Some(0));
    while manager.word(DEADLINE).expect("the end is announced") != "STOPPING=1" {}
}

#[test]
fn c29_given_a_mind_that_stands_still_then_nobody_says_that_it_lives_until_it_goes_on() {
    let manager = Manager::new();
    let g = manager.watch(Gateway::demo(json!({}))).start();
    manager.expect("READY=1");
    manager.expect("WATCHDOG=1");
    fs::write(manager.dir.path().join("hold"), "").unwrap();
    // One answer may be on its way, and one that was given before.
    let more = std::iter::from_fn(|| manager.word(LIMIT * 6)).take(10).count();
    assert!(more <= 4, "{more} signs of life of a mind that stands still");
    assert_eq!(manager.word(LIMIT), None);
    assert_eq!(g.get("/health/live").status, 200, "the port goes on");
    fs::remove_file(manager.dir.path().join("hold")).unwrap();
    manager.expect("WATCHDOG=1");
    assert!(!g.chat(MAIN, "hello").is_empty());
}

#[test]
fn c29_given_no_service_manager_then_nothing_is_said_and_all_works() {
    let g = Gateway::demo(json!({})).env("WATCHDOG_USEC", "300000").start();
    assert!(!g.chat(MAIN, "hello").is_empty());
}
