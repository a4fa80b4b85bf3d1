//! Models, usage, reload, pages of sessions, and the lists of what there is not yet.

use pi_gateway::message::*;
use serde_json::{json, Value};

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

fn open_settings() -> pi_gateway::http::Settings {
    pi_gateway::http::Settings { auth: pi_gateway::http::Auth::Off, allow_unauthenticated: true, ..settings() }
}

/// A mind with a live pi in the main session only.
fn with_pi() -> House {
    let mut rest = well();
    let none = |message: &str| Some(Answer::Error { code: Code::NoActiveSession, message: message.into() });
    House::with(
        open_settings(),
        Box::new(move |request| match request {
            Request::Models => Some(Answer::Models(r#"[{"id":"m","provider":"p"}]"#.into())),
            Request::Stats { session } if session == MAIN => {
                Some(Answer::Stats { stats: r#"{"cost":0.5}"#.into(), state: "{}".into() })
            }
            Request::Stats { .. } => none("No active session"),
            Request::ReloadPi { session } if session == MAIN => Some(Answer::Ok),
            Request::ReloadPi { .. } => {
                Some(Answer::Error { code: Code::NotFound, message: "Session not found".into() })
            }
            other => rest(other),
        }),
    )
}

#[test]
fn models_and_usage_are_pi_s_own_words() {
    let h = with_pi();
    let models = ask(h.addr, "GET", "/api/models?sessionKey=agent:a", "", "").json();
    assert_eq!(models, json!({"models": [{"id": "m", "provider": "p"}]}));
    let usage = ask(h.addr, "GET", "/api/session/usage", "", "").json();
    assert_eq!(usage, json!({"sessionKey": MAIN, "stats": {"cost": 0.5}}), "the cost stays a number here");
    let r = ask(h.addr, "GET", "/api/session/usage?sessionKey=agent:other", "", "");
    assert_eq!((r.status, r.json()["error"].as_str()), (404, Some("No active session")));
    assert_eq!(ask(h.addr, "GET", "/api/session/usage?sessionKey=a%2Fb", "", "").status, 400);
    let status = ask(h.addr, "GET", "/api/session/status", "", "").json();
    assert_eq!((&status["stats"]["cost"], &status["statsRaw"]["cost"]), (&json!({"total": 0.5}), &json!(0.5)));
}

#[test]
fn a_session_is_reloaded_and_what_went_wrong_is_said_in_the_old_shape() {
    let h = with_pi();
    let done = json!({"success": true, "message": "Reload command sent to agent"});
    let post = |body: Value| {
        let r = ask(h.addr, "POST", "/api/reload", "", &body.to_string());
        (r.status, r.json())
    };
    assert_eq!(post(json!({"sessionKey": MAIN})), (200, done.clone()));
    for (body, status, error) in
        [(json!({}), 400, "sessionKey required"), (json!({"sessionKey": "agent:other"}), 404, "Session not found")]
    {
        let (got, body) = post(body);
        assert_eq!((got, &body["success"], body["error"].as_str()), (status, &json!(false), Some(error)));
    }
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    assert_eq!(ws.call("session.reload", json!({"sessionKey": MAIN}))["payload"], done);
    let unknown = ws.call("session.reload", json!({"sessionKey": "agent:other"}));
    assert_eq!(
        (&unknown["ok"], &unknown["payload"]),
        (&json!(true), &json!({"success": false, "error": "Session not found"}))
    );
    let nobody = ws.call("session.reload", json!({}))["payload"].clone();
    assert_eq!(nobody, json!({"success": false, "error": "sessionKey required"}));
}

/// Five sessions, `s1` the oldest; two of the same moment.
fn five() -> House {
    let mut rest = well();
    House::with(
        open_settings(),
        Box::new(move |request| match request {
            Request::Sessions { after, limit } => {
                let minute = |n: i64| if n == 4 { 5 } else { n };
                let one = |n| SessionInfo { last_activity: minute(n) * 60_000, ..info(&format!("s{n}")) };
                let place = |n| (-minute(n), format!("s{n}"));
                let after = after.clone().map(|(minute, key)| (-minute, key));
                let behind = [4, 5, 3, 2, 1].into_iter().filter(|n| after.as_ref().is_none_or(|a| place(*n) > *a));
                Some(Answer::Sessions(behind.take(*limit).map(one).collect()))
            }
            other => rest(other),
        }),
    )
}

fn keys(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|s| s["sessionKey"].as_str().unwrap()).collect()
}

#[test]
fn sessions_come_in_pages_when_asked_and_whole_otherwise() {
    let h = five();
    let get = |query: &str| ask(h.addr, "GET", &format!("/api/sessions{query}"), "", "").json();
    let whole = get("");
    assert_eq!((keys(&whole["sessions"]).len(), whole.get("nextCursor")), (5, None));
    let mut seen = Vec::new();
    let mut page = get("?limit=2");
    while let Some(cursor) = page["nextCursor"].as_str() {
        seen.extend(keys(&page["sessions"]).into_iter().map(str::to_owned));
        page = get(&format!("?limit=2&cursor={cursor}"));
    }
    seen.extend(keys(&page["sessions"]).into_iter().map(str::to_owned));
    assert_eq!(seen, ["s4", "s5", "s3", "s2", "s1"]);
    assert_eq!(get("?limit=x")["error"], "limit must be a whole number");
    for foreign in ["x", "s4", "5-", "5-a/b", "x-s4"] {
        let why = "cursor must be the nextCursor of an earlier page";
        assert_eq!(get(&format!("?cursor={foreign}"))["error"], why, "{foreign}");
    }
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    assert_eq!(keys(&ws.call("sessions.list", json!({}))["payload"]).len(), 5, "an array, as old clients read it");
    let page = ws.call("sessions.list", json!({"limit": 3}))["payload"].clone();
    assert_eq!(keys(&page["sessions"]), ["s4", "s5", "s3"]);
    let rest = ws.call("sessions.list", json!({"limit": 3, "cursor": page["nextCursor"]}))["payload"].clone();
    assert_eq!(rest, json!({"sessions": rest["sessions"]}));
    assert_eq!(keys(&rest["sessions"]), ["s2", "s1"]);
}

#[test]
fn sessions_that_did_not_change_are_not_sent_again() {
    let h = House::open();
    let first = ask(h.addr, "GET", "/api/sessions", "", "");
    let etag = first.header("etag").unwrap().to_owned();
    let again = ask(h.addr, "GET", "/api/sessions", &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, Some(&*etag), 0));
    assert_eq!(ask(h.addr, "GET", "/api/sessions", "If-None-Match: \"other\"\r\n", "").status, 200);
}

#[test]
fn plugins_and_tools_are_lists_without_entries_and_channels_are_the_page_s() {
    let h = House::open();
    let get = |path: &str| ask(h.addr, "GET", path, "", "").json();
    let empty: [&str; 0] = [];
    assert_eq!(
        get("/api/plugins"),
        json!({
            "channels": ["webchat"], "tools": empty, "commands": empty, "hooks": empty, "hookDetails": empty,
            "services": empty,
        })
    );
    assert_eq!(ask(h.addr, "HEAD", "/api/plugins", "", "").status, 200);
    assert_eq!(get("/api/tools"), json!({"tools": empty}));
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    let mut ok = |method: &str| ws.call(method, json!({}))["payload"].clone();
    assert_eq!(
        ok("plugins.list"),
        json!({"channels": ["webchat"], "tools": empty, "commands": empty, "cliRegistrars": 0})
    );
    assert_eq!(ok("tools.list"), json!({"tools": empty}));
    let status = ok("channels.status");
    assert_eq!(status.as_array().unwrap().len(), 1);
    assert_eq!((status[0]["id"].as_str(), status[0]["label"].as_str()), (Some("webchat"), Some("WebChat")));
    let can = &status[0]["capabilities"];
    assert_eq!((&can["direct"], &can["group"], &can["thread"]), (&json!(true), &json!(false), &json!(false)));
}

#[test]
fn what_is_asked_of_a_part_that_is_not_there_is_refused_by_its_name() {
    let h = House::open();
    for (path, body, status, error) in [
        ("/api/tools/call", json!({}), 400, "toolName is required"),
        ("/api/tools/call", json!({"tool": "x", "params": {}}), 500, "Tool not found: x"),
        ("/api/channels/restart", json!({}), 400, "channel is required"),
        ("/api/channels/restart", json!({"channel": "irc"}), 404, "Channel not found: irc"),
        (
            "/api/channels/restart",
            json!({"channel": "webchat"}),
            400,
            "Channel webchat has no connection that could be restarted",
        ),
        ("/api/plugins/reload", json!({"pluginId": "p"}), 404, "Plugin not found: p"),
        ("/api/cron/jobs", json!({"id": "a"}), 404, "Cron not enabled"),
        ("/api/wake", json!({"text": " "}), 400, "text is required"),
    ] {
        let r = ask(h.addr, "POST", path, "", &body.to_string());
        assert_eq!((r.status, r.json()["error"].as_str()), (status, Some(error)), "{path}");
    }
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    for (method, params, error) in [
        ("tools.call", json!({}), "toolName is required"),
        ("tools.call", json!({"toolName": "x"}), "Tool not found: x"),
        ("channels.restart", json!({"channel": "irc"}), "Channel not found: irc"),
        ("plugins.reload", json!({"pluginId": "p"}), "Plugin not found: p"),
        ("cron.list", json!({}), "Cron not enabled"),
        ("cron.add", json!({"id": "a"}), "Cron not enabled"),
    ] {
        assert_eq!(ws.call(method, params)["error"], error, "{method}");
    }
}
