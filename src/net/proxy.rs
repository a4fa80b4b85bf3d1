//! Proxies: which one serves a host, and the handshakes of HTTP CONNECT (RFC 9110 9.3.6) and SOCKS5 (RFC 1928, 1929).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::target::{self, Host, Target};
use crate::config::types::Network;
use crate::config::ProxySetting;

/// The longest answer of an HTTP proxy that is read.
const HEAD: usize = 8 << 10;

/// How an account's connections leave: its proxies and the hosts that need none.
#[derive(Clone, Default)]
pub struct Route {
    http: Option<Proxy>,
    https: Option<Proxy>,
    network: Option<Network>,
}

impl Route {
    /// Always directly.
    pub fn direct() -> Route {
        Route::default()
    }

    /// `own`: the account's or channel's `proxy`. The error names no password.
    pub fn new(network: &Network, own: Option<&ProxySetting>) -> Result<Route, String> {
        let proxy = |scheme| network.proxy_for(scheme, own).map(|url| Proxy::parse(&url)).transpose();
        Ok(Route { http: proxy("http")?, https: proxy("https")?, network: Some(network.clone()) })
    }

    pub(super) fn proxy(&self, target: &Target) -> Option<&Proxy> {
        let proxy = if target.tls { &self.https } else { &self.http };
        let direct = |network: &Network| network.is_direct(&target.host.to_string());
        proxy.as_ref().filter(|_| !self.network.as_ref().is_some_and(direct))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Http,
    /// Names are looked up here.
    Socks5,
    /// Names are looked up by the proxy.
    Socks5h,
}

#[derive(Clone, PartialEq)]
pub(super) struct Proxy {
    pub kind: Kind,
    pub host: Host,
    pub port: u16,
    /// User and password, decoded.
    login: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}:{}", self.host, self.port)
    }
}

impl Proxy {
    pub(super) fn parse(url: &str) -> Result<Proxy, String> {
        // Without the value in every error: it may hold a password.
        let wrong = |what: &str| format!("the proxy's URL {what}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (kind, default) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "socks5" => (Kind::Socks5, 1080),
            "socks5h" => (Kind::Socks5h, 1080),
            _ => return Err(wrong("must start with http://, socks5:// or socks5h://")),
        };
        // A password may hold anything: the last @ counts.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|p| *p > 0).ok_or_else(|| wrong("has a wrong port"))?)
            }
            _ => (authority, default),
        };
        let host = target::host(host).map_err(|_| wrong("names no usable host"))?;
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (decode(user), decode(password))
        });
        if login.as_ref().is_some_and(|(u, p)| kind != Kind::Http && (u.is_empty() || u.len() > 255 || p.len() > 255)) {
            return Err(wrong("has a user or password that SOCKS5 cannot carry"));
        }
        Ok(Proxy { kind, host, port, login })
    }

    /// Asks the proxy for a connection to a target, over a connection to the proxy. `address`: where it is, if that was
    /// looked up here. Errors say what went wrong, not where.
    pub(super) fn open(&self, via: &mut (impl Read + Write), to: &Target, address: Option<IpAddr>) -> io::Result<()> {
        match self.kind {
            Kind::Http => self.tunnel(via, to, address),
            Kind::Socks5 | Kind::Socks5h => self.socks(via, to, address),
        }
    }

    fn tunnel(&self, via: &mut (impl Read + Write), to: &Target, address: Option<IpAddr>) -> io::Result<()> {
        let place = match address {
            Some(ip) => SocketAddr::new(ip, to.port).to_string(),
            None => to.to_string(),
        };
        let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some((user, password)) = &self.login {
            let login = STANDARD.encode([user, &b":"[..], password].concat());
            head.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
        }
        head.push_str("\r\n");
        via.write_all(head.as_bytes())?;
        // Byte by byte: what follows the empty line belongs to the target.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            via.read_exact(&mut byte).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::other("it closed the connection instead of answering"),
                _ => e,
            })?;
            answer.push(byte[0]);
            if answer.len() > HEAD {
                return Err(io::Error::other("its answer has no end"));
            }
        }
        let line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
        let mut words = line.split(|b| *b == b' ');
        let version = words.next().is_some_and(|v| v.starts_with(b"HTTP/1."));
        let status = words.next().and_then(|s| std::str::from_utf8(s).ok()?.parse::<u16>().ok());
        match status.filter(|_| version) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(io::Error::other("it wants another user or password (407)")),
            Some(status) => Err(io::Error::other(format!("it refused with status {status}"))),
            None => Err(io::Error::other("it does not speak HTTP")),
        }
    }

    fn socks(&self, via: &mut (impl Read + Write), to: &Target, address: Option<IpAddr>) -> io::Result<()> {
        let methods: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        via.write_all(methods)?;
        let mut two = [0; 2];
        via.read_exact(&mut two)?;
        match (two, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                // Lengths fit: checked when it was parsed.
                let mut login = vec![1, user.len() as u8];
                login.extend_from_slice(user);
                login.push(password.len() as u8);
                login.extend_from_slice(password);
                via.write_all(&login)?;
                via.read_exact(&mut two)?;
                if two[1] != 0 {
                    return Err(io::Error::other("it refused user and password"));
                }
            }
            ([5, _], _) => return Err(io::Error::other("it wants another way to log in")),
            _ => return Err(io::Error::other("it does not speak SOCKS5")),
        }
        let mut ask = vec![5, 1, 0];
        match address.map_or_else(|| to.host.clone(), Host::Ip) {
            Host::Ip(ip) => match ip {
                IpAddr::V4(ip) => {
                    ask.push(1);
                    ask.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    ask.push(4);
                    ask.extend(ip.octets());
                }
            },
            Host::Name(name) => {
                // A name has at most 253 bytes (target.rs).
                ask.extend([3, name.len() as u8]);
                ask.extend(name.as_bytes());
            }
        }
        ask.extend(to.port.to_be_bytes());
        via.write_all(&ask)?;
        let mut reply = [0; 4];
        via.read_exact(&mut reply)?;
        if reply[1] != 0 {
            let why = match reply[1] {
                2 => "its rules do not allow it",
                3 => "network unreachable",
                4 => "host unreachable",
                5 => "connection refused",
                6 => "time is over",
                _ => "general failure",
            };
            return Err(io::Error::other(format!("it refused: {why} ({})", reply[1])));
        }
        let bound = match reply[3] {
            1 => 4,
            4 => 16,
            3 => {
                let mut length = [0];
                via.read_exact(&mut length)?;
                length[0] as usize
            }
            _ => return Err(io::Error::other("it does not speak SOCKS5")),
        };
        via.read_exact(&mut [0; 257][..bound + 2])
    }
}

/// `%41` to `A`; what is no escape stays.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|h| bytes[at] == b'%' && h.iter().all(u8::is_ascii_hexdigit));
        let escaped = hex.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls() {
        let p = Proxy::parse("http://us%40er:p%3a:@@proxy.lan:3128/").unwrap();
        assert_eq!((p.kind, p.host.to_string().as_str(), p.port), (Kind::Http, "proxy.lan", 3128));
        assert_eq!(p.login, Some((b"us@er".to_vec(), b"p::@".to_vec())));
        assert_eq!(p.to_string(), "the proxy proxy.lan:3128");
        let p = Proxy::parse("socks5h://[::1]").unwrap();
        assert_eq!((p.kind, p.host.to_string().as_str(), p.port), (Kind::Socks5h, "[::1]", 1080));
        for url in ["https://h", "http://u:hush@h:0", "http://u:hush@", "socks5://:hush@h", "http://u:hush@a b:1"] {
            let why = Proxy::parse(url).err().unwrap();
            assert!(!why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn escapes_of_a_password() {
        for (text, decoded) in [("%41b%", "Ab%"), ("%4", "%4"), ("%zz", "%zz"), ("100%25", "100%")] {
            assert_eq!(decode(text), decoded.as_bytes(), "{text}");
        }
    }
}
