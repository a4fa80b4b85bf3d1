//! `session`, `queue`, `delegation`, `media`, `security`, `network`, `logging`, `delivery`, `store`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::forms::{self, ProxySetting, TimeOfDay};
use crate::config::reader::{section, Reader};
use crate::config::reload::{Class, C, H, R};
use crate::config::words::words;

section! {
    /// Conversations.
    pub struct Session {
        /// Who shares a conversation in direct messages.
        pub dm_scope: DmScope = word(H, "dmScope", DmScope::Main);
        /// pi's session files; the data root follows from it ([`Paths`](crate::config::Paths)).
        pub data_dir: PathBuf = path(R, "dataDir", "~/.pi/gateway/sessions");
        /// Conversations go on after a restart of the gateway.
        pub continue_on_restart: bool = flag(H, "continueOnRestart", true);
        /// Reset after that many hours without a message; 0 = off.
        pub idle_reset_hours: u32 = int(H, "idleResetHours", 0, 0..=8760);
        /// Reset at that time of day, when idle.
        pub daily_reset_at: Option<TimeOfDay> = time_or_off(H, "dailyResetAt");
    }
}

section! {
    /// Waiting messages.
    pub struct Queue {
        pub max_per_session: usize = int(H, "maxPerSession", 15, 1..=100);
        pub global_max_pending: usize = int(H, "globalMaxPending", 100, 1..=500);
        /// Quiet time before a batch starts.
        pub collect_debounce: Duration = millis(H, "collectDebounceMs", 1_500, 0..=10_000);
        /// After waiting that long for a pi, one "still waiting" notice.
        pub pool_wait_ttl: Duration = millis(H, "poolWaitTtlMs", 30_000, 1_000..=120_000);
        pub mode: QueueMode = word(H, "mode", QueueMode::Collect);
        pub drop_policy: DropPolicy = word(H, "dropPolicy", DropPolicy::Summarize);
        pub dedup: Dedup = object("dedup", Dedup::read);
        pub priority: Priority = object("priority", Priority::read);
    }
}

section! {
    /// Memory of what was received.
    pub struct Dedup {
        /// Accepted for old files: platform ids are always deduplicated.
        pub enabled: bool = flag(H, "enabled", true);
        /// Inbox rows kept per account for their ids, at least, besides those of 48 h.
        pub cache_size: usize = int(H, "cacheSize", 1_000, 100..=10_000);
        /// Accepted for old files; content is never compared.
        pub ttl: Duration = millis(H, "ttlMs", 60_000, 1_000..=600_000);
    }
}

section! {
    /// Which messages come first: higher first.
    pub struct Priority {
        pub dm: u8 = int(H, "dm", 10, 0..=100);
        pub group: u8 = int(H, "group", 5, 0..=100);
        pub webhook: u8 = int(H, "webhook", 3, 0..=100);
        pub allowlist_bonus: u8 = int(H, "allowlistBonus", 2, 0..=100);
    }
}

section! {
    /// Agents that hand work to other agents.
    pub struct Delegation {
        /// Of one delegation, if the call names none; also of a cron job.
        pub timeout: Duration = millis(H, "timeoutMs", 120_000, 1_000..=600_000);
        /// Cap of what a call may name.
        pub max_timeout: Duration = millis(H, "maxTimeoutMs", 600_000, 1_000..=3_600_000);
        pub on_timeout: OnTimeout = word(H, "onTimeout", OnTimeout::Abort);
        pub max_depth: u32 = int(H, "maxDepth", 1, 0..=5);
        /// Per delegating agent.
        pub max_concurrent: u32 = int(H, "maxConcurrent", 2, 1..=20);
        /// Allowed targets; `None` = all.
        pub allow_agents: Option<Vec<String>> = opt_texts(H, "allowAgents");
    }
}

section! {
    /// Files sent and received.
    pub struct Media {
        /// An agent may send files of its workspace and the temporary directory only.
        pub workspace_only: bool = flag(H, "workspaceOnly", true);
        /// Received files older than that many days are deleted.
        pub retention_days: u32 = int(H, "retentionDays", 30, 0..=36_500);
        /// Cap for all stored media in MB, the oldest go first.
        pub max_total_mb: u64 = int(H, "maxTotalMb", 500, 0..=100_000_000);
    }
}

section! {
    /// Guards.
    pub struct Security {
        pub exec: ExecGuard = object("exec", ExecGuard::read);
        pub ssrf: SsrfGuard = object("ssrf", SsrfGuard::read);
    }
}

section! {
    /// Which programs the gateway may start.
    pub struct ExecGuard {
        pub allowed_executables: Vec<String> = texts_or(R, "allowedExecutables", &["pi", "ps"]);
        pub enabled: bool = flag(R, "enabled", true);
        pub audit_log: bool = flag(R, "auditLog", true);
        pub block_unlisted: bool = flag(R, "blockUnlisted", true);
    }
}

impl ExecGuard {
    /// Programs that may be started; `command`'s as well if the guard is off.
    pub fn names(&self, command: &[String]) -> Vec<String> {
        let mut list = self.allowed_executables.clone();
        if !self.enabled || !self.block_unlisted {
            list.extend(command.first().and_then(|program| program.rsplit('/').next()).map(str::to_owned));
        }
        list
    }

    /// Whether a list holds a program, by its name or by the whole path it has.
    pub fn lists(list: &[String], program: &Path) -> bool {
        list.iter().any(|entry| match entry.contains('/') {
            true => Path::new(entry) == program,
            false => program.file_name().is_some_and(|name| name == entry.as_str()),
        })
    }
}

section! {
    /// Which hosts the gateway may fetch from on an agent's or user's behalf.
    pub struct SsrfGuard {
        pub allow_private: bool = flag(H, "allowPrivate", false);
        pub allow_localhost: bool = flag(H, "allowLocalhost", false);
        /// Not empty: all others are excluded. `*.example.com` matches the apex too.
        pub allowed_hosts: Vec<String> = texts(H, "allowedHosts");
        /// Wins over `allowed_hosts`.
        pub blocked_hosts: Vec<String> = texts(H, "blockedHosts");
        pub max_redirects: u32 = int(H, "maxRedirects", 3, 0..=5);
    }
}

section! {
    /// Outgoing connections.
    pub struct Network {
        /// Further trusted roots (PEM).
        pub ca_file: Option<PathBuf> = opt_path(R, "caFile");
        /// `None` = what the environment says ([`Network::env_proxy`]).
        pub proxy: Option<ProxySetting> = opt_parsed(C, "proxy", ProxySetting::parse);
        /// Hosts that are reached directly; `.example.com` matches subdomains. Loopback always is.
        pub no_proxy: Vec<String> = no_proxy(C, "noProxy");
        /// Proxies of the environment.
        pub env_proxy: EnvProxy = env_proxy();
    }
}

/// `HTTP_PROXY` and its relatives, in either case; empty ones are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnvProxy {
    pub http: Option<ProxySetting>,
    pub https: Option<ProxySetting>,
    pub all: Option<ProxySetting>,
}

section! {
    /// The log.
    pub struct Logging {
        /// Also into `<data>/logs/gateway-YYYY-MM-DD.log`.
        pub file: bool = flag(R, "file", false);
        pub level: LogLevel = word(H, "level", LogLevel::Info);
        /// A `RUST_LOG`-style filter from `PI_GATEWAY_LOG`; overrides `level`.
        pub filter: Option<String> = log_filter();
        /// Days that daily files are kept.
        pub retention_days: u32 = int(H, "retentionDays", 7, 1..=365);
        /// Cap of a day's file in MB.
        pub max_file_mb: u64 = int(H, "maxFileMb", 10, 1..=100_000);
        pub transcripts: Transcripts = word(H, "transcripts", Transcripts::Messages);
    }
}

section! {
    /// Replies on their way to a platform.
    pub struct Delivery {
        /// Undelivered replies older than that are given up.
        pub max_age: Duration = millis(H, "maxAgeMs", 86_400_000, 1_000..=31_536_000_000);
        pub on_ambiguous: OnAmbiguous = word(H, "onAmbiguous", OnAmbiguous::Resend);
        /// A reply of more chunks becomes the first chunk and a file; 0 = no limit.
        pub max_chunks: u32 = int(H, "maxChunks", 10, 0..=50);
    }
}

section! {
    /// The database.
    pub struct Store {
        /// Days that the content of finished rows is kept.
        pub keep_days: u32 = int(H, "keepDays", 7, 1..=90);
        pub durability: Durability = word(R, "durability", Durability::Power);
    }
}

words! {
    /// Who shares a conversation in direct messages.
    pub enum DmScope {
        Main = "main", PerPeer = "per-peer", PerChannelPeer = "per-channel-peer",
        PerAccountChannelPeer = "per-account-channel-peer",
    }
}

words! {
    /// What waiting messages become.
    pub enum QueueMode { Collect = "collect", Individual = "individual" }
}

words! {
    /// What a full queue does.
    pub enum DropPolicy { Summarize = "summarize", Old = "old", New = "new" }
}

words! {
    /// What becomes of a delegation that takes too long.
    pub enum OnTimeout { Abort = "abort", ReturnPartial = "return-partial" }
}

words! {
    /// How much is logged.
    pub enum LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug" }
}

words! {
    /// What the transcripts hold.
    pub enum Transcripts { Off = "off", Messages = "messages", Events = "events" }
}

words! {
    /// What becomes of a chunk that may have been sent before a crash.
    pub enum OnAmbiguous { Resend = "resend", Skip = "skip" }
}

words! {
    /// What an acknowledgement survives.
    pub enum Durability { Power = "power", Process = "process" }
}

impl Reader<'_> {
    fn time_or_off(&self, class: Class, name: &'static str) -> Option<TimeOfDay> {
        let parse = |text: &str| match text {
            "off" => Ok(None),
            _ => TimeOfDay::parse(text).map(Some),
        };
        self.parsed(class, name, "off", parse)
    }

    fn no_proxy(&self, class: Class, name: &'static str) -> Vec<String> {
        self.opt_texts(class, name).unwrap_or_else(|| {
            let hosts: Vec<String> = either_case(self, "NO_PROXY")
                .unwrap_or_default()
                .split(',')
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect();
            self.put(name, hosts.clone());
            hosts
        })
    }

    fn env_proxy(&self) -> EnvProxy {
        let get = |variable: &str| {
            let text = either_case(self, variable)?;
            // Many tools accept a proxy without scheme.
            let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
            match ProxySetting::parse(&url) {
                Ok(proxy) => Some(proxy),
                Err(_) => {
                    let text = format!("{variable} is not a proxy that can be used (http, socks5 or socks5h): ignored");
                    self.pass.push(super::super::Issue::new(super::super::Severity::Warning, "network.proxy", text));
                    None
                }
            }
        };
        EnvProxy { http: get("HTTP_PROXY"), https: get("HTTPS_PROXY"), all: get("ALL_PROXY") }
    }

    fn log_filter(&self) -> Option<String> {
        self.pass.env.var("PI_GATEWAY_LOG").map(str::to_owned)
    }
}

fn either_case<'a>(r: &'a Reader<'_>, name: &str) -> Option<&'a str> {
    r.pass.env.var(name).or_else(|| r.pass.env.var(&name.to_ascii_lowercase())).map(str::trim)
}

impl Network {
    /// The proxy for a URL's scheme, before `no_proxy` is looked at: `own` (a channel's or account's), else the
    /// configured one, else the environment's. `wss` counts as `https`, `ws` as `http`.
    pub fn proxy_for(&self, scheme: &str, own: Option<&ProxySetting>) -> Option<String> {
        let secure = matches!(scheme, "https" | "wss");
        let env = if secure { &self.env_proxy.https } else { &self.env_proxy.http };
        let setting = own.or(self.proxy.as_ref()).or(env.as_ref()).or(self.env_proxy.all.as_ref())?;
        match setting {
            ProxySetting::None => None,
            ProxySetting::Url(url) => Some(url.expose().to_owned()),
        }
    }

    /// Whether a host is reached without a proxy.
    pub fn is_direct(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        loopback || self.no_proxy.iter().any(|entry| forms::host_matches(entry, &host))
    }
}
