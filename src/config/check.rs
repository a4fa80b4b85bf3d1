//! Rules that involve more than one key, or the file system.

mod channels;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::issue::Severity::{Error, Info, Warning};
use super::issue::{Issue, Severity};
use super::node::{index, join, Kind, Node};
use super::pass::Pass;
use super::secret::is_placeholder;
use super::types::{AuthMode, Config, DmPolicy, DmScope, ExecGuard, SandboxMode, Unauthenticated};
use crate::cron::schedule::problem;

/// Names that a conversation's `/name` already means something else by.
const COMMANDS: [&str; 31] = [
    "start",
    "help",
    "commands",
    "new",
    "reset",
    "stop",
    "abort",
    "retry",
    "cancel",
    "status",
    "context",
    "model",
    "think",
    "compact",
    "queue",
    "role",
    "cron",
    "whoami",
    "skills",
    "sessions",
    "resume",
    "refresh",
    "photo",
    "audio",
    "media",
    "bash",
    "config",
    "restart",
    "sys",
    "reload",
    "reload-plugin",
];

/// Checks a configuration as a whole.
pub(crate) fn check(config: &Config, pass: &Pass<'_>) {
    let check = Check { config, pass };
    check.gateway();
    check.agent();
    check.directories();
    check.agents();
    check.cron();
    check.accepted_only();
    check.channels();
    check.sharing();
    // 2024-01-01: a machine without a clock of its own starts in 1970 or when its image was made.
    if pass.env.now < SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200) {
        check.say(Warning, &[], "the clock is not set: schedules wait until it is");
    }
}

pub(crate) struct Check<'a> {
    pub config: &'a Config,
    pub pass: &'a Pass<'a>,
}

impl Check<'_> {
    /// Reports something about the key at a path (list indices as numbers), at its place or at what is around it.
    pub fn say(&self, severity: Severity, path: &[&str], text: impl Into<String>) {
        let issue = self.issue(severity, path, text);
        self.pass.push(issue);
    }

    pub fn say_with_hint(&self, severity: Severity, path: &[&str], text: impl Into<String>, hint: &str) {
        let mut issue = self.issue(severity, path, text);
        issue.hint = Some(hint.into());
        self.pass.push(issue);
    }

    fn issue(&self, severity: Severity, path: &[&str], text: impl Into<String>) -> Issue {
        let mut key = String::new();
        let mut found: Option<&Node> = Some(self.pass.root);
        let mut nearest = None;
        for name in path {
            let list = found.and_then(|node| match &node.kind {
                Kind::List(items) => Some(items),
                _ => None,
            });
            if let (Some(items), Ok(i)) = (list, name.parse::<usize>()) {
                key = index(&key, i);
                found = items.get(i);
            } else {
                key = join(&key, name);
                found = found.and_then(|node| node.get(name));
            }
            nearest = found.or(nearest);
        }
        let span = nearest.map(|node| node.span.clone());
        self.pass.source.issue(severity, &key, text, span)
    }

    fn gateway(&self) {
        let gateway = &self.config.gateway;
        let auth = &gateway.auth;
        match auth.mode {
            AuthMode::Off => match auth.allow_unauthenticated {
                Unauthenticated::No => self.say_with_hint(
                    Error,
                    &["gateway", "auth", "mode"],
                    "without authentication anyone who reaches the port commands the agent",
                    "set gateway.auth.allowUnauthenticated to true if that is intended",
                ),
                Unauthenticated::Yes if !gateway.bind.is_loopback() => self.say_with_hint(
                    Error,
                    &["gateway", "auth", "mode"],
                    "no authentication on an address that other machines reach",
                    "set gateway.bind to \"loopback\", or gateway.auth.allowUnauthenticated to \"lan\"",
                ),
                _ => self.say(Warning, &["gateway", "auth", "mode"], "authentication is off"),
            },
            AuthMode::Token => match &auth.token {
                None => self.say(
                    Info,
                    &["gateway", "auth", "token"],
                    "not set: a generated one is kept in <data>/credentials/gateway-token",
                ),
                Some(token) if is_placeholder(token.expose()) => {
                    self.say(Warning, &["gateway", "auth", "token"], "looks like an example that nobody has replaced");
                }
                Some(token) if token.expose().len() < 16 => {
                    self.say(Warning, &["gateway", "auth", "token"], "is shorter than 16 characters");
                }
                Some(_) => {}
            },
            AuthMode::Password if auth.password.is_none() => {
                self.say(Error, &["gateway", "auth", "password"], "is required in mode \"password\"");
            }
            AuthMode::Password => {}
        }
        if gateway.agent_port != 0 && gateway.agent_port == gateway.port {
            self.say(Error, &["gateway", "agentPort"], "must differ from gateway.port");
        }
    }

    fn agent(&self) {
        let agent = &self.config.agent;
        let pool = &agent.pool;
        if pool.min > pool.max {
            let text = format!("{} is more than agent.pool.max ({})", pool.min, pool.max);
            self.say_with_hint(Error, &["agent", "pool", "min"], text, "pi-gw doctor --fix sets it to the maximum");
        }
        if pool.max > 10 {
            self.say(Info, &["agent", "pool", "max"], "each pi process takes up to 200 MB of memory");
        }
        if pool.idle_timeout < Duration::from_secs(10) {
            self.say(Info, &["agent", "pool", "idleTimeoutMs"], "so short that pi is started again and again");
        }
        if agent.sandbox.mode != SandboxMode::Off {
            let text = "not supported: pi runs with the rights of the gateway's user, whatever is written here";
            self.say(Error, &["agent", "sandbox", "mode"], text);
        }
        self.executable(agent.pi_cli.first(), &["agent", "piCliPath"]);
        let mut names = BTreeSet::new();
        for (i, runner) in agent.runners.iter().enumerate() {
            let i = i.to_string();
            if runner.command.is_empty() {
                self.say(Error, &["agent", "runners", &i, "command"], "must name a program");
            }
            self.executable(runner.command.first(), &["agent", "runners", &i, "command"]);
            if !names.insert(&runner.name) {
                self.say(Error, &["agent", "runners", &i, "name"], format!("\"{}\" is used twice", runner.name));
            }
        }
    }

    /// The exec guard would refuse to start what is not on its list, so say it now.
    fn executable(&self, program: Option<&String>, path: &[&str]) {
        let guard = &self.config.security.exec;
        let Some((program, name)) = program.and_then(|p| Some((Path::new(p), Path::new(p).file_name()?))) else {
            return;
        };
        let list = &guard.allowed_executables;
        // Where a bare name leads is only known when it is looked for.
        let by_path = |entry: &String| Path::new(entry).file_name() == Some(name);
        let listed = ExecGuard::lists(list, program) || (program.as_os_str() == name && list.iter().any(by_path));
        let name = name.to_string_lossy();
        if guard.enabled && guard.block_unlisted && !listed {
            let text = format!("\"{name}\" is not in security.exec.allowedExecutables");
            self.say_with_hint(Error, path, text, "add it there if it is what you want to run");
        }
    }

    fn directories(&self) {
        let data = &self.config.session.data_dir;
        let existing = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !existing.is_dir() || rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
            let text = format!("cannot write to {}", existing.display());
            self.say(Error, &["session", "dataDir"], text);
        } else if existing != data {
            self.say(Info, &["session", "dataDir"], format!("{} does not exist yet: it will be made", data.display()));
        }
        for (role, path) in self.config.roles.workspace_dirs.iter().filter(|(_, path)| !path.is_dir()) {
            let text = format!("{} does not exist: it will be made", path.display());
            self.say(Info, &["roles", "workspaceDirs", role], text);
        }
        for (i, dir) in self.config.plugins.dirs.iter().enumerate().filter(|(_, dir)| !dir.is_dir()) {
            self.say(Warning, &["plugins", "dirs", &i.to_string()], format!("{} does not exist", dir.display()));
        }
        if let Some(path) = &self.config.network.ca_file {
            if let Err(error) = std::fs::File::open(path) {
                self.say(Error, &["network", "caFile"], format!("cannot read {}: {error}", path.display()));
            }
        }
    }

    /// The ids of all agents.
    fn agent_ids(&self) -> Vec<&str> {
        let list = &self.config.agents.list;
        if list.is_empty() {
            return vec!["main"];
        }
        list.iter().map(|agent| agent.id.as_str()).collect()
    }

    /// Agents that may be asked exist.
    fn delegates(&self, path: &[&str], allowed: Option<&Vec<String>>) {
        let ids = self.agent_ids();
        for name in allowed.into_iter().flatten().filter(|name| !ids.contains(&name.as_str())) {
            self.say(Warning, path, format!("there is no agent \"{name}\""));
        }
    }

    fn agents(&self) {
        let agents = &self.config.agents;
        let ids = self.agent_ids();
        if !agents.list.is_empty() && !ids.contains(&agents.default.as_str()) {
            let text = format!("there is no agent \"{}\"; the agents are: {}", agents.default, ids.join(", "));
            self.say(Error, &["agents", "default"], text);
        }
        for (i, agent) in agents.list.iter().enumerate() {
            let n = i.to_string();
            if agents.list[..i].iter().any(|earlier| earlier.id == agent.id) && !agent.id.is_empty() {
                self.say(Error, &["agents", "list", &n, "id"], format!("\"{}\" is used twice", agent.id));
            }
            if COMMANDS.contains(&agent.id.to_ascii_lowercase().as_str()) {
                let text = format!("/{} is a command: the command wins, the agent is not reached by it", agent.id);
                self.say(Warning, &["agents", "list", &n, "id"], text);
            }
            match &agent.workspace {
                None => {
                    self.say(Warning, &["agents", "list", &n, "workspace"], "is missing: the role's default is used")
                }
                Some(path) if !path.is_dir() => {
                    let text = format!("{} does not exist: it will be made on first use", path.display());
                    self.say(Warning, &["agents", "list", &n, "workspace"], text);
                }
                Some(_) => {}
            }
            if agent.delegation.as_ref().and_then(|own| own.max_depth).is_some_and(|depth| depth > 3) {
                let path = ["agents", "list", &n, "delegation", "maxDepth"];
                self.say(Info, &path, "delegation that deep is slow and costly");
            }
            let own = agent.delegation.as_ref().and_then(|own| own.allow_agents.as_ref());
            self.delegates(&["agents", "list", &n, "delegation", "allowAgents"], own);
        }
        self.delegates(&["delegation", "allowAgents"], self.config.delegation.allow_agents.as_ref());
        if agents.list.len() > 1 && self.config.agent.pool.max == 1 {
            let text = "with one pi process no agent can delegate: the one that asks holds it";
            self.say(Info, &["agent", "pool", "max"], text);
        }
        for (i, binding) in agents.bindings.iter().enumerate() {
            let i = i.to_string();
            if !binding.agent_id.is_empty() && !ids.contains(&binding.agent_id.as_str()) {
                let text = format!("there is no agent \"{}\": the binding is skipped", binding.agent_id);
                self.say(Warning, &["agents", "bindings", &i, "agentId"], text);
            }
            if binding.criteria.is_empty() {
                self.say(Warning, &["agents", "bindings", &i, "match"], "matches everything");
            }
        }
    }

    fn cron(&self) {
        let jobs = &self.config.cron.jobs;
        let ids = self.agent_ids();
        for (i, job) in jobs.iter().enumerate() {
            let n = i.to_string();
            if jobs[..i].iter().any(|earlier| earlier.id == job.id) && !job.id.is_empty() {
                self.say(Error, &["cron", "jobs", &n, "id"], format!("\"{}\" is used twice", job.id));
            }
            if let Some(problem) = problem(&(&job.schedule).into()).filter(|_| !job.schedule.expr.is_empty()) {
                self.say(Error, &["cron", "jobs", &n, "schedule", "expr"], problem);
            }
            if let Some(agent) = job.agent_id.as_deref().filter(|agent| !ids.contains(agent)) {
                let text = format!("there is no agent \"{agent}\": the default agent runs the job");
                self.say(Warning, &["cron", "jobs", &n, "agentId"], text);
            }
        }
    }

    /// Keys of the original that change nothing here.
    fn accepted_only(&self) {
        if !self.config.queue.dedup.enabled {
            let text = "accepted, has no effect: messages are always deduplicated by the platform's ids";
            self.say(Warning, &["queue", "dedup", "enabled"], text);
        }
        if self.pass.root.at(&["queue", "dedup", "ttlMs"]).is_some() {
            let text = "accepted, has no effect: content is never compared";
            self.say(Warning, &["queue", "dedup", "ttlMs"], text);
        }
    }

    /// One conversation for several people is rarely meant.
    fn sharing(&self) {
        if self.config.session.dm_scope != DmScope::Main {
            return;
        }
        let channels = &self.config.channels;
        let mut people = BTreeSet::new();
        let mut anyone = false;
        let mut count = |channel: &'static str, policy: DmPolicy, ids: &[String]| {
            if policy != DmPolicy::Disabled {
                anyone |= policy == DmPolicy::Open || ids.iter().any(|id| id == "*");
                people.extend(ids.iter().map(|id| (channel, id.clone())));
            }
        };
        channels.telegram.active().for_each(|(_, account)| count("telegram", account.dm_policy, &account.allow_from));
        channels.feishu.active().for_each(|(_, account)| count("feishu", account.dm_policy, &account.allow_from));
        if channels.discord.enabled && channels.discord.dm.enabled {
            count("discord", channels.discord.dm_policy, &channels.discord.dm.allow_from);
        }
        // The same person on two platforms is two ids: count what one platform allows.
        let most =
            ["telegram", "discord", "feishu"].map(|name| people.iter().filter(|(channel, _)| *channel == name).count());
        if anyone || most.iter().any(|ids| *ids > 1) {
            self.say_with_hint(
                Warning,
                &["session", "dmScope"],
                "\"main\" puts everyone who may write into one conversation",
                "\"per-channel-peer\" gives each person their own",
            );
        }
    }
}
