//! Ports for gateways that have to be told theirs.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that was free a moment ago. Each is given once, and from below the range out of which the kernel
/// serves outgoing connections and port 0: nobody takes it before the gateway does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    // Test programs that run beside this one begin elsewhere.
    let start = (std::process::id() % 199) as u16 * 100;
    loop {
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = FIRST + (start + n % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
