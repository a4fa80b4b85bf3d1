#![allow(clippy::unwrap_used)] // a failed test may panic

mod support;
