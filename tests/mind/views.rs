//! The live view of a turn and what it may take from its chat: rows of telegram.md 17 and 18.

use super::*;
use pi_gateway::rules::{Pace, Rate, ViewRules};

fn with_view(pace: Pace) -> Mind {
    let mut rules = rules();
    rules.channels.insert("t".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let access = Access { dm: DmPolicy::Open, ..Access::default() };
    let view = Some(ViewRules { every: vec![(String::new(), 1_000)], blocks: false });
    let account = AccountRules { access, pace, view, typing: 4_500, ..AccountRules::default() };
    rules.accounts.insert(("t".into(), String::new()), account);
    Mind::new(rules)
}

/// Lets a turn run for so many seconds. What was called, and in which second.
fn watch(m: &mut Mind, seconds: u64, mut view: impl FnMut(u64) -> Outcome) -> Vec<(u64, Op)> {
    let source = Source { channel: "t".into(), chat: "c".into(), sender: "u".into(), ..Source::default() };
    let update = Inbound { dkey: "t:1".into(), source, text: "hi".into(), ..Inbound::default() };
    let batch =
        Batch { channel: "t".into(), account: String::new(), updates: vec![Update::Message(update)], cursor: None };
    let mut effects = m.feed(Event::Inbound { id: ReqId(99), batch: Box::new(batch) });
    let mut all = Vec::new();
    let mut calls = |m: &mut Mind, second: u64, effects: &[Effect]| {
        let mut waiting: Vec<(CallId, Op)> = of(effects);
        while let Some((id, op)) = waiting.pop() {
            let outcome = match op {
                Op::View(_) => view(second),
                _ => Outcome::Sent { id: "1".into() },
            };
            all.push((second, op));
            waiting.extend(of(&m.feed(Event::Outcome { call: id, outcome: Box::new(outcome) })));
        }
    };
    calls(m, 0, &effects);
    let (proc, cmd, _) = m.prompted(effects);
    effects = m.answer(proc, cmd, PiData::None);
    calls(m, 0, &effects);
    effects = m.pi(proc, PiEvent::AgentStart);
    calls(m, 0, &effects);
    for second in 1..=seconds * 10 {
        effects = m.wait(100);
        calls(m, second / 10, &effects);
    }
    all
}

fn of(effects: &[Effect]) -> Vec<(CallId, Op)> {
    let call = |e: &Effect| if let Effect::Call { id, call, .. } = e { Some((*id, call.op.clone())) } else { None };
    effects.iter().filter_map(call).collect()
}

fn typed(calls: &[(u64, Op)]) -> Vec<u64> {
    calls.iter().filter(|(_, op)| matches!(op, Op::Typing)).map(|(at, _)| *at).collect()
}

fn idle() -> Outcome {
    Outcome::Shown { id: None, full: false, idle: true, bare: false }
}

#[test]
fn somebody_is_seen_typing_as_long_as_nothing_new_is_shown() {
    let mut m = with_view(Pace::default());
    let typed = typed(&watch(&mut m, 20, |_| idle()));
    assert!(typed.len() >= 4, "{typed:?}");
    assert!(typed.windows(2).all(|w| w[1] - w[0] <= 5), "it is shown for 5 s: {typed:?}");
    let mut m = with_view(Pace::default());
    let shown = |_| Outcome::Shown { id: Some("1".into()), full: false, idle: false, bare: false };
    let typed = self::typed(&watch(&mut m, 20, shown));
    assert!(typed.len() <= 1, "a text that grows is sign enough: {typed:?}");
}

#[test]
fn a_view_that_stands_still_takes_nothing_of_what_may_be_sent() {
    let pace =
        || Pace { chats: vec![(String::new(), vec![Rate { every: 30_000, burst: 2, kept: 0 }])], account: vec![] };
    let views = |calls: &[(u64, Op)]| calls.iter().filter(|(_, op)| matches!(op, Op::View(_))).count();
    let mut m = with_view(pace());
    assert!(views(&watch(&mut m, 10, |_| idle())) >= 9);
    let mut m = with_view(pace());
    let shown = |_| Outcome::Shown { id: Some("1".into()), full: false, idle: false, bare: false };
    assert_eq!(views(&watch(&mut m, 10, shown)), 2, "what is shown is paid for");
}
