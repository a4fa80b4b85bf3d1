//! One real pi, asked for its state, then stopped. No gateway runs in this process, so it spawns and reaps by
//! itself.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use serde_json::Value;

use crate::store::random_id;

/// The end of stderr that is kept, and the lines of it that are shown.
const KEPT: usize = 8 << 10;
const LINES: usize = 12;
/// The answer is a few kilobytes.
const LONGEST: usize = 4 << 20;
/// How long pi may take to end when asked to.
const END: Duration = Duration::from_secs(3);

pub struct Answer {
    /// `get_state`'s data.
    pub data: Value,
    /// From the start to the answer.
    pub took: Duration,
}

#[derive(Debug)]
pub struct Failure {
    pub text: String,
    /// Its last lines.
    pub stderr: Vec<String>,
}

/// Starts pi without a session in a directory of its own and waits for its state.
pub fn get_state(command: &[OsString], env: Vec<(OsString, OsString)>, limit: Duration) -> Result<Answer, Failure> {
    let mut data = Value::Null;
    let took = talk(command, &[], env, limit, "{\"id\":\"doctor\",\"type\":\"get_state\"}", &mut |mut line| {
        let answer = answer_of(&line)?;
        data = line["data"].take();
        Some(answer.map_err(|why| format!("get_state failed: {why}")))
    })?;
    Ok(Answer { data, took })
}

/// Starts it likewise with more arguments, asks its model something short and waits for the end of the answer.
pub fn question(
    command: &[OsString],
    more: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
) -> Result<Duration, Failure> {
    const QUESTION: &str = r#"{"id":"doctor","type":"prompt","message":"Say ready. Use no tools."}"#;
    let mut last = Err("pi said nothing".to_owned());
    talk(command, &more, env, limit, QUESTION, &mut |line| {
        if let Some(Err(why)) = answer_of(&line) {
            return Some(Err(why));
        }
        let message = &line["message"];
        match line["type"].as_str() {
            Some("message_end") if message["role"] == "assistant" => {
                last = match message["stopReason"].as_str() {
                    Some("error" | "aborted") => {
                        let why = message["errorMessage"].as_str().unwrap_or("pi gives no reason");
                        Err(why.chars().filter(|c| !c.is_control()).take(500).collect())
                    }
                    _ => Ok(()),
                };
                None
            }
            Some("agent_end") if line["willRetry"] != true => Some(last.clone()),
            _ => None,
        }
    })
}

/// What a line says about our command, if it answers that.
fn answer_of(line: &Value) -> Option<Result<(), String>> {
    let ours = line["type"] == "response" && line["id"] == "doctor";
    ours.then(|| match line["success"] == true {
        true => Ok(()),
        false => Err(line["error"].as_str().unwrap_or("it gives no reason").to_owned()),
    })
}

/// Starts pi, says one thing to it and reads until `heard` has heard enough; how long that took.
fn talk(
    command: &[OsString],
    more: &[OsString],
    env: Vec<(OsString, OsString)>,
    limit: Duration,
    say: &str,
    heard: &mut dyn FnMut(Value) -> Option<Result<(), String>>,
) -> Result<Duration, Failure> {
    let failed = |text: String| Failure { text, stderr: Vec::new() };
    let dir = Scratch::new().map_err(|error| failed(format!("cannot make a temporary directory: {error}")))?;
    let (program, args) = command.split_first().ok_or_else(|| failed("there is no command".into()))?;
    let start = Instant::now();
    let spawned = Command::new(program)
        .args(args)
        .args(["--mode", "rpc", "--no-session"])
        .args(more)
        .env_clear()
        .envs(env)
        .current_dir(&dir.0)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = spawned.map_err(|error| failed(format!("cannot be started: {error}")))?;
    let mut pi = Pi::new(child).ok_or_else(|| failed("its pipes are missing".into()))?;
    // It may have ended by now: what it wrote before says why.
    let _ = pi.child.stdin.as_mut().map(|stdin| writeln!(stdin, "{say}"));
    let outcome = pi.answer(start + limit, heard);
    let took = start.elapsed();
    let status = pi.end(matches!(outcome, Outcome::Ended));
    let text = match outcome {
        Outcome::Heard(Ok(())) => return Ok(took),
        Outcome::Heard(Err(why)) => why,
        Outcome::Ended => match status {
            Some(status) => format!("it ended instead of answering ({status})"),
            None => "it closed its output instead of answering".into(),
        },
        Outcome::Late => format!("no answer within {} s", limit.as_secs()),
        Outcome::TooLong => "its output is not pi's protocol".into(),
    };
    Err(Failure { text, stderr: pi.last_lines() })
}

enum Outcome {
    Heard(Result<(), String>),
    Ended,
    Late,
    TooLong,
}

struct Pi {
    child: Child,
    out: ChildStdout,
    err: Option<ChildStderr>,
    stderr: VecDeque<u8>,
}

impl Pi {
    fn new(mut child: Child) -> Option<Pi> {
        let (out, err) = (child.stdout.take()?, child.stderr.take());
        Some(Pi { child, out, err, stderr: VecDeque::new() })
    }

    /// Reads both pipes until the answer, the end of the output or the deadline.
    fn answer(&mut self, deadline: Instant, heard: &mut dyn FnMut(Value) -> Option<Result<(), String>>) -> Outcome {
        let (mut line, mut block) = (Vec::new(), [0; 16 << 10]);
        loop {
            let (out, err) = match self.ready(deadline) {
                Some(ready) => ready,
                None => return Outcome::Late,
            };
            if err {
                self.read_stderr();
            }
            if !out {
                continue;
            }
            match rustix::io::read(&self.out, &mut block) {
                Ok(n) if n > 0 => line.extend_from_slice(&block[..n]),
                Err(rustix::io::Errno::INTR) => continue,
                _ => return Outcome::Ended,
            }
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let whole: Vec<u8> = line.drain(..=end).collect();
                // What is no JSON is an extension that prints.
                let line = serde_json::from_slice::<Value>(&whole).ok();
                if let Some(end) = line.and_then(&mut *heard) {
                    return Outcome::Heard(end);
                }
            }
            if line.len() > LONGEST {
                return Outcome::TooLong;
            }
        }
    }

    /// Waits until stdout or stderr has something; which ones. Nothing: the time is up.
    fn ready(&self, deadline: Instant) -> Option<(bool, bool)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::new(&self.out, PollFlags::IN)];
            fds.extend(self.err.as_ref().map(|err| PollFd::new(err, PollFlags::IN)));
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) => return None,
                Ok(_) => {
                    let is = |i: usize| fds.get(i).is_some_and(|fd| !fd.revents().is_empty());
                    return Some((is(0), is(1)));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Takes what stderr has; it is ready.
    fn read_stderr(&mut self) {
        let mut block = [0; 4 << 10];
        let Some(err) = &self.err else { return };
        match rustix::io::read(err, &mut block) {
            Ok(n) if n > 0 => {
                self.stderr.extend(&block[..n]);
                let extra = self.stderr.len().saturating_sub(KEPT);
                self.stderr.drain(..extra);
            }
            Err(rustix::io::Errno::INTR) => {}
            _ => self.err = None,
        }
    }

    /// Stops it and what it started: asked first, then killed. Its status, if it had ended by itself; `closed`: it
    /// has closed its output.
    fn end(&mut self, closed: bool) -> Option<ExitStatus> {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let gone = group.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let ended = |limit: Duration| {
            let Some(fd) = &gone else { return false };
            poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(limit))).is_ok_and(|n| n > 0)
        };
        // Its output may close a moment before it ends.
        let by_itself = closed && ended(Duration::from_secs(1));
        if !by_itself {
            let _ = group.map(|group| kill_process_group(group, Signal::TERM)); // it may be gone
            ended(END);
        }
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let status = self.child.wait().ok();
        let rest = Instant::now() + Duration::from_millis(500);
        while self.err.is_some() && Instant::now() < rest && self.err_ready(rest) {
            self.read_stderr();
        }
        status.filter(|_| by_itself)
    }

    fn err_ready(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        self.err.as_ref().is_some_and(|err| {
            poll(&mut [PollFd::from_borrowed_fd(err.as_fd(), PollFlags::IN)], Some(&timespec(left)))
                .is_ok_and(|n| n > 0)
        })
    }

    fn last_lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.stderr.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // No control characters: this goes to a terminal.
        let plain = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>();
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].to_vec()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("pi-gw-doctor-{}", random_id(10)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a few bytes in a directory for such
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, limit: Duration) -> Result<Answer, Failure> {
        let command = ["/bin/sh", "-c", script, "pi"].map(OsString::from);
        get_state(&command, vec![("PATH".into(), "/usr/bin:/bin".into())], limit)
    }

    #[test]
    fn an_answer_is_found_among_events() {
        let script = r#"read -r line; echo 'noise'; echo '{"type":"event"}';
            echo '{"type":"response","id":"doctor","success":true,"data":{"x":1}}'; read -r line"#;
        assert_eq!(ask(script, END).ok().map(|answer| answer.data["x"].clone()), Some(1.into()));
    }

    #[test]
    fn an_early_end_shows_the_last_words() {
        let failure = ask("printf 'Error: \\033[31mno key\\n' >&2; exit 3", END).err().unwrap();
        assert_eq!(failure.text, "it ended instead of answering (exit status: 3)");
        assert_eq!(failure.stderr, ["Error: [31mno key"]);
    }

    #[test]
    fn silence_has_an_end_and_leaves_nothing_behind() {
        let start = Instant::now();
        let failure = ask("trap '' TERM; echo waiting >&2; exec cat", Duration::from_millis(300)).err().unwrap();
        assert!(failure.text.contains("no answer within"), "{}", failure.text);
        assert_eq!(failure.stderr, ["waiting"]);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
