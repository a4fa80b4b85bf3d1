//! Keyboards as values: what a button does, what its press brings back, how many fit under a message (telegram.md 11).
//! Pure.

use serde::{Deserialize, Serialize};

use crate::message::Button;
use crate::rules::Keys;

/// Characters of a button's text.
const LABEL: usize = 40;
/// Bytes of a keyboard, with what each button takes beside its text: platforms refuse 10 kB.
const BYTES: usize = 9_000;
const PER_BUTTON: usize = 64;
/// Buttons kept free for turning pages, for cancelling.
const SPARE: usize = 5;

/// What a button of a menu does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// As if who pressed had written this command; its reply takes the menu's place.
    Run(String),
    /// As if they had written this to the agent.
    Say(String),
    /// Another page, in the same message.
    Page(Menu),
}

/// A page of buttons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Menu {
    Providers(usize),
    Models { provider: String, page: usize },
    Levels,
    Roles(Vec<String>),
    DeleteRole(String),
    Sessions,
    Skills(usize),
    Help(usize),
}

/// A button and what it does.
pub type Key = (String, Act);

/// What a press brings back.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<'a> {
    /// Button `n` of a keyboard.
    Button {
        id: &'a str,
        n: usize,
    },
    Cancel {
        id: &'a str,
    },
    Done {
        id: &'a str,
    },
    /// Another page of a question's options.
    Page {
        id: &'a str,
        page: usize,
    },
}

/// `k:<8 characters>:<what>`
pub fn data(id: &str, what: &str) -> String {
    format!("k:{id}:{what}")
}

pub fn parse(data: &str) -> Option<Data<'_>> {
    let (id, what) = data.strip_prefix("k:")?.split_once(':')?;
    Some(match what {
        "x" => Data::Cancel { id },
        "d" => Data::Done { id },
        _ => match what.strip_prefix('p') {
            Some(page) => Data::Page { id, page: page.parse().ok()? },
            None => Data::Button { id, n: what.parse().ok()? },
        },
    })
}

/// What the literals of the original's keyboards ask for; they stand under messages of before its replacement. Numbers
/// that mean something else by now show the list anew.
pub fn literal(data: &str) -> Option<Act> {
    let (name, rest) = data.split_once(':').unwrap_or((data, ""));
    Some(match (name, rest.split_once(':').unwrap_or((rest, ""))) {
        ("mdl_prov" | "mdl_back", _) => Act::Page(Menu::Providers(0)),
        ("mdl_list", (provider, page)) => {
            Act::Page(Menu::Models { provider: decoded(provider), page: page.parse().unwrap_or(0) })
        }
        ("mdl_sel", _) => {
            let (provider, model) = rest.split_once('/')?;
            Act::Run(format!("/model {}/{}", decoded(provider), decoded(model)))
        }
        ("cmd_page", _) => Act::Page(Menu::Help(rest.parse().unwrap_or(0))),
        ("skill_run", _) if !rest.is_empty() => Act::Say(format!("/skill:{rest}")),
        ("rsm" | "rsm_see" | "rsm_pg", _) => Act::Run("/sessions".into()),
        ("role", ("set", role)) => Act::Run(format!("/role set {role}")),
        ("role", ("del", role)) => Act::Page(Menu::DeleteRole(role.to_owned())),
        ("role", ("hint", _)) => Act::Run("/role".into()),
        _ => return None,
    })
}

/// `%41` as `A`.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).filter(|_| *first == b'%');
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text that a button can bear: one line, not empty, not too long.
pub fn label(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LABEL) {
        Some(_) => line.chars().take(LABEL - 1).chain(['…']).collect(),
        None if line.is_empty() => "–".to_owned(),
        None => line,
    }
}

pub fn button(id: &str, what: &str, text: &str) -> Button {
    Button { text: label(text), data: data(id, what) }
}

/// Rows of keys as the buttons of keyboard `id`, and what they do in the order of their numbers.
pub fn numbered(id: &str, rows: Vec<Vec<Key>>) -> (Vec<Vec<Button>>, Vec<Act>) {
    let mut acts = Vec::new();
    let mut key = |(text, act): Key| {
        acts.push(act);
        button(id, &(acts.len() - 1).to_string(), &text)
    };
    let rows = rows.into_iter().map(|row| row.into_iter().map(&mut key).collect()).collect();
    (rows, acts)
}

/// Which options are on which page: as many as the platform takes.
pub fn pages(options: &[String], keys: Keys) -> Vec<std::ops::Range<usize>> {
    let most = keys.most.saturating_sub(SPARE).max(1);
    let mut pages = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (n, option) in options.iter().enumerate() {
        let own = label(option).len() * 2 + PER_BUTTON; // quotation marks take two bytes
        if n > from && (n - from >= most || bytes + own > BYTES - SPARE * PER_BUTTON) {
            pages.push(from..n);
            (from, bytes) = (n, 0);
        }
        bytes += own;
    }
    pages.push(from..options.len());
    pages
}

/// `◀ 2/3 ▶`: the row that turns the pages, if there is more than one.
pub fn turning(page: usize, pages: usize, to: impl Fn(usize) -> Act) -> Option<Vec<Key>> {
    (pages > 1).then(|| {
        vec![
            ("◀".to_owned(), to(page.checked_sub(1).unwrap_or(pages - 1))),
            (format!("{}/{pages}", page + 1), to(page)),
            ("▶".to_owned(), to((page + 1) % pages)),
        ]
    })
}

/// Text as Markdown that shows it as it is.
pub fn literally(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_press_brings_back_is_read_and_short() {
        for (what, want) in [
            ("17", Data::Button { id: "abcdefgh", n: 17 }),
            ("x", Data::Cancel { id: "abcdefgh" }),
            ("d", Data::Done { id: "abcdefgh" }),
            ("p3", Data::Page { id: "abcdefgh", page: 3 }),
        ] {
            let data = data("abcdefgh", what);
            assert!(data.len() <= 64, "{data}");
            assert_eq!(parse(&data), Some(want));
        }
        for odd in ["", "k:", "k:abc", "k:abc:", "k:abc:-1", "k:abc:px", "mdl_prov"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn literals_of_the_original_still_mean_something() {
        for (data, want) in [
            ("mdl_prov", Some(Act::Page(Menu::Providers(0)))),
            ("mdl_list:open%20ai:2", Some(Act::Page(Menu::Models { provider: "open ai".into(), page: 2 }))),
            ("mdl_sel:a/b%2Fc", Some(Act::Run("/model a/b/c".into()))),
            ("cmd_page:1", Some(Act::Page(Menu::Help(1)))),
            ("skill_run:pdf", Some(Act::Say("/skill:pdf".into()))),
            ("rsm:3", Some(Act::Run("/sessions".into()))),
            ("role:set:boss", Some(Act::Run("/role set boss".into()))),
            ("role:del:boss", Some(Act::Page(Menu::DeleteRole("boss".into())))),
            ("kb:k1:yes", None),
            ("nonsense", None),
        ] {
            assert_eq!(literal(data), want, "{data}");
        }
    }

    #[test]
    fn every_option_is_on_one_page_and_no_page_is_too_large() {
        let keys = Keys { per_row: 8, most: 100 };
        for (count, text) in [(0, "x"), (1, "x"), (95, "x"), (250, "x"), (300, "\"\"\"\""), (120, "\u{1f600}\u{1f600}")]
        {
            let options: Vec<String> = (0..count).map(|n| text.repeat(25) + &n.to_string()).collect();
            let pages = pages(&options, keys);
            let all: Vec<usize> = pages.iter().cloned().flatten().collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            for page in pages {
                assert!(page.len() <= 95);
                let bytes: usize = options[page].iter().map(|o| label(o).len() * 2 + PER_BUTTON).sum();
                assert!(bytes <= BYTES, "{bytes}");
            }
        }
    }

    #[test]
    fn a_label_is_one_short_line() {
        assert_eq!(label(" a\n b "), "a b");
        assert_eq!(label(" \n "), "–");
        assert_eq!(label(&"x".repeat(41)).chars().count(), 40);
        assert_eq!(literally("a*b_[c]"), r"a\*b\_\[c\]");
    }
}
