//! The platforms: a reader that brings what people write, a caller that performs what the mind wants done.

pub mod audio;
pub mod telegram;

use std::path::Path;
use std::time::Instant;

use crate::message::{Call, FileRef, Outcome};

/// Performs calls of one account, several at a time.
pub trait Caller: Send + Sync {
    /// One platform call. Waits as long as its deadlines allow, and tells whether it was taken.
    fn perform(&self, call: &Call) -> Outcome;
}

/// Gives out files that people sent to one account.
pub trait Fetcher: Send + Sync {
    /// Writes the file to that path, once, until that moment. Of one that is larger than the account takes nothing
    /// more than that is written.
    fn fetch(&self, file: &FileRef, to: &Path, until: Instant) -> Result<(), Missing>;

    /// Bytes of a file that is taken.
    fn limit(&self) -> u64;

    /// What writes down what people say, if the account has that.
    fn transcriber(&self) -> Option<&audio::Transcriber>;
}

/// Why a file did not come.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// Bytes; `size` if it is known.
    TooLarge { size: Option<u64>, limit: u64 },
    /// `again`: another attempt may have more luck.
    Failed { why: String, again: bool },
}
