//! What happened: recorded, filtered, counted.

use pi_gateway::message::*;
use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

#[test]
fn a_route_that_does_not_exist_is_recorded_one_inside_a_handler_is_not() {
    let h = House::open();
    let empty = ask(h.addr, "GET", "/api/observability/events", "", "").json();
    assert_eq!(empty, json!({"ok": true, "events": [], "count": 0, "windowMs": null}));
    assert_eq!(ask(h.addr, "POST", "/api/nothing?x=1", "", "").status, 404);
    assert_eq!(ask(h.addr, "GET", "/api/sessions/unknown", "", "").status, 404);
    let body = ask(h.addr, "GET", "/api/observability/events?window=5m", "", "").json();
    assert_eq!((body["count"].as_u64(), body["windowMs"].as_u64()), (Some(1), Some(300_000)));
    let e = &body["events"][0];
    assert_eq!(
        (e["level"].as_str(), e["category"].as_str(), e["action"].as_str()),
        (Some("warn"), Some("api"), Some("not_found"))
    );
    assert_eq!(e["message"], "API endpoint not found: POST /api/nothing");
    assert!(e["id"].as_str().unwrap().starts_with(&format!("{}-", e["ts"])));
}

#[test]
fn what_the_mind_reports_is_kept_newest_first_and_can_be_filtered_and_paged() {
    let h = House::open();
    h.door.publish(&Frame::Reset { session: MAIN.into() });
    h.door.publish(&Frame::Error {
        session: MAIN.into(),
        run: "r".into(),
        code: Code::UpstreamFailed,
        message: "The model is down.".into(),
    });
    h.door.observe(Observation::new(Level::Error, Area::Rpc, "crash", "pi ended").of(MAIN));
    let get = |query: &str| ask(h.addr, "GET", &format!("/api/observability/events{query}"), "", "").json();
    let actions = |query: &str| -> Vec<String> {
        get(query)["events"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(actions(""), ["crash", "turn_failed", "reset"]);
    assert_eq!(get("")["events"][0]["meta"], json!({"sessionKey": MAIN}));
    assert_eq!(actions("?level=error"), ["crash", "turn_failed"]);
    assert_eq!(actions("?category=session&level=info"), ["reset"]);
    assert_eq!(actions("?window=nonsense"), ["crash", "turn_failed", "reset"]);
    let first = get("?limit=2");
    assert_eq!(first["count"], 2);
    let cursor = first["nextCursor"].as_str().unwrap();
    assert_eq!(actions(&format!("?limit=2&cursor={cursor}")), ["reset"]);
    assert_eq!(get("?cursor=nothing")["error"], "cursor must be the nextCursor of an earlier page");
    assert_eq!(get("?cursor=99999999999999-1")["error"], "cursor must be the nextCursor of an earlier page");
    assert_eq!(actions("?cursor=5-left"), [""; 0], "one that has left, and all before it");
    assert_eq!(get("?limit=abc")["error"], "limit must be a whole number");
    assert_eq!(get("?level=loud")["error"], "level must be one of debug, info, warn, error");
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    let listed = ws.call("observability.events", json!({"limit": 1, "window": 60000}))["payload"].clone();
    assert_eq!((listed["events"][0]["action"].as_str(), listed["windowMs"].as_u64()), (Some("crash"), Some(60_000)));
}

#[test]
fn the_summary_counts_levels_categories_and_actions() {
    let h = House::open();
    let note = |level, area, action| h.door.observe(Observation::new(level, area, action, "m"));
    note(Level::Error, Area::Rpc, "crash");
    note(Level::Info, Area::Gateway, "reload");
    note(Level::Info, Area::Gateway, "reload");
    let mut body = ask(h.addr, "GET", "/api/observability/summary?window=1h", "", "").json();
    let recent = body["summary"]["recentErrors"].take();
    assert_eq!(recent[0]["action"], "crash");
    assert_eq!(
        body,
        json!({"ok": true, "summary": {
            "total": 3, "byLevel": {"debug": 0, "info": 2, "warn": 0, "error": 1},
            "byCategory": {"gateway": 2, "cron": 0, "api": 0, "rpc": 1, "session": 0, "channel": 0, "system": 0},
            "recentErrors": null,
            "topActions": [{"action": "reload", "count": 2}, {"action": "crash", "count": 1}],
            "errorRatePct": 33.33, "windowMs": 3_600_000,
        }})
    );
}
