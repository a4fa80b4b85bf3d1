use std::process::{Child, Command, Stdio};

use super::*;
use crate::live::{Board, Item, News};

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
    seen_live(lines).snapshot().2
}

fn seen_live(lines: &[&str]) -> Arc<Live> {
    let live = Board::default().open("s");
    live.begin("r");
    let mut slot = Shown::of(Some(live.clone()));
    let mut scanner = Scanner::default();
    for line in lines {
        scanner.feed(format!("{line}\n").as_bytes(), &mut |l| slot.take(&l));
    }
    live
}

/// What a viewer is told who comes now: types of events, and text.
fn told(live: &Live) -> Vec<String> {
    let one = |n: &News| match n {
        News::Event { json, .. } => {
            let v: serde_json::Value = serde_json::from_str(json).unwrap();
            let stop = v["message"]["stopReason"].as_str().unwrap_or_default();
            format!("{} {stop}", v["type"].as_str().unwrap()).trim_end().to_owned()
        }
        News::Text { delta, .. } => delta.clone(),
        News::ToolStart { tool, .. } => tool.name.clone(),
        other => panic!("{other:?}"),
    };
    let mut at = crate::live::Cursor::default();
    live.read(&mut at, usize::MAX).iter().filter(|n| !matches!(n, News::Restart { .. })).map(one).collect()
}

fn end(text: &str, stop: &str) -> String {
    let content = if text.is_empty() { String::new() } else { format!(r#"{{"type":"text","text":"{text}"}}"#) };
    format!(r#"{{"type":"message_end","message":{{"role":"assistant","content":[{content}],"stopReason":"{stop}"}}}}"#)
}

const AGENT: &str = r#"{"type":"agent_start"}"#;
const TURN: &str = r#"{"type":"turn_start"}"#;
const TURN_END: &str = r#"{"type":"turn_end","message":{"role":"assistant"},"toolResults":[]}"#;
const AGENT_END: &str = r#"{"type":"agent_end","messages":[]}"#;
const RETRY: &str = r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":1,"errorMessage":"429"}"#;
const ONCE: [&str; 7] =
    ["agent_start", "turn_start", "message_start", "whole", "message_end stop", "turn_end stop", "agent_end"];

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
    let items: Vec<Item> = items.into_iter().filter(|i| matches!(i, Item::Text(_) | Item::Tool(_))).collect();
    assert_eq!(items[0], Item::Text("one two".into()));
    let Item::Tool(tool) = &items[1] else { panic!("{items:?}") };
    assert_eq!((tool.label.as_str(), tool.output.as_str(), tool.done), ("List", "ab", true));
    assert_eq!(tool.args, r#"{"command":"ls","label":"List"}"#);
    assert_eq!(items[2], Item::Text("\n\nthree".into()));
}

#[test]
fn a_retry_takes_back_only_the_failed_message() {
    let (good, failed) = (end("kept", "toolUse"), end("half", "error"));
    let live = seen_live(&[
        AGENT,
        TURN,
        START,
        &delta("kept"),
        &good,
        TURN_END,
        TURN,
        START,
        &delta("half an ans"),
        &failed,
        TURN_END,
        AGENT_END,
        RETRY,
        AGENT,
        TURN,
        START,
        &delta("whole"),
        &end("whole", "stop"),
        TURN_END,
        AGENT_END,
    ]);
    live.end();
    let mut want =
        vec!["agent_start", "turn_start", "message_start", "kept", "message_end toolUse", "turn_end toolUse"];
    want.extend(&ONCE[1..]);
    want[8] = "\n\nwhole";
    assert_eq!(told(&live), want);
}

#[test]
fn given_a_message_that_fails_at_once_and_a_retry_then_a_viewer_sees_each_event_once_and_no_restart() {
    let live = Board::default().open("s");
    let mut at = crate::live::Cursor::default();
    let mut slot = Shown::of(Some(live.clone()));
    let mut scanner = Scanner::default();
    live.begin("r");
    assert!(matches!(&live.read(&mut at, usize::MAX)[..], [News::Restart { .. }]));
    let mut seen = Vec::new();
    let again = [AGENT, TURN, START, &end("", "error"), TURN_END, AGENT_END, RETRY, AGENT, TURN, START];
    for line in again.into_iter().chain([&*delta("whole"), &*end("whole", "stop"), TURN_END, AGENT_END]) {
        scanner.feed(format!("{line}\n").as_bytes(), &mut |l| slot.take(&l));
        let news = live.read(&mut at, usize::MAX);
        assert!(!news.iter().any(|n| matches!(n, News::Restart { .. })), "{news:?}");
        seen.extend(news);
    }
    assert_eq!(told(&live), ONCE);
    assert_eq!(seen.len(), ONCE.len(), "{seen:?}");
}

#[test]
fn given_a_failure_that_is_final_then_its_end_is_shown_when_the_run_ends() {
    let failing = [AGENT, TURN, START, &delta("half"), &end("half", "error"), TURN_END, AGENT_END];
    let shown = ["agent_start", "turn_start", "message_start", "half"];
    let ends = ["message_end error", "turn_end error", "agent_end"];
    let live = seen_live(&failing);
    assert_eq!(told(&live), shown);
    live.end();
    assert_eq!(told(&live), [&shown[..], &ends].concat());

    // A retry that is called off: what it took back is told by the end.
    let cancelled = [&failing[..], &[RETRY, r#"{"type":"auto_retry_end","success":false,"attempt":1}"#]].concat();
    let live = seen_live(&cancelled);
    live.end();
    assert_eq!(told(&live), [&shown[..2], &["message_start"], &ends].concat());

    // Another model begins the run anew.
    let live = seen_live(&failing);
    live.begin("r");
    live.end();
    assert!(told(&live).is_empty());
}

#[test]
fn message_end_says_what_pi_said_also_where_that_is_not_what_it_streamed() {
    let message = |live: &Live| {
        let news = live.read(&mut crate::live::Cursor::default(), usize::MAX);
        let of = |kind: &str| {
            let json = news.iter().rev().find_map(|n| match n {
                News::Event { json, .. } if json.contains(&format!("\"type\":\"{kind}\"")) => Some(json.clone()),
                _ => None,
            });
            serde_json::from_str::<serde_json::Value>(&json.unwrap()).unwrap()
        };
        (of("message_end"), of("turn_end"))
    };
    let calls = r#"{"type":"message_end","message":{"role":"assistant","content":[{"type":"text","text":"two"},{"type":"toolCall","id":"c","name":"bash","arguments":{"command":"ls"}}],"provider":"p","model":"m","usage":{"input":3,"output":2,"cacheRead":1,"cacheWrite":0,"cost":{"total":0.5}},"stopReason":"toolUse"}}"#;
    let think = r#"{"type":"message_update","assistantMessageEvent":{"type":"thinking_delta","delta":"hm"}}"#;
    let tool = r#"{"type":"tool_execution_end","toolCallId":"c","toolName":"bash","result":{"content":[{"type":"text","text":"out"}]},"isError":false}"#;
    let first = [AGENT, TURN, START, &delta("one"), &end("one", "stop"), TURN_END, TURN, START, think];
    let (text, other) = (delta("two"), delta("streamed otherwise"));
    let want = serde_json::json!({
        "role": "assistant", "stopReason": "toolUse", "provider": "p", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "two"},
            {"type": "toolCall", "id": "c", "name": "bash", "arguments": {"command": "ls"}},
        ],
        "usage": {
            "input": 3, "output": 2, "cacheRead": 1, "cacheWrite": 0, "totalTokens": 6, "cost": {"total": 0.5},
        },
    });
    for streamed in [&text, &other] {
        let live = seen_live(&[&first[..], &[streamed, calls, tool, TURN_END]].concat());
        let (end, turn) = message(&live);
        assert_eq!(end["message"], want);
        assert_eq!(turn["message"], want);
        assert_eq!(
            turn["toolResults"],
            serde_json::json!([{
                "role": "toolResult", "toolCallId": "c", "toolName": "bash",
                "content": [{"type": "text", "text": "out"}], "isError": false,
            }])
        );
    }
}

#[test]
fn a_message_handed_in_begins_its_part_with_a_turn() {
    let user = |text: &str| {
        format!(
            r#"{{"type":"message_start","message":{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}}}}"#
        )
    };
    let (one, two) = (end("one", "stop"), end("two", "stop"));
    let live = seen_live(&[
        AGENT,
        TURN,
        &user("a"),
        START,
        &delta("one"),
        &one,
        TURN_END,
        TURN,
        &user("b"),
        START,
        &delta("two"),
        &two,
        TURN_END,
        AGENT_END,
    ]);
    live.rename("r2");
    let want = ["turn_start", "message_start", "two", "message_end stop", "turn_end stop", "agent_end"];
    assert_eq!(told(&live), want);
}
