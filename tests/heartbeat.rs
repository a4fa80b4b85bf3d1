//! Heartbeats, system events and `/api/wake` over the whole gateway: the stand-in pi, WebChat and Telegram (core.md 14, B14).
//!
//! Nobody waits for a tick: an agent is woken for an event. When ticks come is what `tests/mind/heartbeat.rs` is about.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};

use rusqlite::Connection;
use serde_json::{json, Value};
use support::bot_api::BotApi;
use support::fake_pi::{FakePi, Flavour};
use support::gateway::Gateway;
use support::raw_http::{ask, Response};

const MAIN: &str = "agent:main:webchat:default";
const ANN: i64 = 7;

fn gateway(pi: &FakePi, config: Value) -> Gateway {
    let mut all = json!({"agent": {"piCliPath": pi.program()}, "heartbeat": {"enabled": true, "every": "1h"}});
    support::gateway::merge(&mut all, config);
    Gateway::new(all).env("PI_GW_CLOCK_OK", "1")
}

fn wake(g: &Gateway, text: &str, mode: &str) -> Response {
    g.post("/api/wake", json!({"text": text, "mode": mode}))
}

/// How many heartbeats ended like that.
fn beats(g: &Gateway, state: &str) -> i64 {
    let db = Connection::open(g.data().join("gateway.db")).unwrap();
    let sql = "SELECT count(*) FROM inbox WHERE kind = 'heartbeat' AND state = ?";
    db.query_row(sql, [state], |r| r.get(0)).unwrap()
}

fn wait_beats(g: &Gateway, state: &str, n: i64) {
    g.wait_until(&format!("{n} heartbeats are {state}"), |g| beats(g, state) == n);
}

/// pi's files of the conversation, with what is in them.
fn files(g: &Gateway) -> Vec<String> {
    let dir = g.data().join("sessions/agent__main__webchat__default");
    let all = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    all.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_heartbeat_that_has_nothing_to_say_leaves_no_trace_and_an_alert_is_part_of_the_conversation() {
    for flavour in [Flavour::Old, Flavour::New] {
        let pi = FakePi::new(flavour);
        let g = gateway(&pi, json!({})).start();
        assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
        let before = files(&g);
        assert_eq!(before.len(), 1);
        for n in 1..=3 {
            let answer = wake(&g, "[[say:**HEARTBEAT_OK**]]", "now");
            assert_eq!(answer.json(), json!({"ok": true, "mode": "now", "sessionKey": MAIN}));
            wait_beats(&g, "silent", n);
        }
        g.wait_until("the copies are gone", |g| files(g) == before);
        assert_eq!(g.history(MAIN).len(), 2);
        let mut page = g.page(MAIN);
        wake(&g, "[[say:the door bell rang]]", "now");
        wait_beats(&g, "answered", 1);
        g.wait_until("only the new file is left", |g| files(g).len() == 1);
        let kept = files(&g).remove(0);
        assert!(kept.contains("hello") && kept.contains("[WAKE]") && kept.contains("the door bell rang"), "{kept}");
        assert_eq!(g.history(MAIN)[2..], [("assistant".to_owned(), "the door bell rang".to_owned())]);
        page.call("sessions.list", json!({})); // what was told the page before is read
        assert_eq!(g.chat(MAIN, "[[say:who?]]"), "who?");
        let last = files(&g);
        assert!(last.len() == 1 && last[0].contains("the door bell rang") && last[0].contains("who?"));
        assert_eq!(pi.starts().len(), 1, "one process has done all of it");
    }
}

#[test]
fn a_kill_in_the_middle_of_a_heartbeat_ends_in_one_alert_and_one_file() {
    let pi = FakePi::new(Flavour::New);
    let mut g = gateway(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
    wake(&g, "[[gate:g]] [[say:the disk is full]]", "now");
    pi.wait_gate("g");
    assert_eq!(files(&g).len(), 2);
    g.kill9();
    pi.open("g");
    g.restart();
    wait_beats(&g, "answered", 1);
    let told = |g: &Gateway| g.history(MAIN).into_iter().skip(2).map(|l| l.1).collect::<Vec<_>>();
    assert_eq!(told(&g).len(), 1, "{:?}", told(&g));
    g.wait_until("one file is left", |g| files(g).len() == 1);
    assert!(files(&g)[0].contains("hello"));
    g.kill9();
    g.restart();
    assert_eq!((told(&g).len(), files(&g).len()), (1, 1));
    assert_eq!(g.chat(MAIN, "[[say:still here]]"), "still here");
}

#[test]
fn a_message_during_a_heartbeat_is_answered_after_it_and_stop_ends_it() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
    wake(&g, "[[gate:g]] [[say:HEARTBEAT_OK]]", "now");
    pi.wait_gate("g");
    let mut page = g.page(MAIN);
    let sent = page.call("chat.send", json!({"sessionKey": MAIN, "text": "[[say:me too]]"}));
    assert_eq!(sent["ok"], true, "{sent}");
    pi.open("g");
    g.wait_until("it is answered", |g| g.history(MAIN).last().unwrap().1 == "me too");
    let prompts = pi.prompts();
    assert!(prompts[1].contains("Heartbeat:") && prompts[2].contains("me too"), "{prompts:?}");
    wake(&g, "[[gate:never]] [[say:HEARTBEAT_OK]]", "now");
    pi.wait_gate("never");
    g.post("/api/chat", json!({"message": "/stop", "sessionKey": MAIN}));
    g.wait_until("the copies are gone", |g| files(g).len() == 1);
    assert_eq!(g.post("/api/session/reset", json!({"sessionKey": MAIN})).json()["eventsCleared"], 1);
}

#[test]
fn an_agent_wakes_itself_with_its_tool_when_its_turn_is_over() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({})).start();
    let tool = json!({"method": "POST", "path": "/api/wake", "body": {"text": "[[say:as I said]]", "mode": "now"}});
    assert_eq!(g.chat(MAIN, &format!("[[tool:http {tool}]] [[say:I will]]")), "I will");
    wait_beats(&g, "answered", 1);
    assert_eq!(g.history(MAIN).last().unwrap().1, "as I said");
}

#[test]
fn an_alert_goes_to_the_last_chat_on_telegram() {
    let pi = FakePi::new(Flavour::New);
    let api = BotApi::start();
    let telegram = json!({"enabled": true, "apiRoot": api.root(), "botToken": api.token(), "pollTimeoutS": 5,
        "streamMode": "off", "allowFrom": [ANN.to_string()]});
    let g = gateway(&pi, json!({"channels": {"telegram": telegram}})).start();
    api.wait_polling();
    api.user_writes(ANN, "[[say:hello]]");
    api.wait_text(ANN, "hello");
    wake(&g, "[[say:HEARTBEAT_OK]]", "now");
    wait_beats(&g, "silent", 1);
    let answer = wake(&g, "[[say:the disk is full]]", "now").json();
    assert!(answer["sessionKey"].as_str().unwrap().starts_with("agent:main:telegram:"), "{answer}");
    api.wait_text(ANN, "the disk is full");
    let all = api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted);
    assert_eq!(all.map(|m| m.text().to_owned()).collect::<Vec<_>>(), ["hello", "the disk is full"]);
    api.assert_clean();
}

#[test]
fn without_a_heartbeat_events_stand_before_the_next_message_and_a_restart_loses_none() {
    let pi = FakePi::new(Flavour::New);
    let mut g = gateway(&pi, json!({"plugins": {"disabled": ["heartbeat"]}})).start();
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
    for (mode, told) in [(json!("now"), "now"), (json!("whenever"), "next-heartbeat"), (json!(7), "next-heartbeat")] {
        let answer = g.post("/api/wake", json!({"text": format!("it is {told}"), "mode": mode}));
        assert_eq!(answer.json()["mode"], told);
    }
    g.kill9();
    g.restart();
    assert_eq!(g.chat(MAIN, "[[say:what is new?]]"), "what is new?");
    let prompt = pi.prompts().pop().unwrap();
    assert!(prompt.contains("[System events]") && prompt.matches("[WAKE] it is").count() == 3, "{prompt}");
    g.chat(MAIN, "[[say:more?]]");
    assert!(!pi.prompts().pop().unwrap().contains("[WAKE]"));
    assert_eq!(beats(&g, "silent"), 0);
    let auth = format!("Authorization: Bearer {}\r\n", g.token);
    for (body, why) in
        [("{}", "text is required"), ("{\"text\":\"  \"}", "text is required"), ("{", "Invalid request body")]
    {
        let r = ask(g.addr, "POST", "/api/wake", &auth, body);
        assert!(r.status == 400 && r.json()["error"].as_str().unwrap().starts_with(why), "{}", r.text());
    }
    assert_eq!(ask(g.addr, "POST", "/api/wake", "", "{\"text\":\"x\"}").status, 401);
}

#[test]
fn a_job_that_notifies_main_wakes_the_conversation() {
    let pi = FakePi::new(Flavour::New);
    let g = gateway(&pi, json!({"cron": {"enabled": true}})).start();
    assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
    for (id, more) in [
        ("note", json!({"notifyMain": true, "delivery": "silent"})),
        ("main", json!({"mode": "main", "delivery": "direct"})),
    ] {
        let mut job =
            json!({"id": id, "schedule": {"kind": "every", "expr": "6h"}, "task": format!("[[say:from {id}]]")});
        support::gateway::merge(&mut job, more);
        assert_eq!(g.post("/api/cron/jobs", job).status, 201);
        g.post(&format!("/api/cron/jobs/{id}/run"), Value::Null);
        g.wait_until("its run is over", |g| {
            g.get(&format!("/api/cron/jobs/{id}/runs")).text().contains("\"completed\"")
        });
    }
    g.wait_until("the conversation was told", |_| {
        pi.prompts().iter().any(|p| p.contains("[CRON_DONE:note] from note"))
    });
    g.wait_until("the task is done", |g| g.history(MAIN).iter().any(|l| l.1 == "from main"));
    let runs = g.get("/api/cron/jobs/main/runs").json()["runs"].clone();
    assert_eq!((&runs[0]["resultPreview"], &runs[0]["deliveryStatus"]), (&json!("from main"), &json!("sent")));
}

/// Wakes the agent; whether the gateway has said that it is stored before it died.
fn wake_once(g: &Gateway, text: &str) -> bool {
    let body = json!({"text": text, "mode": "now"}).to_string();
    let said = || -> std::io::Result<String> {
        let mut sock = std::net::TcpStream::connect(g.addr)?;
        sock.set_read_timeout(Some(support::DEADLINE))?;
        let head = format!(
            "POST /api/wake HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            g.token,
            body.len()
        );
        sock.write_all((head + &body).as_bytes())?;
        let mut said = String::new();
        sock.read_to_string(&mut said)?;
        Ok(said)
    };
    said().is_ok_and(|said| said.starts_with("HTTP/1.1 200"))
}

/// Every point at which the gateway commits or acts while an agent is woken and has something to say.
#[test]
fn b14_a_kill_at_any_point_of_a_heartbeat_loses_and_repeats_nothing_and_leaves_one_file() {
    for n in 1.. {
        let pi = FakePi::new(if n % 2 == 0 { Flavour::New } else { Flavour::Old });
        let mut g = gateway(&pi, json!({})).start();
        assert_eq!(g.chat(MAIN, "[[say:hello]]"), "hello");
        g.stop();
        g.set_env("PI_GW_CRASH", Some(&n.to_string()));
        g.launch();
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(g.addr).is_err() && g.ended().is_none() {
            assert!(begun.elapsed() < support::DEADLINE, "{}", g.log());
            std::thread::sleep(std::time::Duration::from_millis(2)); // the port is the only sign there is
        }
        let stored = wake_once(&g, "[[say:the disk is full]]");
        let quiet = "SELECT count(*) FROM inbox WHERE kind IN ('event', 'heartbeat') AND state IN ('pending', 'queued', 'in_turn')";
        let open = |g: &Gateway| {
            Connection::open(g.data().join("gateway.db")).and_then(|db| db.query_row(quiet, [], |r| r.get::<_, i64>(0)))
        };
        let mut crashed = false;
        let begun = std::time::Instant::now();
        while !(open(&g).is_ok_and(|n| n == 0) && files(&g).len() == 1) || !crashed && begun.elapsed().as_millis() < 300
        {
            if g.ended().is_some() {
                assert!(!crashed, "point {n}: it ended again:\n{}", g.log());
                crashed = true;
                g.set_env("PI_GW_CRASH", None);
                g.restart();
            }
            assert!(
                begun.elapsed() < support::DEADLINE,
                "point {n}: {:?} are open, {} files\n{}",
                open(&g),
                files(&g).len(),
                g.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(3)); // looks at files, for which there is no event
        }
        if !crashed {
            g.kill9(); // whatever is asked next passes points too
            g.set_env("PI_GW_CRASH", None);
            g.restart();
        }
        let told: Vec<String> = g.history(MAIN).into_iter().skip(2).map(|l| l.1).collect();
        assert!(told.len() <= 1 && (told.len() == 1 || !stored), "point {n}, stored: {stored}, told: {told:?}");
        let kept = files(&g).remove(0);
        assert!(kept.contains("hello") && kept.contains("[WAKE]") == (told.len() == 1), "point {n}: {kept}");
        if !crashed {
            println!("{n} points");
            assert!(n > 20, "only {n} points were passed");
            return;
        }
    }
}
