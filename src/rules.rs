//! What the mind takes from the configuration: plain values, nothing to look up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::access::Access;
use crate::cron::job::Job;
use crate::delegation::Delegation;
use crate::message::{Additions, Address, Source, Target};
use crate::routing::{Routing, GENERAL};

/// What happens to a message that comes while a turn of its session runs (core.md 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Steer,
    FollowUp,
    Interrupt,
}

impl Mode {
    /// `followup` is accepted for `follow-up`.
    pub fn parse(s: &str) -> Option<Mode> {
        match s {
            "steer" => Some(Mode::Steer),
            "follow-up" | "followup" => Some(Mode::FollowUp),
            "interrupt" => Some(Mode::Interrupt),
            _ => None,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Steer => "steer",
            Mode::FollowUp => "follow-up",
            Mode::Interrupt => "interrupt",
        }
    }
}

/// `queue.dropPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropPolicy {
    Summarize,
    Old,
    New,
}

/// How a channel treats what we send (core.md 22.5).
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelRules {
    /// Replies are delivered when they are committed: the store is the mailbox.
    pub mailbox: bool,
    /// A send may be repeated with the same nonce without a second message appearing.
    pub repeat_safe: bool,
}

/// Which messages of an answer are shown as replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyTo {
    Off,
    #[default]
    First,
    All,
}

/// How often something may be sent: one per interval (ms), that many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub every: u64,
    pub burst: u64,
    /// Of the burst: what passes by may not have these.
    pub kept: u64,
}

/// How a platform wants to be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Messages to one chat: of the first entry with which its id begins, all rates.
    pub chats: Vec<(String, Vec<Rate>)>,
    /// Messages of the account.
    pub account: Vec<Rate>,
}

/// The live view of a turn's text.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewRules {
    /// Between two changes, ms: of the first entry with which the chat's id begins.
    pub every: Vec<(String, u64)>,
    /// Finished paragraphs are messages of their own, and nothing is changed.
    pub blocks: bool,
}

/// How many buttons a message may have; none at all by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub per_row: usize,
    pub most: usize,
}

/// One account of a channel that is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountRules {
    pub access: Access,
    pub reply_to: ReplyTo,
    pub pace: Pace,
    /// `None`: answers are not shown while they grow.
    pub view: Option<ViewRules>,
    /// Between two signs that somebody is typing, ms; 0: none.
    pub typing: u64,
    /// Reaction to a message that is being worked on.
    pub ack: Option<String>,
    /// What happens to a message while a turn runs; `None`: as everywhere.
    pub mode: Option<Mode>,
    pub keys: Keys,
    pub inflow: Inflow,
    /// The tools of an answer stay before its text.
    pub show_tools: bool,
    /// Private chats: an answer of which nothing was seen for that long comes as a message of its own, which notifies,
    /// ms; 0: never.
    pub notify_after: u64,
    /// By group, or `*`; an exact id replaces `*`.
    pub additions: BTreeMap<String, GroupAdditions>,
}

/// What a group adds to what its agent is started with; a topic has what it has of its own, else the group's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupAdditions {
    pub all: Additions,
    pub topics: BTreeMap<String, Additions>,
}

/// How messages of people that come in pieces, or change, are taken (core.md 6). Milliseconds; 0: not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inflow {
    /// An album is complete that long after its last part,
    pub album: u64,
    /// but at the latest that long after its first.
    pub album_most: u64,
    /// A text of so many UTF-16 units may go on in the next message;
    pub long_text: usize,
    /// that is waited for that long.
    pub long_wait: u64,
    /// Forwarded messages of one sender belong together if no more than that lies between them.
    pub forwards: u64,
    /// Plain texts of one sender are joined if no more than that lies between them.
    pub typing: u64,
    /// An edit of a message that waits no more comes as a new message.
    pub resend_edits: bool,
}

/// An agent's settings that matter to the mind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentRules {
    pub workspace: Option<PathBuf>,
    pub model: Option<String>,
    pub role: Option<String>,
}

/// Scheduled jobs (core.md 13).
#[derive(Clone, Debug, PartialEq)]
pub struct CronRules {
    pub on: bool,
    /// Running at the same time.
    pub most: usize,
    /// Of the configuration file.
    pub jobs: Vec<Job>,
    /// Of a job without a limit of its own, ms.
    pub timeout: u64,
    pub address: Address,
}

impl Default for CronRules {
    fn default() -> CronRules {
        CronRules { on: false, most: 1, jobs: Vec::new(), timeout: 120_000, address: Address::default() }
    }
}

/// Regular wake-ups of an agent (core.md 14). Milliseconds unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRules {
    pub every: u64,
    /// `None` = always.
    pub hours: Option<Hours>,
    pub prompt: String,
    /// Characters beside the token that are not worth telling.
    pub ack_max: usize,
    pub skip_when_busy: bool,
    /// A woken run that finds its session busy tries that often again,
    pub retries: u32,
    /// with that between.
    pub retry_delay: u64,
    /// Without any event of the turn.
    pub inactivity: u64,
    /// On a copy of the conversation's file, kept if something was told.
    pub isolate: bool,
}

impl Default for HeartbeatRules {
    fn default() -> HeartbeatRules {
        HeartbeatRules {
            every: 1_800_000,
            hours: None,
            prompt: HEARTBEAT_PROMPT.into(),
            ack_max: 300,
            skip_when_busy: true,
            retries: 3,
            retry_delay: 5_000,
            inactivity: 60_000,
            isolate: true,
        }
    }
}

/// What an agent is asked if the configuration has no words of its own and nothing has happened.
pub const HEARTBEAT_PROMPT: &str =
    "Heartbeat: read core/heartbeat.md if it exists and follow it strictly. Do not infer or \
     repeat old tasks from this conversation. If nothing needs attention, answer exactly HEARTBEAT_OK.";

/// A part of every day, in minutes since midnight; may cross midnight.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    pub start: i64,
    /// Up to 1440.
    pub end: i64,
    /// `None`: that of the times in prompts.
    pub zone: Option<jiff::tz::TimeZone>,
}

impl Hours {
    /// `minute` of the day. A window that ends where it begins is the whole day.
    pub fn hold(&self, minute: i64) -> bool {
        match self.start.cmp(&(self.end % 1440)) {
            _ if self.end - self.start == 1440 => true,
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => (self.start..self.end).contains(&minute),
            std::cmp::Ordering::Greater => minute >= self.start || minute < self.end % 1440,
        }
    }
}

/// All of it. Milliseconds unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub sessions_dir: PathBuf,
    pub workspaces_dir: PathBuf,
    pub role_dirs: BTreeMap<String, PathBuf>,
    pub agents: BTreeMap<String, AgentRules>,
    pub routing: Routing,
    pub channels: BTreeMap<String, ChannelRules>,
    /// By channel and account.
    pub accounts: BTreeMap<(String, String), AccountRules>,
    /// Channels for which pi is started in a way of their own (`agent.tools.byChannel`).
    pub own_tools: Vec<String>,
    /// Channels on which the final text of a turn is left out if its tools have sent something.
    pub concise: Vec<String>,
    /// `provider/id`, tried in this order; the first is the primary.
    pub model: Option<String>,
    pub fallbacks: Vec<String>,
    pub max_fallbacks: usize,
    pub cooldown: u64,
    pub thinking: String,
    pub mode: Mode,
    pub pool_min: usize,
    pub pool_max: usize,
    pub pool_idle: u64,
    pub inactivity: u64,
    /// 0 = none.
    pub turn_max: u64,
    pub collect: bool,
    pub debounce: u64,
    pub max_per_session: usize,
    pub max_waiting: usize,
    pub drop_policy: DropPolicy,
    pub pool_wait: u64,
    pub prio_dm: i64,
    pub prio_group: i64,
    pub prio_bonus: i64,
    pub prio_webhook: i64,
    pub abort_words: Vec<String>,
    /// `/bash` and `!command` are switched on.
    pub bash: bool,
    /// `/restart` is.
    pub restart: bool,
    /// Roles that the configuration names, with `default`.
    pub role_names: Vec<String>,
    pub max_age: i64,
    pub resend_ambiguous: bool,
    pub keep_days: i64,
    pub keep_keys: i64,
    /// Acknowledgements wait for the sync.
    pub durable: bool,
    pub continue_on_restart: bool,
    /// A session begins anew after that long without a message; 0 = never.
    pub idle_reset: i64,
    /// And at that minute of the day in `zone`.
    pub daily_reset: Option<i64>,
    pub transcripts: bool,
    pub cron: CronRules,
    pub delegation: Delegation,
    /// Of agents that are woken; the others have none.
    pub heartbeats: BTreeMap<String, HeartbeatRules>,
    /// Zone of the times in prompts; `None` = UTC (tests).
    pub zone: Option<jiff::tz::TimeZone>,
    /// Rises when a reload changed what pi processes are started with.
    pub generation: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        let web = ChannelRules { mailbox: true, repeat_safe: true };
        Rules {
            sessions_dir: "sessions".into(),
            workspaces_dir: "workspaces".into(),
            role_dirs: BTreeMap::new(),
            agents: BTreeMap::new(),
            routing: Routing::default(),
            own_tools: Vec::new(),
            concise: Vec::new(),
            channels: [("webchat", web.clone()), ("api", web)].map(|(n, c)| (n.to_owned(), c)).into(),
            accounts: BTreeMap::new(),
            model: None,
            fallbacks: Vec::new(),
            max_fallbacks: 1,
            cooldown: 60_000,
            thinking: "off".into(),
            mode: Mode::Steer,
            pool_min: 0,
            pool_max: 4,
            pool_idle: 300_000,
            inactivity: 300_000,
            turn_max: 0,
            collect: true,
            debounce: 1500,
            max_per_session: 15,
            max_waiting: 100,
            drop_policy: DropPolicy::Summarize,
            pool_wait: 30_000,
            prio_dm: 10,
            prio_group: 5,
            prio_bonus: 2,
            prio_webhook: 3,
            abort_words: Vec::new(),
            bash: false,
            restart: false,
            role_names: vec!["default".into()],
            max_age: 86_400_000,
            resend_ambiguous: true,
            keep_days: 7,
            keep_keys: 1000,
            durable: true,
            continue_on_restart: true,
            idle_reset: 0,
            daily_reset: None,
            transcripts: true,
            cron: CronRules::default(),
            delegation: Delegation::default(),
            heartbeats: BTreeMap::new(),
            zone: None,
            generation: 0,
        }
    }
}

impl Rules {
    /// What a process's profile says about the channel: a process serves every channel that is not special.
    pub fn profile_channel(&self, channel: &str) -> String {
        self.own_tools.iter().find(|c| *c == channel).cloned().unwrap_or_default()
    }

    /// Working directory of a role of an agent (core.md 3.3).
    pub fn cwd(&self, agent: &str, role: &str) -> PathBuf {
        self.role_dirs
            .get(role)
            .cloned()
            .or_else(|| self.agents.get(agent).and_then(|a| a.workspace.clone()))
            .unwrap_or_else(|| self.workspaces_dir.join(role))
    }

    pub fn mailbox(&self, channel: &str) -> bool {
        self.channels.get(channel).is_none_or(|c| c.mailbox)
    }

    /// The account that a message came by; `None`: a channel that is not called.
    pub fn account(&self, s: &Source) -> Option<&AccountRules> {
        self.accounts.get(&(s.channel.clone(), s.account.clone().unwrap_or_default()))
    }

    /// The place that somebody wrote by hand, with the accounts there are.
    pub fn address(&self, channel: &str, to: &str) -> Result<Target, String> {
        let of_channel = self.accounts.keys().filter(|(c, _)| c == channel);
        let accounts: Vec<&str> = of_channel.map(|(_, account)| account.as_str()).collect();
        match accounts.is_empty() {
            true => Err(format!("there is no channel \"{channel}\"")),
            false => (self.cron.address.0)(channel, to, &accounts),
        }
    }

    /// The account that a target belongs to.
    pub fn account_of(&self, t: &Target) -> Option<&AccountRules> {
        self.accounts.get(&(t.channel.clone(), t.account.clone()))
    }

    /// What the settings of a group, or of its topic, add.
    pub fn additions(&self, s: &Source) -> Option<&Additions> {
        let groups = &self.account(s)?.additions;
        let group = groups.get(&s.chat).or_else(|| groups.get("*"))?;
        // Only forums have settings of General, and there it has no number of its own.
        let topic = s.thread.as_deref().unwrap_or(GENERAL);
        Some(group.topics.get(topic).unwrap_or(&group.all))
    }

    /// The role that the configuration gives to a chat with that agent (core.md 3.3); `None`: `default`.
    pub fn role_of(&self, agent: &str, source: Option<&Source>) -> Option<&str> {
        let of_chat = source.and_then(|s| self.routing.role(s));
        of_chat.or_else(|| self.agents.get(agent).and_then(|a| a.role.as_deref()))
    }

    pub fn model_of(&self, agent: &str) -> Option<&str> {
        self.agents.get(agent).and_then(|a| a.model.as_deref()).or(self.model.as_deref())
    }
}
