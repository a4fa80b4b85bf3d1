//! The log: a bounded queue and one writer thread, so that a stalled stderr or disk stops nobody (core.md 20).
//! What does not fit is dropped and counted; secrets are taken out before a line is queued.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};
use simplelog::{ConfigBuilder, LevelFilter, WriteLogger};

use super::log_file::LogFile;
use crate::clock;
use crate::config::redact::Redactor;
use crate::config::types::LogLevel;
use crate::config::Config;

const LINES: usize = 1024;

enum Item {
    Line(Vec<u8>),
    /// Everything before this is written; the sender waits for the drop.
    Flush(#[allow(dead_code)] Sender<()>), // only its drop matters
}

/// The running log.
#[derive(Clone)]
pub struct Log {
    queue: Sender<Item>,
    dropped: Arc<AtomicU64>,
    redactor: Arc<RwLock<Redactor>>,
}

struct Sink {
    log: Log,
    line: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|b| *b == b'\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            let text = String::from_utf8_lossy(&line);
            let redactor = self.log.redactor.read().unwrap_or_else(|e| e.into_inner());
            let line = redactor.text(&text).into_owned().into_bytes();
            drop(redactor);
            if self.log.queue.try_send(Item::Line(line)).is_err() {
                self.log.dropped.fetch_add(1, Relaxed);
            }
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line to standard error before there is a log. One that takes nothing (`/dev/full`) must not end us, as
/// `eprintln!` would.
pub fn tell(line: impl std::fmt::Display) {
    let level = if to_journal() { "<4>" } else { "" };
    let _ = writeln!(io::stderr(), "{level}{line}");
}

/// The level a configuration and `--verbose` ask for.
pub fn level(c: &Config, verbose: bool) -> LevelFilter {
    if verbose {
        return LevelFilter::Debug;
    }
    if let Some(level) = c.logging.filter.as_deref().and_then(|f| f.parse().ok()) {
        return level;
    }
    match c.gateway.log_level.unwrap_or(c.logging.level) {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

impl Log {
    /// Starts the writer thread and installs the logger. `dir`: for files, if they are wanted.
    pub fn start(c: &Config, dir: PathBuf, verbose: bool) -> Log {
        let (queue, lines) = bounded(LINES);
        let redactor = Arc::new(RwLock::new(Redactor::new(c.secrets())));
        let log = Log { queue, dropped: Arc::default(), redactor };
        let dropped = log.dropped.clone();
        let file = LogFile::new(&c.logging, dir);
        let thread = std::thread::Builder::new().name("log".into()).stack_size(256 << 10);
        if let Err(e) = thread.spawn(move || write(&lines, &dropped, file)) {
            tell(format_args!("no thread for the log: {e}"));
        }
        let format = ConfigBuilder::new()
            .set_time_format_rfc3339()
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .build();
        let sink = Sink { log: log.clone(), line: Vec::new() };
        if WriteLogger::init(LevelFilter::Debug, format, sink).is_err() {
            tell("a logger was installed before");
        }
        log::set_max_level(level(c, verbose));
        std::panic::set_hook(Box::new(|info| {
            let thread = std::thread::current();
            log::error!("panic in thread {}: {info}", thread.name().unwrap_or("?"));
        }));
        log
    }

    /// The secrets of another configuration are taken out as well; those of the one before stay what they are.
    pub fn learn(&self, c: &Config) {
        self.redactor.write().unwrap_or_else(|e| e.into_inner()).learn(c.secrets());
    }

    /// Lines that did not fit, in this life.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits at most a second until everything is written.
    pub fn flush(&self) {
        let (tx, rx) = bounded(0);
        let _ = self.queue.send_timeout(Item::Flush(tx), Duration::from_secs(1));
        let _ = rx.recv_timeout(Duration::from_secs(1));
    }
}

/// Whether standard error is the journal (systemd.exec(5), JOURNAL_STREAM): it keeps the time, and levels if it is told.
fn to_journal() -> bool {
    let stat = rustix::fs::fstat(io::stderr());
    let own = stat.map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| std::env::var("JOURNAL_STREAM").is_ok_and(|named| named == own))
}

/// `time [LEVEL] text` as `<priority>[LEVEL] text` (sd-daemon(3)).
fn for_journal(line: &[u8]) -> Vec<u8> {
    let at = line.iter().position(|b| *b == b' ').map_or(0, |at| at + 1);
    let (priority, text) = match line.get(at..at + 3) {
        Some(b"[ER") => ("<3>", &line[at..]),
        Some(b"[WA") => ("<4>", &line[at..]),
        Some(b"[IN") => ("<6>", &line[at..]),
        Some(b"[DE" | b"[TR") => ("<7>", &line[at..]),
        _ => ("", line), // the rest of a longer text
    };
    [priority.as_bytes(), text].concat()
}

fn write(lines: &Receiver<Item>, dropped: &AtomicU64, mut file: Option<LogFile>) {
    let mut told = 0;
    let mut err = io::stderr();
    let journal = to_journal();
    let mut put = |line: &[u8]| {
        // nobody is left to tell
        let _ = if journal { err.write_all(&for_journal(line)) } else { err.write_all(line) };
        if let Some(Err(why)) = file.as_mut().map(|file| file.put(line, clock::now().wall)) {
            let _ = writeln!(err, "{why}");
        }
    };
    for item in lines {
        if let Item::Line(line) = item {
            put(&line);
        }
        let lost = dropped.load(Relaxed);
        if lost > told {
            put(format!("({} log lines were dropped)\n", lost - told).as_bytes());
            told = lost;
        }
    }
}
