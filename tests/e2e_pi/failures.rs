//! What goes wrong: providers, pi processes, the gateway itself.

use std::time::Duration;

use serde_json::json;

use crate::support::process::ProcessWatch;
use crate::world::{World, MAIN};

pub fn b9_only_the_answer_after_the_retries_is_shown(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    for code in [429, 500] {
        let run = page.say(&format!("[[status:{code} x2]] [[say:Finally.]]"));
        assert_eq!(page.reply(&run), "Finally.");
        assert_eq!(page.shown(&run, "text_delta"), "Finally.");
    }
    assert_eq!(w.said("assistant"), ["Finally.", "Finally."]);
    assert_eq!(w.llm.requests().len(), 6);
}

/// For scripts that know nothing of `live.reset`: what they wait for comes once, and is the answer.
pub fn after_retries_the_ends_of_message_and_turn_are_told_once(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[status:429 x2]] [[say:Finally.]]");
    assert_eq!(page.reply(&run), "Finally.");
    let told = page.told(&run);
    let kinds: Vec<&str> = told.iter().filter_map(|p| p["type"].as_str()).filter(|k| *k != "message_update").collect();
    assert_eq!(kinds, ["agent_start", "turn_start", "message_start", "message_end", "turn_end", "agent_end"]);
    let end = told.iter().find(|p| p["type"] == "message_end").unwrap();
    assert_eq!(end["message"]["content"], json!([{"type": "text", "text": "Finally."}]));
    // A failure that is final is told as pi tells it, before the reply.
    let run = page.say("[[status:401 x*]]");
    page.reply(&run);
    let told = page.told(&run);
    let kinds: Vec<&str> = told.iter().filter_map(|p| p["type"].as_str()).collect();
    assert_eq!(kinds, ["agent_start", "turn_start", "message_start", "message_end", "turn_end", "agent_end"]);
    assert_eq!(told[3]["message"]["stopReason"], "error");
    assert!(told[3]["message"]["errorMessage"].as_str().unwrap().contains("401"), "{}", told[3]);
}

pub fn the_error_of_a_model_that_keeps_failing_is_told(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[status:429 x* msg=\"slow down\"]]");
    let reply = page.reply(&run);
    assert!(reply.starts_with("The model provider failed (rate limit): "), "{reply}");
    assert!(reply.contains("slow down"), "{reply}");
    assert_eq!(page.event("chat.error")["payload"]["runId"], run.as_str());
    let run = page.say("[[say:Better now.]]");
    assert_eq!(page.reply(&run), "Better now.");
    assert_eq!(w.said("assistant").len(), 2);
}

pub fn another_model_takes_over_when_the_first_keeps_failing(new: bool) {
    let failover = json!({"primary": "fake/fake-model", "fallbacks": ["fake2/backup-model"]});
    let w = World::with(new, json!({"agent": {"modelFailover": failover}}));
    let mut page = w.page();
    let run = page.say("question-one [[status:503 x* model=fake-model]] [[say:unused]]");
    let reply = page.reply(&run);
    assert!(reply.ends_with("(answered by fake2/backup-model)"), "{reply}");
    assert!(reply.contains("needs its answer"), "the scripted model repeats the note: {reply}");
    let rescue = w.llm.wait_for(|r| r.model == "backup-model");
    assert!(rescue.body.to_string().contains("question-one"));
    // The first one is left alone while it cools down; the talk goes on with the other.
    let run = page.say("question-two [[show:model]]");
    assert!(page.reply(&run).starts_with("model: backup-model"));
    assert_eq!(w.said("assistant").len(), 2);
}

pub fn b12_pi_killed_in_mid_answer_is_resumed_and_answers_once(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[say:A first turn.]]");
    page.reply(&run);
    let run = page.say("question-two [[say:Half]] [[gate:g]] [[say:-whole.]]");
    page.sees(&run, "Half");
    let noticed = w.kill_pi();
    assert!(noticed < Duration::from_secs(1), "noticed after {noticed:?}");
    w.llm.open("g");
    // pi's file holds the question: the model is asked for the rest, and repeats the note.
    let reply = page.reply(&run);
    assert!(reply.contains("ended unexpectedly") && reply.contains("needs its answer"), "{reply}");
    assert_eq!(w.asked("needs its answer").body.to_string().matches("question-two").count(), 1);
    let run = page.say("[[say:Next.]]");
    assert_eq!(page.reply(&run), "Next.");
    let said = w.said("assistant");
    assert_eq!(said.len(), 3, "exactly one answer each: {said:?}");
}

pub fn pi_killed_during_a_tool_is_resumed_without_repeating_it(new: bool) {
    let w = World::start(new);
    let (fifo, log, pid) = (w.fifo("hold"), w.path("log"), w.path("pid"));
    let command = format!("echo ran >> {}; echo $$ > {}; cat {}", log.display(), pid.display(), fifo.display());
    let tool = json!({ "command": command });
    let mut page = w.page();
    let run = page.say(&format!("[[say:Working.]] [[tool:bash {tool}]] [[say:unused]]"));
    let number = || std::fs::read_to_string(&pid).ok().and_then(|t| t.trim().parse::<i32>().ok());
    w.g.wait_until("the tool runs", |_| number().is_some());
    let tool = ProcessWatch::new(number().unwrap());
    w.kill_pi();
    tool.wait_gone(); // nothing of the crashed turn lives on
    let reply = page.reply(&run);
    assert!(reply.starts_with("Working.\n\n"), "{reply}");
    assert!(reply.contains("do not repeat side effects"), "{reply}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ran\n");
    assert_eq!(w.said("assistant").len(), 1);
}

pub fn a_gateway_killed_in_mid_answer_answers_once(new: bool) {
    let mut w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[say:Half]] [[gate:g]] [[say:-whole.]]");
    page.sees(&run, "Half");
    let pi = ProcessWatch::new(w.pid() as i32);
    w.g.kill9();
    pi.wait_gone(); // it does not outlive us
    w.llm.open("g");
    w.g.restart();
    w.g.wait_until("the owed answer", |g| g.history(MAIN).len() == 2);
    let said = w.said("assistant");
    // Old pi writes its first lines with the first answer: it never had the message.
    let want = if w.new { "needs its answer" } else { "Half-whole." };
    assert!(said[0].contains(want), "{said:?}");
    assert_eq!(w.ask("[[say:Next.]]"), "Next.");
    assert_eq!(w.said("assistant").len(), 2);
}

pub fn pi_that_cannot_start_says_why(new: bool) {
    let w = World::extended(new, "export default function () { throw new Error('broken on purpose'); }", json!({}));
    let mut page = w.page();
    let run = page.say("hello");
    let reply = page.reply(&run);
    assert!(reply.starts_with("The agent could not be started: "), "{reply}");
    assert!(reply.contains("broken on purpose"), "{reply}");
    // Repaired: nothing has to be restarted.
    std::fs::write(w.path("extension.ts"), "export default function () {}").unwrap();
    let run = page.say("[[say:Works.]]");
    assert_eq!(page.reply(&run), "Works.");
}

const POISON: &str = r#"
export default function (pi) {
  pi.on("before_agent_start", (event) => {
    if (/poison|ended unexpectedly/.test(event.prompt)) process.kill(process.pid, "SIGKILL");
  });
}"#;

pub fn c8_a_message_that_kills_pi_three_times_is_told_once_and_the_queue_goes_on(new: bool) {
    let w = World::extended(new, POISON, json!({}));
    let mut page = w.page();
    let bad = page.say("poison");
    page.wait("the turn", |v| v["event"] == "chat.typing" && v["payload"]["runId"] == bad.as_str());
    let good = page.say("[[say:Fine.]]");
    assert_eq!(page.reply(&good), "Fine.");
    let told = page.reply(&bad);
    assert!(told.contains("ended 3 times") && told.contains("poison"), "{told}");
    assert_eq!(w.said("assistant").len(), 2, "told once");
}
