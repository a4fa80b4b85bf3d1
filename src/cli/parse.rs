//! Arguments become a [`Call`]: which command, which options. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pico_args::Arguments;

use super::help;
use super::table::{self, Command, Flag, COMMANDS, GLOBAL, LATER};
use crate::config::closest;

/// A command as it was called.
pub struct Call {
    pub command: &'static Command,
    /// Its full name, such as `config show`.
    pub line: String,
    /// What is left when options are taken away.
    pub arguments: Vec<String>,
    switches: BTreeSet<&'static str>,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Call {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.switches.contains(name)
    }

    /// The value of an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values of an option that may be repeated, in their order.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// `--config`.
    pub fn config(&self) -> Option<PathBuf> {
        self.value("--config").map(PathBuf::from)
    }
}

/// A command line that says nothing sensible.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    /// What is wrong with it.
    pub text: String,
    /// How it is done; one line.
    pub usage: String,
    /// A command that this version does not have: nothing is wrong with how it is called.
    pub later: bool,
}

fn wrong(text: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), usage: help::USAGE.into(), later: false }
}

fn later(name: &str) -> Wrong {
    Wrong { later: true, ..wrong(format!("\"{name}\" is not in this version yet")) }
}

/// Reads a command line, the program's name left out.
pub fn parse(args: Vec<OsString>) -> Result<Call, Wrong> {
    let flags = table::all_flags();
    let likely = likely_usage(&args);
    // Values first: they may look like switches, and like other options.
    let Valued { values, rest, mut last } =
        valued(args, &flags).map_err(|text| Wrong { usage: likely, ..wrong(text) })?;
    let mut args = Arguments::from_vec(rest);
    let mut switches = BTreeSet::new();
    for flag in flags.iter().filter(|flag| flag.value.is_none()) {
        while args.contains(flag.name) || flag.short.is_some_and(|short| args.contains(short)) {
            switches.insert(flag.name);
        }
    }
    let (mut words, mut unknown) = (Vec::new(), Vec::new());
    let rest = args.finish();
    let options = rest.len();
    for (i, arg) in rest.into_iter().chain(last.drain(..)).enumerate() {
        let arg = arg.into_string().map_err(|arg| wrong(format!("\"{}\" is not UTF-8", arg.to_string_lossy())))?;
        match i < options && arg.starts_with('-') && arg != "-" {
            true => unknown.push(arg),
            false => words.push(arg),
        }
    }
    let (command, line) = command(&mut words, &switches, unknown.first())?;
    let own_usage = |text: String| Wrong { usage: help::usage(&line, command), ..wrong(text) };
    let own: Vec<&Flag> = command.flags.iter().chain(GLOBAL).collect();
    if let Some(option) = unknown.first() {
        return Err(own_usage(unknown_option(option, &own)));
    }
    let help = switches.contains("--help");
    let given = switches.iter().chain(values.keys());
    if let Some(option) = given.filter(|given| !help && !own.iter().any(|flag| flag.name == **given)).min() {
        return Err(own_usage(format!("{option} is no option of \"{line}\"")));
    }
    let once = |flag: &&&Flag| !flag.many && values.get(flag.name).is_some_and(|given| given.len() > 1);
    if let Some(flag) = own.iter().find(once) {
        return Err(own_usage(format!("{} is given twice", flag.name)));
    }
    if let Some(extra) = words.get(command.most) {
        let text = match (command.inner.is_empty(), help) {
            (_, true) => None,
            (true, _) => Some(format!("unexpected \"{extra}\"")),
            (false, _) => Some(unknown_command(&format!("{line} "), extra, command.inner)),
        };
        if let Some(text) = text {
            return Err(own_usage(text));
        }
    }
    Ok(Call { command, line, arguments: words, switches, values })
}

/// The usage of the command that is probably meant, while it is not known which words are values.
fn likely_usage(args: &[OsString]) -> String {
    let mut words = args.iter().filter_map(|arg| arg.to_str()).skip_while(|word| table::find(COMMANDS, word).is_none());
    let Some(command) = words.next().and_then(|word| table::find(COMMANDS, word)) else {
        return help::USAGE.into();
    };
    let (mut found, mut line) = (command, command.name.to_owned());
    while let Some(inner) = words.next().and_then(|word| table::find(found.inner, word)) {
        (found, line) = (inner, format!("{line} {}", inner.name));
    }
    help::usage(&line, found)
}

/// Arguments, when options with values are taken out.
#[derive(Default)]
struct Valued {
    values: BTreeMap<&'static str, Vec<String>>,
    rest: Vec<OsString>,
    /// What stands behind `--`.
    last: Vec<OsString>,
}

/// What others call an option.
const ALSO: [(&[u8], &str); 1] = [(b"--retry", "--retries")];

/// From the left to the right: what stands where a value is expected is one, whatever it looks like, unless it is an
/// option's name. `--option=VALUE` takes that too.
fn valued(args: Vec<OsString>, flags: &[&'static Flag]) -> Result<Valued, String> {
    let mut found = Valued::default();
    let mut args = args.into_iter().peekable();
    let utf8 = |flag: &Flag, bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("{}: the value is not UTF-8", flag.name))
    };
    while let Some(arg) = args.next() {
        if arg == "--" {
            found.last = args.collect();
            break;
        }
        let (name, joined) = match arg.as_bytes().iter().position(|b| *b == b'=') {
            Some(at) => (&arg.as_bytes()[..at], Some(&arg.as_bytes()[at + 1..])),
            None => (arg.as_bytes(), None),
        };
        let name = ALSO.iter().find(|(also, _)| *also == name).map_or(name, |(_, name)| name.as_bytes());
        let Some(flag) = flags.iter().find(|flag| flag.value.is_some() && flag.name.as_bytes() == name) else {
            found.rest.push(arg);
            continue;
        };
        let option = |next: &OsString| next == "--" || flags.iter().any(|known| next == known.name);
        let value = match joined {
            Some(value) => Some(utf8(flag, value)?).filter(|value| !value.is_empty()),
            None => args.next_if(|next| !option(next)).map(|next| utf8(flag, next.as_bytes())).transpose()?,
        };
        let missing = || format!("{} needs a value: {0} {}", flag.name, flag.value.unwrap_or_default());
        found.values.entry(flag.name).or_default().push(value.ok_or_else(missing)?);
    }
    Ok(found)
}

/// Takes the command's name from the front of the words.
fn command(
    words: &mut Vec<String>,
    switches: &BTreeSet<&'static str>,
    unknown: Option<&String>,
) -> Result<(&'static Command, String), Wrong> {
    let built_in = |name: &str| table::find(COMMANDS, name).expect("a command of the table");
    if switches.contains("--version") {
        words.clear();
        return Ok((built_in("version"), "version".into()));
    }
    let Some(name) = words.first().cloned() else {
        return match (unknown, switches.contains("--help")) {
            (Some(option), _) => Err(wrong(unknown_option(option, &table::all_flags()))),
            (None, true) => Ok((built_in("help"), "help".into())),
            (None, false) => Err(wrong("pi-gw needs to know what to do")),
        };
    };
    let Some(mut found) = table::find(COMMANDS, &name) else {
        return Err(match LATER.contains(&name.as_str()) {
            true => later(&name),
            false => wrong(unknown_command("", &name, COMMANDS)),
        });
    };
    words.remove(0);
    let mut line = found.name.to_owned();
    while let Some(inner) = words.first().and_then(|word| table::find(found.inner, word)) {
        found = inner;
        words.remove(0);
        line = format!("{line} {}", inner.name);
    }
    Ok((found, line))
}

/// Also used by `help`.
pub fn unknown_command(before: &str, name: &str, commands: &'static [Command]) -> String {
    let names = commands.iter().flat_map(|command| command.aliases.iter().copied().chain([command.name]));
    let later = LATER.iter().copied().filter(|_| before.is_empty());
    let meant = closest(name, names.chain(later)).map(|name| format!(" (did you mean \"{before}{name}\"?)"));
    format!("unknown command \"{before}{name}\"{}", meant.unwrap_or_default())
}

fn unknown_option(option: &str, flags: &[&Flag]) -> String {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    if flags.iter().any(|flag| flag.name == name && flag.value.is_none()) {
        return format!("{name} takes no value");
    }
    let meant = closest(name, flags.iter().map(|flag| flag.name)).map(|name| format!(" (did you mean {name}?)"));
    format!("unknown option {name}{}", meant.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, Wrong> {
        parse(line.split_whitespace().map(Into::into).collect())
    }

    #[test]
    fn options_stand_anywhere() {
        for line in [
            "--config /x --port 80 gateway -v",
            "gateway --port=80 --config=/x --verbose",
            "-v start --config /x --port 80",
        ] {
            let call = call(line).unwrap_or_else(|wrong| panic!("{line}: {}", wrong.text));
            assert_eq!(
                (call.line.as_str(), call.value("--port"), call.has("--verbose")),
                ("gateway", Some("80"), true)
            );
            assert_eq!(call.config(), Some("/x".into()));
        }
        assert_eq!(call("config show --path a.b").map(|c| c.line).ok(), Some("config show".into()));
    }

    #[test]
    fn an_option_may_have_another_name() {
        for line in ["send --retry 2", "send --retry=2", "send --retries 2"] {
            assert_eq!(call(line).unwrap().value("--retries"), Some("2"), "{line}");
        }
    }

    #[test]
    fn two_dashes_end_the_options() {
        let call = call("help -- --json").unwrap_or_else(|wrong| panic!("{}", wrong.text));
        assert_eq!((call.arguments, call.switches.len()), (vec!["--json".to_owned()], 0));
    }

    #[test]
    fn what_stands_in_the_place_of_a_value_is_one_whatever_it_looks_like() {
        let message = |args: &[&str]| {
            let all = ["send", "--to", "t:1"].iter().chain(args).map(Into::into).collect();
            let call = parse(all).unwrap_or_else(|wrong| panic!("{args:?}: {}", wrong.text));
            call.value("--message").unwrap().to_owned()
        };
        for text in ["--port=80 is busy", "--config=/x", "-q", "'quoted'", "\"", "--unheard-of", "a=b", " "] {
            assert_eq!(message(&["--message", text]), text);
            assert_eq!(message(&[&format!("--message={text}")]), text);
        }
        assert_eq!(message(&["--message=--dry-run"]), "--dry-run", "an option's own name, if it is joined");
        assert_eq!(message(&["--message=--"]), "--");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, text) in [
            ("", "pi-gw needs to know what to do"),
            ("gatway", "unknown command \"gatway\" (did you mean \"gateway\"?)"),
            ("config shwo", "unknown command \"config shwo\" (did you mean \"config show\"?)"),
            ("xyzzy", "unknown command \"xyzzy\""),
            ("plugin list", "\"plugin\" is not in this version yet"),
            ("doctor --fxi", "unknown option --fxi (did you mean --fix?)"),
            ("--unheard-of", "unknown option --unheard-of"),
            ("doctor --port 80", "--port is no option of \"doctor\""),
            ("gateway --port", "--port needs a value: --port N"),
            ("gateway --port --check", "--port needs a value: --port N"),
            ("gateway --config= --check", "--config needs a value: --config PATH"),
            ("gateway --check=yes", "--check takes no value"),
            ("gateway --port 1 --port 2", "--port is given twice"),
            ("doctor now", "unexpected \"now\""),
            ("version -- -x", "unexpected \"-x\""),
        ] {
            assert_eq!(call(line).err().map(|wrong| wrong.text).as_deref(), Some(text), "{line}");
        }
        assert_eq!(
            call("doctor --unheard-of").err().map(|w| w.usage).as_deref(),
            Some("usage: pi-gw doctor [--fix] [--online]")
        );
    }
}
