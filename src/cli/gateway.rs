//! `pi-gw gateway`.

use super::{exit, help, Call, Io};
use crate::config::Env;
use crate::gateway::{self, Options};

pub fn run(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let port = match call.value("--port").map(|text| (text, text.parse::<u16>())) {
        None => None,
        Some((_, Ok(port))) if port > 0 => Some(port),
        Some((text, _)) => {
            io.tell(format_args!("--port must be a whole number from 1 to 65535, found \"{text}\""));
            io.tell(help::usage(&call.line, call.command));
            return exit::USAGE;
        }
    };
    let options = Options {
        config: call.config(),
        port,
        bind: call.value("--bind").map(str::to_owned),
        no_gui: call.has("--no-gui"),
        strict: call.has("--strict"),
        allow_defaults: call.has("--allow-defaults"),
        check: call.has("--check"),
        verbose: call.has("--verbose"),
        demo: call.has("--demo"),
        demo_if_no_pi: call.has("--demo-if-no-pi"),
    };
    gateway::run(options, env)
}
