//! The vocabulary: what the threads say to one another. Events go up to `core`, effects come down.
//!
//! Nothing here waits or decides. A platform's own words never appear in this file.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rules::Rules;

/// Wall clock, unix milliseconds.
pub type Wall = i64;
/// Monotonic clock, milliseconds since boot (`CLOCK_BOOTTIME`).
pub type Mono = u64;

/// The time an event happened; `step` knows no other clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub wall: Wall,
    pub mono: Mono,
}

/// Number of somebody who waits for an [`Answer`]; given out by the thread that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// Number of a pi process: the counter of its process mark, never given twice in a store's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcId(pub u64);

/// Number of a command written to a pi process; its response carries it.
pub type CmdId = u64;
/// Number of a job given to a session's hands.
pub type JobId = u64;
/// Row id of the inbox, turn, segment or outbox table.
pub type Row = i64;

// ---------------------------------------------------------------- messages

/// Kind of conversation a message comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatType {
    #[default]
    Dm,
    Group,
    Channel,
    Thread,
}

/// Where a message comes from (core.md 1.1). Ids are the platform's, as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    pub channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub chat_type: ChatType,
    pub chat: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub sender: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guild: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub member_roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<(String, String)>,
    /// Forced agent (cron, delegation, `agent/<id>` of the API).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Where an outgoing message goes. The lane is one per target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub channel: String,
    pub account: String,
    pub chat: String,
    pub thread: String,
}

impl From<&Source> for Target {
    fn from(s: &Source) -> Target {
        Target {
            channel: s.channel.clone(),
            account: s.account.clone().unwrap_or_default(),
            chat: s.chat.clone(),
            thread: s.thread.clone().unwrap_or_default(),
        }
    }
}

/// A picture on disk; base64 is made while it is written into pi's pipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub path: PathBuf,
    pub mime: String,
}

/// One update of a platform, parsed by its reader.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Unique key of the platform's delivery (core.md 22.2).
    pub dkey: String,
    pub dkey2: Option<String>,
    pub source: Source,
    pub text: String,
    pub images: Vec<Image>,
}

/// What a reader hands over in one piece; answered with [`Answer::Ok`] when it is on disk.
#[derive(Clone, Debug)]
pub struct Batch {
    pub channel: String,
    pub account: String,
    pub updates: Vec<Inbound>,
    /// Stored in the same commit.
    pub cursor: Option<String>,
}

// ---------------------------------------------------------------- outgoing calls

/// One platform call, performed by a caller. Issue by issue this enum grows with the channels.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Send { target: Target, text: String, reply_to: Option<String>, nonce: String },
}

/// What became of an [`Op`] (core.md 22.3).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Sent {
        id: String,
    },
    /// The scope (chat or whole account) is frozen for that many milliseconds.
    RateLimited {
        account_wide: bool,
        ms: u64,
    },
    /// Certainly not taken: try again.
    Retry {
        why: String,
    },
    /// Nobody knows whether it was taken.
    Ambiguous {
        why: String,
    },
    Reformat,
    Unauthorized {
        why: String,
    },
    Refused {
        why: String,
    },
}

// ---------------------------------------------------------------- requests of HTTP, WebSocket and CLI

/// A question to the mind; the caller waits for one [`Answer`] with a deadline of its own.
#[derive(Clone, Debug)]
pub enum Request {
    /// A message. Answer: `Accepted`, after the sync that covers it, or `Error`.
    Chat(Box<ChatRequest>),
    /// The reply to an accepted message. Answer: `Reply`, when its fate is recorded and synced.
    Wait {
        row: Row,
    },
    /// Answer: `Ok`, also when nothing runs.
    Abort {
        session: String,
    },
    /// `/new`. Answer: `Ok`.
    Reset {
        session: String,
        all: bool,
    },
    /// Stops the process and forgets the session's row. Answer: `Ok`.
    Delete {
        session: String,
    },
    /// `provider/id`, or empty for the configured one. Answer: `Ok` or `Error(not_found)`.
    SetModel {
        session: String,
        model: String,
    },
    SetThinking {
        session: String,
        level: String,
    },
    /// Answer: `Sessions`.
    Sessions {
        key: Option<String>,
    },
    /// Answer: `Snapshot`.
    Snapshot,
    /// The first answer to a dialog wins. Answer: `Bool`.
    Ui {
        id: String,
        answer: UiAnswer,
    },
    /// Dialogs that are open now. Answer: `Dialogs`.
    Dialogs {
        session: Option<String>,
    },
    /// New configuration, already checked. Answer: `Ok`.
    Reload(Arc<Rules>),
    /// Is the mind awake? Answer: `Ok`.
    Ping,
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
}

/// Answer to a [`Request`] or a [`Batch`].
#[derive(Clone, Debug)]
pub enum Answer {
    Ok,
    Bool(bool),
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
    Error {
        code: Code,
        message: String,
    },
}

/// The recorded fate of an accepted message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatReply {
    pub session: String,
    pub run: String,
    /// External id of the reply's segment; empty if there is none (silent, dropped).
    pub id: String,
    pub text: String,
    /// Set if the turn failed or the message was dropped; `text` then says it to the user.
    pub error: Option<(Code, String)>,
    pub took_ms: u64,
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
    pub outbox_oldest_ms: i64,
    pub counters: Counters,
    pub problems: Vec<String>,
    pub clock_confirmed: bool,
    pub draining: bool,
}

#[derive(Clone, Debug)]
pub struct ProcInfo {
    pub id: ProcId,
    pub pid: u32,
    pub session: Option<String>,
    pub state: &'static str,
    pub since: Mono,
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
    pub accepted: u64,
    pub answered: u64,
    pub failed: u64,
    pub duplicates: u64,
    pub recovered: u64,
    pub merged: u64,
    pub errors: u64,
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
    Confirmed(bool),
    Cancelled,
}

// ---------------------------------------------------------------- pi

/// What the mind writes to a pi process. Threads turn it into a JSON line.
#[derive(Clone, Debug, PartialEq)]
pub enum PiCmd {
    GetState,
    /// `inject`: `streamingBehavior` (new pi only).
    Prompt {
        message: String,
        images: Vec<Image>,
        inject: Option<Inject>,
    },
    Steer {
        message: String,
        images: Vec<Image>,
    },
    FollowUp {
        message: String,
        images: Vec<Image>,
    },
    Abort,
    ClearQueue,
    SwitchSession {
        path: PathBuf,
    },
    SetModel {
        provider: String,
        model: String,
    },
    SetThinking {
        level: String,
    },
    Compact {
        instructions: Option<String>,
    },
    GetCommands,
    GetModels,
    GetStats,
    /// Has no response.
    UiResponse {
        id: String,
        answer: UiAnswer,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    Steer,
    FollowUp,
}

/// What the mind needs to know of pi's output; the rest stays in the live view.
#[derive(Clone, Debug, PartialEq)]
pub enum PiEvent {
    /// Answer to the command with that number.
    Response {
        id: CmdId,
        result: Result<PiData, String>,
    },
    /// A `success:false` without a usable id (parse error, unknown command of old pi).
    Refused {
        command: String,
        error: String,
    },
    AgentStart,
    /// A user message entered the model's context. `head`: its first 512 bytes or fewer (cut at a character).
    UserStart {
        head: String,
    },
    /// An assistant message is complete (`message_end`).
    Assistant(AssistantMessage),
    ToolStart {
        name: String,
    },
    ToolEnd {
        name: String,
        error: bool,
    },
    /// `will_retry` is sent by new pi only.
    AgentEnd {
        will_retry: bool,
    },
    RetryStart {
        attempt: u32,
        max: u32,
        delay_ms: u64,
        error: String,
    },
    RetryEnd {
        success: bool,
        error: Option<String>,
    },
    CompactionStart {
        reason: String,
    },
    CompactionEnd {
        reason: String,
        ok: bool,
        aborted: bool,
        will_retry: bool,
        error: Option<String>,
    },
    /// Messages waiting inside pi.
    Queue {
        waiting: usize,
    },
    Settled {
        aborted: bool,
    },
    Ui(PiDialog),
    /// `notify` of an extension.
    Notice {
        level: String,
        message: String,
    },
    ExtensionError {
        message: String,
    },
    /// Something else came out; at most one of these per 10 s and process.
    Alive,
    /// A line over the limit, or output that cannot be pi's: the process is unusable.
    Broken {
        why: String,
    },
    /// End of stdout.
    Eof,
}

/// A complete assistant message. `text`: its text parts, joined by nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssistantMessage {
    pub text: String,
    /// `stop`, `length`, `toolUse`, `error`, `aborted`.
    pub stop: String,
    pub error: Option<String>,
    pub model: String,
    pub provider: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PiData {
    /// No data, or data nobody needs.
    None,
    State(PiState),
    /// `data.disposition` of a prompt on newer versions: `started`, `queued`, `handled`.
    Disposition(String),
    /// `cancelled` of `switch_session` and `new_session`.
    Cancelled(bool),
    /// Slash commands: name, description.
    Commands(Vec<(String, String)>),
    /// `provider/id` of each model with credentials.
    Models(Vec<String>),
    Stats(PiStats),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PiState {
    pub streaming: bool,
    pub compacting: bool,
    pub pending: usize,
    pub messages: usize,
    pub session_file: Option<PathBuf>,
    /// `provider/id`; `None` for pi's placeholder `unknown/unknown`.
    pub model: Option<String>,
    pub thinking: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PiStats {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub cost: f64,
    pub context_tokens: Option<u64>,
    pub context_window: Option<u64>,
    pub user_messages: u64,
    pub tool_calls: u64,
}

/// `extension_ui_request` of the four dialog methods.
#[derive(Clone, Debug, PartialEq)]
pub struct PiDialog {
    pub id: String,
    pub method: String,
    pub title: String,
    pub message: String,
    pub options: Vec<String>,
    pub placeholder: String,
    pub prefill: String,
    /// Milliseconds, as the extension gave it.
    pub timeout: Option<u64>,
}

/// What a pi process must be started with (core.md 7.1); the hands make arguments of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub agent: String,
    pub role: String,
    /// Only of a channel that has tools of its own, else empty.
    pub channel: String,
    pub cwd: PathBuf,
    /// `provider/id`, or a pattern without `/`.
    pub model: Option<String>,
    pub thinking: String,
    /// Rises when a reload of the configuration changed what processes are started with.
    pub generation: u32,
}

impl Profile {
    /// The part that cannot change in a live process is equal.
    pub fn same_hard(&self, other: &Profile) -> bool {
        self.agent == other.agent
            && self.role == other.role
            && self.channel == other.channel
            && self.cwd == other.cwd
            && self.generation == other.generation
    }
    pub fn same_soft(&self, other: &Profile) -> bool {
        self.model == other.model && self.thinking == other.thinking
    }
}

/// Why a process ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExitInfo {
    /// Exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Last lines of its stderr (at most 8 KiB).
    pub stderr: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sig {
    Term,
    Kill,
}

// ---------------------------------------------------------------- the session's hands

/// Work that waits, done in order by the session's own thread.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// The checks before `--session` and `switch_session` (core.md 7.2). Result: `FileReady`.
    PrepareFile { path: PathBuf, cwd: PathBuf, fresh: PathBuf },
    /// Read pi's session file (core.md 22.4). Result: `FileRead`.
    ReadFile { path: PathBuf, marker: String, from: u64, position_only: bool },
    /// After a power cut the store may have forgotten a turn whose messages pi has: the first user entry that
    /// names one of these message ids (`msgId:<id>` in a context line). Result: `FileRead`.
    FindMessages { path: PathBuf, ids: Vec<String> },
    /// Append to the session's transcript. No result is needed; it still reports `Done`.
    Transcript { session: String, lines: Vec<String> },
}

#[derive(Clone, Debug, PartialEq)]
pub enum JobDone {
    FileReady {
        path: PathBuf,
        /// Its length now, bytes (0: does not exist).
        len: u64,
        /// Something the user should know (a damaged file was put aside).
        notice: Option<String>,
    },
    FileRead(Found),
    Done,
    Failed {
        why: String,
    },
}

/// What stands in pi's session file after the turn's marker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The user entry with the marker is there.
    pub user: bool,
    /// Head of that entry.
    pub head: String,
    /// Which of the asked message ids it names (`FindMessages` only).
    pub ids: Vec<String>,
    pub entries: Vec<FoundEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FoundEntry {
    /// A later user entry; the head as in [`PiEvent::UserStart`].
    User {
        head: String,
    },
    Assistant(AssistantMessage),
    ToolResult,
}

// ---------------------------------------------------------------- to the viewers

/// Something the pages and API clients are told at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Typing {
        session: String,
        run: String,
        on: bool,
    },
    /// One reply segment: authoritative text. `runs`: external ids of all messages it answers.
    Reply {
        session: String,
        run: String,
        runs: Vec<String>,
        id: String,
        text: String,
        last: bool,
    },
    Error {
        session: String,
        run: String,
        code: Code,
        message: String,
    },
    /// An accepted user message, so that other pages of the session show it.
    Message {
        session: String,
        run: String,
        text: String,
        at: Wall,
    },
    Reset {
        session: String,
    },
    Deleted {
        session: String,
    },
    Updated(Box<SessionInfo>),
    Notice {
        session: String,
        level: String,
        message: String,
    },
    Dialog(Dialog),
    DialogDone {
        session: String,
        id: String,
    },
    Reloaded,
}

// ---------------------------------------------------------------- events and effects

/// What comes into the mind.
#[derive(Clone, Debug)]
pub enum Event {
    Request {
        id: ReqId,
        req: Box<Request>,
    },
    /// A waiting caller gave up; its message stays.
    Gone {
        id: ReqId,
    },
    Inbound {
        id: ReqId,
        batch: Box<Batch>,
    },
    Outcome {
        row: Row,
        outcome: Box<Outcome>,
    },
    Job {
        id: JobId,
        done: Box<JobDone>,
    },
    Spawned {
        proc: ProcId,
        pid: u32,
    },
    SpawnFailed {
        proc: ProcId,
        why: Box<str>,
    },
    Pi {
        proc: ProcId,
        event: Box<PiEvent>,
    },
    /// Reaped by main, and what it left was killed.
    Exit {
        proc: ProcId,
        info: Box<ExitInfo>,
    },
    /// Leftovers of an earlier life's process are gone.
    Swept {
        proc: ProcId,
    },
    /// The wall clock was set, or became trustworthy.
    Clock {
        confirmed: bool,
    },
    /// The sync thread or the disk: `None` = well again.
    Trouble {
        what: Option<Box<str>>,
    },
    /// Begin to stop: nothing new; running turns may finish until the deadline.
    Drain {
        deadline: Mono,
    },
    /// A due time passed (the loop's own).
    Due,
    /// The last event: commit, close the store.
    End,
}

/// What comes out of the mind. Effects leave after the commit of their batch, those marked
/// durable after the sync that covers it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Answer {
        id: ReqId,
        answer: AnswerBox,
        durable: bool,
    },
    Call {
        row: Row,
        op: Box<Op>,
        durable: bool,
    },
    Job {
        id: JobId,
        session: Arc<str>,
        job: Box<Job>,
    },
    Spawn {
        proc: ProcId,
        profile: Box<Profile>,
        session_file: PathBuf,
    },
    Signal {
        proc: ProcId,
        sig: Sig,
    },
    Write {
        proc: ProcId,
        id: CmdId,
        cmd: Box<PiCmd>,
    },
    /// From now on this process's live text belongs to that run; `None`: to nobody.
    Show {
        proc: ProcId,
        live: Option<Box<LiveRef>>,
    },
    /// Kill processes that bear the mark and started after that moment (boot clock, ms).
    Sweep {
        proc: ProcId,
        pid: u32,
        since: Mono,
    },
    Frame(Box<Frame>),
    /// For the log and the operator.
    Notice(Box<str>),
    /// Every turn ended or the drain's deadline passed: the next shutdown step may begin.
    Drained,
}

/// Which run a live view shows.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRef {
    pub session: Arc<str>,
    /// External id of the message that opened the segment.
    pub run: String,
    /// A resumed turn goes on under the same run: what was shown is replaced.
    pub fresh: bool,
}

/// A boxed answer that compares by nothing but its shape in tests.
#[derive(Clone, Debug)]
pub struct AnswerBox(pub Box<Answer>);

impl PartialEq for AnswerBox {
    fn eq(&self, other: &AnswerBox) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

impl Effect {
    /// Must not leave before the sync that covers its commit.
    pub fn durable(&self) -> bool {
        matches!(self, Effect::Answer { durable: true, .. } | Effect::Call { durable: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stay_small_because_bounded_channels_allocate_up_front() {
        assert!(std::mem::size_of::<Event>() <= 64, "{}", std::mem::size_of::<Event>());
    }
}
