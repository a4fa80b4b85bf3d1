//! A shutdown ends whatever an agent waits for, at once and for good.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pi_gateway::net::{Agent, Answer, Error, Net, Purpose, Resolver};

use super::peer::*;

/// Shuts the agent down when `ready` says that the call waits. What the call said, and how long it took to say so.
fn ended(agent: &Agent, url: &str, ready: impl FnOnce()) -> (Result<Answer, Error>, Duration) {
    std::thread::scope(|s| {
        let call = s.spawn(|| post(agent, url));
        ready();
        let start = Instant::now();
        agent.shutdown();
        let result = call.join().unwrap();
        (result, start.elapsed())
    })
}

#[track_caller]
fn stopped((result, took): (Result<Answer, Error>, Duration), sent: bool) {
    assert!(matches!(result, Err(Error::Stopped { sent: s }) if s == sent), "{result:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A server that says when a request is in, and goes on with `script`.
fn saying(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> (Server, mpsc::Receiver<()>) {
    let (asked, wait_asked) = mpsc::channel();
    let asked = Mutex::new(asked);
    let server = serve(move |_, mut peer| {
        peer.request();
        script(&mut peer);
        asked.lock().unwrap().send(()).unwrap();
        peer.await_end();
    });
    (server, wait_asked)
}

#[test]
fn a_long_poll_ends_and_later_calls_fail_at_once() {
    let (server, asked) = saying(|_| {});
    let agent = agent();
    let url = server.url("/");
    stopped(ended(&agent, &url, || asked.recv_timeout(PATIENCE).unwrap()), true);
    let start = Instant::now();
    assert_eq!(post(&agent, &url).unwrap_err(), Error::Stopped { sent: false });
    assert_eq!(post(&agent.clone(), &url).unwrap_err(), Error::Stopped { sent: false });
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_body_that_would_end_with_the_connection_is_not_taken_for_whole() {
    let (server, asked) = saying(|peer| {
        peer.send("HTTP/1.1 200 OK\r\n\r\n{\"ok\":");
    });
    stopped(ended(&agent(), &server.url("/"), || asked.recv_timeout(PATIENCE).unwrap()), true);
}

#[test]
fn a_connection_in_the_making_ends() {
    let hole = black_hole("127.0.0.1:0".parse().unwrap());
    let (resolver, asked) = names(&[("hole.test", &["127.0.0.1"])]);
    let agent = Net::with(&network(), resolver).unwrap().agent(Purpose::Poll).build();
    let url = format!("http://hole.test:{}/", hole.addr.port());
    stopped(ended(&agent, &url, || wait_for(|| !asked.lock().unwrap().is_empty())), false);
}

#[test]
fn a_lookup_ends() {
    let (begun, wait_begun) = mpsc::channel();
    let (end, hang) = mpsc::channel::<()>();
    let ends = Mutex::new((begun, hang));
    let resolver = Resolver::with(Box::new(move |_| {
        let ends = ends.lock().unwrap();
        ends.0.send(()).unwrap();
        let _ = ends.1.recv();
        Ok(Vec::new())
    }));
    let agent = Net::with(&network(), Arc::new(resolver)).unwrap().agent(Purpose::Poll).build();
    stopped(ended(&agent, "http://hang.test/", || wait_begun.recv_timeout(PATIENCE).unwrap()), false);
    drop(end);
}

#[test]
fn a_handshake_ends() {
    let (greeted, wait_greeted) = mpsc::channel();
    let greeted = Mutex::new(greeted);
    let server = serve(move |_, mut peer| {
        peer.take(1);
        greeted.lock().unwrap().send(()).unwrap();
        peer.await_end();
    });
    let url = format!("https://{}/", server.addr);
    stopped(ended(&agent(), &url, || wait_greeted.recv_timeout(PATIENCE).unwrap()), false);
}

#[test]
fn another_agent_goes_on() {
    let (server, asked) = saying(|_| {});
    let gate = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
    });
    let (poll, send) = (agent(), agent());
    stopped(ended(&poll, &server.url("/"), || asked.recv_timeout(PATIENCE).unwrap()), true);
    assert_eq!(post(&send, &gate.url("/")).unwrap().status, 200);
}

fn wait_for(ready: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "it did not come to that");
        std::thread::yield_now();
    }
}
