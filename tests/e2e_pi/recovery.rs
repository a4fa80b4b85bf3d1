//! Turns that were cut off at awkward moments.

use serde_json::json;

use crate::support::process::ProcessWatch;
use crate::world::{release, World, MAIN};

/// The text before the steer was committed at the boundary; the steered message's answer is cut off.
pub fn c15_pi_killed_behind_a_steer_boundary_loses_nothing(new: bool) {
    let w = World::start(new);
    let fifo = w.fifo("hold");
    let mut page = w.page();
    let tool = json!({"command": format!("cat {}", fifo.display())});
    let first = page.say(&format!("[[say:Start.]] [[tool:bash {tool}]] [[say:Not said.]]"));
    page.pi_event("tool_execution_start");
    let second = page.say("second-message [[say:Steered]] [[gate:g]]");
    release(&fifo);
    page.sees(&second, "Steered");
    assert_eq!(page.reply(&first), "Start.");
    w.kill_pi();
    let reply = page.reply(&second);
    assert!(reply.contains("ended unexpectedly"), "{reply}");
    let body = w.asked("ended unexpectedly").body.to_string();
    assert!(body.contains("second-message"), "{body}");
    let said = w.said("assistant");
    assert_eq!(said.len(), 2, "{said:?}");
}

pub fn c15_a_gateway_killed_behind_a_steer_boundary_loses_nothing(new: bool) {
    let mut w = World::start(new);
    let fifo = w.fifo("hold");
    let mut page = w.page();
    let tool = json!({"command": format!("cat {}", fifo.display())});
    page.say(&format!("[[say:Start.]] [[tool:bash {tool}]] [[say:Not said.]]"));
    page.pi_event("tool_execution_start");
    let second = page.say("second-message [[say:Steered]] [[gate:g]]");
    release(&fifo);
    page.sees(&second, "Steered");
    let pi = ProcessWatch::new(w.pid() as i32);
    w.g.kill9();
    pi.wait_gone();
    w.g.restart();
    w.g.wait_until("both answers", |g| g.history(MAIN).len() >= 4);
    let said = w.said("assistant");
    assert_eq!((said.len(), said[0].as_str()), (2, "Start."), "{said:?}");
    assert!(said[1].contains("The gateway restarted"), "{said:?}");
    assert!(w.asked("The gateway restarted").body.to_string().contains("second-message"));
}

/// A steer that pi holds and the model never saw dies with pi; the message does not.
pub fn a_steer_that_died_with_pi_is_answered(new: bool) {
    let w = World::start(new);
    let mut page = w.page();
    let first = page.say("[[say:A]] [[gate:never]]");
    page.sees(&first, "A");
    let second = page.say("second-message [[say:B]]");
    w.llm.open("never-mind");
    w.kill_pi();
    w.llm.open("never");
    page.reply(&first);
    assert_eq!(page.reply(&second), "B");
    assert_eq!(w.asked("second-message").body.to_string().matches("second-message").count(), 1);
    assert_eq!(w.said("assistant").len(), 2);
}

/// The gateway is asked to stop in the middle of an answer: it ends in time, and the answer comes afterwards.
pub fn a_gateway_stopped_in_mid_answer_answers_once(new: bool) {
    let mut w = World::with(new, json!({"gateway": {"drainMs": 100}}));
    let mut page = w.page();
    let run = page.say("[[say:Half]] [[gate:g]] [[say:-whole.]]");
    page.sees(&run, "Half");
    let pi = ProcessWatch::new(w.pid() as i32);
    assert!(w.g.stop().success());
    pi.wait_gone();
    w.llm.open("g");
    w.g.restart();
    w.g.wait_until("the owed answer", |g| g.history(MAIN).len() >= 2);
    let said = w.said("assistant");
    assert!(said[0].contains("needs its answer") || said[0] == "Half-whole.", "{said:?}");
    assert_eq!(w.ask("[[say:Next.]]"), "Next.");
    assert_eq!(w.said("assistant").len(), 2);
}

pub fn pi_killed_while_idle_is_started_again(new: bool) {
    let w = World::start(new);
    w.ask("My name is Ada. [[say:Hello.]]");
    let pi = ProcessWatch::new(w.pid() as i32);
    w.kill();
    pi.wait_gone();
    assert_eq!(w.ask("who? [[say:Ada.]]"), "Ada.");
    assert!(w.asked("who?").body.to_string().contains("My name is Ada."));
}
