//! A running turn as a message: thoughts, tools, and the text as far as it has come (telegram.md 14.2). Pure.

use crate::config::types::BreakPreference;
use crate::live::{asked, Item, Tool};
use crate::markdown::{cut, parse, plain, telegram_html, Builder, Kind, Limits, Rich};
use crate::message::{Content, View};

/// UTF-16 units of a message that still grows.
const LIMIT: usize = 3800;
/// Tools whose lines are shown; older ones are counted.
const TOOLS: usize = 5;
/// Characters of the newest thought.
const THOUGHT: usize = 1000;
/// A turn that shows nothing gets a message after that time, ms.
const PATIENCE: u64 = 3_000;
const CURSOR: &str = " ▌";

#[derive(Clone, Debug)]
pub struct Style {
    pub placeholder: String,
    pub show_thinking: bool,
    /// Of the text before it is shown.
    pub min_chars: usize,
    /// Of a paragraph that goes out by itself, and where a longer one is cut.
    pub max_chars: usize,
    pub breaks: BreakPreference,
}

/// Paragraphs behind the first `from` bytes that nothing is added to any more, and where they end. Code stays whole.
pub fn finished(items: &[Item], from: usize, style: &Style) -> Option<(String, usize)> {
    let text = text(items);
    let rest = text.get(from..)?;
    let (mut fence, mut at, mut chars) = (false, 0, 0);
    let (mut end, mut before_fence) = (None, 0);
    for line in rest.split_inclusive('\n') {
        let words = line.trim();
        if words.starts_with("```") || words.starts_with("~~~") {
            fence = !fence;
        }
        // A blank line that is followed by something, or may be: whole all the same.
        if words.is_empty() && line.ends_with('\n') && !fence && chars >= style.min_chars && chars <= style.max_chars {
            end = Some(at);
        }
        at += line.len();
        chars += line.chars().count();
        if !fence {
            before_fence = at;
        }
    }
    let end = end.or_else(|| {
        let longest = rest.char_indices().nth(style.max_chars).map(|(at, _)| at)?;
        let window = &rest[..longest.min(before_fence)];
        let newline = window.rfind('\n');
        let sentence =
            [". ", "! ", "? ", "。", "！", "？"].iter().filter_map(|s| Some(window.rfind(s)? + s.len())).max();
        let word = window.rfind(' ');
        let found = match style.breaks {
            BreakPreference::Newline => newline.or(sentence).or(word),
            BreakPreference::Sentence => sentence.or(newline).or(word),
            BreakPreference::Word => word.or(newline),
        };
        found.filter(|at| *at > 0)
    })?;
    let piece = &rest[..end];
    (!piece.trim().is_empty()).then(|| (piece.trim_matches('\n').to_owned(), from + end))
}

/// What the view's message shows; the flag: it is full, the text goes on in another one. `None`: nothing yet.
pub fn of(items: &[Item], view: &View, style: &Style) -> Option<(Content, bool)> {
    let text = text(items);
    let rich = parse(&text);
    let chunks = cut(&rich, &Limits::telegram(LIMIT, false));
    if view.index > 0 || chunks.len() > 1 {
        // Long: the text alone, so that its parts stand where the reply's will.
        let chunk = chunks.get(view.index)?;
        let full = view.index + 1 < chunks.len();
        return Some((content(chunk, !full), full));
    }
    let head = head(items, style);
    let enough = text.chars().count() >= style.min_chars.max(1);
    let body = chunks.first().filter(|_| enough);
    match (head.is_blank(), body) {
        (true, None) if view.message.is_some() || view.waited >= PATIENCE => {
            Some((content(&Rich::plain(&style.placeholder), false), false))
        }
        (true, None) => None,
        (true, Some(body)) => Some((content(body, true), false)),
        (false, body) => {
            let mut all = Builder::new();
            all.append(&head);
            if let Some(body) = body {
                all.block(2);
                all.append(body);
            }
            let all = all.finish();
            // Tools and thoughts give way to the text.
            let fits = cut(&all, &Limits::telegram(LIMIT, false)).len() == 1;
            match (fits, body) {
                (false, Some(body)) => Some((content(body, true), false)),
                _ => Some((content(&all, true), false)),
            }
        }
    }
}

/// Is something of the answer itself shown?
pub fn says(items: &[Item], style: &Style) -> bool {
    text(items).chars().count() >= style.min_chars.max(1)
}

/// Everything said so far, as the reply will be: pieces with tools between them are paragraphs. Nothing that may
/// turn out to be the word for silence.
fn text(items: &[Item]) -> String {
    let said = items.iter().filter_map(|i| match i {
        Item::Text(t) if !t.trim().is_empty() => Some(t.trim_matches('\n')),
        _ => None,
    });
    let text = said.collect::<Vec<_>>().join("\n\n");
    let start = text.trim();
    let silent = ["[NO_REPLY]", "NO_REPLY"].iter().any(|word| word.starts_with(start));
    if silent {
        String::new()
    } else {
        text.replace("[NO_REPLY]", "")
    }
}

/// Thoughts and tools.
fn head(items: &[Item], style: &Style) -> Rich {
    let mut b = Builder::new();
    let thought = items.iter().rev().find_map(|i| match i {
        Item::Thinking(t) if !t.trim().is_empty() => Some(t),
        _ => None,
    });
    if let Some(thought) = thought.filter(|_| style.show_thinking) {
        let from = thought.char_indices().rev().nth(THOUGHT - 1).map_or(0, |(at, _)| at);
        b.open(Kind::Quote { expandable: true });
        b.text(&format!("💭 {}", thought[from..].trim()));
        b.close();
        b.block(1);
    }
    let tools: Vec<&Tool> = items.iter().filter_map(|i| if let Item::Tool(t) = i { Some(t) } else { None }).collect();
    if tools.len() > TOOLS {
        b.text(&format!("({} earlier steps)", tools.len() - TOOLS));
        b.line_break();
    }
    for tool in tools.iter().skip(tools.len().saturating_sub(TOOLS)) {
        b.text(&format!("{} {}", if tool.error { "✗" } else { "→" }, tool.name));
        let asked = asked(&tool.label, &tool.name, &tool.args);
        if !asked.is_empty() {
            b.text(" ");
            b.code(&asked);
        }
        b.line_break();
    }
    b.finish()
}

fn content(rich: &Rich, grows: bool) -> Content {
    let end = if grows { CURSOR } else { "" };
    Content {
        text: format!("{}{end}", telegram_html(rich)),
        plain: Some(format!("{}{end}", plain(rich))),
        ..Content::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(message: Option<&str>, index: usize, waited: u64) -> View {
        View {
            session: "s".into(),
            run: "r".into(),
            message: message.map(str::to_owned),
            index,
            reply_to: None,
            waited,
            taken: None,
        }
    }
    fn style() -> Style {
        Style {
            placeholder: "…".into(),
            show_thinking: false,
            min_chars: 0,
            max_chars: 40,
            breaks: BreakPreference::Newline,
        }
    }
    fn shown(items: &[Item], view: &View) -> Option<(String, bool)> {
        of(items, view, &style()).map(|(c, full)| (c.text, full))
    }
    fn tool(name: &str, label: &str) -> Item {
        Item::Tool(Tool { id: name.into(), name: name.into(), label: label.into(), ..Tool::default() })
    }

    #[test]
    fn nothing_is_shown_until_there_is_something_or_patience_ends() {
        assert_eq!(shown(&[], &view(None, 0, 100)), None);
        assert_eq!(shown(&[], &view(None, 0, 3_000)), Some(("…".into(), false)));
        assert_eq!(shown(&[Item::Text("[NO_RE".into())], &view(None, 0, 100)), None, "it may become silence");
        let text = [Item::Text("a **b".into())];
        assert_eq!(shown(&text, &view(None, 0, 0)), Some(("a **b ▌".into(), false)));
    }

    #[test]
    fn tools_stand_before_the_text_and_thoughts_only_if_wanted() {
        let items = [Item::Thinking("hm".into()), tool("bash", "ls <x>"), Item::Text("done".into())];
        let (text, _) = shown(&items, &view(Some("1"), 0, 0)).unwrap();
        assert_eq!(text, "→ bash <code>ls &lt;x&gt;</code>\n\ndone ▌");
        let wanted = Style { show_thinking: true, ..style() };
        let (c, _) = of(&items, &view(Some("1"), 0, 0), &wanted).unwrap();
        assert!(c.text.starts_with("<blockquote expandable>💭 hm</blockquote>"), "{}", c.text);
    }

    #[test]
    fn a_tool_without_a_label_shows_what_it_was_asked() {
        let args = r#"{"timeout":3,"command":"cat a\ncat b"}"#.to_owned();
        let tool = Item::Tool(Tool { name: "bash".into(), label: "bash".into(), args, ..Tool::default() });
        assert_eq!(shown(&[tool], &view(None, 0, 0)), Some(("→ bash <code>cat a</code> ▌".into(), false)));
    }

    #[test]
    fn a_long_text_goes_on_in_further_messages_and_nothing_is_shown_twice() {
        let words: String = (0..2000).map(|n| format!("w{n} ")).collect();
        let items = [tool("bash", "ls"), Item::Text(words.clone())];
        let (first, full) = shown(&items, &view(Some("1"), 0, 0)).unwrap();
        assert!(full && first.starts_with("w0 ") && !first.contains('▌'));
        let (second, full) = shown(&items, &view(None, 1, 0)).unwrap();
        assert!(full);
        let (third, full) = shown(&items, &view(None, 2, 0)).unwrap();
        assert!(!full && third.ends_with(" ▌"));
        let joined = [first, second, third.replace(" ▌", "")].join(" ");
        assert_eq!(joined, words.trim());
        assert_eq!(shown(&items, &view(None, 3, 0)), None);
    }

    #[test]
    fn paragraphs_are_finished_when_a_blank_line_follows_and_code_stays_whole() {
        let of = |text: &str, from: usize| finished(&[Item::Text(text.into())], from, &style());
        assert_eq!(of("one\n\ntwo\n\nthr", 0), Some(("one\n\ntwo".into(), 9)));
        assert_eq!(of("one\n\ntwo\n\nthr", 9), None);
        assert_eq!(of("one", 0), None);
        assert_eq!(of("```\na\n\nb\n", 0), None, "code that is open");
        assert_eq!(of("```\na\n\nb\n```\n\nx", 0), Some(("```\na\n\nb\n```".into(), 13)));
        let long = "word ".repeat(20);
        let (piece, at) = of(&long, 0).unwrap();
        assert!(piece.len() <= 40 && long.starts_with(&piece) && at <= 40, "{piece:?}");
        assert_eq!(of("[NO_REPLY]", 0), None);
    }
}
