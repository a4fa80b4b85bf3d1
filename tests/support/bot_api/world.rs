//! What the fake server knows: bots, users, chats, messages, the log of calls. One owner: [`Shared`]; every
//! change ends in [`Shared::wake`], so whoever waits looks again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{json, Value};

use super::faults::Rule;
use super::files::StoredFile;
use super::hook::Hook;
use super::options::Options;

/// One request of a bot, as it came and as it ended.
#[derive(Debug, Clone)]
pub struct Call {
    /// Number of the call, from 1.
    pub n: usize,
    /// Name as the documentation spells it; as the client wrote it where there is no such method. `file` is a download.
    pub method: String,
    pub bot: Option<i64>,
    /// Number of the connection it came on, from 1.
    pub connection: u64,
    /// Parameters; an upload is `{"upload":{"name","mime","size"}}`.
    pub params: Value,
    /// HTTP status of the answer; `None` while it runs and when none was given.
    pub status: Option<u16>,
    /// `description` of a refusal.
    pub error: Option<String>,
    /// The call took effect, whatever became of the answer.
    pub applied: bool,
    /// A fault of the test struck it.
    pub faulted: bool,
    pub at: Instant,
    /// Nothing more happens with it.
    pub done: bool,
}

impl Call {
    pub fn chat(&self) -> Option<i64> {
        let id = &self.params["chat_id"];
        id.as_i64().or_else(|| id.as_str()?.parse().ok())
    }
}

/// Something the client must not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: &'static str,
    pub bot: Option<i64>,
    pub detail: String,
}

/// A message of a chat in its present form.
#[derive(Debug, Clone)]
pub struct Message {
    /// The Message object as the API gives it.
    pub api: Value,
    /// The bot that sent it; `None`: a user or the service.
    pub bot: Option<i64>,
    /// The texts (or captions) it had before, oldest first; an edit of the keyboard alone counts too.
    pub former: Vec<String>,
    pub deleted: bool,
    /// Present reactions by user or bot id.
    pub reactions: BTreeMap<i64, Value>,
    /// Parameters of the call that made it, or last edited it.
    pub request: Value,
    pub at: Instant,
}

#[derive(Debug, Clone)]
pub struct Draft {
    pub text: String,
    pub entities: Value,
    pub thread: Option<i64>,
    pub can_stop: bool,
    /// Every text it had, the present one included.
    pub history: Vec<String>,
}

/// A chat action as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub bot: i64,
    pub action: String,
    pub thread: Option<i64>,
}

#[derive(Debug)]
pub struct Chat {
    pub id: i64,
    pub kind: &'static str,
    pub title: String,
    pub username: Option<String>,
    /// The person of a private chat.
    pub user: Value,
    pub forum: bool,
    pub topics: BTreeMap<i64, String>,
    pub closed_topics: BTreeSet<i64>,
    pub members: BTreeMap<i64, String>,
    /// Status per bot: member, administrator, restricted, left, kicked, blocked, deactivated.
    pub bots: BTreeMap<i64, String>,
    pub messages: BTreeMap<i64, Message>,
    pub next_id: i64,
    pub migrated_to: Option<i64>,
    pub drafts: BTreeMap<i64, Draft>,
    pub actions: Vec<Action>,
    pub pins: Vec<i64>,
    pub shut_until: Option<Instant>,
    pub tokens: Option<(f64, Instant)>,
    pub sent_at: VecDeque<Instant>,
}

impl Chat {
    pub fn new(id: i64, kind: &'static str, title: &str, user: Value) -> Chat {
        Chat {
            id,
            kind,
            title: title.to_owned(),
            username: None,
            user,
            forum: false,
            topics: BTreeMap::new(),
            closed_topics: BTreeSet::new(),
            members: BTreeMap::new(),
            bots: BTreeMap::new(),
            messages: BTreeMap::new(),
            next_id: 2, // 1 is the General topic
            migrated_to: None,
            drafts: BTreeMap::new(),
            actions: Vec::new(),
            pins: Vec::new(),
            shut_until: None,
            tokens: None,
            sent_at: VecDeque::new(),
        }
    }

    pub fn private(&self) -> bool {
        self.kind == "private"
    }

    pub fn status(&self, bot: i64) -> &str {
        self.bots.get(&bot).map_or("", String::as_str)
    }

    /// The Chat object inside messages.
    pub fn api(&self) -> Value {
        let mut chat = json!({"id": self.id, "type": self.kind});
        if self.private() {
            for key in ["first_name", "last_name", "username"] {
                if self.user[key].is_string() {
                    chat[key] = self.user[key].clone();
                }
            }
        } else {
            chat["title"] = json!(self.title);
            if let Some(name) = &self.username {
                chat["username"] = json!(name);
            }
            if self.forum {
                chat["is_forum"] = json!(true);
            }
        }
        chat
    }

    /// A message that is there: not deleted.
    pub fn live(&self, id: i64) -> Option<&Message> {
        self.messages.get(&id).filter(|m| !m.deleted)
    }
}

/// A button somebody pressed.
#[derive(Debug, Clone)]
pub struct Query {
    pub id: String,
    pub data: String,
    pub at: Instant,
    /// Text of the answer, once there is one.
    pub answer: Option<String>,
    pub alert: bool,
}

/// The long poll that waits now.
pub struct Poll {
    pub n: u64,
    pub socket: TcpStream,
    /// 409 it shall end with.
    pub ended_by: Option<&'static str>,
}

pub struct Bot {
    pub id: i64,
    pub token: String,
    pub user: Value,
    pub queue: VecDeque<Value>,
    pub next_update: i64,
    pub allowed: Option<BTreeSet<String>>,
    pub poll: Option<Poll>,
    pub conflict_until: Option<Instant>,
    pub last_poll: Option<(i64, Instant)>,
    pub hook: Option<Hook>,
    pub commands: BTreeMap<String, Value>,
    pub files: BTreeMap<String, StoredFile>,
    pub queries: Vec<Query>,
    pub privacy: bool,
    pub logged_out: bool,
    pub next_message: i64,
    pub shut_until: Option<Instant>,
    pub polls_shut_until: Option<Instant>,
    pub sent_at: VecDeque<Instant>,
    pub last_update: Option<Value>,
}

impl Bot {
    pub fn new(token: &str, username: &str) -> Bot {
        let id = token.split(':').next().and_then(|id| id.parse().ok()).expect("a token is digits:secret");
        Bot {
            id,
            token: token.to_owned(),
            user: json!({"id": id, "is_bot": true, "first_name": username, "username": username}),
            queue: VecDeque::new(),
            next_update: 700_000_000 + id % 1000,
            allowed: None,
            poll: None,
            conflict_until: None,
            last_poll: None,
            hook: None,
            commands: BTreeMap::new(),
            files: BTreeMap::new(),
            queries: Vec::new(),
            privacy: false,
            logged_out: false,
            next_message: 1,
            shut_until: None,
            polls_shut_until: None,
            sent_at: VecDeque::new(),
            last_update: None,
        }
    }
}

/// How the server meets its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// As it should.
    Up,
    /// Nobody listens: connections are refused, those that were are cut.
    Refused,
    /// Connections are taken, requests read, nothing ever answered.
    Hanging,
}

pub struct World {
    pub options: Options,
    pub bots: Vec<Bot>,
    pub users: BTreeMap<i64, Value>,
    /// By (bot of a private chat or 0, chat id): two bots have two chats with one person.
    pub chats: BTreeMap<(i64, i64), Chat>,
    pub calls: Vec<Call>,
    pub violations: Vec<Violation>,
    pub faults: Vec<Rule>,
    pub released: BTreeSet<u64>,
    pub sequence: u64,
    pub line: Line,
    /// Requests and answers that stand still because the server hangs.
    pub stuck: usize,
    /// Grows whenever connections are cut; those of an older age end.
    pub age: u64,
    pub sockets: BTreeMap<u64, TcpStream>,
    pub stopped: bool,
}

impl World {
    pub fn new(options: Options) -> World {
        World {
            options,
            bots: Vec::new(),
            users: BTreeMap::new(),
            chats: BTreeMap::new(),
            calls: Vec::new(),
            violations: Vec::new(),
            faults: Vec::new(),
            released: BTreeSet::new(),
            sequence: 0,
            line: Line::Up,
            stuck: 0,
            age: 0,
            sockets: BTreeMap::new(),
            stopped: false,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn bot(&mut self, id: i64) -> &mut Bot {
        self.bots.iter_mut().find(|b| b.id == id).expect("bots are never removed")
    }

    pub fn chat(&mut self, bot: i64, id: i64) -> Option<&mut Chat> {
        self.chats.get_mut(&chat_key(bot, id))
    }

    /// The user, made up when new.
    pub fn user(&mut self, id: i64) -> Value {
        let fresh = || json!({"id": id, "is_bot": false, "first_name": format!("User{id}")});
        self.users.entry(id).or_insert_with(fresh).clone()
    }

    pub fn violation(&mut self, bot: i64, kind: &'static str, detail: impl Into<String>) {
        self.violations.push(Violation { kind, bot: Some(bot), detail: detail.into() });
    }

    /// Ids count per chat in supergroups and channels, per account elsewhere.
    pub fn new_message_id(&mut self, bot: i64, chat: i64) -> i64 {
        let place = self.chat(bot, chat).expect("the caller has the chat");
        let counter = match place.kind {
            "supergroup" | "channel" => &mut place.next_id,
            _ => &mut self.bot(bot).next_message,
        };
        *counter += 1;
        *counter - 1
    }
}

pub fn chat_key(bot: i64, id: i64) -> (i64, i64) {
    (if id > 0 { bot } else { 0 }, id)
}

/// Unix time in seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

pub struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

impl Shared {
    pub fn new(world: World) -> Shared {
        Shared { world: Mutex::new(world), changed: Condvar::new() }
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        // A failed assertion of one test thread must not hide what the others saw.
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, at most until `end`; `None`: no limit.
    pub fn wait<'a>(&'a self, world: MutexGuard<'a, World>, end: Option<Instant>) -> MutexGuard<'a, World> {
        match end {
            None => self.changed.wait(world).unwrap_or_else(|poisoned| poisoned.into_inner()),
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(world, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0
            }
        }
    }

    /// Waits `length`, or less if the server stops or the connections of `age` are cut.
    pub fn pause(&self, length: Duration, age: u64) {
        let end = Instant::now() + length;
        let mut world = self.lock();
        while !world.stopped && world.age == age && Instant::now() < end {
            world = self.wait(world, Some(end));
        }
    }
}
