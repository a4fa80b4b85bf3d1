//! The guard against requests to private places (SSRF), for URLs that come from users, agents or remote content
//! (core.md 18). Pure: addresses and URLs in, a verdict out. The agent applies it to the addresses it connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::target::{self, Host, Target};
use crate::config::types::SsrfGuard;

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Public,
    /// This machine: 127/8 and ::1.
    Localhost,
    /// A network of one's own: 10/8, 100.64/10, 172.16/12, 192.168/16, fc00::/7, fec0::/10.
    Private,
    /// Link-local (where clouds keep their metadata), multicast, documentation, tunnels and other special ranges: no
    /// setting allows them.
    Special,
}

/// Judges one address.
pub fn place(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> Place {
    const RANGES: [(u32, u32, Place); 15] = [
        range4(0, 0, 0, 8, Place::Special),
        range4(10, 0, 0, 8, Place::Private),
        range4(100, 64, 0, 10, Place::Private),
        range4(127, 0, 0, 8, Place::Localhost),
        range4(169, 254, 0, 16, Place::Special),
        range4(172, 16, 0, 12, Place::Private),
        range4(192, 0, 0, 24, Place::Special),
        range4(192, 0, 2, 24, Place::Special),
        range4(192, 88, 99, 24, Place::Special),
        range4(192, 168, 0, 16, Place::Private),
        range4(198, 18, 0, 15, Place::Special),
        range4(198, 51, 100, 24, Place::Special),
        range4(203, 0, 113, 24, Place::Special),
        range4(224, 0, 0, 4, Place::Special),
        range4(240, 0, 0, 4, Place::Special),
    ];
    let bits = u32::from(ip);
    let found = RANGES.iter().find(|(net, free, _)| bits & !free == *net);
    found.map_or(Place::Public, |(_, _, place)| *place)
}

/// Network, mask of the free bits, place.
const fn range4(a: u8, b: u8, c: u8, prefix: u32, place: Place) -> (u32, u32, Place) {
    (u32::from_be_bytes([a, b, c, 0]), u32::MAX >> prefix, place)
}

fn place_v6(ip: Ipv6Addr) -> Place {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| place_v4(Ipv4Addr::from((high as u32) << 16 | low as u32));
    match s {
        _ if ip == Ipv6Addr::LOCALHOST => Place::Localhost,
        // ::, and ::a.b.c.d, which was an IPv4 address once.
        [0, 0, 0, 0, 0, 0, ..] => Place::Special,
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => Place::Special,
        [0x2002, high, low, ..] => embedded(high, low),
        [0x100, 0, 0, 0, ..] => Place::Special,
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => Place::Special,
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Place::Private,
        [first, ..] if first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00 => Place::Special,
        _ => Place::Public,
    }
}

/// Whether the rules let an address be connected to. The error is for a person.
pub fn check_address(ip: IpAddr, rules: &SsrfGuard) -> Result<(), String> {
    let (allowed, kind) = match place(ip) {
        Place::Public => (true, ""),
        Place::Localhost => (rules.allow_localhost, "this machine (security.ssrf.allowLocalhost)"),
        Place::Private => (rules.allow_private, "a private network (security.ssrf.allowPrivate)"),
        Place::Special => (false, "no public address"),
    };
    if allowed {
        return Ok(());
    }
    Err(format!("{ip} is {kind}: refused"))
}

/// Whether the rules let a URL be fetched, as far as it can be told without a lookup: scheme, user info, port, host
/// lists, addresses in any spelling. The addresses of a name are checked when it is connected to.
pub fn check_url(url: &str, rules: &SsrfGuard) -> Result<Target, String> {
    let (_, target) = target::parse(url)?;
    check_target(&target, rules)?;
    Ok(target)
}

pub(super) fn check_target(target: &Target, rules: &SsrfGuard) -> Result<(), String> {
    if !matches!(target.port, 80 | 443 | 1024..) {
        return Err(format!("port {} is refused: only 80, 443 and from 1024 up", target.port));
    }
    let host = target.host.to_string();
    let host = host.trim_matches(['[', ']']);
    let listed = |list: &[String]| list.iter().any(|entry| covers(entry, host));
    if listed(&rules.blocked_hosts) {
        return Err(format!("{host} is blocked by security.ssrf.blockedHosts"));
    }
    if !rules.allowed_hosts.is_empty() && !listed(&rules.allowed_hosts) {
        return Err(format!("{host} is not in security.ssrf.allowedHosts"));
    }
    match &target.host {
        Host::Ip(ip) => check_address(*ip, rules),
        Host::Name(name) if is_local_name(name) && !rules.allow_localhost => {
            Err(format!("{name} is this machine (security.ssrf.allowLocalhost): refused"))
        }
        Host::Name(_) => Ok(()),
    }
}

fn is_local_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// `*.example.com` covers subdomains and the apex, everything else itself.
fn covers(entry: &str, host: &str) -> bool {
    let entry = entry.trim().trim_end_matches('.').to_ascii_lowercase();
    match entry.strip_prefix("*.") {
        Some(apex) => host == apex || host.strip_suffix(apex).is_some_and(|sub| sub.ends_with('.')),
        None => entry == "*" || host == entry.trim_matches(['[', ']']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Place::*;

    #[test]
    fn every_range_is_refused_from_its_first_to_its_last_address_and_no_further() {
        #[rustfmt::skip]
        let v4 = [
            ("0.0.0.0", "0.255.255.255", Special), ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", Private), ("127.0.0.0", "127.255.255.255", Localhost),
            ("169.254.0.0", "169.254.255.255", Special), ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.255", Special), ("192.0.2.0", "192.0.2.255", Special),
            ("192.88.99.0", "192.88.99.255", Special), ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Special), ("198.51.100.0", "198.51.100.255", Special),
            ("203.0.113.0", "203.0.113.255", Special), ("224.0.0.0", "255.255.255.255", Special),
        ];
        let mut edges = Vec::new();
        for (first, last, kind) in v4 {
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(place(first.into()), kind, "{first}");
            assert_eq!(place(last.into()), kind, "{last}");
            edges.extend(u32::from(first).checked_sub(1).map(Ipv4Addr::from));
            edges.extend(u32::from(last).checked_add(1).map(Ipv4Addr::from));
        }
        for edge in edges {
            assert_eq!(place(edge.into()), Public, "{edge}");
        }
        #[rustfmt::skip]
        let v6 = [
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Special),
            ("100::", "100::ffff:ffff:ffff:ffff", Special),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("::", "::", Special), ("::1", "::1", Localhost), ("::2", "::2", Special),
        ];
        for (first, last, kind) in v6 {
            assert_eq!(place(first.parse().unwrap()), kind, "{first}");
            assert_eq!(place(last.parse().unwrap()), kind, "{last}");
        }
        for public in [
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "fbff::1",
            "2000::",
            "64:ff9a:ffff::",
            "100:0:0:1::",
            "64:ff9b:2::",
            "2606:4700::1111",
            "1.1.1.1",
            "149.154.167.220",
            "2001:67c:4e8:f004::9",
        ] {
            assert_eq!(place(public.parse().unwrap()), Public, "{public}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_for_itself() {
        for (inner, kind) in
            [("127.0.0.1", Localhost), ("10.1.2.3", Private), ("169.254.169.254", Special), ("1.1.1.1", Public)]
        {
            let v4: Ipv4Addr = inner.parse().unwrap();
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for v6 in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert_eq!(place(v6.into()), kind, "{v6}");
            }
        }
    }

    fn rules() -> SsrfGuard {
        SsrfGuard {
            allow_private: false,
            allow_localhost: false,
            allowed_hosts: Vec::new(),
            blocked_hosts: Vec::new(),
            max_redirects: 3,
        }
    }

    #[test]
    fn urls_of_private_places_are_refused_however_they_are_written() {
        for url in [
            "http://127.0.0.1:8080/",
            "http://2130706433:8080/",
            "http://0x7f.1/",
            "http://0177.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:7f00:1::]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://x.localhost/",
            "http://169.254.169.254/latest/meta-data",
            "http://0/",
            "http://192.168.1/",
            "http://user@example.com/",
            "http://example.com:22/",
            "http://example.com:25/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://example.com:1023/",
            "http://255.255.255.255/",
            "gopher://x/",
            "http://[fe80::1]/",
        ] {
            assert!(check_url(url, &rules()).is_err(), "{url}");
        }
        for url in
            ["http://example.com/", "https://example.com:8443/x", "http://1.1.1.1/", "https://[2606:4700::1111]/"]
        {
            assert!(check_url(url, &rules()).is_ok(), "{url}");
        }
    }

    #[test]
    fn lists_and_switches_of_the_configuration() {
        let mut r = rules();
        r.allowed_hosts = vec!["*.example.com".into(), "10.0.0.1".into()];
        r.blocked_hosts = vec!["bad.example.com".into()];
        for (url, allowed) in [
            ("http://example.com/", true),
            ("http://a.EXAMPLE.com./", true),
            ("http://bad.example.com/", false),
            ("http://badexample.com/", false),
            ("http://other.org/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(check_url(url, &r).is_ok(), allowed, "{url}");
        }
        r.allow_private = true;
        assert!(check_url("http://10.0.0.1/", &r).is_ok());
        let mut r = rules();
        r.allow_private = true;
        assert!(check_url("http://127.0.0.1/", &r).is_err());
        assert!(check_url("http://169.254.169.254/", &r).is_err(), "metadata stays out of reach");
        r.allow_localhost = true;
        assert!(check_url("http://127.0.0.1/", &r).is_ok());
        assert!(check_url("http://localhost/", &r).is_ok());
    }
}
