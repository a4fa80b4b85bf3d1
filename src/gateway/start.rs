//! Start: configuration, lock, store, threads, port; then main waits for children and signals.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use crossbeam_channel::bounded;

use super::carry::Carrier;
use super::chores::Chores;
use super::doors::{Doors, Shut};
use super::hands::Hands;
use super::inbound::Files;
use super::mailbox::StoreMailbox;
use super::notify::{watchdog_period, Manager, Watchdog};
use super::operator::Operator;
use super::programs::Programs;
use super::reload::Reloader;
use super::shutdown::Shutdown;
use super::spool::Spool;
use super::{clock_watch, cron_jobs, janitor, lock, logging, people, settings, watch, Options};
use crate::agent::profile;
use crate::ask::{Answers, Mind};
use crate::children::checkpoint::Checkpoint;
use crate::children::{ChildId, Children, MainEvent};
use crate::config::types::AuthMode;
use crate::config::{self, files, token, Config, Env, Loaded, Paths, Severity};
use crate::core::run::{Carry, Core, LoopStats};
use crate::exit;
use crate::http::{self, AgentLabel, Door};
use crate::live::Board;
use crate::message::{Effect, Event};
use crate::store::{self, sync, Reader, Store};
use crate::{clock, fault, footprint};

/// Events that may wait for the mind; senders block or are told "busy".
const INBOX: usize = 1024;
/// Commits whose effects wait for a sync.
const COVERED: usize = 1024;

/// Runs the gateway in the foreground until it is told to stop; the exit code (config.md 10).
pub fn run(options: Options, env: &Env) -> u8 {
    let begun = Instant::now();
    // From before it is read: a change in between is not missed.
    let watch = watch::Watch::new(&config::find(env, options.config.as_deref()).path);
    let (loaded, agent) = match configuration(&options, env) {
        Ok(ok) => ok,
        Err(code) => return code,
    };
    if options.check {
        return exit::OK;
    }
    match start(options, env, (loaded, watch), agent, begun) {
        Ok(never) => match never {},
        Err((code, why)) => {
            logging::tell(format_args!("pi-gw: {why}"));
            code
        }
    }
}

type Failed = (u8, String);
enum Never {}

/// Loads and checks; prints what is wrong.
fn configuration(options: &Options, env: &Env) -> Result<(Loaded, AgentLabel), u8> {
    let wanted = config::Options {
        file: options.config.clone(),
        strict: options.strict,
        allow_missing: options.allow_defaults,
        port: options.port,
        bind: options.bind.clone(),
        plugin_channels: Vec::new(),
    };
    match config::load(env, &wanted) {
        Ok(mut loaded) => {
            for issue in loaded.issues.iter().filter(|i| i.severity != Severity::Info) {
                logging::tell(issue);
            }
            let label = choose_agent(&mut loaded.config, options, env);
            Ok((loaded, label))
        }
        Err(issues) => {
            for issue in &issues {
                logging::tell(issue);
            }
            let errors = || issues.iter().filter(|i| i.severity == Severity::Error);
            // Nothing is wrong with the file if only the place it names cannot be written.
            let place = errors().all(|i| i.key == "session.dataDir" && i.text.starts_with("cannot write"));
            Err(if place { exit::CANNOT_WRITE } else { exit::CONFIG })
        }
    }
}

/// The real pi, or the demo agent: both are started the same way.
pub(super) fn choose_agent(c: &mut Config, options: &Options, env: &Env) -> AgentLabel {
    let profile = crate::message::Profile::default();
    let launch = settings::launch(c, &profile, env, "");
    let found = profile::find(&launch, env.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").as_ref());
    let demo = options.demo || (options.demo_if_no_pi && found.is_err());
    if demo {
        let me = std::env::current_exe().unwrap_or_else(|_| "pi-gw".into());
        let name = me.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        c.agent.pi_cli = vec![me.to_string_lossy().into_owned(), "demo-agent".into()];
        c.agent.model = None;
        c.agent.model_failover.primary = None;
        c.agent.model_failover.fallbacks.clear();
        let list = &mut c.security.exec.allowed_executables;
        if !list.contains(&name) {
            list.push(name);
        }
        return AgentLabel { kind: "demo".into(), version: env!("CARGO_PKG_VERSION").into(), demo: true };
    }
    AgentLabel { kind: "pi".into(), version: String::new(), demo: false }
}

/// Where the agent's program lies is settled now, if it is there: not when it is first started.
pub(super) fn settle_agent(checkpoint: &Checkpoint, c: &Config, env: &Env) {
    let launch = settings::launch(c, &crate::message::Profile::default(), env, "");
    let _ = settings::program(checkpoint, &launch, env); // whoever starts it hears why it cannot be
}

/// The secret that callers have to present, and where it comes from.
pub(super) fn secret(c: &Config, paths: &Paths) -> Result<(Option<String>, Option<PathBuf>), String> {
    let auth = &c.gateway.auth;
    let own = |s: &config::Secret| s.expose().to_owned();
    match auth.mode {
        AuthMode::Off => Ok((None, None)),
        AuthMode::Password => Ok((auth.password.as_ref().map(own), None)),
        AuthMode::Token => match &auth.token {
            Some(t) => Ok((Some(own(t)), None)),
            None => {
                let path = paths.gateway_token();
                let (t, _) = token::stored_or_generated(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                Ok((Some(own(&t)), Some(path)))
            }
        },
    }
}

/// What links to files are signed with. A generated one is kept, so that links survive a restart (R73).
pub(super) fn media_secret(c: &Config, paths: &Paths) -> Result<String, String> {
    if let Some(secret) = &c.channels.webchat.media_secret {
        return Ok(secret.expose().to_owned());
    }
    let path = paths.media_secret();
    let (secret, _) = token::stored_or_generated(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(secret.expose().to_owned())
}

fn start(
    options: Options,
    env: &Env,
    (loaded, watch): (Loaded, std::io::Result<watch::Watch>),
    agent: AgentLabel,
    begun: Instant,
) -> Result<Never, Failed> {
    let paths = loaded.paths(env);
    let config = Arc::new(loaded.config.clone());
    let log = logging::Log::start(&config, paths.logs_dir(), options.verbose);
    let step = |what: &str| log::debug!("{what} after {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);

    for dir in [paths.data_root().to_owned(), paths.sessions_dir(), paths.credentials_dir(), run_dir(&paths)] {
        files::create_dir(&dir).map_err(|e| (exit::CANNOT_WRITE, format!("cannot make {}: {e}", dir.display())))?;
    }
    let pid_file = paths.pid_file();
    let mut pid_lock = match lock::take(&pid_file) {
        Ok(Ok(lock)) => lock,
        Ok(Err(other)) => {
            let mut lines = other.lines();
            let (pid, url) = (lines.next().unwrap_or("?"), lines.next().unwrap_or(""));
            let why = format!("a gateway runs already on {} (process {pid}) {url}", paths.data_root().display());
            return Err((exit::UNAVAILABLE, why));
        }
        Err(e) => return Err((exit::CANNOT_WRITE, format!("cannot lock {}: {e}", pid_file.display()))),
    };
    step("locked");
    let checkpoint = Arc::new(Checkpoint::new(config.security.exec.clone()));
    settle_agent(&checkpoint, &config, env);
    let (mut main, handle) =
        Children::new(checkpoint.clone()).map_err(|e| (exit::INTERNAL, format!("cannot watch processes: {e}")))?;
    let store = open_store(&paths.store())?;
    people::take_over(&store, &config, &paths);
    cron_jobs::take_over(&store, &paths, env);
    let store_id = store.id.clone();
    let reader = Reader::open(&paths.store()).map_err(|e| (exit::INTERNAL, e.to_string()))?;
    step("store open");

    let (inbox_tx, inbox) = bounded::<Event>(INBOX);
    let answers = Arc::new(Answers::default());
    let mind = Mind::new(inbox_tx, answers.clone());
    let board = Arc::new(Board::default());
    let (drained_tx, drained) = bounded(1);
    let operator = Arc::new(Operator::new(checkpoint));
    let programs = Arc::new(Programs::new(handle.clone()));
    let shared = Arc::new(RwLock::new(config.clone()));
    let files = Arc::new(Files::new(paths.media_dir(), paths.sticker_cache()));
    let chores = Chores {
        files: files.clone(),
        programs: programs.clone(),
        operator: operator.clone(),
        config: shared.clone(),
        roles_dir: paths.roles_dir().to_owned(),
        data_root: paths.data_root().to_owned(),
    };
    let hands = Hands::new(mind.clone(), paths.sessions_dir().join("transcripts"), chores);
    let carrier = Arc::new(Carrier::new(
        answers,
        mind.clone(),
        handle,
        hands,
        board.clone(),
        shared,
        env.clone(),
        store_id,
        drained_tx,
        operator.clone(),
        files,
    ));

    // The port first: health is visible while the rest comes up. Requests wait in the inbox.
    let (secret, token_file) = secret(&config, &paths).map_err(|e| (exit::CANNOT_WRITE, e))?;
    let media_secret = media_secret(&config, &paths).map_err(|e| (exit::CANNOT_WRITE, e))?;
    let port = settings::port(&config, &paths, secret.clone(), &media_secret, agent.clone(), !options.no_gui);
    let (sync_stats, core_stats) = (Arc::<sync::SyncStats>::default(), Arc::<LoopStats>::default());
    let mailbox = StoreMailbox { reader, sync: sync_stats.clone(), core: core_stats.clone(), log: log.clone() };
    let parts = http::Parts { mind: mind.clone(), board, mailbox: Arc::new(mailbox), operator: operator.clone() };
    let doors = Doors::open(&config, port, parts, carrier.tokens.clone()).map_err(|shut| {
        let why = match shut {
            Shut::Public(why) => explain_port(&why, config.gateway.port),
            Shut::Agent(why) => format!("the agent door: {why}; set gateway.agentPort to a free port, or to 0"),
        };
        (exit::UNAVAILABLE, why)
    })?;
    let doors = Arc::new(doors);
    let _ = carrier.doors.set(doors.clone()); // set once, here
    operator.roster.tell(doors.teller());
    step("listening");

    let (covered_tx, covered) = bounded(COVERED);
    let carry: Carry = {
        let carrier = carrier.clone();
        Arc::new(move |effect| carrier.carry(effect))
    };
    let sync_thread = {
        let (carry, path, mind) = (carry.clone(), paths.store(), mind.clone());
        let run = move || {
            let trouble = |what: Option<String>| {
                mind.tell(Event::Trouble { what: what.map(Into::into) });
            };
            let release = |effects: Vec<Effect>| {
                for effect in effects {
                    fault::point("synced effect");
                    carry(effect);
                }
            };
            sync::run(&path, &covered, &sync_stats, release, trouble, footprint::release_code);
        };
        thread("sync", 256 << 10, run)?
    };
    // Before the mind, which has things to send at once; what comes in waits for it.
    carrier.accounts.apply(&config, &carrier.callers);
    let core_thread = {
        let core = Core {
            path: paths.store(),
            rules: Arc::new(settings::rules(&config, &paths, env, 0)),
            inbox,
            sync: covered_tx,
            carry,
            stats: core_stats,
        };
        thread("core", 1 << 20, move || core.run(store))?
    };
    if let Err(e) = janitor::begin(carrier.config.clone(), paths.media_dir()) {
        log::warn!("no thread to remove old files: {e}");
    }
    clock_watch::watch(&mind, env).map_err(|e| (exit::INTERNAL, format!("no thread for the clock: {e}")))?;
    greet(&paths, &loaded, &doors.public, secret.as_deref(), token_file.as_deref(), &agent);
    let url = doors.public.addresses().first().map(|a| format!("http://{a}")).unwrap_or_default();
    if let Err(e) = pid_lock.write(&url) {
        log::warn!("{}: {e}", pid_file.display());
    }
    mind.tell(Event::Poke); // what was changed while nobody could be poked
    let spool = Spool::new(paths.spool_dir(), doors.clone());
    spool.look();
    step("started");

    let reloader = Reloader::new(loaded, options, env.clone(), carrier.clone(), doors.clone(), log.clone());
    operator.know(reloader.clone());
    // Its directory may be there only now.
    match watch.or_else(|_| watch::Watch::new(reloader.path())) {
        Ok(w) => {
            let (name, again) = (w.name(), reloader.clone());
            main.watch(w.fd, move |fd| {
                if watch::changed(fd, &name) {
                    again.soon();
                }
                true
            });
        }
        Err(e) => log::info!("the configuration file is not watched: {e}"),
    }
    let shutdown =
        Shutdown { carrier: carrier.clone(), doors, mind: mind.clone(), drained, core_thread, sync_thread, log };
    let poked = move || {
        mind.tell_now(Event::Poke); // a full inbox: the next poke, or the next start
        spool.look();
    };
    serve(main, carrier, programs, poked, reloader, shutdown, pid_lock)
}

/// Main: children, signals, the configuration file. Never returns.
fn serve(
    mut main: Children,
    carrier: Arc<Carrier>,
    programs: Arc<Programs>,
    poked: impl Fn(),
    reloader: Arc<Reloader>,
    shutdown: Shutdown,
    _lock: lock::PidFile,
) -> Result<Never, Failed> {
    let mind = shutdown.mind.clone();
    let manager = Manager::from_env();
    if let Some(manager) = &manager {
        manager.tell("READY=1");
        if let Some(period) = watchdog_period() {
            let mut watchdog = Watchdog::new(manager.clone(), mind.clone(), carrier.operator.roster.clone());
            main.every(period, move || watchdog.tick());
        }
    }
    let mut shutdown = Some(shutdown);
    let done = main.run(|event| {
        match event {
            MainEvent::Exit { id: ChildId::Pi(proc), info } => carrier.ended(proc, info),
            MainEvent::Exit { id: ChildId::Other(n), info } => programs.ended(n, info),
            MainEvent::Swept { id } => {
                mind.tell(Event::Swept { proc: id });
            }
            MainEvent::Reload => reloader.soon(),
            MainEvent::Poke => poked(),
            MainEvent::Stop => match shutdown.take() {
                Some(s) => {
                    manager.iter().for_each(|m| m.tell("STOPPING=1"));
                    s.begin();
                }
                None => std::process::exit(exit::OK.into()), // the second signal: always safe
            },
        }
        ControlFlow::Continue(())
    });
    let why = done.err().map_or_else(|| "it ended".to_owned(), |e| e.to_string());
    Err((exit::INTERNAL, format!("the main loop failed: {why}")))
}

fn thread(
    name: &str,
    stack: usize,
    run: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, Failed> {
    let thread = std::thread::Builder::new().name(name.into()).stack_size(stack).spawn(run);
    thread.map_err(|e| (exit::INTERNAL, format!("no thread {name}: {e}")))
}

fn run_dir(paths: &Paths) -> PathBuf {
    paths.pid_file().parent().map(Path::to_owned).unwrap_or_default()
}

/// A damaged store is put aside, loudly, and what it still gives is taken over; a full or read-only disk is an exit
/// with its reason.
fn open_store(path: &Path) -> Result<Store, Failed> {
    let failed = |e: store::Error| match e {
        store::Error::ReadOnly(_) | store::Error::Full => (exit::CANNOT_WRITE, format!("{}: {e}", path.display())),
        _ => (exit::INTERNAL, format!("{}: {e}", path.display())),
    };
    store::finish_salvage(path).map_err(failed)?;
    let checked = match store::take_suspicion(path) {
        true => Reader::open(path).and_then(|r| r.check()).and_then(|found| match found.as_str() {
            "ok" => Ok(()),
            _ => Err(store::Error::Corrupt(found)),
        }),
        false => Ok(()),
    };
    match checked.and_then(|()| Store::open(path)) {
        Err(store::Error::Corrupt(why)) => {
            let said = store::salvage(path, &why, clock::now().wall).map_err(failed)?;
            log::error!("{said}");
            Store::open(path).map_err(failed)
        }
        other => other.map_err(failed),
    }
}

/// The port is taken: which one is free?
fn explain_port(why: &str, port: u16) -> String {
    let free = (port.saturating_add(1)..=port.saturating_add(100))
        .find(|p| std::net::TcpListener::bind(("127.0.0.1", *p)).is_ok());
    match free.filter(|_| why.contains("in use")) {
        Some(free) => format!("{why}; port {free} is free: use --port {free} or set gateway.port"),
        None => why.to_owned(),
    }
}

fn greet(
    paths: &Paths,
    loaded: &Loaded,
    door: &Door,
    secret: Option<&str>,
    token_file: Option<&Path>,
    agent: &AgentLabel,
) {
    let port = door.addresses().first().map_or(0, |a| a.port());
    let host = match loaded.config.gateway.bind {
        config::types::Bind::Address(ip) => ip.to_string(),
        _ => "localhost".into(),
    };
    log::info!("pi-gw {} listens on http://{host}:{port}", env!("CARGO_PKG_VERSION"));
    log::info!("data in {}, configuration {}", paths.data_root().display(), loaded.path.display());
    match agent.demo {
        true => log::warn!(
            "answers come from the built-in demo agent; install pi (npm install -g @earendil-works/pi-coding-agent) \
             and restart to talk to a real one"
        ),
        false => log::info!("agent: {}", loaded.config.agent.pi_cli.join(" ")),
    }
    if let Some(file) = token_file {
        log::info!("the access token is in {}", file.display());
    }
    // A person at a terminal gets a link that logs in; a log never gets the secret.
    if let Some(secret) = secret.filter(|_| std::io::stderr().is_terminal() && loaded.config.channels.webchat.enabled) {
        logging::tell(format_args!("\n  open  http://{host}:{port}/?token={secret}\n"));
    }
}
