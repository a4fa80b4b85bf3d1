//! HTTP/1.1 as far as a Bot API client goes: heads, bodies with a length or in chunks, forms, multipart.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use serde_json::Value;

use super::args::{Arg, Args, Form, Refusal, Upload};

#[derive(Debug)]
pub struct Head {
    pub verb: String,
    /// Path, decoded, without the query.
    pub path: String,
    pub query: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    pub fn length(&self) -> usize {
        self.field("content-length").parse().unwrap_or(0)
    }

    pub fn last(&self) -> bool {
        self.field("connection").eq_ignore_ascii_case("close")
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.take(64 << 10).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
}

/// The next head; `None`: the client closed the connection between two requests.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let Some(first) = line(reader)? else { return Ok(None) };
    let mut words = first.split(' ');
    let (verb, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head { verb, path: unescape(path, false), query: query.to_owned(), fields: Vec::new() };
    loop {
        let next = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if next.is_empty() {
            return Ok(Some(head));
        }
        if let Some((name, value)) = next.split_once(':') {
            head.fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
}

/// The whole body. A body above `most` bytes is read to its end and given as `None`.
pub fn read_body(
    reader: &mut impl BufRead,
    writer: &mut impl Write,
    head: &Head,
    most: usize,
) -> io::Result<Option<Vec<u8>>> {
    if head.field("expect").eq_ignore_ascii_case("100-continue") {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if head.field("transfer-encoding").to_lowercase().contains("chunked") {
        loop {
            let size = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = size.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while line(reader)?.is_some_and(|trailer| !trailer.is_empty()) {}
                break;
            }
            if reader.by_ref().take(size).read_to_end(&mut body)? as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line(reader)?;
        }
    } else {
        let length = head.length() as u64;
        if head.length() > most {
            io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
            return Ok(None);
        }
        if reader.by_ref().take(length).read_to_end(&mut body)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((body.len() <= most).then_some(body))
}

/// Parameters of a request, from its query and its body.
pub fn parse_args(head: &Head, body: &[u8]) -> Result<Args, Refusal> {
    let mut args = Args::default();
    args.fields.extend(pairs(&head.query));
    if body.is_empty() {
        return Ok(args);
    }
    let kind = head.field("content-type");
    if kind.starts_with("application/json") {
        let value: Value = serde_json::from_slice(body).map_err(|_| Refusal::bad("can't parse JSON object"))?;
        if !value.is_object() {
            return Err(Refusal::bad("expected an object"));
        }
        args.fields.extend(Args::of_json(&value).fields);
        args.form = Form::Json;
    } else if let Some((_, boundary)) = kind.split_once("boundary=").filter(|_| kind.starts_with("multipart/form-data"))
    {
        let boundary = boundary.split(';').next().unwrap_or("").trim_matches('"');
        args.fields.extend(parts(body, boundary));
        args.form = Form::Multipart;
    } else {
        args.fields.extend(pairs(&String::from_utf8_lossy(body)));
        args.form = Form::Urlencoded;
    }
    Ok(args)
}

fn pairs(text: &str) -> Vec<(String, Arg)> {
    let pair = |p: &str| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        (unescape(key, true), Arg::Text(unescape(value, true)))
    };
    text.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

pub fn unescape(text: &str, form: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if form => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn parts(body: &[u8], boundary: &str) -> Vec<(String, Arg)> {
    let open = format!("--{boundary}");
    let border = format!("\r\n--{boundary}");
    let mut found = Vec::new();
    let Some(start) = find(body, open.as_bytes()) else { return found };
    let mut rest = &body[start + open.len()..];
    while let Some(end) = find(rest, border.as_bytes()) {
        found.extend(part(&rest[..end]));
        rest = &rest[end + border.len()..];
    }
    found
}

fn part(bytes: &[u8]) -> Option<(String, Arg)> {
    let split = find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let data = &bytes[split + 4..];
    let field = |name: &str| {
        let lines = head.lines().filter_map(|l| l.split_once(':'));
        lines.into_iter().find(|(n, _)| n.trim().eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    };
    let disposition = field("content-disposition")?;
    let name = quoted(&disposition, "name")?;
    Some(match quoted(&disposition, "filename") {
        Some(file) => {
            (name, Arg::File(Upload { name: file, mime: field("content-type"), data: Arc::new(data.to_vec()) }))
        }
        None => (name, Arg::Text(String::from_utf8_lossy(data).into_owned())),
    })
}

/// The value of `key="…"` or `key=…`; `%22` and a backslash before a quote are undone.
fn quoted(disposition: &str, key: &str) -> Option<String> {
    let pattern = format!("; {key}=");
    let spaced = disposition.replace(";", "; ").replace(";  ", "; ");
    let rest = &spaced[spaced.find(&pattern)? + pattern.len()..];
    let Some(rest) = rest.strip_prefix('"') else {
        return Some(rest.split(';').next().unwrap_or("").trim().to_owned());
    };
    let (mut value, mut escaped) = (String::new(), false);
    for c in rest.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => break,
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    Some(value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n"))
}

/// Head and body of an answer.
pub fn answer(status: u16, kind: &str, extra: &str, body: &[u8]) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        _ => "Internal Server Error",
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nServer: nginx/1.18.0\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: keep-alive\r\n{extra}\r\n"
    );
    [head.as_bytes(), body].concat()
}
