//! `pi-gw help`, `--help` and the one-line usages, all from the table.

use std::fmt::Write;

use super::parse::{unknown_command, Call};
use super::table::{self, Command, Flag, COMMANDS, GLOBAL, LATER};
use super::{exit, written, Io};
use crate::config::Env;

/// The program's own line.
pub const USAGE: &str = "usage: pi-gw [options] COMMAND; pi-gw help lists the commands";

/// One line: how a command is called.
pub fn usage(line: &str, command: &Command) -> String {
    let mut text = format!("usage: pi-gw {line}");
    if !command.arguments.is_empty() {
        let _ = write!(text, " {}", command.arguments); // a String takes everything
    }
    for flag in command.flags {
        let _ = match flag.value {
            Some(value) => write!(text, " [{} {value}]", flag.name),
            None => write!(text, " [{}]", flag.name),
        };
    }
    text
}

/// `pi-gw help [COMMAND]`.
pub fn run(call: &Call, _: &Env, io: &mut Io<'_>) -> u8 {
    let Some(name) = call.arguments.first() else {
        let text = all(io);
        return written(io.say(text.trim_end()).map(|()| exit::OK), io);
    };
    let mut line = String::new();
    let mut commands = COMMANDS;
    let mut found = None;
    for name in &call.arguments {
        let Some(command) = table::find(commands, name) else {
            io.tell(match LATER.contains(&name.as_str()) && line.is_empty() {
                true => format!("\"{name}\" is not in this version yet"),
                false => unknown_command(&line, name, commands),
            });
            io.tell(USAGE);
            return exit::USAGE;
        };
        line = format!("{line}{} ", command.name);
        commands = command.inner;
        found = Some(command);
    }
    match found {
        Some(command) => of(line.trim_end(), command, io),
        None => unreachable!("\"{name}\" was looked up"),
    }
}

/// Help about one command.
pub fn of(line: &str, command: &Command, io: &mut Io<'_>) -> u8 {
    let mut text = format!("{}\n\n{}\n", usage(line, command), sentence(command.summary));
    if !command.aliases.is_empty() {
        let _ = writeln!(text, "Also: {}", command.aliases.join(", "));
    }
    if !command.inner.is_empty() {
        text += &heading("Commands", io);
        text += &table_of(command.inner.iter().map(|inner| (inner.name.to_owned(), inner.summary)));
    }
    if !command.flags.is_empty() {
        text += &heading("Options", io);
        text += &table_of(command.flags.iter().map(described));
    }
    text += &heading("Options of every command", io);
    text += &table_of(GLOBAL.iter().map(described));
    written(io.say(text.trim_end()).map(|()| exit::OK), io)
}

fn all(io: &Io<'_>) -> String {
    let mut text =
        "usage: pi-gw [options] COMMAND\n\nA gateway between chat channels and the pi coding agent.\n".to_owned();
    text += &heading("Commands", io);
    text += &table_of(COMMANDS.iter().map(|command| (command.name.to_owned(), command.summary)));
    text += &heading("Options", io);
    text += &table_of(GLOBAL.iter().map(described));
    text += "\nMore about a command: pi-gw help COMMAND\n";
    text
}

fn described(flag: &Flag) -> (String, &'static str) {
    let short = flag.short.map_or(String::new(), |short| format!("{short}, "));
    let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
    (format!("{short}{}{value}", flag.name), flag.help)
}

fn table_of(rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, text)| format!("  {name:width$}  {text}\n")).collect()
}

fn heading(text: &str, io: &Io<'_>) -> String {
    format!("\n{}\n", io.bold(text))
}

/// `show help` -> `Show help.`
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
