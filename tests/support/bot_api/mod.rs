//! A Telegram Bot API server for tests: on a free loopback port, run by threads of the test, gone when it is
//! dropped. Texts, limits and habits are those telegram.md marks [S] and [L]; what a client does wrong is
//! kept as violations.
//!
//! A test makes people act (`say.rs`), orders troubles (`faults.rs`) and looks at the chats as their members
//! see them (`view.rs`). Nothing here sleeps to wait for something; every wait has a deadline.
//!
//! ```text
//! let api = BotApi::start();                       // apiRoot: api.root(), botToken: api.token()
//! api.trouble(Rule::on("sendMessage", Trouble::DropAfter).chat(7));
//! let said = api.user_writes(7, "hello");
//! let answer = api.wait_message(7, |m| m.text() == "hi");
//! api.wait_confirmed(said.update_id.unwrap());
//! api.assert_clean();
//! ```
//!
//! Known to be simpler than the service: no Markdown modes, entities found in plain texts are approximate,
//! media are not transcoded, webhooks are spoken to in plain HTTP, a method in a webhook's reply is only
//! reported. A `migrate` of two bots' common group moves both.
#![allow(unused_imports)] // each test program uses its part

mod acts;
mod args;
mod download;
mod entities;
mod faults;
mod files;
mod floods;
mod hook;
mod http;
mod markup;
mod menu;
mod methods;
mod options;
mod queue;
mod say;
mod send;
mod serve;
mod tidy;
mod view;
mod world;

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{json, Value};

use super::DEADLINE;
use world::{chat_key, Bot, Chat, Shared, World};

pub use faults::{Rule, Trouble};
pub use files::PIXEL;
pub use options::{Options, Rate};
pub use say::{Said, Say};
pub use world::{Action, Call, Draft, Line, Message, Query, Violation};

/// Token of the bot a server has from the start.
pub const TOKEN: &str = "123456:TEST-token_of_the_first_bot";

/// A running server, seen as one of its bots. Clones are the same server.
#[derive(Clone)]
pub struct BotApi {
    server: Arc<Server>,
    bot: i64,
}

struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    accept: Mutex<Option<JoinHandle<()>>>,
    hooks: Mutex<Vec<JoinHandle<()>>>,
}

fn listen(listener: TcpListener, shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    let run = move || serve::accept(&listener, &shared);
    thread::Builder::new().name("bot-api-accept".into()).spawn(run).expect("thread")
}

impl BotApi {
    /// One bot, `@fake_gateway_bot`, with [`TOKEN`].
    pub fn start() -> BotApi {
        BotApi::with(Options::default())
    }

    pub fn with(options: Options) -> BotApi {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("address of the listener");
        let mut world = World::new(options);
        let bot = Bot::new(TOKEN, "fake_gateway_bot");
        let id = bot.id;
        world.bots.push(bot);
        let shared = Arc::new(Shared::new(world));
        let hooks = Mutex::new(hook::workers(&shared));
        let accept = Mutex::new(Some(listen(listener, &shared)));
        BotApi { server: Arc::new(Server { shared, address, accept, hooks }), bot: id }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What goes into `apiRoot`.
    pub fn root(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn bot_id(&self) -> i64 {
        self.bot
    }

    pub fn token(&self) -> String {
        let bot = self.bot;
        self.world(|world| world.bot(bot).token.clone())
    }

    fn world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.server.shared.lock());
        self.server.shared.wake();
        result
    }

    /// Another bot: the same server, seen as that one. It is a member of the groups there are.
    pub fn add_bot(&self, token: &str, username: &str) -> BotApi {
        let bot = Bot::new(token, username);
        let id = bot.id;
        self.world(|world| {
            world.bots.push(bot);
            for chat in world.chats.values_mut().filter(|chat| !chat.private()) {
                chat.bots.insert(id, "member".into());
            }
        });
        BotApi { server: Arc::clone(&self.server), bot: id }
    }

    /// The old token is revoked. The digits before the colon stay, or the new bot would be another one.
    pub fn change_token(&self, token: &str) {
        let bot = self.bot;
        assert!(token.starts_with(&format!("{bot}:")), "a token of bot {bot}");
        self.world(|world| world.bot(bot).token = token.to_owned());
    }

    /// Every call is refused with `Logged out`, or no more.
    pub fn logged_out(&self, yes: bool) {
        let bot = self.bot;
        self.world(|world| world.bot(bot).logged_out = yes);
    }

    /// Privacy mode: in groups the bot sees only what is meant for it.
    pub fn privacy(&self, on: bool) {
        let bot = self.bot;
        self.world(|world| world.bot(bot).privacy = on);
    }

    /// A person: `first_name`, `username`…; the rest of User is made up.
    pub fn add_user(&self, id: i64, fields: Value) {
        self.world(|world| {
            let mut user = world.user(id);
            for (key, value) in fields.as_object().into_iter().flatten() {
                user[key] = value.clone();
            }
            world.users.insert(id, user.clone());
            for chat in world.chats.values_mut().filter(|chat| chat.private() && chat.id == id) {
                chat.user = user.clone();
            }
        });
    }

    /// The person has met the bot: it may write first.
    pub fn add_private(&self, user: i64) {
        let bot = self.bot;
        self.world(|world| world.meet(bot, user));
    }

    fn add_place(&self, id: i64, kind: &'static str, title: &str) {
        assert!(id < 0, "groups have negative ids");
        self.world(|world| {
            let mut chat = Chat::new(id, kind, title, Value::Null);
            chat.bots = world.bots.iter().map(|bot| (bot.id, "member".to_owned())).collect();
            world.chats.insert(chat_key(0, id), chat);
        });
    }

    pub fn add_group(&self, id: i64, title: &str) {
        self.add_place(id, "group", title);
    }

    pub fn add_supergroup(&self, id: i64, title: &str) {
        self.add_place(id, "supergroup", title);
    }

    pub fn add_channel(&self, id: i64, title: &str, username: &str) {
        self.add_place(id, "channel", title);
        let chat = chat_key(0, id);
        self.world(|world| {
            world.chats.entry(chat).and_modify(|chat| chat.username = Some(username.to_owned()));
        });
    }

    /// A supergroup with topics: (id, name).
    pub fn add_forum(&self, id: i64, title: &str, topics: &[(i64, &str)]) {
        self.add_place(id, "supergroup", title);
        let bot = self.bot;
        self.world(|world| {
            let chat = world.chat(bot, id).expect("added above");
            chat.forum = true;
            chat.topics = topics.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
            chat.next_id = topics.iter().map(|(id, _)| id + 1).max().unwrap_or(2).max(2);
        });
    }

    /// A member of a group: `member`, `administrator`, `creator`…
    pub fn add_member(&self, chat: i64, user: i64, status: &str) {
        let bot = self.bot;
        self.world(|world| {
            world.user(user);
            let place = world.chat(bot, chat).expect("a known chat");
            place.members.insert(user, status.to_owned());
        });
    }

    /// As [`BotApi::bot_becomes`], but the bot is not told.
    pub fn set_bot_status(&self, chat: i64, status: &str) {
        let bot = self.bot;
        self.world(|world| {
            world.meet(bot, chat);
            let place = world.chat(bot, chat).expect("met");
            place.bots.insert(bot, status.to_owned());
        });
    }

    /// Orders a trouble: the id of the rule. Of several rules the oldest that fits strikes.
    pub fn trouble(&self, mut rule: Rule) -> u64 {
        self.world(|world| {
            rule.id = world.number();
            world.faults.push(rule.clone());
            rule.id
        })
    }

    /// Calls that a rule holds go on; so do those it will strike later.
    pub fn release(&self, rule: u64) {
        self.world(|world| world.released.insert(rule));
    }

    /// No more troubles; held calls go on.
    pub fn clear_troubles(&self) {
        self.world(|world| {
            let ids: Vec<u64> = world.faults.drain(..).map(|rule| rule.id).collect();
            world.released.extend(ids);
        });
    }

    /// A 429's time is over at once, for all.
    pub fn forgive(&self) {
        self.world(|world| {
            world.chats.values_mut().for_each(|chat| chat.shut_until = None);
            for bot in &mut world.bots {
                (bot.shut_until, bot.polls_shut_until) = (None, None);
            }
        });
    }

    /// Takes the server down or up again; its port, its state and its queues stay.
    pub fn line(&self, line: Line) {
        let before = self.world(|world| {
            let before = std::mem::replace(&mut world.line, line);
            if line == Line::Refused || before != line && line == Line::Up {
                world.cut();
            }
            before
        });
        let mut accept = self.server.accept.lock().expect("no panic under this lock");
        if line == Line::Refused && before != Line::Refused {
            self.server.join_acceptor(&mut accept);
        } else if line != Line::Refused && before == Line::Refused {
            let listener = TcpListener::bind(self.server.address).expect("the port is still ours");
            *accept = Some(listen(listener, &self.server.shared));
        }
    }

    /// Cuts every connection; new ones are welcome.
    pub fn cut_connections(&self) {
        self.world(World::cut);
    }
}

impl World {
    fn cut(&mut self) {
        self.age += 1;
        for socket in self.sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Server {
    fn join_acceptor(&self, accept: &mut Option<JoinHandle<()>>) {
        let Some(thread) = accept.take() else { return };
        // The connection wakes the acceptor, which then sees that it shall stop.
        let _ = TcpStream::connect(self.address);
        let _ = thread.join();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        {
            let mut world = self.shared.lock();
            world.stopped = true;
            world.cut();
        }
        self.shared.wake();
        if let Ok(accept) = self.accept.get_mut() {
            let mut accept = accept.take();
            self.join_acceptor(&mut accept);
        }
        for hook in self.hooks.get_mut().map(std::mem::take).unwrap_or_default() {
            let _ = hook.join();
        }
    }
}

fn scope_key(scope: &Value, language: &str) -> String {
    // Fields in order, so that equal scopes are one key.
    let fields: std::collections::BTreeMap<_, _> = scope.as_object().into_iter().flatten().collect();
    format!("{fields:?} {language}")
}

/// A ChatMember.
fn member(user: &Value, status: &str) -> Value {
    let shown = match status {
        "blocked" | "deactivated" => "kicked",
        other => other,
    };
    let mut member = json!({"user": user, "status": shown});
    match shown {
        "administrator" => {
            for right in [
                "can_be_edited",
                "can_manage_chat",
                "can_delete_messages",
                "can_manage_video_chats",
                "can_restrict_members",
                "can_promote_members",
                "can_change_info",
                "can_invite_users",
                "can_post_stories",
                "can_edit_stories",
                "can_delete_stories",
                "can_pin_messages",
                "can_manage_topics",
            ] {
                member[right] = json!(true);
            }
            member["is_anonymous"] = json!(false);
        }
        "creator" => member["is_anonymous"] = json!(false),
        "kicked" => member["until_date"] = json!(0),
        "restricted" => member["is_member"] = json!(true),
        _ => {}
    }
    member
}
