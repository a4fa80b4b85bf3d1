//! A client for one `pi --mode rpc` process, real or stand-in: writes commands, keeps every line that came
//! back, waits for the one a test is after.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::{json, Value};

use super::DEADLINE;

pub struct Rpc {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    /// Lines before this one were already waited for.
    cursor: usize,
    next_id: usize,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    values: Vec<Value>,
    stderr: String,
    ended: bool,
}

impl Rpc {
    pub fn spawn(mut command: Command) -> Rpc {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let for_out = Arc::clone(&seen);
        thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut seen = for_out.0.lock().expect("no panic under the lock");
                seen.values.push(serde_json::from_str(&line).unwrap_or(Value::Null));
                seen.lines.push(line);
                for_out.1.notify_all();
            }
            for_out.0.lock().expect("no panic under the lock").ended = true;
            for_out.1.notify_all();
        });
        let for_err = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                for_err.0.lock().expect("no panic under the lock").stderr += &text;
                for_err.1.notify_all();
            }
        });
        let stdin = child.stdin.take();
        Rpc { child, stdin, seen, cursor: 0, next_id: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one command, as it is.
    pub fn send(&mut self, command: &Value) {
        self.send_raw(&format!("{command}\n"));
    }

    pub fn send_raw(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin was closed by the test");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("pi reads its stdin");
    }

    /// Writes a command under a fresh id, which is given back.
    pub fn post(&mut self, mut command: Value) -> String {
        self.next_id += 1;
        let id = format!("t{}", self.next_id);
        command["id"] = json!(id);
        self.send(&command);
        id
    }

    /// Writes a command and waits for its response, wherever among the events that comes.
    pub fn call(&mut self, command: Value) -> Value {
        let id = self.post(command);
        self.response(&id)
    }

    pub fn response(&mut self, id: &str) -> Value {
        self.find(0, &format!("the response to {id}"), |v| v["type"] == "response" && v["id"] == id).1
    }

    pub fn prompt(&mut self, message: &str) -> Value {
        self.call(json!({"type": "prompt", "message": message}))
    }

    pub fn state(&mut self) -> Value {
        self.call(json!({"type": "get_state"}))["data"].clone()
    }

    /// The next line for which `want` holds, after the last one waited for this way.
    pub fn wait_for(&mut self, what: &str, want: impl Fn(&Value) -> bool) -> Value {
        let (at, value) = self.find(self.cursor, what, want);
        self.cursor = at + 1;
        value
    }

    /// The next event of this type.
    pub fn event(&mut self, kind: &str) -> Value {
        self.wait_for(&format!("the event {kind}"), |v| v["type"] == kind)
    }

    /// The last event of this type so far.
    pub fn last(&self, kind: &str) -> Value {
        self.values().into_iter().rev().find(|v| v["type"] == kind).unwrap_or_else(|| panic!("no {kind} so far"))
    }

    fn find(&self, from: usize, what: &str, want: impl Fn(&Value) -> bool) -> (usize, Value) {
        let end = Instant::now() + DEADLINE;
        let (lock, changed) = &*self.seen;
        let mut seen = lock.lock().expect("no panic under the lock");
        let mut looked = from;
        loop {
            while looked < seen.values.len() {
                if want(&seen.values[looked]) {
                    return (looked, seen.values[looked].clone());
                }
                looked += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let lines: Vec<String> =
                    seen.lines[from.min(seen.lines.len())..].iter().map(|l| l.chars().take(200).collect()).collect();
                let (ended, stderr) = (seen.ended, seen.stderr.clone());
                drop(seen);
                panic!("pi never gave {what} (ended: {ended}); since then: {lines:#?}\nstderr: {stderr}");
            }
            seen = changed.wait_timeout(seen, left).expect("no panic under the lock").0;
        }
    }

    /// Everything printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen.0.lock().expect("no panic under the lock").lines.clone()
    }

    pub fn values(&self) -> Vec<Value> {
        self.seen.0.lock().expect("no panic under the lock").values.clone()
    }

    pub fn stderr(&self) -> String {
        self.seen.0.lock().expect("no panic under the lock").stderr.clone()
    }

    /// Waits until stderr holds this: the process may end before its last words are read.
    pub fn wait_stderr(&self, words: &str) {
        let end = Instant::now() + DEADLINE;
        let (lock, changed) = &*self.seen;
        let mut seen = lock.lock().expect("no panic under the lock");
        while !seen.stderr.contains(words) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "stderr never said {words:?}: {}", seen.stderr);
            seen = changed.wait_timeout(seen, left).expect("no panic under the lock").0;
        }
    }

    /// The events so far in short: their type, with the role and stop reason of a message, `update` for any
    /// number of message updates, `response NAME` for responses; without the system message of a new pi,
    /// `entry_appended` and tool updates, which say nothing to a gateway.
    pub fn outline(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for v in self.values() {
            let text = |key: &str| v[key].as_str().unwrap_or("").to_owned();
            let item = match v["type"].as_str().unwrap_or("not json") {
                "message_update" => "update".to_owned(),
                "entry_appended" | "tool_execution_update" => continue,
                _ if v["message"]["role"] == "system" => continue,
                "response" => format!("response {}", text("command")),
                kind @ "message_start" => {
                    format!("{kind} {}", v["message"]["role"].as_str().unwrap_or(""))
                }
                kind @ "message_end" => {
                    let (role, stop) = (&v["message"]["role"], &v["message"]["stopReason"]);
                    format!("{kind} {} {}", role.as_str().unwrap_or(""), stop.as_str().unwrap_or(""))
                        .trim_end()
                        .to_owned()
                }
                kind => kind.to_owned(),
            };
            if item != "update" || out.last() != Some(&item) {
                out.push(item);
            }
        }
        out
    }

    /// The text deltas so far, joined.
    pub fn streamed_text(&self) -> String {
        let values = self.values();
        let deltas = values.iter().map(|v| &v["assistantMessageEvent"]).filter(|e| e["type"] == "text_delta");
        deltas.filter_map(|e| e["delta"].as_str()).collect()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// kill -9, and gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end of stdout, then for the exit.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        let (lock, changed) = &*self.seen;
        let mut seen = lock.lock().expect("no panic under the lock");
        while !seen.ended {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "pi did not exit within {DEADLINE:?}");
            seen = changed.wait_timeout(seen, left).expect("no panic under the lock").0;
        }
        drop(seen);
        self.child.wait().expect("a child to wait for")
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.kill();
    }
}
