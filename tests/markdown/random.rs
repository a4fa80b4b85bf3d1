//! Documents made by a random number generator: whatever comes out is valid, within limits and complete.

use pi_gateway::markdown::{cut, parse, plain, telegram_html, Limits, Rich, Unit};

use crate::validator;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "a",
    "word",
    "two words ",
    "Satz. ",
    "今天很好。",
    "漢字",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\n\n\n\n",
    "  \n",
    "\\\n",
    "\t",
    "*",
    "**",
    "***",
    "_",
    "__",
    "~",
    "~~",
    "`",
    "``",
    "```\n",
    "```rust\n",
    "~~~ a b\n",
    "\n```\n",
    "||",
    "|",
    "\n|a|b|\n|-|:-:|\n|c|d|\n",
    "\n| long | x |\n|-|-|\n",
    "[",
    "]",
    "(",
    ")",
    "[t](http://x)",
    "[t](y.md)",
    "[",
    "](https://a.b/c?d&e)",
    "![p](http://x/y)",
    "![p](z.png)",
    "<http://x>",
    "<b>",
    "</b>",
    "<std::x>",
    "<div>\n",
    "<!--",
    "-->",
    "&",
    "&amp;",
    "&#42;",
    "&nbsp;",
    "<",
    ">",
    "\"",
    "\n> ",
    "\n>> ",
    "\n# ",
    "\n## ",
    "\n- ",
    "\n  - ",
    "\n    - ",
    "\n1. ",
    "\n2) ",
    "\n- [x] ",
    "\n---\n",
    "\n===\n",
    "\n    ",
    "\\",
    "\\*",
    "\\|",
    "e\u{301}",
    "👨\u{200d}👩\u{200d}👧",
    "👍🏽",
    "🇩🇪",
    "🇫",
    "❤\u{fe0f}",
    "\u{200b}",
    "\u{0}",
    "\r\n",
    "\r",
    "[^1]",
    "\n[^1]: n\n",
    "\n[r]: http://r\n",
    "[r]",
    "$x$",
    "snake_case",
    "http://a_b_c",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "a & b < c > d ",
];

fn document(rng: &mut Rng) -> String {
    let pieces = 1 + rng.below(160);
    (0..pieces).map(|_| rng.pick(PIECES)).collect()
}

fn dense(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\u{200b}')).collect()
}

fn check(source: &str, limits: &Limits) {
    let rich = parse(source);
    let chunks = cut(&rich, limits);
    let seen: String = chunks.iter().map(Rich::text).collect();
    assert_eq!(dense(&seen), dense(rich.text()), "lost or repeated: {source:?}");
    assert_eq!(chunks.is_empty(), rich.is_blank(), "{source:?}");
    for chunk in &chunks {
        let html = telegram_html(chunk);
        let read = validator::read(&html).unwrap_or_else(|fault| panic!("{fault}\n{html}\n{source:?}"));
        assert_eq!(read.text, chunk.text(), "{source:?}");
        assert_eq!(read.entities, chunk.spans().len(), "{source:?}");
        let units = match limits.unit {
            Unit::Utf16 => chunk.text().encode_utf16().count(),
            Unit::Scalar => chunk.text().chars().count(),
        };
        assert!(units <= limits.max, "{units} units: {source:?}");
        assert!(html.len() <= limits.budget, "{} bytes: {source:?}", html.len());
        assert!(chunk.spans().len() <= limits.spans, "{source:?}");
        assert!(!chunk.is_blank(), "{source:?}");
        assert!(dense(&plain(chunk)).len() >= dense(chunk.text()).len());
    }
    tidy(&rich, source);
}

/// No trailing spaces and no more than one blank line outside code.
fn tidy(rich: &Rich, source: &str) {
    let code: Vec<_> = rich.spans().iter().filter(|span| span.kind.is_code()).collect();
    for bad in ["\n\n\n", " \n", "\t\n"] {
        for (at, _) in rich.text().match_indices(bad) {
            let in_code = code.iter().any(|span| span.start < at + bad.len() && at < span.end);
            assert!(in_code, "{bad:?} at {at} of {:?}: {source:?}", rich.text());
        }
    }
}

#[test]
fn random_documents_come_out_valid_complete_and_within_limits() {
    let mut rng = Rng(0x5eed);
    for _ in 0..2_000 {
        let source = document(&mut rng);
        let max = 20 + rng.below(400);
        let mut limits = Limits::telegram(max, rng.below(4) == 0);
        check(&source, &limits);
        limits.unit = Unit::Scalar;
        limits.spans = 9 + rng.below(12);
        limits.budget = 600 + rng.below(400);
        check(&source, &limits);
    }
}

#[test]
fn every_beginning_of_a_document_can_be_shown_while_it_streams_in() {
    let mut rng = Rng(0xbeef);
    for _ in 0..60 {
        let source = document(&mut rng);
        for end in (0..source.len()).filter(|end| source.is_char_boundary(*end)) {
            check(&source[..end], &Limits::telegram(200, false));
        }
    }
}
