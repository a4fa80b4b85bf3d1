//! Words to the service manager: ready, alive, stopping (sd_notify(3)); silent where there is none.
//!
//! Alive means that the mind has answered since the last word, and that every reader gave its sign of life in time. A long turn and a slow disk do not hold its answers
//! up; a mind that is stuck does, and then the service manager starts the gateway anew (core.md 20, "Liveness").

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::ask::{Mind, Pending};
use crate::clock;
use crate::message::Request;
use crate::roster::Roster;

/// The service manager's socket.
#[derive(Clone)]
pub struct Manager {
    socket: String,
}

impl Manager {
    /// `None`: nobody wants to hear from us.
    pub fn from_env() -> Option<Manager> {
        std::env::var("NOTIFY_SOCKET").ok().filter(|s| s.starts_with(['/', '@'])).map(|socket| Manager { socket })
    }

    /// Best effort: it does not matter to anybody here.
    pub fn tell(&self, word: &str) {
        if let Err(e) = self.send(word) {
            log::debug!("{word} to the service manager at {}: {e}", self.socket);
        }
    }

    fn send(&self, word: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?; // its queue may be full: main waits for nobody
        let to = match self.socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&self.socket)?,
        };
        socket.send_to_addr(word.as_bytes(), &to).map(|_| ())
    }
}

/// How often to say that we live, if that is wanted of this process. A third of the limit: one word may be missed.
pub fn watchdog_period() -> Option<Duration> {
    let var = |name: &str| std::env::var(name).ok();
    period(var("WATCHDOG_USEC").as_deref(), var("WATCHDOG_PID").as_deref(), std::process::id())
}

fn period(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|n| *n > 0)?;
    match pid.map(str::parse::<u32>) {
        Some(Ok(pid)) if pid != own => None, // meant for another process
        _ => Some(Duration::from_micros(usec / 3)),
    }
}

/// Asks the mind at every tick, and says so if it has answered since the last one. Never waits.
pub struct Watchdog {
    manager: Manager,
    mind: Mind,
    roster: Arc<Roster>,
    asked: Option<Pending>,
}

impl Watchdog {
    pub fn new(manager: Manager, mind: Mind, roster: Arc<Roster>) -> Watchdog {
        let asked = mind.submit(Request::Ping).ok();
        Watchdog { manager, mind, roster, asked }
    }

    pub fn tick(&mut self) {
        match &self.asked {
            Some(pending) if pending.wait(Duration::ZERO).is_none() => {
                log::warn!("the core has not answered since the last word to the service manager");
                return;
            }
            // A reader that is stuck is begun anew elsewhere; if that is stuck too, the manager has to act.
            Some(_) if self.reader_is_stuck() => {}
            Some(_) => self.manager.tell("WATCHDOG=1"),
            None => {} // the inbox was full
        }
        self.asked = self.mind.submit(Request::Ping).ok();
    }

    fn reader_is_stuck(&self) -> bool {
        let stuck = self.roster.overdue(clock::mono());
        if let Some((channel, account)) = &stuck {
            log::warn!("the reader of {channel} {account} has been silent for too long");
        }
        stuck.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c29_a_reader_that_is_stuck_keeps_the_word_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let word = || {
            let mut text = [0; 64];
            heard.recv(&mut text).ok().map(|n| String::from_utf8_lossy(&text[..n]).into_owned())
        };
        let (inbox, events) = crossbeam_channel::bounded(9);
        let answers = Arc::<crate::ask::Answers>::default();
        let answer = || {
            if let Ok(crate::message::Event::Request { id, .. }) = events.try_recv() {
                answers.give(id, crate::message::Answer::Ok);
            }
        };
        let roster = Arc::<Roster>::default();
        let reader = roster.standing("telegram", "default");
        reader.expect(60_000);
        let manager = Manager { socket: path.display().to_string() };
        let mut dog = Watchdog::new(manager, Mind::new(inbox, answers.clone()), roster.clone());
        answer();
        dog.tick();
        assert_eq!(word().as_deref(), Some("WATCHDOG=1"));
        reader.expect(0);
        while !reader.is_overdue(clock::mono()) {
            std::thread::yield_now(); // until the clock shows the next millisecond
        }
        answer();
        dog.tick();
        assert_eq!(word(), None, "silent for too long");
        reader.expect(60_000);
        answer();
        dog.tick();
        assert_eq!(word().as_deref(), Some("WATCHDOG=1"), "a fresh one took its place");
    }

    #[test]
    fn c29_the_watchdog_is_for_the_process_it_names() {
        let s = Some(Duration::from_secs(20));
        assert_eq!(period(Some("60000000"), None, 7), s);
        assert_eq!(period(Some("60000000"), Some("7"), 7), s);
        assert_eq!(period(Some("60000000"), Some("8"), 7), None);
        assert_eq!((period(None, None, 7), period(Some("0"), None, 7), period(Some("x"), None, 7)), (None, None, None));
    }
}
