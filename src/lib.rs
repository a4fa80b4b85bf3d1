//! pi-gateway: one mind (`core`), many hands. The floors are described in CONTRIBUTING.md.
pub mod cli;
pub mod config;
