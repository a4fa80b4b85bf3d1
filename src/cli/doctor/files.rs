//! Configuration file and data directory: what is there, whose it is, whether there is room.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{access, statfs, statvfs, Access};
use rustix::process::geteuid;

use super::check::{Check, State};
use super::Context;
use crate::config::redact::Redactor;
use crate::config::{Issue, Paths, Severity};
use crate::store::ENOUGH_FREE;

/// Free space below which a warning is due: media and session files need room, bytes.
const LITTLE_FREE: u64 = 200 << 20;

/// What is known about the configuration, first where it is.
pub fn issues(issues: &[Issue], path: &Path, redactor: &Redactor) -> Vec<Check> {
    let (notes, rest): (Vec<_>, Vec<_>) = issues.iter().partition(|issue| issue.severity == Severity::Info);
    let notes = notes.iter().map(|issue| redactor.text(&issue.to_string()).into_owned()).collect();
    let file = match path.exists() {
        true => Check::ok("config", path.display().to_string()).details(notes),
        false => Check::warning("config", format!("{} does not exist: defaults", path.display()))
            .remedy("pi-gw onboard makes one; --config PATH names another"),
    };
    // A file that cannot be read is said once, by its error.
    let unreadable = rest.iter().any(|issue| issue.severity == Severity::Error) && !path.exists();
    let findings = rest.iter().map(|issue| {
        let state = if issue.severity == Severity::Error { State::Error } else { State::Warning };
        let mut place = String::new();
        if let Some(pos) = issue.pos {
            place = format!("line {}, column {}: ", pos.line, pos.column);
        }
        let key = if issue.key.is_empty() { String::new() } else { format!("{}: ", issue.key) };
        let mut check = Check::new("config", state, format!("{place}{key}{}", issue.text));
        let general = match unreadable || issue.pos.is_none() {
            true => "look at that file or directory: is it there, and may this user read and write it?",
            false => "correct that place; pi-gw config check looks again",
        };
        check.remedy = Some(issue.hint.clone().unwrap_or_else(|| general.into()));
        check.details = issue.excerpt.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
        if issue.pos.is_none() && issue.key.is_empty() && !issue.file.as_os_str().is_empty() {
            check.text = format!("{}: {}", issue.file.display(), check.text);
        }
        check
    });
    Some(file).filter(|_| !unreadable).into_iter().chain(findings).collect()
}

/// The data directory and what it lies on.
pub fn data(context: &Context) -> Vec<Check> {
    let root = context.paths.data_root();
    let mut checks = vec![directory(root)];
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    checks.extend(space(existing));
    checks.extend(network(existing));
    let literal = context.env.cwd.join("~");
    if literal.is_dir() {
        let text =
            format!("{} is a directory that is literally named ~: a program did not expand it", literal.display());
        checks.push(
            Check::warning("data", text)
                .remedy(format!("look into it, then: rm -r {:?}", literal.display().to_string())),
        );
    }
    checks
}

fn directory(root: &Path) -> Check {
    let shown = root.display();
    let meta = match root.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::ok("data", format!("{shown} does not exist yet: the gateway or --fix makes it"));
        }
        Err(error) => {
            return Check::error("data", format!("cannot look at {shown}: {error}"))
                .remedy("look at the disk or mount it is on, and at its rights");
        }
    };
    let wrong = match () {
        () if !meta.is_dir() => Some(("is not a directory", "move it away, or set session.dataDir")),
        () if access(root, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() => {
            Some(("cannot be written by this user", "change its owner, or set session.dataDir"))
        }
        () => None,
    };
    if let Some((what, remedy)) = wrong {
        return Check::error("data", format!("{shown} {what}")).remedy(remedy);
    }
    match foreign(root) {
        Some(uid) => Check::warning("data", format!("{shown} belongs to user {uid}, not to the one who runs this"))
            .remedy("run pi-gw, the doctor too, as that user; files made by another one lock the gateway out"),
        None => Check::ok("data", shown.to_string()),
    }
}

/// The owner of a directory, if it is someone else.
pub fn foreign(path: &Path) -> Option<u32> {
    let owner = path.metadata().ok()?.uid();
    (owner != geteuid().as_raw()).then_some(owner)
}

fn space(at: &Path) -> Option<Check> {
    let stat = statvfs(at).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let remedy = "make room; media.maxTotalMb and media.retentionDays limit what is kept";
    Some(match () {
        () if free < ENOUGH_FREE => {
            Check::error("space", format!("{} is left: nothing can be stored", size(free))).remedy(remedy)
        }
        () if stat.f_files > 0 && stat.f_favail == 0 => {
            Check::error("space", "no file can be made: the file system has no inodes left").remedy("delete files")
        }
        () if free < LITTLE_FREE => Check::warning("space", format!("only {} is left", size(free))).remedy(remedy),
        () => Check::ok("space", format!("{} free", size(free))),
    })
}

/// `1.5 GB`
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Locks and shared memory of the store do not work there, or seem to.
fn network(at: &Path) -> Option<Check> {
    // The field's type differs between machines; the numbers are those of statfs(2).
    let kind = statfs(at).ok()?.f_type as u64 & 0xffff_ffff;
    let name = match kind {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x6573_5546 => "FUSE",
        _ => return None,
    };
    let text = format!("{} is on a {name} file system: the store may be damaged there", at.display());
    Some(Check::warning("data", text).remedy("set session.dataDir to a directory on a disk of this machine"))
}

/// A file or directory that others can get at, and the mode that it should have.
pub struct Loose {
    pub path: PathBuf,
    pub mode: u32,
    pub wanted: u32,
}

/// Everything under the data directory that only its owner should reach.
pub fn loose(paths: &Paths) -> Vec<Loose> {
    let store = paths.store();
    let beside = |end: &str| store.with_file_name(format!("gateway.db{end}"));
    let mut all = vec![
        paths.data_root().to_path_buf(),
        paths.sessions_dir(),
        paths.credentials_dir(),
        paths.data_root().join("run"),
        beside("-wal"),
        beside("-shm"),
        store.clone(),
    ];
    all.extend(std::fs::read_dir(paths.credentials_dir()).into_iter().flatten().flatten().map(|entry| entry.path()));
    all.into_iter()
        .filter_map(|path| {
            let meta = path.symlink_metadata().ok().filter(|meta| meta.is_dir() || meta.is_file())?;
            let mode = meta.permissions().mode() & 0o777;
            let wanted = mode & 0o700;
            (mode != wanted).then_some(Loose { path, mode, wanted })
        })
        .collect()
}

/// Whether others can reach what is private. The configuration's own rights are an issue of the configuration.
pub fn rights(context: &Context) -> Vec<Check> {
    let loose = loose(&context.paths);
    if loose.is_empty() {
        return vec![Check::ok("rights", "only this user reaches the gateway's files")];
    }
    let check = |file: &Loose| {
        let text = format!("{} can be reached by other users (mode {:o})", file.path.display(), file.mode);
        Check::warning("rights", text).remedy(format!(
            "pi-gw doctor --fix, or: chmod {:o} {}",
            file.wanted,
            file.path.display()
        ))
    };
    loose.iter().map(check).collect()
}
