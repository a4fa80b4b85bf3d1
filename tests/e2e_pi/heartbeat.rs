//! Heartbeats with the real pi: what it has nothing to say to leaves no trace, what it says is part of the conversation.

use std::path::Path;

use serde_json::json;

use crate::support::bot_api::BotApi;
use crate::world::{World, MAIN};

const ANN: i64 = 7;

fn on() -> serde_json::Value {
    json!({"heartbeat": {"enabled": true, "every": "1h"}})
}

fn wake(w: &World, text: &str) -> String {
    let answer = w.g.post("/api/wake", json!({"text": text, "mode": "now"})).json();
    assert_eq!(answer["ok"], true, "{answer}");
    answer["sessionKey"].as_str().unwrap().to_owned()
}

fn wait_beats(w: &World, state: &str, n: i64) {
    w.g.wait_until(&format!("{n} heartbeats are {state}"), |g| {
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        let sql = "SELECT count(*) FROM inbox WHERE kind = 'heartbeat' AND state = ?";
        db.query_row(sql, [state], |r| r.get::<_, i64>(0)).unwrap() == n
    });
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The conversation's file is the same to the byte after a heartbeat that found nothing; pi is the same process. What
/// another one says is told on the page, and the model knows of it and of nothing else when it is asked next.
pub fn b14_a_heartbeat_without_news_leaves_no_trace_and_an_alert_is_in_the_next_context(new: bool) {
    let w = World::with(new, on());
    assert_eq!(w.ask("[[say:hello]]"), "hello");
    let (files, pid) = (w.session_files(), w.pid());
    assert_eq!(files.len(), 1);
    let before = read(&files[0]);
    assert_eq!(wake(&w, "[[say:HEARTBEAT_OK]]"), MAIN);
    wait_beats(&w, "silent", 1);
    assert!(w.asked("[WAKE]").system.contains("HEARTBEAT_OK"), "the model is told what that is");
    w.g.wait_until("the copy is gone", |_| w.session_files() == files);
    assert_eq!(read(&files[0]), before);
    let mut page = w.page();
    wake(&w, "[[say:The disk is full.]]");
    let told = page.event("message_event");
    assert_eq!(told["payload"]["text"], "The disk is full.", "{told}");
    wait_beats(&w, "answered", 1);
    w.g.wait_until("one file is left", |_| w.session_files().len() == 1);
    assert!(w.ask("[[say:and now?]]").contains("and now?"));
    let request = w.asked("and now?").body.to_string();
    assert!(request.contains("The disk is full.") && request.contains("hello"), "{request}");
    assert!(!request.contains("say:HEARTBEAT_OK"), "the model does not know of the other one");
    assert_eq!(w.said("assistant")[..2], ["hello", "The disk is full."]);
    assert_eq!(w.pid(), pid, "one process has done all of it");
}

/// An alert on Telegram, of an agent that woke itself with its cron tool.
pub fn an_agent_that_wakes_itself_is_heard_on_telegram(new: bool) {
    let api = BotApi::start();
    let telegram = json!({"enabled": true, "botToken": api.token(), "apiRoot": api.root(), "pollTimeoutS": 5,
        "streamMode": "off", "allowFrom": [ANN.to_string()]});
    let mut config = on();
    crate::support::gateway::merge(&mut config, json!({"channels": {"telegram": telegram}, "cron": {"enabled": true}}));
    let _w = World::with(new, config);
    api.wait_polling();
    let task = r"\u005b\u005bsay:As I said.\u005d\u005d"; // brackets that do not end the tool's
    let tool = format!(r#"[[tool:cron {{"action":"wake","task":"{task}"}}]]"#);
    api.user_writes(ANN, &format!("{tool} [[say:I will.]]"));
    api.wait_text(ANN, "I will.");
    api.wait_text(ANN, "As I said.");
    let all = api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted);
    assert_eq!(all.map(|m| m.text().to_owned()).collect::<Vec<_>>(), ["I will.", "As I said."]);
    api.assert_clean();
}
