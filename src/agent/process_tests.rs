use std::process::{Child, Command, Stdio};

use super::*;
use crate::live::{Board, Item};

const SOON: Duration = Duration::from_secs(20);

struct Home {
    child: Child,
    pi: Option<PiProcess>,
    events: Receiver<Event>,
}

/// A shell script in place of pi. (Only tests spawn outside `children`.)
fn home(script: &str) -> Home {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (tx, events) = bounded(100);
    let mind = Mind::new(tx, Arc::default());
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let pi = PiProcess::start(ProcId(1), stdin, stdout, mind).unwrap();
    Home { child, pi: Some(pi), events }
}

impl Home {
    fn pi(&self) -> &PiProcess {
        self.pi.as_ref().unwrap()
    }
    fn event(&self) -> PiEvent {
        match self.events.recv_timeout(SOON).unwrap() {
            Event::Pi { event, .. } => *event,
            other => panic!("{other:?}"),
        }
    }
}

impl Home {
    fn event_within(&self, ms: u64) -> Option<PiEvent> {
        match self.events.recv_timeout(std::time::Duration::from_millis(ms)) {
            Ok(Event::Pi { event, .. }) => Some(*event),
            _ => None,
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.pi.take().unwrap().join();
    }
}

fn shown(lines: &[&str]) -> Vec<Item> {
    let live = Board::default().open("s");
    live.begin("r");
    let mut slot = Shown { live: Some(live.clone()), ..Shown::default() };
    let mut scanner = Scanner::default();
    for line in lines {
        scanner.feed(format!("{line}\n").as_bytes(), &mut |l| slot.take(&l));
    }
    live.snapshot().2
}

fn delta(text: &str) -> String {
    format!(r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","delta":"{text}"}}}}"#)
}

const START: &str = r#"{"type":"message_start","message":{"role":"assistant","content":[],"stopReason":"pending"}}"#;

#[test]
fn a_command_goes_in_and_its_answer_comes_out() {
    let home = home(
        r#"read line; case "$line" in *get_state*) echo 'not json'; echo '{"id":"g5","type":"response","command":"get_state","success":true,"data":{"isStreaming":true}}';; esac"#,
    );
    home.pi().write(5, PiCmd::GetState).unwrap();
    let PiEvent::Response { id: 5, result: Ok(crate::message::PiData::State(state)) } = home.event() else { panic!() };
    assert!(state.streaming);
    assert_eq!(home.event(), PiEvent::Eof);
}

#[test]
fn given_a_pi_that_does_not_read_then_the_queue_fills_and_stopping_does_not_hang() {
    let home = home("sleep 300");
    let big = || PiCmd::Steer { message: "x".repeat(100_000), images: vec![] };
    let taken = (0..100).take_while(|n| home.pi().write(*n, big()).is_ok()).count();
    assert!((64..=66).contains(&taken), "{taken}");
    assert_eq!(home.pi().write(1, PiCmd::Abort), Err(Refused::Full));
}

#[test]
fn given_a_pi_that_died_then_commands_are_answered_with_the_reason() {
    let home = home("exit 0");
    assert_eq!(home.event(), PiEvent::Eof);
    // A child that another test is just starting may hold the pipe's other end until its exec.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while home.pi().write(9, PiCmd::Abort).is_ok() {
        assert!(std::time::Instant::now() < end, "the broken pipe is not noticed");
        if let Some(PiEvent::Response { id: 9, result: Err(why) }) = home.event_within(20) {
            assert!(why.contains("stdin is closed"));
            break;
        }
    }
}

#[test]
fn given_a_daemon_that_keeps_the_pipes_then_joining_does_not_wait_for_it() {
    let home = home(r#"sleep 10 & echo '{"type":"agent_start"}'; kill -9 $$"#);
    assert_eq!(home.event(), PiEvent::AgentStart);
    drop(home); // the test ends
}

#[test]
fn several_messages_of_a_run_are_separated_like_in_the_reply() {
    let items = shown(&[
        r#"{"type":"agent_start"}"#,
        START,
        &delta("one"),
        &delta(" two"),
        r#"{"type":"tool_execution_start","toolCallId":"c","toolName":"bash","args":{"command":"ls","label":"List"}}"#,
        r#"{"type":"tool_execution_update","toolCallId":"c","toolName":"bash","args":{},"partialResult":{"content":[{"type":"text","text":"a"}]}}"#,
        r#"{"type":"tool_execution_end","toolCallId":"c","toolName":"bash","result":{"content":[{"type":"text","text":"ab"}]},"isError":false}"#,
        START,
        &delta("three"),
    ]);
    assert_eq!(items[1], Item::Text("one two".into()));
    let Item::Tool(tool) = &items[2] else { panic!("{items:?}") };
    assert_eq!((tool.label.as_str(), tool.output.as_str(), tool.done), ("List", "ab", true));
    assert_eq!(tool.args, r#"{"command":"ls","label":"List"}"#);
    assert_eq!(items[3], Item::Text("\n\nthree".into()));
}

#[test]
fn a_retry_takes_back_only_the_failed_message() {
    let failed = r#"{"type":"message_end","message":{"role":"assistant","content":[],"stopReason":"error","errorMessage":"terminated"}}"#;
    let good = r#"{"type":"message_end","message":{"role":"assistant","content":[],"stopReason":"toolUse"}}"#;
    let retry = r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":1,"errorMessage":"terminated"}"#;
    let items =
        shown(&[START, &delta("kept"), good, START, &delta("half an ans"), failed, retry, START, &delta("whole")]);
    assert_eq!(items, [Item::Text("kept\n\nwhole".into())]);
}
