//! The gateway that runs on a data directory, seen from outside: its pid file, its lock, its address.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use rustix::process::{kill_process, Pid, Signal};

use super::exit;
use crate::config::types::AuthMode;
use crate::config::{token, Config, Paths, Secret};

/// More of an answer than this is not read.
const ANSWER: u64 = 1 << 20;

/// Whether a gateway runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Instance {
    None,
    /// It holds the lock but has not said where it listens.
    Starting {
        pid: Option<i32>,
    },
    Running {
        pid: i32,
        /// Such as `http://127.0.0.1:52134`.
        url: String,
    },
}

/// The gateway that holds the lock of this pid file.
pub fn find(pid_file: &Path) -> io::Result<Instance> {
    let file = match File::open(pid_file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Instance::None),
        Err(error) => return Err(error),
    };
    // Shared and at once given back: only a gateway takes it for itself.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => return Ok(Instance::None),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = String::new();
    (&file).take(4096).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.trim().parse().ok()).filter(|pid| *pid > 0);
    let url = lines.next().map(str::trim).filter(|url| !url.is_empty());
    Ok(match (pid, url) {
        (Some(pid), Some(url)) => Instance::Running { pid, url: url.to_owned() },
        (pid, _) => Instance::Starting { pid },
    })
}

/// Makes the running gateway read its configuration again. Gives what to tell, or an exit code and why not.
pub fn reload(pid_file: &Path) -> Result<String, (u8, String)> {
    let failed = |error: io::Error| (exit::UNAVAILABLE, format!("cannot read {}: {error}", pid_file.display()));
    let pid = match find(pid_file).map_err(failed)? {
        Instance::Running { pid, .. } => pid,
        Instance::None => {
            let text = "no gateway is running on this data directory; start one with: pi-gw gateway";
            return Err((exit::UNAVAILABLE, text.into()));
        }
        Instance::Starting { .. } => {
            return Err((exit::UNAVAILABLE, "the gateway is just starting; it reads the file anyway".into()));
        }
    };
    signal(pid, pid_file, Signal::HUP)?;
    Ok(format!("the gateway (pid {pid}) reads its configuration again; what it finds is in its log"))
}

/// Tells a gateway that the store was changed beside it. `Ok(false)`: none runs, or it is starting; it looks then.
pub fn poke(pid_file: &Path) -> Result<bool, (u8, String)> {
    let failed = |error: io::Error| (exit::UNAVAILABLE, format!("cannot read {}: {error}", pid_file.display()));
    match find(pid_file).map_err(failed)? {
        Instance::Running { pid, .. } => signal(pid, pid_file, Signal::USR1).map(|()| true),
        Instance::None | Instance::Starting { .. } => Ok(false),
    }
}

/// These signals end a program that does not expect them: it is made sure whom one goes to.
fn signal(pid: i32, pid_file: &Path, signal: Signal) -> Result<(), (u8, String)> {
    match (holds(pid, pid_file), Pid::from_raw(pid)) {
        (true, Some(id)) => match kill_process(id, signal) {
            Ok(()) => Ok(()),
            Err(Errno::PERM) => Err((
                exit::PERMISSION,
                format!("the gateway (pid {pid}) belongs to another user; run this as that user"),
            )),
            Err(error) => Err((exit::UNAVAILABLE, format!("cannot signal the gateway (pid {pid}): {error}"))),
        },
        _ => {
            let text = format!(
                "{} names process {pid}, which this user cannot see holding the file; run this as the gateway's user",
                pid_file.display()
            );
            Err((exit::PERMISSION, text))
        }
    }
}

/// Where the gateway of that address is reached from this machine.
pub fn reachable(url: &str) -> Option<SocketAddr> {
    let mut at: SocketAddr = url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()?;
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Some(at)
}

/// What lets us in: never sent to another machine.
pub fn secret(config: &Config, paths: &Paths, at: SocketAddr) -> Option<Secret> {
    let auth = &config.gateway.auth;
    match auth.mode {
        _ if !at.ip().is_loopback() => None,
        AuthMode::Off => None,
        AuthMode::Token => auth.token.clone().or_else(|| token::stored(&paths.gateway_token()).ok().flatten()),
        AuthMode::Password => auth.password.clone(),
    }
}

/// What a 401 means for the person who has to act.
pub const REFUSED: &str = "it does not accept this secret; look at gateway.auth and PI_GATEWAY_AUTH_TOKEN";

/// Whether a process has the file open.
fn holds(pid: i32, file: &Path) -> bool {
    let Ok(wanted) = file.metadata() else { return false };
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| {
        std::fs::metadata(entry.path()).is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })
}

/// `GET` of a path at a gateway, in `limit`, all told. Gives status and body.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>, limit: Duration) -> io::Result<(u16, String)> {
    ask(address, "GET", path, token, limit)
}

/// `POST` of JSON.
pub fn post(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    json: &str,
    limit: Duration,
) -> io::Result<(u16, String)> {
    exchange(address, "POST", path, token, Some(json), limit)
}

/// The same with another method; nothing is sent along.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    limit: Duration,
) -> io::Result<(u16, String)> {
    exchange(address, method, path, token, None, limit)
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    json: Option<&str>,
    limit: Duration,
) -> io::Result<(u16, String)> {
    let end = Instant::now() + limit;
    let left = || match end.saturating_duration_since(Instant::now()) {
        left if left.is_zero() => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"))),
        left => Ok(left),
    };
    let slow = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")),
        _ => error,
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    let auth = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    stream.set_write_timeout(Some(left()?))?;
    let length = match (method, json) {
        (_, Some(json)) => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len()),
        ("GET", None) => String::new(),
        (_, None) => "Content-Length: 0\r\n".to_owned(),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{auth}{length}Connection: close\r\n\r\n");
    stream.write_all((head + json.unwrap_or_default()).as_bytes()).map_err(slow)?;
    let (mut answer, mut block) = (Vec::new(), [0; 4096]);
    while (answer.len() as u64) < ANSWER {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut block).map_err(slow)? {
            0 => break,
            n => answer.extend_from_slice(&block[..n]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    match (status, text.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    #[test]
    fn a_gateway_is_known_by_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pid");
        assert_eq!(find(&path).unwrap(), Instance::None);
        std::fs::write(&path, "17\nhttp://127.0.0.1:1\n").unwrap();
        assert_eq!(find(&path).unwrap(), Instance::None, "left over");
        assert_eq!(reload(&path).unwrap_err().0, exit::UNAVAILABLE);
        let held = File::open(&path).unwrap();
        flock(held.as_fd(), FlockOperation::LockExclusive).unwrap();
        assert_eq!(find(&path).unwrap(), Instance::Running { pid: 17, url: "http://127.0.0.1:1".into() });
        std::fs::write(&path, "17\n\n").unwrap();
        assert_eq!(find(&path).unwrap(), Instance::Starting { pid: Some(17) });
    }

    #[test]
    fn reload_signals_the_holder_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.pid");
        std::fs::write(&path, "").unwrap();
        let held = File::open(&path).unwrap();
        flock(held.as_fd(), FlockOperation::LockExclusive).unwrap();
        let script = r#"trap 'echo reloaded; exit' HUP; exec 3<"$0"; echo ready; read -r x"#;
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let other = std::process::id();
        std::fs::write(&path, "1\nhttp://127.0.0.1:1\n").unwrap();
        assert_eq!(reload(&path).unwrap_err().0, exit::PERMISSION, "init holds no file of ours, {other} is alive");
        std::fs::write(&path, format!("{}\nhttp://127.0.0.1:1\n", child.id())).unwrap();
        assert!(reload(&path).unwrap().contains("reads its configuration again"));
        assert_eq!(lines.next().unwrap().unwrap(), "reloaded");
        child.wait().unwrap();
    }

    #[test]
    fn an_answer_has_a_limit() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let limit = Duration::from_millis(50);
        let error = get(silent.local_addr().unwrap(), "/health", None, limit).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
