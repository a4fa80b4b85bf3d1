//! The page as it is embedded: without comments, without white space that means nothing, and with short names for
//! what a script keeps to itself. All that is a third of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::write::GzEncoder;
use flate2::Compression;

fn main() {
    println!("cargo:rerun-if-changed=src/web");
    let to = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
    fs::create_dir_all(&to).expect("a folder in OUT_DIR");
    for file in fs::read_dir("src/web").expect("src/web") {
        let file = file.expect("a file of src/web");
        println!("cargo:rerun-if-changed={}", file.path().display());
        let text = fs::read_to_string(file.path()).expect("text");
        let name = file.file_name();
        let slim = slim(&text, &name.to_string_lossy());
        fs::write(to.join(&name), &slim).expect("a file in OUT_DIR");
        fs::write(to.join(format!("{}.gz", name.to_string_lossy())), gzip(&slim)).expect("a file in OUT_DIR");
    }
}

/// Compressed here, so that the program needs no compressor. The same text gives the same bytes.
fn gzip(text: &str) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(text.as_bytes()).and_then(|()| gz.finish()).expect("writing into memory cannot fail")
}

/// By the ending of its name.
pub fn slim(text: &str, name: &str) -> String {
    match name.rsplit('.').next() {
        Some("js") => script(text),
        Some("css") => style(text),
        _ => text.lines().map(str::trim).filter(|l| !l.is_empty()).flat_map(|l| [l, "\n"]).collect(),
    }
}

/// White space before a token.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Gap {
    None,
    Space,
    Line,
}

struct Token<'a> {
    gap: Gap,
    text: &'a str,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_$#@".contains(c) || !c.is_ascii()
}

/// Words, strings, regular expressions, pieces of templates, and single other characters; no comments.
fn tokens(text: &str, script: bool) -> Vec<Token<'_>> {
    let mut out: Vec<Token> = Vec::new();
    let (mut at, mut gap) = (0, Gap::None);
    let mut braces: Vec<bool> = Vec::new(); // open "{"; true: the "${" of a template
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            let wider = if c == '\n' { Gap::Line } else { Gap::Space };
            gap = if wider > gap { wider } else { gap };
            at += c.len_utf8();
            continue;
        }
        if rest.starts_with("/*") || script && rest.starts_with("//") {
            let end = if rest.starts_with("//") { rest.find('\n') } else { rest.find("*/").map(|n| n + 2) };
            at += end.unwrap_or(rest.len());
            continue;
        }
        let len = match c {
            '"' | '\'' => 1 + until(&rest[1..], |c, _| c == rest[..1].chars().next().unwrap_or(c)),
            '`' if script => template(rest, &mut braces),
            '}' if script && braces.pop() == Some(true) => template(rest, &mut braces),
            '{' => {
                braces.push(false);
                1
            }
            '/' if script && begins_regex(&out) => 1 + until(&rest[1..], |c, class| c == '/' && !class),
            _ if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        out.push(Token { gap, text: &rest[..len] });
        (at, gap) = (at + len, Gap::None);
    }
    out
}

/// Length up to and with the end; `end` hears whether it is in a `[class]`. A backslash hides what comes after it.
fn until(text: &str, end: impl Fn(char, bool) -> bool) -> usize {
    let (mut hidden, mut class) = (false, false);
    for (at, c) in text.char_indices() {
        if !hidden && end(c, class) {
            return at + c.len_utf8();
        }
        class = if hidden { class } else { c == '[' || class && c != ']' };
        hidden = !hidden && c == '\\';
    }
    text.len()
}

/// A piece of a template, from its first character to the backtick or `${` that ends it.
fn template(text: &str, braces: &mut Vec<bool>) -> usize {
    let mut hidden = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            '`' => return at + 1,
            '{' if text[..at].ends_with('$') => {
                braces.push(true);
                return at + 1;
            }
            _ => {}
        }
    }
    text.len()
}

/// A slash after a value divides; elsewhere it begins a regular expression.
fn begins_regex(before: &[Token]) -> bool {
    let Some(last) = before.last() else { return true };
    let value = last.text.chars().last().is_some_and(|c| is_word(c) || ")]}'\"`/".contains(c));
    !value || ["return", "typeof", "case", "of", "in"].contains(&last.text)
}

// ---------------------------------------------------------------- scripts

fn script(text: &str) -> String {
    let tokens = tokens(text, true);
    let close = partners(&tokens);
    let names = short_names(&tokens, &close);
    let mut heads: BTreeSet<usize> = BTreeSet::new(); // the ")" of a loop or condition, after which a ";" is its body
    for (open, end) in &close {
        if open.checked_sub(1).is_some_and(|i| ["for", "while", "if"].contains(&tokens[i].text)) {
            heads.insert(*end);
        }
    }
    let mut out = String::new();
    let mut bare: BTreeSet<usize> = BTreeSet::new(); // brackets around the one parameter of an arrow function
    for i in 0..tokens.len().saturating_sub(4) {
        let [open, name, end, equals, arrow] = [0, 1, 2, 3, 4].map(|n| tokens[i + n].text);
        if open == "(" && is_name(name) && end == ")" && equals == "=" && arrow == ">" {
            bare.extend([i, i + 2]);
        }
    }
    let joined = joined(&tokens);
    for (i, token) in tokens.iter().enumerate() {
        if joined.contains(&i) {
            out.push(',');
            continue;
        }
        if bare.contains(&i) || i.checked_sub(1).is_some_and(|before| joined.contains(&before)) {
            continue;
        }
        let next = tokens.get(i + 1).map_or("", |t| t.text);
        if token.text == ";" && next == "}" && !i.checked_sub(1).is_some_and(|before| heads.contains(&before)) {
            continue;
        }
        let before = i.checked_sub(1).map_or("", |i| tokens[i].text);
        let name = before == "." || next == ":" && (before == "{" || before == ",");
        let text = match token.text {
            word if name => names.get(word).map_or(word, String::as_str),
            "const" => "let",
            "true" => "!0",
            "false" => "!1",
            "undefined" => "void 0",
            name => names.get(name).map_or(name, String::as_str),
        };
        if let (Some(before), Some(after)) = (out.chars().last(), text.chars().next()) {
            // Where a bracket went away, its word must not join the one before.
            let gap = if i > 0 && bare.contains(&(i - 1)) { Gap::Space } else { token.gap };
            out += between(before, after, gap);
        }
        out += text;
    }
    out + "\n"
}

/// Semicolons between two declarations that can be one.
fn joined(tokens: &[Token]) -> BTreeSet<usize> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text);
    let declares = |i: usize| ["const", "let"].contains(&text(i));
    let mut joined = BTreeSet::new();
    let mut inside = vec![false]; // by bracket: within a declaration that began a statement
    for (i, token) in tokens.iter().enumerate() {
        let t = token.text;
        let begins = i == 0 || [";", "{", "}"].contains(&text(i - 1));
        if t.starts_with(['}', ')', ']']) && !t.ends_with("${") {
            inside.pop();
        }
        let Some(here) = inside.last_mut() else { break };
        match t {
            ";" => {
                if *here && declares(i + 1) {
                    joined.insert(i);
                }
                *here = false;
            }
            _ if declares(i) => *here = begins,
            _ => {}
        }
        if ["{", "(", "["].contains(&t) || t.ends_with("${") && !t.starts_with('}') {
            inside.push(false);
        }
    }
    joined
}

/// What a script needs between two tokens.
fn between(before: char, after: char, gap: Gap) -> &'static str {
    let signs = "+-/".contains(before) && "+-/".contains(after);
    match gap {
        Gap::None => "",
        // A line break may end a statement, but not after or before these. (What ends in "}" and needs a semicolon has
        // one in our source.)
        Gap::Line if !signs && ("{}([,;:?&|=<>.!".contains(before) || "})],.;:?&|=".contains(after)) => "",
        Gap::Line => "\n",
        Gap::Space if signs || is_word(before) && is_word(after) => " ",
        Gap::Space => "",
    }
}

/// Words of the language, and names that the browser gives: they stay.
const KEPT: &str = " as async await break case catch class const constructor continue default delete do else export \
    extends false finally for from function get if import in instanceof let new null of return set static super switch \
    this throw true try typeof undefined var void while yield document location history navigator window self name event \
    open close stop focus blur fetch scroll print status top parent length find origin screen closed frames arguments ";

/// Names that a script declares and that are never a property, a key, a method or exported, and its `#private`
/// ones. A name is replaced everywhere in the file by one that the file does not use, so scopes need no thought.
fn short_names<'a>(tokens: &[Token<'a>], close: &BTreeMap<usize, usize>) -> BTreeMap<&'a str, String> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text);
    let back = |i: usize, n: usize| i.checked_sub(n).map_or("", text);
    let (mut count, mut kept, mut declared) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut open: Vec<(&str, bool)> = Vec::new(); // brackets around; true: the body of a class
    let mut class = false;
    for i in 0..tokens.len() {
        let (t, before, after) = (text(i), back(i, 1), text(i + 1));
        match t {
            "class" => class = before != "{" && before != ",",
            "{" | "(" | "[" => {
                open.push((t, t == "{" && class));
                class &= t != "{";
                let declares = match t {
                    "(" => {
                        let end = close.get(&i).copied().unwrap_or(i);
                        text(end + 1) == "=" && text(end + 2) == ">"
                            || text(end + 1) == "{" && !["if", "for", "while", "switch"].contains(&before)
                    }
                    _ => before == "const" || before == "let",
                };
                if declares {
                    let mut at = i + 1;
                    while at < close.get(&i).copied().unwrap_or(i) {
                        if text(at) == "(" {
                            at = close.get(&at).copied().unwrap_or(at);
                        } else if is_name(text(at)) && ["(", "[", "{", ",", ":", "."].contains(&back(at, 1)) {
                            declared.insert(text(at));
                        }
                        at += 1;
                    }
                }
            }
            "}" | ")" | "]" => drop(open.pop()),
            _ if t.ends_with("${") => open.push(("$", false)),
            _ => {}
        }
        if t.starts_with('}') && t.len() > 1 && !t.ends_with("${") {
            open.pop();
        }
        if !is_name(t) {
            continue;
        }
        *count.entry(t).or_insert(0) += 1;
        if t.starts_with('#') {
            declared.insert(t);
            continue;
        }
        let inside = open.last().copied().unwrap_or(("", false));
        let spread = before == "." && back(i, 2) == ".";
        let property = before == "." && !spread;
        let key = after == ":" && (before == "{" || before == ",");
        let member = inside.0 == "{" && [",", "{"].contains(&before) && [",", "}", "="].contains(&after);
        let method =
            after == "(" && before != "function" && close.get(&(i + 1)).is_some_and(|end| text(end + 1) == "{");
        let exported = (1..4).any(|n| back(i, n) == "export") && before != "(" && before != "=";
        if property || key || member || method || exported || inside.1 {
            kept.insert(t);
        }
        if ["const", "let", "function", "class"].contains(&before) || after == "=" && text(i + 2) == ">" {
            declared.insert(t);
        }
    }
    let mut wanted: Vec<&str> = declared.into_iter().filter(|n| !kept.contains(n) && n.len() > 1).collect();
    wanted.sort_by_key(|n| std::cmp::Reverse(count.get(n).copied().unwrap_or(0) * n.len()));
    let mut fresh = (0..).map(short).filter(|n| !count.contains_key(n.as_str()) && !KEPT.contains(&format!(" {n} ")));
    let mut names = BTreeMap::new();
    for name in wanted {
        let Some(new) = fresh.next() else { break };
        let new = if name.starts_with('#') { format!("#{new}") } else { new };
        if new.len() < name.len() && !count.contains_key(new.as_str()) {
            names.insert(name, new);
        }
    }
    names
}

fn is_name(t: &str) -> bool {
    t.starts_with(|c: char| c.is_alphabetic() || "_$#".contains(c))
        && is_word_all(t)
        && !KEPT.contains(&format!(" {t} "))
}

fn is_word_all(t: &str) -> bool {
    t.chars().all(is_word)
}

/// `a` … `z`, `A` … `Z`, then with a second letter.
fn short(n: usize) -> String {
    let letter = |n: usize| char::from(if n < 26 { b'a' + n as u8 } else { b'A' + (n - 26) as u8 });
    match n {
        0..52 => letter(n).to_string(),
        _ => format!("{}{}", letter(n % 52), short(n / 52 - 1)),
    }
}

/// Where each bracket closes.
fn partners(tokens: &[Token]) -> BTreeMap<usize, usize> {
    let mut open = Vec::new();
    let mut pairs = BTreeMap::new();
    for (i, t) in tokens.iter().enumerate() {
        match t.text {
            "(" | "[" | "{" => open.push(i),
            ")" | "]" | "}" => {
                if let Some(from) = open.pop() {
                    pairs.insert(from, i);
                }
            }
            _ => {}
        }
    }
    pairs
}

// ---------------------------------------------------------------- styles

fn style(text: &str) -> String {
    let mut out = String::new();
    for token in tokens(text, false) {
        if token.text == "}" && out.ends_with(';') {
            out.pop();
        }
        let open = out.ends_with(['{', '}', ';', ',', ':', '>']) || ["{", "}", ";", ",", ">"].contains(&token.text);
        if token.gap != Gap::None && !open && !out.is_empty() {
            out.push(' ');
        }
        out += token.text;
    }
    short_variables(out + "\n")
}

/// Custom properties: only styles use them.
fn short_variables(style: String) -> String {
    let mut names: Vec<String> = style
        .match_indices("--")
        .map(|(at, _)| &style[at + 2..])
        .map(|rest| rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '-').unwrap_or(0)].to_owned())
        .collect();
    names.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b))); // a name may begin with another
    names.dedup();
    let longest_first = names.iter().filter(|n| !n.is_empty()).enumerate();
    longest_first.fold(style, |style, (n, name)| style.replace(&format!("--{name}"), &format!("--{}", short(n))))
}
