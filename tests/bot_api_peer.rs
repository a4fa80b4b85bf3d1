//! The fake Bot API server, tested itself: by a client that knows nothing but HTTP.

#![allow(clippy::unwrap_used)] // a failed test may panic

mod support;

#[path = "bot_api_peer/client.rs"]
mod client;
#[path = "bot_api_peer/faults.rs"]
mod faults;
#[path = "bot_api_peer/messages.rs"]
mod messages;
#[path = "bot_api_peer/people.rs"]
mod people;
#[path = "bot_api_peer/texts.rs"]
mod texts;
#[path = "bot_api_peer/updates.rs"]
mod updates;
#[path = "bot_api_peer/webhook.rs"]
mod webhook;
