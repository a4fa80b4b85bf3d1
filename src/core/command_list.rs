//! Slash commands of the gateway: their names, and what counts as one (core.md 4). Pure.

use crate::routing::prefixed;
use crate::rules::Rules;

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
    Context,
    Skills,
    Role(RoleCommand),
    /// Number in `/sessions`, or key.
    Resume(Option<String>),
    Refresh,
    Reload,
    Bash(String),
    /// `!command`: ordinary text from those who may not.
    Bang(String),
    Config(String),
    Restart,
    Sys,
    Cron(CronCommand),
    /// `/photo`, `/audio`, `/media`: a file of the workspace for this chat, and its caption.
    Media(String),
    /// `/<agent>` without a message.
    Agent(String),
    /// Belongs to pi's terminal interface.
    TuiOnly(String),
}

/// `/cron …`
#[derive(Clone, Debug, PartialEq)]
pub enum CronCommand {
    List,
    Pause(String),
    Resume(String),
    Remove(String),
    Run(String),
    Unclear,
}

impl CronCommand {
    fn parse(args: &str) -> CronCommand {
        let mut words = args.split_whitespace();
        match (words.next(), words.next().map(str::to_owned), words.next()) {
            (None | Some("list"), None, _) => CronCommand::List,
            (Some("pause"), Some(id), None) => CronCommand::Pause(id),
            (Some("resume"), Some(id), None) => CronCommand::Resume(id),
            (Some("remove"), Some(id), None) => CronCommand::Remove(id),
            (Some("run"), Some(id), None) => CronCommand::Run(id),
            _ => CronCommand::Unclear,
        }
    }
}

/// `/role …`
#[derive(Clone, Debug, PartialEq)]
pub enum RoleCommand {
    Show,
    Set(String),
    Create(String),
    Delete(String),
    Unclear,
}

impl RoleCommand {
    fn parse(args: &str) -> RoleCommand {
        let mut words = args.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None | Some("list"), None, _) => RoleCommand::Show,
            (Some("set" | "switch"), Some(name), None) => RoleCommand::Set(name.to_owned()),
            (Some("create"), Some(name), None) => RoleCommand::Create(name.to_owned()),
            (Some("delete"), Some(name), None) => RoleCommand::Delete(name.to_owned()),
            _ => RoleCommand::Unclear,
        }
    }
}

/// Name, arguments, what it does: the one list, also for `/help`.
pub const LIST: &[(&str, &str, &str)] = &[
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
    ("context", "", "how full the model's context is, and what it cost"),
    ("role", "[list | set, create or delete <name>]", "show or change the role"),
    ("skills", "", "pi's skills"),
    ("sessions", "", "the newest conversations"),
    ("resume", "<n | key>", "go on here with the history of another conversation"),
    ("refresh", "", "read pi's list of commands again"),
    ("reload", "", "start the agent afresh, with its extensions and skills read anew"),
    ("media", "<path> [caption]", "send a file of the workspace here; also `/photo`, `/audio`"),
    ("config", "[section]", "the configuration, without secrets"),
    ("cron", "[list | pause, resume, remove or run <id>]", "scheduled jobs (if switched on)"),
    ("sys", "", "load, memory and disk of this machine"),
    ("bash", "<command>", "run a shell command here (if switched on); also `!command`"),
    ("restart", "", "restart the gateway (if switched on)"),
];

/// Levels pi knows.
pub const LEVELS: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh", "max"];

impl Command {
    /// From those who may not use it, it is ordinary text.
    pub fn needs_the_right_to_be_one(&self) -> bool {
        matches!(self, Command::Bang(_))
    }

    /// Only for senders who are listed by their id (core.md 4, "auth").
    pub fn needs_the_right(&self, group: bool) -> bool {
        use Command::*;
        match self {
            Model(Some(_)) => group,
            Role(r) => *r != RoleCommand::Show,
            Sessions | Resume(_) | Refresh | Reload | Bash(_) | Bang(_) | Config(_) | Restart | Sys | Cron(_)
            | Media(_) => true,
            _ => false,
        }
    }
}

/// The gateway command in a message; anything else is text for the agent.
pub fn parse(text: &str, rules: &Rules) -> Option<Command> {
    let text = text.trim();
    if rules.abort_words.iter().any(|w| w.trim().to_lowercase() == text.to_lowercase() && !text.is_empty()) {
        return Some(Command::Stop { all: false });
    }
    if let Some(command) = text.strip_prefix('!').filter(|c| rules.bash && !c.starts_with('!') && !c.trim().is_empty())
    {
        return Some(Command::Bang(command.trim().to_owned()));
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
        "context" => Command::Context,
        "role" => Command::Role(RoleCommand::parse(args)),
        "skills" => Command::Skills,
        "resume" => Command::Resume(arg()),
        "refresh" => Command::Refresh,
        "reload" => Command::Reload,
        "bash" => Command::Bash(args.to_owned()),
        "config" => Command::Config(args.to_owned()),
        "restart" => Command::Restart,
        "sys" => Command::Sys,
        "cron" => Command::Cron(CronCommand::parse(args)),
        "media" | "photo" | "audio" => Command::Media(args.to_owned()),
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

/// Does it need a right, wherever it is used? Of a name in [`LIST`].
pub fn is_privileged(name: &str) -> bool {
    parse(&format!("/{name}"), &Rules::default()).is_some_and(|c| c.needs_the_right(true))
}

/// How the names of pi's commands begin in a platform's menu.
pub const OF_PI: &str = "pi_";

/// What a platform's menu calls a command of pi: letters, digits and `_`, at most 32 of them.
pub fn menu_name(pi: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    OF_PI.chars().chain(pi.chars().map(plain)).take(32).collect()
}

/// The message with pi's own name for the command, if it is one of a menu (`/pi_x` is `/x`). One of the gateway's
/// names is left as it is: pi would never see it.
pub fn from_menu(text: &str, known: &[(String, String)]) -> Option<String> {
    let rest = text.trim_start().strip_prefix('/')?;
    let (name, args) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    let name = name.split('@').next().unwrap_or(name).to_ascii_lowercase();
    let own = name.strip_prefix(OF_PI).filter(|own| !own.is_empty())?;
    let of_pi = known.iter().map(|(n, _)| n.as_str()).find(|n| menu_name(n) == name).unwrap_or(own);
    (!is_command(of_pi)).then(|| format!("/{of_pi}{args}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_s_command_of_pi_gets_its_own_name_back() {
        let known = [("fix-tests".to_owned(), String::new()), ("skill:Draw it".to_owned(), String::new())];
        for (text, want) in [
            ("/pi_fix_tests now @ann", Some("/fix-tests now @ann")),
            ("/pi_fix_tests@my_bot", Some("/fix-tests")),
            ("/PI_skill_draw_it", Some("/skill:Draw it")),
            ("/pi_other a", Some("/other a")),
            ("/pi_new", None),
            ("/pi_", None),
            ("/pie", None),
            ("pi_x", None),
        ] {
            assert_eq!(from_menu(text, &known).as_deref(), want, "{text}");
        }
        assert_eq!(menu_name("A-very-long-name-of-a-command-of-pi"), "pi_a_very_long_name_of_a_command");
    }

    #[test]
    fn commands_are_recognised_exactly() {
        let mut rules = Rules { abort_words: vec!["halt".into()], ..Rules::default() };
        rules.bash = true;
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
            ("/role", Some(Command::Role(RoleCommand::Show))),
            ("/photo a.png my cat", Some(Command::Media("a.png my cat".into()))),
            ("/role switch boss", Some(Command::Role(RoleCommand::Set("boss".into())))),
            ("/role set", Some(Command::Role(RoleCommand::Unclear))),
            ("!ls -l", Some(Command::Bang("ls -l".into()))),
            ("/cron", Some(Command::Cron(CronCommand::List))),
            ("/cron run a", Some(Command::Cron(CronCommand::Run("a".into())))),
            ("/cron run", Some(Command::Cron(CronCommand::Unclear))),
            ("!!", None),
            ("! ", None),
            ("/coder", Some(Command::Agent("coder".into()))),
            ("/coder do it", None),
        ] {
            assert_eq!(parse(text, &rules), want, "{text}");
        }
    }
}
