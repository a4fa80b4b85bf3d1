use std::time::Duration;

use serde_json::json;

use crate::house::{House, ANN};
use crate::support::bot_api::{Line, Rule, Trouble};

#[test]
fn c13_given_a_kill_while_the_chat_is_frozen_then_the_answer_is_sent_once_and_was_never_in_doubt() {
    let mut h = House::new(json!({"streamMode": "off"}));
    h.api.trouble(Rule::on("sendMessage", Trouble::Flood(2)).chat(ANN).times(1));
    h.api.user_writes(ANN, "[[say:late]]");
    h.g.wait_until("the refusal is known", |g| {
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        let row = |state: &str| format!("SELECT count(*) FROM outbox WHERE state = '{state}' AND attempts > 0");
        db.query_row(&row("ready"), [], |r| r.get::<_, i64>(0)).unwrap() == 1
    });
    h.g.kill9();
    h.g.restart();
    h.api.wait_text(ANN, "late");
    h.settled();
    assert_eq!(h.said(ANN), ["late"]);
    let db = rusqlite::Connection::open(h.g.data().join("gateway.db")).unwrap();
    let how =
        db.query_row("SELECT how FROM outbox WHERE kind = 'send'", [], |r| r.get::<_, Option<String>>(0)).unwrap();
    assert_ne!(how.as_deref(), Some("again"), "it was never in doubt");
}

#[test]
fn a_limited_chat_gets_its_answer_when_the_time_is_over_and_others_do_not_wait() {
    let h = House::new(json!({"streamMode": "off", "dmPolicy": "open", "allowFrom": ["*"]}));
    h.api.trouble(Rule::on("sendMessage", Trouble::Flood(2)).chat(ANN).times(1));
    h.api.user_writes(ANN, "[[say:late]]");
    h.api.wait_calls("sendMessage", 1);
    h.api.user_writes(8, "[[say:at once]]");
    h.api.wait_text(8, "at once");
    assert!(h.said(ANN).is_empty(), "the other chat came first");
    h.api.wait_text(ANN, "late");
    assert_eq!(h.said(ANN), ["late"]);
    h.api.assert_clean();
}

#[test]
fn what_the_platform_refuses_in_form_arrives_without_it() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.trouble(Rule::on("sendMessage", Trouble::bad("can't parse entities: Unclosed start tag")).times(1));
    h.api.user_writes(ANN, "[[say:**bold**]]");
    let m = h.api.wait_text(ANN, "bold");
    assert!(m.entities().is_empty());
    assert_eq!(h.said(ANN), ["bold"]);
}

/// Seconds of each kind of outage; `PI_GW_OUTAGE` sets another number.
fn outage() -> Duration {
    let seconds = std::env::var("PI_GW_OUTAGE").ok().and_then(|n| n.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn b2_given_a_network_that_is_gone_then_hanging_then_it_recovers_and_nothing_is_lost_or_out_of_order() {
    let h = House::new(json!({"streamMode": "off", "pollTimeoutS": 1}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:one]]");
    h.pi.wait_gate("g");
    h.api.line(Line::Refused);
    h.pi.open("g");
    std::thread::sleep(outage());
    h.api.line(Line::Hanging);
    std::thread::sleep(outage());
    h.api.user_writes(ANN, "[[say:two]]");
    h.api.line(Line::Up);
    // A poll that hangs ends after 16 s, and the longest pause before the next is 36 s (telegram.md 4).
    let up = std::time::Instant::now();
    while !h.said(ANN).contains(&"two".to_owned()) {
        assert!(up.elapsed() < crate::support::DEADLINE + Duration::from_secs(16 + 36), "{:?}", h.said(ANN));
        std::thread::sleep(Duration::from_millis(50)); // looks; the deadline of other waits is for shorter outages
    }
    println!("answered {} s after the network was back", up.elapsed().as_secs());
    let said = h.said(ANN);
    // A call that hung may have been taken for all one knows: it is made once more, not again and again.
    assert!(said == ["one", "two"] || said == ["one", "one", "two"], "{said:?}");
}

#[test]
fn an_answer_lost_on_the_way_back_is_sent_once_more_at_most() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.trouble(Rule::on("sendMessage", Trouble::DropAfter).times(1));
    h.api.user_writes(ANN, "[[say:maybe]]");
    h.api.wait_calls("sendMessage", 2);
    h.api.user_writes(ANN, "[[say:next]]");
    h.api.wait_text(ANN, "next");
    assert_eq!(h.said(ANN), ["maybe", "maybe", "next"], "nobody can know: once more, not again and again");
}

#[test]
fn b28_a_refused_token_is_told_and_the_rest_of_the_gateway_works() {
    let api = crate::support::bot_api::BotApi::start();
    api.trouble(Rule::on("getMe", Trouble::unauthorized()).always());
    let pi = crate::support::fake_pi::FakePi::new(crate::support::fake_pi::Flavour::New);
    let telegram = json!({"enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": ["7"]});
    let config = json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": telegram}});
    let g = crate::support::gateway::Gateway::new(config).start();
    api.wait_calls("getMe", 1);
    g.wait_log("is botToken right?");
    assert!(!g.log().contains(&api.token()), "a token never stands in the log");
}

#[test]
fn the_topics_of_a_chat_share_its_limit() {
    const FORUM: i64 = -100;
    let h = House::new(json!({"streamMode": "off", "groups": {"*": {"requireMention": false}}}));
    h.api.privacy(false);
    h.api.add_forum(FORUM, "Forum", &[(3, "three"), (5, "five")]);
    h.api.trouble(Rule::on("sendMessage", Trouble::Flood(1)).chat(FORUM).times(1));
    h.api.user_says(FORUM, ANN).topic(3).text("[[say:in three]]").send();
    h.counts("SELECT count(*) FROM outbox WHERE error = 'rate limited'", 1);
    h.api.user_says(FORUM, ANN).topic(5).text("[[say:in five]]").send();
    h.api.wait_text(FORUM, "in three");
    h.api.wait_text(FORUM, "in five");
    h.api.assert_clean(); // nothing was sent before its time
}

#[test]
fn an_answer_outlasts_an_outage_whose_calls_end_without_a_word() {
    let h = House::new(json!({"streamMode": "off", "pollTimeoutS": 1}));
    h.api.user_writes(ANN, "[[gate:g]] [[say:patient]]");
    h.pi.wait_gate("g");
    h.api.trouble(Rule::on("sendMessage", Trouble::DropBefore).always());
    h.api.trouble(Rule::on("sendChatAction", Trouble::DropBefore).always());
    h.pi.open("g");
    h.g.wait_until("the last try is due, and not made", |_| {
        h.api.calls("sendMessage").len() == 1 && h.api.calls("sendChatAction").len() >= 3
    });
    h.api.clear_troubles();
    h.api.wait_text(ANN, "patient");
    assert_eq!(h.said(ANN), ["patient"]);
}
