//! `MEDIA:<path>` in an agent's text (gateway-api.md 1.10). Pure.

const WORD: &str = "MEDIA:";
/// Directives of one text; further ones are refused.
const MOST: usize = 64;

/// What a person is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub text: String,
    /// Links of pictures that were taken out of the text.
    pub images: Vec<String>,
}

/// A file that a directive names.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub link: String,
    pub name: String,
    pub picture: bool,
}

/// Is there anything to replace?
pub fn any(text: &str) -> bool {
    text.contains(WORD)
}

/// Replaces every directive. `aside`: pictures leave the text; else they are links in it like other files.
pub fn replace(text: &str, aside: bool, mut find: impl FnMut(&str) -> Option<Named>) -> Shown {
    let mut shown = Shown::default();
    let (mut rest, mut count) = (text, 0);
    while let Some(at) = rest.find(WORD) {
        let run = &rest[at + WORD.len()..];
        let path = &run[..run.find(char::is_whitespace).unwrap_or(run.len())];
        shown.text.push_str(&rest[..at]);
        rest = &run[path.len()..];
        if path.is_empty() {
            shown.text.push_str(WORD);
            continue;
        }
        count += 1;
        match find(path).filter(|_| count <= MOST) {
            Some(file) if file.picture && aside => shown.images.push(file.link),
            Some(file) => shown.text.push_str(&file_link(&file.name, &file.link)),
            None => shown.text.push_str(&format!("[blocked: {path}]")),
        }
    }
    shown.text.push_str(rest);
    shown.text = shown.text.trim().to_owned();
    shown
}

/// A file in a text.
pub fn file_link(name: &str, link: &str) -> String {
    format!("[📎 {name}]({link})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, aside: bool) -> (String, Vec<String>) {
        let find = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let picture = name.ends_with(".png");
            (!path.starts_with('/')).then(|| Named { link: format!("/m/{path}"), name, picture })
        };
        let s = replace(text, aside, find);
        (s.text, s.images)
    }

    #[test]
    fn directives_become_pictures_links_or_a_word_of_refusal() {
        for (text, expected, images) in [
            ("plain", "plain", vec![]),
            ("Look: MEDIA:a/b.png\n", "Look:", vec!["/m/a/b.png"]),
            ("MEDIA:a.png MEDIA:b.png", "", vec!["/m/a.png", "/m/b.png"]),
            ("see MEDIA:d/r.pdf now", "see [📎 r.pdf](/m/d/r.pdf) now", vec![]),
            ("MEDIA:/etc/passwd", "[blocked: /etc/passwd]", vec![]),
            ("say MEDIA: alone, MEDIA:", "say MEDIA: alone, MEDIA:", vec![]),
            ("MEDIA:ü.png\u{a0}x", "\u{a0}x".trim(), vec!["/m/ü.png"]),
        ] {
            assert_eq!(shown(text, true), (expected.into(), images.iter().map(|i| i.to_string()).collect()), "{text}");
        }
        assert_eq!(shown("a MEDIA:b.png c", false), ("a [📎 b.png](/m/b.png) c".into(), vec![]));
        let many = "MEDIA:a.png ".repeat(MOST + 2);
        let (text, images) = shown(&many, true);
        assert_eq!((images.len(), text.matches("[blocked: a.png]").count()), (MOST, 2));
    }
}
