//! Connections: one thread each, requests one after the other, faults where they strike.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::args::{self, Args, Refusal};
use super::faults::{Rule, Trouble};
use super::http::{self, Head};
use super::methods::Ask;
use super::queue;
use super::world::{Call, Line, Shared, Violation};

/// Takes connections until the server stops or nobody shall listen any more.
pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for socket in listener.incoming().map_while(Result::ok) {
        let (key, age) = {
            let mut world = shared.lock();
            if world.stopped || world.line == Line::Refused {
                break;
            }
            let key = world.number();
            let Ok(second) = socket.try_clone() else { continue };
            world.sockets.insert(key, second);
            (key, world.age)
        };
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            let _ = socket.set_nodelay(true);
            let _ = Connection { socket: &socket, shared: &shared, n: key, age }.run();
            shared.lock().sockets.remove(&key);
            let _ = socket.shutdown(Shutdown::Both);
        }));
        threads.retain(|thread| !thread.is_finished());
    }
    for thread in threads {
        let _ = thread.join();
    }
}

pub struct Connection<'a> {
    socket: &'a TcpStream,
    pub shared: &'a Shared,
    /// Its number.
    n: u64,
    pub age: u64,
}

pub fn ended<T>() -> io::Result<T> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// What a path names.
enum Target {
    Method(String, String),
    File(String, String),
    Nothing,
}

fn target(path: &str) -> Target {
    let token_like = |token: &str| {
        token.split_once(':').is_some_and(|(id, secret)| {
            let secret_like = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            id.parse::<i64>().is_ok() && !secret.is_empty() && secret.bytes().all(secret_like)
        })
    };
    let file = path.strip_prefix("/file/bot").and_then(|rest| rest.split_once('/'));
    if let Some((token, path)) = file.filter(|(token, _)| token_like(token)) {
        return Target::File(token.to_owned(), path.to_owned());
    }
    match path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) {
        Some((token, method)) if token_like(token) && !method.contains('/') => {
            Target::Method(token.to_owned(), method.to_owned())
        }
        _ => Target::Nothing,
    }
}

impl Connection<'_> {
    fn run(&self) -> io::Result<()> {
        let mut reader = BufReader::new(self.socket);
        let most = self.shared.lock().options.max_upload;
        while let Some(head) = http::read_head(&mut reader)? {
            self.pass_line()?;
            let target = target(&head.path);
            let (token, method) = match &target {
                Target::Method(token, method) => (token.as_str(), args::method_named(method).unwrap_or(method)),
                Target::File(token, _) => (token.as_str(), "file"),
                Target::Nothing => ("", ""),
            };
            let bot = self.shared.lock().bots.iter().find(|b| b.token == token).map(|b| b.id);
            self.drop_by_path(method, bot)?;
            let mut writer = self.socket;
            let body = http::read_body(&mut reader, &mut writer, &head, most)?;
            match (&target, body) {
                (Target::Nothing, _) => {
                    self.stray(&head);
                    self.refuse(&Refusal::new(404, "Not Found"))?;
                }
                (_, None) => self.refuse(&Refusal::new(413, "Request Entity Too Large"))?,
                (Target::File(_, path), _) => self.download(&head, bot, path)?,
                (Target::Method(..), Some(body)) => self.call(&head, bot, method, &body)?,
            }
            if head.last() {
                break;
            }
        }
        Ok(())
    }

    /// Stays here while the server hangs; an error when this connection is cut.
    pub fn pass_line(&self) -> io::Result<()> {
        let mut world = self.shared.lock();
        if world.line == Line::Hanging {
            world.stuck += 1;
            self.shared.wake();
            while world.line == Line::Hanging && !world.stopped && world.age == self.age {
                world = self.shared.wait(world, None);
            }
            world.stuck -= 1;
        }
        if world.stopped || world.age != self.age {
            return ended();
        }
        Ok(())
    }

    fn drop_by_path(&self, method: &str, bot: Option<i64>) -> io::Result<()> {
        let mut world = self.shared.lock();
        let fits = |rule: &&mut Rule| matches!(rule.trouble, Trouble::DropBefore) && rule.by_path(method, bot);
        let struck = world.faults.iter_mut().filter(fits).any(|rule| rule.live() && rule.strikes(method, bot, None));
        if struck {
            drop(world);
            self.log(method, bot, &Args::default(), true);
            self.shared.lock().calls.last_mut().expect("just logged").done = true;
            self.shared.wake();
            return ended();
        }
        Ok(())
    }

    pub fn strike(&self, method: &str, bot: Option<i64>, chat: Option<i64>) -> Option<Rule> {
        let mut world = self.shared.lock();
        let unread = |rule: &Rule| matches!(rule.trouble, Trouble::DropBefore) && rule.by_path(method, bot);
        world
            .faults
            .iter_mut()
            .find_map(|rule| (!unread(rule) && rule.strikes(method, bot, chat)).then(|| rule.clone()))
    }

    pub fn log(&self, method: &str, bot: Option<i64>, args: &Args, faulted: bool) -> usize {
        let mut world = self.shared.lock();
        let n = world.calls.len() + 1;
        world.calls.push(Call {
            n,
            method: method.to_owned(),
            bot,
            connection: self.n,
            params: args.describe(),
            status: None,
            error: None,
            applied: false,
            faulted,
            at: Instant::now(),
            done: false,
        });
        drop(world);
        self.shared.wake();
        n
    }

    pub fn note(&self, n: usize, change: impl FnOnce(&mut Call)) {
        change(&mut self.shared.lock().calls[n - 1]);
        self.shared.wake();
    }

    fn stray(&self, head: &Head) {
        let detail = format!("{} {}", head.verb, head.path);
        self.shared.lock().violations.push(Violation { kind: "no_such_path", bot: None, detail });
    }

    /// What no client of ours does: GET, parameters (or a token) in the query.
    pub fn manners(&self, head: &Head, bot: i64, verb: &str) {
        let mut world = self.shared.lock();
        if head.verb != verb {
            world.violation(bot, "wrong_verb", format!("{} {}", head.verb, head.path));
        }
        if !head.query.is_empty() {
            let token = world.bot(bot).token.clone();
            let kind = if head.query.contains(&token) { "token_in_query" } else { "parameters_in_query" };
            world.violation(bot, kind, head.query.clone());
        }
    }

    fn call(&self, head: &Head, bot: Option<i64>, method: &str, body: &[u8]) -> io::Result<()> {
        let (args, unreadable) = match http::parse_args(head, body) {
            Ok(args) => (args, None),
            Err(refusal) => (Args::default(), Some(refusal)),
        };
        let chat = args.has("chat_id").then(|| args.int("chat_id"));
        let rule = self.strike(method, bot, chat);
        let n = self.log(method, bot, &args, rule.is_some());
        if let Some(bot) = bot {
            self.manners(head, bot, "POST");
        }
        let trouble = rule.as_ref().map(|rule| (rule.id, rule.trouble.clone()));
        let result = self.carry_out(n, bot, method, &args, unreadable, trouble.as_ref());
        let outcome = result.and_then(|answer| self.send(n, answer, trouble.as_ref()));
        self.note(n, |call| call.done = true);
        outcome
    }

    /// The answer of a call; an error: there shall be none.
    fn carry_out(
        &self,
        n: usize,
        bot: Option<i64>,
        method: &str,
        args: &Args,
        unreadable: Option<Refusal>,
        trouble: Option<&(u64, Trouble)>,
    ) -> io::Result<Result<Value, Refusal>> {
        match trouble {
            Some((_, Trouble::Refuse(status, text, parameters))) => {
                let mut refusal = Refusal::new(*status, text);
                refusal.parameters = parameters.clone();
                return Ok(Err(refusal));
            }
            Some((_, Trouble::Flood(seconds))) => {
                self.flood(bot, method, args, *seconds);
                return Ok(Err(Refusal::flood(Duration::from_secs(*seconds))));
            }
            Some((_, Trouble::DropBefore)) => return ended(),
            Some((_, Trouble::Garbage(..))) => return Ok(Ok(Value::Null)),
            Some((id, Trouble::Hold)) => self.hold(*id)?,
            Some((_, Trouble::Slow(time))) => self.shared.pause(*time, self.age),
            _ => {}
        }
        self.pass_line()?;
        let outcome = self.apply(bot, method, args, unreadable);
        self.note(n, |call| call.applied = outcome.is_ok());
        if let Err(refusal) = &outcome {
            if !refusal.delay.is_zero() {
                self.shared.pause(refusal.delay, self.age);
            }
        }
        match trouble {
            Some((_, Trouble::DropAfter)) => return ended(),
            Some((id, Trouble::HoldAnswer)) => self.hold(*id)?,
            _ => {}
        }
        Ok(outcome)
    }

    fn apply(
        &self,
        bot: Option<i64>,
        method: &str,
        args: &Args,
        unreadable: Option<Refusal>,
    ) -> Result<Value, Refusal> {
        let unauthorized = || Refusal::new(401, "Unauthorized");
        let bot = bot.ok_or_else(unauthorized)?;
        let Some(known) = args::method_named(method) else {
            self.shared.lock().violation(bot, "unknown_method", method);
            return Err(Refusal::new(404, "Not Found: method not found"));
        };
        {
            let mut world = self.shared.lock();
            if world.bot(bot).logged_out {
                return Err(Refusal::new(400, "Logged out"));
            }
            if let Some(refusal) = unreadable {
                world.violation(bot, "unreadable_body", method);
                return Err(refusal);
            }
            for (kind, detail) in args::check(known, args) {
                world.violation(bot, kind, detail);
            }
            let mut ask = Ask { world: &mut world, bot, args, method: known };
            ask.patience()?;
            if known != "getUpdates" {
                let outcome = ask.run();
                drop(world);
                self.shared.wake();
                return outcome;
            }
        }
        queue::get_updates(self.shared, bot, args, self.socket, self.age)
    }

    /// Remembers that nobody may come again for so long.
    fn flood(&self, bot: Option<i64>, method: &str, args: &Args, seconds: u64) {
        let Some(bot) = bot else { return };
        let until = Some(Instant::now() + Duration::from_secs(seconds));
        let mut world = self.shared.lock();
        if method == "getUpdates" {
            world.bot(bot).polls_shut_until = until;
        } else if let Some(chat) = world.chat(bot, args.int("chat_id")) {
            chat.shut_until = until;
        } else {
            world.bot(bot).shut_until = until;
        }
    }

    pub fn hold(&self, id: u64) -> io::Result<()> {
        let mut world = self.shared.lock();
        while !world.released.contains(&id) {
            if world.stopped || world.age != self.age {
                return ended();
            }
            world = self.shared.wait(world, None);
        }
        Ok(())
    }

    fn refuse(&self, refusal: &Refusal) -> io::Result<()> {
        let body = refusal.body().to_string();
        let mut socket = self.socket;
        socket.write_all(&http::answer(refusal.status, "application/json", "", body.as_bytes()))
    }

    pub fn send(&self, n: usize, outcome: Result<Value, Refusal>, trouble: Option<&(u64, Trouble)>) -> io::Result<()> {
        self.pass_line()?;
        let mut extra = String::new();
        let (mut status, body) = match &outcome {
            Ok(result) => (200, json!({"ok": true, "result": result})),
            Err(refusal) => {
                if let Some(seconds) = refusal.parameters["retry_after"].as_u64() {
                    extra = format!("Retry-After: {seconds}\r\n");
                }
                (refusal.status, refusal.body())
            }
        };
        let (mut kind, mut body) = ("application/json", body.to_string().into_bytes());
        if let Some((_, Trouble::Garbage(other, text) | Trouble::GarbageAfter(other, text))) = trouble {
            (status, kind, body) = (*other, "text/html", text.clone().into_bytes());
        }
        self.note(n, |call| {
            call.status = Some(status);
            call.error = outcome.err().map(|refusal| refusal.description);
        });
        self.write(&http::answer(status, kind, &extra, &body), body.len(), trouble)
    }

    pub fn write(&self, answer: &[u8], body: usize, trouble: Option<&(u64, Trouble)>) -> io::Result<()> {
        let mut socket = self.socket;
        match trouble {
            Some((_, Trouble::Truncated)) => {
                socket.write_all(&answer[..answer.len() - body.div_ceil(2)])?;
                ended()
            }
            Some((_, Trouble::Trickle(pause))) => {
                socket.write_all(&answer[..answer.len() - body])?;
                for byte in &answer[answer.len() - body..] {
                    self.shared.pause(*pause, self.age);
                    self.pass_line()?;
                    socket.write_all(&[*byte])?;
                }
                Ok(())
            }
            _ => socket.write_all(answer),
        }
    }
}
