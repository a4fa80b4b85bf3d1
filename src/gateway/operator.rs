//! What the port and the hands may ask of the whole gateway: its configuration, a reload, a restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{getpid, kill_process, Signal};
use serde_json::Value;

use super::reload::Reloader;
use crate::http;

/// Made before the parts it speaks for.
#[derive(Default)]
pub struct Operator {
    reloader: OnceLock<Arc<Reloader>>,
    restarting: AtomicBool,
}

impl Operator {
    pub fn know(&self, reloader: Arc<Reloader>) {
        let _ = self.reloader.set(reloader); // once, at the start
    }

    pub fn restarting(&self) -> bool {
        self.restarting.load(Ordering::SeqCst)
    }

    /// Begins to stop as for SIGTERM; the end of it starts the gateway anew. False: that is under way already.
    pub fn restart_now(&self) -> bool {
        let first = !self.restarting.swap(true, Ordering::SeqCst);
        if first {
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

    fn restart(&self) -> Result<(), http::NoRestart> {
        let enabled = self.reloader.get().is_some_and(|r| r.config().gateway.commands.restart);
        match () {
            () if !enabled => Err(http::NoRestart::Disabled),
            () if self.restart_now() => Ok(()),
            () => Err(http::NoRestart::Pending),
        }
    }
}
