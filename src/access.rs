//! Who may write (core.md 2). Pure: whether somebody was approved is asked by the mind.

use std::collections::BTreeMap;

use crate::message::{ChatType, Facts, Source};

/// What happens to people who write in private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmPolicy {
    Disabled,
    Open,
    Allowlist,
    /// As `Allowlist`; strangers are told how to ask.
    #[default]
    Pairing,
}

/// What happens to people who write in groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupPolicy {
    Disabled,
    Allowlist,
    #[default]
    Open,
}

/// The gate of one account. Lists hold sender ids, or `*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    pub dm: DmPolicy,
    pub allow: Vec<String>,
    pub group: GroupPolicy,
    pub group_allow: Vec<String>,
    /// By chat, or `*`; an exact id replaces `*`.
    pub groups: BTreeMap<String, GroupAccess>,
}

/// What is set for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAccess {
    pub enabled: bool,
    pub require_mention: bool,
    pub policy: Option<GroupPolicy>,
    pub allow: Option<Vec<String>>,
    pub topics: BTreeMap<String, TopicAccess>,
    /// Texts that were not for the bot and are kept as context for the next one that is.
    pub history: usize,
}

impl Default for GroupAccess {
    fn default() -> GroupAccess {
        GroupAccess {
            enabled: true,
            require_mention: true,
            policy: None,
            allow: None,
            topics: BTreeMap::new(),
            history: 0,
        }
    }
}

/// What is set for one topic of a group; what is `None` is the group's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicAccess {
    pub enabled: Option<bool>,
    pub require_mention: Option<bool>,
    pub policy: Option<GroupPolicy>,
    pub allow: Option<Vec<String>>,
}

/// What the gate says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admit,
    Ignore,
    /// The sender may write here, but not to the bot: kept as context, if that is wanted.
    Overhear,
    /// Only if the sender was approved; `pair`: one who was not is told how to ask.
    IfApproved {
        pair: bool,
    },
}

fn listed(list: &[String], sender: &str) -> bool {
    list.iter().any(|a| a == "*" || a == sender)
}

impl Access {
    pub fn judge(&self, s: &Source, facts: &Facts) -> Verdict {
        match s.chat_type {
            ChatType::Dm => self.judge_dm(&s.sender),
            _ => self.judge_group(s, facts),
        }
    }

    fn judge_dm(&self, sender: &str) -> Verdict {
        match self.dm {
            DmPolicy::Disabled => Verdict::Ignore,
            DmPolicy::Open => Verdict::Admit,
            _ if listed(&self.allow, sender) => Verdict::Admit,
            policy => Verdict::IfApproved { pair: policy == DmPolicy::Pairing },
        }
    }

    /// The topic's entry wins over its group's, that over the account's.
    fn judge_group(&self, s: &Source, facts: &Facts) -> Verdict {
        let none = GroupAccess::default();
        let group = self.groups.get(&s.chat).or_else(|| self.groups.get("*")).unwrap_or(&none);
        let topic = facts.topic.as_ref().or(s.thread.as_ref()).and_then(|t| group.topics.get(t));
        let enabled = topic.and_then(|t| t.enabled).unwrap_or(group.enabled);
        let policy = topic.and_then(|t| t.policy).or(group.policy).unwrap_or(self.group);
        let allow = topic.and_then(|t| t.allow.as_ref()).or(group.allow.as_ref()).unwrap_or(&self.group_allow);
        let by_mention = topic.and_then(|t| t.require_mention).unwrap_or(group.require_mention);
        let may = match policy {
            GroupPolicy::Disabled => false,
            GroupPolicy::Allowlist => listed(allow, &s.sender),
            GroupPolicy::Open => true,
        };
        match (enabled && may, facts.mentioned || !by_mention) {
            (true, true) => Verdict::Admit,
            (true, false) if group.history > 0 => Verdict::Overhear,
            _ => Verdict::Ignore,
        }
    }

    /// How many texts of that chat are kept as context.
    pub fn history(&self, chat: &str) -> usize {
        self.groups.get(chat).or_else(|| self.groups.get("*")).map_or(0, |g| g.history)
    }

    /// Named one by one: `*` gives nobody the right to commands that need one.
    pub fn names(&self, sender: &str) -> bool {
        self.allow.iter().any(|a| a == sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dm(sender: &str) -> Source {
        Source { sender: sender.into(), chat: sender.into(), ..Source::default() }
    }
    fn group(chat: &str, thread: Option<&str>, sender: &str) -> Source {
        let (chat, thread) = (chat.to_owned(), thread.map(str::to_owned));
        Source { chat_type: ChatType::Group, chat, thread, sender: sender.into(), ..Source::default() }
    }
    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn private_chats_go_by_their_policy() {
        let judge = |policy, allow: &[&str], sender| {
            let access = Access { dm: policy, allow: words(allow), ..Access::default() };
            access.judge(&dm(sender), &Facts::default())
        };
        assert_eq!(judge(DmPolicy::Disabled, &["*"], "1"), Verdict::Ignore);
        assert_eq!(judge(DmPolicy::Open, &[], "1"), Verdict::Admit);
        assert_eq!(judge(DmPolicy::Allowlist, &["1"], "1"), Verdict::Admit);
        assert_eq!(judge(DmPolicy::Allowlist, &["1"], "2"), Verdict::IfApproved { pair: false });
        assert_eq!(judge(DmPolicy::Pairing, &["*"], "2"), Verdict::Admit);
        assert_eq!(judge(DmPolicy::Pairing, &["1"], "2"), Verdict::IfApproved { pair: true });
    }

    #[test]
    fn a_group_is_entered_by_mention_and_the_exact_id_replaces_the_star() {
        let mut access = Access::default();
        let at = |mentioned| Facts { mentioned, ..Facts::default() };
        assert_eq!(access.judge(&group("-1", None, "7"), &at(false)), Verdict::Ignore);
        assert_eq!(access.judge(&group("-1", None, "7"), &at(true)), Verdict::Admit);
        let quiet = GroupAccess { require_mention: false, ..GroupAccess::default() };
        access.groups.insert("*".into(), quiet);
        assert_eq!(access.judge(&group("-1", None, "7"), &at(false)), Verdict::Admit);
        let listed = GroupAccess { policy: Some(GroupPolicy::Allowlist), ..GroupAccess::default() };
        access.groups.insert("-1".into(), listed);
        assert_eq!(access.judge(&group("-1", None, "7"), &at(true)), Verdict::Ignore, "an empty list is nobody");
        access.group_allow = words(&["7"]);
        assert_eq!(access.judge(&group("-1", None, "7"), &at(true)), Verdict::Admit);
        assert_eq!(
            access.judge(&group("-1", None, "7"), &at(false)),
            Verdict::Ignore,
            "the star's entry is not merged"
        );
    }

    #[test]
    fn a_topic_wins_over_its_group_and_general_is_looked_up_by_its_number() {
        let mut access = Access::default();
        let open = TopicAccess { require_mention: Some(false), ..TopicAccess::default() };
        let shut = TopicAccess { enabled: Some(false), ..TopicAccess::default() };
        let topics = BTreeMap::from([("5".to_owned(), open), ("1".to_owned(), shut)]);
        access.groups.insert("-1".into(), GroupAccess { topics, ..GroupAccess::default() });
        let not = Facts::default();
        assert_eq!(access.judge(&group("-1", Some("5"), "7"), &not), Verdict::Admit);
        assert_eq!(access.judge(&group("-1", Some("6"), "7"), &not), Verdict::Ignore);
        let general = Facts { mentioned: true, topic: Some("1".into()), ..Facts::default() };
        assert_eq!(access.judge(&group("-1", None, "7"), &general), Verdict::Ignore);
    }
}
