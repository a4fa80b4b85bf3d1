//! What the tests stand on: scripted peers, temporary homes, the real pi. Every wait has a deadline and
//! fails loudly; nothing here sleeps to synchronise. Each test binary uses its part of this.
#![allow(dead_code)]

pub mod bot_api;
pub mod browser;
pub mod directives;
pub mod fake_pi;
pub mod gateway;
pub mod home;
pub mod llm;
pub mod patient;
pub mod pi;
pub mod port;
pub mod process;
pub mod raw_http;
pub mod rpc;
pub mod store_view;

use std::time::Duration;

/// How long a test waits for something that is bound to happen. Long, because it only costs time when
/// the test fails anyway, and the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(30);
