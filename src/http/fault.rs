//! Refusals: one error shape for the whole port (R52, R53).

use serde_json::{json, Value};

use crate::message::{Answer, Code};

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    /// `Retry-After`, seconds.
    pub retry: Option<u32>,
    /// `Allow`, with 405.
    pub allow: Option<String>,
}

impl Fault {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fault {
        Fault { status, code, message: message.into(), retry: None, allow: None }
    }
    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(400, "invalid_request", message)
    }
    pub fn unauthorized() -> Fault {
        Fault::new(401, "unauthorized", "Unauthorized")
    }
    pub fn not_found() -> Fault {
        Fault::new(404, "not_found", "Not Found")
    }
    pub fn busy(message: &str) -> Fault {
        Fault::new(503, "busy", message).retry(1)
    }
    pub fn retry(mut self, seconds: u32) -> Fault {
        self.retry = Some(seconds);
        self
    }

    /// The body: `error` is a string as old clients expect, or an object for those that ask for it.
    pub fn json(&self, request: &str, object: bool) -> Value {
        if object {
            json!({"error": {"code": self.code, "message": self.message}, "requestId": request})
        } else {
            json!({"error": self.message, "code": self.code, "requestId": request})
        }
    }

    /// What the mind said instead of the answer that was hoped for.
    pub fn from_answer(answer: Answer) -> Fault {
        match answer {
            Answer::Error { code, message } => Fault::from_code(code, message),
            other => {
                log::error!("the mind gave an answer of another kind: {other:?}");
                Fault::new(500, "internal", "The gateway gave an answer nobody expected.")
            }
        }
    }

    pub fn from_code(code: Code, message: impl Into<String>) -> Fault {
        let (status, retry) = match code {
            Code::InvalidRequest | Code::Unsupported => (400, None),
            Code::NotFound | Code::NoActiveSession => (404, None),
            Code::Conflict | Code::IdempotencyConflict => (409, None),
            Code::QueueFull => (429, Some(5)),
            Code::PoolExhausted | Code::ShuttingDown | Code::StoreFailing => (503, Some(5)),
            Code::Busy => (503, Some(1)),
            Code::UpstreamFailed => (502, None),
            Code::Timeout => (504, None),
            Code::Internal => (500, None),
        };
        Fault { status, code: code.as_str(), message: message.into(), retry, allow: None }
    }
}
