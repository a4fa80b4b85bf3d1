//! What heartbeats say and read: pure rules about an answer's text and about `core/heartbeat.md` (core.md 14).

/// An answer that says nothing needs attention.
pub const TOKEN: &str = "HEARTBEAT_OK";
/// Of `core/heartbeat.md` that much is looked at, bytes.
pub const MOST: u64 = 64 << 10;

const MARKUP: &[char] = &['*', '_', '`', '~', '"', '\'', '>', '#'];
const BETWEEN: &[char] = &['.', '!', ',', ';', ':', '-', '–', '—'];

/// What of an answer is told to people; `None`: nothing. `most`: so many characters beside the token are not worth
/// telling. `asked`: something had happened, and whatever is said of it is told.
pub fn worth_telling(text: &str, most: usize, asked: bool) -> Option<String> {
    let text = text.replace("[NO_REPLY]", "");
    let text = text.trim();
    if text == "NO_REPLY" {
        return None;
    }
    let (mut rest, found) = without_token(text);
    while let (less, true) = without_token(rest.trim()) {
        rest = less; // an agent that uses tools says it several times
    }
    let rest = rest.trim();
    let silent = rest.is_empty() || found && !asked && rest.chars().count() <= most;
    (!silent).then(|| rest.to_owned())
}

/// The text without the token at its beginning and its end, and whether it was there.
fn without_token(text: &str) -> (&str, bool) {
    let (mut rest, mut found) = (text, false);
    let (markup, word) = rest.split_at(rest.len() - skip_markup(rest).len());
    if let Some(after) = word.strip_prefix(TOKEN).filter(|after| !after.starts_with(in_word)) {
        found = true;
        rest = after.trim_start_matches(separates);
        if !markup.is_empty() {
            rest = rest.trim_end().trim_end_matches(markup.trim()); // what was opened before the token
        }
    }
    let end = rest.trim_end_matches(separates);
    let end = end.strip_suffix('>').and_then(|tag| Some(&tag[..tag.rfind("</")?])).unwrap_or(end);
    if let Some(before) = end.trim_end_matches(separates).strip_suffix(TOKEN).filter(|b| !b.ends_with(in_word)) {
        found = true;
        let before = before.trim_end();
        let before = before.strip_suffix("<b>").or(before.strip_suffix("<code>")).unwrap_or(before);
        rest = before.trim_end_matches(|c: char| c.is_whitespace() || MARKUP.contains(&c));
    }
    (rest, found)
}

/// Behind markup and an opening tag.
fn skip_markup(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() || MARKUP.contains(&c));
    match rest.strip_prefix('<').and_then(|tag| tag.split_once('>')) {
        Some((name, after)) if name.len() < 12 && after.trim_start().starts_with(TOKEN) => after.trim_start(),
        _ => rest,
    }
}

fn separates(c: char) -> bool {
    c.is_whitespace() || MARKUP.contains(&c) || BETWEEN.contains(&c)
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Is there a line in `core/heartbeat.md` that asks for something? Headings, blank lines, comments, and list items
/// without words do not.
pub fn asks_for_something(file: &str) -> bool {
    file.lines().any(|line| {
        let line = line.trim();
        let comment = line.starts_with("<!--") && line.ends_with("-->");
        if line.starts_with('#') || comment {
            return false;
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let item = match number.len() < line.len() {
            true => number.strip_prefix(['.', ')']).unwrap_or(line),
            false => line.strip_prefix(['-', '*', '+']).unwrap_or(line),
        };
        let item = item.trim();
        let boxed = ["[ ]", "[x]", "[X]", "[]"].iter().find_map(|b| item.strip_prefix(b)).unwrap_or(item);
        boxed.chars().any(|c| !matches!(c, '-' | '*' | '_' | '=' | '`' | ' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_a_few_words_beside_it_are_not_told() {
        for text in [
            "HEARTBEAT_OK",
            "**HEARTBEAT_OK**",
            "<b>HEARTBEAT_OK</b>",
            "`HEARTBEAT_OK`.",
            "HEARTBEAT_OK — all quiet",
            "All quiet.\n\n**HEARTBEAT_OK**",
            "[NO_REPLY]",
            "NO_REPLY",
            "",
        ] {
            assert_eq!(worth_telling(text, 300, false), None, "{text}");
        }
    }

    #[test]
    fn more_than_that_and_what_comes_without_the_token_is_told() {
        for (text, most, asked, told) in [
            ("The disk is full.", 300, false, Some("The disk is full.")),
            ("HEARTBEAT_OK the disk is full", 5, false, Some("the disk is full")),
            ("**HEARTBEAT_OK: the disk is full**", 5, false, Some("the disk is full")),
            ("The disk is full. `HEARTBEAT_OK`!", 5, false, Some("The disk is full.")),
            ("HEARTBEAT_OKAY", 300, false, Some("HEARTBEAT_OKAY")),
            (
                "I answer HEARTBEAT_OK when all is well, but the disk is full",
                300,
                false,
                Some("I answer HEARTBEAT_OK when all is well, but the disk is full"),
            ),
            ("Sent it. HEARTBEAT_OK", 300, true, Some("Sent it.")),
            ("HEARTBEAT_OK", 300, true, None),
            // Said again after each tool.
            ("HEARTBEAT_OK\n\nHEARTBEAT_OK\n\n**HEARTBEAT_OK**\n\nHEARTBEAT_OK\n\nHEARTBEAT_OK", 0, true, None),
        ] {
            assert_eq!(worth_telling(text, most, asked).as_deref(), told, "{text}");
        }
    }

    #[test]
    fn only_lines_with_words_ask_for_something() {
        for text in ["", "# Heartbeat\n\n", "- \n* [ ]\n+ [x]\n1. \n---\n<!-- write here -->\n## b"] {
            assert!(!asks_for_something(text), "{text}");
        }
        for text in ["look at the disks", "# a\n- [ ] look", "2) look", "* look", "42"] {
            assert!(asks_for_something(text), "{text}");
        }
    }

    #[test]
    fn a_window_may_cross_midnight() {
        let hours = |start, end| crate::rules::Hours { start, end, zone: None };
        for (window, minute, held) in [
            (hours(540, 1020), 540, true),
            (hours(540, 1020), 1020, false),
            (hours(1320, 360), 1380, true),
            (hours(1320, 360), 359, true),
            (hours(1320, 360), 360, false),
            (hours(1320, 1440), 1439, true),
            (hours(1320, 1440), 0, false),
            (hours(0, 1440), 0, true),
            (hours(600, 600), 0, true),
        ] {
            assert_eq!(window.hold(minute), held, "{window:?} {minute}");
        }
    }
}
