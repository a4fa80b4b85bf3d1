//! The peers of the tests, tested themselves: the scripted LLM over a raw socket, the stand-in's own tricks,
//! the browser on a page of three lines.

#![allow(clippy::unwrap_used)] // a failed test may panic

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::{json, Value};
use support::browser::Browser;
use support::directives::{self, Directive};
use support::fake_pi::{FakePi, Flavour};
use support::home::PiHome;
use support::llm::{Llm, Options};
use support::rpc::Rpc;
use support::DEADLINE;

fn post(llm: &Llm, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(llm.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn chat(text: &str, stream: bool) -> Value {
    json!({"model": "fake-model", "stream": stream, "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "bash"}}],
        "messages": [{"role": "system", "content": "You are."}, {"role": "user", "content": text}]})
}

/// Status and JSON body of an answer that was not streamed.
fn whole(llm: &Llm, body: &Value) -> (u16, Value) {
    let answer = rest(post(llm, body));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn said(llm: &Llm, text: &str) -> String {
    whole(llm, &chat(text, false)).1["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The `data:` records of a streamed answer.
fn records(answer: &str) -> Vec<Value> {
    let lines = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn the_model_says_what_it_is_told() {
    let llm = Llm::start();
    assert_eq!(said(&llm, "just text"), "just text");
    assert_eq!(said(&llm, "[time] hi [[say:a\\nb [x\\]]] tail"), "a\nb [x]");
    assert_eq!(said(&llm, "[[stream:3 words every 0 ms]]"), "word1 word2 word3 ");
    assert_eq!(said(&llm, "[[long:100 chars]]").len(), 100);
    assert_eq!(said(&llm, "[[echo]] [[nosuch:x]]"), "[[echo]] [[nosuch:x]]");
    assert_eq!(said(&llm, "[[show:roles]]"), "roles: system,user");
    assert_eq!(said(&llm, "[[show:tools]]"), "tools: bash");
    let (_, body) = whole(&llm, &chat("[[length]] [[usage:7000,3]]", false));
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["total_tokens"], 7003);
    let log = llm.requests();
    assert_eq!((log.len(), log[0].last_user.as_str(), log[0].status, log[0].done), (8, "just text", Some(200), true));
    assert_eq!(log[0].tools, ["bash"]);
    assert_eq!(log[0].authorization.as_deref(), Some("Bearer k"));
}

#[test]
fn a_streamed_answer_has_thinking_text_tool_calls_and_usage() {
    let llm = Llm::start();
    let answer = rest(post(
        &llm,
        &chat("[[think:hm hm]] [[say:one two]] [[tool:bash {\"command\":\"echo ]]\"}]] [[and]] [[tool:read]]", true),
    ));
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
    let records = records(&answer);
    let deltas: Vec<&Value> = records.iter().map(|r| &r["choices"][0]["delta"]).collect();
    let join = |key: &str| deltas.iter().filter_map(|d| d[key].as_str()).collect::<String>();
    assert_eq!((join("reasoning_content"), join("content")), ("hm hm".into(), "one two".into()));
    let calls = deltas.iter().filter(|d| d["tool_calls"][0]["index"] == 0);
    let arguments: String = calls.filter_map(|d| d["tool_calls"][0]["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"command":"echo ]]"}"#);
    assert!(deltas.iter().any(|d| d["tool_calls"][0]["function"]["name"] == "read"));
    assert_eq!(records[records.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    assert!(records.last().unwrap()["usage"]["prompt_tokens"].is_number());
}

#[test]
fn the_next_part_is_played_after_a_tool_result() {
    let llm = Llm::start();
    let mut body = chat("[[tool:bash {}]] [[say:after it]]", false);
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "function": {"name": "bash", "arguments": "{}"}}]}));
    messages.push(json!({"role": "tool", "tool_call_id": "c", "content": "result"}));
    assert_eq!(whole(&llm, &body).1["choices"][0]["message"]["content"], "after it");
    body["messages"][1]["content"] = json!("[[tool:bash {}]]");
    assert_eq!(whole(&llm, &body).1["choices"][0]["message"]["content"], "tool said: result");
}

#[test]
fn failures_come_as_often_as_told() {
    let llm = Llm::with(Options { context_window: Some(1000), api_key: Some("k".into()) });
    let text = chat("[[status:429 x2 msg=\"slow down\" retry-after:7]] [[say:fine]]", false);
    let first = rest(post(&llm, &text));
    assert!(
        first.starts_with("HTTP/1.1 429") && first.contains("Retry-After: 7\r\n") && first.contains("slow down"),
        "{first}"
    );
    assert_eq!(whole(&llm, &text).0, 429);
    assert_eq!(whole(&llm, &text).0, 200);
    assert_eq!(whole(&llm, &chat("[[status:500 x* model=other]]", false)).0, 200);
    assert_eq!(whole(&llm, &chat("[[overflow]]", false)).1["error"]["code"], "context_length_exceeded");
    assert_eq!(whole(&llm, &chat(&"long ".repeat(2000), false)).0, 400);
    let cut = rest(post(&llm, &chat("[[say:a b]] [[garbage]] [[drop]]", true)));
    assert!(cut.contains("{not json") && !cut.contains("[DONE]"), "{cut}");
    let mut summary = chat("[[say:quoted]]", false);
    summary["tools"] = json!([]);
    summary["messages"][0]["content"] = json!("You summarize.");
    let answer = whole(&llm, &summary).1;
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("## Goal"));
}

#[test]
fn a_gate_holds_the_stream_until_the_test_opens_it() {
    let llm = Llm::start();
    let mut stream = post(&llm, &chat("[[say:before ]] [[gate:g]] [[say:after]]", true));
    assert_eq!(llm.wait_gate("g").last_user, "[[say:before ]] [[gate:g]] [[say:after]]");
    assert!(!llm.requests()[0].done);
    let mut seen = String::new();
    while !seen.contains("before") {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap();
        seen += std::str::from_utf8(&buffer[..n]).unwrap();
    }
    assert!(!seen.contains("after"));
    llm.open("g");
    assert!(rest(stream).contains("after"));
    assert!(said(&llm, "[[gate:g]] [[say:open for all]]").contains("open for all"));
}

#[test]
fn a_client_that_hangs_up_is_noticed() {
    let llm = Llm::start();
    let stream = post(&llm, &chat("[[say:x]] [[gate:never]]", true));
    llm.wait_gate("never");
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    let gone = llm.wait_for(|r| r.done && r.client_gone);
    assert_eq!(gone.status, Some(200));
}

#[test]
fn dropping_the_model_cuts_what_hangs_there() {
    let llm = Llm::start();
    let stream = post(&llm, &chat("[[gate:never]]", true));
    llm.wait_gate("never");
    drop(llm);
    assert!(!rest(stream).contains("[DONE]"));
}

#[test]
fn words_join_to_the_text() {
    for text in ["", "one", "one  two\nthree ", " leading", "a b"] {
        assert_eq!(directives::words(text).concat(), text);
    }
    assert_eq!(directives::words("one two"), ["one ", "two"]);
    let broken = directives::parse("[[tool:bash {oops]] [[say:x]]", directives::COMMON);
    assert_eq!(broken[0], Directive::Tool { name: "bash".into(), args: Err("{oops".into()) });
    assert_eq!(broken.len(), 2);
}

fn stand_in(fake: &FakePi) -> (PiHome, Rpc) {
    let home = PiHome::at("http://127.0.0.1:9", "http://127.0.0.1:9");
    let rpc = Rpc::spawn(home.rpc_command(&fake.program(), &home.sessions().join("s.jsonl")));
    (home, rpc)
}

#[test]
fn the_stand_in_asks_dialogs_and_takes_the_answer() {
    let fake = FakePi::new(Flavour::New);
    let (_home, mut rpc) = stand_in(&fake);
    rpc.prompt("[[ui:select Pick one|red|blue]]");
    let asked = rpc.event("extension_ui_request");
    assert_eq!((&asked["method"], &asked["options"]), (&json!("select"), &json!(["red", "blue"])));
    rpc.send(&json!({"type": "extension_ui_response", "id": asked["id"], "value": "blue"}));
    rpc.event("agent_settled");
    assert_eq!(rpc.streamed_text(), "ui: blue");
    assert_eq!(fake.prompts(), ["[[ui:select Pick one|red|blue]]"]);
    assert!(fake.starts()[0].contains(&"rpc".to_owned()));
}

#[test]
fn the_stand_in_writes_long_and_broken_lines() {
    let fake = FakePi::new(Flavour::Old);
    let (_home, mut rpc) = stand_in(&fake);
    rpc.prompt("[[hugeline:3000000]] [[garbage]] [[say:still here]]");
    rpc.event("agent_end");
    assert!(rpc.lines().iter().any(|line| line.len() > 3_000_000));
    assert!(rpc.lines().iter().any(|line| line.contains("{not json")));
    assert_eq!(rpc.streamed_text(), "still here");
}

#[test]
fn the_stand_in_crashes_in_mid_line() {
    let fake = FakePi::new(Flavour::New);
    let (_home, mut rpc) = stand_in(&fake);
    rpc.prompt("[[say:about to]] [[crash:7]]");
    assert_eq!(rpc.wait_exit().code(), Some(7));
    assert!(rpc.lines().last().unwrap().starts_with("{\"type\":\"message_upd"));
}

#[test]
fn the_stand_in_fails_at_start_when_told() {
    let fake = FakePi::with(Flavour::New, &[("FAKE_PI_EXIT_AT_START", "Error: it's broken")]);
    let (_home, mut rpc) = stand_in(&fake);
    assert_eq!(rpc.wait_exit().code(), Some(1));
    rpc.wait_stderr("Error: it's broken\n");
    assert_eq!(rpc.stderr(), "Error: it's broken\n");
}

#[test]
fn old_updates_grow_with_the_square_of_the_text() {
    let bytes = |flavour| {
        let fake = FakePi::new(flavour);
        let (_home, mut rpc) = stand_in(&fake);
        rpc.prompt("[[long:10000 chars by 20]]");
        rpc.event("agent_end");
        rpc.lines().iter().map(String::len).sum::<usize>()
    };
    assert!(bytes(Flavour::Old) > 5_000_000);
    assert!(bytes(Flavour::New) < 300_000);
}

#[test]
fn the_browser_loads_clicks_types_and_looks() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let page = "<!doctype html><title>Three lines</title><input id=name><button id=go onclick=\"setTimeout(() => \
        out.textContent = 'Hello ' + document.getElementById('name').value, 50)\">Go</button><p id=out></p>";
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    let browser = Browser::start();
    browser.goto(&format!("http://{address}/"));
    assert_eq!(browser.eval("document.title"), "Three lines");
    browser.send_keys("#name", "Zoë");
    browser.click("#go");
    browser.wait_until("out.textContent.startsWith('Hello')", DEADLINE);
    assert_eq!(browser.text("#out"), "Hello Zoë");
    let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
    browser.screenshot(file.path());
    assert!(std::fs::read(file.path()).unwrap().starts_with(b"\x89PNG"));
}
