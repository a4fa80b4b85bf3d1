//! Programs that run to their end for somebody: `/bash`. Main spawns and reaps them like every child.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Sender};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::children::checkpoint::SHELL;
use crate::children::{ChildId, ChildrenHandle, SpawnSpec};
use crate::message::{ExitInfo, Sig};

/// After a kill, until main has reaped it.
const REAP: Duration = Duration::from_secs(5);

/// What a program said and how it ended.
#[derive(Debug, PartialEq)]
pub struct Ran {
    /// At most as many bytes as asked for.
    pub output: Vec<u8>,
    /// There was more.
    pub cut: bool,
    pub code: Option<i32>,
    /// It was killed at its time limit.
    pub late: bool,
}

pub struct Programs {
    children: ChildrenHandle,
    waiting: Mutex<HashMap<u64, Sender<ExitInfo>>>,
    next: AtomicU64,
}

impl Programs {
    pub fn new(children: ChildrenHandle) -> Programs {
        Programs { children, waiting: Mutex::default(), next: AtomicU64::new(1) }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Sender<ExitInfo>>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Main reaped one.
    pub fn ended(&self, id: u64, info: ExitInfo) {
        if let Some(exit) = self.waiting().remove(&id) {
            let _ = exit.try_send(info); // one slot, one exit
        }
    }

    /// `sh -c`, both outputs together, nothing on its input; killed with its group after `limit`.
    pub fn shell(&self, command: &str, cwd: PathBuf, limit: Duration, most: usize) -> Result<Ran, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, exit) = bounded(1);
        self.waiting().insert(id, tx);
        let script = format!("exec 2>&1\n{command}");
        let clean = |(name, _): &(OsString, OsString)| !name.to_string_lossy().starts_with("PI_G");
        let spec = SpawnSpec {
            id: ChildId::Other(id),
            program: SHELL.into(),
            args: vec!["-c".into(), script.into()],
            env: std::env::vars_os().filter(clean).collect(),
            cwd,
            mark: None,
        };
        let spawned = self.children.spawn(spec).recv().unwrap_or_else(|_| Err("the gateway is stopping".into()));
        let mut spawned = spawned.inspect_err(|_| {
            self.waiting().remove(&id);
        })?;
        drop(spawned.stdin);
        let end = Instant::now() + limit;
        let (output, cut, late) = read(&mut spawned.stdout, end, most);
        // A daemon it left may hold the pipe; the shell itself decides.
        let exit = match exit.recv_timeout(if late { Duration::ZERO } else { end - Instant::now().min(end) }) {
            Ok(info) => Some((info, late)),
            Err(_) => {
                self.children.signal(ChildId::Other(id), Sig::Kill);
                exit.recv_timeout(REAP).ok().map(|info| (info, true))
            }
        };
        self.waiting().remove(&id);
        let (info, late) = exit.unwrap_or((ExitInfo::default(), true));
        Ok(Ran { output, cut, code: info.code, late })
    }
}

/// Reads until end of file, the time, or more than `most` bytes; what comes after those is thrown away.
fn read(from: &mut (impl Read + std::os::fd::AsFd), end: Instant, most: usize) -> (Vec<u8>, bool, bool) {
    let (mut out, mut cut) = (Vec::new(), false);
    let mut buf = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (out, cut, true);
        }
        let wait = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&wait));
        match ready {
            Ok(0) => return (out, cut, true),
            Ok(_) => match from.read(&mut buf) {
                Ok(0) | Err(_) => return (out, cut, false),
                Ok(n) => {
                    let keep = n.min(most - out.len());
                    cut |= keep < n;
                    out.extend_from_slice(&buf[..keep]);
                }
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return (out, cut, false),
        }
    }
}
