//! Telegram's Bot API (telegram.md).

mod account;
mod api;
mod caller;
mod client;
mod content;
mod directives;
mod drafts;
mod media;
mod news;
mod outbound;
mod reactions;
mod target;
mod parse;
mod preview;
mod reader;
mod utf16;

pub use account::{open, Account, Parts};
pub use media::Opener;
pub use outbound::render;
pub use target::parse as target;

/// The channel's name in configuration, keys and targets.
pub const NAME: &str = "telegram";
