//! What routing takes from the configuration.

use std::collections::BTreeMap;

use crate::config::types::{self, Config, PeerKind};
use crate::message::ChatType;
use crate::routing::{AccountRoles, Binding, DmScope, GroupRoles, Routing, DEFAULT_ACCOUNT};

/// Agents, bindings, the grouping of direct messages, and roles of chats.
pub fn routing(c: &Config) -> Routing {
    let agents: Vec<String> = c.agents.list.iter().map(|a| a.id.clone()).collect();
    let default = match agents.is_empty() {
        true => Routing::default().default,
        false => c.agents.default.clone(),
    };
    Routing {
        agents,
        default,
        bindings: c.agents.bindings.iter().map(binding).collect(),
        scope: match c.session.dm_scope {
            types::DmScope::Main => DmScope::Main,
            types::DmScope::PerPeer => DmScope::PerPeer,
            types::DmScope::PerChannelPeer | types::DmScope::PerAccountChannelPeer => DmScope::PerChannelPeer,
        },
        roles: roles(c),
        dm_topics: c
            .channels
            .telegram
            .accounts
            .iter()
            .filter(|(_, a)| a.dm_topics)
            .map(|(id, _)| ("telegram".to_owned(), id.clone()))
            .collect(),
    }
}

fn binding(b: &types::Binding) -> Binding {
    let m = &b.criteria;
    let kind = |k: &PeerKind| match k {
        PeerKind::Dm => ChatType::Dm,
        PeerKind::Group => ChatType::Group,
        PeerKind::Channel => ChatType::Channel,
        PeerKind::Thread => ChatType::Thread,
    };
    Binding {
        agent: b.agent_id.clone(),
        channel: m.channel.clone(),
        account: m.account_id.clone(),
        guild: m.guild_id.clone(),
        roles: m.roles.clone(),
        peer: m.peer.as_ref().map(|p| (p.kind.as_ref().map(kind), p.id.clone())),
        parent: m.parent_peer.as_ref().map(|p| (p.kind.map(|k| k.as_str().to_owned()), p.id.clone())),
    }
}

/// Roles by channel and account; what an account inherits it holds already.
fn roles(c: &Config) -> BTreeMap<(String, String), AccountRoles> {
    let mut all = BTreeMap::new();
    let mut put = |channel: &str, account: &str, roles: AccountRoles| {
        if roles != AccountRoles::default() {
            all.insert((channel.to_owned(), account.to_owned()), roles);
        }
    };
    for (id, a) in &c.channels.telegram.accounts {
        let groups = a.groups.iter().map(|(chat, g)| {
            let inner = g.topics.iter().filter_map(|(id, t)| Some((id.clone(), t.role.clone()?))).collect();
            (chat.clone(), GroupRoles { role: g.role.clone(), inner })
        });
        put("telegram", id, AccountRoles { role: a.role.clone(), groups: groups.collect() });
    }
    for (id, a) in &c.channels.feishu.accounts {
        let group = |g: &types::FeishuGroup| GroupRoles { role: g.role.clone(), ..GroupRoles::default() };
        let groups = a.groups.iter().map(|(chat, g)| (chat.clone(), group(g)));
        put("feishu", id, AccountRoles { role: a.role.clone(), groups: groups.collect() });
    }
    let discord = &c.channels.discord;
    let guilds = discord.guilds.iter().map(|(id, g)| {
        let inner = g.channels.iter().filter_map(|(id, ch)| Some((id.clone(), ch.role.clone()?))).collect();
        (id.clone(), GroupRoles { role: g.role.clone(), inner })
    });
    put("discord", DEFAULT_ACCOUNT, AccountRoles { role: discord.role.clone(), groups: guilds.collect() });
    for (channel, p) in &c.channels.plugins {
        put(channel, DEFAULT_ACCOUNT, AccountRoles { role: p.role.clone(), ..AccountRoles::default() });
    }
    all
}
