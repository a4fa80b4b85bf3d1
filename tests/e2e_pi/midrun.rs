//! Messages and commands while a run is on.

use serde_json::json;

use crate::world::{release, World};

pub fn abort_keeps_what_was_said(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let run = page.say("[[say:Half an answer]] [[gate:never]]");
    page.sees(&run, "Half an answer");
    page.abort();
    assert_eq!(page.reply(&run), "Half an answer\n\n(stopped)");
    w.llm.wait_for(|r| r.client_gone);
    let run = page.say("[[say:Next.]]");
    assert_eq!(page.reply(&run), "Next.");
}

pub fn a_message_during_a_tool_steers_the_run(new: bool) {
    let w = World::start(new);
    let fifo = w.fifo("hold");
    let mut page = w.page();
    let tool = json!({"command": format!("cat {}", fifo.display())});
    let first = page.say(&format!("[[say:Start.]] [[tool:bash {tool}]] [[say:Not said.]]"));
    page.pi_event("tool_execution_start");
    let second = page.say("[[say:Steered.]]");
    release(&fifo);
    assert_eq!(page.reply(&second), "Steered.");
    assert_eq!(page.reply(&first), "Start.");
    assert_eq!(page.shown(&second, "text_delta"), "Steered.");
    // One run: the model saw tool call, result and the second message together.
    let roles = w.asked("Steered.").roles;
    assert_eq!(roles, ["system", "user", "assistant", "tool", "user"]);
    let third = page.say("[[say:Goes on.]]");
    assert_eq!(page.reply(&third), "Goes on.");
    assert_eq!(w.said("assistant"), ["Start.", "Steered.", "Goes on."]);
}

pub fn a_follow_up_waits_for_the_answer(new: bool) {
    let w = World::with(new, json!({"agent": {"messageMode": "follow-up"}}));
    let mut page = w.page();
    let first = page.say("[[say:First]] [[gate:g]] [[say:-ends.]]");
    page.sees(&first, "First");
    let second = page.say("[[say:Second.]]");
    w.llm.open("g");
    assert_eq!(page.reply(&first), "First-ends.");
    assert_eq!(page.reply(&second), "Second.");
    assert_eq!(w.asked("Second.").roles, ["system", "user", "assistant", "user"]);
}

pub fn b7_b8_interrupts_lose_nothing(new: bool) {
    let w = World::with(new, json!({"agent": {"messageMode": "interrupt"}}));
    let mut page = w.page();
    let mut runs = Vec::new();
    // Each of these is cut off in the middle of its answer …
    for n in 0..4 {
        runs.push(page.say(&format!("message-{n:02} [[say:part{n}]] [[gate:g{n}]]")));
        page.sees(&runs[n], &format!("part{n}"));
    }
    // … and these come as they come.
    for n in 4..20 {
        runs.push(page.say(&format!("message-{n:02} [[say:end{n:02}.]]")));
    }
    let last = page.reply(&runs[19]);
    assert!(last.ends_with("end19."), "{last}");
    for (n, run) in runs.iter().enumerate().take(4) {
        assert_eq!(page.reply(run), format!("part{n}\n\n(interrupted)"));
    }
    let over = page.say("[[say:Over.]]");
    assert_eq!(page.reply(&over), "Over.");
    // What came quicker than the next message was answered; nothing was answered twice or refused.
    let replies = w.said("assistant");
    let wrong = |r: &String| r.contains("already") || r.contains("refused") || r.contains("failed");
    assert!(!replies.iter().any(wrong), "{replies:?}");
    for n in 0..20 {
        let said = if n < 4 { format!("part{n}") } else { format!("end{n:02}.") };
        assert!(replies.iter().filter(|r| r.contains(&said)).count() <= 1, "{said} in {replies:?}");
    }
    let body = w.asked("Over.").body.to_string();
    for n in 0..20 {
        assert_eq!(body.matches(&format!("message-{n:02}")).count(), 1, "message {n} in {body}");
    }
}

pub fn b8_new_keeps_what_waits(new: bool) {
    let w = World::with(new, json!({"agent": {"messageMode": "interrupt"}}));
    let fifo = w.fifo("hold");
    let mut page = w.page();
    let tool = json!({"command": format!("cat {}", fifo.display())});
    page.say(&format!("old-talk [[tool:bash {tool}]]"));
    page.pi_event("tool_execution_start");
    let waits = page.say_both("waiting-message [[say:Answered.]]", "/new");
    assert_eq!(page.reply(&waits), "Answered.");
    let request = w.asked("waiting-message");
    assert_eq!(request.roles, ["system", "user"], "{}", request.body);
}

pub fn messages_at_every_moment_of_a_run_reach_the_model(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let first = page.say("word-00 [[say:first]]");
    page.reply(&first);
    // Each is sent at another moment of the run before it: while it starts, streams, ends.
    for n in 1..15 {
        let run = page.say(&format!("word-{n:02} [[say:a {n:02}]]"));
        match n % 3 {
            0 => drop(w.asked(&format!("word-{n:02}"))),
            1 => page.sees(&run, "a"),
            _ => {}
        }
    }
    let last = page.say("last-word [[say:the end]]");
    let reply = page.reply(&last);
    assert!(reply.contains("the end"), "{reply}");
    w.g.wait_until("everything was answered", |g| g.get("/api/sessions").text().contains("\"isStreaming\":false"));
    let after = page.say("after-all [[say:x]]");
    page.reply(&after);
    let body = w.asked("after-all").body.to_string();
    for n in 0..15 {
        assert_eq!(body.matches(&format!("word-{n:02}")).count(), 1, "word {n} in {body}");
    }
}

pub fn a_message_in_a_retry_wait_is_answered(new: bool) {
    let w = World::start(new);
    w.slow_retries();
    let mut page = w.page();
    let first = page.say("[[status:503 x1]] [[say:First.]]");
    w.llm.wait_for(|r| r.done && r.status == Some(503));
    w.failed_once();
    // pi says a moment after it wrote its file that it will try again, and no viewer is told; the wait is six times this.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let second = page.say("[[say:Second.]]");
    assert_eq!(page.reply(&first), "First.");
    assert_eq!(page.reply(&second), "Second.");
}
