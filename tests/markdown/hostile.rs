//! Input made to take long, to nest deep, or to come out larger than it went in.

use std::time::{Duration, Instant};

use pi_gateway::markdown::{cut, parse, telegram_html, Limits};

/// Far more than an unoptimised build on a busy machine needs; quadratic behaviour takes minutes.
const PATIENCE: Duration = Duration::from_secs(20);
const MEGABYTE: usize = 1_000_000;

fn survives(name: &str, text: &str) {
    // A session's thread has a small stack (design.md, Threads).
    let (name, text) = (name.to_owned(), text.to_owned());
    let run = move || {
        let start = Instant::now();
        let rich = parse(&text);
        let parsed = start.elapsed();
        let chunks = cut(&rich, &Limits::telegram(4000, false));
        let bytes: usize = chunks.iter().map(|chunk| telegram_html(chunk).len()).sum();
        let took = start.elapsed();
        println!("{name}: {} bytes, {} of text, {bytes} of HTML, {parsed:?}, {took:?}", text.len(), rich.text().len());
        assert!(took < PATIENCE, "{name} took {took:?}");
        assert!(rich.text().len() <= 60 * text.len() + 10_000, "{name} became {} bytes", rich.text().len());
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_megabyte_of_markers_takes_time_in_proportion() {
    for pattern in ["*", "[", "`", "||a", "> ", "- "] {
        survives(&format!("{pattern:?}"), &pattern.repeat(MEGABYTE / pattern.len()));
    }
}

#[test]
fn a_lot_of_anything_takes_time_in_proportion() {
    let patterns = [
        "*",
        "_",
        "**",
        "[",
        "]",
        "![",
        "](",
        "`",
        "~",
        "~~",
        "|",
        "||",
        "> ",
        ">",
        "- ",
        "1. ",
        "<",
        "<a ",
        "<!--",
        "&",
        "\\",
        "\n",
        " ",
        "\t",
        "# ",
        "*a ",
        "**a ",
        "a** ",
        "*a_ ",
        "_a __b ",
        "[a](",
        "[a](b",
        "![a](",
        "[a][b]",
        "[^a]",
        "[^a]: b\n\n",
        "||a",
        "||a|| ",
        "~~a ",
        "`a ``b ",
        "```\n",
        "~~~\n",
        "- a\n",
        "- [x] ",
        "> - ",
        "- > ",
        "| a ",
        "|a\n|-\n",
        "|\n",
        "a\n===\n",
        "[a]: b\n",
        "[a]:\n",
        "<a@b>",
        "<http:",
        "&#",
        "&#0;",
        "\u{301}",
        "🇩",
        "\u{200d}",
        "漢",
        "👨\u{200d}",
        "a\u{0}",
        "\r",
        "$",
        "$$",
        "*`a` ",
        "**`a` ",
        "||`a`|| ",
        "[`a`](http://b) ",
        "<div>\n",
        "    a\n",
        "    a\n\n",
        "{a}",
        "[[",
        "{{",
        "^",
        ":",
        "a  \n",
        "---\n",
        "[a](http://b)",
        "![a](b) ",
        "**a** ",
        "> a\n\n",
        "1. a\n\n",
        "*a* `b` [c](d) ~~e~~ ||f||\n",
    ];
    for pattern in patterns {
        survives(&format!("{pattern:?}"), &pattern.repeat(MEGABYTE / 5 / pattern.len()));
    }
}

#[test]
fn deep_nesting_and_wide_tables_stay_small() {
    let half = MEGABYTE / 10;
    survives("open and close", &("*a ".repeat(half) + &" a*".repeat(half)));
    survives("strong open and close", &("**a ".repeat(half) + &" a**".repeat(half)));
    survives("brackets", &("[".repeat(half) + &"](http://a)".repeat(half)));
    survives("pictures in pictures", &("![".repeat(half) + &"](http://a)".repeat(half)));
    survives("spoilers in marks", &("**||a ".repeat(half) + &" a||**".repeat(half)));
    let steps: String = (0..1200).map(|i| format!("{}- a\n", "  ".repeat(i))).collect();
    survives("a staircase of lists", &steps);
    let quotes: String = (0..1400).map(|i| format!("{} a\n", ">".repeat(i))).collect();
    survives("a staircase of quotes", &quotes);
    survives("columns", &format!("{}\n{}\n{}", "|a".repeat(half), "|-".repeat(half), "|b\n".repeat(half)));
    survives("a long header", &format!("|{}|\n|-|\n{}", "h".repeat(half), "|x\n".repeat(half)));
    survives("many rows", &format!("|{}|b|\n|-|-|\n{}", "h".repeat(50), "||x\n".repeat(half)));
    let ticks: String = (1..1400).map(|i| format!("{} ", "`".repeat(i))).collect();
    survives("runs of ticks", &ticks);
    survives("long address", &format!("[a](http://{}) ", "x".repeat(half)).repeat(10));
    survives("references", &(format!("[a]: http://{}\n\n", "x".repeat(2000)) + &"[a] ".repeat(half)));
    survives("fences in lists", &"- ```\n".repeat(half));
}
