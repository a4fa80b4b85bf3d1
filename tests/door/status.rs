//! Health, metrics, pool and sessions.

use pi_gateway::http::Settings;
use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::{bearer, MAIN};

#[test]
fn health_tells_strangers_nothing_that_names_a_chat() {
    let h = House::new();
    let near = ask(h.addr, "GET", "/health", "", "").json();
    assert_eq!(near["queue"]["totalPending"], 2);
    assert!(near["queue"].get("details").is_none() && near.get("problems").is_none());
    let far = ask(h.addr, "GET", "/health", "X-Forwarded-For: 1.2.3.4\r\n", "").json();
    let keys: Vec<&str> = far.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["status", "uptime", "version"]);
    let mut full = ask(h.addr, "GET", "/api/health", &bearer(), "").json();
    assert!(full["uptime"].take().is_number());
    assert_eq!(
        full,
        json!({
            "status": "ok", "uptime": null, "version": "1.2.3", "sessions": 5, "channels": ["webchat"], "problems": [],
            "configError": null,
            "pool": {
                "total": 2, "active": 1, "idle": 1, "maxCapacity": 4, "totalProcesses": 2, "running": 1, "waiting": 0,
                "waitingList": {"waiting": 0, "totalEnqueued": 0, "totalDrained": 0, "totalExpired": 0},
            },
            "queue": {
                "sessions": 1, "totalPending": 2, "dropCount": 0, "collectMergeCount": 0, "enqueueRate": 0.0, "queued": 2,
                "details": [{"sessionKey": MAIN, "pending": 2, "processing": true}],
            },
        })
    );
}

#[test]
fn health_of_a_mind_that_does_not_answer_is_degraded() {
    let h = House::with(settings(), Box::new(|_| None));
    let r = ask(h.addr, "GET", "/health", &bearer(), "");
    assert_eq!((r.status, r.json()["status"].as_str()), (200, Some("degraded")));
    assert_eq!(ask(h.addr, "GET", "/health/ready", "", "").status, 503);
}

#[test]
fn metrics_have_their_shape() {
    let h = House::new();
    let r = ask(h.addr, "GET", "/api/metrics", &bearer(), "");
    assert_eq!(r.header("content-type"), Some("application/json"));
    assert_eq!(r.header("cache-control"), Some("no-cache"));
    assert!(r.text().starts_with("{\n  \""));
    let m = r.json();
    let keys: Vec<&str> = m.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["timestamp", "current", "counters", "latency", "rpcProcesses", "history", "delegation", "pool", "queue"];
    assert_eq!(keys, expected);
    assert_eq!(m["pool"]["max"], 4);
    assert_eq!(m["current"]["sessions"]["activeCount"], 1);
    assert!(m["current"]["system"]["gatewayRssMb"].as_f64().unwrap() > 1.0);
    assert_eq!(m["latency"], json!({"p50": 0, "p95": 0, "p99": 0, "count": 0}));
    let r = ask(h.addr, "GET", "/metrics", &bearer(), "");
    assert_eq!(r.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    // A request is counted when its answer is written: the client may have it a moment sooner.
    let counted = "pigw_http_requests_total{route=\"/api/metrics\",method=\"GET\",code=\"200\"} 1";
    let mut text = String::new();
    eventually("the first request is counted", || {
        text = ask(h.addr, "GET", "/metrics", &bearer(), "").text();
        text.contains(counted)
    });
    for line in [
        "pigw_pool_processes{state=\"idle\"} 1",
        "pigw_queue_pending 2",
        "pigw_messages_total{channel=\"webchat\"} 3",
        counted,
        "pigw_message_duration_seconds_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert_eq!(ask(h.addr, "GET", "/metrics", "", "").status, 401);
    let public = House::with(Settings { metrics_public: true, ..settings() }, well());
    assert_eq!(ask(public.addr, "GET", "/metrics", "", "").status, 200);
    assert_eq!(ask(public.addr, "GET", "/metrics", "X-Forwarded-For: 1.1.1.1\r\n", "").status, 401);
}

#[test]
fn sessions_are_listed_shown_and_changed() {
    let h = House::open();
    let list = ask(h.addr, "GET", "/api/sessions", "", "").json();
    assert_eq!(list["sessions"][0]["sessionKey"], MAIN);
    assert_eq!(list["sessions"][0]["lastChannel"], "webchat");
    let one = ask(h.addr, "GET", "/api/sessions/agent%3Amain%3Amain%3Amain", "", "").json();
    assert_eq!(one["session"]["rpcProcessId"], "rpc-7");
    assert_eq!(ask(h.addr, "GET", "/api/sessions/other", "", "").json()["error"], "Session not found");
    assert_eq!(ask(h.addr, "GET", "/api/sessions/a%2Fb", "", "").status, 400);
    let post = |path: &str, body: &str| ask(h.addr, "POST", path, "", body);
    assert_eq!(post("/api/session/reset", "").json()["ok"], true);
    assert_eq!(post("/api/session/think", r#"{"level":"high"}"#).json()["level"], "high");
    assert_eq!(
        post("/api/session/think", r#"{"level":"max"}"#).json()["error"],
        "Invalid level. Use: off, minimal, low, medium, high, xhigh"
    );
    let r = post("/api/session/model", r#"{"model":"a/b/c"}"#).json();
    assert_eq!((r["provider"].as_str(), r["modelId"].as_str()), (Some("a"), Some("b/c")));
    assert_eq!(post("/api/session/model", r#"{"model":"x"}"#).status, 400);
    assert_eq!(post("/api/session/model", r#"{"model":"no/x"}"#).status, 404);
    assert_eq!(post("/api/session/reset", r#"{"sessionKey":7}"#).json()["error"], "sessionKey must be a string");
    assert_eq!(post("/api/session/reset", "nonsense").status, 400);
    let pool = ask(h.addr, "GET", "/api/pool", "", "").json();
    assert_eq!(pool["processes"][0]["sessionKey"], MAIN);
}

#[test]
fn the_gateway_shows_its_configuration_and_reloads_on_request() {
    let h = House::new();
    let key = &format!("Authorization: Bearer {SECRET}\r\n");
    for path in ["/api/config", "/api/gateway/config"] {
        let r = ask(h.addr, "GET", path, key, "");
        assert_eq!((r.status, r.json()["gateway"]["auth"]["token"].as_str()), (200, Some("***")), "{path}");
        assert_eq!(ask(h.addr, "GET", path, "", "").status, 401);
    }
    let r = ask(h.addr, "POST", "/api/gateway/reload", key, "");
    assert_eq!(r.json(), json!({"ok": true, "message": "Config reloaded"}));
    let r = ask(h.addr, "POST", "/api/gateway/restart", key, "");
    assert_eq!(r.refusal(), (403, "forbidden".into()));
    let mut ws = Ws::open(h.addr, "/ws", key).unwrap_or_else(|r| panic!("{}", r.text()));
    assert_eq!(ws.call("config.get", json!({}))["payload"]["gateway"]["port"], 52134);
    assert_eq!(ws.call("config.reload", json!({}))["payload"], json!({"ok": true}));
}
