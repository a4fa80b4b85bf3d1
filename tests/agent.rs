//! A pi process from end to end: spawned by `children`, driven over its pipes, crashed, resumed from its file.
//!
//! By default the built-in demo agent plays pi. With `PI_GW_TEST_PI=/path/to/pi` (and `PI_GW_TEST_ENV` as
//! `NAME=value` words; a model server like fake_llm.py that takes `[[…]]` directives) a real one does.

#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver};
use pi_gateway::agent::process::PiProcess;
use pi_gateway::agent::{demo, session_file};
use pi_gateway::ask::Mind;
use pi_gateway::children::checkpoint::Checkpoint;
use pi_gateway::children::{ChildId, Children, ChildrenHandle, MainEvent, SpawnSpec};
use pi_gateway::config::types::ExecGuard;
use pi_gateway::live::{Board, Item, Live};
use pi_gateway::message::{Event, FoundEntry, JobDone, PiCmd, PiData, PiEvent, ProcId, Sig};

const SOON: Duration = Duration::from_secs(60);
const ID: ProcId = ProcId(1);

/// Not a test: the demo agent as a process of its own (see `spec`).
#[test]
#[ignore = "started by the other tests"]
fn demo_process() {
    let Some(session) = std::env::var_os("DEMO_SESSION") else { return };
    std::process::exit(demo::main(["--session".into(), session].into_iter()));
}

struct Home {
    handle: ChildrenHandle,
    exits: Receiver<MainEvent>,
    dir: tempfile::TempDir,
}

fn home() -> Home {
    let (tx, exits) = bounded(100);
    let (handles, handle) = bounded(1);
    std::thread::spawn(move || {
        let nothing = Vec::new();
        let open = ExecGuard { allowed_executables: nothing, enabled: false, audit_log: false, block_unlisted: false };
        let (children, handle) = Children::new(Arc::new(Checkpoint::new(open))).unwrap();
        handles.send(handle).unwrap();
        children.run(|e| tx.send(e).map_or(ControlFlow::Break(()), |()| ControlFlow::Continue(()))).unwrap();
    });
    Home { handle: handle.recv().unwrap(), exits, dir: tempfile::tempdir().unwrap() }
}

struct Pi {
    process: PiProcess,
    events: Receiver<Event>,
    live: Arc<Live>,
}

fn real() -> Option<String> {
    std::env::var("PI_GW_TEST_PI").ok()
}

fn spec(session: &Path, cwd: &Path) -> SpawnSpec {
    let mut env: Vec<_> = std::env::vars_os().filter(|(name, _)| name == "PATH").collect();
    let (program, args) = match real() {
        Some(pi) => {
            let words = std::env::var("PI_GW_TEST_ENV").unwrap_or_default();
            env.extend(words.split(' ').filter_map(|w| w.split_once('=')).map(|(n, v)| (n.into(), v.into())));
            let flags = "--mode rpc --provider fake --model fake-model --session".split(' ').map(Into::into);
            (pi.into(), flags.chain([session.into()]).collect())
        }
        None => {
            env.extend([("DEMO_SESSION".into(), session.into()), ("PI_GW_DEMO_DELAY_MS".into(), "1".into())]);
            let args = ["demo_process", "--exact", "--ignored", "--nocapture"].map(Into::into).to_vec();
            (std::env::current_exe().unwrap(), args)
        }
    };
    let mark = Some(format!("{}.1", cwd.display()));
    SpawnSpec { id: ChildId::Pi(ID), program, args, env, cwd: cwd.into(), mark }
}

impl Home {
    fn start(&self, session: &Path) -> Pi {
        let child = self.handle.spawn(spec(session, self.dir.path())).recv_timeout(SOON).unwrap().unwrap();
        let (tx, events) = bounded(1000);
        let process = PiProcess::start(ID, child.stdin, child.stdout, Mind::new(tx, Arc::default())).unwrap();
        let live = Board::default().open("s");
        live.begin("run");
        process.show(Some(live.clone()));
        let pi = Pi { process, events, live };
        pi.process.write(1, PiCmd::GetState).unwrap();
        pi.until(|e| matches!(e, PiEvent::Response { id: 1, result: Ok(PiData::State(_)) }));
        pi
    }
    fn end(&self, pi: Pi, sig: Sig) -> pi_gateway::message::ExitInfo {
        assert!(self.handle.signal(ChildId::Pi(ID), sig));
        let MainEvent::Exit { info, .. } = self.exits.recv_timeout(SOON).unwrap() else { panic!() };
        pi.until(|e| *e == PiEvent::Eof);
        pi.process.join();
        info
    }
}

impl Pi {
    fn until(&self, last: impl Fn(&PiEvent) -> bool) -> Vec<PiEvent> {
        let mut all = Vec::new();
        loop {
            match self.events.recv_timeout(SOON) {
                Ok(Event::Pi { event, .. }) => all.push(*event),
                other => panic!("{other:?} after {all:#?}"),
            }
            if all.last().is_some_and(&last) {
                return all;
            }
        }
    }
    fn prompt(&self, message: &str) {
        self.process.write(2, PiCmd::Prompt { message: message.into(), images: vec![], inject: None }).unwrap();
    }
    /// Old pi says `agent_end` last, new pi `agent_settled`.
    fn turn(&self, message: &str) -> Vec<PiEvent> {
        self.prompt(message);
        let events = self.until(|e| matches!(e, PiEvent::AgentEnd { .. }));
        self.process.write(3, PiCmd::GetState).unwrap();
        self.until(|e| matches!(e, PiEvent::Response { id: 3, .. }));
        events
    }
    fn shown(&self) -> String {
        let text = |i: Item| if let Item::Text(t) = i { Some(t) } else { None };
        self.live.snapshot().2.into_iter().filter_map(text).collect()
    }
}

fn say<'a>(demo: &'a str, directives: &'a str) -> &'a str {
    if real().is_some() {
        directives
    } else {
        demo
    }
}

fn replies(events: &[PiEvent]) -> Vec<String> {
    let text = |e: &PiEvent| if let PiEvent::Assistant(m) = e { Some(m.text.clone()) } else { None };
    events.iter().filter_map(text).filter(|t| !t.is_empty()).collect()
}

#[test]
fn a_turn_with_a_tool_is_shown_live_as_it_is_recorded() {
    let home = home();
    let file = home.dir.path().join("s.jsonl");
    let pi = home.start(&file);
    let text = say("tool", "[[say:Look.]] [[tool:bash {\"command\":\"echo hi; sleep 0.2\"}]] [[say:Done é😀.]]");
    let events = pi.turn(&format!("[turn:one]\n{text}"));
    assert!(events.iter().any(|e| matches!(e, PiEvent::UserStart { head } if head.starts_with("[turn:one]"))));
    assert!(events.iter().any(|e| matches!(e, PiEvent::ToolStart { name } if name == "bash")));
    assert!(events.iter().any(|e| matches!(e, PiEvent::ToolEnd { name, error: false } if name == "bash")));
    let replies = replies(&events);
    assert_eq!(replies.len(), 2);
    assert_eq!(pi.shown(), replies.join("\n\n"));
    let info = home.end(pi, Sig::Term);
    assert!(info.code == Some(143) || info.signal == Some(15), "{info:?}");

    let found = session_file::read(&file, "one", 0, false).unwrap();
    let recorded: Vec<_> = found
        .entries
        .iter()
        .filter_map(|e| if let FoundEntry::Assistant(m) = e { Some(m.text.clone()) } else { None })
        .collect();
    assert_eq!(recorded, replies);
}

#[test]
fn an_abort_ends_the_run_and_the_next_prompt_works() {
    let home = home();
    let pi = home.start(&home.dir.path().join("s.jsonl"));
    pi.prompt(say("tool", "[[tool:bash {\"command\":\"echo hi; sleep 30\"}]]"));
    pi.until(|e| matches!(e, PiEvent::ToolStart { .. }));
    pi.process.write(5, PiCmd::Abort).unwrap();
    let events = pi.until(|e| matches!(e, PiEvent::Response { id: 5, result: Ok(_) }));
    assert!(events.iter().any(|e| matches!(e, PiEvent::ToolEnd { error: true, .. })));
    assert!(events.iter().any(|e| matches!(e, PiEvent::Assistant(m) if m.stop == "aborted")));
    let again = pi.turn(say("hello", "[[say:You said hello]]"));
    assert!(replies(&again)[0].contains("hello"));
    home.end(pi, Sig::Term);
}

#[test]
fn a_killed_pi_goes_on_from_its_file_also_in_another_folder() {
    let home = home();
    let file = home.dir.path().join("s.jsonl");
    let pi = home.start(&file);
    pi.turn(&format!("[turn:a]\n{}", say("my dog is called Rex", "my dog is called Rex")));
    pi.prompt(&format!("[turn:b]\n{}", say("tool", "[[tool:bash {\"command\":\"sleep 30\"}]]")));
    home.handle.note_turn(ChildId::Pi(ID), Some(0));
    pi.until(|e| matches!(e, PiEvent::ToolStart { .. }));
    assert_eq!(home.end(pi, Sig::Kill).signal, Some(9));
    let found = session_file::read(&file, "b", 0, false).unwrap();
    assert!(matches!(&found.entries[..], [FoundEntry::Assistant(m)] if m.stop == "toolUse"), "{found:?}");

    std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"{\"torn"))
        .unwrap();
    let other = home.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    for (cwd, fresh) in [(home.dir.path(), "unused.jsonl"), (&other, "fresh/copy.jsonl")] {
        let JobDone::FileReady { path, len, .. } = session_file::prepare(&file, cwd, &home.dir.path().join(fresh))
        else {
            panic!()
        };
        assert_eq!(path.ends_with("copy.jsonl"), cwd == other);
        let pi = home.start(&path);
        let events = pi.turn(&format!("[turn:c]\n{}", say("what did I say?", "[[show:users]]")));
        assert!(replies(&events)[0].contains("my dog is called Rex"), "{events:#?}");
        home.end(pi, Sig::Term);
        assert!(session_file::read(&path, "c", len, false).unwrap().user);
    }
}

#[test]
fn a_session_is_switched_in_a_living_process() {
    let home = home();
    let pi = home.start(&home.dir.path().join("one.jsonl"));
    pi.turn(say("first", "[[say:first]]"));
    let two = home.dir.path().join("two.jsonl");
    pi.process.write(7, PiCmd::SwitchSession { path: two.clone() }).unwrap();
    let events = pi.until(|e| matches!(e, PiEvent::Response { id: 7, .. }));
    assert_eq!(events.last(), Some(&PiEvent::Response { id: 7, result: Ok(PiData::Cancelled(false)) }));
    pi.turn(&format!("[turn:z]\n{}", say("second", "[[say:second]]")));
    home.end(pi, Sig::Term);
    assert!(session_file::read(&two, "z", 0, false).unwrap().user);
}

#[test]
fn a_long_answer_is_drained_as_fast_as_it_comes() {
    let home = home();
    let pi = home.start(&home.dir.path().join("s.jsonl"));
    let begin = std::time::Instant::now();
    let events = pi.turn(say("long 2000", "[[long:100000 chars by 20 every 0 ms]]"));
    let replies = replies(&events);
    assert!(pi.shown() == replies[0] && replies[0].len() > 10_000);
    println!("{} bytes of answer in {:?}", replies[0].len(), begin.elapsed());
    home.end(pi, Sig::Term);
}
