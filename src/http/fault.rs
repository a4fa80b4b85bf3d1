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
    /// What only `/v1` tells; boxed, because it is rare.
    about: Option<Box<About>>,
}

/// More about an error of `/v1`.
#[derive(Clone, Debug, Default, PartialEq)]
struct About {
    /// The member of the request that is wrong.
    param: Option<String>,
    /// What was said before it failed (R67).
    partial: Option<String>,
}

/// How a client wants to be told (R52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `error` is a string, as old clients expect.
    Plain,
    /// `error` is an object, for those that ask for it.
    Object,
    /// As OpenAI's clients read it: everything under `/v1/`.
    OpenAi,
}

impl Fault {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fault {
        Fault { status, code, message: message.into(), retry: None, allow: None, about: None }
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

    /// The member of the request that is wrong, for `/v1`.
    pub fn param(mut self, name: impl Into<String>) -> Fault {
        self.about.get_or_insert_default().param = Some(name.into());
        self
    }

    /// What was said before it failed, for `/v1`.
    pub fn partial(mut self, text: impl Into<String>) -> Fault {
        self.about.get_or_insert_default().partial = Some(text.into());
        self
    }

    /// The body.
    pub fn json(&self, request: &str, shape: Shape) -> Value {
        match shape {
            Shape::Plain => json!({"error": self.message, "code": self.code, "requestId": request}),
            Shape::Object => json!({"error": {"code": self.code, "message": self.message}, "requestId": request}),
            Shape::OpenAi => {
                let about = self.about.as_deref();
                let param = about.and_then(|a| a.param.as_ref());
                let mut error =
                    json!({"message": self.message, "type": self.kind(), "code": self.code, "param": param});
                if let Some(partial) = about.and_then(|a| a.partial.as_ref()) {
                    error["partial"] = json!(partial);
                }
                json!({"error": error})
            }
        }
    }

    /// `type` of an error of `/v1` (1.6, R67).
    fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 | 421 => "permission_error",
            429 => "rate_limit_error",
            502 => "upstream_error",
            504 => "timeout_error",
            500.. => "server_error",
            _ => "invalid_request_error",
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
        Fault { retry, ..Fault::new(status, code.as_str(), message) }
    }
}
