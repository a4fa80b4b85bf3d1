//! `pi-gw doctor`: looks at everything the gateway needs and says what to do about what is wrong.
//!
//! Every check runs on a thread of its own and has a limit, so that a dead network mount or a pi that hangs costs
//! time but never the report. Nothing is changed without `--fix`.

mod channels;
pub(in crate::cli) mod check;
mod files;
mod fix;
mod machine;
mod people;
pub(in crate::cli) mod pi;
pub(in crate::cli) mod port;
mod probe;
mod report;
mod service;
mod store;
pub(in crate::cli) mod telegram;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::instance::{self, Instance};
use super::{exit, written, Call, Io};
use crate::config::redact::Redactor;
use crate::config::{self, has_errors, Env, Examined, Issue, Loaded, Options, Paths};
use check::{Check, State};

/// What the checks look at.
pub(in crate::cli) struct Context {
    pub env: Env,
    pub loaded: Loaded,
    pub paths: Paths,
    /// The gateway that runs, if one does.
    pub instance: Result<Instance, String>,
}

/// One check: what it is called, how long it may take, what it does.
type Step = (&'static str, Duration, fn(&Context) -> Vec<Check>);

const SHORT: Duration = Duration::from_secs(5);
/// `pi --version`, `get_state` and `node --version`, each with a limit of its own.
const PI: Duration = Duration::from_secs(50);
/// A store of a gigabyte on a slow card.
const STORE: Duration = Duration::from_secs(30);

const STEPS: &[Step] = &[
    ("data", SHORT, files::data),
    ("rights", SHORT, files::rights),
    ("store", STORE, store::check),
    ("credentials", SHORT, people::check),
    ("port", SHORT, port::check),
    ("auth", SHORT, port::auth),
    ("service", SHORT, service::check),
    ("channels", SHORT, channels::check),
    ("telegram", SHORT, telegram::check),
    ("pi", PI, pi::check),
    ("pi settings", SHORT, pi::settings),
    ("memory", SHORT, machine::memory),
    ("files", SHORT, machine::descriptors),
    ("clock", SHORT, machine::clock),
    ("time zone", SHORT, machine::zone),
];

/// `--online`: the accounts are asked beside each other, with a few calls each.
const ONLINE: Step = ("online", Duration::from_secs(45), telegram::online);

/// Runs the command.
pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let (checks, code) = examine(call, env);
    let said = match call.has("--json") {
        true => report::json(&checks, io),
        false => report::human(&checks, call.has("--quiet"), call.has("--verbose"), io),
    };
    written(said.map(|()| code), io)
}

fn examine(call: &Call, env: &Env) -> (Vec<Check>, u8) {
    let options = Options { file: call.config(), allow_missing: true, ..Options::default() };
    let found = config::find(env, options.file.as_deref());
    let read = {
        let env = env.clone();
        limited(SHORT, move || look(&env, &options, None))
    };
    let (mut context, mut checks) = match read {
        Some(Ok(context)) => (context, Vec::new()),
        Some(Err(issues)) => {
            let mut checks = files::issues(&issues, &found.path, &Redactor::default());
            checks.extend([machine::clock_of(env), machine::zone_now()]);
            return (checks, exit::CONFIG);
        }
        None => {
            let text = format!("{} or the data directory does not answer", found.path.display());
            return (vec![Check::error("config", text).remedy("look at the disk or the mount it is on")], exit::FAILED);
        }
    };
    if call.has("--fix") {
        let env = env.clone();
        let options = Options { file: call.config(), allow_missing: true, ..Options::default() };
        let fixed = limited(SHORT, move || {
            let done = fix::fix(&context);
            (look(&env, &options, Some(&context)), done)
        });
        match fixed {
            Some((Ok(again), done)) => {
                context = again;
                checks.extend(done);
            }
            _ => {
                let text = "nothing more could be looked at after the corrections";
                return (vec![Check::error("fix", text).remedy("run pi-gw doctor again")], exit::FAILED);
            }
        }
    }
    let redactor = Redactor::new(context.loaded.config.secrets());
    checks.extend(files::issues(&context.loaded.issues, &context.loaded.path, &redactor));
    let broken = has_errors(&context.loaded.issues);
    checks.extend(all(context, call.has("--online")));
    for check in &mut checks {
        check.redact(&redactor);
    }
    let code = match checks.iter().any(|check| check.state == State::Error) {
        _ if broken => exit::CONFIG,
        true => exit::FAILED,
        false => exit::OK,
    };
    (checks, code)
}

/// Reads the configuration and finds the running gateway. `before`: what was known, if this is the second look.
fn look(env: &Env, options: &Options, before: Option<&Context>) -> Result<Context, Vec<Issue>> {
    let loaded = match config::examine(env, options) {
        Examined::Read(loaded) => *loaded,
        Examined::Unreadable(issues) => return Err(issues),
    };
    let paths = loaded.paths(env);
    let instance = match before {
        Some(before) => before.instance.clone(),
        None => instance::find(&paths.pid_file()).map_err(|error| error.to_string()),
    };
    Ok(Context { env: env.clone(), loaded, paths, instance })
}

/// All checks at the same time, in the order of the list.
fn all(context: Context, online: bool) -> Vec<Check> {
    let context = Arc::new(context);
    let begun: Vec<_> = STEPS
        .iter()
        .chain(online.then_some(&ONLINE))
        .map(|(name, limit, check)| {
            let context = Arc::clone(&context);
            (*name, *limit, begin(move || check(&context)), std::time::Instant::now())
        })
        .collect();
    let mut checks = Vec::new();
    for (name, limit, answer, start) in begun {
        match answer.recv_deadline(start + limit) {
            Ok(found) => checks.extend(found),
            Err(error) if error.is_timeout() => {
                let text = format!("no result within {} s", limit.as_secs());
                checks.push(Check::error(name, text).remedy("look at what it depends on, then run pi-gw doctor again"));
            }
            Err(_) => checks.push(Check::error(name, "this check failed itself").remedy("please report that")),
        }
    }
    checks
}

/// The result of a job, if it comes in time.
pub(in crate::cli) fn limited<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    begin(job).recv_timeout(limit).ok()
}

/// Starts a job on a thread of its own. The thread is not joined: what hangs ends with the process.
fn begin<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> crossbeam_channel::Receiver<T> {
    let (tx, rx) = bounded(1);
    let thread = std::thread::Builder::new().name("doctor".into());
    // No thread: the sender is gone, and that is what the receiver tells. No receiver: nobody waits any more.
    let _ = thread.spawn(move || tx.send(job()));
    rx
}
