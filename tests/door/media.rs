//! Files that people are shown: signed links, what they admit, and how the file comes (gateway-api.md 1.10, R7, R72,
//! R73).

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use pi_gateway::http::{Media, MediaKey, Settings, Spot};
use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::pages::*;
use crate::raw_http::*;

const SID: &str = "abcdefghijkl";

/// A well mind that knows one session and where its files are.
pub fn mind(cwd: PathBuf, channel: &str) -> Script {
    let mut rest = well();
    let last = channel.to_owned();
    Box::new(move |request| match request {
        Request::Place(whose) => {
            let known = matches!(whose, Whose::Key(key) if key == WEB) || *whose == Whose::Sid(SID.into());
            let home = Home { sid: SID.into(), cwd: cwd.clone() };
            let (channel, chat) = (Some(last.clone()), Some("default".into()));
            let place = Place { session: WEB.into(), home, channel, chat };
            Some(Answer::Place(known.then(|| Box::new(place))))
        }
        other => rest(other),
    })
}

struct Files {
    h: House,
    work: PathBuf,
    _dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        Files::with(|_| ())
    }
    fn with(change: impl FnOnce(&mut Settings)) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir_all(work.join("out")).unwrap();
        std::fs::write(work.join("out/a.png"), b"0123456789").unwrap();
        std::fs::write(dir.path().join("secret.png"), b"secret").unwrap();
        let mut s = settings();
        s.media.key = MediaKey::new("k");
        change(&mut s);
        let h = House::with(s, mind(work.clone(), "webchat"));
        Files { h, work, _dir: dir }
    }
    /// A link to a path that is signed whatever it is.
    fn link(&self, path: &str) -> String {
        self.link_for(path, Duration::from_secs(60), SID)
    }
    fn link_for(&self, path: &str, ttl: Duration, sid: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        let spot = Spot::parse(path).unwrap_or_else(|_| panic!("{path}"));
        self.h.settings.media.key.link(sid, &spot, ttl, now)
    }
    fn get(&self, link: &str) -> Response {
        ask(self.h.addr, "GET", link, "", "")
    }
}

#[test]
fn a_link_needs_no_secret_and_gives_the_file_with_its_headers() {
    let f = Files::new();
    let link = f.link("out/a.png");
    let r = f.get(&link);
    assert_eq!((r.status, r.body.as_slice()), (200, b"0123456789".as_slice()));
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "10"),
        ("cache-control", "private, max-age=3600"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("content-disposition", "inline; filename=\"a.png\""),
    ] {
        assert_eq!(r.header(name), Some(value), "{name}");
    }
    assert_eq!(r.header("content-security-policy"), None);
    assert!(!link.contains(WEB) && link.contains(&format!("sk={SID}")), "{link}");
    // a wrong secret beside it does not matter
    assert_eq!(ask(f.h.addr, "GET", &link, "Authorization: Bearer wrong\r\n", "").status, 200);
    // the name in the link is for people only
    assert_eq!(f.get(&link.replace("/a.png?", "/b.svg?")).header("content-type"), Some("image/png"));

    let etag = r.header("etag").unwrap().to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    let again = ask(f.h.addr, "GET", &link, &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((again.status, again.body.len()), (304, 0));
    std::fs::write(f.work.join("out/a.png"), b"other").unwrap();
    let changed = ask(f.h.addr, "GET", &link, &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((changed.status, changed.body.as_slice()), (200, b"other".as_slice()));
    let head = ask(f.h.addr, "HEAD", &link, "", "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("5"), 0));
}

#[test]
fn what_could_run_in_a_browser_is_for_saving_only() {
    let f = Files::new();
    for (name, kind, shown) in [
        ("x.svg", "image/svg+xml", "attachment; filename=\"x.svg\""),
        ("x.html", "application/octet-stream", "attachment; filename=\"x.html\""),
        ("ü \"x\".pdf", "application/octet-stream", ""),
    ] {
        std::fs::write(f.work.join(name), "<script>").unwrap();
        let r = f.get(&f.link(name));
        assert_eq!((r.status, r.header("content-type")), (200, Some(kind)));
        assert_eq!(r.header("content-security-policy"), Some("sandbox"), "{name}");
        let real = "attachment; filename=\"_ _x_.pdf\"; filename*=UTF-8''%C3%BC%20%22x%22.pdf";
        assert_eq!(r.header("content-disposition"), Some(if shown.is_empty() { real } else { shown }));
    }
}

#[test]
fn links_that_are_not_ours_or_over_are_refused() {
    let f = Files::new();
    let link = f.link("out/a.png");
    let (path, query) = link.split_once('?').unwrap();
    let sig = path.split('/').nth(3).unwrap();
    let other: String = sig.chars().map(|c| if c == 'A' { 'B' } else { 'A' }).collect();
    let missing = |gone: &str| {
        let rest: Vec<&str> = query.split('&').filter(|p| !p.starts_with(gone)).collect();
        format!("{path}?{}", rest.join("&"))
    };
    for gone in ["sk=", "path=", "exp="] {
        assert_eq!(f.get(&missing(gone)).refusal(), (400, "invalid_request".into()), "{gone}");
    }
    assert_eq!(f.get("/api/media/x").json()["error"], "Bad Request");
    for (what, link) in [
        ("signature", link.replace(sig, &other)),
        ("shorter signature", link.replace(sig, &sig[1..])),
        ("session", link.replace(SID, "abcdefghijkm")),
        ("path", link.replace("a.png&", "b.png&")),
        ("later end", link.replace("exp=", "exp=9")),
        ("no end", link.replace("exp=", "exp=x")),
        ("over", f.link_for("out/a.png", Duration::ZERO, SID)),
        ("a session that is gone", f.link_for("out/a.png", Duration::from_secs(60), "gonegonegone")),
    ] {
        let r = f.get(&link);
        assert_eq!(r.refusal(), (403, "forbidden".into()), "{what}");
        assert!(!r.text().contains("0123"));
    }
    let mut s = f.h.settings.clone();
    s.media.key = MediaKey::new("another");
    f.h.door.apply(s);
    assert_eq!(f.get(&link).status, 403);
}

#[test]
fn nothing_but_a_regular_file_of_the_workspace_comes_out() {
    let f = Files::new();
    let dir = f.work.parent().unwrap();
    symlink(dir.join("secret.png"), f.work.join("abs.png")).unwrap();
    symlink("../secret.png", f.work.join("rel.png")).unwrap();
    symlink("..", f.work.join("up")).unwrap();
    let pipe = f.work.join("pipe.png");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(f.work.join("sock.png")).unwrap();
    for path in ["abs.png", "rel.png", "up/secret.png", "pipe.png", "sock.png", "out", "file:etc/passwd"] {
        assert_eq!(f.get(&f.link(path)).refusal(), (403, "forbidden".into()), "{path}");
    }
    assert_eq!(f.get(&f.link("out/none.png")).refusal(), (404, "not_found".into()));
    assert_eq!(f.get(&f.link("upload:webchat/none.png")).status, 404);
    // paths that no link is made for, signed all the same
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k");
    let exp = "99999999999999";
    for (path, encoded) in [
        ("../secret.png", "..%2Fsecret.png"),
        ("out/../../secret.png", "out/../../secret.png"),
        ("/etc/passwd", "/etc/passwd"),
        ("~/x", "~/x"),
        ("a\0b", "a%00b"),
        (" ", "+"),
        ("http://x", "http://x"),
        ("upload:../secret.png", "upload:../secret.png"),
        ("upload:/etc/passwd", "upload:/etc/passwd"),
    ] {
        use base64::Engine;
        let tag = ring::hmac::sign(&key, format!("{SID}:{path}:{exp}").as_bytes());
        let sig = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag);
        let r = f.get(&format!("/api/media/{sig}/x?sk={SID}&path={encoded}&exp={exp}"));
        assert_eq!(r.refusal(), (403, "forbidden".into()), "{path:?}");
    }
}

#[test]
fn a_part_of_a_file_can_be_asked_for() {
    let f = Files::new();
    let link = f.link("out/a.png");
    let part = |range: &str| ask(f.h.addr, "GET", &link, &format!("Range: {range}\r\n"), "");
    for (range, body, shown) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=0-100", "0123456789", "bytes 0-9/10"),
    ] {
        let r = part(range);
        assert_eq!((r.status, r.text().as_str(), r.header("content-range")), (206, body, Some(shown)), "{range}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let r = part(range);
        assert_eq!((r.status, r.header("content-range")), (416, Some("bytes */10")), "{range}");
    }
    for range in ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2"] {
        assert_eq!((part(range).status, part(range).body.len()), (200, 10), "{range}");
    }
    let r = ask(f.h.addr, "GET", &link, "Range: bytes=0-1\r\nIf-Range: W/\"x\"\r\n", "");
    assert_eq!((r.status, r.body.len()), (200, 10));
    let head = ask(f.h.addr, "HEAD", &link, "Range: bytes=0-1\r\n", "");
    assert_eq!((head.status, head.header("content-length")), (206, Some("2")));
    // and the connection goes on
    let mut c = Client::new(f.h.addr);
    for _ in 0..2 {
        c.request("GET", &link, "Range: bytes=1-2\r\n", "");
        assert_eq!(c.response().text(), "12");
    }
}

#[test]
fn a_large_file_costs_no_memory_and_a_client_that_stalls_is_dropped() {
    const SIZE: u64 = 48 << 20;
    let f = Files::with(|s| {
        s.media_max = SIZE as usize;
        s.times.stall = ms(300);
    });
    let big = f.work.join("big.mp4");
    std::fs::File::create(&big).unwrap().set_len(SIZE).unwrap();
    let link = f.link("big.mp4");
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    let mut slow = Client::new(f.h.addr);
    slow.request("GET", &link, "", "");
    slow.until("\r\n\r\n");
    let mut c = Client::new(f.h.addr);
    c.request("GET", &link, "", "");
    assert!(c.until("\r\n\r\n").contains(&format!("Content-Length: {SIZE}")));
    let mut left = SIZE as usize;
    while left > 0 {
        let step = left.min(1 << 20);
        assert!(c.take(step).iter().all(|b| *b == 0));
        left -= step;
    }
    let grown = resident() - before;
    assert!(grown < (SIZE >> 10) / 2, "{grown} kB more");
    drop(c);
    f.h.all_gone(); // the slow one too
    std::fs::File::options().write(true).open(&big).unwrap().set_len(SIZE + 1).unwrap();
    assert_eq!(f.get(&link).refusal(), (413, "payload_too_large".into()));
}

#[test]
fn a_file_that_is_replaced_while_it_is_asked_for_comes_whole_or_not_at_all() {
    let f = Files::new();
    let (inside, outside) = (f.work.join("out"), f.work.parent().unwrap().join("else"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("a.png"), "secret").unwrap();
    let door = f.work.join("door");
    symlink(&outside, &door).unwrap();
    let link = f.link("out/a.png");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &inside, rustix::fs::CWD, &door, swap).unwrap();
            }
        });
        let mut seen = [0; 2];
        let mut c = Client::new(f.h.addr);
        let mut leaked = false;
        for _ in 0..3000 {
            c.request("GET", &link, "", "");
            let r = c.response();
            match r.status {
                200 => seen[0] += 1,
                403 | 404 => seen[1] += 1,
                other => panic!("{other}"),
            }
            leaked |= r.text().contains("secret");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!leaked && seen[0] > 0, "{seen:?}");
    });
}

fn said(text: &str, cwd: &std::path::Path) -> Frame {
    let Frame::Reply { session, run, runs, id, last, .. } = reply("r1", "") else { unreachable!() };
    let home = Some(Home { sid: SID.into(), cwd: cwd.to_owned() });
    Frame::Reply { session, run, runs, id, text: text.into(), last, home }
}

#[test]
fn files_that_an_agent_names_become_pictures_and_links_in_its_reply() {
    let f = Files::new();
    symlink("../secret.png", f.work.join("rel.png")).unwrap();
    std::fs::write(f.work.join("r.pdf"), "x").unwrap();
    let mut ws = connected(&f.h);
    let text = "Done MEDIA:out/a.png\nMEDIA:r.pdf MEDIA:rel.png MEDIA:/etc/passwd MEDIA:later.png";
    f.h.door.publish(&said(text, &f.work));
    let event = ws.event("chat.reply");
    let p = &event["payload"];
    let images: Vec<&str> = p["images"].as_array().unwrap().iter().filter_map(|i| i.as_str()).collect();
    assert_eq!(images.len(), 2, "{p}");
    assert_eq!(f.get(images[0]).text(), "0123456789");
    assert_eq!(f.get(images[1]).status, 404);
    std::fs::write(f.work.join("later.png"), "now").unwrap();
    assert_eq!(f.get(images[1]).text(), "now");
    let text = p["text"].as_str().unwrap();
    assert!(text.starts_with("Done \n[📎 r.pdf](/api/media/"), "{text}");
    assert!(text.ends_with(") [blocked: rel.png] [blocked: /etc/passwd]"), "{text}");
    let link = text.split(['(', ')']).nth(1).unwrap();
    assert_eq!(f.get(link).text(), "x");
    assert!(event["eid"].is_u64() && event["seq"].is_u64());

    // over HTTP as text
    let ask_chat = |path: &str| {
        let body = json!({"message": "see MEDIA:out/a.png MEDIA:/x", "sessionKey": WEB}).to_string();
        ask(f.h.addr, "POST", path, &crate::bearer(), &body)
    };
    let whole = ask_chat("/api/chat").json()["reply"].as_str().unwrap().to_owned();
    assert!(whole.starts_with("echo: see [📎 a.png](/api/media/") && whole.ends_with(") [blocked: /x]"), "{whole}");
    let stream = ask_chat("/api/chat/stream").text();
    assert!(stream.contains(r#""type":"done""#) && stream.contains("[📎 a.png](/api/media/"), "{stream}");
}

#[test]
fn links_are_good_as_long_as_the_configuration_says() {
    let f = Files::with(|s| s.media = Media { ttl: Duration::from_secs(7), ..s.media.clone() });
    let mut ws = connected(&f.h);
    f.h.door.publish(&said("MEDIA:out/a.png", &f.work));
    let event = ws.event("chat.reply");
    let link = event["payload"]["images"][0].as_str().unwrap();
    let exp: i64 = link.rsplit_once("exp=").unwrap().1.parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((1..=7000).contains(&(exp - now)), "{exp} {now}");
}
