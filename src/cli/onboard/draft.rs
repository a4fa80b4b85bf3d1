//! From what is wanted to the text of a file: only what differs from what already counts is written.

use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::given::{absolute, variable, Given, Secrets};
use crate::config::edit::{self, Change};
use crate::config::types::{AuthMode, Bind, ExecGuard, Unauthenticated};
use crate::config::{self, Env, Issue, Loaded, Options};

/// Where the agent works, unless said otherwise (config.md 10.2).
pub const WORKSPACE: &str = "~/.pi/gateway/workspace";

const HEAD: &str = "\
// Configuration of pi-gateway, written by `pi-gw onboard`.
//
// What is not here has its default: `pi-gw config show` lists everything,
// `pi-gw config check` says what is wrong. A running gateway reads this file
// again when it is saved.
";

/// What the draft begins with.
pub struct Base {
    pub path: PathBuf,
    /// What is in the file; `None`: there is none.
    pub old: Option<Vec<u8>>,
    /// Whether the old content goes.
    pub reset: bool,
    /// What counts before: the file's, or the defaults.
    pub loaded: Loaded,
    /// Without what would count in place of the file.
    pub env: Env,
}

/// A file that could be written.
pub struct Draft {
    pub text: String,
    pub loaded: Loaded,
    /// With the new variables.
    pub env: Env,
    /// `NAME`, value: to be put into `<data>/env`.
    pub vars: Vec<(String, String)>,
    /// Key paths.
    pub changed: Vec<String>,
    /// What the user has to know.
    pub notes: Vec<String>,
}

impl Base {
    /// `Err`: the file's errors.
    pub fn new(path: &Path, reset: bool, env: &Env) -> Result<Base, Vec<Issue>> {
        let mut env = env.clone();
        for name in ["PI_GATEWAY_PORT", "PI_GATEWAY_AUTH_TOKEN"] {
            // Named in the file they count; by themselves they would hide what is in it.
            if !std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("${{{name}"))) {
                env.vars.remove(name);
            }
        }
        let old = match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let text = format!("cannot read {}: {error}", path.display());
                return Err(vec![Issue::new(config::Severity::Error, "", text)]);
            }
        };
        let kept = old.clone().filter(|_| !reset);
        let bytes = kept.unwrap_or_else(|| b"{}".to_vec());
        let loaded = config::load_bytes(bytes, path, &env, &Options::default())?;
        Ok(Base { path: path.to_owned(), old, reset, loaded, env })
    }

    /// What stays of the file, if there is something.
    pub fn kept(&self) -> Option<&Vec<u8>> {
        self.old.as_ref().filter(|_| !self.reset)
    }

    /// The file with what is wanted; `Err`: why that would be none.
    pub fn draft(&self, given: &Given, outer: &Env) -> Result<Draft, Vec<Issue>> {
        let mut pen = Pen { base: self, given, outer, changes: Vec::new(), vars: Vec::new(), notes: Vec::new() };
        pen.all();
        let Pen { changes, vars, notes, .. } = pen;
        let mut env = self.env.clone();
        env.vars.extend(vars.iter().cloned());
        // A secret that stays with the environment is looked up there.
        let named = |change: &Change| change.to.as_ref().and_then(Value::as_str).and_then(variable).map(str::to_owned);
        for name in changes.iter().filter_map(named) {
            if let (false, Some(value)) = (env.vars.contains_key(&name), outer.vars.get(&name)) {
                env.vars.insert(name, value.clone());
            }
        }
        let text = match self.kept() {
            Some(bytes) => edit::edit(&self.path, bytes.clone(), &changes).map_err(|issue| vec![*issue])?,
            None => edit::fresh(HEAD, &changes),
        };
        let loaded = config::load_bytes(text.clone().into(), &self.path, &env, &Options::default())?;
        let changed = changes.iter().map(|c| c.path.iter().fold(String::new(), |p, n| config::key_path(&p, n)));
        let changed = changed.collect();
        Ok(Draft { text, loaded, env, vars, changed, notes })
    }
}

/// Notes down what has to change.
struct Pen<'a> {
    base: &'a Base,
    given: &'a Given,
    outer: &'a Env,
    changes: Vec<Change>,
    vars: Vec<(String, String)>,
    notes: Vec<String>,
}

impl Pen<'_> {
    fn all(&mut self) {
        self.gateway();
        self.agent();
        self.workspace();
        self.channels();
    }

    /// What counts for a key before.
    fn now(&self, path: &[&str]) -> &Value {
        path.iter().fold(self.base.loaded.revealed(), |at, name| &at[*name])
    }

    fn put(&mut self, path: &[&str], value: impl Into<Value>, why: &str) {
        let value = value.into();
        if *self.now(path) != value {
            self.changes.push(Change::set(path, value, why));
        }
    }

    /// Whether the file itself has a key.
    fn written(&self, path: &[&str]) -> bool {
        let file = self.base.kept().and_then(|bytes| edit::plain(&self.base.path, bytes.clone()).ok());
        file.is_some_and(|file| !path.iter().fold(&file, |at, name| &at[*name]).is_null())
    }

    /// A secret, under its key or as a variable. What a file of its own held gives way.
    fn secret(&mut self, parent: &[&str], name: &str, file: &str, var: &str, value: &str, why: &str) {
        let own = |name| parent.iter().copied().chain([name]).collect::<Vec<&str>>();
        let path = own(name);
        let (var, known) = match variable(value) {
            Some(var) => (var, self.outer.vars.get(var).cloned()),
            None => (var, Some(value.to_owned())),
        };
        let as_variable = variable(value).is_some() || self.given.secrets == Secrets::Env;
        if let (Secrets::Env, Some(known)) = (self.given.secrets, &known) {
            self.vars.push((var.to_owned(), known.clone()));
        }
        match as_variable {
            true => self.changes.push(Change::set(&path, format!("${{{var}}}"), why)),
            // `${` is no variable in a secret that holds it.
            false if *self.now(&path) != *value => {
                self.changes.push(Change::set(&path, value.replace("${", "$${"), why));
            }
            false => {}
        }
        let file = own(file);
        if self.written(&file) {
            self.changes.push(Change::remove(&file));
        }
    }

    fn gateway(&mut self) {
        let given = self.given;
        if let Some(port) = given.port {
            self.put(&["gateway", "port"], port, "where the page and the API are");
        }
        if let Some(bind) = &given.bind {
            self.put(
                &["gateway", "bind"],
                bind.as_str(),
                "loopback: this machine only; lan: others too, put TLS in front",
            );
        }
        let old = &self.base.loaded.config.gateway;
        match given.auth {
            Some(AuthMode::Token) => {
                self.put(&["gateway", "auth", "mode"], "token", "who may use it");
                if let Some(token) = &given.token {
                    let why = "what programs and the page log in with";
                    self.secret(&["gateway", "auth"], "token", "tokenFile", "PI_GATEWAY_AUTH_TOKEN", token, why);
                }
            }
            Some(AuthMode::Password) => {
                self.put(&["gateway", "auth", "mode"], "password", "who may use it");
                if let Some(password) = &given.password {
                    let var = "PI_GATEWAY_PASSWORD";
                    self.secret(&["gateway", "auth"], "password", "passwordFile", var, password, "");
                }
            }
            Some(AuthMode::Off) => {
                let why = "everyone who reaches the port commands the agent";
                self.put(&["gateway", "auth", "mode"], "off", why);
                let bind = given.bind.as_deref().map_or(old.bind, |bind| Bind::parse(bind).unwrap_or(old.bind));
                match (bind.is_loopback(), old.auth.allow_unauthenticated) {
                    (true, Unauthenticated::No) => {
                        self.put(&["gateway", "auth", "allowUnauthenticated"], true, "yes, that is meant");
                    }
                    (false, _) => self.put(&["gateway", "auth", "allowUnauthenticated"], "lan", "yes, that is meant"),
                    (true, _) => {}
                }
            }
            None => {}
        }
    }

    fn agent(&mut self) {
        let given = self.given;
        if let Some(model) = &given.model {
            self.put(&["agent", "model"], model.as_str(), "provider/model; without it pi's own choice");
        }
        if let Some(pi) = given.pi.as_ref().filter(|pi| **pi != self.base.loaded.config.agent.pi_cli) {
            let value = if let [program] = pi.as_slice() { json!(program) } else { json!(pi) };
            self.put(&["agent", "piCliPath"], value, "how pi is called");
            let guard = &self.base.loaded.config.security.exec;
            let program = pi.first().map(|program| self.outer.resolve(program, Path::new("")));
            if let Some(program) = program.filter(|p| !ExecGuard::lists(&guard.allowed_executables, p)) {
                let mut list = guard.allowed_executables.clone();
                list.push(program.to_string_lossy().into_owned());
                self.put(&["security", "exec", "allowedExecutables"], list, "what the gateway may start");
            }
        }
        if let Some(min) = given.pool_min {
            self.put(&["agent", "pool", "min"], min, "pi processes that are kept ready");
        }
        if let Some(max) = given.pool_max {
            self.put(&["agent", "pool", "max"], max, "pi processes at most; each takes 100 to 160 MB");
        }
    }

    /// The default agent's directory. A file without agents gets one, if somebody says where or the file is new.
    fn workspace(&mut self) {
        let agents = &self.base.loaded.config.agents;
        let wanted = match (&self.given.workspace, self.base.kept()) {
            (Some(path), _) => path.clone(),
            (None, None) => WORKSPACE.to_owned(),
            (None, Some(_)) => return,
        };
        if agents.list.is_empty() {
            let list = json!([{"id": agents.default, "workspace": wanted}]);
            self.changes.push(Change::set(&["agents", "list"], list, "the agent and the directory it works in"));
            return;
        }
        let own = agents.list.iter().position(|agent| agent.id == agents.default).unwrap_or(0);
        let there = self.outer.resolve(&absolute(&wanted, self.outer), &self.outer.cwd);
        if agents.list[own].workspace.as_ref() != Some(&there) {
            self.changes.push(Change::set(&["agents", "list", &own.to_string(), "workspace"], wanted, ""));
        }
    }

    fn channels(&mut self) {
        let given = self.given;
        if let Some(token) = &given.telegram {
            let top = ["channels", "telegram"];
            let own = ["channels", "telegram", "accounts", "default"];
            // What the account says for itself counts.
            let parent = if self.written(&own) { &own[..] } else { &top };
            self.put(&[top[0], top[1], "enabled"], true, "the bot; who writes to it needs your approval");
            if parent.len() > top.len() && self.now(&own)["enabled"] == false {
                self.put(&[own[0], own[1], own[2], own[3], "enabled"], true, "");
            }
            self.secret(parent, "botToken", "tokenFile", "TELEGRAM_BOT_TOKEN", token, "");
        }
        if let Some(token) = &given.discord {
            self.later("Discord", "discord");
            self.secret(&["channels", "discord"], "token", "tokenFile", "DISCORD_BOT_TOKEN", token, "");
        }
        if let Some((id, secret)) = &given.feishu {
            self.later("Feishu", "feishu");
            self.put(&["channels", "feishu", "appId"], id.as_str(), "");
            self.secret(&["channels", "feishu"], "appSecret", "appSecretFile", "FEISHU_APP_SECRET", secret, "");
        }
    }

    /// A channel that this version does not have: what was given is kept, switched off.
    fn later(&mut self, name: &str, channel: &str) {
        if !self.written(&["channels", channel, "enabled"]) {
            let why = "this version of pi-gateway has no such channel yet";
            self.changes.push(Change::set(&["channels", channel, "enabled"], false, why));
        }
        self.notes.push(format!(
            "{name} is not in this version yet: what you gave is written down, the channel stays off \
             (channels.{channel}.enabled)"
        ));
    }
}
