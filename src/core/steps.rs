//! The tools of an answer, as lines before its text (config.md 6.1, `showTools`).

use super::keys::literally;
use crate::live::asked;
use crate::message::ToolCall;

/// Tools that have a line; older ones are counted.
const TOOLS: usize = 5;

/// What ran for the current segment of an answer.
#[derive(Debug, Default)]
pub(super) struct Steps {
    lines: Vec<String>,
    earlier: usize,
}

impl Steps {
    pub(super) fn add(&mut self, calls: &[ToolCall]) {
        self.lines.extend(calls.iter().map(line));
        let over = self.lines.len().saturating_sub(TOOLS);
        self.lines.drain(..over);
        self.earlier += over;
    }

    /// In Markdown; nothing, if nothing ran.
    pub(super) fn text(&self) -> String {
        let earlier = (self.earlier > 0).then(|| format!("({} earlier steps)", self.earlier));
        earlier.into_iter().chain(self.lines.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}

/// ``→ bash `ls` ``
fn line(call: &ToolCall) -> String {
    let asked = asked("", &call.name, &call.args);
    let code = match (asked.is_empty(), asked.contains('`')) {
        (true, _) => String::new(),
        (false, false) => format!(" `{asked}`"),
        (false, true) => format!(" {}", literally(&asked)),
    };
    format!("→ {}{code}", literally(&call.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tools_have_lines_and_older_ones_are_counted() {
        let call = |n: usize| ToolCall {
            name: "bash".into(),
            args: format!(r#"{{"command":"ls {n}"}}"#),
            ..ToolCall::default()
        };
        let mut steps = Steps::default();
        assert_eq!(steps.text(), "");
        steps.add(&[call(1)]);
        assert_eq!(steps.text(), "→ bash `ls 1`");
        steps.add(&(2..8).map(call).collect::<Vec<_>>());
        let lines: Vec<String> = (3..8).map(|n| format!("→ bash `ls {n}`")).collect();
        assert_eq!(steps.text(), format!("(2 earlier steps)\n{}", lines.join("\n")));
    }
}
