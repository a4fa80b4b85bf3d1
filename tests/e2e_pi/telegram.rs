//! A Telegram user and the real pi.

use std::process::{Command, Stdio};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::json;

use crate::support::bot_api::{BotApi, Message};
use crate::support::directives::long_text;
use crate::support::process::ProcessWatch;
use crate::world::{release, World};

const ANN: i64 = 7;
const STRANGER: i64 = 99;
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// Chats of Telegram stream at a test's pace, and Ann may write.
fn world(new: bool) -> (World, BotApi) {
    let api = BotApi::start();
    let telegram = json!({
        "enabled": true, "apiRoot": api.root(), "botToken": api.token(), "allowFrom": [ANN.to_string()],
        "pollTimeoutS": 5, "draftChunk": {"editThrottleMs": 250},
    });
    let w = World::with(new, json!({"channels": {"telegram": telegram}}));
    api.wait_polling();
    (w, api)
}

fn said(api: &BotApi) -> Vec<Message> {
    api.messages(ANN).into_iter().filter(|m| m.bot.is_some() && !m.deleted).collect()
}

/// An answer with code that is longer than a message, shown while it grows.
pub fn on_telegram_a_long_answer_grows_over_several_messages_and_its_code_is_whole(new: bool) {
    let (w, api) = world(new);
    let lines: String = (0..600).map(|n| format!("let x{n} = {n};\\n")).collect();
    api.user_writes(ANN, &format!("[[say:**Here** it is:\\n\\n```rust\\n{lines}]] [[gate:g]] [[say:```\\n\\nDone.]]"));
    w.llm.wait_gate("g");
    api.wait_messages(ANN, |all| all.iter().any(|m| m.text().ends_with('▌')));
    w.llm.open("g");
    api.wait_messages(ANN, |all| all.iter().any(|m| m.text().ends_with("Done.")));
    let all = said(&api);
    assert!(all.len() > 1);
    let code: Vec<String> = all.iter().flat_map(|m| m.parts("pre")).collect();
    let code: Vec<&str> = code.iter().flat_map(|c| c.lines()).collect();
    assert_eq!(code.len(), 600);
    assert!(code.iter().enumerate().all(|(n, line)| *line == format!("let x{n} = {n};")));
    assert_eq!(all[0].parts("bold"), ["Here"]);
    api.assert_clean();
}

/// A tool runs, the user steers: two answers, the second to the second message.
pub fn on_telegram_a_message_during_a_tool_steers_and_stop_ends_the_turn(new: bool) {
    let (w, api) = world(new);
    let fifo = w.fifo("hold");
    let tool = json!({"command": format!("cat {}", fifo.display())});
    api.user_writes(ANN, &format!("[[say:Start.]] [[tool:bash {tool}]] [[say:Not said.]]"));
    api.wait_message(ANN, |m| m.text().contains("→ bash"));
    let second = api.user_writes(ANN, "second-message [[say:Steered]]");
    api.wait_confirmed(second.update_id.unwrap()); // it is in pi's hands by then
    release(&fifo);
    api.wait_message(ANN, |m| m.text().contains("Steered") && !m.text().contains('▌'));
    let texts: Vec<String> = said(&api).iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(texts, ["Start.", "Steered"]);
    api.user_writes(ANN, "[[say:Never ends]] [[gate:g]]");
    w.llm.wait_gate("g");
    api.wait_message(ANN, |m| m.text() == "Never ends ▌");
    api.user_writes(ANN, "/stop");
    api.wait_text(ANN, "Stopped.");
    api.wait_message(ANN, |m| m.text() == "Never ends\n\n(stopped)");
    assert_eq!(said(&api).len(), 4);
    api.assert_clean();
}

/// `/new` forgets, a kill does not.
pub fn on_telegram_a_gateway_killed_in_mid_answer_answers_once(new: bool) {
    let (mut w, api) = world(new);
    api.user_writes(ANN, "remember-this [[say:One.]]");
    api.wait_text(ANN, "One.");
    api.user_writes(ANN, "[[say:Half]] [[gate:g]] [[say:-whole.]]");
    w.llm.wait_gate("g");
    let growing = api.wait_message(ANN, |m| m.text() == "Half ▌");
    w.g.wait_until("its message is known", |g| {
        let db = rusqlite::Connection::open(g.data().join("gateway.db")).unwrap();
        db.query_row("SELECT count(*) FROM live", [], |r| r.get::<_, i64>(0)).unwrap() > 0
    });
    let pi = ProcessWatch::new(w.pid() as i32);
    w.g.kill9();
    pi.wait_gone();
    w.llm.open("g");
    w.g.restart();
    let end = api.wait_message(ANN, |m| m.text().contains("needs its answer") && !m.text().contains('▌'));
    assert_eq!(end.id(), growing.id());
    assert!(w.asked("needs its answer").body.to_string().contains("remember-this"));
    api.user_writes(ANN, "/new");
    api.wait_text(ANN, "Session reset.");
    api.user_writes(ANN, "afresh [[say:Two.]]");
    api.wait_text(ANN, "Two.");
    assert!(!w.asked("afresh").body.to_string().contains("remember-this"));
    assert_eq!(said(&api).len(), 4);
    api.assert_clean();
}

/// A stranger's whole first hour: refused with a code, approved with the CLI, a photo and a long answer, another model
/// by buttons, a turn stopped, a conversation begun anew.
pub fn on_telegram_a_stranger_is_approved_sends_a_photo_and_chooses_a_model_by_buttons(new: bool) {
    let (w, api) = world(new);
    let to_stranger =
        || -> Vec<Message> { api.messages(STRANGER).into_iter().filter(|m| m.bot.is_some() && !m.deleted).collect() };
    api.user_writes(STRANGER, "let-me-in [[say:Never said.]]");
    let refused = api.wait_message(STRANGER, |m| m.text().starts_with("Pairing required."));
    let code = refused.parts("code")[0].clone();
    let ran = Command::new(env!("CARGO_BIN_EXE_pi-gw"))
        .args(["pairing", "approve", "telegram", &code, "--config"])
        .arg(w.g.config_file())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", w.g.home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    api.wait_text(STRANGER, "You may write to me now.");
    assert_eq!(to_stranger().len(), 2, "a code and the approval, nothing else");

    // The caption is the wish: text, a photo, and code longer than a message.
    let wish = "[[show:images]] [[say:\\n\\n**Seen**:\\n\\n```rust\\n]] [[long:9000 chars]] [[gate:g]] \
                [[say:\\n```\\n\\nThat is all.]]";
    api.user_says(STRANGER, STRANGER).text(wish).photo(&STANDARD.decode(PNG).unwrap()).send();
    w.llm.wait_gate("g");
    api.wait_messages(STRANGER, |all| all.iter().any(|m| m.text().ends_with('▌')));
    w.llm.open("g");
    api.wait_messages(STRANGER, |all| all.iter().any(|m| m.text().ends_with("That is all.")));
    let all = to_stranger();
    let code: Vec<String> = all.iter().flat_map(|m| m.parts("pre")).collect();
    let lines: Vec<&str> = code.iter().flat_map(|c| c.lines()).collect();
    assert_eq!(lines, long_text(9000).lines().collect::<Vec<_>>());
    assert!(code.len() > 2, "longer than one message");
    assert!(all[2].text().starts_with("images: 1 image/png/"), "{}", all[2].text());
    assert_eq!(all[2].parts("bold"), ["Seen"]);

    let press = |message: i64, button: &str| {
        let query = api.user_presses(STRANGER, STRANGER, message, button);
        api.wait_answer(&query).answer.unwrap()
    };
    api.user_writes(STRANGER, "/model");
    let menu = api.wait_message(STRANGER, |m| m.text().contains("Choose a provider"));
    press(menu.id(), "fake2");
    api.wait_message(STRANGER, |m| m.id() == menu.id() && m.text() == "Models of fake2:");
    assert_eq!(press(menu.id(), "backup-model"), "Switched to fake2/backup-model");
    api.wait_message(STRANGER, |m| m.id() == menu.id() && m.text() == "Model: fake2/backup-model.");
    api.user_writes(STRANGER, "[[show:model]]");
    api.wait_message(STRANGER, |m| m.text().contains("backup-model") && m.id() > menu.id());

    api.user_writes(STRANGER, "[[say:On and on]] [[gate:h]]");
    w.llm.wait_gate("h");
    api.wait_message(STRANGER, |m| m.text() == "On and on ▌");
    api.user_writes(STRANGER, "/stop");
    api.wait_message(STRANGER, |m| m.text() == "On and on\n\n(stopped)");
    api.user_writes(STRANGER, "/new");
    api.wait_text(STRANGER, "Session reset.");
    api.user_writes(STRANGER, "afresh [[say:Hello again.]]");
    api.wait_text(STRANGER, "Hello again.");
    assert!(!w.asked("afresh").body.to_string().contains("On and on"));
    assert!(
        !w.llm.requests().iter().any(|r| r.body.to_string().contains("let-me-in")),
        "the stranger's words went nowhere"
    );
    api.assert_clean();
}
