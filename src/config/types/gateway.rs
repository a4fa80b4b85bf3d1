//! `gateway`: the port, who may use it, and its limits.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::config::forms;
use crate::config::node::{Kind, Node};
use crate::config::reader::{flag_of, section, show};
use crate::config::reload::{H, R};
use crate::config::secret::Secret;
use crate::config::words::words;

use super::LogLevel;

section! {
    /// The port, who may use it, and its limits.
    pub struct Gateway {
        pub port: u16 = int(R, "port", 52134, 1..=65535);
        pub bind: Bind = parsed(R, "bind", "loopback", Bind::parse);
        /// Alias of `logging.level`, which wins.
        pub log_level: Option<LogLevel> = opt_word(H, "logLevel");
        pub auth: Auth = object("auth", Auth::read);
        pub commands: GatewayCommands = object("commands", GatewayCommands::read);
        /// Target of notices for the operator.
        pub operator: Option<String> = opt_parsed(H, "operator", forms::target);
        /// Peers whose `X-Forwarded-*` headers are believed: addresses or CIDR ranges.
        pub trusted_proxies: Vec<Cidr> = cidrs(R, "trustedProxies");
        /// Further accepted `Host` names; `*` switches the check off.
        pub allowed_hosts: Vec<String> = texts(H, "allowedHosts");
        /// Further accepted `Origin`s.
        pub allowed_origins: Vec<String> = texts(H, "allowedOrigins");
        pub cors: Cors = word(H, "cors", Cors::Bearer);
        /// Time for running turns at shutdown.
        pub drain: Duration = millis(H, "drainMs", 60_000, 0..=600_000);
        /// Port of the agent door on 127.0.0.1; 0 = any free one.
        pub agent_port: u16 = int(R, "agentPort", 0, 0..=65535);
        pub limits: GatewayLimits = object("limits", GatewayLimits::read);
        pub ws: WebSockets = object("ws", WebSockets::read);
        pub metrics: Metrics = object("metrics", Metrics::read);
        pub openai: OpenAi = object("openai", OpenAi::read);
    }
}

section! {
    /// Authentication of HTTP and WebSocket callers.
    pub struct Auth {
        pub mode: AuthMode = word(H, "mode", AuthMode::Token);
        /// `None` in token mode: use the stored, generated token.
        pub token: Option<Secret> = secret(H, "token", "tokenFile");
        pub password: Option<Secret> = secret(H, "password", "passwordFile");
        /// Consent to mode `off`.
        pub allow_unauthenticated: Unauthenticated =
            custom(R, "allowUnauthenticated", (Unauthenticated::No, Value::Bool(false)), Unauthenticated::parse);
        /// Loopback peers without `Origin` and forwarding headers need no secret.
        pub local_open: bool = flag(H, "localOpen", false);
        /// Print a generated token at first start instead of the path of its file.
        pub log_token: bool = flag(R, "logToken", false);
    }
}

section! {
    /// Commands that are off unless switched on.
    pub struct GatewayCommands {
        pub restart: bool = flag(H, "restart", false);
        pub bash: bool = flag(H, "bash", false);
        /// Messages that act as `/stop` (compared trimmed, in any case).
        pub abort_words: Vec<String> = texts(H, "abortWords");
    }
}

section! {
    /// Caps of the HTTP doors.
    pub struct GatewayLimits {
        pub max_connections: usize = int(R, "maxConnections", 256, 8..=4096);
        /// Connections of one address; not for loopback.
        pub max_per_address: usize = int(R, "maxPerAddress", 64, 8..=4096);
        /// Requests that wait for a turn, a keyboard or a platform, each door for itself.
        pub max_waiting: usize = int(H, "maxWaiting", 64, 1..=1024);
        /// Request body in KiB.
        pub body_kb: usize = int(H, "bodyKb", 1024, 16..=16384);
        /// Body of chat requests with images in MiB.
        pub chat_body_mb: usize = int(H, "chatBodyMb", 16, 1..=64);
    }
}

section! {
    /// WebSocket connections.
    pub struct WebSockets {
        /// Outbound queue of one connection in bytes; above, it is closed.
        pub max_buffered_bytes: usize = int(H, "maxBufferedBytes", 1_048_576, 65_536..=67_108_864);
    }
}

section! {
    /// `GET /metrics`.
    pub struct Metrics {
        /// Without secret for loopback peers.
        pub public: bool = flag(H, "public", false);
    }
}

section! {
    /// The OpenAI-compatible endpoint.
    pub struct OpenAi {
        pub session: OpenAiSession = word(H, "session", OpenAiSession::Main);
        pub thinking: OpenAiThinking = word(H, "thinking", OpenAiThinking::Reasoning);
        pub abort_on_disconnect: bool = flag(H, "abortOnDisconnect", true);
    }
}

words! {
    /// How callers prove who they are.
    pub enum AuthMode { Off = "off", Token = "token", Password = "password" }
}

words! {
    /// Which browsers may read answers.
    pub enum Cors { Bearer = "bearer", SameOrigin = "same-origin" }
}

words! {
    /// Session of `/v1` calls that name none.
    pub enum OpenAiSession { Main = "main", Stateless = "stateless" }
}

words! {
    /// Form of thinking in `/v1` answers.
    pub enum OpenAiThinking { Reasoning = "reasoning", ThinkTags = "think-tags", Off = "off" }
}

/// Addresses to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// 127.0.0.1, and ::1 if available.
    Loopback,
    /// All interfaces.
    All,
    Address(IpAddr),
}

impl Bind {
    /// Reads `loopback`, `lan`, `auto` or an IP address.
    pub fn parse(text: &str) -> Result<Bind, String> {
        match text {
            "loopback" => Ok(Bind::Loopback),
            "lan" | "auto" => Ok(Bind::All),
            _ => match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => Ok(Bind::All),
                Ok(address) => Ok(Bind::Address(address)),
                Err(_) => Err(format!("must be loopback, lan, auto or an IP address, found {}", Value::from(text))),
            },
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(self) -> bool {
        match self {
            Bind::Loopback => true,
            Bind::All => false,
            Bind::Address(address) => address.is_loopback(),
        }
    }
}

/// How far mode `off` is agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    No,
    /// On loopback only.
    Yes,
    /// On any bind.
    Lan,
}

impl Unauthenticated {
    fn parse(node: &Node) -> Result<Unauthenticated, String> {
        match (flag_of(node), node.text()) {
            (Some(true), _) => Ok(Unauthenticated::Yes),
            (Some(false), _) => Ok(Unauthenticated::No),
            (None, Some("lan")) => Ok(Unauthenticated::Lan),
            _ => Err(format!("must be true, false or \"lan\", found {}", show("", node))),
        }
    }
}

/// An address range; a single address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    /// Leading bits that must be equal.
    pub bits: u8,
}

impl Cidr {
    /// Reads `10.0.0.1` or `10.0.0.0/8`.
    pub fn parse(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("must be an IP address or range such as 10.0.0.0/8, found {}", Value::from(text));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits =
            bits.map_or(Some(most), |bits| bits.trim().parse().ok().filter(|bits| *bits <= most)).ok_or_else(wrong)?;
        Ok(Cidr { address, bits })
    }

    /// Whether an address lies in the range. An IPv4 address may come mapped into IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shared =
            |a: u128, b: u128, size: u32| u32::from(self.bits) == 0 || (a ^ b) >> (size - u32::from(self.bits)) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => shared(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

impl crate::config::reader::Reader<'_> {
    fn cidrs(&self, class: crate::config::reload::Class, name: &'static str) -> Vec<Cidr> {
        let parse = |node: &Node| match &node.kind {
            Kind::Text(text) => Cidr::parse(text).map(|cidr| (cidr, Value::from(text.as_str()))),
            _ => Err(format!("must be a string, found {}", show(name, node))),
        };
        self.opt_list(class, name, "addresses", parse).unwrap_or_else(|| {
            self.put(name, Value::Array(Vec::new()));
            Vec::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        for (text, loopback) in [
            ("loopback", true),
            ("lan", false),
            ("auto", false),
            ("0.0.0.0", false),
            ("::", false),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("192.168.1.5", false),
        ] {
            assert_eq!(Bind::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
        assert!(Bind::parse("eth0").is_err());
    }

    #[test]
    fn ranges() {
        for (range, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
        ] {
            assert_eq!(Cidr::parse(range).unwrap().contains(address.parse().unwrap()), inside, "{range} {address}");
        }
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129"] {
            assert!(Cidr::parse(wrong).is_err(), "{wrong}");
        }
    }
}
