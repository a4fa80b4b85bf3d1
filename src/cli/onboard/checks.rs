//! Live checks of what would be written: the port, pi and its model, the bot. Each has a limit of its own.

use std::net::SocketAddr;
use std::time::Duration;

use super::draft::Draft;
use crate::cli::doctor::check::{Check, State};
use crate::cli::doctor::{self, pi, port, telegram, Context};
use crate::cli::exit;
use crate::cli::instance::{self, Instance};

/// `pi --version`, `get_state` and `node --version`, each with a limit of its own.
const PI: Duration = Duration::from_secs(50);
/// Above the limits of the question and of the Bot API's answer.
const MODEL: Duration = Duration::from_secs(75);
const BOT: Duration = Duration::from_secs(25);

/// What a check found, and how this command ends if that stops it.
pub struct Finding {
    pub check: Check,
    pub code: u8,
}

impl Finding {
    pub fn bad(&self) -> bool {
        self.check.state != State::Ok
    }
}

/// Where the gateway would listen, and the next free port there if somebody else has it.
pub fn port(draft: &Draft) -> (SocketAddr, Option<u16>) {
    let gateway = &draft.loaded.config.gateway;
    let wanted = SocketAddr::new(port::address(gateway.bind), gateway.port);
    let ours = match instance::find(&draft.loaded.paths(&draft.env).pid_file()) {
        Ok(Instance::Running { url, .. }) => instance::reachable(&url).map(|at| at.port()),
        _ => None,
    };
    match ours == Some(wanted.port()) || !port::taken(wanted) {
        true => (wanted, None),
        false => (wanted, port::next_free(wanted)),
    }
}

/// Is pi there, does it start, does it know a model?
pub fn pi(draft: &Draft) -> Vec<Finding> {
    let context = context(draft);
    let found = doctor::limited(PI, move || pi::check(&context));
    let late = || vec![Check::error("pi", format!("no result within {} s", PI.as_secs()))];
    found.unwrap_or_else(late).into_iter().map(|check| Finding { check, code: exit::UNAVAILABLE }).collect()
}

/// Does its model answer?
pub fn model(draft: &Draft) -> Vec<Finding> {
    let context = context(draft);
    let check = doctor::limited(MODEL, move || pi::answers(&context));
    let late = || Check::error("model", format!("no result within {} s", MODEL.as_secs()));
    vec![Finding { check: check.unwrap_or_else(late), code: exit::UNAVAILABLE }]
}

/// Whose are the tokens?
pub fn bots(draft: &Draft) -> Vec<Finding> {
    let loaded = draft.loaded.clone();
    let found = doctor::limited(BOT, move || {
        let all = loaded.config.channels.telegram.active();
        all.map(|(id, account)| telegram::name_of(&loaded.config, id, account)).collect::<Vec<_>>()
    });
    let late = || vec![Err((false, Check::error("telegram", format!("no answer within {} s", BOT.as_secs()))))];
    let finding = |answer: Result<String, (bool, Check)>| match answer {
        Ok(name) => Finding { check: Check::ok("telegram", format!("the bot is @{name}")), code: exit::OK },
        Err((rejected, check)) => Finding { check, code: if rejected { exit::PERMISSION } else { exit::UNAVAILABLE } },
    };
    found.unwrap_or_else(late).into_iter().map(finding).collect()
}

fn context(draft: &Draft) -> Context {
    let paths = draft.loaded.paths(&draft.env);
    Context { env: draft.env.clone(), loaded: draft.loaded.clone(), paths, instance: Ok(Instance::None) }
}
