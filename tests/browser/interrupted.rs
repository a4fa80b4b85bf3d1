//! The gateway goes away and comes back; the page stays open.

use rustix::process::Signal;
use serde_json::json;

use crate::support::gateway::Gateway;
use crate::{demo, Page, MAIN};

/// Takes the gateway away in mid-answer; the rest of the answer is owed.
fn interrupted_answer(take_away: impl FnOnce(&mut Gateway)) {
    let mut g = demo(10);
    let page = Page::open(&g);
    page.says("hello");
    page.answers(1);
    page.says("long 200");
    page.streams();
    take_away(&mut g);
    page.until("document.querySelector('#connection').dataset.state !== 'connected'");
    g.set_env("PI_GW_DEMO_DELAY_MS", Some("0"));
    g.restart();
    page.answers(2);
    page.until("document.querySelector('#connection').dataset.state === 'connected'");
    assert_eq!(page.roles(), ["user", "assistant", "user", "assistant"]);
    assert_eq!(g.history(MAIN).len(), 4);
    let (seen, stored) = (page.last(), g.history(MAIN)[3].1.replace('*', ""));
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), stored.split_whitespace().collect::<Vec<_>>());
    page.says("still there?");
    page.answers(3);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_stop_in_mid_answer_then_the_page_comes_back_and_shows_the_owed_answer_once() {
    interrupted_answer(|g| {
        assert!(g.stop().success());
    });
}

#[test]
fn given_a_kill_in_mid_answer_then_the_page_comes_back_and_shows_the_owed_answer_once() {
    interrupted_answer(Gateway::kill9);
}

#[test]
fn given_a_message_written_while_offline_then_it_is_sent_once_when_the_gateway_is_back() {
    // One answer each: by default both may be merged into one turn, if the second comes before it begins.
    let config =
        json!({"queue": {"mode": "individual"}, "agent": {"messageMode": "follow-up"}, "gateway": {"drainMs": 100}});
    let mut g = Gateway::demo(config).start();
    let page = Page::open(&g);
    g.stop();
    page.until("document.querySelector('#connection').dataset.state === 'offline'");
    page.says("written offline");
    page.says("and another");
    page.until("document.querySelectorAll('.user[data-state=queued]').length === 2");
    assert_eq!(page.text(".user .state"), "Waiting for the connection");
    g.restart();
    page.answers(2);
    let users: Vec<_> = page.lines().into_iter().filter(|l| l.starts_with("user")).collect();
    assert_eq!(users, ["user: written offline", "user: and another"]);
    let stored: Vec<_> = g.history(MAIN).into_iter().filter(|(r, _)| r == "user").map(|(_, t)| t).collect();
    assert_eq!(stored, ["written offline", "and another"]);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_gateway_that_dies_before_it_confirms_a_message_then_it_is_taken_once() {
    let mut g = demo(0);
    let page = Page::open(&g);
    g.signal(Signal::STOP);
    page.says("into the void");
    page.until("document.querySelector('.user[data-state=sending]')");
    g.kill9();
    page.until("document.querySelector('.user[data-state=queued]')");
    g.restart();
    page.answers(1);
    assert_eq!(page.roles(), ["user", "assistant"]);
    assert_eq!(g.history(MAIN).len(), 2);
    page.same_after_reload();
    page.calm();
}

#[test]
fn given_a_confirmation_that_is_lost_then_the_message_is_taken_once() {
    let g = demo(0);
    let page = Page::open(&g);
    // The gateway takes the message, and the connection breaks before the page hears of it.
    page.eval(
        "(send => { WebSocket.prototype.send = function (data) { send.call(this, data); \
         if (data.includes('chat.send')) { WebSocket.prototype.send = send; this.onmessage = null; setTimeout(() => this.close(), 300); } } })\
         (WebSocket.prototype.send), 0",
    );
    page.says("heard but not confirmed");
    page.answers(1);
    assert_eq!(page.roles(), ["user", "assistant"]);
    assert_eq!(g.history(MAIN).len(), 2);
    page.until("document.querySelector('.user').dataset.state === 'sent'");
    page.same_after_reload();
    page.calm();
}
