//! Telegram's Bot API (telegram.md).

mod account;
mod api;
mod caller;
mod client;
mod content;
mod directives;
mod drafts;
mod fetch;
mod files;
mod hook;
mod link;
mod markup;
mod media;
pub mod menu;
mod news;
mod outbound;
mod parse;
mod press;
mod preview;
mod reactions;
mod reader;
mod target;
mod utf16;
mod ways;

pub use account::{open, sender, Account, Parts, Sleep, PUBLIC};
pub use client::{Bot, Fail};
pub use media::Opener;
pub use outbound::render;
pub use target::parse as target;

/// The channel's name in configuration, keys and targets.
pub const NAME: &str = "telegram";
