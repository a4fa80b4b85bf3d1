//! Where a URL leads: parsed once and strictly, so that what is checked is what is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

/// The place a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, without a dot at the end.
    Name(String),
    Ip(IpAddr),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// `host:port`, as in an authority.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Reads a URL. What must be written with `%` in a path is, the host has to be plain.
pub(super) fn parse(url: &str) -> Result<(Uri, Target), String> {
    const ESCAPED: &[u8] = b" \"<>\\^`{|}";
    if url.len() > 8192 || url.bytes().any(|b| b.is_ascii_control()) {
        return Err("the URL is too long or holds control characters".into());
    }
    let mut plain = String::with_capacity(url.len());
    for b in url.bytes() {
        match b {
            b if b >= 0x80 || ESCAPED.contains(&b) => plain.push_str(&format!("%{b:02X}")),
            b => plain.push(b.into()),
        }
    }
    let uri = Uri::try_from(plain).map_err(|e| format!("not a URL: {e}"))?;
    let target = of(&uri)?;
    Ok((uri, target))
}

/// Where a parsed URL leads.
pub(super) fn of(uri: &Uri) -> Result<Target, String> {
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("the URL must start with http:// or https://".into()),
    };
    let authority = uri.authority().ok_or("the URL names no host")?;
    if authority.as_str().contains('@') {
        return Err("user and password in a URL are not allowed".into());
    }
    let host = host(authority.host())?;
    let port = match authority.as_str().rsplit_once(':') {
        // The colons of [::1] are not a port's.
        Some((_, port)) if !port.ends_with(']') => match port.parse() {
            Ok(port) if port > 0 && port_is_plain(authority.as_str()) => port,
            _ => return Err("the URL's port is not a number from 1 to 65535".into()),
        },
        _ => [80, 443][tls as usize],
    };
    Ok(Target { tls, host, port })
}

fn port_is_plain(authority: &str) -> bool {
    authority.rsplit(':').next().is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// Reads a host as the system would: `[v6]`, a name, or one of the ways to write an IPv4 address.
pub(super) fn host(text: &str) -> Result<Host, String> {
    if let Some(v6) = text.strip_prefix('[') {
        let v6 = v6.strip_suffix(']').and_then(|v6| v6.parse::<Ipv6Addr>().ok());
        return v6.map(|ip| Host::Ip(ip.into())).ok_or_else(|| "the URL's IPv6 address is not one".into());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if name.is_empty() || name.len() > 253 || name.split('.').any(str::is_empty) || !is_name(&name) {
        return Err("the URL's host is not a plain name (write international names in their xn-- form)".into());
    }
    match ipv4(&name) {
        Some(Some(ip)) => Ok(Host::Ip(ip.into())),
        Some(None) => Err("the URL's host looks like an IPv4 address but is none".into()),
        None => Ok(Host::Name(name)),
    }
}

/// `inet_aton`, which the system's resolver applies to names: one to four numbers, each decimal, octal or hex, the last
/// fills what is left. `None`: a name. `Some(None)`: ends in a number and is no address (such a name cannot exist).
fn ipv4(name: &str) -> Option<Option<Ipv4Addr>> {
    let last = name.rsplit('.').next()?;
    let hex = |part: &str| part.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    if !last.bytes().all(|b| b.is_ascii_digit()) && !hex(last) {
        return None;
    }
    let number = |part: &str| -> Option<u32> {
        match part.strip_prefix("0x") {
            Some("") => Some(0),
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
            None => part.parse().ok(),
        }
    };
    let numbers: Option<Vec<u32>> = name.split('.').map(number).collect();
    let address = numbers.filter(|n| n.len() <= 4).and_then(|numbers| {
        let (last, heads) = numbers.split_last()?;
        let mut address = 0u32;
        for (i, head) in heads.iter().enumerate() {
            if *head > 255 {
                return None;
            }
            address |= head << (24 - 8 * i);
        }
        let room = u32::MAX.checked_shr(8 * heads.len() as u32)?;
        (*last <= room).then(|| Ipv4Addr::from(address | last))
    });
    Some(address)
}

/// The URL that a `Location` means.
pub(super) fn join(base: &Uri, location: &str) -> Option<String> {
    let location = location.split('#').next()?.trim();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let path = base.path();
    let starts_with_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    Some(if starts_with_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.is_empty() || location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_the_system_would() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0X7F.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("10.0.258", "10.0.1.2"),
            ("0", "0.0.0.0"),
            ("0x", "0.0.0.0"),
            ("127.0.0.1.", "127.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("[::1]", "::1"),
            ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
        ] {
            assert_eq!(host(text), Ok(Host::Ip(ip.parse().unwrap())), "{text}");
        }
        for text in ["4294967296", "256.1.1.1", "1.2.3.4.5", "127.0.0.08", "a.1", "1.2.3.256", "0x1.0x", "1..2"] {
            let host = host(text);
            assert!(host.is_err() || text == "0x1.0x", "{text} {host:?}");
        }
        for text in ["", ".", "a b", "ex%61mple.com", "１２７.0.0.1", "a/b", "[::1%25lo]", "[::1", "::1", "a..b"] {
            assert!(host(text).is_err(), "{text}");
        }
        assert_eq!(host("API.Telegram.org."), Ok(Host::Name("api.telegram.org".into())));
        assert_eq!(host("1.2.3.4.example"), Ok(Host::Name("1.2.3.4.example".into())));
    }

    #[test]
    fn urls_lead_where_they_say_or_nowhere() {
        let to = |url: &str| parse(url).map(|(_, t)| format!("{} {t}", t.tls));
        assert_eq!(to("https://h/x y/ü?q=\"1\""), Ok("true h:443".into()));
        assert_eq!(to("http://[::1]/"), Ok("false [::1]:80".into()));
        assert_eq!(to("http://[::1]:8080/"), Ok("false [::1]:8080".into()));
        assert_eq!(to("HTTP://H:81"), Ok("false h:81".into()));
        for url in [
            "ftp://h/",
            "file:///etc/passwd",
            "//h/",
            "/x",
            "h",
            "http://",
            "http:///x",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:x/",
            "http://h:/",
            "http://h:+80/",
            "http://a\\b/",
            "http://h\n/",
            "javascript:1",
            "http://ｅxample.com/",
            "http://a@b@c/",
            "http://h:80:80/",
        ] {
            assert!(to(url).is_err(), "{url} {:?}", to(url));
        }
    }

    #[test]
    fn redirects_may_be_relative() {
        let base: Uri = "https://h:1/a/b?c".parse().unwrap();
        for (location, url) in [
            ("http://o/x", "http://o/x"),
            ("//o/x", "https://o/x"),
            ("/x", "https://h:1/x"),
            ("x?y", "https://h:1/a/x?y"),
            ("?y", "https://h:1/a/b?y"),
            ("/x#frag", "https://h:1/x"),
            ("javascript:1", "javascript:1"),
            ("", "https://h:1/a/b"),
        ] {
            assert_eq!(join(&base, location).as_deref(), Some(url), "{location}");
        }
    }
}
