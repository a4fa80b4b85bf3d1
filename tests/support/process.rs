//! Watching a process that is not our child: how tests learn that something was really killed.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, Pid, PidfdFlags};

use super::DEADLINE;

/// Take it while the process lives; the pid may be given to another one later, the watch may not.
pub struct ProcessWatch {
    pid: i32,
    fd: OwnedFd,
}

impl ProcessWatch {
    pub fn new(pid: i32) -> ProcessWatch {
        let id = Pid::from_raw(pid).expect("a positive pid");
        let fd = pidfd_open(id, PidfdFlags::empty());
        ProcessWatch { pid, fd: fd.unwrap_or_else(|e| panic!("process {pid} is not there: {e}")) }
    }

    pub fn is_gone(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    pub fn wait_gone(&self) {
        assert!(self.ends_within(DEADLINE), "process {} still runs after {DEADLINE:?}", self.pid);
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&limit)).expect("poll") > 0
    }
}
