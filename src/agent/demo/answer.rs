//! What the demo agent says. Pure.

/// Words it understands at the beginning of a message.
pub(super) const WORDS: [(&str, &str); 7] = [
    ("tool", "pretend to run a command with live output"),
    ("think", "think aloud before answering"),
    ("long", "answer with many words: `long 500`"),
    ("ask", "open a dialog"),
    ("retry", "fail once like an overloaded provider, then answer"),
    ("error", "fail like a provider that refuses the key"),
    ("crash", "end the process at once, with exit code 3"),
];

/// The gateway asks for the answer that it lost (core's `resume_note`).
const RESTARTED: &str = "[The gateway restarted during turn:";

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Think(String),
    Say(String),
    Tool,
    /// A dialog; the answer to it is said.
    Ask,
    Fail {
        error: &'static str,
        retry: bool,
    },
    Crash,
}

/// A message without the context line that the gateway puts in front (core.md 8.1).
pub(super) fn plain(text: &str) -> &str {
    match text.split_once('\n') {
        Some((line, rest)) if line.starts_with('[') && line.ends_with(']') => rest,
        _ => text,
    }
}

/// The answer to `text`; `said`: what the user said before.
pub(super) fn answer(text: &str, said: &[String]) -> Vec<Part> {
    let text = plain(text).trim();
    if let (true, Some((last, before))) = (text.starts_with(RESTARTED), said.split_last()) {
        return answer(last, before);
    }
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let first = words.next().unwrap_or_default();
    if lower.contains("heartbeat_ok") {
        return vec![Part::Say("HEARTBEAT_OK".into())];
    }
    if lower.contains("what did i say") {
        return vec![Part::Say(recall(said))];
    }
    match first {
        "crash" => vec![Part::Crash],
        "error" => vec![Part::Fail { error: "401 the demo refuses its key", retry: false }],
        "retry" => vec![
            Part::Say("Half an ans".into()),
            Part::Fail { error: "500 the demo is overloaded", retry: true },
            Part::Say("*(demo)* The second attempt worked.".into()),
        ],
        "ask" => vec![Part::Say("*(demo)* One question first.".into()), Part::Ask],
        "long" => {
            let n = words.next().and_then(|w| w.parse::<usize>().ok()).unwrap_or(300);
            vec![Part::Say(lorem(n.min(100_000)))]
        }
        "think" => vec![
            Part::Think("The user wants to see me think. A demo does not think, but it can look thoughtful.".into()),
            Part::Say(echo(text, said)),
        ],
        _ if first == "tool" || words.any(|w| w == "tool") => vec![
            Part::Think("A tool call was asked for.".into()),
            Part::Say("*(demo)* Let me pretend to run something.".into()),
            Part::Tool,
            Part::Say("*(demo)* The pretended command printed **three lines**. Nothing was really run.".into()),
        ],
        _ => vec![Part::Say(echo(text, said))],
    }
}

fn echo(text: &str, said: &[String]) -> String {
    let quoted: String = text.lines().map(|l| format!("> {l}\n")).collect();
    if !said.is_empty() {
        return format!(
            "*(demo)* You said:\n\n{quoted}\nThat was message **{}** of this conversation.",
            said.len() + 1
        );
    }
    let words: String = WORDS.iter().map(|(word, what)| format!("- `{word}`: {what}\n")).collect();
    format!(
        "**Hello from the demo agent.** No model is behind me: I only show that the gateway works. You said:\n\n\
         {quoted}\nWords I know at the beginning of a message:\n\n{words}- `what did I say?`: I read my session file\n\n\
         For real answers, install pi:\n\n```sh\nnpm install -g @earendil-works/pi-coding-agent\npi-gw doctor\n```\n"
    )
}

fn recall(said: &[String]) -> String {
    if said.is_empty() {
        return "*(demo)* Nothing before this.".into();
    }
    let list: String = said.iter().enumerate().map(|(n, s)| format!("{}. {}\n", n + 1, s.replace('\n', " "))).collect();
    format!("*(demo)* You said:\n\n{list}")
}

/// So many words of nothing, in paragraphs.
fn lorem(n: usize) -> String {
    const WORDS: [&str; 12] = [
        "lorem",
        "ipsum",
        "dolor",
        "sit",
        "amet",
        "consectetur",
        "adipiscing",
        "elit",
        "sed",
        "do",
        "eiusmod",
        "tempor",
    ];
    let mut text = String::from("*(demo)*");
    for i in 0..n {
        text.push_str(if i > 0 && i % 60 == 0 { ".\n\n" } else { " " });
        text.push_str(WORDS[(i * 7 + i / 12) % WORDS.len()]);
    }
    text + "."
}

/// A text as the pieces in which a model would send it: word by word.
pub(super) fn deltas(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '\n'])
}
