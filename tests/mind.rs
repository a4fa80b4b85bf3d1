//! The mind step by step: rows of core.md as plain cases (the simulator covers their combinations).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use pi_gateway::access::{Access, DmPolicy};
use pi_gateway::core::{Legacy, State};
use pi_gateway::message::*;
use pi_gateway::rules::{AccountRules, ChannelRules, DropPolicy, Mode, Rules};
use pi_gateway::store::Store;

#[path = "mind/buttons.rs"]
mod buttons;
#[path = "mind/cron.rs"]
mod cron;
#[path = "mind/delegate.rs"]
mod delegate;
#[path = "mind/events.rs"]
mod events;
#[path = "mind/fresh.rs"]
mod fresh;
#[path = "mind/full.rs"]
mod full;
#[path = "mind/heartbeat.rs"]
mod heartbeat;
#[path = "mind/views.rs"]
mod views;

const MAIN: &str = "agent:main:webchat:default";

/// The mind with a hand-driven world.
struct Mind {
    state: Option<State>,
    now: Now,
    path: PathBuf,
    rules: Rules,
    next: u64,
    frames: Vec<Frame>,
    _dir: tempfile::TempDir,
}

fn rules() -> Rules {
    Rules { debounce: 0, pool_min: 0, transcripts: false, ..Rules::default() }
}

impl Mind {
    fn new(rules: Rules) -> Mind {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        let now = Now { wall: 1_800_000_000_000, mono: 5_000_000 };
        let mut m = Mind { state: None, now, path, rules, next: 1, frames: Vec::new(), _dir: dir };
        m.start();
        m
    }
    fn start(&mut self) -> Vec<Effect> {
        self.state = None;
        let store = Store::open(&self.path).unwrap();
        let (state, effects) = State::open(store, Arc::new(self.rules.clone()), self.now, Legacy::default()).unwrap();
        self.state = Some(state);
        effects
    }
    fn feed(&mut self, event: Event) -> Vec<Effect> {
        let state = self.state.as_mut().unwrap();
        state.store().begin().unwrap();
        state.store().savepoint().unwrap();
        let effects = state.step(event, self.now).unwrap();
        state.store().release().unwrap();
        state.store().commit().unwrap();
        let frames = effects.iter().filter_map(|e| if let Effect::Frame(f) = e { Some((**f).clone()) } else { None });
        self.frames.extend(frames);
        effects
    }
    fn ask(&mut self, req: Request) -> Vec<Effect> {
        let id = ReqId(self.next);
        self.next += 1;
        self.feed(Event::Request { id, req: Box::new(req) })
    }
    fn say(&mut self, text: &str) -> Vec<Effect> {
        self.say_in(MAIN, "webchat", text)
    }
    fn say_in(&mut self, session: &str, channel: &str, text: &str) -> Vec<Effect> {
        let source =
            Source { channel: channel.into(), chat: session.into(), sender: "web".into(), ..Source::default() };
        let chat = ChatRequest { session: session.into(), source, text: text.into(), ..ChatRequest::default() };
        self.ask(Request::Chat(Box::new(chat)))
    }
    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        self.now.mono += ms;
        self.now.wall += ms as i64;
        self.feed(Event::Due)
    }
    fn pi(&mut self, proc: ProcId, event: PiEvent) -> Vec<Effect> {
        self.feed(Event::Pi { proc, event: Box::new(event) })
    }
    fn answer(&mut self, proc: ProcId, id: CmdId, data: PiData) -> Vec<Effect> {
        self.pi(proc, PiEvent::Response { id, result: Ok(data) })
    }
    /// Answers the file check, starts the process; until the prompt is written. Gives process, command, text.
    fn prompted(&mut self, mut effects: Vec<Effect>) -> (ProcId, CmdId, String) {
        for _ in 0..20 {
            let mut next = Vec::new();
            for e in effects {
                next.extend(match e {
                    Effect::Job { id, job, .. } => match *job {
                        Job::PrepareFile { path, .. } => {
                            let done = JobDone::FileReady { path, len: 0, notice: None };
                            self.feed(Event::Job { id, done: Box::new(done) })
                        }
                        Job::BranchFile { to, .. } => {
                            let done = JobDone::FileReady { path: to, len: 0, notice: None };
                            self.feed(Event::Job { id, done: Box::new(done) })
                        }
                        Job::FindMessages { .. } => {
                            let done = JobDone::FileRead(Found::default());
                            self.feed(Event::Job { id, done: Box::new(done) })
                        }
                        _ => Vec::new(),
                    },
                    Effect::Spawn { proc, .. } => self.feed(Event::Spawned { proc, pid: 77 }),
                    Effect::Write { proc, id, cmd } => match *cmd {
                        PiCmd::Prompt { message, .. } => return (proc, id, message),
                        PiCmd::GetState => self.answer(proc, id, PiData::State(PiState::default())),
                        PiCmd::SwitchSession { .. } => self.answer(proc, id, PiData::Cancelled(false)),
                        _ => Vec::new(),
                    },
                    _ => Vec::new(),
                });
            }
            effects = next;
        }
        panic!("no prompt was written");
    }
    /// Somebody writes, and pi is given it.
    fn asked(&mut self, text: &str) -> (ProcId, CmdId) {
        self.asked_in(MAIN, "webchat", text)
    }
    fn asked_in(&mut self, session: &str, channel: &str, text: &str) -> (ProcId, CmdId) {
        let effects = self.say_in(session, channel, text);
        let (proc, cmd, _) = self.prompted(effects);
        (proc, cmd)
    }
    /// pi takes the prompt and is at it.
    fn begins(&mut self, proc: ProcId, cmd: CmdId) {
        self.answer(proc, cmd, PiData::None);
        self.pi(proc, PiEvent::AgentStart);
    }
    /// A run of an old pi ends, and it is idle.
    fn settles(&mut self, proc: ProcId) -> Vec<Effect> {
        let mut effects = self.pi(proc, PiEvent::AgentEnd { will_retry: false });
        let id = written(&effects, |c| matches!(c, PiCmd::GetState)).unwrap();
        effects.extend(self.answer(proc, id, PiData::State(PiState::default())));
        effects
    }
    /// A whole answer of an old pi, from the prompt's response to idle.
    fn finish(&mut self, proc: ProcId, cmd: CmdId, text: &str) -> Vec<Effect> {
        self.begins(proc, cmd);
        self.pi(proc, PiEvent::Assistant(said(text, "stop")));
        self.settles(proc)
    }
    fn replies(&self) -> Vec<String> {
        let text = |f: &Frame| if let Frame::Reply { text, .. } = f { Some(text.clone()) } else { None };
        self.frames.iter().filter_map(text).collect()
    }
}

fn said(text: &str, stop: &str) -> AssistantMessage {
    AssistantMessage { text: text.into(), stop: stop.into(), ..AssistantMessage::default() }
}

fn failed(error: &str) -> AssistantMessage {
    AssistantMessage { stop: "error".into(), error: Some(error.into()), ..AssistantMessage::default() }
}

fn written(effects: &[Effect], want: impl Fn(&PiCmd) -> bool) -> Option<CmdId> {
    effects.iter().find_map(|e| match e {
        Effect::Write { id, cmd, .. } if want(cmd) => Some(*id),
        _ => None,
    })
}

fn prompts(effects: &[Effect]) -> Vec<String> {
    let text = |e: &Effect| match e {
        Effect::Write { cmd, .. } => match &**cmd {
            PiCmd::Prompt { message, .. } | PiCmd::Steer { message, .. } | PiCmd::FollowUp { message, .. } => {
                Some(message.clone())
            }
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(text).collect()
}

#[test]
fn b3_given_the_same_text_twice_then_the_agent_sees_both() {
    let mut m = Mind::new(Rules { debounce: 1500, ..rules() });
    m.say("ok");
    m.say("ok");
    let effects = m.wait(300);
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("Queued #1") && prompt.contains("Queued #2"), "{prompt}");
    assert_eq!(prompt.matches("\nok\n").count(), 2, "{prompt}");
}

#[test]
fn b4_given_a_command_then_the_next_message_is_answered() {
    let mut m = Mind::new(rules());
    m.say("/status");
    let (proc, cmd) = m.asked("hi");
    m.finish(proc, cmd, "hello");
    assert_eq!(m.replies().len(), 2);
    assert_eq!(m.replies()[1], "hello");
}

#[test]
fn b5_given_a_pool_of_two_then_five_chats_in_a_row_are_all_answered() {
    let mut m = Mind::new(Rules { pool_max: 2, ..rules() });
    for n in 0..5 {
        let session = format!("agent:main:webchat:{n}");
        let mut effects = m.say_in(&session, "webchat", "hi");
        // The file check; then the pool makes room by ending the least recently used process.
        for _ in 0..3 {
            let done: Vec<Event> = effects
                .iter()
                .filter_map(|e| match e {
                    Effect::Job { id, job, .. } => match &**job {
                        Job::PrepareFile { path, .. } => Some(Event::Job {
                            id: *id,
                            done: Box::new(JobDone::FileReady { path: path.clone(), len: 0, notice: None }),
                        }),
                        _ => None,
                    },
                    Effect::Signal { proc, .. } => Some(Event::Exit { proc: *proc, info: Box::default() }),
                    _ => None,
                })
                .collect();
            if done.is_empty() {
                break;
            }
            effects = done.into_iter().flat_map(|e| m.feed(e)).collect();
        }
        let (proc, cmd, _) = m.prompted(effects);
        m.finish(proc, cmd, &format!("answer {n}"));
    }
    assert_eq!(m.replies().len(), 5);
}

#[test]
fn b8_given_an_interrupt_then_what_was_accepted_is_in_the_next_prompt() {
    let mut m = Mind::new(Rules { mode: Mode::Interrupt, ..rules() });
    let (proc, cmd) = m.asked("first");
    m.begins(proc, cmd);
    let effects = m.say("second");
    assert!(written(&effects, |c| *c == PiCmd::Abort).is_some());
    m.say("third");
    m.pi(proc, PiEvent::Assistant(said("half", "aborted")));
    let effects = m.settles(proc);
    assert_eq!(m.replies(), ["half\n\n(interrupted)"]);
    let next = prompts(&effects).join("");
    assert!(next.contains("second") && next.contains("third"), "{next}");
}

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
fn b10_given_text_tool_text_then_both_texts_arrive() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("hi");
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::Assistant(said("A", "toolUse")));
    m.pi(proc, PiEvent::ToolStart { name: "bash".into() });
    m.pi(proc, PiEvent::ToolEnd { name: "bash".into(), error: false });
    m.pi(proc, PiEvent::Assistant(said("B", "stop")));
    m.settles(proc);
    assert_eq!(m.replies(), ["A\n\nB"]);
}

#[test]
fn b11_given_a_tool_that_runs_ten_minutes_then_the_turn_is_not_killed() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("build it");
    m.begins(proc, cmd);
    m.pi(proc, PiEvent::ToolStart { name: "bash".into() });
    let effects = m.wait(10 * 60_000);
    assert!(written(&effects, |c| *c == PiCmd::Abort).is_none());
    let effects = m.wait(21 * 60_000);
    assert!(written(&effects, |c| *c == PiCmd::Abort).is_some(), "half an hour of silence is the limit");
}

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

#[test]
fn c8_given_a_message_that_kills_pi_every_time_then_it_is_given_up_and_the_queue_goes_on() {
    let mut m = Mind::new(Rules { collect: false, ..rules() });
    let mut effects = m.say("poison");
    for _ in 0..3 {
        let (proc, _, _) = m.prompted(effects);
        effects = m.feed(Event::Exit { proc, info: Box::new(ExitInfo { signal: Some(11), ..ExitInfo::default() }) });
        let job = effects.iter().find_map(|e| if let Effect::Job { id, .. } = e { Some(*id) } else { None }).unwrap();
        if m.replies().is_empty() {
            m.say("next");
        }
        effects = m.feed(Event::Job { id: job, done: Box::new(JobDone::FileRead(Found::default())) });
    }
    assert_eq!(m.replies().len(), 1);
    assert!(m.replies()[0].contains("given up") && m.replies()[0].contains("poison"), "{:?}", m.replies());
    let (_, _, prompt) = m.prompted(effects);
    assert!(prompt.contains("next"));
}

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
fn c22_given_no_page_open_then_the_turn_ends_and_nothing_is_owed() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("hi");
    m.finish(proc, cmd, "hello");
    let effects = m.ask(Request::Snapshot);
    let Some(Effect::Answer { answer, .. }) = effects.first() else { panic!() };
    let Answer::Snapshot(s) = &*answer.0 else { panic!() };
    assert_eq!((s.outbox_ready, s.queues.len()), (0, 0));
}

#[test]
fn given_a_full_queue_then_each_drop_policy_does_what_it_says() {
    for (policy, first_prompt_has, refused) in
        [(DropPolicy::Summarize, "[Dropped] m0", false), (DropPolicy::Old, "m2", false), (DropPolicy::New, "m0", true)]
    {
        let mut m = Mind::new(Rules { drop_policy: policy, max_per_session: 2, debounce: 300, ..rules() });
        m.say("m0");
        m.say("m1");
        let effects = m.say("m2");
        let error = effects.iter().any(|e| {
            matches!(e, Effect::Answer { answer, .. } if matches!(*answer.0, Answer::Error { code: Code::QueueFull, .. }))
        });
        assert_eq!(error, refused, "{policy:?}");
        let effects = m.wait(300);
        let (_, _, prompt) = m.prompted(effects);
        assert!(prompt.contains(first_prompt_has), "{policy:?}: {prompt}");
        assert_eq!(prompt.contains("\nm0\n"), refused, "{policy:?}: {prompt}");
    }
}

#[test]
fn given_an_idle_conversation_then_its_first_message_waits_300_ms_at_most() {
    let mut m = Mind::new(Rules { debounce: 10_000, ..rules() });
    assert!(!m.say("hi").iter().any(|e| matches!(e, Effect::Job { .. })));
    assert!(m.wait(300).iter().any(|e| matches!(e, Effect::Job { .. })));
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
fn c18_given_a_kill_during_compact_then_it_is_not_run_again_and_the_user_is_told() {
    let mut m = Mind::new(rules());
    m.say("/compact");
    let effects = m.start();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Job { .. } | Effect::Spawn { .. })), "{effects:?}");
    let told = effects.iter().any(
        |e| matches!(e, Effect::Frame(f) if matches!(&**f, Frame::Reply { text, .. } if text.contains("interrupted"))),
    );
    assert!(told, "{effects:?}");
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

#[test]
fn given_a_token_of_silence_then_nothing_is_said() {
    for (text, want) in [("[NO_REPLY]", None), ("NO_REPLY", None), ("Sure. [NO_REPLY]", Some("Sure."))] {
        let mut m = Mind::new(rules());
        let (proc, cmd) = m.asked("hi");
        m.finish(proc, cmd, text);
        assert_eq!(m.replies().first().map(String::as_str), want, "{text}");
    }
}

#[test]
fn b20_given_messages_of_two_chats_in_one_session_then_each_chat_gets_its_own_answer() {
    let mut m = Mind::new(Rules { debounce: 300, ..rules() });
    m.say_in(MAIN, "webchat", "from the page");
    m.say_in(MAIN, "api", "from a program");
    let effects = m.wait(300);
    let (proc, cmd, first) = m.prompted(effects);
    let effects = m.finish(proc, cmd, "one");
    let (proc, cmd, second) = m.prompted(effects);
    m.finish(proc, cmd, "two");
    assert!(first.contains("from the page") && !first.contains("from a program"), "{first}");
    assert!(second.contains("from a program"), "{second}");
    assert_eq!(m.replies(), ["one", "two"]);
}

#[test]
fn given_a_message_steered_in_before_the_first_word_then_the_one_answer_is_both_s() {
    let mut m = Mind::new(rules());
    let (proc, cmd) = m.asked("first");
    m.begins(proc, cmd);
    let effects = m.say("second");
    let head = prompts(&effects).join("");
    let id = written(&effects, |c| matches!(c, PiCmd::Steer { .. })).unwrap();
    m.answer(proc, id, PiData::None);
    m.pi(proc, PiEvent::UserStart { head });
    m.pi(proc, PiEvent::Assistant(said("for both", "stop")));
    m.settles(proc);
    let runs: Vec<_> = m
        .frames
        .iter()
        .filter_map(|f| if let Frame::Reply { runs, .. } = f { Some(runs.clone()) } else { None })
        .collect();
    assert_eq!((runs.len(), runs[0].len()), (1, 2), "{runs:?}");
    // Whoever waits for the first message hears the answer too.
    let effects = m.ask(Request::Wait { row: 1 });
    let heard = effects.iter().any(|e| {
        matches!(e, Effect::Answer { answer: AnswerBox(a), .. } if matches!(&**a, Answer::Reply(r) if r.text == "for both"))
    });
    assert!(heard, "{effects:?}");
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

fn calls(effects: &[Effect]) -> Vec<CallId> {
    effects.iter().filter_map(|e| if let Effect::Call { id, .. } = e { Some(*id) } else { None }).collect()
}

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
