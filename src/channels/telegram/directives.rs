//! Files that an answer names, one per line (telegram.md 15). Pure.

use crate::message::OutFile;

/// Files of one answer; further lines stay as they are.
const MOST: usize = 64;
const KINDS: [&str; 7] = ["photo", "audio", "video", "voice", "document", "sticker", "animation"];

/// A file that a line names, with its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub file: OutFile,
    pub caption: String,
}

/// The text without the lines that name files, and the files. `find` says what a path or an address is; a line whose
/// file it refuses stays.
pub fn split(text: &str, mut find: impl FnMut(&str) -> Option<OutFile>) -> (String, Vec<Item>) {
    let mut items = Vec::new();
    if !text.contains("MEDIA:") && !KINDS.iter().any(|kind| text.contains(&format!("[{kind}]"))) {
        return (text.to_owned(), items);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut fence: Option<&str> = None;
    for line in text.split('\n') {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        let code = fence.is_some() || mark.is_some() || line.starts_with("    ") || line.starts_with('\t');
        let named = named(line.trim()).filter(|_| !code && items.len() < MOST);
        match named.and_then(|(kind, at, caption)| Some((kind, find(at)?, caption))) {
            Some((kind, file, caption)) => {
                let file = OutFile { kind: kind.to_owned(), ..file };
                items.push(Item { file, caption: caption.to_owned() });
            }
            None => kept.push(line),
        }
    }
    (kept.join("\n").trim().to_owned(), items)
}

/// Kind, place and caption.
fn named(line: &str) -> Option<(&'static str, &str, &str)> {
    if let Some(at) = line.strip_prefix("MEDIA:") {
        return Some(("", at.trim(), "")).filter(|(_, at, _)| !at.is_empty());
    }
    let (kind, rest) = line.strip_prefix('[')?.split_once(']')?;
    let kind = KINDS.into_iter().find(|k| *k == kind)?;
    let (at, caption) = rest.split_once('|').unwrap_or((rest, ""));
    Some((kind, at.trim(), caption.trim())).filter(|(_, at, _)| !at.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Vec<String>) {
        let find = |at: &str| (!at.starts_with('/')).then(|| OutFile { at: at.into(), ..OutFile::default() });
        let (text, items) = split(text, find);
        (text, items.iter().map(|i| format!("{}:{}:{}", i.file.kind, i.file.at, i.caption)).collect())
    }

    #[test]
    fn lines_name_files_and_leave_the_text() {
        for (text, kept, items) in [
            ("plain", "plain", vec![]),
            ("Look:\nMEDIA:a b.png\n", "Look:", vec![":a b.png:"]),
            (
                "[photo] a.png | my cat\n[audio] https://h/x.mp3",
                "",
                vec!["photo:a.png:my cat", "audio:https://h/x.mp3:"],
            ),
            ("say MEDIA:a.png here", "say MEDIA:a.png here", vec![]),
            ("```\nMEDIA:a.png\n```\nMEDIA:b.png", "```\nMEDIA:a.png\n```", vec![":b.png:"]),
            ("    MEDIA:a.png", "MEDIA:a.png", vec![]),
            ("MEDIA:/etc/passwd", "MEDIA:/etc/passwd", vec![]),
            ("[link](a) and [photo]", "[link](a) and [photo]", vec![]),
            ("MEDIA:", "MEDIA:", vec![]),
        ] {
            assert_eq!(of(text), (kept.into(), items.iter().map(|i| i.to_string()).collect()), "{text}");
        }
        let many = "MEDIA:a.png\n".repeat(MOST + 2);
        let (text, items) = of(&many);
        assert_eq!((items.len(), text.matches("MEDIA:a.png").count()), (MOST, 2));
    }
}
