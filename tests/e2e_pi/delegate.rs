//! Agents of the real pi that hand work to one another (core.md 15): on the page, on Telegram, and what the models see.

use serde_json::{json, Value};

use crate::support::bot_api::BotApi;
use crate::support::gateway::{merge, Gateway};
use crate::support::process::ProcessWatch;
use crate::world::World;

const ANN: i64 = 7;

fn world(new: bool, more: Value) -> World {
    World::made(new, |home| {
        let ws = |name: &str| home.path().join(name);
        let mut all = json!({
            "agent": {"pool": {"min": 0, "max": 3}},
            "agents": {"list": [
                {"id": "main", "workspace": ws("ws-main"), "description": "talks to people"},
                {"id": "coder", "workspace": ws("ws-coder"), "description": "writes programs", "model": "fake2/backup-model"},
                {"id": "writer", "workspace": ws("ws-writer")},
            ]},
        });
        merge(&mut all, more);
        all
    })
}

/// A call of the tool whose task holds directives: their brackets must not end the tool's.
fn delegate(to: &str, task: &str) -> String {
    let task = task.replace('\\', r"\\").replace('"', "\\\"").replace('[', r"\u005b").replace(']', r"\u005d");
    format!(r#"[[tool:delegate_to_agent {{"agentId":"{to}","task":"{task}"}}]]"#)
}

/// The other agent works in its own directory with its own model, and its answer is in the reply.
pub fn the_other_agent_s_answer_is_in_the_reply_on_the_page(new: bool) {
    let w = world(new, json!({}));
    let task = r#"list-your-place [[tool:bash {"command":"pwd"}]]"#;
    let mut page = w.page();
    let run = page.say(&delegate("coder", task));
    let reply = page.reply(&run);
    assert!(reply.starts_with("tool said: ") && reply.contains("/ws-coder"), "{reply}");
    let asked = w.llm.wait_for(|r| r.last_user.contains("[Delegated task from agent \"main\"."));
    assert!(asked.body.to_string().contains("backup-model"), "its own model");
    assert!(
        asked.last_user.contains("Respond concisely to the task below.]\n\nlist-your-place"),
        "{}",
        asked.last_user
    );
    // What each of them is told and offered.
    let parent = w.llm.wait_for(|r| r.tools.contains(&"delegate_to_agent".to_owned()));
    assert!(parent.system.contains("coder (writes programs)") && parent.system.contains("writer (no description)"));
    assert!(!parent.system.contains("main (talks to people)"), "not to itself");
    for absent in ["delegate_to_agent", "send_message", "send_media", "keyboard_select", "message"] {
        assert!(!asked.tools.contains(&absent.to_owned()), "{:?}", asked.tools);
    }
    assert!(asked.tools.contains(&"session_status".to_owned()) && asked.tools.contains(&"bash".to_owned()));
    assert!(asked.system.contains("Another agent gave you a task") && !asked.system.contains("Delegation:"));
    // Its conversation can be read, and its process is gone.
    w.g.wait_until("one pi is left", |_| w.pids().len() == 1);
    let sessions = w.g.get("/api/sessions").json()["sessions"].clone();
    let child = sessions.as_array().unwrap().iter().find(|s| s["lastChannel"] == "delegate").unwrap().clone();
    let history = w.g.history(child["sessionKey"].as_str().unwrap());
    assert!(history[0].1.contains("list-your-place") && history[1].1.contains("/ws-coder"), "{history:?}");
}

/// What the rules refuse, and what fails, is an error that the model reads.
pub fn a_refused_or_failed_delegation_is_an_error_for_the_model(new: bool) {
    let w = world(new, json!({"delegation": {"allowAgents": ["coder"]}}));
    let reply = w.ask(&delegate("writer", "x"));
    assert!(reply.contains("may not delegate to \"writer\"; it may ask: coder"), "{reply}");
    let reply = w.ask(&delegate("coder", "[[status:401 x*]]"));
    assert!(reply.contains("Agent \"coder\" failed") && reply.contains("401"), "{reply}");
    let results = w.llm.wait_for(|r| r.body.to_string().contains("Agent \\\"coder\\\" failed"));
    assert!(results.body.to_string().contains("toolResult") || results.body.to_string().contains("\"role\":\"tool\""));
}

/// Two agents are asked in one breath and work at the same time; one of them asks a third, as deep as it may.
pub fn two_agents_work_at_the_same_time_and_one_asks_another(new: bool) {
    let deep = json!({"delegation": {"maxDepth": 2}, "agent": {"pool": {"max": 4}}});
    let w = world(new, deep);
    let mut page = w.page();
    let to_writer = delegate("writer", "[[say:A line of the writer.]]");
    let both = format!(
        "{} [[and]] {} [[show:roles]]",
        delegate("coder", &format!("[[gate:one]] {to_writer}")),
        delegate("writer", "[[gate:two]] [[say:The writer's own.]]")
    );
    let run = page.say(&both);
    w.llm.wait_gate("one");
    w.llm.wait_gate("two");
    assert_eq!(w.pids().len(), 3);
    let active = |g: &Gateway| g.get("/api/metrics").json()["delegation"]["activeDelegations"].clone();
    w.g.wait_until("both are counted", |g| active(g) == 2);
    w.llm.open("two");
    w.llm.open("one");
    page.reply(&run);
    let heard = w.llm.wait_for(|r| {
        let body = r.body.to_string();
        body.contains("tool said: A line of the writer.") && body.contains("The writer's own.")
    });
    assert!(heard.tools.contains(&"delegate_to_agent".to_owned()));
    let sessions = w.g.get("/api/sessions").json()["sessions"].clone();
    let depth = |s: &Value| s["sessionKey"].as_str().unwrap().matches("delegate:").count();
    let mut depths: Vec<usize> = sessions.as_array().unwrap().iter().map(depth).collect();
    depths.sort_unstable();
    assert_eq!(depths, [0, 1, 1, 2]);
}

/// The other agent is stopped when its time is over, and what it had said until then comes back.
pub fn a_task_that_takes_too_long_brings_what_was_said_until_then(new: bool) {
    let w = world(new, json!({"delegation": {"timeoutMs": 8000, "onTimeout": "return-partial"}}));
    let mut page = w.page();
    let run = page.say(&delegate("coder", "[[say:The first half.]] [[gate:deep]] [[say:never]]"));
    w.llm.wait_gate("deep");
    let reply = page.reply(&run);
    assert!(reply.starts_with("tool said: The first half."), "{reply}");
    assert!(reply.contains("(Agent \"coder\" was stopped after 8 s; this is what it had said.)"), "{reply}");
    w.g.wait_until("one pi is left", |_| w.pids().len() == 1);
    w.g.wait_until("it is counted", |g| g.get("/api/metrics").json()["delegation"]["timeout"] == 1);
}

/// On Telegram: what the other agent found out arrives in the chat once, as part of the answer.
pub fn on_telegram_the_other_agent_s_answer_arrives_in_the_reply_and_nowhere_else(new: bool) {
    let api = BotApi::start();
    let telegram = json!({
        "enabled": true, "botToken": api.token(), "apiRoot": api.root(), "pollTimeoutS": 5,
        "allowFrom": [ANN.to_string()],
    });
    let w = world(new, json!({"channels": {"telegram": telegram}}));
    api.wait_polling();
    api.user_writes(ANN, &delegate("coder", "[[say:The build takes seven minutes.]]"));
    let reply = api.wait_message(ANN, |m| m.text() == "tool said: The build takes seven minutes.");
    let said = || api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted).collect::<Vec<_>>();
    assert_eq!(said().len(), 1);
    assert!(w.asked("Delegated task").tools.iter().all(|t| t != "send_message"));
    // `/stop` in the middle of another one ends both.
    api.user_writes(ANN, &delegate("writer", "[[gate:deep]] [[say:never]]"));
    w.llm.wait_gate("deep");
    let children: Vec<ProcessWatch> = w.pids().into_iter().map(|pid| ProcessWatch::new(pid as i32)).collect();
    assert_eq!(children.len(), 2);
    api.user_writes(ANN, "/stop");
    api.wait_text(ANN, "Stopped.");
    w.g.wait_until("the writer's pi is gone", |_| children.iter().any(ProcessWatch::is_gone));
    w.g.wait_until("it is counted", |g| g.get("/api/metrics").json()["delegation"]["error"] == 1);
    api.user_writes(ANN, "[[say:Here I am.]]");
    api.wait_text(ANN, "Here I am.");
    assert!(said().iter().all(|m| !m.text().contains("never")));
    assert!(said()[0].id() == reply.id());
    api.assert_clean();
}

/// kill -9 while the other agent works: nothing of its answer reaches anybody, the parent's turn goes on.
pub fn a_gateway_killed_while_the_other_agent_works_answers_once(new: bool) {
    let mut w = world(new, json!({}));
    let mut page = w.page();
    page.say(&delegate("coder", "[[gate:deep]] [[say:never-said]]"));
    w.llm.wait_gate("deep");
    let pis: Vec<ProcessWatch> = w.pids().into_iter().map(|pid| ProcessWatch::new(pid as i32)).collect();
    assert_eq!(pis.len(), 2);
    w.g.kill9();
    pis.iter().for_each(ProcessWatch::wait_gone);
    w.llm.open("deep");
    w.g.restart();
    let is_answer = |line: &(String, String)| line.0 == "assistant";
    w.g.wait_until("the parent answers", |_| w.g.history(crate::world::MAIN).iter().any(is_answer));
    let answers: Vec<_> = w.g.history(crate::world::MAIN).into_iter().filter(is_answer).collect();
    assert_eq!(answers.len(), 1);
    let db = rusqlite::Connection::open(w.g.data().join("gateway.db")).unwrap();
    let of = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(of("SELECT count(*) FROM inbox WHERE session LIKE 'delegate:%' AND state = 'dropped'"), 1);
    assert_eq!(of("SELECT count(*) FROM segment WHERE session LIKE 'delegate:%'"), 0);
    assert_eq!(of("SELECT count(*) FROM outbox"), 0);
}
