//! Outgoing connections against raw sockets: what a caller is told when the other side is slow, rude or gone.
#![allow(clippy::unwrap_used)] // also in the tests' support

#[path = "net/peer.rs"]
mod peer;

#[path = "net/ends.rs"]
mod ends;
#[path = "net/files.rs"]
mod files;
#[path = "net/guarded.rs"]
mod guarded;
#[path = "net/names.rs"]
mod names;
#[path = "net/outcomes.rs"]
mod outcomes;
#[path = "net/proxies.rs"]
mod proxies;
#[path = "net/ranges.rs"]
mod ranges;
#[path = "net/reuse.rs"]
mod reuse;
#[path = "net/secure.rs"]
mod secure;
