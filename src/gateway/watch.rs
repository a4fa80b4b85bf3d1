//! Watches the configuration's directory, so that editors that replace the file are seen. No polling.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// The descriptor to wait on, and what to look for.
pub struct Watch {
    pub fd: OwnedFd,
    name: OsString,
}

impl Watch {
    pub fn new(file: &Path) -> io::Result<Watch> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let dir = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
        inotify::add_watch(&fd, dir, flags)?;
        let name = file.file_name().unwrap_or_default().to_owned();
        Ok(Watch { fd, name })
    }

    /// The name to compare events with.
    pub fn name(&self) -> OsString {
        self.name.clone()
    }
}

/// Empties the descriptor; true if one of the changes was to `name`.
pub fn changed(fd: BorrowedFd<'_>, name: &OsString) -> bool {
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(fd, &mut space);
    let mut found = false;
    while let Ok(event) = reader.next() {
        let overflow = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
        found |= overflow || event.file_name().is_some_and(|n| n.to_bytes() == name.as_bytes());
    }
    found
}
