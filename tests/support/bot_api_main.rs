//! The fake Bot API server as a program, so that clients of other houses can be pointed at it.
//!
//! Prints one line of JSON with its address and token, then reads commands, one JSON object a line, and
//! answers each with one line. `{"do":"quit"}` or the end of the input ends it.

#![allow(dead_code, clippy::unwrap_used)] // what the program does not need, the tests do

mod bot_api;

use std::io::{stdin, stdout, BufRead, Write};
use std::time::Duration;

use bot_api::{BotApi, Rule, Trouble};
use serde_json::{json, Value};

/// How long a wait lasts that a person may watch.
pub const DEADLINE: Duration = Duration::from_secs(30);

fn say(line: &Value) {
    println!("{line}");
    stdout().flush().expect("standard output is there");
}

fn main() {
    let api = BotApi::start();
    say(&json!({"root": api.root(), "token": api.token()}));
    for line in stdin().lock().lines().map_while(Result::ok) {
        let command: Value = match serde_json::from_str(&line) {
            Ok(command) => command,
            Err(error) => {
                say(&json!({"error": error.to_string()}));
                continue;
            }
        };
        if command["do"] == "quit" {
            break;
        }
        say(&obey(&api, &command));
    }
}

fn obey(api: &BotApi, command: &Value) -> Value {
    let number = |key: &str| command[key].as_i64().unwrap_or(0);
    let text = |key: &str| command[key].as_str().unwrap_or("");
    let (chat, user) = (number("chat"), number("user"));
    let said = |said: bot_api::Said| json!({"message_id": said.message_id, "update_id": said.update_id});
    match text("do") {
        "write" => said(api.user_says(chat, user).text(text("text")).send()),
        "photo" => said(api.user_says(chat, user).photo(bot_api::PIXEL).text(text("text")).send()),
        "document" => said(api.user_says(chat, user).document("a.txt", "text/plain", text("text").as_bytes()).send()),
        "edit" => said(api.user_edits(chat, number("message"), text("text"))),
        "react" => json!(api.user_reacts(chat, user, number("message"), &[text("text")])),
        "press" => json!(api.user_presses(chat, user, number("message"), text("text"))),
        "become" => json!(api.bot_becomes(chat, user, text("text"))),
        "group" => {
            api.add_supergroup(chat, text("text"));
            json!(true)
        }
        "forum" => {
            api.add_forum(chat, text("text"), &[(5, "dev")]);
            json!(true)
        }
        "migrate" => json!(api.migrate(chat, user)),
        "trouble" => {
            let trouble = match text("text") {
                "flood" => Trouble::Flood(number("seconds") as u64),
                "drop" => Trouble::DropAfter,
                "truncate" => Trouble::Truncated,
                other => Trouble::bad(other),
            };
            json!(api.trouble(Rule::on(text("method"), trouble)))
        }
        "messages" => json!(api.messages(chat).iter().map(|m| m.api.clone()).collect::<Vec<_>>()),
        "answer" => json!(api.queries().iter().map(|q| q.answer.clone()).collect::<Vec<_>>()),
        "actions" => json!(api.actions(chat).len()),
        "calls" => json!(api.all_calls().iter().map(|c| format!("{} {:?}", c.method, c.status)).collect::<Vec<_>>()),
        "violations" => json!(api.violations().iter().map(|v| (v.kind, v.detail.clone())).collect::<Vec<_>>()),
        other => json!({"error": format!("unknown command {other:?}")}),
    }
}
