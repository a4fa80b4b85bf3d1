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
#[path = "mind/clocks.rs"]
mod clocks;
#[path = "mind/cron.rs"]
mod cron;
#[path = "mind/delegate.rs"]
mod delegate;
#[path = "mind/dialogs.rs"]
mod dialogs;
#[path = "mind/early.rs"]
mod early;
#[path = "mind/events.rs"]
mod events;
#[path = "mind/fresh.rs"]
mod fresh;
#[path = "mind/full.rs"]
mod full;
#[path = "mind/heartbeat.rs"]
mod heartbeat;
#[path = "mind/models.rs"]
mod models;
#[path = "mind/requests.rs"]
mod requests;
#[path = "mind/stop.rs"]
mod stop;
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

fn calls(effects: &[Effect]) -> Vec<CallId> {
    effects.iter().filter_map(|e| if let Effect::Call { id, .. } = e { Some(*id) } else { None }).collect()
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
