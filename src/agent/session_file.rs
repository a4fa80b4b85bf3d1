//! pi's session files, as the session's hands treat them: the checks before one is opened (core.md 7.2) and
//! what a turn left in one (22.4). No pi has the file open meanwhile. Memory is bounded: lines are streamed.
//!
//! A file is a line `{"type":"session","cwd":…}` and one entry a line; entries name their parent, and what
//! does not lead to the last one was left behind. pi skips lines it cannot read (seen on 0.73.1 and 1.5.2),
//! but appends to a torn last line, and then both are lost.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::decode::WireMessage;
use super::front::user_start;
use super::head::KEPT_BYTES;
use crate::message::{AssistantMessage, Found, FoundEntry, JobDone};
use crate::plain_json::clean;

/// The first line of a session is short.
const FIRST_LINE: u64 = 64 << 10;
/// Text of all found messages together; beyond it only their fate is told.
const TEXT_BYTES: usize = 32 << 20;

// ---------------------------------------------------------------- before a file is opened

/// The checks before `--session` and `switch_session`. `fresh`: the path to use instead if this one cannot be.
pub fn prepare(path: &Path, cwd: &Path, fresh: &Path) -> JobDone {
    checked(path, cwd, fresh).unwrap_or_else(|e| JobDone::Failed { why: format!("{}: {e}", path.display()) })
}

fn checked(path: &Path, cwd: &Path, fresh: &Path) -> io::Result<JobDone> {
    let ready = |path: &Path, len, notice| JobDone::FileReady { path: path.to_owned(), len, notice };
    for path in [path, fresh] {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
    }
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ready(path, 0, None)),
        other => other?,
    };
    let len = file.metadata()?.len();
    if len == 0 {
        fs::remove_file(path)?; // made but never written: as if it were missing
        return Ok(ready(path, 0, None));
    }
    let mut rest = BufReader::new(file);
    let mut first = Vec::new();
    rest.by_ref().take(FIRST_LINE).read_until(b'\n', &mut first)?;
    let session: Option<Map<String, Value>> = serde_json::from_slice(&first).ok();
    let Some(session) = session.filter(|s| s.get("type").is_some_and(|t| t == "session")) else {
        let bad = put_aside(path)?;
        log::error!("{} is not a session of pi; it is now {}", path.display(), bad.display());
        let notice = "The conversation's file was damaged and has been put aside; this is a new conversation.";
        return Ok(ready(fresh, 0, Some(notice.to_owned())));
    };
    let recorded = session.get("cwd").and_then(Value::as_str).unwrap_or_default();
    if same_folder(Path::new(recorded), cwd) {
        return Ok(ready(path, end_last_line(path, len)?, None));
    }
    copy_to(fresh, session, cwd, rest)?;
    Ok(ready(fresh, end_last_line(fresh, fs::metadata(fresh)?.len())?, None))
}

fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".bad-{ms}"));
    let bad = path.with_file_name(name);
    fs::rename(path, &bad)?;
    Ok(bad)
}

/// pi records its working directory with links resolved.
fn same_folder(recorded: &Path, cwd: &Path) -> bool {
    match (fs::canonicalize(recorded), fs::canonicalize(cwd)) {
        (Ok(a), Ok(b)) => a == b,
        _ => recorded == cwd,
    }
}

/// Ends a line torn by a crash, so that pi's next entry gets one of its own. The file's length then.
fn end_last_line(path: &Path, len: u64) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1)?;
    if last == *b"\n" {
        return Ok(len);
    }
    (&file).write_all(b"\n")?;
    Ok(len + 1)
}

/// The same history in another working directory.
fn copy_to(fresh: &Path, mut session: Map<String, Value>, cwd: &Path, mut rest: impl Read) -> io::Result<()> {
    session.insert("cwd".into(), cwd.to_string_lossy().into());
    session.insert("id".into(), new_id()?.into());
    let part = part(fresh);
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    writeln!(out, "{}", Value::Object(session))?;
    io::copy(&mut rest, &mut out)?;
    out.sync_all()?;
    fs::rename(part, fresh)
}

/// The same history, as it is now, under another name for a session of that working directory. Errors: there is
/// none, or it is no session of pi.
pub fn copy(from: &Path, cwd: &Path, to: &Path) -> io::Result<()> {
    let mut rest = BufReader::new(File::open(from)?);
    let mut first = Vec::new();
    rest.by_ref().take(FIRST_LINE).read_until(b'\n', &mut first)?;
    let session: Option<Map<String, Value>> = serde_json::from_slice(&first).ok();
    let session = session.filter(|s| s.get("type").is_some_and(|t| t == "session"));
    let session = session.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not a session of pi"))?;
    if let Some(folder) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    copy_to(to, session, cwd, rest)?;
    end_last_line(to, fs::metadata(to)?.len()).map(drop)
}

/// A copy for a turn that may leave no trace. Without a history it is a name that pi may begin one under.
pub fn branch(from: &Path, cwd: &Path, to: &Path) -> JobDone {
    let made = || -> io::Result<JobDone> {
        if let Some(folder) = to.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(cwd)?;
        let there = fs::metadata(from).map_or(0, |m| m.len()) > 0;
        if there {
            copy(from, cwd, to)?;
            to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            // its name lasts as its bytes do
        }
        let len = if there { fs::metadata(to)?.len() } else { 0 };
        Ok(JobDone::FileReady { path: to.to_owned(), len, notice: None })
    };
    made().unwrap_or_else(|e| JobDone::Failed { why: format!("{}: {e}", from.display()) })
}

/// Removes a file that nothing works on, and what is left of a copy that a kill cut short.
pub fn remove(path: &Path) -> io::Result<()> {
    for path in [part(path), path.to_owned()] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// A copy's name until it is whole.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// A random id of the form that pi uses.
pub(super) fn new_id() -> io::Result<String> {
    let random: ring::rand::Random<[u8; 16]> =
        ring::rand::generate(&ring::rand::SystemRandom::new()).map_err(|_| io::Error::other("no random numbers"))?;
    let n = u128::from_be_bytes(random.expose()) & !(0xf << 76 | 3 << 62) | 4 << 76 | 2 << 62; // version 4
    let hex = format!("{n:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

// ---------------------------------------------------------------- what a turn left

/// What stands in the file from the user entry with the turn's marker on: looked for behind `from` first, then
/// everywhere. `position_only`: the first user entry behind `from` is the one. A missing file holds nothing.
pub fn read(path: &Path, marker: &str, from: u64, position_only: bool) -> io::Result<Found> {
    let opens = |head: &str| position_only || bears(head, marker);
    let found = scan(path, from, opens)?;
    if found.user || position_only || from == 0 {
        return Ok(found);
    }
    scan(path, 0, opens)
}

/// The first user entry that names one of these messages (`msgId:<id>` in a context line), and which it names.
/// A power cut may have taken their turn from the store while pi has them.
pub fn find_messages(path: &Path, ids: &[String]) -> io::Result<Found> {
    let named = |text: &str| -> Vec<String> {
        let has = |id: &&String| {
            let word = format!("msgId:{id}");
            text.match_indices(&word).any(|(at, _)| text[at + word.len()..].starts_with([' ', ']', '|']))
        };
        ids.iter().filter(has).cloned().collect()
    };
    let mut names = Vec::new();
    let mut found = scan(path, 0, |head| {
        names = named(head);
        !names.is_empty()
    })?;
    found.ids = names;
    Ok(found)
}

/// `turn:<marker>` stands in the text: not as a part of another word, and not of an injected message (`.<n>`).
pub(super) fn bears(head: &str, marker: &str) -> bool {
    let word = format!("turn:{marker}");
    head.match_indices(&word).any(|(at, _)| {
        let mut after = head[at + word.len()..].chars();
        let before = head[..at].chars().next_back();
        let ends = match after.next() {
            Some('.') => !after.next().is_some_and(|c| c.is_ascii_digit()),
            Some(c) => !c.is_alphanumeric() && c != '_' && c != '-',
            None => true,
        };
        ends && !before.is_some_and(char::is_alphanumeric)
    })
}

pub(super) struct Node {
    id: Option<String>,
    parent: Option<String>,
    pub entry: Option<FoundEntry>,
}

fn scan(path: &Path, from: u64, mut opens: impl FnMut(&str) -> bool) -> io::Result<Found> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        other => other?,
    };
    let mut file = BufReader::with_capacity(64 << 10, file);
    if from > 0 {
        file.seek(SeekFrom::Start(from - 1))?;
        next_line(&mut file, KEPT_BYTES)?; // what is left of the line that ends there
    }
    let (mut nodes, mut bytes) = (Vec::new(), 0);
    while let Some(line) = next_line(&mut file, KEPT_BYTES)? {
        let Some(mut node) = entry(&line) else { continue };
        if nodes.is_empty() && !matches!(&node.entry, Some(FoundEntry::User { head }) if opens(head)) {
            continue;
        }
        if let Some(FoundEntry::Assistant(m)) = &mut node.entry {
            bytes += m.text.len();
            if bytes > TEXT_BYTES {
                log::warn!("{}: a turn of more than {} MiB of text is cut", path.display(), TEXT_BYTES >> 20);
                m.text.clear();
            }
        }
        nodes.push(node);
    }
    Ok(found(nodes))
}

/// Entries that lead to the last one. The first is the turn's user entry.
fn found(mut nodes: Vec<Node>) -> Found {
    let mut kept = HashSet::new();
    let mut next = nodes.last().and_then(|n| n.id.clone());
    for node in nodes.iter().rev() {
        if next.is_some() && node.id == next {
            kept.extend(next);
            next = node.parent.clone();
        }
    }
    // Without ids, or if the branch does not hold the turn: everything after it, in order.
    let first = nodes.first().and_then(|n| n.id.as_ref());
    if nodes.iter().all(|n| n.id.is_some()) && first.is_some_and(|id| kept.contains(id)) {
        nodes.retain(|n| n.id.as_ref().is_some_and(|id| kept.contains(id)));
    }
    let head = match nodes.first().map(|n| &n.entry) {
        Some(Some(FoundEntry::User { head })) => head.clone(),
        _ => String::new(),
    };
    let entries = nodes.iter_mut().skip(1).filter_map(|n| n.entry.take()).collect();
    Found { user: !nodes.is_empty(), head, ids: Vec::new(), entries }
}

/// The next complete line, of a long one its first `most` bytes; `None` at the end. A torn last line does not count.
pub(super) fn next_line(file: &mut impl BufRead, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    file.by_ref().take(most as u64).read_until(b'\n', &mut line)?;
    if line.pop_if(|b| *b == b'\n').is_some() {
        return Ok(Some(line));
    }
    if line.len() < most || !skip_line(file)? {
        return Ok(None);
    }
    Ok(Some(line))
}

/// `false`: the file ended first.
fn skip_line(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let (used, ended) = match file.fill_buf()? {
            [] => return Ok(false),
            buf => memchr::memchr(b'\n', buf).map_or((buf.len(), false), |at| (at + 1, true)),
        };
        file.consume(used);
        if ended {
            return Ok(true);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry<'a> {
    id: Option<String>,
    parent_id: Option<String>,
    #[serde(borrow)]
    message: Option<WireMessage<'a>>,
}

/// `None`: not an entry.
fn entry(line: &[u8]) -> Option<Node> {
    let text = if line.len() < KEPT_BYTES { clean(line) } else { None };
    let Some(text) = text else { return Some(beginning(line)) };
    let wire: WireEntry = serde_json::from_str(&text).ok()?;
    let entry = wire.message.and_then(|m| match &*m.role {
        "user" => Some(FoundEntry::User { head: m.head() }),
        "assistant" => Some(FoundEntry::Assistant(m.assistant())),
        "toolResult" => Some(FoundEntry::ToolResult),
        _ => None,
    });
    Some(Node { id: wire.id, parent: wire.parent_id, entry })
}

/// What the beginning of an entry tells that is too long or too deep to be read whole.
pub(super) fn beginning(line: &[u8]) -> Node {
    let head = String::from_utf8_lossy(&line[..line.len().min(512)]);
    let field = |name: &str| {
        let (_, rest) = head.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let text = || user_start(line).unwrap_or_default();
    let entry = match field("role").as_deref() {
        Some("user") => Some(FoundEntry::User { head: text() }),
        Some("assistant") => Some(FoundEntry::Assistant(AssistantMessage { text: text(), ..Default::default() })),
        Some("toolResult") => Some(FoundEntry::ToolResult),
        _ => None,
    };
    Node { id: field("id"), parent: field("parentId"), entry }
}

#[cfg(test)]
#[path = "session_file_tests.rs"]
mod tests;
