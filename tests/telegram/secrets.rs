//! A bot's token stands in every URL of the Bot API. It stays out of the log, of answers and of what operators read,
//! however the platform fails (core.md 18).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{Rule, Trouble};
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;

/// The part of a token that is secret.
fn secret(name: &str) -> String {
    format!("AAsecretOf{name}AAsecretOf{name}AAsecret")
}

/// Accounts by how their Bot API fails.
const WAYS: [&str; 9] = ["refused", "broken", "page", "moved", "garbage", "hangup", "gone", "limited", "conflict"];

/// A Bot API that fails in the way of the account that asks, and says the whole URL wherever it can.
fn rude() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = move |mut sock: std::net::TcpStream| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && sock.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let token = path.split('/').nth(1).unwrap_or_default().trim_start_matches("bot").to_owned();
        let url = format!("http://{addr}{path}");
        let escaped = token.replace(':', "%3A");
        let told = format!("see {url} and {token} and {escaped} and /file/bot{token}/x and bot{token}");
        let refusal = |code: u16| json!({"ok": false, "error_code": code, "description": told}).to_string();
        let answer = |status: &str, more: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        };
        let way = WAYS.into_iter().find(|way| path.contains(&secret(way)));
        let answer = match way.unwrap_or_default() {
            "refused" => answer("401 Unauthorized", "", &refusal(401)),
            "broken" => answer("500 Internal Server Error", "", &refusal(500)),
            "page" => answer("502 Bad Gateway", "Content-Type: text/html\r\n", &format!("<h1>{told}</h1>")),
            "moved" => answer("302 Found", &format!("Location: {url}\r\n"), &told),
            "garbage" => format!("{told}\r\n\r\n"),
            "gone" => answer("404 Not Found", "", &refusal(404)),
            "limited" => {
                let parameters = json!({"retry_after": 1});
                let body = json!({"ok": false, "error_code": 429, "description": told, "parameters": parameters});
                answer("429 Too Many Requests", "", &body.to_string())
            }
            "conflict" => answer("409 Conflict", "", &refusal(409)),
            _ => String::new(),
        };
        let _ = sock.write_all(answer.as_bytes()); // some of it is rude enough to end early
    };
    std::thread::spawn(move || {
        for sock in listener.incoming() {
            let sock = sock.unwrap();
            std::thread::spawn(move || serve(sock));
        }
    });
    addr
}

/// All that operators and clients can read.
fn everything(g: &Gateway) -> String {
    let paths = [
        "/api/channels",
        "/api/observability/events?limit=500",
        "/api/observability/summary",
        "/api/config",
        "/api/observability/exec",
        "/health",
        "/api/metrics",
        "/metrics",
    ];
    let answers = paths.map(|path| g.get(path).text());
    format!("{}\n{}", answers.join("\n"), g.log())
}

fn telegram(addr: SocketAddr, nowhere: SocketAddr) -> Value {
    let account = |(n, way): (usize, &str)| {
        let root = format!("http://{}", if way == "unreachable" { nowhere } else { addr });
        (way.to_owned(), json!({"apiRoot": root, "botToken": format!("{}:{}", 1000 + n, secret(way))}))
    };
    let ways = WAYS.into_iter().chain(["unreachable"]).enumerate();
    json!({"enabled": true, "allowFrom": ["7"], "accounts": ways.map(account).collect::<serde_json::Map<_, _>>()})
}

fn all_have_failed(g: &Gateway) {
    g.wait_until("every account tells its trouble", |g| {
        let accounts = g.get("/api/channels").text();
        WAYS.into_iter().chain(["unreachable"]).all(|way| accounts.contains(&format!("\"{way}\"")))
            && g.log().matches("[WARN] telegram").count() > WAYS.len()
    });
}

fn clean(text: &str, names: &[&str]) {
    for name in names {
        let secret = secret(name);
        let around = |at: usize| text[at.saturating_sub(300)..(at + 100).min(text.len())].to_owned();
        assert!(!text.contains(&secret), "{name}: {}", around(text.find(&secret).unwrap_or(0)));
    }
}

#[test]
fn given_a_bot_api_that_fails_in_every_way_and_says_the_url_then_nobody_reads_the_token() {
    let pi = FakePi::new(Flavour::New);
    let addr = rude();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // nobody listens by now
    let names: Vec<&str> = WAYS.into_iter().chain(["unreachable"]).collect();
    let config = json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": telegram(addr, nowhere)}});
    let g = Gateway::new(config).arg("--verbose").start();
    all_have_failed(&g);
    clean(&everything(&g), &names);
}

#[test]
fn given_tokens_that_a_reload_brought_then_nobody_reads_them_either() {
    let pi = FakePi::new(Flavour::New);
    let addr = rude();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let names: Vec<&str> = WAYS.into_iter().chain(["unreachable"]).collect();
    let g = Gateway::new(json!({"agent": {"piCliPath": pi.program()}})).arg("--verbose").start();
    g.reconfigure(json!({"channels": {"telegram": telegram(addr, nowhere)}}));
    assert_eq!(g.post("/api/gateway/reload", json!({})).status, 200);
    all_have_failed(&g);
    clean(&everything(&g), &names);
}

#[test]
fn given_a_send_that_fails_in_every_way_then_neither_the_caller_nor_the_model_nor_the_log_gets_the_token() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    let token = h.api.token();
    let hidden = token.split(':').nth(1).unwrap().to_owned();
    let told = format!("see {}/bot{token}/sendMessage and {token} and {}", h.api.root(), token.replace(':', "%3A"));
    let session = "agent:main:telegram:account:default:dm:7";
    let mut read = String::new();
    for (n, trouble) in [
        Trouble::Refuse(400, format!("Bad Request: {told}"), Value::Null),
        Trouble::Refuse(403, format!("Forbidden: {told}"), Value::Null),
        Trouble::Refuse(404, told.clone(), Value::Null),
        Trouble::Garbage(400, format!("<h1>{told}</h1>")),
        Trouble::Garbage(200, told.clone()),
    ]
    .into_iter()
    .enumerate()
    {
        h.api.trouble(Rule::on("sendMessage", trouble).times(1));
        let body = json!({"sessionKey": session, "text": format!("try {n}")});
        let r = h.g.post("/api/message/send", body);
        read += &format!("{} {}\n", r.status, r.text());
    }
    read += &everything(&h.g);
    let at = read.find(&hidden);
    assert!(at.is_none(), "{}", &read[at.unwrap_or(0).saturating_sub(300)..]);
    assert!(read.contains("Bad Request: see"), "what the platform said is told: {read}");
}
