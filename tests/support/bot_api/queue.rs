//! Updates on their way to a bot: the queue, long polls (telegram.md 4.1), the webhook's settings (4.3).

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::args::{Args, Refusal};
use super::hook::{self, Hook};
use super::methods::Ask;
use super::world::{Bot, Poll, Shared, World};

/// Not delivered to a bot that has not asked for them.
const UNASKED: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

const SECOND_POLLER: &str =
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
const HOOKED: &str =
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
const BY_HOOK: &str = "Conflict: terminated by setWebhook request";

impl World {
    /// Queues an update if the bot wants its kind: its `update_id`.
    pub fn push(&mut self, bot: i64, kind: &str, payload: Value) -> Option<i64> {
        let bot = self.bot(bot);
        let wanted = match &bot.allowed {
            Some(kinds) => kinds.contains(kind),
            None => !UNASKED.contains(&kind),
        };
        wanted.then(|| {
            let id = bot.next_update;
            bot.push_raw(json!({"update_id": id, kind: payload}));
            id
        })
    }
}

impl Bot {
    /// Queues an update as it is, whatever its id.
    pub fn push_raw(&mut self, update: Value) {
        self.next_update = update["update_id"].as_i64().map_or(self.next_update, |id| id + 1);
        self.last_update = Some(update.clone());
        self.queue.push_back(update);
    }

    fn allow(&mut self, args: &Args) -> Result<(), Refusal> {
        if let Some(kinds) = args.array("allowed_updates", "allowed_updates")? {
            let kinds: BTreeSet<String> = kinds.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect();
            self.allowed = Some(kinds).filter(|kinds| !kinds.is_empty());
        }
        Ok(())
    }
}

fn gone(socket: &TcpStream) -> bool {
    // The thread of that poll waits for an update, not for this socket.
    let _ = socket.set_nonblocking(true);
    let seen = socket.peek(&mut [0]);
    let _ = socket.set_nonblocking(false);
    match seen {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// A 409, held back if the last one was just now.
fn conflict(world: &mut World, bot: i64, why: &str) -> Refusal {
    let delay = world.options.conflict_delay;
    let bot = world.bot(bot);
    let at = Instant::now();
    let mut refusal = Refusal::new(409, why);
    if bot.conflict_until.is_some_and(|until| at < until) {
        refusal.delay = delay;
    } else {
        bot.conflict_until = Some(at + delay);
    }
    refusal
}

/// `getUpdates`: waits for an update, the time, the end of the connection, another poll.
pub fn get_updates(shared: &Shared, bot_id: i64, args: &Args, socket: &TcpStream, age: u64) -> Result<Value, Refusal> {
    let mut world = shared.lock();
    if world.bot(bot_id).hook.is_some() {
        world.violation(bot_id, "getupdates_with_webhook", "");
        return Err(conflict(&mut world, bot_id, HOOKED));
    }
    let at = Instant::now();
    let offset = args.int("offset");
    let mut limit = if args.has("limit") { args.int("limit").clamp(1, 100) as usize } else { 100 };
    let mut timeout = args.int("timeout").clamp(0, 50) as u64;
    if offset < 0 {
        world.violation(bot_id, "negative_offset", offset.to_string());
    }
    let n = world.number();
    let bot = world.bot(bot_id);
    bot.allow(args)?;
    if let Some((_, when)) = bot.last_poll.filter(|(before, _)| *before == offset) {
        let since = at.duration_since(when);
        if timeout < 3 && since < Duration::from_secs(3) {
            timeout = 3;
        }
        if since < Duration::from_millis(500) {
            limit = 1;
        }
    }
    bot.last_poll = Some((offset, at));
    if offset < 0 {
        let keep = bot.queue.len().min(offset.unsigned_abs() as usize);
        bot.queue.drain(..bot.queue.len() - keep);
    } else if offset > 0 {
        bot.queue.retain(|update| update["update_id"].as_i64().is_none_or(|id| id >= offset));
    }
    if !bot.queue.is_empty() || timeout == 0 {
        return Ok(bot.queue.iter().take(limit).cloned().collect());
    }
    if let Some(older) = &mut bot.poll {
        let left = gone(&older.socket);
        older.ended_by = Some(SECOND_POLLER);
        if !left {
            world.violation(bot_id, "two_pollers", "");
        }
        shared.wake();
    }
    let socket = socket.try_clone().map_err(|_| Refusal::new(500, "Internal Server Error"))?;
    world.bot(bot_id).poll = Some(Poll { n, socket, ended_by: None });
    shared.wake();
    let end = at + Duration::from_secs(timeout);
    loop {
        let cut = world.stopped || world.age != age;
        let bot = world.bot(bot_id);
        // An older poll is no more in its place; the newer one took it.
        let ended_by = match &bot.poll {
            Some(poll) if poll.n == n => poll.ended_by,
            _ => Some(SECOND_POLLER),
        };
        let over = cut || ended_by.is_some() || !bot.queue.is_empty() || Instant::now() >= end;
        if over {
            if bot.poll.as_ref().is_some_and(|poll| poll.n == n) {
                bot.poll = None;
            }
            let found: Value = bot.queue.iter().take(limit).cloned().collect();
            return match ended_by {
                Some(why) => Err(conflict(&mut world, bot_id, why)),
                None => Ok(found),
            };
        }
        world = shared.wait(world, Some(end));
    }
}

impl Ask<'_> {
    pub fn set_webhook(&mut self) -> Result<Value, Refusal> {
        let url = self.args.text("url");
        if url.is_empty() {
            return self.delete_webhook();
        }
        let full = if url.contains("://") { url.clone() } else { format!("https://{url}") };
        let (scheme, rest) = full.split_once("://").unwrap_or(("", ""));
        let host = rest.split('/').next().unwrap_or("");
        let (name, port) = host.split_once(':').unwrap_or((host, "443"));
        let loopback = matches!(name, "127.0.0.1" | "localhost");
        if name.is_empty() {
            return Err(Refusal::bad("invalid webhook URL specified"));
        }
        if scheme != "https" && !loopback {
            return Err(Refusal::bad("bad webhook: An HTTPS URL must be provided for webhook"));
        }
        if !["80", "88", "443", "8443"].contains(&port) && !loopback {
            return Err(Refusal::bad("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443"));
        }
        let secret = self.args.text("secret_token");
        if secret.len() > 256 {
            return Err(Refusal::bad("secret token is too long"));
        }
        if !secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(Refusal::bad("secret token contains unallowed characters"));
        }
        let most = if self.args.has("max_connections") { self.args.int("max_connections").clamp(1, 100) } else { 40 };
        let custom = self.args.file("certificate").is_some();
        let (args, number) = (self.args, self.world.number());
        let bot = self.world.bot(self.bot);
        bot.allow(args)?;
        if args.flag("drop_pending_updates") {
            bot.queue.clear();
        }
        if let Some(poll) = &mut bot.poll {
            poll.ended_by = Some(BY_HOOK);
        }
        if bot.hook.as_ref().is_none_or(|hook| (&hook.url, &hook.secret) != (&full, &secret)) {
            bot.hook = Some(Hook::new(number, full, secret, most as usize, custom));
        }
        Ok(json!(true))
    }

    pub fn delete_webhook(&mut self) -> Result<Value, Refusal> {
        let drop = self.args.flag("drop_pending_updates");
        let bot = self.world.bot(self.bot);
        bot.hook = None;
        if drop {
            bot.queue.clear();
        }
        Ok(json!(true))
    }

    pub fn webhook_info(&mut self) -> Result<Value, Refusal> {
        Ok(hook::info(self.world.bot(self.bot)))
    }
}
