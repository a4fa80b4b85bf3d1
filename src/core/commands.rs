//! Slash commands: decided at once, even while a turn runs, never through the queue (core.md 4).

use super::session::{Session, Stage, Verify, Work};
use super::turn::AbortWhy;
use super::{State, Todo};
use crate::message::*;
use crate::routing::prefixed;
use crate::rules::{Mode, Rules};
use crate::store::{inbox_state as st, InboxRow, Result};

/// A command of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    New {
        all: bool,
    },
    Stop {
        all: bool,
    },
    Retry,
    Cancel,
    Status,
    Model(Option<String>),
    Think(Option<String>),
    Compact(Option<String>),
    Queue(Option<String>),
    Whoami,
    Sessions,
    /// `/<agent>` without a message.
    Agent(String),
    /// Belongs to pi's terminal interface.
    TuiOnly(String),
}

/// Name, arguments, what it does: the one list, also for `/help`.
const LIST: &[(&str, &str, &str)] = &[
    ("help", "", "this list"),
    ("new", "[all]", "begin a new conversation; `all` also drops waiting messages"),
    ("stop", "[all]", "stop the running answer; `all` also drops waiting messages"),
    ("retry", "", "run the last failed turn again"),
    ("cancel", "", "cancel the open question"),
    ("status", "", "what this conversation is doing"),
    ("model", "[provider/id | default]", "show or choose the model"),
    ("think", "[off|minimal|low|medium|high|xhigh]", "show or choose the thinking level"),
    ("compact", "[instructions]", "summarise the conversation to make room"),
    ("queue", "[steer|follow-up|interrupt]", "what a message does while a turn runs"),
    ("whoami", "", "who you are to the gateway"),
    ("sessions", "", "the newest conversations"),
];

/// Levels pi knows.
pub const LEVELS: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh", "max"];

/// The gateway command in a message; anything else is text for the agent.
pub fn parse(text: &str, rules: &Rules) -> Option<Command> {
    let text = text.trim();
    if rules.abort_words.iter().any(|w| w.trim().to_lowercase() == text.to_lowercase() && !text.is_empty()) {
        return Some(Command::Stop { all: false });
    }
    let rest = text.strip_prefix('/')?;
    let (name, args) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let name = name.split('@').next().unwrap_or(name);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return None;
    }
    let args = args.trim();
    let arg = || (!args.is_empty()).then(|| args.to_owned());
    Some(match name.to_lowercase().as_str() {
        "help" | "commands" | "start" => Command::Help,
        "new" | "reset" => Command::New { all: args == "all" },
        "stop" | "abort" => Command::Stop { all: args == "all" },
        "retry" => Command::Retry,
        "cancel" => Command::Cancel,
        "status" => Command::Status,
        "model" => Command::Model(arg()),
        "think" => Command::Think(arg()),
        "compact" => Command::Compact(arg()),
        "queue" => Command::Queue(arg()),
        "whoami" => Command::Whoami,
        "sessions" => Command::Sessions,
        n @ ("memories" | "memory-fix" | "memory-tidy" | "plan") => Command::TuiOnly(n.to_owned()),
        _ => match prefixed(&rules.routing.agents, text)? {
            (agent, "") => Command::Agent(agent.to_owned()),
            _ => return None,
        },
    })
}

/// Is that a command of the gateway? An agent of that name cannot be reached by it.
pub fn is_command(name: &str) -> bool {
    parse(&format!("/{name}"), &Rules::default()).is_some()
}

impl State {
    /// Runs a command: effect, reply and fate in the transaction at hand.
    pub(super) fn command(&mut self, s: &mut Session, row: InboxRow, c: Command) -> Result<()> {
        let text = match c {
            Command::Help => help(self.pi_commands.as_deref().unwrap_or(&[])),
            Command::New { all } => {
                self.done(s, &row, "Session reset.")?;
                return self.reset(s, all);
            }
            Command::Stop { all } => {
                if all {
                    self.drop_waiting(s)?;
                }
                match self.stop(s)? {
                    true => "Stopped.".to_owned(),
                    false => "Nothing is running.".to_owned(),
                }
            }
            Command::Retry => self.retry(s)?,
            Command::Cancel => match self.cancel_dialogs(&s.key) {
                0 => "No question is open.".to_owned(),
                _ => "Cancelled.".to_owned(),
            },
            Command::Status => self.status(s),
            Command::Model(None) => self.model_text(s),
            Command::Model(Some(m)) => match self.choose_model(s, &m)? {
                Ok(text) | Err(text) => text,
            },
            Command::Think(None) => format!("Thinking: {}. Levels: {}.", self.level(s), LEVELS.join(", ")),
            Command::Think(Some(l)) => match self.choose_level(s, &l)? {
                Ok(text) | Err(text) => text,
            },
            Command::Compact(instructions) => return self.compact(s, row, instructions),
            Command::Queue(None) => {
                let own = s.row.mode.as_deref().map_or(String::new(), |_| " (chosen here)".into());
                format!("Messages while a turn runs: {}{own}.", self.mode(s).as_str())
            }
            Command::Queue(Some(m)) => match Mode::parse(&m) {
                Some(mode) => {
                    s.row.mode = Some(mode.as_str().to_owned());
                    self.save(s)?;
                    format!("Messages while a turn runs: {}.", mode.as_str())
                }
                None => "Use: steer, follow-up, interrupt.".to_owned(),
            },
            Command::Whoami => {
                let f = &row.source;
                let account = f.account.as_deref().unwrap_or("default");
                format!("Sender {} on {} (account {account}, chat {}), session {}.", f.sender, f.channel, f.chat, s.key)
            }
            Command::Sessions => self.sessions_text(s)?,
            Command::Agent(name) => format!("Send a message after /{name}."),
            Command::TuiOnly(name) => format!("/{name} only works in pi's own terminal."),
        };
        self.done(s, &row, &text)
    }

    fn done(&mut self, s: &Session, row: &InboxRow, text: &str) -> Result<()> {
        self.notice(s, Some(row.id), text, st::COMMAND, None)
    }

    /// Aborts whatever runs; true if something did. What waits stays.
    pub(super) fn stop(&mut self, s: &mut Session) -> Result<bool> {
        self.cancel_dialogs(&s.key);
        match &mut s.stage {
            Stage::Turn(_) => {
                self.abort_turn(s, AbortWhy::User)?;
                Ok(true)
            }
            // Not begun yet: those messages are answered by "(stopped)" and nothing else.
            Stage::Open(o) if matches!(o.work, Work::Resume(_)) => {
                let Stage::Open(o) = std::mem::replace(&mut s.stage, Stage::Idle) else { return Ok(false) };
                let Work::Resume(mut t) = o.work else { return Ok(false) };
                t.aborting = Some((AbortWhy::User, 0));
                let end = self.end_of(&t, None);
                self.finish(s, *t, end)?;
                Ok(true)
            }
            // The turn whose process is being made ready: as far as its sender can see, it runs.
            Stage::Open(o) if matches!(o.work, Work::Queue) => {
                s.stage = Stage::Idle;
                let members = self.take_members(s);
                if members.is_empty() {
                    return Ok(false);
                }
                for m in members {
                    self.store.set_inbox(m.id, st::SILENT, None, None, Some("stopped before it began"))?;
                    self.settled(m.id)?;
                    let run = self.store.ext('i', m.id);
                    self.frame(Frame::Typing { session: s.key.to_string(), run, on: false });
                }
                self.todo.push_back(Todo::Kick(s.key.clone())); // what goes to another chat
                self.todo.push_back(Todo::Pool);
                Ok(true)
            }
            // Ends as soon as pi's file has said what the model got.
            Stage::Recover { turn, .. } => {
                turn.aborting = Some((AbortWhy::User, 0));
                self.store.stop_turn(turn.row.id, AbortWhy::User.as_str())?;
                Ok(true)
            }
            Stage::Compact { .. } => {
                if let Some(id) = s.proc {
                    self.write(id, PiCmd::Abort);
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// core.md 16: dialogs, turn, new file; waiting messages stay unless `all`.
    pub(super) fn reset(&mut self, s: &mut Session, all: bool) -> Result<()> {
        self.cancel_dialogs(&s.key);
        if all {
            self.drop_waiting(s)?;
        }
        match &mut s.stage {
            Stage::Turn(_) => self.abort_turn(s, AbortWhy::Reset)?,
            Stage::Recover { turn, .. } => {
                turn.aborting = Some((AbortWhy::Reset, 0));
                self.store.stop_turn(turn.row.id, AbortWhy::Reset.as_str())?;
            }
            // What waits for a process stays, and is asked in the new conversation.
            Stage::Open(o) if matches!(o.work, Work::Queue) => {}
            _ => {
                self.stop(s)?;
            }
        }
        s.row.file = self.fresh_file(&s.key)?;
        s.row.count = 0;
        s.row.reset_at = self.store.newest_segment(&s.key)?;
        s.dropped.clear();
        self.verified.insert(s.key.clone());
        s.verify = Verify::Off; // a new file knows nothing
        self.save(s)?;
        self.frame(Frame::Reset { session: s.key.to_string() });
        // A process being opened was opened for the old file.
        let old = match &s.stage {
            Stage::Open(o) => matches!(o.work, Work::Queue),
            Stage::Verify { .. } => true,
            _ => false,
        };
        if old {
            s.stage = Stage::Idle;
        }
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(())
    }

    fn drop_waiting(&mut self, s: &mut Session) -> Result<()> {
        for row in std::mem::take(&mut s.queue) {
            self.counters.queue_drops += 1;
            self.store.set_inbox(row.id, st::DROPPED, None, None, Some("dropped by command"))?;
            self.settled(row.id)?;
        }
        if matches!(s.stage, Stage::Debounce { .. }) {
            s.stage = Stage::Idle;
        }
        Ok(())
    }

    fn retry(&mut self, s: &mut Session) -> Result<String> {
        let Some(turn) = self.store.last_failed_turn(&s.key)? else { return Ok("Nothing failed last time.".into()) };
        let rows = self.store.inbox_of_turn(turn.id)?;
        let n = rows.len();
        self.requeue(s, rows)?;
        Ok(if n == 1 { "Trying again.".into() } else { format!("Trying again with {n} messages.") })
    }

    fn mode(&self, s: &Session) -> Mode {
        s.row.mode.as_deref().and_then(Mode::parse).unwrap_or(self.rules.mode)
    }

    fn level(&self, s: &Session) -> String {
        s.row.thinking.clone().unwrap_or_else(|| self.rules.thinking.clone())
    }

    fn status(&self, s: &Session) -> String {
        let doing = match &s.stage {
            Stage::Idle => "idle",
            Stage::Debounce { .. } => "collecting messages",
            Stage::Open(_) => "getting the agent ready",
            Stage::Turn(t) if t.aborting.is_some() => "stopping",
            Stage::Turn(t) if t.retrying => "waiting for the model provider",
            Stage::Turn(t) if t.tools_open > 0 => "running a tool",
            Stage::Turn(_) => "answering",
            Stage::Recover { .. } => "recovering an interrupted turn",
            Stage::Settle { .. } | Stage::Clean { .. } | Stage::Verify { .. } => "tidying up",
            Stage::Compact { .. } => "compacting",
        };
        let model = self.wanted(s, None).model.unwrap_or_else(|| "pi's default".into());
        let mode = self.mode(s).as_str();
        let own = if s.row.mode.is_some() { "chosen here" } else { "configured" };
        let role = s.row.role.as_deref().unwrap_or("default");
        let mut text = format!(
            "Session {}\nRole {role}, {} messages\nState: {doing}, {} waiting\nModel: {model}, thinking {}\nQueue mode: {mode} ({own})\nPool: {} of {} processes",
            s.key, s.row.count, s.queue.len(), self.level(s), self.procs.len(), self.rules.pool_max
        );
        if let Some(why) = &self.degraded {
            text += &format!("\nTrouble: {why}");
        }
        text
    }

    fn model_text(&self, s: &Session) -> String {
        let now = self.wanted(s, None).model.unwrap_or_else(|| "pi's default".into());
        let list = match &self.pi_models {
            Some(list) if !list.is_empty() => format!("\n{}", list.join("\n")),
            _ => "\n(The list of models appears once the agent has run.)".into(),
        };
        format!("Model: {now}. Choose with /model provider/id, back with /model default.{list}")
    }

    /// Stores the session's choice; applied when no turn runs. `Err`: why not.
    pub(super) fn choose_model(&mut self, s: &mut Session, model: &str) -> Result<std::result::Result<String, String>> {
        if matches!(model, "default" | "") {
            s.row.model = None;
            self.save(s)?;
            return Ok(Ok("Model: the configured one.".into()));
        }
        if !model.contains('/') || model.chars().any(|c| c.is_whitespace() || c.is_control()) || model.len() > 200 {
            return Ok(Err("Give the model as provider/id.".into()));
        }
        if let Some(list) = self.pi_models.as_ref().filter(|l| !l.is_empty() && !l.iter().any(|m| m == model)) {
            let near: Vec<&str> = list.iter().map(String::as_str).filter(|m| m.contains(model)).take(5).collect();
            let hint = if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(", ")) };
            return Ok(Err(format!("pi does not know the model {model}.{hint}")));
        }
        s.row.model = Some(model.to_owned());
        s.plain_model = false;
        self.save(s)?;
        let when = if matches!(s.stage, Stage::Turn(_)) { " from the next turn on" } else { "" };
        Ok(Ok(format!("Model: {model}{when}.")))
    }

    pub(super) fn choose_level(&mut self, s: &mut Session, level: &str) -> Result<std::result::Result<String, String>> {
        if !LEVELS.contains(&level) {
            return Ok(Err(format!("Invalid level. Use: {}", LEVELS.join(", "))));
        }
        s.row.thinking = Some(level.to_owned());
        self.save(s)?;
        let when = if matches!(s.stage, Stage::Turn(_)) { " from the next turn on" } else { "" };
        Ok(Ok(format!("Thinking: {level}{when}.")))
    }

    fn sessions_text(&self, s: &Session) -> Result<String> {
        let mut out = String::from("Newest conversations:");
        for row in self.store.sessions(10)? {
            let here = if *row.key == *s.key { " (this one)" } else { "" };
            let at = super::prompt::local_time(row.last_at, self.rules.zone.as_ref());
            out += &format!("\n{}{here}: {} messages, {at}", row.key, row.count);
        }
        Ok(out)
    }

    /// `/compact` works outside the store: marked first, never run again after a crash.
    fn compact(&mut self, s: &mut Session, row: InboxRow, instructions: Option<String>) -> Result<()> {
        if !matches!(s.stage, Stage::Idle) {
            return self.done(s, &row, "Busy; try /compact again when the answer is complete.");
        }
        self.store.set_inbox(row.id, st::EXECUTING, None, None, None)?;
        self.remark(s, &row, "Compacting...")?;
        self.begin(s, Work::Compact { row: row.id, instructions })
    }

    pub(super) fn end_compact(
        &mut self,
        s: &mut Session,
        row: Row,
        result: std::result::Result<(), String>,
    ) -> Result<()> {
        if matches!(s.stage, Stage::Compact { .. }) {
            s.stage = Stage::Idle;
        }
        let text = match result {
            Ok(()) => "Compacted.".to_owned(),
            Err(why) => format!("Compaction failed: {}", super::prompt::head(&why, 200)),
        };
        self.notice(s, Some(row), &text, st::COMMAND, None)?;
        self.todo.push_back(Todo::Kick(s.key.clone()));
        Ok(())
    }
}

fn help(pi: &[(String, String)]) -> String {
    let mut out = String::from("Commands:");
    for (name, args, what) in LIST {
        let args = if args.is_empty() { String::new() } else { format!(" {args}") };
        out += &format!("\n- `/{name}{args}` {what}");
    }
    for (name, what) in pi.iter().take(40) {
        out += &format!("\n- `/{name}` {} (pi)", super::prompt::head(what, 80));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_recognised_exactly() {
        let mut rules = Rules { abort_words: vec!["halt".into()], ..Rules::default() };
        rules.routing.agents = vec!["coder".into(), "new".into()];
        for (text, want) in [
            ("/new", Some(Command::New { all: false })),
            (" /NEW all ", Some(Command::New { all: true })),
            ("/stop@my_bot", Some(Command::Stop { all: false })),
            ("/planning the day", None),
            ("/plan", Some(Command::TuiOnly("plan".into()))),
            ("/think high", Some(Command::Think(Some("high".into())))),
            ("/skill:x y", None),
            ("/", None),
            ("new", None),
            ("Halt", Some(Command::Stop { all: false })),
            ("/coder", Some(Command::Agent("coder".into()))),
            ("/coder do it", None),
        ] {
            assert_eq!(parse(text, &rules), want, "{text}");
        }
    }
}
