//! Telegram's Bot API (telegram.md).

mod api;
mod content;
mod parse;
mod utf16;

/// The channel's name in configuration, keys and targets.
pub const NAME: &str = "telegram";
