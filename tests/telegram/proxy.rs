//! An account behind a proxy: polls, calls and files all go through it.

use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, PIXEL};

#[path = "../net/peer.rs"]
#[allow(dead_code)]
mod peer;

use peer::{carry, serve, Server};

/// A name that only the proxy knows: whoever goes another way gets nowhere.
const NAME: &str = "api.test";

fn http_proxy(to: SocketAddr) -> Server {
    serve(move |_, mut peer| {
        let head = peer.head();
        assert!(head.starts_with(&format!("CONNECT {NAME}:")), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"), "user:p@ss, {head}");
        peer.send("HTTP/1.1 200 Connection established\r\n\r\n");
        carry(peer.sock, TcpStream::connect(to).unwrap());
    })
}

fn socks_proxy(to: SocketAddr) -> Server {
    serve(move |_, mut peer| {
        assert_eq!(peer.take(4), [5, 2, 0, 2]);
        peer.send([5, 2]);
        assert_eq!(peer.take(11), b"\x01\x04user\x04p@ss");
        peer.send([1, 0]);
        assert_eq!(peer.take(5), [5, 1, 0, 3, NAME.len() as u8]);
        assert_eq!(peer.take(NAME.len()), NAME.as_bytes());
        peer.take(2);
        peer.send([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        carry(peer.sock, TcpStream::connect(to).unwrap());
    })
}

/// Somebody writes, with a file; the bot answers, with a file.
fn converse(scheme: &str, proxy: impl Fn(SocketAddr) -> Server) {
    let api = BotApi::start();
    let proxy = proxy(api.address());
    let mut h = House::at(
        api.clone(),
        json!({
            "streamMode": "off", "apiRoot": format!("http://{NAME}:{}", api.address().port()),
            "proxy": format!("{scheme}://user:p%40ss@127.0.0.1:{}", proxy.addr.port()),
        }),
    );
    let work = h.g.data().parent().unwrap().join("work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("a.png"), PIXEL).unwrap();
    api.user_says(ANN, ANN).document("a.txt", "text/plain", b"what I sent").text("[[say:Look:\\nMEDIA:a.png]]").send();
    api.wait_text(ANN, "Look:");
    let picture = api.wait_message(ANN, |m| m.media() == Some("photo"));
    assert_eq!(api.file(picture.file_id().unwrap()).as_deref(), Some(PIXEL));
    assert!(h.pi.prompts()[0].contains("what I sent"), "{:?}", h.pi.prompts());
    assert!(proxy.connections() >= 3, "polls, calls and files have their own");
    assert!(h.g.stop().success());
    let log = h.g.log();
    assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
    api.assert_clean();
}

#[test]
fn an_account_behind_an_http_proxy_with_a_login_polls_sends_and_fetches_through_it() {
    converse("http", http_proxy);
}

#[test]
fn an_account_behind_a_socks_proxy_with_a_login_polls_sends_and_fetches_through_it() {
    converse("socks5h", socks_proxy);
}

#[test]
fn given_a_proxy_that_refuses_then_it_is_said_without_the_password_and_tried_again() {
    let api = BotApi::start();
    let proxy = serve(|_, mut peer| {
        // The gateway may be killed at the end of the test before it says a word.
        if peer.sock.peek(&mut [0]).is_ok_and(|n| n > 0) {
            peer.head();
            peer.send("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        }
    });
    let url = format!("http://user:hush@127.0.0.1:{}", proxy.addr.port());
    let root = format!("http://{NAME}:{}", api.address().port());
    let h = House::unconnected(api, json!({"apiRoot": root, "proxy": url}));
    h.g.wait_log("(407)");
    h.g.wait_until("it is tried again", |_| proxy.connections() > 1);
    assert!(!h.g.log().contains("hush"));
}
