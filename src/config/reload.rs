//! What a changed configuration asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::load::Loaded;
use super::node::{index, join};

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// With the next message or tick.
    Hot,
    /// With the next pi process: idle ones are recycled at once, busy ones when their turn ends.
    NextPi,
    /// The gateway restarts the channel account.
    Channel,
    /// With a restart of the gateway.
    Restart,
}

pub(crate) const H: Class = Class::Hot;
pub(crate) const N: Class = Class::NextPi;
pub(crate) const C: Class = Class::Channel;
pub(crate) const R: Class = Class::Restart;

/// The difference between two configurations, by what has to be done. Holds key paths, never values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Keys that take effect at once.
    pub hot: Vec<String>,
    /// Keys for which pi processes must be recycled.
    pub next_pi: Vec<String>,
    /// Keys for which channel accounts must be restarted.
    pub channel: Vec<String>,
    /// Keys that "take effect after restart".
    pub restart: Vec<String>,
    /// The accounts to restart, start or stop: (channel, account). Channels without accounts count as `default`.
    pub accounts: BTreeSet<(String, String)>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// Whether pi processes must be recycled.
    pub fn recycles_pi(&self) -> bool {
        !self.next_pi.is_empty()
    }
}

/// Compares two loaded configurations.
pub fn changes(old: &Loaded, new: &Loaded) -> Changes {
    let mut found = Diff { old: &old.classes, new: &new.classes, changes: Changes::default() };
    found.compare(Some(&old.effective), Some(&new.effective), "", None);
    let mut changes = found.changes;
    for key in &changes.channel {
        match channel_and_account(key) {
            Some((channel, Some(account))) => {
                changes.accounts.insert((channel.into(), account));
            }
            // The channel itself: all its accounts that do not say otherwise. Their own keys have changed as
            // well if they inherit this one, so only the account `default` and the switch need care.
            Some((channel, None)) if key.ends_with(".enabled") => {
                changes.accounts.extend(accounts(old, new).into_iter().filter(|(name, _)| name == channel));
            }
            Some((channel, None)) => {
                let own = (channel.to_owned(), super::types::DEFAULT_ACCOUNT.to_owned());
                if accounts(old, new).contains(&own) {
                    changes.accounts.insert(own);
                }
            }
            // `network.proxy` and the like: everyone.
            None => changes.accounts.extend(accounts(old, new)),
        }
    }
    changes
}

/// `channels.telegram.accounts.work.role` -> (`telegram`, `work`).
fn channel_and_account(key: &str) -> Option<(&str, Option<String>)> {
    let rest = key.strip_prefix("channels.")?;
    let (channel, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let account = rest.strip_prefix("accounts").map(|rest| match rest.strip_prefix("[\"") {
        Some(quoted) => quoted.split("\"]").next().unwrap_or_default().replace("\\\"", "\""),
        None => rest.trim_start_matches('.').split(['.', '[']).next().unwrap_or_default().to_owned(),
    });
    Some((channel, account.filter(|account| !account.is_empty())))
}

/// Every account of both.
fn accounts(old: &Loaded, new: &Loaded) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for channels in [&old.config.channels, &new.config.channels] {
        let mut add = |channel: &str, account: &str| {
            all.insert((channel.to_owned(), account.to_owned()));
        };
        channels.telegram.accounts.keys().for_each(|account| add("telegram", account));
        channels.feishu.accounts.keys().for_each(|account| add("feishu", account));
        add("discord", super::types::DEFAULT_ACCOUNT);
        channels.plugins.keys().for_each(|channel| add(channel, super::types::DEFAULT_ACCOUNT));
    }
    all
}

struct Diff<'a> {
    old: &'a BTreeMap<String, Class>,
    new: &'a BTreeMap<String, Class>,
    changes: Changes,
}

impl Diff<'_> {
    fn compare(&mut self, old: Option<&Value>, new: Option<&Value>, path: &str, class: Option<Class>) {
        if old == new {
            return;
        }
        let class = self.new.get(path).or_else(|| self.old.get(path)).copied().or(class);
        match (old, new) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                names.into_iter().for_each(|name| self.compare(a.get(name), b.get(name), &join(path, name), class));
            }
            // A table entry that came or went counts by its keys.
            (Some(Value::Object(entries)), None | Some(Value::Null)) => {
                entries.iter().for_each(|(name, value)| self.compare(Some(value), None, &join(path, name), class));
            }
            (None | Some(Value::Null), Some(Value::Object(entries))) => {
                entries.iter().for_each(|(name, value)| self.compare(None, Some(value), &join(path, name), class));
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) if self.has_parts(path) => {
                (0..a.len().max(b.len())).for_each(|i| self.compare(a.get(i), b.get(i), &index(path, i), class));
            }
            // An entry's default that nobody set is no change.
            (None, Some(Value::Null)) | (Some(Value::Null), None) => {}
            _ => self.changed(path, class.unwrap_or(Class::Hot)),
        }
    }

    /// Whether a list has objects whose keys have classes of their own.
    fn has_parts(&self, path: &str) -> bool {
        let first = format!("{path}[");
        [self.old, self.new]
            .iter()
            .any(|classes| classes.range(first.clone()..).next().is_some_and(|(key, _)| key.starts_with(&first)))
    }

    fn changed(&mut self, path: &str, class: Class) {
        let keys = match class {
            Class::Hot => &mut self.changes.hot,
            Class::NextPi => &mut self.changes.next_pi,
            Class::Channel => &mut self.changes.channel,
            Class::Restart => &mut self.changes.restart,
        };
        keys.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::load_text;
    use super::*;

    fn diff(old: &str, new: &str) -> Changes {
        changes(&load_text(old), &load_text(new))
    }

    #[test]
    fn keys_are_sorted_by_what_they_need() {
        for (old, new, want) in [
            ("{}", "{}", Changes::default()),
            ("{}", r#"{"gateway": {"port": 52134}}"#, Changes::default()),
            (
                "{}",
                r#"{"gateway": {"port": 1, "drainMs": 5}, "agent": {"model": "a/b"}}"#,
                Changes {
                    restart: vec!["gateway.port".into()],
                    hot: vec!["gateway.drainMs".into()],
                    next_pi: vec!["agent.model".into()],
                    ..Changes::default()
                },
            ),
            (
                r#"{"agents": {"list": [{"id": "main", "workspace": "/a"}]}}"#,
                r#"{"agents": {"list": [{"id": "main", "workspace": "/b"}]}}"#,
                Changes { next_pi: vec!["agents.list[0].workspace".into()], ..Changes::default() },
            ),
            (
                "{}",
                r#"{"plugins": {"config": {"x": {"deep": {"a": 1}}}}}"#,
                Changes { hot: vec!["plugins.config.x.deep.a".into()], ..Changes::default() },
            ),
        ] {
            assert_eq!(diff(old, new), want, "{new}");
        }
    }

    fn telegram(extra: &str, a: &str, b: &str) -> String {
        format!(
            r#"{{"channels": {{"telegram": {{"enabled": true {extra}, "accounts": {{
                "a": {{"botToken": "1:aaaa" {a}}}, "b": {{"botToken": "2:bbbb" {b}}}}}}}}}}}"#
        )
    }

    #[test]
    fn only_the_affected_accounts_restart() {
        let base = telegram("", "", "");
        let accounts = |new: String| diff(&base, &new).accounts.into_iter().map(|(_, a)| a).collect::<Vec<_>>();
        assert_eq!(accounts(telegram("", r#", "pollTimeoutS": 9"#, "")), ["a"]);
        assert_eq!(accounts(telegram(r#", "pollTimeoutS": 9"#, "", "")), ["a", "b"], "inherited");
        assert_eq!(accounts(telegram(r#", "pollTimeoutS": 9"#, "", r#", "pollTimeoutS": 30"#)), ["a"]);
        assert_eq!(accounts(telegram(r#", "role": "x""#, "", "")), [""; 0], "hot keys restart nobody");
        assert_eq!(accounts(base.replace("\"enabled\": true", "\"enabled\": false")), ["a", "b"]);
        assert_eq!(accounts(base.replace("\"b\":", "\"c\":")), ["b", "c"]);
        let proxied = diff(&base, &base.replacen('{', r#"{"network": {"proxy": "http://h:1"}, "#, 1));
        assert_eq!(proxied.accounts.len(), 4, "everyone: {:?}", proxied.accounts);
    }

    #[test]
    fn changes_hold_no_values() {
        let found = diff("{}", r#"{"gateway": {"auth": {"token": "very-secret-token-1"}}}"#);
        assert_eq!(found.hot, ["gateway.auth.token"]);
        assert!(!format!("{found:?}").contains("very-secret"));
    }
}
