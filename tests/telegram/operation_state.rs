//! How accounts stand, and what is done about readers that have gone silent (telegram.md 3, 4.1).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use pi_gateway::ask::{Answers, Mind};
use pi_gateway::channels::telegram;
use pi_gateway::clock;
use pi_gateway::config::types::{Network, TelegramAccount};
use pi_gateway::message::{Answer, Code, Event, Request};
use pi_gateway::net::{Net, Route};
use pi_gateway::roster::{Stage, Standing};
use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Line, Rule, Trouble};
use crate::support::raw_http::ask;

fn account(h: &House) -> Value {
    let channels = h.g.get("/api/channels").json();
    let telegram = channels["channels"].as_array().unwrap().iter().find(|c| c["id"] == "telegram").cloned();
    telegram.unwrap_or_else(|| panic!("{channels}"))["accounts"][0].clone()
}

#[test]
fn a_running_account_says_so_and_what_it_waits_for() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    let a = account(&h);
    assert_eq!((&a["id"], &a["state"], &a["mode"]), (&json!("default"), &json!("running"), &json!("polling")));
    assert_eq!((&a["bot"], &a["lastError"]), (&json!("fake_gateway_bot"), &Value::Null));
    assert!(a["lastPollAgoMs"].is_u64() && a["updates"] == 1, "{a}");
    let health = h.g.get("/health").json();
    assert_eq!((&health["status"], &health["channels"]), (&json!("ok"), &json!(["webchat", "telegram"])));
    let metrics = h.g.get("/metrics").text();
    assert!(metrics.contains("pigw_channel_up{channel=\"telegram\",account=\"default\"} 1"), "{metrics}");
    assert_eq!(ask(h.g.addr, "GET", "/api/channels", "", "").status, 401, "not without the key");
}

#[test]
fn troubles_are_named_and_make_the_health_degraded() {
    let h = House::new(json!({"streamMode": "off"}));
    let mut page = h.g.page("agent:main:webchat:default");
    let other = h.api.clone();
    other.trouble(
        Rule::on(
            "getUpdates",
            Trouble::Refuse(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
                    .into(),
                Value::Null,
            ),
        )
        .always(),
    );
    h.api.line(Line::Refused);
    h.api.line(Line::Up);
    h.g.wait_until("it sees the other program", |_| account(&h)["state"] == "conflict");
    assert!(account(&h)["lastError"].as_str().unwrap().contains("another program polls"));
    // Pages hear of it, and the list of what happened has it.
    let told = loop {
        let event = page.event("channel.status");
        if event["payload"]["state"] == "conflict" {
            break event["payload"].clone();
        }
    };
    assert_eq!((&told["id"], &told["accountId"]), (&json!("telegram"), &json!("default")));
    assert!(told["error"].as_str().unwrap().contains("another program polls"), "{told}");
    let seen = h.g.get("/api/observability/events?category=channel&level=warn").json();
    assert!(seen["events"].as_array().unwrap().iter().any(|e| e["message"].as_str().unwrap().contains("conflict")));
    let health = h.g.get("/health").json();
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"][0].as_str().unwrap().starts_with("telegram (default) is conflict"), "{health}");
    let outside = ask(h.g.addr, "GET", "/health", "", "").json();
    assert_eq!((&outside["status"], &outside["problems"]), (&json!("degraded"), &Value::Null));
}

#[test]
fn a_refused_token_is_tried_again_at_once_when_the_channel_is_restarted() {
    let api = BotApi::start();
    api.trouble(Rule::on("getMe", Trouble::unauthorized()).times(1));
    let pi = crate::support::fake_pi::FakePi::new(crate::support::fake_pi::Flavour::New);
    let telegram = json!({
        "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": ["7"], "streamMode": "off",
    });
    let config = json!({"agent": {"piCliPath": pi.program()}, "channels": {"telegram": telegram}});
    let h = House { g: crate::support::gateway::Gateway::new(config).start(), api, pi };
    h.g.wait_until("it is refused", |_| account(&h)["state"] == "unauthorized");
    let r = h.g.post("/api/channels/restart", json!({"channel": "telegram"}));
    assert_eq!(r.status, 200, "{}", r.text());
    h.api.wait_polling();
    h.g.wait_until("it runs", |_| account(&h)["state"] == "running");
    h.api.user_writes(ANN, "[[say:let in again]]");
    h.api.wait_text(ANN, "let in again");
    let r = h.g.post("/api/channels/restart", json!({"channel": "telegram", "accountId": "nobody"}));
    assert_eq!(r.status, 404, "{}", r.text());
}

/// An account without a gateway around it, and a mind that knows no cursor and answers batches like this.
fn alone(api: &BotApi, more: Value, taken: fn() -> Answer) -> (telegram::Account, Arc<Standing>) {
    let (inbox, events) = bounded::<Event>(100);
    let answers = Arc::<Answers>::default();
    let mind = Mind::new(inbox, answers.clone());
    std::thread::spawn(move || {
        for event in events {
            match event {
                Event::Request { id, req } if matches!(*req, Request::Cursor { .. }) => {
                    answers.give(id, Answer::Cursor(None))
                }
                Event::Inbound { id, .. } => answers.give(id, taken()),
                _ => {}
            }
        }
    });
    let mut text = json!({"channels": {"telegram": {
        "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "pollTimeoutS": 1,
    }}});
    crate::support::gateway::merge(&mut text, json!({"channels": {"telegram": more}}));
    let dir = tempfile::tempdir().unwrap();
    let env = pi_gateway::config::Env::from_process();
    let file = dir.path().join("c.jsonc");
    let loaded =
        pi_gateway::config::load_bytes(text.to_string().into_bytes(), &file, &env, &Default::default()).unwrap();
    let c: TelegramAccount = loaded.config.channels.telegram.accounts["default"].clone();
    let network: Network = loaded.config.network.clone();
    let standing = Arc::<Standing>::default();
    let parts = telegram::Parts {
        transcriber: None,
        net: Net::open(&network).unwrap(),
        mind,
        board: Arc::default(),
        show_thinking: false,
        standing: standing.clone(),
        ready: Arc::new(|_| {}),
        files: Arc::new(|_| Err("none is sent".into())),
        guard: loaded.config.security.ssrf.clone(),
    };
    let (account, ..) = telegram::open("default", &c, Route::direct(), parts).unwrap();
    (account, standing)
}

#[test]
fn given_a_reader_without_a_sign_of_life_then_it_is_stuck_and_a_fresh_one_polls() {
    let api = BotApi::start();
    let hold = api.trouble(Rule::on("getUpdates", Trouble::Hold).times(1));
    let (mut account, standing) = alone(&api, json!({}), || Answer::Ok);
    api.wait_call(|c| c.method == "getUpdates");
    let now = clock::mono();
    assert!(!account.is_stuck(now + 55_000), "a poll may take its time, and a minute more");
    assert!(account.is_stuck(now + 65_000));
    assert_eq!(standing.known().heard, None, "that getMe worked says nothing");
    account.renew();
    api.wait_polling();
    assert!(!account.is_stuck(clock::mono() + 55_000), "the fresh one has its own time");
    assert_eq!(standing.known().stage, Stage::Running);
    api.release(hold);
    account.close();
    assert_eq!(standing.known().stage, Stage::Stopped);
}

#[test]
fn given_a_poll_that_completes_then_the_time_begins_anew() {
    let api = BotApi::start();
    let (account, standing) = alone(&api, json!({}), || Answer::Ok);
    api.wait_calls("getUpdates", 3);
    let first = standing.known().due.unwrap();
    api.wait_calls("getUpdates", 5);
    assert!(standing.known().due.unwrap() > first + Duration::from_millis(500).as_millis() as u64);
    account.close();
}

#[test]
fn b30_a_delivery_that_was_not_stored_shall_come_again() {
    let api = BotApi::start();
    let more = json!({"webhookUrl": "https://127.0.0.1:1/webhook/telegram", "webhookSecret": "s"});
    let failing = || Answer::Error { code: Code::StoreFailing, message: "the disk is full".into() };
    let introduction = api.trouble(Rule::on("getMe", Trouble::HoldAnswer).times(1));
    let (account, standing) = alone(&api, more, failing);
    let inlet = account.inlet().unwrap();
    let now = clock::now().wall / 1000;
    let update = json!({"update_id": 5, "message": {
        "message_id": 1, "date": now, "text": "hello", "chat": {"id": ANN, "type": "private"},
        "from": {"id": ANN, "is_bot": false, "first_name": "Ann"},
    }});
    assert!(!inlet.deliver(json!({"update_id": 4})), "who the bot is, is not known yet");
    api.release(introduction);
    api.wait_call(|c| c.method == "setWebhook" && c.applied);
    let begun = std::time::Instant::now();
    while !inlet.deliver(json!({"update_id": 4})) {
        assert!(begun.elapsed() < crate::support::DEADLINE, "it is never ready");
        std::thread::yield_now(); // its thread reads the answer: there is no event for that
    }
    assert!(!inlet.deliver(update), "the store does not work");
    assert_eq!(standing.known().updates, 1, "only what was taken counts");
    account.close();
}
