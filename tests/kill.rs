//! `kill -9` of the whole gateway at every point where it commits or acts: whatever was acknowledged is answered
//! after the next start, exactly once, and the agent has seen it exactly once (core.md 22.5, B1, C14, C15, C16).
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;
use support::fake_pi::{FakePi, Flavour};
use support::gateway::Gateway;
use support::patient::Patient;
use support::store_view::{check_once, messages};
use support::DEADLINE;

const MAIN: &str = "agent:main:webchat:default";
/// Looks at processes and files for which there is no event.
const LOOK: Duration = Duration::from_millis(3);

/// A run that took so long is shown: something waited for a deadline.
const SLOW: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, PartialEq)]
enum Agent {
    Demo,
    Fake(Flavour),
}

/// A message, how it comes, and after which gate of the stand-in.
struct Sent {
    token: &'static str,
    text: String,
    http: bool,
    after_gate: Option<&'static str>,
}

struct Scenario {
    name: &'static str,
    agent: Agent,
    sent: Vec<Sent>,
    /// Crash points are tried in steps of this (1: every one).
    step: u64,
}

fn say(token: &'static str, http: bool) -> Sent {
    Sent { token, text: format!("{token} [[say:re:{token}]]"), http, after_gate: None }
}

/// A gateway with a pool that is ready for every agent.
fn gateway(agent: Agent) -> (Gateway, Option<FakePi>) {
    match agent {
        Agent::Demo => (Gateway::demo(json!({})), None),
        Agent::Fake(flavour) => {
            let pi = FakePi::new(flavour);
            let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}}));
            (g, Some(pi))
        }
    }
}

/// One life with a crash at point `n`, the next life without; true if the crash came.
fn run(s: &Scenario, n: u64) -> (bool, BTreeMap<String, usize>) {
    let begun = Instant::now();
    let (mut g, pi) = gateway(s.agent);
    g.set_env("PI_GW_CRASH", Some(&n.to_string()));
    g.launch();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    let over = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    let answered = AtomicU64::new(0);
    let case = format!("{} with a kill at point {n}", s.name);
    let mut crashed = false;
    std::thread::scope(|scope| {
        for m in &s.sent {
            let (client, pi, answered, acknowledged, over) = (&client, &pi, &answered, &acknowledged, &over);
            scope.spawn(move || {
                if let (Some(gate), Some(pi)) = (m.after_gate, pi) {
                    // A crash may leave a turn that never comes to its gate again.
                    while !pi.came_to(gate) && answered.load(SeqCst) == 0 && !over.load(SeqCst) {
                        std::thread::sleep(LOOK);
                    }
                }
                match m.http {
                    true => drop(client.ask(MAIN, m.token, &m.text)),
                    false => drop(client.send(MAIN, m.token, &m.text)),
                }
                acknowledged.fetch_add(1, SeqCst);
                if m.http {
                    answered.fetch_add(1, SeqCst);
                }
                if let (Some(gate), Some(pi)) = (m.after_gate, pi) {
                    pi.open(gate);
                }
            });
        }
        let end = Instant::now() + DEADLINE;
        loop {
            let all = acknowledged.load(SeqCst) == s.sent.len() as u64;
            if all && messages(&g).is_some_and(|l| l.len() == s.sent.len() && l.iter().all(|m| m.settled())) {
                break;
            }
            if let Some(status) = g.ended() {
                assert!(!crashed && status.signal() == Some(9), "{case}: it ended with {status}:\n{}", g.log());
                crashed = true;
                g.set_env("PI_GW_CRASH", None);
                g.launch();
            }
            if Instant::now() > end {
                over.store(true, SeqCst);
                for gate in s.sent.iter().filter_map(|m| m.after_gate) {
                    pi.iter().for_each(|p| p.open(gate));
                }
                panic!("{case}: not everything is answered: {:#?}\n{}", messages(&g), g.log());
            }
            std::thread::sleep(LOOK);
        }
    });
    let tokens: Vec<String> = s.sent.iter().map(|m| m.token.to_owned()).collect();
    let fates = check_once(&g, &tokens, &case);
    if begun.elapsed() > SLOW {
        println!("{case} took {:?}:\n{}", begun.elapsed(), g.log());
    }
    if !crashed {
        crashed = g.ended().is_some();
    }
    (crashed, fates)
}

/// Kills at every point (in steps), two gateways at a time, until one lives to the end.
fn every_point(s: &Scenario) {
    let begun = Instant::now();
    let (next, last) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let fates: std::sync::Mutex<BTreeMap<String, usize>> = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| loop {
                let n = next.fetch_add(s.step, SeqCst);
                if n > last.load(SeqCst) {
                    break;
                }
                let (crashed, found) = run(s, n);
                let mut all = fates.lock().unwrap();
                found.into_iter().for_each(|(k, v)| *all.entry(k).or_default() += v);
                drop(all);
                if !crashed {
                    last.fetch_min(n, SeqCst);
                    break;
                }
            });
        }
    });
    let last = last.load(SeqCst);
    println!("{}: {last} points, fates {:?}, {:.1} s", s.name, fates.lock().unwrap(), begun.elapsed().as_secs_f64());
    assert!(last > 10, "{}: only {last} points: is the gateway built without them?", s.name);
}

#[test]
fn b1_old_pi_one_message_killed_at_every_point() {
    let sent = vec![say("tok-a", true)];
    every_point(&Scenario { name: "old pi, one message", agent: Agent::Fake(Flavour::Old), sent, step: 1 });
}

#[test]
fn b1_new_pi_three_messages_killed_at_every_point() {
    let sent = vec![say("tok-a", true), say("tok-b", false), say("tok-c", false)];
    every_point(&Scenario { name: "new pi, three messages", agent: Agent::Fake(Flavour::New), sent, step: 1 });
}

#[test]
fn b1_demo_agent_two_messages_killed_at_every_point() {
    let plain = |token| Sent { token, text: format!("hello {token}"), http: false, after_gate: None };
    let sent = vec![plain("tok-a"), plain("tok-b")];
    every_point(&Scenario { name: "demo agent, two messages", agent: Agent::Demo, sent, step: 1 });
}

fn steered(flavour: Flavour, name: &'static str, step: u64) -> Scenario {
    let text = "tok-a [[say:re:tok-a]] [[gate:mid]] [[say: and more]]".to_owned();
    let first = Sent { token: "tok-a", text, http: true, after_gate: None };
    let second = Sent { after_gate: Some("mid"), ..say("tok-b", false) };
    Scenario { name, agent: Agent::Fake(flavour), sent: vec![first, second], step }
}

#[test]
fn c14_c15_new_pi_steered_in_mid_turn_killed_at_every_point() {
    every_point(&steered(Flavour::New, "new pi, steered", 1));
}

#[test]
fn c14_c15_old_pi_steered_in_mid_turn_killed_at_every_point() {
    every_point(&steered(Flavour::Old, "old pi, steered", 1));
}

#[test]
fn c16_new_pi_with_a_tool_call_killed_at_every_point() {
    let text = r#"tok-a [[say:re:tok-a]] [[tool:bash {"command":"echo ran"}]] [[say:end]]"#.to_owned();
    let sent = vec![Sent { token: "tok-a", text, http: true, after_gate: None }];
    every_point(&Scenario { name: "new pi, tool", agent: Agent::Fake(Flavour::New), sent, step: 1 });
}

/// Numbers that look random; the seed is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn b1_twenty_kills_at_random_moments_while_three_sessions_chat() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    let mut dice = Dice(seed);
    println!("seed {seed}");
    let pi = FakePi::new(Flavour::New);
    let mut g = Gateway::new(json!({"agent": {"piCliPath": pi.program(), "pool": {"min": 0, "max": 3}}}));
    g.launch();
    let client = Patient { addr: g.addr, token: g.token.clone() };
    let stop = AtomicBool::new(false);
    let sent = std::sync::Mutex::new(Vec::<String>::new());
    std::thread::scope(|scope| {
        for session in 1..=3 {
            let (client, stop, sent) = (&client, &stop, &sent);
            scope.spawn(move || {
                let key = format!("agent:main:webchat:s{session}");
                for n in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let token = format!("tok-{session}-{n}.");
                    let text = format!("{token} [[say:re:{token}]]");
                    sent.lock().unwrap().push(token.clone());
                    match n % 2 {
                        0 => drop(client.ask(&key, &token, &text)),
                        _ => drop(client.send(&key, &token, &text)),
                    }
                }
            });
        }
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100 + dice.roll(500))); // the random moment itself
            g.kill9();
            g.launch();
        }
        stop.store(true, SeqCst);
    });
    let tokens = sent.into_inner().unwrap();
    g.wait_until("every answer", |g| {
        messages(g).is_some_and(|l| l.len() == tokens.len() && l.iter().all(|m| m.settled()))
    });
    let fates = check_once(&g, &tokens, "random kills");
    println!("20 kills, {} messages: {fates:?}, {} starts of pi", tokens.len(), pi.starts().len());
    assert!(tokens.len() >= 10, "the sessions hardly got on: {tokens:?}");
}
