//! Leftovers of a pi: processes that bear its mark in their environment (core.md 7.3).
//!
//! Parentage does not help: a daemonised grandchild of a living pi looks like that of a dead one. The mark is
//! inherited; the start time tells a turn's leftovers from a server that an earlier turn started on purpose.

use std::fs;

use rustix::process::{kill_process, Pid, Signal};

use super::MARK;
use crate::message::Mono;

/// The clock of `/proc` ticks a hundred times a second on every architecture we build for.
const TICK_MS: u64 = 10;
/// The pi itself may end in order, which ends its tools too.
const TERM_MS: u64 = 3_000;
/// A killed process that is still there is looked at again after that time.
const LOOK_MS: u64 = 5;
/// After that time a hunt ends even if something cannot be killed.
const GIVE_UP_MS: u64 = 2_000;

/// One search for one mark; does a round of work whenever it is due.
pub struct Hunt {
    mark: Vec<u8>,
    since: Mono,
    state: State,
}

enum State {
    /// The pi of an earlier life has to be asked first.
    Ask(Pid),
    Term {
        pid: Pid,
        until: Mono,
        next: Mono,
    },
    /// `sure`: processes whose environment could not be read had time to get one.
    Kill {
        until: Option<Mono>,
        next: Mono,
        sure: bool,
    },
}

impl Hunt {
    /// `pid`: the pi itself, if it may still live.
    pub fn new(mark: String, since: Mono, pid: Option<u32>) -> Hunt {
        let pid = pid.and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw);
        let state = pid.map_or(State::Kill { until: None, next: 0, sure: false }, State::Ask);
        Hunt { mark: format!("{MARK}={mark}").into_bytes(), since, state }
    }

    /// When the next round is due.
    pub fn next_look(&self) -> Mono {
        match self.state {
            State::Ask(_) => 0,
            State::Term { next, .. } | State::Kill { next, .. } => next,
        }
    }

    /// `true`: nothing is left (or cannot be killed).
    pub fn round(&mut self, now: Mono) -> bool {
        match self.state {
            State::Ask(pid) if self.bears_mark(pid) => {
                let _ = kill_process(pid, Signal::TERM); // gone in between: the next look sees it
                self.state = State::Term { pid, until: now + TERM_MS, next: now + LOOK_MS };
            }
            State::Term { pid, until, .. } if self.bears_mark(pid) => {
                if now < until {
                    self.state = State::Term { pid, until, next: now + 5 * LOOK_MS };
                } else {
                    let _ = kill_process(pid, Signal::KILL); // as above
                    self.state = State::Kill { until: None, next: now + LOOK_MS, sure: false };
                }
            }
            State::Ask(_) | State::Term { .. } => self.state = State::Kill { until: None, next: 0, sure: false },
            State::Kill { until, sure, .. } => {
                let (left, unsure) = self.kill_all();
                let until = until.unwrap_or(now + GIVE_UP_MS);
                if left == 0 && (sure || unsure == 0) {
                    return true;
                }
                if now >= until {
                    log::error!("{left} processes left by a pi cannot be killed");
                    return true;
                }
                self.state = State::Kill { until: Some(until), next: now + LOOK_MS, sure: left == 0 };
            }
        }
        false
    }

    /// Kills what bears the mark and is young enough. How many there were, and how many could not be judged.
    fn kill_all(&self) -> (usize, usize) {
        let Ok(list) = fs::read_dir("/proc") else {
            log::error!("/proc cannot be read: leftovers of pi cannot be found");
            return (0, 0);
        };
        let (mut left, mut unsure) = (0, 0);
        let pids = list.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids.filter(|p| *p > 1 && p.unsigned_abs() != std::process::id()).filter_map(Pid::from_raw) {
            if !self.started_after(pid) {
                continue;
            }
            match self.marked(pid) {
                Some(true) => {
                    log::info!("killing process {pid}, left by a pi: {}", String::from_utf8_lossy(&self.mark));
                    let _ = kill_process(pid, Signal::KILL); // gone in between is fine
                    left += 1;
                }
                None => unsure += 1,
                Some(false) => {}
            }
        }
        (left, unsure)
    }

    fn bears_mark(&self, pid: Pid) -> bool {
        self.marked(pid) == Some(true)
    }

    /// `None`: it has no environment at the moment. It may be dead or a kernel thread, or just between two
    /// programs (exec), when a second look tells.
    fn marked(&self, pid: Pid) -> Option<bool> {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_else(|_| b"not ours".to_vec());
        (!environ.is_empty()).then(|| environ.split(|b| *b == 0).any(|v| v == self.mark))
    }

    fn started_after(&self, pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        start_of(&stat).is_some_and(|start| start + TICK_MS > self.since)
    }
}

/// When a process started, milliseconds since boot, to the tick below (proc(5), `/proc/<pid>/stat` field 22).
fn start_of(stat: &str) -> Option<Mono> {
    let after_name = stat.rsplit_once(')')?.1; // the name may hold blanks and brackets
    let ticks: u64 = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_start_time() {
        let stat = "10430 (a) b (c) R 10418 10418 7997 0 -1 4194304 102 0 0 0 0 0 0 0 20 0 1 0 174257 3133440 386";
        assert_eq!(start_of(stat), Some(1_742_570));
    }
}
