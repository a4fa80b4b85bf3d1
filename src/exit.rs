//! Exit codes, so that a script can tell "try again" from "broken" (after `sysexits.h`).

/// Done.
pub const OK: u8 = 0;
/// Refused, not found, or failed for good.
pub const FAILED: u8 = 1;
/// Wrong options or arguments.
pub const USAGE: u8 = 64;
/// Bad data: input that is not UTF-8, a bad target.
pub const DATA: u8 = 65;
/// The gateway or the network is needed and not reachable, or the port is busy.
pub const UNAVAILABLE: u8 = 69;
/// A fault of this program.
pub const INTERNAL: u8 = 70;
/// Cannot write a file.
pub const CANNOT_WRITE: u8 = 73;
/// Failed for now: try again later.
pub const TEMPORARY: u8 = 75;
/// Authentication was rejected.
pub const PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
/// The user cancelled.
pub const CANCELLED: u8 = 130;
