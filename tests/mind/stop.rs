//! The gateway stops: what is waited for, and what is not begun any more (core.md 17).

use super::*;

/// A mind with a platform, whose answer to a message in one chat is on its way there.
fn sending() -> (Mind, CallId) {
    let mut rules = rules();
    rules.channels.insert("telegram".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let mut m = Mind::new(rules);
    let source = Source { channel: "telegram".into(), chat: "7".into(), sender: "7".into(), ..Source::default() };
    let chat = ChatRequest { session: MAIN.into(), source, text: "/whoami".into(), ..ChatRequest::default() };
    let effects = m.ask(Request::Chat(Box::new(chat)));
    let render = effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } if matches!(**job, Job::Render { .. }) => Some(*id),
        _ => None,
    });
    let content = Content { text: "you".into(), ..Content::default() };
    let done = JobDone::Rendered(vec![content]);
    let effects = m.feed(Event::Job { id: render.unwrap(), done: Box::new(done) });
    let call = calls(&effects)[0];
    (m, call)
}

fn is_drained(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Drained))
}

#[test]
fn given_a_stop_while_a_reply_is_being_sent_then_the_drain_waits_for_its_outcome() {
    let (mut m, call) = sending();
    let deadline = m.now.mono + 2_000;
    assert!(!is_drained(&m.feed(Event::Drain { deadline })), "the reply is on its way");
    let outcome = Box::new(Outcome::Sent { id: "1".into() });
    assert!(is_drained(&m.feed(Event::Outcome { call, outcome })));
}

#[test]
fn given_a_stop_while_a_platform_does_not_answer_then_three_seconds_are_waited_for_it() {
    let (mut m, _) = sending();
    let deadline = m.now.mono + 2_000;
    m.feed(Event::Drain { deadline });
    assert!(!is_drained(&m.wait(2_999)));
    assert!(is_drained(&m.wait(1)));
}

#[test]
fn given_a_stop_while_a_lane_waits_for_longer_then_nothing_is_waited_for() {
    let (mut m, call) = sending();
    let outcome = Box::new(Outcome::RateLimited { account_wide: false, ms: 60_000 });
    m.feed(Event::Outcome { call, outcome });
    let deadline = m.now.mono + 2_000;
    assert!(is_drained(&m.feed(Event::Drain { deadline })), "it is sent after the next start");
}

#[test]
fn given_a_stop_whose_time_is_over_then_no_process_is_started_for_what_it_cut_short() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.begins(proc, cmd);
    let deadline = m.now.mono + 300;
    assert!(!is_drained(&m.feed(Event::Drain { deadline })), "a turn runs");
    assert!(is_drained(&m.wait(300)));
    let mut effects = m.feed(Event::Exit { proc, info: Box::new(ExitInfo { code: Some(143), ..ExitInfo::default() }) });
    for _ in 0..10 {
        assert!(!effects.iter().any(|e| matches!(e, Effect::Spawn { .. })), "{effects:?}");
        let mut next = Vec::new();
        for e in effects {
            next.extend(match e {
                Effect::Sweep { proc, .. } => m.feed(Event::Swept { proc }),
                Effect::Job { id, job, .. } => match *job {
                    Job::PrepareFile { path, .. } => {
                        let done = JobDone::FileReady { path, len: 0, notice: None };
                        m.feed(Event::Job { id, done: Box::new(done) })
                    }
                    Job::ReadFile { .. } | Job::FindMessages { .. } => {
                        m.feed(Event::Job { id, done: Box::new(JobDone::FileRead(Found::default())) })
                    }
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            });
        }
        effects = next;
    }
}
