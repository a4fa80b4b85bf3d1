//! What pages, API clients and the command line ask, and what they are answered.

use std::sync::Arc;

use super::*;
use crate::rules::Rules;

// ---------------------------------------------------------------- requests of HTTP, WebSocket and CLI

/// A question to the mind; the caller waits for one [`Answer`] with a deadline of its own.
#[derive(Clone, Debug)]
pub enum Request {
    /// A message. Answer: `Accepted`, after the sync that covers it, or `Error`.
    Chat(Box<ChatRequest>),
    /// A webhook's message: of its own priority, and it does not count as the session's last one. Answer: as `Chat`.
    Webhook(Box<ChatRequest>),
    /// The reply to an accepted message. Answer: `Reply`, when its fate is recorded and synced.
    Wait { row: Row },
    /// Answer: `Ok`, also when nothing runs.
    Abort { session: String },
    /// Its sender left: the message is taken out of the queue, or its turn is aborted if it answers nobody else.
    /// Answer: `Ok`, whatever became of it.
    Withdraw { row: Row },
    /// A system event for the main conversation of the caller's agent, or of the default one; `now`: the agent is woken
    /// for it. Answer: `Session`, with that conversation's key.
    Wake { by: Option<ProcId>, text: String, now: bool },
    /// `/new`. Answer: `Reset`.
    Reset { session: String, all: bool },
    /// Stops the process and forgets the session's row. Answer: `Ok`.
    Delete { session: String },
    /// `provider/id`, or empty for the configured one. Answer: `Bool` (applies at once) or `Error(not_found)`.
    SetModel { session: String, model: String },
    /// Answer: as `SetModel`.
    SetThinking { session: String, level: String },
    /// `/compact`. Answer: `Ok` when pi has done it, or `Error`.
    Compact { session: String, instructions: Option<String> },
    /// The caller has checked that there is such a role. Answer: `Ok`, or `Error(busy)` after 5 s.
    SetRole { session: String, role: String },
    /// Its directory is gone: its sessions go to the default one. Answer: `Ok`.
    RoleDeleted { role: String },
    /// A title for people; empty = none. Answer: `Ok`.
    Rename { session: String, title: String },
    /// Stops the process, after the running turn; the next message starts a fresh one. Answer: `Ok`.
    Renew { session: String },
    /// pi reads its extensions, skills and prompts anew: told so if it has a command for that, else as `Renew`.
    /// Answer: `Ok`.
    ReloadPi { session: String },
    /// What pi counts of the conversation. Answer: `Stats`, or `Error(no_active_session)` without a live process.
    Stats { session: String },
    /// The session that a pi process is bound to. Answer: `Session`.
    SessionOf { proc: ProcId },
    /// Where a session's files are. Answer: `Place`.
    Place(Whose),
    /// A message for a session whose channel is a mailbox. Answer: `Posted`, when it is on disk, or `Error`.
    /// To a channel that is called: `Delivered`, when the platform took it, or after 20 s.
    Post(Box<PostRequest>),
    /// Something is done to a message. Answer: `Delivered`, or `Error`.
    Act(Box<ActRequest>),
    /// A choice with buttons for the people of a session; the answer is held until somebody chose. Answer: `Choice`, or
    /// `Error`.
    Choose(Box<ChoiceRequest>),
    /// Another agent does a task; the answer is held until it has, or its time is over. Answer: `Delegated`, or `Error`.
    Delegate(Box<DelegateRequest>),
    /// Models of any live pi, else the last known list. Answer: `Models`, or `Error(no_active_session)`.
    Models,
    /// Slash commands of the gateway and of pi. Answer: `Commands`.
    Commands,
    /// The session of that key. Answer: `Sessions`, with one or none.
    Session { key: String },
    /// `limit` sessions behind one, those with the latest activity first. Answer: `Sessions`.
    Sessions { after: Option<SessionPlace>, limit: usize },
    /// Answer: `Snapshot`.
    Snapshot,
    /// The first answer to a dialog wins. Answer: `Bool`.
    Ui { id: String, answer: UiAnswer },
    /// Dialogs that are open now. Answer: `Dialogs`.
    Dialogs { session: Option<String> },
    /// New configuration, already checked. Answer: `Ok`.
    Reload(Arc<Rules>),
    /// How far an account's updates were taken. Answer: `Cursor`.
    Cursor { channel: String, account: String },
    /// Scheduled jobs. Answer: `Cron`.
    Cron(Box<CronRequest>),
    /// Is the mind awake? Answer: `Ok`.
    Ping,
}

impl Request {
    /// The message, if it brings one.
    pub fn message(&self) -> Option<&ChatRequest> {
        match self {
            Request::Chat(m) | Request::Webhook(m) => Some(m),
            _ => None,
        }
    }
}

/// `chat.send`, `/api/chat`.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    pub session: String,
    pub source: Source,
    pub text: String,
    pub images: Vec<Image>,
    /// Full unique key incl. scope, e.g. `web:<session>:<idempotency key>` (core.md 22.2).
    pub dkey: Option<String>,
    /// Hash of the request's body, to tell a repeat from a conflict.
    pub body_hash: String,
    /// It shares its turn with no other message.
    pub solo: Option<Solo>,
    /// `session` is only the beginning of the key: the row's external id follows. Such a session lives for this one
    /// message (gateway-api.md R64; see [`crate::routing::fleeting`]).
    pub fleeting: bool,
    /// It may not begin a conversation: there is a session of that key, or it is refused (`not_found`).
    pub known_only: bool,
}

/// A message that is one request with one answer: it is neither handed into a running turn nor merged with others,
/// and others are not handed into its turn (gateway-api.md R19).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Solo {
    /// `provider/id`, for this turn only (R63); `None`: the session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Answer to a [`Request`] or a [`Batch`].
#[derive(Clone, Debug)]
pub enum Answer {
    Ok,
    Bool(bool),
    /// As the account's reader gave it; `None`: nothing was ever taken.
    Cursor(Option<String>),
    /// pi's own JSON: `get_session_stats` and `get_state`.
    Stats {
        stats: Arc<str>,
        state: Arc<str>,
    },
    /// How many system events were forgotten.
    Reset {
        events: usize,
    },
    /// `None`: there is no such process, or it waits for a session.
    Session(Option<String>),
    /// `None`: there is no such session.
    Place(Option<Box<Place>>),
    /// External id of the segment.
    Posted {
        id: String,
        replayed: bool,
    },
    Delivered(Box<Delivered>),
    Choice(Choice),
    Delegated(Box<Delegated>),
    /// pi's own JSON: an array.
    Models(Arc<str>),
    Commands(Vec<CommandInfo>),
    /// Stored. `run` is the external id of the inbox row.
    Accepted {
        row: Row,
        run: String,
        replayed: bool,
    },
    Reply(Box<ChatReply>),
    Sessions(Vec<SessionInfo>),
    Snapshot(Box<Snapshot>),
    Dialogs(Vec<Dialog>),
    Cron(Box<CronAnswer>),
    Error {
        code: Code,
        message: String,
    },
}

/// A slash command.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandInfo {
    /// Without the slash.
    pub name: String,
    pub args: String,
    pub description: String,
    /// Of pi: a template, a skill, an extension's command.
    pub pi: bool,
}

/// The recorded fate of an accepted message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatReply {
    pub session: String,
    pub run: String,
    /// External id of the reply's segment; empty if there is none (silent, dropped).
    pub id: String,
    pub text: String,
    /// Set if the turn failed, or the message was dropped, or ended (stop, reset, deletion) before a word was said to
    /// it; `text`, if there is one, then says it to the user.
    pub error: Option<(Code, String)>,
    pub took_ms: u64,
    /// How its turn ended: pi's word (`stop`, `length`, …), or why it was aborted (`user`, `interrupt`, `inactive`,
    /// `too long`). Empty without a turn.
    pub stop: String,
    /// Of its whole turn.
    pub usage: Usage,
}

/// Tokens that a turn has used, all calls of the model together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Usage {
    /// Read anew: without those from the provider's cache.
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    /// As pi reckons it, in the provider's currency.
    pub cost: f64,
}

impl Usage {
    pub fn add(&mut self, more: &Usage) {
        self.input += more.input;
        self.output += more.output;
        self.cache_read += more.cache_read;
        self.cache_write += more.cache_write;
        self.cost += more.cost;
    }
    /// Everything the model read.
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }
}

/// Error codes of the API (gateway-api.md R52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidRequest,
    NotFound,
    Conflict,
    IdempotencyConflict,
    QueueFull,
    PoolExhausted,
    Busy,
    NoActiveSession,
    Unsupported,
    UpstreamFailed,
    Timeout,
    ShuttingDown,
    StoreFailing,
    Internal,
}

impl Code {
    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid_request",
            Code::NotFound => "not_found",
            Code::Conflict => "conflict",
            Code::IdempotencyConflict => "idempotency_conflict",
            Code::QueueFull => "queue_full",
            Code::PoolExhausted => "pool_exhausted",
            Code::Busy => "busy",
            Code::NoActiveSession => "no_active_session",
            Code::Unsupported => "unsupported",
            Code::UpstreamFailed => "upstream_failed",
            Code::Timeout => "timeout",
            Code::ShuttingDown => "shutting_down",
            Code::StoreFailing => "store_failing",
            Code::Internal => "internal",
        }
    }
}

/// A place in the list of sessions: the minute (of the Unix epoch) of the last activity, latest first, then the key.
pub type SessionPlace = (i64, String);

/// A session as lists show it (gateway-api.md 1.4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionInfo {
    pub key: String,
    pub agent: String,
    pub role: Option<String>,
    pub streaming: bool,
    pub last_activity: Wall,
    pub message_count: i64,
    pub proc: Option<ProcId>,
    pub last: Option<Source>,
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub waiting: usize,
    pub title: Option<String>,
    pub compacting: bool,
}

/// Figures of the mind at one moment, for health and metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub procs: Vec<ProcInfo>,
    pub pool_max: usize,
    pub pool_min: usize,
    pub waiting_for_pool: usize,
    /// Waiting messages per session.
    pub queues: Vec<(String, usize, bool)>,
    pub sessions: usize,
    pub outbox_ready: i64,
    /// The same by channel and account.
    pub owed: Vec<(String, String, i64)>,
    pub outbox_oldest_ms: i64,
    pub counters: Counters,
    pub problems: Vec<String>,
    pub clock_confirmed: bool,
    pub draining: bool,
    pub delegation: DelegateFigures,
}

#[derive(Clone, Debug)]
pub struct ProcInfo {
    pub id: ProcId,
    pub pid: u32,
    pub session: Option<String>,
    pub state: &'static str,
    pub since: Mono,
    /// When a turn used it last.
    pub used: Mono,
    /// The process was seen to be a new pi (`agent_settled`).
    pub new_pi: bool,
}

/// Counted since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    pub spawns: u64,
    pub kills: u64,
    pub crashes: u64,
    pub rpc_timeouts: u64,
    pub queue_drops: u64,
    pub rejected: u64,
    /// Turns that had to wait for a place in the pool.
    pub pool_waits: u64,
    pub accepted: u64,
    /// The same by channel; channels are configured, so there are few.
    pub channels: std::collections::BTreeMap<String, u64>,
    pub answered: u64,
    pub failed: u64,
    pub duplicates: u64,
    pub recovered: u64,
    pub merged: u64,
    pub errors: u64,
}

/// What people are to choose from (gateway-api.md 1.7, `/api/keyboard`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChoiceRequest {
    pub session: String,
    /// Markdown.
    pub title: String,
    /// Texts of the buttons.
    pub options: Vec<String>,
    /// Buttons in a row.
    pub columns: usize,
    /// Milliseconds.
    pub timeout: u64,
}

/// How a [`ChoiceRequest`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// That option; the platform's id of the message with the buttons.
    Made {
        option: usize,
        message: Option<String>,
    },
    TimedOut,
    Cancelled,
}

// ---------------------------------------------------------------- dialogs

/// A dialog an extension of pi opened (pi-rpc.md 11).
#[derive(Clone, Debug, PartialEq)]
pub struct Dialog {
    pub id: String,
    pub session: String,
    /// `select`, `confirm`, `input` or `editor`.
    pub method: String,
    pub title: String,
    pub message: String,
    pub options: Vec<String>,
    pub placeholder: String,
    pub prefill: String,
    /// Milliseconds left.
    pub ttl: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum UiAnswer {
    Value(String),
    /// What was chosen of a `multiselect`; may be nothing.
    Values(Vec<String>),
    Confirmed(bool),
    Cancelled,
}

impl UiAnswer {
    /// As a dialog of that method takes it: a list if several may be chosen, else one value.
    pub fn fit(self, method: &str) -> UiAnswer {
        match (self, method == "multiselect") {
            (UiAnswer::Value(one), true) => UiAnswer::Values(vec![one]),
            (UiAnswer::Values(list), false) => match list.into_iter().next() {
                Some(first) => UiAnswer::Value(first),
                None => UiAnswer::Cancelled,
            },
            (other, _) => other,
        }
    }
}
