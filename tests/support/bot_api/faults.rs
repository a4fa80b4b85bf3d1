//! Troubles a test orders for calls to come.

use std::time::Duration;

use serde_json::{json, Value};

use super::args::Refusal;

/// What happens to a call that is struck.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// Refused with this status, description and `parameters` (null: none). The call takes no effect.
    Refuse(u16, String, Value),
    /// 429; until the time is over every call to the chat is a violation and refused.
    Flood(u64),
    /// The connection ends when the head of the request is read; nothing is applied.
    DropBefore,
    /// The call takes effect, then the connection ends without an answer.
    DropAfter,
    /// The call takes effect, half of the answer's body arrives, then the connection ends.
    Truncated,
    /// The call takes effect, the body comes one byte at a time.
    Trickle(Duration),
    /// Not JSON: status and body. The call takes no effect.
    Garbage(u16, String),
    /// The call takes effect, the answer is not JSON.
    GarbageAfter(u16, String),
    /// Nothing happens until the test releases the rule; then the call goes on as if nothing had been.
    Hold,
    /// As `Hold`, but the call takes effect at once and only its answer waits.
    HoldAnswer,
    /// Answered, after this time.
    Slow(Duration),
}

/// Which calls are struck, how often, with what.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: u64,
    method: String,
    chat: Option<i64>,
    bot: Option<i64>,
    skip: usize,
    times: usize,
    pub trouble: Trouble,
}

impl Rule {
    /// Strikes the next call of `method`; `*`: of any but `getUpdates` and downloads; `file`: the next download.
    pub fn on(method: &str, trouble: Trouble) -> Rule {
        Rule { id: 0, method: method.to_owned(), chat: None, bot: None, skip: 0, times: 1, trouble }
    }

    pub fn chat(self, chat: i64) -> Rule {
        Rule { chat: Some(chat), ..self }
    }

    pub fn bot(self, bot: i64) -> Rule {
        Rule { bot: Some(bot), ..self }
    }

    pub fn times(self, times: usize) -> Rule {
        Rule { times, ..self }
    }

    pub fn always(self) -> Rule {
        self.times(usize::MAX)
    }

    /// Lets so many calls through first.
    pub fn skip(self, skip: usize) -> Rule {
        Rule { skip, ..self }
    }

    /// Whether the rule can be judged by the path alone.
    pub fn by_path(&self, method: &str, bot: Option<i64>) -> bool {
        self.chat.is_none() && self.fits(method, bot, None)
    }

    /// Counts the call, and says whether it is struck.
    pub fn strikes(&mut self, method: &str, bot: Option<i64>, chat: Option<i64>) -> bool {
        if self.times == 0 || !self.fits(method, bot, chat) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }

    fn fits(&self, method: &str, bot: Option<i64>, chat: Option<i64>) -> bool {
        let named = self.method == method || self.method == "*" && method != "getUpdates" && method != "file";
        named && (self.bot.is_none() || self.bot == bot) && (self.chat.is_none() || self.chat == chat)
    }

    /// More calls can be struck.
    pub fn live(&self) -> bool {
        self.times > 0
    }
}

impl Trouble {
    /// 400 with this description behind `Bad Request: `.
    pub fn bad(description: &str) -> Trouble {
        Trouble::Refuse(400, Refusal::bad(description).description, Value::Null)
    }

    pub fn forbidden(description: &str) -> Trouble {
        Trouble::Refuse(403, format!("Forbidden: {description}"), Value::Null)
    }

    pub fn unauthorized() -> Trouble {
        Trouble::Refuse(401, "Unauthorized".into(), Value::Null)
    }

    /// A failure of the server itself, as JSON.
    pub fn server(status: u16) -> Trouble {
        let text = match status {
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "Internal Server Error",
        };
        Trouble::Refuse(status, text.into(), Value::Null)
    }

    pub fn migrated(to: i64) -> Trouble {
        let text = "Bad Request: group chat was upgraded to a supergroup chat";
        Trouble::Refuse(400, text.into(), json!({"migrate_to_chat_id": to}))
    }
}
