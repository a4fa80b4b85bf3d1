//! Arguments of programs without their secrets (core.md 18 "Exec guard"): what follows a flag or stands behind `=` or
//! `:` of a word that speaks of a token, key, secret or password. Too much is hidden rather than too little.

use std::ffi::OsString;

use crate::net;

const HIDDEN: &str = "***";
/// Of one argument is kept, bytes; more is not looked at.
const LONGEST: usize = 160;

/// One after the other.
pub fn arguments(args: &[OsString]) -> impl Iterator<Item = String> + '_ {
    let mut hide = Hide::No;
    args.iter().map(move |arg| {
        let arg = arg.to_string_lossy();
        let end = (0..=LONGEST.min(arg.len())).rev().find(|at| arg.is_char_boundary(*at)).unwrap_or(0);
        let (head, cut) = (&arg[..end], end < arg.len());
        // A value may hold spaces: all of it is the secret.
        let shown = match std::mem::replace(&mut hide, Hide::No) {
            Hide::No => words(head, &mut hide),
            _ => HIDDEN.into(),
        };
        // An argument ends what a quotation mark in it began.
        if let Hide::Until(_) = hide {
            hide = Hide::No;
        }
        let mut shown = net::redact(&shown);
        if cut {
            shown.push('…');
        }
        shown
    })
}

/// What becomes of the next word.
#[derive(PartialEq)]
enum Hide {
    No,
    Word,
    /// Of all words up to one that ends with that quotation mark.
    Until(char),
}

/// A whole command line in one argument (`sh -c`) is read word by word.
fn words(text: &str, hide: &mut Hide) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        let space = &piece[word.len()..];
        if word.is_empty() {
            out.push_str(space);
            continue;
        }
        match std::mem::replace(hide, Hide::No) {
            Hide::No => out.push_str(&one(word, hide)),
            Hide::Word => {
                out.push_str(HIDDEN);
                *hide = opened(word);
            }
            Hide::Until(mark) => *hide = if word.ends_with(mark) { Hide::No } else { Hide::Until(mark) },
        }
        out.push_str(space);
    }
    out
}

/// A value that begins with a quotation mark and does not end with it goes on.
fn opened(value: &str) -> Hide {
    let mut chars = value.chars();
    match chars.next() {
        Some(mark @ ('"' | '\'')) if !(chars.as_str().ends_with(mark)) => Hide::Until(mark),
        _ => Hide::No,
    }
}

fn one(word: &str, hide: &mut Hide) -> String {
    let bare = word.trim_start_matches(['"', '\'', '(', '{', '$', '`', ';', '&', '?']);
    if let Some((_, value)) = bare.split_once(['=', ':']).filter(|(name, _)| secret(name)) {
        *hide = if value.is_empty() { Hide::Word } else { opened(value) };
        let kept = word.len() - value.len();
        return format!("{}{}", &word[..kept], if value.is_empty() { "" } else { HIDDEN });
    }
    if (bare.starts_with('-') && secret(bare)) || bare.eq_ignore_ascii_case("bearer") {
        *hide = Hide::Word;
    }
    word.to_owned()
}

fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "key", "secret", "password"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_what_speaks_of_secrets_are_hidden() {
        let shown = |args: &[&str]| arguments(&args.iter().map(OsString::from).collect::<Vec<_>>()).collect::<Vec<_>>();
        for (args, expected) in [
            (&["--mode", "rpc"][..], &["--mode", "rpc"][..]),
            (&["--api-key", "hush", "x"], &["--api-key", "***", "x"]),
            (&["--API-Key=hush", "x"], &["--API-Key=***", "x"]),
            (&["-token", "two words", "x"], &["-token", "***", "x"]),
            (&["DB_PASSWORD=hush"], &["DB_PASSWORD=***"]),
            (&["client_secret:hush", "a=b"], &["client_secret:***", "a=b"]),
            (&["https://u:hush@h/x"], &["https://***@h/x"]),
            (&["https://api/bot123:hush/getMe"], &["https://api/bot***/getMe"]),
            (&["--password", "-hush"], &["--password", "***"]),
            (
                &["-c", "export A_KEY=hush; curl -H 'Authorization: Bearer hush' x"],
                &["-c", "export A_KEY=*** curl -H 'Authorization: Bearer *** x"],
            ),
            (&["-c", "x --password \"hu sh it\" y\nz"], &["-c", "x --password *** y\nz"]),
            (&["-c", "A_TOKEN='hu sh' y"], &["-c", "A_TOKEN=*** y"]),
            (&["-c", "curl -d '{\"password\": \"hush\"}'"], &["-c", "curl -d '{\"password\": ***"]),
            (&["-c", "A_TOKEN='hu sh", "y"], &["-c", "A_TOKEN=***", "y"]),
        ] {
            let got: Vec<String> = shown(args).iter().map(|a| a.replace("***  ", "*** ")).collect();
            assert!(!got.iter().any(|a| a.contains("hu")), "{got:?}");
            let spaces = |a: &str| a.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
            assert_eq!(
                got.iter().map(|a| spaces(a)).collect::<Vec<_>>(),
                expected.iter().map(|a| spaces(a)).collect::<Vec<_>>()
            );
        }
        let long = shown(&[&"ü".repeat(200), "x"]);
        assert_eq!((long[0].len(), long[1].as_str()), (LONGEST + "…".len(), "x"));
    }
}
