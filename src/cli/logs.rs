//! `pi-gw logs`: the log, where it goes to files (`logging.file`).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::pairing::{carried_out, unopened, usage, Failed};
use super::{exit, Call, Io};
use crate::clock;
use crate::config::Env;
use crate::gateway::log_files;

/// Between two looks with `--follow`.
const PAUSE: Duration = Duration::from_millis(300);

/// `30m` in ms.
pub(super) fn window(text: &str) -> Option<i64> {
    let unit = match text.chars().next_back()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u32>().ok().and_then(|n| i64::from(n).checked_mul(unit))
}

/// `pi-gw logs`
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let since = match call.value("--since").map(window) {
        None => None,
        Some(Some(ms)) => Some(clock::now().wall - ms),
        Some(None) => {
            io.tell("--since is a time such as 30m, 1h or 2d");
            return usage(call, io);
        }
    };
    let done = unopened(call, env).and_then(|place| {
        let dir = place.paths.logs_dir();
        let files = log_files(&dir).map_err(|e| (exit::FAILED, format!("{}: {e}", dir.display())))?;
        if files.is_empty() && !place.config.logging.file {
            let why = "the log goes to standard error, not to files (logging.file is off).\nUnder systemd: journalctl --user -u pi-gateway -f";
            return Err((exit::FAILED, why.to_owned()));
        }
        print(&dir, files, since, call.has("--follow"), io)
    });
    carried_out(io, done)
}

/// The time at the beginning of a line, unix ms.
fn time_of(line: &[u8]) -> Option<i64> {
    let word = std::str::from_utf8(line).ok()?.split(' ').next()?;
    word.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

fn print(
    dir: &Path,
    files: Vec<PathBuf>,
    since: Option<i64>,
    follow: bool,
    io: &mut Io<'_>,
) -> Result<io::Result<u8>, Failed> {
    let broken = |path: &Path, e: io::Error| (exit::FAILED, format!("{}: {e}", path.display()));
    // Without a limit: the newest file, and what follows.
    let files = if since.is_some() { files } else { files.into_iter().rev().take(1).collect() };
    let mut at = None;
    let mut open = since.is_none();
    for path in files {
        let file = File::open(&path).map_err(|e| broken(&path, e))?;
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(|e| broken(&path, e))? > 0 {
            open = open || time_of(&line).is_some_and(|at| since.is_some_and(|since| at >= since));
            if open {
                if let Err(e) = io.out.write_all(&line) {
                    return Ok(Err(e));
                }
            }
            line.clear();
        }
        let end = lines.stream_position().map_err(|e| broken(&path, e))?;
        at = Some((path, end));
    }
    if !follow {
        return Ok(Ok(exit::OK));
    }
    loop {
        if let Err(e) = io.out.flush() {
            return Ok(Err(e));
        }
        std::thread::sleep(PAUSE);
        let newest = log_files(dir).ok().and_then(|files| files.into_iter().next_back());
        let Some(newest) = newest else { continue };
        let from = match &at {
            Some((path, end)) if *path == newest => *end,
            // The rest of the day before, first.
            Some((path, end)) if path.exists() => {
                let (path, end) = (path.clone(), *end);
                if let Err(e) = copy(&path, end, io.out) {
                    return Ok(Err(e));
                }
                0
            }
            _ => 0,
        };
        match copy(&newest, from, io.out) {
            Ok(end) => at = Some((newest, end)),
            Err(e) => return Ok(Err(e)),
        }
    }
}

/// Prints a file from there on; gives its new end.
fn copy(path: &Path, from: u64, out: &mut dyn Write) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(from + io::copy(&mut file, out)?)
}
