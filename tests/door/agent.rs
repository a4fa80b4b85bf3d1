//! The agent door: pi's tokens, pi's routes, and nobody in between (gateway-api.md 1.7, 3.3).

use std::net::SocketAddr;
use std::sync::Arc;

use pi_gateway::http::{Cors, Door, Limits, PiTokens, Settings};
use pi_gateway::message::*;
use pi_gateway::tools::{self, Offer};
use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

const OTHER: &str = "agent:main:webchat:other";
const BOUND: ProcId = ProcId(1);
const WARM: ProcId = ProcId(2);

const STATS: &str = r#"{"tokens":{"input":9000,"output":7},"cost":0.25,"contextUsage":{"tokens":300}}"#;

/// A mind with a process of the main session and one that has none.
fn mind() -> Script {
    let mut rest = well();
    Box::new(move |request| match request {
        Request::SessionOf { proc } => Some(Answer::Session((*proc == BOUND).then(|| MAIN.to_owned()))),
        Request::Stats { session } if session == MAIN => {
            Some(Answer::Stats { stats: STATS.into(), state: r#"{"model":{"id":"m","contextWindow":1000}}"#.into() })
        }
        Request::Stats { .. } => {
            Some(Answer::Error { code: Code::NoActiveSession, message: "No active session".into() })
        }
        other => rest(other),
    })
}

struct Doors {
    h: House,
    agent: Door,
    tokens: Arc<PiTokens>,
}

impl Doors {
    fn new() -> Doors {
        Doors::with(|_| ())
    }

    /// With changed settings of the agent door.
    fn with(change: impl FnOnce(&mut Settings)) -> Doors {
        let h = House::with(settings(), mind());
        let mut s = Settings { cors: Cors::SameOrigin, ..settings() };
        change(&mut s);
        let tokens: Arc<PiTokens> = Arc::default();
        let agent = h.door.beside(s, tokens.clone()).unwrap();
        Doors { h, agent, tokens }
    }

    fn addr(&self) -> SocketAddr {
        self.agent.addresses()[0]
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Response {
        ask(self.addr(), method, path, &format!("Authorization: Bearer {token}\r\n"), body)
    }
}

#[test]
fn only_a_pi_token_opens_the_agent_door_and_only_this_one() {
    let d = Doors::new();
    let token = d.tokens.issue(BOUND, Offer::default());
    let path = "/api/gateway/config";
    assert_eq!(d.ask(&token, "GET", path, "").status, 200);
    assert_eq!(ask(d.addr(), "GET", path, &format!("Authorization: {token}\r\n"), "").status, 200);

    // the gateway's secret, in all its forms
    let secret = "token=correct%20horse%20battery%20staple";
    let login = ask(d.h.addr, "GET", &format!("/?{secret}"), "", "");
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(ask(d.h.addr, "GET", path, &format!("Cookie: {cookie}\r\n"), "").status, 200);
    assert_eq!(d.ask(SECRET, "GET", path, "").refusal(), (401, "unauthorized".into()));
    assert_eq!(ask(d.addr(), "GET", path, &format!("Cookie: {cookie}\r\n"), "").status, 401);
    assert_eq!(ask(d.addr(), "GET", &format!("{path}?{secret}"), "", "").status, 401);
    assert_eq!(ask(d.addr(), "GET", &format!("{path}?token={token}"), "", "").status, 401);
    assert_eq!(ask(d.addr(), "GET", path, "", "").status, 401);
    assert_eq!(d.ask("", "GET", path, "").status, 401);

    // pi's token where it does not belong
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(d.h.addr, "GET", path, &bearer, "").refusal(), (401, "unauthorized".into()));
    assert_eq!(ask(d.h.addr, "GET", &format!("{path}?token={token}"), "", "").status, 401);
    assert_eq!(ask(d.h.addr, "GET", "/api/agent/setup", &crate::bearer(), "").status, 404);
    assert_eq!(Ws::open(d.h.addr, "/ws", &bearer).err().unwrap().status, 401);
}

#[test]
fn the_agent_door_knows_pi_s_routes_and_no_others() {
    let d = Doors::new();
    let token = d.tokens.issue(BOUND, Offer::default());
    for path in ["/", "/web/app.js", "/health", "/metrics", "/api/pool", "/api/sessions", "/api/models", "/nowhere"] {
        assert_eq!(d.ask(&token, "GET", path, "").status, 404, "{path}");
        assert_eq!(ask(d.addr(), "GET", path, "", "").status, 401, "{path}");
    }
    for path in ["/login", "/api/chat", "/api/session/reset", "/nowhere"] {
        assert_eq!(d.ask(&token, "POST", path, "{}").status, 404, "{path}");
        assert_eq!(ask(d.addr(), "POST", path, "", &json!({"token": token}).to_string()).status, 401, "{path}");
    }
    let fields = format!("Authorization: Bearer {token}\r\n");
    for path in ["/ws", "/", "/api/session/status"] {
        assert_eq!(Ws::open(d.addr(), path, &fields).err().unwrap().status, 403, "{path}");
        assert_eq!(Ws::open(d.addr(), path, "").err().unwrap().status, 401, "{path}");
    }
    let wrong = d.ask(&token, "POST", "/api/session/status", "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));

    // nothing for browsers
    let evil = "Origin: http://evil.example\r\n";
    let r = ask(d.addr(), "OPTIONS", "/api/gateway/config", evil, "");
    assert_eq!((r.status, r.header("access-control-allow-origin")), (401, None));
    let r = ask(d.addr(), "GET", "/api/gateway/config", &format!("{evil}{fields}"), "");
    assert_eq!((r.status, r.header("access-control-allow-origin")), (200, None));
    let mut c = Client::new(d.addr());
    c.send(format!("GET /api/gateway/config HTTP/1.1\r\nHost: evil.example\r\n{fields}\r\n"));
    assert_eq!(c.response().refusal(), (421, "host_not_allowed".into()));

    assert_eq!(d.ask(&token, "GET", "/api/gateway/config", "").json()["gateway"]["auth"]["token"], "***");
    assert_eq!(d.ask(&token, "POST", "/api/gateway/reload", "").json()["message"], "Config reloaded");
    assert_eq!(d.ask(&token, "POST", "/api/gateway/restart", "").refusal(), (403, "forbidden".into()));
}

#[test]
fn the_token_decides_the_session_and_another_one_is_refused() {
    let d = Doors::new();
    let (bound, warm) = (d.tokens.issue(BOUND, Offer::default()), d.tokens.issue(WARM, Offer::default()));
    let status = |token: &str, query: &str| d.ask(token, "GET", &format!("/api/session/status{query}"), "");
    for query in ["", "?sessionKey=", "?sessionKey=agent:main:main:main", "?sessionKey=agent%3Amain%3Amain%3Amain"] {
        assert_eq!(status(&bound, query).json()["sessionKey"], MAIN, "{query}");
    }
    assert_eq!(status(&bound, &format!("?sessionKey={OTHER}")).refusal(), (403, "forbidden".into()));
    assert_eq!(status(&bound, "?sessionKey=../x").status, 403);
    let reload = |token: &str, body: &str| d.ask(token, "POST", "/api/gateway/reload", body);
    assert_eq!(reload(&bound, &json!({"sessionKey": MAIN}).to_string()).status, 200);
    assert_eq!(reload(&bound, &json!({"sessionKey": OTHER}).to_string()).refusal(), (403, "forbidden".into()));
    assert_eq!(reload(&bound, r#"{"sessionKey":7}"#).status, 400);
    assert_eq!(reload(&bound, "nonsense").refusal(), (400, "invalid_request".into()));
    assert_eq!(status(&warm, "").refusal(), (403, "forbidden".into()));
    assert_eq!(status(&warm, "?sessionKey=agent:main:main:main").status, 403);

    let setup =
        json!({"sessionKey": MAIN, "tools": tools::offered(Offer::default()), "hooks": [], "hookTimeoutMs": 5000});
    assert_eq!(d.ask(&bound, "GET", "/api/agent/setup", "").json(), setup);
    assert_eq!(d.ask(&warm, "GET", "/api/agent/setup", "").json()["sessionKey"], json!(null));
}

#[test]
fn a_token_may_come_in_the_body_and_dies_with_its_process() {
    let d = Doors::new();
    let token = d.tokens.issue(BOUND, Offer::default());
    let post = |body: &str| ask(d.addr(), "POST", "/api/gateway/reload", "", body).status;
    let with = |token: &str, more: &str| format!(r#"{{"token":"{token}","pid":1{more}}}"#);
    assert_eq!(post(&with(&token, "")), 200);
    assert_eq!(post(&with(&token, &format!(r#","sessionKey":"{OTHER}""#))), 403);
    for wrong in ["", "{}", "null", "nonsense", r#"{"token":7}"#, &with("x", ""), &with(SECRET, "")] {
        assert_eq!(post(wrong), 401, "{wrong}");
    }
    d.tokens.revoke(BOUND);
    assert_eq!(post(&with(&token, "")), 401);
    assert_eq!(d.ask(&token, "GET", "/api/agent/setup", "").status, 401);
    // another start of it has another one
    let again = d.tokens.issue(BOUND, Offer::default());
    assert_eq!(d.ask(&token, "GET", "/api/agent/setup", "").status, 401);
    assert_eq!(d.ask(&again, "GET", "/api/agent/setup", "").status, 200);
}

#[test]
fn the_status_of_a_session_reads_as_the_extension_expects_it() {
    let d = Doors::new();
    let token = d.tokens.issue(BOUND, Offer::default());
    let status = d.ask(&token, "GET", "/api/session/status", "").json();
    let expected = json!({
        "sessionKey": MAIN, "messageCount": 3, "isStreaming": false, "lastActivity": 1000,
        "stats": {"tokens": {"input": 300, "output": 7}, "cost": {"total": 0.25}, "contextUsage": {"tokens": 300}},
        "statsRaw": serde_json::from_str::<serde_json::Value>(STATS).unwrap(),
        "state": {"model": {"id": "m", "contextWindow": 1000}},
    });
    assert_eq!(status, expected);
    // with the gateway's secret: any session that has a process
    let public = |query: &str| ask(d.h.addr, "GET", &format!("/api/session/status{query}"), &crate::bearer(), "");
    assert_eq!(public("").json(), expected);
    assert_eq!(public("?sessionKey=agent:main:main:main").json(), expected);
    assert_eq!(public(&format!("?sessionKey={OTHER}")).refusal(), (404, "no_active_session".into()));
    assert_eq!(public("?sessionKey=a/b").status, 400);
    assert_eq!(ask(d.h.addr, "GET", "/api/session/status", "", "").status, 401);
}

#[test]
fn c5_each_door_has_its_own_connections() {
    let d = Doors::with(|s| s.limits = Limits { connections: 2, ..s.limits.clone() });
    let token = d.tokens.issue(BOUND, Offer::default());
    let call = || d.ask(&token, "GET", "/api/agent/setup", "").status;
    let mut held: Vec<Client> = Vec::new();
    eventually("the public door is full", || {
        let mut c = Client::new(d.h.addr);
        c.request("POST", "/api/chat", &crate::bearer(), r#"{"message":"wait"}"#);
        held.push(c);
        d.h.door.connections() == d.h.settings.limits.connections
    });
    assert_eq!(ask(d.h.addr, "GET", "/health", "", "").refusal(), (503, "busy".into()));
    assert_eq!(call(), 200);
    eventually("the caller has left", || d.agent.connections() == 0);
    let _two = [Client::new(d.addr()), Client::new(d.addr())];
    eventually("the agent door is full", || d.agent.connections() == 2);
    assert_eq!(ask(d.addr(), "GET", "/api/agent/setup", "", "").refusal(), (503, "busy".into()));
    // more pi processes after a reload: room for their calls
    let more = Limits { connections: 8, ..Limits::default() };
    d.agent.apply(Settings { limits: more, ..settings() });
    assert_eq!(call(), 200);
}

#[test]
fn a_draining_public_door_leaves_the_agent_door_open() {
    let d = Doors::new();
    let token = d.tokens.issue(BOUND, Offer::default());
    d.h.door.drain("stopping", None);
    assert!(std::net::TcpStream::connect_timeout(&d.h.addr, ms(500)).is_err());
    assert_eq!(d.ask(&token, "GET", "/api/session/status", "").status, 200);
    let mut idle = Client::new(d.addr());
    idle.request("GET", "/api/agent/setup", &format!("Authorization: Bearer {token}\r\n"), "");
    assert_eq!(idle.response().status, 200);
    d.agent.close(false);
    assert!(idle.closed());
    assert_eq!(d.agent.connections(), 0);
    assert!(std::net::TcpStream::connect_timeout(&d.addr(), ms(500)).is_err());
}
