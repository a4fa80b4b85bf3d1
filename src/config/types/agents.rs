//! `agents`, `roles`, `plugins`, `hooks`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::config::forms;
use crate::config::node::{join, Kind, Node};
use crate::config::reader::{section, Reader};
use crate::config::reload::{Class, H, N};
use crate::config::secret::Secret;
use crate::config::words::words;

use super::Heartbeat;

section! {
    /// The agents and which conversation belongs to which.
    pub struct Agents {
        /// Agent of a conversation without a binding.
        pub default: String = text(H, "default", "main");
        /// Empty = one agent called `main`.
        pub list: Vec<AgentEntry> = items("list", AgentEntry::read);
        pub bindings: Vec<Binding> = items("bindings", Binding::read);
    }
}

section! {
    /// One agent.
    pub struct AgentEntry {
        pub id: String = required(H, "id", forms::agent_id);
        /// Working directory; created on first use.
        pub workspace: Option<PathBuf> = opt_path(N, "workspace");
        pub model: Option<String> = opt_text(N, "model");
        /// Fallback role of the agent's conversations.
        pub role: Option<String> = opt_text(H, "role");
        pub extensions: Vec<String> = sources(N, "extensions");
        pub skills: Vec<String> = sources(N, "skills");
        /// Shown in the delegation prompt.
        pub description: Option<String> = opt_text(H, "description");
        /// With what it inherits from `heartbeat`; `None` = the global one as it is.
        pub heartbeat: Option<Heartbeat> = own_heartbeat("heartbeat");
        /// See [`Config::delegation_of`](super::Config::delegation_of).
        pub delegation: Option<AgentDelegation> = opt_object("delegation", AgentDelegation::read);
    }
}

section! {
    /// An agent's own limits of delegation; `None` = the global one.
    pub struct AgentDelegation {
        pub allow_agents: Option<Vec<String>> = opt_texts(H, "allowAgents");
        pub max_concurrent: Option<u32> = opt_int(H, "maxConcurrent", 1..=20);
        pub max_depth: Option<u32> = opt_int(H, "maxDepth", 0..=5);
    }
}

section! {
    /// Conversations that belong to an agent.
    pub struct Binding {
        pub agent_id: String = required(H, "agentId", forms::non_empty);
        /// The key is `match`.
        pub criteria: Criteria = object("match", Criteria::read);
    }
}

section! {
    /// Every given criterion must match.
    pub struct Criteria {
        pub channel: Option<String> = opt_text(H, "channel");
        pub account_id: Option<String> = opt_text(H, "accountId");
        pub guild_id: Option<String> = opt_text(H, "guildId");
        /// Any of these role ids.
        pub roles: Vec<String> = texts(H, "roles");
        pub peer: Option<Peer> = opt_object("peer", Peer::read);
        pub parent_peer: Option<ParentPeer> = opt_object("parentPeer", ParentPeer::read);
    }
}

impl Criteria {
    /// Whether nothing is asked for, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.channel.is_none()
            && self.account_id.is_none()
            && self.guild_id.is_none()
            && self.roles.is_empty()
            && self.peer.is_none()
            && self.parent_peer.is_none()
    }
}

section! {
    /// A chat.
    pub struct Peer {
        pub kind: Option<PeerKind> = opt_word(H, "kind");
        pub id: Option<String> = chat_id(H, "id");
    }
}

section! {
    /// The chat that a thread belongs to.
    pub struct ParentPeer {
        pub kind: Option<ParentKind> = opt_word(H, "kind");
        pub id: Option<String> = chat_id(H, "id");
    }
}

section! {
    /// Roles.
    pub struct Roles {
        pub merge_mode: MergeMode = word(H, "mergeMode", MergeMode::Append);
        /// Working directory by role.
        pub workspace_dirs: BTreeMap<String, PathBuf> = directories(N, "workspaceDirs");
        pub capabilities: BTreeMap<String, RoleCapabilities> = map("capabilities", RoleCapabilities::read);
    }
}

section! {
    /// What a role adds before the agent's lists.
    pub struct RoleCapabilities {
        pub skills: Vec<String> = sources(N, "skills");
        pub extensions: Vec<String> = sources(N, "extensions");
        pub prompt_templates: Vec<String> = sources(N, "promptTemplates");
    }
}

/// Plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugins {
    /// Reload a plugin when its files change.
    pub watch: bool,
    /// Directories with `plugin.json`, besides `~/.pi/gateway/plugins`.
    pub dirs: Vec<PathBuf>,
    /// Plugins and built-in parts that are switched off.
    pub disabled: Vec<String>,
    /// Handed to the plugins; by id.
    pub config: BTreeMap<String, PluginSettings>,
    pub concise_mode: ConciseMode,
}

/// A plugin's own settings. May hold secrets, so `Debug` shows nothing of them.
#[derive(Clone, PartialEq)]
pub struct PluginSettings(pub Value);

impl std::fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::config::redact::value(&self.0))
    }
}

section! {
    /// `plugins.config.concise-mode`.
    pub struct ConciseMode {
        pub enabled: bool = flag(H, "enabled", false);
        pub channels: Vec<String> = texts_or(H, "channels", &["telegram"]);
    }
}

impl Plugins {
    pub(crate) fn read(r: &Reader<'_>) -> Plugins {
        const CONCISE: &str = "concise-mode";
        r.pass.know(&r.path, "config", Some(H));
        let config = r.free("config");
        let own = Reader::new(r.pass, config.get(CONCISE).copied(), join(&r.key("config"), CONCISE), false);
        let concise_mode = ConciseMode::read(&own);
        let mut shown: serde_json::Map<_, _> = config.iter().map(|(id, node)| (id.clone(), node.to_json())).collect();
        shown.insert(CONCISE.into(), own.finish());
        for (id, node) in &config {
            crate::config::redact::each_secret(&node.to_json(), &mut |value| {
                r.pass.secrets.borrow_mut().push(Secret::new(value));
            });
            note_literal_secrets(r, id, node);
        }
        r.put("config", shown);
        Plugins {
            watch: r.flag(H, "watch", true),
            dirs: r.paths(H, "dirs"),
            disabled: r.texts(H, "disabled"),
            config: config.into_iter().map(|(id, node)| (id, PluginSettings(node.to_json()))).collect(),
            concise_mode,
        }
    }
}

/// A secret in a plugin's settings makes the file itself secret.
fn note_literal_secrets(r: &Reader<'_>, name: &str, node: &Node) {
    match &node.kind {
        Kind::Text(text) if crate::config::redact::is_secret_key(name) && !text.is_empty() && node.origin.is_none() => {
            r.pass.literal_secret.set(true);
        }
        Kind::List(items) => {
            for item in items {
                note_literal_secrets(r, name, item);
            }
        }
        _ => {
            for entry in node.entries() {
                note_literal_secrets(r, &entry.name, &entry.value);
            }
        }
    }
}

section! {
    /// Incoming webhooks.
    pub struct Hooks {
        pub enabled: bool = flag(H, "enabled", false);
        /// Bearer token of callers.
        pub token: Option<Secret> = secret(H, "token", "tokenFile");
        /// HMAC key of signed calls.
        pub secret: Option<Secret> = secret(H, "secret", "secretFile");
        /// Sessions that a webhook may name; a `*` at the end stands for anything.
        pub allowed_sessions: Vec<String> = texts(H, "allowedSessions");
        pub path: String = parsed(H, "path", "/hooks", forms::hooks_path);
    }
}

words! {
    /// Kind of a chat in a binding.
    pub enum PeerKind { Dm = "dm", Group = "group", Channel = "channel", Thread = "thread" }
}

words! {
    /// Kind of a parent chat in a binding.
    pub enum ParentKind { Group = "group", Channel = "channel" }
}

words! {
    /// How role files are combined.
    pub enum MergeMode { Append = "append" }
}

impl Reader<'_> {
    /// The global heartbeat's keys, replaced one by one by the agent's own.
    fn own_heartbeat(&self, name: &'static str) -> Option<Heartbeat> {
        let own = self.take(None, name);
        let Some(own) = own else {
            self.put(name, Value::Null);
            return None;
        };
        let nothing = Node::empty_object();
        let merged = super::channels::overlay(self.pass.root.get("heartbeat").unwrap_or(&nothing), own, &[]);
        let reader = Reader::new(self.pass, Some(&merged), self.key(name), false);
        let heartbeat = Heartbeat::read(&reader);
        self.put(name, reader.finish());
        Some(heartbeat)
    }

    /// An id that may be written as a string or a number.
    fn chat_id(&self, class: Class, name: &'static str) -> Option<String> {
        let id = self.leaf(class, name, forms::any_id);
        self.put(name, id.clone());
        id
    }

    fn directories(&self, class: Class, name: &'static str) -> BTreeMap<String, PathBuf> {
        self.pass.know(&self.path, name, Some(class));
        let mut all = BTreeMap::new();
        for (role, node) in self.free(name) {
            let key = join(&self.key(name), &role);
            match node.text().filter(|text| !text.is_empty()) {
                Some(text) => drop(all.insert(role, self.pass.env.resolve(text, &self.pass.base))),
                None => self.pass.report(crate::config::Severity::Error, &key, Some(node), "must be a path"),
            }
        }
        let shown = all.iter().map(|(role, path)| (role.clone(), path.to_string_lossy().into()));
        self.put(name, shown.collect::<serde_json::Map<_, _>>());
        all
    }
}
