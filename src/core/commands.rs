//! Slash commands: decided at once, even while a turn runs, never through the queue (core.md 4). What pi itself is
//! needed for begins here and ends elsewhere.

use super::asks::Ask;
use super::command_list::{self, Command, RoleCommand, LEVELS, LIST};
use super::keys::Menu;
use super::session::{Session, Stage, Verify, Work};
use super::tasks::Doing;
use super::turn::AbortWhy;
use super::{State, Todo};
use crate::message::*;
use crate::roles::{is_name, DEFAULT};
use crate::rules::Mode;
use crate::store::{inbox_state as st, InboxRow, Result, SessionRow};

impl State {
    /// Runs a command: effect, reply and fate in the transaction at hand.
    pub(super) fn command(&mut self, s: &mut Session, row: InboxRow, c: Command) -> Result<()> {
        if c.needs_the_right(row.source.chat_type != ChatType::Dm) && !self.authorised(&row.source)? {
            return self.done(s, &row, "Unauthorized.");
        }
        let text = match c {
            Command::Help => return self.offer(s, &row, Menu::Help(0), help(&self.command_list())),
            Command::New { all } => {
                self.done(s, &row, "Session reset.")?;
                self.clear_events(&s.key, st::BY_COMMAND)?;
                return self.reset(s, all);
            }
            Command::Stop { all } => {
                if all {
                    self.drop_waiting(s, st::BY_COMMAND)?;
                }
                match self.stop(s)? {
                    true => "Stopped.".to_owned(),
                    false => "Nothing is running.".to_owned(),
                }
            }
            Command::Retry => self.retry(s)?,
            Command::Cancel => match self.cancel_for(&s.key, &row.source)? {
                0 => "No question is open.".to_owned(),
                _ => "Cancelled.".to_owned(),
            },
            Command::Status => self.status(s),
            Command::Model(None) if self.pi_models.is_none() => return self.ask_for(s, &row, Ask::Models),
            Command::Model(None) => return self.offer(s, &row, Menu::Providers(0), self.model_text(s)),
            Command::Think(None) if self.keys_of(&row.source).is_some() => {
                return self.offer(s, &row, Menu::Levels, String::new())
            }
            Command::Model(Some(m)) if self.pi_models.is_none() && m.contains('/') => {
                return self.ask_for(s, &row, Ask::Model(m.into()))
            }
            Command::Model(Some(m)) => match self.choose_model(s, &m)? {
                Ok(text) | Err(text) => text,
            },
            Command::Think(None) => {
                let at = LEVELS.iter().position(|l| *l == self.level(s)).map_or(0, |at| at + 1);
                match self.choose_level(s, LEVELS[at % (LEVELS.len() - 1)])? {
                    Ok(text) | Err(text) => text,
                }
            }
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
            Command::Sessions => {
                let text = self.sessions_text(s, &row.source)?;
                return self.offer(s, &row, Menu::Sessions, text);
            }
            Command::Context => return self.ask_for(s, &row, Ask::Context),
            Command::Skills if self.pi_commands.is_none() => return self.ask_for(s, &row, Ask::Skills),
            Command::Skills => return self.offer(s, &row, Menu::Skills(0), self.skills_text()),
            Command::Role(role) => return self.role_command(s, &row, role),
            Command::Resume(which) => return self.resume(s, &row, which),
            Command::Refresh => return self.ask_for(s, &row, Ask::Commands),
            Command::Reload => match s.running() {
                _ if self.reload_pi(s)? => "The agent reloads.".to_owned(),
                true => "The agent starts afresh after this turn.".to_owned(),
                false => "The agent starts afresh with the next message.".to_owned(),
            },
            Command::Bash(_) if !self.rules.bash => {
                "/bash is off. Set gateway.commands.bash: true in the configuration.".to_owned()
            }
            Command::Bash(command) if command.is_empty() => "Use: /bash <command>.".to_owned(),
            Command::Bash(command) | Command::Bang(command) => {
                let cwd = self.wanted(s, None).cwd;
                return self.task(s, &row, Job::Shell { command, cwd }, Doing::Text);
            }
            Command::Cron(c) => self.cron_command(c)?,
            Command::Media(args) => media(&args, self.rules.mailbox(&row.source.channel)),
            Command::Config(path) => return self.task(s, &row, Job::ShowConfig { path }, Doing::Text),
            Command::Sys => return self.task(s, &row, Job::System, Doing::Text),
            Command::Restart if !self.rules.restart => {
                "Restart is off. Set gateway.commands.restart: true in the configuration.".to_owned()
            }
            Command::Restart => {
                self.emit(Effect::Restart); // leaves when this reply is safe
                "The gateway restarts.".to_owned()
            }
            Command::Agent(name) => format!("Send a message after /{name}."),
            Command::TuiOnly(name) => format!("/{name} only works in pi's own terminal."),
        };
        self.done(s, &row, &text)
    }

    fn role_command(&mut self, s: &mut Session, row: &InboxRow, c: RoleCommand) -> Result<()> {
        let (job, doing) = match c {
            RoleCommand::Show => (Job::ListRoles, Doing::ListRoles),
            RoleCommand::Set(role) => (Job::ListRoles, Doing::SetRole(role)),
            RoleCommand::Create(role) if is_name(&role) => {
                (Job::CreateRole { role: role.clone() }, Doing::CreateRole(role))
            }
            RoleCommand::Delete(role) if role == DEFAULT => {
                return self.done(s, row, "The default role cannot be deleted.")
            }
            RoleCommand::Delete(role) if is_name(&role) => {
                (Job::DeleteRole { role: role.clone() }, Doing::DeleteRole(role))
            }
            RoleCommand::Create(_) | RoleCommand::Delete(_) => {
                return self.done(s, row, "That is no name for a role: letters, digits, _ and -, at most 64.")
            }
            RoleCommand::Unclear => {
                return self.done(s, row, "Use: /role, /role set <name>, /role create <name>, /role delete <name>.")
            }
        };
        self.task(s, row, job, doing)
    }

    /// The history of another conversation of the same sender goes on here.
    fn resume(&mut self, s: &mut Session, row: &InboxRow, which: Option<String>) -> Result<()> {
        let list = self.sessions_of(&row.source)?;
        let Some(which) = which else {
            let text = self.sessions_text(s, &row.source)? + "\nUse: /resume <number>.";
            return self.offer(s, row, Menu::Sessions, text);
        };
        let chosen = match which.parse::<usize>() {
            Ok(n) => n.checked_sub(1).and_then(|n| list.get(n)),
            Err(_) => list.iter().find(|r| r.key == which),
        };
        let Some(from) = chosen.filter(|r| *r.key != *s.key) else {
            return self.done(s, row, "There is no such other conversation of yours; /sessions lists them.");
        };
        if !matches!(s.stage, Stage::Idle | Stage::Debounce { .. }) {
            return self.done(s, row, "Busy; try /resume again when the answer is complete.");
        }
        let to = self.fresh_file(&s.key)?;
        let cwd = self.wanted(s, None).cwd;
        let job = Job::CopySession { from: from.file.clone(), to: to.clone(), cwd };
        self.task(s, row, job, Doing::Attach { file: to, from: from.key.clone() })
    }

    /// Every command there is; pi's that have a name of ours cannot be reached and are left out.
    pub(super) fn command_list(&self) -> Vec<CommandInfo> {
        let ours = LIST.iter().map(|(name, args, what)| (*name, *args, *what, false));
        let pi = self.pi_commands.iter().flatten().filter(|(name, _)| !command_list::is_command(name));
        let pi = pi.map(|(name, what)| (name.as_str(), "", what.as_str(), true));
        let info = |(name, args, what, pi): (&str, &str, &str, bool)| CommandInfo {
            name: name.to_owned(),
            args: args.to_owned(),
            description: what.to_owned(),
            pi,
        };
        ours.chain(pi).map(info).collect()
    }

    pub(super) fn done(&mut self, s: &Session, row: &InboxRow, text: &str) -> Result<()> {
        self.notice(s, Some(row.id), text, st::COMMAND, None)
    }

    /// Aborts whatever runs; true if something did. What waits stays.
    pub(super) fn stop(&mut self, s: &mut Session) -> Result<bool> {
        self.cancel_held(&s.key)?;
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
        self.cancel_held(&s.key)?;
        if all {
            self.drop_waiting(s, st::BY_COMMAND)?;
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

    pub(super) fn drop_waiting(&mut self, s: &mut Session, why: &str) -> Result<()> {
        self.drop_early(s, why)?;
        for row in std::mem::take(&mut s.queue) {
            self.counters.queue_drops += 1;
            self.store.set_inbox(row.id, st::DROPPED, None, None, Some(why))?;
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

    /// What happens to a message while a turn runs: chosen here, else by the account, else everywhere.
    pub(super) fn mode(&self, s: &Session) -> Mode {
        let of_account = || self.rules.account(s.row.last.as_ref()?)?.mode;
        s.row.mode.as_deref().and_then(Mode::parse).or_else(of_account).unwrap_or(self.rules.mode)
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
            s.key, s.row.count, s.waiting(), self.level(s), self.procs.len(), self.rules.pool_max
        );
        if let Some(why) = &self.degraded {
            text += &format!("\nTrouble: {why}");
        }
        text
    }

    /// The newest conversations of that sender.
    pub(super) fn sessions_of(&self, source: &Source) -> Result<Vec<SessionRow>> {
        let same = |l: &Source| l.channel == source.channel && l.sender == source.sender;
        let mut list = self.store.conversations(200)?;
        list.retain(|r| r.last.as_ref().is_some_and(same));
        list.truncate(10);
        Ok(list)
    }

    fn sessions_text(&self, s: &Session, source: &Source) -> Result<String> {
        let mut out = String::from("Newest conversations:");
        for (n, row) in self.sessions_of(source)?.iter().enumerate() {
            let here = if *row.key == *s.key { " (this one)" } else { "" };
            let at = super::prompt::local_time(row.last_at, self.rules.zone.as_ref());
            let title = row.title.as_deref().map_or(String::new(), |t| format!(" {t:?}"));
            out += &format!("\n{}. {}{title}{here}: {} messages, {at}", n + 1, row.key, row.count);
        }
        Ok(out)
    }
}

/// The directive that the door of the chat turns into the file (gateway-api.md 1.10).
fn media(args: &str, mailbox: bool) -> String {
    let (path, caption) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    match path {
        "" => "Use: /media <path> [caption].".to_owned(),
        p if mailbox && p.contains("://") => "Only files of the workspace can be sent, not addresses.".to_owned(),
        p => format!("{}\n\nMEDIA:{p}", caption.trim()).trim().to_owned(),
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn help(list: &[CommandInfo]) -> String {
    let mut out = String::from("Commands:");
    for c in list.iter().take(60) {
        let args = if c.args.is_empty() { String::new() } else { format!(" {}", c.args) };
        let whose = if c.pi { " (pi)" } else { "" };
        out += &format!("\n- `/{}{args}` {}{whose}", c.name, super::prompt::head(&c.description, 80));
    }
    out
}
