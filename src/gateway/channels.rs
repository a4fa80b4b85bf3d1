//! The channels' configuration as the mind needs it.

use std::collections::BTreeMap;

use super::operator::Operator;
use crate::config::Config;
use crate::message::{Content, Target};
use crate::rules::{AccountRules, ChannelRules};

/// How the configured channels treat what we send.
pub fn rules(_c: &Config) -> BTreeMap<String, ChannelRules> {
    BTreeMap::new()
}

/// Their accounts.
pub fn accounts(_c: &Config) -> BTreeMap<(String, String), AccountRules> {
    BTreeMap::new()
}

/// Markdown in the form of that platform, cut into messages.
pub fn render(_operator: &Operator, _target: &Target, text: &str) -> Vec<Content> {
    vec![Content { text: text.to_owned(), ..Content::default() }]
}
