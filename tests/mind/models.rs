//! What is asked of pi itself, and what of it is believed: models, failures, reload.

use super::*;

#[test]
fn b9_given_a_provider_that_fails_and_recovers_then_only_the_final_answer_is_shown() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("hi");
    m.begins(proc, cmd);
    for attempt in 1..=2 {
        m.pi(proc, PiEvent::Assistant(AssistantMessage { text: "half".into(), ..failed("529 overloaded") }));
        let effects = m.pi(proc, PiEvent::AgentEnd { will_retry: false });
        let id = written(&effects, |c| matches!(c, PiCmd::GetState)).unwrap();
        m.pi(proc, PiEvent::RetryStart { attempt, max: 3, delay_ms: 2000, error: "529".into() });
        m.answer(proc, id, PiData::State(PiState::default())); // old pi: not streaming in a retry wait
        assert!(m.replies().is_empty(), "answered while pi retries");
        m.pi(proc, PiEvent::AgentStart);
    }
    m.pi(proc, PiEvent::Assistant(said("done", "stop")));
    m.settles(proc);
    assert_eq!(m.replies(), ["done"]);
}

#[test]
fn given_a_model_that_keeps_failing_then_the_next_one_answers_and_the_reply_says_so() {
    let rules = Rules { model: Some("a/1".into()), fallbacks: vec!["b/2".into()], ..rules() };
    let mut m = Mind::new(rules);
    let (proc, cmd) = m.asked("hi");
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::Assistant(failed("402 Payment Required")));
    let effects = m.settles(proc);
    // An old pi would write the choice into its shared settings: another process with other flags instead.
    assert!(effects.iter().any(|e| matches!(e, Effect::Signal { sig: Sig::Term, .. })), "{effects:?}");
    let effects = m.feed(Event::Exit { proc, info: Box::default() });
    let model =
        effects.iter().find_map(|e| if let Effect::Spawn { profile, .. } = e { profile.model.clone() } else { None });
    assert_eq!(model.as_deref(), Some("b/2"));
    let (proc, cmd, prompt) = m.prompted(effects);
    assert!(prompt.contains("another attempt"), "{prompt}");
    m.finish(proc, cmd, "hello");
    assert_eq!(m.replies(), ["hello\n\n(answered by b/2)"]);
}

#[test]
fn pi_is_asked_for_its_models_again_after_five_minutes() {
    let mut m = Mind::new(Rules { pool_idle: 3_600_000, ..rules() });
    let (proc, cmd) = m.asked("hi");
    m.finish(proc, cmd, "hello");
    let asked = |effects: &[Effect]| written(effects, |c| matches!(c, PiCmd::GetModels));
    let told = |effects: &[Effect], json: &str| {
        effects.iter().any(|e| matches!(e, Effect::Answer { answer, .. } if matches!(&*answer.0, Answer::Models(raw) if &**raw == json)))
    };
    let list = |raw: &str| PiData::Models(Box::new(PiModels { names: vec!["a/b".into()], raw: raw.into() }));
    let id = asked(&m.ask(Request::Models)).expect("asked the first time");
    let effects = m.answer(proc, id, list("[1]"));
    assert!(told(&effects, "[1]"));
    m.wait(299_000);
    let effects = m.ask(Request::Models);
    assert!(asked(&effects).is_none() && told(&effects, "[1]"));
    m.wait(2_000);
    let id = asked(&m.ask(Request::Models)).expect("asked again");
    let effects = m.answer(proc, id, list("[2]"));
    assert!(told(&effects, "[2]"));
    // without a process the last known list does
    m.feed(Event::Exit { proc, info: Box::default() });
    m.wait(600_000);
    let effects = m.ask(Request::Models);
    assert!(asked(&effects).is_none() && told(&effects, "[2]"));
}

#[test]
fn given_pi_that_dies_in_a_turn_then_the_operator_s_list_says_so() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.begins(proc, cmd);
    let info = ExitInfo { signal: Some(9), ..ExitInfo::default() };
    let effects = m.feed(Event::Exit { proc, info: Box::new(info) });
    let seen: Vec<_> =
        effects.iter().filter_map(|e| if let Effect::Observed(o) = e { Some(o) } else { None }).collect();
    assert_eq!((seen.len(), seen[0].action, seen[0].session.as_deref()), (1, "crash", Some(MAIN)));
    assert_eq!(seen[0].message, "pi ended in the middle of a turn (signal 9)");
}

#[test]
fn given_a_pi_with_a_reload_command_when_it_is_to_reload_then_it_is_told_and_another_one_is_ended() {
    let reload = || Request::ReloadPi { session: MAIN.into() };
    let ended = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Signal { .. }));
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.finish(proc, cmd, "one");
    m.answer(proc, 0, PiData::Commands(vec![("reload".into(), "anew".into())]));
    let effects = m.ask(reload());
    assert!(!ended(&effects), "{effects:?}");
    let (same, cmd, text) = m.prompted(effects);
    assert_eq!((same, &*text), (proc, "/reload"));
    let mut effects = m.answer(proc, cmd, PiData::None);
    effects.extend(m.wait(3_000));
    let id = written(&effects, |c| matches!(c, PiCmd::GetState)).unwrap();
    m.answer(proc, id, PiData::State(PiState::default()));
    assert_eq!(m.replies().last().map(String::as_str), Some("Command /reload executed."));
    let effects = m.say("second");
    assert_eq!(m.prompted(effects).0, proc);
    // one without it
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.finish(proc, cmd, "one");
    let effects = m.ask(reload());
    assert!(ended(&effects) && prompts(&effects).is_empty(), "{effects:?}");
}
