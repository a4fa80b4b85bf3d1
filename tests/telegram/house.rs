//! A gateway with one bot, its agent the stand-in.

use serde_json::{json, Value};

use crate::support::bot_api::BotApi;
use crate::support::fake_pi::{FakePi, Flavour};
use crate::support::gateway::Gateway;

/// A person whom the gateway knows.
pub const ANN: i64 = 7;

pub struct House {
    pub api: BotApi,
    pub pi: FakePi,
    pub g: Gateway,
}

impl House {
    /// Ann may write; further keys of `channels.telegram` on top.
    pub fn new(telegram: Value) -> House {
        House::at(BotApi::start(), telegram)
    }

    pub fn at(api: BotApi, telegram: Value) -> House {
        let house = House::unconnected(api, telegram);
        house.api.wait_polling();
        house
    }

    /// Its bot may never get through.
    pub fn unconnected(api: BotApi, telegram: Value) -> House {
        let pi = FakePi::new(Flavour::New);
        let mut all = json!({
            "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": [ANN.to_string()],
            "pollTimeoutS": 5,
        });
        for (key, value) in telegram.as_object().unwrap() {
            all[key] = value.clone();
        }
        let config = json!({
            "agent": {"piCliPath": pi.program()}, "session": {"dmScope": "per-channel-peer"},
            "channels": {"telegram": all},
        });
        let g = Gateway::new(config).start();
        House { api, pi, g }
    }

    /// Waits until everything owed is known to have been taken: a kill before that may repeat a message.
    pub fn settled(&self) {
        self.counts("SELECT count(*) FROM outbox WHERE state IN ('raw', 'ready', 'sending')", 0);
    }

    /// Waits until a query gives that number.
    pub fn counts(&self, sql: &str, number: i64) {
        self.g.wait_until(sql, |g| {
            let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
            db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap() == number
        });
    }

    /// Everything that was sent to a chat by the bot, as it stands there now.
    pub fn said(&self, chat: i64) -> Vec<String> {
        let all = self.api.messages(chat).into_iter().filter(|m| m.bot.is_some() && !m.deleted);
        all.map(|m| m.text().to_owned()).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.g.log());
        }
    }
}
