//! pi, the coding agent, as seen from outside: lines on its pipes, arguments it is started with, the session
//! files it leaves. Nothing here decides; what pi says goes up as events, what it shows goes to the live view.

mod decode;
pub mod demo;
mod front;
pub mod head;
pub mod process;
pub mod profile;
mod response;
pub mod rpc;
pub mod segments;
pub mod session_file;
pub mod session_parts;
mod shown;

/// The pi extension that brings the gateway's tools to pi (pi-rpc.md 12): one file without imports.
pub const EXTENSION: &str = include_str!("agent/gateway.ts");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_imports_nothing() {
        assert!(!EXTENSION.lines().any(|l| l.trim_start().starts_with("import ") || l.contains("require(")));
    }
}
