//! The report, for people and for programs.

use std::io;

use serde_json::{json, Value};

use super::check::{Check, State};
use crate::cli::Io;

fn count(checks: &[Check], state: State) -> usize {
    checks.iter().filter(|check| check.state == state).count()
}

pub fn json(checks: &[Check], io: &mut Io<'_>) -> io::Result<()> {
    let lines: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name, "status": check.state.word(), "text": check.text,
                "remedy": check.remedy, "details": check.details,
            })
        })
        .collect();
    let errors = count(checks, State::Error);
    let warnings = count(checks, State::Warning);
    io.say(format_args!("{:#}", json!({"ok": errors == 0, "errors": errors, "warnings": warnings, "checks": lines})))
}

/// `quiet`: only what is wrong; `verbose`: details of what is right too.
pub fn human(checks: &[Check], quiet: bool, verbose: bool, io: &mut Io<'_>) -> io::Result<()> {
    let shown = || checks.iter().filter(|check| !quiet || check.state != State::Ok);
    let width = shown().map(|check| check.name.len()).max().unwrap_or(0);
    for check in shown() {
        let (word, mark, colour) = match check.state {
            State::Ok => ("ok   ", "✓", "32"),
            State::Warning => ("warn ", "!", "33"),
            State::Error => ("error", "✗", "31"),
        };
        let mark = if io.terminal { mark } else { word };
        let indent = " ".repeat(mark.chars().count() + 1 + width + 2);
        let (mark, name) = (io.painted(colour, mark), check.name);
        io.say(format_args!("{mark} {name:width$}  {}", check.text))?;
        if check.state != State::Ok || verbose {
            for line in &check.details {
                io.say(format_args!("{indent}| {line}"))?;
            }
        }
        if let Some(remedy) = &check.remedy {
            io.say(format_args!("{indent}{} {remedy}", if io.terminal { "→" } else { "->" }))?;
        }
    }
    let (errors, warnings) = (count(checks, State::Error), count(checks, State::Warning));
    if quiet && errors + warnings == 0 {
        return Ok(());
    }
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match errors + warnings {
        0 => io.say("\nall is well"),
        _ => io.say(format_args!("\n{}, {}", plural(errors, "error"), plural(warnings, "warning"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: bool, quiet: bool) -> String {
        let checks = [
            Check::ok("data", "fine").details(vec!["more".into()]),
            Check::error("time zone", "odd").remedy("set it").details(vec!["a".into(), "b".into()]),
        ];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { out: &mut out, err: &mut err, terminal, colour: false };
        human(&checks, quiet, false, &mut io).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn marks_on_a_terminal_words_elsewhere() {
        let plain = "ok    data       fine\nerror time zone  odd\n                 | a\n                 | b\n                 -> set it\n\n1 error, 0 warnings\n";
        assert_eq!(shown(false, false), plain);
        assert!(shown(true, false).starts_with("✓ data       fine\n✗ time zone  odd\n             | a\n"));
        assert!(!shown(true, true).contains("data"));
    }
}
