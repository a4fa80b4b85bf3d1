//! A model of pi: the file rules of old and new versions, tools, retries, steering, queues (pi-rpc.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use pi_gateway::message::*;

use super::world::Rng;

/// One line of a session file.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    User(String),
    Assistant(AssistantMessage),
    ToolResult,
}

/// All session files: they outlive everything.
pub type Files = BTreeMap<PathBuf, Vec<Entry>>;

#[derive(Debug)]
pub struct ModelPi {
    pub new: bool,
    pub file: PathBuf,
    /// Written to its stdin, not handled yet.
    pub stdin: Vec<(CmdId, PiCmd)>,
    /// Events it will print, oldest first.
    out: Vec<PiEvent>,
    run: Option<Run>,
    /// Steers and follow-ups it holds.
    queue: Vec<String>,
    /// Entries an old pi has not written yet (no complete answer so far).
    unwritten: Vec<Entry>,
    compacting: bool,
    pub dying: bool,
    /// Neither reads nor writes any more.
    pub hung: bool,
    /// Its tool waits for an answer of the gateway.
    pub held: bool,
    /// Its tool was ended while it waited: the connection is cut.
    pub left: bool,
    pub spawned: bool,
}

#[derive(Debug)]
struct Run {
    /// Messages without a final answer.
    open: Vec<String>,
    tools_left: u32,
    errors_left: u32,
    retry: bool,
    in_tool: bool,
    /// Nobody wrote: it may have nothing to say.
    beat: bool,
}

/// Tokens `mN;` in a text, in order, each once.
pub fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in text.split(';') {
        if let Some(at) = piece.rfind("{m") {
            let t = &piece[at + 1..];
            if t[1..].bytes().all(|b| b.is_ascii_digit()) && t.len() > 1 && !found.contains(&t.to_owned()) {
                found.push(t.to_owned());
            }
        }
    }
    found
}

impl ModelPi {
    pub fn start(new: bool, file: PathBuf) -> ModelPi {
        ModelPi {
            new,
            file,
            stdin: Vec::new(),
            out: Vec::new(),
            run: None,
            queue: Vec::new(),
            unwritten: Vec::new(),
            compacting: false,
            dying: false,
            hung: false,
            held: false,
            left: false,
            spawned: false,
        }
    }

    pub fn busy(&self) -> bool {
        !self.stdin.is_empty() || !self.out.is_empty() || self.run.is_some() || self.compacting
    }

    pub fn in_tool(&self) -> bool {
        self.run.as_ref().is_some_and(|r| r.in_tool)
    }

    /// It does nothing before its tool has its answer.
    pub fn stuck(&self) -> bool {
        self.held && self.out.is_empty() && (self.stdin.is_empty() || self.deaf())
    }

    /// An old pi answers to `abort` when its tool returns.
    fn deaf(&self) -> bool {
        self.held && !self.new && matches!(self.stdin.first(), Some((_, PiCmd::Abort)))
    }

    fn answer(&mut self, id: CmdId, data: PiData) {
        self.out.push(PiEvent::Response { id, result: Ok(data) });
    }

    fn append(&mut self, files: &mut Files, e: Entry) {
        let complete = matches!(&e, Entry::Assistant(m) if m.stop != "error");
        if !self.new && !files.contains_key(&self.file) && !complete {
            self.unwritten.push(e);
            return;
        }
        let list = files.entry(self.file.clone()).or_default();
        list.append(&mut self.unwritten);
        list.push(e);
    }

    /// Messages of the file that no complete final answer follows.
    fn unanswered(files: &Files, file: &PathBuf) -> Vec<String> {
        let mut open = Vec::new();
        for e in files.get(file).into_iter().flatten() {
            match e {
                Entry::User(t) => open.extend(tokens(t)),
                Entry::Assistant(m) if m.stop == "stop" => open.clear(),
                _ => {}
            }
        }
        open
    }

    /// Does one thing; returns what it printed, if anything.
    pub fn tick(&mut self, files: &mut Files, rng: &mut Rng, made: &mut Vec<String>) -> Option<PiEvent> {
        if !self.out.is_empty() {
            return Some(self.out.remove(0));
        }
        if self.stuck() {
            return None;
        }
        if !self.stdin.is_empty() && (self.run.is_none() || rng.one_in(2)) {
            let (id, cmd) = self.stdin.remove(0);
            self.command(id, cmd, files, rng);
            return self.tick_out();
        }
        if self.compacting {
            self.compacting = false;
            self.out.push(PiEvent::CompactionEnd {
                reason: "threshold".into(),
                ok: true,
                aborted: false,
                will_retry: false,
                error: None,
            });
            if !self.queue.is_empty() {
                let message = self.queue.remove(0);
                self.out.push(PiEvent::Queue { waiting: self.queue.len() });
                self.begin(message, files, rng);
            } else if self.new {
                self.out.push(PiEvent::Settled { aborted: false });
            }
            return self.tick_out();
        }
        if self.run.is_some() && !self.held {
            self.go_on(files, rng, made);
        }
        self.tick_out()
    }

    fn tick_out(&mut self) -> Option<PiEvent> {
        if self.out.is_empty() {
            None
        } else {
            Some(self.out.remove(0))
        }
    }

    fn command(&mut self, id: CmdId, cmd: PiCmd, files: &mut Files, rng: &mut Rng) {
        match cmd {
            PiCmd::GetStats => self.answer(id, PiData::Stats(Box::default())),
            PiCmd::GetModels => self.answer(id, PiData::Models(Box::default())),
            PiCmd::GetState => {
                let streaming = self.run.as_ref().is_some_and(|r| self.new || !r.retry);
                let data =
                    PiState { streaming, compacting: self.compacting, pending: self.queue.len(), ..PiState::default() };
                self.answer(id, PiData::State(data));
            }
            PiCmd::Prompt { message, inject: None, .. } => {
                if self.run.is_some() || self.compacting {
                    self.out.push(PiEvent::Response { id, result: Err("Agent is already processing.".into()) });
                    return;
                }
                let data = if self.new { PiData::Disposition("started".into()) } else { PiData::None };
                self.answer(id, data);
                self.begin(message, files, rng);
            }
            PiCmd::Prompt { message, inject: Some(_), .. } if self.run.is_none() && !self.compacting => {
                self.answer(id, PiData::Disposition("started".into()));
                self.begin(message, files, rng);
            }
            PiCmd::Prompt { message, inject: Some(_), .. } => {
                self.queue.push(message);
                self.out.push(PiEvent::Queue { waiting: self.queue.len() });
                self.answer(id, PiData::Disposition("queued".into()));
            }
            PiCmd::Steer { message, .. } | PiCmd::FollowUp { message, .. } => {
                self.queue.push(message);
                self.out.push(PiEvent::Queue { waiting: self.queue.len() });
                self.answer(id, PiData::None);
            }
            PiCmd::Abort => match self.run.take() {
                None => self.answer(id, PiData::None),
                Some(r) => {
                    self.left |= std::mem::take(&mut self.held);
                    if r.retry {
                        self.out.push(PiEvent::RetryEnd { success: false, error: Some("Retry cancelled".into()) });
                    } else {
                        let m = AssistantMessage { stop: "aborted".into(), ..AssistantMessage::default() };
                        self.append(files, Entry::Assistant(m.clone()));
                        self.out.push(PiEvent::Assistant(m));
                        self.out.push(PiEvent::AgentEnd { will_retry: false });
                    }
                    if self.new {
                        self.out.push(PiEvent::Settled { aborted: true });
                    }
                    self.answer(id, PiData::None);
                }
            },
            PiCmd::ClearQueue => {
                self.queue.clear();
                self.answer(id, PiData::None);
            }
            PiCmd::SwitchSession { path } => {
                self.queue.clear();
                self.unwritten.clear();
                self.file = path;
                self.answer(id, PiData::Cancelled(false));
            }
            PiCmd::UiResponse { .. } => {}
            _ => self.answer(id, PiData::None),
        }
    }

    fn begin(&mut self, message: String, files: &mut Files, rng: &mut Rng) {
        self.run = Some(Run {
            open: Vec::new(),
            tools_left: rng.below(3) as u32,
            errors_left: if rng.one_in(6) { 1 + rng.below(2) as u32 } else { 0 },
            retry: false,
            in_tool: false,
            beat: false,
        });
        self.out.push(PiEvent::AgentStart);
        self.user(message, files);
    }

    fn user(&mut self, message: String, files: &mut Files) {
        let head: String = message.chars().take(500).collect();
        self.out.push(PiEvent::UserStart { head });
        if message.contains("\nHeartbeat:") {
            if let Some(r) = &mut self.run {
                r.beat = true; // what people wrote is none of its business
            }
            self.append(files, Entry::User(message));
            return;
        }
        let known: Vec<String> = ModelPi::unanswered(files, &self.file);
        let mine: Vec<String> =
            self.unwritten.iter().flat_map(|e| if let Entry::User(t) = e { tokens(t) } else { Vec::new() }).collect();
        if let Some(r) = &mut self.run {
            for t in known.into_iter().chain(mine).chain(tokens(&message)) {
                if !r.open.contains(&t) {
                    r.open.push(t);
                }
            }
        }
        self.append(files, Entry::User(message));
    }

    /// One step of the run.
    fn go_on(&mut self, files: &mut Files, rng: &mut Rng, made: &mut Vec<String>) {
        let Some(r) = &mut self.run else { return };
        if r.retry {
            r.retry = false;
            self.out.push(PiEvent::AgentStart);
            return;
        }
        if r.errors_left > 0 {
            r.errors_left -= 1;
            r.retry = true;
            let m = AssistantMessage {
                text: "half".into(),
                stop: "error".into(),
                error: Some("529 overloaded".into()),
                ..AssistantMessage::default()
            };
            self.append(files, Entry::Assistant(m.clone()));
            self.out.push(PiEvent::Assistant(m));
            self.out.push(PiEvent::AgentEnd { will_retry: self.new });
            self.out.push(PiEvent::RetryStart { attempt: 1, max: 3, delay_ms: 2000, error: "529".into() });
            return;
        }
        if r.in_tool {
            r.in_tool = false;
            self.append(files, Entry::ToolResult);
            self.out.push(PiEvent::ToolEnd { name: "bash".into(), error: false });
            self.take_steer(files, rng);
            return;
        }
        let open = r.open.clone();
        if r.tools_left > 0 {
            r.tools_left -= 1;
            r.in_tool = true;
            // Some say something before the tool: a text of its own that must arrive once.
            let text = if rng.one_in(2) { made_token(made, "note", &open) } else { String::new() };
            let m = AssistantMessage { text, stop: "toolUse".into(), ..AssistantMessage::default() };
            self.append(files, Entry::Assistant(m.clone()));
            self.out.push(PiEvent::Assistant(m));
            self.out.push(PiEvent::ToolStart { name: "bash".into() });
            return;
        }
        let text = match r.beat {
            true if rng.one_in(2) => "HEARTBEAT_OK".into(),
            true => made_token(made, "alert", &[]),
            false => made_token(made, "answer", &open),
        };
        let m = AssistantMessage { text, stop: "stop".into(), ..AssistantMessage::default() };
        r.open.clear();
        self.append(files, Entry::Assistant(m.clone()));
        self.out.push(PiEvent::Assistant(m));
        if self.queue.is_empty() {
            self.run = None;
            self.out.push(PiEvent::AgentEnd { will_retry: false });
            if rng.one_in(8) {
                self.compacting = true;
                self.out.push(PiEvent::CompactionStart { reason: "threshold".into() });
            } else if self.new {
                self.out.push(PiEvent::Settled { aborted: false });
            }
        } else {
            self.take_steer(files, rng);
        }
    }

    fn take_steer(&mut self, files: &mut Files, rng: &mut Rng) {
        if self.queue.is_empty() {
            return;
        }
        let message = self.queue.remove(0);
        self.out.push(PiEvent::Queue { waiting: self.queue.len() });
        if let Some(r) = &mut self.run {
            r.tools_left = rng.below(2) as u32;
        }
        self.user(message, files);
    }
}

/// A text that can be told from every other: which messages it answers, and a number of its own.
fn made_token(made: &mut Vec<String>, kind: &str, open: &[String]) -> String {
    let text = format!("<{kind} {} {}>", made.len(), open.join(" "));
    made.push(text.clone());
    text
}
