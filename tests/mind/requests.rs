//! Requests of the API and of programs: single turns, webhooks, lists (core.md 6, gateway-api.md 1).

use super::*;

fn request(text: &str, model: Option<&str>, session: &str, fleeting: bool) -> Request {
    Request::Chat(Box::new(ChatRequest {
        session: session.into(),
        source: Source { channel: "api".into(), chat: session.into(), sender: "api".into(), ..Source::default() },
        text: text.into(),
        solo: Some(Solo { model: model.map(str::to_owned) }),
        fleeting,
        ..ChatRequest::default()
    }))
}

#[test]
fn given_requests_of_the_api_when_they_wait_together_then_each_has_its_own_turn() {
    let mut m = Mind::new(Rules { collect: true, debounce: 300, ..rules() });
    let effects = m.ask(request("one", None, MAIN, false));
    m.ask(request("two", None, MAIN, false));
    m.say("three");
    let (proc, cmd, text) = m.prompted(effects);
    assert!(text.contains("one") && !text.contains("two") && !text.contains("three"), "{text}");
    let effects = m.finish(proc, cmd, "1");
    let (proc, cmd, text) = m.prompted(effects);
    assert!(text.contains("two") && !text.contains("three"), "{text}");
    let effects = m.finish(proc, cmd, "2");
    assert!(m.prompted(effects).2.contains("three"));
    assert_eq!(m.replies(), ["1", "2"]);
}

#[test]
fn given_a_single_request_s_session_when_its_turn_is_over_then_row_process_and_files_go() {
    let mut m = Mind::new(rules());
    let effects = m.ask(request("hi", None, "agent:main:api:req:", true));
    let (proc, cmd, _) = m.prompted(effects);
    let effects = m.finish(proc, cmd, "hello");
    assert!(effects.iter().any(|e| matches!(e, Effect::Signal { proc: p, .. } if *p == proc)), "its process ends");
    let forgets = |effects: &[Effect]| {
        let job = |e: &Effect| matches!(e, Effect::Job { job, .. } if matches!(**job, Job::ForgetFiles { .. }));
        effects.iter().filter(|e| job(e)).count()
    };
    assert_eq!(forgets(&effects), 0, "not while the process may write there");
    assert!(m
        .frames
        .iter()
        .any(|f| matches!(f, Frame::Deleted { session } if session.starts_with("agent:main:api:req:"))));
    let effects = m.feed(Event::Exit { proc, info: Box::default() });
    assert_eq!(forgets(&effects), 1);
    assert_eq!(m.replies(), ["hello"]);
}

#[test]
fn given_a_full_queue_when_a_single_request_is_refused_then_no_session_stays() {
    let mut m = Mind::new(Rules { max_waiting: 0, drop_policy: DropPolicy::New, ..rules() });
    let effects = m.ask(request("hi", None, "agent:main:api:req:", true));
    let full = |e: &Effect| matches!(e, Effect::Answer { answer, .. } if matches!(&*answer.0, Answer::Error { code: Code::QueueFull, .. }));
    assert!(effects.iter().any(full), "{effects:?}");
    let effects = m.ask(Request::Sessions { after: None, limit: 10 });
    let none = |e: &Effect| matches!(e, Effect::Answer { answer, .. } if matches!(&*answer.0, Answer::Sessions(l) if l.is_empty()));
    assert!(effects.iter().any(none), "{effects:?}");
}

fn webhook(text: &str, channel: &str) -> Request {
    let source = Source { channel: channel.into(), chat: "x".into(), sender: "webhook".into(), ..Source::default() };
    Request::Webhook(Box::new(ChatRequest {
        session: MAIN.into(),
        source,
        text: text.into(),
        ..ChatRequest::default()
    }))
}

#[test]
fn given_a_webhook_during_a_turn_then_it_waits_behind_people_and_the_turn_goes_on() {
    for mode in [Mode::Steer, Mode::Interrupt] {
        let mut m = Mind::new(Rules { mode, collect: false, ..rules() });
        let (proc, cmd) = m.asked("first");
        m.begins(proc, cmd);
        let effects = m.ask(webhook("[WEBHOOK] the build broke", "api"));
        assert!(!effects.iter().any(|e| matches!(e, Effect::Write { .. })), "{mode:?}: {effects:?}");
        let info = m.ask(Request::Session { key: MAIN.into() });
        let last = info.iter().find_map(|e| match e {
            Effect::Answer { answer: AnswerBox(a), .. } => match &**a {
                Answer::Sessions(list) => list[0].last.clone(),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(last.unwrap().channel, "webchat", "replies still go to the person");
        m.pi(proc, PiEvent::Assistant(said("one", "stop")));
        let effects = m.settles(proc);
        let (_, _, prompt) = m.prompted(effects);
        assert!(prompt.contains("[WEBHOOK] the build broke"), "{prompt}");
    }
}

#[test]
fn given_a_full_queue_then_a_webhook_is_refused_and_nothing_gives_way_to_it() {
    for drop_policy in [DropPolicy::Summarize, DropPolicy::Old] {
        let mut m =
            Mind::new(Rules { drop_policy, max_per_session: 2, collect: false, mode: Mode::FollowUp, ..rules() });
        let effects = m.say("runs");
        m.prompted(effects);
        let told = |effects: Vec<Effect>| {
            effects.into_iter().find_map(|e| match e {
                Effect::Answer { answer: AnswerBox(a), .. } => Some(*a),
                _ => None,
            })
        };
        for n in 0..2 {
            let accepted = told(m.ask(webhook(&format!("[WEBHOOK] {n}"), "api")));
            assert!(matches!(accepted, Some(Answer::Accepted { .. })), "{accepted:?}");
        }
        let refused = told(m.ask(webhook("[WEBHOOK] 3", "api")));
        assert!(matches!(refused, Some(Answer::Error { code: Code::QueueFull, .. })), "{refused:?}");
        let snapshot = told(m.ask(Request::Snapshot));
        let Some(Answer::Snapshot(s)) = snapshot else { panic!("{snapshot:?}") };
        assert_eq!((s.counters.queue_drops, s.queues[0].1), (0, 2));
    }
}

fn keys(effects: &[Effect]) -> Vec<String> {
    let list = effects.iter().find_map(|e| match e {
        Effect::Answer { answer: AnswerBox(a), .. } => match &**a {
            Answer::Sessions(list) => Some(list.iter().map(|s| s.key.clone()).collect()),
            _ => None,
        },
        _ => None,
    });
    list.unwrap()
}

#[test]
fn given_a_session_deleted_in_its_turn_when_the_gateway_is_killed_then_the_end_of_the_turn_does_not_bring_it_back() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.begins(proc, cmd);
    m.ask(Request::Delete { session: MAIN.into() });
    let all = || Request::Sessions { after: None, limit: 10 };
    assert_eq!(keys(&m.ask(all())), [""; 0]);
    // killed here: what was left of the turn is swept, pi's file is read
    let effects = m.start();
    let swept = effects.iter().find_map(|e| if let Effect::Sweep { proc, .. } = e { Some(*proc) } else { None });
    assert_eq!(keys(&m.ask(all())), [""; 0]);
    let effects = m.feed(Event::Swept { proc: swept.unwrap() });
    let read = effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } if matches!(**job, Job::ReadFile { .. }) => Some(*id),
        _ => None,
    });
    let done = JobDone::FileRead(Found { user: true, ..Found::default() });
    m.feed(Event::Job { id: read.unwrap(), done: Box::new(done) });
    assert_eq!(keys(&m.ask(all())), [""; 0]);
    let effects = m.ask(Request::Wait { row: 1 });
    let told = |e: &Effect| {
        matches!(e, Effect::Answer { answer, .. }
        if matches!(&*answer.0, Answer::Reply(r) if matches!(&r.error, Some((Code::Conflict, why)) if why.contains("deleted"))))
    };
    assert!(effects.iter().any(told), "{effects:?}");
    // the key is good for a new conversation
    let effects = m.say("second");
    let (proc, cmd, text) = m.prompted(effects);
    assert!(text.contains("second"));
    m.finish(proc, cmd, "hello");
    assert_eq!(m.replies(), ["hello"]);
}

#[test]
fn given_many_sessions_then_the_list_has_all_of_them_in_pages() {
    let mut m = Mind::new(Rules { pool_max: 0, ..rules() });
    for n in [3, 1, 2, 5, 4] {
        m.say_in(&format!("agent:main:webchat:t{n}"), "webchat", "hi");
        m.wait(if n == 1 { 0 } else { 61_000 }); // two of one minute
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let effects = m.ask(Request::Sessions { after: after.clone(), limit: 2 });
        let page = keys(&effects);
        let Some(last) = page.last() else { break };
        let state = m.state.as_ref().unwrap();
        after = Some((state.store().session(last).unwrap().unwrap().last_at / 60_000, last.clone()));
        seen.extend(page);
    }
    let tabs: Vec<&str> = seen.iter().map(|key| key.rsplit(':').next().unwrap()).collect();
    assert_eq!(tabs, ["t4", "t5", "t1", "t2", "t3"]);
}
