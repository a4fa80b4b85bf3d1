//! Calls of the Bot API: one method, one JSON body, one answer (telegram.md 1, 19).

use std::io::Write;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::Value;

use super::api::Parameters;
use crate::message::Outcome;
use crate::net::{Agent, Error, Form, Request};

/// Patience beyond what the platform asks for, milliseconds.
const EXTRA: u64 = 500;
/// A 429 that names no time, seconds.
const RETRY_AFTER: u64 = 5;

/// Descriptions that say that the bot may not write in a chat, and how long that is believed, ms.
const MUTED: [&str; 4] =
    ["not enough rights to send", "have no rights to send a message", "chat_write_forbidden", "chat_restricted"];
const MUTED_TIME: u64 = 600_000;
/// Descriptions that say that there is no such topic.
const TOPIC_GONE: [&str; 2] = ["message thread not found", "topic_deleted"];

/// Descriptions that say that a text may be taken without its markup.
const REFORMAT: [&str; 5] = [
    "can't parse entities",
    "text is too long", // counted with its markup
    "message is too long",
    "message_too_long",
    "caption is too long",
];

/// One bot at one server.
#[derive(Clone)]
pub struct Bot {
    /// `https://api.telegram.org/bot<token>`
    base: String,
    /// `https://api.telegram.org/file/bot<token>`
    files: String,
    agent: Agent,
}

/// Why a call gave no result.
#[derive(Debug)]
pub enum Fail {
    /// Certainly not delivered.
    NotSent { why: String },
    /// Nobody knows whether it was done.
    Unknown { why: String },
    /// The platform's word.
    Api { code: u16, description: String, parameters: Parameters },
}

#[derive(Deserialize)]
struct Reply<'a> {
    ok: bool,
    #[serde(borrow)]
    result: Option<&'a serde_json::value::RawValue>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

impl Bot {
    pub fn new(root: &str, token: &str, agent: Agent) -> Bot {
        let root = root.trim_end_matches('/');
        Bot { base: format!("{root}/bot{token}"), files: format!("{root}/file/bot{token}"), agent }
    }

    /// Longest answers are batches of updates.
    pub fn call<T: DeserializeOwned>(&self, method: &str, params: &Value, within: Duration) -> Result<T, Fail> {
        let url = format!("{}/{method}", self.base);
        let body = params.to_string();
        self.run(method, &Request::post_json(&url, body.as_bytes()).within(within).limit(16 << 20))
    }

    /// A call that brings files.
    pub fn upload<T: DeserializeOwned>(&self, method: &str, form: Form, within: Duration) -> Result<T, Fail> {
        let url = format!("{}/{method}", self.base);
        self.run(method, &Request::post_form(&url, &form).within(within))
    }

    fn run<T: DeserializeOwned>(&self, method: &str, request: &Request<'_>) -> Result<T, Fail> {
        let answer = self.agent.call(request).map_err(|e| {
            if !matches!(e, Error::Stopped { .. }) {
                self.agent.drop_idle();
            }
            match e.may_have_arrived() {
                true => Fail::Unknown { why: e.to_string() },
                false => Fail::NotSent { why: e.to_string() },
            }
        })?;
        let reply: Reply = match serde_json::from_slice(&answer.body) {
            Ok(reply) => reply,
            // What is no answer of the Bot API came from something in between.
            Err(_) => return Err(Fail::Unknown { why: format!("HTTP {} without an answer", answer.status) }),
        };
        if !reply.ok {
            let code = reply.error_code.unwrap_or(answer.status);
            let mut parameters = reply.parameters;
            if code == 429 && parameters.retry_after.is_none() {
                parameters.retry_after = answer.header("retry-after").and_then(|v| v.parse().ok());
            }
            return Err(Fail::Api { code, description: self.without_token(&reply.description), parameters });
        }
        let result = reply.result.map_or("null", |raw| raw.get());
        serde_json::from_str(result).map_err(|e| {
            let why = self.without_token(&e.to_string());
            Fail::Unknown { why: format!("{method}: unexpected answer: {why}") }
        })
    }

    /// What the platform said, as people may read it: a server that is not Telegram's own may repeat our URL. The
    /// digits before the colon are the bot's id, which is no secret.
    fn without_token(&self, said: &str) -> String {
        let token = self.base.rsplit_once("/bot").map_or("", |(_, token)| token);
        let secret = token.split_once(':').map_or(token, |(_, secret)| secret);
        match secret.len() {
            ..8 => said.to_owned(), // it would hit ordinary words
            _ => said.replace(secret, "***"),
        }
    }

    /// A file by its path; the status. A body goes into `sink` if that is good.
    pub fn download(&self, path: &str, within: Duration, limit: u64, sink: &mut dyn Write) -> Result<u16, Error> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~');
        let path: String =
            path.bytes().map(|b| if fine(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
        let url = format!("{}/{}", self.files, path.trim_start_matches('/'));
        let request = Request::get(&url).within(within).limit(limit);
        let answer = self.agent.fetch(&request, sink);
        if answer.as_ref().is_err_and(|e| !matches!(e, Error::TooLarge { .. })) {
            self.agent.drop_idle();
        }
        answer.map(|a| a.status)
    }

    /// Ends a call that is under way, and all later ones.
    pub fn shutdown(&self) {
        self.agent.shutdown();
    }
}

impl Fail {
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Fail::Api { code: 401, .. } => true,
            // A malformed token; methods are known.
            Fail::Api { code: 404, description, .. } => description == "Not Found",
            Fail::Api { code: 400, description, .. } => has(description, "logged out"),
            _ => false,
        }
    }

    /// The platform's reason, if it said that.
    pub fn says(&self, what: &str) -> bool {
        matches!(self, Fail::Api { code: 400, description, .. } if has(description, what))
    }

    /// Milliseconds to wait, if the platform asks for patience.
    pub fn limited(&self) -> Option<u64> {
        match self {
            Fail::Api { code: 429, parameters, .. } => {
                Some(parameters.retry_after.unwrap_or(RETRY_AFTER).saturating_mul(1000).saturating_add(EXTRA))
            }
            _ => None,
        }
    }

    /// What it means for the lane.
    pub fn outcome(self) -> Outcome {
        if let Some(ms) = self.limited() {
            return Outcome::RateLimited { account_wide: false, ms };
        }
        if self.is_unauthorized() {
            return Outcome::Unauthorized { why: self.to_string() };
        }
        match self {
            Fail::NotSent { why } => Outcome::Retry { why },
            Fail::Unknown { why } => Outcome::Ambiguous { why },
            Fail::Api { code: 500.., description, .. } if has(&description, "restart") => {
                Outcome::Retry { why: description }
            }
            Fail::Api { code: 500.., description, .. } => Outcome::Ambiguous { why: description },
            Fail::Api { parameters: Parameters { migrate_to_chat_id: Some(to), .. }, .. } => {
                Outcome::Moved { to: to.to_string() }
            }
            Fail::Api { code: 400, description, .. } if REFORMAT.iter().any(|text| has(&description, text)) => {
                Outcome::Reformat
            }
            Fail::Api { code: 400, description, .. } if TOPIC_GONE.iter().any(|text| has(&description, text)) => {
                Outcome::TopicGone { why: description }
            }
            Fail::Api { code: 403, description, .. } => Outcome::Barred { why: description, ms: None },
            Fail::Api { code: 400, description, .. } if has(&description, "chat not found") => {
                Outcome::Barred { why: format!("{description} (chat ids are numbers)"), ms: None }
            }
            Fail::Api { code: 400, description, .. } if MUTED.iter().any(|text| has(&description, text)) => {
                Outcome::Barred { why: description, ms: Some(MUTED_TIME) }
            }
            Fail::Api { code: 400, description, .. }
                if [
                    "message to edit not found",
                    "message can't be edited",
                    "there is no text in the message to edit",
                    "message to delete not found",
                    "message can't be deleted",
                ]
                .iter()
                .any(|text| has(&description, text)) =>
            {
                Outcome::Gone
            }
            Fail::Api { description, .. } => Outcome::Refused { why: description },
        }
    }
}

fn has(description: &str, text: &str) -> bool {
    description.to_ascii_lowercase().contains(text)
}

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fail::NotSent { why } | Fail::Unknown { why } => f.write_str(why),
            Fail::Api { code, description, .. } => write!(f, "{code} {description}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, description: &str) -> Fail {
        Fail::Api { code, description: description.into(), parameters: Parameters::default() }
    }

    #[test]
    fn every_class_of_error_has_its_meaning() {
        use Outcome::*;
        let limited = Parameters { retry_after: Some(7), ..Parameters::default() };
        let fail =
            Fail::Api { code: 429, description: "Too Many Requests: retry after 401".into(), parameters: limited };
        assert_eq!(fail.outcome(), RateLimited { account_wide: false, ms: 7_500 });
        assert!(matches!(api(401, "Unauthorized").outcome(), Unauthorized { .. }));
        assert!(matches!(api(404, "Not Found").outcome(), Unauthorized { .. }));
        assert!(matches!(api(403, "Forbidden: bot was blocked by the user").outcome(), Barred { ms: None, .. }));
        assert!(matches!(
            api(400, "Bad Request: not enough rights to send text").outcome(),
            Barred { ms: Some(_), .. }
        ));
        let moved = Parameters { migrate_to_chat_id: Some(-1001), ..Parameters::default() };
        let fail =
            Fail::Api { code: 400, description: "Bad Request: group chat was upgraded".into(), parameters: moved };
        assert_eq!(fail.outcome(), Moved { to: "-1001".into() });
        assert!(matches!(api(502, "Bad Gateway").outcome(), Ambiguous { .. }));
        assert!(matches!(api(500, "Internal Server Error: restart").outcome(), Retry { .. }));
        assert_eq!(api(400, "Bad Request: can't parse entities: x").outcome(), Reformat);
        assert_eq!(api(400, "Bad Request: message to edit not found").outcome(), Gone);
        assert!(matches!(Fail::NotSent { why: "refused".into() }.outcome(), Retry { .. }));
        assert!(matches!(Fail::Unknown { why: "reset".into() }.outcome(), Ambiguous { .. }));
    }
}
