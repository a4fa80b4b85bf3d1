//! The world around the mind, made of a random number generator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pi_gateway::access::{Access, DmPolicy};
use pi_gateway::core::{Legacy, State};
use pi_gateway::message::*;
use pi_gateway::rules::{
    AccountRules, ChannelRules, DropPolicy, Inflow, Keys, Mode, Pace, Rate, ReplyTo, Rules, ViewRules,
};
use pi_gateway::store::{inbox_state, Store};

use super::delegations::{self, Delegations};
use super::hearts::{self, Hearts};
use super::model_pi::{tokens, Entry, Files, ModelPi};
use super::platform::Platforms;
use super::presses::Presses;
use super::schedules::{self, Schedules};

/// splitmix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn word(&mut self, len: usize) -> String {
        (0..len).map(|_| b"abcdefghijklmnopqrstuvwxyz234567"[self.below(32) as usize] as char).collect()
    }
}

#[derive(Debug)]
struct Msg {
    session: String,
    /// Platform, or `None` for the web page.
    platform: Option<usize>,
    sender: String,
    key: String,
    text: String,
    command: bool,
    acked: bool,
    /// Refused for good (queue full): the sender knows.
    refused: bool,
    asked: Option<ReqId>,
    /// `/stop`, `/new` or an interrupt may have ended its turn without an answer.
    excused: bool,
    stranger: bool,
    /// By `/v1`: a turn of its own, perhaps with a model of its own.
    solo: Option<Solo>,
    shape: Shape,
}

/// What else a platform's message brings.
#[derive(Clone, Debug, Default)]
struct Shape {
    files: usize,
    album: Option<String>,
    forwarded: bool,
    /// In a group; whether it speaks to the bot.
    group: Option<bool>,
}

const GROUP: &str = "g1";

/// Bytes of one page in the log.
const FRAME: u64 = 1024 + 24;
pub(super) const PLATFORMS: [&str; 2] = ["pa", "pb"];
pub(super) const SENDERS: [&str; 2] = ["u1", "u2"];
const TABS: [&str; 3] = ["a", "b", "c"];
/// Seeds from here on have requests of `/v1` among the messages.
pub const API: u64 = 1_000_000_000;
/// Seeds from here on have buttons, and people who press them.
pub const BUTTONS: u64 = 2_000_000_000;
/// Seeds from here on have scheduled jobs.
pub const CRON: u64 = 3_000_000_000;
/// Seeds from here on have agents that hand work to others.
pub const DELEGATE: u64 = 4_000_000_000;
/// Seeds from here on have heartbeats and system events.
pub const HEART: u64 = 5_000_000_000;
/// How sessions of single requests begin.
const FLEETING: &str = "agent:main:api:req:";

pub struct World {
    pub(super) rng: Rng,
    pub(super) trace: bool,
    log: VecDeque<String>,
    hash: u64,
    pub(super) now: Now,
    pub(super) rules: Arc<Rules>,
    new_pi: bool,
    dir: tempfile::TempDir,
    lives: u32,
    path: PathBuf,
    pub(super) state: Option<State>,
    synced: u64,
    pub(super) power_cuts: u32,
    durable: Vec<Effect>,
    calls: Vec<(CallId, Call)>,
    pub(super) jobs: Vec<(JobId, Job)>,
    sweeps: Vec<ProcId>,
    spawns: Vec<(ProcId, PathBuf)>,
    /// What each process was started with.
    profiles: BTreeMap<ProcId, Profile>,
    pub(super) procs: BTreeMap<ProcId, ModelPi>,
    exits: Vec<ProcId>,
    pub(super) files: Files,
    made: Vec<String>,
    /// Roles made by `/role create`.
    roles: Vec<String>,
    msgs: Vec<Msg>,
    asks: BTreeMap<ReqId, Vec<usize>>,
    /// `/api/chat` callers that wait.
    pub(super) waits: BTreeSet<ReqId>,
    pub(super) next_req: u64,
    pub(super) platforms: Platforms,
    pub(super) may_repeat: BTreeSet<String>,
    /// Taken since the last sync: a power cut undoes their marks.
    young: Vec<String>,
    pub(super) refused_sends: BTreeSet<String>,
    /// Sends whose outcome was once not known.
    in_doubt: BTreeSet<String>,
    pub(super) faults: bool,
    pub(super) crash_now: bool,
    api: bool,
    pub(super) presses: Option<Presses>,
    pub(super) cron: Option<Schedules>,
    pub(super) delegations: Option<Delegations>,
    pub(super) hearts: Option<Hearts>,
    /// Files of a single request may stay: nobody removed them in time.
    unforgotten: bool,
    /// What tools send, and who waits for which of it.
    sends: Vec<outward::Sent>,
    sending: BTreeMap<ReqId, usize>,
    /// Chats with another id, by platform and person.
    moved: BTreeMap<(usize, String), String>,
    /// Of some edit nobody knows whether it was made.
    doubtful_edits: bool,
}

#[path = "outward.rs"]
mod outward;

fn fnv(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |h, b| (h ^ b as u64).wrapping_mul(0x100_0000_01b3))
}

impl World {
    /// `pool`: so many processes at most, else whatever the seed says.
    pub fn new(seed: u64, trace: bool, pool: Option<usize>) -> World {
        // The one that is kept was found when these began at 4,000,000,000.
        let stream = if seed >= HEART { seed - 1_000_000_000 } else { seed };
        let mut rng = Rng(stream.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let allow = SENDERS.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let mut rules = Rules {
            sessions_dir: "/s".into(),
            workspaces_dir: "/w".into(),
            pool_max: 1 + rng.below(3) as usize,
            pool_min: rng.below(2) as usize,
            collect: !rng.one_in(3),
            debounce: if rng.one_in(2) { 0 } else { 1500 },
            mode: [Mode::Steer, Mode::Steer, Mode::FollowUp, Mode::Interrupt][rng.below(4) as usize],
            max_per_session: 3 + rng.below(12) as usize,
            drop_policy: [DropPolicy::Summarize, DropPolicy::Old, DropPolicy::New][rng.below(3) as usize],
            resend_ambiguous: rng.one_in(2),
            max_age: 100 * 86_400_000, // the clock is set forward, often more than once
            ..Rules::default()
        };
        rules.pool_max = pool.unwrap_or(rules.pool_max);
        for (n, name) in PLATFORMS.iter().enumerate() {
            rules.channels.insert(name.to_string(), ChannelRules { mailbox: false, repeat_safe: n == 0 });
            let every = 20 + rng.below(200);
            let view = ViewRules { every: vec![(String::new(), every)], blocks: rng.one_in(4) };
            let account = AccountRules {
                access: Access { dm: DmPolicy::Allowlist, allow: allow.clone(), ..Access::default() },
                reply_to: [ReplyTo::Off, ReplyTo::First, ReplyTo::All][rng.below(3) as usize],
                pace: Pace {
                    chats: vec![(String::new(), vec![Rate { every: 1000, burst: 3, kept: 2 }])],
                    account: vec![Rate { every: 40, burst: 1, kept: 0 }],
                },
                view: (!rng.one_in(3)).then_some(view),
                typing: 4_500 * rng.below(2),
                ack: rng.one_in(3).then(|| "👀".to_owned()),
                mode: None,
                keys: if (BUTTONS..CRON).contains(&seed) { Keys { per_row: 3, most: 20 } } else { Keys::default() },
                inflow: Inflow {
                    album: 200,
                    album_most: 600,
                    long_text: 30,
                    long_wait: 300,
                    forwards: 100,
                    typing: 100 * rng.below(2),
                    resend_edits: false,
                },
                show_tools: rng.one_in(4),
                notify_after: 500 * rng.below(2),
                additions: BTreeMap::new(),
            };
            rules.accounts.insert((name.to_string(), String::new()), account);
        }
        if seed >= HEART {
            rules.heartbeats.insert("main".into(), hearts::rules(&mut rng));
        }
        if (DELEGATE..HEART).contains(&seed) {
            delegations::rules(&mut rng, &mut rules);
        } else if seed >= CRON {
            rules.cron = schedules::rules(&mut rng);
        }
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("pigw-sim").tempdir_in(base).unwrap();
        let path = dir.path().join("0.db");
        let new_pi = rng.one_in(2);
        World {
            rng,
            trace,
            log: VecDeque::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            now: Now { wall: 1_800_000_000_000, mono: 1_000_000 },
            rules: Arc::new(rules),
            new_pi,
            dir,
            lives: 0,
            path,
            state: None,
            synced: 0,
            power_cuts: 0,
            durable: Vec::new(),
            calls: Vec::new(),
            jobs: Vec::new(),
            sweeps: Vec::new(),
            spawns: Vec::new(),
            profiles: BTreeMap::new(),
            procs: BTreeMap::new(),
            exits: Vec::new(),
            files: Files::new(),
            made: Vec::new(),
            roles: Vec::new(),
            msgs: Vec::new(),
            asks: BTreeMap::new(),
            waits: BTreeSet::new(),
            next_req: 1,
            platforms: Platforms::default(),
            may_repeat: BTreeSet::new(),
            young: Vec::new(),
            refused_sends: BTreeSet::new(),
            in_doubt: BTreeSet::new(),
            faults: true,
            crash_now: false,
            api: (API..BUTTONS).contains(&seed),
            presses: (BUTTONS..CRON).contains(&seed).then(Presses::default),
            cron: ((CRON..DELEGATE).contains(&seed) || seed >= HEART).then(Schedules::default),
            delegations: (DELEGATE..HEART).contains(&seed).then(Delegations::default),
            hearts: (seed >= HEART).then(Hearts::default),
            unforgotten: false,
            sends: Vec::new(),
            sending: BTreeMap::new(),
            moved: BTreeMap::new(),
            doubtful_edits: false,
        }
    }

    fn note(&mut self, text: String) {
        self.hash = fnv(self.hash, &text);
        if self.trace {
            println!("{:>9} {text}", self.now.mono);
        }
        if self.log.len() == 50 {
            self.log.pop_front();
        }
        self.log.push_back(text);
    }

    /// The run; the trace's hash if every promise was kept.
    pub fn run(mut self) -> Result<u64, String> {
        let done = self.go();
        done.map(|()| self.hash).map_err(|why| {
            let tail: Vec<&str> = self.log.iter().map(String::as_str).collect();
            format!("{why}\n  last events:\n    {}", tail.join("\n    "))
        })
    }

    fn go(&mut self) -> Result<(), String> {
        self.boot(Legacy::default())?;
        let more = if self.delegations.is_some() { 200 } else { 0 };
        for _ in 0..120 + more + self.rng.below(120) {
            self.now.mono += self.rng.below(40);
            self.now.wall += self.rng.below(40) as i64;
            self.act()?;
        }
        self.faults = false;
        for _ in 0..6000 {
            if self.quiet()? {
                return self.judge();
            }
            self.settle()?;
        }
        Err(format!("never comes to rest: {:?}", self.open_ends()))
    }

    fn open_ends(&self) -> String {
        let procs: Vec<_> = self.procs.iter().map(|(id, p)| (id.0, p.busy(), p.dying)).collect();
        format!(
            "procs {procs:?} jobs {} calls {} spawns {} exits {}",
            self.jobs.len(),
            self.calls.len(),
            self.spawns.len(),
            self.exits.len()
        )
    }

    // ---- lives and deaths of the gateway

    fn boot(&mut self, legacy: Legacy) -> Result<(), String> {
        let mut ids = self.rng.clone();
        let _ = self.rng.next();
        let store = Store::open_as(&self.path, |n| ids.word(n)).map_err(|e| format!("store: {e}"))?;
        let (mut state, effects) =
            State::open(store, self.rules.clone(), self.now, legacy).map_err(|e| format!("open: {e}"))?;
        let mut sids = self.rng.clone();
        let _ = self.rng.next();
        state.random_from(move |n| sids.word(n));
        self.state = Some(state);
        self.synced = self.wal();
        self.note("gateway starts".into());
        self.carry_all(effects)?;
        self.feed(Event::Clock { confirmed: true })
    }

    fn wal(&self) -> u64 {
        std::fs::metadata(pi_gateway::store::sync::wal_path(&self.path)).map_or(0, |m| m.len())
    }

    /// kill -9, or a power cut that takes the end of the log along.
    fn crash(&mut self) -> Result<(), String> {
        self.unforgotten = true;
        let power = self.rng.one_in(3);
        if power {
            self.power_cuts += 1;
            self.lives += 1;
            let next = self.dir.path().join(format!("{}.db", self.lives));
            let (old_wal, new_wal) =
                (pi_gateway::store::sync::wal_path(&self.path), pi_gateway::store::sync::wal_path(&next));
            std::fs::copy(&self.path, &next).map_err(|e| e.to_string())?;
            let mut log = std::fs::read(old_wal).unwrap_or_default();
            let lost = (log.len() as u64).saturating_sub(self.synced) / FRAME;
            let keep = self.synced + self.rng.below(lost + 1) * FRAME;
            log.truncate(keep as usize);
            std::fs::write(new_wal, log).map_err(|e| e.to_string())?;
            self.state = None;
            self.path = next;
            self.may_repeat.extend(self.young.drain(..));
            let young = std::mem::take(&mut self.platforms.young);
            self.platforms.orphans.extend(young);
        }
        self.note(format!("gateway dies ({})", if power { "power cut" } else { "kill" }));
        self.state = None;
        // A mark whose call was never made cannot be told from one whose call was (core.md 22.5).
        for e in std::mem::take(&mut self.durable) {
            if let Effect::Call { call, .. } = e {
                self.may_repeat.extend(nonce(&call));
            }
        }
        // Calls in flight reached the platform or not; nobody will hear of it.
        self.sending.clear();
        for (_, call) in std::mem::take(&mut self.calls) {
            self.doubtful_edits |= matches!(call.op, Op::Edit { .. });
            self.may_repeat.extend(nonce(&call));
            if self.rng.one_in(2) {
                let outcome = self.take(&call);
                self.platforms.lose(&outcome);
            }
        }
        for p in self.procs.values_mut() {
            p.dying = true;
        }
        self.procs.clear();
        self.jobs.clear();
        self.sweeps.clear();
        self.spawns.clear();
        self.exits.clear();
        self.asks.clear();
        self.waits.clear();
        if let Some(p) = &mut self.presses {
            p.die();
        }
        if let Some(c) = &mut self.cron {
            c.die();
        }
        if let Some(d) = &mut self.delegations {
            d.die();
        }
        if let Some(h) = &mut self.hearts {
            h.die();
        }
        for m in &mut self.msgs {
            m.asked = None;
        }
        self.now.mono += self.rng.below(5_000);
        self.now.wall += self.rng.below(5_000) as i64;
        self.boot(Legacy::default())
    }

    /// One batch of the loop in core/run.rs.
    pub(super) fn feed(&mut self, event: Event) -> Result<(), String> {
        self.note(format!("> {}", short(&event)));
        let now = self.now;
        if let Some(h) = &mut self.hearts {
            h.saw(now.wall);
        }
        let Some(state) = self.state.as_mut() else { return Ok(()) };
        let done = || -> pi_gateway::store::Result<Vec<Effect>> {
            state.store().begin()?;
            state.store().savepoint()?;
            let effects = state.step(event, now)?;
            state.store().release()?;
            state.store().commit()?;
            Ok(effects)
        };
        let effects = done().map_err(|e| format!("step: {e}"))?;
        if let Some(broken) = self.state.as_ref().and_then(State::broken_rule) {
            return Err(broken);
        }
        self.carry_all(effects)
    }

    fn carry_all(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let mut effects = effects.into_iter();
        while let Some(e) = effects.next() {
            if self.faults && self.rng.one_in(400) {
                self.crash_now = true; // after the commit, before this effect: it never happens
                self.durable.push(e);
                self.durable.extend(effects); // forgotten by the crash
                return Ok(());
            }
            if e.durable() {
                self.durable.push(e);
            } else {
                self.carry(e)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        self.synced = self.wal();
        self.young.clear();
        self.platforms.young.clear();
        self.note("synced".into());
        let mut effects = std::mem::take(&mut self.durable).into_iter();
        while let Some(e) = effects.next() {
            if self.faults && self.rng.one_in(300) {
                self.crash_now = true;
                self.durable.push(e);
                self.durable.extend(effects);
                return Ok(());
            }
            self.carry(e)?;
        }
        Ok(())
    }

    fn carry(&mut self, effect: Effect) -> Result<(), String> {
        if !matches!(effect, Effect::Frame(_) | Effect::Show { .. } | Effect::Observed(_)) {
            let text = format!("{effect:?}");
            self.note(format!("  < {}", text.chars().take(150).collect::<String>()));
        }
        match effect {
            Effect::Answer { id, answer, .. } => {
                if let Some(p) = &mut self.presses {
                    p.told(id, &answer.0)?;
                }
                if let Some(c) = &mut self.cron {
                    c.told(id, &answer.0);
                }
                if let Some(d) = &mut self.delegations {
                    let heard = d.told(id, &answer.0)?;
                    if let Some(p) = heard.and_then(|proc| self.procs.get_mut(&proc)) {
                        p.held = false;
                    }
                }
                if let Some(h) = &mut self.hearts {
                    h.told(id, &answer.0);
                }
                self.answered(id, *answer.0);
            }
            Effect::Call { id, call, .. } => {
                if let (Op::AnswerPress { query, .. }, Some(p)) = (&call.op, &mut self.presses) {
                    p.answered(query);
                }
                let aside = |c: &Call| matches!(c.op, Op::Typing | Op::React { .. } | Op::AnswerPress { .. });
                let in_lane = |c: &Call| !aside(c) && c.target == call.target;
                if in_lane(&call) && self.calls.iter().any(|(_, c)| in_lane(c)) {
                    return Err(format!("two requests in flight in one lane: {:?}", call.target));
                }
                if let CallId::Row(row) = id {
                    self.marked(row)?;
                }
                self.calls.push((id, *call));
            }
            Effect::Job { id, job, .. } => self.jobs.push((id, *job)),
            Effect::Spawn { proc, session_file, profile } => {
                self.profiles.insert(proc, *profile);
                self.spawns.push((proc, session_file));
            }
            Effect::Signal { proc, .. } => {
                if let Some(p) = self.procs.get_mut(&proc) {
                    if !p.dying {
                        p.dying = true;
                        self.exits.push(proc);
                    }
                }
            }
            Effect::Write { proc, id, cmd } => {
                if let PiCmd::Prompt { message, .. } = &*cmd {
                    if let Some(d) = &self.delegations {
                        d.prompted(message)?;
                    }
                    let file = self.procs.get(&proc).map(|p| p.file.clone());
                    let others =
                        self.procs.iter().filter(|(o, p)| **o != proc && Some(&p.file) == file.as_ref() && !p.dying);
                    if others.count() > 0 {
                        return Err(format!("two processes work on {file:?}"));
                    }
                    if file.as_ref().is_some_and(|f| self.is_removed(f)) {
                        return Err(format!("a prompt goes to {file:?}, which was removed"));
                    }
                    self.at_home(proc)?;
                }
                if let Some(p) = self.procs.get_mut(&proc) {
                    p.stdin.push((id, *cmd));
                }
            }
            Effect::Sweep { proc, .. } => self.sweeps.push(proc),
            Effect::Restart => return Err("nobody asked for a restart".into()),
            Effect::Show { .. }
            | Effect::Frame(_)
            | Effect::Notice(_)
            | Effect::Observed(_)
            | Effect::Commands(_)
            | Effect::Drained => {}
        }
        Ok(())
    }

    /// A prompt goes to a process that was started in the directory and with the role of its session.
    fn at_home(&self, proc: ProcId) -> Result<(), String> {
        let (Some(state), Some(p), Some(profile)) = (&self.state, self.procs.get(&proc), self.profiles.get(&proc))
        else {
            return Ok(());
        };
        let sessions = state.store().sessions(1000).map_err(|e| e.to_string())?;
        let copies = state.store().scratch_files().map_err(|e| e.to_string())?;
        let copied = |key: &str| copies.iter().any(|(file, of)| *file == p.file && of == key);
        let mine: Vec<_> = sessions.iter().filter(|s| s.file == p.file || copied(&s.key)).collect();
        let [session] = &mine[..] else {
            return Err(format!("{} sessions own {:?}, the file of process {}", mine.len(), p.file, proc.0));
        };
        let role = session.role.as_deref().unwrap_or("default");
        let cwd = state.rules().cwd(&session.agent, role);
        if (&*profile.role, &profile.cwd, &profile.agent) != (role, &cwd, &session.agent) {
            return Err(format!("process {} was started for {profile:?}, but works for {session:?}", proc.0));
        }
        Ok(())
    }

    /// No mark, no send.
    fn marked(&mut self, row: Row) -> Result<(), String> {
        let Some(state) = &self.state else { return Ok(()) };
        let sending = state.store().outbox_open("sending", row - 1, 1).map_err(|e| e.to_string())?;
        match sending.first() {
            Some(r) if r.id == row => Ok(()),
            _ => Err(format!("row {row} is being sent without a mark")),
        }
    }

    fn answered(&mut self, id: ReqId, answer: Answer) {
        if self.waits.remove(&id) || self.tool_hears(id, &answer) {
            return;
        }
        for m in self.asks.remove(&id).unwrap_or_default() {
            let msg = &mut self.msgs[m];
            msg.asked = None;
            match &answer {
                Answer::Ok | Answer::Accepted { .. } => msg.acked = true,
                Answer::Error { code: Code::QueueFull | Code::NotFound, .. } => msg.refused = true,
                _ => {}
            }
        }
    }

    fn take(&mut self, call: &Call) -> Outcome {
        if let Some(moved) = self.elsewhere(&call.target) {
            return moved;
        }
        let safe = self.rules.channels.get(&call.target.channel).is_some_and(|c| c.repeat_safe);
        self.platforms.take(call, safe, &mut self.rng)
    }

    // ---- what may happen next

    fn act(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.crash_now) {
            return self.crash();
        }
        if self.presses.is_some() && self.rng.one_in(4) {
            return self.press();
        }
        if self.cron.is_some() && self.rng.one_in(4) {
            return self.schedule();
        }
        if self.delegations.is_some() && self.rng.one_in(6) {
            return self.delegate();
        }
        if self.hearts.is_some() && self.rng.one_in(4) {
            return self.heart();
        }
        match self.rng.below(100) {
            0..=11 if self.msgs.len() < if self.delegations.is_some() { 5 } else { 14 } => self.somebody_writes(),
            12..=19 => self.deliver(),
            20..=27 => self.sync(),
            28..=37 => self.finish_job(),
            38..=47 => self.outcome(),
            48..=75 => self.pi_moves(),
            76..=83 => self.child_news(),
            84..=91 => {
                // Tasks need time to come to something.
                self.now.mono += self.rng.below(if self.delegations.is_some() { 200 } else { 2_000 });
                self.feed(Event::Due)
            }
            92 => self.leap(),
            93..=94 => self.kill_pi(),
            95 => self.crash(),
            96 => self.ask_about(),
            97 if self.rng.one_in(2) => self.tool_sends(),
            97 => self.repeat_nonsense(),
            98 if self.rng.one_in(2) => self.broken_batch(),
            99 if self.rng.one_in(2) => self.somebody_edits(),
            98 => self.set_clock(),
            _ => match self.rng.below(4) {
                0 => self.chat_moves(),
                1 => self.shut_out(),
                2 => self.tool_sends(),
                _ => self.feed(Event::Due),
            },
        }
    }

    /// Everything works now: one step towards rest.
    fn settle(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.crash_now) {
            return self.crash();
        }
        self.now.mono += 5;
        self.now.wall += 5;
        self.deliver()?;
        if self.presses.as_mut().is_some_and(Presses::once_more) {
            self.press()?;
        }
        self.deliver_presses()?;
        self.end_schedules()?;
        self.tell_gone()?;
        self.end_hearts()?;
        self.sync()?;
        self.finish_job()?;
        self.outcome()?;
        self.child_news()?;
        let before = self.procs.values().any(|p| p.busy() && !p.hung && !p.stuck());
        self.pi_moves()?;
        if !before && self.jobs.is_empty() && self.calls.is_empty() && self.spawns.is_empty() && self.exits.is_empty() {
            self.leap()?;
        }
        Ok(())
    }

    fn leap(&mut self) -> Result<(), String> {
        if let Some(due) = self.state.as_ref().and_then(State::next_due) {
            let ahead = due.saturating_sub(self.now.mono).min(400_000);
            self.now.mono += ahead;
            self.now.wall += ahead as i64;
        }
        self.feed(Event::Due)
    }

    fn somebody_writes(&mut self) -> Result<(), String> {
        let n = self.msgs.len();
        let command = self.rng.one_in(7) || (self.presses.is_some() && self.rng.one_in(2));
        let web = self.rng.one_in(2);
        let sender = SENDERS[self.rng.below(2) as usize].to_owned();
        let platform = (!web).then(|| self.rng.below(2) as usize);
        let stranger = !web && self.rng.one_in(6);
        let sender = if stranger { "evil".to_owned() } else { sender };
        let session = match platform {
            None => format!("agent:main:webchat:{}", TABS[self.rng.below(3) as usize]),
            Some(p) => format!("agent:main:{}:dm:{sender}", PLATFORMS[p]),
        };
        let shape = if web || command || stranger { Shape::default() } else { self.shape(&sender, platform) };
        let session = match (platform, shape.group) {
            (Some(p), Some(_)) => self.rules.routing.session_key("main", &self.source(p, &sender, n, &shape)),
            _ => session,
        };
        let long = !web && self.rng.one_in(6);
        let text = match (command, self.rng.below(12)) {
            (false, _) if long => format!("{{m{n};{}", "long ".repeat(8)),
            (false, _) => format!("{{m{n};"),
            (true, 0) => "/new".into(),
            (true, 1 | 2) => "/stop".into(),
            (true, 3) => "/retry".into(),
            (true, 4) => "/role set boss".into(),
            (true, 5) => format!("/role create r{n}"),
            (true, 6..=8) if self.presses.is_some() => ["/role", "/think", "/help"][self.rng.below(3) as usize].into(),
            (true, 6) => "/context".into(),
            (true, 7) => "/compact".into(),
            (true, 8) => "/model".into(),
            (true, 9) => "/reload".into(),
            (true, _) => "/status".into(),
        };
        let excused = self.rules.mode == Mode::Interrupt;
        let solo = (self.api && !command && platform.is_none() && self.rng.one_in(2))
            .then(|| Solo { model: self.rng.one_in(3).then(|| "a/b".into()) });
        let fleeting = solo.is_some() && self.rng.one_in(2);
        let session = if fleeting { FLEETING.to_owned() } else { session };
        self.msgs.push(Msg {
            key: format!("k{n}"),
            session,
            platform,
            sender,
            text,
            command,
            acked: false,
            refused: false,
            asked: None,
            excused,
            stranger,
            solo,
            shape,
        });
        self.deliver()
    }

    fn shape(&mut self, sender: &str, platform: Option<usize>) -> Shape {
        let group = self.rng.one_in(4).then(|| self.rng.one_in(2));
        let mut shape = Shape { group, ..Shape::default() };
        match self.rng.below(8) {
            0 | 1 => shape.files = 1 + self.rng.below(2) as usize,
            2 | 3 => {
                // A further part of the album before, or a new one.
                let last = self.msgs.iter().rev().find(|m| m.platform == platform && m.sender == sender);
                let last =
                    last.filter(|m| m.shape.album.is_some() && !self.rng.clone().one_in(3)).map(|m| m.shape.clone());
                let n = self.msgs.len();
                if let Some(last) = last {
                    shape.album = last.album;
                    shape.group = last.group.map(|_| group.unwrap_or(false));
                } else {
                    shape.album = Some(format!("album{n}"));
                }
                shape.files = 1;
            }
            4 => shape.forwarded = true,
            _ => {}
        }
        shape
    }

    fn source(&self, platform: usize, sender: &str, n: usize, shape: &Shape) -> Source {
        let (chat_type, chat) = match shape.group {
            Some(_) => (ChatType::Group, GROUP.to_owned()),
            None => (ChatType::Dm, self.chat_of(platform, sender)),
        };
        Source {
            channel: PLATFORMS[platform].into(),
            chat_type,
            chat,
            sender: sender.into(),
            message_id: Some(n.to_string()),
            ..Source::default()
        }
    }

    fn inbound(&self, n: usize, platform: usize) -> Inbound {
        let m = &self.msgs[n];
        let file = |k: usize| FileRef { kind: "photo".into(), id: format!("f{n}.{k}"), ..FileRef::default() };
        Inbound {
            dkey: format!("{}:{}", PLATFORMS[platform], m.key),
            dkey2: Some(format!("{}:2:{}", PLATFORMS[platform], m.key)),
            source: self.source(platform, &m.sender, n, &m.shape),
            text: m.text.clone(),
            files: (0..m.shape.files).map(file).collect(),
            group: m.shape.album.clone(),
            forwarded: m.shape.forwarded,
            facts: Facts { mentioned: m.shape.group == Some(true), ..Facts::default() },
            ..Inbound::default()
        }
    }

    /// Somebody changes what they wrote: it counts while it waits, and is nothing to answer later.
    fn somebody_edits(&mut self) -> Result<(), String> {
        let mine = (0..self.msgs.len()).filter(|n| self.msgs[*n].platform.is_some() && self.msgs[*n].acked);
        let mine: Vec<usize> = mine.filter(|n| !self.msgs[*n].command && !self.msgs[*n].stranger).collect();
        let Some(n) = mine.get(self.rng.below(mine.len() as u64) as usize).copied() else { return Ok(()) };
        let Some(p) = self.msgs[n].platform else { return Ok(()) };
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let before = self.inbound(n, p);
        let edited = Inbound {
            dkey: format!("{}:e{}", PLATFORMS[p], id.0),
            dkey2: Some(format!("{}:2:{}:{}", PLATFORMS[p], self.msgs[n].key, id.0)),
            text: if self.rng.one_in(3) { before.text.clone() } else { format!("{} better", before.text) },
            original: before.dkey2.clone(),
            ..before
        };
        let batch = Batch {
            channel: PLATFORMS[p].into(),
            account: String::new(),
            updates: vec![Update::Edited(edited)],
            cursor: None,
        };
        self.feed(Event::Inbound { id, batch: Box::new(batch) })
    }

    /// A command that ends the session's turn without an answer: whoever may be in it.
    fn excuse(&mut self, command: usize) {
        let Msg { session, text, .. } = &self.msgs[command];
        if !matches!(text.as_str(), "/new" | "/stop") {
            return;
        }
        let session = session.clone();
        for m in self.msgs.iter_mut().filter(|m| m.session == session) {
            m.excused = true;
        }
    }

    /// Clients and platforms send what is not acknowledged, sometimes twice or out of order.
    fn deliver(&mut self) -> Result<(), String> {
        let again = self.faults && self.rng.one_in(10);
        let mut open: Vec<usize> = (0..self.msgs.len())
            .filter(|i| {
                let m = &self.msgs[*i];
                !m.refused && ((!m.acked && m.asked.is_none()) || (again && m.acked && !m.command))
            })
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let first = open[self.rng.below(open.len() as u64) as usize];
        self.excuse(first); // a late or repeated `/stop` meets messages written after it
        let id = ReqId(self.next_req);
        self.next_req += 1;
        match self.msgs[first].platform {
            None => {
                let m = &mut self.msgs[first];
                m.asked = Some(id);
                let hook = first % 5 == 2 && m.solo.is_none() && !m.command;
                let req = ChatRequest {
                    session: m.session.clone(),
                    source: Source {
                        channel: "webchat".into(),
                        chat: m.session.clone(),
                        sender: if hook { "webhook" } else { "web" }.into(),
                        ..Source::default()
                    },
                    text: m.text.clone(),
                    dkey: Some(format!("web:{}:{}", m.session, m.key)),
                    body_hash: m.key.clone(),
                    solo: m.solo.clone(),
                    fleeting: m.session == FLEETING,
                    known_only: hook && first.is_multiple_of(2),
                    ..ChatRequest::default()
                };
                self.asks.insert(id, vec![first]);
                let req = Box::new(req);
                let req = if hook { Request::Webhook(req) } else { Request::Chat(req) };
                self.feed(Event::Request { id, req: Box::new(req) })
            }
            Some(p) => {
                open.retain(|i| self.msgs[*i].platform == Some(p));
                if self.faults && self.rng.one_in(3) {
                    open.reverse();
                }
                let updates = open.iter().map(|i| Update::Message(self.inbound(*i, p)));
                let batch = Batch {
                    channel: PLATFORMS[p].into(),
                    account: String::new(),
                    updates: updates.collect(),
                    cursor: Some("c".into()),
                };
                for i in &open {
                    self.msgs[*i].asked = Some(id);
                    self.excuse(*i);
                }
                self.asks.insert(id, open);
                self.feed(Event::Inbound { id, batch: Box::new(batch) })
            }
        }
    }

    pub(super) fn finish_job(&mut self) -> Result<(), String> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.jobs.len() as u64) as usize;
        let at = self.before_removal(at);
        if self.faults && self.rng.one_in(40) {
            let (_, job) = self.jobs.remove(at); // hangs for ever
            self.unforgotten |= matches!(job, Job::ForgetFiles { .. });
            return Ok(());
        }
        let (id, job) = self.jobs.remove(at);
        let done = match job {
            Job::PrepareFile { path, .. } => {
                let len = self.files.get(&path).map_or(0, |f| f.len() as u64 * 100);
                JobDone::FileReady { path, len, notice: None }
            }
            Job::ReadFile { .. } if self.faults && self.rng.one_in(12) => JobDone::Failed { why: "EIO".into() },
            Job::ReadFile { path, marker, .. } => JobDone::FileRead(self.read(&path, &marker)),
            Job::FindMessages { path, ids } => JobDone::FileRead(self.find(&path, &ids)),
            Job::Render { .. } if self.faults && self.rng.one_in(10) => JobDone::Failed { why: "no way".into() },
            Job::Render { content, .. } => {
                let whole = self.rng.one_in(2) || content.text.starts_with('⚠');
                let text = content.text;
                let parts = text.split("\n\n").filter(|p| !whole && !p.trim().is_empty());
                let mut parts: Vec<&str> = parts.collect();
                if parts.is_empty() {
                    parts.push(&text);
                }
                let content = |t: &str| Content { text: t.into(), plain: Some(t.into()), ..Content::default() };
                JobDone::Rendered(parts.into_iter().map(content).collect())
            }
            Job::Fetch { .. } if self.faults && self.rng.one_in(6) => JobDone::Failed { why: "panic".into() },
            Job::Fetch { parts, .. } => {
                let fetched = parts.into_iter().map(|p| {
                    let seen = p.files.iter().filter(|_| self.rng.one_in(2));
                    let image =
                        |f: &FileRef| Image { path: format!("/media/{}", f.id).into(), mime: "image/png".into() };
                    Fetched {
                        row: p.row,
                        images: seen.map(image).collect(),
                        tail: p.files.iter().map(|f| format!("[Photo {}]", f.id)).collect::<Vec<_>>().join("\n"),
                        tell: if self.rng.clone().one_in(4) { vec![Trouble::TooLarge { limit: 1 }] } else { vec![] },
                    }
                });
                JobDone::Fetched(fetched.collect())
            }
            Job::BranchFile { .. } if self.faults && self.rng.one_in(12) => JobDone::Failed { why: "ENOSPC".into() },
            Job::BranchFile { from, to, .. } => self.branch(&from, to),
            Job::RemoveFile { .. } if self.faults && self.rng.one_in(12) => JobDone::Failed { why: "EIO".into() },
            Job::RemoveFile { path } => self.remove(path)?,
            Job::ReadHeartbeat { .. } => JobDone::Asks(!self.rng.one_in(4)),
            Job::Transcript { .. } | Job::CopySession { .. } | Job::ForgetTranscript => JobDone::Done,
            Job::ForgetFiles { dir } => {
                if let Some((id, _)) = self.procs.iter().find(|(_, p)| p.file.starts_with(&dir)) {
                    return Err(format!("{dir:?} is removed while process {} works there", id.0));
                }
                self.files.retain(|path, _| !path.starts_with(&dir));
                JobDone::Done
            }
            Job::ListRoles if self.presses.is_some() => JobDone::Roles(vec!["old".into(), "boss".into()]),
            Job::ListRoles => JobDone::Roles(vec!["boss".into()]),
            Job::CreateRole { role } => {
                if self.roles.contains(&role) {
                    return Err(format!("the command that makes {role} was run twice"));
                }
                self.roles.push(role);
                JobDone::Roles(self.roles.clone())
            }
            Job::DeleteRole { role } => {
                if let Some(p) = &mut self.presses {
                    p.deleted(&role)?;
                }
                JobDone::Roles(self.roles.clone())
            }
            Job::Shell { .. } | Job::ShowConfig { .. } | Job::System => JobDone::Text("done".into()),
        };
        if self.faults && self.rng.one_in(30) {
            self.feed(Event::Job { id, done: Box::new(done.clone()) })?; // comes twice
        }
        self.feed(Event::Job { id, done: Box::new(done) })
    }

    fn read(&self, path: &Path, marker: &str) -> Found {
        let mut found = Found::default();
        for e in self.files.get(path).into_iter().flatten() {
            match e {
                Entry::User(t) if !found.user => {
                    found.user = pi_gateway::core::prompt::injection(t, marker) == Some(0);
                }
                _ if !found.user => {}
                Entry::User(t) => found.entries.push(FoundEntry::User { head: t.chars().take(500).collect() }),
                Entry::Assistant(m) => found.entries.push(FoundEntry::Assistant(m.clone())),
                Entry::ToolResult => found.entries.push(FoundEntry::ToolResult),
            }
        }
        found
    }

    fn find(&self, path: &Path, ids: &[String]) -> Found {
        let file = self.files.get(path).cloned().unwrap_or_default();
        let named =
            |t: &str| -> Vec<String> { ids.iter().filter(|i| t.contains(&format!("msgId:{i} "))).cloned().collect() };
        for (at, e) in file.iter().enumerate() {
            let Entry::User(t) = e else { continue };
            if named(t).is_empty() {
                continue;
            }
            let entries = file[at + 1..].iter().map(|e| match e {
                Entry::User(t) => FoundEntry::User { head: t.chars().take(500).collect() },
                Entry::Assistant(m) => FoundEntry::Assistant(m.clone()),
                Entry::ToolResult => FoundEntry::ToolResult,
            });
            return Found {
                user: true,
                head: t.chars().take(500).collect(),
                ids: named(t),
                entries: entries.collect(),
            };
        }
        Found::default()
    }

    fn outcome(&mut self) -> Result<(), String> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.calls.len() as u64) as usize;
        let (id, call) = self.calls.remove(at);
        self.young.extend(nonce(&call)); // whatever is recorded now may be undone by a power cut
        if self.faults && self.rng.one_in(20) {
            self.platforms.remove_one(&mut self.rng);
        }
        let dice = if self.faults { self.rng.below(14) } else { 99 };
        let outcome = match dice {
            0 => Outcome::RateLimited { account_wide: self.rng.one_in(2), ms: 3000 },
            1 | 2 => Outcome::Retry { why: "connect".into() },
            3 | 4 => {
                // A second time it counts as taken (telegram.md 19), whether it was or not.
                let safe = self.rules.channels.get(&call.target.channel).is_some_and(|c| c.repeat_safe);
                if let Some(again) = nonce(&call).filter(|n| !self.in_doubt.insert(n.clone()) && !safe) {
                    self.refused_sends.insert(again);
                }
                self.may_repeat.extend(nonce(&call));
                self.doubtful_edits |= matches!(call.op, Op::Edit { .. });
                if self.rng.one_in(2) {
                    let made = self.take(&call);
                    if matches!(call.op, Op::View(_)) {
                        self.platforms.lose(&made);
                    }
                }
                Outcome::Ambiguous { why: "timeout".into() }
            }
            5 if self.rng.one_in(12) => {
                self.barred(&call.target);
                Outcome::Barred { why: "blocked".into(), ms: self.rng.one_in(2).then_some(5_000) }
            }
            5 if self.rng.one_in(4) => {
                self.refused_sends.extend(nonce(&call));
                if let Op::Edit { id, .. } | Op::Delete { id } = &call.op {
                    self.platforms.orphans.insert(id.clone()); // it stays as it is
                    self.refused_sends.insert(id.clone());
                }
                Outcome::Refused { why: "blocked".into() }
            }
            6 if formed(&call) && self.rng.one_in(2) => Outcome::Reformat,
            _ => self.take(&call),
        };
        self.feed(Event::Outcome { call: id, outcome: Box::new(outcome) })
    }

    pub(super) fn pi_moves(&mut self) -> Result<(), String> {
        let busy = self.procs.iter().filter(|(_, p)| p.busy() && !p.dying && !p.hung);
        let busy: Vec<ProcId> = busy.map(|(id, _)| *id).collect();
        if busy.is_empty() {
            return Ok(());
        }
        let id = busy[self.rng.below(busy.len() as u64) as usize];
        let hangs = self.faults && self.rng.one_in(400);
        if let Some(p) = self.procs.get_mut(&id).filter(|_| hangs) {
            p.hung = true; // for ever: only a kill ends it
            self.note(format!("pi {} hangs", id.0));
            return Ok(());
        }
        let Some(p) = self.procs.get_mut(&id) else { return Ok(()) };
        let said = p.tick(&mut self.files, &mut self.rng, &mut self.made);
        let left = std::mem::take(&mut p.left);
        if let Some(d) = self.delegations.as_mut().filter(|_| left) {
            d.proc_left(id);
        }
        match said {
            Some(event) => self.feed(Event::Pi { proc: id, event: Box::new(event) }),
            None => Ok(()),
        }
    }

    pub(super) fn child_news(&mut self) -> Result<(), String> {
        if !self.spawns.is_empty() {
            let (id, file) = self.spawns.remove(0);
            if self.faults && self.rng.one_in(60) {
                return self.feed(Event::SpawnFailed { proc: id, why: "no memory".into() });
            }
            let mut p = ModelPi::start(self.new_pi, file);
            p.spawned = true;
            self.procs.insert(id, p);
            return self.feed(Event::Spawned { proc: id, pid: 100 + id.0 as u32 });
        }
        if !self.exits.is_empty() {
            let id = self.exits.remove(0);
            self.procs.remove(&id);
            if let Some(d) = &mut self.delegations {
                d.proc_left(id);
            }
            return self
                .feed(Event::Exit { proc: id, info: Box::new(ExitInfo { signal: Some(9), ..ExitInfo::default() }) });
        }
        if !self.sweeps.is_empty() {
            let id = self.sweeps.remove(0);
            return self.feed(Event::Swept { proc: id });
        }
        Ok(())
    }

    fn kill_pi(&mut self) -> Result<(), String> {
        let alive: Vec<ProcId> = self.procs.iter().filter(|(_, p)| !p.dying).map(|(id, _)| *id).collect();
        if let Some(id) = alive.get(self.rng.below(alive.len() as u64) as usize) {
            self.note(format!("pi {} is killed", id.0));
            if let Some(p) = self.procs.get_mut(id) {
                p.dying = true;
                self.exits.push(*id);
            }
        }
        Ok(())
    }

    /// A batch cannot be committed (full disk, broken store): as in core/run.rs the state is built anew.
    fn broken_batch(&mut self) -> Result<(), String> {
        self.note("a batch fails".into());
        self.unforgotten = true; // its jobs are lost with it
        let tab = TABS[self.rng.below(3) as usize];
        let Some(mut state) = self.state.take() else { return Ok(()) };
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let req = Request::Chat(Box::new(ChatRequest {
            session: format!("agent:main:webchat:{tab}"),
            source: Source { channel: "webchat".into(), ..Source::default() },
            text: "never stored".into(),
            ..ChatRequest::default()
        }));
        let step = |state: &mut State, now| -> pi_gateway::store::Result<()> {
            state.store().begin()?;
            state.store().savepoint()?;
            state.step(Event::Request { id, req: Box::new(req) }, now)?;
            state.store().rollback();
            Ok(())
        };
        step(&mut state, self.now).map_err(|e| e.to_string())?;
        let alive = self.procs.keys().copied().chain(self.spawns.iter().map(|s| s.0)).collect();
        let waiting =
            self.durable.iter().filter_map(|e| if let Effect::Call { id, .. } = e { Some(*id) } else { None });
        let calls = self.calls.iter().map(|c| c.0).chain(waiting).collect();
        let legacy = state.legacy(&alive, &calls);
        drop(state);
        // The old life's processes are killed; their ends are reported to the new state.
        for (id, p) in &mut self.procs {
            if !p.dying {
                p.dying = true;
                self.exits.push(*id);
            }
        }
        if let Some(p) = &mut self.presses {
            p.die();
        }
        if let Some(d) = &mut self.delegations {
            d.rebuilt();
        }
        if let Some(h) = &mut self.hearts {
            h.die();
        }
        self.jobs.clear(); // answers to the old state's jobs find nobody
        self.boot(legacy)
    }

    /// The wall clock is set, forward or back; nothing may be lost or repeated by it.
    fn set_clock(&mut self) -> Result<(), String> {
        let day = 86_400_000i64;
        self.now.wall += (self.rng.below(5) as i64 - 2) * day / 4;
        self.note("the clock is set".into());
        self.feed(Event::Clock { confirmed: true })
    }

    fn ask_about(&mut self) -> Result<(), String> {
        if self.api && self.rng.one_in(2) {
            return self.withdraw();
        }
        let id = ReqId(self.next_req);
        self.next_req += 1;
        self.waits.insert(id);
        let row = 1 + self.rng.below(20) as i64;
        let session = format!("agent:main:webchat:{}", TABS[self.rng.below(3) as usize]);
        let req = match self.rng.below(6) {
            0 | 1 => Request::Wait { row },
            2 => Request::SetModel { session, model: "a/b".into() },
            3 => Request::SetThinking { session, level: "low".into() },
            4 => Request::Reload(Arc::new(Rules { generation: self.rng.below(3) as u32, ..(*self.rules).clone() })),
            _ => Request::Sessions { after: None, limit: 10 },
        };
        self.feed(Event::Request { id, req: Box::new(req) })?;
        if self.rng.one_in(2) {
            self.feed(Event::Gone { id })?;
        }
        Ok(())
    }

    /// A client of `/v1` leaves: nobody else's message may suffer.
    fn withdraw(&mut self) -> Result<(), String> {
        let Some(state) = &self.state else { return Ok(()) };
        let mine: Vec<usize> = (0..self.msgs.len()).filter(|n| self.msgs[*n].solo.is_some()).collect();
        let Some(n) = mine.get(self.rng.below(mine.len() as u64) as usize) else { return Ok(()) };
        let m = &mut self.msgs[*n];
        let row = state.store().inbox_by_key(&format!("web:{}:{}", m.session, m.key)).map_err(|e| e.to_string())?;
        let Some(row) = row else { return Ok(()) };
        m.excused = true;
        let id = ReqId(self.next_req);
        self.next_req += 1;
        self.waits.insert(id);
        self.feed(Event::Request { id, req: Box::new(Request::Withdraw { row: row.id }) })
    }

    /// Reports nobody asked for: late, doubled, of things long gone.
    fn repeat_nonsense(&mut self) -> Result<(), String> {
        let n = self.rng.below(30);
        // A caller reports what it was given, and once: not a call that has not left yet.
        let call = if self.rng.one_in(2) { CallId::Row(n as i64) } else { CallId::Passing(n) };
        let waits = |e: &Effect| matches!(e, Effect::Call { id, .. } if *id == call);
        let under_way = self.calls.iter().any(|(id, _)| *id == call) || self.durable.iter().any(waits);
        match self.rng.below(5) {
            0 if !under_way => {
                self.feed(Event::Outcome { call, outcome: Box::new(Outcome::Retry { why: "late".into() }) })
            }
            1 => self.feed(Event::Job { id: n, done: Box::new(JobDone::Done) }),
            2 => self.feed(Event::Pi { proc: ProcId(n), event: Box::new(PiEvent::Alive) }),
            3 => self.feed(Event::Swept { proc: ProcId(n) }),
            _ => self.feed(Event::Clock { confirmed: true }),
        }
    }

    // ---- judgement

    fn quiet(&mut self) -> Result<bool, String> {
        if self.presses.as_ref().is_some_and(Presses::waiting) {
            self.leap()?; // its time has to be over
            return Ok(false);
        }
        if self.cron.as_mut().is_some_and(Schedules::once_more) {
            self.leap()?; // what is late begins
            return Ok(false);
        }
        if self.delegations.as_ref().is_some_and(Delegations::waits) {
            self.leap()?;
            return Ok(false);
        }
        if self.msgs.iter().any(|m| !m.acked && !m.refused) || !self.durable.is_empty() {
            return Ok(false);
        }
        if !(self.jobs.is_empty()
            && self.calls.is_empty()
            && self.sweeps.is_empty()
            && self.spawns.is_empty()
            && self.exits.is_empty()
            && self.procs.values().all(|p| p.dying || p.hung || p.stdin.is_empty()))
        {
            return Ok(false);
        }
        if self.something_left() {
            self.leap()?; // all of that ends within the hour
            return Ok(false);
        }
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let Some(state) = self.state.as_mut() else { return Ok(false) };
        let step = |state: &mut State| -> pi_gateway::store::Result<Vec<Effect>> {
            state.store().begin()?;
            state.store().savepoint()?;
            let fx = state.step(Event::Request { id, req: Box::new(Request::Snapshot) }, self.now)?;
            state.store().release()?;
            state.store().commit()?;
            Ok(fx)
        };
        let fx = step(state).map_err(|e| e.to_string())?;
        let mut rest = false;
        for e in fx {
            match e {
                Effect::Answer { answer, .. } => {
                    if let Answer::Snapshot(s) = *answer.0 {
                        rest = s.queues.is_empty() && s.outbox_ready == 0;
                        if rest {
                            self.no_leak(&s)?;
                        }
                        if !rest && self.trace {
                            println!("          open: {:?}", s.queues);
                        }
                    }
                }
                other => self.carry(other)?,
            }
        }
        Ok(rest)
    }

    fn judge(&mut self) -> Result<(), String> {
        let state = self.state.take().ok_or("no state")?;
        let store = state.into_store();
        let err = |e: pi_gateway::store::Error| e.to_string();
        // What arrived: the mailbox's segments, and what platforms took.
        let mut arrived: Vec<String> = Vec::new();
        let mut sessions: Vec<String> = TABS.iter().map(|t| format!("agent:main:webchat:{t}")).collect();
        sessions.sort();
        for (n, m) in self.msgs.iter().enumerate() {
            let key = match m.platform {
                None => format!("web:{}:{}", m.session, m.key),
                Some(p) => format!("{}:{}", PLATFORMS[p], m.key),
            };
            let row = store.inbox_by_key(&key).map_err(err)?;
            if m.stranger {
                if row.is_some() {
                    return Err(format!("a stranger's message m{n} was stored"));
                }
                continue;
            }
            if m.refused {
                continue;
            }
            if row.is_none() && m.shape.group == Some(false) {
                continue; // not spoken to
            }
            let Some(row) = row else { return Err(format!("acknowledged message m{n} is lost")) };
            let mates = self.msgs.iter().filter(|o| o.shape.album.is_some() && o.shape.album == m.shape.album);
            let spoken = m.shape.group != Some(false) || mates.clone().any(|o| o.shape.group == Some(true));
            if row.state == inbox_state::REFUSED && m.shape.group != Some(false) {
                return Err(format!("m{n} was refused although it speaks to the bot"));
            }
            if m.shape.album.is_some() && !spoken && row.state != inbox_state::REFUSED {
                return Err(format!("m{n} came in although no part of its album speaks to the bot: {}", row.state));
            }
            if !inbox_state::terminal(&row.state) {
                return Err(format!("m{n} has no fate: {}", row.state));
            }
        }
        if let Some(s) = store.sessions(1000).map_err(err)?.iter().find(|s| s.key.starts_with(FLEETING)) {
            return Err(format!("the session of a single request stays: {}", s.key));
        }
        if let Some(path) =
            self.files.keys().find(|p| p.to_string_lossy().contains("__api__req__") && !self.unforgotten)
        {
            return Err(format!("a file of a single request stays: {path:?}"));
        }
        let mut segments = BTreeMap::new();
        for m in self.msgs.iter().filter(|m| m.platform.is_none()) {
            let Some(row) = store.inbox_by_key(&format!("web:{}:{}", m.session, m.key)).map_err(err)? else { continue };
            segments.extend(store.segment_for(row.id).map_err(err)?.map(|s| (s.id, s)));
            if let Some(turn) = row.turn {
                segments.extend(store.segments_of(turn).map_err(err)?.into_iter().map(|s| (s.id, s)));
            }
        }
        arrived.extend(segments.into_values().filter(|s| s.origin == "reply").map(|s| s.text));
        let mut nonces = BTreeSet::new();
        for p in &self.platforms.posted {
            let Some(nonce) = &p.nonce else { continue };
            let first = nonces.insert(nonce.clone());
            if !first && !self.may_repeat.contains(nonce) {
                return Err(format!("{:?} got {:?} twice", p.target, p.text));
            }
            if !first && !self.rules.resend_ambiguous && p.target.channel == "pb" && self.power_cuts == 0 {
                return Err(format!("{:?} got {:?} twice although ambiguous sends are skipped", p.target, p.text));
            }
        }
        arrived.extend(self.platforms.texts());
        arrived.retain(|text| !text.contains("could not be delivered"));
        if let Some(p) = self.platforms.stale() {
            return Err(format!("a live message stays: {p:?}"));
        }
        if let Some(p) = &self.presses {
            let lost = |chat: &Target| self.gave_up(chat) && !self.lives_on(chat);
            p.judge(&self.platforms, self.power_cuts, &self.refused_sends, &self.may_repeat, lost)?;
        }
        let lossy = !self.refused_sends.is_empty() || (!self.rules.resend_ambiguous && !self.may_repeat.is_empty());
        self.judge_tools(lossy)?;
        let twice = self.may_stand_twice();
        for (n, m) in self.msgs.iter().enumerate().filter(|(_, m)| !m.command && !m.stranger && !m.refused) {
            let key = match m.platform {
                None => format!("web:{}:{}", m.session, m.key),
                Some(p) => format!("{}:{}", PLATFORMS[p], m.key),
            };
            let Some(row) = store.inbox_by_key(&key).map_err(err)? else { continue };
            let token = format!("m{n}");
            let has = |text: &str| {
                text.split(['<', '>']).any(|p| p.starts_with("answer") && p.split(' ').any(|w| w == token))
            };
            let answers = arrived.iter().filter(|a| has(a)).count();
            let seen: usize = self
                .files
                .values()
                .flatten()
                .filter(|e| matches!(e, Entry::User(t) if tokens(t).contains(&token)))
                .count();
            if self.power_cuts == 0
                && seen > 1
                && !matches!(row.state.as_str(), "failed")
                && row.attempts == 0
                && !self.retried(m)
            {
                return Err(format!("the agent saw {token} {seen} times"));
            }
            let answered = matches!(row.state.as_str(), "answered" | "merged" | "injected");
            // pi hung: the message got the notice of that.
            let turn = row.turn.map_or(Ok(Vec::new()), |t| store.segments_of(t)).map_err(err)?;
            let hung = turn.iter().any(|g| g.text.ends_with("without activity)"));
            let excused = m.excused || self.switched(m) || hung || (lossy && m.platform.is_some());
            if answered && answers == 0 && !excused {
                return Err(format!("{token} is {} but no answer arrived", row.state));
            }
            if answers > 1 && !self.retried(m) && !twice {
                return Err(format!("{token} was answered {answers} times"));
            }
        }
        // Every text of the agent that its file holds arrived once.
        let fate = |word: &str| -> Option<(usize, String)> {
            let n = word.strip_prefix('m')?.parse::<usize>().ok()?;
            let m = self.msgs.get(n)?;
            let key =
                m.platform.map_or(format!("web:{}:{}", m.session, m.key), |p| format!("{}:{}", PLATFORMS[p], m.key));
            Some((n, store.inbox_by_key(&key).ok()??.state))
        };
        for text in &self.made {
            let n = arrived.iter().filter(|a| a.contains(text.as_str())).count();
            if n > 1 && !twice {
                return Err(format!("{text} arrived {n} times"));
            }
            let said = |e: &Entry| matches!(e, Entry::Assistant(a) if a.text == *text);
            let told: Vec<_> = text.trim_matches(['<', '>']).split(' ').filter_map(fate).collect();
            let owed = told.iter().all(|(n, state)| {
                let m = &self.msgs[*n];
                let answered = matches!(state.as_str(), "answered" | "merged" | "injected");
                let excused = m.excused || self.switched(m) || self.retried(m) || (lossy && m.platform.is_some());
                answered && !excused
            });
            let kept = self.files.values().flatten().any(said);
            if n == 0 && kept && owed && !told.is_empty() && self.power_cuts == 0 {
                return Err(format!("{text} is in pi's file and never arrived"));
            }
        }
        // Order: first receipts of a chat come in the order of their rows.
        let id = store.id.clone();
        drop(store);
        let db = rusqlite::Connection::open(&self.path).map_err(|e| e.to_string())?;
        if let Some(h) = &self.hearts {
            h.judge(&db, &self.files, self.power_cuts)?;
        }
        if let Some(c) = &self.cron {
            c.judge(&db, &id, &self.files, self.now.wall, self.power_cuts)?;
        }
        if let Some(d) = &self.delegations {
            d.judge(&db, &self.platforms.texts(), &self.files, self.power_cuts)?;
        }
        let place = |nonce: &str| -> (i64, i64) {
            let row = pi_gateway::store::row_of(&id, 'o', nonce).unwrap_or(0);
            let sql = "SELECT base, chunk FROM outbox WHERE id = ?";
            db.query_row(sql, [row], |r| Ok((r.get(0)?, r.get(1)?))).unwrap_or((row, 0))
            // a power cut took it
        };
        let mut last: BTreeMap<&Target, (i64, i64)> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for p in &self.platforms.posted {
            let Some(nonce) = p.nonce.as_ref().filter(|n| known.insert(n.to_string())) else { continue };
            let at = place(nonce);
            if self.moved.values().any(|to| *to == p.target.chat) {
                continue; // what was owed to the old id may have come late
            }
            if last.insert(&p.target, at).is_some_and(|before| before > at) {
                return Err(format!("{:?} got its messages out of order", p.target));
            }
        }
        drop(db);
        // What is in memory can be built from the store: a fresh start finds nothing to do.
        let mut ids = self.rng.clone();
        let store = Store::open_as(&self.path, |n| ids.word(n)).map_err(err)?;
        let (_, effects) = State::open(store, self.rules.clone(), self.now, Legacy::default()).map_err(err)?;
        match effects.iter().find(|e| matches!(e, Effect::Sweep { .. } | Effect::Job { .. } | Effect::Call { .. })) {
            Some(e) => Err(format!("a start after the end finds work: {e:?}")),
            None => Ok(()),
        }
    }

    /// A switch to another role may have stopped its turn.
    fn switched(&self, m: &Msg) -> bool {
        self.msgs.iter().any(|o| o.session == m.session && o.text == "/role set boss")
            || self.presses.as_ref().is_some_and(|p| p.switched.contains(&m.session))
    }

    /// Its conversation may have begun anew.
    pub(super) fn was_reset(&self, session: &str) -> bool {
        self.msgs.iter().any(|m| m.session == session && m.text == "/new")
    }

    fn retried(&self, m: &Msg) -> bool {
        self.msgs.iter().any(|o| o.session == m.session && o.text == "/retry")
    }
}

/// By which a platform, and this world, know a send again.
fn nonce(call: &Call) -> Option<String> {
    match &call.op {
        Op::Send { nonce, .. } => Some(nonce.clone()),
        _ => None,
    }
}

/// Is there any form that could be refused?
fn formed(call: &Call) -> bool {
    matches!(&call.op, Op::Send { content, .. } | Op::Edit { content, .. } if content.plain.is_some())
}

fn short(e: &Event) -> String {
    let text = match e {
        Event::Request { req, .. } => match &**req {
            Request::Chat(c) => format!("web {} {}", c.session, c.text),
            Request::Webhook(c) => format!("webhook {} {}", c.session, c.text),
            other => format!("{other:?}"),
        },
        Event::Inbound { batch, .. } => {
            let texts: Vec<_> = batch
                .updates
                .iter()
                .map(|u| match u {
                    Update::Message(m) => format!("{}:{}", m.source.sender, m.text),
                    other => format!("{other:?}"),
                })
                .collect();
            format!("{} {texts:?}", batch.channel)
        }
        other => format!("{other:?}"),
    };
    text.chars().take(160).collect()
}
