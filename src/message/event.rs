//! What comes into the mind and what comes out of it.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;

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
        /// Set if the text may name files.
        home: Option<Home>,
    },
    /// A message that a tool or an API client sent.
    Posted(Box<Posted>),
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
    RoleChanged {
        session: String,
        role: String,
    },
    RoleCreated {
        role: String,
    },
    RoleDeleted {
        role: String,
    },
    /// A scheduled job's run begins, or is over.
    CronRun(Box<crate::cron::job::RunInfo>),
    /// What was done to a scheduled job.
    CronChanged {
        job: String,
        action: &'static str,
    },
    Reloaded,
    /// An account of a channel stands otherwise than before (R70).
    Channel {
        channel: String,
        account: String,
        state: &'static str,
        error: Option<String>,
    },
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
        call: CallId,
        outcome: Box<Outcome>,
    },
    /// The credentials of an account work, or not: why.
    Account {
        channel: Box<str>,
        account: Box<str>,
        trouble: Option<Box<str>>,
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
    /// Somebody changed the store beside us.
    Poke,
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
        id: CallId,
        call: Box<Call>,
        durable: bool,
    },
    Job {
        id: JobId,
        session: Arc<str>,
        job: Box<Job>,
        /// Has effects outside the store: begins when its mark is safe.
        durable: bool,
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
    /// The gateway is to be started anew.
    Restart,
    /// For the log and the operator.
    Notice(Box<str>),
    /// Slash commands that pi knows, with what they do: when the list changes, or was asked for.
    Commands(Arc<[(String, String)]>),
    /// For the operator's list of what happened.
    Observed(Box<Observation>),
    /// Every turn ended and what was ready was sent, or the time for that passed: the next shutdown step may begin.
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
        matches!(
            self,
            Effect::Answer { durable: true, .. }
                | Effect::Call { durable: true, .. }
                | Effect::Job { durable: true, .. }
                | Effect::Restart
        )
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
