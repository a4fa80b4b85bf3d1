//! Roles' memory: search, counts and descriptions, as routes and as methods.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;

const LEARNED: &str =
    "# Learnings\n\n- [3x] Prefer dark mode in editors\n- 用户喜欢咖啡\n\n# Preferences: Style\n- short answers\n\
                       # Events\n## 2026\n* moved house\n";

fn day(back: i64) -> String {
    (Timestamp::now().to_zoned(TimeZone::UTC).date() - back.days()).to_string()
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn remembering() -> (House, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("default/{name}");
    write(dir.path(), &at("memory/consolidated.md"), LEARNED);
    write(
        dir.path(),
        &at(&format!("memory/daily/{}.md", day(1))),
        "# Notes\n\n## 10:00\ndark mode was asked for\n## 11:00\nlunch\n",
    );
    write(dir.path(), &at(&format!("memory/daily/{}.md", day(8))), "## 10:00\nold dark mode\n");
    write(dir.path(), &at("core/identity.md"), "# Identity\n- **Name**: Ada\n- **Emoji**: 🦊\n");
    write(dir.path(), &at("core/soul.md"), &"ü".repeat(700));
    fs::create_dir_all(dir.path().join("bare")).unwrap();
    let roles = dir.path().to_owned();
    (House::set(|s| s.roles_dir = roles), dir)
}

#[test]
fn a_search_finds_what_was_learned_and_the_notes_of_the_last_days_best_first() {
    let (h, _dir) = remembering();
    let r = ask(h.addr, "GET", "/api/memory/search?q=dark%20mode", "", "");
    assert_eq!(r.status, 200);
    let body = r.json();
    assert_eq!((body["role"].as_str(), body["query"].as_str()), (Some("default"), Some("dark mode")));
    let results = body["results"].as_array().unwrap();
    let kinds: Vec<&str> = results.iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["learning", "daily"], "{results:?}");
    assert_eq!(results[0]["text"], "Prefer dark mode in editors");
    // 0.5 whole query, 0.3 · 2 of 5 tokens in common, 0.2 all of the query's tokens
    assert!((results[0]["score"].as_f64().unwrap() - 0.82).abs() < 1e-9);
    assert!(results[0].get("date").is_none());
    assert_eq!(
        (results[1]["date"].as_str(), results[1]["text"].as_str()),
        (Some(&*day(1)), Some("10:00\ndark mode was asked for"))
    );
    let best = ask(h.addr, "GET", "/api/memory/search?q=dark+mode&max=1", "", "").json();
    assert_eq!(best["results"].as_array().unwrap().len(), 1);
    let cjk = ask(h.addr, "GET", "/api/memory/search?q=%E5%92%96%E5%95%A1", "", "").json();
    assert_eq!(cjk["results"][0]["text"], "用户喜欢咖啡");
    assert!((cjk["results"][0]["score"].as_f64().unwrap() - 0.7).abs() < 1e-9);
    assert_eq!(ask(h.addr, "GET", "/api/memory/search?q=x&role=bare", "", "").json()["results"], json!([]));
}

#[test]
fn what_is_wrong_with_a_search_is_said() {
    let (h, _dir) = remembering();
    for (query, error) in [
        ("", "q parameter required"),
        ("q=%20", "q parameter required"),
        ("q=a&role=../..", "invalid role name"),
        ("q=a&max=abc", "max must be a whole number"),
        ("q=a&max=-3", "max must be a whole number"),
    ] {
        let r = ask(h.addr, "GET", &format!("/api/memory/search?{query}"), "", "");
        assert_eq!((r.status, r.json()["error"].as_str()), (400, Some(error)), "{query}");
    }
    let long = "x".repeat(1001);
    assert_eq!(ask(h.addr, "GET", &format!("/api/memory/search?q={long}"), "", "").status, 400);
}

#[test]
fn a_role_s_memory_is_counted() {
    let (h, _dir) = remembering();
    let want = json!({
        "role": "default", "learningsCount": 2, "preferencesCount": 1, "eventsCount": 1, "dailyFilesCount": 2,
        "memoryFileSize": LEARNED.len(), "categories": {"Learnings": 2, "Preferences: Style": 1, "2026": 1},
    });
    assert_eq!(ask(h.addr, "GET", "/api/memory/stats", "", "").json(), want);
    let r = ask(h.addr, "GET", "/api/memory/stats?role=nobody", "", "");
    assert_eq!((r.status, r.json()["error"].as_str()), (404, Some("Role not found")));
    assert_eq!(ask(h.addr, "GET", "/api/memory/stats?role=..", "", "").json()["error"], "invalid role name");
}

#[test]
fn roles_are_described_by_their_own_files() {
    let (h, _dir) = remembering();
    let want = json!({"roles": [
        {"role": "bare", "identity": null, "soulPreview": null, "hasMemory": false, "hasDailyMemory": false},
        {
            "role": "default", "identity": {"name": "Ada", "emoji": "🦊"}, "soulPreview": "ü".repeat(500),
            "hasMemory": true, "hasDailyMemory": true,
        },
    ]});
    assert_eq!(ask(h.addr, "GET", "/api/memory/roles", "", "").json(), want);
}

#[test]
fn the_methods_answer_like_the_routes() {
    let (h, _dir) = remembering();
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    let found = ws.call("memory.search", json!({"query": "dark mode", "maxResults": 1}))["payload"].clone();
    assert_eq!((found["role"].as_str(), found["results"].as_array().map(Vec::len)), (Some("default"), Some(1)));
    assert!(found.get("query").is_none());
    assert_eq!(ws.call("memory.stats", json!({}))["payload"]["learningsCount"], 2);
    assert_eq!(ws.call("memory.roles", Value::Null)["payload"]["roles"][1]["identity"]["name"], "Ada");
    for (method, params, error) in [
        ("memory.search", json!({}), "query is required"),
        ("memory.search", json!({"query": "x", "maxResults": "5"}), "maxResults must be a whole number"),
        ("memory.search", json!({"query": "x", "role": "a/b"}), "invalid role name"),
        ("memory.stats", json!({"role": "nobody"}), "Role not found"),
    ] {
        assert_eq!(ws.call(method, params)["error"], error, "{method}");
    }
}
