//! TLS.

use std::io::{Read, Write};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Instant;

use pi_gateway::net::{Agent, Net, Purpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::peer::*;

type Stream = StreamOwned<ServerConnection, std::net::TcpStream>;

fn data(name: &str) -> String {
    format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The server's side of a TLS connection on a socket.
pub fn accept(peer: Peer) -> Stream {
    pi_gateway::net::install_provider();
    let certs = vec![CertificateDer::from_pem_file(data("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certs, key).unwrap();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), peer.sock)
}

/// Reads a request whole; false: the other side has closed before it.
pub fn request(stream: &mut Stream) -> bool {
    let mut got = Vec::new();
    loop {
        if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..at + 4]).into_owned();
            if got.len() >= at + 4 + length(&head) {
                return true;
            }
        }
        let mut step = [0; 4096];
        match stream.read(&mut step) {
            Ok(n) if n > 0 => got.extend_from_slice(&step[..n]),
            _ => return false,
        }
    }
}

fn goodbye(stream: &mut Stream) {
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn trusting_agent() -> Agent {
    net(&[("api.test", &["127.0.0.1"]), ("evil.test", &["127.0.0.1"])]).agent(Purpose::Send).build()
}

fn url(server: &Server, host: &str) -> String {
    format!("https://{host}:{}/bot1:secret/x", server.addr.port())
}

#[test]
fn calls_go_over_tls_and_keep_their_connection() {
    let server = serve(|_, peer| {
        let mut tls = accept(peer);
        while request(&mut tls) {
            tls.write_all(OK.as_bytes()).unwrap();
        }
    });
    let agent = trusting_agent();
    for host in ["api.test", "api.test", "127.0.0.1", "127.0.0.1"] {
        assert_eq!(post(&agent, &url(&server, host)).unwrap().body, b"ok");
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_call_over_tls_fits_on_the_stack_of_every_thread() {
    let server = serve(|_, peer| {
        let mut tls = accept(peer);
        while request(&mut tls) {
            tls.write_all(OK.as_bytes()).unwrap();
        }
    });
    let url = url(&server, "api.test");
    let call = move || post(&trusting_agent(), &url).unwrap().status;
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(call).unwrap();
    assert_eq!(thread.join().unwrap(), 200);
}

#[test]
fn given_a_certificate_nobody_vouches_for_then_it_was_not_sent() {
    let server = serve(|_, peer| assert!(!request(&mut accept(peer))));
    let strangers = Net::with(&network(), names(&[("api.test", &["127.0.0.1"])]).0).unwrap();
    let why = not_sent(post(&strangers.agent(Purpose::Send).build(), &url(&server, "api.test")));
    assert!(why.contains("no TLS with api.test") && why.contains("UnknownIssuer"), "{why}");
}

#[test]
fn given_a_certificate_for_another_name_then_it_was_not_sent() {
    let server = serve(|_, peer| assert!(!request(&mut accept(peer))));
    let why = not_sent(post(&trusting_agent(), &url(&server, "evil.test")));
    assert!(why.contains("evil.test") && !why.contains("secret"), "{why}");
}

#[test]
fn given_no_tls_on_the_other_side_then_it_was_not_sent() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let server = serve(move |_, mut peer| {
            peer.take(5);
            peer.send(answer);
        });
        not_sent(post(&trusting_agent(), &url(&server, "api.test")));
    }
    let server = serve(|_, mut peer| {
        peer.take(5);
        peer.reset();
    });
    not_sent(post(&trusting_agent(), &url(&server, "api.test")));
}

#[test]
fn given_a_handshake_that_does_not_end_then_the_deadline_does_and_it_was_not_sent() {
    let silent = serve(|_, peer| peer.await_end());
    // A record that never gets whole.
    let slow = serve(|_, peer| peer.trickle([0x16, 3, 3, 0x3f, 0xff].into_iter().chain(std::iter::repeat_n(2, 4000))));
    for server in [silent, slow] {
        let start = Instant::now();
        not_sent(post_within(&trusting_agent(), &url(&server, "api.test"), SHORT));
        assert!(start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
    }
}

#[test]
fn given_the_connection_ends_after_the_request_then_the_outcome_is_unknown() {
    let server = serve(|_, peer| {
        let mut tls = accept(peer);
        assert!(request(&mut tls));
    });
    unknown(post(&trusting_agent(), &url(&server, "api.test")));
    let server = serve(|_, peer| {
        let mut tls = accept(peer);
        assert!(request(&mut tls));
        goodbye(&mut tls);
    });
    unknown(post(&trusting_agent(), &url(&server, "api.test")));
}

#[test]
fn a_body_that_ends_with_the_connection_ends_with_a_goodbye() {
    let server = serve(|n, peer| {
        let mut tls = accept(peer);
        assert!(request(&mut tls));
        tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"ok\":true}").unwrap();
        if n == 0 {
            goodbye(&mut tls);
        }
    });
    let agent = trusting_agent();
    assert_eq!(post(&agent, &url(&server, "api.test")).unwrap().body, b"{\"ok\":true}");
    unknown(post(&agent, &url(&server, "api.test")));
}

#[test]
fn given_an_answer_that_trickles_inside_a_record_then_the_deadline_ends_it() {
    let server = serve(|_, peer| {
        let sock = peer.sock.try_clone().unwrap();
        let mut tls = accept(peer);
        assert!(request(&mut tls));
        Peer::new(sock).trickle([0x17, 3, 3, 0x3f, 0xff].into_iter().chain(std::iter::repeat_n(2, 4000)));
    });
    let start = Instant::now();
    unknown(post_within(&trusting_agent(), &url(&server, "api.test"), SHORT));
    assert!(start.elapsed() < SHORT * 5, "{:?}", start.elapsed());
}

#[test]
fn given_the_server_said_goodbye_between_two_calls_then_the_second_goes_over_a_new_connection() {
    let (closed, wait_closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let server = serve(move |_, peer| {
        let mut tls = accept(peer);
        assert!(request(&mut tls));
        tls.write_all(OK.as_bytes()).unwrap();
        goodbye(&mut tls);
        closed.lock().unwrap().send(()).unwrap();
        // Still open below TLS.
        assert!(!request(&mut tls));
    });
    let agent = trusting_agent();
    for call in 1..=2 {
        post(&agent, &url(&server, "api.test")).unwrap();
        wait_closed.recv_timeout(PATIENCE).unwrap();
        assert_eq!(server.connections(), call);
    }
    drop(agent);
}

#[test]
fn a_ca_file_that_is_none_is_an_error_that_names_it() {
    for (file, what) in [("README.md", "holds no certificate"), ("none.pem", "No such file")] {
        let network = pi_gateway::config::types::Network { ca_file: Some(data(file).into()), ..network() };
        let why = Net::open(&network).err().unwrap();
        assert!(why.contains("network.caFile") && why.contains(file) && why.contains(what), "{why}");
    }
}
