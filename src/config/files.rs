//! Writing files that survive a crash and that only their owner may read.
//!
//! root works for somebody else where the place is theirs (`sudo pi-gw …`, a crontab of root's): what it makes there
//! belongs to them, so that their gateway can read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{fchown, lchown, DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory (0700) and those above it that are missing.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let above = missing.last().and_then(|top| top.parent()).filter(|dir| !dir.as_os_str().is_empty());
    if let Some((uid, gid)) = owner(above.unwrap_or(Path::new("."))) {
        missing.iter().try_for_each(|dir| lchown(dir, Some(uid), Some(gid)))?;
    }
    Ok(())
}

/// A file that was just made gets the owner of that one, or of its directory, if root made it.
pub fn hand_over(file: &File, like: &Path) -> io::Result<()> {
    owner(like).map_or(Ok(()), |(uid, gid)| fchown(file, Some(uid), Some(gid)))
}

/// Whose a thing beside or in place of this one has to be; `None`: whoever makes it.
fn owner(like: &Path) -> Option<(u32, u32)> {
    let there = fs::metadata(like).ok().filter(|_| rustix::process::geteuid().is_root())?;
    Some((there.uid(), there.gid()))
}

/// Replaces a file (0600) so that at any moment either the old or the new content is there: written beside it,
/// synced, renamed, directory synced. A symbolic link is followed, so that what it points to is replaced.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(_) => path.to_path_buf(),
    };
    let (dir, temp) = beside(&path)?;
    let like = if path.exists() { &path } else { &dir };
    let written = write_new(&temp, content, like).and_then(|()| fs::rename(&temp, &path));
    if written.is_err() {
        // The write's own error is the one to tell about.
        let _ = fs::remove_file(&temp);
    }
    written?;
    File::open(dir)?.sync_all()
}

/// As [`write_atomic`], but leaves an existing file alone. Gives whether this call created it.
pub fn create_atomic(path: &Path, content: &[u8]) -> io::Result<bool> {
    let (dir, temp) = beside(path)?;
    let linked = write_new(&temp, content, &dir).and_then(|()| fs::hard_link(&temp, path));
    let _ = fs::remove_file(&temp);
    match linked {
        Ok(()) => File::open(dir)?.sync_all().map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn beside(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    };
    // The process id keeps a gateway and a command line from sharing one.
    let temp = dir.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    Ok((dir, temp))
}

fn write_new(path: &Path, content: &[u8], like: &Path) -> io::Result<()> {
    // A leftover of a crash may be in the way.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    hand_over(&file, like)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        create_dir(&dir).unwrap();
        create_dir(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&temp.path().join("a"))), (0o700, 0o700));
        let file = dir.join("f");
        fs::write(&file, "old").unwrap();
        write_atomic(&file, b"new").unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"new".to_vec(), 0o600));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_link_stays_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let (real, link) = (temp.path().join("real"), temp.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn b22_given_a_file_that_is_replaced_again_and_again_then_nobody_ever_sees_half_of_it() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("f");
        write_atomic(&file, &[b'a'; 1 << 20]).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..20u8 {
                    write_atomic(&file, &vec![b'a' + n; (1 << 20) - usize::from(n)]).unwrap();
                    // Killed in the middle of the next one: what it leaves is in nobody's way.
                    fs::write(beside(&file).unwrap().1, "half").unwrap();
                }
                done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let seen = fs::read(&file).unwrap();
                let first = seen[0];
                assert_eq!(seen.len(), (1 << 20) - usize::from(first - b'a'));
                assert!(seen.iter().all(|b| *b == first));
            }
        });
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_place_belongs_to() {
        if !rustix::process::geteuid().is_root() {
            return; // nobody else can give files away
        }
        let temp = tempfile::tempdir().unwrap();
        lchown(temp.path(), Some(1234), Some(5678)).unwrap();
        let dir = temp.path().join("a/b");
        create_dir(&dir).unwrap();
        let (file, other) = (dir.join("f"), dir.join("g"));
        assert!(create_atomic(&file, b"one").unwrap());
        lchown(&file, Some(99), Some(98)).unwrap();
        write_atomic(&file, b"two").unwrap();
        write_atomic(&other, b"new").unwrap();
        let whose = |path: &Path| owner(path).unwrap();
        assert_eq!([whose(&temp.path().join("a")), whose(&dir), whose(&other)], [(1234, 5678); 3]);
        assert_eq!(whose(&file), (99, 98));
    }

    #[test]
    fn creating_never_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("f");
        assert!(create_atomic(&file, b"one").unwrap());
        assert!(!create_atomic(&file, b"two").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert!(write_atomic(&temp.path().join("missing/f"), b"x").is_err());
    }
}
