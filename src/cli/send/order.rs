//! What `pi-gw send` is asked to do.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{exit, Call, Failed};
use crate::cli::logs::window;
use crate::cli::pairing::configured;
use crate::clock;
use crate::config::{Config, Env, Paths};
use crate::message::{Form, OutFile};

/// Longest text, bytes.
const LONGEST: u64 = 1 << 20;
const RETRIES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which way a message takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Via {
    Auto,
    Direct,
    Gateway,
}

/// What is sent, and how.
pub struct Order {
    pub config: Config,
    pub paths: Paths,
    pub text: String,
    pub files: Vec<OutFile>,
    pub caption: String,
    pub form: Form,
    pub reply_to: Option<String>,
    pub silent: bool,
    pub via: Via,
    pub retries: u32,
    pub deadline: Instant,
    pub timeout: Duration,
    pub spool: bool,
    /// How long a spooled message is good for, ms; else as `delivery.maxAgeMs` says.
    pub life: Option<i64>,
    /// The clock is right.
    pub timed: bool,
    pub key: Option<String>,
    pub dry: bool,
}

/// Reads the options; `Ok(None)`: there is nothing to send.
pub fn read(call: &Call, env: &Env) -> Result<Option<Order>, Failed> {
    let wrong = |why: String| (exit::USAGE, why);
    let number = |name: &str, otherwise: u64, most: u64| match call.value(name) {
        None => Ok(otherwise),
        Some(text) => match text.parse::<u64>() {
            Ok(n) if n <= most => Ok(n),
            _ => Err(wrong(format!("{name} must be a whole number from 0 to {most}, found \"{text}\""))),
        },
    };
    let retries = number("--retries", u64::from(RETRIES), 100)? as u32;
    let timeout = Duration::from_secs(number("--timeout", TIMEOUT.as_secs(), 86_400)?.max(1));
    let deadline = Instant::now() + timeout;
    let form = match call.value("--format") {
        None | Some("markdown") => Form::Markdown,
        Some("html") => Form::Html,
        Some("plain") => Form::Plain,
        Some(other) => return Err(wrong(format!("--format is markdown, html or plain, not \"{other}\""))),
    };
    let via = match call.value("--via") {
        None | Some("auto") => Via::Auto,
        Some("direct") => Via::Direct,
        Some("gateway") => Via::Gateway,
        Some(other) => return Err(wrong(format!("--via is auto, direct or gateway, not \"{other}\""))),
    };
    let files = call.all("--file").iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>()?;
    if call.value("--caption").is_some() && files.is_empty() {
        return Err(wrong("--caption goes with --file".into()));
    }
    let life = match call.value("--expire").map(window) {
        None => None,
        Some(_) if !call.has("--spool") => return Err(wrong("--expire goes with --spool".into())),
        Some(Some(life)) if life > 0 => Some(life),
        Some(_) => return Err(wrong("--expire is a time such as 30m, 6h or 2d".into())),
    };
    if call.has("--spool") && !files.is_empty() {
        return Err(wrong("--spool keeps texts, not files".into()));
    }
    let text = match call.value("--message") {
        Some("-") => standard_input()?,
        Some(text) => text.to_owned(),
        None if files.is_empty() && !io::stdin().is_terminal() => standard_input()?,
        None => String::new(),
    };
    if text.trim().is_empty() && files.is_empty() {
        return Ok(None);
    }
    let loaded = configured(call, env)?;
    Ok(Some(Order {
        paths: loaded.paths(env),
        config: loaded.config,
        text,
        files,
        caption: call.value("--caption").unwrap_or_default().to_owned(),
        form,
        reply_to: call.value("--reply-to").map(str::to_owned),
        silent: call.has("--silent"),
        via,
        retries,
        deadline,
        timeout,
        spool: call.has("--spool"),
        life,
        timed: clock::synchronised() || env.var(clock::TRUSTED) == Some("1"),
        key: call.value("--dedupe-key").map(str::to_owned),
        dry: call.has("--dry-run"),
    }))
}

/// A file that is there, by its full path.
fn file(path: &str) -> Result<OutFile, Failed> {
    let bad = |why: String| (exit::DATA, format!("{path}: {why}"));
    let full: PathBuf = std::path::absolute(path).map_err(|e| bad(e.to_string()))?;
    let data = std::fs::metadata(&full).map_err(|e| bad(e.to_string()))?;
    if !data.is_file() {
        return Err(bad("this is no file".into()));
    }
    // Found now, not when a text was sent before it.
    std::fs::File::open(&full).map_err(|e| bad(e.to_string()))?;
    if data.len() == 0 {
        return Err(bad("it is empty".into()));
    }
    let at = full.into_os_string().into_string().map_err(|_| bad("its path is not UTF-8".into()))?;
    Ok(OutFile { at, size: data.len(), ..OutFile::default() })
}

fn standard_input() -> Result<String, Failed> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|e| (exit::DATA, format!("standard input: {e}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err((exit::DATA, "standard input: more than 1 MiB".into()));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        (exit::DATA, format!("standard input is not UTF-8: byte {} is wrong", e.utf8_error().valid_up_to() + 1))
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
