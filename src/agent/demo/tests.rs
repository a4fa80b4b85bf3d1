use std::time::Instant;

use crossbeam_channel::Sender;

use super::*;
use crate::agent::head::Scanner;
use crate::agent::rpc::{Line, Phase};
use crate::message::{FoundEntry, PiData, PiEvent};

/// stdout of a demo agent in this process.
struct Out(Sender<Vec<u8>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Talk {
    commands: Option<Sender<Vec<u8>>>,
    output: Receiver<Vec<u8>>,
    scanner: Scanner,
    ahead: std::collections::VecDeque<Line>,
}

fn start(session: &std::path::Path, delay: u64) -> Talk {
    let (tx, rx) = bounded(10);
    let (out, output) = bounded(100_000);
    let history = History::open(Some(session.into())).unwrap();
    std::thread::spawn(move || {
        Demo::new(Out(out), history, Options::default(), Duration::from_millis(delay)).serve(&rx).unwrap();
    });
    Talk { commands: Some(tx), output, scanner: Scanner::default(), ahead: Default::default() }
}

impl Talk {
    fn send(&self, line: Value) {
        self.commands.as_ref().unwrap().send(line.to_string().into_bytes()).unwrap();
    }
    fn prompt(&self, text: &str) {
        self.send(json!({"id": "g1", "type": "prompt", "message": text}));
    }
    fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.ahead.pop_front() {
                return line;
            }
            let bytes = self.output.recv_timeout(Duration::from_secs(20)).unwrap();
            let ahead = &mut self.ahead;
            self.scanner.feed(&bytes, &mut |line| ahead.push_back(line));
        }
    }
    fn until(&mut self, last: impl Fn(&Line) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.next());
            if lines.last().is_some_and(&last) {
                return lines;
            }
        }
    }
    fn settled(&mut self) -> Vec<Line> {
        self.until(|l| matches!(l, Line::Event(PiEvent::Settled { .. })))
    }
    fn answer(&mut self, command: Value) -> Result<PiData, String> {
        self.send(command);
        let lines = self.until(|l| matches!(l, Line::Event(PiEvent::Response { id: 9, .. })));
        match lines.into_iter().last() {
            Some(Line::Event(PiEvent::Response { result, .. })) => result,
            other => panic!("{other:?}"),
        }
    }
}

fn texts(lines: &[Line]) -> Vec<String> {
    let text = |l: &Line| if let Line::Event(PiEvent::Assistant(m)) = l { Some(m.text.clone()) } else { None };
    lines.iter().filter_map(text).collect()
}

#[test]
fn an_answer_streams_and_its_deltas_are_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut talk = start(&dir.path().join("s.jsonl"), 0);
    talk.prompt("[msgId:1 | turn:t1]\nhello **you**");
    let lines = talk.settled();
    let streamed: String =
        lines.iter().filter_map(|l| if let Line::Text(t) = l { Some(t.as_str()) } else { None }).collect();
    assert_eq!(texts(&lines), std::slice::from_ref(&streamed));
    assert!(streamed.contains("> hello **you**") && streamed.contains("demo agent") && !streamed.contains("msgId"));
    assert!(
        matches!(&lines[0], Line::Event(PiEvent::Response { id: 1, result: Ok(PiData::Disposition(d)) }) if d == "started")
    );
    assert!(lines.contains(&Line::Event(PiEvent::UserStart { head: "[msgId:1 | turn:t1]\nhello **you**".into() })));
}

#[test]
fn a_restarted_demo_remembers_what_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.jsonl");
    let mut talk = start(&file, 0);
    talk.prompt("my dog is called Rex");
    talk.settled();
    drop(talk);
    let mut talk = start(&file, 0);
    talk.prompt("[turn:t2]\nWhat did I say?");
    assert!(texts(&talk.settled())[0].contains("1. my dog is called Rex"));
    let found = crate::agent::session_file::read(&file, "t2", 0, false).unwrap();
    assert!(found.user && matches!(&found.entries[..], [FoundEntry::Assistant(m)] if m.stop == "stop"));
}

#[test]
fn a_tool_runs_with_live_output_and_can_be_aborted_and_steered() {
    let dir = tempfile::tempdir().unwrap();
    let mut talk = start(&dir.path().join("s.jsonl"), 2);
    let tool = |l: &Line, phase| matches!(l, Line::Tool(t) if t.phase == phase);
    talk.prompt("please use a tool");
    talk.until(|l| tool(l, Phase::Start));
    talk.send(json!({"id": "g2", "type": "prompt", "message": "stop that", "streamingBehavior": "steer"}));
    let lines = talk.settled();
    assert!(lines.contains(&Line::Event(PiEvent::Queue { waiting: 1 })));
    assert!(lines.iter().any(|l| tool(l, Phase::Update)) && lines.iter().any(|l| tool(l, Phase::End)));
    assert!(texts(&lines)[0].contains("> stop that"));

    talk.prompt("tool");
    talk.until(|l| tool(l, Phase::Update));
    let lines = {
        talk.send(json!({"id": "g9", "type": "abort"}));
        talk.until(|l| matches!(l, Line::Event(PiEvent::Response { id: 9, .. })))
    };
    assert!(lines.iter().any(|l| tool(l, Phase::End)));
    assert!(lines.contains(&Line::Event(PiEvent::Settled { aborted: true })));
}

#[test]
fn retries_dialogs_and_refusals_look_like_pis() {
    let dir = tempfile::tempdir().unwrap();
    let mut talk = start(&dir.path().join("s.jsonl"), 0);
    talk.prompt("retry");
    let lines = talk.settled();
    assert!(lines.iter().any(|l| matches!(l, Line::Event(PiEvent::RetryStart { attempt: 1, max: 3, .. }))));
    assert_eq!(lines.iter().filter(|l| matches!(l, Line::Event(PiEvent::AgentStart))).count(), 2);
    assert_eq!(texts(&lines).last().unwrap(), "*(demo)* The second attempt worked.");

    talk.prompt("error");
    let failed = |l: &Line| matches!(l, Line::Event(PiEvent::Assistant(m)) if m.stop == "error" && m.error.is_some());
    assert!(talk.settled().iter().any(failed));

    talk.prompt("ask");
    let lines = talk.until(|l| matches!(l, Line::Event(PiEvent::Ui(_))));
    let Some(Line::Event(PiEvent::Ui(dialog))) = lines.last() else { panic!() };
    assert!(talk
        .answer(json!({"id": "g9", "type": "prompt", "message": "x"}))
        .unwrap_err()
        .contains("already processing"));
    talk.send(json!({"type": "extension_ui_response", "id": dialog.id, "value": "tea"}));
    assert!(texts(&talk.settled())[0].ends_with("Your choice: **tea**."));

    assert!(matches!(talk.answer(json!({"id": "g9", "type": "get_state"})), Ok(PiData::State(s)) if !s.streaming));
    assert!(
        matches!(talk.answer(json!({"id": "g9", "type": "get_available_models"})), Ok(PiData::Models(m)) if m.names.len() == 2)
    );
    assert!(talk.answer(json!({"id": "g9", "type": "set_model", "provider": "x", "modelId": "y"})).is_err());
    assert!(
        matches!(talk.answer(json!({"id": "g9", "type": "get_commands"})), Ok(PiData::Commands(c)) if c.len() == 7)
    );
    assert!(
        matches!(talk.answer(json!({"id": "g9", "type": "get_session_stats"})), Ok(PiData::Stats(s)) if s.user_messages == 3)
    );
    assert_eq!(talk.answer(json!({"id": "g9", "type": "compact"})), Ok(PiData::None));
    let other = dir.path().join("other.jsonl");
    let switched = talk.answer(json!({"id": "g9", "type": "switch_session", "sessionPath": other}));
    assert_eq!(switched, Ok(PiData::Cancelled(false)));
    assert!(talk.answer(json!({"id": "g9", "type": "nosuch"})).unwrap_err().contains("Unknown command: nosuch"));
}

#[test]
fn words_come_at_the_pace_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut talk = start(&dir.path().join("s.jsonl"), 3);
    let begin = Instant::now();
    talk.prompt("long 30");
    talk.settled();
    assert!(begin.elapsed() >= Duration::from_millis(90));
}

#[test]
fn pis_flags_are_understood_or_skipped() {
    let args = "--mode rpc --provider p --model m --session /s --tools a,b --no-skills --thinking low";
    let options = Options::parse(args.split(' ').map(Into::into));
    assert_eq!(options.session.as_deref(), Some("/s".as_ref()));
    assert_eq!((options.provider.as_deref(), options.thinking.as_deref()), (Some("p"), Some("low")));
}
