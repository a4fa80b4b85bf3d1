//! pi-gateway: one mind (`core`), many hands. The floors are described in CONTRIBUTING.md.
pub mod ask;
pub mod config;
pub mod http;
pub mod live;
pub mod message;
