//! What can go wrong with the store, as a sentence for the person who has to act.

use rusqlite::ErrorCode;

use super::schema;

pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with the store.
#[derive(Debug)]
pub enum Error {
    /// The disk is full: nothing was written.
    Full,
    /// Another connection holds the write lock: try again.
    Busy,
    /// The file system is read-only or the directory is not ours.
    ReadOnly(String),
    /// The file is not a healthy database.
    Corrupt(String),
    /// The store was written by a newer version of this program.
    Newer(usize),
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Full => f.write_str("the disk is full"),
            Error::Busy => f.write_str("the store is locked by another process"),
            Error::ReadOnly(why) => write!(f, "the store cannot be written: {why}"),
            Error::Corrupt(why) => write!(f, "the store is damaged: {why}"),
            Error::Newer(v) => {
                write!(f, "the store has schema version {v}, newer than this program knows ({})", schema::newest())
            }
            Error::Other(why) => write!(f, "store: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        let text = e.to_string();
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::ReadOnly(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(text),
            // No space for the shared-memory file or a short write shows as an I/O error.
            Some(ErrorCode::SystemIoFailure) => Error::Full,
            _ => Error::Other(text),
        }
    }
}
