//! Long messages and long conversations on a WebSocket whose reader is not slow (R17, R43).

use serde_json::{json, Value};

use crate::support::gateway::Gateway;
use crate::MAIN;

const LONG: usize = 100_000;

fn contents(page: &Value) -> Vec<String> {
    let list = page["messages"].as_array().cloned().unwrap_or_default();
    list.iter().map(|m| m["content"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn given_more_text_than_a_connection_buffers_then_the_history_comes_in_parts() {
    let g = Gateway::demo(json!({"agent": {"timeoutMs": 60000}})).start();
    for n in 0..12 {
        g.chat(MAIN, &format!("{n} {}", "z".repeat(LONG)));
    }
    let mut ws = g.page(MAIN);
    let (mut pages, mut seen, mut before) = (0, Vec::new(), Value::Null);
    loop {
        let res = ws.call("chat.history", json!({"sessionKey": MAIN, "before": before}));
        assert_eq!(res["ok"], true, "{}", res["error"]);
        let page = &res["payload"];
        before = page["messages"][0]["id"].clone();
        seen.splice(0..0, contents(page));
        pages += 1;
        if page["more"] == false {
            break;
        }
    }
    for unknown in ["", "x", "no-such-id", "0.s.1"] {
        let page = ws.call("chat.history", json!({"sessionKey": MAIN, "before": unknown}))["payload"].clone();
        assert_eq!((contents(&page), &page["more"]), (vec![], &json!(false)), "nothing is older than {unknown:?}");
    }
    let asked: Vec<String> = seen.iter().filter_map(|t| t.split_once(" zzz")).map(|(n, _)| n.to_owned()).collect();
    let asked: Vec<&String> = asked.iter().filter(|n| n.parse::<u32>().is_ok()).collect();
    assert_eq!(asked, (0..12).map(|n| n.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert!(pages > 1);
}

#[test]
fn given_a_message_larger_than_the_buffer_then_its_sender_stays_connected_and_gets_the_answer() {
    let g = Gateway::demo(json!({})).start();
    let mut ws = g.page(MAIN);
    let text = "z".repeat(1_500_000);
    let res = ws.call("chat.send", json!({"sessionKey": MAIN, "text": text}));
    assert_eq!(res["ok"], true, "{}", res["error"]);
    assert!(ws.event("chat.reply")["payload"]["text"].as_str().unwrap().contains("demo"));
    let res = ws.call("chat.history", json!({"sessionKey": MAIN}));
    assert!(contents(&res["payload"]).last().is_some_and(|t| t.contains("demo")));
}

#[test]
fn given_long_messages_on_many_connections_then_none_keeps_the_room_they_took() {
    // glibc would keep what is freed; a static build's allocator does not
    let g = Gateway::demo(json!({})).env("MALLOC_MMAP_THRESHOLD_", "131072").start();
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", g.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut pages: Vec<_> = (0..10).map(|_| g.page(MAIN)).collect();
    let before = rss();
    for ws in &mut pages {
        assert_eq!(ws.call("ping", json!({"pad": "z".repeat(4 << 20)}))["ok"], true);
    }
    g.wait_until("the memory is given back", |_| rss() < before + (8 << 10));
    for ws in &mut pages {
        assert_eq!(ws.call("ping", json!({}))["ok"], true);
    }
}
