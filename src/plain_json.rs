//! JSON as other programs write it, made parsable: broken UTF-8, halves of surrogate pairs, nesting without end.
//!
//! Text in, text out; what it says is not looked at here.

use std::borrow::Cow;

/// Deepest nesting that is parsed (footprint.md 2.3).
pub const NESTING: usize = 64;

/// Makes a line parsable: UTF-8, no lone surrogates, nesting within the limit (`None` if not).
pub(crate) fn clean(line: &[u8]) -> Option<Cow<'_, str>> {
    let mut depth = 0usize;
    let mut at = 0;
    let mut lone = Vec::new();
    while let Some(b) = line.get(at) {
        at += 1;
        match b {
            b'{' | b'[' => {
                depth += 1;
                if depth > NESTING {
                    return None;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(line, at, &mut lone),
            _ => {}
        }
    }
    if lone.is_empty() {
        return Some(String::from_utf8_lossy(line));
    }
    let mut fixed = line.to_vec();
    for at in lone {
        fixed[at..at + 4].copy_from_slice(b"fffd");
    }
    Some(String::from_utf8_lossy(&fixed).into_owned().into())
}

/// Skips a string; notes where the digits of lone surrogates stand.
fn string_end(line: &[u8], mut at: usize, lone: &mut Vec<usize>) -> usize {
    let unit = |at: usize| {
        let hex = line.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    while let Some(found) = line.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if line[at] == b'"' {
            return at + 1;
        }
        match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
            Some(0xD800..=0xDFFF) => {
                lone.push(at + 2);
                at += 6;
            }
            _ => at += 2,
        }
    }
    line.len()
}
