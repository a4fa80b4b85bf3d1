//! `agent`: how pi is started and how many of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::config::env::Env;
use crate::config::forms;
use crate::config::node::{Kind, Node};
use crate::config::reader::{section, show, Reader};
use crate::config::redact::is_secret_key;
use crate::config::reload::{Class, H, N, R};
use crate::config::secret::Secret;
use crate::config::words::words;

section! {
    /// How pi is started, and how many of it.
    pub struct Agent {
        /// Program and leading arguments. A program without `/` is looked up in `PATH`.
        pub pi_cli: Vec<String> = pi_cli(N, "piCliPath");
        /// `provider/modelId`, or a pattern for pi's `--model`.
        pub model: Option<String> = opt_text(N, "model");
        pub thinking_level: ThinkingLevel = word(N, "thinkingLevel", ThinkingLevel::Off);
        /// Thinking is shown in the live view.
        pub show_thinking: bool = flag(H, "showThinking", true);
        pub runtime: AgentRuntime = object("runtime", AgentRuntime::read);
        /// Text, or the absolute path of a file.
        pub system_prompt: Option<String> = opt_text_or_path(N, "systemPrompt");
        /// Text, or the absolute path of a file.
        pub append_system_prompt: Option<String> = opt_text_or_path(N, "appendSystemPrompt");
        pub gateway_prompts: GatewayPrompts = object("gatewayPrompts", GatewayPrompts::read);
        pub skills_base: Vec<String> = sources(N, "skillsBase");
        pub skills_gateway: Vec<String> = sources(N, "skillsGateway");
        /// Used only if the role's, the gateway's and the base list are all empty.
        pub skills: Vec<String> = sources(N, "skills");
        pub extensions: Vec<String> = sources(N, "extensions");
        pub prompt_templates: Vec<String> = sources(N, "promptTemplates");
        pub no_extensions: bool = flag(N, "noExtensions", false);
        pub no_skills: bool = flag(N, "noSkills", false);
        pub no_prompt_templates: bool = flag(N, "noPromptTemplates", false);
        pub pool: Pool = object("pool", Pool::read);
        /// The original's name of the inactivity limit; see [`Agent::inactivity_limit`].
        pub timeout: Duration = limit(H, "timeoutMs", 300_000, 1_000..=86_400_000);
        pub runners: Vec<Runner> = items("runners", Runner::read);
        /// Wall-clock limit of a turn; zero = none.
        pub turn_max: Duration = limit(H, "turnMaxMs", 0, 1..=i64::MAX);
        pub message_mode: MessageMode = word(H, "messageMode", MessageMode::Steer);
        pub tools: AgentTools = object("tools", AgentTools::read);
        pub sandbox: Sandbox = object("sandbox", Sandbox::read);
        pub model_failover: ModelFailover = object("modelFailover", ModelFailover::read);
    }
}

impl Agent {
    /// How long a turn may go on without any event of pi. `None` = no limit.
    pub fn inactivity_limit(&self) -> Option<Duration> {
        Some(self.pool.message_timeout.unwrap_or(self.timeout)).filter(|limit| !limit.is_zero())
    }
}

section! {
    /// Directories of pi itself.
    pub struct AgentRuntime {
        /// `PI_CODING_AGENT_DIR` of the pi processes.
        pub agent_dir: Option<PathBuf> = opt_path(R, "agentDir");
        /// `PI_PACKAGE_DIR` of the pi processes.
        pub package_dir: Option<PathBuf> = opt_path(N, "packageDir");
    }
}

section! {
    /// Segments that the gateway adds to the system prompt. `None` = when the feature is on.
    pub struct GatewayPrompts {
        pub identity: Option<bool> = auto(N, "identity");
        pub heartbeat: Option<bool> = auto(N, "heartbeat");
        pub cron: Option<bool> = auto(N, "cron");
        pub media: Option<bool> = auto(N, "media");
        pub delegation: Option<bool> = auto(N, "delegation");
        pub channel: Option<bool> = auto(N, "channel");
        /// The heartbeat segment even if heartbeat is off.
        pub always_heartbeat: bool = flag(N, "alwaysHeartbeat", false);
    }
}

section! {
    /// How many pi processes there are.
    pub struct Pool {
        /// Processes kept warm.
        pub min: u32 = pool_min(H, "min");
        /// Upper bound of processes.
        pub max: u32 = pool_max(H, "max");
        /// A process beyond `min` that is unused that long is stopped.
        pub idle_timeout: Duration = millis(H, "idleTimeoutMs", 300_000, 1_000..=3_600_000);
        /// Wins over `agent.timeoutMs`; zero = no limit.
        pub message_timeout: Option<Duration> = opt_limit(H, "messageTimeoutMs", 1_000..=86_400_000);
    }
}

/// The default of `agent.pool.max` for a machine with that much memory (bytes): one pi needs up to 200 MB.
pub fn default_pool_max(mem_total: Option<u64>) -> u32 {
    const MB: u64 = 1_000_000;
    mem_total.map_or(4, |bytes| (bytes.saturating_sub(300 * MB) / (200 * MB)).clamp(1, 4) as u32)
}

fn default_pool_min(env: &Env) -> u32 {
    u32::from(env.mem_total.is_none_or(|bytes| bytes >= 1 << 30))
}

section! {
    /// A further place to start pi.
    pub struct Runner {
        pub name: String = required(N, "name", forms::runner_name);
        /// Put before pi's own command line.
        pub command: Vec<String> = texts(N, "command");
        /// Processes there.
        pub max: u32 = int(N, "max", 1, 1..=1000);
        /// Used there instead of the session's working directory.
        pub cwd: Option<PathBuf> = opt_parsed(N, "cwd", forms::absolute_path);
        /// Set for `command`. May be secrets, so none of them prints itself.
        pub env: BTreeMap<String, Secret> = variables(N, "env");
        /// How pi there reaches this gateway; unset: no gateway tools there.
        pub callback_url: Option<String> = opt_parsed(N, "callbackUrl", forms::http_url);
    }
}

section! {
    /// Which tools pi has.
    pub struct AgentTools {
        pub profile: ToolProfile = word(N, "profile", ToolProfile::Coding);
        pub allow: Option<Vec<String>> = opt_texts(N, "allow");
        pub deny: Option<Vec<String>> = opt_texts(N, "deny");
        /// By channel id.
        pub by_channel: BTreeMap<String, ToolLists> = map("byChannel", ToolLists::read);
    }
}

section! {
    /// Tools allowed or denied.
    pub struct ToolLists {
        pub allow: Option<Vec<String>> = opt_texts(N, "allow");
        pub deny: Option<Vec<String>> = opt_texts(N, "deny");
    }
}

section! {
    /// The original's sandbox settings; anything but `off` is refused.
    pub struct Sandbox {
        pub mode: SandboxMode = word(H, "mode", SandboxMode::Off);
        pub scope: SandboxScope = word(H, "scope", SandboxScope::Session);
    }
}

section! {
    /// Other models to try when one fails.
    pub struct ModelFailover {
        /// Default: `agent.model`.
        pub primary: Option<String> = opt_parsed(H, "primary", forms::model);
        pub fallbacks: Vec<String> = models(H, "fallbacks");
        /// Extra attempts of the same turn.
        pub max_retries: u32 = int(H, "maxRetries", 1, 0..=10);
        pub cooldown: Duration = millis(H, "cooldownMs", 60_000, 1_000..=600_000);
    }
}

words! {
    /// How much pi thinks.
    pub enum ThinkingLevel {
        Off = "off", Minimal = "minimal", Low = "low", Medium = "medium", High = "high", Xhigh = "xhigh", Max = "max",
    }
}

words! {
    /// What a message does while a turn runs.
    pub enum MessageMode { Steer = "steer", FollowUp = "follow-up", Interrupt = "interrupt" }
}

words! {
    /// A ready-made set of tools.
    pub enum ToolProfile { Minimal = "minimal", Coding = "coding", Messaging = "messaging", Full = "full" }
}

words! {
    /// Which sessions the original would put into a sandbox.
    pub enum SandboxMode { Off = "off", NonMain = "non-main", All = "all" }
}

words! {
    /// What the original would share a sandbox between.
    pub enum SandboxScope { Session = "session", Agent = "agent", Shared = "shared" }
}

impl Reader<'_> {
    fn pi_cli(&self, class: Class, name: &'static str) -> Vec<String> {
        let program = |text: &str| match text.contains('/') || text == "~" {
            true => self.pass.env.resolve(text, &self.pass.base).to_string_lossy().into_owned(),
            false => text.to_owned(),
        };
        self.custom(class, name, (vec!["pi".into()], "pi".into()), |node| {
            let words: Option<Vec<&str>> = match &node.kind {
                Kind::Text(text) => Some(vec![text]),
                Kind::List(items) => items.iter().map(Node::text).collect(),
                _ => None,
            };
            match words.as_deref() {
                Some([first, rest @ ..]) if !first.trim().is_empty() => Ok(std::iter::once(program(first))
                    .chain(rest.iter().map(|word| forms::home(self.pass.env, word)))
                    .collect()),
                _ => Err(format!("must be a program or a list of program and arguments, found {}", show(name, node))),
            }
        })
    }

    fn pool_min(&self, class: Class, name: &'static str) -> u32 {
        self.int(class, name, default_pool_min(self.pass.env).into(), 0..=100)
    }

    fn pool_max(&self, class: Class, name: &'static str) -> u32 {
        self.int(class, name, default_pool_max(self.pass.env.mem_total).into(), 1..=100)
    }

    fn models(&self, class: Class, name: &'static str) -> Vec<String> {
        let parse = |node: &Node| {
            let text = crate::config::reader::text_of(name, node)?;
            forms::model(&text).map(|model| (model, text.into()))
        };
        self.opt_list(class, name, "models", parse).unwrap_or_else(|| {
            self.put(name, Value::Array(Vec::new()));
            Vec::new()
        })
    }

    fn variables(&self, class: Class, name: &'static str) -> BTreeMap<String, Secret> {
        let mut all = BTreeMap::new();
        self.pass.know(&self.path, name, Some(class));
        for (variable, node) in self.free(name) {
            let key = crate::config::node::join(&self.key(name), &variable);
            match node.text() {
                Some(text) => {
                    let value = Secret::new(text);
                    if is_secret_key(&variable) && !text.is_empty() {
                        self.pass.secrets.borrow_mut().push(value.clone());
                        let literal = self.pass.literal_secret.get() || node.origin.is_none();
                        self.pass.literal_secret.set(literal);
                    }
                    all.insert(variable, value);
                }
                None => {
                    let text = format!("must be a string, found {}", show(name, node));
                    self.pass.report(crate::config::Severity::Error, &key, Some(node), text);
                }
            }
        }
        self.put(
            name,
            all.iter().map(|(k, v)| (k.clone(), Value::from(v.expose()))).collect::<serde_json::Map<_, _>>(),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_fits_the_memory() {
        for (mb, max) in [(0, 1), (300, 1), (512, 1), (720, 2), (950, 3), (1100, 4), (64_000, 4)] {
            assert_eq!(default_pool_max(Some(mb * 1_000_000)), max, "{mb} MB");
        }
        assert_eq!(default_pool_max(None), 4);
    }
}
