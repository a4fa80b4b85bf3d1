//! The little language in which a test tells a peer what "the model" does: `[[name:argument]]` in the
//! text of a prompt, other text around it ignored. Shared by the scripted LLM and the pi stand-in. Pure.

use serde_json::Value;

/// The directives both peers know. The stand-in knows some more of its own.
pub const COMMON: &[&str] = &[
    "say", "echo", "stream", "long", "think", "tool", "and", "status", "overflow", "usage", "hang", "pause", "gate",
    "drop", "garbage", "length", "filter", "show",
];

#[derive(Debug, Clone, PartialEq)]
pub enum Directive {
    /// Call a tool with these arguments; text that is no JSON is sent as it stands.
    Tool {
        name: String,
        args: Result<Value, String>,
    },
    Other {
        name: String,
        arg: String,
    },
}

/// All directives of `text`, in order. What looks like one but has an unknown name is left alone.
pub fn parse(text: &str, names: &[&str]) -> Vec<Directive> {
    parse_prefixed(text, "", names)
}

/// As [`parse`], for `[[<prefix>name:…]]`.
pub fn parse_prefixed(text: &str, prefix: &str, names: &[&str]) -> Vec<Directive> {
    let open = format!("[[{prefix}");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(&open) {
        let after = &rest[at + open.len()..];
        let length = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let name = &after[..length];
        if !names.contains(&name) {
            rest = &rest[at + 2..];
            continue;
        }
        let body = after[length..].strip_prefix(':').unwrap_or(&after[length..]);
        if name != "tool" {
            let end = closing(body);
            found.push(Directive::Other { name: name.to_owned(), arg: body[..end].trim().to_owned() });
            rest = body.get(end + 2..).unwrap_or("");
            continue;
        }
        let body = body.trim_start();
        let length = body.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b)).count();
        let (tool, body) = (&body[..length], body[length..].trim_start());
        let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        // The arguments may themselves hold "]]", so where they end is the JSON parser's word.
        let (args, taken) = match values.next() {
            _ if !body.starts_with('{') => (Ok(Value::Object(Default::default())), 0),
            Some(Ok(value)) => (Ok(value), values.byte_offset()),
            _ => {
                let end = body.find("]]").unwrap_or(body.len());
                (Err(body[..end].to_owned()), end)
            }
        };
        found.push(Directive::Tool { name: tool.to_owned(), args });
        let body = &body[taken..];
        rest = body.find("]]").map_or("", |end| &body[end + 2..]);
    }
    found
}

/// Where the `]]` stands that closes a directive; `\]` does not count.
fn closing(body: &str) -> usize {
    let bytes = body.as_bytes();
    let closes = |i: &usize| bytes[*i..].starts_with(b"]]") && (*i == 0 || bytes[i - 1] != b'\\');
    (0..bytes.len()).find(closes).unwrap_or(bytes.len())
}

/// One list per model turn: a tool call ends a turn, `[[and]]` joins the next call to it.
pub fn split_turns(directives: &[Directive]) -> Vec<Vec<Directive>> {
    let is_and = |d: Option<&Directive>| matches!(d, Some(Directive::Other { name, .. }) if name == "and");
    let mut turns = Vec::new();
    let mut current = Vec::new();
    for (i, directive) in directives.iter().enumerate() {
        if is_and(Some(directive)) {
            continue;
        }
        current.push(directive.clone());
        if matches!(directive, Directive::Tool { .. }) && !is_and(directives.get(i + 1)) {
            turns.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        turns.push(current);
    }
    turns
}

/// `\n`, `\t` and `\]` of a spoken text.
pub fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\]", "]")
}

/// The words of a text, each with the space that follows it, so that they join to the text.
pub fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut in_space = true;
    for c in text.chars() {
        match out.last_mut() {
            Some(word) if !in_space || c.is_whitespace() || word.trim().is_empty() => word.push(c),
            _ => out.push(c.to_string()),
        }
        in_space = c.is_whitespace();
    }
    out
}

/// Pieces of `size` characters.
pub fn pieces(text: &str, size: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(size.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// The first number in `text`, or behind the word `after` if that is not empty.
pub fn number(text: &str, after: &str) -> Option<f64> {
    let text = if after.is_empty() { text } else { &text[text.find(after)? + after.len()..] };
    let text = &text[text.find(|c: char| c.is_ascii_digit())?..];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.').parse().ok()
}

/// How often a failure happens: `xK`, `x*` or `xall` (`None` = always); once if nothing is said.
pub fn times(text: &str) -> Option<u32> {
    for word in text.split_whitespace().filter_map(|word| word.strip_prefix('x')) {
        match word.parse() {
            Ok(k) => return Some(k),
            Err(_) if word == "*" || word == "all" => return None,
            Err(_) => {}
        }
    }
    Some(1)
}

/// `n` characters of numbered lines.
pub fn long_text(n: usize) -> String {
    let mut text = String::with_capacity(n + 60);
    for line in 0.. {
        if text.len() >= n {
            break;
        }
        text += &format!("The quick brown fox jumps over the lazy dog, line {line:06}.\n");
    }
    text.truncate(n);
    text
}

/// The pieces of text that `say`, `echo`, `stream` and `long` stand for, with the gap in ms before each.
pub fn spoken(name: &str, arg: &str, user: &str) -> Option<Vec<(String, u64)>> {
    let every = number(arg, "every");
    let now = |texts: Vec<String>| texts.into_iter().map(|text| (text, 0)).collect();
    Some(match name {
        "say" => now(words(&unescape(arg))),
        "echo" => now(words(user)),
        "stream" => {
            let count = number(arg, "").unwrap_or(20.0) as usize;
            let gap = every.unwrap_or(50.0) as u64;
            (1..=count).map(|i| (format!("word{i} "), gap)).collect()
        }
        "long" => {
            let text = long_text(number(arg, "").unwrap_or(1000.0) as usize);
            let gap = every.unwrap_or(0.0) as u64;
            let size = number(arg, " by ").unwrap_or(20.0) as usize;
            pieces(&text, size).into_iter().map(|piece| (piece, gap)).collect()
        }
        _ => return None,
    })
}
