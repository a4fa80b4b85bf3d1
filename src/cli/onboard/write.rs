//! Writing it down, at last: what the configuration needs first, the file itself at the end.

use std::io;
use std::path::{Path, PathBuf};

use super::draft::{Base, Draft};
use crate::config::env_file;
use crate::config::files::{create_dir, write_atomic};
use crate::config::token;
use crate::config::types::AuthMode;

/// What was written.
pub struct Written {
    /// What the file was before.
    pub backup: Option<PathBuf>,
    /// Where new secrets went, if not into the configuration.
    pub env_file: Option<PathBuf>,
    /// Where the gateway keeps a token of its own.
    pub token_file: Option<PathBuf>,
}

/// Writes everything. `Err`: what could not be written, and why. The configuration comes last: before it, nothing
/// that exists has changed but the environment's file, which holds more than was there.
pub fn write(base: &Base, draft: &Draft) -> Result<Written, (PathBuf, io::Error)> {
    fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, (PathBuf, io::Error)> {
        result.map_err(|error| (path.to_owned(), error))
    }
    let paths = draft.loaded.paths(&draft.env);
    let mut written = Written { backup: None, env_file: None, token_file: None };
    if !draft.vars.is_empty() {
        let file = paths.env_file();
        named(paths.data_root(), create_dir(paths.data_root()))?;
        let text = named(&file, env_file::merged(&file, &draft.vars))?;
        named(&file, write_atomic(&file, text.as_bytes()))?;
        written.env_file = Some(file);
    }
    // Only where that is news: other agents' directories are made on first use.
    let agents = &draft.loaded.config.agents;
    let own = agents.list.iter().find(|agent| agent.id == agents.default).and_then(|agent| agent.workspace.as_ref());
    if let Some(dir) = own.filter(|_| draft.changed.iter().any(|key| key.starts_with("agents.list"))) {
        named(dir, create_dir(dir))?;
    }
    let auth = &draft.loaded.config.gateway.auth;
    if auth.mode == AuthMode::Token && auth.token.is_none() {
        let file = paths.gateway_token();
        named(&file, token::stored_or_generated(&file))?;
        written.token_file = Some(file);
    }
    if base.old.as_deref() == Some(draft.text.as_bytes()) {
        return Ok(written);
    }
    if let Some(old) = &base.old {
        let mut backup = base.path.clone().into_os_string();
        backup.push(".bak");
        let backup = PathBuf::from(backup);
        named(&backup, write_atomic(&backup, old))?;
        written.backup = Some(backup);
    }
    if let Some(dir) = base.path.parent() {
        named(dir, create_dir(dir))?;
    }
    named(&base.path, write_atomic(&base.path, draft.text.as_bytes()))?;
    Ok(written)
}
