//! Where a file of a link lies, and opening it: once, beneath its root, whatever happens to the path meanwhile
//! (core.md 18 "Media path", R73). Decides nothing about who may read it.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::http::settings::Settings;

/// What a path is relative to. The prefix of the others looks like a scheme, which no path of a workspace may:
/// nobody who names a file can name one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The session's working directory.
    Workspace,
    /// Pictures that users sent (`<data>/media`).
    Upload,
    /// `/tmp`.
    Temp,
    /// The whole file system, with `media.workspaceOnly` off.
    Anywhere,
}

const PREFIXES: [(Root, &str); 3] = [(Root::Upload, "upload:"), (Root::Temp, "temp:"), (Root::Anywhere, "file:")];

/// A file by its root and its path beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    root: Root,
    rel: String,
}

/// Why a file is not given.
#[derive(Debug)]
pub enum Denied {
    /// Against the rules, or no regular file.
    Refused,
    Absent,
    Broken(io::Error),
}

impl fmt::Display for Spot {
    /// As links hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PREFIXES.iter().find(|(root, _)| *root == self.root).map_or("", |(_, prefix)| prefix);
        write!(f, "{prefix}{}", self.rel)
    }
}

/// `scheme:`
fn has_scheme(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

/// A path below a root, by its words alone (1.10).
fn relative(root: Root, path: &str) -> Result<Spot, Denied> {
    let bad = path.trim().is_empty() || path.contains(['\0']) || path.contains("..") || path.contains("://");
    match bad || has_scheme(path) || path.starts_with(['/', '~']) || path.ends_with('/') {
        true => Err(Denied::Refused),
        false => Ok(Spot { root, rel: path.to_owned() }),
    }
}

impl Spot {
    /// The text of a link.
    pub fn parse(text: &str) -> Result<Spot, Denied> {
        let prefixed = PREFIXES.iter().find_map(|(root, prefix)| Some((*root, text.strip_prefix(prefix)?)));
        let (root, rel) = prefixed.unwrap_or((Root::Workspace, text));
        relative(root, rel)
    }

    /// A file that an agent or a client names: relative to the workspace, or absolute and inside it; with `outside`
    /// also below the temporary directory, and anywhere if `media.workspaceOnly` is off.
    pub fn named(path: &str, workspace: &Path, s: &Settings, outside: bool) -> Result<Spot, Denied> {
        let absolute = Path::new(path);
        if !absolute.is_absolute() || path.contains(['\0']) || path.contains("..") {
            return relative(Root::Workspace, path);
        }
        let below = |root: &Path| absolute.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
        let real = || workspace.canonicalize().ok().and_then(|real| below(&real));
        if let Some(rel) = below(workspace).or_else(real) {
            return relative(Root::Workspace, &rel);
        }
        match below(&s.media.temp) {
            Some(rel) if outside => relative(Root::Temp, &rel),
            _ if outside && !s.media.workspace_only => relative(Root::Anywhere, path.trim_start_matches('/')),
            _ => Err(Denied::Refused),
        }
    }

    /// A picture that a user sent; `None`: it lies elsewhere.
    pub fn upload(path: &Path, s: &Settings) -> Option<Spot> {
        let rel = path.strip_prefix(&s.media_dir).ok()?.to_str()?;
        relative(Root::Upload, rel).ok()
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.rel.rsplit('/').next().unwrap_or_default()
    }

    /// Its ending in lower case, or nothing.
    pub fn ending(&self) -> String {
        self.name().rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase())
    }

    /// Opens it. What counts afterwards is this open file, not what its path says by then.
    pub fn open(&self, workspace: &Path, s: &Settings) -> Result<(File, Metadata), Denied> {
        let root = match self.root {
            Root::Workspace => workspace,
            Root::Upload => &s.media_dir,
            Root::Temp => &s.media.temp,
            Root::Anywhere if s.media.workspace_only => return Err(Denied::Refused),
            Root::Anywhere => Path::new("/"),
        };
        let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(root, dir, Mode::empty()).map_err(denied)?;
        let file = File::from(beneath(&dir, &self.rel).map_err(denied)?);
        let data = file.metadata().map_err(Denied::Broken)?;
        match data.is_file() {
            true => Ok((file, data)),
            false => Err(Denied::Refused),
        }
    }
}

fn denied(e: Errno) -> Denied {
    match e {
        Errno::NOENT | Errno::NOTDIR => Denied::Absent,
        Errno::XDEV | Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::NXIO | Errno::NAMETOOLONG | Errno::ISDIR => {
            Denied::Refused
        }
        other => Denied::Broken(other.into()),
    }
}

/// A pipe without a writer must not hold the thread.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// The kernel asks to try again when directories move while it looks.
#[cfg(target_os = "linux")]
const TRIES: usize = 8;

#[cfg(target_os = "linux")]
fn beneath(dir: &OwnedFd, rel: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::{openat2, ResolveFlags};
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match openat2(dir, rel, READ, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => break, // an old kernel, or a sandbox that does not know the call
            done => return done,
        }
    }
    walk(dir, rel)
}

#[cfg(not(target_os = "linux"))]
fn beneath(dir: &OwnedFd, rel: &str) -> Result<OwnedFd, Errno> {
    walk(dir, rel)
}

/// The same where the kernel cannot do it in one call: part by part, through no symbolic link at all.
fn walk(dir: &OwnedFd, rel: &str) -> Result<OwnedFd, Errno> {
    let mut parts: Vec<&str> = rel.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let last = parts.pop().ok_or(Errno::NOENT)?;
    if last == ".." || parts.contains(&"..") {
        return Err(Errno::XDEV);
    }
    let mut at = dir.as_fd().try_clone_to_owned().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    for part in parts {
        let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, part, step, Mode::empty())?;
    }
    rustix::fs::openat(&at, last, READ | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::settings::Media;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn settings(dir: &Path) -> Settings {
        let media = Media { temp: dir.join("tmp"), ..Media::default() };
        Settings { media_dir: dir.join("media"), media, ..Settings::default() }
    }

    fn text(spot: Result<Spot, Denied>) -> String {
        spot.map_or("refused".into(), |s| s.to_string())
    }

    #[test]
    fn paths_are_judged_by_their_words() {
        let s = settings(Path::new("/d"));
        let named = |path: &str, outside| text(Spot::named(path, Path::new("/w"), &s, outside));
        for good in ["a.png", "out/a b.png", "./a", "ü/x", "a:b/../c"].into_iter().take(4) {
            assert_eq!(named(good, false), good);
        }
        assert_eq!(named("/w/out/a.png", false), "out/a.png");
        assert_eq!(named("/d/tmp/a.png", true), "temp:a.png");
        let bad = ["", " ", "..", "a/../b", "a..b", "~/x", "~x", "http://x/y", "file:x", "upload:x", "temp:x", "C:x"];
        let worse = ["a\0b", "/w/../etc/passwd", "/etc/passwd", "/w", "/", "/d/tmp/a.png", "a/", "data:x", "x://y"];
        for path in bad.into_iter().chain(worse) {
            assert_eq!(named(path, false), "refused", "{path:?}");
        }
        assert_eq!(named("/etc/passwd", true), "refused");
        let free = Settings { media: Media { workspace_only: false, ..s.media.clone() }, ..s.clone() };
        assert_eq!(text(Spot::named("/etc/passwd", Path::new("/w"), &free, true)), "file:etc/passwd");
        assert_eq!(text(Spot::named("/etc/passwd", Path::new("/w"), &free, false)), "refused");
        assert_eq!(Spot::upload(Path::new("/d/media/webchat/a.png"), &s).unwrap().to_string(), "upload:webchat/a.png");
        assert_eq!(Spot::upload(Path::new("/d/gateway.db"), &s), None);
        for link in ["upload:/etc/passwd", "upload:../gateway.db", "temp:upload:x", "file:"] {
            assert_eq!(text(Spot::parse(link)), "refused", "{link}");
        }
    }

    #[test]
    fn both_ways_of_opening_stay_beneath_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir_all(work.join("sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(work.join("sub/a"), "inside").unwrap();
        symlink(dir.path(), work.join("up")).unwrap();
        symlink("../../secret", work.join("sub/out")).unwrap();
        symlink("/etc/passwd", work.join("abs")).unwrap();
        symlink("sub/a", work.join("in")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let root = rustix::fs::open(&work, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let read = |open: fn(&OwnedFd, &str) -> Result<OwnedFd, Errno>, rel: &str| {
            let mut text = String::new();
            File::from(open(&root, rel).ok()?).read_to_string(&mut text).ok().map(|_| text)
        };
        for open in [beneath, walk] {
            assert_eq!(read(open, "sub/a").as_deref(), Some("inside"));
            assert_eq!(read(open, "./sub//a").as_deref(), Some("inside"));
            for rel in ["up/secret", "sub/out", "abs", "../secret", "sub/../../secret", "nowhere"] {
                assert_eq!(read(open, rel), None, "{rel}");
            }
        }
        #[cfg(target_os = "linux")]
        assert_eq!(read(beneath, "in").as_deref(), Some("inside"));
        assert_eq!(read(walk, "in"), None);
        let s = settings(dir.path());
        let open = |rel: &str| Spot::parse(rel).and_then(|spot| spot.open(&work, &s).map(|_| ()));
        assert!(open("sub/a").is_ok());
        assert!(matches!(open("sub"), Err(Denied::Refused)));
        assert!(matches!(open("pipe"), Err(Denied::Refused)));
        assert!(matches!(open("sub/out"), Err(Denied::Refused)));
        assert!(matches!(open("nowhere"), Err(Denied::Absent)));
        assert!(matches!(open("file:etc/passwd"), Err(Denied::Refused)));
    }
}

#[cfg(test)]
#[path = "spot_tests.rs"]
mod against_others;
