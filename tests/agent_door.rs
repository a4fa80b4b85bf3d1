//! The agent door of the whole gateway: what pi (the stand-in) reaches there, and when.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{json, Value};
use support::fake_pi::{FakePi, Flavour};
use support::gateway::{merge, Gateway};
use support::process::ProcessWatch;
use support::raw_http::{ask, Client, Response};

const MAIN: &str = "agent:main:webchat:default";
const OTHER: &str = "agent:main:webchat:other";

/// A tool call for what pi counts of its own session.
const STATUS: &str = r#"[[tool:http {"method":"GET","path":"/api/session/status"}]]"#;

/// A gateway with this stand-in as its pi; not started yet.
fn with_pi(pi: &FakePi, config: Value) -> Gateway {
    let mut all = json!({"agent": {"piCliPath": pi.program()}});
    merge(&mut all, config);
    Gateway::new(all)
}

/// A pi process as its diary knows it: where it has to call, and with what.
struct Caller {
    pid: i32,
    url: String,
    token: String,
}

impl Caller {
    fn addr(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }
    fn get(&self, path: &str) -> Response {
        ask(self.addr(), "GET", path, &format!("Authorization: Bearer {}\r\n", self.token), "")
    }
}

fn callers(pi: &FakePi) -> Vec<Caller> {
    let starts = pi.diary().into_iter().filter(|v| v["start"].is_object());
    let caller = |v: Value| {
        let text = |name: &str| v["start"]["env"][name].as_str().unwrap_or_default().to_owned();
        Caller {
            pid: v["pid"].as_i64().unwrap() as i32,
            url: text("PI_GATEWAY_URL"),
            token: text("PI_GATEWAY_INTERNAL_TOKEN"),
        }
    };
    starts.map(caller).collect()
}

/// Threads of the gateway that serve a connection of the public door.
fn served(g: &Gateway) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", g.pid())).unwrap();
    let name = |t: std::fs::DirEntry| std::fs::read_to_string(t.path().join("comm")).unwrap_or_default();
    let named = tasks.filter_map(Result::ok).map(name);
    named.filter(|n| n.strip_prefix("http-").is_some_and(|n| n.trim().parse::<u32>().is_ok())).count()
}

#[test]
fn c5_given_a_public_door_full_of_waiting_callers_then_tools_still_work_and_all_turns_end() {
    const CALLERS: usize = 8;
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let limits = json!({"gateway": {"limits": {"maxConnections": CALLERS}}});
        let g = with_pi(&pi, limits).start();
        g.wait_until("the start's own connections end", |g| served(g) == 0);
        let auth = format!("Authorization: Bearer {}\r\n", g.token);
        let text = format!("[[gate:full]] {STATUS}");
        let mut all: Vec<(String, Client)> = Vec::new();
        for n in 0..CALLERS {
            let session = format!("agent:main:webchat:caller{n}");
            let mut c = Client::new(g.addr);
            let body = json!({"message": text, "sessionKey": session}).to_string();
            c.request("POST", "/api/chat", &auth, &body);
            c.sock.set_read_timeout(Some(2 * support::DEADLINE)).unwrap();
            all.push((session, c));
        }
        pi.wait_gate("full"); // a turn runs
        g.wait_until("the public door is full", |g| served(g) == CALLERS);
        assert_eq!(ask(g.addr, "GET", "/health", "", "").refusal(), (503, "busy".into()));
        pi.open("full");
        for (session, c) in &mut all {
            let r = c.response();
            let told = format!("tool said: 200 {{\"sessionKey\":\"{session}\",");
            assert!(r.status == 200 && r.json()["reply"].as_str().unwrap().starts_with(&told), "{}", r.text());
            assert_eq!(r.json()["sessionKey"], session.as_str());
        }
        drop(all);
        g.wait_until("the door is free", |g| served(g) == 0);
        assert_eq!(g.get("/health").json()["status"], "ok");
    }
}

#[test]
fn a_turn_s_own_tool_is_told_of_its_session_while_it_runs() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = with_pi(&pi, json!({})).start();
        let reply = g.chat(MAIN, STATUS);
        assert!(reply.starts_with("tool said: 200 "), "{reply}");
        let foreign = format!(r#"[[tool:http {{"method":"GET","path":"/api/session/status?sessionKey={OTHER}"}}]]"#);
        assert_eq!(g.chat(OTHER, "[[say:hi]]"), "hi");
        let reply = g.chat(MAIN, &foreign);
        assert!(reply.starts_with("tool said: 403 "), "{reply}");
        let own = foreign.replace(OTHER, MAIN);
        assert!(g.chat(MAIN, &own).starts_with("tool said: 200 "));
        let reply = g.chat(MAIN, r#"[[tool:http {"method":"GET","path":"/api/agent/setup"}]]"#);
        assert!(reply.contains(&format!(r#""sessionKey":"{MAIN}""#)), "{reply}");
        let reply = g.chat(MAIN, r#"[[tool:http {"method":"GET","path":"/api/gateway/config"}]]"#);
        assert!(reply.starts_with("tool said: 200 ") && !reply.contains(&g.token), "{reply}");
        let reply = g.chat(MAIN, r#"[[tool:http {"method":"POST","path":"/api/gateway/reload"}]]"#);
        assert!(reply.contains("Config reloaded"), "{reply}");
        let reply = g.chat(MAIN, r#"[[tool:http {"method":"POST","path":"/api/gateway/restart"}]]"#);
        assert!(reply.starts_with("tool said: 403 ") && reply.contains("gateway.commands.restart"), "{reply}");
    }
}

#[test]
fn the_status_asked_from_outside_comes_in_the_middle_of_a_turn() {
    let pi = FakePi::new(Flavour::New);
    let g = with_pi(&pi, json!({})).start();
    let path = format!("/api/session/status?sessionKey={MAIN}");
    assert_eq!(g.get(&path).refusal(), (404, "no_active_session".into()));
    let mut ws = g.page(MAIN);
    ws.call("chat.send", json!({"sessionKey": MAIN, "text": "[[say:half]] [[gate:g]]", "idempotencyKey": "k"}));
    pi.wait_gate("g");
    let caller = &callers(&pi)[0];
    for status in [g.get(&path), caller.get("/api/session/status")] {
        assert_eq!(status.status, 200, "{}", status.text());
        let status = status.json();
        assert_eq!((&status["sessionKey"], &status["isStreaming"]), (&json!(MAIN), &json!(true)));
        assert!(status["stats"]["cost"]["total"].is_number() && status["statsRaw"]["cost"].is_number(), "{status}");
        assert!(status["state"]["model"]["contextWindow"].is_number(), "{status}");
    }
    pi.open("g");
    ws.event("chat.reply");
}

#[test]
fn b24_each_pi_has_a_token_of_its_own_that_ends_with_it() {
    let pi = FakePi::new(Flavour::New);
    let port = support::port::free_port();
    let mut g = with_pi(&pi, json!({"gateway": {"agentPort": port}}));
    g.set_env("PI_GATEWAY_AUTH_TOKEN", Some("not-for-pi-0123456789"));
    g.set_env("PI_GATEWAY_SESSION_KEY", Some("agent:main:main:main"));
    let g = g.start();
    assert_eq!((g.chat(MAIN, "[[say:a]]"), g.chat(OTHER, "[[say:b]]")), ("a".into(), "b".into()));
    let [one, two] = &callers(&pi)[..] else { panic!("two processes") };
    assert_eq!((one.url.as_str(), &one.url), (format!("http://127.0.0.1:{port}").as_str(), &two.url));
    assert!(one.token.len() == 43 && one.token != two.token && one.token != g.token);
    for v in pi.diary().iter().filter(|v| v["start"].is_object()) {
        let env = v["start"]["env"].as_object().unwrap();
        assert!(!env.contains_key("PI_GATEWAY_AUTH_TOKEN") && !env.contains_key("PI_GATEWAY_SESSION_KEY"));
        assert!(!v["start"]["env"].to_string().contains(&g.token));
    }
    // each its own session's
    let key = |c: &Caller| c.get("/api/session/status").json()["sessionKey"].as_str().unwrap_or_default().to_owned();
    assert_eq!((key(one).as_str(), key(two).as_str()), (MAIN, OTHER));
    assert_eq!(one.get(&format!("/api/session/status?sessionKey={OTHER}")).status, 403);
    // each door its own keys
    let secret = format!("Authorization: Bearer {}\r\n", g.token);
    assert_eq!(ask(one.addr(), "GET", "/api/gateway/config", &secret, "").status, 401);
    assert_eq!(ask(g.addr, "GET", "/api/gateway/config", &secret, "").status, 200);
    let token = format!("Authorization: Bearer {}\r\n", one.token);
    assert_eq!(ask(g.addr, "GET", "/api/gateway/config", &token, "").status, 401);

    let watch = ProcessWatch::new(one.pid);
    let pid = rustix::process::Pid::from_raw(one.pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    watch.wait_gone();
    g.wait_until("the token of the dead process is void", |_| one.get("/api/agent/setup").status == 401);
    assert_eq!(two.get("/api/agent/setup").status, 200);
    assert_eq!(g.chat(MAIN, "[[say:again]]"), "again");
    let all = callers(&pi);
    assert_eq!(all.len(), 3);
    assert_eq!((one.get("/api/agent/setup").status, all[2].get("/api/agent/setup").status), (401, 200));
}

#[test]
fn a_turn_in_the_drain_still_reaches_its_tools() {
    let pi = FakePi::new(Flavour::New);
    let mut g = with_pi(&pi, json!({"gateway": {"drainMs": 60_000, "commands": {"restart": true}}})).start();
    let restart = r#"[[tool:http {"method":"POST","path":"/api/gateway/restart"}]]"#;
    let mut pages =
        [(MAIN, STATUS, "tool said: 200 "), (OTHER, restart, "tool said: 409 ")].map(|(key, tool, told)| {
            let mut ws = g.page(key);
            let text = format!("[[gate:{key}]] {tool}");
            ws.call("chat.send", json!({"sessionKey": key, "text": text, "idempotencyKey": "k"}));
            pi.wait_gate(key);
            (key, ws, told)
        });
    let addr = callers(&pi)[0].addr();
    g.signal(Signal::TERM);
    g.wait_until("the public door is shut", |g| TcpStream::connect(g.addr).is_err());
    // One after the other: the stop must not end with the first. To restart now would be the second signal.
    let mut replies = Vec::new();
    for (key, ws, told) in &mut pages {
        ws.event("shutdown");
        assert!(TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok());
        pi.open(key);
        let reply = loop {
            let reply = ws.event("chat.reply")["payload"].take(); // pages hear of all sessions
            if reply["sessionKey"] == *key {
                break reply["text"].as_str().unwrap().to_owned();
            }
        };
        assert!(reply.starts_with(*told), "{reply}");
        replies.push((*key, reply));
    }
    assert!(g.wait_exit().success());
    assert!(TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_err());
    g.restart();
    for (key, reply) in replies {
        assert_eq!(g.history(key).last(), Some(&("assistant".to_owned(), reply)));
    }
}

#[test]
fn an_agent_port_that_is_taken_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, said) = Gateway::demo(json!({"gateway": {"agentPort": port}})).refused();
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("gateway.agentPort") && said.contains(&port.to_string()), "{said}");
}
