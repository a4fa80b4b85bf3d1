//! What a call asks and what it answers.

use std::time::Duration;

use ureq::http::{HeaderMap, Method};

use super::form::Form;

/// Time for a transfer: 60 s and 1 s for every 100 kB (telegram.md 1).
pub fn transfer_time(bytes: u64) -> Duration {
    Duration::from_secs(60) + per_byte(bytes)
}

/// 1 s for 100 kB.
pub(super) fn per_byte(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(10))
}

/// A request, and how long and how large its answer may be.
pub struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body<'a>,
    pub(super) within: Duration,
    pub(super) limit: u64,
    pub(super) grows: bool,
}

pub(super) enum Body<'a> {
    None,
    Bytes(&'static str, &'a [u8]),
    Form(&'a Form),
}

impl<'a> Request<'a> {
    /// Any method, no body; 30 s from the first lookup to the last byte, an answer of at most 1 MiB.
    pub fn new(method: Method, url: &'a str) -> Request<'a> {
        let within = Duration::from_secs(30);
        Request { method, url, headers: Vec::new(), body: Body::None, within, limit: 1 << 20, grows: false }
    }

    pub fn get(url: &'a str) -> Request<'a> {
        Request::new(Method::GET, url)
    }

    pub fn post_json(url: &'a str, json: &'a [u8]) -> Request<'a> {
        Request::new(Method::POST, url).json(json)
    }

    /// `multipart/form-data`. Set [`Request::within`] to the [`transfer_time`] of its files.
    pub fn post_form(url: &'a str, form: &'a Form) -> Request<'a> {
        let mut request = Request::new(Method::POST, url);
        request.body = Body::Form(form);
        request
    }

    pub fn json(mut self, json: &'a [u8]) -> Request<'a> {
        self.body = Body::Bytes("application/json", json);
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name, value.into()));
        self
    }

    /// The whole call, whatever happens in it.
    pub fn within(mut self, time: Duration) -> Request<'a> {
        self.within = time;
        self
    }

    /// Of a download: the time grows by 1 s for every 100 kB that has come.
    pub fn growing(mut self) -> Request<'a> {
        self.grows = true;
        self
    }

    /// The longest body of an answer, in bytes.
    pub fn limit(mut self, bytes: u64) -> Request<'a> {
        self.limit = bytes;
        self
    }
}

/// What came back, complete.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Empty if it went into a file.
    pub body: Vec<u8>,
    /// Bytes of the body.
    pub received: u64,
}

impl Answer {
    /// A header's first value, if it is text. Names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
