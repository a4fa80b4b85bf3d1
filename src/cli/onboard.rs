//! `pi-gw onboard`: from nothing to a configuration that works (config.md 10.2).
//!
//! What is wanted comes from the options and, on a terminal, from answers; it becomes a draft of the file, which is
//! checked live and shown. Nothing is written before the last confirmation.

mod ask;
mod checks;
mod draft;
mod flow;
mod given;
mod terminal;
mod write;

use std::io::IsTerminal;

use serde_json::json;

use super::doctor::check::{Check, State};
use super::instance::{self, Instance};
use super::{exit, help, install, parse, written, Call, Io};
use crate::config::redact::Redactor;
use crate::config::types::{AuthMode, Bind};
use crate::config::{self, Env, Issue, Loaded, Severity};
use ask::Ask;
use checks::Finding;
use draft::{Base, Draft};
use flow::Outcome;
use given::Given;

const RISK: &str = "\
Before you begin: the agent behind this gateway reads and writes files and runs commands with the rights of the user \
that the gateway runs as. Whoever may write to it, or slips text into what it reads, may make it do so. Let it run as \
a user that owns only what may be lost, keep the port to this machine, and let in only people you know.";

/// Of prose, where no terminal says otherwise.
const WIDTH: usize = 100;

const NO_TERMINAL: &str = "\
there is no terminal to ask on; say everything with options: pi-gw onboard --non-interactive --accept-risk, and what you
want to be different, such as --telegram-token TOKEN, --workspace PATH, --model MODEL (pi-gw help onboard)";

/// Why the command ends early: an exit code and what to tell.
type Stop = (u8, String);

/// Runs the command.
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    match onboard(call, env, io) {
        Ok(code) => code,
        Err((code, why)) => {
            io.tell(why);
            if code == exit::USAGE {
                io.tell(help::usage(&call.line, call.command));
            }
            code
        }
    }
}

fn onboard(call: &Call, env: &Env, io: &mut Io<'_>) -> Result<u8, Stop> {
    let given = Given::read(call, env).map_err(|why| (exit::USAGE, why))?;
    if call.value("--flow").is_some_and(|flow| flow != "quickstart" && flow != "advanced") {
        return Err((exit::USAGE, "--flow must be quickstart or advanced".into()));
    }
    if call.has("--non-interactive") {
        return unasked(call, env, given, io);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err((exit::USAGE, NO_TERMINAL.into()));
    }
    let ask = Ask::new(env).map_err(|error| (exit::FAILED, format!("the terminal: {error}")))?;
    let Outcome { base, draft, daemon } = flow::run(call, env, given, &ask, io)?;
    ask.terminal.settle();
    drop(ask);
    match call.has("--dry-run") {
        true => Ok(written(shown(&draft, io), io)),
        false => finish(call, daemon, &base, &draft, env, io),
    }
}

/// Everything is said by the options.
fn unasked(call: &Call, env: &Env, mut given: Given, io: &mut Io<'_>) -> Result<u8, Stop> {
    let path = config::find(env, call.config().as_deref()).path;
    let base = Base::new(&path, call.has("--reset"), env).map_err(|issues| broken(&issues, call))?;
    if !call.has("--accept-risk") && !call.has("--dry-run") {
        let text = "if that is what you want, say so with --accept-risk";
        return Err((exit::USAGE, format!("{}\n\n{text}", wrapped(RISK, WIDTH))));
    }
    if given.auth == Some(AuthMode::Password)
        && given.password.is_none()
        && base.loaded.config.gateway.auth.password.is_none()
    {
        return Err((exit::USAGE, "--auth password needs --password".into()));
    }
    let draft = settled(&base, &mut given, env, io)?;
    let failed = check(call, &base, &given, &draft, io);
    if let Some(code) = failed.filter(|_| !call.has("--force")) {
        let text = "nothing was written; --force writes it all the same, --offline does not try";
        return Err((code, text.into()));
    }
    if call.has("--dry-run") {
        return Ok(written(shown(&draft, io), io));
    }
    finish(call, call.has("--install-daemon"), &base, &draft, env, io)
}

/// The text in lines of so many columns, broken between words.
fn wrapped(text: &str, columns: usize) -> String {
    let (mut lines, mut line) = (String::new(), 0);
    for word in text.split(' ') {
        let letters = word.chars().count();
        if line > 0 && line + 1 + letters > columns {
            lines.push('\n');
            line = 0;
        } else if line > 0 {
            lines.push(' ');
            line += 1;
        }
        lines.push_str(word);
        line += letters;
    }
    lines
}

/// What an existing file's errors mean here.
fn broken(issues: &[Issue], call: &Call) -> Stop {
    let lines: Vec<String> = issues.iter().map(ToString::to_string).collect();
    let text = match call.has("--reset") {
        true => String::new(),
        false => "\nmend it, or begin anew with --reset (the old file is kept as .bak)".into(),
    };
    (exit::CONFIG, lines.join("\n") + &text)
}

/// The draft of what is wanted.
fn drafted(base: &Base, given: &Given, env: &Env) -> Result<Draft, Stop> {
    base.draft(given, env).map_err(|issues| {
        let errors = issues.iter().filter(|issue| issue.severity == Severity::Error);
        let lines: Vec<String> = errors.map(ToString::to_string).collect();
        (exit::CONFIG, format!("that file would be wrong, nothing was written:\n{}", lines.join("\n")))
    })
}

/// The draft, on a port that is free.
fn settled(base: &Base, given: &mut Given, env: &Env, io: &mut Io<'_>) -> Result<Draft, Stop> {
    let draft = drafted(base, given, env)?;
    match checks::port(&draft) {
        (_, None) => Ok(draft),
        (at, Some(free)) => {
            io.tell(format_args!("port {} is taken: {free} is free and will be used", at.port()));
            given.port = Some(free);
            drafted(base, given, env)
        }
    }
}

/// Tries what can be tried; gives the exit code of the first failure of what is new. What was there before may fail:
/// that is said, and no reason not to write.
fn check(call: &Call, base: &Base, given: &Given, draft: &Draft, io: &mut Io<'_>) -> Option<u8> {
    if call.has("--offline") {
        return None;
    }
    let mut tell = |found: &[Finding], new: bool| {
        found.iter().for_each(|finding| say(&finding.check, &draft.loaded, io));
        found.iter().find(|finding| finding.bad() && new).map(|finding| finding.code)
    };
    let new = base.kept().is_none();
    let bots = tell(&checks::bots(draft), new || given.telegram.is_some());
    let new = new || given.pi.is_some() || given.model.is_some();
    let pi = checks::pi(draft);
    let failed = bots.or(tell(&pi, new));
    match pi.iter().any(Finding::bad) {
        // It has no model to ask.
        true => failed,
        false => failed.or(tell(&checks::model(draft), new)),
    }
}

/// A line about a check, and what to do about it.
fn say(check: &Check, loaded: &Loaded, io: &mut Io<'_>) {
    let mut check = check.clone();
    check.redact(&Redactor::new(loaded.config.secrets()));
    let (word, colour) = match check.state {
        State::Ok => ("ok", "32"),
        State::Warning => ("warning", "33"),
        State::Error => ("error", "31"),
    };
    let word = io.painted(colour, word);
    io.tell(format_args!("{word}: {}: {}", check.name, check.text));
    check.details.iter().for_each(|line| io.tell(format_args!("    {line}")));
    if let Some(remedy) = &check.remedy {
        io.tell(format_args!("  -> {remedy}"));
    }
}

/// The file as it would be, without secrets.
fn shown_text(draft: &Draft) -> String {
    Redactor::new(draft.loaded.config.secrets()).text(&draft.text).into_owned()
}

fn shown(draft: &Draft, io: &mut Io<'_>) -> std::io::Result<u8> {
    write!(io.out, "{}", shown_text(draft))?;
    draft.notes.iter().for_each(|note| io.tell(note));
    if !draft.vars.is_empty() {
        let names: Vec<&str> = draft.vars.iter().map(|(name, _)| name.as_str()).collect();
        let file = draft.loaded.paths(&draft.env).env_file();
        io.tell(format_args!("and {} would get: {}", file.display(), names.join(", ")));
    }
    Ok(exit::OK)
}

/// Writes it all and says what comes next.
fn finish(call: &Call, daemon: bool, base: &Base, draft: &Draft, env: &Env, io: &mut Io<'_>) -> Result<u8, Stop> {
    let done = write::write(base, draft)
        .map_err(|(path, error)| (exit::CANNOT_WRITE, format!("cannot write {}: {error}", path.display())))?;
    let path = base.path.display();
    match (&done.backup, base.old.as_deref() == Some(draft.text.as_bytes())) {
        (_, true) => io.tell(format_args!("{path} stays as it is")),
        (Some(backup), _) => io.tell(format_args!("wrote {path}; the old one is {}", backup.display())),
        (None, _) => io.tell(format_args!("wrote {path}")),
    }
    draft.notes.iter().for_each(|note| io.tell(note));
    let mut code = exit::OK;
    if daemon {
        let words = ["install-daemon", "--config"].map(Into::into).into_iter().chain([base.path.clone().into()]);
        let install = parse::parse(words.collect()).map_err(|wrong| (exit::INTERNAL, wrong.text))?;
        code = install::run(&install, &draft.env, io);
    }
    next(daemon, base, draft, &done, env, io);
    if call.has("--json") {
        let said = io.say(json!({
            "path": base.path.to_string_lossy(),
            "backup": done.backup.map(|path| path.to_string_lossy().into_owned()),
            "changed": draft.changed,
            "port": draft.loaded.config.gateway.port,
            "envFile": done.env_file.map(|path| path.to_string_lossy().into_owned()),
            "tokenFile": done.token_file.map(|path| path.to_string_lossy().into_owned()),
            "notes": draft.notes,
        }));
        return Ok(written(said.map(|()| code), io));
    }
    Ok(code)
}

/// What to type now.
fn next(daemon: bool, base: &Base, draft: &Draft, done: &write::Written, env: &Env, io: &mut Io<'_>) {
    let c = &draft.loaded.config;
    let named = match config::find(env, None).path == base.path {
        true => String::new(),
        false => format!(" --config '{}'", base.path.display()),
    };
    let running = matches!(instance::find(&draft.loaded.paths(&draft.env).pid_file()), Ok(Instance::Running { .. }));
    let mut steps = Vec::new();
    match running || daemon {
        true if daemon => {}
        true => steps.push("the running gateway reads the file by itself; port and bind need a restart".into()),
        false => steps.push(format!("start the gateway:       pi-gw gateway{named}")),
    }
    let port = c.gateway.port;
    let at = match c.gateway.bind {
        Bind::Address(address) => std::net::SocketAddr::new(address, port).to_string(),
        Bind::Loopback | Bind::All => format!("localhost:{port}"),
    };
    let secret = match (c.gateway.auth.mode, &done.token_file) {
        (AuthMode::Off, _) => String::new(),
        (AuthMode::Password, _) => "  (log in with the password)".into(),
        (AuthMode::Token, Some(file)) => format!("\n    its token is in {}", file.display()),
        (AuthMode::Token, None) => "  (log in with the token)".into(),
    };
    steps.push(format!("open its page:           http://{at}{secret}"));
    if c.channels.telegram.active().next().is_some() {
        steps.push("write to your bot: it answers with a code; then".into());
        steps.push(format!("let yourself in:         pi-gw pairing approve CODE{named}"));
    } else {
        steps.push(format!("add a Telegram bot:      pi-gw onboard --flow advanced{named}"));
    }
    steps.push(format!("if something is wrong:   pi-gw doctor --online{named}"));
    io.tell("\nWhat comes next:");
    steps.iter().for_each(|step| io.tell(format_args!("  {step}")));
}
