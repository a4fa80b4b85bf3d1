//! Outgoing connections: an HTTP agent per purpose, names, proxies, TLS, the guard against private addresses, backoff.
//!
//! Owns the `dns` threads and the sockets of its agents; a call runs on the thread that makes it. The sockets below
//! ureq are ours: every read and write knows the call's deadline, and whether anything of the request may have left is
//! counted where it happens ("nothing twice"). Never: knows a platform, retries, or puts a URL into an error.

mod agent;
mod backoff;
mod dial;
mod error;
mod form;
pub mod guard;
mod progress;
mod proxy;
mod request;
mod resolver;
mod target;
mod tls;
mod wire;

use std::sync::Arc;

pub use agent::{Agent, Builder, Purpose};
pub use backoff::Backoff;
pub use error::{redact, Error};
pub use form::{Form, Part};
pub use progress::until;
pub use proxy::Route;
pub use request::{transfer_time, Answer, Request};
pub use resolver::{Lookup, Resolver};
pub use tls::install_provider;
pub use ureq::http::Method;

use crate::config::types::Network;

/// What all agents share: names and trust. One for the process.
#[derive(Clone)]
pub struct Net {
    resolver: Arc<Resolver>,
    tls: Arc<rustls::ClientConfig>,
}

impl Net {
    /// Installs the provider of cryptography and reads `network.caFile`. No connection, no thread yet.
    pub fn open(network: &Network) -> Result<Net, String> {
        Net::with(network, Arc::new(Resolver::system()))
    }

    /// As [`Net::open`], with names from elsewhere.
    pub fn with(network: &Network, resolver: Arc<Resolver>) -> Result<Net, String> {
        tls::install_provider();
        Ok(Net { resolver, tls: tls::config(network.ca_file.as_deref())? })
    }

    /// An agent of its own: its connections are shared with no other.
    pub fn agent(&self, purpose: Purpose) -> Builder {
        Builder::new(self.clone(), purpose)
    }
}
