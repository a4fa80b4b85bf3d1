//! A stop while something is under way: nobody is waited for who does not answer.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Line, Rule, Trouble};

/// The end of the program itself, on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

fn drained(h: &House, ms: u64) {
    h.g.reconfigure(json!({"gateway": {"drainMs": ms}}));
    h.g.wait_log("configuration reloaded");
}

fn took(h: &mut House) -> Duration {
    let begun = Instant::now();
    assert!(h.g.stop().success());
    begun.elapsed()
}

#[test]
fn given_long_polls_of_several_bots_then_a_stop_ends_them_at_once() {
    let api = BotApi::start();
    let others: Vec<BotApi> =
        (0..4).map(|n| api.add_bot(&format!("7{n}:{}", "b".repeat(35)), &format!("bot{n}_bot"))).collect();
    let accounts: serde_json::Map<String, Value> =
        others.iter().enumerate().map(|(n, bot)| (format!("a{n}"), json!({"botToken": bot.token()}))).collect();
    let mut h = House::at(api, json!({"accounts": accounts, "pollTimeoutS": 50}));
    for bot in &others {
        bot.wait_polling();
    }
    let took = took(&mut h);
    assert!(took < SLACK, "{took:?}");
}

#[test]
fn given_signs_of_typing_and_a_view_that_are_not_answered_then_a_stop_does_not_wait_for_them() {
    let mut h = House::new(json!({}));
    drained(&h, 300);
    h.api.trouble(Rule::on("sendChatAction", Trouble::Hold).always());
    h.api.trouble(Rule::on("sendMessage", Trouble::Hold).always());
    h.api.user_writes(ANN, "[[say:half]] [[gate:g]] [[say: done]]");
    h.pi.wait_gate("g");
    h.api.wait_calls("sendMessage", 1); // the view
    let took = took(&mut h);
    assert!(took < Duration::from_millis(300) + SLACK, "{took:?}");
}

#[test]
fn given_a_reply_that_is_not_answered_then_a_stop_waits_three_seconds_and_it_goes_out_in_the_next_life() {
    let mut h = House::new(json!({"streamMode": "off"}));
    drained(&h, 300);
    let held = h.api.trouble(Rule::on("sendMessage", Trouble::Hold).always());
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_calls("sendMessage", 1);
    let took = took(&mut h);
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(3) + SLACK, "{took:?}");
    h.api.clear_troubles();
    h.api.release(held);
    h.g.restart();
    h.api.wait_text(ANN, "hello");
}

#[test]
fn given_a_reply_that_is_answered_in_time_then_a_stop_waits_for_it_and_it_is_not_sent_again() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.trouble(Rule::on("sendMessage", Trouble::Slow(Duration::from_secs(1))));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_calls("sendMessage", 1);
    let took = took(&mut h);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    h.g.restart();
    h.api.user_writes(ANN, "[[say:again]]");
    h.api.wait_text(ANN, "again");
    assert_eq!(h.said(ANN), ["hello", "again"]);
}

#[test]
fn given_a_platform_that_is_not_there_then_a_stop_does_not_wait_for_it_and_the_reply_comes_in_the_next_life() {
    let mut h = House::new(json!({"streamMode": "off"}));
    drained(&h, 300);
    h.api.user_writes(ANN, "[[gate:g]] [[say:hello]]");
    h.pi.wait_gate("g");
    h.api.line(Line::Refused);
    h.pi.open("g");
    h.counts("SELECT count(*) FROM outbox WHERE state = 'ready' AND attempts > 2", 1);
    let took = took(&mut h);
    assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
    h.api.line(Line::Up);
    h.g.restart();
    h.api.wait_text(ANN, "hello");
    h.settled();
    assert_eq!(h.said(ANN), ["hello"]);
}
