//! What the port and the hands may ask of the whole gateway: its configuration, a reload, a restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::process::{getpid, kill_process, Signal};
use serde_json::Value;

use super::reload::Reloader;
use crate::children::checkpoint::Checkpoint;
use crate::config::types::{Network, SsrfGuard};
use crate::http;
use crate::message::{Area, Level, Observation};
use crate::net::{Agent, Net, Purpose, Route};
use crate::roster::Roster;

/// Made before the parts it speaks for.
#[derive(Default)]
pub struct Operator {
    reloader: OnceLock<Arc<Reloader>>,
    /// A stop has begun; another signal would end the process at once.
    stopping: AtomicBool,
    restarting: AtomicBool,
    /// How the channels' accounts stand.
    pub roster: Arc<Roster>,
    /// Made when it is first asked for, and again when the configuration is another.
    fetcher: Mutex<Option<(Network, SsrfGuard, Agent)>>,
    /// Knows what was started.
    checkpoint: Option<Arc<Checkpoint>>,
}

impl Operator {
    pub fn new(checkpoint: Arc<Checkpoint>) -> Operator {
        Operator { checkpoint: Some(checkpoint), ..Operator::default() }
    }

    pub fn know(&self, reloader: Arc<Reloader>) {
        let _ = self.reloader.set(reloader); // once, at the start
    }

    pub fn restarting(&self) -> bool {
        self.restarting.load(Ordering::SeqCst)
    }

    /// A stop begins. False: it had begun already.
    pub fn stopping(&self) -> bool {
        !self.stopping.swap(true, Ordering::SeqCst)
    }

    /// Begins to stop as for SIGTERM; the end of it starts the gateway anew. False: a stop is under way already
    /// (a turn in the drain may ask for this, through the agent door).
    pub fn restart_now(&self) -> bool {
        let first = self.stopping();
        if first {
            self.restarting.store(true, Ordering::SeqCst);
            let _ = kill_process(getpid(), Signal::TERM); // to ourselves: cannot fail
        }
        first
    }
}

impl http::Operator for Operator {
    fn config(&self) -> Value {
        self.reloader.get().map_or(Value::Null, |r| r.redacted())
    }

    fn reload(&self) -> Result<(), String> {
        self.reloader.get().map_or(Err("the gateway is starting".into()), |r| r.apart())
    }

    fn started(&self, limit: usize) -> Vec<Value> {
        self.checkpoint.as_ref().map_or(Vec::new(), |c| c.started(limit))
    }

    fn roster(&self) -> Arc<Roster> {
        self.roster.clone()
    }

    fn restart_channel(&self, channel: &str, account: Option<&str>) -> bool {
        self.reloader.get().is_some_and(|r| r.restart_channel(channel, account))
    }

    fn fetcher(&self) -> Result<Agent, String> {
        let config = self.reloader.get().ok_or("the gateway is starting")?.config();
        let (network, rules) = (&config.network, &config.security.ssrf);
        let mut kept = self.fetcher.lock().unwrap_or_else(|e| e.into_inner());
        match &*kept {
            Some((n, r, agent)) if (n, r) == (network, rules) => Ok(agent.clone()),
            _ => {
                let builder = Net::open(network)?.agent(Purpose::Files).route(Route::new(network, None)?);
                let agent = builder.guarded(rules.clone()).build();
                *kept = Some((network.clone(), rules.clone(), agent.clone()));
                Ok(agent)
            }
        }
    }

    fn restart(&self) -> Result<(), http::NoRestart> {
        let enabled = self.reloader.get().is_some_and(|r| r.config().gateway.commands.restart);
        let done = match () {
            () if !enabled => Err(http::NoRestart::Disabled),
            () if self.restart_now() => Ok(()),
            () => Err(http::NoRestart::Pending),
        };
        let (level, message) = match done {
            Ok(()) => (Level::Info, "Gateway restarting"),
            Err(http::NoRestart::Disabled) => (Level::Warn, "Restart is disabled"),
            Err(http::NoRestart::Pending) => (Level::Warn, "A restart was asked for while the gateway stops"),
        };
        if let Some(r) = self.reloader.get() {
            r.observe(Observation::new(level, Area::Gateway, "restart", message));
        }
        done
    }
}
