//! Reload of the configuration: all or nothing (config.md 1.6).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::carry::Carrier;
use super::doors::Doors;
use super::logging::Log;
use super::{logging, settings, start, Options};
use crate::config::{self, Config, Env, Loaded};
use crate::http::AgentLabel;
use crate::message::{Area, Level, Observation, Request};

/// Editors write in several steps.
const SETTLE: Duration = Duration::from_millis(500);
/// Reading a configuration takes more than a connection's thread has, bytes.
const STACK: usize = 512 << 10;

pub struct Reloader {
    path: PathBuf,
    options: Options,
    env: Env,
    carrier: Arc<Carrier>,
    doors: Arc<Doors>,
    log: Log,
    state: Mutex<State>,
    pending: AtomicBool,
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("reload".into()).stack_size(STACK)
}

struct State {
    /// What the gateway began with: keys that differ from it and cannot change now wait for a restart.
    started: Loaded,
    waiting: Vec<String>,
    loaded: Loaded,
    generation: u32,
}

impl Reloader {
    pub fn new(
        loaded: Loaded,
        options: Options,
        env: Env,
        carrier: Arc<Carrier>,
        doors: Arc<Doors>,
        log: Log,
    ) -> Arc<Reloader> {
        let path = loaded.path.clone();
        let state = Mutex::new(State { started: loaded.clone(), waiting: Vec::new(), loaded, generation: 0 });
        Arc::new(Reloader { path, options, env, carrier, doors, log, state, pending: AtomicBool::new(false) })
    }

    /// The file in use.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reloads half a second from now; changes until then count as one.
    pub fn soon(self: &Arc<Self>) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = self.clone();
        let run = move || {
            std::thread::sleep(SETTLE);
            this.pending.store(false, Ordering::SeqCst);
            let _ = this.now(); // it has said in the log what is wrong
        };
        if let Err(e) = thread().spawn(run) {
            self.pending.store(false, Ordering::SeqCst);
            log::error!("no thread to reload the configuration: {e}");
        }
    }

    /// Reloads on a thread of its own and waits for it.
    pub fn apart(self: &Arc<Self>) -> Result<(), String> {
        let this = self.clone();
        let run = thread().spawn(move || this.now()).map_err(|e| format!("no thread to reload: {e}"))?;
        run.join().unwrap_or_else(|_| Err("the reload stumbled; it is in the log".into()))
    }

    /// The effective configuration without secrets.
    pub fn redacted(&self) -> Value {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).loaded.redacted()
    }

    pub fn config(&self) -> Arc<Config> {
        self.carrier.config.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Reads the file again. `Err`: what is wrong with it; then everything stays as it was.
    pub fn now(&self) -> Result<(), String> {
        let done = self.read();
        self.observe(match &done {
            Ok(()) => Observation::new(Level::Info, Area::Gateway, "reload", "Config reloaded"),
            Err(why) => Observation::new(Level::Error, Area::Gateway, "reload", format!("Config reload failed: {why}")),
        });
        done
    }

    /// Begins an account of a channel anew; false: there is none.
    pub fn restart_channel(&self, channel: &str, account: Option<&str>) -> bool {
        self.carrier.accounts.restart(channel, account)
    }

    /// For the operator's list of what happened.
    pub fn observe(&self, seen: Observation) {
        self.doors.observe(seen);
    }

    fn read(&self) -> Result<(), String> {
        let o = &self.options;
        let wanted = config::Options {
            file: o.config.clone(),
            strict: o.strict,
            allow_missing: o.allow_defaults,
            port: o.port,
            bind: o.bind.clone(),
            plugin_channels: Vec::new(),
        };
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let mut new = match config::load(&self.env, &wanted) {
            Ok(new) => new,
            Err(issues) => {
                for issue in issues.iter().filter(|issue| issue.severity != config::Severity::Info) {
                    log::error!("{issue}");
                }
                log::error!("the configuration was not reloaded; the old one stays");
                let why = issues.first().map(ToString::to_string);
                self.apply(&state.loaded, None, why.clone(), &state.waiting);
                return Err(why.unwrap_or_else(|| "the configuration cannot be read".into()));
            }
        };
        self.log.learn(&new.config);
        // What may be started is settled at the start: a changed file does not loosen the guard.
        new.config.security.exec = state.loaded.config.security.exec.clone();
        let label = start::choose_agent(&mut new.config, o, &self.env);
        start::settle_agent(self.carrier.children.checkpoint(), &new.config, &self.env);
        let changes = config::reload::changes(&state.loaded, &new);
        for key in &changes.restart {
            log::warn!("{key} takes effect after a restart");
        }
        if changes.recycles_pi() {
            state.generation += 1;
        }
        let config = Arc::new(new.config.clone());
        log::set_max_level(logging::level(&config, o.verbose));
        let paths = new.paths(&self.env);
        *self.carrier.config.write().unwrap_or_else(|e| e.into_inner()) = config.clone();
        let rules = Arc::new(settings::rules(&config, &paths, &self.env, state.generation));
        self.carrier.mind.ask(Request::Reload(rules), Duration::from_secs(10));
        self.carrier.accounts.apply(&config, &self.carrier.callers);
        state.waiting = config::reload::changes(&state.started, &new).restart;
        self.apply(&new, Some(label), None, &state.waiting);
        match changes.hot.len() + changes.next_pi.len() + changes.channel.len() {
            0 if changes.is_empty() => log::info!("the configuration was read again, nothing has changed"),
            changed => log::info!("configuration reloaded: {changed} keys changed"),
        }
        state.loaded = new;
        Ok(())
    }

    fn apply(&self, loaded: &Loaded, label: Option<AgentLabel>, problem: Option<String>, waiting: &[String]) {
        let paths = loaded.paths(&self.env);
        let secret = match start::secret(&loaded.config, &paths) {
            Ok((secret, _)) => secret,
            Err(e) => return log::error!("{e}; access stays as it was"),
        };
        let media_secret = match start::media_secret(&loaded.config, &paths) {
            Ok(secret) => secret,
            Err(e) => return log::error!("{e}; access stays as it was"),
        };
        let label = label.unwrap_or_else(|| start::choose_agent(&mut loaded.config.clone(), &self.options, &self.env));
        let mut port = settings::port(&loaded.config, &paths, secret, &media_secret, label, !self.options.no_gui);
        port.config_error = problem;
        port.restart_needed = waiting.to_vec();
        self.doors.apply(&loaded.config, port);
    }
}
