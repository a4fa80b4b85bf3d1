//! Getting in and out.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::support::browser::Browser;
use crate::{demo, text, Page, ENTER, MAIN};

#[test]
fn given_no_cookie_then_only_the_right_token_opens_the_page() {
    let g = demo(0);
    let page = Page(Browser::lend());
    page.goto(&format!("http://{}/", g.addr));
    page.find("#login-token");
    page.calm();
    page.send_keys("#login-token", &format!("wrong-token{ENTER}"));
    page.until("document.querySelector('#login-error').textContent === 'That token is not right.'");
    assert_eq!(page.eval("document.querySelector('#page').inert"), true, "the page behind it cannot be used");
    page.eval("document.querySelector('#login-token').value = ''");
    page.send_keys("#login-token", &g.token);
    page.click("#login-submit");
    page.ready();
    page.until("!document.querySelector('#login')");
    assert_eq!(page.eval("document.cookie"), "", "scripts cannot read the cookie");
    page.console(); // the browser reports the 401 of the wrong token

    page.reload();
    page.ready();
    page.says("hello");
    page.answers(1);
    page.click("#logout");
    page.find("#login-token");
    let left = page.eval("document.querySelectorAll('.item').length");
    assert_eq!(left, 0, "nothing stays readable");
    page.reload();
    page.find("#login-token");
    page.calm();
}

#[test]
fn given_the_one_click_link_then_the_page_is_open_and_the_token_is_gone_from_the_address() {
    let g = demo(0);
    let page = Page::open(&g);
    assert_eq!(page.address(), format!("http://{}/", g.addr));
    assert_eq!(page.eval("document.cookie"), "");
    let stored = page.eval("JSON.stringify([Object.values(localStorage), Object.values(sessionStorage)])");
    assert!(!text(&stored).contains(&g.token), "{stored}");
    page.calm();

    let stranger = Page(Browser::lend());
    stranger.goto(&format!("http://{}/?token=guessed", g.addr));
    stranger.find("#login-token");
    assert_eq!(stranger.address(), format!("http://{}/", g.addr));
}

#[test]
fn given_a_foreign_site_then_it_can_use_neither_the_socket_nor_the_interface_of_somebody_who_is_logged_in() {
    let g = demo(0);
    let page = Page::open(&g);
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = site.local_addr().unwrap();
    let (here, body) = (g.addr, "<!doctype html><title>foreign</title>");
    let serving = thread::spawn(move || {
        let (mut stream, _) = site.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
    });
    // The same host with another port: the browser sends the cookie along.
    page.goto(&format!("http://{address}/"));
    serving.join().unwrap();
    page.eval(&format!(
        "window.seen = [], (s => {{ s.onopen = () => seen.push('open'); s.onerror = () => seen.push('socket refused'); }})(new WebSocket('ws://{here}/ws')),\
         fetch('http://{here}/api/chat', {{method: 'POST', credentials: 'include', body: '{{\"message\":\"hello\"}}', headers: {{'Content-Type': 'text/plain'}}}})\
         .then(r => r.text()).then(t => seen.push(t), () => seen.push('call refused')), 0"
    ));
    page.until("window.seen.length === 2");
    let seen = page.eval("seen.sort().join()");
    assert_eq!(seen, "call refused,socket refused");
    assert_eq!(g.history(MAIN).len(), 0);
    page.console();
}

/// What a browser unpacks: all files, those that are fetched only when needed too.
#[test]
fn given_all_files_of_the_page_then_together_they_are_under_100_kb_and_their_policy_forbids_inline_scripts() {
    let g = demo(0);
    let mut total = g.get("/").body.len();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let answer = g.get(&format!("/web/{name}"));
        assert_eq!(answer.status, 200, "{name} is not served");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        if name != "index.html" {
            total += answer.body.len();
        }
    }
    assert!((50_000..100_000).contains(&total), "{total} bytes");
}

#[test]
fn given_a_first_visit_then_the_page_is_small_and_asks_nobody_else() {
    let g = demo(0);
    let page = Page::open(&g);
    let loaded = page.eval(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))\
         .map(e => [new URL(e.name).host, e.decodedBodySize])",
    );
    let host = g.addr.to_string();
    let mut bytes = 0;
    for entry in loaded.as_array().unwrap() {
        assert_eq!(entry[0], host.as_str());
        bytes += entry[1].as_u64().unwrap();
    }
    assert!((20_000..=100_000).contains(&bytes), "{bytes} bytes: {loaded}");
    page.calm();
}
