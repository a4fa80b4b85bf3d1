//! The webhook: delivers queued updates by POST, in order within a chat, again until it gets a 200.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::world::{now, Bot, Shared, World};

/// Longest pause between two tries.
const MOST: Duration = Duration::from_secs(60);

pub struct Hook {
    pub n: u64,
    pub url: String,
    pub secret: String,
    pub most: usize,
    pub custom: bool,
    /// Unix time and text of the last failure.
    pub failed: Option<(i64, String)>,
    pub delivered: usize,
    /// Chats with a delivery under way.
    busy: BTreeSet<i64>,
    /// By `update_id`: not before, tries so far.
    later: BTreeMap<i64, (Instant, u32)>,
}

impl Hook {
    pub fn new(n: u64, url: String, secret: String, most: usize, custom: bool) -> Hook {
        let (busy, later) = (BTreeSet::new(), BTreeMap::new());
        Hook { n, url, secret, most, custom, failed: None, delivered: 0, busy, later }
    }
}

pub fn info(bot: &Bot) -> Value {
    let mut info = json!({"url": "", "has_custom_certificate": false, "pending_update_count": bot.queue.len()});
    if let Some(hook) = &bot.hook {
        info["url"] = json!(hook.url);
        info["has_custom_certificate"] = json!(hook.custom);
        info["max_connections"] = json!(hook.most);
        if let Some((at, why)) = &hook.failed {
            info["last_error_date"] = json!(at);
            info["last_error_message"] = json!(why);
        }
    }
    if let Some(allowed) = &bot.allowed {
        info["allowed_updates"] = json!(allowed);
    }
    info
}

/// The chat an update belongs to; 0: none.
fn chat_of(update: &Value) -> i64 {
    let payloads = update.as_object().into_iter().flatten().filter(|(key, _)| *key != "update_id");
    let mut chats = payloads.map(|(_, p)| p["chat"]["id"].as_i64().or_else(|| p["message"]["chat"]["id"].as_i64()));
    chats.next().flatten().unwrap_or(0)
}

struct Job {
    bot: i64,
    hook: u64,
    url: String,
    secret: String,
    update: Value,
}

enum Next {
    Job(Job),
    /// Nothing to do before this time.
    Later(Option<Instant>),
}

fn next(world: &mut World) -> Next {
    let at = Instant::now();
    let mut soonest: Option<Instant> = None;
    for bot in &mut world.bots {
        let Some(hook) = &mut bot.hook else { continue };
        let mut blocked = hook.busy.clone();
        for update in &bot.queue {
            let chat = chat_of(update);
            if hook.busy.len() >= hook.most || blocked.contains(&chat) {
                continue;
            }
            let due = hook.later.get(&update["update_id"].as_i64().unwrap_or(0)).map(|(due, _)| *due);
            if due.is_none_or(|due| due <= at) {
                hook.busy.insert(chat);
                let (url, secret) = (hook.url.clone(), hook.secret.clone());
                return Next::Job(Job { bot: bot.id, hook: hook.n, url, secret, update: update.clone() });
            }
            blocked.insert(chat);
            soonest = [soonest, due].into_iter().flatten().min();
        }
    }
    Next::Later(soonest)
}

/// Delivers for all bots until the server stops. Four of these work beside each other.
pub fn work(shared: &Arc<Shared>) {
    loop {
        let mut world = shared.lock();
        let job = loop {
            if world.stopped {
                return;
            }
            match next(&mut world) {
                Next::Job(job) => break job,
                Next::Later(until) => world = shared.wait(world, until),
            }
        };
        let key = world.number();
        drop(world);
        let outcome = deliver(shared, key, &job);
        shared.lock().sockets.remove(&key);
        settle(&mut shared.lock(), &job, outcome);
        shared.wake();
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn deliver(shared: &Shared, key: u64, job: &Job) -> io::Result<Reply> {
    let wrong = |what: &str| io::Error::other(what.to_owned());
    // On this machine, whatever ends TLS for a webhook is thought to stand in front of it.
    let near = |rest: &&str| rest.starts_with("127.0.0.1") || rest.starts_with("localhost");
    let rest = job.url.strip_prefix("http://").or_else(|| job.url.strip_prefix("https://").filter(near));
    let rest = rest.ok_or_else(|| wrong("SSL is not spoken here"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut socket = TcpStream::connect(host)?;
    socket.set_read_timeout(Some(MOST))?;
    {
        let mut world = shared.lock();
        if world.stopped {
            return Err(wrong("stopped"));
        }
        world.sockets.insert(key, socket.try_clone()?);
    }
    let body = job.update.to_string();
    let secret = match job.secret.as_str() {
        "" => String::new(),
        secret => format!("X-Telegram-Bot-Api-Secret-Token: {secret}\r\n"),
    };
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip, deflate\r\n\
         {secret}Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let split = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(|| wrong("no answer"))?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| wrong("no status"))?;
    Ok(Reply { status, head, body: answer[split + 4..].to_vec() })
}

fn settle(world: &mut World, job: &Job, outcome: io::Result<Reply>) {
    let backoff = world.options.webhook_backoff;
    let Some(hook) = world.bot(job.bot).hook.as_mut().filter(|hook| hook.n == job.hook) else { return };
    hook.busy.remove(&chat_of(&job.update));
    let id = job.update["update_id"].as_i64().unwrap_or(0);
    let (why, after) = match outcome {
        Ok(reply) if reply.status == 200 => {
            hook.delivered += 1;
            hook.later.remove(&id);
            let queue = &mut world.bot(job.bot).queue;
            if let Some(at) = queue.iter().position(|update| *update == job.update) {
                queue.remove(at);
            }
            if memchr::memmem::find(&reply.body, b"\"method\"").is_some() {
                world.violation(job.bot, "method_in_webhook_reply", String::from_utf8_lossy(&reply.body));
            }
            return;
        }
        Ok(reply) => {
            let fields = reply.head.lines().filter_map(|line| line.split_once(':'));
            let mut after = fields.filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
            let after = after.next().and_then(|(_, value)| value.trim().parse().ok()).map(Duration::from_secs);
            let line = reply.head.lines().next().unwrap_or("").split_once(' ').map_or("", |(_, rest)| rest).to_owned();
            (format!("Wrong response from the webhook: {line}"), after)
        }
        Err(error) => (format!("Connection failed: {error}"), None),
    };
    let tries = hook.later.get(&id).map_or(0, |(_, tries)| *tries);
    let pause = after.unwrap_or_else(|| MOST.min(backoff * 2u32.saturating_pow(tries)));
    hook.later.insert(id, (Instant::now() + pause, tries + 1));
    hook.failed = Some((now(), why));
}

/// The threads that deliver.
pub fn workers(shared: &Arc<Shared>) -> Vec<thread::JoinHandle<()>> {
    let worker = |n: usize| {
        let shared = Arc::clone(shared);
        let name = format!("bot-api-hook-{n}");
        thread::Builder::new().name(name).spawn(move || work(&shared)).expect("thread")
    };
    (1..=4).map(worker).collect()
}
