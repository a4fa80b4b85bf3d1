//! Request heads: bytes in, a checked [`Head`] or a refusal out. Pure.
//!
//! Strict where leniency lets two parsers disagree (request smuggling): bare LF, repeated lengths,
//! foreign transfer encodings, whitespace before colons (R54).

use super::fault::Fault;

pub const MAX_LINE: usize = 8 << 10;
pub const MAX_HEAD: usize = 16 << 10;
pub const MAX_FIELDS: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    #[default]
    None,
    Fixed(u64),
    Chunked,
}

#[derive(Clone, Debug, Default)]
pub struct Head {
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    pub query: String,
    pub http10: bool,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub host: String,
    pub length: Length,
    /// The client wants another request on this connection.
    pub keep: bool,
    pub expect: bool,
    /// Bytes it took.
    pub size: usize,
}

impl Head {
    /// First field of that (lower-case) name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    /// Does a comma-separated field hold that word?
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|w| w.trim().eq_ignore_ascii_case(word))
    }
    pub fn wants_websocket(&self) -> bool {
        self.method == "GET" && self.lists("connection", "upgrade") && self.lists("upgrade", "websocket")
    }
    /// First value of a query parameter, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        form(&self.query, name)
    }
}

/// First value of a form-encoded parameter, decoded. As in browsers and the original, a `%` that begins no escape
/// stands for itself: `?q=50%` is a question.
pub fn form(text: &str, name: &str) -> Option<String> {
    text.split('&').find_map(|pair| {
        let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |part: &str| String::from_utf8_lossy(&unescape(&part.replace('+', " ")).0).into_owned();
        (plain(k) == name).then(|| plain(v))
    })
}

/// Percent-decoding; `None` for `%zz` and what is not UTF-8 then.
pub fn percent(text: &str) -> Option<String> {
    let (bytes, whole) = unescape(text);
    String::from_utf8(bytes).ok().filter(|_| whole)
}

/// The bytes, and whether every `%` began an escape; others stay.
fn unescape(text: &str) -> (Vec<u8>, bool) {
    let (mut out, mut whole) = (Vec::with_capacity(text.len()), true);
    let mut rest = text.as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    while let [b, after @ ..] = rest {
        let escape = match (b, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        whole &= *b != b'%' || escape.is_some();
        out.push(escape.unwrap_or(*b));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    (out, whole)
}

/// `Ok(None)`: not complete yet.
pub fn parse(buf: &[u8]) -> Result<Option<Head>, Fault> {
    let bad = |why: &str| Err(Fault::invalid(why));
    let start = buf.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(buf.len());
    if buf.get(start).is_some_and(|b| !b.is_ascii_uppercase()) {
        return bad("Not an HTTP request");
    }
    let whole = buf.windows(4).position(|w| w == b"\r\n\r\n").filter(|_| start < buf.len());
    let whole = match whole {
        Some(at) if at >= start => Some(at + 4),
        // empty lines before the request
        _ => buf.get(start..).and_then(|b| b.windows(4).position(|w| w == b"\r\n\r\n")).map(|at| at + start + 4),
    };
    let head = &buf[..whole.unwrap_or(buf.len())];
    if head.iter().enumerate().any(|(i, b)| *b == b'\n' && (i == 0 || head[i - 1] != b'\r')) {
        return bad("Lines must end in CR LF");
    }
    let line = head[start..].iter().position(|b| *b == b'\n').unwrap_or(head.len() - start);
    if line > MAX_LINE {
        return Err(Fault::new(414, "invalid_request", "Request line too long"));
    }
    if head.len() > MAX_HEAD {
        return Err(Fault::new(431, "invalid_request", "Request head too large"));
    }
    if whole.is_none() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(size)) => checked(&request, size).map(Some),
        Ok(httparse::Status::Partial) => bad("Malformed request"),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::new(431, "invalid_request", "Too many header fields")),
        Err(httparse::Error::Version) => {
            Err(Fault::new(505, "unsupported", "Only HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        Err(e) => Err(Fault::invalid(format!("Malformed request: {e}"))),
    }
}

fn checked(r: &httparse::Request<'_, '_>, size: usize) -> Result<Head, Fault> {
    let mut head = Head { size, http10: r.version == Some(0), ..Head::default() };
    head.method = r.method.unwrap_or_default().to_owned();
    for f in r.headers.iter() {
        let value = std::str::from_utf8(f.value).map_err(|_| Fault::invalid("A header field is not UTF-8"))?;
        head.fields.push((f.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let target = r.path.unwrap_or_default();
    if !target.is_ascii() {
        return Err(Fault::invalid("The request target must be percent-encoded"));
    }
    let hosts: Vec<&str> = head.all("host").collect();
    let (authority, target) = split_absolute(target);
    head.host = match (hosts[..].len(), authority) {
        (1, None) => hosts[0].to_owned(),
        (1, Some(a)) => a.to_owned(),
        (0, _) if head.http10 => String::new(),
        (0, _) => return Err(Fault::invalid("Host is missing")),
        _ => return Err(Fault::invalid("More than one Host")),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (head.path, head.query) = (path.to_owned(), query.split('#').next().unwrap_or_default().to_owned());
    let whole_server = head.path == "*" && head.method == "OPTIONS";
    if !head.path.starts_with('/') && !whole_server {
        return Err(Fault::invalid("The request target must be a path"));
    }
    if !matches!(&*head.method, "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") {
        return Err(Fault::new(501, "unsupported", "Unknown method"));
    }
    head.length = length(&head)?;
    head.keep = !head.http10 && !head.lists("connection", "close");
    head.expect = match head.field("expect") {
        None => false,
        Some(v) if v.eq_ignore_ascii_case("100-continue") => !head.http10,
        Some(_) => return Err(Fault::new(417, "unsupported", "Only 100-continue can be expected")),
    };
    Ok(head)
}

/// `http://host/path` of a proxy's request.
fn split_absolute(target: &str) -> (Option<&str>, &str) {
    let Some(rest) = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) else {
        return (None, target);
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    (Some(&rest[..at]), if at == rest.len() { "/" } else { &rest[at..] })
}

fn length(head: &Head) -> Result<Length, Fault> {
    let mut lengths = head.all("content-length");
    let codings: Vec<&str> = head.all("transfer-encoding").collect();
    let first = lengths.next();
    if lengths.any(|l| Some(l) != first) {
        return Err(Fault::invalid("Contradictory Content-Length"));
    }
    match (first, &codings[..]) {
        (None, []) => Ok(Length::None),
        (Some(n), []) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Length::Fixed(n.parse().unwrap_or(u64::MAX)))
        }
        (Some(_), []) => Err(Fault::invalid("Content-Length is not a number")),
        (Some(_), _) => Err(Fault::invalid("Content-Length together with Transfer-Encoding")),
        (None, _) if head.http10 => Err(Fault::invalid("Transfer-Encoding in HTTP/1.0")),
        (None, [one]) if one.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        _ => Err(Fault::new(501, "unsupported", "Only the transfer encoding \"chunked\" is understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Ok(None) => 0,
            Ok(Some(_)) => 200,
            Err(f) => f.status,
        }
    }

    #[test]
    fn heads_are_taken_or_refused() {
        let post = |fields: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 200),
            ("GET / HTTP/1.0\r\n\r\n".into(), 200),
            ("GET / HTTP/1.1\r\n".into(), 0),
            ("GET / HTTP/1.1\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
            ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
            ("\u{16}\u{3}\u{1}".into(), 400),
            ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 501),
            ("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
            (post("Content-Length: 90000000000000\r\n"), 200),
            (post("Content-Length: -1\r\n"), 400),
            (post("Content-Length: 5, 5\r\n"), 400),
            (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 200),
            (post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
            (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
            (post("Transfer-Encoding: identity\r\n"), 501),
            (post("Transfer-Encoding: gzip, chunked\r\n"), 501),
            (post("Transfer-Encoding : chunked\r\n"), 400),
            (post("Expect: a pony\r\n"), 417),
            (format!("GET /{}", "x".repeat(MAX_LINE)), 414),
            (post(&"A: b\r\n".repeat(64)), 431),
            (post(&format!("A: {}\r\n", "x".repeat(MAX_HEAD))), 431),
        ] {
            let got = status(&text);
            assert_eq!(got, expected, "{}", &text[..text.len().min(90)]);
        }
    }

    #[test]
    fn absolute_targets_and_queries_are_split() {
        let h = parse(b"GET http://b:1/p?a=%41+b&token=x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
        assert_eq!((&*h.host, &*h.path, h.param("a").unwrap().as_str()), ("b:1", "/p", "A b"));
        assert_eq!(percent("%zz"), None);
    }

    #[test]
    fn no_bytes_whatever_make_it_panic() {
        let good =
            b"\r\nPOST http://a/b%20?c=%zz&token=x HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\nrest";
        let mut n: u64 = 42;
        let mut next = || {
            n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (n >> 33) as usize
        };
        for _ in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next() as u8,
                    1 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, b"\r\n :%"[next() % 5]),
                }
            }
            if let Ok(Some(head)) = parse(&bytes) {
                assert!(head.size <= bytes.len());
                head.param("token");
            }
        }
    }
}
