//! pi-gateway: one mind (`core`), many hands. The floors are described in CONTRIBUTING.md.
pub mod agent;
pub mod ask;
pub mod children;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod fault;
pub mod gateway;
pub mod http;
pub mod live;
pub mod message;
pub mod roles;
pub mod routing;
pub mod rules;
pub mod store;
