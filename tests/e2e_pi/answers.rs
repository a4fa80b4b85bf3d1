//! Answers when nothing goes wrong.

use serde_json::json;

use crate::world::{World, OTHER};

pub fn plain_answer(new: bool) {
    let w = World::start(new);
    assert_eq!(w.ask("[[say:Hello from the model.]]"), "Hello from the model.");
    assert_eq!(w.ask("[[say:And again.]]"), "And again.");
    assert_eq!(w.said("assistant"), ["Hello from the model.", "And again."]);
    assert_eq!(w.llm.requests().len(), 2);
    assert_eq!(w.llm.requests()[1].roles, ["system", "user", "assistant", "user"]);
}

pub fn the_answer_is_streamed_and_ends_as_the_reply(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[say:One two]] [[gate:g]] [[say:\\nthree\\nfour.]]");
    page.sees(&run, "One two"); // while the model is still at the gate
    w.llm.open("g");
    let reply = page.reply(&run);
    assert_eq!(reply, "One two\nthree\nfour.");
    assert_eq!(page.shown(&run, "text_delta"), reply);
}

pub fn b10_text_before_and_after_a_tool_is_one_reply(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say(r#"[[say:Before.]] [[tool:bash {"command":"echo from the tool"}]] [[say:After.]]"#);
    assert_eq!(page.reply(&run), "Before.\n\nAfter.");
    assert_eq!(page.shown(&run, "text_delta"), "Before.\n\nAfter.");
    assert_eq!(page.pi_event("tool_execution_start")["toolName"], "bash");
    let end = page.pi_event("tool_execution_end");
    assert!(end.to_string().contains("from the tool"), "{end}");
    assert_eq!(w.said("assistant"), ["Before.\n\nAfter."]);
}

pub fn a_script_that_waits_for_the_ends_of_messages_and_turns_gets_each_once(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[say:Look.]] [[tool:bash {\"command\":\"echo hi\"}]] [[say:Done.]]");
    assert_eq!(page.reply(&run), "Look.\n\nDone.");
    let told = page.told(&run);
    let passing = ["message_update", "tool_execution_update"];
    let kinds: Vec<&str> = told.iter().filter_map(|p| p["type"].as_str()).filter(|k| !passing.contains(k)).collect();
    assert_eq!(
        kinds,
        [
            "agent_start",
            "turn_start",
            "message_start",
            "message_end",
            "tool_execution_start",
            "tool_execution_end",
            "turn_end",
            "turn_start",
            "message_start",
            "message_end",
            "turn_end",
            "agent_end",
        ]
    );
    let all = |kind: &str| told.iter().filter(|p| p["type"] == kind).map(|p| p["message"].clone()).collect::<Vec<_>>();
    let (ends, turns) = (all("message_end"), all("turn_end"));
    assert_eq!(ends, turns);
    assert_eq!(ends[0]["content"][0], json!({"type": "text", "text": "Look."}));
    assert_eq!((&ends[0]["content"][1]["type"], &ends[0]["content"][1]["name"]), (&json!("toolCall"), &json!("bash")));
    assert_eq!(ends[0]["content"][1]["arguments"], json!({"command": "echo hi"}));
    assert_eq!((&ends[0]["stopReason"], &ends[1]["stopReason"]), (&json!("toolUse"), &json!("stop")));
    assert_eq!(ends[1]["content"], json!([{"type": "text", "text": "Done."}]));
    assert_eq!((&ends[1]["provider"], &ends[1]["model"]), (&json!("fake"), &json!("fake-model")));
    assert!(ends[1]["usage"]["input"].as_u64().unwrap() > 0, "{}", ends[1]);
    let turn = told.iter().find(|p| p["type"] == "turn_end").unwrap();
    let result = &turn["toolResults"][0];
    assert_eq!((&result["toolCallId"], &result["isError"]), (&ends[0]["content"][1]["id"], &json!(false)));
    assert_eq!(result["content"], json!([{"type": "text", "text": "hi\n"}]));
}

pub fn thinking_is_shown_and_not_sent(new: bool) {
    let w = World::with(new, json!({"agent": {"model": "fake/fake-think", "thinkingLevel": "low"}}));
    let mut page = w.page();
    let run = page.say("[[think:let me see]] [[say:Fine.]]");
    assert_eq!(page.reply(&run), "Fine.");
    assert_eq!(page.shown(&run, "thinking_delta"), "let me see");
    assert_eq!(page.shown(&run, "text_delta"), "Fine.");
}

/// pi's session file has what the store has not.
pub fn after_a_restart_the_history_tells_thoughts_and_tools(new: bool) {
    let mut w = World::with(new, json!({"agent": {"model": "fake/fake-think", "thinkingLevel": "low"}}));
    let call = json!({"command": "echo out"});
    let first = w.ask(&format!("[[think:let me see]] [[say:Before.]] [[tool:bash {call}]] [[say:never]]"));
    assert!(first.starts_with("Before."), "{first}");
    assert_eq!(w.ask("[[say:Plain.]]"), "Plain.");
    let before = w.parts(true);
    assert!(w.g.stop().success());
    w.g.restart();
    let parts = w.parts(true);
    assert_eq!(parts, before);
    assert_eq!(parts.len(), 2, "{parts:?}");
    let thought = json!({"type": "thinking", "thinking": "let me see"});
    assert_eq!(parts[0][..2], [thought, json!({"type": "text", "text": "Before."})]);
    let id = &parts[0][2]["id"];
    assert_eq!(parts[0][2], json!({"type": "toolCall", "id": id, "name": "bash", "arguments": call}));
    let out = json!([{"type": "text", "text": "out\n"}]);
    let result = json!({"type": "toolResult", "toolCallId": id, "toolName": "bash", "isError": false, "content": out});
    assert_eq!(parts[0][3], result);
    assert_eq!(parts[1], [json!({"type": "text", "text": "Plain."})]);
    let plain = w.parts(false);
    assert!(plain[0].len() == parts[0].len() - 1 && plain[0].iter().all(|p| p["type"] != "toolResult"), "{plain:?}");
    // Without pi's file the history is what the gateway knows itself.
    let files = w.session_files();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    let left = w.parts(true);
    assert_eq!(left, [[json!({"type": "text", "text": first})], [json!({"type": "text", "text": "Plain."})]]);
    assert_eq!(w.said("assistant"), [first.as_str(), "Plain."]);
}

pub fn a_picture_reaches_the_model(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    let images = json!([{"data": png, "mimeType": "image/png"}]);
    let run = page.send(json!({"text": "[[show:images]]", "images": images}));
    let reply = page.reply(&run);
    assert!(reply.starts_with("images: 1 image/png/"), "{reply}");
    assert_eq!(w.asked("show:images").images, 1);
}

pub fn two_sessions_in_parallel_do_not_mix(new: bool) {
    let w = World::start(new);
    let (mut a, mut b) = (w.page(), w.page_of(OTHER));
    let run_a = a.say("secret-of-a [[say:A1]] [[gate:a]] [[say:-A2]]");
    let run_b = b.say("secret-of-b [[say:B1]] [[gate:b]] [[say:-B2]]");
    w.llm.wait_gate("a");
    w.llm.wait_gate("b"); // both at once
    assert_eq!(w.pids().len(), 2);
    w.llm.open("b");
    assert_eq!(b.reply(&run_b), "B1-B2");
    w.llm.open("a");
    assert_eq!(a.reply(&run_a), "A1-A2");
    let (run_a, run_b) = (a.say("again-a [[say:A3]]"), b.say("again-b [[say:B3]]"));
    assert_eq!((a.reply(&run_a), b.reply(&run_b)), ("A3".into(), "B3".into()));
    assert!(!w.asked("again-a").body.to_string().contains("secret-of-b"));
    assert!(!w.asked("again-b").body.to_string().contains("secret-of-a"));
    assert!(a.shown(&run_a, "text_delta").contains("A3"));
}

pub fn b5_five_chats_in_a_row_with_two_processes(new: bool) {
    let w = World::start(new);
    for n in 0..5 {
        let mut page = w.page_of(&format!("agent:main:webchat:tab{n}"));
        let run = page.say(&format!("[[say:Answer {n}.]]"));
        assert_eq!(page.reply(&run), format!("Answer {n}."));
    }
    // The first one's process had to give way; its conversation did not.
    let mut page = w.page_of("agent:main:webchat:tab0");
    let run = page.say("once more [[say:Still here.]]");
    assert_eq!(page.reply(&run), "Still here.");
    assert!(w.asked("once more").body.to_string().contains("Answer 0."));
}

pub fn b6_after_a_restart_the_conversation_is_known(new: bool) {
    let mut w = World::with(new, json!({"agent": {"pool": {"min": 1}}}));
    assert_eq!(w.ask("My name is Ada. [[say:Nice to meet you.]]"), "Nice to meet you.");
    assert!(w.g.stop().success());
    w.g.restart();
    assert_eq!(w.ask("what did I say? [[say:Ada.]]"), "Ada.");
    let body = w.asked("what did I say?").body.to_string();
    assert!(body.contains("My name is Ada.") && body.contains("Nice to meet you."), "{body}");
}

pub fn after_new_the_model_knows_nothing(new: bool) {
    let mut w = World::start(new);
    w.ask("My name is Ada. [[say:Hello.]]");
    assert_eq!(w.ask("/new"), "Session reset.");
    w.ask("who am I? [[say:No idea.]]");
    assert_eq!(w.asked("who am I?").roles, ["system", "user"]);
    assert!(!w.asked("who am I?").body.to_string().contains("Ada"));
    assert!(w.g.stop().success());
    w.g.restart();
    w.ask("and now? [[say:You asked before.]]");
    let body = w.asked("and now?").body.to_string();
    assert!(body.contains("No idea.") && !body.contains("Ada"), "{body}");
}
