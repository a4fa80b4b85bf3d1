//! Reading transcripts (gateway-api.md 1.4): `<key>.jsonl` and its rotated elders `.1` to `.3` (core.md 16). The
//! sessions' hands write them; here they are read, from their end, in blocks, and put aside when their session is deleted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::config::session_dir_name;

/// Rotated files that are kept.
const ELDERS: usize = 3;
/// Where the transcripts of deleted sessions are, and for how long.
const TRASH: &str = ".trash";
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Read in one go, bytes.
const BLOCK: u64 = 64 << 10;
/// Most that one question reads, bytes: fewer lines are given then.
pub const MOST: usize = 2 << 20;
/// Files that are listed.
const LISTED: usize = 10_000;

/// Keys of all sessions that have a transcript, sorted. No directory: none.
pub fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(LISTED * (ELDERS + 1));
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let keys = names.filter_map(|name| key_of(dir, name.strip_suffix(".jsonl")?));
    keys.collect::<BTreeSet<String>>().into_iter().take(LISTED).collect()
}

/// The session whose transcript has that name. Of a long key the name has only a part and a hash; then the first line
/// tells.
fn key_of(dir: &Path, name: &str) -> Option<String> {
    if let Some(key) = decoded(name).filter(|key| session_dir_name(key) == name) {
        return Some(key);
    }
    #[derive(Deserialize)]
    struct Line {
        session: String,
    }
    let mut first = Vec::new();
    let file = File::open(dir.join(format!("{name}.jsonl"))).ok()?;
    BufReader::new(file.take(BLOCK)).read_until(b'\n', &mut first).ok()?;
    let line: Line = serde_json::from_slice(&first).ok()?;
    (session_dir_name(&line.session) == name).then_some(line.session)
}

fn decoded(name: &str) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'_' if more.first() == Some(&b'_') => {
                out.push(b':');
                rest = &more[1..];
            }
            b'%' => {
                let hex = std::str::from_utf8(more.get(..2)?).ok()?;
                out.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &more[2..];
            }
            other => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

/// Puts the transcript of a deleted session aside, its elders too; what was put aside 30 days ago goes (core.md 16).
pub fn put_aside(path: &Path, now: SystemTime) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return Ok(()) };
    let trash = dir.join(TRASH);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&trash)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    for old in fs::read_dir(&trash)?.flatten() {
        // `<ms>-<name>`: renaming leaves a file's own times as they were
        let at = old.file_name().to_str().and_then(|n| n.split_once('-')?.0.parse().ok()).map(Duration::from_millis);
        if at.is_some_and(|at| at + KEPT < now) {
            fs::remove_file(old.path())?;
        }
    }
    let elders = (1..=ELDERS).map(|n| format!("{name}.{n}"));
    for name in std::iter::once(name.to_owned()).chain(elders) {
        match fs::rename(dir.join(&name), trash.join(format!("{}-{name}", now.as_millis()))) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The last `count` lines of a session's transcript, oldest first. Unknown session: none.
pub fn last_lines(dir: &Path, session: &str, count: usize) -> io::Result<Vec<String>> {
    let path = dir.join(format!("{}.jsonl", session_dir_name(session)));
    let elders = (1..=ELDERS).map(|n| path.with_extension(format!("jsonl.{n}")));
    let paths: Vec<PathBuf> = std::iter::once(path.clone()).chain(elders).collect();
    let mut lines = Vec::new(); // newest first
    let mut seen = Vec::new();
    let mut left = MOST;
    for path in paths {
        if lines.len() >= count || left == 0 {
            break;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        // Rotated while we read: the same file under its next name.
        let meta = file.metadata()?;
        if !meta.is_file() || seen.contains(&meta.ino()) {
            continue;
        }
        seen.push(meta.ino());
        tail(&file, meta.len(), count - lines.len(), &mut left, &mut lines)?;
    }
    lines.reverse();
    Ok(lines)
}

/// Adds the last lines of a file, newest first; reads no more of it than they take, and at most `left` bytes.
fn tail(file: &File, len: u64, count: usize, left: &mut usize, lines: &mut Vec<String>) -> io::Result<()> {
    let enough = lines.len() + count;
    let mut at = len;
    let mut rest: Vec<u8> = Vec::new(); // the beginning of a line that is known from there on
    while at > 0 && lines.len() < enough && *left > 0 {
        let size = BLOCK.min(at).min(*left as u64);
        at -= size;
        *left -= size as usize;
        let mut block = vec![0; size as usize];
        file.read_exact_at(&mut block, at)?;
        block.append(&mut rest);
        let mut end = block.len();
        while let Some(newline) = block[..end].iter().rposition(|b| *b == b'\n') {
            take(&block[newline + 1..end], lines);
            end = newline;
            if lines.len() >= enough {
                return Ok(());
            }
        }
        block.truncate(end);
        rest = block;
    }
    if at == 0 && lines.len() < enough {
        take(&rest, lines);
    }
    Ok(())
}

fn take(line: &[u8], lines: &mut Vec<String>) {
    if !line.is_empty() {
        lines.push(String::from_utf8_lossy(line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, lines: std::ops::Range<usize>, pad: usize) {
        let text: String = lines.map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(pad))).collect();
        fs::write(dir.join(name), text).unwrap();
    }

    fn numbers(lines: &[String]) -> Vec<u64> {
        let n = |l: &String| serde_json::from_str::<serde_json::Value>(l).unwrap()["n"].as_u64().unwrap();
        lines.iter().map(n).collect()
    }

    #[test]
    fn the_last_lines_come_in_order_also_out_of_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a__b.jsonl.2", 0..3, 0);
        write(dir.path(), "a__b.jsonl.1", 3..8, 0);
        write(dir.path(), "a__b.jsonl", 8..10, 0);
        let last = |n| numbers(&last_lines(dir.path(), "a:b", n).unwrap());
        assert_eq!(last(1), [9]);
        assert_eq!(last(4), [6, 7, 8, 9]);
        assert_eq!(last(100), (0..10).collect::<Vec<_>>());
        assert!(last_lines(dir.path(), "other", 5).unwrap().is_empty());
    }

    #[test]
    fn lines_longer_than_a_block_are_whole_and_a_question_reads_so_much_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "s.jsonl", 0..60, 100_000);
        let lines = last_lines(dir.path(), "s", 3).unwrap();
        assert_eq!(numbers(&lines), [57, 58, 59]);
        assert!(lines.iter().all(|l| l.len() > 100_000));
        let all = last_lines(dir.path(), "s", 1000).unwrap();
        assert_eq!(all.len(), MOST / 100_030, "bounded by bytes");
    }

    #[test]
    fn names_are_turned_back_into_keys_without_loss() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("agent:main:api:user:{}", "x".repeat(200));
        let keys = ["a__b", "a_:b", "a_b:c", "agent:main:webchat:default", &long, "cron:job_1", "p:%2F@+", "x:_y"];
        for key in keys {
            let line = serde_json::json!({"session": key, "cat": "meta"});
            fs::write(dir.path().join(format!("{}.jsonl", session_dir_name(key))), format!("{line}\n")).unwrap();
        }
        fs::write(dir.path().join("a__b.jsonl.1"), "{}").unwrap();
        fs::write(dir.path().join("n___o.jsonl"), "no json").unwrap();
        let mut sorted = keys.map(String::from).to_vec();
        sorted.sort();
        assert_eq!(list(dir.path()), sorted);
        assert!(list(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn the_transcript_of_a_deleted_session_is_put_aside_for_thirty_days() {
        let dir = tempfile::tempdir().unwrap();
        let at = |days: u64| UNIX_EPOCH + Duration::from_secs(1_000_000_000 + days * 86_400);
        let aside = || fs::read_dir(dir.path().join(TRASH)).unwrap().count();
        write(dir.path(), "a__b.jsonl", 0..3, 0);
        write(dir.path(), "a__b.jsonl.1", 0..3, 0);
        write(dir.path(), "other.jsonl", 0..3, 0);
        put_aside(&dir.path().join("a__b.jsonl"), at(0)).unwrap();
        assert_eq!((list(dir.path()), aside()), (vec!["other".to_owned()], 2));
        assert!(last_lines(dir.path(), "a:b", 10).unwrap().is_empty());
        write(dir.path(), "a__b.jsonl", 0..1, 0);
        put_aside(&dir.path().join("a__b.jsonl"), at(29)).unwrap();
        assert_eq!(aside(), 3);
        put_aside(&dir.path().join("a__b.jsonl"), at(31)).unwrap();
        assert_eq!(aside(), 1, "those of the first deletion are gone");
    }
}
