//! The port, seen from outside: raw sockets against a door over a scripted mind.
#![allow(clippy::unwrap_used)] // also in the tests' support

#[path = "support/house.rs"]
mod house;
#[path = "support/pages.rs"]
mod pages;
#[path = "support/raw_http.rs"]
mod raw_http;

#[path = "door/agent.rs"]
mod agent;
#[path = "door/chat.rs"]
mod chat;
#[path = "door/end.rs"]
mod end;
#[path = "door/events.rs"]
mod events;
#[path = "door/events_of_messages.rs"]
mod events_of_messages;
#[path = "door/guard.rs"]
mod guard;
#[path = "door/hooks.rs"]
mod hooks;
#[path = "door/left.rs"]
mod left;
#[path = "door/lists.rs"]
mod lists;
#[path = "door/media.rs"]
mod media;
#[path = "door/memory.rs"]
mod memory;
#[path = "door/observability.rs"]
mod observability;
#[path = "door/openai.rs"]
mod openai;
#[path = "door/pictures.rs"]
mod pictures;
#[path = "door/roles.rs"]
mod roles;
#[path = "door/send.rs"]
mod send;
#[path = "door/status.rs"]
mod status;
#[path = "door/tools.rs"]
mod tools;
#[path = "door/transcripts.rs"]
mod transcripts;
#[path = "door/wire.rs"]
mod wire;
#[path = "door/ws_order.rs"]
mod ws_order;
#[path = "door/ws_rude.rs"]
mod ws_rude;
#[path = "door/ws_state.rs"]
mod ws_state;

const MAIN: &str = "agent:main:main:main";

fn bearer() -> String {
    format!("Authorization: Bearer {}\r\n", house::SECRET)
}
