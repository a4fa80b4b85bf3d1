//! The guard on real connections.

use pi_gateway::config::types::SsrfGuard;
use pi_gateway::net::{Agent, Answer, Error, Net, Purpose, Request};

use super::peer::*;

const NAMES: &[(&str, &[&str])] = &[
    ("inside.test", &["127.0.0.1"]),
    ("mixed.test", &["127.0.0.1", "10.0.0.1"]),
    ("mapped.test", &["::ffff:127.0.0.1"]),
    ("private.test", &["10.0.0.1"]),
];

fn guarded(rules: SsrfGuard) -> Agent {
    net(NAMES).agent(Purpose::Files).guarded(rules).build()
}

fn local() -> SsrfGuard {
    SsrfGuard { allow_localhost: true, ..rules() }
}

fn fetch(agent: &Agent, url: &str) -> (Result<Answer, Error>, Vec<u8>) {
    let mut body = Vec::new();
    let result = agent.fetch(&Request::get(url).within(PATIENCE), &mut body);
    (result, body)
}

fn refused(agent: &Agent, url: &str) -> String {
    not_sent(fetch(agent, url).0)
}

#[test]
fn a_name_with_one_private_address_is_not_connected_to() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
    });
    let port = server.addr.port();
    for (host, rules) in [
        ("inside.test", rules()),
        ("mapped.test", rules()),
        ("mixed.test", local()),
        ("127.0.0.1", rules()),
        ("2130706433", rules()),
        ("localhost", rules()),
    ] {
        let why = refused(&guarded(rules), &format!("http://{host}:{port}/"));
        assert!(why.contains("refused"), "{host}: {why}");
    }
    assert_eq!(server.connections(), 0);
    let (answer, body) = fetch(&guarded(local()), &format!("http://inside.test:{port}/"));
    assert_eq!((answer.unwrap().status, body.as_slice()), (200, &b"ok"[..]));
}

#[test]
fn the_address_that_was_checked_is_the_one_that_is_used() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
    });
    // A name server that says something else the second time.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let resolver = pi_gateway::net::Resolver::with(Box::new(move |_| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        Ok(vec![if first { "127.0.0.1" } else { "10.0.0.1" }.parse().unwrap()])
    }));
    let net = Net::with(&network(), std::sync::Arc::new(resolver)).unwrap();
    let agent = net.agent(Purpose::Files).guarded(local()).build();
    fetch(&agent, &format!("http://rebind.test:{}/", server.addr.port())).0.unwrap();
    assert_eq!(server.connections(), 1);
}

/// A server that redirects `/n` to `/n-1` and from `/0` to `end`.
fn redirecting(end: String) -> Server {
    serve(move |_, mut peer| {
        let (head, _) = peer.request();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let to = match path.trim_start_matches('/').parse::<u32>() {
            Ok(0) => end.clone(),
            Ok(n) => format!("/{}", n - 1),
            Err(_) => {
                peer.send(OK);
                return;
            }
        };
        peer.send(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 4\r\n\r\ngone"));
    })
}

#[test]
fn redirects_are_followed_as_far_as_the_rules_say() {
    let server = redirecting("end".into());
    let (answer, body) = fetch(&guarded(local()), &server.url("/2"));
    assert_eq!((answer.unwrap().status, body.as_slice()), (200, &b"ok"[..]));
    let why = refused(&guarded(local()), &server.url("/3"));
    assert!(why.contains("too many redirects"), "{why}");
    let none = SsrfGuard { max_redirects: 0, ..local() };
    assert!(refused(&guarded(none), &server.url("/0")).contains("too many redirects"));
}

#[test]
fn every_redirect_is_checked() {
    for (to, what) in [
        ("http://10.0.0.1/", "10.0.0.1"),
        ("http://private.test/", "10.0.0.1"),
        ("http://169.254.169.254/latest/", "169.254.169.254"),
        ("//[fd00::1]/", "fd00::1"),
        ("http://127.0.0.1:22/", "port 22"),
        ("file:///etc/passwd", "not a URL"),
        ("ftp://inside.test/", "http://"),
        ("http://user@inside.test/", "user"),
    ] {
        let server = redirecting(to.into());
        let why = refused(&guarded(local()), &server.url("/0"));
        assert!(why.contains(what), "{to}: {why}");
    }
}

#[test]
fn an_own_header_stays_with_its_place() {
    let other = serve(|_, mut peer| {
        assert!(!peer.request().0.contains("hush"));
        peer.send(OK);
    });
    let url = other.url("/");
    let first = serve(move |_, mut peer| {
        assert!(peer.request().0.contains("hush"));
        peer.send(format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"));
    });
    let from = first.url("/");
    let request = Request::get(&from).header("authorization", "hush").within(PATIENCE);
    assert_eq!(guarded(local()).fetch(&request, &mut Vec::new()).unwrap().status, 200);
}

#[test]
fn never_from_https_to_http() {
    let server = serve(|_, peer| {
        let mut tls = super::secure::accept(peer);
        assert!(super::secure::request(&mut tls));
        let redirect = b"HTTP/1.1 301 Moved\r\nLocation: http://inside.test:8080/\r\nContent-Length: 0\r\n\r\n";
        std::io::Write::write_all(&mut tls, redirect).unwrap();
    });
    let why = refused(&guarded(local()), &format!("https://localhost:{}/", server.addr.port()));
    assert!(why.contains("cannot find"), "the name is not known here: {why}");
    let why = refused(&guarded(local()), &format!("https://127.0.0.1:{}/", server.addr.port()));
    assert!(why.contains("from https to http"), "{why}");
}

#[test]
fn through_a_proxy_the_checked_address_is_asked_for() {
    use pi_gateway::config::{types::Network, ProxySetting};
    use pi_gateway::net::Route;
    let proxy = serve(|_, mut peer| {
        let head = peer.head();
        assert!(head.starts_with("CONNECT 93.184.216.34:80 HTTP/1.1\r\n"), "{head}");
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        let (head, _) = peer.request();
        assert!(head.to_ascii_lowercase().contains("host: public.test\r\n"), "{head}");
        peer.send(OK);
    });
    let own = ProxySetting::parse(&format!("http://{}", proxy.addr)).unwrap();
    let network: Network = network();
    let route = Route::new(&network, Some(&own)).unwrap();
    let known: &[(&str, &[&str])] = &[("public.test", &["93.184.216.34"]), ("private.test", &["10.0.0.1"])];
    let agent =
        Net::with(&network, names(known).0).unwrap().agent(Purpose::Files).route(route).guarded(rules()).build();
    assert_eq!(fetch(&agent, "http://public.test/").1, b"ok");
    for url in ["http://private.test/", "http://10.0.0.1/", "http://unknown.test/"] {
        refused(&agent, url);
    }
    assert_eq!(proxy.connections(), 1);
}
