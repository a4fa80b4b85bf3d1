//! Carries effects of the mind to the hands. Called by `core` and `sync`: nothing here blocks.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::callers::Callers;
use super::channels::Accounts;
use super::doors::Doors;
use super::hands::Hands;
use super::inbound::Files;
use super::operator::Operator;
use super::{runtime, settings};
use crate::agent::process::PiProcess;
use crate::agent::profile::{self, Instance};
use crate::ask::{Answers, Mind};
use crate::children::{ChildId, ChildrenHandle};
use crate::config::{Config, Env, Paths};
use crate::footprint;
use crate::http::PiTokens;
use crate::live::Board;
use crate::message::*;
use crate::roles;

/// After the end of a pi, until all is quiet.
const REST: Duration = Duration::from_secs(3);

/// The configuration that is in force; a reload puts another one in its place.
pub type SharedConfig = Arc<RwLock<Arc<Config>>>;

/// Everything an effect may need.
pub struct Carrier {
    pub answers: Arc<Answers>,
    pub mind: Mind,
    pub children: ChildrenHandle,
    pub hands: Hands,
    pub callers: Callers,
    pub accounts: Accounts,
    pub board: Arc<Board>,
    /// Opened last; frames before that have no viewers.
    pub doors: OnceLock<Arc<Doors>>,
    /// Of the living pi processes.
    pub tokens: Arc<PiTokens>,
    pub config: SharedConfig,
    pub env: Env,
    pub store_id: String,
    /// Told when the drain is over.
    pub drained: Sender<()>,
    pub operator: Arc<Operator>,
    procs: Mutex<HashMap<ProcId, Arc<PiProcess>>>,
    /// Starts whose threads have not reported yet are ended with the rest.
    shown: Mutex<HashMap<ProcId, Arc<crate::live::Live>>>,
}

impl Carrier {
    #[allow(clippy::too_many_arguments)] // one owner for what effects need, named at the call
    pub fn new(
        answers: Arc<Answers>,
        mind: Mind,
        children: ChildrenHandle,
        hands: Hands,
        board: Arc<Board>,
        config: SharedConfig,
        env: Env,
        store_id: String,
        drained: Sender<()>,
        operator: Arc<Operator>,
        files: Arc<Files>,
    ) -> Carrier {
        Carrier {
            answers,
            callers: Callers::new(mind.clone()),
            accounts: Accounts::new(mind.clone(), board.clone(), files, operator.roster.clone()),
            mind,
            children,
            hands,
            board,
            doors: OnceLock::new(),
            tokens: Arc::default(),
            config,
            env,
            store_id,
            drained,
            operator,
            procs: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    fn procs(&self) -> MutexGuard<'_, HashMap<ProcId, Arc<PiProcess>>> {
        self.procs.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn mark(&self, proc: ProcId) -> String {
        format!("{}.{}", self.store_id, proc.0)
    }

    pub fn carry(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Answer { id, answer, .. } => self.answers.give(id, *answer.0),
            Effect::Call { id, call, .. } => self.callers.give(id, call),
            Effect::Job { id, session, job, .. } => self.hands.give(&session, id, *job),
            Effect::Spawn { proc, profile, session_file } => self.spawn(proc, &profile, &session_file),
            Effect::Signal { proc, sig } => {
                self.children.signal(ChildId::Pi(proc), sig);
            }
            Effect::Write { proc, id, cmd } => self.write(proc, id, *cmd),
            Effect::Show { proc, live } => self.show(proc, live.map(|l| *l)),
            Effect::Sweep { proc, pid, since } => {
                self.children.sweep(proc, self.mark(proc), pid, since);
            }
            Effect::Frame(frame) => {
                if let Some(doors) = self.doors.get() {
                    doors.publish(&frame);
                }
            }
            Effect::Restart => {
                self.operator.restart_now();
            }
            Effect::Notice(text) => {
                log::warn!("{text}");
                self.observe(Observation::new(Level::Warn, Area::System, "notice", text));
            }
            Effect::Commands(list) => self.accounts.menus.commands(&list),
            Effect::Observed(seen) => self.observe(*seen),
            Effect::Drained => {
                let _ = self.drained.try_send(()); // once is enough
            }
        }
    }

    fn observe(&self, seen: Observation) {
        if let Some(doors) = self.doors.get() {
            doors.observe(seen);
        }
    }

    fn write(&self, proc: ProcId, id: CmdId, cmd: PiCmd) {
        let Some(p) = self.procs().get(&proc).cloned() else { return };
        if let Err(why) = p.write(id, cmd) {
            log::warn!("pi {}: {why}; ending it", proc.0);
            self.children.signal(ChildId::Pi(proc), Sig::Kill); // its exit tells the mind
        }
    }

    fn show(&self, proc: ProcId, live: Option<LiveRef>) {
        let since = live.is_some().then(crate::clock::mono);
        self.children.note_turn(ChildId::Pi(proc), since);
        let mut shown = self.shown.lock().unwrap_or_else(|e| e.into_inner());
        let Some(p) = self.procs().get(&proc).cloned() else { return };
        match live {
            Some(at) => {
                let live = self.board.open(&at.session);
                if at.fresh {
                    live.begin(&at.run);
                    p.show(Some(live.clone()));
                } else {
                    live.rename(&at.run);
                }
                shown.insert(proc, live);
            }
            None => {
                p.show(None);
                if let Some(live) = shown.remove(&proc) {
                    live.end();
                }
                self.board.trim();
            }
        }
    }

    fn spawn(self: &Arc<Self>, proc: ProcId, profile: &Profile, session_file: &std::path::Path) {
        let config = self.config.read().unwrap_or_else(|e| e.into_inner()).clone();
        let url = self.doors.get().map_or("", |d| d.agent_url());
        let launch = settings::launch(&config, profile, &self.env, url);
        let token = self.tokens.issue(proc, settings::offer(&config, profile));
        let spec = settings::program(self.children.checkpoint(), &launch, &self.env).map(|program| {
            let instance = Instance { id: proc, mark: self.mark(proc), token: &token, session_file };
            profile::spawn_spec(profile, &launch, &program, instance, std::env::vars_os())
        });
        if let Err(profile::FindError::NotAllowed(_)) = &spec {
            self.children.checkpoint().refused(ChildId::Pi(proc), launch.program(), &profile.cwd);
        }
        let this = self.clone();
        let (cwd, role) = (profile.cwd.clone(), profile.role.clone());
        let paths = Paths::new(&config, &self.env);
        let (role_dir, runtime) = (paths.roles_dir().to_owned(), paths.runtime_dir());
        let start = move || {
            let extension = runtime::install(&runtime);
            let extension = extension.map_err(|e| format!("{}: {e}", runtime::extension(&runtime).display()));
            let dirs = std::fs::create_dir_all(&cwd).map_err(|e| format!("{}: {e}", cwd.display()));
            if let Err(e) = roles::map(&role_dir, &cwd, &role) {
                log::warn!("{}: the role {role} of {} is not recorded: {e}", role_dir.display(), cwd.display());
            }
            let spec = spec.map_err(|e| e.to_string()).and_then(|s| dirs.and(extension).map(|()| s));
            let spawned = spec.and_then(|spec| {
                let answer = this.children.spawn(spec);
                answer.recv().unwrap_or_else(|_| Err("the gateway is stopping".into()))
            });
            let began = spawned.and_then(|s| {
                let p = PiProcess::start(proc, s.stdin, s.stdout, this.mind.clone());
                p.map(|p| (s.pid, p)).map_err(|e| {
                    this.children.signal(ChildId::Pi(proc), Sig::Kill);
                    format!("no threads for it: {e}")
                })
            });
            match began {
                Ok((pid, p)) => {
                    this.procs().insert(proc, Arc::new(p));
                    this.mind.tell(Event::Spawned { proc, pid });
                }
                Err(why) => {
                    this.tokens.revoke(proc);
                    this.mind.tell(Event::SpawnFailed { proc, why: why.into() });
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("pi-{}-start", proc.0)).stack_size(256 << 10);
        if let Err(e) = thread.spawn(start) {
            self.tokens.revoke(proc);
            log::error!("no thread to start pi: {e}"); // the mind's deadline for the start passes
        }
    }

    /// A process was reaped: what it still wrote is read, then the mind is told.
    pub fn ended(self: &Arc<Self>, proc: ProcId, info: ExitInfo) {
        self.tokens.revoke(proc); // what it left behind may know the token
        let this = self.clone();
        let end = move || {
            let p = this.procs().remove(&proc);
            this.shown.lock().unwrap_or_else(|e| e.into_inner()).remove(&proc);
            // Nobody else keeps one for longer than a write.
            if let Some(p) = p.and_then(Arc::into_inner) {
                p.join();
            }
            this.mind.tell(Event::Exit { proc, info: Box::new(info) });
            // What its end needed of the program is not needed soon again.
            std::thread::sleep(REST);
            footprint::release_code();
        };
        let thread = std::thread::Builder::new().name(format!("pi-{}-end", proc.0)).stack_size(256 << 10);
        if let Err(e) = thread.spawn(end) {
            log::error!("no thread for the end of pi {}: {e}", proc.0);
        }
    }

    /// Signals every pi once (shutdown), also one that came up meanwhile; `told`: those that were. True: there is none.
    pub fn signal_all(&self, sig: Sig, told: &mut BTreeSet<ProcId>) -> bool {
        let ids: Vec<ProcId> = self.procs().keys().copied().collect();
        for id in ids.iter().filter(|id| told.insert(**id)) {
            self.children.signal(ChildId::Pi(*id), sig);
        }
        ids.is_empty()
    }
}
