//! Delegation as values: which agent may hand work to which, and the keys of the conversations that come of it
//! (core.md 3.1, 15). Pure.

use std::collections::BTreeMap;

/// The channel of a delegated task: no platform is behind it, its answer goes to who asked.
pub const CHANNEL: &str = "delegate";
const BEGIN: &str = "delegate:";

/// What one agent may delegate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To whom; `None`: to every other agent.
    pub allow: Option<Vec<String>>,
    /// At the same time.
    pub most: usize,
    /// How deep: 1 = the agent that is asked may ask nobody itself.
    pub depth: usize,
}

impl Limits {
    fn allows(&self, from: &str, to: &str) -> bool {
        match &self.allow {
            Some(list) => list.iter().any(|name| name == to),
            None => from != to,
        }
    }
}

/// All of it. Milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Of a call that names no limit of its own,
    pub timeout: u64,
    /// and the longest that it may name.
    pub max_timeout: u64,
    /// A task that took too long brings what was said until then.
    pub partial: bool,
    /// Of agents without limits of their own.
    pub usual: Limits,
    pub own: BTreeMap<String, Limits>,
    /// The configured agents, with what they are good for.
    pub agents: BTreeMap<String, Option<String>>,
}

impl Default for Delegation {
    fn default() -> Delegation {
        Delegation {
            timeout: 120_000,
            max_timeout: 600_000,
            partial: false,
            usual: Limits { allow: None, most: 2, depth: 1 },
            own: BTreeMap::new(),
            agents: BTreeMap::new(),
        }
    }
}

impl Delegation {
    pub fn limits(&self, agent: &str) -> &Limits {
        self.own.get(agent).unwrap_or(&self.usual)
    }

    /// Whom an agent may ask in a conversation of that depth, with what they are good for.
    pub fn targets(&self, agent: &str, depth: usize) -> Vec<(String, Option<String>)> {
        let limits = self.limits(agent);
        let allowed = self.agents.iter().filter(|(to, _)| depth < limits.depth && limits.allows(agent, to));
        allowed.map(|(to, about)| (to.clone(), about.clone())).collect()
    }

    /// Why an agent may not ask that one; the model reads it.
    pub fn refusal(&self, from: &str, to: &str, depth: usize) -> Option<String> {
        let limits = self.limits(from);
        let names = || self.targets(from, depth).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        if depth >= limits.depth {
            return Some(match depth {
                0 => format!("agent \"{from}\" may not delegate (maxDepth 0)"),
                _ => format!("this is a delegated task already, at depth {depth}, and maxDepth is {}", limits.depth),
            });
        }
        if !self.agents.contains_key(to) {
            return Some(format!("there is no agent \"{to}\"; you may ask: {}", names()));
        }
        let why = format!("agent \"{from}\" may not delegate to \"{to}\"; it may ask: {}", names());
        (!limits.allows(from, to)).then_some(why)
    }
}

/// `delegate:<parent>:<agent>:<unix ms>`
pub fn key(parent: &str, agent: &str, at: i64) -> String {
    format!("{BEGIN}{parent}:{agent}:{at}")
}

/// What the keys of all delegated conversations begin with.
pub fn prefix() -> &'static str {
    BEGIN
}

/// Is it the conversation of a delegated task?
pub fn is_delegated(key: &str) -> bool {
    depth(key) > 0
}

/// How many delegations led to that conversation: 0 = people write there. Every level put its word before the key of
/// the conversation that asked, so the session's record says it, also after a restart.
pub fn depth(key: &str) -> usize {
    key.split(':').take_while(|part| *part == CHANNEL).count()
}

/// The agent that does the task.
pub fn agent_of(key: &str) -> Option<&str> {
    is_delegated(key).then(|| key.rsplit(':').nth(1)).flatten().filter(|agent| !agent.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> Delegation {
        let names = ["main", "coder", "writer"];
        Delegation {
            own: [("coder".to_owned(), Limits { allow: Some(vec!["writer".into()]), most: 1, depth: 2 })].into(),
            agents: names.map(|name| (name.to_owned(), Some(format!("is {name}")))).into(),
            ..Delegation::default()
        }
    }

    #[test]
    fn an_agent_s_own_limits_win_over_the_global_ones() {
        let d = house();
        let names = |agent, depth| d.targets(agent, depth).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("main", 0), ["coder", "writer"]);
        assert_eq!(names("coder", 0), ["writer"]);
        assert_eq!(names("coder", 1), ["writer"]);
        assert!(names("coder", 2).is_empty() && names("main", 1).is_empty());
        assert_eq!(d.refusal("main", "coder", 0), None);
        assert!(d.refusal("coder", "main", 0).unwrap().contains("it may ask: writer"));
        assert!(d.refusal("main", "nobody", 0).unwrap().contains("coder, writer"));
        assert!(d.refusal("main", "main", 0).is_some());
        assert!(d.refusal("main", "coder", 1).unwrap().contains("depth 1"));
    }

    #[test]
    fn a_key_says_how_deep_its_conversation_is_and_whose() {
        let first = key("agent:main:webchat:a", "coder", 17);
        assert_eq!(first, "delegate:agent:main:webchat:a:coder:17");
        let second = key(&first, "writer", 18);
        assert_eq!((depth("agent:main:main:main"), depth(&first), depth(&second)), (0, 1, 2));
        assert_eq!((agent_of(&first), agent_of(&second)), (Some("coder"), Some("writer")));
        assert_eq!(agent_of("agent:main:main:main"), None);
    }
}
