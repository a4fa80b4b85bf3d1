//! What a reader sees as one character: where text may be cut, and how many columns it takes.
//!
//! The rules are those of Unicode Annex 29 as far as chat text needs them: combining marks, joiners, variation
//! selectors, skin tones, flags, Hangul and Indic conjuncts. Never looks back: one pass from a known boundary.

mod ranges;

use ranges::{EXTENDING, WIDE};

const JOINER: char = '\u{200d}';
const EMOJI_STYLE: char = '\u{fe0f}';

/// Walks over text and says of each character whether it continues the cluster of the one before.
#[derive(Default)]
pub struct Clusters {
    before: Option<char>,
    /// The character before is the first half of a flag.
    half_flag: bool,
}

impl Clusters {
    /// Takes the next character; true if no cut is allowed before it.
    pub fn joins(&mut self, next: char) -> bool {
        let Some(before) = self.before.replace(next) else {
            self.half_flag = is_flag_half(next);
            return false;
        };
        let second_half = self.half_flag && is_flag_half(next);
        self.half_flag = is_flag_half(next) && !second_half;
        if (next as u32) < 0x300 || before.is_control() {
            return false;
        }
        second_half || is_extending(next) || before == JOINER || hangul(before, next) || conjunct(before, next)
    }
}

/// Columns of a text in a monospace font: wide characters and emoji 2, marks 0.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    let (mut total, mut cluster, mut clusters) = (0, 0, Clusters::default());
    for c in text.chars() {
        if !clusters.joins(c) {
            total += cluster;
            cluster = columns(c);
        } else if c == EMOJI_STYLE || is_flag_half(c) {
            cluster = 2;
        } else {
            cluster = cluster.max(columns(c));
        }
    }
    total + cluster
}

/// Two columns wide; true for all CJK characters and their punctuation.
pub fn is_wide(c: char) -> bool {
    within(WIDE, c)
}

/// Shows nothing: white space, controls, and what Telegram counts as empty.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fffc}')
}

fn columns(c: char) -> usize {
    match c {
        _ if is_wide(c) => 2,
        _ if is_extending(c) || is_blank(c) && !c.is_whitespace() => 0,
        _ => 1,
    }
}

fn is_extending(c: char) -> bool {
    within(EXTENDING, c)
}

fn is_flag_half(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Hangul letters that are written as one syllable.
fn hangul(before: char, next: char) -> bool {
    let leading = |c: char| matches!(c, '\u{1100}'..='\u{115f}' | '\u{a960}'..='\u{a97c}');
    match next {
        '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7fb}' => {
            leading(before) || matches!(before, '\u{1160}'..='\u{11ff}' | '\u{ac00}'..='\u{d7fb}')
        }
        '\u{ac00}'..='\u{d7a3}' => leading(before),
        _ => leading(next) && leading(before),
    }
}

/// A consonant after a virama of the same script.
fn conjunct(before: char, next: char) -> bool {
    let virama = matches!(before, '\u{94d}' | '\u{9cd}' | '\u{acd}' | '\u{b4d}' | '\u{c4d}' | '\u{d4d}');
    virama && (before as u32) & !0x7f == (next as u32) & !0x7f && next.is_alphabetic()
}

fn within(ranges: &[(u32, u32)], c: char) -> bool {
    let code = c as u32;
    if code < ranges[0].0 {
        return false;
    }
    ranges.get(ranges.partition_point(|range| range.1 < code)).is_some_and(|range| range.0 <= code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(text: &str) -> Vec<String> {
        let (mut all, mut state): (Vec<String>, _) = (Vec::new(), Clusters::default());
        for c in text.chars() {
            match all.last_mut() {
                Some(last) if state.joins(c) => last.push(c),
                _ => {
                    if all.is_empty() {
                        state.joins(c);
                    }
                    all.push(c.to_string());
                }
            }
        }
        all
    }

    #[test]
    fn what_is_seen_as_one_character_is_one_cluster() {
        for (text, count) in [
            ("abc", 3),
            ("e\u{301}x", 2),
            ("👨\u{200d}👩\u{200d}👧!", 2),
            ("👍🏽👍", 2),
            ("❤\u{fe0f}a", 2),
            ("1\u{fe0f}\u{20e3}", 1),
            ("🇩🇪🇫🇷🇮", 3),
            ("🏴\u{e0067}\u{e0062}\u{e007f}", 1),
            ("\u{1112}\u{1161}\u{11ab}\u{ac00}", 2),
            ("क\u{94d}षि", 1),
            ("\n\u{301}", 2),
            ("漢字", 2),
        ] {
            assert_eq!(clusters(text).len(), count, "{text:?}: {:?}", clusters(text));
        }
    }

    #[test]
    fn wide_characters_take_two_columns_and_marks_none() {
        for (text, columns) in [
            ("abc", 3),
            ("漢字", 4),
            ("e\u{301}", 1),
            ("🎉", 2),
            ("❤\u{fe0f}", 2),
            ("❤", 1),
            ("🇩🇪", 2),
            ("👨\u{200d}👩\u{200d}👧", 2),
            ("｡ｱ", 2),
            ("。", 2),
            ("한", 2),
            ("é", 1),
        ] {
            assert_eq!(width(text), columns, "{text:?}");
        }
    }
}
