//! Telegram's Bot API (telegram.md).

mod account;
mod api;
mod caller;
mod client;
mod content;
mod fetch;
mod files;
mod hook;
mod link;
mod markup;
pub mod menu;
mod parse;
mod press;
mod preview;
mod reader;
mod utf16;

pub use account::{open, Account, Parts, Sleep, PUBLIC};
pub use client::{Bot, Fail};

use crate::config::types::{ChunkMode, TelegramAccount};
use crate::markdown::{cut, parse as markdown, plain, telegram_html, Limits};
use crate::message::Content;

/// The channel's name in configuration, keys and targets.
pub const NAME: &str = "telegram";

/// A reply's Markdown as messages.
pub fn render(text: &str, c: &TelegramAccount) -> Vec<Content> {
    let limits = Limits::telegram(c.text_chunk_limit, c.chunk_mode == ChunkMode::Length);
    let chunks = cut(&markdown(text), &limits);
    let content = |rich| Content { text: telegram_html(rich), plain: Some(plain(rich)), ..Content::default() };
    chunks.iter().map(content).collect()
}
