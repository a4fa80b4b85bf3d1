//! The page as it is embedded: without comments and without white space that means nothing, which is a fifth of it.
//! Names stay as they are, so that a message in a browser's console can be found in the source.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=src/web");
    let to = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
    fs::create_dir_all(&to).expect("a folder in OUT_DIR");
    for file in fs::read_dir("src/web").expect("src/web") {
        let file = file.expect("a file of src/web");
        println!("cargo:rerun-if-changed={}", file.path().display());
        let text = fs::read_to_string(file.path()).expect("text");
        let name = file.file_name();
        fs::write(to.join(&name), slim(&text, &name.to_string_lossy())).expect("a file in OUT_DIR");
    }
}

/// By the ending of its name: scripts and styles lose comments and white space, others indentation only.
pub fn slim(text: &str, name: &str) -> String {
    match name.rsplit('.').next() {
        Some("js") => Slim::new(text, Kind::Script).run(),
        Some("css") => Slim::new(text, Kind::Style).run(),
        _ => text.lines().map(str::trim).filter(|l| !l.is_empty()).flat_map(|l| [l, "\n"]).collect(),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Script,
    Style,
}

/// What lay between two tokens.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Gap {
    None,
    Space,
    Line,
}

/// Goes over the tokens once. Strings, templates and regular expressions are copied as they are.
struct Slim<'a> {
    text: &'a str,
    at: usize,
    kind: Kind,
    out: String,
    gap: Gap,
}

impl<'a> Slim<'a> {
    fn new(text: &'a str, kind: Kind) -> Slim<'a> {
        Slim { text, at: 0, kind, out: String::new(), gap: Gap::None }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn run(mut self) -> String {
        while let Some(c) = self.rest().chars().next() {
            let script = self.kind == Kind::Script;
            if c.is_whitespace() {
                let gap = if c == '\n' { Gap::Line } else { Gap::Space };
                self.gap = if gap > self.gap { gap } else { self.gap };
                self.at += c.len_utf8();
            } else if self.rest().starts_with("/*") {
                self.at += self.rest().find("*/").map_or(self.rest().len(), |n| n + 2);
            } else if script && self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else {
                let len = match c {
                    '"' | '\'' => quoted(self.rest(), c),
                    '`' if script => template(self.rest()),
                    '/' if script && self.begins_regex() => regex(self.rest()),
                    _ if is_word(c) => self.rest().find(|c| !is_word(c)).unwrap_or(self.rest().len()),
                    _ => c.len_utf8(),
                };
                self.put(len);
            }
        }
        self.out.push('\n');
        self.out
    }

    fn put(&mut self, len: usize) {
        let token = &self.rest()[..len];
        if let (Some(before), Some(after)) = (self.out.chars().last(), token.chars().next()) {
            match self.kind {
                Kind::Script if self.gap != Gap::None => self.out += between(before, after, self.gap),
                Kind::Style => {
                    if token == "}" && before == ';' {
                        self.out.pop();
                    }
                    if self.gap != Gap::None && !"{};,:>".contains(before) && !"{};,>".contains(after) {
                        self.out.push(' ');
                    }
                }
                Kind::Script => {}
            }
        }
        self.out += token;
        self.gap = Gap::None;
        self.at += len;
    }

    /// A slash after a value divides; elsewhere it begins a regular expression.
    fn begins_regex(&self) -> bool {
        let word: String = self.out.chars().rev().take_while(|c| is_word(*c)).collect::<Vec<_>>().iter().rev().collect();
        match self.out.chars().last() {
            _ if ["return", "typeof", "case", "of", "in"].contains(&word.as_str()) => true,
            Some(c) => !is_word(c) && !")]}'\"`".contains(c),
            None => true,
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_$#@".contains(c) || !c.is_ascii()
}

/// What a script needs between two tokens that had white space between them.
fn between(before: char, after: char, gap: Gap) -> &'static str {
    let sign = "+-/".contains(before) && "+-/".contains(after);
    if gap == Gap::Line {
        // A line break may end a statement, but not after or before these.
        let open = "{([,;:?&|=<>.!".contains(before) || "})],.;:?&|=".contains(after);
        return if open && !sign { "" } else { "\n" };
    }
    if is_word(before) && is_word(after) || sign {
        " "
    } else {
        ""
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A template with all that is in its `${}`.
fn template(text: &str) -> usize {
    let mut at = 1;
    let mut depth = 0;
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '\\' => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            '`' if depth == 0 => return at + 1,
            '$' if depth == 0 && text[at..].starts_with("${") => {
                depth = 1;
                2
            }
            '`' => template(&text[at..]),
            '\'' | '"' if depth > 0 => quoted(&text[at..], c),
            '{' if depth > 0 => {
                depth += 1;
                1
            }
            '}' if depth > 0 => {
                depth -= 1;
                1
            }
            c => c.len_utf8(),
        };
    }
    text.len()
}

fn regex(text: &str) -> usize {
    let (mut escaped, mut class) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '/' if !class => return at + 1,
            _ => {}
        }
    }
    text.len()
}
