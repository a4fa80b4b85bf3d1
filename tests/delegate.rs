//! Delegation over the whole gateway with the stand-in pi: both doors, stop, kill -9, a full pool (core.md 15).
#![allow(clippy::unwrap_used)]

mod support;

use rusqlite::Connection;
use serde_json::{json, Value};
use support::bot_api::BotApi;
use support::fake_pi::{FakePi, Flavour};
use support::gateway::{merge, Gateway};
use support::process::ProcessWatch;
use support::raw_http::{ask, Client, Response};

const MAIN: &str = "agent:main:webchat:default";
const ANN: i64 = 7;

fn gateway(pi: &FakePi, config: Value) -> Gateway {
    let mut all = json!({
        "agent": {"piCliPath": pi.program()},
        "agents": {"list": [
            {"id": "main", "workspace": "~/work"},
            {"id": "coder", "workspace": "~/coder", "description": "writes programs"},
        ]},
    });
    merge(&mut all, config);
    Gateway::new(all)
}

/// Directives as a task bears them: their brackets must not end the tool's.
fn quoted(task: &str) -> String {
    task.replace('[', r"\u005b").replace(']', r"\u005d")
}

/// What the stand-in says to have `coder` do that.
fn call(task: &str) -> String {
    let task = quoted(task);
    format!(
        r#"[[tool:http {{"method":"POST","path":"/api/tools/call","body":{{"toolName":"delegate_to_agent","params":{{"agentId":"coder","task":"{task}"}},"toolCallId":"c1","hooked":true}}}}]]"#
    )
}

fn children(g: &Gateway) -> Vec<Value> {
    let all = g.get("/api/sessions").json()["sessions"].as_array().unwrap().clone();
    all.into_iter().filter(|s| s["sessionKey"].as_str().unwrap().starts_with("delegate:")).collect()
}

fn processes(g: &Gateway) -> usize {
    g.get("/api/pool").json()["processes"].as_array().unwrap().len()
}

/// What was written to a platform, and the fates of delegated tasks.
fn store<T>(g: &Gateway, f: impl FnOnce(&Connection) -> T) -> T {
    f(&Connection::open(g.data().join("gateway.db")).unwrap())
}

fn fate(g: &Gateway) -> String {
    let sql = "SELECT state FROM inbox WHERE session LIKE 'delegate:%' ORDER BY id DESC LIMIT 1";
    store(g, |db| db.query_row(sql, [], |r| r.get(0)).unwrap())
}

fn post(g: &Gateway, body: &Value, more: &str) -> Response {
    let auth = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n{more}", g.token);
    ask(g.addr, "POST", "/api/tools/call", &auth, &body.to_string())
}

#[test]
fn the_other_agent_s_answer_is_in_the_reply_and_nothing_of_it_stays() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = gateway(&pi, json!({})).start();
        let reply = g.chat(MAIN, &call("[[say:seven apples]]"));
        assert!(reply.starts_with("tool said: 200 ") && reply.contains("seven apples"), "{reply}");
        assert!(!reply.contains("isError"), "{reply}");
        let task = pi.prompts().into_iter().find(|p| p.contains("seven") && p.contains("Delegated")).unwrap();
        assert!(task.contains("[Delegated task from agent \"main\". Respond concisely to the task below.]"), "{task}");
        let child = children(&g).remove(0);
        assert_eq!(child["lastChannel"], "delegate");
        assert!(child["sessionKey"].as_str().unwrap().starts_with(&format!("delegate:{MAIN}:coder:")));
        g.wait_until("its process is gone", |g| processes(g) == 1);
        g.wait_until("it is counted", |g| g.get("/api/metrics").json()["delegation"]["success"] == 1);
        let figures = g.get("/api/metrics").json()["delegation"].clone();
        assert_eq!((&figures["delegationCount"], &figures["activeDelegations"]), (&json!(1), &json!(0)));
        let text = String::from_utf8(g.get("/metrics").body).unwrap();
        assert!(text.contains("pigw_delegations_total{outcome=\"success\"} 1"), "{text}");
    }
}

#[test]
fn a_program_at_the_public_door_delegates_over_http_and_websocket_and_a_repeat_asks_nobody() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    // No session named: the main one, which need not exist.
    let body = json!({"toolName": "delegate_to_agent", "params": {"agentId": "coder", "task": "[[say:one]]"}});
    let first = post(&g, &body, "Idempotency-Key: k1\r\n");
    let told = first.json();
    assert_eq!((first.status, &told["ok"], &told["toolName"]), (200, &json!(true), &json!("delegate_to_agent")));
    assert_eq!(told["sessionKey"], "agent:main:main:main");
    assert_eq!(told["result"]["content"], json!([{"type": "text", "text": "one"}]));
    assert_eq!(told["result"]["details"]["status"], "completed");
    let again = post(&g, &body, "Idempotency-Key: k1\r\n");
    assert_eq!(again.json()["result"]["content"], told["result"]["content"]);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
    let other = json!({"toolName": "delegate_to_agent", "params": {"agentId": "coder", "task": "[[say:two]]"}});
    assert_eq!(post(&g, &other, "Idempotency-Key: k1\r\n").refusal(), (409, "idempotency_conflict".into()));
    assert_eq!(pi.prompts().len(), 1, "the model was asked once");
    // A named one must exist.
    let mut named = body.clone();
    named["sessionKey"] = json!("agent:main:webchat:nobody");
    assert_eq!(post(&g, &named, "").refusal(), (404, "not_found".into()));
    // What the rules refuse is a result like any other.
    let mut refused = body.clone();
    refused["params"]["agentId"] = json!("nobody");
    let told = post(&g, &refused, "").json();
    assert_eq!((&told["ok"], &told["result"]["isError"]), (&json!(true), &json!(true)));
    assert!(told["result"]["content"][0]["text"].as_str().unwrap().contains("you may ask: coder"), "{told}");
    // The same over a WebSocket.
    let res = g.page(MAIN).call("tools.call", json!({"tool": "delegate_to_agent", "params": body["params"]}));
    assert_eq!(res["payload"]["result"]["content"][0]["text"], "one", "{res}");
}

#[test]
fn a_stop_of_the_parent_ends_the_task_at_once() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = gateway(&pi, json!({})).start();
        let mut page = g.page(MAIN);
        page.call("chat.send", json!({"sessionKey": MAIN, "text": call("[[gate:deep]] [[say:never]]")}));
        let child = ProcessWatch::new(pi.wait_gate("deep") as i32);
        page.call("chat.abort", json!({"sessionKey": MAIN}));
        child.wait_gone();
        g.wait_until("it is counted", |g| g.get("/api/metrics").json()["delegation"]["error"] == 1);
        let figures = g.get("/api/metrics").json()["delegation"].clone();
        assert_eq!((&figures["error"], &figures["success"]), (&json!(1), &json!(0)));
        g.wait_until("the parent's turn is over", |g| {
            let all = g.get("/api/sessions").json()["sessions"].as_array().unwrap().clone();
            all.iter().any(|s| s["sessionKey"] == MAIN && s["isStreaming"] == false)
        });
        assert!(!g.history(MAIN).iter().any(|l| l.1.contains("never") && l.0 == "assistant"));
    }
}

#[test]
fn a_client_that_leaves_ends_the_task() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let mut c = Client::new(g.addr);
    let auth = format!("Authorization: Bearer {}\r\n", g.token);
    let params = json!({"agentId": "coder", "task": "[[gate:deep]] [[say:never]]"});
    c.request("POST", "/api/tools/call", &auth, &json!({"tool": "delegate_to_agent", "params": params}).to_string());
    let child = ProcessWatch::new(pi.wait_gate("deep") as i32);
    drop(c);
    child.wait_gone();
    g.wait_until("its row is ended", |g| fate(g) == "answered" || fate(g) == "silent");
}

#[test]
fn given_a_gateway_killed_in_the_middle_then_the_orphan_is_dropped_and_the_parent_goes_on() {
    for flavour in [Flavour::Old, Flavour::New] {
        let api = BotApi::start();
        let telegram = json!({
            "enabled": true, "botToken": api.token(), "apiRoot": api.root(), "pollTimeoutS": 5,
            "allowFrom": [ANN.to_string()],
        });
        let pi = FakePi::new(flavour);
        let mut g = gateway(&pi, json!({"channels": {"telegram": telegram}})).start();
        api.wait_polling();
        api.user_writes(ANN, &call("[[gate:deep]] [[say:never-said]]"));
        let child = ProcessWatch::new(pi.wait_gate("deep") as i32);
        g.kill9();
        child.wait_gone();
        pi.open("deep");
        g.restart();
        g.wait_until("the orphan has its fate", |g| fate(g) == "dropped");
        // The parent's turn is recovered: it hears that it was interrupted, and answers.
        api.wait_message(ANN, |m| m.bot.is_some() && m.text().contains("restarted"));
        g.wait_until("nothing runs", |g| g.get("/api/pool").json()["stats"]["active"].as_u64() <= Some(1));
        let said: Vec<String> =
            api.messages(ANN).iter().filter(|m| m.bot.is_some()).map(|m| m.text().to_owned()).collect();
        assert!(said.iter().all(|text| !text.contains("never-said") || text.contains("restarted")), "{said:?}");
        let sent = "SELECT count(*) FROM segment WHERE session LIKE 'delegate:%'";
        assert_eq!(store(&g, |db| db.query_row(sent, [], |r| r.get::<_, i64>(0)).unwrap()), 0);
        api.assert_clean();
    }
}

/// Calls with the token of the pi that does the task.
fn as_child(pi: &FakePi, method: &str, path: &str, body: &Value) -> Response {
    let start = pi.diary().into_iter().rfind(|v| v["start"].is_object()).unwrap();
    let of = |name: &str| start["start"]["env"][name].as_str().unwrap().to_owned();
    let addr = of("PI_GATEWAY_URL").strip_prefix("http://").unwrap().parse().unwrap();
    let auth = format!("Authorization: Bearer {}\r\n", of("PI_GATEWAY_INTERNAL_TOKEN"));
    ask(addr, method, path, &auth, &if body.is_null() { String::new() } else { body.to_string() })
}

#[test]
fn a_delegate_is_offered_nothing_that_speaks_to_people_and_may_not_delegate_at_its_depth() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let mut page = g.page(MAIN);
    let sent = page.call("chat.send", json!({"sessionKey": MAIN, "text": call("[[gate:deep]] [[say:done]]")}));
    pi.wait_gate("deep");
    let setup = as_child(&pi, "GET", "/api/agent/setup", &Value::Null).json();
    assert!(setup["sessionKey"].as_str().unwrap().starts_with(&format!("delegate:{MAIN}:coder:")));
    let tools: Vec<&str> = setup["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["session_status", "gateway"]);
    // If it calls all the same, it is told why not.
    let wish = json!({"toolName": "delegate_to_agent", "params": {"agentId": "main", "task": "x"}});
    let told = as_child(&pi, "POST", "/api/tools/call", &wish).json();
    assert_eq!(told["result"]["isError"], true);
    assert!(told["result"]["content"][0]["text"].as_str().unwrap().contains("maxDepth is 1"), "{told}");
    let told = as_child(&pi, "POST", "/api/message/send", &json!({"text": "psst"}));
    assert_eq!((told.status, told.json()["error"].as_str().unwrap()), (404, "Channel plugin not found: delegate"));
    // Of B24: neither its parent's session nor another one.
    let of_parent = json!({"toolName": "delegate_to_agent", "sessionKey": MAIN, "params": wish["params"]});
    assert_eq!(as_child(&pi, "POST", "/api/tools/call", &of_parent).status, 403);
    pi.open("deep");
    let run = sent["payload"]["runId"].clone();
    let reply = loop {
        let reply = page.event("chat.reply");
        if reply["payload"]["runId"] == run {
            break reply["payload"]["text"].as_str().unwrap().to_owned();
        }
    };
    assert!(reply.contains("done"), "{reply}");
    let starts: Vec<String> = pi.starts().iter().map(|args| args.join(" ")).collect();
    assert!(starts[0].contains("coder (writes programs)"), "{}", starts[0]);
    assert!(starts[1].contains("Another agent gave you a task") && !starts[1].contains("Delegation:"));
}

/// The parent holds the only place: no deadlock, but a word after ten seconds.
#[test]
fn given_a_pool_of_one_then_the_parent_hears_that_there_is_no_process_and_answers() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({"agent": {"pool": {"min": 0, "max": 1}}})).start();
    let reply = g.chat(MAIN, &call("[[say:never]]"));
    assert!(reply.contains("No agent process was free within 10 s"), "{reply}");
    assert_eq!(fate(&g), "dropped");
    assert_eq!(g.chat(MAIN, "[[say:on we go]]"), "on we go");
    g.wait_until("it is counted", |g| g.get("/api/metrics").json()["delegation"]["poolExhausted"] == 1);
    assert_eq!(pi.starts().len(), 1);
}
