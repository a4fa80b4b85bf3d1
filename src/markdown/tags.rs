//! HTML as the Bot API takes it (telegram.md 13.2), from those who write it themselves: read into [`Rich`], so that it
//! can be cut and is always well formed. What is no tag of that list is text.

use super::builder::Builder;
use super::rich::{Kind, Rich};

/// Text with tags.
pub fn tags(html: &str) -> Rich {
    let mut b = Builder::new();
    let mut open: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut rest = html;
    // Code is taken as a whole; its own tags are none.
    let mut code: Option<(String, Option<String>, String)> = None;
    while !rest.is_empty() {
        let Some(at) = rest.find('<') else { break };
        text.push_str(&unescaped(&rest[..at]));
        let tag = rest[at + 1..].split_once('>').map(|(tag, after)| (tag, after, tag_of(tag)));
        let Some((_, after, Some((name, closing, value)))) = tag else {
            text.push('<');
            rest = &rest[at + 1..];
            continue;
        };
        rest = after;
        if let Some((outer, lang, inner)) = &mut code {
            inner.push_str(&std::mem::take(&mut text));
            if name == "code" && outer == "pre" {
                *lang = lang.take().or(value);
            } else if closing && name == *outer {
                match outer.as_str() {
                    "pre" => b.pre(lang.take(), inner),
                    _ => b.code(inner),
                }
                code = None;
            }
            continue;
        }
        b.text(&std::mem::take(&mut text));
        match (name.as_str(), closing) {
            ("pre" | "code", false) => code = Some((name, value, String::new())),
            ("pre" | "code", true) => {}
            (_, false) => {
                if let Some(kind) = kind(&name, value) {
                    b.open(kind);
                    open.push(name);
                }
            }
            (_, true) => {
                if let Some(at) = open.iter().rposition(|n| *n == name) {
                    for _ in at..open.len() {
                        b.close();
                    }
                    open.truncate(at);
                }
            }
        }
    }
    text.push_str(&unescaped(rest));
    match code {
        Some((outer, lang, inner)) if outer == "pre" => b.pre(lang, &(inner + &text)),
        Some((_, _, inner)) => b.code(&(inner + &text)),
        None => b.text(&text),
    }
    for _ in open {
        b.close();
    }
    b.finish()
}

/// Name, whether it closes, and what matters of its attributes; `None`: it is text.
fn tag_of(tag: &str) -> Option<(String, bool, Option<String>)> {
    let (closing, tag) = tag.strip_prefix('/').map_or((false, tag), |rest| (true, rest));
    let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    let name = match name.to_ascii_lowercase().as_str() {
        "b" | "strong" => "b",
        "i" | "em" => "i",
        "u" | "ins" => "u",
        "s" | "strike" | "del" => "s",
        "tg-spoiler" | "span" => "span",
        "a" => "a",
        "code" => "code",
        "pre" => "pre",
        "blockquote" => "blockquote",
        _ => return None,
    };
    let of = |key: &str| {
        let (_, value) = attributes.split_once(&format!("{key}="))?;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        value[1..].split_once(quote).map(|(value, _)| unescaped(value))
    };
    let value = match name {
        "a" => of("href"),
        "code" => of("class").and_then(|c| c.strip_prefix("language-").map(str::to_owned)),
        "blockquote" => attributes.contains("expandable").then(String::new),
        _ => None,
    };
    Some((name.to_owned(), closing, value))
}

fn kind(name: &str, value: Option<String>) -> Option<Kind> {
    Some(match name {
        "b" => Kind::Bold,
        "i" => Kind::Italic,
        "u" => Kind::Underline,
        "s" => Kind::Strike,
        "span" => Kind::Spoiler,
        "blockquote" => Kind::Quote { expandable: value.is_some() },
        "a" => Kind::Link { url: value.and_then(|url| super::link::allowed(&url))? },
        _ => return None,
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let c = end.and_then(|end| match &rest[1..end] {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)
            }
        });
        match (c, end) {
            (Some(c), Some(end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::markdown::telegram_html;

    #[test]
    fn tags_of_the_list_are_kept_and_all_else_is_text() {
        for (html, expected) in [
            ("a < b & c", "a &lt; b &amp; c"),
            ("<b>x <i>y</b> z", "<b>x <i>y</i></b> z"),
            ("<strong>x</strong><del>y</del>", "<b>x</b><s>y</s>"),
            ("<a href=\"https://h/?a=1&amp;b=2\">t</a>", "<a href=\"https://h/?a=1&amp;b=2\">t</a>"),
            ("<a href=\"javascript:x\">t</a>", "t"),
            (
                "<pre><code class=\"language-rust\">a &lt; <b>\nc</code></pre>",
                "<pre><code class=\"language-rust\">a &lt; \nc</code></pre>",
            ),
            ("<code>x</code> <p>y</p>", "<code>x</code> &lt;p&gt;y&lt;/p&gt;"),
            ("<tg-spoiler>x</tg-spoiler>", "<tg-spoiler>x</tg-spoiler>"),
            ("&#x41;&unknown;", "A&amp;unknown;"),
            ("<b>open", "<b>open</b>"),
        ] {
            assert_eq!(telegram_html(&tags(html)), expected, "{html}");
        }
    }
}
