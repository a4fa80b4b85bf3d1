//! pi-gateway: one mind (`core`), many hands. The floors are described in CONTRIBUTING.md.
pub mod agent;
pub mod ask;
pub mod children;
pub mod config;
pub mod live;
pub mod message;
