//! A strict reader of the Bot API's HTML (telegram.md 13.2): says what the server would refuse, and what people would see.

/// What stands around each piece of text.
#[derive(Debug)]
pub struct Seen {
    pub text: String,
    /// Number of marked pieces, as the server counts entities.
    pub entities: usize,
}

/// The text of valid HTML. Stricter than the server: a bare `>` or `"` is an error, so are tags in code, nested quotes,
/// a mark within itself and empty marks.
pub fn read(html: &str) -> Result<Seen, String> {
    let mut seen = Seen { text: String::new(), entities: 0 };
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        let at = html.len() - rest.len();
        match c {
            '<' => {
                let end = rest.find('>').ok_or(format!("Unclosed start tag at byte offset {at}"))?;
                let tag = &rest[1..end];
                rest = &rest[end + 1..];
                match tag.strip_prefix('/') {
                    Some(name) => close(name, &mut open, &mut seen, at)?,
                    None => open.push((start(tag, &open, html, at)?, seen.text.len())),
                }
            }
            '&' => {
                let (reference, shown) = [("&lt;", '<'), ("&gt;", '>'), ("&amp;", '&'), ("&quot;", '"')]
                    .into_iter()
                    .find(|(reference, _)| rest.starts_with(reference))
                    .ok_or(format!("bare & at byte offset {at}"))?;
                seen.text.push(shown);
                rest = &rest[reference.len()..];
            }
            '>' | '"' => return Err(format!("bare {c} at byte offset {at}")),
            c if c.is_control() && c != '\n' && c != '\t' => return Err(format!("control character {c:?} at {at}")),
            c => {
                seen.text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    match open.last() {
        Some((name, _)) => Err(format!("Can't find end tag corresponding to start tag {name:?}")),
        None => Ok(seen),
    }
}

fn start<'h>(tag: &'h str, open: &[(&str, usize)], html: &str, at: usize) -> Result<&'h str, String> {
    let name = tag.split(' ').next().unwrap_or_default();
    let attributes = tag[name.len()..].trim_start();
    let quoted = |prefix: &str| attributes.strip_prefix(prefix).and_then(|value| value.strip_suffix('"'));
    let fits = match name {
        "b" | "i" | "u" | "s" | "tg-spoiler" | "pre" => attributes.is_empty(),
        "blockquote" => attributes.is_empty() || attributes == "expandable",
        "a" => {
            quoted("href=\"").is_some_and(|url| !url.is_empty() && is_value(url) && !url.contains(char::is_whitespace))
        }
        "code" if attributes.is_empty() => true,
        "code" => {
            let language = |c: char| c.is_ascii_alphanumeric() || "+#_.-".contains(c);
            quoted("class=\"language-").is_some_and(|lang| !lang.is_empty() && lang.chars().all(language))
                && html[..at].ends_with("<pre>")
        }
        _ => return Err(format!("Unsupported start tag {name:?} at byte offset {at}")),
    };
    let inside = |outer: &str| open.iter().any(|(name, _)| *name == outer);
    let in_code = inside("code") || inside("pre") && !(name == "code" && html[..at].ends_with("<pre>"));
    let code_within =
        (name == "code" || name == "pre") && open.iter().any(|(name, _)| !["blockquote", "pre"].contains(name));
    if !fits || in_code || code_within || inside(name) || name == "blockquote" && !open.is_empty() {
        return Err(format!("bad tag <{tag}> within {open:?} at byte offset {at}"));
    }
    Ok(name)
}

fn close(name: &str, open: &mut Vec<(&str, usize)>, seen: &mut Seen, at: usize) -> Result<(), String> {
    let (expected, from) = open.pop().ok_or(format!("Unexpected end tag at byte offset {at}"))?;
    if expected != name {
        return Err(format!("Unmatched end tag at byte offset {at}, expected \"</{expected}>\", found \"</{name}>\""));
    }
    if from == seen.text.len() {
        return Err(format!("empty <{name}> at byte offset {at}"));
    }
    let language = name == "code" && open.last().is_some_and(|(outer, _)| *outer == "pre");
    seen.entities += usize::from(!language);
    Ok(())
}

/// An attribute's value with everything escaped.
fn is_value(value: &str) -> bool {
    let bare =
        ["&lt;", "&gt;", "&amp;", "&quot;"].into_iter().fold(value.to_owned(), |v, reference| v.replace(reference, ""));
    !bare.contains(['<', '>', '"', '&'])
}

#[test]
fn the_validator_refuses_what_the_server_refuses() {
    assert_eq!(read("a &lt; <b>b <i>c</i></b> <pre><code class=\"language-c++\">x</code></pre>").unwrap().entities, 3);
    for html in [
        "<b>x",
        "x</b>",
        "<b><i>x</b></i>",
        "<p>x</p>",
        "a & b",
        "a < b",
        "a > b",
        "&nbsp;",
        "<code><b>x</b></code>",
        "<b><code>x</code></b>",
        "<blockquote>a<blockquote>b</blockquote></blockquote>",
        "<b></b>",
        "<a href=\"\">x</a>",
        "<a href=\"a\"b\">x</a>",
        "<pre><code class=\"language-\">x</code></pre>",
        "<b>a<b>c</b></b>",
    ] {
        assert!(read(html).is_err(), "{html}");
    }
}
