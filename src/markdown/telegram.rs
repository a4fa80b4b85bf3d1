//! Rich text as HTML of the Bot API (telegram.md 13.2).

use super::cut::Cost;
use super::rich::{Kind, Rich, Step};

/// What a chunk weighs as HTML, in bytes.
pub const HTML: Cost = Cost { character, span };

/// `parse_mode: HTML`. Everything but the gateway's own tags is escaped.
pub fn telegram_html(rich: &Rich) -> String {
    let mut html = String::with_capacity(rich.text().len() + rich.text().len() / 8 + 16);
    rich.walk(|step| match step {
        Step::Text(text) => escape(text, &mut html),
        Step::Open(kind) => open(kind, &mut html),
        Step::Close(kind) => html.push_str(close(kind)),
    });
    html
}

fn open(kind: &Kind, html: &mut String) {
    match kind {
        Kind::Link { url } => {
            html.push_str("<a href=\"");
            escape(url, html);
            html.push_str("\">");
        }
        Kind::Pre { lang: Some(lang) } => {
            html.push_str("<pre><code class=\"language-");
            escape(lang, html);
            html.push_str("\">");
        }
        Kind::Quote { expandable: true } => html.push_str("<blockquote expandable>"),
        Kind::Quote { expandable: false } => html.push_str("<blockquote>"),
        Kind::Bold => html.push_str("<b>"),
        Kind::Italic => html.push_str("<i>"),
        Kind::Underline => html.push_str("<u>"),
        Kind::Strike => html.push_str("<s>"),
        Kind::Spoiler => html.push_str("<tg-spoiler>"),
        Kind::Code => html.push_str("<code>"),
        Kind::Pre { lang: None } => html.push_str("<pre>"),
    }
}

fn close(kind: &Kind) -> &'static str {
    match kind {
        Kind::Link { .. } => "</a>",
        Kind::Pre { lang: Some(_) } => "</code></pre>",
        Kind::Pre { lang: None } => "</pre>",
        Kind::Quote { .. } => "</blockquote>",
        Kind::Bold => "</b>",
        Kind::Italic => "</i>",
        Kind::Underline => "</u>",
        Kind::Strike => "</s>",
        Kind::Spoiler => "</tg-spoiler>",
        Kind::Code => "</code>",
    }
}

fn escape(text: &str, html: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"']) {
        html.push_str(&rest[..at]);
        html.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            _ => "&quot;",
        });
        rest = &rest[at + 1..];
    }
    html.push_str(rest);
}

fn character(c: char) -> usize {
    match c {
        '&' => 5,
        '<' | '>' => 4,
        '"' => 6,
        _ => c.len_utf8(),
    }
}

fn span(kind: &Kind) -> usize {
    let mut tag = String::new();
    open(kind, &mut tag);
    tag.len() + close(kind).len()
}
