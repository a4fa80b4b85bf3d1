//! `pi-gw man`: the manual page, from the same table as the help.

use std::fmt::Write;

use super::table::{Command, Flag, COMMANDS, GLOBAL};
use super::version::VERSION;
use super::{exit, written, Call, Io};
use crate::config::Env;

/// Exit codes and their meaning.
const CODES: &[(u8, &str)] = &[
    (exit::OK, "done"),
    (exit::FAILED, "refused, not found, or failed for good"),
    (exit::USAGE, "wrong options or arguments"),
    (exit::DATA, "bad data: input that is not UTF-8, a place that cannot be"),
    (exit::UNAVAILABLE, "the gateway or the network is needed and not reachable, or the port is busy"),
    (exit::INTERNAL, "a fault of pi-gw"),
    (exit::CANNOT_WRITE, "a file cannot be written"),
    (exit::TEMPORARY, "failed for now: try again later"),
    (exit::PERMISSION, "a token or secret is not accepted"),
    (exit::CONFIG, "the configuration is wrong"),
    (exit::CANCELLED, "cancelled by the user"),
];

const FILES: &[(&str, &str)] = &[
    ("~/.pi/gateway/pi-gateway.jsonc", "the configuration; pi-gw config path says which file is used"),
    ("~/.pi/gateway/gateway.db", "the store: messages, conversations, what is owed"),
    ("~/.pi/gateway/sessions/", "pi's own files of the conversations"),
    ("~/.pi/gateway/credentials/", "the access token, if none is configured"),
    ("~/.pi/gateway/logs/", "the log, if it goes to a file"),
];

const VARIABLES: &[(&str, &str)] = &[
    ("PI_GATEWAY_CONFIG", "path of the configuration file"),
    ("PI_GATEWAY_PORT", "in place of gateway.port"),
    ("PI_GATEWAY_AUTH_TOKEN", "the access token, if the file has none"),
    ("PI_GATEWAY_LOG", "in place of logging.level"),
    ("TELEGRAM_BOT_TOKEN", "the token of Telegram's default account, if the file has none"),
    ("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY", "the way out"),
    ("NO_COLOR, TZ", "as everywhere"),
];

pub fn run(_: &Call, _: &Env, io: &mut Io<'_>) -> u8 {
    let page = page();
    written(io.say(page.trim_end()).map(|()| exit::OK), io)
}

/// As roff takes it: no line begins with a control character, no dash is hyphenated.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn entry(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, ".TP\n{}\n{}", name, roff(text)); // a String takes everything
}

fn flag(page: &mut String, flag: &Flag) {
    let short = flag.short.map_or(String::new(), |short| format!("\\fB{}\\fR, ", roff(short)));
    let value = flag.value.map_or(String::new(), |value| format!(" \\fI{}\\fR", roff(value)));
    entry(page, &format!("{short}\\fB{}\\fR{value}", roff(flag.name)), flag.help);
}

fn command(page: &mut String, line: &str, c: &Command) {
    let line = format!("{line}{}", c.name);
    if c.inner.is_empty() {
        let arguments = if c.arguments.is_empty() { String::new() } else { format!(" \\fI{}\\fR", roff(c.arguments)) };
        let also = if c.aliases.is_empty() { String::new() } else { format!(" Also: {}.", c.aliases.join(", ")) };
        let _ = writeln!(page, ".SS \"{line}{}\"\n{}.{also}", arguments.replace('"', ""), roff(c.summary));
        c.flags.iter().for_each(|f| flag(page, f));
    }
    c.inner.iter().for_each(|inner| command(page, &format!("{line} "), inner));
}

/// When the words of this page that are not made from the tables were changed last.
const WRITTEN: &str = "2026-11-28";

fn page() -> String {
    let mut page = format!(
        ".TH PI\\-GW 1 \"{WRITTEN}\" \"pi\\-gw {VERSION}\" \"User Commands\"
.SH NAME
pi\\-gw \\- gateway between chat channels and the pi coding agent
.SH SYNOPSIS
.B pi\\-gw
[\\fIoptions\\fR] \\fICOMMAND\\fR
.SH DESCRIPTION
People write to bots or to a web page; pi\\-gw hands what they write to pi and
brings back the answers.
A message is accepted when it is on the disk, and an answer is owed until the
platform took it.
.SH OPTIONS
"
    );
    GLOBAL.iter().for_each(|f| flag(&mut page, f));
    page += ".SH COMMANDS\n";
    COMMANDS.iter().for_each(|c| command(&mut page, "", c));
    page += ".SH EXIT STATUS\n";
    CODES.iter().for_each(|(code, text)| entry(&mut page, &format!("\\fB{code}\\fR"), text));
    page += ".SH FILES\n";
    FILES.iter().for_each(|(path, text)| entry(&mut page, &format!("\\fI{}\\fR", roff(path)), text));
    page += ".SH ENVIRONMENT\n";
    VARIABLES.iter().for_each(|(name, text)| entry(&mut page, &format!("\\fB{}\\fR", roff(name)), text));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_that_its_reader_finds_nothing_wrong_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pi-gw.1");
        std::fs::write(&file, page()).unwrap();
        let ran = std::process::Command::new("mandoc").args(["-Tlint", "-Wall"]).arg(&file).output();
        let ran = ran.unwrap_or_else(|e| panic!("mandoc: {e}: apt install mandoc"));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }

    #[test]
    fn every_command_and_option_has_its_place_in_the_page() {
        fn lines(line: &str, commands: &'static [Command], all: &mut Vec<String>) {
            for c in commands {
                let line = format!("{line}{}", c.name);
                match c.inner.is_empty() {
                    true => all.push(line),
                    false => lines(&format!("{line} "), c.inner, all),
                }
            }
        }
        let (page, mut all) = (page(), Vec::new());
        lines("", COMMANDS, &mut all);
        for line in all {
            assert!(page.contains(&format!(".SS \"{line}")), "{line}");
        }
        for flag in super::super::table::all_flags() {
            assert!(page.contains(&roff(flag.name)), "{}", flag.name);
        }
        assert!(page.lines().all(|line| !line.starts_with('\'')), "{page}");
    }
}
