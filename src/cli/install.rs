//! `pi-gw install-daemon`, `uninstall-daemon`: a systemd unit, of the user or of the machine (config.md 10.3).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod unit;

use unit::Unit;

use super::pairing::Failed;
use super::{exit, written, Call, Io};
use crate::config::{self, Env, Loaded, Options, Severity};

const UNIT: &str = "pi-gateway.service";
const SYSTEM: &str = "/etc/systemd/system";
/// Beyond the drain: what is owed is sent, pi ends, the store is closed.
const FAREWELL: u64 = 60;

/// Where the unit lies.
fn file(system: bool, home: &Path) -> PathBuf {
    match system {
        true => Path::new(SYSTEM).join(UNIT),
        false => home.join(".config/systemd/user").join(UNIT),
    }
}

/// `systemctl`, of the user or of the machine.
fn manager(system: bool, words: &[&str]) -> Vec<String> {
    let own = ["systemctl", "--user"].into_iter().take(if system { 1 } else { 2 });
    own.chain(words.iter().copied()).map(str::to_owned).collect()
}

/// Runs it; `Err`: what it said.
fn carry_out(line: &[String]) -> Result<(), String> {
    let [program, args @ ..] = line else { return Ok(()) };
    let mut command = Command::new(program);
    // su and cron do not tell where the user's manager listens.
    let own = format!("/run/user/{}", rustix::process::getuid().as_raw());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && Path::new(&own).is_dir() {
        command.env("XDG_RUNTIME_DIR", own);
    }
    let ran = command.args(args).stdin(Stdio::null()).output();
    let ran = ran.map_err(|e| format!("{program}: {e}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", line.join(" "), String::from_utf8_lossy(&ran.stderr).trim())),
    }
}

/// Whether systemd may look after this machine.
pub fn has_systemd(env: &Env) -> bool {
    let mut dirs = env.var("PATH").into_iter().flat_map(std::env::split_paths);
    Path::new("/run/systemd/system").exists() || dirs.any(|dir| dir.join("systemctl").is_file())
}

/// The home of another user.
fn home_of(user: &str) -> Option<PathBuf> {
    let all = fs::read_to_string("/etc/passwd").ok()?;
    let line = all.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
}

/// The unit, the home it belongs to, and what has to be known about it.
struct Service {
    unit: Unit,
    home: PathBuf,
    notes: Vec<String>,
}

fn service(call: &Call, env: &Env) -> Result<Service, Failed> {
    let user = match (call.has("--system"), call.value("--user")) {
        (false, Some(_)) => return Err((exit::USAGE, "--user goes with --system".into())),
        (false, None) if env.var("SUDO_USER").is_some() => {
            let text = "pi-gw install-daemon without sudo is for you alone, with sudo and --system for the machine";
            return Err((exit::USAGE, text.into()));
        }
        (false, None) => None,
        (true, user) => {
            let user = user.or(env.var("SUDO_USER")).or(env.var("USER")).unwrap_or("root");
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if user.is_empty() || !user.bytes().all(plain) {
                return Err((exit::USAGE, format!("\"{user}\" is no name of a user")));
            }
            Some(user.to_owned())
        }
    };
    if let Some(port) = call.value("--port").filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err((exit::USAGE, format!("--port must be a whole number from 1 to 65535, found \"{port}\"")));
    }
    let home = match &user {
        None => env.home.clone(),
        Some(user) => home_of(user).ok_or_else(|| (exit::FAILED, format!("there is no user {user}")))?,
    };
    let env = &Env { home, ..env.clone() };
    let options = Options { file: call.config(), ..Options::default() };
    let loaded: Loaded = config::load(env, &options).map_err(|issues| {
        let lines: Vec<String> = issues.iter().map(ToString::to_string).collect();
        (exit::CONFIG, lines.join("\n"))
    })?;
    let broken = |what: &str, e: io::Error| (exit::FAILED, format!("{what}: {e}"));
    let binary = std::env::current_exe().map_err(|e| broken("where is this program?", e))?;
    if binary.to_string_lossy().contains(['"', '\'', '\\']) {
        let text = "systemd starts no program whose path holds quotes or backslashes: move it to /usr/local/bin";
        return Err((exit::FAILED, format!("{}: {text}", binary.display())));
    }
    let config = std::path::absolute(&loaded.path).map_err(|e| broken("the configuration", e))?;
    let paths = loaded.paths(env);
    let (path, missing) = search_path(&loaded, env);
    let unit = Unit {
        system: user,
        binary,
        config,
        port: call.value("--port").map(str::to_owned),
        env_file: paths.env_file(),
        path,
        stop_seconds: loaded.config.gateway.drain.as_secs() + FAREWELL,
        writable: writable(&loaded, env),
    };
    let mut notes = notes(&unit, env);
    notes.extend(missing.map(|name| {
        format!("{name} is not found: install it and run this again, or name its place in agent.piCliPath")
    }));
    Ok(Service { unit, home: env.home.clone(), notes })
}

/// Where the gateway and its agents write; nothing that lies in another one.
fn writable(loaded: &Loaded, env: &Env) -> Vec<PathBuf> {
    let config = &loaded.config;
    let mut dirs = vec![env.home.clone(), loaded.paths(env).data_root().to_owned()];
    dirs.extend(loaded.path.parent().map(Path::to_owned));
    dirs.extend(config.agents.list.iter().filter_map(|agent| agent.workspace.clone()));
    dirs.extend(config.roles.workspace_dirs.values().cloned());
    dirs.extend(config.agent.runtime.agent_dir.clone());
    let mut kept: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !kept.iter().any(|outer| dir.starts_with(outer)) {
            kept.push(dir);
        }
    }
    kept
}

/// What works in this shell and will not in the service.
fn notes(unit: &Unit, env: &Env) -> Vec<String> {
    let mut notes = Vec::new();
    let file = unit.env_file.display();
    let mut own = env.clone();
    own.vars.retain(|name, _| ["HOME", "PATH", "USER", "LANG", "TZ"].contains(&name.as_str()));
    if let Err(issues) = config::load(&own, &Options { file: Some(unit.config.clone()), ..Options::default() }) {
        let lines = issues.iter().filter(|issue| issue.severity == Severity::Error).map(ToString::to_string);
        notes.extend(lines);
        notes.push(format!(
            "that is set in this shell only: the service finds it if {file} has a line NAME=value for it (chmod 600)"
        ));
    }
    let has = std::fs::read_to_string(&unit.env_file).unwrap_or_default();
    for name in env.vars.keys().filter(|name| name.ends_with("_API_KEY")) {
        if !has.lines().any(|line| line.trim_start().starts_with(&format!("{name}="))) {
            notes.push(format!("if pi needs {name}, put it into {file}: the service does not have this shell's"));
        }
    }
    if let Some(user) = unit.system.as_ref() {
        notes.push(format!(
            "it runs as {user} and writes to {} and a /tmp of its own; after a change of these places run this again",
            unit.writable.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(", ")
        ));
        // Under a file system that is read-only for it, it cannot make them itself.
        for dir in unit.writable.iter().filter(|dir| !dir.exists()) {
            let dir = dir.display();
            notes.push(format!(
                "{dir} does not exist, and the service cannot make it: sudo install -d -o {user} '{dir}'"
            ));
        }
    }
    notes
}

/// What already runs the same configuration, and how to end that.
fn twin(s: &Service, env: &Env) -> Option<String> {
    let system = s.unit.system.is_some();
    let env = &Env { home: s.home.clone(), ..env.clone() };
    let others = installed(&s.unit.config, env);
    if let Some((_, other, _)) = others.iter().find(|(other, ..)| *other != system) {
        let how = if system { "" } else { "sudo " };
        let flag = if system { "" } else { " --system" };
        return Some(format!("{} runs this configuration: first {how}pi-gw uninstall-daemon{flag}", other.display()));
    }
    let user = s.unit.system.as_deref().or(env.var("USER"))?;
    let name = format!("pi-gateway@{user}.service");
    let enabled = Path::new(SYSTEM).join("multi-user.target.wants").join(&name).exists();
    enabled.then(|| format!("{name} runs a gateway of {user}: first sudo systemctl disable --now {name}"))
}

/// Where pi and its node are found now, and what is usual; and what is not found.
fn search_path(loaded: &Loaded, env: &Env) -> (String, Option<String>) {
    let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    let found = loaded.config.agent.pi_cli.first().filter(|name| !name.contains('/'));
    let mut own: Vec<PathBuf> = env.var("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    // Where npm and others put programs of one user; sudo has another PATH.
    own.extend([".local/bin", ".npm-global/bin"].map(|dir| env.home.join(dir)));
    // pi is a program of node, which need not lie beside it.
    let mut dirs: Vec<PathBuf> = Vec::new();
    let mut missing = None;
    for name in found.map(String::as_str).into_iter().chain(["node"]) {
        match own.iter().find(|dir| dir.is_absolute() && dir.join(name).is_file()) {
            Some(dir) => dirs.push(dir.clone()),
            None if missing.is_none() => missing = Some(name.to_owned()),
            None => {}
        }
    }
    dirs.extend(usual);
    let mut seen = std::collections::BTreeSet::new();
    dirs.retain(|dir| seen.insert(dir.clone()));
    let joined = std::env::join_paths(&dirs).ok();
    (joined.as_deref().and_then(OsStr::to_str).unwrap_or("/usr/local/bin:/usr/bin:/bin").to_owned(), missing)
}

/// For a machine with another manager.
fn snippet(s: &Unit) -> String {
    format!(
        "systemd does not look after this machine. For OpenRC, as /etc/init.d/pi-gateway:

#!/sbin/openrc-run
supervisor=supervise-daemon
command=\"{}\"
command_args=\"gateway --config '{}'\"
command_user=\"{}\"
export PATH=\"{}\"
depend() {{ need net; after ntpd chronyd; }}
",
        s.binary.display(),
        s.config.display(),
        s.system.as_deref().unwrap_or("a-user"),
        s.path,
    )
}

/// `pi-gw install-daemon`
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let s = match service(call, env) {
        Ok(service) => service,
        Err((code, why)) => {
            io.tell(why);
            return code;
        }
    };
    let system = s.unit.system.is_some();
    let file = file(system, &s.home);
    let text = s.unit.text();
    let lines =
        [manager(system, &["daemon-reload"]), manager(system, &["enable", UNIT]), manager(system, &["restart", UNIT])];
    s.notes.iter().for_each(|note| io.tell(note));
    if call.has("--dry-run") {
        let said = io.say(format_args!("# {}\n{text}", file.display()));
        let said =
            lines.iter().fold(said, |said, line| said.and_then(|()| io.say(format_args!("# {}", line.join(" ")))));
        return written(said.map(|()| exit::OK), io);
    }
    if !has_systemd(env) {
        io.tell(snippet(&s.unit));
        return exit::FAILED;
    }
    if let Some(why) = twin(&s, env) {
        io.tell(why);
        return exit::FAILED;
    }
    if let Err(e) = put(&file, &text) {
        io.tell(format_args!("{}: {e}", file.display()));
        if system && e.kind() == io::ErrorKind::PermissionDenied {
            io.tell("--system needs root: sudo pi-gw install-daemon --system");
        }
        return exit::CANNOT_WRITE;
    }
    io.tell(format_args!("wrote {}", file.display()));
    let own = if system { "" } else { " --user" };
    for (i, line) in lines.iter().enumerate() {
        if let Err(why) = carry_out(line) {
            io.tell(why);
            match i {
                2 => io.tell(format_args!("why it does not start: journalctl{own} -u pi-gateway -n 20")),
                _ => io.tell(format_args!("do it yourself: {}", lines.map(|line| line.join(" ")).join(" && "))),
            }
            return exit::FAILED;
        }
    }
    let leaves = unlingering(env).filter(|_| !system);
    io.tell(match &leaves {
        None => "the gateway runs now and after every start of the machine",
        Some(_) => "the gateway runs now",
    });
    io.tell(format_args!(
        "  how it is:  systemctl{own} status pi-gateway\n  its log:    journalctl{own} -u pi-gateway -f"
    ));
    if let Some(how) = leaves {
        io.tell(format_args!("it ends when you log out and does not start with the machine, unless you say: {how}"));
    }
    exit::OK
}

/// How to have this user's services run without a login, if they do not.
pub(in crate::cli) fn unlingering(env: &Env) -> Option<String> {
    let user = env.var("USER").or(env.var("LOGNAME"))?;
    let lingers = Path::new("/var/lib/systemd/linger").join(user).exists();
    (!lingers).then(|| format!("sudo loginctl enable-linger {user}"))
}

/// The units that are installed for a configuration: of the machine or not, the file, the program it starts.
pub(in crate::cli) fn installed(config: &Path, env: &Env) -> Vec<(bool, PathBuf, PathBuf)> {
    let files = [false, true].map(|system| (system, file(system, &env.home)));
    let started = |file: &Path| unit::program(&fs::read_to_string(file).ok()?, config);
    files.into_iter().filter_map(|(system, file)| started(&file).map(|program| (system, file, program))).collect()
}

fn put(file: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let temp = file.with_extension("service.tmp");
    fs::write(&temp, text).and_then(|()| fs::rename(&temp, file))
}

/// `pi-gw uninstall-daemon`
pub fn undo(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let system = call.has("--system");
    let file = file(system, &env.home);
    let stop = manager(system, &["disable", "--now", UNIT]);
    let reload = manager(system, &["daemon-reload"]);
    if call.has("--dry-run") {
        let said = io.say(format_args!("{}\nrm {}\n{}", stop.join(" "), file.display(), reload.join(" ")));
        return written(said.map(|()| exit::OK), io);
    }
    if !file.exists() {
        io.tell(format_args!("{} is not there: nothing to undo", file.display()));
        return exit::OK;
    }
    if let Err(why) = carry_out(&stop) {
        io.tell(why); // it may be gone already
    }
    if let Err(e) = fs::remove_file(&file) {
        io.tell(format_args!("{}: {e}", file.display()));
        return exit::CANNOT_WRITE;
    }
    if let Err(why) = carry_out(&reload) {
        io.tell(why);
    }
    // A unit that failed is remembered even without its file; one that did not is unknown by now.
    let _ = carry_out(&manager(system, &["reset-failed", UNIT]));
    io.tell(format_args!("removed {}; configuration and data are untouched", file.display()));
    exit::OK
}
