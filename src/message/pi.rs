//! What is written to pi, what of its output matters, and the work of a session's hands.

use std::path::PathBuf;

use super::*;

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
    pub calls: Vec<ToolCall>,
    pub usage: Usage,
}

/// A tool the model wants run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// Arguments as JSON text, at most 2 KiB.
    pub args: String,
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
    Models(Box<PiModels>),
    Stats(Box<PiStats>),
}

/// Models with credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PiModels {
    /// `provider/id` of each.
    pub names: Vec<String>,
    /// pi's own JSON: an array.
    pub raw: String,
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
    /// pi's own JSON.
    pub raw: String,
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
    /// pi's own JSON.
    pub raw: String,
}

/// `extension_ui_request` of the four dialog methods.
#[derive(Clone, Debug, Default, PartialEq)]
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

/// What a chat adds to what its agent is started with (config.md 6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Text, or the path of one, behind the agent's own prompt.
    pub system_prompt: Option<String>,
    /// Paths, before the agent's own.
    pub skills: Vec<String>,
}

/// What a pi process must be started with (core.md 7.1); the hands make arguments of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    pub additions: Additions,
    /// How many delegations led to the conversation; 0: people write there.
    pub depth: usize,
}

impl Profile {
    /// The part that cannot change in a live process is equal.
    pub fn same_hard(&self, other: &Profile) -> bool {
        self.agent == other.agent
            && self.role == other.role
            && self.channel == other.channel
            && self.cwd == other.cwd
            && self.generation == other.generation
            && self.additions == other.additions
            && self.depth == other.depth
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
    /// A text in the form of that platform, cut into messages, with the files it names. Result: `Rendered`. `cwd`:
    /// the workspace of the conversation; `None`: it names no files.
    Render { target: Target, content: Box<Content>, cwd: Option<PathBuf> },
    /// The files of a message's parts, from the account by which they came. Result: `Fetched`.
    Fetch { parts: Vec<Attached>, within: std::time::Duration },
    /// Puts the session's transcript aside: it was deleted. No result.
    ForgetTranscript,
    /// Names of the roles that have a directory. Result: `Roles`.
    ListRoles,
    /// Makes a role's directory with its templates. Result: `Roles`.
    CreateRole { role: String },
    /// Moves a role's directory to the trash and forgets its mappings. Result: `Roles`.
    DeleteRole { role: String },
    /// `sh -c`, 30 s. Result: `Text`, with the exit code.
    Shell { command: String, cwd: PathBuf },
    /// The running configuration without secrets, or one section of it. Result: `Text`.
    ShowConfig { path: String },
    /// Load, memory and disk of this machine. Result: `Text`.
    System,
    /// Removes the files of a session that is over for good. Nobody waits for the result.
    ForgetFiles { dir: PathBuf },
    /// The history of another session, for this one's working directory. Result: `Done`.
    CopySession { from: PathBuf, to: PathBuf, cwd: PathBuf },
    /// The same, for a turn that may leave no trace; without a history the copy is a name. Result: `FileReady`.
    BranchFile { from: PathBuf, to: PathBuf, cwd: PathBuf },
    /// A session file that nothing works on. Result: `Done`.
    RemoveFile { path: PathBuf },
    /// Does an agent's `core/heartbeat.md` ask for something? Without one: yes. Result: `Asks`.
    ReadHeartbeat { path: PathBuf },
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
    Rendered(Vec<Content>),
    /// In the order of the parts.
    Fetched(Vec<Fetched>),
    Roles(Vec<String>),
    Text(String),
    Asks(bool),
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

/// The number `n` of an injected message in a user entry's head: `turn:<turn>.<n>`; 0: the prompt itself.
pub fn injection(head: &str, turn: &str) -> Option<i64> {
    let needle = format!("turn:{turn}");
    for (at, _) in head.match_indices(&needle) {
        let rest = &head[at + needle.len()..];
        match rest.bytes().next() {
            Some(b'.') => {
                let digits: String = rest[1..].chars().take_while(char::is_ascii_digit).collect();
                return Some(digits.parse().unwrap_or(0)); // a full stop: the note of a resumed turn
            }
            Some(b) if b.is_ascii_alphanumeric() => continue,
            _ => return Some(0),
        }
    }
    None
}
