//! Reading JSON from the front, as far as the bytes go: enough for the first keys of a line whose end has not come.

use memchr::{memchr, memchr2};

use crate::plain_json::NESTING;

/// What is told of a user message, bytes.
const USER_HEAD: usize = 512;

/// Why reading stopped.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    /// The bytes end here; the rest of the line may still come.
    More,
    /// Not what it should be.
    Bad,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(super) enum Update<'a> {
    Text(&'a [u8]),
    Thinking(&'a [u8]),
    Other,
}

/// The delta of a `message_update`, whichever key comes first (old: the event; new: `usage`).
pub(super) fn update(line: &[u8]) -> Result<Update<'_>, Stop> {
    let mut c = Cursor { bytes: line, at: 0 };
    let mut key = c.open(b'{')?;
    while let Some(k) = key {
        if k == b"assistantMessageEvent" {
            return event(&mut c);
        }
        c.skip_value()?;
        key = c.next_key()?;
    }
    Ok(Update::Other)
}

fn event<'a>(c: &mut Cursor<'a>) -> Result<Update<'a>, Stop> {
    let (mut kind, mut delta) = (None, None);
    let mut key = c.open(b'{')?;
    while let Some(k) = key {
        match k {
            b"type" => kind = Some(c.string()?),
            b"delta" if c.peek()? == b'"' => delta = Some(c.string()?),
            _ => c.skip_value()?,
        }
        match (kind, delta) {
            (Some(b"text_delta"), Some(raw)) => return Ok(Update::Text(raw)),
            (Some(b"thinking_delta"), Some(raw)) => return Ok(Update::Thinking(raw)),
            (Some(b"text_delta" | b"thinking_delta") | None, _) => {}
            _ => return Ok(Update::Other),
        }
        key = c.next_key()?;
    }
    Ok(Update::Other)
}

/// The beginning of a user message's text.
pub(super) fn user_start(line: &[u8]) -> Result<String, Stop> {
    let mut c = Cursor { bytes: line, at: 0 };
    let mut key = c.open(b'{')?;
    while let Some(k) = key {
        if k == b"message" {
            key = c.open(b'{')?; // the message's own keys from here on
            continue;
        }
        if k == b"content" {
            return c.text_head();
        }
        c.skip_value()?;
        key = c.next_key()?;
    }
    Ok(String::new())
}

/// The first text of a message's `content`, at most 512 bytes.
pub(super) fn text_head(content: &[u8]) -> String {
    Cursor { bytes: content, at: 0 }.text_head().unwrap_or_default()
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> Result<u8, Stop> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b) => return Ok(*b),
                None => return Err(Stop::More),
            }
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(Stop::Bad);
        }
        self.at += 1;
        Ok(())
    }

    /// Enters an object; its first key, or `None` if it has none.
    fn open(&mut self, brace: u8) -> Result<Option<&'a [u8]>, Stop> {
        self.take(brace)?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Behind a value: the next key, or `None` at the object's end.
    fn next_key(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        match self.peek()? {
            b',' => self.at += 1,
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            _ => return Err(Stop::Bad),
        }
        self.key().map(Some)
    }

    fn key(&mut self) -> Result<&'a [u8], Stop> {
        let key = self.string()?;
        self.take(b':')?;
        Ok(key)
    }

    /// A string as it stands, without its quotes.
    fn string(&mut self) -> Result<&'a [u8], Stop> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Stop::More)?;
            let found = memchr2(b'"', b'\\', rest).ok_or(Stop::More)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(&self.bytes[start..self.at - 1]);
            }
            self.at += 1;
        }
    }

    fn skip_value(&mut self) -> Result<(), Stop> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > NESTING {
                        return Err(Stop::Bad);
                    }
                    self.at += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' | b'}' | b']' => return Err(Stop::Bad),
                _ => {
                    let rest = &self.bytes[self.at..];
                    let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ')).ok_or(Stop::More)?;
                    self.at += end;
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn text_head(&mut self) -> Result<String, Stop> {
        match self.peek()? {
            b'"' => return self.string_head(),
            b'[' => self.at += 1,
            _ => return Ok(String::new()),
        }
        while self.peek()? == b'{' {
            let mut key = self.open(b'{')?;
            while let Some(k) = key {
                if k == b"text" {
                    return self.string_head();
                }
                self.skip_value()?;
                key = self.next_key()?;
            }
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        Ok(String::new())
    }

    /// The first 512 bytes of a string, which need not be complete.
    fn string_head(&mut self) -> Result<String, Stop> {
        self.peek()?;
        let from = self.at + 1;
        let raw = match self.string() {
            Ok(raw) => raw,
            // six bytes at most stand for one: this is enough
            Err(Stop::More) if self.bytes.len() - from >= USER_HEAD * 6 => &self.bytes[from..],
            Err(stop) => return Err(stop),
        };
        let mut cut = raw.len().min(USER_HEAD * 6);
        while raw.get(cut).is_some_and(|b| b & 0xC0 == 0x80) {
            cut -= 1;
        }
        let mut text = unescape(&raw[..cut], &mut None);
        if text.len() > USER_HEAD {
            text.truncate(floor_char(&text, USER_HEAD));
        }
        Ok(text)
    }
}

/// The greatest character boundary not behind `at`.
pub(super) fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// A JSON string's content as text. `half` carries a surrogate over from one piece of a text to the next;
/// one that stays alone becomes U+FFFD, as do bytes that are not UTF-8.
pub(super) fn unescape(raw: &[u8], half: &mut Option<u16>) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        if plain > 0 {
            lone(half, &mut out);
            out.push_str(&String::from_utf8_lossy(&rest[..plain]));
        }
        rest = &rest[plain..];
        let Some(code) = rest.get(1) else { break };
        let mut used = 2;
        let simple = match code {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                used = rest.len().min(6);
                let hex = rest.get(2..6).and_then(|h| std::str::from_utf8(h).ok());
                match hex.and_then(|h| u16::from_str_radix(h, 16).ok()) {
                    Some(unit) => {
                        utf16(unit, half, &mut out);
                        rest = &rest[used..];
                        continue;
                    }
                    None => '\u{fffd}',
                }
            }
            other => char::from(*other),
        };
        lone(half, &mut out);
        out.push(simple);
        rest = &rest[used..];
    }
    out
}

fn lone(half: &mut Option<u16>, out: &mut String) {
    if half.take().is_some() {
        out.push('\u{fffd}');
    }
}

fn utf16(unit: u16, half: &mut Option<u16>, out: &mut String) {
    match (half.take(), unit) {
        (Some(high), 0xDC00..=0xDFFF) => {
            out.extend(char::decode_utf16([high, unit]).map(|c| c.unwrap_or('\u{fffd}')));
        }
        (before, 0xD800..=0xDBFF) => {
            out.extend(before.map(|_| '\u{fffd}'));
            *half = Some(unit);
        }
        (before, _) => {
            out.extend(before.map(|_| '\u{fffd}'));
            out.push(char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}'));
        }
    }
}
