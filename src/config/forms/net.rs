//! URLs, proxies and host names.

use super::Form;
use crate::config::secret::Secret;

/// An outgoing proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum ProxySetting {
    /// Connect directly, whatever the environment says.
    None,
    /// `http://`, `socks5://` or `socks5h://`, possibly with credentials.
    Url(Secret),
}

impl ProxySetting {
    /// Reads a proxy URL or `none`.
    pub fn parse(text: &str) -> Form<ProxySetting> {
        if text == "none" {
            return Ok(ProxySetting::None);
        }
        url(text, &["http", "socks5", "socks5h"]).map(|url| ProxySetting::Url(Secret::new(url))).map_err(|_| {
            // Without the value: it may hold a password.
            "must be a URL that starts with http://, socks5:// or socks5h://, or \"none\"".into()
        })
    }
}

/// A URL of one of the schemes with a host, without a slash at the end.
fn url(text: &str, schemes: &[&str]) -> Form {
    let wrong = || format!("must be a URL that starts with {}://", schemes.join(":// or "));
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let usable =
        !host.is_empty() && !host.starts_with(':') && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !usable || !schemes.contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub(crate) fn http_url(text: &str) -> Form {
    url(text, &["http", "https"])
}

pub(crate) fn https_url(text: &str) -> Form {
    url(text, &["https"])
}

pub(crate) fn ws_url(text: &str) -> Form {
    url(text, &["ws", "wss"])
}

/// `https`, or `http` to this machine.
pub(crate) fn https_or_loopback_url(text: &str) -> Form {
    let url = http_url(text)?;
    let host = url.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let name = host
        .strip_prefix('[')
        .and_then(|host| host.split(']').next())
        .unwrap_or(host.split(':').next().unwrap_or_default());
    let loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.starts_with("https") || loopback {
        true => Ok(url),
        false => Err("plain http is for loopback hosts only".into()),
    }
}

/// Whether an entry of a no-proxy list covers a host (both without port, `host` in lower case).
pub(crate) fn host_matches(entry: &str, host: &str) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let entry = entry.strip_prefix('*').unwrap_or(&entry);
    match entry.strip_prefix('.') {
        Some("") => false,
        Some(apex) => host == apex || host.ends_with(entry),
        // A bare `*` has become empty: everything.
        None => entry.is_empty() || host == entry || host.strip_suffix(entry).is_some_and(|sub| sub.ends_with('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_proxies() {
        assert_eq!(http_url("http://h:1/x/"), Ok("http://h:1/x".into()));
        for text in ["ftp://h", "h", "http://", "http:///x", "http://a b", "http://:80"] {
            assert!(http_url(text).is_err(), "{text}");
        }
        assert_eq!(ProxySetting::parse("none"), Ok(ProxySetting::None));
        for text in ["http://u:p@h:1", "socks5://h", "socks5h://h:9"] {
            assert!(matches!(ProxySetting::parse(text), Ok(ProxySetting::Url(_))), "{text}");
        }
        let wrong = ProxySetting::parse("https://user:hush@h").unwrap_err();
        assert!(!wrong.contains("hush"), "{wrong}");
        for (text, right) in [
            ("https://x.cn", true),
            ("http://x.cn", false),
            ("http://127.0.0.1:9/", true),
            ("http://[::1]:9", true),
            ("http://localhost", true),
            ("http://localhost.evil.com", false),
        ] {
            assert_eq!(https_or_loopback_url(text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn no_proxy_entries() {
        for (entry, host, covered) in [
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            ("*", "anything", true),
            (".", "anything", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(host_matches(entry, host), covered, "{entry} {host}");
        }
    }
}
