//! Telegram over real sockets against a Bot API server: the whole gateway, the pi stand-in (telegram.md).
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod chat;
mod drafts;
mod faults;
mod house;
mod outbound;
mod outbound_chats;
mod outbound_media;
mod streaming;
