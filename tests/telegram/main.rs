//! Telegram over real sockets against a Bot API server: the whole gateway, the pi stand-in (telegram.md).
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod buttons;
mod buttons_ask;
mod chat;
mod drafts;
mod faults;
mod habits;
mod house;
mod inbound;
mod inbound_parts;
mod inbound_voice;
mod load;
mod moved;
mod operation;
mod operation_doctor;
mod operation_hook;
mod operation_menu;
mod operation_readme;
mod operation_state;
mod operator;
mod outbound;
mod outbound_chats;
mod outbound_files;
mod outbound_long;
mod outbound_media;
mod proxy;
mod replies;
mod secrets;
mod send;
mod send_faults;
mod settings;
mod stop;
mod streaming;
mod topics;
mod webhooks;
