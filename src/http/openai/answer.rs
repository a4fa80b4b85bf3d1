//! What a chat completion is answered with: one object, or a stream of chunks (gateway-api.md R66, R67).

use serde_json::{json, Value};

use crate::http::fault::{Fault, Shape};
use crate::http::settings::Thinking;
use crate::http::turn::{frame, Frames};
use crate::live::News;
use crate::message::{ChatReply, Code, Usage};

/// What every object of one answer has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    pub model: String,
}

impl Stamp {
    fn object(&self, kind: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices,
        })
    }

    /// The whole answer.
    pub fn completion(&self, reply: &ChatReply) -> Value {
        let message = json!({"role": "assistant", "content": reply.text, "refusal": null});
        let choice =
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(&reply.stop)});
        let mut all = self.object("chat.completion", json!([choice]));
        all["usage"] = usage(&reply.usage);
        all
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> String {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        frame(&self.object("chat.completion.chunk", json!([choice])))
    }
}

fn finish_reason(stop: &str) -> &'static str {
    match stop {
        "length" => "length",
        _ => "stop",
    }
}

fn usage(u: &Usage) -> Value {
    json!({
        "prompt_tokens": u.prompt(), "completion_tokens": u.output, "total_tokens": u.prompt() + u.output,
        "prompt_tokens_details": {"cached_tokens": u.cache_read},
    })
}

/// A reply that is no answer: refused, failed, or given up for its time (R67).
pub fn check(reply: ChatReply) -> Result<ChatReply, Fault> {
    let late = matches!(reply.stop.as_str(), "inactive" | "too long");
    let (code, message) = match &reply.error {
        Some((code, message)) => (*code, message.clone()),
        None if late => {
            let (_, note) = reply.text.rsplit_once("\n\n").unwrap_or(("", &reply.text));
            (Code::Timeout, format!("The agent did not answer in time {note}"))
        }
        None => return Ok(reply),
    };
    let fault = Fault::from_code(code, message.clone());
    // What was said stands before the note that says why it ended.
    let said = match late {
        true => reply.text.rsplit_once("\n\n").map(|(said, _)| said),
        false => reply.text.strip_suffix(&message).map(str::trim_end),
    };
    Err(match said.filter(|said| !said.is_empty()) {
        Some(said) => fault.partial(said),
        None => fault,
    })
}

/// Text that went out and cannot be taken back, against what the agent says now.
#[derive(Debug, Default)]
struct Sent {
    text: String,
    /// So much of it the agent has said (again) since it last began.
    at: usize,
}

impl Sent {
    /// The agent begins anew.
    fn again(&mut self) {
        self.at = 0;
    }

    /// What has to be sent after this piece. What is said again word for word is not repeated; something else is
    /// sent from its beginning, behind an empty line.
    fn piece(&mut self, piece: &str) -> String {
        let known = &self.text[self.at..];
        let same = known.bytes().zip(piece.bytes()).take_while(|(a, b)| a == b).count();
        if same == piece.len() {
            self.at += same;
            return String::new();
        }
        if same == known.len() {
            let fresh = &piece[same..]; // `known` ends between two characters, and so does its like in `piece`
            self.text += fresh;
            self.at = self.text.len();
            return fresh.to_owned();
        }
        self.text.truncate(self.at);
        self.text += piece;
        self.at = self.text.len();
        format!("\n\n{}", self.text)
    }
}

/// A run as chunks.
pub struct Chunks {
    stamp: Stamp,
    thinking: Thinking,
    include_usage: bool,
    out: String,
    answer: Sent,
    thought: Sent,
    /// A `<think>` is open.
    inside: bool,
}

impl Chunks {
    pub fn new(stamp: Stamp, thinking: Thinking, include_usage: bool) -> Chunks {
        let out = stamp.chunk(json!({"role": "assistant", "content": ""}), None);
        Chunks { stamp, thinking, include_usage, out, answer: Sent::default(), thought: Sent::default(), inside: false }
    }

    fn content(&mut self, text: &str) {
        if !text.is_empty() {
            self.out += &self.stamp.chunk(json!({"content": text}), None);
        }
    }

    fn tag(&mut self, open: bool) {
        if self.inside != open {
            self.content(if open { "\n<think>\n" } else { "\n</think>\n" });
            self.inside = open;
        }
    }

    fn think(&mut self, delta: &str, first: bool) {
        if self.thinking == Thinking::Off {
            return;
        }
        let mut fresh = match first && self.thought.at > 0 {
            true => self.thought.piece("\n\n"),
            false => String::new(),
        };
        fresh += &self.thought.piece(delta);
        if fresh.is_empty() {
            return;
        }
        match self.thinking {
            Thinking::Tags => {
                self.tag(true);
                self.content(&fresh);
            }
            _ => self.out += &self.stamp.chunk(json!({"reasoning_content": fresh}), None),
        }
    }

    fn say(&mut self, delta: &str) {
        self.tag(false);
        let fresh = self.answer.piece(delta);
        self.content(&fresh);
    }
}

impl Frames for Chunks {
    fn note(&mut self, news: &News) {
        match news {
            News::Restart { .. } => {
                self.answer.again();
                self.thought.again();
            }
            News::Text { delta, .. } => self.say(delta),
            News::Thinking { delta, first, .. } => self.think(delta, *first),
            News::ThinkingEnd { .. } => self.tag(false),
            News::ToolStart { .. } | News::ToolChange { .. } | News::Event { .. } => {}
        }
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    fn last(&mut self, reply: Result<ChatReply, Fault>) -> String {
        match reply.and_then(check) {
            Ok(reply) => {
                // The recorded reply counts: what the live view did not show of it follows.
                self.answer.again();
                self.say(&reply.text);
                self.out += &self.stamp.chunk(json!({}), Some(finish_reason(&reply.stop)));
                if self.include_usage {
                    let mut last = self.stamp.object("chat.completion.chunk", json!([]));
                    last["usage"] = usage(&reply.usage);
                    self.out += &frame(&last);
                }
            }
            Err(fault) => {
                self.tag(false);
                self.out += &frame(&fault.json("", Shape::OpenAi));
            }
        }
        self.out += "data: [DONE]\n\n";
        self.take()
    }

    fn comment(&self) -> &'static str {
        ": keep-alive\n\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_says_again_is_sent_once() {
        let mut sent = Sent::default();
        assert_eq!(sent.piece("Grüße an "), "Grüße an ");
        assert_eq!(sent.piece("alle"), "alle");
        sent.again();
        assert_eq!(sent.piece("Grüße"), "");
        assert_eq!(sent.piece(" an alle da"), " da");
        sent.again();
        assert_eq!(sent.piece("Grüße an alle da"), "");
    }

    #[test]
    fn another_answer_than_the_one_begun_follows_whole() {
        let mut sent = Sent::default();
        sent.piece("Half an ans");
        sent.again();
        assert_eq!(sent.piece("Half"), "");
        assert_eq!(sent.piece(" of it: ä"), "\n\nHalf of it: ä");
        assert_eq!(sent.piece("b"), "b");
        sent.again();
        assert_eq!(sent.piece("Half of it: äb"), "");
        let mut sent = Sent::default();
        sent.piece("xä");
        sent.again();
        assert_eq!(sent.piece("xö"), "\n\nxö", "cut between two characters");
    }

    #[test]
    fn a_failed_reply_keeps_what_was_said() {
        let reply = |text: &str, stop: &str, error: Option<(Code, String)>| ChatReply {
            text: text.into(),
            stop: stop.into(),
            error,
            ..ChatReply::default()
        };
        assert!(check(reply("fine", "stop", None)).is_ok());
        let why = (Code::UpstreamFailed, "The model provider failed.".to_owned());
        let fault = check(reply("half\n\nThe model provider failed.", "error", Some(why.clone()))).unwrap_err();
        let partial = |f: &Fault| f.json("", Shape::OpenAi)["error"]["partial"].as_str().map(str::to_owned);
        assert_eq!((fault.status, partial(&fault).as_deref()), (502, Some("half")));
        assert_eq!(partial(&check(reply("The model provider failed.", "error", Some(why))).unwrap_err()), None);
        let fault = check(reply("half\n\n(stopped after 5 min)", "too long", None)).unwrap_err();
        assert_eq!((fault.status, partial(&fault).as_deref()), (504, Some("half")));
        assert!(fault.message.contains("(stopped after 5 min)"), "{}", fault.message);
        assert_eq!(partial(&check(reply("(stopped after 5 min)", "too long", None)).unwrap_err()), None);
        let silent = ChatReply { stop: "stop".into(), ..ChatReply::default() };
        assert!(check(silent).is_ok(), "the agent chose to say nothing");
        let unheard = (Code::Conflict, "The session was reset.".to_owned());
        assert_eq!(check(reply("", "reset", Some(unheard))).unwrap_err().status, 409, "/new");
    }
}
