//! Which addresses become links.

/// A longer address stays text: a link is repeated in every chunk it is cut into, and a chunk has a size limit.
const LONGEST: usize = 2_048;

const SCHEMES: [&str; 6] = ["http", "https", "tg", "mailto", "tel", "ton"];

/// The address as it is written into a link, or none if it is not one that may be opened (telegram.md 13.3).
pub fn allowed(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once(':')?;
    let known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if !known
        || address.len() > LONGEST
        || rest.trim_matches('/').is_empty()
        || is_web(address) && !rest.starts_with("//")
    {
        return None;
    }
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if !address.contains(odd) {
        return Some(address.to_owned());
    }
    let mut written = String::with_capacity(address.len() + 16);
    for c in address.chars() {
        if odd(c) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| written.push_str(&format!("%{byte:02X}")));
        } else {
            written.push(c);
        }
    }
    (written.len() <= LONGEST).then_some(written)
}

/// An http or https address.
pub fn is_web(address: &str) -> bool {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_may_be_opened_become_links() {
        for (address, link) in [
            ("https://a.b/c?d=e&f", Some("https://a.b/c?d=e&f")),
            ("HTTP://a", Some("HTTP://a")),
            ("tg://user?id=1", Some("tg://user?id=1")),
            ("mailto:a@b.c", Some("mailto:a@b.c")),
            ("tel:+491", Some("tel:+491")),
            ("ton://transfer/x", Some("ton://transfer/x")),
            ("http://a b", Some("http://a%20b")),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
            ("data:text/html,x", None),
            ("http:a", None),
            ("https://", None),
            ("docs/a.md", None),
            ("/etc", None),
            ("#x", None),
            ("", None),
        ] {
            assert_eq!(allowed(address).as_deref(), link, "{address}");
        }
        assert_eq!(allowed(&format!("http://{}", "x".repeat(3_000))), None);
    }
}
