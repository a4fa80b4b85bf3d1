//! Dialogs of extensions and how they end (core.md 8.5).

use super::*;

#[test]
fn b25_given_a_dialog_that_nobody_can_answer_then_it_is_cancelled_never_confirmed() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked_in("agent:main:main:main", "api", "hi");
    m.begins(proc, cmd);
    let dialog = PiDialog {
        id: "d1".into(),
        method: "confirm".into(),
        title: "Delete everything?".into(),
        message: String::new(),
        options: Vec::new(),
        placeholder: String::new(),
        prefill: String::new(),
        timeout: None,
    };
    let effects = m.pi(proc, PiEvent::Ui(dialog));
    let cancelled = |c: &PiCmd| matches!(c, PiCmd::UiResponse { answer: UiAnswer::Cancelled, .. });
    assert!(written(&effects, cancelled).is_some());
}

#[test]
fn an_answer_has_the_form_that_its_dialog_takes() {
    let texts = |list: &[&str]| UiAnswer::Values(list.iter().map(|t| (*t).to_owned()).collect());
    let one = |text: &str| UiAnswer::Value(text.into());
    for (method, given, want) in [
        ("multiselect", texts(&["a", "c"]), texts(&["a", "c"])),
        ("multiselect", texts(&[]), texts(&[])),
        ("multiselect", one("b"), texts(&["b"])),
        ("multiselect", UiAnswer::Cancelled, UiAnswer::Cancelled),
        ("select", texts(&["a", "c"]), one("a")),
        ("select", texts(&[]), UiAnswer::Cancelled),
        ("input", one("b"), one("b")),
    ] {
        let mut m = Mind::new(rules());
        let (proc, cmd) = m.asked("hi");
        m.begins(proc, cmd);
        let dialog = PiDialog {
            id: "d1".into(),
            method: method.into(),
            title: "Which?".into(),
            message: String::new(),
            options: vec!["a".into(), "b".into(), "c".into()],
            placeholder: String::new(),
            prefill: String::new(),
            timeout: None,
        };
        m.pi(proc, PiEvent::Ui(dialog));
        let effects = m.ask(Request::Ui { id: "d1".into(), answer: given.clone() });
        let right = |c: &PiCmd| matches!(c, PiCmd::UiResponse { answer, .. } if *answer == want);
        assert!(written(&effects, right).is_some(), "{method} {given:?}: {effects:?}");
    }
}

#[test]
fn c37_given_an_open_dialog_then_stop_cancels_it_before_the_abort() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("hi");
    m.begins(proc, cmd);
    let dialog = PiDialog {
        id: "d1".into(),
        method: "select".into(),
        title: "Which?".into(),
        message: String::new(),
        options: vec!["a".into()],
        placeholder: String::new(),
        prefill: String::new(),
        timeout: None,
    };
    m.pi(proc, PiEvent::Ui(dialog));
    let effects = m.say("/stop");
    let order: Vec<bool> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Write { cmd, .. } => Some(matches!(**cmd, PiCmd::UiResponse { .. })),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false], "dialog first, then abort");
}
