//! What the shells themselves propose.

use super::*;
use std::process::Command as Program;

/// Runs a shell on a completion script and some lines of its own; what it prints, a group of lines per `@`.
fn run(shell: &str, args: &[&str], completion: &str, script: &str) -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let (file, all) = (dir.path().join("pi-gw"), dir.path().join("all"));
    std::fs::write(&file, completion).unwrap();
    std::fs::write(&all, script.replace("FILE", &file.display().to_string())).unwrap();
    let ran = Program::new(shell).args(args).arg(&all).env("HOME", dir.path()).current_dir(dir.path()).output();
    let ran = ran.unwrap_or_else(|e| panic!("{shell}: {e}: apt install {shell}"));
    assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let group = |part: &str| part.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    text.split("@\n").skip(1).map(group).collect()
}

fn by_bash(lines: &[String]) -> Vec<Vec<String>> {
    let ask = |line: &String| {
        let words = line.replace('=', " = ");
        let last = if line.ends_with(' ') { "''" } else { "" };
        format!("echo @; COMP_WORDS=({words} {last}); ((COMP_CWORD = ${{#COMP_WORDS[@]}} - 1)); _pi_gw; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n")
    };
    run("bash", &["--norc"], &bash(), &format!("source FILE\n{}", lines.iter().map(ask).collect::<String>()))
}

/// The script runs for real; what takes the proposals is ours.
fn by_zsh(lines: &[String]) -> Vec<Vec<String>> {
    let stubs = "compdef() { : }; compadd() { shift; print -l -- $@ }; _files() { print FILES }; _message() { : }
compset() { PREFIX=${PREFIX#*=} }; _describe() { print -l -- ${all%%:*} }\n";
    let ask = |line: &String| {
        let last = if line.ends_with(' ') { "''" } else { "" };
        format!("print @; words=({line} {last}); CURRENT=$#words; PREFIX=$words[-1]; _pi_gw\n")
    };
    let lines: String = lines.iter().map(ask).collect();
    run("zsh", &["-f"], &zsh(), &format!("{stubs}source FILE\n{lines}"))
}

fn by_fish(lines: &[String]) -> Vec<Vec<String>> {
    let ask = |line: &String| format!("echo @; complete -C '{line}' | string replace -r '\\t.*' ''\n");
    let lines: String = lines.iter().map(ask).collect();
    run("fish", &["--no-config"], &fish(), &format!("source FILE\n{lines}"))
}

type Shell = fn(&[String]) -> Vec<Vec<String>>;
const ALL: [(&str, Shell); 3] = [("bash", by_bash), ("zsh", by_zsh), ("fish", by_fish)];

#[test]
fn every_command_option_and_word_is_proposed_by_every_shell() {
    let (mut lines, mut wanted) = (Vec::new(), Vec::new());
    for stand in stands() {
        lines.push(format!("pi-gw {}", stand.line));
        wanted.push(stand.words.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>());
        lines.push(format!("pi-gw {}--", stand.line));
        wanted.push(stand.flags.iter().map(|flag| flag.name.to_owned()).collect());
        for flag in stand.flags.iter().filter(|flag| !flag.choices.is_empty()) {
            lines.push(format!("pi-gw {}{} ", stand.line, flag.name));
            wanted.push(flag.choices.iter().map(|word| word.to_string()).collect());
        }
    }
    for (shell, proposed) in ALL {
        let found = proposed(&lines);
        assert_eq!(found.len(), lines.len(), "{shell}");
        for ((line, wanted), found) in lines.iter().zip(&wanted).zip(&found) {
            let missing: Vec<_> = wanted.iter().filter(|word| !found.contains(word)).collect();
            assert!(missing.is_empty(), "{shell}: {line:?} does not propose {missing:?} but {found:?}");
        }
    }
}

#[test]
fn what_is_begun_is_finished_and_values_are_no_commands() {
    let cases: [(&str, &[&str]); 7] = [
        ("pi-gw ga", &["gateway"]),
        ("pi-gw --config doctor pairing ap", &["approve"]),
        ("pi-gw --config=doctor pairing ap", &["approve"]),
        ("pi-gw cron add job --once --sch", &["--schedule"]),
        ("pi-gw start --str", &["--strict"]),
        ("pi-gw send --to last --via g", &["gateway"]),
        ("pi-gw help config pa", &["path"]),
    ];
    let lines: Vec<String> = cases.iter().map(|(line, _)| line.to_string()).collect();
    for (shell, proposed) in ALL {
        for ((line, wanted), found) in cases.iter().zip(proposed(&lines)) {
            // zsh's own part, which is not run here, takes those that begin so.
            let start = line.rsplit([' ', '=']).next().unwrap();
            let found: Vec<_> = found.into_iter().filter(|word| word.starts_with(start)).collect();
            assert_eq!(found, *wanted, "{shell}: {line}");
        }
    }
}

#[test]
fn a_value_behind_an_equals_sign_is_proposed_too() {
    let line = ["pi-gw send --format=h".to_owned()];
    for (shell, proposed) in ALL {
        let found: Vec<_> = proposed(&line).remove(0);
        // fish gives the whole word, zsh all that are possible.
        assert!(found.iter().any(|word| word == "html" || word == "--format=html"), "{shell}: {found:?}");
    }
}
