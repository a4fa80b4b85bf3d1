//! A reply in a group while nobody knows yet which message the question is (telegram.md 12).

use pi_gateway::access::GroupAccess;
use pi_gateway::rules::Keys;

use super::*;

/// The agent asks Bob in a group; the call that sends the question is on its way.
fn asked() -> (Mind, ProcId, CallId) {
    let mut rules = Rules { mode: Mode::FollowUp, ..rules() };
    rules.channels.insert("pa".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let open = GroupAccess { require_mention: false, ..GroupAccess::default() };
    let access = Access { groups: [("*".to_owned(), open)].into(), ..Access::default() };
    let keys = Keys { per_row: 8, most: 100 };
    rules.accounts.insert(("pa".into(), String::new()), AccountRules { access, keys, ..AccountRules::default() });
    let mut m = Mind::new(rules);
    let effects = writes(&mut m, "w1", "hi", None);
    let (proc, cmd, _) = m.prompted(effects);
    m.begins(proc, cmd);
    let dialog = PiDialog { id: "d1".into(), method: "input".into(), title: "Why?".into(), ..PiDialog::default() };
    let effects = m.pi(proc, PiEvent::Ui(dialog));
    let render = effects.iter().find_map(|e| match e {
        Effect::Job { id, job, .. } if matches!(**job, Job::Render { .. }) => Some(*id),
        _ => None,
    });
    let part = Content { text: "Why?".into(), ..Content::default() };
    let effects = m.feed(Event::Job { id: render.unwrap(), done: Box::new(JobDone::Rendered(vec![part])) });
    let call = calls(&effects)[0];
    (m, proc, call)
}

fn writes(m: &mut Mind, key: &str, text: &str, replies: Option<&str>) -> Vec<Effect> {
    let source = Source {
        channel: "pa".into(),
        chat_type: ChatType::Group,
        chat: "g".into(),
        sender: "bob".into(),
        message_id: Some(key.into()),
        ..Source::default()
    };
    let facts = Facts { replies: replies.map(str::to_owned), ..Facts::default() };
    let quote = replies.map(|_| "[Reply to] Why?".to_owned());
    m.update(Update::Message(Inbound {
        dkey: key.into(),
        source,
        text: text.into(),
        quote,
        facts,
        ..Inbound::default()
    }))
}

fn outcome(m: &mut Mind, call: CallId, outcome: Outcome) -> Vec<Effect> {
    m.feed(Event::Outcome { call, outcome: Box::new(outcome) })
}

#[test]
fn given_the_word_that_it_was_that_message_then_the_reply_is_the_answer_once() {
    let (mut m, _, call) = asked();
    let effects = writes(&mut m, "w2", "because", Some("q7"));
    assert!(prompts(&effects).is_empty() && ui(&effects).is_none(), "nothing yet: {effects:?}");
    writes(&mut m, "w2", "because", Some("q7"));
    let effects = outcome(&mut m, call, Outcome::Sent { id: "q7".into() });
    assert_eq!(ui(&effects), Some(UiAnswer::Value("because".into())));
    assert!(prompts(&m.wait(60_000)).is_empty());
}

#[test]
fn given_another_message_or_no_word_then_the_reply_goes_to_the_agent() {
    for (word, wait) in [
        (Some(Outcome::Sent { id: "q8".into() }), 0),
        (Some(Outcome::Refused { why: "no".into() }), 0),
        (Some(Outcome::Ambiguous { why: "reset".into() }), 36_000),
        (None, 36_000),
    ] {
        let (mut m, _, call) = asked();
        writes(&mut m, "w2", "because", Some("q7"));
        let mut effects = word.clone().map_or(Vec::new(), |word| outcome(&mut m, call, word));
        if wait > 0 {
            effects.extend(m.wait(wait));
        }
        assert!(prompts(&effects).iter().any(|p| p.contains("because")), "{word:?}: {effects:?}");
        assert!(!matches!(ui(&effects), Some(UiAnswer::Value(_))), "{effects:?}");
    }
}

#[test]
fn given_an_edit_or_a_cancel_meanwhile_then_that_counts() {
    let (mut m, _, call) = asked();
    writes(&mut m, "w2", "becuase", Some("q7"));
    let source = Source {
        channel: "pa".into(),
        chat_type: ChatType::Group,
        chat: "g".into(),
        sender: "bob".into(),
        message_id: Some("w2".into()),
        ..Source::default()
    };
    let original = Some("w2".to_owned());
    let edit = Inbound { dkey: "e1".into(), source, text: "because".into(), original, ..Inbound::default() };
    m.update(Update::Edited(edit));
    let effects = outcome(&mut m, call, Outcome::Sent { id: "q7".into() });
    assert_eq!(ui(&effects), Some(UiAnswer::Value("because".into())));

    let (mut m, _, _) = asked();
    writes(&mut m, "w2", "because", Some("q7"));
    let effects = writes(&mut m, "w3", "/cancel", None);
    assert_eq!(ui(&effects), Some(UiAnswer::Cancelled));
    assert!(prompts(&effects).iter().any(|p| p.contains("because")), "it is a message now: {effects:?}");
}

#[test]
fn given_a_crash_before_the_word_then_the_reply_is_a_message_and_not_lost() {
    let (mut m, _, _) = asked();
    writes(&mut m, "w2", "because", Some("q7"));
    m.start();
    let waiting = m.state.as_ref().unwrap().store().inbox_by_key("w2").unwrap().unwrap();
    assert!(!matches!(waiting.state.as_str(), "command" | "failed" | "dropped"), "{waiting:?}");
}
