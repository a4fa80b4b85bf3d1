//! Flood limits: who may send when.

use std::time::{Duration, Instant};

use super::args::Refusal;
use super::methods::Ask;

impl Ask<'_> {
    /// Refuses who comes before a 429's time is over. Answers to callbacks are free.
    pub fn patience(&mut self) -> Result<(), Refusal> {
        let at = Instant::now();
        let (bot, chat) = (self.bot, self.args.int("chat_id"));
        let account = self.world.bot(bot);
        let mut until = match self.method {
            "getUpdates" => account.polls_shut_until,
            "answerCallbackQuery" => None,
            _ => account.shut_until,
        };
        if self.args.has("chat_id") {
            until = until.max(self.world.chat(bot, chat).and_then(|c| c.shut_until));
        }
        match until.filter(|until| *until > at) {
            Some(until) => {
                let left = until - at;
                self.violation("sent_before_retry_after", format!("{} in {chat}: {left:?} too early", self.method));
                Err(Refusal::flood(left))
            }
            None => Ok(()),
        }
    }

    /// Takes so many sends from the chat's and the bot's allowance, if there is one.
    pub fn spend(&mut self, chat: i64, weight: usize) -> Result<(), Refusal> {
        let Some(rate) = self.world.options.rate else { return Ok(()) };
        let at = Instant::now();
        let minute = Duration::from_secs(60);
        let place = self.place(chat);
        let (had, since) = place.tokens.unwrap_or((rate.burst, at));
        let tokens = rate.burst.min(had + at.duration_since(since).as_secs_f64() * rate.per_second);
        place.tokens = Some((tokens, at));
        place.sent_at.retain(|sent| at.duration_since(*sent) < minute);
        let mut wait = Duration::ZERO;
        if tokens < weight as f64 {
            wait = Duration::from_secs_f64((weight as f64 - tokens) / rate.per_second);
        }
        if !place.private() && place.sent_at.len() + weight > rate.group_per_minute {
            let oldest = place.sent_at.front().map_or(minute, |sent| minute - at.duration_since(*sent));
            wait = wait.max(oldest);
        }
        if !wait.is_zero() {
            let refusal = Refusal::flood(wait);
            place.shut_until = Some(at + Duration::from_secs(refusal.parameters["retry_after"].as_u64().unwrap_or(1)));
            return Err(refusal);
        }
        let bot = self.world.bot(self.bot);
        bot.sent_at.retain(|sent| at.duration_since(*sent) < Duration::from_secs(1));
        if bot.sent_at.len() + weight > rate.bot_per_second {
            bot.shut_until = Some(at + Duration::from_secs(1));
            return Err(Refusal::flood(Duration::from_secs(1)));
        }
        bot.sent_at.extend(std::iter::repeat_n(at, weight));
        let place = self.place(chat);
        place.tokens = Some((tokens - weight as f64, at));
        place.sent_at.extend(std::iter::repeat_n(at, weight));
        Ok(())
    }
}
