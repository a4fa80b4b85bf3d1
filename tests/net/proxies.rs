//! HTTP CONNECT and SOCKS5.

use std::io::Write;
use std::net::TcpStream;

use pi_gateway::config::types::Network;
use pi_gateway::config::ProxySetting;
use pi_gateway::net::{Agent, Net, Purpose, Route};

use super::peer::*;
use super::secure;

fn through(url: &str) -> Agent {
    through_network(url, trusting())
}

fn through_network(url: &str, network: Network) -> Agent {
    let own = ProxySetting::parse(url).unwrap();
    let route = Route::new(&network, Some(&own)).unwrap();
    let known: &[(&str, &[&str])] = &[("api.test", &["127.0.0.1"]), ("proxy.test", &["127.0.0.1"])];
    Net::with(&network, names(known).0).unwrap().agent(Purpose::Send).route(route).build()
}

/// An HTTP proxy that connects everything to `to` and checks what it is asked.
fn http_proxy(to: std::net::SocketAddr, check: impl Fn(&str) + Send + Sync + 'static) -> Server {
    serve(move |_, mut peer| {
        check(&peer.head());
        peer.send("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n");
        carry(peer.sock, TcpStream::connect(to).unwrap());
    })
}

#[test]
fn http_connect_with_a_login_carries_plain_and_secure_calls() {
    let secure = serve(|_, peer| {
        let mut tls = secure::accept(peer);
        while secure::request(&mut tls) {
            tls.write_all(OK.as_bytes()).unwrap();
        }
    });
    let check = |head: &str| {
        assert!(head.starts_with("CONNECT api.test:7777 HTTP/1.1\r\nHost: api.test:7777\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"), "{head}");
    };
    let proxy = http_proxy(secure.addr, check);
    let agent = through(&format!("http://user:p%40ss@proxy.test:{}", proxy.addr.port()));
    for _ in 0..2 {
        assert_eq!(post(&agent, "https://api.test:7777/").unwrap().body, b"ok");
    }
    assert_eq!(proxy.connections(), 1);
    drop(agent);

    let plain = serve(|_, mut peer| {
        assert!(peer.request().0.starts_with("POST /x HTTP/1.1\r\n"));
        peer.send(OK);
    });
    let proxy = http_proxy(plain.addr, |head| assert!(!head.contains("Authorization"), "{head}"));
    let agent = through(&format!("http://127.0.0.1:{}", proxy.addr.port()));
    assert_eq!(post(&agent, "http://api.test:7777/x").unwrap().body, b"ok");
}

#[test]
fn given_a_proxy_that_refuses_then_it_was_not_sent_and_no_password_is_shown() {
    for (answer, what) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "(407)"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502"),
        ("SSH-2.0\r\n\r\n", "does not speak HTTP"),
        ("", "closed the connection"),
    ] {
        let proxy = serve(move |_, mut peer| {
            peer.head();
            peer.send(answer);
        });
        let agent = through(&format!("http://user:hush@{}", proxy.addr));
        let why = not_sent(post(&agent, "http://api.test/bot1:secret/x"));
        assert!(why.contains(what) && why.contains("proxy 127.0.0.1"), "{why}");
        assert!(!why.contains("hush") && !why.contains("secret") && !why.contains("dXNlc"), "{why}");
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = not_sent(post(&through(&format!("http://user:hush@{gone}")), "http://api.test/"));
    assert!(why.contains("refused") && !why.contains("hush"), "{why}");
}

#[test]
fn given_a_proxy_that_does_not_answer_then_the_deadline_ends_it_and_it_was_not_sent() {
    let proxy = serve(|_, peer| peer.await_end());
    for scheme in ["http", "socks5", "socks5h"] {
        not_sent(post_within(&through(&format!("{scheme}://{}", proxy.addr)), "http://api.test/", SHORT));
    }
    let endless =
        serve(|_, peer| peer.trickle("HTTP/1.1 200 OK\r\nX: ".bytes().chain(std::iter::repeat_n(b'x', 4000))));
    not_sent(post_within(&through(&format!("http://{}", endless.addr)), "http://api.test/", SHORT));
}

/// A SOCKS5 proxy: checks the login and the place asked for, answers `reply`, and serves the call itself.
pub fn socks(login: Option<&'static [u8]>, place: &'static [u8], reply: &'static [u8]) -> Server {
    serve(move |_, mut peer| {
        match login {
            None => {
                assert_eq!(peer.take(3), [5, 1, 0]);
                peer.send([5, 0]);
            }
            Some(login) => {
                assert_eq!(peer.take(4), [5, 2, 0, 2]);
                peer.send([5, 2]);
                assert_eq!(peer.take(login.len()), login);
                peer.send([1, 0]);
            }
        }
        assert_eq!(peer.take(3), [5, 1, 0]);
        assert_eq!(peer.take(place.len()), place);
        peer.send(reply);
        if reply[1] == 0 {
            peer.request();
            peer.send(OK);
        }
    })
}

pub const DONE: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[test]
fn socks5_looks_names_up_here_and_socks5h_does_not() {
    let proxy = socks(None, &[1, 127, 0, 0, 1, 0, 80], DONE);
    assert_eq!(post(&through(&format!("socks5://{}", proxy.addr)), "http://api.test/").unwrap().body, b"ok");
    let proxy = socks(None, b"\x03\x0cunknown.test\x00\x50", &[5, 0, 0, 3, 2, b'a', b'b', 0, 0]);
    assert_eq!(post(&through(&format!("socks5h://{}", proxy.addr)), "http://unknown.test/").unwrap().body, b"ok");
    let proxy = socks(None, b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1f\x90", DONE);
    let agent = through(&format!("socks5h://{}", proxy.addr));
    assert_eq!(post(&agent, "http://[2001:db8::1]:8080/").unwrap().body, b"ok");
}

#[test]
fn socks5_with_a_login() {
    let proxy = socks(Some(b"\x01\x04user\x04p:ss"), b"\x03\x08api.test\x00\x50", DONE);
    let agent = through(&format!("socks5h://user:p%3Ass@{}", proxy.addr));
    assert_eq!(post(&agent, "http://api.test/").unwrap().body, b"ok");
}

#[test]
fn given_a_socks_proxy_that_refuses_then_it_was_not_sent() {
    let proxy = socks(None, b"\x03\x08api.test\x00\x50", &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    let why = not_sent(post(&through(&format!("socks5h://{}", proxy.addr)), "http://api.test/"));
    assert!(why.contains("connection refused (5)"), "{why}");
    let wrong_login = serve(|_, mut peer| {
        peer.take(4);
        peer.send([5, 2]);
        peer.take(11);
        peer.send([1, 1]);
    });
    let why = not_sent(post(&through(&format!("socks5://user:hush@{}", wrong_login.addr)), "http://api.test/"));
    assert!(why.contains("refused user and password") && !why.contains("hush"), "{why}");
    let wants_login = serve(|_, mut peer| {
        peer.take(3);
        peer.send([5, 255]);
    });
    not_sent(post(&through(&format!("socks5://{}", wants_login.addr)), "http://api.test/"));
}

#[test]
fn hosts_of_no_proxy_and_this_machine_are_reached_directly() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
    });
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let network = Network { no_proxy: vec![".test".into()], ..trusting() };
    let agent = through_network(&format!("http://{gone}"), network);
    post(&agent, &format!("http://api.test:{}/", server.addr.port())).unwrap();
    post(&agent, &server.url("/")).unwrap();
    assert!(not_sent(post(&agent, "http://api.example/")).contains("proxy"));
}
