//! What commands ask of the machine: roles, the shell, the configuration, the host (core.md 4).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::carry::SharedConfig;
use super::inbound::Files;
use super::operator::Operator;
use super::programs::{Programs, Ran};
use crate::http::Operator as _;
use crate::message::{Content, Job, JobDone, Target};
use crate::roles;

const SHELL_LIMIT: Duration = Duration::from_secs(30);
/// Characters of a program's output that are shown.
const SHELL_TEXT: usize = 3500;

/// Things the hands need for these.
pub struct Chores {
    pub programs: Arc<Programs>,
    pub operator: Arc<Operator>,
    pub config: SharedConfig,
    pub files: Arc<Files>,
    pub roles_dir: PathBuf,
    pub data_root: PathBuf,
}

impl Chores {
    pub fn perform(&self, job: Job) -> JobDone {
        let dir = &self.roles_dir;
        let roles = |done: std::io::Result<()>| match done {
            Ok(()) => JobDone::Roles(roles::list(dir)),
            Err(e) => JobDone::Failed { why: e.to_string() },
        };
        match job {
            Job::ListRoles => roles(Ok(())),
            Job::CreateRole { role } => roles(roles::create(dir, &role)),
            Job::DeleteRole { role } => roles(roles::delete(dir, &role)),
            Job::Shell { command, cwd } => self.shell(&command, cwd),
            Job::ShowConfig { path } => JobDone::Text(section(&self.operator.config(), &path)),
            Job::System => JobDone::Text(system(&self.data_root)),
            Job::Render { target, content, cwd } => JobDone::Rendered(self.render(&target, *content, cwd)),
            Job::Fetch { parts, within } => self.files.fetch(&parts, within),
            other => JobDone::Failed { why: format!("nobody does {other:?}") },
        }
    }

    fn render(&self, target: &Target, content: Content, cwd: Option<PathBuf>) -> Vec<Content> {
        let config = self.config.read().unwrap_or_else(|e| e.into_inner()).clone();
        super::channels::render(&config, target, content, cwd.as_deref())
    }

    fn shell(&self, command: &str, cwd: PathBuf) -> JobDone {
        if let Err(e) = std::fs::create_dir_all(&cwd) {
            return JobDone::Failed { why: format!("{}: {e}", cwd.display()) };
        }
        match self.programs.shell(command, cwd, SHELL_LIMIT, SHELL_TEXT * 4) {
            Ok(ran) => JobDone::Text(shown(&ran)),
            Err(why) => JobDone::Failed { why },
        }
    }
}

fn shown(ran: &Ran) -> String {
    let text = String::from_utf8_lossy(&ran.output);
    let text: String = text.trim_end().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let head: String = text.chars().take(SHELL_TEXT).collect();
    let more = if head.len() < text.len() || ran.cut { "\n…" } else { "" };
    // A fence longer than any in the output.
    let longest = head.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let body = if head.is_empty() { "(no output)".to_owned() } else { format!("{fence}\n{head}{more}\n{fence}") };
    let end = match (ran.late, ran.code) {
        (true, _) => format!("ended after {} s", SHELL_LIMIT.as_secs()),
        (false, Some(code)) => format!("exit code {code}"),
        (false, None) => "ended by a signal".to_owned(),
    };
    format!("{body}\n{end}")
}

/// The configuration or a part of it, `a.b.c`.
fn section(config: &Value, path: &str) -> String {
    let mut at = config;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        let next = match at {
            Value::Array(list) => part.parse::<usize>().ok().and_then(|n| list.get(n)),
            other => other.get(part),
        };
        match next {
            Some(next) => at = next,
            None => return format!("The configuration has no {path}."),
        }
    }
    let text = serde_json::to_string_pretty(at).unwrap_or_default(); // a value of ours: cannot fail
    format!("```json\n{text}\n```")
}

/// `/sys`: what `/proc` says.
fn system(data: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let load = read("loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let memory = read("meminfo");
    let mb = |field: &str| {
        let line = memory.lines().find(|l| l.starts_with(field));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    let up = read("uptime").split('.').next().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = rustix::fs::statvfs(data).map_or((0, 0), |s| {
        let mb = |blocks: u64| (blocks * s.f_frsize) >> 20;
        (mb(s.f_bavail), mb(s.f_blocks))
    });
    format!(
        "- Load: {load} on {cpus} CPUs\n- Memory: {} of {} MB free\n- Disk: {} of {} MB free\n- Up: {} d {} h",
        mb("MemAvailable"),
        mb("MemTotal"),
        disk.0,
        disk.1,
        up / 86_400,
        up % 86_400 / 3600
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_s_output_is_fenced_and_cut() {
        let ran = |output: &str, code| Ran { output: output.into(), cut: false, code, late: false };
        assert_eq!(shown(&ran("a\nb\n", Some(0))), "```\na\nb\n```\nexit code 0");
        assert_eq!(shown(&ran("", Some(3))), "(no output)\nexit code 3");
        assert!(shown(&ran("x ``` y", Some(0))).starts_with("````\nx ``` y\n````"));
        let long = shown(&ran(&"ü".repeat(4000), None));
        assert!(long.contains(&"ü".repeat(SHELL_TEXT)) && long.contains("…") && long.ends_with("signal"));
    }

    #[test]
    fn a_section_of_the_configuration_is_found_by_its_path() {
        let config = json!({"a": {"list": [{"x": 1}]}});
        assert!(section(&config, "a.list.0.x").contains("\n1\n"));
        assert!(section(&config, "").contains("\"list\""));
        assert_eq!(section(&config, "a.b"), "The configuration has no a.b.");
    }
}
