//! The facts about `pi --mode rpc` that the gateway relies on, checked on the real program in its old and new
//! generation, and on the stand-in in both flavours, so that what is tested with the stand-in holds for pi.

#![allow(clippy::unwrap_used)] // a failed test may panic

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{json, Value};
use support::fake_pi::{FakePi, Flavour};
use support::home::{session_entries, session_messages, PiHome};
use support::llm::Llm;
use support::pi;
use support::process::ProcessWatch;
use support::rpc::Rpc;

struct Peer {
    llm: Llm,
    home: PiHome,
    fake: Option<FakePi>,
    program: PathBuf,
    new: bool,
}

impl Peer {
    fn real(new: bool) -> Peer {
        let llm = Llm::start();
        let home = PiHome::new(&llm);
        Peer { llm, home, fake: None, program: if new { pi::new() } else { pi::old() }, new }
    }

    fn fake(new: bool) -> Peer {
        let llm = Llm::start();
        let home = PiHome::new(&llm);
        let fake = FakePi::new(if new { Flavour::New } else { Flavour::Old });
        Peer { llm, home, program: fake.program(), fake: Some(fake), new }
    }

    fn session(&self, name: &str) -> PathBuf {
        self.home.sessions().join(format!("{name}.jsonl"))
    }

    fn start(&self, session: &Path) -> Rpc {
        self.start_with(session, &[])
    }

    fn start_with(&self, session: &Path, more: &[&str]) -> Rpc {
        let mut command = self.home.rpc_command(&self.program, session);
        command.args(more);
        Rpc::spawn(command)
    }

    fn wait_gate(&self, name: &str) {
        match &self.fake {
            Some(fake) => drop(fake.wait_gate(name)),
            None => drop(self.llm.wait_gate(name)),
        }
    }

    fn open(&self, name: &str) {
        match &self.fake {
            Some(fake) => fake.open(name),
            None => self.llm.open(name),
        }
    }

    /// The end of a run without retry or compaction.
    fn settle(&self, rpc: &mut Rpc) {
        rpc.event("agent_end");
        if self.new {
            rpc.event("agent_settled");
        }
    }

    /// Prompt, whole run, text of the last assistant message.
    fn ask(&self, rpc: &mut Rpc, text: &str) -> String {
        let accepted = rpc.prompt(text);
        assert_eq!(accepted["success"], true, "{accepted}");
        let mut answer = Value::Null;
        while answer["stopReason"] != "stop" {
            answer = rpc.wait_for("an assistant message", |v| {
                v["type"] == "message_end" && v["message"]["role"] == "assistant"
            })["message"]
                .clone();
        }
        self.settle(rpc);
        text_of(&answer)
    }

    /// `outline` with what only new pi prints at the end of a run.
    fn expect<'a>(&self, outline: &[&'a str]) -> Vec<&'a str> {
        outline.iter().copied().filter(|item| self.new || *item != "agent_settled").collect()
    }
}

fn text_of(message: &Value) -> String {
    let parts = message["content"].as_array().cloned().unwrap_or_default();
    parts.iter().filter_map(|p| p["text"].as_str()).collect()
}

fn plain_answer(peer: &Peer) {
    let file = peer.session("plain");
    let mut rpc = peer.start(&file);
    let state = rpc.state();
    assert_eq!(state["sessionFile"], file.to_str().unwrap());
    assert_eq!(state["isStreaming"], false);
    assert_eq!(state["model"]["id"], "fake-model");
    assert!(!file.exists(), "no file before it is needed");
    assert_eq!(peer.ask(&mut rpc, "[[say:Hello from the model.]]"), "Hello from the model.");
    let expected = peer.expect(&[
        "response get_state",
        "response prompt",
        "agent_start",
        "turn_start",
        "message_start user",
        "message_end user",
        "message_start assistant",
        "update",
        "message_end assistant stop",
        "turn_end",
        "agent_end",
        "agent_settled",
    ]);
    assert_eq!(rpc.outline(), expected);
    assert_eq!(rpc.streamed_text(), "Hello from the model.");
    let first = &session_entries(&file)[0];
    assert_eq!((&first["type"], &first["cwd"]), (&json!("session"), &json!(peer.home.work())));
    let said = session_messages(&file);
    assert_eq!(said.iter().map(|(role, _)| role.as_str()).collect::<Vec<_>>(), ["user", "assistant"]);
    let stats = rpc.call(json!({"type": "get_session_stats"}))["data"].clone();
    assert_eq!(stats["userMessages"], 1);
    assert!(stats["cost"].is_number(), "{stats}");
    // The head by which the gateway knows the line without parsing it.
    let heads = if peer.new {
        r#"{"type":"message_update","usage":"#
    } else {
        r#"{"type":"message_update","assistantMessageEvent":{"type":"text_"#
    };
    let updates: Vec<_> = rpc.lines().into_iter().filter(|l| l.contains("message_update")).collect();
    assert!(updates.iter().all(|l| l.starts_with(heads)), "{updates:?}");
    assert_eq!(updates.iter().any(|l| l.contains(r#""partial":"#)), !peer.new);
}

fn tool_call(peer: &Peer) {
    let file = peer.session("tool");
    let mut rpc = peer.start(&file);
    // A tool's call is in the file before the tool starts: the tool itself can see it there.
    let look = json!({"command": format!("grep -c '\"stopReason\":\"toolUse\"' {}", file.display())});
    assert_eq!(peer.ask(&mut rpc, &format!("[[say:looking]] [[tool:bash {look}]] [[say:found it]]")), "found it");
    let expected = peer.expect(&[
        "response prompt",
        "agent_start",
        "turn_start",
        "message_start user",
        "message_end user",
        "message_start assistant",
        "update",
        "message_end assistant toolUse",
        "tool_execution_start",
        "tool_execution_end",
        "message_start toolResult",
        "message_end toolResult",
        "turn_end",
        "turn_start",
        "message_start assistant",
        "update",
        "message_end assistant stop",
        "turn_end",
        "agent_end",
        "agent_settled",
    ]);
    assert_eq!(rpc.outline(), expected);
    let end = rpc.values().into_iter().find(|v| v["type"] == "tool_execution_end").unwrap();
    assert_eq!((&end["toolName"], &end["isError"]), (&json!("bash"), &json!(false)));
    assert_eq!(text_of(&end["result"]), "1\n");
    let roles: Vec<_> = session_messages(&file).into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["user", "assistant", "toolResult", "assistant"]);
}

fn failing_tool_is_an_error_result(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    assert_eq!(peer.ask(&mut rpc, r#"[[tool:bash {"command":"echo oops; exit 3"}]] [[say:went on]]"#), "went on");
    let end = rpc.values().into_iter().find(|v| v["type"] == "tool_execution_end").unwrap();
    assert_eq!(end["isError"], true);
    assert!(text_of(&end["result"]).contains("oops"));
}

fn thinking(peer: &Peer) {
    let mut rpc = peer.start_with(&peer.session("s"), &["--model", "fake-think", "--thinking", "low"]);
    assert_eq!(rpc.state()["thinkingLevel"], "low");
    assert_eq!(peer.ask(&mut rpc, "[[think:let me see]] [[say:42]]"), "42");
    let values = rpc.values();
    let thought: String = values
        .iter()
        .map(|v| &v["assistantMessageEvent"])
        .filter(|e| e["type"] == "thinking_delta")
        .filter_map(|e| e["delta"].as_str())
        .collect();
    assert_eq!(thought, "let me see");
    let end = values.iter().find(|v| v["type"] == "message_end" && v["message"]["role"] == "assistant").unwrap();
    assert_eq!(end["message"]["content"][0]["type"], "thinking");
    assert_eq!(rpc.streamed_text(), "42");
}

fn abort_in_text(peer: &Peer) {
    let file = peer.session("s");
    let mut rpc = peer.start(&file);
    rpc.prompt("[[say:partial text]] [[gate:g]] [[say:never]]");
    rpc.wait_for("the text before the gate", |v| v["assistantMessageEvent"]["delta"] == "text");
    assert_eq!(rpc.state()["isStreaming"], true);
    assert_eq!(rpc.call(json!({"type": "abort"}))["success"], true);
    let expected = peer.expect(&[
        "response prompt",
        "agent_start",
        "turn_start",
        "message_start user",
        "message_end user",
        "message_start assistant",
        "update",
        "response get_state",
        "update",
        "message_end assistant aborted",
        "turn_end",
        "agent_end",
        "agent_settled",
        "response abort",
    ]);
    assert_eq!(rpc.outline(), expected);
    let end = rpc.wait_for("the message", |v| v["type"] == "message_end" && v["message"]["stopReason"] == "aborted");
    assert_eq!(text_of(&end["message"]).trim(), "partial text");
    if peer.fake.is_none() {
        peer.llm.wait_for(|r| r.client_gone);
    }
    assert_eq!(rpc.call(json!({"type": "abort"}))["success"], true, "idle already");
    assert_eq!(rpc.state()["isStreaming"], false);
    assert_eq!(session_messages(&file).last().unwrap().1.trim(), "partial text");
}

fn abort_in_tool(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt(r#"[[tool:bash {"command":"echo started; sleep 1000"}]] [[say:never]]"#);
    rpc.wait_for("the tool's first output", |v| {
        v["type"] == "tool_execution_update" && v.to_string().contains("started\\n")
    });
    assert_eq!(rpc.call(json!({"type": "abort"}))["success"], true);
    let expected = peer.expect(&[
        "response prompt",
        "agent_start",
        "turn_start",
        "message_start user",
        "message_end user",
        "message_start assistant",
        "update",
        "message_end assistant toolUse",
        "tool_execution_start",
        "tool_execution_end",
        "message_start toolResult",
        "message_end toolResult",
        "turn_end",
        "turn_start",
        "message_start assistant",
        "message_end assistant aborted",
        "turn_end",
        "agent_end",
        "agent_settled",
        "response abort",
    ]);
    assert_eq!(rpc.outline(), expected);
}

fn steer_and_follow_up(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt("[[say:first]] [[gate:g]]");
    peer.wait_gate("g");
    let refused = rpc.prompt("too early");
    assert_eq!(refused["success"], false);
    assert!(refused["error"].as_str().unwrap().starts_with("Agent is already processing"), "{refused}");
    assert_eq!(rpc.call(json!({"type": "follow_up", "message": "[[say:third]]"}))["success"], true);
    assert_eq!(rpc.call(json!({"type": "steer", "message": "[[say:second]]"}))["success"], true);
    assert_eq!(rpc.state()["pendingMessageCount"], 2);
    let queue =
        rpc.wait_for("both queued", |v| v["type"] == "queue_update" && v["steering"] == json!(["[[say:second]]"]));
    assert_eq!(queue["followUp"], json!(["[[say:third]]"]));
    peer.open("g");
    let taken = rpc.event("queue_update");
    assert_eq!((&taken["steering"], &taken["followUp"]), (&json!([]), &json!(["[[say:third]]"])));
    let user = rpc.wait_for("the steer", |v| v["type"] == "message_start" && v["message"]["role"] == "user");
    assert_eq!(text_of(&user["message"]), "[[say:second]]");
    peer.settle(&mut rpc);
    let values = rpc.values();
    let ends = values.iter().filter(|v| v["type"] == "message_end" && v["message"]["role"] == "assistant");
    let answers: Vec<_> = ends.map(|v| text_of(&v["message"])).collect();
    assert_eq!(answers, ["first", "second", "third"]);
    assert_eq!(values.iter().filter(|v| v["type"] == "agent_end").count(), 1, "all in one run");
    assert_eq!(rpc.state()["pendingMessageCount"], 0);
}

fn idle_steer_waits_and_a_switch_empties_the_queue(peer: &Peer) {
    let file = peer.session("s");
    let mut rpc = peer.start(&file);
    peer.ask(&mut rpc, "[[say:one]]");
    assert_eq!(rpc.call(json!({"type": "steer", "message": "[[say:lost]]"}))["success"], true);
    assert_eq!(rpc.state()["pendingMessageCount"], 1);
    assert_eq!(rpc.state()["isStreaming"], false, "nothing runs");
    let switched = rpc.call(json!({"type": "switch_session", "sessionPath": file}));
    assert_eq!(switched["data"]["cancelled"], false, "{switched}");
    assert_eq!(rpc.state()["pendingMessageCount"], 0);
    assert_eq!(peer.ask(&mut rpc, "[[say:two]]"), "two");
    let texts: Vec<_> = session_messages(&file).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["[[say:one]]", "one", "[[say:two]]", "two"]);
}

fn retry_comes_after_agent_end_and_before_the_barrier(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt("[[status:500 x1]] [[say:works now]]");
    let end = rpc.event("agent_end");
    if peer.new {
        assert_eq!(end["willRetry"], true);
    }
    let barrier = rpc.post(json!({"type": "get_state"}));
    let answer = rpc.response(&barrier);
    // Old pi does not call a retry wait streaming, so the order is all there is.
    if peer.new {
        assert_eq!(answer["data"]["isStreaming"], true);
    }
    let values = rpc.values();
    let place = |want: &dyn Fn(&Value) -> bool| values.iter().position(want).unwrap();
    let retry = place(&|v| v["type"] == "auto_retry_start");
    assert!(retry < place(&|v| v["id"] == json!(barrier)), "the retry is announced before the barrier is answered");
    assert_eq!(values[retry]["attempt"], 1);
    assert!(values[retry]["errorMessage"].as_str().unwrap().contains("500"));
    let ended = rpc.event("auto_retry_end");
    assert_eq!(ended["success"], true);
    peer.settle(&mut rpc);
    let users = rpc.values().iter().filter(|v| v["type"] == "message_end" && v["message"]["role"] == "user").count();
    assert_eq!(users, 1, "the retry brings no new user message");
    assert_eq!(rpc.streamed_text(), "works now");
}

fn retries_give_up(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt("[[status:500 x*]] [[say:never]]");
    let ended = rpc.event("auto_retry_end");
    assert_eq!((&ended["success"], &ended["attempt"]), (&json!(false), &json!(3)));
    if peer.new {
        rpc.event("agent_settled");
    }
    assert_eq!(rpc.state()["isStreaming"], false);
    let outline = rpc.outline();
    assert_eq!(outline.iter().filter(|o| *o == "message_end assistant error").count(), 4);
    assert_eq!(outline.iter().filter(|o| *o == "auto_retry_start").count(), 3);
}

fn an_error_that_is_not_retried(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt("[[status:401 x*]]");
    let end = rpc.wait_for("the answer", |v| v["type"] == "message_end" && v["message"]["role"] == "assistant");
    assert_eq!(end["message"]["stopReason"], "error");
    assert!(end["message"]["errorMessage"].as_str().unwrap().starts_with("401"));
    peer.settle(&mut rpc);
    assert!(!rpc.outline().iter().any(|o| o == "auto_retry_start"));
}

fn a_cut_stream_is_retried_from_the_beginning(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.prompt("[[say:lost words]] [[drop]]");
    let end = rpc.wait_for("the cut answer", |v| v["type"] == "message_end" && v["message"]["role"] == "assistant");
    assert_eq!(end["message"]["stopReason"], "error");
    assert_eq!(text_of(&end["message"]).trim(), "lost words");
    rpc.event("auto_retry_start");
}

fn overflow_compacts_and_tries_again(peer: &Peer) {
    let mut rpc = peer.start_with(&peer.session("s"), &["--model", "fake-small"]);
    for i in 0..2 {
        peer.ask(&mut rpc, &format!("[[long:1600 chars by 400]] question {i}"));
    }
    rpc.prompt("[[overflow x1]] [[say:fits after compaction]]");
    rpc.event("agent_end");
    assert_eq!(rpc.event("compaction_start")["reason"], "overflow");
    let end = rpc.event("compaction_end");
    assert_eq!((&end["willRetry"], &end["aborted"]), (&json!(true), &json!(false)), "{end}");
    assert!(end["result"]["summary"].is_string());
    rpc.event("agent_start");
    peer.settle(&mut rpc);
    assert!(rpc.streamed_text().ends_with("fits after compaction"));
}

fn threshold_compaction_follows_the_answer(peer: &Peer) {
    let mut rpc = peer.start_with(&peer.session("s"), &["--model", "fake-small"]);
    for i in 0..2 {
        peer.ask(&mut rpc, &format!("[[long:1600 chars by 400]] question {i}"));
    }
    rpc.prompt("[[usage:7000,100]] [[say:full]]");
    rpc.event("agent_end");
    let barrier = rpc.post(json!({"type": "get_state"}));
    assert_eq!(rpc.event("compaction_start")["reason"], "threshold");
    let end = rpc.event("compaction_end");
    assert_eq!((&end["reason"], &end["willRetry"]), (&json!("threshold"), &json!(false)));
    if peer.new {
        rpc.event("agent_settled");
    }
    rpc.response(&barrier);
    let values = rpc.values();
    let start = values.iter().position(|v| v["type"] == "compaction_start").unwrap();
    let answer = values.iter().position(|v| v["id"] == json!(barrier)).unwrap();
    assert!(start < answer, "the compaction is announced before the barrier is answered");
    assert_eq!(peer.ask(&mut rpc, "[[say:after]]"), "after");
}

fn kill_in_the_first_answer(peer: &Peer) {
    let file = peer.session("s");
    let mut rpc = peer.start(&file);
    rpc.prompt("[[say:some words]] [[gate:never]]");
    rpc.wait_for("text", |v| v["assistantMessageEvent"]["type"] == "text_delta");
    rpc.call(json!({"type": "steer", "message": "[[say:steered]]"}));
    rpc.kill();
    if peer.new {
        assert_eq!(session_messages(&file), [("user".to_owned(), "[[say:some words]] [[gate:never]]".to_owned())]);
    } else {
        assert!(!file.exists(), "old pi writes nothing before its first answer is complete");
    }
    let mut rpc = peer.start(&file);
    assert_eq!(rpc.state()["pendingMessageCount"], 0, "what was queued is lost");
    assert_eq!(peer.ask(&mut rpc, "[[say:again]]"), "again");
}

fn kill_in_a_later_answer_and_resume(peer: &Peer) {
    let file = peer.session("s");
    let mut rpc = peer.start(&file);
    peer.ask(&mut rpc, "[[say:one]]");
    let id = rpc.state()["sessionId"].clone();
    rpc.prompt("two [[say:some words]] [[gate:never]]");
    rpc.wait_for("text", |v| v["assistantMessageEvent"]["delta"] == "words");
    rpc.kill();
    let kept = session_messages(&file);
    assert_eq!(kept.last().unwrap(), &("user".to_owned(), "two [[say:some words]] [[gate:never]]".to_owned()));
    assert_eq!(kept.len(), 3, "not the answer being streamed");
    let mut rpc = peer.start(&file);
    let state = rpc.state();
    assert_eq!((&state["sessionId"], &state["sessionFile"]), (&id, &json!(file)));
    assert_eq!(state["isStreaming"], false, "a resume does not go on by itself");
    assert_eq!(peer.ask(&mut rpc, "[[say:three]]"), "three");
    assert_eq!(session_messages(&file).len(), 5);
}

fn kill_in_a_tool_and_resume(peer: &Peer) {
    let file = peer.session("s");
    let mut command = peer.home.rpc_command(&peer.program, &file);
    command.env("PI_GW_PROC", "store.7");
    let mut rpc = Rpc::spawn(command);
    let pid = start_long_tool(peer, &mut rpc);
    let tool = ProcessWatch::new(pid);
    rpc.kill();
    // What a killed pi leaves behind is found by the mark in its environment.
    assert!(!tool.is_gone(), "a tool outlives its killed pi");
    let mark = b"PI_GW_PROC=store.7";
    let marked = || {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        environment.split(|byte| *byte == 0).any(|var| var == mark)
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !marked() {
        assert!(Instant::now() < end, "the mark is not in its environment"); // none for a moment while it execs
        std::thread::yield_now();
    }
    let tool_pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(tool_pid, Signal::KILL).unwrap();
    tool.wait_gone();
    let kept = session_messages(&file);
    assert_eq!(kept.last().unwrap(), &("assistant".to_owned(), "toolUse".to_owned()));
    let mut rpc = peer.start(&file);
    assert_eq!(peer.ask(&mut rpc, "[[say:carried on]]"), "carried on");
}

/// A prompt whose bash tool runs for long; the tool's pid, once it runs.
fn start_long_tool(peer: &Peer, rpc: &mut Rpc) -> i32 {
    let pid_file = peer.home.path().join("pid");
    let script = format!("echo $$ > {}; echo started; exec sleep 1000", pid_file.display());
    rpc.prompt(&format!("[[tool:bash {}]] [[say:never]]", json!({"command": script})));
    rpc.wait_for("the tool's first output", |v| {
        v["type"] == "tool_execution_update" && v.to_string().contains("started\\n")
    });
    fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap()
}

fn switch_session_binds_file_and_working_directory(peer: &Peer) {
    let (first, second) = (peer.session("first"), peer.session("second"));
    let mut rpc = peer.start(&first);
    peer.ask(&mut rpc, "[[say:in the first]]");
    let switch = |rpc: &mut Rpc, path: &Path| {
        let answer = rpc.call(json!({"type": "switch_session", "sessionPath": path}));
        assert_eq!((&answer["success"], &answer["data"]["cancelled"]), (&json!(true), &json!(false)), "{answer}");
        assert_eq!(rpc.state()["sessionFile"], path.to_str().unwrap());
    };
    switch(&mut rpc, &second);
    assert_eq!(rpc.state()["messageCount"], 0);
    peer.ask(&mut rpc, "[[say:in the second]]");
    assert_eq!(session_messages(&first).len(), 2);
    assert_eq!(session_messages(&second)[1].1, "in the second");
    // A copy with another cwd and id in its first line works there, with the whole history.
    let elsewhere = peer.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let text = fs::read_to_string(&first).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let mut head: Value = serde_json::from_str(head).unwrap();
    head["cwd"] = json!(elsewhere);
    head["id"] = json!("01a20501-55ca-7482-bd17-9b7497c181a3");
    let copy = peer.session("copy");
    fs::write(&copy, format!("{head}\n{rest}")).unwrap();
    switch(&mut rpc, &copy);
    peer.ask(&mut rpc, r#"[[tool:bash {"command":"pwd"}]] [[say:done]]"#);
    let pwd = rpc.last("tool_execution_end");
    assert_eq!(text_of(&pwd["result"]).trim(), elsewhere.to_str().unwrap());
    assert_eq!(session_messages(&copy)[1].1, "in the first");
    // Back again: a new file would get the process's own cwd.
    switch(&mut rpc, &first);
    peer.ask(&mut rpc, "[[say:again in the first]]");
    assert_eq!(session_messages(&first).len(), 4);
}

fn a_file_that_is_no_session(peer: &Peer) {
    let rubbish = peer.session("rubbish");
    fs::write(&rubbish, "this is no session\n").unwrap();
    let mut rpc = peer.start(&peer.session("s"));
    let answer = rpc.call(json!({"type": "switch_session", "sessionPath": rubbish}));
    if peer.new {
        assert_eq!(answer["success"], false);
        assert!(answer["error"].as_str().unwrap().starts_with("Session file is not a valid pi session"), "{answer}");
        assert_eq!(fs::read_to_string(&rubbish).unwrap(), "this is no session\n");
    } else {
        assert_eq!(answer["success"], true, "old pi overwrites it");
        assert_eq!(session_entries(&rubbish)[0]["type"], "session");
    }
}

fn a_missing_parent_folder(peer: &Peer) {
    // Both ways of binding make the folder (so the gateway's own check is a second line of defence).
    let at_start = peer.home.path().join("made/here/s.jsonl");
    let mut rpc = peer.start(&at_start);
    peer.ask(&mut rpc, "[[say:hello]]");
    assert!(at_start.exists());
    let by_switch = peer.home.path().join("made/there/s.jsonl");
    assert_eq!(rpc.call(json!({"type": "switch_session", "sessionPath": by_switch}))["success"], true);
    assert!(by_switch.parent().unwrap().is_dir());
    // But one that goes away later is an error on new pi, and silently loses everything on old.
    fs::remove_dir(by_switch.parent().unwrap()).unwrap();
    rpc.prompt("[[say:lost]]");
    if peer.new {
        let end = rpc.wait_for("an error", |v| v["type"] == "message_end" && v["message"]["stopReason"] == "error");
        assert!(end["message"]["errorMessage"].as_str().unwrap().contains("ENOENT"), "{end}");
        rpc.event("agent_settled");
    } else {
        rpc.event("agent_end");
        assert!(rpc.streamed_text().ends_with("lost"), "looks fine");
    }
    assert!(!by_switch.exists());
}

fn ways_to_end(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("a"));
    rpc.state();
    rpc.signal(Signal::TERM);
    assert_eq!(rpc.wait_exit().code(), Some(143));
    let mut rpc = peer.start(&peer.session("b"));
    rpc.state();
    rpc.close_stdin();
    assert_eq!(rpc.wait_exit().code(), Some(0));
    let mut rpc = peer.start(&peer.session("c"));
    rpc.state();
    rpc.send_raw("null\n");
    assert_eq!(rpc.wait_exit().code(), Some(1));
    let mut rpc = peer.start(&peer.session("d"));
    rpc.state();
    rpc.signal(Signal::KILL);
    assert_eq!(rpc.wait_exit().signal(), Some(9));
    let mut rpc = peer.start_with(&peer.session("e"), &["--provider", "nosuch"]);
    assert_eq!(rpc.wait_exit().code(), Some(1));
    rpc.wait_stderr("Unknown provider \"nosuch\"");
    assert!(rpc.lines().is_empty(), "nothing on stdout");
}

fn sigterm_kills_the_tool_first(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    let tool = ProcessWatch::new(start_long_tool(peer, &mut rpc));
    rpc.signal(Signal::TERM);
    assert_eq!(rpc.wait_exit().code(), Some(143));
    tool.wait_gone();
}

fn framing(peer: &Peer) {
    let mut rpc = peer.start(&peer.session("s"));
    rpc.send_raw("not json\n");
    let answer = rpc.event("response");
    assert_eq!((&answer["command"], &answer["success"]), (&json!("parse"), &json!(false)));
    let unknown = json!({"type": "nosuch", "id": "u"});
    rpc.send(&unknown);
    let answer = rpc.event("response");
    assert_eq!(answer["error"], "Unknown command: nosuch");
    assert_eq!(answer["id"], if peer.new { json!("u") } else { Value::Null });
    rpc.send(&json!({"type": "get_state", "id": 7}));
    assert_eq!(rpc.event("response")["id"], 7);
    let models = rpc.call(json!({"type": "get_available_models"}));
    assert!(models["data"]["models"]
        .as_array()
        .unwrap()
        .iter()
        .any(|m| m["provider"] == "fake" && m["id"] == "fake-think"));
    let model = rpc.call(json!({"type": "set_model", "provider": "fake", "modelId": "nope"}));
    assert_eq!(model["error"], "Model not found: fake/nope");
    let bash = rpc.call(json!({"type": "bash", "command": "echo hi; exit 3"}));
    assert_eq!((&bash["data"]["output"], &bash["data"]["exitCode"]), (&json!("hi\n"), &json!(3)));
    rpc.send(&json!({"type": "clear_queue"}));
    let cleared = rpc.wait_for("the answer to clear_queue", |v| v["command"] == "clear_queue");
    assert_eq!(cleared["success"], peer.new, "{cleared}");
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod real_old { $(#[test] fn $name() { super::$name(&super::Peer::real(false)) })* }
        mod real_new { $(#[test] fn $name() { super::$name(&super::Peer::real(true)) })* }
        mod stand_in_old { $(#[test] fn $name() { super::$name(&super::Peer::fake(false)) })* }
        mod stand_in_new { $(#[test] fn $name() { super::$name(&super::Peer::fake(true)) })* }
    };
}

contract! {
    plain_answer
    tool_call
    failing_tool_is_an_error_result
    thinking
    abort_in_text
    abort_in_tool
    steer_and_follow_up
    idle_steer_waits_and_a_switch_empties_the_queue
    retry_comes_after_agent_end_and_before_the_barrier
    retries_give_up
    an_error_that_is_not_retried
    a_cut_stream_is_retried_from_the_beginning
    overflow_compacts_and_tries_again
    threshold_compaction_follows_the_answer
    kill_in_the_first_answer
    kill_in_a_later_answer_and_resume
    kill_in_a_tool_and_resume
    switch_session_binds_file_and_working_directory
    a_file_that_is_no_session
    a_missing_parent_folder
    ways_to_end
    sigterm_kills_the_tool_first
    framing
}
