//! `pi-gw send` as cron would call it: from start to exit, to a Bot API of the tests on this machine.
#![allow(clippy::unwrap_used)] // a bench that cannot measure has to stop loudly

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::house::{beside, binary, House};
use crate::table::{median, ms, percentile, Table};

/// Long enough between two sends that no rate limit of the gateway's is met.
const PACE: Duration = Duration::from_millis(1100);
const CHAT: i64 = 5;

/// The fake Bot API as a process.
struct BotApi {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl BotApi {
    /// With what it says of itself.
    fn start() -> (BotApi, Value) {
        let mut command = Command::new(beside("fake-bot-api"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let about = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        (BotApi { child, orders, answers }, about)
    }

    fn tell(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap();
        self.answers.next().unwrap().unwrap();
    }
}

impl Drop for BotApi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(table: &Table, count: usize) {
    table.section("pi-gw send to Telegram, from start to exit; the platform is on this machine and answers at once");
    let (mut api, about) = BotApi::start();
    api.tell(&json!({"do": "write", "chat": CHAT, "user": CHAT, "text": "hello"}));
    let mut house = House::new("new", true);
    let file = house.home.path().join("pi-gateway.jsonc");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    config["channels"]["telegram"] = json!({"enabled": true, "botToken": about["token"], "apiRoot": about["root"],
        "dmPolicy": "open", "allowFrom": ["*"]});
    fs::write(&file, config.to_string()).unwrap();
    let sends = |house: &House| -> Vec<f64> {
        let once = |_| {
            std::thread::sleep(PACE);
            let mut command = Command::new(binary());
            command
                .args(["send", "--to", &format!("telegram:{CHAT}"), "--message", "disk full", "--config"])
                .arg(&file);
            command.env_clear().env("HOME", house.home.path()).stdin(Stdio::null()).stdout(Stdio::null());
            let begun = Instant::now();
            let ended = command.status().unwrap();
            let took = ms(begun.elapsed());
            assert!(ended.success(), "{ended}; {}", house.log());
            took
        };
        (0..count).map(once).collect()
    };
    let print = |name: &str, times: &[f64]| {
        table.note(name, format!("{:.2} ms", median(times)));
        table.note("    fastest", format!("{:.2} ms", percentile(times, 0.0)));
    };
    print("no gateway runs: straight to the platform", &sends(&house));
    house.start();
    let end = Instant::now() + Duration::from_secs(20);
    while !house.log().contains("is connected") {
        assert!(Instant::now() < end, "{}", house.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    print("through the gateway, sent when it exits", &sends(&house));
    house.stop();
}
