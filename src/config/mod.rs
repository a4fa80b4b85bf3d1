//! Configuration: types with defaults, loading, checks, redaction.

/// Placeholder until the configuration module lands.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {}
