//! Buttons, menus and questions: rows of core.md 4, 8.5 and telegram.md 11, 12.

use super::*;
use pi_gateway::rules::Keys;

#[path = "answers.rs"]
mod answers;

const CHAT: &str = "agent:main:pa:dm:ann";

fn with_keys() -> Mind {
    let mut rules = rules();
    rules.channels.insert("pa".into(), ChannelRules { mailbox: false, repeat_safe: false });
    let access = Access { dm: DmPolicy::Allowlist, allow: vec!["ann".into(), "bob".into()], ..Access::default() };
    let keys = Keys { per_row: 8, most: 100 };
    rules.accounts.insert(("pa".into(), String::new()), AccountRules { access, keys, ..AccountRules::default() });
    Mind::new(rules)
}

fn source(sender: &str) -> Source {
    Source { channel: "pa".into(), chat: "ann".into(), sender: sender.into(), ..Source::default() }
}

impl Mind {
    fn update(&mut self, update: Update) -> Vec<Effect> {
        let id = ReqId(self.next);
        self.next += 1;
        let batch = Batch { channel: "pa".into(), account: String::new(), updates: vec![update], cursor: None };
        self.feed(Event::Inbound { id, batch: Box::new(batch) })
    }
    fn writes(&mut self, key: &str, text: &str) -> Vec<Effect> {
        let source = source("ann");
        self.update(Update::Message(Inbound {
            dkey: key.into(),
            source: Source { message_id: Some(key.into()), ..source },
            text: text.into(),
            ..Inbound::default()
        }))
    }
    fn presses(&mut self, key: &str, sender: &str, data: &str) -> (String, Vec<Effect>) {
        let effects = self.update(Update::Pressed(Press {
            dkey: key.into(),
            query: key.into(),
            source: source(sender),
            message: Some("m1".into()),
            data: data.into(),
            ..Press::default()
        }));
        let told = effects.iter().find_map(|e| match e {
            Effect::Call { call, .. } => match &call.op {
                Op::AnswerPress { query, text, .. } if query == key => Some(text.clone()),
                _ => None,
            },
            _ => None,
        });
        (told.expect("a press is always answered at once"), effects)
    }
    /// Renders and takes everything owed; what was sent or edited: message, text, data of its buttons.
    fn flush(&mut self, mut effects: Vec<Effect>) -> Vec<(Option<String>, Content)> {
        let mut shown = Vec::new();
        for _ in 0..40 {
            let mut next = Vec::new();
            for e in effects {
                next.extend(match e {
                    Effect::Job { id, job, .. } => match *job {
                        Job::Render { content, .. } => {
                            let part = Content { text: content.text, ..Content::default() };
                            self.feed(Event::Job { id, done: Box::new(JobDone::Rendered(vec![part])) })
                        }
                        Job::ListRoles => {
                            let roles = JobDone::Roles(vec!["boss".into()]);
                            self.feed(Event::Job { id, done: Box::new(roles) })
                        }
                        _ => Vec::new(),
                    },
                    Effect::Call { id: id @ CallId::Row(_), call, .. } => {
                        let sent = |id: &str| Outcome::Sent { id: id.into() };
                        let outcome = match call.op {
                            Op::Send { content, .. } => {
                                shown.push((None, content));
                                sent("m1")
                            }
                            Op::Edit { id, content } => {
                                let done = sent(&id);
                                shown.push((Some(id), content));
                                done
                            }
                            _ => sent("m1"),
                        };
                        self.feed(Event::Outcome { call: id, outcome: Box::new(outcome) })
                    }
                    _ => Vec::new(),
                });
            }
            effects = next;
        }
        shown
    }
    fn asks(&mut self, method: &str, options: &[&str]) -> Vec<Effect> {
        let effects = self.writes("w1", "hi");
        let (proc, cmd, _) = self.prompted(effects);
        self.begins(proc, cmd);
        let dialog = PiDialog {
            id: "d1".into(),
            method: method.into(),
            title: "Which?".into(),
            message: String::new(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            placeholder: String::new(),
            prefill: String::new(),
            timeout: None,
        };
        self.pi(proc, PiEvent::Ui(dialog))
    }
}

fn data(c: &Content, label: &str) -> String {
    let all = c.buttons.concat();
    let found = all.iter().find(|b| b.text == label);
    found.unwrap_or_else(|| panic!("no button {label:?} among {all:?}")).data.clone()
}

fn ui(effects: &[Effect]) -> Option<UiAnswer> {
    effects.iter().find_map(|e| match e {
        Effect::Write { cmd, .. } => match &**cmd {
            PiCmd::UiResponse { answer, .. } => Some(answer.clone()),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn every_press_is_answered_and_only_its_first_delivery_does_something() {
    let mut m = with_keys();
    let effects = m.writes("w1", "/think");
    let menu = m.flush(effects).remove(0).1;
    let high = data(&menu, "high");
    assert_eq!(m.presses("q0", "eve", &high).0, "Not for you.");
    let (told, effects) = m.presses("q1", "ann", &high);
    assert_eq!(told, "");
    let shown = m.flush(effects);
    assert_eq!((shown[0].0.as_deref(), shown[0].1.text.as_str()), (Some("m1"), "Thinking: high."));
    assert!(shown[0].1.buttons.is_empty());
    let effects = m.writes("w2", "/think low");
    m.flush(effects);
    for (key, what) in [("q1", "the same delivery"), ("q2", "a second touch")] {
        let (told, effects) = m.presses(key, "ann", &high);
        assert_eq!((told.as_str(), m.flush(effects).len()), ("", 0), "{what}");
    }
    m.start();
    let (told, effects) = m.presses("q1", "ann", &high);
    assert_eq!((told.as_str(), m.flush(effects).len()), ("", 0), "after a restart");
    let effects = m.writes("w3", "/status");
    let status = m.flush(effects).remove(0).1.text;
    assert!(status.contains("thinking low"), "{status}");
}

#[test]
fn a_button_lives_for_a_day_and_survives_a_restart() {
    for (age, works) in [(23 * 3_600_000, true), (25 * 3_600_000, false)] {
        let mut m = with_keys();
        m.feed(Event::Clock { confirmed: true });
        let effects = m.writes("w1", "/think");
        let menu = m.flush(effects).remove(0).1;
        m.now.wall += age;
        m.start();
        m.feed(Event::Clock { confirmed: true });
        let (told, effects) = m.presses("q1", "ann", &data(&menu, "high"));
        let shown = m.flush(effects);
        assert_eq!(told, if works { "" } else { "Expired" });
        assert_eq!(
            shown[0].1.text,
            if works { "Thinking: high." } else { "" },
            "an empty text only takes buttons away"
        );
    }
}

#[test]
fn a_menu_of_another_chat_cannot_be_pressed_here() {
    let mut m = with_keys();
    let effects = m.writes("w1", "/think");
    let menu = m.flush(effects).remove(0).1;
    let forged = Press {
        dkey: "q1".into(),
        query: "q1".into(),
        source: Source { chat: "bob".into(), ..source("bob") },
        message: Some("m9".into()),
        data: data(&menu, "high"),
        ..Press::default()
    };
    let effects = m.update(Update::Pressed(forged));
    let expired = |e: &Effect| matches!(e, Effect::Call { call, .. } if matches!(&call.op, Op::AnswerPress { text, .. } if text == "Expired"));
    assert!(effects.iter().any(expired));
}

#[test]
fn an_account_has_two_thousand_keyboards_at_most() {
    let mut m = with_keys();
    let mut first = None;
    for n in 0..2010 {
        m.now.wall += 1;
        m.now.mono += 10_000;
        let effects = m.writes(&format!("w{n}"), "/think");
        let menu = m.flush(effects).remove(0).1;
        first.get_or_insert(data(&menu, "high"));
    }
    assert_eq!(m.presses("q1", "ann", &first.unwrap()).0, "Expired");
}

#[test]
fn a_dialog_is_answered_by_who_is_talked_to_and_by_nobody_else() {
    for (method, label, want) in [
        ("select", "b", UiAnswer::Value("b".into())),
        ("select", "Cancel", UiAnswer::Cancelled),
        ("confirm", "Yes", UiAnswer::Confirmed(true)),
        ("confirm", "No", UiAnswer::Confirmed(false)),
    ] {
        let mut m = with_keys();
        let effects = m.asks(method, &["a", "b"]);
        let asked = m.flush(effects).remove(0).1;
        let pressed = data(&asked, label);
        let (told, effects) = m.presses("q1", "bob", &pressed);
        assert_eq!((told.as_str(), ui(&effects)), ("Not for you.", None));
        let (_, effects) = m.presses("q2", "ann", &pressed);
        assert_eq!(ui(&effects), Some(want), "{method} {label}");
        let (told, effects) = m.presses("q3", "ann", &pressed);
        assert_eq!((told.as_str(), ui(&effects)), ("Expired", None), "the first press won");
    }
}

#[test]
fn of_several_options_those_ticked_are_the_answer() {
    let mut m = with_keys();
    let effects = m.asks("multiselect", &["a", "b", "c"]);
    let mut shown = m.flush(effects).remove(0).1;
    for (n, label) in ["☐ c", "☐ a", "☐ b", "☑ b"].into_iter().enumerate() {
        m.now.mono += 5_000;
        let (_, effects) = m.presses(&format!("q{n}"), "ann", &data(&shown, label));
        assert_eq!(ui(&effects), None);
        shown = m.flush(effects).remove(0).1;
    }
    let (_, effects) = m.presses("q9", "ann", &data(&shown, "Done"));
    assert_eq!(ui(&effects), Some(UiAnswer::Values(vec!["a".into(), "c".into()])));
}

#[test]
fn the_next_private_text_answers_an_input_and_a_command_does_not() {
    let mut m = with_keys();
    let effects = m.asks("input", &[]);
    let asked = m.flush(effects).remove(0).1;
    assert!(asked.wants_reply && asked.buttons.is_empty());
    let effects = m.writes("w2", "/status");
    assert_eq!(ui(&effects), None);
    let effects = m.writes("w3", "forty-two");
    assert_eq!(ui(&effects), Some(UiAnswer::Value("forty-two".into())));
    let effects = m.writes("w3", "forty-two");
    assert!(ui(&effects).is_none() && prompts(&effects).is_empty(), "a repeat is neither an answer nor a message");
}

#[test]
fn an_answer_on_a_page_or_the_end_of_time_closes_the_chat_s_view() {
    for (by_page, shown) in [(true, "Which\\?\n*(answered elsewhere)*"), (false, "⏰ Which\\?\n*(timed out)*")] {
        let mut m = with_keys();
        let effects = m.asks("select", &["a"]);
        m.flush(effects);
        let effects = match by_page {
            true => m.ask(Request::Ui { id: "d1".into(), answer: UiAnswer::Value("a".into()) }),
            false => m.wait(300_000),
        };
        assert!(ui(&effects).is_some());
        let closed = m.flush(effects);
        let last = closed.iter().find(|(id, _)| id.as_deref() == Some("m1")).expect("an edit");
        assert_eq!(last.1.text, shown);
        assert!(last.1.buttons.is_empty());
    }
}

fn choose() -> Request {
    let options = vec!["yes".to_owned(), "no".to_owned()];
    Request::Choose(Box::new(ChoiceRequest {
        session: CHAT.into(),
        title: "Go?".into(),
        options,
        columns: 2,
        timeout: 120_000,
    }))
}

fn choice(effects: &[Effect]) -> Option<Choice> {
    effects.iter().find_map(|e| match e {
        Effect::Answer { answer, .. } => match &*answer.0 {
            Answer::Choice(c) => Some(c.clone()),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn c37_a_keyboard_ends_with_a_press_its_time_stop_new_or_its_caller() {
    for end in ["press", "time", "/stop", "/new", "caller"] {
        let mut m = with_keys();
        let effects = m.writes("w1", "/status");
        m.flush(effects);
        let caller = ReqId(m.next);
        let effects = m.ask(choose());
        assert_eq!(choice(&effects), None, "the answer is held");
        m.now.mono += 10_000;
        let mut asked = m.flush(effects);
        if asked.is_empty() {
            let effects = m.wait(1_000);
            asked = m.flush(effects);
        }
        let yes = data(&asked[0].1, "yes");
        let (effects, want) = match end {
            "press" => {
                let made = Choice::Made { option: 0, message: Some("m1".into()) };
                (m.presses("q1", "ann", &yes).1, Some(made))
            }
            "time" => (m.wait(120_000), Some(Choice::TimedOut)),
            "caller" => (m.feed(Event::Gone { id: caller }), None),
            command => (m.writes("w2", command), Some(Choice::Cancelled)),
        };
        assert_eq!(choice(&effects), want, "{end}");
        let mut closed = m.flush(effects);
        let effects = m.wait(5_000);
        closed.extend(m.flush(effects));
        assert!(closed.iter().any(|(id, c)| id.is_some() && c.buttons.is_empty()), "{end}: {closed:?}");
        assert_eq!(m.presses("q2", "ann", &yes).0, "Expired");
    }
}

#[test]
fn a_keyboard_that_the_platform_refuses_fails_at_once() {
    let mut m = with_keys();
    let effects = m.writes("w1", "/status");
    m.flush(effects);
    m.now.mono += 10_000;
    let effects = m.ask(choose());
    let Some(Effect::Job { id, .. }) = effects.iter().find(|e| matches!(e, Effect::Job { .. })) else { panic!() };
    let part = Content { text: "Go?".into(), ..Content::default() };
    let effects = m.feed(Event::Job { id: *id, done: Box::new(JobDone::Rendered(vec![part])) });
    let Some(Effect::Call { id, .. }) = effects.iter().find(|e| matches!(e, Effect::Call { .. })) else { panic!() };
    let refused = Outcome::Refused { why: "blocked".into() };
    let effects = m.feed(Event::Outcome { call: *id, outcome: Box::new(refused) });
    let failed = |e: &Effect| matches!(e, Effect::Answer { answer, .. } if matches!(&*answer.0, Answer::Error { code: Code::UpstreamFailed, .. }));
    assert!(effects.iter().any(failed), "{effects:?}");
}
