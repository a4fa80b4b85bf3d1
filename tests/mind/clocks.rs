//! Clocks that are set, or that nobody vouches for (core.md 13, C19, C20).

use super::*;

#[test]
fn c19_given_a_clock_set_back_between_two_messages_then_their_order_is_kept() {
    let mut m = Mind::new(Rules { debounce: 300, ..rules() });
    m.say("one");
    m.now.wall -= 86_400_000;
    m.say("two");
    let effects = m.wait(300);
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.find("\none\n").unwrap() < prompt.find("\ntwo\n").unwrap(), "{prompt}");
}

#[test]
fn c20_given_a_clock_nobody_vouches_for_then_no_reply_expires() {
    let mut rules = rules();
    rules.channels.insert("t".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let access = Access { dm: DmPolicy::Open, ..Access::default() };
    rules.accounts.insert(("t".into(), String::new()), AccountRules { access, ..AccountRules::default() });
    let mut m = Mind::new(rules);
    let source = Source { channel: "t".into(), chat: "c".into(), sender: "u".into(), ..Source::default() };
    let update = Inbound { dkey: "t:1".into(), source, text: "hi".into(), ..Inbound::default() };
    let batch =
        Batch { channel: "t".into(), account: String::new(), updates: vec![Update::Message(update)], cursor: None };
    let effects = m.feed(Event::Inbound { id: ReqId(99), batch: Box::new(batch) });
    let (proc, cmd, _) = m.prompted(effects);
    let effects = m.finish(proc, cmd, "hello");
    let job = effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } if matches!(**job, Job::Render { .. }) => Some(*id),
        _ => None,
    });
    let part = Content { text: "hello".into(), ..Content::default() };
    let effects = m.feed(Event::Job { id: job.unwrap(), done: Box::new(JobDone::Rendered(vec![part])) });
    let call = effects.iter().find_map(|e| if let Effect::Call { id, .. } = e { Some(*id) } else { None }).unwrap();
    m.now.wall += 10 * 86_400_000; // NTP finds the right day
    m.feed(Event::Outcome { call, outcome: Box::new(Outcome::Retry { why: "no network".into() }) });
    let effects = m.wait(2_000);
    assert!(effects.iter().any(|e| matches!(e, Effect::Call { .. })), "given up by a clock that was wrong");
    m.feed(Event::Clock { confirmed: true });
    m.feed(Event::Outcome { call, outcome: Box::new(Outcome::Retry { why: "no network".into() }) });
    let effects = m.wait(4_000);
    assert!(effects.iter().any(|e| matches!(e, Effect::Call { .. })), "its age starts when the clock is confirmed");
}
