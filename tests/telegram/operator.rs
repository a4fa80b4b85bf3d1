//! The operator's commands beside a gateway and without one (config.md 10): status, channel, session, outbox, media, logs.

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::operation::cli;
use crate::support::bot_api::{Rule, Trouble};
use crate::support::gateway::Gateway;

#[test]
fn status_and_channels_say_how_it_stands() {
    let mut h = House::new(json!({}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.settled();
    let ran = cli(&h.g, "status");
    assert_eq!(ran.code, 0, "{} {}", ran.out, ran.err);
    for part in [
        "gateway   ok, version",
        "owed      0 messages",
        "telegram  default running (@fake_gateway_bot)",
        "webchat   on",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let ran = cli(&h.g, "channel list --json").json();
    let telegram = ran.as_array().unwrap().iter().find(|c| c["id"] == "telegram").unwrap();
    assert_eq!(telegram["accounts"][0]["state"], "running");
    assert!(cli(&h.g, "channel list").out.contains("telegram  default  running"));
    assert_eq!(cli(&h.g, "channel restart telegram:default").code, 0);
    let ran = cli(&h.g, "channel restart telegram:work");
    assert!(ran.code == 1 && ran.err.contains("Account not found: work"), "{}", ran.err);
    h.api.user_writes(ANN, "[[say:still here]]");
    h.api.wait_text(ANN, "still here");
    h.settled();
    h.g.stop();
    let ran = cli(&h.g, "status --json");
    assert_eq!((ran.code, &ran.json()["running"]), (69, &json!(false)), "{}", ran.err);
    assert_eq!(cli(&h.g, "channel list").code, 69);
}

#[test]
fn conversations_are_listed_shown_exported_and_begun_anew() {
    let mut h = House::new(json!({}));
    for n in 0..3 {
        h.api.user_writes(ANN, &format!("[[say:answer {n}]]"));
        h.api.wait_text(ANN, &format!("answer {n}"));
    }
    h.settled();
    let all = cli(&h.g, "session list --json").json();
    let key = all[0]["sessionKey"].as_str().unwrap().to_owned();
    assert_eq!((&all[0]["messageCount"], &all[0]["channel"]), (&json!(3), &json!("telegram")));
    assert!(cli(&h.g, "sessions list").out.contains(&key));
    let ran = cli(&h.g, &format!("session show {key}"));
    assert!(ran.out.contains("answer 2") && ran.out.contains("agent"), "{}", ran.out);
    let ran = cli(&h.g, &format!("session export {key} --json"));
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[5]["role"], &lines[5]["text"]), (&json!("agent"), &json!("answer 2")));
    assert!(cli(&h.g, &format!("session export {key}")).out.starts_with(&format!("# {key}\n\n## user, ")));
    assert_eq!(cli(&h.g, "session show nobody").code, 1);
    let ran = cli(&h.g, &format!("session reset {key}"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(cli(&h.g, &format!("session export {key} --json")).out, "");
    h.g.stop();
    assert_eq!(cli(&h.g, "session list --json").json()[0]["sessionKey"], key, "without a gateway too");
    assert_eq!(cli(&h.g, &format!("session reset {key}")).code, 69);
}

#[test]
fn what_could_not_be_delivered_is_listed_and_sent_again_or_dropped() {
    let mut h = House::new(json!({}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.settled();
    let refuse = || h.api.trouble(Rule::on("sendMessage", Trouble::bad("the chat is on fire")).times(1));
    for text in ["first", "second"] {
        refuse();
        assert_eq!(cli(&h.g, &format!("send --to telegram:{ANN} --message {text}")).code, 1);
    }
    let all = cli(&h.g, "outbox list --json").json();
    let brief = |l: &Value| format!("{} {} {}", l["to"], l["state"], l["text"]).replace('"', "");
    let listed: Vec<String> = all.as_array().unwrap().iter().map(brief).collect();
    assert_eq!(listed, ["telegram:default:7 failed first", "telegram:default:7 failed second"]);
    assert!(cli(&h.g, "outbox list").out.contains("the chat is on fire"));
    let id = |n: usize| all[n]["id"].as_i64().unwrap();
    assert_eq!(cli(&h.g, &format!("outbox retry {}", id(0))).code, 0);
    h.api.wait_text(ANN, "first");
    h.settled();
    assert_eq!(cli(&h.g, &format!("outbox drop {}", id(1))).code, 0);
    assert_eq!(cli(&h.g, "outbox list").out, "Nothing is owed, and nothing failed.\n");
    let ran = cli(&h.g, &format!("outbox retry {}", id(0)));
    assert!(ran.code == 1 && ran.err.contains("nothing that failed has the id"), "{}", ran.err);
    assert_eq!(cli(&h.g, "outbox drop x").code, 65);

    // What is owed while no gateway runs: dropped, it is not sent by the next.
    refuse();
    assert_eq!(cli(&h.g, &format!("send --to telegram:{ANN} --message third")).code, 1);
    let id = cli(&h.g, "outbox list --json").json()[0]["id"].as_i64().unwrap();
    h.g.stop();
    assert!(cli(&h.g, &format!("outbox retry {id}")).out.contains("when the gateway starts"));
    h.g.restart();
    h.api.wait_text(ANN, "third");
    h.settled();
    assert_eq!(h.said(ANN), ["hello", "first", "third"]);
}

#[test]
fn received_files_are_counted_and_cleaned() {
    let g = Gateway::new(json!({}));
    assert_eq!(cli(&g, "media stats").out, "No files were received.\n");
    let old = g.data().join("media/telegram/5/old.txt");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, "old").unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 86_400);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let ran = cli(&g, "media stats --json").json();
    assert_eq!(ran, json!([{"channel": "telegram", "files": 1, "bytes": 3}]));
    assert!(cli(&g, "media clean --dry-run").out.starts_with("1 files (3 B)"));
    assert!(old.exists());
    assert!(cli(&g, "media clean --days 50").out.starts_with("0 files"));
    assert_eq!(cli(&g, "media clean --channel ../x").code, 1);
    assert_eq!(cli(&g, "media clean").out, "1 files (3 B) and 1 empty directories removed\n");
    assert!(!old.exists());
}

#[test]
fn stickers_fetched_before_are_counted_and_forgotten() {
    let g = Gateway::new(json!({}));
    assert!(cli(&g, "media sticker-cache stats").out.starts_with("0 stickers"));
    assert_eq!(cli(&g, "media sticker-cache prune").out, "0 stickers forgotten\n");
    let dir = g.data().join("media/telegram/5");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("here.webp"), "webp").unwrap();
    let entry = |name: &str| json!({"filePath": dir.join(name), "setName": "Cats"});
    let cache = json!({"a": entry("here.webp"), "b": entry("gone.webp")});
    std::fs::create_dir_all(g.data().join("cache")).unwrap();
    std::fs::write(g.data().join("cache/sticker-cache.json"), cache.to_string()).unwrap();
    let ran = cli(&g, "media sticker-cache stats --json").json();
    assert_eq!(ran, json!({"stickers": 2, "sets": 1, "files": 1, "bytes": 4}));
    assert_eq!(cli(&g, "media sticker-cache prune --json").json(), json!({"ok": true, "forgotten": 1}));
    assert_eq!(cli(&g, "media sticker-cache clear").out, "1 stickers forgotten\n");
    assert!(cli(&g, "media sticker-cache stats").out.starts_with("0 stickers"));
    assert!(dir.join("here.webp").exists());
    let ran = cli(&g, "media sticker-cache");
    assert!(ran.err.contains("stats|prune|clear"), "{}", ran.err);
}

#[test]
fn the_log_is_printed_where_it_goes_to_files() {
    let g = Gateway::demo(json!({})).start();
    let ran = cli(&g, "logs");
    assert!(ran.code == 1 && ran.err.contains("journalctl"), "{}", ran.err);
    drop(g);
    let g = Gateway::demo(json!({"logging": {"file": true}})).start();
    g.wait_until("the log has its lines", |g| cli(g, "logs").out.contains("demo agent"));
    let ran = cli(&g, "logs --since 1h");
    assert!(ran.code == 0 && ran.out.contains("listens on http://"), "{}", ran.out);
    assert!(!ran.out.contains("test-token"), "{}", ran.out);
    assert_eq!(cli(&g, "logs --since 0s").out, "");
    assert_eq!(cli(&g, "logs --since yesterday").code, 64);
}
