//! System events: where they come from, how long they wait, who takes them (core.md 13, 14).

use super::cron::{cron_rules, minded};
use super::heartbeat::{beating, copies, heart_rules, MIN};
use super::*;
use pi_gateway::rules::HeartbeatRules;
use serde_json::json;

#[test]
fn a_woken_run_tries_again_while_the_session_is_busy_and_comes_at_last_when_it_is_not() {
    let mut m = beating();
    m.talk();
    let (proc, cmd) = m.asked("a long story");
    assert!(copies(&m.wake_up("x", true)).is_empty());
    for _ in 0..3 {
        assert!(copies(&m.wait(5_000)).is_empty());
    }
    let dues = m.state.as_ref().unwrap().next_due().unwrap();
    assert!(dues > m.now.mono + 5_000, "three times are enough");
    assert_eq!(m.events(MAIN), ["[WAKE] x"]);
    let effects = m.finish(proc, cmd, "the end");
    let (prompt, _) = m.beat(effects, "HEARTBEAT_OK");
    assert!(prompt.contains("[WAKE] x"));
    // Free again when it is tried the first time.
    let (proc, cmd) = m.asked("another one");
    m.answer(proc, cmd, PiData::None);
    m.wake_up("y", true);
    m.pi(proc, PiEvent::AgentStart);
    m.pi(proc, PiEvent::Assistant(said("end", "stop")));
    let effects = m.settles(proc);
    let (prompt, _) = m.beat(effects, "HEARTBEAT_OK");
    assert!(prompt.contains("[WAKE] y"));
}

#[test]
fn at_most_twenty_events_wait_for_at_most_an_hour_and_a_reset_forgets_them() {
    let mut m = minded(heart_rules(HeartbeatRules { every: 600 * MIN, ..HeartbeatRules::default() }));
    m.talk();
    for n in 0..25 {
        m.wake_up(&format!("e{n}"), false);
    }
    let waiting = m.events(MAIN);
    assert_eq!((waiting.len(), waiting[0].as_str(), waiting[19].as_str()), (20, "[WAKE] e5", "[WAKE] e24"));
    m.wait(60 * MIN);
    assert_eq!(m.events(MAIN).len(), 20);
    m.wait(1);
    assert!(m.events(MAIN).is_empty());
    m.wake_up("a", false);
    m.wake_up("b", false);
    let answer = m.ask(Request::Reset { session: MAIN.into(), all: false });
    let events = answer.iter().find_map(|e| match e {
        Effect::Answer { answer, .. } => match *answer.0 {
            Answer::Reset { events } => Some(events),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(events, Some(2));
    assert!(m.events(MAIN).is_empty());
}

#[test]
fn without_a_heartbeat_an_event_stands_before_the_next_message_and_comes_back_if_that_fails() {
    let mut m = minded(cron_rules());
    m.talk();
    m.wake_up("the door bell rang", true);
    let effects = m.say("what is new?");
    let (proc, cmd, prompt) = m.prompted(effects);
    let lines: Vec<&str> = prompt.lines().collect();
    assert!(lines[0].starts_with("[msgId:") && lines[1] == "[System events]", "{prompt}");
    assert!(lines[2].ends_with("[WAKE] the door bell rang") && lines[4] == "what is new?", "{prompt}");
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::Assistant(failed("401 no")));
    m.settles(proc);
    let effects = m.say("and now?");
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("[WAKE]"));
    m.finish(proc, cmd, "the door bell");
    let effects = m.say("anything else?");
    assert!(!m.prompted(effects).2.contains("[WAKE]"));
}

#[test]
fn a_job_s_result_wakes_the_main_conversation_only_if_it_wants_that() {
    let mut m = minded(heart_rules(HeartbeatRules { every: 600 * MIN, ..HeartbeatRules::default() }));
    m.talk();
    m.add(json!({"id": "quiet", "delivery": "silent"}));
    m.add(
        json!({"id": "loud", "delivery": "silent", "notifyMain": true, "schedule": {"kind": "every", "expr": "61m"}}),
    );
    let effects = m.wait(60 * MIN);
    let (proc, cmd, _) = m.prompted(effects);
    m.finish(proc, cmd, "seen");
    assert!(m.events(MAIN).is_empty());
    let effects = m.wait(MIN);
    let (proc, cmd, _) = m.prompted(effects);
    let effects = m.finish(proc, cmd, &"x".repeat(600));
    let (prompt, _) = m.beat(effects, "HEARTBEAT_OK");
    assert!(prompt.contains(&format!("[CRON_DONE:loud] {}\n", "x".repeat(500))), "{prompt}");
}

#[test]
fn a_main_job_is_an_event_where_there_is_a_heartbeat_and_ends_with_its_turn() {
    let mut m = minded(heart_rules(HeartbeatRules { every: 600 * MIN, ..HeartbeatRules::default() }));
    m.talk();
    m.add(json!({"mode": "main", "delivery": "direct"}));
    let effects = m.wait(60 * MIN);
    let (prompt, _) = m.beat(effects, "looked: all is well");
    assert!(prompt.contains("[CRON:j] look"), "{prompt}");
    assert_eq!(m.posted(), [(MAIN.to_owned(), "looked: all is well".to_owned())]);
    let runs = m.runs("j");
    assert_eq!((runs.len(), runs[0].status.as_str(), runs[0].delivery.as_deref()), (1, "completed", Some("sent")));
    // One that nobody takes up is missed.
    let effects = m.say("a long story");
    m.prompted(effects);
    m.wait(60 * MIN);
    for _ in 0..70 {
        m.wait(MIN);
    }
    assert!(m.statuses("j").contains(&"missed".to_owned()), "{:?}", m.statuses("j"));
}

#[test]
fn a_result_that_reached_nobody_is_told_with_the_next_message() {
    let mut m = minded(cron_rules());
    m.add(json!({}));
    let effects = m.wait(60 * MIN);
    let (proc, cmd, _) = m.prompted(effects);
    m.finish(proc, cmd, "sunny");
    assert_eq!(m.runs("j")[0].delivery.as_deref(), Some("undeliverable"));
    let effects = m.say_in("agent:main:main:main", "api", "hi");
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("[CRON_UNDELIVERED:j] sunny"), "{prompt}");
}

#[test]
fn a_woken_heartbeat_that_fails_is_tried_again_long_before_the_next_one() {
    let mut m = minded(heart_rules(HeartbeatRules { every: 600 * MIN, ..HeartbeatRules::default() }));
    m.talk();
    let effects = m.wake_up("the door bell rang", true);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::Assistant(failed("401 no")));
    let effects = m.settles(proc);
    m.lets_go(proc, effects);
    assert_eq!(m.events(MAIN), ["[WAKE] the door bell rang"]);
    let effects = m.wait(5 * MIN);
    let (prompt, _) = m.beat(effects, "Somebody rang.");
    assert!(prompt.contains("[WAKE] the door bell rang"), "{prompt}");
    assert!(m.events(MAIN).is_empty());
}
