//! The configuration as each part of the house needs it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::runtime;
use crate::agent::profile::{self, FindError, LaunchSettings, ToolProfile, ToolRules};
use crate::agent::segments;
use crate::children::checkpoint::Checkpoint;
use crate::config::types::{
    self, AuthMode, Bind, Cors, DropPolicy, Durability, MessageMode, OnAmbiguous, OnTimeout, OpenAiSession,
    OpenAiThinking, QueueMode, Transcripts, Unauthenticated,
};
use crate::config::{Config, Env, Paths};
use crate::core::command_list;
use crate::cron::job::Job;
use crate::delegation::{Delegation, Limits};
use crate::http;
use crate::message::{Additions, Address, Profile};
use crate::rules::{self, AgentRules, ChannelRules, CronRules, HeartbeatRules, Hours, Mode, Rules, HEARTBEAT_PROMPT};
use crate::tools;

/// What the mind decides by. `generation` rises when pi processes have to be recycled.
pub fn rules(c: &Config, paths: &Paths, env: &Env, generation: u32) -> Rules {
    let web = ChannelRules { mailbox: true, repeat_safe: true };
    let agents = c.agents.list.iter().map(|a| {
        let rules = AgentRules { workspace: a.workspace.clone(), model: a.model.clone(), role: a.role.clone() };
        (a.id.clone(), rules)
    });
    let ms = |d: std::time::Duration| d.as_millis() as u64;
    Rules {
        sessions_dir: paths.sessions_dir(),
        workspaces_dir: paths.data_root().join("workspaces"),
        role_dirs: c.roles.workspace_dirs.clone(),
        agents: agents.collect(),
        routing: super::routes::routing(c),
        channels: super::channels::rules(c)
            .into_iter()
            .chain([("webchat".to_owned(), web.clone()), ("api".to_owned(), web)])
            .collect(),
        accounts: super::channels::accounts(c),
        concise: concise(c),
        own_tools: c.agent.tools.by_channel.keys().cloned().collect(),
        model: c.agent.model_failover.primary.clone().or_else(|| c.agent.model.clone()),
        fallbacks: c.agent.model_failover.fallbacks.clone(),
        max_fallbacks: c.agent.model_failover.max_retries as usize,
        cooldown: ms(c.agent.model_failover.cooldown),
        thinking: c.agent.thinking_level.as_str().to_owned(),
        mode: mode(c.agent.message_mode),
        pool_min: c.agent.pool.min as usize,
        pool_max: c.agent.pool.max as usize,
        pool_idle: ms(c.agent.pool.idle_timeout),
        inactivity: c.agent.inactivity_limit().map_or(0, ms),
        turn_max: ms(c.agent.turn_max),
        collect: c.queue.mode == QueueMode::Collect,
        debounce: ms(c.queue.collect_debounce),
        max_per_session: c.queue.max_per_session,
        max_waiting: c.queue.global_max_pending,
        drop_policy: match c.queue.drop_policy {
            DropPolicy::Summarize => rules::DropPolicy::Summarize,
            DropPolicy::Old => rules::DropPolicy::Old,
            DropPolicy::New => rules::DropPolicy::New,
        },
        pool_wait: ms(c.queue.pool_wait_ttl),
        prio_dm: c.queue.priority.dm.into(),
        prio_group: c.queue.priority.group.into(),
        prio_webhook: c.queue.priority.webhook.into(),
        prio_bonus: c.queue.priority.allowlist_bonus.into(),
        abort_words: c.gateway.commands.abort_words.clone(),
        bash: c.gateway.commands.bash,
        restart: c.gateway.commands.restart,
        role_names: role_names(c),
        max_age: ms(c.delivery.max_age) as i64,
        resend_ambiguous: c.delivery.on_ambiguous == OnAmbiguous::Resend,
        keep_days: c.store.keep_days.into(),
        keep_keys: c.queue.dedup.cache_size as i64,
        durable: c.store.durability == Durability::Power,
        continue_on_restart: c.session.continue_on_restart,
        idle_reset: i64::from(c.session.idle_reset_hours) * 3_600_000,
        daily_reset: c.session.daily_reset_at.map(|t| i64::from(t.0)),
        transcripts: c.logging.transcripts != Transcripts::Off,
        cron: CronRules {
            on: cron_on(c),
            most: c.cron.max_concurrent as usize,
            jobs: c.cron.jobs.iter().map(Job::from).collect(),
            timeout: ms(c.delegation.timeout),
            address: Address(super::channels::address),
        },
        delegation: delegation(c),
        heartbeats: heartbeats(c),
        zone: Some(zone(env)),
        generation,
    }
}

/// Who may delegate what to whom.
fn delegation(c: &Config) -> Delegation {
    let d = &c.delegation;
    let own = |agent: &str| {
        let limits = c.delegation_of(agent);
        Limits {
            allow: limits.allow_agents,
            most: limits.max_concurrent.unwrap_or(d.max_concurrent) as usize,
            depth: limits.max_depth.unwrap_or(d.max_depth) as usize,
        }
    };
    Delegation {
        timeout: d.timeout.as_millis() as u64,
        max_timeout: d.max_timeout.as_millis() as u64,
        partial: d.on_timeout == OnTimeout::ReturnPartial,
        usual: own(""), // nobody's own
        own: c.agents.list.iter().map(|a| (a.id.clone(), own(&a.id))).collect(),
        agents: c.agents.list.iter().map(|a| (a.id.clone(), a.description.clone())).collect(),
    }
}

/// Is that agent woken regularly?
fn heartbeat_on(c: &Config, agent: &str) -> bool {
    c.heartbeat_of(agent).enabled && !c.plugins.disabled.iter().any(|name| name == "heartbeat")
}

fn heartbeats(c: &Config) -> BTreeMap<String, HeartbeatRules> {
    let default = super::routes::routing(c).default;
    let agents: Vec<&str> = match c.agents.list.is_empty() {
        true => vec![&default],
        false => c.agents.list.iter().map(|a| a.id.as_str()).collect(),
    };
    let on = agents.into_iter().filter(|agent| heartbeat_on(c, agent));
    on.map(|agent| (agent.to_owned(), heartbeat(c.heartbeat_of(agent)))).collect()
}

fn heartbeat(h: &types::Heartbeat) -> HeartbeatRules {
    let ms = |d: std::time::Duration| d.as_millis() as u64;
    let hours = h.active_hours.as_ref().map(|a| Hours {
        start: a.start.0.into(),
        end: a.end.0.into(),
        // A name that is no zone was refused when the configuration was read.
        zone: a.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()),
    });
    HeartbeatRules {
        every: ms(h.every),
        hours,
        prompt: h.prompt.clone().unwrap_or_else(|| HEARTBEAT_PROMPT.to_owned()),
        ack_max: h.ack_max_chars,
        skip_when_busy: h.skip_when_busy,
        retries: h.max_retries,
        retry_delay: ms(h.retry_delay),
        inactivity: ms(h.message_timeout),
        isolate: h.isolate,
    }
}

fn cron_on(c: &Config) -> bool {
    c.cron.enabled && !c.plugins.disabled.iter().any(|name| name == "cron")
}

pub fn mode(m: MessageMode) -> Mode {
    match m {
        MessageMode::Steer => Mode::Steer,
        MessageMode::FollowUp => Mode::FollowUp,
        MessageMode::Interrupt => Mode::Interrupt,
    }
}

/// Roles that the configuration names (core.md 3.3), sorted.
pub fn role_names(c: &Config) -> Vec<String> {
    let of_agents = c.agents.list.iter().map(|a| a.role.as_ref().unwrap_or(&a.id));
    let named = c.roles.workspace_dirs.keys().chain(c.roles.capabilities.keys()).chain(of_agents);
    let mut all: Vec<String> = named.cloned().chain(["default".to_owned()]).collect();
    all.sort();
    all.dedup();
    all
}

/// The system's time zone. jiff looks through all of /usr/share/zoneinfo for its name first; the file itself is
/// enough here.
pub(crate) fn zone(env: &Env) -> TimeZone {
    let file = Path::new("/etc/localtime");
    if env.var("TZ").is_some() {
        return TimeZone::system();
    }
    let name = std::fs::read_link(file).ok();
    let name = name.as_ref().and_then(|n| n.to_str()?.split_once("zoneinfo/")).map_or("Local", |(_, name)| name);
    let zone = std::fs::read(file).ok().and_then(|data| TimeZone::tzif(name, &data).ok());
    zone.unwrap_or_else(TimeZone::system)
}

/// What a pi process of this profile is started with.
pub fn launch(c: &Config, profile: &Profile, env: &Env, agent_url: &str) -> LaunchSettings {
    let a = &c.agent;
    let agent = c.agents.list.iter().find(|e| e.id == profile.agent);
    let role = c.roles.capabilities.get(&profile.role);
    let lists = a.tools.by_channel.get(&profile.channel);
    let base = || a.skills_gateway.iter().chain(&a.skills_base);
    let fallback = base().next().is_none() && role.is_none_or(|r| r.skills.is_empty());
    let own = &profile.additions;
    let skills = own
        .skills
        .iter()
        .chain(agent.iter().flat_map(|a| &a.skills))
        .chain(role.iter().flat_map(|r| &r.skills))
        .chain(base());
    let skills: Vec<&String> = if fallback { skills.chain(&a.skills).collect() } else { skills.collect() };
    let extensions = agent.iter().flat_map(|a| &a.extensions).chain(role.iter().flat_map(|r| &r.extensions));
    let templates = role.iter().flat_map(|r| &r.prompt_templates).chain(&a.prompt_templates);
    let prompt = Some(segments::text(&facts(c, profile))).filter(|text| !text.is_empty());
    LaunchSettings {
        command: a.pi_cli.clone(),
        runner: Vec::new(),
        allowed: c.security.exec.names(&c.agent.pi_cli),
        tools: ToolRules {
            profile: match a.tools.profile {
                crate::config::types::ToolProfile::Minimal => ToolProfile::Minimal,
                crate::config::types::ToolProfile::Coding => ToolProfile::Coding,
                crate::config::types::ToolProfile::Messaging => ToolProfile::Messaging,
                crate::config::types::ToolProfile::Full => ToolProfile::Full,
            },
            allow: lists.and_then(|l| l.allow.clone()).or_else(|| a.tools.allow.clone()),
            deny: lists.and_then(|l| l.deny.clone()).or_else(|| a.tools.deny.clone()).unwrap_or_default(),
            gateway: tools::names(offer(c, profile)),
        },
        system_prompt: a.system_prompt.clone(),
        append_system_prompts: appended(a, own, prompt, env),
        extensions: std::iter::once(runtime::extension(&Paths::new(c, env).runtime_dir()))
            .chain(unique(extensions.chain(&a.extensions)))
            .collect(),
        skills: unique(skills.into_iter()),
        prompt_templates: unique(templates),
        no_extensions: a.no_extensions,
        no_skills: a.no_skills,
        no_prompt_templates: a.no_prompt_templates,
        agent_dir: a.runtime.agent_dir.clone(),
        package_dir: a.runtime.package_dir.clone(),
        gateway_url: agent_url.to_owned(),
        used_variables: c.vars_to_hide_from_pi().into_iter().map(str::to_owned).collect(),
        env: env.var("TZ").map(|tz| ("TZ".to_owned(), tz.to_owned())).into_iter().collect(),
    }
}

/// What stands behind pi's own prompt. A text of ours would keep pi from reading its `APPEND_SYSTEM.md`.
fn appended(a: &types::Agent, own: &Additions, gateways: Option<String>, env: &Env) -> Vec<String> {
    let texts = a.append_system_prompt.iter().chain(&own.system_prompt).cloned();
    let texts: Vec<String> = texts.chain(gateways).collect();
    let dir = a.runtime.agent_dir.clone().or_else(|| env.var("PI_CODING_AGENT_DIR").map(PathBuf::from));
    let file = dir.unwrap_or_else(|| env.home.join(".pi/agent")).join("APPEND_SYSTEM.md");
    let file = Some(file).filter(|file| !texts.is_empty() && file.exists());
    file.map(|file| file.to_string_lossy().into_owned()).into_iter().chain(texts).collect()
}

/// Channels in concise mode.
pub fn concise(c: &Config) -> Vec<String> {
    let mode = &c.plugins.concise_mode;
    let on = mode.enabled && !c.plugins.disabled.iter().any(|d| d == "concise-mode");
    if on {
        mode.channels.clone()
    } else {
        Vec::new()
    }
}

/// Which of the gateway's tools a pi of that profile gets. Nobody reads along where a task is done for another agent.
pub fn offer(c: &Config, profile: &Profile) -> tools::Offer {
    tools::Offer {
        people: profile.depth == 0,
        channels: !super::channels::accounts(c).is_empty(),
        cron: cron_on(c),
        agents: !delegation(c).targets(&profile.agent, profile.depth).is_empty(),
    }
}

/// What the gateway's part of the system prompt tells an agent.
fn facts(c: &Config, profile: &Profile) -> segments::Facts {
    let wanted = &c.agent.gateway_prompts;
    let accounts = super::channels::accounts(c);
    let people = profile.depth == 0;
    let channels = people && !accounts.is_empty();
    let delegation = delegation(c);
    let limits = delegation.limits(&profile.agent);
    let delegates = delegation.targets(&profile.agent, profile.depth);
    let mut here: Vec<String> = accounts.into_keys().map(|(channel, _)| channel).collect();
    here.extend(c.channels.webchat.enabled.then(|| "webchat".to_owned()));
    here.dedup();
    let machine = rustix::system::uname();
    let known = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    segments::Facts {
        identity: wanted.identity.unwrap_or(true),
        agent: profile.agent.clone(),
        agents: c.agents.list.len().max(1),
        host: known(machine.nodename()),
        os: format!("{} {}", known(machine.sysname()), known(machine.machine())),
        people,
        concise: people && !concise(c).is_empty(),
        heartbeat: people && (wanted.always_heartbeat || wanted.heartbeat.unwrap_or(heartbeat_on(c, &profile.agent))),
        cron: wanted.cron.unwrap_or(cron_on(c)),
        media: people && wanted.media.unwrap_or(channels),
        delegates: if wanted.delegation.unwrap_or(true) { delegates } else { Vec::new() },
        at_once: limits.most,
        seconds: delegation.timeout / 1000,
        channels: if people && wanted.channel.unwrap_or(channels) { here } else { Vec::new() },
    }
}

/// The program that starts pi: its place, once and for all (see [`Checkpoint::place`]).
pub fn program(checkpoint: &Checkpoint, launch: &LaunchSettings, env: &Env) -> Result<PathBuf, FindError> {
    let found = profile::find(launch, env.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").as_ref())?;
    Ok(checkpoint.place(launch.program(), found))
}

fn unique<'a>(list: impl Iterator<Item = &'a String>) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    for item in list {
        let path = PathBuf::from(item);
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
    seen
}

/// Connections of the agent door, per pi process and at least.
const PER_PI: usize = 4;
const AGENT_CONNECTIONS: usize = 32;

/// The agent door's part of it: on loopback, with limits by the number of pi processes, and nothing for browsers.
pub fn agent_port(c: &Config, public: &http::Settings) -> http::Settings {
    let connections = (PER_PI * c.agent.pool.max as usize).max(AGENT_CONNECTIONS);
    http::Settings {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, c.gateway.agent_port))],
        limits: http::Limits { connections, ..public.limits.clone() },
        times: public.times.clone(),
        cors: http::Cors::SameOrigin,
        version: public.version.clone(),
        main_session: public.main_session.clone(),
        media_dir: public.media_dir.clone(),
        media_max: public.media_max,
        media: public.media.clone(),
        accounts: public.accounts.clone(),
        address: public.address,
        cron: public.cron,
        ..http::Settings::default()
    }
}

fn openai(c: &Config) -> http::OpenAi {
    let o = &c.gateway.openai;
    http::OpenAi {
        stateless: o.session == OpenAiSession::Stateless,
        thinking: match o.thinking {
            OpenAiThinking::Reasoning => http::Thinking::Reasoning,
            OpenAiThinking::ThinkTags => http::Thinking::Tags,
            OpenAiThinking::Off => http::Thinking::Off,
        },
        abort_on_disconnect: o.abort_on_disconnect,
        agents: c.agents.list.iter().map(|a| a.id.clone()).collect(),
        agent: super::routes::routing(c).default,
        model: c.agent.model.clone().unwrap_or(http::OpenAi::default().model),
    }
}

/// What the public port is opened with, or swapped to.
pub fn port(
    c: &Config,
    paths: &Paths,
    secret: Option<String>,
    media_secret: &str,
    agent: http::AgentLabel,
    page: bool,
) -> http::Settings {
    let g = &c.gateway;
    let listen = match g.bind {
        Bind::Loopback => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        Bind::All => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        Bind::Address(ip) => vec![ip],
    };
    let mut listen: Vec<SocketAddr> = listen.into_iter().map(|ip| SocketAddr::new(ip, g.port)).collect();
    if g.bind == Bind::Loopback && g.port != 0 {
        listen.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), g.port)); // if this machine has it
    }
    let auth = match (g.auth.mode, secret) {
        (AuthMode::Off, _) => http::Auth::Off,
        (AuthMode::Token, secret) => http::Auth::Token(secret.unwrap_or_default()),
        (AuthMode::Password, secret) => http::Auth::Password(secret.unwrap_or_default()),
    };
    http::Settings {
        listen,
        auth,
        allow_unauthenticated: g.auth.allow_unauthenticated != Unauthenticated::No,
        allow_lan: g.auth.allow_unauthenticated == Unauthenticated::Lan,
        local_open: g.auth.local_open,
        allowed_hosts: g.allowed_hosts.clone(),
        allowed_origins: g.allowed_origins.clone(),
        cors: match g.cors {
            Cors::Bearer => http::Cors::Bearer,
            Cors::SameOrigin => http::Cors::SameOrigin,
        },
        trusted_proxies: g.trusted_proxies.iter().map(|n| http::Net { addr: n.address, bits: n.bits }).collect(),
        limits: http::Limits {
            connections: g.limits.max_connections,
            per_address: g.limits.max_per_address,
            waiting: g.limits.max_waiting,
            body: g.limits.body_kb << 10,
            chat_body: g.limits.chat_body_mb << 20,
            ws_bytes: g.ws.max_buffered_bytes,
            ..http::Limits::default()
        },
        metrics_public: g.metrics.public,
        openai: openai(c),
        page: page && c.channels.webchat.enabled,
        media_dir: paths.media_dir(),
        media_max: c.channels.webchat.media_max as usize,
        media: http::Media {
            key: http::MediaKey::new(media_secret),
            ttl: c.channels.webchat.media_token_ttl,
            workspace_only: c.media.workspace_only,
            ..http::Media::default()
        },
        logins_file: Some(paths.web_logins()),
        agent,
        cron: cron_on(c),
        hooks: http::Hooks {
            enabled: c.hooks.enabled,
            path: c.hooks.path.clone(),
            token: c.hooks.token.as_ref().map(|t| t.expose().to_owned()),
            secret: c.hooks.secret.as_ref().map(|t| t.expose().to_owned()),
            sessions: c.hooks.allowed_sessions.clone(),
        },
        roles_dir: paths.roles_dir().to_owned(),
        role_names: role_names(c),
        transcripts_dir: paths.sessions_dir().join("transcripts"),
        agents: c.agents.list.iter().map(|a| a.id.clone()).filter(|id| !command_list::is_command(id)).collect(),
        accounts: super::channels::accounts(c).into_keys().collect(),
        address: Address(super::channels::address),
        channels: if c.channels.webchat.enabled { vec!["webchat".into()] } else { Vec::new() },
        ..http::Settings::default()
    }
}
