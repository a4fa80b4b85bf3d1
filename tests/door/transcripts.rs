//! Transcripts: the list of those there are, and the last lines of one.

use std::fs;

use serde_json::json;

use crate::house::*;
use crate::raw_http::*;
use crate::MAIN;

fn written() -> (House, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let line = |n: u32| {
        format!("{}\n", json!({"ts": "2026-01-01T00:00:00.000Z", "cat": "meta", "session": MAIN, "data": {"n": n}}))
    };
    let lines = |range: std::ops::Range<u32>| range.map(line).collect::<String>();
    fs::write(dir.path().join("agent__main__main__main.jsonl.1"), lines(0..150)).unwrap();
    fs::write(dir.path().join("agent__main__main__main.jsonl"), lines(150..170) + "{\"half\n" + &lines(170..180))
        .unwrap();
    fs::write(dir.path().join("a%5F%5Fb.jsonl"), "").unwrap();
    let at = dir.path().to_owned();
    (House::set(|s| s.transcripts_dir = at), dir)
}

#[test]
fn the_list_holds_keys_also_those_with_two_underscores() {
    let (h, _dir) = written();
    assert_eq!(ask(h.addr, "GET", "/api/transcripts", "", "").json(), json!({"sessions": ["a__b", MAIN]}));
    let first = ask(h.addr, "GET", "/api/transcripts?limit=1", "", "").json();
    assert_eq!(first, json!({"sessions": ["a__b"], "nextCursor": "a__b"}));
    let rest = ask(h.addr, "GET", "/api/transcripts?limit=1&cursor=a__b", "", "").json();
    assert_eq!(rest, json!({"sessions": [MAIN]}));
    assert_eq!(ask(h.addr, "GET", "/api/transcripts?limit=ten", "", "").status, 400);
    assert_eq!(ask(h.addr, "GET", "/api/transcripts?cursor=a/b", "", "").status, 400);
}

#[test]
fn the_last_lines_are_given_and_lines_that_are_no_json_are_left_out() {
    let (h, _dir) = written();
    let get =
        |query: &str| ask(h.addr, "GET", &format!("/api/transcript/agent%3Amain%3Amain%3Amain{query}"), "", "").json();
    let numbers = |body: serde_json::Value| -> Vec<u64> {
        assert_eq!(body["count"], body["entries"].as_array().unwrap().len());
        body["entries"].as_array().unwrap().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(get("?last=3")), [177, 178, 179]);
    assert_eq!(numbers(get("")), (81..180).collect::<Vec<_>>(), "100 lines, one of them broken");
    assert_eq!(numbers(get("?last=0")), [179]);
    assert_eq!(numbers(get("?last=99999999999999999999999")), (0..180).collect::<Vec<_>>());
    assert_eq!(get("?last=abc")["error"], "last must be a whole number");
    assert_eq!(get("?last=-1")["error"], "last must be a whole number");
    let none = ask(h.addr, "GET", "/api/transcript/agent:other", "", "");
    assert_eq!((none.status, none.json()), (200, json!({"sessionKey": "agent:other", "count": 0, "entries": []})));
    assert_eq!(ask(h.addr, "GET", "/api/transcript/..%2Fsecrets", "", "").status, 400);
}

#[test]
fn the_method_answers_like_the_route() {
    let (h, _dir) = written();
    let mut ws = Ws::open(h.addr, "/", "").unwrap_or_else(|r| panic!("{}", r.text()));
    let got = ws.call("transcript.get", json!({"sessionKey": MAIN, "last": 2}))["payload"].clone();
    assert_eq!((got["count"].as_u64(), got["entries"][1]["data"]["n"].as_u64()), (Some(2), Some(179)));
    assert_eq!(ws.call("transcript.get", json!({}))["error"], "sessionKey is required");
    assert_eq!(
        ws.call("transcript.get", json!({"sessionKey": MAIN, "last": "2"}))["error"],
        "last must be a whole number"
    );
}
