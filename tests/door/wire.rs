//! What tiny_http could not stand (gateway-api.md 3.1): every row, against a live port.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::{bearer, MAIN};

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
        .args(["--exact", "wire::child_with_few_descriptors", "--nocapture", "--test-threads=1"])
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
