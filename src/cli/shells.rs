//! `pi-gw completions SHELL`: what bash, zsh and fish propose, from the table of commands.

use std::fmt::Write;

use super::table::{all_flags, Command, Flag, COMMANDS, GLOBAL};
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
                if command.name == "help" {
                    all.extend(COMMANDS.iter().filter(|c| !c.inner.is_empty()).flat_map(|c| {
                        let stand = |name| Stand {
                            line: format!("help {name} "),
                            words: proposed(c.inner),
                            flags: GLOBAL.iter().collect(),
                        };
                        names(c).map(stand)
                    }));
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

/// What follows an option with a value: the words that it can be, a file (`PATH`), or what nobody can propose.
struct After {
    words: Vec<&'static str>,
    choices: &'static [&'static str],
    files: bool,
}

fn afters() -> Vec<After> {
    let all: Vec<&Flag> = all_flags().into_iter().filter(|flag| flag.value.is_some()).collect();
    let names = |flags: Vec<&&Flag>| flags.into_iter().flat_map(|f| f.short.into_iter().chain([f.name])).collect();
    let path = |flag: &&&Flag| flag.value == Some("PATH");
    let free = |flag: &&&Flag| flag.choices.is_empty() && flag.value != Some("PATH");
    let mut afters: Vec<After> = all
        .iter()
        .filter(|flag| !flag.choices.is_empty())
        .map(|flag| After { words: names(vec![flag]), choices: flag.choices, files: false })
        .collect();
    afters.push(After { words: names(all.iter().filter(path).collect()), choices: &[], files: true });
    afters.push(After { words: names(all.iter().filter(free).collect()), choices: &[], files: false });
    afters
}

/// Names of all options with a value, as a pattern of `case`.
fn valued() -> String {
    let words: Vec<&str> = afters().into_iter().flat_map(|after| after.words).collect();
    words.join("|")
}

fn bash() -> String {
    let (mut cases, mut values) = (String::new(), String::new());
    let all = stands();
    for stand in &all {
        let words = stand.words.iter().map(|(word, _)| word.as_str());
        let flags = stand.flags.iter().flat_map(|flag| flag.short.into_iter().chain([flag.name]));
        let words: Vec<&str> = words.chain(flags).collect();
        let _ = writeln!(cases, "        \"{}\") words=\"{}\" ;;", stand.line, words.join(" "));
        // a String takes all
    }
    for after in afters() {
        let what = match after.files {
            true => "return".to_owned(),
            false => format!("compopt +o default +o bashdefault 2>/dev/null; words=\"{}\"", after.choices.join(" ")),
        };
        let _ = writeln!(values, "    {}) {what} ;;", after.words.join("|"));
    }
    format!(
        "# bash completion of pi-gw. Put it into ~/.local/share/bash-completion/completions/pi-gw
_pi_gw() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} line= words= word i
    if [ \"$cur\" = = ]; then
        cur=
    elif [ \"$before\" = = ]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case \"$word\" in
        {}) ((i++)); [ \"${{COMP_WORDS[i]}}\" != = ] || ((i++)); continue ;;
        esac
        case \"$line$word\" in
        {}) line=\"$line$word \" ;;
        esac
    done
    COMPREPLY=()
    case \"$before\" in
{values}    *)
        case \"$line\" in
{cases}        esac ;;
    esac
    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))
}}
complete -o bashdefault -o default -F _pi_gw pi-gw
",
        valued(),
        known(&all)
    )
}

/// Between single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh() -> String {
    let all = stands();
    let (mut cases, mut values) = (String::new(), String::new());
    for stand in &all {
        let entry = |name: &str, text: &str| format!("'{name}:{}'", quoted(&text.replace(':', "\\:")));
        let words = stand.words.iter().map(|(word, text)| entry(word, text));
        let flags = stand.flags.iter().flat_map(|flag| {
            flag.short.into_iter().chain([flag.name]).map(|name| entry(name, flag.help)).collect::<Vec<_>>()
        });
        let words: Vec<String> = words.chain(flags).collect();
        let _ = writeln!(cases, "        \"{}\") all=({}) ;;", stand.line, words.join(" "));
    }
    for after in afters() {
        let what = match (after.files, after.choices) {
            (true, _) => "_files".to_owned(),
            (_, []) => "_message value".to_owned(),
            (_, choices) => format!("compadd -- {}", choices.join(" ")),
        };
        let _ = writeln!(values, "    {}) {what}; return ;;", after.words.join("|"));
    }
    format!(
        "#compdef pi-gw
# zsh completion of pi-gw. Put it as _pi-gw into a directory of $fpath.
_pi_gw() {{
    local line= word before=${{words[CURRENT-1]}} i
    local -a all
    if [[ $PREFIX == --*=* ]]; then
        before=${{PREFIX%%=*}}
        compset -P '*='
    fi
    case \"$before\" in
{values}    esac
    for ((i = 2; i < CURRENT; i++)); do
        word=${{words[i]}}
        case \"$word\" in
        {}) ((i++)); continue ;;
        esac
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
        valued(),
        known(&all)
    )
}

fn fish() -> String {
    let all = stands();
    let mut text = format!(
        "# fish completion of pi-gw. Put it into ~/.config/fish/completions/pi-gw.fish
function __pi_gw_line
    set -l line ''
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch \"$word\"
            case {}
                set skip 1
                continue
        end
        switch \"$line$word\"
            case {}
                set line \"$line$word \"
        end
    end
    test \"$line\" = \"$argv[1]\"
end
",
        valued().replace('|', " "),
        known(&all).replace('|', " ")
    );
    for stand in &all {
        let when = format!("complete -c pi-gw -n '__pi_gw_line \"{}\"'", stand.line);
        for (word, help) in &stand.words {
            let _ = writeln!(text, "{when} -f -a {word} -d '{}'", quoted(help));
        }
        for flag in &stand.flags {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {}", &short[1..]));
            let value = match (flag.value, flag.choices) {
                (None, _) => String::new(),
                (Some("PATH"), _) => " -r -F".into(),
                (Some(_), []) => " -x".into(),
                (Some(_), choices) => format!(" -x -a '{}'", choices.join(" ")),
            };
            let _ = writeln!(text, "{when} -l {}{short}{value} -d '{}'", &flag.name[2..], quoted(flag.help));
        }
    }
    text
}

#[cfg(test)]
#[path = "shells_tests.rs"]
mod tests;
