//! What the house may know of its channels' accounts while they run: how each stands, and what the port delivers to.
//!
//! Readers write, everybody reads; each lock is held for a moment. Nothing is decided by what stands here but that a
//! reader which has gone silent is replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde_json::Value;

use crate::clock;
use crate::message::{Mono, Wall};

/// How an account stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It has not been let in yet.
    #[default]
    Starting,
    Running,
    /// Its last call failed; it tries again.
    Degraded,
    /// Its credentials are refused.
    Unauthorized,
    /// Another program takes its messages.
    Conflict,
    Stopped,
}

impl Stage {
    pub fn word(self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::Running => "running",
            Stage::Degraded => "degraded",
            Stage::Unauthorized => "unauthorized",
            Stage::Conflict => "conflict",
            Stage::Stopped => "stopped",
        }
    }
    /// Somebody has to look at it.
    pub fn is_bad(self) -> bool {
        matches!(self, Stage::Degraded | Stage::Unauthorized | Stage::Conflict)
    }
}

/// What is known of an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub stage: Stage,
    /// The platform delivers to the gateway's port.
    pub webhook: bool,
    /// The bot's name there, without `@`.
    pub bot: Option<String>,
    /// When it last heard from the platform that takes its messages to us.
    pub heard: Option<Mono>,
    /// The last thing that went wrong, and when; kept when it is over.
    pub error: Option<(Wall, String)>,
    /// Updates taken in this life.
    pub updates: u64,
    /// By then its reader gives another sign of life.
    pub due: Option<Mono>,
}

/// Hears of every change: channel, account, how it stands now, and why, if that is bad. Called by whoever made the
/// change, with no lock held.
pub type Teller = dyn Fn(&str, &str, Stage, Option<&str>) + Send + Sync;

/// One account's line.
#[derive(Default)]
pub struct Standing {
    known: Mutex<Known>,
    name: Name,
    teller: Arc<OnceLock<Box<Teller>>>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn change(&self, f: impl FnOnce(&mut Known)) {
        let mut k = self.lock();
        let before = k.stage;
        f(&mut k);
        let (stage, bad) = (k.stage, k.stage.is_bad() || k.stage == Stage::Stopped);
        let why = k.error.as_ref().filter(|_| bad).map(|(_, why)| why.clone());
        drop(k);
        if let Some(tell) = self.teller.get().filter(|_| stage != before) {
            tell(&self.name.0, &self.name.1, stage, why.as_deref());
        }
    }
    pub fn known(&self) -> Known {
        self.lock().clone()
    }
    /// It is opened, or opened anew; what went wrong before is kept.
    pub fn open(&self, webhook: bool) {
        self.change(|k| *k = Known { webhook, error: k.error.take(), updates: k.updates, ..Known::default() });
    }
    /// The platform knows the bot.
    pub fn connected(&self, bot: Option<String>) {
        self.change(|k| {
            k.bot = bot;
            k.stage = Stage::Running;
        });
    }
    /// The platform had so many updates.
    pub fn heard(&self, updates: u64) {
        self.change(|k| {
            k.stage = Stage::Running;
            k.heard = Some(clock::mono());
            k.updates += updates;
        });
    }
    pub fn failed(&self, stage: Stage, why: &str) {
        self.change(|k| {
            k.stage = stage;
            k.error = Some((clock::now().wall, why.to_owned()));
        });
    }
    /// Another sign of life comes within that time, ms.
    pub fn expect(&self, within: u64) {
        self.lock().due = Some(clock::mono() + within);
    }
    pub fn stopped(&self) {
        self.change(|k| {
            k.stage = Stage::Stopped;
            k.due = None;
        });
    }
    /// No sign of life came in time.
    pub fn is_overdue(&self, now: Mono) -> bool {
        self.lock().due.is_some_and(|due| due < now)
    }
}

/// Where a platform delivers to the gateway's own port.
pub trait Inlet: Send + Sync {
    fn path(&self) -> &str;
    /// The header, in lower case, and what it has to hold: then the caller is the platform.
    fn key(&self) -> (&'static str, &str);
    /// Takes one delivery; true: it is safe, and must not come again.
    fn deliver(&self, body: Value) -> bool;
}

/// Channel and account.
type Name = (String, String);

/// All accounts.
#[derive(Default)]
pub struct Roster {
    standings: Mutex<BTreeMap<Name, Arc<Standing>>>,
    inlets: Mutex<BTreeMap<Name, Arc<dyn Inlet>>>,
    teller: Arc<OnceLock<Box<Teller>>>,
}

impl Roster {
    /// The account's line; made if there is none.
    pub fn standing(&self, channel: &str, account: &str) -> Arc<Standing> {
        let mut all = self.standings.lock().unwrap_or_else(|e| e.into_inner());
        let name = (channel.to_owned(), account.to_owned());
        let line = |name: &Name| Standing { name: name.clone(), teller: self.teller.clone(), ..Standing::default() };
        all.entry(name.clone()).or_insert_with(|| Arc::new(line(&name))).clone()
    }
    /// Who is told of every change. Once, at the start.
    pub fn tell(&self, teller: Box<Teller>) {
        let _ = self.teller.set(teller);
    }
    /// The account is not configured any more.
    pub fn remove(&self, channel: &str, account: &str) {
        let name = (channel.to_owned(), account.to_owned());
        self.standings.lock().unwrap_or_else(|e| e.into_inner()).remove(&name);
        self.inlets().remove(&name);
    }
    /// All, sorted by channel and account.
    pub fn all(&self) -> Vec<(Name, Known)> {
        let all = self.standings.lock().unwrap_or_else(|e| e.into_inner());
        all.iter().map(|(name, s)| (name.clone(), s.known())).collect()
    }
    /// An account whose reader has been silent for too long.
    pub fn overdue(&self, now: Mono) -> Option<Name> {
        let all = self.standings.lock().unwrap_or_else(|e| e.into_inner());
        all.iter().find(|(_, s)| s.is_overdue(now)).map(|(name, _)| name.clone())
    }

    fn inlets(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<dyn Inlet>>> {
        self.inlets.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// From now on, or no more, the port delivers to that account.
    pub fn set_inlet(&self, channel: &str, account: &str, inlet: Option<Arc<dyn Inlet>>) {
        let name = (channel.to_owned(), account.to_owned());
        match inlet {
            Some(inlet) => self.inlets().insert(name, inlet),
            None => self.inlets().remove(&name),
        };
    }
    /// Who is delivered to there, by any caller that has the key: accounts that share a path differ by their secrets.
    pub fn inlets_at(&self, path: &str) -> Vec<Arc<dyn Inlet>> {
        self.inlets().values().filter(|i| i.path() == path).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_told_once_with_the_reason_while_it_is_bad() {
        let roster = Roster::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = told.clone();
        roster.tell(Box::new(move |channel, account, stage, why| {
            seen.lock().unwrap().push(format!("{channel} {account} {} {}", stage.word(), why.unwrap_or("-")));
        }));
        let a = roster.standing("telegram", "a");
        a.open(false);
        a.connected(None);
        a.heard(1);
        a.failed(Stage::Degraded, "no network");
        a.failed(Stage::Degraded, "no network");
        a.heard(0);
        a.failed(Stage::Unauthorized, "revoked");
        let expected = [
            "telegram a running -",
            "telegram a degraded no network",
            "telegram a running -",
            "telegram a unauthorized revoked",
        ];
        assert_eq!(*told.lock().unwrap(), expected);
    }

    #[test]
    fn an_account_is_overdue_when_its_next_sign_of_life_is_late() {
        let roster = Roster::default();
        let a = roster.standing("telegram", "a");
        a.open(false);
        let now = clock::mono();
        assert_eq!(roster.overdue(now + 1_000_000), None, "it has promised nothing");
        a.expect(5_000);
        assert_eq!(roster.overdue(now), None);
        assert_eq!(roster.overdue(now + 60_000), Some(("telegram".into(), "a".into())));
        a.stopped();
        assert_eq!(roster.overdue(now + 60_000), None);
    }
}
