//! Scheduled jobs over the whole gateway: the API, the stand-in pi, WebChat and Telegram (core.md 13, B15, B19).
//!
//! Nobody waits for a due time: while the gateway is down, its store is told that the time has come.
#![allow(clippy::unwrap_used)]

mod support;

use rusqlite::Connection;
use serde_json::{json, Value};
use support::bot_api::BotApi;
use support::fake_pi::{FakePi, Flavour};
use support::gateway::Gateway;
use support::raw_http::{ask, Response};

const MAIN: &str = "agent:main:webchat:default";
const ANN: i64 = 7;

fn gateway(pi: &FakePi, config: Value) -> Gateway {
    let mut all = json!({"agent": {"piCliPath": pi.program()}, "cron": {"enabled": true, "maxConcurrent": 3}});
    support::gateway::merge(&mut all, config);
    Gateway::new(all).env("PI_GW_CLOCK_OK", "1")
}

fn call(g: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let auth = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", g.token);
    ask(g.addr, method, path, &auth, &if body.is_null() { String::new() } else { body.to_string() })
}

fn add(g: &Gateway, job: Value) -> Value {
    let answer = call(g, "POST", "/api/cron/jobs", &job);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["job"].clone()
}

fn runs(g: &Gateway, id: &str) -> Vec<Value> {
    g.get(&format!("/api/cron/jobs/{id}/runs")).json()["runs"].as_array().unwrap().clone()
}

fn wait_run(g: &Gateway, id: &str, status: &str) -> Value {
    g.wait_until(&format!("{id} is {status}"), |g| runs(g, id).iter().any(|r| r["status"] == status));
    runs(g, id).into_iter().find(|r| r["status"] == status).unwrap()
}

/// While nobody is there the due time of every job passes.
fn time_passes(g: &Gateway, ms: i64) {
    let db = Connection::open(g.data().join("gateway.db")).unwrap();
    db.execute("UPDATE cron_job SET next_at = next_at - ?1, anchor = anchor - ?1", [ms]).unwrap();
}

#[test]
fn a_job_survives_a_kill_and_a_restart_across_its_due_time_and_is_told_once_on_webchat() {
    let pi = FakePi::new(Flavour::New);
    let mut g = gateway(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
    let job = json!({"id": "news", "schedule": {"kind": "every", "expr": "6h"}, "task": "[[say:all is well]]"});
    let made = add(&g, job.clone());
    assert_eq!(made["payload"]["text"], "[[say:all is well]]");
    assert_eq!(call(&g, "POST", "/api/cron/jobs", &job).status, 409);
    let mut page = g.page("agent:main:webchat:other");
    g.kill9();
    time_passes(&g, 7 * 3_600_000);
    g.restart();
    drop(page);
    page = g.page(MAIN);
    let run = wait_run(&g, "news", "completed");
    assert_eq!((&run["resultPreview"], &run["deliveryStatus"]), (&json!("all is well"), &json!("sent")));
    let told = |g: &Gateway| g.history(MAIN).into_iter().filter(|l| l.1.contains("all is well")).collect::<Vec<_>>();
    assert_eq!(told(&g), [("assistant".to_owned(), "[CRON:news] all is well".to_owned())]);
    drop(page);
    g.kill9();
    g.restart();
    assert_eq!(told(&g).len(), 1, "once");
    assert_eq!(runs(&g, "news").len(), 1);
    let prompts = pi.prompts();
    assert_eq!(prompts.iter().filter(|p| p.contains("[CRON:news]")).count(), 1, "{prompts:?}");
}

#[test]
fn a_kill_in_the_middle_of_a_run_ends_in_one_result() {
    let pi = FakePi::new(Flavour::New);
    let mut g = gateway(&pi, json!({})).start();
    add(
        &g,
        json!({"id": "slow", "schedule": {"kind": "every", "expr": "1h"}, "task": "[[gate:g]] [[say:made it]]",
            "delivery": {"mode": "direct", "channel": "webchat"}}),
    );
    assert_eq!(
        call(&g, "POST", "/api/cron/jobs/slow/run", &Value::Null).json(),
        json!({"ok": true, "message": "triggered"})
    );
    pi.wait_gate("g");
    g.kill9();
    pi.open("g");
    g.restart();
    let run = wait_run(&g, "slow", "completed");
    // The stand-in repeats what it is asked after a restart.
    let result = run["resultPreview"].as_str().unwrap();
    assert!(result.contains("restarted during turn"), "{result}");
    assert_eq!(g.history(MAIN), [("assistant".to_owned(), result.to_owned())]);
    assert_eq!(runs(&g, "slow").len(), 1);
}

#[test]
fn b19_results_go_to_the_account_chat_and_topic_they_are_for_and_a_kill_repeats_none() {
    let pi = FakePi::new(Flavour::New);
    let api = BotApi::start();
    let other = api.add_bot("222:second-bot-token", "other_bot");
    let account = |api: &BotApi| {
        json!({"apiRoot": api.root(), "botToken": api.token(), "pollTimeoutS": 5, "streamMode": "off",
        "allowFrom": [ANN.to_string()], "groups": {"-1005": {"requireMention": false}}})
    };
    let telegram = json!({"enabled": true, "accounts": {"default": account(&api), "work": account(&other)}});
    let mut g = gateway(&pi, json!({"channels": {"telegram": telegram}})).start();
    for bot in [&api, &other] {
        bot.wait_polling();
        bot.add_private(ANN);
        bot.add_forum(-1005, "forum", &[(11, "one"), (12, "two")]);
    }
    for (id, to) in [("a", "-1005:topic:11"), ("b", "work:-1005:topic:12"), ("c", "work:7")] {
        add(
            &g,
            json!({"id": id, "schedule": {"kind": "every", "expr": "6h"}, "task": format!("[[say:result {id}]]"),
                "delivery": {"mode": "direct", "channel": "telegram", "to": to}}),
        );
    }
    g.kill9();
    time_passes(&g, 7 * 3_600_000);
    g.restart();
    let text = |api: &BotApi, chat| {
        let of_bot = |m: &support::bot_api::Message| m.bot == Some(api.bot_id()) && !m.deleted;
        let all = api.messages(chat).into_iter().filter(of_bot);
        all.map(|m| (m.api["message_thread_id"].as_i64(), m.text().to_owned())).collect::<Vec<_>>()
    };
    api.wait_text(-1005, "result a");
    other.wait_text(-1005, "result b");
    other.wait_text(ANN, "result c");
    for id in ["a", "b", "c"] {
        wait_run(&g, id, "completed");
    }
    assert_eq!(text(&api, -1005), [(Some(11), "result a".to_owned())]);
    assert_eq!(text(&other, -1005), [(Some(12), "result b".to_owned())]);
    assert_eq!(text(&other, ANN), [(None, "result c".to_owned())]);
    let owed = "SELECT count(*) FROM outbox WHERE state IN ('raw', 'ready', 'sending')";
    g.wait_until("everything is sent", |g| {
        let db = Connection::open(g.data().join("gateway.db")).unwrap();
        db.query_row(owed, [], |r| r.get::<_, i64>(0)).unwrap() == 0
    });
    g.kill9();
    g.restart();
    assert_eq!(text(&api, -1005).len() + text(&other, -1005).len() + text(&other, ANN).len(), 3);
    api.assert_clean();
}

#[test]
fn b16_the_command_is_for_those_who_may_and_works_in_a_chat() {
    let pi = FakePi::new(Flavour::New);
    let api = BotApi::start();
    let telegram = json!({"enabled": true, "apiRoot": api.root(), "botToken": api.token(), "pollTimeoutS": 5,
        "streamMode": "off", "allowFrom": [ANN.to_string()]});
    let g = gateway(&pi, json!({"channels": {"telegram": telegram}})).start();
    api.wait_polling();
    add(&g, json!({"id": "j", "schedule": {"kind": "cron", "expr": "0 9 * * 1-5"}, "task": "[[say:by hand]]"}));
    api.user_writes(ANN, "/cron list");
    let list = api.wait_message(ANN, |m| m.text().starts_with("Scheduled jobs:"));
    assert!(list.text().contains("j: active (cron 0 9 * * 1-5, next "), "{}", list.text());
    api.user_writes(ANN, "/cron run j");
    api.wait_text(ANN, "Job j: started.");
    api.wait_text(ANN, "[CRON:j] by hand");
    api.user_writes(ANN, "/cron remove j");
    api.wait_text(ANN, "Job j: removed.");
    api.user_writes(9, "/cron list");
    let pairing = api.wait_message(9, |m| m.bot.is_some());
    assert!(!pairing.text().contains("Scheduled"), "{}", pairing.text());
    api.assert_clean();
}

#[test]
fn an_agent_makes_a_job_with_its_tool_and_its_people_hear_of_it() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let tab = "agent:main:webchat:garden";
    let job = json!({"id": "water", "schedule": {"kind": "at", "expr": "+1s"}, "task": "[[say:water the plants]]"});
    let tool = json!({"method": "POST", "path": "/api/cron/jobs", "body": job});
    g.chat(tab, &format!("[[tool:http {tool}]] [[say:I will]]"));
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello"); // the newest conversation is another one
    wait_run(&g, "water", "completed");
    assert_eq!(g.history(tab).last().unwrap().1, "[CRON:water] water the plants");
    assert_eq!(g.get("/api/cron/jobs").json()["jobs"], json!([]), "done once, gone");
}

#[test]
fn the_api_answers_in_the_words_of_the_original() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let every = json!({"kind": "every", "expr": "1h"});
    let jobs = "/api/cron/jobs";
    let refused = |method: &str, path: &str, body: Value| {
        let r = call(&g, method, path, &body);
        let v = r.json();
        assert_eq!(v["ok"], false, "{v}");
        (r.status, v["error"].as_str().unwrap().to_owned())
    };
    for (body, want) in [
        (json!({"id": "a b"}), "id: alphanumeric/hyphens/underscores, 1-64 chars"),
        (json!({"id": "a"}), "schedule: required object with kind + expr"),
        (json!({"id": "a", "schedule": {"kind": "x"}}), "schedule.kind: must be \"cron\", \"every\", or \"at\""),
        (json!({"id": "a", "schedule": {"kind": "cron"}}), "schedule.expr: required string"),
        (json!({"id": "a", "schedule": every}), "task: non-empty string, max 2000 chars"),
        (json!({"id": "a", "schedule": every, "task": "t", "agentId": "X"}), "agentId: \"X\" not found in agents.list"),
    ] {
        assert_eq!(refused("POST", jobs, body), (400, want.to_owned()));
    }
    let (status, why) =
        refused("POST", jobs, json!({"id": "a", "schedule": {"kind": "cron", "expr": "* * *"}, "task": "t"}));
    assert!(status == 400 && why.starts_with("schedule.expr: must have 5 fields"), "{why}");
    let auth = format!("Authorization: Bearer {}\r\n", g.token);
    let torn = ask(g.addr, "POST", jobs, &auth, "{\"id\":");
    assert_eq!((torn.status, torn.json()["error"].clone()), (400, json!("invalid JSON")));
    for (method, path, body, want) in [
        ("DELETE", "/api/cron/jobs/x", Value::Null, (404, "not found")),
        ("POST", "/api/cron/jobs/x/run", Value::Null, (404, "not found")),
        ("PATCH", "/api/cron/jobs/x", json!({"action": "pause"}), (404, "not found")),
        ("PATCH", "/api/cron/jobs/x", json!({"action": "resume"}), (404, "not found or not paused")),
        (
            "PATCH",
            "/api/cron/jobs/x",
            json!({"action": "go"}),
            (400, "action: must be \"pause\", \"resume\", or \"update\""),
        ),
        ("PATCH", "/api/cron/jobs/x", json!({"action": "update", "task": "t"}), (404, "not found")),
    ] {
        assert_eq!(refused(method, path, body), (want.0, want.1.to_owned()), "{method} {path}");
    }
    let job = json!({"id": "a-1", "schedule": every, "task": "look", "mode": "isolated", "delivery": "announce", "deleteAfterRun": false});
    let made = add(&g, job);
    assert_eq!(
        (&made["id"], &made["mode"], &made["delivery"]),
        (&json!("a-1"), &json!("isolated"), &json!("announce"))
    );
    let path = "/api/cron/jobs/a-1";
    assert_eq!(refused("PATCH", path, json!({"action": "update"})), (400, "No fields to update".into()));
    assert_eq!(call(&g, "PATCH", path, &json!({"action": "pause"})).json(), json!({"ok": true, "status": "paused"}));
    let status = json!({"ok": true, "total": 1, "active": 0, "paused": 1, "disabled": 0});
    assert_eq!(g.get("/api/cron/status").json(), status);
    assert_eq!(call(&g, "PATCH", path, &json!({"action": "resume"})).json(), json!({"ok": true, "status": "active"}));
    let changed = call(
        &g,
        "PATCH",
        path,
        &json!({"action": "update", "task": "see", "schedule": {"kind": "cron", "expr": "@daily"}}),
    );
    assert_eq!((changed.status, changed.json()["job"]["payload"]["text"].clone()), (200, json!("see")));
    let list = g.get(jobs).json();
    assert_eq!(
        (&list["ok"], &list["jobs"][0]["status"], &list["jobs"][0]["lastRun"]),
        (&json!(true), &json!("active"), &Value::Null)
    );
    assert_eq!(g.get("/api/cron/jobs/none/runs").json(), json!({"ok": true, "runs": []}));
    let mut ws = g.page(MAIN);
    assert_eq!(ws.call("cron.status", json!({}))["payload"]["total"], 1);
    assert_eq!(ws.call("cron.pause", json!({}))["error"], "id required");
    assert_eq!(ws.call("cron.add", json!({"id": "b"}))["error"], "id, schedule, and task required");
    ws.ask("cron.remove", json!({"id": "a-1"}));
    assert_eq!(ws.event("cron.changed")["payload"], json!({"jobId": "a-1", "action": "remove"}));
    assert_eq!(ws.call("cron.list", json!({}))["payload"], json!({"jobs": []}));
}

#[test]
fn cron_that_is_off_is_said_to_be() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({"cron": {"enabled": false}})).start();
    let answer = g.get("/api/cron/jobs");
    assert_eq!((answer.status, answer.json()["error"].clone()), (404, json!("Cron not enabled")));
    assert_eq!(g.page(MAIN).call("cron.list", json!({}))["error"], "Cron not enabled");
    g.reconfigure(json!({"cron": {"enabled": true}}));
    g.wait_until("cron is on", |g| g.get("/api/cron/jobs").status == 200);
    let job =
        json!({"id": "j", "schedule": {"kind": "every", "expr": "1h"}, "task": "[[say:done]]", "delivery": "silent"});
    g.wait_until("the mind knows it too", |g| call(g, "POST", "/api/cron/jobs", &job).status != 404);
    call(&g, "POST", "/api/cron/jobs/j/run", &Value::Null);
    wait_run(&g, "j", "completed");
}

/// The command line on this gateway's data: exit code, output.
fn cli(g: &Gateway, args: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pi-gw"));
    let home = g.home.path();
    command.args(args).arg("--config").arg(g.config_file()).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
    let ran = command.output().unwrap();
    (ran.status.code().unwrap(), String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[test]
fn b15_a_job_of_the_command_line_is_seen_by_the_running_gateway_and_the_command_ends() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let (code, said) = cli(&g, &["cron", "add", "now", "--schedule", "+1s", "--text", "[[say:at once]]"]);
    assert_eq!((code, said.lines().count()), (0, 2), "{said}");
    wait_run(&g, "now", "completed");
    let long = ["cron", "add", "j", "--schedule", "0 9 * * 1-5", "--text", "[[say:by hand]]", "--delivery", "silent"];
    assert_eq!(cli(&g, &long).0, 0);
    g.wait_until("it is known", |g| g.get("/api/cron/status").json()["total"] == 1);
    assert_eq!(cli(&g, &["cron", "run", "j", "--wait"]), (0, "by hand\n".to_owned()));
    let (code, said) = cli(&g, &["cron", "runs", "j", "--json"]);
    let runs: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &runs[0]["status"]), (0, &json!("completed")));
    assert_eq!(cli(&g, &["cron", "pause", "j"]).0, 0);
    g.wait_until("it rests", |g| g.get("/api/cron/status").json()["paused"] == 1);
    assert_eq!(cli(&g, &["cron", "run", "none"]).0, 1);
}

#[test]
fn b15_jobs_of_the_configuration_and_of_the_original_run() {
    let pi = FakePi::new(Flavour::New);
    let job = json!({"id": "conf", "schedule": {"kind": "every", "expr": "1h"}, "payload": {"text": "[[say:from the file]]"},
        "delivery": {"mode": "direct", "channel": "webchat"}});
    let mut g = gateway(&pi, json!({"cron": {"jobs": [job]}}));
    std::fs::create_dir_all(g.data().join("cron")).unwrap();
    let old = json!([{"id": "old", "schedule": {"kind": "every", "expr": "2h"}, "payload": {"text": "[[say:from before]]"},
        "delivery": {"mode": "direct", "channel": "webchat"}}]);
    std::fs::write(g.data().join("cron/jobs.json"), old.to_string()).unwrap();
    g.restart();
    let jobs = g.get("/api/cron/jobs").json()["jobs"].clone();
    assert_eq!((&jobs[0]["id"], &jobs[0]["source"], &jobs[1]["id"]), (&json!("conf"), &json!("config"), &json!("old")));
    assert_eq!(call(&g, "DELETE", "/api/cron/jobs/conf", &Value::Null).status, 409);
    g.kill9();
    time_passes(&g, 2 * 3_600_000 + 120_000);
    g.restart();
    for id in ["conf", "old"] {
        wait_run(&g, id, "completed");
    }
    let told: Vec<String> = g.history(MAIN).into_iter().map(|l| l.1).collect();
    assert!(told.contains(&"from the file".to_owned()) && told.contains(&"from before".to_owned()), "{told:?}");
}

/// In milliseconds these were 0 and less: the first was divided by, the second kept the mind at it for ever.
#[test]
fn given_an_interval_of_billions_of_years_then_it_is_refused_and_the_gateway_goes_on() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    for long in ["2305843009213693952s", "18446744073709551s"] {
        for (kind, expr) in [("every", long.to_owned()), ("at", format!("+{long}"))] {
            let job = json!({"id": "long", "schedule": {"kind": kind, "expr": expr}, "task": "[[say:x]]"});
            assert_eq!(g.post("/api/cron/jobs", job).status, 400, "{kind} {expr}");
        }
    }
    assert_eq!(g.chat("agent:main:webchat:default", "[[say:alive]]"), "alive");
}
