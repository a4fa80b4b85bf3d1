//! The menu of commands (telegram.md 10).

use serde_json::{json, Value};

use crate::house::{House, ANN};
use crate::support::bot_api::{BotApi, Rule, Trouble};

fn names(api: &BotApi, scope: &str) -> Vec<String> {
    let list = api.commands(&json!({"type": scope}), "");
    let list = list.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().map(|c| c["command"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_menu_holds_our_commands_agents_and_the_operator_s_own_and_groups_get_no_privileged_ones() {
    let custom = json!([{"command": "weather", "description": "how it looks outside"}]);
    let mut h = House::new(json!({"customCommands": custom}));
    h.api.wait_call(|c| c.method == "setMyCommands" && c.params["scope"]["type"] == "all_group_chats" && c.applied);
    let all = names(&h.api, "default");
    for wanted in ["help", "new", "status", "sys", "weather"] {
        assert!(all.contains(&wanted.to_owned()), "{wanted} in {all:?}");
    }
    assert!(!all.contains(&"bash".to_owned()), "it is switched off");
    let groups = names(&h.api, "all_group_chats");
    assert!(groups.contains(&"weather".to_owned()) && !groups.contains(&"sys".to_owned()), "{groups:?}");

    h.g.stop();
    h.g.restart();
    h.api.wait_calls("getMyCommands", 4);
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.api.wait_call(|c| c.method == "setMyCommands" && c.params.to_string().contains("pi_swallow"));
    assert!(names(&h.api, "default").starts_with(&all), "nothing was taken away");
    let set = || h.api.calls("setMyCommands").len();
    h.api.wait_calls("setMyCommands", 4);
    h.g.stop();
    h.g.restart();
    h.api.wait_calls("getMyCommands", 8);
    h.api.user_writes(ANN, "/refresh");
    h.api.wait_message(ANN, |m| m.text().contains("up to date"));
    assert_eq!(set(), 4, "all of it was there");
    h.api.assert_clean();
}

#[test]
fn commands_of_pi_come_in_when_they_are_known_and_are_used_by_their_menu_name() {
    let h = House::new(json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[say:hello]]");
    h.api.wait_text(ANN, "hello");
    h.api.wait_call(|c| {
        let text = c.params["commands"].to_string();
        c.method == "setMyCommands" && text.contains("pi_swallow")
    });
    h.api.user_writes(ANN, "/pi_swallow it");
    h.g.wait_until("pi is asked", |_| h.pi.prompts().iter().any(|p| p.ends_with("/swallow it")));
    h.api.assert_clean();
}

#[test]
fn a_menu_without_room_is_cut_and_one_that_fails_stops_nothing() {
    let api = BotApi::start();
    api.trouble(Rule::on("setMyCommands", Trouble::bad("BOT_COMMANDS_TOO_MUCH")).times(2));
    let h = House::at(api, json!({}));
    let calls = h.api.wait_calls("setMyCommands", 3);
    let length = |n: usize| calls[n].params["commands"].as_array().unwrap().len();
    assert_eq!((length(1), length(2)), (length(0) * 4 / 5, length(0) * 4 / 5 * 4 / 5));

    let api = BotApi::start();
    api.trouble(Rule::on("getMyCommands", Trouble::server(502)).always());
    let h = House::at(api, json!({"streamMode": "off"}));
    h.api.user_writes(ANN, "[[say:well]]");
    h.api.wait_text(ANN, "well");
    assert!(h.api.calls("setMyCommands").is_empty());
}

#[test]
fn without_native_commands_no_menu_is_touched() {
    let h = House::new(json!({"streamMode": "off", "commands": {"native": false}}));
    h.api.user_writes(ANN, "[[say:well]]");
    h.api.wait_text(ANN, "well");
    assert!(h.api.calls("getMyCommands").is_empty() && h.api.calls("setMyCommands").is_empty());
}
