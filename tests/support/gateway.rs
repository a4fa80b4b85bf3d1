//! The real gateway as a process: temp home, free port, killed when dropped.
//!
//! Stop and start it as often as a test likes: the data stays until the runner is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::port::free_port;
use super::raw_http::{ask, Response, Ws};
use super::DEADLINE;

pub struct Gateway {
    pub home: tempfile::TempDir,
    pub addr: SocketAddr,
    pub token: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    child: Option<Child>,
    starts: u32,
}

/// Does somebody answer there? A child of a killed gateway that is just being made holds its socket for a moment:
/// what connects to that hears nothing.
fn healthy(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut sock = TcpStream::connect(addr)?;
        sock.set_read_timeout(Some(DEADLINE))?;
        sock.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        sock.read_to_string(&mut said)?;
        Ok(said)
    };
    ask().is_ok_and(|said| said.starts_with("HTTP/1.1 200"))
}

impl Gateway {
    /// A gateway with this configuration (merged over quick test defaults); not started yet.
    pub fn new(config: Value) -> Gateway {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut all = json!({
            "gateway": {"port": port, "auth": {"token": "test-token-0123456789"}, "drainMs": 2000},
            "agent": {"pool": {"min": 0, "max": 2}},
            "queue": {"collectDebounceMs": 0},
            "session": {"dataDir": home.path().join("data/sessions")},
            "agents": {"list": [{"id": "main", "workspace": home.path().join("work")}]},
        });
        merge(&mut all, config);
        std::fs::create_dir_all(home.path().join("work")).unwrap();
        std::fs::write(home.path().join("pi-gateway.jsonc"), serde_json::to_string_pretty(&all).unwrap()).unwrap();
        Gateway {
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            token: "test-token-0123456789".into(),
            env: Vec::new(),
            args: Vec::new(),
            child: None,
            starts: 0,
            home,
        }
    }

    /// With the built-in demo agent at full speed.
    pub fn demo(config: Value) -> Gateway {
        Gateway::new(config).arg("--demo").env("PI_GW_DEMO_DELAY_MS", "0")
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Gateway {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// From now on (the next start).
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(n, _)| n != name);
        self.env.extend(value.map(|v| (name.to_owned(), v.to_owned())));
    }

    pub fn arg(mut self, arg: &str) -> Gateway {
        self.args.push(arg.into());
        self
    }

    pub fn config_file(&self) -> PathBuf {
        self.home.path().join("pi-gateway.jsonc")
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Starts it and waits until `/health` answers.
    pub fn start(mut self) -> Gateway {
        self.restart();
        self
    }

    pub fn restart(&mut self) {
        self.launch();
        let end = Instant::now() + DEADLINE;
        while !healthy(self.addr) {
            assert!(Instant::now() < end, "the gateway does not listen:\n{}", self.log());
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2)); // the port is the only sign there is
        }
    }

    /// Starts it without waiting for anything.
    pub fn launch(&mut self) {
        self.launch_with(|_| {});
    }

    /// The same with another stdout or stderr, say.
    pub fn launch_with(&mut self, change: impl FnOnce(&mut Command)) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.log_path()).unwrap();
        // Another build, such as one for ARM behind a script with its emulator (CONTRIBUTING.md).
        let other = std::env::var_os("PI_GW_TEST_BINARY");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_pi-gw").into()));
        command
            .arg("gateway")
            .arg("--config")
            .arg(self.config_file())
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", self.home.path())
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        change(&mut command);
        self.child = Some(command.spawn().unwrap());
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join(format!("log.{}", self.starts))
    }

    /// What the current (or last) life has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait_exit()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.as_mut().expect("it runs").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < end, "the gateway does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5)); // std has no wait with a deadline
        }
    }

    /// For a gateway that is expected to refuse its start: exit code and what it said.
    pub fn refused(&mut self) -> (i32, String) {
        self.launch();
        let status = self.wait_exit();
        (status.code().unwrap_or(-1), self.log())
    }

    /// Waits until the port is open.
    pub fn wait_port(&mut self) {
        let end = Instant::now() + DEADLINE;
        while !healthy(self.addr) {
            assert!(Instant::now() < end && self.ended().is_none(), "it does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2)); // the port is the only sign there is
        }
    }

    /// Writes the configuration anew, as editors do it: a new file takes the old one's place.
    pub fn reconfigure(&self, change: Value) {
        let mut all: Value = serde_json::from_str(&read(&self.config_file())).unwrap();
        merge(&mut all, change);
        self.replace_config(&serde_json::to_string_pretty(&all).unwrap());
    }

    pub fn replace_config(&self, text: &str) {
        let part = self.config_file().with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, self.config_file()).unwrap();
    }

    /// A field of `/proc/<pid>/status` in kB.
    pub fn status_kb(&self, field: &str) -> u64 {
        let text = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = text.lines().find(|l| l.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{field}: {text}"))
    }

    /// Waits for a word in the log; works also while the port is closed.
    pub fn wait_log(&self, word: &str) {
        self.wait_until(word, |g| g.log().contains(word));
    }

    /// Did it end by itself?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap();
        if status.is_some() {
            self.child = None;
        }
        status
    }

    fn auth(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    pub fn get(&self, path: &str) -> Response {
        ask(self.addr, "GET", path, &self.auth(), "")
    }

    pub fn post(&self, path: &str, body: Value) -> Response {
        ask(self.addr, "POST", path, &self.auth(), &body.to_string())
    }

    /// `/api/chat` on a session: the reply's text.
    pub fn chat(&self, session: &str, message: &str) -> String {
        let r = self.post("/api/chat", json!({"message": message, "sessionKey": session}));
        assert_eq!(r.status, 200, "{}\n{}", r.text(), self.log());
        r.json()["reply"].as_str().unwrap_or_default().to_owned()
    }

    /// An authenticated WebSocket after `connect`, subscribed to a session.
    pub fn page(&self, session: &str) -> Ws {
        let mut ws = Ws::open(self.addr, "/ws", &self.auth()).unwrap_or_else(|r| panic!("{}", r.text()));
        let res = ws.call("connect", json!({"subscribe": [session], "client": {"name": "test", "version": "1"}}));
        assert_eq!(res["ok"], true, "{res}");
        ws
    }

    /// The session's history: `(role, content)`.
    pub fn history(&self, session: &str) -> Vec<(String, String)> {
        let res = self.page(session).call("chat.history", json!({"sessionKey": session}));
        let list = res["payload"]["messages"].as_array().cloned().unwrap_or_default();
        let text = |m: &Value, k: &str| m[k].as_str().unwrap_or_default().to_owned();
        list.iter().map(|m| (text(m, "role"), text(m, "content"))).collect()
    }

    /// Asks until it is true.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Gateway) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < end, "{what} did not happen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10)); // asks over HTTP: there is no event for everything
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
    }
}

/// Objects are merged, everything else replaces.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(a), Value::Object(b)) => {
            for (k, v) in b {
                merge(a.entry(k).or_insert(Value::Null), v);
            }
        }
        (a, b) => *a = b,
    }
}

/// A file that exists, with its text.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
