//! An agent's task for another agent: what is asked of the mind, and what comes back (core.md 15).

use super::*;

/// `delegate_to_agent`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DelegateRequest {
    /// The conversation that delegates.
    pub session: String,
    /// The pi process that asks, which must be that session's; `None`: somebody at the public door.
    pub proc: Option<ProcId>,
    /// The session need not exist (its caller named none).
    pub begin: bool,
    /// The agent that is to do it.
    pub to: String,
    pub task: String,
    /// Milliseconds; `None`: the usual time.
    pub timeout: Option<u64>,
    /// Full unique key incl. scope, under which a repeat finds the answer.
    pub dkey: Option<String>,
    pub body_hash: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelegateStatus {
    Completed,
    /// It took too long. The text is what was said until then, if that is wanted, else why there is none.
    Timeout,
    Error,
    /// It was never begun.
    Rejected,
}

impl DelegateStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            DelegateStatus::Completed => "completed",
            DelegateStatus::Timeout => "timeout",
            DelegateStatus::Error => "error",
            DelegateStatus::Rejected => "rejected",
        }
    }
}

/// How a [`DelegateRequest`] ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegated {
    pub status: DelegateStatus,
    /// For the model that asked.
    pub text: String,
    /// The text is an answer, whole or in part, and not a reason.
    pub answer: bool,
    /// The conversation of the task; empty if there is none.
    pub session: String,
    pub took_ms: u64,
    pub replayed: bool,
}

/// Figures of delegation since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelegateFigures {
    pub count: u64,
    pub success: u64,
    pub timeout: u64,
    pub error: u64,
    pub rejected: u64,
    /// Of the errors: there was no room for another process.
    pub pool_exhausted: u64,
    /// Of the latest ones that were begun, milliseconds.
    pub average_ms: u64,
    pub p95_ms: u64,
    pub active: usize,
}
