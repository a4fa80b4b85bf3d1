//! The log as files, one a day, for who has no journal (`logging.file`): `gateway-YYYY-MM-DD.log`, by UTC like the
//! times in it. Old ones are removed, and a day's file has a limit: an SD card is small.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::files::create_dir;
use crate::config::types::Logging;
use crate::message::Wall;

const DAY: i64 = 86_400_000;
/// After a failure it is tried again, ms.
const PAUSE: i64 = 60_000;
const START: &str = "gateway-";
const ENDING: &str = ".log";

/// What is written to.
pub struct LogFile {
    dir: PathBuf,
    /// Days that files are kept.
    kept: i64,
    /// Bytes of a day.
    most: u64,
    open: Option<Open>,
    /// Not before.
    retry: Wall,
}

struct Open {
    day: i64,
    file: File,
    size: u64,
    /// The limit was reached, and said.
    full: bool,
}

impl LogFile {
    /// `None`: nobody wants one.
    pub fn new(c: &Logging, dir: PathBuf) -> Option<LogFile> {
        let (kept, most) = (i64::from(c.retention_days), c.max_file_mb << 20);
        c.file.then_some(LogFile { dir, kept, most, open: None, retry: Wall::MIN })
    }

    /// Writes lines. `Err`: what is wrong, to be told elsewhere; told once a minute at most.
    pub fn put(&mut self, lines: &[u8], now: Wall) -> Result<(), String> {
        if now < self.retry {
            return Ok(());
        }
        let done = self.write(lines, now.div_euclid(DAY));
        done.map_err(|e| {
            (self.open, self.retry) = (None, now + PAUSE);
            format!("the log in {} cannot be written: {e}", self.dir.display())
        })
    }

    fn write(&mut self, lines: &[u8], day: i64) -> io::Result<()> {
        let open = match self.open.take().filter(|open| open.day == day) {
            Some(open) => open,
            None => {
                create_dir(&self.dir)?;
                self.forget(day)?;
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.path(day))?;
                let size = file.metadata()?.len();
                Open { day, file, size, full: false }
            }
        };
        let open = self.open.insert(open);
        if !open.full && open.size + lines.len() as u64 <= self.most {
            open.size += lines.len() as u64;
            return open.file.write_all(lines);
        }
        if open.full {
            return Ok(());
        }
        open.full = true;
        writeln!(
            open.file,
            "(the limit of {} MB is reached: the rest of this day is not written here)",
            self.most >> 20
        )
    }

    fn path(&self, day: i64) -> PathBuf {
        self.dir.join(format!("{START}{}{ENDING}", date(day)))
    }

    /// Files that are too old go.
    fn forget(&self, today: i64) -> io::Result<()> {
        let oldest = date(today - self.kept + 1);
        for path in files(&self.dir)? {
            if day_of(&path).is_some_and(|day| *day < *oldest) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// `2026-11-28`. Years before 0 do not happen.
fn date(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY)).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

fn day_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix(START)?.strip_suffix(ENDING)
}

/// The files of a directory, the oldest first.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|path| day_of(path).is_some()).collect();
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_has_its_file_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("logs");
        let mut log = LogFile { dir: dir.clone(), kept: 3, most: 1 << 20, open: None, retry: 0 };
        let noon = |day: i64| (20_785 + day) * DAY + DAY / 2; // 2026-11-28
        for day in 0..5 {
            log.put(format!("day {day}\n").as_bytes(), noon(day)).unwrap();
            log.put(b"more\n", noon(day)).unwrap();
        }
        fs::write(dir.join("other.log"), "").unwrap();
        let names = |all: Vec<PathBuf>| all.iter().map(|p| day_of(p).unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(files(&dir).unwrap()), ["2026-11-30", "2026-12-01", "2026-12-02"]);
        assert_eq!(fs::read_to_string(log.path(20_789)).unwrap(), "day 4\nmore\n");
    }

    #[test]
    fn a_day_has_a_limit_also_over_a_restart_and_a_failure_is_told_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("logs");
        let new = || LogFile { dir: dir.clone(), kept: 3, most: 1 << 20, open: None, retry: 0 };
        let mut log = new();
        log.put(&vec![b'x'; 1 << 19], DAY).unwrap();
        let mut log = new();
        log.put(&vec![b'x'; 1 << 20], DAY).unwrap();
        log.put(b"small, but it is over\n", DAY).unwrap();
        let text = fs::read_to_string(log.path(1)).unwrap();
        assert!(text.ends_with("is not written here)\n"), "{}", &text[text.len() - 100..]);
        assert_eq!((text.len() >> 19, text.matches("the limit of 1 MB is reached").count()), (1, 1));

        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, "in the way").unwrap();
        assert!(log.put(b"a\n", 2 * DAY).unwrap_err().contains("cannot be written"));
        assert_eq!(log.put(b"a\n", 2 * DAY + 1), Ok(()), "not told again");
        fs::remove_file(&dir).unwrap();
        log.put(b"well again\n", 2 * DAY + PAUSE).unwrap();
        assert_eq!(fs::read_to_string(log.path(2)).unwrap(), "well again\n");
    }
}
