//! What is owed to a chat as messages: text in the platform's form, and the files that it names (telegram.md 13, 15).
//! Pure, but for what looks at files.

use super::directives::{self, Item};
use super::ways::Way;
use crate::config::types::{ChunkMode, TelegramAccount};
use crate::markdown::{cut, parse as markdown, plain, tags, telegram_html, Limits, Rich};
use crate::message::{Content, Form, OutFile};

/// UTF-16 units of a caption.
const CAPTION: usize = 1024;
/// Files of an album.
const ALBUM: usize = 10;

/// A text that takes too many messages goes out as a file of that name.
const WHOLE: &str = "answer.md";

/// The messages for a text, in order: text first, then files. A text that takes more than `most` messages (0: any
/// number) is its first one and a file of all of it (core.md 8.4). `find`: what a path or an address in it names.
pub fn render(
    content: &Content,
    c: &TelegramAccount,
    most: usize,
    mut find: impl FnMut(&str) -> Option<OutFile>,
) -> Vec<Content> {
    let limits = |max| Limits::telegram(max, c.chunk_mode == ChunkMode::Length);
    let chunks = |text: &str, form: Form, max| -> Vec<Content> {
        let rich = match form {
            Form::Markdown => markdown(text),
            Form::Html => tags(text),
            Form::Plain => Rich::plain(text),
        };
        cut(&rich, &limits(max)).iter().map(|rich| formed(rich, form)).collect()
    };
    let told = |text: &str, form: Form| -> Vec<Content> {
        let mut all = chunks(text, form, c.text_chunk_limit);
        if most > 0 && all.len() > most {
            all.truncate(1);
            all.push(Content { file: Some(whole(text, form)), ..Content::default() });
        }
        all
    };
    let with_file = |file: OutFile, more: Vec<OutFile>, caption: &str, form: Form| -> Vec<Content> {
        let captions = chunks(caption, form, CAPTION);
        let sticker = Way::of(&file) == Way::Sticker;
        let held = |caption: Content| Content { file: Some(file.clone()), more: more.clone(), ..caption };
        match <[Content; 1]>::try_from(captions) {
            Ok([caption]) if !sticker => vec![held(caption)],
            Err(none) if none.is_empty() => vec![held(Content::default())],
            // Too long for a caption: the whole of it follows.
            _ => std::iter::once(held(Content::default())).chain(told(caption, form)).collect(),
        }
    };
    if let Some(file) = &content.file {
        return with_file(file.clone(), content.more.clone(), &content.text, content.form);
    }
    if content.form != Form::Markdown {
        return told(&content.text, content.form);
    }
    let (text, items) = directives::split(&content.text, &mut find);
    let mut parts = told(&text, Form::Markdown);
    let mut items = items.into_iter().peekable();
    while let Some(Item { file, caption }) = items.next() {
        let mut more = Vec::new();
        // What is not there, or has words of its own, stands alone.
        let whole = |file: &OutFile| Way::of(file).in_albums() && (file.size > 0 || file.is_address());
        while whole(&file) && more.len() + 1 < ALBUM {
            match items.next_if(|next| whole(&next.file) && next.caption.is_empty()) {
                Some(next) => more.push(next.file),
                None => break,
            }
        }
        parts.extend(with_file(file, more, &caption, Form::Markdown));
    }
    parts
}

/// All of a text as a file; words only, if it is not written for people.
fn whole(text: &str, form: Form) -> OutFile {
    let text = if form == Form::Html { plain(&tags(text)) } else { text.to_owned() };
    OutFile {
        at: WHOLE.to_owned(),
        kind: "document".to_owned(),
        size: text.len() as u64,
        text: Some(text),
        ..OutFile::default()
    }
}

fn formed(rich: &Rich, form: Form) -> Content {
    match form {
        Form::Plain => Content { text: rich.text().to_owned(), form, ..Content::default() },
        _ => Content { text: telegram_html(rich), plain: Some(plain(rich)), ..Content::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::TelegramAccount;

    fn account() -> TelegramAccount {
        let text =
            r#"{"channels": {"telegram": {"enabled": true, "botToken": "1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}}"#;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.jsonc");
        std::fs::write(&path, text).unwrap();
        let env = crate::config::Env {
            home: dir.path().to_owned(),
            cwd: dir.path().to_owned(),
            ..crate::config::Env::from_process()
        };
        let options = crate::config::Options { file: Some(path), ..crate::config::Options::default() };
        let config = crate::config::load(&env, &options).unwrap().config;
        config.channels.telegram.accounts["default"].clone()
    }

    fn shown(content: Content) -> Vec<String> {
        let find = |at: &str| Some(OutFile { at: at.into(), size: 1, ..OutFile::default() });
        let parts = render(&content, &account(), 3, find);
        let part = |p: &Content| {
            let files: Vec<&str> = p.files().map(|f| f.at.as_str()).collect();
            let text = if p.text.len() > 40 { format!("{} characters", p.text.len()) } else { p.text.clone() };
            format!("{text}<{}>", files.join(","))
        };
        parts.iter().map(part).collect()
    }

    #[test]
    fn text_comes_first_then_files_and_pictures_in_a_row_are_an_album() {
        let text = |text: &str| Content { text: text.into(), ..Content::default() };
        assert_eq!(shown(text("a **b**\nMEDIA:1.png\n[photo] 2.png\nmore")), ["a <b>b</b>\nmore<>", "<1.png,2.png>"]);
        assert_eq!(shown(text("MEDIA:1.png\nMEDIA:x.pdf\nMEDIA:2.png")), ["<1.png>", "<x.pdf>", "<2.png>"]);
        assert_eq!(shown(text("[photo] 1.png | one\n[photo] 2.png | two")), ["one<1.png>", "two<2.png>"]);
        let many = "MEDIA:1.png\n".repeat(12);
        let albums: Vec<usize> = shown(text(&many)).iter().map(|p| p.matches("png").count()).collect();
        assert_eq!(albums, [10, 2]);
    }

    #[test]
    fn a_caption_that_is_too_long_follows_as_text_and_a_sticker_has_none() {
        let file = |at: &str, kind: &str, caption: &str| Content {
            text: caption.into(),
            file: Some(OutFile { at: at.into(), kind: kind.into(), ..OutFile::default() }),
            ..Content::default()
        };
        assert_eq!(shown(file("a.png", "", "short")), ["short<a.png>"]);
        assert_eq!(shown(file("a.png", "", &"x".repeat(1025))), ["<a.png>", "1025 characters<>"]);
        assert_eq!(shown(file("a.webp", "sticker", "hi")), ["<a.webp>", "hi<>"]);
    }

    #[test]
    fn a_text_of_too_many_messages_is_its_first_one_and_a_file_of_all_of_it() {
        let long = |n: usize| "word ".repeat(n * 790).trim().to_owned();
        let of = |text: String, form| shown(Content { text, form, ..Content::default() });
        assert_eq!(of(long(3), Form::Markdown).len(), 3);
        for form in [Form::Markdown, Form::Plain, Form::Html] {
            let parts = of(long(4), form);
            assert_eq!(parts[1..], ["<answer.md>"], "{form:?}");
        }
        let parts = of(long(4) + "\nMEDIA:x.pdf", Form::Markdown);
        assert_eq!(parts[1..], ["<answer.md>", "<x.pdf>"]);
    }

    #[test]
    fn other_forms_are_respected() {
        let of = |text: &str, form| shown(Content { text: text.into(), form, ..Content::default() });
        assert_eq!(of("**a** <b>\nMEDIA:x.png", Form::Plain), ["**a** <b>\nMEDIA:x.png<>"]);
        assert_eq!(of("<b>a</b> & **c** <x>", Form::Html), ["<b>a</b> &amp; **c** &lt;x&gt;<>"]);
    }
}
