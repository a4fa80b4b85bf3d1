//! The port, seen from outside: raw sockets against a door over a scripted mind.

#[path = "support/house.rs"]
mod house;
#[path = "support/raw_http.rs"]
mod raw_http;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use house::*;
use pi_gateway::http::{Auth, Net, Settings};
use pi_gateway::message::*;
use raw_http::*;
use serde_json::json;

const MAIN: &str = "agent:main:main:main";

fn bearer() -> String {
    format!("Authorization: Bearer {SECRET}\r\n")
}

// ------------------------------------------------------------------ what tiny_http could not stand (3.1)

#[test]
fn an_absurd_content_length_is_refused_and_the_process_lives() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    c.send("POST /api/chat HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 90000000000000\r\n\r\n");
    assert_eq!(c.response().refusal(), (413, "payload_too_large".into()));
    assert!(c.closed());
    assert_eq!(ask(h.addr, "GET", "/health", "", "").status, 200);
}

#[test]
fn heads_that_are_not_http_1_are_answered_and_their_threads_return() {
    let h = House::open();
    for (head, status) in [
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    ] {
        let mut c = Client::new(h.addr);
        c.send(head);
        let r = c.response();
        assert_eq!(r.status, status, "{head:?}: {r:?}");
        assert_eq!(r.header("connection"), Some("close"));
        assert!(c.closed(), "{head:?}");
    }
    h.all_gone();
}

#[test]
fn forty_http_2_lines_leave_no_threads_behind() {
    let h = House::open();
    let mut clients: Vec<Client> = (0..40).map(|_| Client::new(h.addr)).collect();
    for c in &mut clients {
        c.send("GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    }
    for c in &mut clients {
        assert_eq!(c.response().status, 505);
    }
    drop(clients);
    h.all_gone();
}

#[test]
fn a_header_of_64_mb_ends_after_16_kib() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    c.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let piece = vec![b'x'; 64 << 10];
    let sent = (0..1024).take_while(|_| c.try_send(&piece)).count();
    assert!(sent < 1024, "all 64 MiB were taken");
    h.all_gone();
    let mut c = Client::new(h.addr);
    c.send("GET / HTTP/1.1\r\nHost: a\r\n".to_owned() + &"A: b\r\n".repeat(65) + "\r\n");
    assert_eq!(c.response().status, 431);
    let mut c = Client::new(h.addr);
    c.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000)));
    assert_eq!(c.response().status, 414);
}

#[test]
fn half_a_head_half_a_body_and_silence_all_end() {
    let h = House::set(|s| {
        s.times.head = ms(100);
        s.times.body = ms(100);
        s.times.idle = ms(100);
    });
    let mut c = Client::new(h.addr);
    c.send("GET / HTT");
    assert_eq!(c.response().status, 408);
    assert!(c.closed());
    let mut c = Client::new(h.addr);
    c.send("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{");
    assert_eq!(c.response().refusal(), (408, "timeout".into()));
    let mut c = Client::new(h.addr);
    assert!(c.closed());
    let mut c = Client::new(h.addr);
    assert_eq!(c.request("GET", "/health", "", "").response().status, 200);
    assert!(c.closed());
    h.all_gone();
}

#[test]
fn a_head_that_trickles_has_one_deadline_for_all_of_it() {
    let h = House::set(|s| s.times.head = ms(200));
    let mut c = Client::new(h.addr);
    let begun = Instant::now();
    for b in "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: yesyesyesyesyesyesyesyesyes".bytes() {
        if !c.try_send(&[b]) {
            break;
        }
        std::thread::park_timeout(ms(20)); // the slow client itself
    }
    h.all_gone();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn twelve_slow_bodies_do_not_block_anybody_else() {
    let h = House::open();
    let slow: Vec<Client> = (0..12)
        .map(|_| {
            let mut c = Client::new(h.addr);
            c.send("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{");
            c
        })
        .collect();
    assert_eq!(ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#).json()["reply"], "echo: hi");
    drop(slow);
    h.all_gone();
}

#[test]
fn pipelined_requests_are_answered_in_order_and_not_read_ahead() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    let one = |n: usize| {
        let body = format!(r#"{{"message":"{n}"}}"#);
        format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    c.send((0..20).map(one).collect::<String>());
    for n in 0..20 {
        assert_eq!(c.response().json()["reply"], format!("echo: {n}"));
    }
    // a stalled answer: what follows stays in the socket
    let mut c = Client::new(h.addr);
    c.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    c.sock.set_write_timeout(Some(ms(300))).unwrap();
    let flood = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10_000);
    let taken = (0..200).take_while(|_| c.try_send(flood.as_bytes())).count();
    assert!(taken < 200, "90 MB were read ahead");
}

#[test]
fn expect_100_continue_is_answered_after_the_checks_only() {
    let h = House::new();
    let head = |auth: &str| {
        format!(
            "POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{auth}Expect: 100-continue\r\nContent-Length: 16\r\n\r\n"
        )
    };
    let mut c = Client::new(h.addr);
    assert_eq!(c.send(head(&bearer())).response().status, 100);
    assert_eq!(c.send(r#"{"message":"hi"}"#).response().json()["reply"], "echo: hi");
    let mut c = Client::new(h.addr);
    assert_eq!(c.send(head("")).response().status, 401);
}

#[test]
fn head_has_the_length_and_no_body_and_keeps_the_connection() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    let full = c.request("GET", "/web/style.css", "", "").response();
    c.request("HEAD", "/web/style.css", "", "");
    let head = c.response_to("HEAD");
    assert_eq!((head.status, head.header("content-length")), (200, full.header("content-length")));
    assert_eq!(c.request("GET", "/health/live", "", "").response().status, 200);
}

#[test]
fn http_1_0_is_served_and_closed() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    c.send("GET /health HTTP/1.0\r\n\r\n");
    let r = c.response();
    assert_eq!((r.status, r.header("connection")), (200, Some("close")));
    assert!(c.closed());
    let mut c = Client::new(h.addr);
    c.send("POST /api/chat/stream HTTP/1.0\r\nContent-Length: 16\r\n\r\n{\"message\":\"hi\"}");
    let r = c.response();
    assert_eq!(r.header("transfer-encoding"), None);
    assert!(r.text().contains("\"type\":\"done\""), "{}", r.text());
}

#[test]
fn chunked_bodies_are_decoded_within_the_same_limits() {
    let h = House::set(|s| s.limits.chat_body = 100);
    let head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut c = Client::new(h.addr);
    c.send(head).send("5;ext=1\r\n{\"mes\r\nb\r\nsage\":\"hi\"}\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(c.response().json()["reply"], "echo: hi");
    assert_eq!(c.request("GET", "/health", "", "").response().status, 200);
    for (body, status) in [
        ("65\r\n", 413),
        ("ffffffff\r\n", 413),
        ("fffffffff\r\n", 400),
        ("xyz\r\n", 400),
        ("\r\n", 400),
        ("2\r\n{}x\r\n", 400),
        (&*"1".repeat(400), 400),
    ] {
        let mut c = Client::new(h.addr);
        assert_eq!(c.send(head).send(body).response().status, status, "{body}");
        assert!(c.closed());
    }
}

#[test]
fn four_hundred_resets_do_no_harm() {
    let h = House::open();
    for _ in 0..400 {
        let mut c = Client::new(h.addr);
        c.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // unread answers make this a reset
    }
    h.all_gone();
    assert_eq!(ask(h.addr, "GET", "/health", "", "").status, 200);
}

#[test]
fn above_the_connection_limit_clients_get_503_and_later_ones_are_served() {
    let h = House::set(|s| s.limits.connections = 8);
    let held: Vec<Client> = (0..8).map(|_| Client::new(h.addr)).collect();
    eventually("eight are in", || h.door.connections() == 8);
    let mut c = Client::new(h.addr);
    assert_eq!(c.response().refusal(), (503, "busy".into()));
    drop((held, c));
    h.all_gone();
    assert_eq!(ask(h.addr, "GET", "/health", "", "").status, 200);
}

/// Not a test by itself: the child of the next one.
#[test]
fn child_with_few_descriptors() {
    if std::env::var_os("DOOR_CHILD").is_none() {
        return;
    }
    let limit = rustix::process::Rlimit { current: Some(40), maximum: Some(40) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let h = House::open();
    println!("\nADDR {}", h.addr);
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn when_descriptors_run_out_the_door_recovers() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_few_descriptors", "--nocapture", "--test-threads=1"])
        .env("DOOR_CHILD", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let addr = lines.find_map(|l| l.strip_prefix("ADDR ").map(str::to_owned)).unwrap();
    let addr: SocketAddr = addr.parse().unwrap();
    let mut many: Vec<Client> = (0..100).map(|_| Client::new(addr)).collect();
    let mut first = many.remove(0);
    assert_eq!(first.request("GET", "/health", "", "").response().status, 200);
    drop((many, first));
    assert_eq!(ask(addr, "GET", "/health", "", "").status, 200);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_stalls_gives_its_thread_back() {
    let h = House::set(|s| {
        s.times.stall = ms(200);
        s.times.ws_tick = ms(100);
    });
    let live = h.board.open(MAIN);
    let mut sse = Client::new(h.addr);
    sse.request("POST", "/api/chat/stream", "", r#"{"message":"wait"}"#);
    sse.until("\r\n\r\n");
    let mut ws = Ws::open(h.addr, "/ws", "").unwrap();
    ws.call("connect", json!({}));
    eventually("the stream waits", || h.waiting.lock().unwrap().len() == 1);
    live.begin("run1");
    for _ in 0..48 {
        live.text(&"x".repeat(64 << 10));
        live.tool(pi_gateway::live::Tool { id: "t".into(), ..Default::default() });
    }
    for n in 0..40 {
        live.begin("run1");
        for _ in 0..40 {
            live.text(&"y".repeat(64 << 10));
        }
        if h.door.connections() == 0 {
            break;
        }
        assert!(n < 39 || h.door.connections() < 2);
        std::thread::park_timeout(ms(20));
    }
    h.all_gone();
}

// ------------------------------------------------------------------ who may pass (2.2)

#[test]
fn the_secret_is_taken_from_header_query_and_cookie_and_nowhere_else() {
    let h = House::new();
    let get = |path: &str, fields: &str| ask(h.addr, "GET", path, fields, "").status;
    assert_eq!(get("/api/pool", ""), 401);
    assert_eq!(get("/nowhere", ""), 401);
    assert_eq!(get("/api/pool", &bearer()), 200);
    assert_eq!(get("/nowhere", &bearer()), 404);
    assert_eq!(get("/api/pool", &format!("Authorization: bEARER {SECRET}\r\n")), 200);
    assert_eq!(get("/api/pool", &format!("Authorization: {SECRET}\r\n")), 200);
    assert_eq!(get("/api/pool", "Authorization: Bearer wrong\r\n"), 401);
    let token = "token=correct+horse%20battery+staple";
    assert_eq!(get(&format!("/api/pool?{token}"), ""), 200);
    assert_eq!(get("/api/pool?token=wrong", ""), 401);
    assert_eq!(get(&format!("/api/pool?{token}"), "Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(get(&format!("/metrics?{token}"), ""), 401);
    assert_eq!(get("/api/pool", "Cookie: pigw=guess\r\n"), 401);
    for open in ["/", "/web/app.js", "/favicon.ico", "/robots.txt", "/health", "/api/health", "/health/live"] {
        assert!(get(open, "") < 300, "{open}");
    }
    let r = ask(h.addr, "GET", "/api/pool", "", "");
    assert_eq!(r.json()["error"], "Unauthorized");
    assert!(r.header("www-authenticate").is_some());
}

#[test]
fn a_right_secret_in_the_address_becomes_a_cookie() {
    let h = House::new();
    let r = ask(h.addr, "GET", "/?token=correct%20horse%20battery%20staple", "", "");
    assert_eq!((r.status, r.header("location")), (303, Some("/")));
    let cookie = r.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000") && !cookie.contains("Secure"));
    let cookie = format!("Cookie: x=1; {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask(h.addr, "GET", "/?token=wrong", "", "").status, 401);

    assert_eq!(ask(h.addr, "GET", "/api/pool", &cookie, "").status, 200);
    let post = |origin: &str| ask(h.addr, "POST", "/api/chat", &format!("{cookie}{origin}"), r#"{"message":"a"}"#);
    assert_eq!(post("").refusal(), (403, "origin_not_allowed".into()));
    assert_eq!(post("Origin: http://localhost\r\n").status, 200);
    assert_eq!(post("Origin: http://evil.example\r\n").status, 403);
    assert_eq!(post("Origin: null\r\n").status, 403);
    assert!(Ws::open(h.addr, "/ws", &format!("{cookie}Origin: http://evil.example\r\n")).is_err());
    let mut ws = Ws::open(h.addr, "/ws", &format!("{cookie}Origin: http://localhost\r\n")).unwrap();
    assert_eq!(ws.call("connect", json!({}))["ok"], true);

    // another start knows the cookie, another secret does not
    let again = House::with(Settings { logins_file: None, ..settings() }, well());
    assert_eq!(ask(again.addr, "GET", "/api/pool", &cookie, "").status, 401);
    let out = ask(h.addr, "POST", "/logout", &format!("{cookie}Origin: http://localhost\r\n"), "");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(ask(h.addr, "GET", "/api/pool", &cookie, "").status, 401);
}

#[test]
fn login_takes_json_and_forms() {
    let h = House::new();
    let r = ask(h.addr, "POST", "/login", "", &json!({"token": SECRET}).to_string());
    assert!(r.status == 200 && r.header("set-cookie").is_some());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let r = ask(h.addr, "POST", "/login", form, "token=correct+horse+battery+staple");
    assert!(r.status == 303 && r.header("set-cookie").is_some());
    assert_eq!(ask(h.addr, "POST", "/login", "", r#"{"token":"x"}"#).status, 401);
    assert_eq!(ask(h.addr, "POST", "/login", "", "{}").status, 400);
    assert_eq!(ask(h.addr, "POST", "/login", "Origin: http://evil.example\r\n", "{}").status, 403);
}

#[test]
fn foreign_hosts_are_told_the_setting() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    c.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let r = c.response();
    assert_eq!(r.refusal(), (421, "host_not_allowed".into()));
    assert!(r.text().contains("gateway.allowedHosts"));
}

#[test]
fn given_mode_off_or_a_bearer_then_origins_are_judged_accordingly() {
    let h = House::open();
    let evil = "Origin: http://evil.example\r\n";
    assert_eq!(ask(h.addr, "POST", "/api/chat", evil, r#"{"message":"a"}"#).status, 403);
    let r = Ws::open(h.addr, "/", evil).err().unwrap();
    assert!(r.text().contains("http://evil.example") && r.text().contains("gateway.allowedOrigins"));
    assert_eq!(ask(h.addr, "GET", "/api/pool", evil, "").header("access-control-allow-origin"), None);
    let h = House::new();
    let r = ask(h.addr, "POST", "/api/chat", &format!("{evil}{}", bearer()), r#"{"message":"a"}"#);
    assert_eq!((r.status, r.header("access-control-allow-origin")), (200, Some("*")));
    let r = ask(h.addr, "GET", "/api/pool", evil, "");
    assert_eq!((r.status, r.header("access-control-allow-origin")), (401, Some("*")));
    let r = ask(h.addr, "OPTIONS", "/api/chat", &format!("{evil}Access-Control-Request-Method: POST\r\n"), "");
    assert_eq!(r.status, 204);
    assert!(r.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
}

#[test]
fn local_open_is_for_local_programs_only() {
    let h = House::with(Settings { local_open: true, ..settings() }, well());
    let get = |fields: &str| ask(h.addr, "GET", "/api/pool", fields, "").status;
    assert_eq!(get(""), 200);
    assert_eq!(get("Origin: http://localhost\r\n"), 401);
    assert_eq!(get("X-Forwarded-For: 1.2.3.4\r\n"), 401);
    assert_eq!(get("Authorization: wrong\r\n"), 401);
}

#[test]
fn after_eleven_wrong_secrets_an_address_has_to_wait() {
    let proxies = vec![Net::parse("127.0.0.1").unwrap()];
    let h = House::with(Settings { trusted_proxies: proxies, ..settings() }, well());
    let from = |ip: &str, key: &str| {
        ask(h.addr, "GET", "/api/pool", &format!("X-Forwarded-For: {ip}\r\nAuthorization: {key}\r\n"), "")
    };
    for _ in 0..11 {
        assert_eq!(from("9.9.9.9", "guess").status, 401);
    }
    let r = from("9.9.9.9", SECRET);
    assert_eq!(r.refusal(), (429, "rate_limited".into()));
    assert!(r.header("retry-after").is_some());
    assert_eq!(from("9.9.9.8", SECRET).status, 200);
}

#[test]
fn every_answer_has_its_security_headers_and_a_request_id() {
    let h = House::open();
    let r = ask(h.addr, "GET", "/", "X-Request-Id: my-id.1\r\n", "");
    assert_eq!(r.header("x-request-id"), Some("my-id.1"));
    assert_eq!(r.header("x-frame-options"), Some("DENY"));
    assert!(r.header("content-security-policy").unwrap().starts_with("default-src 'self'; img-src 'self' data: blob:"));
    assert_eq!(r.header("server"), Some("pi-gw"));
    let again = ask(h.addr, "GET", "/", &format!("If-None-Match: {}\r\n", r.header("etag").unwrap()), "");
    assert_eq!(again.status, 304);
    let r = ask(h.addr, "GET", "/nowhere", "X-Request-Id: bad id!\r\n", "");
    assert_eq!(r.header("cache-control"), Some("no-store"));
    assert_eq!(r.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(r.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(r.json()["requestId"], r.header("x-request-id").unwrap());
    let v2 = ask(h.addr, "GET", "/nowhere", "Accept: application/vnd.pigw.v2+json\r\n", "");
    assert_eq!(v2.json()["error"]["code"], "not_found");
    let r = ask(h.addr, "PUT", "/health", "", "");
    assert_eq!((r.status, r.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_page_that_is_switched_off_is_not_there() {
    let h = House::set(|s| s.page = false);
    assert_eq!(ask(h.addr, "GET", "/", "", "").json()["error"], "Web UI disabled (--no-gui mode)");
}

// ------------------------------------------------------------------ health, metrics, sessions

#[test]
fn health_tells_strangers_nothing_that_names_a_chat() {
    let h = House::new();
    let near = ask(h.addr, "GET", "/health", "", "").json();
    assert_eq!(near["queue"]["totalPending"], 2);
    assert!(near["queue"].get("details").is_none() && near.get("problems").is_none());
    let far = ask(h.addr, "GET", "/health", "X-Forwarded-For: 1.2.3.4\r\n", "").json();
    let keys: Vec<&str> = far.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["status", "uptime", "version"]);
    let mut full = ask(h.addr, "GET", "/api/health", &bearer(), "").json();
    assert!(full["uptime"].take().is_number());
    assert_eq!(
        full,
        json!({
            "status": "ok", "uptime": null, "version": "1.2.3", "sessions": 5, "channels": ["webchat"], "problems": [],
            "configError": null,
            "pool": {
                "total": 2, "active": 1, "idle": 1, "maxCapacity": 4, "totalProcesses": 2, "running": 1, "waiting": 0,
                "waitingList": {"waiting": 0, "totalEnqueued": 0, "totalDrained": 0, "totalExpired": 0},
            },
            "queue": {
                "sessions": 1, "totalPending": 2, "dropCount": 0, "collectMergeCount": 0, "enqueueRate": 0, "queued": 2,
                "details": [{"sessionKey": MAIN, "pending": 2, "processing": true}],
            },
        })
    );
}

#[test]
fn health_of_a_mind_that_does_not_answer_is_degraded() {
    let h = House::with(settings(), Box::new(|_| None));
    let r = ask(h.addr, "GET", "/health", &bearer(), "");
    assert_eq!((r.status, r.json()["status"].as_str()), (200, Some("degraded")));
    assert_eq!(ask(h.addr, "GET", "/health/ready", "", "").status, 503);
}

#[test]
fn metrics_have_their_shape() {
    let h = House::new();
    let r = ask(h.addr, "GET", "/api/metrics", &bearer(), "");
    assert_eq!(r.header("content-type"), Some("application/json"));
    assert_eq!(r.header("cache-control"), Some("no-cache"));
    assert!(r.text().starts_with("{\n  \""));
    let m = r.json();
    let keys: Vec<&str> = m.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["counters", "current", "delegation", "history", "latency", "pool", "queue", "rpcProcesses", "timestamp"];
    assert_eq!(keys, expected);
    assert_eq!(m["pool"]["max"], 4);
    assert_eq!(m["current"]["sessions"]["activeCount"], 1);
    assert!(m["current"]["system"]["gatewayRssMb"].as_f64().unwrap() > 1.0);
    assert_eq!(m["latency"], json!({"p50": 0, "p95": 0, "p99": 0, "count": 0}));
    let r = ask(h.addr, "GET", "/metrics", &bearer(), "");
    assert_eq!(r.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = r.text();
    for line in [
        "pigw_pool_processes{state=\"idle\"} 1",
        "pigw_queue_pending 2",
        "pigw_http_requests_total{route=\"/api/metrics\",method=\"GET\",code=\"200\"} 1",
        "pigw_message_duration_seconds_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert_eq!(ask(h.addr, "GET", "/metrics", "", "").status, 401);
    let public = House::with(Settings { metrics_public: true, ..settings() }, well());
    assert_eq!(ask(public.addr, "GET", "/metrics", "", "").status, 200);
    assert_eq!(ask(public.addr, "GET", "/metrics", "X-Forwarded-For: 1.1.1.1\r\n", "").status, 401);
}

#[test]
fn sessions_are_listed_shown_and_changed() {
    let h = House::open();
    let list = ask(h.addr, "GET", "/api/sessions", "", "").json();
    assert_eq!(list["sessions"][0]["sessionKey"], MAIN);
    assert_eq!(list["sessions"][0]["lastChannel"], "webchat");
    let one = ask(h.addr, "GET", "/api/sessions/agent%3Amain%3Amain%3Amain", "", "").json();
    assert_eq!(one["session"]["rpcProcessId"], "rpc-7");
    assert_eq!(ask(h.addr, "GET", "/api/sessions/other", "", "").json()["error"], "Session not found");
    assert_eq!(ask(h.addr, "GET", "/api/sessions/a%2Fb", "", "").status, 400);
    let post = |path: &str, body: &str| ask(h.addr, "POST", path, "", body);
    assert_eq!(post("/api/session/reset", "").json()["ok"], true);
    assert_eq!(post("/api/session/think", r#"{"level":"high"}"#).json()["level"], "high");
    assert_eq!(
        post("/api/session/think", r#"{"level":"max"}"#).json()["error"],
        "Invalid level. Use: off, minimal, low, medium, high, xhigh"
    );
    let r = post("/api/session/model", r#"{"model":"a/b/c"}"#).json();
    assert_eq!((r["provider"].as_str(), r["modelId"].as_str()), (Some("a"), Some("b/c")));
    assert_eq!(post("/api/session/model", r#"{"model":"x"}"#).status, 400);
    assert_eq!(post("/api/session/model", r#"{"model":"no/x"}"#).status, 404);
    assert_eq!(post("/api/session/reset", r#"{"sessionKey":7}"#).json()["error"], "sessionKey must be a string");
    assert_eq!(post("/api/session/reset", "nonsense").status, 400);
    let pool = ask(h.addr, "GET", "/api/pool", "", "").json();
    assert_eq!(pool["processes"][0]["sessionKey"], MAIN);
}

// ------------------------------------------------------------------ chat over HTTP

#[test]
fn a_chat_is_answered_with_its_reply() {
    let h = House::open();
    let post = |fields: &str, body: &str| ask(h.addr, "POST", "/api/chat", fields, body);
    let r = post("Idempotency-Key: k1\r\n", r#"{"message":"hi"}"#).json();
    assert_eq!(
        (r["ok"].as_bool(), r["reply"].as_str(), r["sessionKey"].as_str()),
        (Some(true), Some("echo: hi"), Some(MAIN))
    );
    let Request::Chat(c) = h.asked.lock().unwrap()[0].clone() else { panic!() };
    assert_eq!(c.dkey.as_deref(), Some("http:chat:open:k1"));
    assert_eq!((c.source.channel.as_str(), c.body_hash.len()), ("api", 43));
    assert_eq!(post("", "{}").json()["error"], "message is required");
    assert_eq!(post("", "null").json()["error"], "Invalid JSON body");
    assert_eq!(post("", "[1]").status, 400);
    assert_eq!(post("", r#"{"message":5}"#).status, 400);
    assert_eq!(post("", &format!("{}1{}", "[".repeat(70), "]".repeat(70))).status, 400);
    assert_eq!(post("", r#"{"message":"a","sessionKey":"../x"}"#).status, 400);
    assert_eq!(post(&format!("Idempotency-Key: {}\r\n", "k".repeat(129)), r#"{"message":"a"}"#).status, 400);
    let failed = post("", r#"{"message":"fail"}"#);
    assert_eq!((failed.status, failed.json()["reply"].as_str()), (200, Some("Error: The model is down.")));
    let full = post("", r#"{"message":"full"}"#);
    assert_eq!((full.refusal(), full.header("retry-after")), ((429, "queue_full".into()), Some("5")));
}

#[test]
fn pictures_of_a_chat_reach_the_mind_as_files() {
    let h = House::open();
    let png = "iVBORw0KGgpyZXN0";
    let body = json!({"message": "look", "images": [{"data": png, "mimeType": "image/png"}]}).to_string();
    assert_eq!(ask(h.addr, "POST", "/api/chat", "", &body).status, 200);
    let Request::Chat(c) = h.asked.lock().unwrap()[0].clone() else { panic!() };
    assert_eq!(c.images[0].mime, "image/png");
    assert!(c.images[0].path.starts_with(h.dir.path().join("media/webchat")) && c.images[0].path.exists());
}

#[test]
fn a_stream_has_exactly_the_documented_frames() {
    let h = House::open();
    let live = h.board.open(MAIN);
    let mut c = Client::new(h.addr);
    c.request("POST", "/api/chat/stream", "", r#"{"message":"wait"}"#);
    let head = c.until("\r\n\r\n");
    assert!(head.contains("Content-Type: text/event-stream; charset=utf-8\r\n") && head.contains("no-cache"));
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    let tool = |output: &str, done| pi_gateway::live::Tool {
        id: "c1".into(),
        name: "bash".into(),
        output: output.into(),
        done,
        ..Default::default()
    };
    let mut frame = || String::from_utf8(c.chunk().unwrap()).unwrap();
    live.begin("run1");
    live.thinking("hm");
    let mut seen = String::new();
    let mut until = |end: &str, frame: &mut dyn FnMut() -> String| {
        while !seen.ends_with(end) {
            seen += &frame();
        }
        std::mem::take(&mut seen)
    };
    let data = |v: &str| format!("data: {v}\n\n");
    let delta = |t: &str| data(&format!("{{\"text\":{t:?},\"type\":\"delta\"}}"));
    assert_eq!(until("\"hm\",\"type\":\"delta\"}\n\n", &mut frame), delta("\n<think>\n") + &delta("hm"));
    live.tool(tool("", false));
    live.tool(tool("x", true));
    live.text("Hel");
    assert_eq!(
        until("\"Hel\",\"type\":\"delta\"}\n\n", &mut frame),
        delta("\n</think>\n")
            + &data(r#"{"label":"bash","name":"bash","type":"tool"}"#)
            + &data(r#"{"isError":false,"name":"bash","type":"tool_end"}"#)
            + &delta("Hel")
    );
    live.text("lo");
    let reply = ChatReply { run: "run1".into(), text: "Hello".into(), ..ChatReply::default() };
    h.answers.give(id, Answer::Reply(Box::new(reply)));
    let r = c.response_after_head();
    assert!(r.starts_with(&delta("lo")), "{r}");
    let done: serde_json::Value = serde_json::from_str(r.trim_end().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!((done["type"].as_str(), done["reply"].as_str()), (Some("done"), Some("Hello")));
    assert!(done["duration"].is_number());
    // the connection is still good
    assert_eq!(c.request("GET", "/health", "", "").response().status, 200);
}

#[test]
fn a_stream_without_live_text_still_tells_the_reply() {
    let h = House::open();
    let text = ask(h.addr, "POST", "/api/chat/stream", "", r#"{"message":"hi"}"#).text();
    assert!(text.starts_with("data: {\"text\":\"echo: hi\",\"type\":\"delta\"}\n\ndata: {\"duration\":"), "{text}");
    let text = ask(h.addr, "POST", "/api/chat/stream", "", r#"{"message":"fail"}"#).text();
    assert!(text.contains("\"type\":\"error\"") && text.contains("\"type\":\"done\""), "{text}");
    assert_eq!(ask(h.addr, "POST", "/api/chat/stream", "", "x").status, 400);
}

#[test]
fn a_quiet_stream_sends_comments_and_notices_that_its_client_left() {
    let h = House::set(|s| s.times.comment = ms(60));
    let mut c = Client::new(h.addr);
    c.request("POST", "/api/chat/stream", "", r#"{"message":"wait","abortOnDisconnect":true}"#);
    c.until(": waiting\n\n");
    drop(c);
    eventually("the turn is aborted", || {
        h.asked.lock().unwrap().iter().any(|r| matches!(r, Request::Abort { session } if session == MAIN))
    });
    h.all_gone();
}

#[test]
fn waiting_requests_are_limited_and_end_with_their_client() {
    let h = House::set(|s| s.limits.waiting = 2);
    let mut held: Vec<Client> = (0..2).map(|_| Client::new(h.addr)).collect();
    for c in &mut held {
        c.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    }
    eventually("two wait", || h.waiting.lock().unwrap().len() == 2);
    let r = ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#);
    assert_eq!((r.refusal(), r.header("retry-after")), ((503, "busy".into()), Some("1")));
    assert_eq!(ask(h.addr, "GET", "/health", "", "").status, 200);
    drop(held);
    h.all_gone();
    assert_eq!(ask(h.addr, "POST", "/api/chat", "", r#"{"message":"hi"}"#).status, 200);
}

// ------------------------------------------------------------------ the end

#[test]
fn a_draining_door_refuses_new_requests_and_keeps_running_ones() {
    let h = House::open();
    let mut idle = Client::new(h.addr);
    assert_eq!(idle.request("GET", "/health", "", "").response().status, 200);
    let mut waiting = Client::new(h.addr);
    waiting.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    let (id, _) = h.unanswered(|r| matches!(r, Request::Wait { .. }));
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("connect", json!({}));
    h.door.drain("restart", Some(Duration::from_secs(3)));
    assert_eq!(ws.event("shutdown")["payload"], json!({"reason": "restart", "restartExpectedMs": 3000}));
    assert!(TcpStream::connect_timeout(&h.addr, ms(500)).is_err());
    let r = idle.request("POST", "/api/chat", "", r#"{"message":"hi"}"#).response();
    assert_eq!((r.refusal(), r.header("connection")), ((503, "shutting_down".into()), Some("close")));
    h.answers.give(id, Answer::Reply(Box::new(ChatReply { text: "late".into(), ..ChatReply::default() })));
    assert_eq!(waiting.response().json()["reply"], "late");
    h.door.close(true);
    assert_eq!(ws.close_code(), 1012);
    assert_eq!(h.door.connections(), 0);
}

#[test]
fn closing_ends_every_kind_of_connection_within_its_time() {
    let h = House::open();
    let _idle = Client::new(h.addr);
    let mut half = Client::new(h.addr);
    half.send("GET / HT");
    let mut waiting = Client::new(h.addr);
    waiting.request("POST", "/api/chat", "", r#"{"message":"wait"}"#);
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    ws.call("ping", json!({}));
    let begun = Instant::now();
    h.door.close(false);
    assert_eq!(h.door.connections(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(ws.close_code(), 1001);
}

#[test]
fn without_a_secret_the_door_does_not_open_by_accident() {
    let s = Settings { auth: Auth::Off, ..settings() };
    assert!(s.check().unwrap_err().contains("allowUnauthenticated"));
}
