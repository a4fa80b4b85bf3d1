//! Where a message belongs: agent, role and session key (core.md 3). Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::delegation;
use crate::message::{ChatType, Source, Target};

/// Account of a channel with one account.
pub const DEFAULT_ACCOUNT: &str = "default";
/// The topic in whose name settings of a forum's General are written; its messages have no topic.
pub const GENERAL: &str = "1";
/// Its session keys always name the account, as those of the original do.
const ALWAYS_WITH_ACCOUNT: &str = "telegram";

/// How direct messages are grouped into conversations (`session.dmScope`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmScope {
    /// All people share one conversation.
    Main,
    PerPeer,
    #[default]
    PerChannelPeer,
}

/// Conversations that belong to an agent: every given criterion must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Binding {
    pub agent: String,
    pub channel: Option<String>,
    pub account: Option<String>,
    pub guild: Option<String>,
    /// Any of these.
    pub roles: Vec<String>,
    /// Kind and id, each if given.
    pub peer: Option<(Option<ChatType>, Option<String>)>,
    pub parent: Option<(Option<String>, Option<String>)>,
}

impl Binding {
    /// How well it fits; `None`: not at all.
    fn score(&self, s: &Source) -> Option<u32> {
        let mut score = 0;
        let mut criterion = |given: bool, fits: bool, weight: u32| {
            score += if given { weight } else { 0 };
            !given || fits
        };
        let is = |want: &Option<String>, have: Option<&str>| want.as_deref().is_none_or(|w| have == Some(w));
        let account = s.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        let parent = |(kind, id): &(Option<String>, Option<String>)| {
            s.parent.as_ref().is_some_and(|(k, i)| is(kind, Some(k)) && is(id, Some(i)))
        };
        let peer = |(kind, id): &(Option<ChatType>, Option<String>)| {
            kind.is_none_or(|k| k == s.chat_type) && (is(id, Some(&s.chat)) || is(id, Some(&s.sender)))
        };
        let fits = criterion(self.channel.is_some(), is(&self.channel, Some(&s.channel)), 1)
            && criterion(self.account.is_some(), is(&self.account, Some(account)), 2)
            && criterion(self.guild.is_some(), is(&self.guild, s.guild.as_deref()), 4)
            && criterion(!self.roles.is_empty(), self.roles.iter().any(|r| s.member_roles.contains(r)), 6)
            && criterion(self.parent.is_some(), self.parent.as_ref().is_some_and(parent), 7)
            && criterion(self.peer.is_some(), self.peer.as_ref().is_some_and(peer), 8);
        fits.then_some(score)
    }
}

/// Roles that the configuration gives to the chats of one account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountRoles {
    /// The account's own, or its channel's.
    pub role: Option<String>,
    /// By chat, `*` for all others; Discord: by server.
    pub groups: BTreeMap<String, GroupRoles>,
}

/// Roles in a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRoles {
    pub role: Option<String>,
    /// By topic; Discord: by channel of the server.
    pub inner: BTreeMap<String, String>,
}

/// What routing is decided by.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// `agents.list[].id`; empty: one agent called `main`.
    pub agents: Vec<String>,
    /// Agent of a conversation without a binding.
    pub default: String,
    pub bindings: Vec<Binding>,
    pub scope: DmScope,
    /// By channel and account.
    pub roles: BTreeMap<(String, String), AccountRoles>,
    /// Channels and accounts with whom topics of private chats are conversations of their own.
    pub dm_topics: BTreeSet<(String, String)>,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing {
            agents: Vec::new(),
            default: "main".into(),
            bindings: Vec::new(),
            scope: DmScope::default(),
            roles: BTreeMap::new(),
            dm_topics: BTreeSet::new(),
        }
    }
}

impl Routing {
    /// The chat that an agent is bound to.
    pub fn peer_of(&self, agent: &str) -> Option<Target> {
        let bound = |b: &Binding| {
            let (channel, chat) = (b.channel.clone()?, b.peer.as_ref()?.1.clone()?);
            let account = b.account.clone().unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
            Some(Target { channel, account, chat, thread: String::new() })
        };
        self.bindings.iter().filter(|b| b.agent == agent).find_map(bound)
    }

    fn knows(&self, agent: &str) -> bool {
        self.agents.iter().any(|a| a == agent)
    }

    /// The agent of a message from a channel: forced, bound, named by `/<agent> text`, or the default; and what
    /// is left of the text.
    pub fn agent<'a>(&'a self, source: &'a Source, text: &'a str) -> (&'a str, &'a str) {
        if let Some(forced) = &source.agent {
            return (forced, text);
        }
        let mut best: Option<(u32, &Binding)> = None;
        for b in self.bindings.iter().filter(|b| self.knows(&b.agent)) {
            match b.score(source) {
                Some(score) if best.is_none_or(|(most, _)| score > most) => best = Some((score, b)),
                _ => {}
            }
        }
        match best {
            Some((_, b)) => (&b.agent, text),
            None => {
                let named = prefixed(&self.agents, text).filter(|(_, rest)| !rest.is_empty());
                named.unwrap_or((&self.default, text))
            }
        }
    }

    /// The agent that serves a session: the one its key names, if there is such an agent.
    pub fn agent_of<'a>(&'a self, key: &'a str) -> &'a str {
        let named =
            agent_of(key).or_else(|| delegation::agent_of(key)).filter(|a| self.agents.is_empty() || self.knows(a));
        named.unwrap_or(&self.default)
    }

    /// The role that the configuration gives to this chat (3.3), before the agent's own.
    pub fn role(&self, s: &Source) -> Option<&str> {
        let account = s.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        let account = self.roles.get(&(s.channel.clone(), account.to_owned()))?;
        let (outer, inner) = match &s.guild {
            Some(guild) => (guild.as_str(), Some(s.chat.as_str())),
            None => (s.chat.as_str(), s.thread.as_deref().or(Some(GENERAL))),
        };
        let groups = || [outer, "*"].into_iter().filter_map(|g| account.groups.get(g));
        let in_group = || {
            let topic = inner.and_then(|i| groups().find_map(|g| g.inner.get(i)));
            topic.or_else(|| groups().find_map(|g| g.role.as_ref()))
        };
        let group = (s.chat_type != ChatType::Dm).then(in_group).flatten();
        group.or(account.role.as_ref()).map(String::as_str)
    }

    /// The session of a message from a channel (3.1).
    pub fn session_key(&self, agent: &str, s: &Source) -> String {
        let account = s.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        let always = s.channel == ALWAYS_WITH_ACCOUNT;
        let named = match always || account != DEFAULT_ACCOUNT {
            true => format!(":account:{}", encoded(account)),
            false => String::new(),
        };
        let channel = encoded(&s.channel);
        let (chat, sender) = (encoded(&s.chat), encoded(&s.sender));
        let thread = s.thread.as_deref().map(encoded);
        let own = s.chat_type != ChatType::Dm || self.dm_topics.contains(&(s.channel.clone(), account.to_owned()));
        let topic = thread.as_ref().filter(|_| own).map(|t| format!(":topic:{t}")).unwrap_or_default();
        match (s.chat_type, self.scope) {
            (ChatType::Dm, DmScope::Main) if always => format!("agent:{agent}:{channel}{named}:main{topic}"),
            (ChatType::Dm, DmScope::Main) => main_session(agent),
            (ChatType::Dm, DmScope::PerPeer) if !always => format!("agent:{agent}:dm:{sender}"),
            (ChatType::Dm, _) => format!("agent:{agent}:{channel}{named}:dm:{sender}{topic}"),
            (ChatType::Group, _) => {
                format!("agent:{agent}:{channel}{named}:group:{chat}{topic}")
            }
            (ChatType::Channel, _) => format!("agent:{agent}:{channel}{named}:channel:{chat}"),
            (ChatType::Thread, _) => {
                let thread = thread.map(|t| format!(":thread:{t}")).unwrap_or_default();
                format!("agent:{agent}:{channel}{named}:channel:{chat}{thread}")
            }
        }
    }
}

/// The conversation of API clients that name none, and of everybody with `dmScope` `main`.
pub fn main_session(agent: &str) -> String {
    format!("agent:{agent}:main:main")
}

/// Where the sessions of single requests begin: one message, one answer, then they are deleted (gateway-api.md R64).
pub fn fleeting_prefix(agent: &str) -> String {
    format!("agent:{agent}:api:req:")
}

/// Is this the session of a single request?
pub fn fleeting(key: &str) -> bool {
    let mut parts = key.split(':');
    parts.next() == Some("agent") && parts.nth(1) == Some("api") && parts.next() == Some("req")
}

/// `/<agent> text`: the agent, and the text, which may be empty.
pub fn prefixed<'a>(agents: &'a [String], text: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = text.trim_start().strip_prefix('/')?;
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let agent = agents.iter().find(|a| *a == name)?;
    Some((agent, rest.trim()))
}

/// The agent that a session key names.
pub fn agent_of(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    match (parts.next(), parts.next()) {
        (Some("agent"), Some(agent)) if !agent.is_empty() => Some(agent),
        _ => None,
    }
}

/// The group, and its topic, whose conversation a session is; `None`: of no group.
pub fn group_of(key: &str) -> Option<Source> {
    let mut parts = key.strip_prefix("agent:")?.split(':').skip(1);
    let mut s = Source { channel: decoded(parts.next()?), chat_type: ChatType::Group, ..Source::default() };
    s.account = Some(DEFAULT_ACCOUNT.to_owned());
    while let Some(name) = parts.next() {
        let value = decoded(parts.next()?);
        match name {
            "account" => s.account = Some(value),
            "group" | "channel" => s.chat = value,
            "topic" => s.thread = Some(value),
            _ => return None,
        }
    }
    (!s.chat.is_empty()).then_some(s)
}

/// The same place with another agent: `agent:a:webchat:x` -> `agent:b:webchat:x`. Keys that name no agent stay.
pub fn with_agent(key: &str, agent: &str) -> String {
    match agent_of(key) {
        Some(old) => format!("agent:{agent}{}", &key["agent:".len() + old.len()..]),
        None => key.to_owned(),
    }
}

/// An id from outside as a part of a key: what would divide it is percent-encoded.
fn encoded(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for c in id.chars() {
        match c {
            ':' | '%' => out.push_str(&format!("%{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn decoded(part: &str) -> String {
    part.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
