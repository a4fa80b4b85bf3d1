//! Pictures that a chat completion names by their address on the network: fetched within limits, and never from
//! private places.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pi_gateway::config::types::{Network, SsrfGuard};
use pi_gateway::http::Settings;
use pi_gateway::message::*;
use pi_gateway::net::{Agent, Net, Purpose, Resolver};
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest of it";

/// A web server: a request's path gives the answer. It ends with the test.
struct Web {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

fn web(answer: impl Fn(&str, SocketAddr) -> Vec<u8> + Send + 'static) -> Web {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    std::thread::spawn(move || {
        for sock in listener.incoming() {
            let mut sock = sock.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && sock.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().unwrap().push(head);
            let _ = sock.write_all(&answer(&path, addr)); // the client may have had enough
        }
    });
    Web { addr, heads }
}

impl Web {
    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}/{path}", self.addr.port())
    }
    fn asked(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn agent(local: bool, lookup: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Agent {
    let network = Network { ca_file: None, proxy: None, no_proxy: Vec::new(), env_proxy: Default::default() };
    let net = Net::with(&network, Arc::new(Resolver::with(Box::new(move |name| Ok(lookup(name)))))).unwrap();
    let rules = SsrfGuard {
        allow_private: false,
        allow_localhost: local,
        allowed_hosts: Vec::new(),
        blocked_hosts: Vec::new(),
        max_redirects: 3,
    };
    net.agent(Purpose::Files).guarded(rules).build()
}

fn to(address: &'static str) -> impl Fn(&str) -> Vec<IpAddr> + Send + Sync {
    move |_| vec![address.parse().unwrap()]
}

/// This machine is allowed, other private places are not.
fn lenient(change: impl FnOnce(&mut Settings)) -> House {
    House::fetching(agent(true, to("127.0.0.1")), change)
}

fn ask_about(h: &House, urls: &[&str]) -> Response {
    let parts: Vec<Value> = urls.iter().map(|u| json!({"type": "image_url", "image_url": {"url": u}})).collect();
    let body = json!({"messages": [{"role": "user", "content": parts}]}).to_string();
    ask(h.addr, "POST", "/v1/chat/completions", "", &body)
}

fn refusal(r: &Response) -> (u16, String) {
    let v = r.json();
    assert_eq!(v["error"]["param"], "messages[0].content[0].image_url.url", "{v}");
    (r.status, v["error"]["message"].as_str().unwrap().to_owned())
}

fn files(h: &House) -> usize {
    let days = std::fs::read_dir(h.dir.path().join("media/webchat")).map_or(Vec::new(), |d| d.collect());
    days.into_iter().map(|d| std::fs::read_dir(d.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn a_picture_on_the_network_reaches_the_mind_as_a_file() {
    let server = web(|path, _| if path == "/moved" { redirect("/a.png?x=1") } else { ok(PNG) });
    let h = lenient(|_| ());
    let data = "data:image/png;base64,iVBORw0KGgpyZXN0";
    let r = ask_about(&h, &[data, &server.url("pictures.test", "moved"), &server.url("127.0.0.1", "b")]);
    assert_eq!(r.status, 200, "{}", r.text());
    let asked = h.asked.lock().unwrap();
    let images = asked.iter().find_map(|r| if let Request::Chat(c) = r { Some(c.images.clone()) } else { None });
    let images = images.unwrap();
    assert_eq!(images.iter().map(|i| i.mime.as_str()).collect::<Vec<_>>(), ["image/png"; 3]);
    assert_eq!(std::fs::read(&images[0].path).unwrap(), b"\x89PNG\r\n\x1a\nrest");
    assert_eq!(std::fs::read(&images[1].path).unwrap(), PNG);
    let heads = server.heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /moved ") && heads[1].starts_with("GET /a.png?x=1 "), "{heads:?}");
    assert!(!heads[0].to_lowercase().contains("cookie") && !heads[0].to_lowercase().contains("auth"), "{heads:?}");
}

/// Every kind of address of core.md 18, as a literal, as a name, and behind a redirect.
#[test]
fn nothing_is_fetched_from_private_places_however_they_are_written() {
    const TABLE: [&str; 26] = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2001:db8::1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
    ];
    let server = web(|path, _| match path.strip_prefix("/to/") {
        Some(place) => redirect(&format!("http://{place}/")),
        None => ok(PNG),
    });
    let port = server.addr.port();
    let strict = House::fetching(
        agent(false, |name| vec![TABLE[name.split('.').next().unwrap().parse::<usize>().unwrap()].parse().unwrap()]),
        |_| (),
    );
    let follows = lenient(|_| ());
    for (n, address) in TABLE.iter().enumerate() {
        let literal = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        for url in [format!("http://{literal}/x.png"), format!("http://{n}.pictures.test:{port}/x.png")] {
            let (status, why) = refusal(&ask_about(&strict, &[&url]));
            assert!(status == 400 && why.contains("refused"), "{url}: {status} {why}");
        }
        if !["127.", "::1", "::ffff:127.", "2002:7f00"].iter().any(|own| address.starts_with(own)) {
            let url = server.url("pictures.test", &format!("to/{literal}"));
            let (status, why) = refusal(&ask_about(&follows, &[&url]));
            assert!(status == 400 && why.contains("refused"), "{url}: {status} {why}");
        }
    }
    for odd in
        ["http://2130706433/x", "http://0x7f.1/x", "http://localhost/x", "http://127.1:22/x", "http://u:p@1.1.1.1/"]
    {
        assert_eq!(refusal(&ask_about(&strict, &[odd])).0, 400, "{odd}");
    }
    let through = server.heads.lock().unwrap();
    assert!(through.iter().all(|head| head.starts_with("GET /to/")), "{through:?}");
    assert_eq!(files(&strict) + files(&follows), 0);
}

#[test]
fn the_address_that_was_checked_is_the_one_that_is_used() {
    let server = web(|_, _| ok(PNG));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let rebinding = move |_: &str| match count.fetch_add(1, Ordering::SeqCst) {
        0 => to("127.0.0.1")(""),
        _ => to("10.0.0.1")(""),
    };
    let h = House::fetching(agent(true, rebinding), |_| ());
    assert_eq!(ask_about(&h, &[&server.url("rebind.test", "x.png")]).status, 200);
    assert_eq!((server.asked(), asked.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn what_is_too_large_no_picture_or_not_there_is_refused_and_leaves_no_file() {
    let server = web(|path, addr| match path {
        "/page" => ok(format!("<html>{}", " ".repeat(1000)).as_bytes()),
        "/svg" => ok(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "/short" => ok(b"\x89P"),
        "/empty" => ok(b""),
        "/large" => ok(&[PNG, &[0; 5000]].concat()),
        "/endless" => [b"HTTP/1.1 200 OK\r\n\r\n", PNG, &[0; 9000]].concat(),
        "/round" => redirect(&format!("http://{addr}/round")),
        "/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret".to_vec(),
        "/torn" => b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\nConnection: close\r\n\r\n\x89PNG".to_vec(),
        _ => ok(&[PNG, &[0; 2000]].concat()),
    });
    let h = lenient(|s| s.media_max = 4096);
    for (path, status, words) in [
        ("page", 400, "only PNG"),
        ("svg", 400, "only PNG"),
        ("short", 400, "only PNG"),
        ("empty", 400, "empty"),
        ("large", 413, "longer than 4096 bytes"),
        ("endless", 413, "longer than 4096 bytes"),
        ("round", 400, "too many redirects"),
        ("gone", 400, "the server answered 404"),
        ("torn", 400, "could not be fetched"),
    ] {
        let (was, why) = refusal(&ask_about(&h, &[&server.url("pictures.test", path)]));
        assert!(was == status && why.contains(words) && !why.contains("secret"), "{path}: {was} {why}");
    }
    let long = server.url("pictures.test", &"x".repeat(3000));
    assert!(refusal(&ask_about(&h, &[&long])).1.contains("longer than 2048"));
    // One is good, the second is not: neither is kept.
    let good = server.url("pictures.test", "good");
    assert_eq!(ask_about(&h, &[&good, &server.url("pictures.test", "gone")]).status, 400);
    // Together they may not be longer than a body.
    let h2 = lenient(|s| s.limits.chat_body = 6000);
    assert_eq!(ask_about(&h2, &[&good, &good]).status, 200);
    assert_eq!(ask_about(&h2, &[&good, &good, &good]).status, 413);
    assert_eq!(ask_about(&h, &[good.as_str(); 17]).status, 400);
    assert_eq!((files(&h), files(&h2)), (0, 2));
}
