//! The context gets full; models that do not exist.

use serde_json::json;

use crate::world::World;

fn full(new: bool) -> World {
    let w = World::with(new, json!({"agent": {"model": "fake/fake-small"}}));
    for n in 0..2 {
        w.ask(&format!("[[long:1600 chars by 400]] [[summary-gate:summary]] question {n}"));
    }
    w
}

pub fn a_context_that_is_too_long_is_compacted_and_answered(new: bool) {
    let w = full(new);
    w.llm.open("summary");
    let mut page = w.page();
    let run = page.say("[[overflow x1]] [[say:Fits now.]]");
    assert_eq!(page.reply(&run), "Fits now.");
    assert_eq!(page.shown(&run, "text_delta"), "Fits now.");
    assert_eq!(w.said("assistant").len(), 3);
}

pub fn the_answer_does_not_wait_for_the_compaction_behind_it_and_the_next_message_does(new: bool) {
    let w = full(new);
    let mut page = w.page();
    let run = page.say("[[usage:7000,100]] [[say:Full.]]");
    assert_eq!(page.reply(&run), "Full."); // the summary is still being made
    w.llm.wait_gate("summary");
    let run = page.say("[[say:After.]]");
    w.llm.open("summary");
    assert_eq!(page.reply(&run), "After.");
    assert_eq!(w.said("assistant").len(), 4);
}

pub fn a_model_that_pi_does_not_know_is_told_and_pi_s_default_answers(new: bool) {
    let w = World::with(new, json!({"agent": {"model": "nowhere/nothing"}}));
    let mut page = w.page();
    let run = page.say("[[say:Answered.]]");
    assert_eq!(page.reply(&run), "Answered.");
    let notice = page.event("ui.notice");
    assert!(notice.to_string().contains("does not know the configured model"), "{notice}");
}

pub fn retry_runs_the_failed_turn_again(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[status:400 x* model=fake-model]] [[say:Now it works.]]");
    let reply = page.reply(&run);
    assert!(reply.starts_with("The model provider failed"), "{reply}");
    let chosen = page.say("/model fake2/backup-model");
    assert_eq!(page.reply(&chosen), "Model: fake2/backup-model.");
    let retry = page.say("/retry");
    assert_eq!(page.reply(&retry), "Trying again.");
    assert_eq!(page.reply(&run), "Now it works.");
}

pub fn stop_in_a_retry_wait(new: bool) {
    let w = World::start(new);
    w.slow_retries();
    let mut page = w.page();
    page.say("[[status:503 x*]]");
    w.failed_once();
    let stop = page.say("/stop");
    assert_eq!(page.reply(&stop), "Stopped.");
    let run = page.say("[[say:Next.]]");
    assert_eq!(page.reply(&run), "Next.");
    assert!(!w.said("assistant").iter().any(|r| r.contains("failed")));
}

pub fn abort_before_pi_is_ready(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    page.say("never-asked [[say:Not wanted.]]");
    page.abort();
    let run = page.say("[[say:Wanted.]]");
    assert_eq!(page.reply(&run), "Wanted.");
    assert!(!w.said("assistant").iter().any(|r| r.contains("Not wanted")), "{:?}", w.said("assistant"));
}
