//! Who may pass: host names, origins, secrets, cookies, cross-origin headers (gateway-api.md 2.2).

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::{digest, hmac};

use super::exchange::Reply;
use super::fault::Fault;
use super::head::Head;
use super::logins::{Logins, LIFE_MS};
use super::settings::{Auth, Cors, Settings};
use super::throttle::Throttle;
use crate::message::ProcId;

const COOKIE: &str = "pigw";

/// How a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Not at all.
    Nobody,
    /// Mode `off`.
    Open,
    /// `gateway.auth.localOpen`.
    Local,
    Bearer,
    Query,
    Cookie,
    /// A webhook's own token or signature.
    Hook,
    /// A pi process, at the agent door.
    Pi(ProcId),
}

impl Access {
    pub fn granted(self) -> bool {
        self != Access::Nobody
    }
    /// Part of an idempotency key's scope.
    pub fn class(self) -> &'static str {
        match self {
            Access::Nobody => "nobody",
            Access::Open => "open",
            Access::Local => "local",
            Access::Bearer | Access::Query => "secret",
            Access::Cookie => "cookie",
            Access::Hook => "hook",
            Access::Pi(_) => "pi",
        }
    }
}

/// Who is at the other end, with a trusted proxy's word taken into account (R36).
#[derive(Clone, Debug)]
pub struct Peer {
    pub addr: IpAddr,
    /// Loopback, and nobody forwarded it.
    pub local: bool,
    pub tls: bool,
    /// Host as the client named it.
    pub host: String,
}

const FORWARDING: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "via"];

impl Peer {
    pub fn of(addr: IpAddr, head: &Head, s: &Settings) -> Peer {
        let addr = addr.to_canonical();
        let forwarded = FORWARDING.iter().any(|f| head.field(f).is_some());
        let trusts = |ip: IpAddr| s.trusted_proxies.iter().any(|n| n.holds(ip));
        let mut peer = Peer { addr, local: addr.is_loopback() && !forwarded, tls: false, host: head.host.clone() };
        if forwarded && trusts(addr) {
            let named: Vec<&str> = head.all("x-forwarded-for").flat_map(|v| v.split(',')).map(str::trim).collect();
            let hops = named.iter().rev().map_while(|h| h.parse().ok());
            if let Some(ip) = hops.map(|ip: IpAddr| ip.to_canonical()).find(|ip| !trusts(*ip)) {
                peer.addr = ip;
            }
            peer.tls = head.field("x-forwarded-proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
            if let Some(host) = head.field("x-forwarded-host") {
                peer.host = host.to_owned();
            }
        }
        peer
    }
}

/// Equal, in a time that tells nothing about where they differ (R34).
pub fn same(a: &str, b: &str) -> bool {
    let digest = |t: &str| digest::digest(&digest::SHA256, t.as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, digest(a).as_ref(), hmac::sign(&key, digest(b).as_ref()).as_ref()).is_ok()
}

pub fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// `Bearer x` in any case, or the bare secret.
pub fn bearer(value: &str) -> &str {
    match value.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim(),
        _ => value,
    }
}

fn cookie(head: &Head) -> Option<&str> {
    let pairs = head.all("cookie").flat_map(|c| c.split(';')).filter_map(|c| c.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).next()
}

/// Somebody opens the page in a browser.
fn navigates(head: &Head) -> bool {
    head.path == "/" && !head.wants_websocket() && head.field("accept").is_some_and(|a| a.contains("text/html"))
}

#[derive(Debug, Default)]
pub struct Guard {
    logins: Logins,
    throttle: Throttle,
}

impl Guard {
    pub fn new(s: &Settings) -> Guard {
        Guard { logins: Logins::load(s.logins_file.as_deref()), throttle: Throttle::default() }
    }

    /// Compares a secret and counts a wrong one.
    pub fn check(&self, s: &Settings, ip: IpAddr, presented: &str) -> Result<(), Fault> {
        let Some(expected) = s.auth.secret() else { return Ok(()) };
        self.patient(ip)?;
        if same(presented, expected) {
            return Ok(());
        }
        Err(self.wrong(s, ip))
    }

    /// Whether this address may try a secret now.
    pub fn patient(&self, ip: IpAddr) -> Result<(), Fault> {
        match self.throttle.locked(ip, Instant::now()) {
            None => Ok(()),
            Some(seconds) => {
                let why = "Too many wrong secrets from this address; try again later";
                Err(Fault::new(429, "rate_limited", why).retry(seconds))
            }
        }
    }

    /// Counts a wrong secret, and takes its time.
    pub fn wrong(&self, s: &Settings, ip: IpAddr) -> Fault {
        self.throttle.failed(ip, Instant::now());
        if ip.is_loopback() {
            std::thread::sleep(s.times.wrong);
        }
        Fault::unauthorized()
    }

    /// How this request is let in. A secret that is presented but wrong is an error, except in a browser's address.
    pub fn access(&self, s: &Settings, head: &Head, peer: &Peer) -> Result<Access, Fault> {
        let Some(expected) = s.auth.secret() else { return Ok(Access::Open) };
        if let Some(value) = head.field("authorization") {
            return self.check(s, peer.addr, bearer(value)).map(|()| Access::Bearer);
        }
        let read = matches!(&*head.method, "GET" | "HEAD");
        let by_query = head.wants_websocket() || read && (head.path == "/" || head.path.starts_with("/api/"));
        if let Some(token) = head.param("token").filter(|_| by_query) {
            match self.check(s, peer.addr, &token) {
                // A person with an old link: the page asks for the new token.
                Err(wrong) if wrong.status == 401 && navigates(head) => {}
                checked => return checked.map(|()| Access::Query),
            }
        }
        if cookie(head).is_some_and(|id| self.logins.valid(id, expected, wall())) {
            return Ok(Access::Cookie);
        }
        if s.local_open && peer.local && head.field("origin").is_none() {
            return Ok(Access::Local);
        }
        Ok(Access::Nobody)
    }

    /// `Set-Cookie` of a new login.
    pub fn login(&self, s: &Settings, peer: &Peer) -> Option<String> {
        let id = self.logins.open(s.auth.secret()?, wall());
        let secure = if peer.tls { "; Secure" } else { "" };
        Some(format!("{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", LIFE_MS / 1000))
    }

    /// `Set-Cookie` that ends a login.
    pub fn logout(&self, head: &Head) -> String {
        if let Some(id) = cookie(head) {
            self.logins.close(id);
        }
        format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")
    }
}

/// DNS rebinding: the name must be one of ours (R31).
pub fn host(s: &Settings, peer: &Peer, head: &Head) -> Result<(), Fault> {
    if head.http10 && peer.host.is_empty() {
        return Ok(());
    }
    let name = host_name(&peer.host).to_ascii_lowercase();
    let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let ours = name == "localhost"
        || name.ends_with(".localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || name == machine
        || name == format!("{machine}.local")
        || name == machine.trim_end_matches(".local");
    if ours || s.allowed_hosts.iter().any(|h| h == "*" || h.eq_ignore_ascii_case(&name)) {
        return Ok(());
    }
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    Err(Fault::new(421, "host_not_allowed", format!("Host not allowed: add \"{name}\" to gateway.allowedHosts")))
}

/// Without the port.
fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') && host[at + 1..].bytes().all(|b| b.is_ascii_digit()) => &host[..at],
        _ => host,
    }
}

fn own_origin(origin: &str, peer: &Peer) -> bool {
    ["http://", "https://"].iter().any(|s| origin.strip_prefix(s).is_some_and(|h| h.eq_ignore_ascii_case(&peer.host)))
}

fn listed(s: &Settings, origin: &str) -> bool {
    s.allowed_origins.iter().any(|o| o.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

/// Pages of others must not act in the user's name (R32, R29).
pub fn origin(s: &Settings, head: &Head, peer: &Peer, access: Access) -> Result<(), Fault> {
    let acts = !matches!(&*head.method, "GET" | "HEAD" | "OPTIONS");
    match head.field("origin") {
        _ if !acts && !head.wants_websocket() => Ok(()),
        None if acts && access == Access::Cookie => {
            Err(Fault::new(403, "origin_not_allowed", "A request with a cookie needs an Origin header"))
        }
        None => Ok(()),
        Some(o) if own_origin(o, peer) || listed(s, o) => Ok(()),
        Some(_) if matches!(access, Access::Bearer | Access::Hook) => Ok(()),
        Some(o) => {
            let o: String = o.chars().filter(|c| !c.is_control()).take(200).collect();
            let why = format!("Origin not allowed: add \"{o}\" to gateway.allowedOrigins");
            Err(Fault::new(403, "origin_not_allowed", why))
        }
    }
}

/// Adds the headers that let other pages read the answer (R33).
pub fn cors(s: &Settings, head: &Head, access: Access, status: u16) -> Vec<(&'static str, String)> {
    let Some(origin) = head.field("origin") else { return Vec::new() };
    let mut out = Vec::new();
    let preflight = head.method == "OPTIONS";
    let by_key = matches!(access, Access::Bearer | Access::Query);
    let harmless = preflight || matches!(status, 401 | 403 | 404 | 429) || status >= 500;
    let guarded = s.auth != Auth::Off && !s.local_open && access != Access::Cookie;
    if listed(s, origin) {
        out.push(("Access-Control-Allow-Origin", origin.to_owned()));
        out.push(("Vary", "Origin".into()));
    } else if s.cors == Cors::Bearer && (by_key || harmless && guarded) {
        out.push(("Access-Control-Allow-Origin", "*".into()));
    } else {
        return out;
    }
    out.push(("Access-Control-Expose-Headers", "X-Request-Id, Retry-After".into()));
    if preflight {
        out.push(("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS".into()));
        let allowed = "Content-Type, Authorization, Idempotency-Key, X-Request-Id, Last-Event-ID";
        out.push(("Access-Control-Allow-Headers", allowed.into()));
        out.push(("Access-Control-Max-Age", "86400".into()));
    }
    out
}

/// Headers every answer has (R61).
pub fn secure(reply: &mut Reply) {
    let page = reply.headers.iter().any(|(n, v)| *n == "Content-Type" && v.starts_with("text/html"));
    let mut add = |name: &'static str, value: &str| {
        if !reply.has(name) {
            reply.headers.push((name, value.into()));
        }
    };
    add("X-Content-Type-Options", "nosniff");
    add("Referrer-Policy", "no-referrer");
    add("Cache-Control", "no-store");
    if page {
        add("X-Frame-Options", "DENY");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head;
    use crate::http::settings::Net;

    fn request(fields: &str) -> Head {
        head::parse(format!("GET /api/x HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn hosts_of_this_machine_pass_and_others_are_told_the_setting() {
        let s = Settings { allowed_hosts: vec!["pi.example".into()], ..Settings::default() };
        for (name, fine) in [
            ("localhost:52134", true),
            ("a.localhost", true),
            ("192.168.1.5:1", true),
            ("[::1]:80", true),
            ("PI.example", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let h = request(&format!("Host: {name}\r\n"));
            let peer = Peer::of("127.0.0.1".parse().unwrap(), &h, &s);
            assert_eq!(host(&s, &peer, &h).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_client() {
        let s = Settings { trusted_proxies: vec![Net::parse("10.0.0.0/8").unwrap()], ..Settings::default() };
        let h = request("Host: a\r\nX-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.0.0.2\r\nX-Forwarded-Proto: https\r\n");
        let through = Peer::of("10.0.0.1".parse().unwrap(), &h, &s);
        assert_eq!((through.addr.to_string().as_str(), through.tls), ("9.9.9.9", true));
        let direct = Peer::of("127.0.0.1".parse().unwrap(), &h, &s);
        assert!(direct.addr.is_loopback() && !direct.local && !direct.tls);
    }
}
