//! What is measured: the gateway as a process in a throw-away home, the pi stand-in, and what the kernel
//! says about them. Knows no goals.
#![allow(clippy::unwrap_used)] // a bench that cannot measure has to stop loudly

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::raw_http::{ask, Ws};

pub const TOKEN: &str = "bench-token-0123456789";

/// The binary under test: `PI_GW_BENCH_BINARY`, or what cargo built beside the bench.
pub fn binary() -> PathBuf {
    std::env::var_os("PI_GW_BENCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_pi-gw").into(), PathBuf::from)
}

/// A stand-in that cargo built beside the bench.
pub fn beside(name: &str) -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let built = built.parent().unwrap().with_file_name("examples").join(name);
    assert!(built.exists(), "{} is missing: run `make bench`", built.display());
    built
}

/// A program that is the stand-in in that flavour ("old", "new"); no diary, so it writes only its session.
pub fn stand_in(dir: &Path, flavour: &str) -> PathBuf {
    let built = beside("fake-pi");
    let program = dir.join(format!("pi-{flavour}"));
    let text = format!("#!/bin/sh\nexport FAKE_PI_FLAVOUR={flavour}\nexec '{}' \"$@\"\n", built.display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

pub struct House {
    pub home: tempfile::TempDir,
    pub addr: SocketAddr,
    child: Option<Child>,
}

impl House {
    /// A home with this pi; pi processes that are idle end after a second if `brief`.
    pub fn new(flavour: &str, brief: bool) -> House {
        House::in_dir(tempfile::tempdir().unwrap(), flavour, brief)
    }

    pub fn in_dir(home: tempfile::TempDir, flavour: &str, brief: bool) -> House {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let idle = if brief { 1_000 } else { 300_000 };
        let config = json!({
            "gateway": {"port": port, "auth": {"token": TOKEN}, "limits": {"maxConnections": 512}},
            "agent": {"piCliPath": stand_in(home.path(), flavour), "pool": {"min": 0, "max": 2, "idleTimeoutMs": idle}},
            "security": {"exec": {"allowedExecutables": [format!("pi-{flavour}")]}},
            "queue": {"collectDebounceMs": 0},
            "session": {"dataDir": home.path().join("data/sessions")},
            "agents": {"list": [{"id": "main", "workspace": home.path().join("work")}]},
        });
        fs::create_dir_all(home.path().join("work")).unwrap();
        fs::write(home.path().join("pi-gateway.jsonc"), config.to_string()).unwrap();
        House { home, addr: SocketAddr::from(([127, 0, 0, 1], port)), child: None }
    }

    pub fn running(flavour: &str, brief: bool) -> House {
        let mut house = House::new(flavour, brief);
        house.start();
        house
    }

    /// From exec to the first 200 on `/health`.
    pub fn start(&mut self) -> Duration {
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        let mut command = Command::new(binary());
        command
            .args(["gateway", "--config"])
            .arg(self.home.path().join("pi-gateway.jsonc"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let begun = Instant::now();
        self.child = Some(command.spawn().unwrap());
        let end = begun + Duration::from_secs(20);
        while TcpStream::connect(self.addr).map_err(|_| std::thread::sleep(Duration::from_micros(50))).is_err() {
            assert!(Instant::now() < end, "it does not listen: {}", self.log());
        }
        let status = ask(self.addr, "GET", "/health", "", "").status;
        let took = begun.elapsed();
        assert_eq!(status, 200, "{}", self.log());
        took
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub fn proc(&self) -> Proc {
        Proc(self.child.as_ref().unwrap().id())
    }

    /// A WebSocket that follows these sessions.
    pub fn socket(&self, sessions: &[&str]) -> Ws {
        let auth = format!("Authorization: Bearer {TOKEN}\r\n");
        let mut ws = Ws::open(self.addr, "/ws", &auth).unwrap_or_else(|r| panic!("{}", r.text()));
        let res = ws.call("connect", json!({"subscribe": sessions, "client": {"name": "bench", "version": "1"}}));
        assert_eq!(res["ok"], true, "{res}");
        ws
    }

    /// A counter or gauge of `/metrics`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let r = ask(self.addr, "GET", "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"), "");
        let text = r.text();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    pub fn wal(&self) -> u64 {
        let dir = self.home.path().join("data");
        let names = fs::read_dir(dir).unwrap().map_while(Result::ok);
        names.filter(|e| e.file_name().to_string_lossy().ends_with("-wal")).map(|e| e.metadata().unwrap().len()).sum()
    }

    /// Waits until no pi is left.
    pub fn wait_no_pi(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.proc().children() > 0 {
            assert!(Instant::now() < end, "pi does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if std::thread::panicking() {
                eprintln!("{}", self.log());
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One message over a socket, and when its answer and its reply came.
pub fn chat(ws: &mut Ws, session: &str, text: &str, key: u64) -> (Duration, Duration) {
    let begun = Instant::now();
    let id = ws.ask("chat.send", json!({"sessionKey": session, "text": text, "idempotencyKey": format!("k{key}")}));
    let res = ws.res(id);
    let accepted = begun.elapsed();
    assert_eq!(res["ok"], true, "{res}");
    let run = res["payload"]["runId"].clone();
    loop {
        let reply = ws.event("chat.reply");
        if reply["payload"]["runId"] == run {
            ws.passed.clear();
            return (accepted, begun.elapsed());
        }
    }
}

/// A running process as the kernel sees it.
#[derive(Clone, Copy)]
pub struct Proc(pub u32);

impl Proc {
    fn field(self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {file}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
    /// Resident, kB.
    pub fn rss(self) -> u64 {
        self.field("status", "VmRSS:")
    }
    /// Resident and anonymous, kB.
    pub fn anon(self) -> u64 {
        self.field("status", "RssAnon:")
    }
    /// Its share of resident memory, kB.
    pub fn pss(self) -> u64 {
        self.field("smaps_rollup", "Pss:")
    }
    pub fn peak(self) -> u64 {
        self.field("status", "VmHWM:")
    }
    /// The peak starts afresh from here.
    pub fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").unwrap();
    }
    pub fn threads(self) -> u64 {
        self.field("status", "Threads:")
    }
    pub fn written(self) -> u64 {
        self.field("io", "write_bytes:")
    }
    fn tasks(self) -> Vec<PathBuf> {
        fs::read_dir(format!("/proc/{}/task", self.0)).unwrap().map_while(Result::ok).map(|e| e.path()).collect()
    }
    /// Voluntary context switches of all threads: each is a wake-up. With the threads' names.
    pub fn wakes(self) -> Vec<(String, u64)> {
        let one = |task: PathBuf| {
            let name = fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
            let status = fs::read_to_string(task.join("status")).ok()?;
            let n = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()?;
            Some((format!("{name}/{}", task.file_name()?.to_string_lossy()), n))
        };
        self.tasks().into_iter().filter_map(one).collect()
    }
    /// Processor time of its threads so far, ms: says more than the clock on a busy machine.
    pub fn cpu(self) -> f64 {
        let of = |task: PathBuf| fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let ns = |text: String| text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        self.tasks().into_iter().map(|t| ns(of(t))).sum::<f64>() / 1e6
    }
    pub fn children(self) -> usize {
        let of = |task: PathBuf| fs::read_to_string(task.join("children")).unwrap_or_default();
        self.tasks().into_iter().map(|t| of(t).split_whitespace().count()).sum()
    }
}

/// The stand-in spoken to directly over its pipes, with the lines the gateway writes.
pub struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Direct {
    pub fn new(flavour: &str) -> Direct {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(stand_in(dir.path(), flavour))
            .args(["--mode", "rpc", "--session"])
            .arg(dir.path().join("session.jsonl"))
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Direct { child, stdin, stdout: BufReader::with_capacity(64 << 10, stdout), line: Vec::new(), _dir: dir }
    }

    /// Time until the turn is over, and the bytes it took.
    pub fn turn(&mut self, text: &str, end: &[u8]) -> (Duration, u64) {
        let command: Value = json!({"id": "1", "type": "prompt", "message": text});
        let begun = Instant::now();
        self.stdin.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut bytes = 0;
        loop {
            self.line.clear();
            let n = self.stdout.read_until(b'\n', &mut self.line).unwrap();
            assert!(n > 0, "the stand-in ended");
            bytes += n as u64;
            if self.line.starts_with(end) {
                return (begun.elapsed(), bytes);
            }
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
