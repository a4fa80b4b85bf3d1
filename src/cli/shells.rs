//! `pi-gw completions SHELL`: what bash, zsh and fish propose, from the table of commands.

use std::fmt::Write;

use super::table::{Command, Flag, COMMANDS, GLOBAL};
use super::{exit, help, written, Call, Io};
use crate::config::Env;

pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

pub fn run(call: &Call, _: &Env, io: &mut Io<'_>) -> u8 {
    let script = match call.arguments.first().map(String::as_str) {
        Some("bash") => bash(),
        Some("zsh") => zsh(),
        Some("fish") => fish(),
        _ => {
            io.tell(format_args!("for which shell? {}", SHELLS.join(", ")));
            io.tell(help::usage(&call.line, call.command));
            return exit::USAGE;
        }
    };
    written(io.say(script.trim_end()).map(|()| exit::OK), io)
}

/// A place in a command line: the names so far, each followed by a space, and what may come next.
struct Stand {
    line: String,
    words: Vec<(String, &'static str)>,
    flags: Vec<&'static Flag>,
}

fn names(command: &'static Command) -> impl Iterator<Item = &'static str> {
    std::iter::once(command.name).chain(command.aliases.iter().copied())
}

/// All places, the outermost first.
fn stands() -> Vec<Stand> {
    fn below(line: &str, commands: &'static [Command], all: &mut Vec<Stand>) {
        for command in commands {
            for name in names(command) {
                let line = format!("{line}{name} ");
                let mut words = proposed(command.inner);
                match command.name {
                    "help" => words = proposed(COMMANDS),
                    "completions" => words = SHELLS.iter().map(|shell| (shell.to_string(), "")).collect(),
                    _ => {}
                }
                all.push(Stand { line: line.clone(), words, flags: command.flags.iter().chain(GLOBAL).collect() });
                below(&line, command.inner, all);
            }
        }
    }
    let mut all = vec![Stand { line: String::new(), words: proposed(COMMANDS), flags: GLOBAL.iter().collect() }];
    below("", COMMANDS, &mut all);
    all
}

fn proposed(commands: &'static [Command]) -> Vec<(String, &'static str)> {
    commands.iter().map(|command| (command.name.to_owned(), command.summary)).collect()
}

/// Patterns of `case` for the names of all commands.
fn known(all: &[Stand]) -> String {
    let lines = all.iter().filter(|stand| !stand.line.is_empty());
    lines.map(|stand| format!("\"{}\"", stand.line.trim_end())).collect::<Vec<_>>().join("|")
}

fn bash() -> String {
    let all = stands();
    let mut cases = String::new();
    for stand in &all {
        let words = stand.words.iter().map(|(word, _)| word.as_str());
        let flags = stand.flags.iter().flat_map(|flag| flag.short.into_iter().chain([flag.name]));
        let words: Vec<&str> = words.chain(flags).collect();
        let _ = writeln!(cases, "        \"{}\") words=\"{}\" ;;", stand.line, words.join(" "));
        // a String takes all
    }
    format!(
        "# bash completion of pi-gw. Put it into ~/.local/share/bash-completion/completions/pi-gw
_pi_gw() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} line= words= word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case \"$line$word\" in
        {}) line=\"$line$word \" ;;
        esac
    done
    case \"$line\" in
{cases}    esac
    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))
}}
complete -o bashdefault -o default -F _pi_gw pi-gw
",
        known(&all)
    )
}

/// Between single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh() -> String {
    let all = stands();
    let mut cases = String::new();
    for stand in &all {
        let entry = |name: &str, text: &str| format!("'{name}:{}'", quoted(&text.replace(':', "\\:")));
        let words = stand.words.iter().map(|(word, text)| entry(word, text));
        let flags = stand.flags.iter().map(|flag| entry(flag.name, flag.help));
        let words: Vec<String> = words.chain(flags).collect();
        let _ = writeln!(cases, "        \"{}\") all=({}) ;;", stand.line, words.join(" "));
    }
    format!(
        "#compdef pi-gw
# zsh completion of pi-gw. Put it as _pi-gw into a directory of $fpath.
_pi_gw() {{
    local line= word
    local -a all
    for word in ${{words[2,CURRENT-1]}}; do
        case \"$line$word\" in
        {}) line=\"$line$word \" ;;
        esac
    done
    case \"$line\" in
{cases}    esac
    _describe -t commands pi-gw all || _files
}}
if [ \"$funcstack[1]\" = \"_pi-gw\" ]; then _pi_gw \"$@\"; else compdef _pi_gw pi-gw; fi
",
        known(&all)
    )
}

fn fish() -> String {
    let all = stands();
    let mut text = format!(
        "# fish completion of pi-gw. Put it into ~/.config/fish/completions/pi-gw.fish
function __pi_gw_line
    set -l line ''
    for word in (commandline -opc)[2..-1]
        switch \"$line$word\"
            case {}
                set line \"$line$word \"
        end
    end
    test \"$line\" = \"$argv[1]\"
end
",
        known(&all).replace('|', " ")
    );
    for stand in &all {
        let when = format!("complete -c pi-gw -n '__pi_gw_line \"{}\"'", stand.line);
        for (word, help) in &stand.words {
            let _ = writeln!(text, "{when} -f -a {word} -d '{}'", quoted(help));
        }
        for flag in &stand.flags {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {}", &short[1..]));
            let value = if flag.value.is_some() { " -r" } else { "" };
            let _ = writeln!(text, "{when} -l {}{short}{value} -d '{}'", &flag.name[2..], quoted(flag.help));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Program;

    /// What bash proposes at the end of that line.
    fn proposed_by_bash(line: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pi-gw");
        std::fs::write(&file, bash()).unwrap();
        let script = format!(
            "source '{}'; COMP_WORDS=({line}); [[ '{line}' == *' ' ]] && COMP_WORDS+=('')
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _pi_gw; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let ran = Program::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_proposes_commands_then_their_own_and_their_options() {
        assert_eq!(proposed_by_bash("pi-gw ga"), ["gateway"]);
        assert_eq!(proposed_by_bash("pi-gw --config x.jsonc pairing a"), ["approve", "allow"]);
        assert_eq!(proposed_by_bash("pi-gw cron add job --once --sch"), ["--schedule"]);
        assert_eq!(proposed_by_bash("pi-gw start --str"), ["--strict"]);
        assert_eq!(
            proposed_by_bash("pi-gw completions "),
            ["bash", "zsh", "fish"]
                .into_iter()
                .map(str::to_owned)
                .chain(GLOBAL.iter().flat_map(|f| f.short.into_iter().chain([f.name])).map(str::to_owned))
                .collect::<Vec<_>>()
        );
    }
}
