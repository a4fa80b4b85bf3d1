//! Finds `||spoilers||`, which CommonMark does not know, between the parser's events.

use std::ops::Range;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// Two bars that open or close a spoiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bars {
    /// Byte offset of the first bar in the source.
    pub at: usize,
    pub opens: bool,
}

/// All bars that belong to a pair, in order of the source. Both bars of a pair stand in the same paragraph and inside
/// the same marks, and touch what they hide: `a || b || c` is no spoiler.
pub fn find(source: &str) -> Vec<Bars> {
    if !source.contains("||") {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    // For each open tag, the bars that may still be closed in it.
    let mut openers: Vec<Option<usize>> = vec![None];
    let mut in_code = false;
    for (event, range) in Parser::new_ext(source, super::parse::options()).into_offset_iter() {
        match event {
            Event::Start(tag) => {
                in_code |= matches!(tag, Tag::CodeBlock(_));
                openers.push(None);
            }
            Event::End(tag) => {
                in_code &= tag != TagEnd::CodeBlock;
                openers.pop();
            }
            Event::Text(text) if !in_code && source.get(range.clone()) == Some(&*text) => {
                let Some(opener) = openers.last_mut() else { continue };
                for at in bars(source, range) {
                    match *opener {
                        Some(start) if touches_before(source, at) => {
                            pairs.push(Bars { at: start, opens: true });
                            pairs.push(Bars { at, opens: false });
                            *opener = None;
                        }
                        _ if touches_after(source, at) => *opener = Some(at),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    pairs.sort_unstable_by_key(|bars| bars.at);
    pairs
}

/// Offsets of exactly two bars that begin in this text and are not escaped.
fn bars(source: &str, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
    let bytes = source.as_bytes();
    let is_bar = move |at: Option<usize>| at.and_then(|at| bytes.get(at)) == Some(&b'|');
    let start = range.start;
    memchr::memchr_iter(b'|', &bytes[range]).map(move |i| start + i).filter(move |&at| {
        let escaped = at == start && at > 0 && bytes[at - 1] == b'\\';
        !escaped && is_bar(Some(at + 1)) && !is_bar(Some(at + 2)) && !is_bar(at.checked_sub(1))
    })
}

fn touches_before(source: &str, at: usize) -> bool {
    source[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())
}

fn touches_after(source: &str, at: usize) -> bool {
    source[at + 2..].chars().next().is_some_and(|c| !c.is_whitespace())
}
