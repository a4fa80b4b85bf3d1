//! A reply of which nothing was seen for long notifies (telegram.md 14.3).

use super::*;
use pi_gateway::rules::ViewRules;

fn with_views(chat_type: ChatType, every: u64) -> (Mind, Vec<Effect>) {
    let mut rules = rules();
    rules.channels.insert("t".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let open = pi_gateway::access::GroupAccess { require_mention: false, ..Default::default() };
    let access = Access { dm: DmPolicy::Open, groups: [("*".to_owned(), open)].into(), ..Access::default() };
    let view = Some(ViewRules { every: vec![(String::new(), every)], blocks: false });
    let account = AccountRules { access, view, notify_after: 30_000, ..AccountRules::default() };
    rules.accounts.insert(("t".into(), String::new()), account);
    let mut m = Mind::new(rules);
    let source = Source { channel: "t".into(), chat_type, chat: "c".into(), sender: "u".into(), ..Source::default() };
    let update = Inbound { dkey: "t:1".into(), source, text: "hi".into(), ..Inbound::default() };
    let batch =
        Batch { channel: "t".into(), account: String::new(), updates: vec![Update::Message(update)], cursor: None };
    let effects = m.feed(Event::Inbound { id: ReqId(99), batch: Box::new(batch) });
    (m, effects)
}

/// Renders what is to be sent, and calls the platform until nothing is left; a call without outcome is left open.
fn play(m: &mut Mind, effects: &mut Vec<Effect>, mut platform: impl FnMut(Call) -> Option<Outcome>) {
    for _ in 0..10 {
        for e in std::mem::take(effects) {
            let done = match e {
                Effect::Job { id, job, .. } => match *job {
                    Job::Render { content, .. } => {
                        Some(Event::Job { id, done: Box::new(JobDone::Rendered(vec![*content])) })
                    }
                    _ => None,
                },
                Effect::Call { id, call, .. } => {
                    platform(*call).map(|outcome| Event::Outcome { call: id, outcome: Box::new(outcome) })
                }
                _ => None,
            };
            effects.extend(done.into_iter().flat_map(|event| m.feed(event)));
        }
    }
}

/// How the reply goes out after a turn of so many ms, of whose answer something was seen or not: the operations.
fn delivered(chat_type: ChatType, ms: u64, bare: bool) -> Vec<&'static str> {
    let (mut m, effects) = with_views(chat_type, 1_000_000);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    // The first look at the view comes with its first interval.
    let effects = m.wait(1_000_000);
    let call = calls(&effects)[0];
    m.feed(Event::Outcome {
        call,
        outcome: Box::new(Outcome::Shown { id: Some("p1".into()), full: false, idle: false, bare }),
    });
    m.wait(ms);
    m.pi(proc, PiEvent::Assistant(said("hello", "stop")));
    let mut effects = m.settles(proc);
    let mut ops = Vec::new();
    play(&mut m, &mut effects, |call| {
        ops.push(match call.op {
            Op::Send { .. } => "send",
            Op::Edit { .. } => "edit",
            Op::Delete { .. } => "delete",
            _ => "else",
        });
        Some(Outcome::Sent { id: "p2".into() })
    });
    ops
}

#[test]
fn given_only_a_placeholder_for_long_then_the_reply_of_a_private_chat_is_a_message_of_its_own() {
    assert_eq!(delivered(ChatType::Dm, 1, true), ["delete", "send"]);
    assert_eq!(delivered(ChatType::Dm, 1, false), ["edit"], "its beginning was read");
    assert_eq!(delivered(ChatType::Group, 1, true), ["edit"], "in a group");
}

/// Plays a chat in which there is no topic 5, as long as that is so: threads of what was sent, and what it replied to.
fn sent(m: &mut Mind, mut effects: Vec<Effect>, gone: bool) -> Vec<(String, Option<String>)> {
    let mut places = Vec::new();
    play(m, &mut effects, |call| {
        let Op::Send { content, .. } = call.op else { return None };
        let refused = gone && call.target.thread == "5";
        places.push((call.target.thread, content.reply_to));
        Some(match refused {
            true => Outcome::TopicGone { why: "message thread not found".into() },
            false => Outcome::Sent { id: "p1".into() },
        })
    });
    places
}

#[test]
fn a_topic_that_is_gone_is_tried_again_after_ten_minutes_or_when_something_comes_from_there() {
    let mut rules = rules();
    rules.channels.insert("telegram".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let open = pi_gateway::access::GroupAccess { require_mention: false, ..Default::default() };
    let access = Access { groups: [("*".to_owned(), open)].into(), ..Access::default() };
    let reply_to = pi_gateway::rules::ReplyTo::Off;
    let account = AccountRules { access, reply_to, ..AccountRules::default() };
    rules.accounts.insert(("telegram".into(), "default".into()), account);
    let mut m = Mind::new(rules);
    let asks = |m: &mut Mind, key: &str| {
        let source = Source {
            channel: "telegram".into(),
            account: Some("default".into()),
            chat_type: ChatType::Group,
            chat: "-1".into(),
            thread: Some("5".into()),
            sender: "u".into(),
            message_id: Some(key.into()),
            ..Source::default()
        };
        let update = Inbound { dkey: key.into(), source, text: "/whoami".into(), ..Inbound::default() };
        let updates = vec![Update::Message(update)];
        let batch = Batch { channel: "telegram".into(), account: "default".into(), updates, cursor: None };
        m.feed(Event::Inbound { id: ReqId(99), batch: Box::new(batch) })
    };
    let tells = |m: &mut Mind| {
        let session = "agent:main:telegram:account:default:group:-1:topic:5".to_owned();
        let post = Post { text: "news".into(), ..Post::default() };
        m.ask(Request::Post(Box::new(PostRequest { session, post, ..PostRequest::default() })))
    };
    let (topic, beside) = (("5".to_owned(), None), |key: &str| (String::new(), Some(key.to_owned())));
    let effects = asks(&mut m, "m1");
    assert_eq!(sent(&mut m, effects, true), [topic.clone(), beside("m1")]);
    m.wait(599_000);
    let effects = tells(&mut m);
    assert_eq!(sent(&mut m, effects, true), [], "it is still believed to be gone");
    m.wait(1_000);
    let effects = tells(&mut m);
    assert_eq!(sent(&mut m, effects, true), std::slice::from_ref(&topic));
    let effects = asks(&mut m, "m2");
    assert_eq!(sent(&mut m, effects, false), [topic]);
}
