//! What the server makes of a text after its markup is parsed: trimming, limits, entities found by itself.

use serde_json::{json, Value};

use super::args::Refusal;
use super::entities::utf16;

/// Characters a text may have, and what the refusal says.
#[derive(Clone, Copy)]
pub struct Limit {
    pub most: usize,
    pub utf16: bool,
    pub too_long: &'static str,
    pub may_be_empty: bool,
}

fn span(entity: &Value) -> (i64, i64) {
    let offset = entity["offset"].as_i64().unwrap_or(0);
    (offset, offset + entity["length"].as_i64().unwrap_or(0))
}

fn code(entity: &Value) -> bool {
    entity["type"] == "code" || entity["type"] == "pre"
}

/// The text as it will be shown and its entities, sorted; at most 100 are kept.
pub fn tidy(text: &str, entities: Vec<Value>, limit: Limit) -> Result<(String, Vec<Value>), Refusal> {
    let clean: String = text
        .chars()
        .filter(|c| *c >= ' ' || matches!(c, '\n' | '\t'))
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    // Offsets are in the uncleaned text; what was cut out before them moves them.
    let moved = |at: i64| {
        let (mut units, mut gone) = (0, 0);
        for c in text.chars() {
            if units >= at {
                break;
            }
            units += c.len_utf16() as i64;
            gone += i64::from(c < ' ' && !matches!(c, '\n' | '\t'));
        }
        at - gone
    };
    let end = clean.trim_end();
    if end.is_empty() {
        let nothing = Ok((String::new(), Vec::new()));
        return if limit.may_be_empty { nothing } else { Err(Refusal::bad("Text must be non-empty")) };
    }
    let mut entities: Vec<Value> = entities
        .into_iter()
        .map(|mut e| {
            let (from, to) = span(&e);
            e["offset"] = json!(moved(from));
            e["length"] = json!(moved(to) - moved(from));
            e
        })
        .collect();
    let first = entities.iter().map(|e| span(e).0).min().unwrap_or(i64::MAX);
    let blank = (end.len() - end.trim_start_matches([' ', '\n']).len()) as i64;
    let lead = blank.min(first).max(0);
    let text = end[lead as usize..].to_owned();
    let total = utf16(&text);
    entities.retain_mut(|e| {
        let (from, to) = span(e);
        let (from, to) = (from - lead, (to - lead).min(total));
        e["offset"] = json!(from);
        e["length"] = json!(to - from);
        from >= 0 && to > from
    });
    let blocks: Vec<(i64, i64)> = entities.iter().filter(|e| code(e)).map(span).collect();
    entities.retain(|e| {
        let quote = e["type"].as_str().is_some_and(|t| t.contains("blockquote"));
        code(e) || quote || !blocks.iter().any(|(from, to)| (*from..*to).contains(&span(e).0))
    });
    let length = if limit.utf16 { total as usize } else { text.chars().count() };
    if length > limit.most {
        return Err(Refusal::bad(limit.too_long));
    }
    find_entities(&text, &mut entities);
    entities.sort_by_key(|e| (span(e).0, -(span(e).1 - span(e).0)));
    entities.dedup();
    entities.truncate(100);
    Ok((text, entities))
}

/// Adds what the server finds by itself: commands, mentions, hashtags, addresses of web pages and of mail.
pub fn find_entities(text: &str, entities: &mut Vec<Value>) {
    let fixed = ["code", "pre", "text_link", "text_mention", "custom_emoji", "bot_command", "mention", "url"];
    let mut taken: Vec<(i64, i64)> =
        entities.iter().filter(|e| fixed.iter().any(|f| e["type"] == *f)).map(span).collect();
    for (from, word) in words(text) {
        let whole = kind_of(word).map(|(kind, length)| (0, kind, length));
        let Some((start, kind, length)) = whole.or_else(|| inside(word)) else { continue };
        let offset = utf16(&text[..from + start]);
        let end = offset + utf16(&word[start..start + length]);
        if taken.iter().all(|(a, b)| end <= *a || offset >= *b) {
            taken.push((offset, end));
            entities.push(json!({"offset": offset, "length": end - offset, "type": kind}));
        }
    }
}

/// Words between white space, brackets and quotes, with their byte position.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let border = |c: char| c.is_whitespace() || "()[]{}<>\"',;".contains(c);
    text.split(border).map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// A mention, command or hashtag behind a sign or a picture: start, kind, length.
fn inside(word: &str) -> Option<(usize, &'static str, usize)> {
    let mut before = ' ';
    for (at, c) in word.char_indices() {
        let free = at > 0 && !before.is_alphanumeric() && before != '_' && (c != '/' || before != '/');
        if free && matches!(c, '@' | '/' | '#') {
            if let Some((kind, length)) = kind_of(&word[at..]) {
                return Some((at, kind, length));
            }
        }
        before = c;
    }
    None
}

fn name_length(text: &str) -> usize {
    text.len() - text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len()
}

/// Kind and length in bytes of the entity at the start of `word`.
fn kind_of(word: &str) -> Option<(&'static str, usize)> {
    if let Some(rest) = word.strip_prefix('/') {
        let name = name_length(rest);
        let mut length = 1 + name;
        if let Some(bot) = rest[name..].strip_prefix('@') {
            let bot = name_length(bot);
            length += if (3..=32).contains(&bot) { 1 + bot } else { 0 };
        }
        let whole = !word[length..].starts_with(['/', '@']);
        return ((1..=64).contains(&name) && whole).then_some(("bot_command", length));
    }
    if let Some(rest) = word.strip_prefix('@') {
        let name = name_length(rest);
        return (2..=32).contains(&name).then_some(("mention", 1 + name));
    }
    if let Some(rest) = word.strip_prefix('#') {
        let name = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        return rest[..name].chars().any(char::is_alphabetic).then_some(("hashtag", 1 + name));
    }
    let word = word.trim_end_matches(['.', ':', '!', '?']);
    let lower = word.to_lowercase();
    let host = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    if let Some(host) = host {
        return (!host.is_empty()).then_some(("url", word.len()));
    }
    let domain = |text: &str| {
        let known = ["com", "org", "net", "io", "dev", "me", "ru", "cn", "app"];
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        plain && text.rsplit_once('.').is_some_and(|(name, top)| !name.is_empty() && known.contains(&top))
    };
    if let Some((name, host)) = lower.split_once('@') {
        return (!name.is_empty() && domain(host)).then_some(("email", word.len()));
    }
    domain(lower.split('/').next().unwrap_or("")).then_some(("url", word.len()))
}
