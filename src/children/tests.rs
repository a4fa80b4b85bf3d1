use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::config::types::ExecGuard;

const SOON: Duration = Duration::from_secs(20);

/// Everything passes.
fn open() -> Arc<Checkpoint> {
    let nothing = Vec::new();
    let rules = ExecGuard { allowed_executables: nothing, enabled: false, audit_log: false, block_unlisted: false };
    Arc::new(Checkpoint::new(rules))
}

struct Home {
    handle: ChildrenHandle,
    events: Receiver<MainEvent>,
    dir: tempfile::TempDir,
    thread: i32,
}

/// A running loop on a thread of its own, which lives as long as the test program (parent-death signals).
#[allow(unsafe_code)]
fn home() -> Home {
    let (tx, events) = bounded(10_000);
    let (handles, handle) = bounded(1);
    std::thread::spawn(move || {
        // SAFETY: plain calls on values of this frame. A blocked signal must not be inherited by children.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
        let (children, handle) = Children::new(open()).unwrap();
        handles.send((handle, rustix::thread::gettid().as_raw_nonzero().get())).unwrap();
        children.run(|e| tx.send(e).map_or(ControlFlow::Break(()), |()| ControlFlow::Continue(()))).unwrap();
    });
    let (handle, thread) = handle.recv().unwrap();
    Home { handle, events, dir: tempfile::tempdir().unwrap(), thread }
}

impl Home {
    fn spec(&self, id: u64, program: &str, args: &[&str]) -> SpawnSpec {
        SpawnSpec {
            id: ChildId::Pi(ProcId(id)),
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            cwd: self.dir.path().into(),
            mark: Some(self.mark(id)),
        }
    }
    /// Unique: tests run beside one another.
    fn mark(&self, id: u64) -> String {
        format!("{}.{id}", self.dir.path().display())
    }
    fn sh(&self, id: u64, script: &str) -> Spawned {
        self.handle.spawn(self.spec(id, "sh", &["-c", script])).recv_timeout(SOON).unwrap().unwrap()
    }
    fn exit(&self) -> (u64, ExitInfo) {
        match self.events.recv_timeout(SOON).unwrap() {
            MainEvent::Exit { id: ChildId::Pi(ProcId(n)), info } => (n, info),
            other => panic!("{other:?}"),
        }
    }
    fn number_in(&self, file: &str) -> u32 {
        let path = self.dir.path().join(file);
        until(|| std::fs::read_to_string(&path).ok().filter(|t| t.ends_with('\n'))?.trim().parse().ok())
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < SOON, "it did not happen");
        std::thread::yield_now();
    }
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn c24_given_a_crash_in_a_turn_then_only_what_that_turn_started_dies_and_the_exit_comes_after() {
    let home = home();
    let daemon = |file: &str| format!("setsid sh -c 'sleep 300 & echo $! > {file}'");
    let script = format!("{}; read go; {}; echo ready; sleep 300", daemon("old"), daemon("new"));
    let mut pi = home.sh(1, &script);
    let stranger = home.sh(2, &format!("{}; sleep 300", daemon("other")));
    let (old, other) = (home.number_in("old"), home.number_in("other"));
    let before = now_mono() + 20; // two ticks of the clock of /proc
    until(|| (now_mono() > before).then_some(()));
    home.handle.note_turn(ChildId::Pi(ProcId(1)), Some(now_mono()));
    pi.stdin.write_all(b"go\n").unwrap();
    let mut line = String::new();
    BufReader::new(&mut pi.stdout).read_line(&mut line).unwrap();
    let new = home.number_in("new");
    assert!(alive(old) && alive(new) && alive(other));

    assert!(home.handle.signal(ChildId::Pi(ProcId(1)), Sig::Kill));
    let (id, info) = home.exit();
    assert_eq!((id, info.signal), (1, Some(9)));
    assert!(!alive(new), "the turn's daemon still runs when the exit is reported");
    assert!(alive(old), "a server of an earlier turn was killed");
    assert!(alive(other), "a process of another pi was killed");

    // The next life of the gateway finds what is left of this one.
    assert!(home.handle.sweep(ProcId(1), home.mark(1), 0, 0));
    assert!(matches!(home.events.recv_timeout(SOON).unwrap(), MainEvent::Swept { id: ProcId(1) }));
    assert!(!alive(old) && alive(other));
    assert!(home.handle.sweep(ProcId(2), home.mark(2), stranger.pid, u64::MAX));
    let (first, second) = (home.events.recv_timeout(SOON).unwrap(), home.events.recv_timeout(SOON).unwrap());
    let exit =
        [first, second].into_iter().find_map(|e| if let MainEvent::Exit { info, .. } = e { Some(info) } else { None });
    assert_eq!(exit.unwrap().signal, Some(15), "a living pi is asked first");
    assert!(alive(other), "older than the turn");
    home.handle.sweep(ProcId(2), home.mark(2), 0, 0);
    home.events.recv_timeout(SOON).unwrap();
    assert!(!alive(other));
}

#[test]
fn c25_given_many_spawns_while_their_threads_end_then_all_live_obey_sigterm_and_leave_no_zombie() {
    let home = home();
    const N: u64 = 300;
    let (tx, spawned) = bounded(N as usize);
    for worker in 0..10 {
        let specs: Vec<_> = (0..N / 10).map(|n| home.spec(worker * 100 + n, "sleep", &["300"])).collect();
        let (handle, tx) = (home.handle.clone(), tx.clone());
        std::thread::spawn(move || {
            for spec in specs {
                tx.send(handle.spawn(spec).recv().unwrap().unwrap()).unwrap();
            }
        });
    }
    drop(tx);
    let children: Vec<Spawned> = spawned.iter().collect(); // ends when every worker has ended
    assert_eq!(children.len() as u64, N);
    assert!(children.iter().all(|c| alive(c.pid)), "a child died with the thread that asked for it");
    for worker in 0..10 {
        (0..N / 10).for_each(|n| assert!(home.handle.signal(ChildId::Pi(ProcId(worker * 100 + n)), Sig::Term)));
    }
    for _ in 0..N {
        assert_eq!(home.exit().1.signal, Some(15));
    }
    assert!(children.iter().all(|c| !Path::new(&format!("/proc/{}", c.pid)).exists()), "zombies");
}

#[test]
fn a_program_or_folder_that_is_missing_is_named() {
    let home = home();
    let why = home.handle.spawn(home.spec(1, "/no/such/pi", &[])).recv_timeout(SOON).unwrap().unwrap_err();
    assert!(why.contains("/no/such/pi") && why.contains("no such program"), "{why}");
    let mut spec = home.spec(1, "sh", &[]);
    spec.cwd = "/no/such/folder".into();
    let why = home.handle.spawn(spec).recv_timeout(SOON).unwrap().unwrap_err();
    assert!(why.contains("working directory /no/such/folder"), "{why}");
}

#[test]
fn the_last_8_kib_of_stderr_come_with_the_exit() {
    let home = home();
    home.sh(1, "i=0; while [ $i -lt 9000 ]; do echo line $i >&2; i=$((i+1)); done; exit 3");
    let (_, info) = home.exit();
    assert_eq!((info.code, info.signal), (Some(3), None));
    assert!(info.stderr.starts_with("line ") && info.stderr.ends_with("line 8999"), "{}", info.stderr);
    assert!(info.stderr.len() > 7_000 && info.stderr.len() <= 8 << 10);
}

#[test]
fn a_child_gets_its_environment_and_three_descriptors_and_nothing_else() {
    let home = home();
    let leaky = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let run = |id, program: &str, args: &[&str]| {
        let mut child = home.handle.spawn(home.spec(id, program, args)).recv_timeout(SOON).unwrap().unwrap();
        let mut text = String::new();
        child.stdout.read_to_string(&mut text).unwrap();
        text
    };
    let env = run(1, "env", &[]);
    let mut names: Vec<_> = env.lines().filter_map(|l| l.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PI_GW_PROC"]);
    let open = run(2, "sh", &["-c", "for f in /proc/$$/fd/*; do echo ${f##*/}; done"]);
    let highest = open.lines().filter_map(|f| f.parse::<u32>().ok()).max().unwrap();
    assert!(highest <= 3 || highest == 10, "open in the child: {open}"); // 3: the shell reading the folder
    assert_eq!(run(3, "cat", &["/proc/self/oom_score_adj"]).trim(), "500");
    drop(leaky);
}

#[test]
fn a_further_descriptor_is_watched_until_its_call_says_no() {
    let (calls_tx, calls) = bounded(10);
    let (read, write) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let (mut children, _handle) = Children::new(open()).unwrap();
        children.watch(read.into(), move |fd| {
            let mut byte = [0];
            rustix::io::read(fd, &mut byte).unwrap();
            calls_tx.send(byte[0]).unwrap();
            byte[0] != b'z'
        });
        let _ = children.run(|_| ControlFlow::Continue(()));
    });
    for byte in [b'a', b'z'] {
        (&write).write_all(&[byte]).unwrap();
        assert_eq!(calls.recv_timeout(SOON).unwrap(), byte);
    }
    assert!(calls.recv_timeout(SOON).is_err(), "the call is dropped with its descriptor");
}

#[test]
fn an_idle_loop_does_not_wake() {
    let home = home();
    let _child = home.sh(1, "sleep 300");
    let status = format!("/proc/self/task/{}/status", home.thread);
    let wakes = || {
        let status = std::fs::read_to_string(&status).unwrap();
        status.lines().find(|l| l.starts_with("voluntary_ctxt")).unwrap().to_owned()
    };
    let state = || std::fs::read_to_string(&status).unwrap().contains("State:\tS").then_some(());
    until(state);
    // Other tests' children end in this program too and wake every loop: one quiet stretch is enough.
    until(|| {
        let before = wakes();
        std::thread::sleep(Duration::from_millis(100));
        (wakes() == before).then_some(())
    });
    home.handle.signal(ChildId::Pi(ProcId(1)), Sig::Kill);
    assert_eq!(home.exit().1.signal, Some(9));
}
