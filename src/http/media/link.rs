//! Signed links to files: `/api/media/{sig}/{name}?sk&path&exp` (gateway-api.md 1.10, R7, R73; core.md 18). Pure.

use std::time::Duration;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::hmac;

use super::spot::Spot;
use crate::http::logins::random;

/// What links are signed with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaKey(String);

impl MediaKey {
    /// `channels.webchat.mediaSecret`, or the generated one.
    pub fn new(secret: impl Into<String>) -> MediaKey {
        MediaKey(secret.into())
    }

    /// Of this process only: links end with it.
    pub fn random() -> MediaKey {
        MediaKey(random(32))
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }

    /// The link to a file of the session with that `sid`, good for `ttl` from `now` (unix ms).
    pub fn link(&self, sid: &str, spot: &Spot, ttl: Duration, now: i64) -> String {
        let (path, exp) = (spot.to_string(), now.saturating_add(ttl.as_millis() as i64));
        let tag = hmac::sign(&self.hmac(), signed(sid, &path, &exp.to_string()).as_bytes());
        let sig = URL_SAFE_NO_PAD.encode(tag);
        let (name, sk, path) = (encode(spot.name()), encode(sid), encode(&path));
        format!("/api/media/{sig}/{name}?sk={sk}&path={path}&exp={exp}")
    }

    /// Made by us, and not over yet. Takes as long for a wrong signature as for a right one.
    pub fn admits(&self, sig: &str, sid: &str, path: &str, exp: &str, now: i64) -> bool {
        let Ok(sig) = URL_SAFE_NO_PAD.decode(sig) else { return false };
        let genuine = hmac::verify(&self.hmac(), signed(sid, path, exp).as_bytes(), &sig).is_ok();
        genuine && exp.parse::<i64>().is_ok_and(|exp| now < exp)
    }
}

impl std::fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MediaKey(***)")
    }
}

/// A `sid` holds no colon and a time only digits: no two triples have the same text.
fn signed(sid: &str, path: &str, exp: &str) -> String {
    format!("{sid}:{path}:{exp}")
}

/// Percent-encoding for a part of a path and for a value of a query alike.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::form;

    #[test]
    fn a_link_is_good_until_its_time_and_for_nothing_else() {
        let key = MediaKey::new("s3cret");
        let spot = Spot::parse("out/a b+ü.png").unwrap();
        let link = key.link("sidsidsidsid", &spot, Duration::from_secs(1), 1_000);
        let (path, query) = link.split_once('?').unwrap();
        let (sig, name) = path.strip_prefix("/api/media/").unwrap().split_once('/').unwrap();
        assert_eq!(name, "a%20b%2B%C3%BC.png");
        let [sk, file, exp] = ["sk", "path", "exp"].map(|k| form(query, k).unwrap());
        assert_eq!((sk.as_str(), file.as_str(), exp.as_str()), ("sidsidsidsid", "out/a b+ü.png", "2000"));
        assert!(key.admits(sig, &sk, &file, &exp, 1_999));
        assert!(!key.admits(sig, &sk, &file, &exp, 2_000));
        assert!(!key.admits(sig, &sk, &file, "3000", 1_999));
        assert!(!key.admits(sig, "sidsidsidsie", &file, &exp, 1_999));
        assert!(!key.admits(sig, &sk, "upload:x.png", &exp, 1_999));
        assert!(!key.admits(&sig[1..], &sk, &file, &exp, 1_999) && !key.admits("", &sk, &file, &exp, 1_999));
        assert!(!MediaKey::new("other").admits(sig, &sk, &file, &exp, 1_999));
        assert!(!format!("{key:?}").contains("s3cret"));
    }
}
