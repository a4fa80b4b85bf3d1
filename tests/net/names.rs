//! Names: the cache, hanging lookups, several addresses.

use std::collections::HashSet;
use std::io;
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};

use pi_gateway::net::{Net, Purpose, Resolver};

use super::peer::*;

fn ok(_: usize, mut peer: Peer) {
    peer.request();
    peer.send(OK);
}

#[test]
fn a_name_is_looked_up_once_a_minute() {
    let server = serve(ok);
    let (resolver, asked) = names(&[("a.test", &["127.0.0.1"])]);
    let net = Net::with(&network(), resolver).unwrap();
    for _ in 0..3 {
        let agent = net.agent(Purpose::Send).build();
        post(&agent, &format!("http://A.test.:{}/", server.addr.port())).unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), ["a.test"]);
}

#[test]
fn a_failed_lookup_is_not_kept() {
    let (resolver, asked) = names(&[]);
    let agent = Net::with(&network(), resolver).unwrap().agent(Purpose::Send).build();
    for _ in 0..2 {
        not_sent(post(&agent, "http://a.test/"));
    }
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn c31_given_a_lookup_hangs_then_only_those_who_need_that_name_wait_and_no_further_threads_come() {
    let (end, hang) = mpsc::channel::<()>();
    let hang = Mutex::new(hang);
    let threads = Arc::new(Mutex::new((0, HashSet::new())));
    let seen = threads.clone();
    let resolver = Resolver::with(Box::new(move |name| {
        {
            let mut seen = seen.lock().unwrap();
            seen.1.insert(std::thread::current().id());
            if name == "hang.test" {
                seen.0 += 1;
            }
        }
        if name == "hang.test" {
            let _ = hang.lock().unwrap().recv();
            return Err(io::Error::other("at last"));
        }
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }));
    let server = serve(ok);
    let net = Net::with(&network(), Arc::new(resolver)).unwrap();
    let agent = net.agent(Purpose::Send).build();
    std::thread::scope(|s| {
        for _ in 0..20 {
            s.spawn(|| not_sent(post_within(&agent, "http://hang.test/", SHORT)));
        }
        let start = Instant::now();
        for n in 0..20 {
            post(&agent, &format!("http://other{n}.test:{}/", server.addr.port())).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    });
    let seen = threads.lock().unwrap();
    assert_eq!(seen.0, 1, "the name was asked for once");
    assert!(seen.1.len() <= 3, "{:?}", seen.1);
    drop(end);
}

#[test]
fn given_all_lookups_hang_then_the_queue_has_an_end() {
    let (end, hang) = mpsc::channel::<()>();
    let hang = Mutex::new(hang);
    let resolver = Resolver::with(Box::new(move |_| {
        let _ = hang.lock().unwrap().recv();
        Err(io::Error::other("at last"))
    }));
    let agent = Net::with(&network(), Arc::new(resolver)).unwrap().agent(Purpose::Send).build();
    let whys = std::thread::scope(|s| {
        let call = |n| not_sent(post_within(&agent, &format!("http://h{n}.test/"), SHORT));
        let calls: Vec<_> = (0..60).map(|n| s.spawn(move || call(n))).collect();
        calls.into_iter().map(|c| c.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(whys.iter().any(|why| why.contains("too many names wait")));
    drop(end);
}

#[test]
fn a_lookup_that_panics_is_an_error_and_the_next_one_works() {
    let first = Mutex::new(true);
    let resolver = Resolver::with(Box::new(move |_| {
        assert!(!std::mem::take(&mut *first.lock().unwrap_or_else(|e| e.into_inner())), "boom");
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }));
    let server = serve(ok);
    let agent = Net::with(&network(), Arc::new(resolver)).unwrap().agent(Purpose::Send).build();
    let url = format!("http://a.test:{}/", server.addr.port());
    not_sent(post(&agent, &url));
    post(&agent, &url).unwrap();
}

#[test]
fn given_the_first_address_swallows_packets_then_the_second_is_tried_beside_it() {
    let server = serve(ok);
    let hole = black_hole(format!("127.0.0.2:{}", server.addr.port()).parse().unwrap());
    let agent = net(&[("two.test", &["127.0.0.2", "127.0.0.1"])]).agent(Purpose::Send).build();
    let start = Instant::now();
    post(&agent, &format!("http://two.test:{}/", hole.addr.port())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(server.connections(), 1);
}

#[test]
fn given_the_first_addresses_refuse_then_the_last_is_used() {
    let server = serve(ok);
    let agent = net(&[("many.test", &["::1", "127.0.0.3", "127.0.0.2", "127.0.0.1"])]).agent(Purpose::Send).build();
    post(&agent, &format!("http://many.test:{}/", server.addr.port())).unwrap();
}

#[test]
fn force_ipv4_leaves_ipv6_addresses_alone() {
    let server = serve_at("[::1]:0".parse().unwrap(), ok);
    let net = net(&[("six.test", &["::1"])]);
    let url = format!("http://six.test:{}/", server.addr.port());
    post(&net.agent(Purpose::Send).build(), &url).unwrap();
    let why = not_sent(post(&net.agent(Purpose::Send).force_ipv4(true).build(), &url));
    assert!(why.contains("no IPv4 address"), "{why}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_systems_names_work() {
    let server = serve(ok);
    let net = Net::open(&network()).unwrap();
    let agent = net.agent(Purpose::Send).build();
    post(&agent, &format!("http://localhost:{}/", server.addr.port())).unwrap();
}
