//! What the port must know of the configuration. The composition root fills it and may swap it at run time.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::media::MediaKey;
use crate::message::Address;
use crate::routing::{agent_of, prefixed, with_agent};

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    Off,
    Token(String),
    Password(String),
}

impl Auth {
    pub fn secret(&self) -> Option<&str> {
        match self {
            Auth::Off => None,
            Auth::Token(s) | Auth::Password(s) => Some(s),
        }
    }
}

/// `gateway.cors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    Bearer,
    SameOrigin,
}

/// A network of a trusted proxy: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub addr: IpAddr,
    pub bits: u8,
}

impl Net {
    /// `10.0.0.0/8`, `::1`.
    pub fn parse(text: &str) -> Option<Net> {
        let (addr, bits) = match text.split_once('/') {
            Some((a, b)) => (a, Some(b.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.trim().parse().ok()?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Net { addr, bits })
    }

    pub fn holds(&self, ip: IpAddr) -> bool {
        let cut = |n: u128, width: u32| n.checked_shr(width - u32::from(self.bits)).unwrap_or(0);
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => cut(u128::from(u32::from(a)), 32) == cut(u128::from(u32::from(b)), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => cut(a.into(), 128) == cut(b.into(), 128),
            _ => false,
        }
    }
}

/// Sizes and counts (R54, config.md 2).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open connections in all, and per address that is not loopback. Read once, at the start.
    pub connections: usize,
    pub per_address: usize,
    /// Requests that wait for a turn.
    pub waiting: usize,
    /// Bodies, bytes.
    pub body: usize,
    pub chat_body: usize,
    /// Outbound queue of one WebSocket: bytes and frames.
    pub ws_bytes: usize,
    pub ws_frames: usize,
    /// WebSocket messages in, bytes.
    pub ws_message: usize,
    /// WebSockets that have not authenticated yet.
    pub ws_strangers: usize,
    /// Requests per second of one WebSocket, sustained; the burst is twice that.
    pub ws_rate: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            per_address: 64,
            waiting: 64,
            body: 1 << 20,
            chat_body: 16 << 20,
            ws_bytes: 1 << 20,
            ws_frames: 512,
            ws_message: 8 << 20,
            ws_strangers: 16,
            ws_rate: 60,
        }
    }
}

/// Deadlines (R28, R45, R55). Tests make them short.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// A head, from its first byte.
    pub head: Duration,
    /// Keep-alive without a request.
    pub idle: Duration,
    /// A body: this, and one second more per 64 KiB.
    pub body: Duration,
    /// A write without progress, and one answer or frame in all.
    pub stall: Duration,
    pub write: Duration,
    /// After an early refusal the rest of the request is read for so long, that the client sees the answer.
    pub linger: Duration,
    /// Comment lines of an event stream.
    pub comment: Duration,
    /// How often a waiting request looks whether its client left.
    pub peek: Duration,
    /// Until a message is on disk.
    pub accept: Duration,
    /// Until the reply to a message; the mind's own limit for a turn ends the wait sooner.
    pub reply: Duration,
    /// Other questions to the mind.
    pub ask: Duration,
    /// A WebSocket that does not authenticate.
    pub ws_login: Duration,
    /// Ping and tick.
    pub ws_tick: Duration,
    /// A WebSocket without any frame from the client.
    pub ws_idle: Duration,
    /// Delay of a wrong secret from loopback (R35).
    pub wrong: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let s = Duration::from_secs;
        Times {
            head: s(10),
            idle: s(60),
            body: s(20),
            stall: s(15),
            write: s(60),
            linger: s(1),
            comment: s(15),
            peek: s(1),
            accept: s(30),
            reply: s(3600),
            ask: s(10),
            ws_login: s(10),
            ws_tick: s(30),
            ws_idle: s(75),
            wrong: Duration::from_millis(200),
        }
    }
}

/// What the page is told about the agent behind the gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentLabel {
    /// `pi`, `demo`.
    pub kind: String,
    pub version: String,
    pub demo: bool,
}

/// Incoming webhooks (config.md `hooks`).
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    pub enabled: bool,
    /// Prefix of their routes, without a slash at its end.
    pub path: String,
    /// Taken besides the gateway's secret.
    pub token: Option<String>,
    /// HMAC-SHA256 key of signed calls.
    pub secret: Option<String>,
    /// Sessions they may name besides those there are; `*` at the end stands for anything.
    pub sessions: Vec<String>,
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks { enabled: false, path: "/hooks".into(), token: None, secret: None, sessions: Vec::new() }
    }
}

/// `gateway.openai.thinking` (R66).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// `delta.reasoning_content`.
    #[default]
    Reasoning,
    /// Inline in the text, between `<think>` and `</think>`.
    Tags,
    Off,
}

/// `gateway.openai`: how `/v1` behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAi {
    /// A request that names no session gets one of its own.
    pub stateless: bool,
    pub thinking: Thinking,
    pub abort_on_disconnect: bool,
    /// Every configured agent; the models `agent/<id>`.
    pub agents: Vec<String>,
    /// Agent of requests that name none.
    pub agent: String,
    /// The name echoed to requests that name no model: `agent.model`.
    pub model: String,
}

impl Default for OpenAi {
    fn default() -> OpenAi {
        OpenAi {
            stateless: false,
            thinking: Thinking::default(),
            abort_on_disconnect: true,
            agents: Vec::new(),
            agent: "main".into(),
            model: "pi-gateway".into(),
        }
    }
}

/// Links to files (config.md: `channels.webchat`, `media`).
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    pub key: MediaKey,
    /// How long a link is good.
    pub ttl: Duration,
    /// Files elsewhere than in the workspace and in `temp` are refused.
    pub workspace_only: bool,
    pub temp: PathBuf,
}

impl Default for Media {
    fn default() -> Media {
        Media { key: MediaKey::random(), ttl: Duration::from_secs(3600), workspace_only: true, temp: "/tmp".into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Addresses to listen on. Read once, at the start.
    pub listen: Vec<SocketAddr>,
    pub auth: Auth,
    /// Mode `off` was asked for on purpose; on other than loopback addresses `lan` must be set too.
    pub allow_unauthenticated: bool,
    pub allow_lan: bool,
    pub local_open: bool,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub cors: Cors,
    pub trusted_proxies: Vec<Net>,
    pub limits: Limits,
    pub times: Times,
    pub metrics_public: bool,
    /// Serve the web page.
    pub page: bool,
    pub media_dir: PathBuf,
    /// One picture that comes in, one file that goes out, bytes.
    pub media_max: usize,
    pub media: Media,
    /// Cookie logins as hashes (0600); `None`: they end with the process.
    pub logins_file: Option<PathBuf>,
    pub version: String,
    pub agent: AgentLabel,
    pub hooks: Hooks,
    /// Scheduled jobs are switched on.
    pub cron: bool,
    /// Roles: their directories, and the names the configuration knows.
    pub roles_dir: PathBuf,
    pub role_names: Vec<String>,
    pub transcripts_dir: PathBuf,
    /// Ids of the running channels, for health.
    pub channels: Vec<String>,
    /// Channels that messages can be sent to, and their accounts.
    pub accounts: Vec<(String, String)>,
    /// Reads what people write for a place of theirs.
    pub address: Address,
    /// A configuration that could not be loaded, for health.
    pub config_error: Option<String>,
    /// Keys that were changed and take effect after a restart, for health.
    pub restart_needed: Vec<String>,
    /// Default session of HTTP routes and of the chat methods.
    pub main_session: String,
    pub web_session: String,
    /// Agents that `/<id> text` reaches.
    pub agents: Vec<String>,
    pub openai: OpenAi,
}

impl Settings {
    /// Session and text of a message: `/<agent> text` goes to the same place with that agent.
    pub fn addressed(&self, session: &str, text: String) -> (String, String) {
        match prefixed(&self.agents, &text).filter(|(_, rest)| !rest.is_empty()) {
            Some((agent, rest)) if agent_of(session).is_some() => (with_agent(session, agent), rest.to_owned()),
            _ => (session.to_owned(), text),
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 52134))],
            auth: Auth::Off,
            allow_unauthenticated: false,
            allow_lan: false,
            local_open: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            cors: Cors::Bearer,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            times: Times::default(),
            metrics_public: false,
            page: true,
            media_dir: std::env::temp_dir(),
            media_max: 10 << 20,
            media: Media::default(),
            logins_file: None,
            version: env!("CARGO_PKG_VERSION").into(),
            agent: AgentLabel::default(),
            hooks: Hooks::default(),
            cron: false,
            roles_dir: PathBuf::new(),
            role_names: Vec::new(),
            transcripts_dir: PathBuf::new(),
            accounts: Vec::new(),
            address: Address::default(),
            channels: Vec::new(),
            config_error: None,
            restart_needed: Vec::new(),
            main_session: "agent:main:main:main".into(),
            web_session: "agent:main:webchat:default".into(),
            agents: Vec::new(),
            openai: OpenAi::default(),
        }
    }
}

impl Settings {
    /// Reasons not to open the port (gateway-api.md 1.2, R38).
    pub fn check(&self) -> Result<(), String> {
        match &self.auth {
            Auth::Off if !self.allow_unauthenticated => Err(
                "gateway.auth.mode is \"off\": set gateway.auth.allowUnauthenticated to true to run without a secret"
                    .into(),
            ),
            Auth::Off if !self.allow_lan && self.listen.iter().any(|a| !a.ip().is_loopback()) => {
                Err("gateway.auth.mode is \"off\" and gateway.bind is not loopback: anyone on the network could use \
                     the agent. Set a token, or gateway.auth.allowUnauthenticated to \"lan\""
                    .into())
            }
            Auth::Token(s) | Auth::Password(s) if s.is_empty() => Err("gateway.auth: the secret is empty".into()),
            _ => Ok(()),
        }
    }
}

/// A value that is read often and replaced rarely.
#[derive(Debug)]
pub struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    pub fn new(value: T) -> Swap<T> {
        Swap(RwLock::new(Arc::new(value)))
    }
    pub fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
    /// Puts a new value, gives the old one.
    pub fn set(&self, value: T) -> Arc<T> {
        std::mem::replace(&mut self.0.write().unwrap_or_else(|e| e.into_inner()), Arc::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (net, ip, inside) in [
            ("10.0.0.0/8", "10.200.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.8", false),
            ("fd00::/8", "fd12::1", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ] {
            let net = Net::parse(net).unwrap();
            assert_eq!(net.holds(ip.parse().unwrap()), inside, "{net:?} {ip}");
        }
        assert!(Net::parse("10.0.0.0/33").is_none() && Net::parse("host").is_none());
    }

    #[test]
    fn without_a_secret_the_port_opens_only_when_that_was_asked_for() {
        let off = Settings::default();
        assert!(off.check().is_err());
        let local = Settings { allow_unauthenticated: true, ..off };
        assert!(local.check().is_ok());
        let lan = Settings { listen: vec!["0.0.0.0:1".parse().unwrap()], ..local };
        assert!(lan.check().is_err());
        assert!(Settings { allow_lan: true, ..lan }.check().is_ok());
    }
}
