//! Settings of a server.

use std::time::Duration;

/// How the server behaves. The defaults are the real server's habits; tests shorten the waits.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a repeated 409 is held back.
    pub conflict_delay: Duration,
    /// First pause before a webhook delivery is tried again; doubles up to 60 s.
    pub webhook_backoff: Duration,
    /// Flood limits; `None`: only injected 429s.
    pub rate: Option<Rate>,
    /// Count the 4096/1024 limits in UTF-16 units instead of code points.
    pub count_utf16: bool,
    /// Bytes of a request body; above it the answer is 413.
    pub max_upload: usize,
    /// Bytes of a file; above it `getFile` refuses.
    pub max_download: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            conflict_delay: Duration::from_secs(3),
            webhook_backoff: Duration::from_secs(1),
            rate: None,
            count_utf16: false,
            max_upload: 50 << 20,
            max_download: 20 << 20,
        }
    }
}

/// The published guidance for senders (telegram.md 18); the real buckets are secret.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
    pub group_per_minute: usize,
    pub bot_per_second: usize,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { burst: 4.0, per_second: 1.0, group_per_minute: 20, bot_per_second: 30 }
    }
}
