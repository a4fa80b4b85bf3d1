//! WebSockets on which nothing happens: no thread, no timer of their own, and nothing lost when something does. A
//! program of its own, because it counts threads.
#![allow(clippy::unwrap_used)]

#[path = "support/house.rs"]
mod house;
#[path = "support/pages.rs"]
mod pages;
#[path = "support/raw_http.rs"]
mod raw_http;

use std::fs;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pi_gateway::http::Limits;
use pi_gateway::message::*;
use serde_json::json;

use house::*;
use pages::*;
use raw_http::*;

/// One test at a time: their threads are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// The threads of this process by their names, and how often each slept so far.
fn threads() -> Vec<(String, u64)> {
    let read = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let of = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned());
        Some((of("Name:")?, of("voluntary_ctxt_switches:")?.parse().ok()?))
    };
    fs::read_dir("/proc/self/task").unwrap().flatten().filter_map(read).collect()
}

/// The door's threads.
fn doors() -> Vec<String> {
    let mut names: Vec<String> = threads().into_iter().map(|(name, _)| name).collect();
    names.retain(|name| name.starts_with("ws-") || name.starts_with("http-"));
    names.sort();
    names
}

/// No thread serves a connection; one may wait for the next message of any.
fn idle() -> bool {
    let names = doors();
    names.starts_with(&["http-accept".into(), "http-ws".into()])
        && names[2..].iter().all(|n| n == "ws-message")
        && names.len() <= 3
}

/// Every WebSocket is idle, and a thread that served one has stopped to wait for more of it.
fn quiet() {
    eventually("no thread serves a connection", idle);
    if doors().len() > 2 {
        std::thread::sleep(ms(200));
    }
}

fn wakes() -> u64 {
    threads().into_iter().find(|(name, _)| name == "http-ws").unwrap().1
}

#[test]
fn three_hundred_idle_sockets_share_one_thread_and_one_timer() {
    let _alone = alone();
    let tick = ms(100);
    let h = House::set(|s| {
        s.limits = Limits { connections: 400, ..s.limits.clone() };
        s.times.ws_tick = tick;
    });
    let mut all: Vec<Ws> = (0..300).map(|_| connected(&h)).collect();
    quiet();
    let one = &mut all[7];
    one.event("tick");
    let (begun, wakes_before) = (Instant::now(), wakes());
    for _ in 0..10 {
        one.event("tick");
    }
    let ticks = 2 + begun.elapsed().as_millis() as u64 / tick.as_millis() as u64;
    let woken = wakes() - wakes_before;
    assert!(woken <= 3 * ticks, "{woken} wake-ups in {ticks} ticks");
    for ws in &mut all {
        assert_eq!(ws.call("ping", json!({}))["ok"], true);
    }
    drop(all);
    h.all_gone();
    eventually("nobody is left to attend to", || doors() == ["http-accept"]);
}

#[test]
fn an_idle_socket_answers_gets_events_and_hears_of_the_end() {
    let _alone = alone();
    let h = House::new();
    let live = h.board.open(WEB);
    let mut ws = connected(&h);
    quiet();
    assert_eq!(ws.call("sessions.list", json!({}))["payload"][0]["messageCount"], 3);
    quiet();
    h.door.publish(&notice(1));
    assert_eq!(ws.event("ui.notice")["payload"]["message"], "1");
    live.begin("r1");
    live.text("hello");
    assert_eq!(until(&mut ws, "text_delta hello"), ["live.reset", "text_delta hello"]);
    ws.c.send(Ws::frame(9, b"there?"));
    assert_eq!(ws.got(), Got::Pong(b"there?".to_vec()));
    quiet();
    h.door.close(true);
    assert_eq!(ws.close_code(), 1012);
    assert_eq!(h.door.connections(), 0);
}

#[test]
fn an_idle_socket_is_kept_by_its_pongs_and_ended_without_them() {
    let _alone = alone();
    let h = House::set(|s| {
        s.times.ws_tick = ms(100);
        s.times.ws_idle = ms(1500);
    });
    let (mut good, mut silent) = (connected(&h), connected(&h));
    let end = Instant::now() + ms(4000);
    while Instant::now() < end {
        match good.got() {
            Got::Ping => drop(good.c.send(Ws::frame(10, b""))),
            Got::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(silent.close_code(), 1001);
    assert_eq!(good.call("ping", json!({}))["ok"], true);
    eventually("one is left", || h.door.connections() == 1);
}

#[test]
fn a_stranger_that_says_nothing_costs_no_thread_and_is_closed_in_time() {
    let _alone = alone();
    let mut s = settings();
    s.times.ws_login = ms(1500);
    let h = House::with(s, well());
    let mut ws = Ws::open(h.addr, "/", "").unwrap();
    quiet();
    assert_eq!(h.door.connections(), 1);
    assert_eq!(ws.close_code(), 4401);
    h.all_gone();
}

#[test]
fn a_frame_that_comes_in_pieces_is_whole_however_long_it_takes() {
    let _alone = alone();
    let h = House::open();
    let mut ws = connected(&h);
    let text = json!({"type": "req", "id": "split", "method": "ping", "pad": "x".repeat(3000)}).to_string();
    let frame = Ws::frame(1, text.as_bytes());
    for cut in [1, 3, 7, 100, 2000] {
        ws.c.send(&frame[..cut]);
        quiet();
        ws.c.send(&frame[cut..]);
        assert_eq!(ws.json()["id"], "split", "cut after {cut}");
    }
    // one message in three frames with a ping between them, each found by another reader
    let third = text.len() / 3;
    let mut part = |first: u8, piece: &str| {
        let mut frame = Ws::frame(first, piece.as_bytes());
        frame[0] = first;
        ws.c.send(frame);
        quiet();
    };
    part(0x01, &text[..third]);
    part(0x00, &text[third..2 * third]);
    part(0x89, "p");
    part(0x80, &text[2 * third..]);
    assert_eq!(ws.got(), Got::Pong(b"p".to_vec()));
    assert_eq!(ws.json()["id"], "split");
    // a whole message and the beginning of the next in one piece
    quiet();
    ws.c.send([&frame[..], &frame[..9]].concat());
    assert_eq!(ws.json()["id"], "split");
    quiet();
    ws.c.send(&frame[9..]);
    assert_eq!(ws.json()["id"], "split");
}

#[test]
fn what_comes_with_the_upgrade_is_served() {
    let _alone = alone();
    let h = House::open();
    let frame = Ws::frame(1, json!({"type": "req", "id": 5, "method": "ping"}).to_string().as_bytes());
    let mut c = Client::new(h.addr);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n");
    c.send([head.as_bytes(), &frame, &frame[..4]].concat());
    c.until("\r\n\r\n");
    let answer = |c: &mut Client| {
        let n = usize::from(c.take(2)[1]);
        assert!(String::from_utf8(c.take(n)).unwrap().contains(r#""id":5"#));
        quiet();
    };
    answer(&mut c);
    c.send(&frame[4..]);
    answer(&mut c);
}

#[test]
fn a_message_that_comes_while_its_reader_goes_is_not_lost() {
    let _alone = alone();
    let h = House::set(|s| s.limits.ws_rate = 10_000);
    std::thread::scope(|all| {
        for n in 0..8 {
            let mut ws = connected(&h);
            all.spawn(move || {
                for i in 0..60 {
                    // a reader stays for a tenth of a second: before, at and after its end
                    std::thread::sleep(Duration::from_micros(98_000 + (i * 8 + n) * 10));
                    assert_eq!(ws.call("ping", json!({}))["ok"], true);
                }
            });
        }
    });
}

#[test]
fn a_request_that_takes_long_holds_nobody_up() {
    let _alone = alone();
    let mut s = settings();
    s.times.wrong = ms(3000);
    let h = House::with(s, well());
    let mut other = connected(&h);
    let mut slow = Ws::open(h.addr, "/", "").unwrap();
    quiet();
    slow.ask("connect", json!({"token": "wrong"}));
    let begun = Instant::now();
    for n in 0..20 {
        h.door.publish(&notice(n));
        other.event("ui.notice");
        assert_eq!(other.call("ping", json!({}))["ok"], true);
    }
    assert!(begun.elapsed() < ms(2500), "{:?}", begun.elapsed());
    assert_eq!(slow.close_code(), 4001);
}

#[test]
fn a_reader_that_stalls_is_cut_and_holds_nobody_up() {
    let _alone = alone();
    let h = House::set(|s| {
        s.times.stall = ms(400);
        (s.limits.ws_bytes, s.limits.ws_frames) = (64 << 20, 1000); // only the stall can end the connection
    });
    let stalled = connected(&h);
    let mut quick = connected(&h);
    let text = "x".repeat(32 << 10);
    for n in 0..600 {
        h.door.publish(&reply(&format!("r{n}"), &text)); // in all more than sockets take
        assert_eq!(quick.event("chat.reply")["payload"]["runId"], format!("r{n}"));
    }
    eventually("the stalled one is cut", || h.door.connections() == 1);
    assert_eq!(quick.call("ping", json!({}))["ok"], true);
    drop(stalled);
}

#[test]
fn a_reader_that_is_slow_gets_all_of_a_long_reply_in_order() {
    let _alone = alone();
    let h = House::open();
    let live = h.board.open(WEB);
    let mut ws = connected(&h);
    live.begin("r1");
    live.text(&"a".repeat(3 << 20)); // far more than the socket takes
    h.door.publish(&reply("r1", "done"));
    live.end();
    h.door.publish(&typing("r2", true));
    quiet();
    let (mut seq, mut size) = (0, 0);
    loop {
        let v = ws.json();
        seq += 1;
        assert_eq!(v["seq"], seq);
        size += v["payload"]["assistantMessageEvent"]["delta"].as_str().unwrap_or_default().len();
        match v["event"].as_str() {
            Some("chat.reply") => assert_eq!(size, 3 << 20),
            Some("chat.typing") => break,
            _ => {}
        }
    }
}

#[test]
fn idle_sockets_close_with_their_handshake() {
    let _alone = alone();
    let h = House::new();
    let (mut mine, mut theirs, mut rude) = (connected(&h), connected(&h), connected(&h));
    quiet();
    mine.c.send(Ws::frame(8, &1000u16.to_be_bytes()));
    assert_eq!(mine.close_code(), 1000);
    assert_eq!(mine.got(), Got::Eof);
    rude.c.send([0x81, 1, b'x']);
    assert_eq!(rude.close_code(), 1002);
    eventually("one is left", || h.door.connections() == 1);
    // a client that answers our close need not wait for the end of the time it would have
    let begun = Instant::now();
    std::thread::scope(|all| {
        all.spawn(|| h.door.close(false));
        assert_eq!(theirs.close_code(), 1001);
        theirs.c.send(Ws::frame(8, &1001u16.to_be_bytes()));
        assert_eq!(theirs.got(), Got::Eof);
    });
    assert!(begun.elapsed() < ms(900), "{:?}", begun.elapsed());
}

#[test]
fn a_burst_of_pings_is_answered() {
    let _alone = alone();
    let h = House::open();
    let mut ws = connected(&h);
    quiet();
    let pings: Vec<u8> = (0..2000u16).flat_map(|n| Ws::frame(9, &n.to_be_bytes())).collect();
    ws.c.send(pings);
    for n in 0..2000u16 {
        assert_eq!(ws.got(), Got::Pong(n.to_be_bytes().to_vec()));
    }
    assert!(idle(), "no thread is needed for that");
}

#[test]
fn a_socket_that_vanishes_leaves_nothing_to_the_next() {
    let _alone = alone();
    let h = House::open();
    let ws = connected(&h);
    quiet();
    drop(ws); // without a close frame
    h.all_gone();
    h.door.publish(&Frame::Reset { session: WEB.into() });
    let mut next = connected(&h);
    next.call("ping", json!({}));
    assert!(next.passed.is_empty());
}
