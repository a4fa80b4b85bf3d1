//! `/v1` of the whole gateway with the pi stand-in: OpenAI's own clients, and what only shows in the store, in pi and
//! across a crash.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};
use support::fake_pi::{FakePi, Flavour};
use support::gateway::{merge, Gateway};
use support::home::PiHome;
use support::raw_http::{Client, Response};

const MAIN: &str = "agent:main:main:main";
const PATH: &str = "/v1/chat/completions";

fn start(pi: &FakePi, config: Value) -> Gateway {
    let mut all = json!({"agent": {"piCliPath": pi.program()}});
    merge(&mut all, config);
    Gateway::new(all).start()
}

fn stateless() -> Value {
    json!({"gateway": {"openai": {"session": "stateless"}}})
}

fn body(text: &str, more: Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    merge(&mut body, more);
    body
}

/// Asks without waiting for the answer.
fn begin(g: &Gateway, fields: &str, body: &Value) -> Client {
    let mut c = Client::new(g.addr);
    let auth = format!("Authorization: Bearer {}\r\n{fields}", g.token);
    c.request("POST", PATH, &auth, &body.to_string());
    c
}

fn complete(g: &Gateway, text: &str, more: Value) -> Response {
    let r = begin(g, "", &body(text, more)).response();
    assert_eq!(r.status, 200, "{}\n{}", r.text(), g.log());
    r
}

fn content(r: &Response) -> String {
    r.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn sessions(g: &Gateway) -> Vec<String> {
    let list = g.get("/api/sessions").json();
    list["sessions"].as_array().unwrap().iter().map(|s| s["sessionKey"].as_str().unwrap().to_owned()).collect()
}

/// Runs one of OpenAI's clients with its script.
fn client(g: &Gateway, kind: &str, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("build/openai").join(kind);
    assert!(folder.join(".stamp").exists(), "{} is not installed: run make test-deps", folder.display());
    let out = Command::new(folder.join("run"))
        .arg(root.join("tests/openai").join(script))
        .env("OPENAI_BASE_URL", format!("http://{}/v1", g.addr))
        .env("OPENAI_API_KEY", &g.token)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaint) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success() && said.contains("all claims hold"), "{said}\n{complaint}\n{}", g.log());
}

#[test]
fn npm_s_client_gets_what_it_expects() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = start(&pi, json!({"agent": {"thinkingLevel": "low"}}));
        client(&g, "js", "client.mjs");
        let asked = pi.prompts().iter().filter(|p| p.contains("fails in node")).count();
        assert_eq!(asked, 1, "the client did not try again what had run");
    }
}

#[test]
fn pypi_s_client_gets_what_it_expects() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = start(&pi, json!({"agent": {"thinkingLevel": "low"}}));
        client(&g, "py", "client.py");
        let asked = pi.prompts().iter().filter(|p| p.contains("fails in python")).count();
        assert_eq!(asked, 1, "the client did not try again what had run");
    }
}

#[test]
fn a_stateless_request_leaves_no_session_no_file_and_no_process() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = start(&pi, stateless());
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "my name is Ada"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "who am I? [[say:Ada.]]"},
        ]);
        let r = complete(&g, "", json!({"messages": messages}));
        assert_eq!(content(&r), "Ada.");
        let session = r.header("x-session-key").unwrap().to_owned();
        assert!(session.starts_with("agent:main:api:req:") && session.ends_with(r.header("x-run-id").unwrap()));
        let prompt = pi.prompts().pop().unwrap();
        assert!(prompt.contains("[Instructions]\nbe brief\n\n[Conversation so far]\nUser: my name is Ada\n\nAssistant: hello\n\n[Message to answer]\nwho am I?"), "{prompt}");
        // the next one knows nothing of it
        let r = complete(&g, "[[show:users]]", json!({}));
        assert!(!content(&r).contains("Ada"), "{}", content(&r));
        assert!(sessions(&g).is_empty(), "{:?}", sessions(&g));
        g.wait_until("their processes and files are gone", |g| {
            let procs = g.get("/api/pool").json()["stats"]["total"] == 0;
            procs && left(&g.data().join("sessions"), "api__req").is_empty()
        });
        // a stream too, and one that fails
        let mut c = begin(&g, "", &body("[[say:streamed]]", json!({"stream": true})));
        assert!(c.response().text().contains("streamed"));
        assert_eq!(begin(&g, "", &body("[[status:400 x*]]", json!({}))).response().status, 502);
        assert!(sessions(&g).is_empty(), "{:?}", sessions(&g));
    }
}

/// Files and folders of sessions whose names hold that.
fn left(dir: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let holds = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().contains(name);
    let mut found: Vec<PathBuf> = entries.filter(holds).collect();
    found.extend(
        std::fs::read_dir(dir.join("transcripts")).into_iter().flatten().flatten().map(|e| e.path()).filter(holds),
    );
    found
}

#[test]
fn given_a_stateless_request_when_the_gateway_is_killed_then_the_repeat_gets_its_answer_and_nothing_stays() {
    let pi = FakePi::new(Flavour::New);
    let mut g = start(&pi, stateless());
    let mut c =
        begin(&g, "Idempotency-Key: k1\r\n", &body("[[say:half,]] [[gate:g]] [[say:done]]", json!({"stream": true})));
    c.until("half,");
    pi.wait_gate("g");
    g.kill9();
    g.restart();
    pi.open("g");
    let again =
        begin(&g, "Idempotency-Key: k1\r\n", &body("[[say:half,]] [[gate:g]] [[say:done]]", json!({}))).response();
    assert_eq!((again.status, again.header("idempotent-replay")), (200, Some("true")), "{}", again.text());
    let session = again.header("x-session-key").unwrap().to_owned();
    assert!(session.starts_with("agent:main:api:req:"));
    assert!(!content(&again).is_empty());
    let third =
        begin(&g, "Idempotency-Key: k1\r\n", &body("[[say:half,]] [[gate:g]] [[say:done]]", json!({}))).response();
    assert_eq!(third.json()["choices"], again.json()["choices"]);
    assert_eq!(third.json()["id"], again.json()["id"]);
    assert!(sessions(&g).is_empty(), "{:?}", sessions(&g));
    let other = begin(&g, "Idempotency-Key: k1\r\n", &body("something else", json!({}))).response();
    assert_eq!((other.status, other.json()["error"]["code"].as_str()), (409, Some("idempotency_conflict")));
}

#[test]
fn a_request_has_its_turn_for_itself_beside_people_who_steer() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = start(&pi, json!({"agent": {"messageMode": "steer"}}));
        let mut page = g.page(MAIN);
        let say = |page: &mut support::raw_http::Ws, text: &str| {
            let res = page.call("chat.send", json!({"sessionKey": MAIN, "text": text}));
            res["payload"]["runId"].as_str().unwrap().to_owned()
        };
        say(&mut page, "[[say:first]] [[gate:g1]]");
        pi.wait_gate("g1");
        let mut a = begin(&g, "", &body("[[gate:a]] [[say:answer a]]", json!({})));
        let mut b = begin(&g, "", &body("[[say:answer b]]", json!({})));
        g.wait_until("both wait", |g| g.get("/api/sessions").json()["sessions"][0]["waiting"] == 2);
        pi.open("g1");
        assert_eq!(page.event("chat.reply")["payload"]["text"], "first");
        // Somebody writes while the request is being answered: that message waits.
        pi.wait_gate("a");
        say(&mut page, "[[say:second]]");
        pi.open("a");
        assert_eq!(content(&a.response()), "answer a");
        assert_eq!(content(&b.response()), "answer b");
        let mut text = || page.event("chat.reply")["payload"]["text"].as_str().unwrap().to_owned();
        let replies = [text(), text(), text()];
        assert!(replies.contains(&"second".to_owned()), "{replies:?}");
        assert_eq!(pi.prompts().len(), 4, "each in a turn of its own: {:#?}", pi.prompts());
    }
}

#[test]
fn a_client_that_leaves_ends_its_own_turn_and_no_other() {
    let pi = FakePi::new(Flavour::New);
    let g = start(&pi, json!({}));
    let mut page = g.page(MAIN);
    page.call("chat.send", json!({"sessionKey": MAIN, "text": "[[say:mine,]] [[gate:g1]] [[say:alone]]"}));
    pi.wait_gate("g1");
    let waiting = begin(&g, "", &body("never asked", json!({})));
    let queued = |n: u64| move |g: &Gateway| g.get("/api/sessions").json()["sessions"][0]["waiting"] == n;
    g.wait_until("it waits", queued(1));
    drop(waiting);
    g.wait_until("it is taken back", queued(0));
    pi.open("g1");
    assert_eq!(page.event("chat.reply")["payload"]["text"], "mine,alone");
    assert!(!pi.prompts().iter().any(|p| p.contains("never asked")));
    // and with a turn that runs
    let mut running = begin(&g, "", &body("[[say:begun]] [[gate:never]]", json!({"stream": true})));
    running.until("begun");
    drop(running);
    assert_eq!(page.event("chat.reply")["payload"]["text"], "begun\n\n(stopped)");
    assert_eq!(content(&complete(&g, "[[say:next]]", json!({}))), "next");
}

#[test]
fn a_model_in_the_request_is_for_this_turn_only() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let home = PiHome::at("http://127.0.0.1:1", "http://127.0.0.1:1");
        let config = json!({"agent": {"piCliPath": pi.program(), "model": "fake/fake-model"}});
        let g = Gateway::new(config).env("PI_CODING_AGENT_DIR", home.agent().to_str().unwrap()).start();
        let shown = |model: &str| {
            let r = complete(&g, "[[show:model]]", json!({"model": model}));
            assert_eq!(r.json()["model"], model, "echoed");
            content(&r).split(' ').nth(1).unwrap().to_owned()
        };
        // Its models are not known yet: the name is tried, and what pi does not know is the default.
        assert_eq!(shown("nobody/nothing"), "fake-model");
        assert_eq!(shown("fake/fake-think"), "fake-think");
        assert_eq!(shown("gpt-4o"), "fake-model");
        let known = g.get("/v1/models").json();
        let known: Vec<_> = known["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!(
            known,
            ["pi-gateway", "agent/main", "fake/fake-model", "fake/fake-think", "fake/fake-small", "fake2/backup-model"]
        );
        assert_eq!(shown("fake/none"), "fake-model");
        assert_eq!(shown("fake2/backup-model"), "backup-model");
        let mine = g.get("/api/sessions").json()["sessions"][0].clone();
        assert_eq!((mine["sessionKey"].as_str(), mine.get("model")), (Some(MAIN), None), "it keeps no model");
        assert_eq!(shown("pi-gateway"), "fake-model");
    }
}

#[test]
fn tokens_of_all_calls_of_the_model_are_counted() {
    let pi = FakePi::new(Flavour::New);
    let g = start(&pi, json!({}));
    let text = r#"[[usage:100,7]] [[tool:bash {"command":"true"}]] [[usage:50,3]] [[say:done]]"#;
    let v = complete(&g, text, json!({})).json();
    assert_eq!(v["choices"][0]["message"]["content"], "done");
    assert_eq!((&v["usage"]["prompt_tokens"], &v["usage"]["completion_tokens"]), (&json!(150), &json!(10)));
}

#[test]
fn an_agent_is_a_model() {
    let pi = FakePi::new(Flavour::New);
    let home = tempfile::tempdir().unwrap();
    let agents = json!([{"id": "main"}, {"id": "coder", "workspace": home.path()}]);
    let g = start(&pi, json!({"agents": {"list": agents}}));
    let r = complete(&g, "[[say:hi]]", json!({"model": "agent/coder"}));
    assert_eq!((content(&r).as_str(), r.header("x-session-key")), ("hi", Some("agent:coder:main:main")));
    let start = pi.diary().into_iter().find(|v| v["start"].is_object()).unwrap();
    assert_eq!(start["start"]["cwd"].as_str(), home.path().canonicalize().unwrap().to_str());
    let ids = g.get("/v1/models").json();
    assert_eq!(ids["data"][2]["id"], "agent/coder");
}

#[test]
fn the_configuration_says_what_becomes_of_thinking_and_may_change() {
    let pi = FakePi::new(Flavour::New);
    let thinking = |how: &str| json!({"gateway": {"openai": {"thinking": how}}, "agent": {"thinkingLevel": "low"}});
    let g = start(&pi, thinking("think-tags"));
    let streamed = || begin(&g, "", &body("[[think:hm]] [[say:Hi]]", json!({"stream": true}))).response().text();
    assert!(streamed().contains(r#"{"content":"\n<think>\n"}"#), "{}", streamed());
    g.reconfigure(thinking("off"));
    g.wait_until("thinking is left out", |_| !streamed().contains("hm"));
}

#[test]
fn a_picture_s_address_is_fetched_if_the_configuration_lets_it_and_a_reload_counts_at_once() {
    let pi = FakePi::new(Flavour::New);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.png", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for sock in server.incoming() {
            let mut sock = sock.unwrap();
            let _ = std::io::Read::read(&mut sock, &mut [0; 4096]).unwrap();
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n\x89PNG\r\n\x1a\nrest";
            std::io::Write::write_all(&mut sock, head).unwrap();
        }
    });
    let g = start(&pi, json!({}));
    let parts = json!([{"type": "text", "text": "[[show:images]]"}, {"type": "image_url", "image_url": {"url": url}}]);
    let asked = json!({"messages": [{"role": "user", "content": parts}]});
    let refusal = |g: &Gateway| {
        let r = begin(g, "", &asked).response();
        let v = r.json();
        assert_eq!((r.status, &v["error"]["param"]), (400, &json!("messages[0].content[1].image_url.url")), "{v}");
        v["error"]["message"].as_str().unwrap().to_owned()
    };
    let why = refusal(&g);
    assert!(why.contains("security.ssrf.allowLocalhost"), "{why}");
    g.reconfigure(json!({"security": {"ssrf": {"allowLocalhost": true}}}));
    assert_eq!(g.post("/api/gateway/reload", json!({})).status, 200);
    let r = begin(&g, "", &asked).response();
    assert_eq!((r.status, content(&r).as_str()), (200, "images: 1"));
}
