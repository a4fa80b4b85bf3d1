//! The menus of commands that platforms show: built from our commands, the agents, the configuration and what pi
//! knows, sent by a thread that lives as long as there is something to send (telegram.md 10).
//!
//! Nobody waits for it, and nothing depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::channels::telegram::{self, menu::Entry, Bot};
use crate::config::types::TelegramAccount;
use crate::config::Config;
use crate::core::command_list::{self, menu_name, LIST, OF_PI};

/// So often it is tried, and after such pauses; then at the next occasion.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(5);
const DESCRIPTION: usize = 100;

#[derive(Default)]
pub struct Menus(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    accounts: BTreeMap<String, (TelegramAccount, Bot)>,
    /// Agents that can be spoken to by a command.
    agents: Vec<String>,
    /// Commands that the configuration switches off.
    off: Vec<&'static str>,
    /// `None`: not known yet.
    pi: Option<Arc<[(String, String)]>>,
    wanted: BTreeSet<String>,
    /// Accounts that the platform knows.
    ready: BTreeSet<String>,
    at_work: bool,
}

impl Menus {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn configure(self: &Arc<Self>, c: &Config) {
        let mut k = self.lock();
        k.agents = c.agents.list.iter().map(|a| a.id.clone()).filter(|id| id != "main").collect();
        let switches = [("bash", c.gateway.commands.bash), ("restart", c.gateway.commands.restart)];
        k.off = switches.into_iter().filter(|(_, on)| !on).map(|(name, _)| name).collect();
        let ready = k.ready.clone();
        k.wanted.extend(ready);
        drop(k);
        self.work();
    }

    pub fn set(self: &Arc<Self>, id: &str, account: &TelegramAccount, bot: Bot) {
        let mut k = self.lock();
        k.accounts.insert(id.to_owned(), (account.clone(), bot));
        if k.ready.contains(id) {
            k.wanted.insert(id.to_owned()); // its thread was faster than whoever began it
        }
        drop(k);
        self.work();
    }

    pub fn remove(&self, id: &str) {
        let mut k = self.lock();
        k.accounts.remove(id);
        k.ready.remove(id);
    }

    /// The account has just been let in.
    pub fn wanted(self: &Arc<Self>, id: &str) {
        let mut k = self.lock();
        k.ready.insert(id.to_owned());
        k.wanted.insert(id.to_owned());
        drop(k);
        self.work();
    }

    /// pi's list became known, or was read again.
    pub fn commands(self: &Arc<Self>, list: &Arc<[(String, String)]>) {
        let mut k = self.lock();
        k.pi = Some(list.clone());
        let ready = k.ready.clone();
        k.wanted.extend(ready);
        drop(k);
        self.work();
    }

    fn work(self: &Arc<Self>) {
        let mut k = self.lock();
        if k.wanted.is_empty() || std::mem::replace(&mut k.at_work, true) {
            return;
        }
        drop(k);
        let this = self.clone();
        let thread = std::thread::Builder::new().name("menus".into()).stack_size(256 << 10);
        if let Err(e) = thread.spawn(move || this.run()) {
            log::warn!("no thread for the menus of commands: {e}");
            self.lock().at_work = false;
        }
    }

    fn run(&self) {
        loop {
            let mut k = self.lock();
            let Some(id) = k.wanted.pop_first() else {
                k.at_work = false;
                return;
            };
            let Some((account, bot)) = k.accounts.get(&id).cloned() else { continue };
            if account.commands.native == Some(false) {
                continue;
            }
            let (all, groups) = k.entries(&account);
            let more = k.pi.is_none().then_some(OF_PI);
            drop(k);
            for n in 1..=TRIES {
                match telegram::menu::publish(&bot, &all, &groups, more) {
                    Ok(()) => break,
                    Err(why) if n == TRIES => log::warn!("telegram {id}: the menu of commands is not set: {why}"),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        }
    }
}

impl Kept {
    /// For private chats, and for groups.
    fn entries(&self, account: &TelegramAccount) -> (Vec<Entry>, Vec<Entry>) {
        let mut all: Vec<(Entry, bool)> = Vec::new();
        let mut add = |command: &str, description: &str, privileged: bool| {
            let good = (1..=32).contains(&command.len())
                && command.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !good || all.iter().any(|(e, _)| e.command == command) {
                return;
            }
            let text: String = description.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
            let text = if text.is_empty() { command.to_owned() } else { text };
            let description = text.chars().take(DESCRIPTION).collect();
            all.push((Entry { command: command.to_owned(), description }, privileged));
        };
        for (name, _, what) in LIST.iter().filter(|(name, ..)| !self.off.contains(name)) {
            add(name, what, command_list::is_privileged(name));
        }
        for agent in &self.agents {
            add(agent, &format!("speak to the agent {agent}"), false);
        }
        for c in &account.custom_commands {
            add(&c.command, &c.description, false);
        }
        let skills = account.commands.native_skills == Some(true);
        for (name, what) in
            self.pi.iter().flat_map(|list| list.iter()).filter(|(name, _)| skills || !name.starts_with("skill:"))
        {
            // One that is ours as well would not reach pi.
            if !command_list::is_command(name) {
                add(&menu_name(name), what, false);
            }
        }
        all.truncate(telegram::menu::MOST);
        let groups = all.iter().filter(|(_, privileged)| !privileged).map(|(e, _)| e.clone()).collect();
        (all.into_iter().map(|(e, _)| e).collect(), groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::Network;
    use crate::net::{Net, Purpose};

    #[test]
    fn given_an_account_that_is_let_in_before_it_is_known_here_then_its_menu_is_set_all_the_same() {
        let network = Network { ca_file: None, proxy: None, no_proxy: Vec::new(), env_proxy: Default::default() };
        let agent = Net::open(&network).unwrap().agent(Purpose::Send).build();
        // Nobody has to answer: what counts is that somebody is asked.
        let platform = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bot = Bot::new(&format!("http://{}", platform.local_addr().unwrap()), "1:token", agent.clone());
        let menus = Arc::new(Menus::default());
        menus.wanted("default");
        while menus.lock().at_work {
            std::thread::yield_now();
        }
        let text =
            br#"{"channels": {"telegram": {"enabled": true, "botToken": "1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}}"#;
        let dir = tempfile::tempdir().unwrap();
        let (home, cwd) = (dir.path().to_owned(), dir.path().to_owned());
        let env = crate::config::Env { home, cwd, ..crate::config::Env::from_process() };
        let path = dir.path().join("c.jsonc");
        let loaded = crate::config::load_bytes(text.to_vec(), &path, &env, &crate::config::Options::default());
        let account =
            loaded.unwrap_or_else(|issues| panic!("{issues:?}")).config.channels.telegram.accounts["default"].clone();
        menus.set("default", &account, bot);
        platform.set_nonblocking(true).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while platform.accept().is_err() {
            assert!(std::time::Instant::now() < end, "nobody was asked for the menu");
            std::thread::yield_now();
        }
        agent.shutdown();
    }
}
