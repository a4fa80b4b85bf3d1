//! `pi-gw version`.

use std::env::consts::{ARCH, OS};

use serde_json::json;

use super::{exit, written, Call, Io};
use crate::config::Env;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What this version can do besides the API; later ones will have more.
const FEATURES: [&str; 2] = ["webchat", "demo-agent"];

pub fn run(call: &Call, _: &Env, io: &mut Io<'_>) -> u8 {
    let said = match call.has("--json") {
        true => io.say(format_args!("{:#}", json!({"version": VERSION, "target": target(), "features": FEATURES}))),
        false => io.say(format_args!("pi-gw {VERSION} ({})", target())),
    };
    written(said.map(|()| exit::OK), io)
}

/// Machine, system and C library, such as `aarch64-linux-musl`.
fn target() -> String {
    let libc = match () {
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "gnu") => "-gnu",
        () => "",
    };
    format!("{ARCH}-{OS}{libc}")
}
