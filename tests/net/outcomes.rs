//! "Nothing twice": certainly not sent, or unknown.

use std::time::Instant;

use pi_gateway::net::{Error, Purpose, Request};

use super::peer::*;

/// One connection that is served by `script` after the request was read whole.
fn after_request(script: impl Fn(Peer) + Send + Sync + 'static) -> Server {
    serve(move |_, mut peer| {
        let (head, body) = peer.request();
        assert!(head.starts_with("POST /bot1:token/send HTTP/1.1\r\n"), "{head}");
        assert_eq!(body, b"{\"text\":\"hello\"}");
        script(peer);
    })
}

fn ask(server: &Server) -> Result<pi_gateway::net::Answer, Error> {
    post(&agent(), &server.url("/bot1:token/send"))
}

#[test]
fn a_good_answer_has_status_headers_and_body() {
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\n");
        peer.send("Content-Length: 11\r\n\r\n{\"ok\":false");
    });
    let answer = ask(&server).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (429, &b"{\"ok\":false"[..]));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("date"), Some("Sat, 28 Nov 2026 10:00:00 GMT"));
}

#[test]
fn the_request_has_a_length_a_type_and_no_compression_is_asked_for() {
    let server = serve(|_, mut peer| {
        let (head, _) = peer.request();
        let head = head.to_ascii_lowercase();
        for line in
            ["content-length: 16\r\n", "content-type: application/json\r\n", "user-agent: pi-gateway/", "x-own: 1\r\n"]
        {
            assert!(head.contains(line), "{head}");
        }
        assert!(!head.contains("gzip") && !head.contains("transfer-encoding"), "{head}");
        peer.send(OK);
    });
    let url = server.url("/");
    let request = Request::post_json(&url, b"{\"text\":\"hello\"}").header("x-own", "1");
    assert_eq!(agent().call(&request).unwrap().body, b"ok");
}

#[test]
fn a_post_without_a_body_says_so() {
    let server = serve(|_, mut peer| {
        assert!(peer.request().0.to_ascii_lowercase().contains("content-length: 0\r\n"));
        peer.send(OK);
    });
    let url = server.url("/");
    assert_eq!(agent().call(&Request::new(pi_gateway::net::Method::POST, &url)).unwrap().status, 200);
}

#[test]
fn a_chunked_answer_is_read() {
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    });
    assert_eq!(ask(&server).unwrap().body, b"abcdefg");
}

#[test]
fn given_nobody_listens_then_it_was_not_sent() {
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = not_sent(post(&agent(), &format!("http://{addr}/bot1:token/send")));
    assert!(why.contains(&addr.to_string()) && why.contains("refused"), "{why}");
}

#[test]
fn given_a_name_without_address_then_it_was_not_sent() {
    let why = not_sent(post(&agent(), "http://nowhere.test/bot1:token/send"));
    assert!(why.contains("nowhere.test") && why.contains("no such name"), "{why}");
}

#[test]
fn given_a_place_that_swallows_packets_then_the_deadline_ends_it_and_it_was_not_sent() {
    let hole = black_hole("127.0.0.1:0".parse().unwrap());
    let start = Instant::now();
    not_sent(post_within(&agent(), &format!("http://{}/", hole.addr), SHORT));
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
}

#[test]
fn what_is_no_url_was_not_sent() {
    for url in ["", "api.telegram.org", "ftp://h/", "http://user:hush@h/", "http://h:0/", "http://1.2.3.4.5/"] {
        let why = not_sent(post(&agent(), url));
        assert!(!why.contains("hush"), "{why}");
    }
    let request = Request::post_json("http://127.0.0.1:9/", b"").header("x", "a\r\nb: c");
    not_sent(agent().call(&request));
}

#[test]
fn given_the_connection_ends_after_the_request_then_the_outcome_is_unknown() {
    unknown(ask(&after_request(drop)));
    unknown(ask(&after_request(Peer::reset)));
    unknown(ask(&after_request(|mut peer| {
        peer.half_close();
        peer.await_end();
    })));
}

#[test]
fn given_the_connection_ends_before_the_request_was_read_then_the_outcome_is_unknown() {
    let server = serve(|_, mut peer| {
        peer.take(1);
        peer.reset();
    });
    unknown(ask(&server));
}

#[test]
fn given_half_a_head_then_the_outcome_is_unknown() {
    for head in ["H", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        unknown(ask(&after_request(move |mut peer| {
            peer.send(head);
        })));
    }
}

#[test]
fn given_something_else_than_http_then_the_outcome_is_unknown() {
    for text in ["SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\0\0\0\0\0", "HTTP/1.1 abc\r\n\r\n"] {
        unknown(ask(&after_request(move |mut peer| {
            peer.send(text);
        })));
    }
}

#[test]
fn given_a_body_cut_short_then_the_outcome_is_unknown() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"ok\":true}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"ok\":true}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"ok\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        unknown(ask(&after_request(move |mut peer| {
            peer.send(answer);
        })));
    }
}

#[test]
fn given_a_reset_in_a_body_that_ends_with_the_connection_then_the_outcome_is_unknown() {
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.1 200 OK\r\n\r\n{\"ok\":");
        peer.reset();
    });
    unknown(ask(&server));
}

#[test]
fn a_body_may_end_with_the_connection() {
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.0 200 OK\r\n\r\n{\"ok\":true}");
    });
    assert_eq!(ask(&server).unwrap().body, b"{\"ok\":true}");
}

#[test]
fn given_no_answer_then_the_deadline_ends_it_and_the_outcome_is_unknown() {
    let server = after_request(Peer::await_end);
    let start = Instant::now();
    let why = unknown(post_within(&agent(), &server.url("/bot1:token/send"), SHORT));
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
    assert!(why.contains("time is over"), "{why}");
}

#[test]
fn given_an_answer_that_trickles_then_the_deadline_ends_it() {
    let streams = [
        ("HTTP/1.1 200 OK\r\nX-Slow: ", "x"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ];
    for (start, endless) in streams {
        let server = after_request(move |peer| peer.trickle(start.bytes().chain(endless.bytes().cycle().take(4000))));
        let start = Instant::now();
        unknown(post_within(&agent(), &server.url("/bot1:token/send"), SHORT));
        assert!(start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
    }
}

#[test]
fn given_a_peer_that_does_not_read_then_the_deadline_ends_it_and_a_part_of_a_request_is_none() {
    let (over, wait_over) = std::sync::mpsc::channel::<()>();
    let wait_over = std::sync::Mutex::new(wait_over);
    let server = serve(move |_, mut peer| {
        peer.take(1);
        let _ = wait_over.lock().unwrap().recv_timeout(PATIENCE);
    });
    let body = vec![b' '; 16 << 20];
    let url = server.url("/");
    let start = Instant::now();
    not_sent(agent().call(&Request::post_json(&url, &body).within(SHORT)));
    drop(over);
    assert!(start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
}

#[test]
fn given_a_large_request_that_was_cut_then_nobody_has_it() {
    let server = serve(|_, mut peer| {
        peer.take(100_000);
        peer.reset();
    });
    let body = vec![b' '; 16 << 20];
    let url = server.url("/");
    not_sent(agent().call(&Request::post_json(&url, &body).within(PATIENCE)));
}

#[test]
fn given_an_answer_over_the_limit_then_it_is_too_large() {
    for (answer, limit) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901", 10),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n1", 1 << 20),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n", 10),
        ("HTTP/1.1 200 OK\r\n\r\n12345678901", 10),
    ] {
        let server = serve(move |_, mut peer| {
            peer.request();
            peer.send(answer);
            peer.await_end();
        });
        let url = server.url("/");
        let result = agent().call(&Request::post_json(&url, b"{}").limit(limit).within(PATIENCE));
        assert!(matches!(result, Err(Error::TooLarge { limit: l }) if l == limit), "{result:?}");
    }
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234567890");
    });
    let url = server.url("/bot1:token/send");
    let exact = Request::post_json(&url, b"{\"text\":\"hello\"}").limit(10);
    assert_eq!(agent().call(&exact).unwrap().received, 10);
}

#[test]
fn given_an_endless_head_then_it_is_refused_early() {
    let server = serve(|_, mut peer| {
        peer.request();
        let _ = std::io::Write::write_all(
            &mut peer.sock,
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(100_000)).as_bytes(),
        );
        peer.await_end();
    });
    let start = Instant::now();
    unknown(post(&agent(), &server.url("/")));
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn no_error_shows_the_token() {
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closing = serve(|_, mut peer| {
        peer.request();
    });
    let agent = net(&[]).agent(Purpose::Poll).build();
    for base in [
        format!("http://{addr}"),
        format!("http://{}", closing.addr),
        "http://x.test".into(),
        "ftp://h".into(),
        "http://a b".into(),
    ] {
        let e = post(&agent, &format!("{base}/bot1234:secret/getUpdates")).unwrap_err();
        assert!(!format!("{e} {e:?}").contains("secret"), "{e}");
    }
}

#[test]
fn a_redirect_is_an_answer_like_others() {
    let server = after_request(|mut peer| {
        peer.send("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    });
    assert_eq!(ask(&server).unwrap().status, 302);
}
