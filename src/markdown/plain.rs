//! Rich text without any markup.

use super::rich::{Kind, Rich, Step};

/// The text, with the addresses of links behind their texts (unless they are the same): for a platform that refused the
/// marks (telegram.md 13.5). May be longer than [`Rich::text`], so measure it again or send that one.
pub fn plain(rich: &Rich) -> String {
    let mut text = String::with_capacity(rich.text().len());
    let mut link = 0;
    rich.walk(|step| match step {
        Step::Text(part) => text.push_str(part),
        Step::Open(Kind::Link { .. }) => link = text.len(),
        Step::Close(Kind::Link { url }) if text[link..] != **url => {
            text.push_str(" (");
            text.push_str(url);
            text.push(')');
        }
        _ => {}
    });
    text
}
