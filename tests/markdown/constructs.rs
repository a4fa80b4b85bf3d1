//! Every row of the table in telegram.md 13.3.

use pi_gateway::markdown::{parse, plain, telegram_html, Builder, Kind};

use crate::validator;

#[track_caller]
fn becomes(rows: &[(&str, &str)]) {
    for (markdown, html) in rows {
        let written = telegram_html(&parse(markdown));
        assert_eq!(&written, html, "{markdown:?}");
        validator::read(&written).unwrap_or_else(|fault| panic!("{fault}: {written}"));
    }
}

#[test]
fn marks_within_a_line() {
    becomes(&[
        ("**x** __y__", "<b>x</b> <b>y</b>"),
        ("*x* _y_", "<i>x</i> <i>y</i>"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("***x***", "<b><i>x</i></b>"),
        ("**a *b* c**", "<b>a <i>b</i> c</b>"),
        ("~~x~~ ~y~", "<s>x</s> ~y~"),
        ("`a<b` `` c`d ``", "<code>a&lt;b</code> <code>c`d</code>"),
        ("**a `b` c**", "<b>a</b> <code>b</code><b> c</b>"),
        ("**a **b** c**", "<b>a b c</b>"),
        ("**a\nb**", "<b>a\nb</b>"),
    ]);
}

#[test]
fn spoilers() {
    becomes(&[
        ("||x||", "<tg-spoiler>x</tg-spoiler>"),
        ("a ||b **c** d|| e", "a <tg-spoiler>b <b>c</b> d</tg-spoiler> e"),
        ("**||x||**", "<b><tg-spoiler>x</tg-spoiler></b>"),
        ("||a|| ||b||", "<tg-spoiler>a</tg-spoiler> <tg-spoiler>b</tg-spoiler>"),
        ("if a || b || c", "if a || b || c"),
        ("||a", "||a"),
        ("**a||b** c||", "<b>a||b</b> c||"),
        ("\\||a||", "||a||"),
        ("|||a|||", "|||a|||"),
        ("`||a||` ||`b`||", "<code>||a||</code> <tg-spoiler>b</tg-spoiler>"),
        ("```\n||a||\n```", "<pre>||a||</pre>"),
        ("||a\nb||", "<tg-spoiler>a\nb</tg-spoiler>"),
        ("||a\n\nb||", "||a\n\nb||"),
    ]);
}

#[test]
fn blocks_of_code() {
    becomes(&[
        ("```rust\nlet a = &b;\n```", "<pre><code class=\"language-rust\">let a = &amp;b;</code></pre>"),
        ("~~~c++ title=x\na\n\n\n\nb  \n~~~", "<pre><code class=\"language-c++\">a\n\n\n\nb  </code></pre>"),
        ("```a,b\nx\n```", "<pre>x</pre>"),
        ("```\n**x** <b>\n```", "<pre>**x** &lt;b&gt;</pre>"),
        ("a\n```py\nunclosed\n", "a\n<pre><code class=\"language-py\">unclosed</code></pre>"),
        ("a\n\n    code\n      more\n\nb", "a\n\n<pre>code\n  more</pre>\n\nb"),
        ("# h\n    text", "<b>h</b>\n\ntext"),
        ("- a\n\n      text", "• a\n\n  text"),
        ("- a\n  ```\n  x\n  ```\n- b", "• a\n<pre>x</pre>\n• b"),
        ("- ```\n  x\n  ```", "•\n<pre>x</pre>"),
    ]);
}

#[test]
fn headings_quotes_and_rules() {
    becomes(&[
        ("# a **b**\ntext\n###### c", "<b>a b</b>\n\ntext\n\n<b>c</b>"),
        ("a\n# `b` c\n", "a\n\n<code>b</code><b> c</b>"),
        ("#hashtag", "#hashtag"),
        ("> a\n> b\n\nc", "<blockquote>a\nb</blockquote>\n\nc"),
        ("> a\n> > b\n> > > c", "<blockquote>a\nb\nc</blockquote>"),
        ("> - a\n>   - b", "<blockquote>• a\n  • b</blockquote>"),
        ("- > a", "•\n<blockquote>a</blockquote>"),
        ("> **a** `b`", "<blockquote><b>a</b> <code>b</code></blockquote>"),
        ("> 1\n> 2\n> 3\n> 4\n> 5\n> 6\n> 7\n> 8", "<blockquote>1\n2\n3\n4\n5\n6\n7\n8</blockquote>"),
        (
            "> 1\n> 2\n> 3\n> 4\n> 5\n> 6\n> 7\n> 8\n> 9",
            "<blockquote expandable>1\n2\n3\n4\n5\n6\n7\n8\n9</blockquote>",
        ),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("***", "———"),
    ]);
}

#[test]
fn links_and_pictures() {
    becomes(&[
        ("[t](http://a.b/?c=1&d=\"2\")", "<a href=\"http://a.b/?c=1&amp;d=&quot;2&quot;\">t</a>"),
        ("[**t**](tg://user?id=1)", "<a href=\"tg://user?id=1\"><b>t</b></a>"),
        ("[`c`](https://x)", "<a href=\"https://x\">c</a>"),
        ("[t](src/a.rs) [u](javascript:x)", "t (src/a.rs) u (javascript:x)"),
        ("[a.md](a.md) []( ) [](http://x)", "a.md  <a href=\"http://x\">http://x</a>"),
        ("[t][1]\n\n[1]: https://x", "<a href=\"https://x\">t</a>"),
        ("<https://x> <a@b.c>", "<a href=\"https://x\">https://x</a> <a href=\"mailto:a@b.c\">a@b.c</a>"),
        ("Vec<std::string> <T>", "Vec&lt;std::string&gt; &lt;T&gt;"),
        ("see https://a.b/c_d_e.", "see https://a.b/c_d_e."),
        ("![alt](https://x/y.png)", "<a href=\"https://x/y.png\">🖼 alt</a>"),
        ("![](https://x/y.png)", "<a href=\"https://x/y.png\">🖼</a>"),
        ("![a *b*](out/y.png) c", "![a *b*](out/y.png) c"),
        ("[![b](https://x/b)](https://y)", "<a href=\"https://y\">🖼 b</a>"),
    ]);
}

#[test]
fn lists() {
    becomes(&[
        ("- a\n* b\n+ c", "• a\n• b\n• c"),
        ("- a\n  - b\n    - c\n- d", "• a\n  • b\n    • c\n• d"),
        ("text:\n- a\n  more\n\nend", "text:\n• a\n  more\n\nend"),
        ("1. a\n2. b\n7. c", "1. a\n2. b\n7. c"),
        ("1. a\n1. b\n1. c", "1. a\n2. b\n3. c"),
        ("3) a\n4) b", "3) a\n4) b"),
        ("- [x] a\n- [ ] b\n- [y] c", "☑ a\n☐ b\n• [y] c"),
        ("1. [x] a", "1. ☑ a"),
        ("- [x] `a` **b**", "☑ <code>a</code> <b>b</b>"),
        ("- **a**\n\n  b\n\n- c", "• <b>a</b>\n\n  b\n\n• c"),
        ("-\n- a", "•\n• a"),
        ("- - a", "• • a"),
    ]);
}

#[test]
fn tables() {
    becomes(&[
        ("|a|b|\n|-|-:|\n|1|22|\n|漢字🎉|3|", "<pre>a        b\n──────────\n1       22\n漢字🎉   3</pre>"),
        ("|a|\n|:-:|\n|**12345**|", "<pre>  a\n─────\n12345</pre>"),
        (
            &format!("|name|text|\n|-|-|\n|a|{0}|\n|b||\n|c|`d` *e*|", "x".repeat(60)),
            &format!(
                "<b>name</b>: a\n<b>text</b>: {0}\n\n<b>name</b>: b\n\n<b>name</b>: c\n<b>text</b>: <code>d</code> <i>e</i>",
                "x".repeat(60)
            ),
        ),
        ("|a|\n|-|\n|[t](https://x)|", "<b>a</b>: <a href=\"https://x\">t</a>"),
        ("|a|b|\n|-|-|\n|1|`x || y`|", "<pre>a  b\n───────────\n1  `x || y`</pre>"),
        ("|a|b|\n|-|-|\n|1||\n|2|\n|3|4||", "<pre>a  b\n────\n1\n2\n3  4</pre>"),
        ("t\n\n|a|\n|-|\n\nb", "t\n\n<pre>a\n─</pre>\n\nb"),
    ]);
    let exact = format!("|{}|b|\n|-|-|", "x".repeat(53));
    assert!(telegram_html(&parse(&exact)).starts_with("<pre>"), "56 columns are not too wide");
    let wider = format!("|{}|b|\n|-|-|\n|1|2|", "x".repeat(54));
    assert!(!telegram_html(&parse(&wider)).contains("<pre>"));
}

#[test]
fn breaks_escapes_and_what_stays_text() {
    becomes(&[
        ("a\nb  \nc\\\nd", "a\nb\nc\nd"),
        ("a\n\n\n\n\nb   \n\n", "a\n\nb"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\\*a\\* &amp; &lt;b&gt; &copy;", "*a* &amp; &lt;b&gt; ©"),
        ("a < b && c > \"d\"", "a &lt; b &amp;&amp; c &gt; &quot;d&quot;"),
        ("a <b>c</b> <br> <!-- d -->", "a &lt;b&gt;c&lt;/b&gt; &lt;br&gt; &lt;!-- d --&gt;"),
        ("<div class=\"x\">\n  a\n</div>\n\nb", "&lt;div class=&quot;x&quot;&gt;\n  a\n&lt;/div&gt;\n\nb"),
        ("$a_1 + b_1$ and $$x$$", "$a_1 + b_1$ and $$x$$"),
        ("a[^1]\n\n[^1]: note", "a[^1]\n\n[^1]: note"),
        ("a[^2]", "a[^2]"),
        ("a\u{0}b\u{7}c", "abc"),
        ("", ""),
        (" \n\t\n", ""),
    ]);
}

#[test]
fn half_written_markup_is_literal_text() {
    becomes(&[
        ("**a", "**a"),
        ("*a **b", "*a **b"),
        ("`a", "`a"),
        ("[a](http://b", "[a](http://b"),
        ("~~a", "~~a"),
        ("***", "———"),
        ("#", "#"),
        ("```", "```"),
        ("[a]: http://b", "[a]: http://b"),
        ("|a|b|\n|-", "|a|b|\n|-"),
    ]);
}

#[test]
fn given_a_text_without_marks_when_it_is_sent_again_then_links_keep_their_addresses() {
    let rich = parse("**a < b** [t](https://x) <https://y>\n\n```c\nd\n```");
    assert_eq!(plain(&rich), "a < b t (https://x) https://y\n\nd");
}

#[test]
fn given_parts_of_the_gateway_s_own_when_they_are_put_around_markdown_then_all_of_it_is_valid() {
    let mut draft = Builder::new();
    draft.open(Kind::Quote { expandable: true });
    draft.text("💭 a <thought>\n\n\n\nof two lines");
    draft.append(&parse("> quoted `code`"));
    draft.close();
    draft.block(1);
    draft.text("→ bash ");
    draft.code("ls | wc");
    draft.block(2);
    draft.open(Kind::Underline);
    draft.append(&parse("**b** `c`\n\n```sh\nd\n```"));
    draft.close();
    draft.text(" ▌");
    let html = telegram_html(&draft.finish());
    validator::read(&html).unwrap();
    assert_eq!(
        html,
        "<blockquote expandable>💭 a &lt;thought&gt;\n\nof two linesquoted <code>code</code></blockquote>\n\
         → bash <code>ls | wc</code>\n\n\
         <b><u>b</u></b> <code>c</code>\n\n<pre><code class=\"language-sh\">d</code></pre>\n ▌"
    );
}
