//! Connections that are kept, and what becomes of a request on one that is stale.

use std::sync::mpsc;
use std::sync::Mutex;

use super::peer::*;

#[test]
fn two_calls_use_one_connection() {
    let server = serve(|_, mut peer| {
        for _ in 0..2 {
            peer.request();
            peer.send(OK);
        }
        peer.await_end();
    });
    let agent = agent();
    for _ in 0..2 {
        assert_eq!(post(&agent, &server.url("/")).unwrap().body, b"ok");
    }
    assert_eq!(server.connections(), 1);
    drop(agent);
    server.join();
}

#[test]
fn given_the_server_closed_between_two_calls_then_the_second_goes_over_a_new_connection_once() {
    let (closed, wait_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let server = serve(move |_, mut peer| {
        let (_, body) = peer.request();
        assert_eq!(body, b"{\"text\":\"hello\"}");
        peer.send(OK);
        drop(peer);
        closed.lock().unwrap().send(()).unwrap();
    });
    let agent = agent();
    for call in 1..=3 {
        assert_eq!(post(&agent, &server.url("/")).unwrap().body, b"ok");
        wait_closed.recv_timeout(PATIENCE).unwrap();
        assert_eq!(server.connections(), call);
    }
}

/// A server that does something to its first connection after its first answer was taken.
fn interfering(act: impl Fn(Peer) + Send + Sync + 'static) -> (Server, impl Fn()) {
    let (go, wait_go) = mpsc::channel();
    let (done, wait_done) = mpsc::channel();
    let ends = Mutex::new((wait_go, done));
    let server = serve(move |n, mut peer| {
        peer.request();
        peer.send(OK);
        if n > 0 {
            return peer.await_end();
        }
        let ends = ends.lock().unwrap();
        ends.0.recv_timeout(PATIENCE).unwrap();
        act(peer);
        ends.1.send(()).unwrap();
    });
    let act_now = move || {
        go.send(()).unwrap();
        wait_done.recv_timeout(PATIENCE).unwrap();
    };
    (server, act_now)
}

#[test]
fn given_the_server_reset_between_two_calls_then_the_second_goes_over_a_new_connection() {
    let (server, act_now) = interfering(Peer::reset);
    let agent = agent();
    post(&agent, &server.url("/")).unwrap();
    act_now();
    assert_eq!(post(&agent, &server.url("/")).unwrap().status, 200);
    assert_eq!(server.connections(), 2);
    drop(agent);
    server.join();
}

#[test]
fn given_a_kept_connection_ends_under_the_second_request_then_it_is_unknown_and_not_repeated() {
    let server = serve(|n, mut peer| {
        assert_eq!(n, 0, "the request came twice");
        peer.request();
        peer.send(OK);
        peer.request();
    });
    let agent = agent();
    post(&agent, &server.url("/")).unwrap();
    unknown(post(&agent, &server.url("/")));
    drop(agent);
    assert_eq!(server.connections(), 1);
    server.join();
}

#[test]
fn given_something_unasked_on_a_kept_connection_then_it_answers_nothing() {
    let held = Mutex::new(None);
    let (server, act_now) = interfering(move |mut peer| {
        peer.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        *held.lock().unwrap() = Some(peer);
    });
    let agent = agent();
    post(&agent, &server.url("/")).unwrap();
    act_now();
    assert_eq!(post(&agent, &server.url("/")).unwrap().status, 200);
    assert_eq!(server.connections(), 2);
    drop(agent);
    server.join();
}

#[test]
fn after_drop_idle_a_kept_connection_is_not_used_again() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
        peer.await_end();
    });
    let agent = agent();
    post(&agent, &server.url("/")).unwrap();
    agent.drop_idle();
    post(&agent, &server.url("/")).unwrap();
    assert_eq!(server.connections(), 2);
    drop(agent);
    server.join();
}

#[test]
fn agents_share_no_connections() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
        peer.await_end();
    });
    let (a, b) = (agent(), agent());
    post(&a, &server.url("/")).unwrap();
    post(&b, &server.url("/")).unwrap();
    assert_eq!(server.connections(), 2);
    drop((a, b));
    server.join();
}

#[test]
fn not_more_than_two_idle_connections_are_kept() {
    let (all_in, wait_in) = mpsc::channel();
    let all_in = Mutex::new(all_in);
    let gate = std::sync::Arc::new(std::sync::Barrier::new(4));
    let inner = gate.clone();
    let server = serve(move |_, mut peer| {
        peer.request();
        inner.wait(); // all four are open at once
        peer.send(OK);
        peer.await_end();
        all_in.lock().unwrap().send(()).unwrap();
    });
    let agent = agent();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| post(&agent, &server.url("/")).unwrap());
        }
    });
    // Two have been closed while the agent lives.
    for _ in 0..2 {
        wait_in.recv_timeout(PATIENCE).unwrap();
    }
    assert!(wait_in.try_recv().is_err());
    drop(agent);
    server.join();
}
