//! Where texts are cut (telegram.md 13.4).

use pi_gateway::markdown::{cut, parse, telegram_html, Cost, Limits, Rich, Unit, HTML};

fn limits(max: usize) -> Limits {
    Limits::telegram(max, false)
}

fn chunks(markdown: &str, limits: &Limits) -> Vec<String> {
    cut(&parse(markdown), limits).iter().map(telegram_html).collect()
}

#[test]
fn a_text_that_fits_is_one_chunk_and_an_empty_one_none() {
    assert_eq!(chunks(&"x".repeat(4000), &limits(4000)), ["x".repeat(4000)]);
    assert_eq!(cut(&parse(" \n"), &limits(10)), []);
    assert_eq!(cut(&Rich::plain("\u{200b}\u{2060}"), &limits(10)), []);
}

#[test]
fn the_best_place_beyond_30_percent_is_taken() {
    for (text, parts) in [
        ("aaaa\n\nbbb\nccc. d eeee", ["aaaa", "bbb", "ccc.", "d eeee"].as_slice()),
        ("aaaa bbb.\nccc d", &["aaaa bbb.", "ccc d"]),
        ("aaaa. bb ccccc", &["aaaa.", "bb ccccc"]),
        ("今天很好。明天也会很好吗", &["今天很好。", "明天也会很好吗"]),
        ("aaaa bbb ccc", &["aaaa bbb", "ccc"]),
        ("a\n\nbbbbbb ccccc", &["a\n\nbbbbbb", "ccccc"]),
        ("aaaaaaaaaabbbb", &["aaaaaaaaaa", "bbbb"]),
        ("aaaaaaaaaa b", &["aaaaaaaaaa", "b"]),
        ("aaaa b3.14159 c", &["aaaa", "b3.14159 c"]),
    ] {
        assert_eq!(chunks(text, &limits(10)), parts, "{text:?}");
    }
}

#[test]
fn given_mode_length_when_a_text_is_cut_then_only_spaces_count() {
    let limits = Limits::telegram(10, true);
    assert_eq!(chunks("aaaa\n\nbb. c dddd", &limits), ["aaaa\n\nbb.", "c dddd"]);
    assert_eq!(chunks("aaaa\nbbb\ncccc", &limits), ["aaaa\nbbb", "cccc"]);
}

#[test]
fn marks_are_closed_at_a_cut_and_opened_again() {
    assert_eq!(chunks("**aaaa *bbbb cccc***", &limits(10)), ["<b>aaaa <i>bbbb</i></b>", "<b><i>cccc</i></b>"]);
    assert_eq!(
        chunks("> aaaa\n> bbbb\n> cccc", &limits(10)),
        ["<blockquote>aaaa\nbbbb</blockquote>", "<blockquote>cccc</blockquote>"]
    );
}

#[test]
fn code_is_cut_at_the_start_of_a_line_and_keeps_its_white_space() {
    let open = "<pre><code class=\"language-c\">";
    assert_eq!(
        chunks("```c\naa bb\n  cc\n  dd ee\n```", &limits(12)),
        [format!("{open}aa bb\n  cc</code></pre>"), format!("{open}  dd ee</code></pre>")]
    );
    let blank = format!("```\na{}b\n```", "\n".repeat(50));
    assert_eq!(chunks(&blank, &limits(10)).len(), 2, "a chunk of line breaks is none");
}

#[test]
fn a_link_is_cut_only_if_it_is_longer_than_a_chunk() {
    let link = |text: &str| format!("<a href=\"http://x\">{text}</a>");
    assert_eq!(chunks("aaaa bbbb [cc dd](http://x)", &limits(12)), ["aaaa bbbb".to_owned(), link("cc dd")]);
    assert_eq!(
        chunks("ab[cc dddddddd](http://x) e", &limits(12)),
        ["ab".to_owned(), link("cc dddddddd"), "e".to_owned()]
    );
    assert_eq!(chunks("[aaaaaaaaaaaabb](http://x)", &limits(12)), [link("aaaaaaaaaaaa"), link("bb")]);
}

#[test]
fn what_is_seen_as_one_character_is_never_cut() {
    for cluster in
        ["e\u{301}\u{302}", "👨\u{200d}👩\u{200d}👧", "👍🏽", "🇩🇪", "1\u{fe0f}\u{20e3}", "❤\u{fe0f}", "क\u{94d}षि"]
    {
        let text = cluster.repeat(40);
        for max in 10..24 {
            let parts = cut(&parse(&text), &limits(max));
            assert_eq!(parts.iter().map(Rich::text).collect::<String>(), text);
            for part in parts {
                assert_eq!(part.text().replace(cluster, ""), "", "{cluster} with {max}");
            }
        }
    }
    let endless = format!("a{}", "\u{301}".repeat(100));
    assert_eq!(cut(&parse(&endless), &limits(40)).len(), 3, "a cluster longer than a chunk is cut between characters");
}

#[test]
fn length_is_counted_in_the_platform_s_unit() {
    let text = "🎉".repeat(10);
    assert_eq!(cut(&parse(&text), &limits(10)).len(), 2);
    assert_eq!(cut(&parse(&text), &Limits { unit: Unit::Scalar, ..limits(10) }).len(), 1);
    assert_eq!(cut(&parse("🎉🎉"), &limits(1)).len(), 2, "what can't be cut is over the limit");
}

#[test]
fn a_chunk_s_markup_stays_within_its_budget() {
    let text = "&".repeat(4000) + &"<b>**x** ".repeat(4000);
    let chunks = chunks(&text, &limits(4000));
    assert!(chunks.iter().all(|html| html.len() <= 30_000));
    assert!(chunks.len() > 8);
    let bytes = Cost { character: char::len_utf8, span: |_| 0 };
    let feishu =
        Limits { unit: Unit::Scalar, max: 4000, budget: 100, cost: bytes, spans: usize::MAX, by_length: false };
    assert!(cut(&parse(&"漢".repeat(200)), &feishu).iter().all(|part| part.text().len() <= 100));
    assert_eq!((HTML.character)('&'), 5);
}

#[test]
fn a_chunk_has_no_more_than_95_entities() {
    let parts = cut(&parse(&"**a** _b_ ".repeat(200)), &limits(4000));
    assert_eq!(parts.iter().map(|part| part.spans().len()).sum::<usize>(), 400);
    assert!(parts.iter().all(|part| part.spans().len() <= 95));
    assert_eq!(parts.len(), 5);
}
