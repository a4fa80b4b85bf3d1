//! The two clocks, read in one place.

use rustix::time::{clock_gettime, ClockId};

use crate::message::{Mono, Now};

/// Both clocks now.
pub fn now() -> Now {
    let wall = clock_gettime(ClockId::Realtime);
    Now { wall: wall.tv_sec * 1000 + wall.tv_nsec / 1_000_000, mono: mono() }
}

/// Milliseconds since boot, suspended time included.
pub fn mono() -> Mono {
    let boot = clock_gettime(ClockId::Boottime);
    boot.tv_sec as u64 * 1000 + boot.tv_nsec as u64 / 1_000_000
}

/// Milliseconds that this machine was awake: stands still while it is suspended.
pub fn awake() -> i64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// The variable that says: somebody else keeps this machine's clock right, and the kernel does not know (some containers).
pub const TRUSTED: &str = "PI_GW_CLOCK_OK";

/// The kernel says that something keeps the wall clock right (NTP).
#[allow(unsafe_code)] // rustix has no adjtimex
pub fn synchronised() -> bool {
    // SAFETY: a zeroed `timex` with modes = 0 only reads; the pointer is valid for the call.
    let (state, status) = unsafe {
        let mut t: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut t), t.status)
    };
    const TIME_ERROR: i32 = 5;
    const STA_UNSYNC: i32 = 0x40;
    state >= 0 && state != TIME_ERROR && status & STA_UNSYNC == 0
}
