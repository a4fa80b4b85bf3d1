//! Telegram's HTML (telegram.md 13.2): source in, plain text and entities out, the server's own error texts.

use serde_json::{json, Value};

use super::args::Refusal;

const TAGS: [(&str, &str); 17] = [
    ("b", "bold"),
    ("strong", "bold"),
    ("i", "italic"),
    ("em", "italic"),
    ("u", "underline"),
    ("ins", "underline"),
    ("s", "strikethrough"),
    ("strike", "strikethrough"),
    ("del", "strikethrough"),
    ("span", "spoiler"),
    ("tg-spoiler", "spoiler"),
    ("a", "text_link"),
    ("code", "code"),
    ("pre", "pre"),
    ("blockquote", "blockquote"),
    ("tg-emoji", "custom_emoji"),
    ("tg-time", "date_time"),
];

pub fn utf16(text: &str) -> i64 {
    text.encode_utf16().count() as i64
}

fn kind_of(tag: &str) -> &'static str {
    TAGS.iter().find(|(name, _)| *name == tag).map_or("", |(_, kind)| kind)
}

/// Kinds a client may send in `entities`; the rest the server finds by itself.
pub fn settable(kind: &str) -> bool {
    TAGS.iter().any(|(_, known)| *known == kind) || kind == "text_mention" || kind == "expandable_blockquote"
}

struct Open {
    tag: String,
    argument: String,
    offset: i64,
    /// Byte position in the plain text.
    begin: usize,
}

struct Parser<'a> {
    source: &'a [u8],
    at: usize,
    /// Where the tag began that is being read.
    begin: usize,
    text: Vec<u8>,
    units: i64,
    open: Vec<Open>,
    entities: Vec<Value>,
}

/// Plain text and entities, in the order in which they end. Offsets are UTF-16 units.
pub fn parse_html(source: &str) -> Result<(String, Vec<Value>), Refusal> {
    let mut parser = Parser {
        source: source.as_bytes(),
        at: 0,
        begin: 0,
        text: Vec::new(),
        units: 0,
        open: Vec::new(),
        entities: Vec::new(),
    };
    parser.run().map_err(|why| Refusal::bad(&format!("Can't parse entities: {why}")))?;
    for entity in &mut parser.entities {
        if let Some(fields) = entity.as_object_mut() {
            fields.remove("_language");
        }
    }
    let text = String::from_utf8(parser.text).expect("whole characters were copied");
    Ok((text, parser.entities))
}

/// The reader treats the end of the source as white space, as a C string's end.
fn space(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | 11)
}

impl Parser<'_> {
    fn peek(&self) -> u8 {
        self.source.get(self.at).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, want: impl Fn(u8) -> bool) -> &[u8] {
        let from = self.at;
        while self.at < self.source.len() && want(self.peek()) {
            self.at += 1;
        }
        &self.source[from..self.at]
    }

    fn word(&mut self, want: impl Fn(u8) -> bool) -> String {
        String::from_utf8_lossy(self.skip_while(want)).into_owned()
    }

    fn run(&mut self) -> Result<(), String> {
        while self.at < self.source.len() {
            match self.peek() {
                b'&' => match self.reference() {
                    Some(c) => self.push(c),
                    None => self.copy(),
                },
                b'<' => {
                    self.begin = self.at;
                    self.at += 1;
                    if self.peek() == b'/' {
                        self.end_tag()?;
                    } else {
                        self.start_tag()?;
                    }
                }
                _ => self.copy(),
            }
        }
        match self.open.last() {
            Some(open) => Err(format!("Can't find end tag corresponding to start tag \"{}\"", open.tag)),
            None => Ok(()),
        }
    }

    fn copy(&mut self) {
        let byte = self.source[self.at];
        if byte & 0xC0 != 0x80 {
            self.units += 1 + i64::from(byte >= 0xF0);
        }
        self.text.push(byte);
        self.at += 1;
    }

    fn push(&mut self, c: char) {
        self.units += c.len_utf16() as i64;
        self.text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// A character reference here: its character, and the position is behind it.
    fn reference(&mut self) -> Option<char> {
        let rest = &self.source[self.at + 1..];
        let run = |bytes: &[u8], want: fn(&u8) -> bool| bytes.iter().take_while(|b| want(b)).count();
        let (length, found) = if rest.first() == Some(&b'#') {
            let hex = rest.get(1) == Some(&b'x');
            let skip = if hex { 2 } else { 1 };
            let digits = run(&rest[skip..], if hex { u8::is_ascii_hexdigit } else { u8::is_ascii_digit });
            let number = std::str::from_utf8(&rest[skip..skip + digits]).ok()?;
            let number = u32::from_str_radix(number, if hex { 16 } else { 10 }).ok()?;
            if number == 0 || skip + digits + 1 >= 10 {
                return None;
            }
            (skip + digits, char::from_u32(number)?)
        } else {
            let letters = run(rest, u8::is_ascii_alphabetic);
            let c = match &rest[..letters] {
                b"lt" => '<',
                b"gt" => '>',
                b"amp" => '&',
                b"quot" => '"',
                _ => return None,
            };
            (letters, c)
        };
        self.at += 1 + length;
        if self.peek() == b';' {
            self.at += 1;
        }
        Some(found)
    }

    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} at byte offset {}", self.begin))
    }

    fn start_tag(&mut self) -> Result<(), String> {
        let tag = self.word(|b| !space(b) && b != b'>').to_lowercase();
        if self.peek() == 0 {
            return self.fail("Unclosed start tag");
        }
        if kind_of(&tag).is_empty() {
            return self.fail(&format!("Unsupported start tag \"{tag}\""));
        }
        let mut argument = String::new();
        loop {
            self.skip_while(space);
            if self.peek() == b'>' {
                break;
            }
            self.attribute(&tag, &mut argument)?;
        }
        self.at += 1;
        if tag == "span" && argument != "spoiler" {
            return self.fail("Tag \"span\" must have class \"tg-spoiler\"");
        }
        self.open.push(Open { tag, argument, offset: self.units, begin: self.text.len() });
        Ok(())
    }

    fn attribute(&mut self, tag: &str, argument: &mut String) -> Result<(), String> {
        let name = self.word(|b| !space(b) && !b"=>/\"'".contains(&b));
        if name.is_empty() {
            return self.fail(&format!("Empty attribute name in the tag \"{tag}\""));
        }
        self.skip_while(space);
        if self.peek() != b'=' {
            if self.at >= self.source.len() {
                return self.fail(&format!("Unclosed start tag \"{tag}\""));
            }
            if tag == "blockquote" && name == "expandable" {
                *argument = "1".into();
            }
            return Ok(());
        }
        self.at += 1;
        self.skip_while(space);
        let value = match self.peek() {
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => {
                let from = self.at;
                let value = self.word(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-').to_lowercase();
                if !space(self.peek()) && self.peek() != b'>' {
                    return Err(format!("Unexpected end of name token at byte offset {from}"));
                }
                value
            }
        };
        if self.at >= self.source.len() {
            return self.fail("Unclosed start tag");
        }
        match (tag, name.as_str()) {
            ("a", "href") | ("tg-emoji", "emoji-id") | ("tg-time", "unix") => *argument = value,
            ("code", "class") => {
                if let Some(language) = value.strip_prefix("language-") {
                    *argument = language.into();
                }
            }
            ("span", "class") => {
                if let Some(class) = value.strip_prefix("tg-") {
                    *argument = class.into();
                }
            }
            ("blockquote", "expandable") => *argument = "1".into(),
            _ => {}
        }
        Ok(())
    }

    fn quoted(&mut self, quote: u8) -> String {
        self.at += 1;
        let mut value = Vec::new();
        while self.at < self.source.len() && self.peek() != quote {
            match if self.peek() == b'&' { self.reference() } else { None } {
                Some(c) => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => {
                    value.push(self.peek());
                    self.at += 1;
                }
            }
        }
        self.at = (self.at + 1).min(self.source.len());
        String::from_utf8_lossy(&value).into_owned()
    }

    fn end_tag(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return self.fail("Unexpected end tag");
        }
        self.at += 1;
        let found = self.word(|b| !space(b) && b != b'>');
        self.skip_while(space);
        if self.peek() != b'>' {
            return self.fail("Unclosed end tag");
        }
        self.at += 1;
        let open = self.open.pop().expect("looked at above");
        if !found.is_empty() && found != open.tag {
            let begin = self.begin;
            let expected = open.tag;
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{expected}>\", found \"</{found}>\""
            ));
        }
        if self.units > open.offset {
            self.close(&open)?;
        }
        Ok(())
    }

    fn close(&mut self, open: &Open) -> Result<(), String> {
        let mut entity = json!({"offset": open.offset, "length": self.units - open.offset, "type": kind_of(&open.tag)});
        let same_place = |last: &&mut Value| last["offset"] == entity["offset"] && last["length"] == entity["length"];
        let twin = self.entities.last_mut().filter(same_place);
        match open.tag.as_str() {
            "a" => {
                let inner = String::from_utf8_lossy(&self.text[open.begin..]).into_owned();
                let url = if open.argument.is_empty() { inner } else { open.argument.clone() };
                let url = url.trim();
                if let Some(id) = url.strip_prefix("tg://user?id=").and_then(|id| id.parse::<i64>().ok()) {
                    entity["type"] = json!("text_mention");
                    entity["user"] = json!({"id": id, "is_bot": false, "first_name": "user"});
                } else {
                    match checked_link(url) {
                        Some(url) => entity["url"] = json!(url),
                        None => return Ok(()),
                    }
                }
            }
            "tg-emoji" => {
                if !open.argument.parse::<u64>().is_ok_and(|id| id != 0) {
                    return Err("Invalid custom emoji identifier specified".into());
                }
                entity["custom_emoji_id"] = json!(open.argument);
            }
            "tg-time" => entity["unix"] = json!(open.argument),
            "blockquote" if !open.argument.is_empty() => entity["type"] = json!("expandable_blockquote"),
            "pre" => {
                if let Some(code) = twin.filter(|t| t["type"] == "code" && t["_language"].is_string()) {
                    code["type"] = json!("pre");
                    code["language"] = code["_language"].take();
                    return Ok(());
                }
            }
            "code" if !open.argument.is_empty() => {
                if let Some(pre) = twin.filter(|t| t["type"] == "pre") {
                    pre["language"] = json!(open.argument);
                    return Ok(());
                }
                entity["_language"] = json!(open.argument);
            }
            _ => {}
        }
        self.entities.push(entity);
        Ok(())
    }
}

/// The link as the server keeps it; `None`: not a link, the text loses it silently.
fn checked_link(url: &str) -> Option<String> {
    let lower = url.to_lowercase();
    let known = ["http://", "https://", "tg://", "ton://", "tonsite://", "mailto:", "tel:"];
    if url.is_empty() || url.contains(char::is_whitespace) || !url.contains(['.', ':']) {
        return None;
    }
    if known.iter().any(|scheme| lower.starts_with(scheme)) {
        let bare = lower.starts_with("http") && url.matches('/').count() == 2;
        return Some(if bare { format!("{url}/") } else { url.to_owned() });
    }
    match lower.split_once("://") {
        Some(_) => None,
        None if url.contains('/') => Some(format!("http://{url}")),
        None => Some(format!("http://{url}/")),
    }
}
