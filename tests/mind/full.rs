//! A full queue and what comes by itself: scheduled runs, heartbeats and tasks are bounded where they come from, so
//! they take no place from people and hide nobody who could give way (core.md 6).

use super::heartbeat::{heart_rules, EVERY};
use super::*;
use pi_gateway::rules::HeartbeatRules;
use serde_json::json;

fn accepted(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Answer { answer, .. } if matches!(*answer.0, Answer::Accepted { .. })))
}

#[test]
fn given_more_jobs_due_than_the_queue_is_long_then_people_are_heard() {
    let rules = Rules { max_waiting: 3, max_per_session: 3, ..cron::cron_rules() };
    let mut m = cron::minded(rules);
    for n in 0..8 {
        m.add(json!({"id": format!("j{n}")}));
    }
    m.wait(3_600_000);
    for n in 0..3 {
        let effects = m.say_in(&format!("agent:main:webchat:p{n}"), "webchat", "is anybody there?");
        assert!(accepted(&effects), "{n}: {effects:?}");
    }
}

#[test]
fn given_a_heartbeat_that_waits_then_webhooks_still_give_way_to_people() {
    let heart = HeartbeatRules { skip_when_busy: false, ..HeartbeatRules::default() };
    let mut m = cron::minded(Rules { max_waiting: 2, pool_max: 1, ..heart_rules(heart) });
    m.talk();
    let effects = m.say("runs");
    m.prompted(effects);
    let effects = m.wait(EVERY);
    m.reads(&effects, true);
    let hook = |n: usize| {
        let source = Source { channel: "api".into(), sender: "webhook".into(), ..Source::default() };
        let session = format!("agent:main:hook:{n}");
        let text = format!("[WEBHOOK] {n}");
        Request::Webhook(Box::new(ChatRequest { session, source, text, ..ChatRequest::default() }))
    };
    for n in 0..2 {
        m.ask(hook(n));
    }
    let effects = m.say_in("agent:main:webchat:third", "webchat", "urgent");
    assert!(accepted(&effects), "{effects:?}");
}
