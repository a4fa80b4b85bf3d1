//! A person at a terminal: a real pty, what is seen on it, keys.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use rustix::process::{ioctl_tiocsctty, kill_process, setsid, Pid, Signal};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, tcsetwinsize, LocalModes, Winsize};

use crate::support::DEADLINE;

type Screen = Arc<(Mutex<(Vec<u8>, bool)>, Condvar)>;

/// A program on a terminal of its own.
pub struct Pty {
    master: File,
    /// Held, so that the terminal's modes can be looked at after the program's end.
    _slave: File,
    child: Child,
    screen: Screen,
    /// How far has been seen.
    seen: usize,
}

impl Pty {
    pub fn start(mut command: Command, columns: u16) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let own = || Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
        command.stdin(own()).stdout(own()).stderr(own());
        #[allow(unsafe_code)]
        // SAFETY: two system calls, no memory.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(std::io::stdin())?)
            });
        }
        let master = File::from(master);
        let screen = Screen::default();
        resize(&master, columns);
        let child = command.spawn().unwrap();
        let (mut from, to) = (master.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut block) {
                to.0.lock().unwrap_or_else(PoisonError::into_inner).0.extend_from_slice(&block[..n]);
                to.1.notify_all();
            }
            to.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            to.1.notify_all();
        });
        Pty { master, _slave: slave, child, screen, seen: 0 }
    }

    /// Waits until this text appears behind what was seen before.
    #[track_caller]
    pub fn see(&mut self, text: &str) -> &mut Pty {
        let begun = Instant::now();
        let mut shown = self.screen.0.lock().unwrap();
        loop {
            let all = visible(&shown.0);
            if let Some(at) = all[self.seen..].find(text) {
                self.seen += at + text.len();
                drop(shown);
                return self;
            }
            let left = DEADLINE.checked_sub(begun.elapsed()).filter(|_| !shown.1);
            let Some(left) = left else { panic!("{text:?} is not seen behind\n{}\nin\n{all}", &all[..self.seen]) };
            shown = self.screen.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    pub fn keys(&mut self, keys: &str) -> &mut Pty {
        self.master.write_all(keys.as_bytes()).unwrap();
        self
    }

    pub fn resize(&mut self, columns: u16) -> &mut Pty {
        resize(&self.master, columns);
        self
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Everything that was shown, control sequences included.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.screen.0.lock().unwrap_or_else(PoisonError::into_inner).0).into_owned()
    }

    /// Waits for the program's end; the terminal is as it was.
    #[track_caller]
    pub fn ends(&mut self) -> i32 {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > DEADLINE => panic!("it does not end:\n{}", self.raw()),
                None => std::thread::yield_now(),
            }
        };
        let modes = tcgetattr(&self.master).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}\n{}", self.raw());
        let raw = self.raw();
        assert!(raw.rfind("\x1b[?25l") <= raw.rfind("\x1b[?25h"), "the cursor stays hidden\n{raw}");
        status.code().unwrap_or_else(|| panic!("{status}\n{raw}"))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &File, columns: u16) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

/// What was written, without control sequences; one that is not whole yet ends it.
fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => drop(letters.find(|c| c.is_ascii_alphabetic())),
            '\r' => {}
            other => shown.push(other),
        }
    }
    shown
}
