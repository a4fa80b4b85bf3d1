//! Media paths against those who change things meanwhile, and against odd names (core.md 18 "Media path").

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{mknodat, renameat_with, FileType, RenameFlags, CWD};

use super::*;
use crate::http::settings::Media;

struct Place {
    dir: tempfile::TempDir,
    work: PathBuf,
    s: Settings,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir_all(work.join("sub")).unwrap();
    std::fs::create_dir_all(dir.path().join("outside")).unwrap();
    std::fs::write(work.join("sub/f"), "inside").unwrap();
    std::fs::write(work.join("f"), "inside").unwrap();
    std::fs::write(dir.path().join("outside/f"), "secret").unwrap();
    let media = Media { temp: dir.path().join("tmp"), ..Media::default() };
    let s = Settings { media_dir: dir.path().join("media"), media, ..Settings::default() };
    Place { dir, work, s }
}

impl Place {
    /// What is read there by both ways of opening.
    fn read(&self, rel: &str) -> [Option<String>; 2] {
        let root = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rustix::fs::open(&self.work, root, Mode::empty()).unwrap();
        [beneath, walk].map(|open| text(File::from(open(&root, rel).ok()?)))
    }

    fn named(&self, path: &str) -> Result<(File, Metadata), Denied> {
        Spot::named(path, &self.work, &self.s, true)?.open(&self.work, &self.s)
    }

    fn refused(&self, path: &str) -> bool {
        matches!(self.named(path), Err(Denied::Refused))
    }
}

fn text(mut file: File) -> Option<String> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok().map(|_| text)
}

/// Swaps two names as fast as it can while `look` is asked thousands of times.
fn while_swapped(a: PathBuf, b: PathBuf, mut look: impl FnMut() -> [Option<String>; 2]) {
    const TRIES: usize = 5000;
    const SEEN: usize = 100;
    let stop = AtomicBool::new(false);
    let mut seen = [0; 2];
    let mut leaked = None;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut tries = 0;
        while leaked.is_none() && tries < 1_000_000 && (tries < TRIES || seen.iter().any(|n| *n < SEEN)) {
            tries += 1;
            for (n, got) in look().into_iter().enumerate() {
                seen[n] += usize::from(got.is_some());
                if let Some(other) = got.filter(|text| text != "inside") {
                    leaked = Some(other);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(leaked, None);
    assert!(seen.iter().all(|n| *n >= SEEN), "{seen:?}");
}

#[test]
fn a_file_that_is_swapped_for_a_link_to_the_outside_never_gives_what_is_there() {
    let p = place();
    for target in [p.dir.path().join("outside/f"), "../outside/f".into(), "sub/../../outside/f".into()] {
        let _ = std::fs::remove_file(p.work.join("link"));
        std::fs::remove_file(p.work.join("f")).unwrap();
        std::fs::write(p.work.join("f"), "inside").unwrap();
        symlink(target, p.work.join("link")).unwrap();
        while_swapped(p.work.join("f"), p.work.join("link"), || p.read("f"));
    }
}

#[test]
fn a_folder_above_that_is_swapped_for_a_link_to_the_outside_never_gives_what_is_there() {
    let p = place();
    symlink("../outside", p.work.join("link")).unwrap();
    while_swapped(p.work.join("sub"), p.work.join("link"), || p.read("sub/f"));
}

#[test]
fn the_workspace_itself_is_swapped_and_what_was_opened_as_root_counts() {
    let p = place();
    let other = p.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    symlink("../outside/f", other.join("f")).unwrap();
    while_swapped(p.work.clone(), other, || {
        [(); 2].map(|()| text(Spot::parse("f").unwrap().open(&p.work, &p.s).ok()?.0))
    });
}

#[test]
fn what_is_no_regular_file_is_refused_and_holds_nobody_up() {
    let p = place();
    mknodat(CWD, p.work.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(p.work.join("socket")).unwrap();
    for (name, target) in [
        ("null", "/dev/null"),
        ("zero", "/dev/zero"),
        ("proc", "/proc/self/environ"),
        ("root", "/proc/self/root"),
        ("fd", "/proc/self/fd/0"),
        ("loop", "loop"),
        ("up", ".."),
    ] {
        symlink(target, p.work.join(name)).unwrap();
    }
    for path in ["pipe", "socket", "null", "zero", "proc", "root/etc/passwd", "fd", "loop", "up/outside/f", "sub", "."]
    {
        assert!(p.refused(path), "{path} {:?}", p.named(path));
        assert!(p.refused(&p.work.join(path).display().to_string()), "{path}");
    }
}

#[test]
fn names_that_are_no_names_are_refused() {
    let p = place();
    let long = "x".repeat(300);
    let deep = "d/".repeat(3000) + "f";
    for path in [
        "",
        " ",
        "\0",
        "f\0",
        "f\0.png",
        "/",
        "//",
        "~",
        "~/f",
        "~root/f",
        "..",
        "../f",
        "sub/../f",
        "sub/..",
        "/../f",
        "sub/",
        "f/",
        "file:f",
        "FILE:///etc/passwd",
        "http://h/f",
        "data:,x",
        "c:\\f",
        "a+b.c-d:f",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "//etc/passwd",
        "/./etc/passwd",
        &long,
        &deep,
    ] {
        assert!(p.refused(path), "{path:?} {:?}", p.named(path));
    }
    for path in ["F", "SUB/f", "sub/F", "f.png", "f "] {
        assert!(matches!(p.named(path), Err(Denied::Absent)), "{path:?}");
    }
    for path in ["f", "./f", ".//f", "sub/./f", "sub//f"] {
        assert_eq!(p.named(path).ok().and_then(|(file, _)| text(file)).as_deref(), Some("inside"), "{path}");
    }
    // A name that is no UTF-8 cannot be said; something like it does not lead there.
    std::fs::write(p.work.join(OsStr::from_bytes(b"g\xff")), "odd").unwrap();
    for path in ["g\u{fffd}", "g", "g\u{ff}", "g%FF"] {
        assert!(matches!(p.named(path), Err(Denied::Absent)), "{path:?}");
    }
}

#[test]
fn with_the_whole_file_system_open_there_are_still_no_devices_and_no_ways_through_proc() {
    let mut p = place();
    p.s.media.workspace_only = false;
    let outside = p.dir.path().join("outside/f").display().to_string();
    assert_eq!(p.named(&outside).ok().and_then(|(file, _)| text(file)).as_deref(), Some("secret"));
    for path in ["/dev/zero", "/dev/null", "/proc/self/root/etc/passwd", "/proc/self/fd/0", "/proc/self/cwd/f", "/etc"]
    {
        assert!(p.refused(path), "{path} {:?}", p.named(path));
    }
    for path in ["../f", "~/f", "/tmp/../etc/passwd", "file:///etc/passwd"] {
        assert!(p.refused(path), "{path}");
    }
}
