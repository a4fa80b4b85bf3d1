//! The configuration: one file, read into [`Config`], which every other part only reads.
//!
//! Owns: the table of keys (`types`), finding and loading the file, what is secret in it, where things are kept.
//! Never: starts anything, speaks to the network, knows any other part of the program. The process's environment
//! comes in as a value ([`Env`]); the file system is read, and written only by [`files`], [`token`] and the
//! migration.

mod check;
pub mod edit;
mod env;
pub mod env_file;
pub mod files;
mod forms;
mod issue;
mod legacy;
mod load;
mod node;
mod pass;
mod paths;
mod reader;
pub mod redact;
pub mod reload;
mod rewrite;
mod secret;
mod source;
mod subst;
mod suggest;
pub mod token;
pub mod types;
mod words;

pub use env::Env;
pub(crate) use forms::telegram_token;
pub use forms::{duration, ProxySetting, TimeOfDay};
pub use issue::{has_errors, Issue, Pos, Severity};
pub use load::{defaults, examine, find, load, load_bytes, Examined, Found, Loaded, Options};
pub use node::{join as key_path, Origin};
pub use paths::{session_dir_name, Paths};
pub use rewrite::{migrate, Migrated};
pub use secret::{is_placeholder, Secret};
pub use source::MAX_DEPTH;
pub use suggest::closest;
pub use types::Config;
