//! What people, disks, agents and clients do wrong to the whole gateway, and what they are told.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "bad_input/agent.rs"]
mod agent;
#[path = "bad_input/clients.rs"]
mod clients;
#[path = "bad_input/config.rs"]
mod config;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/life.rs"]
mod life;
#[path = "bad_input/salvage.rs"]
mod salvage;
#[path = "bad_input/stop.rs"]
mod stop;
#[path = "bad_input/watchdog.rs"]
mod watchdog;

pub const MAIN: &str = "agent:main:webchat:default";

/// A gateway with the stand-in as its pi; not started yet.
pub fn with_pi(pi: &support::fake_pi::FakePi, config: serde_json::Value) -> support::gateway::Gateway {
    let mut all = serde_json::json!({"agent": {"piCliPath": pi.program()}});
    support::gateway::merge(&mut all, config);
    support::gateway::Gateway::new(all)
}
