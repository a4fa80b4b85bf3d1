//! The settings, section by section. Each struct lists its keys once: type, reload class, default, range.
//!
//! Values are effective: paths absolute, durations as [`Duration`](std::time::Duration), accounts with what they
//! inherit. `Option` means "not set" unless the field says otherwise.

mod agent;
mod agents;
mod automation;
mod channels;
mod discord;
mod feishu;
mod gateway;
mod operation;
mod telegram;

use std::collections::BTreeSet;

pub use agent::*;
pub use agents::*;
pub use automation::*;
pub use channels::*;
pub use discord::*;
pub use feishu::*;
pub use gateway::*;
pub use operation::*;
pub use telegram::*;

use super::reader::Reader;
use super::secret::Secret;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub gateway: Gateway,
    pub agent: Agent,
    pub session: Session,
    pub queue: Queue,
    pub delegation: Delegation,
    pub media: Media,
    pub security: Security,
    pub network: Network,
    pub agents: Agents,
    pub roles: Roles,
    pub plugins: Plugins,
    pub hooks: Hooks,
    pub cron: Cron,
    pub heartbeat: Heartbeat,
    pub logging: Logging,
    pub delivery: Delivery,
    pub store: Store,
    pub channels: Channels,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) vars_outside_agent: BTreeSet<String>,
}

impl Config {
    pub(crate) fn read(r: &Reader<'_>) -> Config {
        Config {
            gateway: r.object("gateway", Gateway::read),
            agent: r.object("agent", Agent::read),
            session: r.object("session", Session::read),
            queue: r.object("queue", Queue::read),
            delegation: r.object("delegation", Delegation::read),
            media: r.object("media", Media::read),
            security: r.object("security", Security::read),
            network: r.object("network", Network::read),
            agents: r.object("agents", Agents::read),
            roles: r.object("roles", Roles::read),
            plugins: r.object("plugins", Plugins::read),
            hooks: r.object("hooks", Hooks::read),
            cron: r.object("cron", Cron::read),
            heartbeat: r.object("heartbeat", Heartbeat::read),
            logging: r.object("logging", Logging::read),
            delivery: r.object("delivery", Delivery::read),
            store: r.object("store", Store::read),
            channels: r.object("channels", Channels::read),
            secrets: Vec::new(),
            vars_outside_agent: BTreeSet::new(),
        }
    }

    /// Every secret value that was loaded, for the redaction of logs.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Variables that a pi process must not inherit: what this file uses outside `agent` under a name like
    /// `..._TOKEN`, and the credentials that are read without being named in the file.
    pub fn vars_to_hide_from_pi(&self) -> BTreeSet<&str> {
        let secret = |name: &&String| ["_TOKEN", "_SECRET", "_PASSWORD"].iter().any(|end| name.ends_with(end));
        let used = self.vars_outside_agent.iter().filter(secret).map(String::as_str);
        used.chain(["TELEGRAM_BOT_TOKEN", "PI_GATEWAY_AUTH_TOKEN"]).collect()
    }

    /// Variables used as `${NAME}` anywhere outside `agent`.
    pub fn vars_outside_agent(&self) -> &BTreeSet<String> {
        &self.vars_outside_agent
    }

    /// What an agent may delegate: its own limits, else the global ones.
    pub fn delegation_of(&self, agent: &str) -> AgentDelegation {
        let own = self.agents.list.iter().find(|entry| entry.id == agent).and_then(|entry| entry.delegation.as_ref());
        AgentDelegation {
            allow_agents: own.and_then(|own| own.allow_agents.clone()).or_else(|| self.delegation.allow_agents.clone()),
            max_concurrent: Some(own.and_then(|own| own.max_concurrent).unwrap_or(self.delegation.max_concurrent)),
            max_depth: Some(own.and_then(|own| own.max_depth).unwrap_or(self.delegation.max_depth)),
        }
    }

    /// The heartbeat of an agent: its own, else the global one.
    pub fn heartbeat_of(&self, agent: &str) -> &Heartbeat {
        let own = self.agents.list.iter().find(|entry| entry.id == agent).and_then(|entry| entry.heartbeat.as_ref());
        own.unwrap_or(&self.heartbeat)
    }
}
