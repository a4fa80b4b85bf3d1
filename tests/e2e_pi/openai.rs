//! `/v1` with the real pi: models of one turn, token counts, sessions that are gone afterwards.

use serde_json::{json, Value};

use crate::support::raw_http::{Client, Response};
use crate::support::DEADLINE;
use crate::world::World;

fn ask(w: &World, text: &str, more: Value) -> Response {
    let mut body = json!({"messages": [{"role": "user", "content": text}]});
    crate::support::gateway::merge(&mut body, more);
    let mut c = Client::new(w.g.addr);
    c.sock.set_read_timeout(Some(2 * DEADLINE)).unwrap();
    let auth = format!("Authorization: Bearer {}\r\n", w.g.token);
    c.request("POST", "/v1/chat/completions", &auth, &body.to_string());
    let r = c.response();
    assert_eq!(r.status, 200, "{}\n{}", r.text(), w.g.log());
    r
}

fn said(r: &Response) -> String {
    r.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

pub fn a_model_of_one_request_is_for_its_turn_only(new: bool) {
    let w = World::start(new);
    let model = |words: &str, more: Value| {
        let r = ask(&w, &format!("{words} [[say:ok]]"), more);
        assert_eq!(said(&r), "ok");
        w.asked(words).body["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(model("first", json!({"model": "gpt-4o"})), "fake-model");
    assert_eq!(model("second", json!({"model": "fake/fake-small"})), "fake-small");
    assert_eq!(model("third", json!({"model": "nobody/nothing"})), "fake-model");
    assert_eq!(model("fourth", json!({"model": "fake2/backup-model"})), "backup-model");
    assert_eq!(model("fifth", json!({})), "fake-model");
    // one conversation all the time
    let body = w.asked("fifth").body.to_string();
    assert!(["first", "second", "third", "fourth"].iter().all(|words| body.contains(words)), "{body}");
}

pub fn the_tokens_of_a_request_are_told(new: bool) {
    let w = World::start(new);
    let text = r#"[[usage:100,7]] [[tool:bash {"command":"true"}]] [[usage:50,3]] [[say:done]]"#;
    let v = ask(&w, text, json!({})).json();
    assert_eq!(v["choices"][0]["message"]["content"], "done");
    assert_eq!((&v["usage"]["prompt_tokens"], &v["usage"]["completion_tokens"]), (&json!(150), &json!(10)));
    let v = ask(&w, "[[say:cut]] [[length]]", json!({})).json();
    assert_eq!(v["choices"][0]["finish_reason"], "length");
}

pub fn a_stateless_request_streams_and_leaves_nothing(new: bool) {
    let w = World::with(new, json!({"gateway": {"openai": {"session": "stateless"}}}));
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let text = ask(&w, "my name is Ada [[say:One two three.]] [[usage:12,5]]", more).text();
    let frames = text.split("\n\n").filter_map(|f| serde_json::from_str::<Value>(f.strip_prefix("data: ")?).ok());
    let frames: Vec<Value> = frames.collect();
    let joined: String = frames.iter().filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(joined, "One two three.", "{text}");
    assert_eq!(frames.last().unwrap()["usage"]["total_tokens"], 17, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert_eq!(said(&ask(&w, "who am I? [[say:No idea.]]", json!({}))), "No idea.");
    assert!(!w.asked("who am I?").body.to_string().contains("Ada"));
    assert_eq!(w.g.get("/api/sessions").json()["sessions"], json!([]));
    w.g.wait_until("its files are gone", |g| {
        let left = std::fs::read_dir(g.data().join("sessions")).into_iter().flatten().flatten();
        !left.map(|e| e.file_name()).any(|name| name.to_string_lossy().contains("__api__req__"))
    });
}
