//! GET `/api/events`: the WebSocket's events as a stream (R49).

use std::io::Read;
use std::time::Instant;

use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;

struct Stream {
    c: Client,
    text: String,
    /// The id it began with.
    began: String,
}

impl Stream {
    fn open(h: &House, query: &str, fields: &str) -> Stream {
        let mut c = Client::new(h.addr);
        c.request("GET", &format!("/api/events{query}"), &format!("{}{fields}", crate::bearer()), "");
        let head = c.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        let mut s = Stream { c, text: String::new(), began: String::new() };
        let first = s.block().unwrap(); // from now on it hears everything
        s.began = first.strip_prefix("retry: 3000\nid: ").unwrap().to_owned();
        s
    }
    /// The next block; `None`: the stream ended.
    fn block(&mut self) -> Option<String> {
        while !self.text.contains("\n\n") {
            self.text += &String::from_utf8(self.c.chunk()?).unwrap();
        }
        let (block, rest) = self.text.split_once("\n\n").map(|(b, r)| (b.to_owned(), r.to_owned()))?;
        self.text = rest;
        Some(block)
    }
    /// The next event and its id; who comes and goes is passed over.
    fn event(&mut self) -> (String, Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "only comments");
            let block = self.block().expect("an event");
            let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
            if let Some(data) = field("data: ") {
                let event: Value = serde_json::from_str(&data).unwrap();
                if event["event"] != "presence" {
                    return (field("id: ").unwrap(), event);
                }
            }
        }
    }
    fn brief(&mut self) -> String {
        brief(&self.event().1)
    }
}

fn place(id: &str) -> (&str, u64) {
    let (epoch, eid) = id.rsplit_once('-').unwrap();
    (epoch, eid.parse().unwrap())
}

#[test]
fn a_stream_has_the_same_events_with_the_same_numbers_as_a_socket() {
    let h = House::new();
    assert_eq!(ask(h.addr, "GET", "/api/events", "", "").status, 401);
    let mut ws = connected(&h);
    let mut s = Stream::open(&h, "", "");
    h.door.publish(&typing("r1", true));
    let live = h.board.open(WEB);
    live.begin("r1");
    live.text("Hello");
    assert_eq!([s.brief(), s.brief()], ["typing true", "live.reset "].map(str::trim));
    let (_, delta) = s.event();
    assert_eq!((brief(&delta).as_str(), delta["payload"]["sessionKey"].as_str()), ("text_delta Hello", Some(WEB)));
    h.door.publish(&reply("r1", "Hello."));
    let (id, event) = s.event();
    let same = ws.event("chat.reply");
    assert_eq!((&event["payload"], &event["eid"]), (&same["payload"], &same["eid"]));
    assert_eq!(place(&id).1, event["eid"].as_u64().unwrap());
    drop(s);
    drop(ws);
    for n in 0..50 {
        h.door.publish(&notice(n)); // who has left is noticed
    }
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_or_is_told_that_it_cannot() {
    let h = House::new();
    let mut s = Stream::open(&h, "", "");
    h.door.publish(&notice(1));
    let (id, _) = s.event();
    drop(s);
    h.door.publish(&notice(2));
    h.door.publish(&notice(3));
    let mut s = Stream::open(&h, "", &format!("Last-Event-ID: {id}\r\n"));
    h.door.publish(&notice(4));
    assert_eq!([s.brief(), s.brief(), s.brief()], ["notice 2", "notice 3", "notice 4"]);
    for lost in ["other-1", "nonsense", &format!("{}-999", place(&id).0)] {
        let mut s = Stream::open(&h, "", &format!("Last-Event-ID: {lost}\r\n"));
        assert_eq!(s.brief(), "resync", "{lost}");
        h.door.publish(&notice(5));
        assert_eq!(s.brief(), "notice 5");
    }
    // also from before the first event
    let first = Stream::open(&h, "", "").began;
    h.door.publish(&notice(6));
    assert_eq!(Stream::open(&h, "", &format!("Last-Event-ID: {first}\r\n")).brief(), "notice 6");
}

#[test]
fn a_stream_of_one_session_hears_of_no_other() {
    let h = House::new();
    let mut s = Stream::open(&h, "?session=agent:main:webchat:other", "");
    let mut both = Stream::open(&h, &format!("?session=agent%3Amain%3Awebchat%3Aother&session={WEB}"), "");
    let other = |message: &str| Frame::Notice {
        session: "agent:main:webchat:other".into(),
        level: "info".into(),
        message: message.into(),
    };
    h.door.publish(&notice(1));
    assert_eq!(both.brief(), "notice 1");
    h.door.publish(&other("mine"));
    h.door.publish(&Frame::Reloaded);
    let live = h.board.open(WEB);
    live.begin("r1");
    live.text("not for you");
    h.door.publish(&other("last"));
    assert_eq!([s.brief(), s.brief(), s.brief()], ["notice mine", "config.reloaded", "notice last"]);
    for bad in ["?session=", "?session=../x", "?session=%zz"] {
        assert_eq!(ask(h.addr, "GET", &format!("/api/events{bad}"), &crate::bearer(), "").status, 400, "{bad}");
    }
    let head = ask(h.addr, "HEAD", "/api/events", &crate::bearer(), "");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
}

#[test]
fn silence_is_filled_with_comments_and_a_client_that_leaves_is_forgotten() {
    let mut s = settings();
    s.times.comment = ms(30);
    let h = House::with(s, well());
    let mut s = Stream::open(&h, "", "");
    assert_eq!([s.block(), s.block()], [Some(": alive".into()), Some(": alive".into())]);
    drop(s);
    h.all_gone();
}

#[test]
fn a_reader_that_stalls_is_dropped_and_others_are_not_held_up() {
    let mut s = settings();
    s.limits.ws_bytes = 64 << 10;
    s.times.stall = ms(300);
    let h = House::with(s, well());
    let mut slow = Client::new(h.addr);
    slow.request("GET", "/api/events", &crate::bearer(), "");
    slow.until("\r\n\r\n");
    let mut good = Stream::open(&h, "", "");
    let text = "x".repeat(32 << 10);
    for n in 0..600 {
        h.door.publish(&reply(&format!("r{n}"), &text));
        assert_eq!(good.event().1["payload"]["runId"], json!(format!("r{n}")));
    }
    eventually("the slow one is dropped", || h.door.connections() == 1);
    drop(good);
    h.door.publish(&notice(1));
    drop(h.door);
    // what was on its way may still come; the end does
    let mut rest = vec![0; 1 << 20];
    while slow.sock.read(&mut rest).is_ok_and(|n| n > 0) {}
}

#[test]
fn a_stream_ends_with_the_gateway_and_says_so_before() {
    let h = House::new();
    let mut s = Stream::open(&h, "", "");
    h.door.drain("stopping", None);
    assert_eq!(s.brief(), "shutdown");
    h.door.close(false);
    let mut rest = String::new();
    s.c.sock.read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() || rest == "0\r\n\r\n", "{rest}");
    assert_eq!(h.door.connections(), 0);
}
