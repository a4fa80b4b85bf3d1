//! Configuration: types with defaults, loading, checks, redaction.
