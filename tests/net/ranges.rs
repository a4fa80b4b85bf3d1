//! The guard address by address (core.md 18 "SSRF guard"), over real connections: a proxy sees which addresses the
//! gateway would go to, and never a refused one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pi_gateway::config::types::SsrfGuard;
use pi_gateway::config::ProxySetting;
use pi_gateway::net::{Agent, Net, Purpose, Request, Resolver, Route};

use super::peer::*;

/// Range: first and last address, and the ones just outside if those are public.
#[rustfmt::skip]
const REFUSED: [(&str, [&str; 2], [&str; 2]); 30] = [
    ("0/8",             ["0.0.0.0",      "0.255.255.255"],   ["",                "1.0.0.0"]),
    ("10/8",            ["10.0.0.0",     "10.255.255.255"],  ["9.255.255.255",   "11.0.0.0"]),
    ("100.64/10",       ["100.64.0.0",   "100.127.255.255"], ["100.63.255.255",  "100.128.0.0"]),
    ("127/8",           ["127.0.0.0",    "127.255.255.255"], ["126.255.255.255", "128.0.0.0"]),
    ("169.254/16",      ["169.254.0.0",  "169.254.255.255"], ["169.253.255.255", "169.255.0.0"]),
    ("172.16/12",       ["172.16.0.0",   "172.31.255.255"],  ["172.15.255.255",  "172.32.0.0"]),
    ("192.0.0/24",      ["192.0.0.0",    "192.0.0.255"],     ["191.255.255.255", "192.0.1.0"]),
    ("192.0.2/24",      ["192.0.2.0",    "192.0.2.255"],     ["192.0.1.255",     "192.0.3.0"]),
    ("192.88.99/24",    ["192.88.99.0",  "192.88.99.255"],   ["192.88.98.255",   "192.88.100.0"]),
    ("192.168/16",      ["192.168.0.0",  "192.168.255.255"], ["192.167.255.255", "192.169.0.0"]),
    ("198.18/15",       ["198.18.0.0",   "198.19.255.255"],  ["198.17.255.255",  "198.20.0.0"]),
    ("198.51.100/24",   ["198.51.100.0", "198.51.100.255"],  ["198.51.99.255",   "198.51.101.0"]),
    ("203.0.113/24",    ["203.0.113.0",  "203.0.113.255"],   ["203.0.112.255",   "203.0.114.0"]),
    ("224/4",           ["224.0.0.0",    "239.255.255.255"], ["223.255.255.255", ""]),
    ("240/4",           ["240.0.0.0",    "255.255.255.254"], ["",                ""]),
    ("255.255.255.255", ["255.255.255.255", "255.255.255.255"], ["",             ""]),
    ("::",              ["::", "::"],                                            ["", ""]),
    ("::1",             ["::1", "::1"],                                          ["", ""]),
    ("::ffff:0:0/96",   ["::ffff:0.0.0.0", "::ffff:127.255.255.255"],            ["", "::ffff:128.0.0.0"]),
    ("64:ff9b::/96",    ["64:ff9b::a00:0", "64:ff9b::aff:ffff"],                 ["64:ff9b::9ff:ffff", "64:ff9b::b00:0"]),
    ("64:ff9b:1::/48",  ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],   ["64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::"]),
    ("2002::/16",       ["2002:c0a8::", "2002:c0a8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2002:c0a7:ffff:ffff:ffff:ffff:ffff:ffff", "2002:c0a9::"]),
    ("100::/64",        ["100::", "100::ffff:ffff:ffff:ffff"],                   ["ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100:0:0:1::"]),
    ("2001::/23",       ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],    ["2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"]),
    ("Teredo",          ["2001:0:4136:e378::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"], ["", ""]),
    ("2001:db8::/32",   ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"]),
    ("fc00::/7",        ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],   ["fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"]),
    ("fe80::/10",       ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],   ["fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""]),
    ("fec0::/10",       ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],   ["", ""]),
    ("ff00::/8",        ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],   ["", ""]),
];

/// What a proxy was asked for: the guarded agent goes through it, so that no address needs to exist.
struct Seen {
    agent: Agent,
    places: Arc<Mutex<Vec<String>>>,
    proxy: Server,
}

fn through_a_proxy(rules: SsrfGuard, resolver: Arc<Resolver>) -> Seen {
    let places = Arc::new(Mutex::new(Vec::new()));
    let seen = places.clone();
    let proxy = serve(move |_, mut peer| {
        let place = peer.head().split(' ').nth(1).unwrap().to_owned();
        seen.lock().unwrap().push(place);
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        peer.request();
        peer.send(OK);
    });
    let own = ProxySetting::parse(&format!("http://{}", proxy.addr)).unwrap();
    let route = Route::new(&network(), Some(&own)).unwrap();
    let agent = Net::with(&network(), resolver).unwrap().agent(Purpose::Files).route(route).guarded(rules).build();
    Seen { agent, places, proxy }
}

impl Seen {
    /// Where the gateway went for this URL.
    fn went(&self, url: &str) -> Option<String> {
        self.places.lock().unwrap().clear();
        let result = self.agent.fetch(&Request::get(url).within(PATIENCE), &mut Vec::new());
        let place = self.places.lock().unwrap().pop();
        assert_eq!(result.is_ok(), place.is_some(), "{url}: {result:?}");
        place
    }
}

fn literal(ip: IpAddr, port: &str) -> String {
    match ip {
        IpAddr::V4(ip) => format!("http://{ip}{port}/"),
        IpAddr::V6(ip) => format!("http://[{ip}]{port}/"),
    }
}

#[test]
fn every_range_is_refused_from_end_to_end_and_nothing_outside_as_an_address_and_as_a_names_address() {
    let now = Arc::new(Mutex::new(Ipv4Addr::LOCALHOST.into()));
    let answer = now.clone();
    let seen = through_a_proxy(rules(), Arc::new(Resolver::with(Box::new(move |_| Ok(vec![*answer.lock().unwrap()])))));
    let mut names = 0;
    let mut verdict = |address: &str, goes: bool, range: &str| {
        let ip: IpAddr = address.parse().unwrap();
        assert_eq!(seen.went(&literal(ip, "")).is_some(), goes, "{range}: {address}");
        *now.lock().unwrap() = ip;
        names += 1; // each its own, answers are kept
        assert_eq!(seen.went(&format!("http://n{names}.test/")).is_some(), goes, "{range}: a name at {address}");
    };
    for (range, ends, outside) in REFUSED {
        ends.iter().for_each(|address| verdict(address, false, range));
        outside.iter().filter(|a| !a.is_empty()).for_each(|address| verdict(address, true, range));
    }
    for public in ["1.1.1.1", "8.8.8.8", "149.154.167.220", "2606:4700::1111", "2001:67c:4e8:f004::9"] {
        verdict(public, true, "public");
    }
}

#[test]
fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself_in_every_range() {
    let seen = through_a_proxy(rules(), names(&[]).0);
    let inside = |ip: Ipv4Addr| {
        let [a, b, c, d] = ip.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 0),
            Ipv6Addr::new(0x2002, high, low, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff),
        ]
    };
    for (range, ends, outside) in REFUSED {
        for (addresses, goes) in [(ends, false), (outside, true)] {
            let v4 = addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok());
            for ip in v4.flat_map(inside) {
                assert_eq!(seen.went(&literal(ip.into(), "")).is_some(), goes, "{range}: {ip}");
            }
        }
    }
}

#[test]
fn other_spellings_ports_and_user_info() {
    let known: &[(&str, &[&str])] = &[("public.test", &["93.184.216.34"])];
    let seen = through_a_proxy(rules(), names(known).0);
    for host in [
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.1",
        "0177.0.0.1",
        "0177.0x0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "017700000001",
        "0",
        "10.1",
        "192.168.257",
        "0300.0250.0.1",
        "2852039166", // 169.254.169.254
        "4294967295",
        "4294967296", // no address, and no name either
        "256.256.256.256",
        "127.0.0.1.1",
        "1.2.3.4.5",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[fe80::1%25eth0]",
        "[::1",
        "localhost",
        "LocalHost.",
        "a.b.localhost",
    ] {
        assert_eq!(seen.went(&format!("http://{host}/")), None, "{host}");
    }
    for host in ["93.184.216.34", "0x5d.184.216.34", "1572395042", "public.test", "PUBLIC.test."] {
        assert_eq!(seen.went(&format!("http://{host}/")).as_deref(), Some("93.184.216.34:80"), "{host}");
    }
    for (port, goes) in [
        (":0", false),
        (":1", false),
        (":22", false),
        (":79", false),
        (":80", true),
        (":81", false),
        (":442", false),
        (":443", true),
        (":444", false),
        (":1023", false),
        (":1024", true),
        (":65535", true),
        (":65536", false),
        (":", false),
        (":-80", false),
        (":080", true),
    ] {
        assert_eq!(seen.went(&format!("http://public.test{port}/")).is_some(), goes, "{port}");
    }
    for url in [
        "http://user@public.test/",
        "http://user:password@public.test/",
        "http://@public.test/",
        "http://public.test@127.0.0.1/",
        "http://127.0.0.1#@public.test/",
        "http://127.0.0.1\\@public.test/",
        "http:public.test/",
        "//public.test/",
        "ws://public.test/",
        "ftp://public.test/",
        "file:///etc/passwd",
        "file://public.test/etc/passwd",
        "data:text/plain,x",
        "javascript:1",
        "gopher://public.test/",
        " http://public.test/",
        "http://public.test/\r\nX: y",
        "",
    ] {
        assert_eq!(seen.went(url), None, "{url:?}");
    }
    assert_eq!(seen.went("http://public.test/@127.0.0.1/").as_deref(), Some("93.184.216.34:80"), "of the path");
}

/// One private address among several, in any place, condemns the name.
#[test]
fn a_private_address_among_public_ones_is_enough_to_refuse() {
    let known: &[(&str, &[&str])] = &[
        ("first.test", &["10.0.0.1", "93.184.216.34"]),
        ("last.test", &["93.184.216.34", "8.8.8.8", "::1"]),
        ("middle.test", &["2606:4700::1111", "::ffff:169.254.169.254", "93.184.216.34"]),
        ("fine.test", &["93.184.216.34", "8.8.8.8"]),
    ];
    let seen = through_a_proxy(rules(), names(known).0);
    for name in ["first", "last", "middle"] {
        assert_eq!(seen.went(&format!("http://{name}.test/")), None, "{name}");
    }
    assert_eq!(seen.went("http://fine.test/").as_deref(), Some("93.184.216.34:80"));
}

#[test]
fn a_name_that_is_public_first_and_private_then_is_reached_at_the_address_that_was_checked() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = count.clone();
    let resolver = Resolver::with(Box::new(move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![if first { "93.184.216.34" } else { "127.0.0.1" }.parse().unwrap()])
    }));
    let seen = through_a_proxy(rules(), Arc::new(resolver));
    for _ in 0..3 {
        assert_eq!(seen.went("http://rebind.test/").as_deref(), Some("93.184.216.34:80"));
        seen.agent.drop_idle(); // the next one connects anew
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "one answer for check and connection");
    assert_eq!(seen.proxy.connections(), 3);
}

#[test]
fn a_socks_proxy_that_would_look_names_up_itself_is_asked_for_the_checked_address() {
    let proxy = super::proxies::socks(None, &[1, 93, 184, 216, 34, 0, 80], super::proxies::DONE);
    let known: &[(&str, &[&str])] = &[("public.test", &["93.184.216.34"]), ("private.test", &["192.168.0.1"])];
    let own = ProxySetting::parse(&format!("socks5h://{}", proxy.addr)).unwrap();
    let route = Route::new(&network(), Some(&own)).unwrap();
    let net = Net::with(&network(), names(known).0).unwrap();
    let agent = net.agent(Purpose::Files).route(route).guarded(rules()).build();
    let fetch = |url: &str| agent.fetch(&Request::get(url).within(PATIENCE), &mut Vec::new());
    assert_eq!(fetch("http://public.test/").unwrap().status, 200);
    for url in ["http://private.test/", "http://192.168.0.1/", "http://[fd00::1]/", "http://unknown.test/"] {
        fetch(url).unwrap_err();
    }
    assert_eq!(proxy.connections(), 1);
}
