//! Every step of the stop beside somebody who hangs (core.md 20): it ends, and nothing is lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::fake_pi::{FakePi, Flavour};
use super::support::patient::Patient;
use super::support::process::ProcessWatch;
use super::support::raw_http::Client;
use super::support::store_view::{check_once, messages};
use super::{with_pi, MAIN};

/// Drain (0.3 s and the word for it), pi (3 + 1 s), connections (2 + 2 s), core and sync (5 s each).
const ALL_STEPS: Duration = Duration::from_secs(19);

#[test]
fn c27_given_a_pi_that_only_sigkill_ends_then_the_stop_does_not_wait_for_it() {
    let pi = FakePi::with(Flavour::New, &[("FAKE_PI_DEAF", "1")]);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 300}})).start();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[say:half]] [[gate:mid]] [[say:whole]]");
    let watch = ProcessWatch::new(pi.wait_gate("mid") as i32);
    let begun = Instant::now();
    assert_eq!(g.stop().code(), Some(0), "{}", g.log());
    assert!(begun.elapsed() < ALL_STEPS, "{:?}\n{}", begun.elapsed(), g.log());
    assert!(watch.is_gone(), "pi outlives its gateway");
    assert!(!g.log().contains("did not end in time"), "{}", g.log());
    pi.open("mid");
    g.restart();
    g.wait_until("the owed answer", |g| messages(g).is_some_and(|l| l[0].settled()));
    check_once(&g, &["tok-a".into()], "a deaf pi");
}

#[test]
fn c27_given_clients_that_wait_or_never_read_then_the_stop_cuts_them() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 300}})).start();
    let deaf = g.page(MAIN); // never read from again
    let mut waiting = Client::new(g.addr);
    let fields = format!("Authorization: Bearer {}\r\nIdempotency-Key: k1\r\n", g.token);
    let text = "tok-a [[long:3000000 by 50000 every 0 ms]] [[gate:mid]] [[say: whole]]";
    waiting.request("POST", "/api/chat", &fields, &json!({"message": text, "sessionKey": MAIN}).to_string());
    pi.wait_gate("mid");
    let begun = Instant::now();
    assert_eq!(g.stop().code(), Some(0), "{}", g.log());
    assert!(begun.elapsed() < ALL_STEPS, "{:?}\n{}", begun.elapsed(), g.log());
    assert!(!g.log().contains("did not end"), "{}", g.log());
    assert!(waiting.closed(), "the waiting caller is told by the end of the connection");
    drop(deaf);
    pi.open("mid");
    g.restart();
    g.wait_until("the owed answer", |g| messages(g).is_some_and(|l| l[0].settled()));
    assert_eq!(messages(&g).unwrap().len(), 1);
    // Its repeat gets the answer that was owed.
    let again = json!({"message": text, "sessionKey": MAIN});
    let client = Patient { addr: g.addr, token: g.token.clone() };
    let (status, body) = client.try_post("/api/chat", "k1", &again).unwrap();
    assert!(status == 200 && !body["reply"].as_str().unwrap().is_empty(), "{status} {body}");
    assert_eq!(messages(&g).unwrap().len(), 1);
}

#[test]
fn c27_given_a_second_signal_in_every_step_then_it_ends_at_once() {
    let pi = FakePi::with(Flavour::New, &[("FAKE_PI_DEAF", "1")]);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 0}})).start();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    client.send(MAIN, "k1", "tok-a [[say:half]] [[gate:mid]] [[say:whole]]");
    let watch = ProcessWatch::new(pi.wait_gate("mid") as i32);
    g.signal(Signal::TERM);
    g.wait_log("stopping");
    g.signal(Signal::INT);
    let begun = Instant::now();
    assert_eq!(g.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}: pi is not waited for", begun.elapsed());
    // The word of its parent's death it has not heard either: the next start ends it before it goes on.
    pi.open("mid");
    g.restart();
    g.wait_until("the owed answer", |g| messages(g).is_some_and(|l| l[0].settled()));
    assert!(watch.is_gone(), "two pi worked on one session");
    check_once(&g, &["tok-a".into()], "second signal beside a deaf pi");
}

#[test]
fn given_a_stop_while_pi_still_starts_then_the_log_tells_of_no_failure() {
    let pi = FakePi::with(Flavour::New, &[("FAKE_PI_START_MS", "60000")]);
    let mut g = with_pi(&pi, json!({"agent": {"pool": {"min": 1}}})).start();
    g.wait_until("a pi that starts", |g| g.get("/health").json()["pool"]["total"] == 1);
    assert_eq!(g.stop().code(), Some(0), "{}", g.log());
    assert!(!g.log().contains("WARN"), "{}", g.log());
}
