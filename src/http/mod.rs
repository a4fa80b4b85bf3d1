//! The port: one TCP address carries the page, the JSON API, server-sent events and the WebSocket. A second one,
//! the agent door, serves pi's tools alone, so that nobody's waiting can shut them out.
//!
//! Own acceptor and request loop, because tiny_http's server cannot face a network (gateway-api.md 3.1);
//! its `Response` prints the answers, tungstenite frames the WebSocket. One thread per connection, one for
//! all WebSockets; every wait has a deadline. Knows the vocabulary, the mind's door (`ask`) and the live
//! view; never `core`, a channel or the store (history comes through [`Mailbox`]).

mod agent;
mod body;
mod channels;
mod chat;
mod cron;
mod door;
mod exchange;
mod fault;
mod guard;
mod head;
mod history;
mod hooks;
mod images;
mod inlet;
mod json;
mod keyboard;
mod lists;
mod logins;
mod media;
mod memory;
mod meter;
mod names;
mod observability;
mod openai;
mod operate;
mod page;
mod paging;
mod pi_tokens;
mod port;
mod roles;
mod routes;
mod send;
mod serve;
mod settings;
mod shapes;
mod status;
mod throttle;
mod tools;
mod transcripts;
mod turn;
mod wake;
mod wire;
mod ws;

pub use door::Door;
pub use fault::Fault;
pub use media::{Denied, MediaKey, Spot};
pub use pi_tokens::PiTokens;
pub use port::{HistoryMessage, Mailbox, NoRestart, Operator, Parts};
pub use settings::{AgentLabel, Auth, Cors, Hooks, Limits, Media, Net, OpenAi, Settings, Swap, Thinking, Times};
