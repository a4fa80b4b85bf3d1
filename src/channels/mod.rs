//! The platforms: a reader that brings what people write, a caller that performs what the mind wants done.

pub mod telegram;

use crate::message::{Call, Outcome};

/// Performs calls of one account, several at a time.
pub trait Caller: Send + Sync {
    /// One platform call. Waits as long as its deadlines allow, and tells whether it was taken.
    fn perform(&self, call: &Call) -> Outcome;
}
