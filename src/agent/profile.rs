//! What a pi process is started with: a profile and the settings become program, arguments and environment.
//! Pure but for [`find`] and [`version`], which look at the disk and run pi.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::children::{ChildId, SpawnSpec, MARK};
use crate::config::types::ExecGuard;
use crate::message::{ProcId, Profile};

/// pi's own tools.
const BUILT_IN: [&str; 7] = ["read", "bash", "edit", "write", "grep", "find", "ls"];
/// Never passed on to pi, whatever the configuration uses (config.md 1.5).
const REMOVED: [&str; 10] = [
    "TELEGRAM_BOT_TOKEN",
    "PI_GATEWAY_AUTH_TOKEN",
    "PI_GATEWAY_SESSION_KEY",
    "PI_GATEWAY_INTERNAL_TOKEN", // of a gateway that started this one
    "PI_GATEWAY_URL",
    MARK,
    "NOTIFY_SOCKET", // the service manager's line is the gateway's alone
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
];
/// Removed if the configuration used them for something else than the agent.
const SECRET_ENDINGS: [&str; 3] = ["_TOKEN", "_SECRET", "_PASSWORD"];

/// Everything of the configuration that matters when a pi of one agent, role and channel is started; the
/// composition root fills it. Lists are in order of precedence.
#[derive(Clone, Debug, Default)]
pub struct LaunchSettings {
    /// pi's command, program first: `["pi"]`, `["node", "/x/cli.js"]`, `["/usr/bin/pi-gw", "demo-agent"]`.
    pub command: Vec<String>,
    /// Put before the command (`agent.runners[].command`).
    pub runner: Vec<String>,
    /// Names and whole paths of programs that may be started (`security.exec.allowedExecutables`).
    pub allowed: Vec<String>,
    pub tools: ToolRules,
    pub system_prompt: Option<String>,
    /// Each its own argument: the user's, then the gateway's.
    pub append_system_prompts: Vec<String>,
    pub extensions: Vec<PathBuf>,
    pub skills: Vec<PathBuf>,
    pub prompt_templates: Vec<PathBuf>,
    pub no_extensions: bool,
    pub no_skills: bool,
    pub no_prompt_templates: bool,
    pub agent_dir: Option<PathBuf>,
    pub package_dir: Option<PathBuf>,
    /// Address of the agent door.
    pub gateway_url: String,
    /// Variables that the configuration used outside `agent` (`${VAR}`).
    pub used_variables: Vec<String>,
    /// Set for the process (`agent.runners[].env`).
    pub env: Vec<(String, String)>,
}

/// `agent.tools` of the configuration, resolved for one channel.
#[derive(Clone, Debug, Default)]
pub struct ToolRules {
    pub profile: ToolProfile,
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
    /// Names of the gateway's own tools: `--tools` of pi filters those too.
    pub gateway: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolProfile {
    /// Reading only.
    Minimal,
    /// pi's default.
    #[default]
    Coding,
    /// No built-in tools, only the gateway's.
    Messaging,
    /// All built-in tools.
    Full,
}

/// What is different for every process.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    pub id: ProcId,
    /// `<store id>.<n>`.
    pub mark: String,
    pub token: &'a str,
    pub session_file: &'a Path,
}

/// The process to start. `program` is what [`find`] gave; `environment` the gateway's own.
pub fn spawn_spec(
    profile: &Profile,
    settings: &LaunchSettings,
    program: &Path,
    instance: Instance<'_>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> SpawnSpec {
    let command = settings.runner.iter().chain(&settings.command).skip(1); // the first is `program`
    let mut args: Vec<OsString> = command.map(OsString::from).collect();
    args.extend(arguments(profile, settings, instance.session_file));
    let mut env = clean(environment, &settings.used_variables);
    let mut set = |name: &str, value: &OsStr| env.push((name.into(), value.to_owned()));
    set("PI_GATEWAY_URL", settings.gateway_url.as_ref());
    set("PI_GATEWAY_INTERNAL_TOKEN", instance.token.as_ref());
    if let Some(dir) = &settings.agent_dir {
        set("PI_CODING_AGENT_DIR", dir.as_os_str());
    }
    if let Some(dir) = &settings.package_dir {
        set("PI_PACKAGE_DIR", dir.as_os_str());
    }
    settings.env.iter().for_each(|(name, value)| set(name, value.as_ref()));
    SpawnSpec {
        id: ChildId::Pi(instance.id),
        program: program.to_owned(),
        args,
        env,
        cwd: profile.cwd.clone(),
        mark: Some(instance.mark),
    }
}

/// pi's arguments behind its command.
fn arguments(profile: &Profile, settings: &LaunchSettings, session_file: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--mode".into(), "rpc".into()];
    args.extend(model_arguments(profile.model.as_deref()));
    let mut push = |flag: &str, value: &OsStr| args.extend([flag.into(), value.to_owned()]);
    if !profile.thinking.is_empty() {
        push("--thinking", profile.thinking.as_ref());
    }
    push("--session", session_file.as_os_str());
    if let Some(text) = &settings.system_prompt {
        push("--system-prompt", text.as_ref());
    }
    settings.append_system_prompts.iter().for_each(|text| push("--append-system-prompt", text.as_ref()));
    for (flag, paths) in [
        ("--extension", &settings.extensions),
        ("--skill", &settings.skills),
        ("--prompt-template", &settings.prompt_templates),
    ] {
        let mut known = Vec::new();
        for path in paths {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            if !known.contains(&path) {
                push(flag, path.as_os_str());
                known.push(path);
            }
        }
    }
    for (flag, on) in [
        ("--no-extensions", settings.no_extensions),
        ("--no-skills", settings.no_skills),
        ("--no-prompt-templates", settings.no_prompt_templates),
    ] {
        if on {
            args.push(flag.into());
        }
    }
    args.extend(tools(&settings.tools));
    args
}

/// What tells pi its model: `provider/id`, or a pattern.
pub fn model_arguments(model: Option<&str>) -> Vec<OsString> {
    let words = match model.map(|m| m.split_once('/').ok_or(m)) {
        Some(Ok((provider, model))) => vec!["--provider", provider, "--model", model],
        Some(Err(pattern)) => vec!["--model", pattern],
        None => vec![],
    };
    words.into_iter().map(OsString::from).collect()
}

/// `--tools` and its relatives; nothing for pi's default.
fn tools(rules: &ToolRules) -> Vec<OsString> {
    let built_in: Vec<&str> = match (&rules.allow, rules.profile) {
        (Some(allow), _) => allow.iter().map(String::as_str).collect(),
        (None, ToolProfile::Minimal) => vec!["read", "grep", "find", "ls"],
        (None, ToolProfile::Messaging) if rules.deny.is_empty() => return vec!["--no-builtin-tools".into()],
        (None, ToolProfile::Messaging) => vec![],
        (None, ToolProfile::Coding) if rules.deny.is_empty() => return vec![],
        (None, ToolProfile::Coding | ToolProfile::Full) => BUILT_IN.to_vec(),
    };
    let mut names: Vec<&str> = built_in.into_iter().filter(|t| !rules.deny.iter().any(|d| d == t)).collect();
    for tool in &rules.gateway {
        if !names.contains(&tool.as_str()) && !rules.deny.contains(tool) {
            names.push(tool);
        }
    }
    match names.is_empty() {
        true => vec!["--no-tools".into()],
        false => vec!["--tools".into(), names.join(",").into()],
    }
}

/// The gateway's environment without its secrets.
fn clean(environment: impl Iterator<Item = (OsString, OsString)>, used: &[String]) -> Vec<(OsString, OsString)> {
    let secret = |name: &str| {
        REMOVED.contains(&name)
            || (SECRET_ENDINGS.iter().any(|end| name.ends_with(end)) && used.iter().any(|u| u == name))
    };
    environment.filter(|(name, _)| !name.to_str().is_some_and(secret)).collect()
}

// ---------------------------------------------------------------- finding pi

/// Why pi cannot be started; the text says what to do.
#[derive(Clone, Debug, PartialEq)]
pub enum FindError {
    Empty,
    NotAllowed(String),
    NotFound(String),
    NotExecutable(PathBuf),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::Empty => f.write_str("agent.piCliPath is empty"),
            FindError::NotAllowed(name) => {
                write!(
                    f,
                    "{name} must not be started: add it to security.exec.allowedExecutables and restart the gateway"
                )
            }
            FindError::NotFound(name) => write!(f, "{name} was not found: install pi or set agent.piCliPath"),
            FindError::NotExecutable(path) => write!(f, "{} is not an executable file", path.display()),
        }
    }
}

impl std::error::Error for FindError {}

impl LaunchSettings {
    /// What is started, as the configuration names it: the runner, if there is one. Empty: nothing.
    pub fn program(&self) -> &str {
        self.runner.first().or(self.command.first()).map_or("", String::as_str)
    }
}

/// The absolute path of the program that is started (the runner's, if there is one). `path`: the value of PATH.
pub fn find(settings: &LaunchSettings, path: &OsStr) -> Result<PathBuf, FindError> {
    let name = Some(settings.program()).filter(|name| !name.is_empty()).ok_or(FindError::Empty)?;
    let allowed = |program: &Path| match ExecGuard::lists(&settings.allowed, program) {
        true => Ok(()),
        false => Err(FindError::NotAllowed(program.file_name().unwrap_or_default().to_string_lossy().into_owned())),
    };
    if let (Some(_), Some(command)) = (settings.runner.first(), settings.command.first()) {
        allowed(Path::new(command))?; // started elsewhere, where a path of here means nothing
    }
    if name.contains('/') {
        let program = std::path::absolute(name).map_err(|_| FindError::NotFound(name.to_owned()))?;
        allowed(&program)?;
        return match (program.exists(), executable(&program)) {
            (false, _) => Err(FindError::NotFound(name.to_owned())),
            (_, false) => Err(FindError::NotExecutable(program)),
            _ => Ok(program),
        };
    }
    let mut candidates = std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    match candidates.find(|p| executable(p)) {
        Some(program) => allowed(&program).map(|()| program),
        // One that may not be started anyway is not worth looking for.
        None => allowed(Path::new(name)).and(Err(FindError::NotFound(name.to_owned()))),
    }
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What `pi --version` says, on whichever stream, within 10 s. For `doctor`, which has no main loop: it spawns
/// and reaps by itself.
pub fn version(command: &[OsString]) -> io::Result<String> {
    const LIMIT: Duration = Duration::from_secs(10);
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (out, write) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(args).arg("--version").stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
    let mut child = command.spawn()?;
    drop(command); // closes our copies of the pipe's end
    let start = Instant::now();
    let (mut text, mut block) = (Vec::new(), [0; 4 << 10]);
    let result = loop {
        let left = LIMIT.saturating_sub(start.elapsed());
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&limit)) {
            Ok(0) => break Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")),
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => break Err(e.into()),
            Ok(_) => {}
        }
        match rustix::io::read(&out, &mut block) {
            Ok(n) if n > 0 && text.len() < 64 << 10 => text.extend_from_slice(&block[..n]),
            _ => break Ok(String::from_utf8_lossy(&text).trim().to_owned()),
        }
    };
    let _ = child.kill(); // an error means that it has ended
    let status = child.wait()?;
    match result {
        Ok(text) if text.is_empty() => Err(io::Error::other(format!("it printed nothing ({status})"))),
        other => other,
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
